/** Puts the page together: panels, dialogs and keys. */

import { canReject, Editor, isOpen } from "./editor.js";
import { SegmentList } from "./list.js";
import { ModelDialog } from "./model.js";
import { lastNotAbove, Player, SPEEDS } from "./player.js";
import { Store } from "./store.js";
import { TeachDialog } from "./teach.js";
import { clock, LOOKED, Timeline } from "./timeline.js";

const { byId, make, isDark } = window.msqnet;
const NUM_COLOURS = 20;
const SHOW_ALL_UP_TO = 12;
const STATE_SIGNS = { untouched: "○", "in work": "◐", done: "●" };

const store = new Store();
const player = new Player(byId("video"), store, onTime, (text) => {
  byId("player-note").textContent = text;
  byId("player-note").hidden = !text;
});
const timeline = new Timeline(
  { scroll: byId("scroll"), content: byId("content"), lane: byId("lane"), canvas: byId("canvas") },
  {
    seek: (seconds) => player.seek(seconds),
    select: (item) => select(item.id),
    edit: (item, span) => store.run(() => editor.edit(item, span)),
    create: (row, span) =>
      store.run(() => (row === LOOKED ? editor.mark(span) : editor.create(row, span))),
    snap,
  },
);
const list = new SegmentList(byId("list"), byId("list-rows"), pick);
const page = {
  selected: null,
  select,
  picked: () => [...timeline.picked].map((id) => store.items.get(id)).filter(Boolean),
  say,
  order: () => list.shown,
  get subject() {
    return byId("subject").value.trim();
  },
  get checkedLabels() {
    return store.labels.map((label) => label.name).filter((name) => !unticked.has(name));
  },
};
const editor = new Editor(store, player, page);
const unticked = new Set();
let isRelabelling = false;
let shownLabels = "";

/** The start of the frame that is shown at a time, or the end of the video. */
function snap(seconds) {
  if (!player.starts) return seconds;
  const { starts, duration } = player;
  if (seconds > (starts[starts.length - 1] + duration) / 2) return duration;
  return Math.max(starts[lastNotAbove(starts, seconds)], 0);
}

function say(text) {
  byId("announce").textContent = text;
  byId("saved").textContent = text;
}

function warn(lines) {
  byId("banner").textContent = lines.join("\n");
  byId("banner").hidden = false;
}

function trouble(error) {
  if (error.code === "other_window") return close("Open in another window", error);
  if (error.status === 0 || error.status === 401) return close("No connection", error);
  warn([error.message]);
}

/** Instead of the page: why it cannot be used now. */
function close(title, error) {
  store.isLost = true;
  byId("closed-title").textContent = title;
  byId("closed-text").textContent =
    error.status === 401
      ? "Open the address that msqnet printed when it started: it lets your browser in."
      : error.message;
  byId("take-over").hidden = error.code !== "other_window";
  byId("closed").hidden = false;
  byId("main").inert = true;
}

function colourOf(name) {
  const place = store.labels.findIndex((label) => label.name === name);
  return `label-${Math.max(place, 0) % NUM_COLOURS}`;
}

/** Select an item, alone or with others that are `picked`. */
function select(id, doSeek = false, picked = new Set(id === null ? [] : [id])) {
  page.selected = timeline.selected = id;
  timeline.picked = picked;
  list.select(id, picked);
  const item = store.items.get(id);
  if (item && doSeek) {
    player.video.pause();
    player.seek(item.start);
    timeline.follow();
  }
  showDetails();
  timeline.draw();
}

/** A click in the list: with Shift up to there, with Ctrl one more or less. */
function pick(id, { shiftKey, ctrlKey, metaKey }) {
  if (shiftKey) return select(id, true, list.between(page.selected, id));
  if (!ctrlKey && !metaKey) return select(id, true);
  const picked = new Set(timeline.picked);
  if (!picked.delete(id)) picked.add(id);
  select([...picked].pop() ?? null, false, picked);
}

