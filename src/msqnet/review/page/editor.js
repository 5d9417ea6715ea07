/** What can be done to segments and marks. Each command is one step of undo. */

const SAME_TIME = 1e-3;

export function isOpen(item) {
  return item.state === "proposed" || item.state === "untimed";
}

/** Whether a segment can be rejected: a model proposed it. What a person made is deleted. */
export function canReject(item) {
  return isOpen(item) || item.score !== null || Boolean(item.proposal);
}

/**
 * Which segments show that a person and the model say different things: what was rejected or edited,
 * accepted ones that the model does not propose, and proposals where somebody had looked and seen
 * nothing. `hasScores`: whether there is a result of a model at all.
 */
export function disagreements(items, hasScores) {
  const segments = items.filter((item) => item.kind === "segment");
  const marks = items.filter((item) => item.kind === "mark");
  const ends = (item) => item.end ?? Infinity;
  const overlaps = (item, other) =>
    other.label === item.label && other.start < ends(item) && item.start < ends(other);
  const isKnown = (item) =>
    marks.some(
      (mark) =>
        mark.id < item.id &&
        mark.labels.includes(item.label) &&
        mark.start <= item.start &&
        item.end <= ends(mark) + SAME_TIME,
    );
  const isOne = (item) => {
    if (item.state === "rejected") return item.score !== null || item.proposal !== null;
    if (item.state === "proposed") {
      const isSeen = segments.some((other) => other.state === "accepted" && overlaps(item, other));
      return !isSeen && isKnown(item);
    }
    if (item.state !== "accepted" || (item.score !== null && !item.proposal)) return false;
    const { proposal } = item;
    if (!proposal) return hasScores && !segments.some((o) => o.score !== null && overlaps(item, o));
    const moved = Math.max(Math.abs(proposal.start - item.start), Math.abs(proposal.end - ends(item)));
    return proposal.label !== item.label || moved > SAME_TIME;
  };
  return new Set(segments.filter(isOne));
}

/** An item with changes; a proposal that is edited is accepted, and what it was is kept. */
export function edited(item, changes) {
  if (item.kind === "mark") return { ...item, ...changes };
  const { label, start, end } = item;
  const proposal = item.proposal ?? (item.state === "proposed" ? { label, start, end } : null);
  return { ...item, proposal, state: "accepted", ...changes };
}

export class Editor {
  /** `page`: `selected`, `select(id)`, `subject`, `checkedLabels`, `order()`, `say(text)`. */
  constructor(store, player, page) {
    Object.assign(this, { store, player, page, now: 0, lookedFrom: null });
  }

  /** Run a command when those before it are stored, with the play head as it is at this moment. */
  run(command) {
    const now = this.player.seconds;
    return this.store.run(() => {
      this.now = now;
      return command();
    });
  }

  get selected() {
    return this.store.items.get(this.page.selected) ?? null;
  }

  /** Start or stop a label, or note a moment of one that has no length. */
  async annotate(label) {
    const { subject } = this.page;
    const base = { kind: "segment", label: label.name, start: this.now, subject };
    const running = this.store
      .segments()
      .find((item) => item.label === label.name && item.subject === subject && item.end === null);
    if (running && this.now <= running.start) {
      await this.store.change([], [running.id]);
      this.page.say(`${label.name}: taken back`);
    } else if (running) {
      const [put] = await this.store.change([{ ...running, end: this.now }]);
      this.page.select(put.id);
      this.page.say(`${label.name} stopped`);
    } else {
      const end = label.is_point ? this.now : null;
      const [put] = await this.store.change([{ ...base, end }]);
      this.page.select(put.id);
      this.page.say(label.is_point ? `${label.name} noted` : `${label.name} started`);
    }
  }

  async create(label, span) {
    const { subject } = this.page;
    const [put] = await this.store.change([{ kind: "segment", label, subject, ...span }]);
    this.page.select(put.id);
  }

  /** Accept or reject segments, by default all that are selected, as one step; go on to the next open one. */
  async settle(state, items = this.page.picked()) {
    const segments = items.filter((item) => item.kind === "segment");
    if (!segments.length) return this.page.say("Select a segment first");
    const put = state === "rejected" ? segments.filter(canReject) : segments;
    if (!put.length) return this.page.say("This is no proposal: Delete removes it");
    const settled = new Set(put.map((item) => item.id));
    const order = this.page.order();
    const place = order.findLastIndex((other) => settled.has(other.id));
    const isNext = (other) => isOpen(other) && !settled.has(other.id);
    const next = order.slice(place + 1).find(isNext) ?? order.find(isNext);
    await this.store.change(put.map((item) => ({ ...item, state })));
    if (next) this.page.select(next.id, true);
    this.page.say(`${put.length > 1 ? `${put.length} segments` : put[0].label} ${state}`);
  }

  async acceptAll(items) {
    await this.store.change(items.map((item) => ({ ...item, state: "accepted" })));
    this.page.say(`${items.length} accepted`);
  }

  async edit(item, changes) {
    const known = this.store.items.get(item.id);
    if (known) await this.store.change([edited(known, changes)]);
  }

  /** Move the start or the end of the selected item to the play head. */
  async moveBorder(side) {
    const item = this.selected;
    if (!item) return;
    const isInOrder = side === "start" ? this.now <= (item.end ?? Infinity) : this.now >= item.start;
    if (isInOrder) await this.edit(item, { [side]: this.now });
    else this.page.say(`The ${side} cannot be there`);
  }

  /** Remove what a person made; a segment of a model is rejected, so that its absence is known. */
  async remove() {
    const item = this.selected;
    if (!item) return;
    const isOfModel = item.kind === "segment" && (item.score !== null || item.proposal);
    if (isOfModel) return this.settle("rejected", [item]);
    await this.store.change([], [item.id]);
    this.page.say("deleted");
  }

  async split() {
    const item = this.selected;
    const end = item?.end ?? Infinity;
    if (item?.kind !== "segment" || this.now <= item.start || this.now >= end) {
      return this.page.say("Put the play head inside of the selected segment");
    }
    const second = { ...edited(item, { start: this.now }), id: 0 };
    await this.store.change([edited(item, { end: this.now }), second]);
  }

  /** Join the selected segment with the next one of its label and subject. */
  async join() {
    const item = this.selected;
    if (item?.kind !== "segment" || item.end === null) return;
    const next = this.store
      .segments()
      .filter(
        (other) =>
          other.id !== item.id &&
          other.label === item.label &&
          other.subject === item.subject &&
          other.state !== "rejected" &&
          other.start >= item.start,
      )
      .sort((a, b) => a.start - b.start)[0];
    if (!next) return this.page.say("There is no later segment of this label");
    const end = next.end === null ? null : Math.max(item.end, next.end);
    await this.store.change([edited(item, { end })], [next.id]);
  }

  async relabel(label) {
    if (this.selected?.kind === "segment") await this.edit(this.selected, { label });
  }

  /** Begin a mark of time that was looked at, or end it and store it. */
  async look() {
    if (this.lookedFrom === null) {
      this.lookedFrom = this.now;
      this.page.say("Looked at from here");
      return;
    }
    const [start, end] = [this.lookedFrom, this.now].sort((a, b) => a - b);
    this.lookedFrom = null;
    if (end > start) await this.mark({ start, end });
  }

  async mark(span) {
    const labels = this.page.checkedLabels;
    if (!labels.length) return this.page.say("Tick the labels that you looked for");
    await this.store.change([{ kind: "mark", labels, ...span }]);
    this.page.say(`Looked at for ${labels.length} label(s)`);
  }
}
