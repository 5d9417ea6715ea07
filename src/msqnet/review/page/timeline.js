/** The timeline: one row a label on a canvas that draws only what is in view. */

import { lastNotAbove } from "./player.js";

export const LOOKED = "looked at";
export const ROW = 24;
const RULER = 22;
const GRIP = 6;
const MAX_ZOOM = 2000;
const TICKS = [0.04, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600];
const PIXELS_A_TICK = 80;

/** A time as m:ss.sss or h:mm:ss.sss. */
export function clock(seconds, decimals = 3) {
  const scale = 10 ** decimals;
  const rounded = Math.round(seconds * scale) / scale;
  const minutes = Math.floor(rounded / 60);
  const rest = (rounded - 60 * minutes).toFixed(decimals).padStart(decimals ? 3 + decimals : 2, "0");
  if (minutes < 60) return `${minutes}:${rest}`;
  return `${Math.floor(minutes / 60)}:${String(minutes % 60).padStart(2, "0")}:${rest}`;
}

export class Timeline {
  rows = [];
  items = [];
  scores = null;
  duration = 1;
  seconds = 0;
  selected = null;
  picked = new Set();
  #zoom = 1;
  #drag = null;
  #frame = 0;
  #colours = null;

  /**
   * `on.seek(seconds)`, `on.select(item)`, `on.edit(item, {start, end})`, `on.create(row, start, end)`
   * and `on.snap(seconds)`, which gives the start of the frame at a time.
   */
  constructor({ scroll, content, lane, canvas }, on) {
    Object.assign(this, { scroll, content, lane, canvas, on });
    scroll.addEventListener("scroll", () => this.draw(), { passive: true });
    scroll.addEventListener("wheel", (event) => this.#onWheel(event), { passive: false });
    new ResizeObserver(() => this.#layOut()).observe(scroll);
    canvas.addEventListener("pointerdown", (event) => this.#onDown(event));
    canvas.addEventListener("pointermove", (event) => this.#onMove(event));
    canvas.addEventListener("pointerup", (event) => this.#onUp(event));
    canvas.addEventListener("pointercancel", () => this.#onUp(null));
    const scheme = matchMedia("(prefers-color-scheme: dark)");
    scheme.addEventListener("change", () => this.recolour());
  }

  /** `rows` are labels with their colours, `items` segments and marks of these. */
  show(rows, items) {
    const isSame = rows.length === this.rows.length;
    this.rows = rows;
    this.rowOf = new Map(rows.map((row, place) => [row.name, place]));
    this.items = items;
    // Where the items of a row begin is looked up by time, so that only those in view are drawn.
    this.byRow = rows.map(() => []);
    for (const item of items) this.byRow[this.rowOf.get(rowName(item))]?.push(item);
    this.longest = this.byRow.map((row) => {
      row.sort((a, b) => a.start - b.start);
      return row.reduce((most, item) => Math.max(most, (item.end ?? Infinity) - item.start), 0);
    });
    this.starts = this.byRow.map((row) => row.map((item) => item.start));
    if (isSame) this.draw();
    else this.#layOut();
  }

  setDuration(duration) {
    this.duration = Math.max(duration, 0.04);
    this.zoomTo(1);
  }

  setSeconds(seconds) {
    this.seconds = seconds;
    this.draw();
  }

  /** Keep the play head in view: a page further where it left it. */
  follow() {
    const x = this.seconds * this.scale - this.scroll.scrollLeft;
    if (x < 0 || x > this.width) this.scroll.scrollLeft = this.seconds * this.scale - this.width / 8;
  }

  recolour() {
    this.#colours = null;
    this.draw();
  }

  get zoom() {
    return this.#zoom;
  }

  /** Change the zoom; the time at `x` pixels in view stays there, by default the play head. */
  zoomTo(zoom, x = undefined) {
    const place = x ?? Math.min(Math.max(this.seconds * this.scale - this.scroll.scrollLeft, 0), this.width);
    const seconds = (this.scroll.scrollLeft + place) / this.scale || 0;
    this.#zoom = Math.min(Math.max(zoom, 1), Math.min(MAX_ZOOM, 4 * this.duration + 8));
    this.#layOut();
    this.scroll.scrollLeft = seconds * this.scale - place;
    this.draw();
  }

  get width() {
    return Math.max(this.scroll.clientWidth - this.lane.offsetLeft, 50);
  }

  /** Pixels a second. */
  get scale() {
    return (this.width * this.#zoom) / this.duration;
  }

  #layOut() {
    const height = RULER + this.rows.length * ROW;
    this.lane.style.width = `${this.width * this.#zoom}px`;
    this.lane.style.height = `${Math.max(height, this.scroll.clientHeight)}px`;
    const { canvas } = this;
    canvas.style.left = `${this.lane.offsetLeft}px`;
    const [width, high] = [this.width, Math.max(this.scroll.clientHeight, RULER)];
    const ratio = devicePixelRatio || 1;
    canvas.style.width = `${width}px`;
    canvas.style.height = `${high}px`;
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(high * ratio);
    this.#paint();
  }

  draw() {
    this.#frame ||= requestAnimationFrame(() => this.#paint());
  }

  /** Colours as the browser resolves them now: a canvas knows no custom properties. */
  colour(name) {
    if (!this.#colours) {
      this.#colours = new Map();
      this.#probe ??= this.lane.appendChild(document.createElement("i"));
    }
    if (!this.#colours.has(name)) {
      this.#probe.style.color = `var(--${name})`;
      this.#colours.set(name, getComputedStyle(this.#probe).color);
    }
    return this.#colours.get(name);
  }

  #probe;

  #endOf(item) {
    return item.end ?? (item.kind === "mark" ? this.duration : Math.max(this.seconds, item.start));
  }

  #paint() {
    cancelAnimationFrame(this.#frame);
    this.#frame = 0;
    const { canvas, scroll } = this;
    const context = canvas.getContext("2d");
    const ratio = devicePixelRatio || 1;
    const [width, height] = [canvas.width / ratio, canvas.height / ratio];
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, width, height);
    const first = scroll.scrollLeft / this.scale;
    const view = { context, width, first, last: first + width / this.scale, scale: this.scale };
    view.x = (seconds) => (seconds - first) * view.scale;
    const top = Math.floor(scroll.scrollTop / ROW);
    const bottom = Math.min(this.rows.length, Math.ceil((scroll.scrollTop + height) / ROW));
    for (let place = top; place < bottom; place++) {
      this.#paintRow(view, place, RULER + place * ROW - scroll.scrollTop);
    }
    this.#paintRuler(view);
    context.fillStyle = this.colour("color-playhead");
    context.fillRect(Math.round(view.x(this.seconds)) - 1, 0, 2, height);
    // For whoever tests or measures the page.
    Object.assign(canvas.dataset, { first, scale: view.scale, zoom: this.#zoom });
  }

  #paintRow(view, place, y) {
    const { context, width } = view;
    const row = this.rows[place];
    const colour = this.colour(row.colour);
    context.fillStyle = this.colour("color-grid");
    context.fillRect(0, y + ROW - 1, width, 1);
    if (row.name !== LOOKED) this.#paintKnown(view, row, y);
    const scores = this.scores?.of.get(row.name);
    if (scores) this.#paintScores(view, scores, colour, y);
    const items = this.byRow[place];
    const from = lastNotAbove(this.starts[place], view.first - this.longest[place]);
    for (let n = from; n < items.length && items[n].start <= view.last; n++) {
      if (this.#endOf(items[n]) >= view.first) this.#paintItem(view, items[n], colour, y);
    }
  }

  /** A band where somebody looked for the label. */
  #paintKnown({ context, x }, row, y) {
    context.fillStyle = this.colour("color-accent-soft");
    for (const mark of this.byRow[this.rowOf.get(LOOKED)] ?? []) {
      if (!mark.labels.includes(row.name)) continue;
      const left = x(mark.start);
      context.fillRect(left, y, x(this.#endOf(mark)) - left, ROW - 1);
    }
  }

  #paintScores({ context, x, first, last, scale }, scores, colour, y) {
    const { edges } = this.scores;
    const start = lastNotAbove(edges, first);
    const size = Math.max(1, Math.floor((last - first) / ((edges[1] - edges[0]) * 800)));
    context.strokeStyle = colour;
    context.globalAlpha = 0.55;
    context.lineWidth = 1;
    context.beginPath();
    for (let n = start; n < scores.length && edges[n] <= last; n += size) {
      let score = 0;
      for (let i = n; i < Math.min(n + size, scores.length); i++) score = Math.max(score, scores[i]);
      const level = y + ROW - 3 - score * (ROW - 6);
      context.lineTo(x(edges[n]), level);
      context.lineTo(x(edges[Math.min(n + size, scores.length)]), level);
    }
    context.stroke();
    context.globalAlpha = 1;
  }

  #paintItem({ context, x }, item, colour, y) {
    const shape = this.#drag?.item === item ? { ...item, ...this.#drag.span } : item;
    const isSelected = this.picked.has(item.id);
    const [left, right] = [x(shape.start), x(this.#endOf(shape))];
    const [top, height] = [y + 3, ROW - 7];
    context.fillStyle = context.strokeStyle = colour;
    if (item.kind === "segment" && item.end === item.start) {
      paintPoint(context, left, y + ROW / 2 - 0.5, item.state);
    } else {
      const width = Math.max(right - left, 2);
      context.globalAlpha = item.state === "accepted" ? 0.75 : item.kind === "mark" ? 0.4 : 0.16;
      context.fillRect(left, top, width, height);
      context.globalAlpha = 1;
      if (item.state === "proposed" || item.state === "untimed") {
        hatch(context, left, top, width, height, item.state === "untimed");
      }
      context.lineWidth = 1;
      context.setLineDash(item.state === "rejected" ? [3, 3] : []);
      context.strokeRect(left + 0.5, top + 0.5, Math.max(width - 1, 1), height - 1);
      context.setLineDash([]);
      if (item.state === "rejected") context.fillRect(left, y + ROW / 2 - 1, width, 1);
      if (item.end === null && item.kind === "segment") context.fillRect(right - 3, top - 2, 3, height + 4);
    }
    if (!isSelected) return;
    context.strokeStyle = this.colour("color-text");
    context.lineWidth = 2;
    context.strokeRect(left - 1, top - 1, Math.max(right - left, 2) + 2, height + 2);
  }

  #paintRuler({ context, width, first, last, x, scale }) {
    context.fillStyle = this.colour("color-surface");
    context.fillRect(0, 0, width, RULER);
    context.fillStyle = this.colour("color-border");
    context.fillRect(0, RULER - 1, width, 1);
    const step = TICKS.find((value) => value * scale >= PIXELS_A_TICK) ?? 7200;
    const decimals = step < 0.1 ? 2 : step < 1 ? 1 : 0;
    context.font = "11px system-ui, sans-serif";
    context.fillStyle = this.colour("color-muted");
    for (let n = Math.ceil(first / step - 1e-9); n * step <= last; n++) {
      const at = x(n * step);
      context.fillRect(Math.round(at), RULER - 6, 1, 5);
      context.fillText(clock(n * step, decimals), at + 3, RULER - 9);
    }
  }

  #onWheel(event) {
    if (!(event.ctrlKey || event.metaKey)) return;
    event.preventDefault();
    const { left } = this.canvas.getBoundingClientRect();
    this.zoomTo(this.#zoom * Math.exp(-event.deltaY / 300), event.clientX - left);
  }

  /** What is at a place of the pointer: row, time, and an item with the border that is near. */
  #at(event) {
    const box = this.canvas.getBoundingClientRect();
    const [px, py] = [event.clientX - box.left, event.clientY - box.top];
    const seconds = Math.min(Math.max((this.scroll.scrollLeft + px) / this.scale, 0), this.duration);
    const place = py < RULER ? -1 : Math.floor((py - RULER + this.scroll.scrollTop) / ROW);
    const near = GRIP / this.scale;
    const found = { seconds, row: this.rows[place]?.name ?? null, item: null, border: null };
    let best = Infinity;
    for (const item of this.byRow?.[place] ?? []) {
      const end = this.#endOf(item);
      if (seconds < item.start - near || seconds > end + near) continue;
      const isSelected = item.id === this.selected;
      const edges = [Math.abs(seconds - item.start), Math.abs(seconds - end)];
      const distance = Math.min(...edges) - (isSelected ? near : 0);
      const isInside = item.start <= seconds && seconds <= end;
      if (distance > best || !(isInside || Math.min(...edges) <= near)) continue;
      best = distance;
      const grip = Math.min(near, (end - item.start) / 3 || near);
      const border = Math.min(...edges) > grip ? null : edges[0] < edges[1] ? "start" : "end";
      Object.assign(found, { item, border: item.start === item.end ? null : border });
    }
    return found;
  }

  #onDown(event) {
    if (event.button !== 0) return;
    this.canvas.setPointerCapture(event.pointerId);
    const at = this.#at(event);
    const kind = at.border ? "border" : at.item ? "item" : at.row ? "row" : "ruler";
    const isMark = kind === "ruler" && event.shiftKey;
    this.#drag = { ...at, kind: isMark ? "row" : kind, row: isMark ? LOOKED : at.row, from: event.clientX };
    if (at.item) this.on.select(at.item);
    else if (kind === "ruler" && !isMark) this.on.seek(at.seconds);
  }

  #onMove(event) {
    const drag = this.#drag;
    if (!drag) {
      const { item, border } = this.#at(event);
      this.canvas.style.cursor = border ? "ew-resize" : item ? "pointer" : "crosshair";
      return;
    }
    const { seconds } = this.#at(event);
    if (Math.abs(event.clientX - drag.from) > 2) drag.isMoved = true;
    if (drag.kind === "ruler") this.on.seek(seconds);
    if (drag.kind === "border" && drag.isMoved) {
      const time = this.on.snap(seconds);
      const { start } = drag.item;
      const end = this.#endOf(drag.item);
      drag.span = drag.border === "start" ? { start: Math.min(time, end) } : { end: Math.max(time, start) };
      this.on.seek(time);
    }
    if (drag.kind === "row" && drag.isMoved) {
      const [start, end] = [this.on.snap(drag.seconds), this.on.snap(seconds)].sort((a, b) => a - b);
      drag.span = { start, end };
      this.on.seek(seconds);
    }
    this.draw();
  }

  #onUp(event) {
    const drag = this.#drag;
    this.#drag = null;
    if (!drag || !event) return this.draw();
    const { span, kind } = drag;
    if (kind === "border" && span) this.on.edit(drag.item, span);
    else if (kind === "row" && span && span.end > span.start) this.on.create(drag.row, span);
    else if (kind === "row" && !drag.isMoved) this.on.seek(drag.seconds);
    this.draw();
  }
}

/** The name of the row that an item is drawn in. */
export function rowName(item) {
  return item.kind === "mark" ? LOOKED : item.label;
}

function paintPoint(context, x, y, state) {
  context.beginPath();
  context.moveTo(x - 6, y);
  context.lineTo(x, y - 7);
  context.lineTo(x + 6, y);
  context.lineTo(x, y + 7);
  context.closePath();
  context.lineWidth = 1.5;
  if (state === "accepted") context.fill();
  context.stroke();
}

/** Diagonal lines; crossed ones where a label is somewhere in its time. */
function hatch(context, left, top, width, height, isCrossed) {
  const [from, to] = [Math.max(left, 0), Math.min(left + width, context.canvas.width)];
  context.save();
  context.beginPath();
  context.rect(from, top, to - from, height);
  context.clip();
  context.lineWidth = 1.2;
  context.beginPath();
  for (let x = from - (from % 6) - height; x < to; x += 6) {
    context.moveTo(x, top + height);
    context.lineTo(x + height, top);
    if (!isCrossed) continue;
    context.moveTo(x, top);
    context.lineTo(x + height, top + height);
  }
  context.stroke();
  context.restore();
}