function onTime() {
  const { seconds, frame } = player;
  byId("clock").textContent = clock(seconds);
  byId("frame").textContent = frame === null ? "" : `frame ${frame}`;
  byId("play").textContent = player.isPlaying ? "Pause" : "Play";
  timeline.setSeconds(seconds);
  if (player.isPlaying) timeline.follow();
}

/** Rows: what was looked at, then labels that are chosen. */
function shownRows() {
  const used = new Set(store.segments().map((item) => item.label));
  const wanted = byId("label-filter").value.trim().toLowerCase();
  const rows = store.labels
    .filter((label) => byId("all-labels").checked || used.has(label.name))
    .filter((label) => label.name.toLowerCase().includes(wanted))
    .map((label) => ({ ...label, colour: colourOf(label.name) }));
  return [{ name: LOOKED, colour: "color-good" }, ...rows];
}

function showNames(rows) {
  const counts = new Map();
  for (const item of store.segments()) counts.set(item.label, (counts.get(item.label) ?? 0) + 1);
  const key = JSON.stringify([rows, [...counts], [...unticked]]);
  if (key === shownLabels) return;
  shownLabels = key;
  const nodes = rows.map((row) => {
    const node = make("div", "name-row");
    node.setAttribute("role", "listitem");
    if (row.name === LOOKED) {
      node.append(make("span", "name muted", "looked at"));
      return node;
    }
    const tick = make("input");
    Object.assign(tick, { type: "checkbox", checked: !unticked.has(row.name) });
    tick.title = `Looked for ${row.name}, where you say that you looked`;
    tick.setAttribute("aria-label", tick.title);
    tick.onchange = () => unticked[tick.checked ? "delete" : "add"](row.name);
    const chip = make("button", "chip", row.key || "·");
    Object.assign(chip, { type: "button", title: `Key and kind of ${row.name}: change` });
    chip.onclick = () => openLabel(row);
    const name = make("button", "name", row.name);
    Object.assign(name, { type: "button", title: `${row.name}: start or stop` });
    name.style.setProperty("--colour", `var(--${row.colour})`);
    name.onclick = () => editor.run(() => useLabel(row));
    node.append(tick, chip, name, make("span", "small muted number", counts.get(row.name) ?? ""));
    return node;
  });
  byId("names").replaceChildren(make("div", "names-head"), ...nodes);
}

function showAll() {
  const segments = store.segments();
  const rows = shownRows();
  showNames(rows);
  timeline.show(rows, [...store.items.values()]);
  const choice = {
    state: byId("filter-state").value,
    label: byId("filter-label").value,
    order: byId("order").value,
  };
  list.show([...store.items.values()], choice, store.video.has_scores, colourOf);
  byId("accept-count").textContent = `${toAccept().length} of ${segments.filter(isOpen).length} open`;
  byId("undo").disabled = !store.numUndo;
  byId("redo").disabled = !store.numRedo;
  byId("done").setAttribute("aria-pressed", store.video.state === "done");
  const subjects = [...new Set(segments.map((item) => item.subject).filter(Boolean))].sort();
  byId("subjects").replaceChildren(...subjects.map((name) => new Option(name, name)));
  showVideos();
  showDetails();
  byId("banner").hidden = true;
}

/** By name as they come, or in a random order that is always the same. */
function orderedVideos() {
  if (byId("video-order").value === "name") return store.videos;
  const mixed = ({ id }) => {
    const once = Math.imul(id ^ (id >>> 16), 0x85ebca6b);
    return Math.imul(once ^ (once >>> 13), 0xc2b2ae35) >>> 0;
  };
  return [...store.videos].sort((a, b) => mixed(a) - mixed(b));
}

function showVideos() {
  const nodes = orderedVideos().map((video) => {
    const button = make("button", "video");
    button.type = "button";
    const sign = make("span", `sign is-${video.state.replace(" ", "-")}`, STATE_SIGNS[video.state]);
    sign.title = video.state;
    const facts = [video.state];
    if (video.duration) facts.push(clock(video.duration, 0));
    if (video.num_open) facts.push(`${video.num_open} open`);
    const text = make("span", "text");
    const name = make("span", "name", video.name.split("/").pop());
    name.title = video.name;
    text.append(name, make("span", "small muted", facts.join(" · ")));
    button.append(sign, text);
    if (video.id === store.video?.id) button.setAttribute("aria-current", "true");
    button.onclick = () => store.run(() => openVideo(video.id));
    const row = make("li");
    row.append(button);
    return row;
  });
  byId("videos").replaceChildren(...nodes);
}

