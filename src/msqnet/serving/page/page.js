/** Which part of the page is shown when: start, running, result, error, token. */

import { follow, getJson, remove, ServerError, signIn, takeExample, upload } from "./api.js";
import {
  byId,
  formatBytes,
  formatDuration,
  formatPercent,
  make,
  plural,
  sentence,
  spoken,
} from "./format.js";
import { ResultView } from "./result.js";

const VIEWS = ["token", "start", "running", "error", "result"];
const MODEL_RETRY_MILLISECONDS = 1500;

/** What the address remembers behind its `#`, so that a reload finds the video again. */
const address = {
  read: () => Object.fromEntries(new URLSearchParams(location.hash.slice(1))),
  write(changes) {
    const state = { ...this.read(), ...changes };
    const entries = Object.entries(state).filter(([, value]) => value);
    const hash = new URLSearchParams(entries).toString();
    history.replaceState(null, "", hash ? `#${hash}` : location.pathname + location.search);
  },
};

class Page {
  constructor() {
    this._result = new ResultView({ onState: (state) => address.write(state) });
    this._working = new AbortController();
    this._id = null;
    this._model = null;
    this._limits = null;
    this._retry = null;
    this._listen();
    this._setTheme(localStorage.getItem("msqnet-theme"));
    this._open();
  }

  _listen() {
    byId("home").addEventListener("click", (event) => this._startAgain(event));
    byId("again").addEventListener("click", (event) => this._startAgain(event));
    byId("retry").addEventListener("click", (event) => this._startAgain(event));
    byId("retry-same").addEventListener("click", () => this._retry?.());
    byId("cancel").addEventListener("click", () => this._cancel());
    byId("remove").addEventListener("click", () => this._remove());
    byId("theme").addEventListener("click", () => this._switchTheme());
    byId("token-form").addEventListener("submit", (event) => this._signIn(event));
    byId("start-form").addEventListener("submit", (event) => event.preventDefault());
    byId("file").addEventListener("change", (event) => {
      const [file] = event.target.files;
      event.target.value = "";
      if (file) this._sendFile(file);
    });
    this._listenToDrops();
    window.addEventListener("hashchange", () => {
      const { id = null } = address.read();
      if (id !== this._id) this._open();
    });
  }

  _listenToDrops() {
    const drop = byId("drop");
    const isFile = (event) => [...(event.dataTransfer?.types ?? [])].includes("Files");
    document.addEventListener("dragover", (event) => {
      if (!isFile(event)) return;
      event.preventDefault();
      drop.classList.add("is-over");
    });
    document.addEventListener("dragleave", (event) => {
      if (!event.relatedTarget) drop.classList.remove("is-over");
    });
    document.addEventListener("drop", (event) => {
      if (!isFile(event)) return;
      event.preventDefault();
      drop.classList.remove("is-over");
      const [file] = event.dataTransfer.files;
      if (file && !byId("view-start").hidden) this._sendFile(file);
    });
  }

  /** Show the view that the address names, once the model is loaded. */
  async _open() {
    this._restart();
    try {
      await this._loadModel();
    } catch (error) {
      if (error.name === "AbortError") return;
      this._fail(error, () => this._open());
      return;
    }
    const { id } = address.read();
    if (id) this._follow(id);
    else this._showStart();
  }

  /** Stop all requests; late responses are not shown. */
  _restart() {
    this._working.abort();
    this._working = new AbortController();
    this._result.clear();
    this._id = null;
  }

  async _loadModel() {
    while (!this._model) {
      try {
        const { models, limits } = await getJson("models", this._working.signal);
        [this._model] = models;
        this._limits = limits;
      } catch (error) {
        if (error.code !== "model_loading") throw error;
        this._showRunning({ title: "msqnet", state: "Loading the model", step: null });
        await new Promise((resolve) => setTimeout(resolve, MODEL_RETRY_MILLISECONDS));
      }
    }
    this._describeModel();
  }

  _describeModel() {
    const { name, labels, window_seconds, stride_seconds, open_model, words_advice } = this._model;
    const isOpen = this._model.is_open_vocabulary;
    const { upload_bytes, duration_seconds, kept_seconds } = this._limits;
    byId("model").textContent = `Model: ${name}`;
    byId("limits").textContent =
      `Up to ${formatBytes(upload_bytes)} and ${formatDuration(duration_seconds)}. ` +
      `The server deletes it after ${formatDuration(kept_seconds)}.`;
    byId("window").placeholder = String(Number(window_seconds.toFixed(2)));
    byId("stride").placeholder = String(Number(stride_seconds.toFixed(2)));
    byId("options-help").textContent =
      "The model scores one window of the video after another. Leave empty for the model’s own values.";
    byId("labels").required = isOpen && labels.length === 0;
    const takesAny = isOpen || open_model;
    byId("labels").placeholder = takesAny ? "digging, two animals fighting" : labels[0] ?? "";
    byId("labels-help").textContent = [
      takesAny ? "Any words." : "Known actions only.",
      "Separate actions by commas or line breaks.",
      labels.length ? `Default: ${isOpen ? labels.map(spoken).join(", ") : "all known actions"}.` : "",
      open_model ? `If one is not a known action, ${open_model} scores all of them.` : "",
      words_advice ? sentence(words_advice) : "",
    ].filter(Boolean).join(" ");
    byId("knows").hidden = isOpen || labels.length === 0;
    byId("knows-title").textContent = `${plural(labels.length, "known action")}`;
    byId("known-labels").replaceChildren(...labels.map((label) => make("li", "", spoken(label))));
  }

