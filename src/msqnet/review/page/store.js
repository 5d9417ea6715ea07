/** The project as the server has it; every change is stored there before the page shows it. */

const BASE = new URL("api/v1/", document.baseURI);
const WINDOW = crypto.randomUUID();
const HEARTBEAT_MILLISECONDS = 4000;

export class ServerError extends Error {
  constructor(status, code, message) {
    super(message);
    this.status = status;
    this.code = code;
  }
}

async function send(path, method = "GET", body = undefined, options = {}) {
  const headers = { "X-Msqnet-Window": WINDOW, ...options.headers };
  if (body !== undefined) headers["Content-Type"] = "application/json";
  let response;
  try {
    const text = body === undefined ? undefined : JSON.stringify(body);
    response = await fetch(new URL(path, BASE), { ...options, method, headers, body: text });
  } catch {
    throw new ServerError(0, "unreachable", "The program was stopped, or cannot be reached.");
  }
  if (response.ok) return response;
  const found = await response.json().catch(() => ({}));
  const error = found.error ?? { code: "unexpected", message: `status ${response.status}` };
  throw new ServerError(response.status, error.code, error.message);
}

async function getJson(path) {
  return (await send(path)).json();
}

/** Where the file of a video is; a copy that every browser plays if asked for. */
export function fileAddress(id, isCopy) {
  return new URL(`videos/${id}/file${isCopy ? "?copy=true" : ""}`, BASE).href;
}

export class Store extends EventTarget {
  project = null;
  labels = [];
  videos = [];
  video = null;
  items = new Map();
  numUndo = 0;
  numRedo = 0;
  #last = Promise.resolve();

  /** Give the token of the address for a cookie, and ask to be the window that changes things. */
  async enter(isForced = false) {
    const token = /^#token=(.+)$/.exec(location.hash)?.[1];
    if (token) {
      await send("session", "POST", undefined, { headers: { Authorization: `Bearer ${token}` } });
      history.replaceState(null, "", location.pathname);
    }
    await send(`window?force=${isForced}`, "POST");
    this.isLost = false;
    clearInterval(this.timer);
    this.timer = setInterval(() => this.#beat(), HEARTBEAT_MILLISECONDS);
    addEventListener("pagehide", () => {
      send("window?leave=true", "POST", undefined, { keepalive: true }).catch(() => {});
    });
    this.project = await getJson("project");
    this.labels = this.project.labels;
    this.videos = this.project.videos;
  }

  /** Stay the window that changes things; what was missed while another one did is read anew. */
  async #beat() {
    try {
      await send("window", "POST");
      if (this.isLost) location.reload();
    } catch (error) {
      this.isLost = true;
      this.#tell("trouble", error);
    }
  }

  async open(id) {
    const found = await getJson(`videos/${id}`);
    this.video = found;
    this.items = new Map(found.items.map((item) => [item.id, item]));
    [this.numUndo, this.numRedo] = [found.num_undo, found.num_redo];
    this.#tell("change");
    return found;
  }

  facts(id) {
    return getJson(`videos/${id}/facts`);
  }

  scores(id) {
    return getJson(`videos/${id}/scores`);
  }

  async frames(id) {
    return new Float64Array(await (await send(`videos/${id}/frames`)).arrayBuffer());
  }

  /** The share of a copy that is made; null when it is there. */
  async copyShare(id) {
    const response = await send(`videos/${id}/file?copy=true`, "GET", undefined, {
      headers: { Range: "bytes=0-0" },
    });
    return response.status === 202 ? (await response.json()).share : null;
  }

  /** Run what depends on the state one after the other, so that quick keys cannot overtake. */
  run(task) {
    this.#last = this.#last.then(task).catch((error) => this.#tell("trouble", error));
    return this.#last;
  }

  /** Store items (without an id: new ones) and remove others, as one step of undo. */
  async change(put, remove = []) {
    if (!put.length && !remove.length) return [];
    return this.#apply(await this.#step("changes", { put, remove }));
  }

  async undo() {
    return this.#apply(await this.#step("undo"));
  }

  async redo() {
    return this.#apply(await this.#step("redo"));
  }

  async setDone(isDone) {
    const path = `videos/${this.video.id}/done?is_done=${isDone}`;
    this.#update(await (await send(path, "POST")).json());
    this.#tell("change");
  }

  async setLabels(labels) {
    this.labels = await (await send("labels", "PUT", labels)).json();
    this.#tell("change");
  }

  /** Read the list of videos, the labels and the shown video anew. */
  async refresh() {
    this.project = await getJson("project");
    [this.labels, this.videos] = [this.project.labels, this.project.videos];
    if (this.video) await this.open(this.video.id);
  }

  /** What a label is learned from once items are stored: `positives`, `negatives`, or a `problem`. */
  examples(label, put) {
    return this.#step(`examples?label=${encodeURIComponent(label)}`, { put });
  }

  task() {
    return getJson("task");
  }

  async startTask(body) {
    return (await send("task", "POST", body)).json();
  }

  async cancelTask() {
    await send("task", "DELETE");
  }

  async export(body) {
    return (await (await send("exports", "POST", body)).json()).lines;
  }

  async #step(what, body = undefined) {
    return (await send(`videos/${this.video.id}/${what}`, "POST", body)).json();
  }

  #apply(change) {
    for (const id of change.removed) this.items.delete(id);
    for (const item of change.put) this.items.set(item.id, item);
    [this.numUndo, this.numRedo] = [change.num_undo, change.num_redo];
    this.#update(change.video);
    this.#tell("change");
    return change.put;
  }

  #update(summary) {
    Object.assign(this.videos.find((video) => video.id === summary.id), summary);
    Object.assign(this.video, summary);
  }

  #tell(name, detail = undefined) {
    this.dispatchEvent(new CustomEvent(name, { detail }));
  }

  segments() {
    return [...this.items.values()].filter((item) => item.kind === "segment");
  }

  marks() {
    return [...this.items.values()].filter((item) => item.kind === "mark");
  }
}