function showDetails() {
  const item = store.items.get(page.selected);
  const isSegment = item?.kind === "segment";
  byId("details-empty").hidden = Boolean(item);
  byId("details-fields").hidden = !item;
  if (!item) return;
  const options = isSegment ? store.labels.map(({ name }) => new Option(name, name)) : [new Option(LOOKED)];
  byId("d-label").replaceChildren(...options);
  const values = { label: item.label ?? LOOKED, subject: item.subject ?? "", start: round(item.start) };
  Object.assign(values, { end: item.end === null ? "" : round(item.end), comment: item.comment ?? "" });
  for (const [name, value] of Object.entries(values)) {
    const field = byId(`d-${name}`);
    if (field !== document.activeElement || field.tagName === "SELECT") field.value = value;
    field.disabled = !isSegment && name !== "start" && name !== "end";
  }
  for (const name of ["split", "join"]) byId(name).disabled = !isSegment;
  byId("accept").disabled = !page.picked().some((other) => other.kind === "segment");
  byId("reject").disabled = !page.picked().some((other) => other.kind === "segment" && canReject(other));
}

function round(seconds) {
  return Number(seconds.toFixed(4));
}

function toAccept() {
  const lowest = byId("accept-score").valueAsNumber;
  return list.shown.filter((item) => isOpen(item) && item.score !== null && item.score >= lowest);
}

async function openVideo(id) {
  page.selected = timeline.selected = null;
  timeline.picked = new Set();
  editor.lookedFrom = null;
  byId("look").setAttribute("aria-pressed", "false");
  const video = await store.open(id);
  const first = list.shown.find(isOpen);
  timeline.setDuration(video.duration ?? 1);
  showScores(video);
  player.load(id, video.duration).then(() => {
    if (store.video.id !== id) return;
    if (player.duration) timeline.setDuration(player.duration);
    if (player.facts?.notes.length) warn(player.facts.notes);
    if (first && page.selected === null) select(first.id, true);
  });
}

/** The model's scores over time, behind the segments; they come when they are read. */
function showScores({ id, has_scores: hasScores }) {
  timeline.scores = null;
  if (!hasScores) return;
  store.scores(id).then(
    ({ labels, edges, scores }) => {
      if (store.video.id !== id) return;
      timeline.scores = { edges, of: new Map(labels.map((name, n) => [name, scores[n]])) };
      timeline.draw();
    },
    () => {}, // the curves are an extra
  );
}

async function useLabel(label) {
  if (isRelabelling) {
    isRelabelling = false;
    await editor.relabel(label.name);
  } else await editor.annotate(label);
}

/** Borders of everything that is shown, in order. */
function toBorder(direction) {
  const names = new Set(timeline.rows.map((row) => row.name));
  const times = [...store.items.values()]
    .filter((item) => names.has(item.label ?? LOOKED))
    .flatMap((item) => [item.start, item.end ?? item.start])
    .filter((time) => (direction > 0 ? time > player.seconds + 1e-6 : time < player.seconds - 1e-6));
  const found = direction > 0 ? Math.min(...times) : Math.max(...times);
  if (Number.isFinite(found)) {
    player.video.pause();
    player.seek(found);
    timeline.follow();
  }
}

function changeSpeed(count) {
  const place = byId("speed").selectedIndex + count;
  byId("speed").selectedIndex = Math.min(Math.max(place, 0), SPEEDS.length - 1);
  player.setSpeed(Number(byId("speed").value));
}

function move(seconds) {
  player.seek(player.seconds + seconds);
  timeline.follow();
}

function toNeighbour(count, isMore = false) {
  const item = list.neighbour(count);
  if (!item) return;
  select(item.id, true, isMore ? new Set([...timeline.picked, item.id]) : undefined);
}