  async _showStart(message = "") {
    this._show("start");
    address.write({ id: null, threshold: null });
    byId("start-error").hidden = !message;
    byId("start-error").textContent = message;
    try {
      const { examples } = await getJson("examples", this._working.signal);
      byId("examples").replaceChildren(...examples.map((example) => this._exampleItem(example)));
      byId("examples-side").hidden = examples.length === 0;
    } catch (error) {
      if (error.name !== "AbortError") byId("examples-side").hidden = true;
    }
  }

  _exampleItem(example) {
    const item = make("li");
    const button = make("button", "example");
    button.type = "button";
    button.dataset.name = example.name;
    if (example.has_picture) {
      const picture = make("img");
      picture.alt = "";
      picture.src = `api/v1/examples/${encodeURIComponent(example.name)}/picture`;
      button.append(picture);
    } else {
      button.append(make("span", "no-picture"));
    }
    const text = make("span");
    const { duration_seconds: duration, width, height } = example;
    const facts = `${formatDuration(duration)}, ${width} × ${height}`;
    text.append(make("strong", "", example.title), make("span", "muted small", facts));
    if (example.credit) text.append(make("span", "muted small", example.credit));
    button.append(text);
    button.addEventListener("click", () => this._takeExample(example));
    item.append(button);
    return item;
  }

  /** Options of the form as the API takes them as JSON. */
  _options() {
    const labels = byId("labels").value.split(/[,\n|]/).map((text) => text.trim()).filter(Boolean);
    return {
      labels: labels.length ? [...new Set(labels)] : null,
      window_seconds: byId("window").valueAsNumber || null,
      stride_seconds: byId("stride").valueAsNumber || null,
    };
  }

  _needsLabels() {
    if (!byId("labels").required || byId("labels").value.trim()) return false;
    this._showStart("Enter the actions to look for: this model has no labels of its own.");
    byId("labels").focus();
    return true;
  }

  async _sendFile(file) {
    if (this._needsLabels()) return;
    const { upload_bytes: allowed } = this._limits;
    if (file.size > allowed) {
      const [found, most] = [file.size, allowed].map(formatBytes);
      this._showStart(`${file.name} is ${found}; this server accepts at most ${most}.`);
      return;
    }
    const { labels, ...others } = this._options();
    const given = Object.entries({ ...others, labels: labels?.join("|") });
    const fields = Object.fromEntries(given.filter(([, value]) => value));
    this._restart();
    const { signal } = this._working;
    const about = { title: file.name, facts: formatBytes(file.size) };
    const onProgress = (share) => {
      if (share < 1) this._showRunning({ ...about, state: "Uploading", step: "upload", share });
      else this._showRunning({ ...about, state: "Checking", step: "check" });
    };
    onProgress(0);
    try {
      this._begin(await upload(file, fields, onProgress, signal));
    } catch (error) {
      this._fail(error, () => this._sendFile(file));
    }
  }

  async _takeExample(example) {
    if (this._needsLabels()) return;
    const options = this._options();
    this._restart();
    this._showRunning({ title: example.file_name, state: "Checking", step: "check" });
    try {
      this._begin(await takeExample(example.name, options));
    } catch (error) {
      this._fail(error, () => this._takeExample(example));
    }
  }

  _begin(status) {
    address.write({ id: status.id, threshold: null });
    this._showStatus(status);
    this._follow(status.id);
  }

  async _follow(id) {
    this._id = id;
    const { signal } = this._working;
    try {
      const status = await follow(id, (found) => this._showStatus(found), signal);
      if (signal.aborted) return;
      if (status.state === "done") {
        const state = address.read();
        this._show("result", status.file_name);
        const isOpenModel = status.result.provenance.model.name?.startsWith("clip-zero-shot:");
        byId("heat-line").hidden = !this._model.has_heat_maps || Boolean(isOpenModel);
        this._result.show(status, state);
      } else if (status.state === "cancelled") {
        this._showStart();
      } else {
        this._fail(new ServerError(200, status.error));
      }
    } catch (error) {
      this._fail(error, error.status === 0 ? () => this._follow(id) : null);
    }
  }

