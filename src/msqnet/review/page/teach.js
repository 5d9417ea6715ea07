/** The dialog that makes a label of what is selected: its examples, and the model is taught it. */

import { clock } from "./timeline.js";

const { byId, make } = window.msqnet;
const WAIT_MILLISECONDS = 200;

export class TeachDialog {
  #timer = 0;
  #asked = 0;

  /** `page`: `picked()`, items; `say(text)`. `onStart()` is called when the model is being taught. */
  constructor(store, page, onStart) {
    Object.assign(this, { store, page, onStart });
    byId("teach-open").onclick = () => this.open();
    byId("t-cancel").onclick = () => byId("teach-dialog").close();
    byId("t-name").oninput = () => {
      clearTimeout(this.#timer);
      this.#timer = setTimeout(() => this.#ask(), WAIT_MILLISECONDS);
    };
    byId("t-rest").onchange = () => this.#ask();
    byId("teach-form").onsubmit = (event) => {
      event.preventDefault();
      const doTeach = event.submitter?.id !== "t-add";
      store.run(() => this.#save(doTeach));
    };
  }

  open() {
    byId("teach-form").reset();
    this.items = this.page.picked().filter((item) => item.end !== null || item.kind === "mark");
    byId("t-names").replaceChildren(...this.store.labels.map(({ name }) => new Option(name)));
    byId("teach-dialog").showModal();
    byId("t-name").focus();
    this.#ask();
  }

  get #name() {
    return byId("t-name").value.normalize().trim().replace(/\s+/g, " ");
  }

  /** What the label will be learned from, and why it cannot be. */
  async #ask() {
    const name = this.#name;
    const put = this.#additions();
    const number = ++this.#asked;
    let found = { positives: [], negatives: [], problem: "" };
    try {
      if (name) found = await this.store.examples(name, put);
    } catch (error) {
      found.problem = error.message;
    }
    if (number === this.#asked) {
      this.#fail(found.problem);
      this.#show(found, put.length > 0);
    }
    return found.problem;
  }

  /** What is selected and does not count as an example already, as changes of the project. */
  #additions() {
    const label = this.#name;
    const segments = this.items
      .filter((item) => item.label !== label || item.state !== "accepted")
      .map((item) => {
        if (item.label === label) return { ...item, state: "accepted" };
        const { start, subject = "" } = item;
        const end = item.end ?? this.store.video.duration ?? start;
        return { kind: "segment", label, start, end, subject };
      });
    const rest = { kind: "mark", labels: [label], start: 0, end: null };
    return byId("t-rest").checked ? [...segments, rest] : segments;
  }

  #show({ positives, negatives, problem }, hasMore) {
    this.#list("t-positives", "Shows it", positives);
    this.#list("t-negatives", "Lacks it", negatives);
    const numVideos = new Set(positives.map(({ video }) => video)).size;
    const notes = [];
    if (!this.#name) notes.push("A name of what is selected, or of a label of the project, for more examples of it.");
    else if (!numVideos) notes.push("Nothing shows it yet: select segments first.");
    if (numVideos === 1) notes.push("One video shows it: nothing will say how it does on others. Add examples of more.");
    if (numVideos && !negatives.length) {
      notes.push("Nothing lacks it: it may learn the scene. Tick the box, or mark time with “Looked from here”.");
    }
    byId("t-notes").replaceChildren(...notes.map((text) => make("li", "", text)));
    byId("t-notes").hidden = !notes.length;
    byId("t-teach").disabled = !numVideos || Boolean(problem);
    byId("t-add").disabled = !this.#name || !hasMore || Boolean(problem);
  }

  #list(id, title, spans) {
    const rows = spans.map(({ video, start, end }) => {
      const row = make("li");
      const name = make("span", "name", video.split("/").pop());
      name.title = video;
      const times = end === null ? "all of it" : `${clock(start, 2)}–${clock(end, 2)}`;
      row.append(name, make("span", "number muted", times));
      return row;
    });
    byId(id).replaceChildren(...rows);
    byId(`${id}-title`).textContent = `${title}: ${spans.length}`;
  }

  /** Store the examples, which stay whatever becomes of the rest, and teach the model. */
  async #save(doTeach) {
    const label = this.#name;
    if (await this.#ask()) return;
    try {
      const put = this.#additions();
      if (!this.store.labels.some((item) => item.name === label)) {
        await this.store.setLabels([...this.store.labels, { name: label, key: "", is_point: false }]);
      }
      await this.store.change(put);
      this.items = [];
      byId("t-rest").checked = false;
      if (doTeach) await this.store.startTask({ kind: "teach", label });
    } catch (error) {
      await this.#ask();
      return this.#fail(error.message);
    }
    byId("teach-dialog").close();
    if (doTeach) this.onStart();
    else this.page.say(`examples of ${label} are stored`);
  }

  #fail(text) {
    byId("t-error").textContent = text;
    byId("t-error").hidden = !text;
  }
}