function toVideo(count) {
  const videos = orderedVideos();
  const next = videos[videos.findIndex((video) => video.id === store.video.id) + count];
  if (next) store.run(() => openVideo(next.id));
}

function playSelected() {
  const item = editor.selected;
  if (item) player.playSpan(item.start, item.end);
}

async function look() {
  await editor.look();
  byId("look").setAttribute("aria-pressed", editor.lookedFrom !== null);
}

function relabelNext() {
  isRelabelling = editor.selected?.kind === "segment";
  say(isRelabelling ? "Now the key of the right label" : "Select a segment first");
}

const stored = (task) => () => editor.run(task);
const KEYS = [
  [" ", "play or pause", () => player.toggle()],
  [",", "frame before", () => player.step(-1)],
  [".", "next frame", () => player.step(1)],
  ["ArrowLeft", "1 s back", () => move(-1)],
  ["ArrowRight", "1 s on", () => move(1)],
  ["[", "border before", () => toBorder(-1)],
  ["]", "next border", () => toBorder(1)],
  ["ArrowUp", "segment before", () => toNeighbour(-1)],
  ["ArrowDown", "next segment", () => toNeighbour(1)],
  ["Shift+ArrowUp", "the segment before, too", () => toNeighbour(-1, true)],
  ["Shift+ArrowDown", "the next segment, too", () => toNeighbour(1, true)],
  ["Shift+M", "make a label of what is selected", () => teaching.open()],
  ["Enter", "play the selected segment", playSelected],
  ["y", "accept what is selected, and on to the next proposal", stored(() => editor.settle("accepted"))],
  ["n", "reject what is selected, and on to the next proposal", stored(() => editor.settle("rejected"))],
  ["{", "start of the selected segment to here", stored(() => editor.moveBorder("start"))],
  ["}", "end of the selected segment to here", stored(() => editor.moveBorder("end"))],
  ["Shift+R", "relabel: then the key of the right label", relabelNext],
  ["Shift+S", "split at the play head", stored(() => editor.split())],
  ["Shift+J", "join with the next one of the label", stored(() => editor.join())],
  ["Delete", "delete (a proposal is rejected)", stored(() => editor.remove())],
  ["Shift+L", "looked at from here, and to here", stored(look)],
  ["Shift+C", "comment", () => byId("d-comment").focus()],
  ["Shift+D", "video done or not", stored(() => store.setDone(store.video.state !== "done"))],
  ["Shift+N", "next video", () => toVideo(1)],
  ["Shift+P", "video before", () => toVideo(-1)],
  ["Ctrl+Z", "undo", stored(() => store.undo())],
  ["Ctrl+Shift+Z", "redo", stored(() => store.redo())],
  ["Ctrl+Y", "redo", stored(() => store.redo())],
  ["<", "slower", () => changeSpeed(-1)],
  [">", "faster", () => changeSpeed(1)],
  ["-", "zoom out", () => timeline.zoomTo(timeline.zoom / 1.5)],
  ["=", "zoom in", () => timeline.zoomTo(timeline.zoom * 1.5)],
  ["Escape", "select nothing", () => select(null)],
  ["?", "these keys", () => byId("help-open").click()],
];
const KEY_NAMES = {
  " ": "Space", ArrowLeft: "←", ArrowRight: "→", ArrowUp: "↑", ArrowDown: "↓", "Shift+ArrowUp": "Shift+↑",
  "Shift+ArrowDown": "Shift+↓",
};
const ACTIONS = new Map(KEYS.map(([key, , action]) => [key, action]));

function keyName(event) {
  const isControl = (event.ctrlKey || event.metaKey) && !event.getModifierState("AltGraph");
  const key = event.key.length === 1 && /[a-z]/i.test(event.key) ? event.key.toUpperCase() : event.key;
  if (isControl) return `Ctrl+${event.shiftKey ? "Shift+" : ""}${key}`;
  if (event.shiftKey && /^([A-Z]|ArrowUp|ArrowDown)$/.test(key)) return `Shift+${key}`;
  return key.length === 1 ? event.key.toLowerCase() : key;
}