  _showStatus(status) {
    if (status.state !== "queued" && status.state !== "running") return;
    const { video, file_name: title } = status;
    const size = `${video.width} × ${video.height}`;
    const facts = `${formatDuration(video.duration_seconds)} · ${size} · ${video.codec}`;
    const isQueued = status.state === "queued";
    const ahead = (status.position ?? 1) - 1;
    const queued = ahead ? `Waiting: ${plural(ahead, "video")} ahead` : "Waiting: next in line";
    this._showRunning({
      title,
      facts,
      state: isQueued ? queued : "Predicting",
      step: status.state,
      share: isQueued ? undefined : status.progress,
      note: "You can close this page. Its address leads back to the result.",
    });
  }

  _showRunning({ title, facts = "", state, step, share, note = "" }) {
    this._show("running", state);
    byId("running-title").textContent = title;
    byId("running-facts").textContent = facts;
    byId("running-state").textContent = state;
    byId("running-note").textContent = note;
    const progress = byId("progress");
    if (share) progress.value = share;
    else progress.removeAttribute("value");
    byId("running-share").textContent = share ? formatPercent(share) : "";
    byId("steps").hidden = step === null;
    byId("cancel").hidden = step === null;
    const items = [...byId("steps").children];
    const now = items.findIndex((item) => item.dataset.step === step);
    items.forEach((item, place) => {
      item.classList.toggle("is-done", place < now);
      item.classList.toggle("is-now", place === now);
      item.toggleAttribute("aria-current", place === now);
    });
  }

  /** Show the error, and what can be done about it. */
  _fail(error, retry = null) {
    if (error.name === "AbortError") return;
    if (error.code === "token_needed") {
      this._show("token");
      byId("token").focus();
      return;
    }
    if (!(error instanceof ServerError)) {
      this._showStart();
      throw error;
    }
    const titles = {
      not_a_video: "This file is not a video",
      upload_too_large: "The video is too large",
      video_too_long: "The video is too long",
      too_many_frames: "The video is too long",
      frame_too_large: "The frames are too large",
      check_failed: "The video cannot be opened",
      took_too_long: "The prediction took too long",
      not_found: "The video is no longer available",
      queue_full: "The queue is full",
      unreachable: "The server does not respond",
      worker_died: "The video could not be processed",
    };
    const isLasting = ["not_a_video", "upload_too_large", "not_found"].includes(error.code);
    byId("error-title").textContent = titles[error.code] ?? "Something went wrong";
    byId("error-text").textContent = sentence(error.message);
    byId("error-limit").hidden = !error.limit;
    byId("error-limit").textContent = `Limit: ${error.limit}`;
    this._retry = retry;
    byId("retry-same").hidden = !retry || isLasting;
    if (error.status !== 0) address.write({ id: null, threshold: null });
    this._show("error", error.message);
    byId("retry").focus();
  }

  async _signIn(event) {
    event.preventDefault();
    try {
      await signIn(byId("token").value);
      byId("token").value = "";
      byId("token-error").hidden = true;
      this._open();
    } catch (error) {
      byId("token-error").hidden = false;
      byId("token-error").textContent = sentence(error.message);
    }
  }

  async _cancel() {
    const id = this._id;
    this._restart();
    this._showStart();
    // If it is gone or the server is out of reach, nothing is left to cancel.
    if (id) await remove(id).catch(() => undefined);
  }

  async _remove() {
    const id = this._id;
    try {
      await remove(id);
    } catch (error) {
      if (error.code !== "not_found") {
        this._fail(error, () => this._follow(id));
        return;
      }
    }
    this._restart();
    this._showStart();
  }

  _startAgain(event) {
    event.preventDefault();
    this._restart();
    address.write({ id: null, threshold: null });
    if (this._model) this._showStart();
    else this._open();
  }

  _show(view, announcement = "") {
    if (byId("announce").textContent !== announcement) {
      byId("announce").textContent = announcement;
    }
    for (const name of VIEWS) byId(`view-${name}`).hidden = name !== view;
    byId("again").hidden = view !== "result";
    document.title = view === "result" ? `${announcement} – msqnet` : "msqnet";
  }

  /** @param theme "light", "dark", or null to follow the system. */
  _setTheme(theme) {
    if (theme) document.documentElement.dataset.theme = theme;
    const isDark = window.msqnet.isDark();
    byId("theme").setAttribute("aria-label", isDark ? "Light colours" : "Dark colours");
    byId("theme").dataset.next = isDark ? "light" : "dark";
  }

  _switchTheme() {
    const { next } = byId("theme").dataset;
    localStorage.setItem("msqnet-theme", next);
    this._setTheme(next);
  }
}

new Page();
