/** The dialog about the model: predict the other videos, train on what was annotated, compare. */

const { byId, make } = window.msqnet;
const POLL_MILLISECONDS = 1000;
const NUM_LINES = 6;

function shown(value) {
  return value === undefined || value === "" || value === null ? "–" : Number(value).toFixed(3);
}

function row(tag, ...cells) {
  const node = make("tr");
  node.append(...cells.map((text, place) => make(place ? tag : "th", place ? "number" : "", text)));
  return node;
}

export class ModelDialog {
  #timer = 0;
  #shown = "";

  /** `onDone()` is called when proposals or labels may have changed. */
  constructor(store, onDone) {
    Object.assign(this, { store, onDone });
    byId("model-open").onclick = () => this.open();
    byId("m-predict").onclick = () => this.#start({ kind: "predict" });
    byId("m-use").onclick = () => this.#start({ kind: "use" });
    byId("m-cancel").onclick = () => store.cancelTask().then(() => this.#update());
    byId("m-train").onclick = () => {
      const ticked = [...byId("m-videos").querySelectorAll("input:checked")];
      const held_out = ticked.map((input) => Number(input.value));
      this.#start({ kind: "retrain", held_out, is_anew: Boolean(byId("m-start").value) });
    };
  }

  open() {
    byId("model-dialog").showModal();
    this.#update();
  }

  async #start(body) {
    try {
      this.#show(await this.store.startTask(body));
    } catch (error) {
      byId("m-state").textContent = error.message;
    }
  }

  async #update() {
    this.#show(await this.store.task());
  }

  #show(found) {
    const { task } = found;
    const isRunning = task?.state === "running";
    byId("m-model").textContent = found.model.split("/").slice(-2).join("/");
    byId("m-model").title = found.model;
    byId("m-untouched").textContent = `${found.num_untouched} video(s) that you have not worked on`;
    byId("m-predict").disabled = isRunning || !found.num_untouched;
    byId("m-train").disabled = isRunning || !found.videos.length;
    byId("m-cancel").hidden = !isRunning;
    byId("m-use").hidden = isRunning || !found.trained || found.trained === found.model;
    this.#showVideos(found.videos);
    byId("m-state").textContent = task ? `${task.title}: ${task.state}` : "";
    const lines = task?.lines.filter((line) => line.trim()) ?? [];
    byId("m-log").textContent = lines.slice(task?.state === "failed" ? -20 : -NUM_LINES).join("\n");
    byId("m-log").hidden = !lines.length || task.state === "done";
    this.#showResult(found.comparison);
    this.#showLessons(found.lessons);
    clearTimeout(this.#timer);
    if (isRunning) {
      this.#timer = setTimeout(() => this.#update().catch(() => {}), POLL_MILLISECONDS);
      this.wasRunning = true;
    } else if (this.wasRunning) {
      this.wasRunning = false;
      this.onDone();
    }
  }

  #showVideos(videos) {
    const key = JSON.stringify(videos);
    if (key === this.#shown) return;
    this.#shown = key;
    const nodes = videos.map((video) => {
      const label = make("label", "check");
      const input = make("input");
      Object.assign(input, { type: "checkbox", value: video.id, checked: video.split === "test" });
      label.append(input, ` ${video.name}`);
      return label;
    });
    if (!nodes.length) nodes.push(make("p", "muted small", "No video is annotated yet."));
    byId("m-videos").replaceChildren(byId("m-videos").querySelector("legend"), ...nodes);
  }

  /** Average precision of each label on the videos that were held out, before and after. */
  #showResult({ before, after }) {
    byId("m-result").hidden = !before;
    if (!before) return;
    const of = ({ labels }) => new Map(labels.map((row) => [row.label, row.ap]));
    const [old, now] = [of(before), of(after)];
    const names = [...new Set([...old.keys(), ...now.keys()])];
    byId("m-result").replaceChildren(
      row("th", "on held-out videos", "before", "after"),
      row("td", "macro mAP", shown(before.macro_map), shown(after.macro_map)),
      ...names
        .filter((name) => shown(old.get(name)) !== "–" || shown(now.get(name)) !== "–")
        .map((name) => row("td", `AP of ${name}`, shown(old.get(name)), shown(now.get(name)))),
    );
  }

  /** What the examples of each label that was taught here say of it, when they were held out. */
  #showLessons(lessons) {
    const names = Object.keys(lessons);
    byId("m-lessons").hidden = !names.length;
    const rows = names.flatMap((name) => {
      const { status, reason, ap, held_out: unit, num_positive: shows, num_negative: lacks } = lessons[name];
      const found = row("td", name, `${shows} / ${lacks}`, shown(ap), status);
      found.children[2].title = unit ? `each ${unit} was held out once, among negative examples and training windows` : "";
      if (!reason) return [found];
      const why = make("tr");
      why.append(make("td", "muted why", reason));
      why.firstChild.colSpan = 4;
      return [found, why];
    });
    byId("m-lessons").replaceChildren(row("th", "taught here", "shows / lacks", "AP held out", "status"), ...rows);
  }
}