function onKey(event) {
  const { target } = event;
  const isTyping = target.matches("input:not([type=checkbox]), select, textarea");
  if (isTyping) {
    if (event.key === "Escape" || (event.key === "Enter" && target.id.startsWith("d-"))) target.blur();
    return;
  }
  // Where brackets are typed with the key AltGr, it counts as no key of its own.
  if (event.altKey && !event.getModifierState("AltGraph")) return;
  if (!byId("closed").hidden || document.querySelector("dialog[open]")) return;
  // Buttons and ticks keep their own keys.
  if (target.matches("button, input") && [" ", "Enter"].includes(event.key)) return;
  const name = keyName(event);
  const label = name.length === 1 && store.labels.find((item) => item.key === name);
  const action = ACTIONS.get(name);
  if (!action && !label) return;
  event.preventDefault();
  if (event.repeat && (label || "yn{}".includes(name) || name === "Enter" || name === " ")) return;
  if (action) action();
  else editor.run(() => useLabel(label));
}

function openLabel(label) {
  const form = byId("label-form");
  form.reset();
  form.dataset.name = label?.name ?? "";
  byId("l-name").value = label?.name ?? "";
  byId("l-name").readOnly = Boolean(label);
  byId("l-key").value = label?.key ?? "";
  byId("l-point").checked = label?.is_point ?? false;
  byId("l-error").hidden = true;
  byId("label-dialog").showModal();
  byId(label ? "l-key" : "l-name").focus();
}

async function saveLabel() {
  const own = { name: byId("l-name").value.trim(), key: byId("l-key").value, is_point: byId("l-point").checked };
  const isNew = !byId("label-form").dataset.name;
  const others = store.labels.map((label) => (label.name === own.name && !isNew ? own : label));
  try {
    await store.setLabels(isNew ? [...others, own] : others);
    if (isNew) byId("all-labels").checked ||= store.labels.length <= SHOW_ALL_UP_TO;
    byId("label-dialog").close();
    fillLabels();
    showAll();
  } catch (error) {
    byId("l-error").textContent = error.message;
    byId("l-error").hidden = false;
  }
}

async function saveExport() {
  const lines = byId("e-lines");
  const pairs = byId("e-options").value.split("\n").filter((line) => line.includes("="));
  const options = Object.fromEntries(pairs.map((line) => line.trim().split(/=(.*)/s).slice(0, 2)));
  const [format, name] = [byId("e-format").value, byId("e-name").value.trim()];
  const body = { format, name, options, overwrite: byId("e-overwrite").checked };
  let found;
  try {
    found = await store.export(body);
  } catch (error) {
    found = [error.message];
  }
  lines.replaceChildren(...found.map((line) => make("li", "", line)));
}

function fillLabels() {
  const kept = byId("filter-label").value;
  const names = store.labels.map(({ name }) => new Option(name, name));
  byId("filter-label").replaceChildren(new Option("all labels", ""), ...names);
  byId("filter-label").value = kept;
  const rows = KEYS.map(([key, text]) => [KEY_NAMES[key] ?? key, text]);
  const own = store.labels.filter((label) => label.key).map((label) => [label.key, label.name]);
  byId("help-rows").replaceChildren(
    ...[...rows, ...own].map(([key, text]) => {
      const row = make("p", "help-row");
      row.append(make("kbd", "", key), make("span", "", text));
      return row;
    }),
  );
}

function nameExport() {
  const format = store.project.formats.find(({ name }) => name === byId("e-format").value);
  const stem = store.project.table.replace(/\.[^.]*$/, "");
  const isTable = format.name === "table";
  byId("e-name").value = isTable ? store.project.table : `${stem}_${format.name}${format.suffix}`;
  const known = Object.entries(format.options).flatMap(([name, text]) => [make("dt", "", name), make("dd", "", text)]);
  byId("e-known").replaceChildren(...known);
  byId("e-options").value = "";
}

