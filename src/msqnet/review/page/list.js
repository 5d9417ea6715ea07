/** The list of segments: filtered, ordered, and drawn only as far as it is in view. */

import { disagreements, isOpen } from "./editor.js";
import { clock } from "./timeline.js";

const ROW = 28;
const { make } = window.msqnet;

const FILTERS = { all: () => true, open: isOpen, accepted: (item) => item.state === "accepted" };

export class SegmentList {
  shown = [];

  constructor(element, rows, onSelect) {
    Object.assign(this, { element, rows, onSelect, selected: null, picked: new Set() });
    element.addEventListener("scroll", () => this.draw(), { passive: true });
    new ResizeObserver(() => this.draw()).observe(element);
    rows.addEventListener("click", (event) => {
      const row = event.target.closest("[data-id]");
      if (row) onSelect(Number(row.dataset.id), event);
    });
  }

  /** `choice`: `state` (as in the page), `label` (empty for all), `order`; `colourOf(label)`. */
  show(items, choice, hasScores, colourOf) {
    const differing = choice.state === "disagreements" && disagreements(items, hasScores);
    const isChosen = differing ? (item) => differing.has(item) : FILTERS[choice.state];
    const byTime = (a, b) => a.start - b.start || a.id - b.id;
    this.shown = items
      .filter((item) => item.kind === "segment" && isChosen(item))
      .filter((item) => !choice.label || item.label === choice.label)
      .sort((a, b) => (choice.order === "score" && (a.score ?? 2) - (b.score ?? 2)) || byTime(a, b));
    this.colourOf = colourOf;
    this.rows.style.height = `${Math.max(this.shown.length * ROW, ROW)}px`;
    this.draw();
  }

  /** Show one item as selected, and others as picked with it. */
  select(id, picked) {
    Object.assign(this, { selected: id, picked });
    const place = this.shown.findIndex((item) => item.id === id);
    const { scrollTop, clientHeight } = this.element;
    if (place >= 0 && (place * ROW < scrollTop || (place + 1) * ROW > scrollTop + clientHeight)) {
      this.element.scrollTop = place * ROW - clientHeight / 2;
    }
    this.draw();
  }

  /** Ids of the rows from one to another. */
  between(id, other) {
    const places = [id, other].map((one) => this.shown.findIndex((item) => item.id === one));
    if (places[0] < 0) return new Set([other]);
    const [first, last] = places.sort((a, b) => a - b);
    return new Set(this.shown.slice(first, last + 1).map((item) => item.id));
  }

  /** The item that is `count` rows from the selected one. */
  neighbour(count) {
    const place = this.shown.findIndex((item) => item.id === this.selected);
    if (place < 0) return this.shown[count > 0 ? 0 : this.shown.length - 1];
    return this.shown[Math.min(Math.max(place + count, 0), this.shown.length - 1)];
  }

  draw() {
    const { scrollTop, clientHeight } = this.element;
    const first = Math.max(0, Math.floor(scrollTop / ROW) - 2);
    const last = Math.min(this.shown.length, Math.ceil((scrollTop + clientHeight) / ROW) + 2);
    const nodes = this.shown.slice(first, last).map((item, n) => this.#row(item, first + n));
    if (!nodes.length) nodes.push(make("p", "muted small", "No segment."));
    this.rows.replaceChildren(...nodes);
    this.element.setAttribute("aria-activedescendant", `segment-${this.selected}`);
  }

  #row(item, place) {
    const row = make("div", `segment is-${item.state}`);
    row.id = `segment-${item.id}`;
    row.dataset.id = item.id;
    row.style.top = `${place * ROW}px`;
    row.setAttribute("role", "option");
    row.setAttribute("aria-selected", this.picked.has(item.id));
    row.setAttribute("aria-posinset", place + 1);
    row.setAttribute("aria-setsize", this.shown.length);
    const end = item.end === null ? "…" : clock(item.end, 2);
    const times = item.end === item.start ? clock(item.start, 2) : `${clock(item.start, 2)}–${end}`;
    const swatch = make("span", "swatch");
    swatch.style.background = `var(--${this.colourOf(item.label)})`;
    const score = item.score === null ? "" : item.score.toFixed(2);
    const name = make("span", "name", item.subject ? `${item.label} · ${item.subject}` : item.label);
    name.title = [item.label, item.subject, item.comment].filter(Boolean).join(" · ");
    row.append(
      swatch,
      name,
      make("span", "number small", times),
      make("span", "number small muted score", score),
      make("span", "small state", item.state === "accepted" ? "✓" : item.state === "rejected" ? "✕" : "?"),
    );
    row.lastChild.title = item.state;
    return row;
  }
}