/** Store a field of the details when it was changed. */
function onDetail(name) {
  const item = editor.selected;
  const field = byId(`d-${name}`);
  if (!item) return;
  let value = field.value.trim();
  if (name === "start" || name === "end") value = field.value === "" ? null : field.valueAsNumber;
  if ((name === "start" && value === null) || item[name] === value) return;
  store.run(() => editor.edit(item, { [name]: value }));
}

function listen() {
  const clicks = {
    play: " ", "frame-back": ",", "frame-on": ".", "border-back": "[", "border-on": "]", accept: "y",
    reject: "n", split: "Shift+S", join: "Shift+J", remove: "Delete", undo: "Ctrl+Z", redo: "Ctrl+Shift+Z",
    done: "Shift+D", look: "Shift+L", "zoom-in": "=", "zoom-out": "-",
  };
  for (const [id, key] of Object.entries(clicks)) byId(id).onclick = ACTIONS.get(key);
  byId("look-all").onclick = stored(() => editor.mark({ start: 0, end: null }));
  byId("player").onclick = () => player.toggle();
  byId("speed").onchange = () => changeSpeed(0);
  const shown = ["filter-state", "filter-label", "order", "all-labels", "video-order"];
  for (const id of shown) byId(id).onchange = showAll;
  for (const id of ["label-filter", "accept-score"]) byId(id).oninput = showAll;
  for (const name of ["label", "subject", "start", "end", "comment"]) {
    byId(`d-${name}`).onchange = () => onDetail(name);
  }
  byId("accept-all").onsubmit = (event) => {
    event.preventDefault();
    store.run(() => editor.acceptAll(toAccept()));
  };
  byId("details").onsubmit = (event) => event.preventDefault();
  byId("label-open").onclick = () => openLabel(null);
  byId("help-open").onclick = () => byId("help").showModal();
  byId("export-open").onclick = () => {
    byId("e-lines").replaceChildren();
    byId("export-dialog").showModal();
  };
  byId("e-format").onchange = nameExport;
  for (const [id, save] of [["label-form", saveLabel], ["export-form", saveExport]]) {
    byId(id).onsubmit = (event) => {
      event.preventDefault();
      store.run(save);
    };
  }
  byId("l-cancel").onclick = () => byId("label-dialog").close();
  byId("e-cancel").onclick = () => byId("export-dialog").close();
  byId("theme").onclick = () => {
    document.documentElement.dataset.theme = isDark() ? "light" : "dark";
    timeline.recolour();
  };
  byId("take-over").onclick = () => start(true);
  document.addEventListener("keydown", onKey);
  // What was clicked or chosen with the mouse does not take the next keys.
  document.addEventListener("click", ({ detail, target }) => detail && target.closest("button")?.blur());
  byId("main").addEventListener("change", ({ target }) => target.blur());
  store.addEventListener("change", showAll);
  store.addEventListener("trouble", ({ detail }) => trouble(detail));
}

async function start(isForced = false) {
  try {
    await store.enter(isForced);
  } catch (error) {
    return trouble(error);
  }
  byId("closed").hidden = true;
  byId("main").inert = false;
  byId("table").textContent = store.project.table;
  byId("table").title = `${store.project.folder}/${store.project.table}`;
  document.title = `${store.project.table} · msqnet review`;
  byId("export-folder").textContent = `Written to ${store.project.folder}`;
  byId("e-format").replaceChildren(...store.project.formats.map(({ name, title }) => new Option(title, name)));
  byId("e-format").value = "table";
  nameExport();
  byId("all-labels").checked = store.labels.length <= SHOW_ALL_UP_TO;
  fillLabels();
  say("every change is stored");
  const first = store.videos.find((video) => video.state !== "done") ?? store.videos[0];
  await store.run(() => openVideo(first.id));
  if (store.project.notes.length) warn(store.project.notes);
}

const model = new ModelDialog(store, () =>
  store.run(async () => {
    await store.refresh();
    fillLabels();
    showAll();
    showScores(store.video);
  }),
);
const teaching = new TeachDialog(store, page, () => {
  fillLabels();
  model.open();
});
byId("speed").replaceChildren(...SPEEDS.map((speed) => new Option(`${speed}×`, speed)));
byId("speed").value = "1";
listen();
start();
