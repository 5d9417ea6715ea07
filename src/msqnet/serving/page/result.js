/** Shows one finished prediction: player, ethogram, tables, attribution map, downloads. */

import { address, whenMade } from "./api.js";
import { byId, formatDuration, formatPercent, make, plural, sentence, spoken } from "./format.js";
import { HeatMap } from "./heat_map.js";

const HEAT_SECONDS = 10;
const WORTH_A_NOTE = 0.1;
const UNKNOWN_TEXT = "unlike the training videos, and the model does not know what it shows";

export class ResultView {
  /** @param {{onState: function(object)}} callbacks `onState`: what the address should remember. */
  constructor({ onState }) {
    this._onState = onState;
    this._video = byId("video");
    this._heat = new HeatMap(this._video, byId("heat"));
    this._ethogram = null;
    this._status = null;
    this._loading = new AbortController();
    this._listen();
  }

  /** @param status as the API gives it. @param state `threshold` as the address remembers it. */
  show(status, state) {
    this.clear();
    this._status = status;
    this._result = status.result;
    this._loading = new AbortController();
    this._path = `predictions/${encodeURIComponent(status.id)}`;
    const { width, height, duration_seconds: duration, provenance } = this._result;
    byId("result-title").textContent = status.file_name;
    // Words that the server's model does not know are scored by another one.
    const model = provenance.model.name?.replace("clip-zero-shot:", "");
    byId("result-facts").textContent =
      `${formatDuration(duration)} · ${width} × ${height} · ` +
      (model ? `scored by ${model} · ` : "") +
      `kept for ${formatDuration(Math.round(status.expires_in_seconds ?? 0))}`;
    this._showNotes();
    this._showProvenance();
    this._setAspect(width, height);
    this._ethogram = new window.msqnet.Ethogram(byId("ethogram"), this._result, {
      video: this._video,
      onSelect: (segment) => this._choose(segment),
      onTime: (seconds) => this._markNow(seconds),
    });
    this._fillHeatLabels();
    byId("filter").value = "";
    byId("only-present").checked = this._result.labels.length > 12;
    const threshold = Number.parseFloat(state.threshold);
    this._setThreshold(Number.isFinite(threshold) ? Math.min(Math.max(threshold, 0), 1) : null);
    this._loadVideo();
  }

  /** Drop the last result. */
  clear() {
    this._loading.abort();
    this._ethogram?.destroy();
    this._ethogram = null;
    this._heat.show(null);
    this._isHeatShown = false;
    this._video.removeAttribute("src");
    this._video.load();
    byId("heat-note").textContent = "";
    byId("heat-button").setAttribute("aria-pressed", "false");
    byId("heat-button").textContent = "Show attribution map";
    for (const name of ["overlay", "report"]) {
      byId(`download-${name}`).disabled = false;
      byId(`download-${name}`).textContent = DOWNLOADS[name].text;
    }
  }

  _listen() {
    byId("threshold").addEventListener("input", () => {
      this._setThreshold(byId("threshold").valueAsNumber);
    });
    byId("own-thresholds").addEventListener("change", (event) => {
      this._setThreshold(event.target.checked ? null : byId("threshold").valueAsNumber);
    });
    byId("filter").addEventListener("input", () => this._filter());
    byId("only-present").addEventListener("change", () => this._filter());
    byId("heat-label").addEventListener("change", () => this._isHeatShown && this._showHeat());
    byId("heat-button").addEventListener("click", () => {
      if (this._isHeatShown) this._hideHeat();
      else this._showHeat();
    });
    for (const name of Object.keys(DOWNLOADS)) {
      byId(`download-${name}`).addEventListener("click", () => this._download(name));
    }
    this._video.addEventListener("error", () => this._onVideoError());
    this._video.addEventListener("loadedmetadata", () => {
      const { videoWidth, videoHeight } = this._video;
      // As it is shown: the pixels of a video need not be square.
      if (videoWidth) this._setAspect(videoWidth, videoHeight);
    });
  }

  _setAspect(width, height) {
    byId("player").style.setProperty("--video-aspect", `${width} / ${height}`);
  }

  /** The video, or a copy that this browser can play, once the server has made it. */
  async _loadVideo(transcode = false) {
    const { signal } = this._loading;
    const note = byId("player-note");
    const path = `${this._path}/video${transcode ? "?transcode=true" : ""}`;
    this._isTranscoded = transcode;
    try {
      const headers = { Range: "bytes=0-0" };
      await whenMade(path, ({ progress }) => {
        note.hidden = false;
        note.textContent = `Converting the video for this browser: ${formatPercent(progress)}`;
      }, { headers, signal });
      note.hidden = true;
      this._video.src = address(path);
    } catch (error) {
      if (error.name === "AbortError") return;
      note.hidden = false;
      note.textContent = `The video cannot be shown: ${error.message}`;
    }
  }

  _onVideoError() {
    if (!this._video.getAttribute("src")) return;
    if (!this._isTranscoded) this._loadVideo(true);
    else {
      byId("player-note").hidden = false;
      byId("player-note").textContent = "This browser cannot play the video.";
    }
  }

  _setThreshold(threshold) {
    this._threshold = threshold;
    const slider = byId("threshold");
    byId("own-thresholds").checked = threshold === null;
    if (threshold !== null) slider.value = threshold;
    slider.classList.toggle("is-unused", threshold === null);
    byId("threshold-value").textContent = threshold === null ? "–" : threshold.toFixed(2);
    const query = threshold === null ? "" : `?threshold=${threshold}`;
    byId("download-json").href = address(`${this._path}/result.json`);
    byId("download-csv").href = address(`${this._path}/segments.csv${query}`);
    this._ethogram.setThreshold(threshold);
    this._filter();
    this._onState({ threshold: threshold === null ? null : threshold.toFixed(2) });
  }

  /** Show the labels that the text and the switch let through. */
  _filter() {
    const text = byId("filter").value.trim().toLowerCase();
    this._ethogram.showLabels(null);
    const present = new Set(this._ethogram.segments.map((segment) => segment.label));
    const isOnlyPresent = byId("only-present").checked && present.size > 0;
    const names = this._result.labels.filter(
      (label) =>
        spoken(label).toLowerCase().includes(text) && (!isOnlyPresent || present.has(label)),
    );
    this._ethogram.showLabels(names);
    const note = byId("ethogram-note");
    note.hidden = names.length > 0;
    note.textContent = "No action has this name.";
    this._fillBudget();
    this._fillSegments();
  }

  _colour(label) {
    return window.msqnet.labelColour(this._result.labels.indexOf(label));
  }

  _labelCell(label, onClick) {
    const cell = make("td");
    const swatch = make("span", "swatch");
    swatch.style.setProperty("--swatch", this._colour(label));
    const button = make("button");
    button.type = "button";
    button.append(swatch, make("span", "", spoken(label)));
    button.addEventListener("click", onClick);
    cell.append(button);
    return cell;
  }

  _fillBudget() {
    const segments = this._ethogram.segments;
    const budget = window.msqnet.timeBudget(this._result, segments);
    budget.sort((a, b) => b.total_seconds - a.total_seconds);
    const rows = budget.map((item) => {
      const row = make("tr");
      const first = segments.find((segment) => segment.label === item.label);
      row.append(
        this._labelCell(item.label, () => this._jump(first)),
        make("td", "number", formatDuration(item.total_seconds)),
        make("td", "number", formatPercent(item.share)),
        make("td", "number", String(item.bouts)),
      );
      row.dataset.label = item.label;
      return row;
    });
    byId("budget").tBodies[0].replaceChildren(...rows);
    byId("budget").hidden = rows.length === 0;
    byId("budget-empty").hidden = rows.length > 0;
    if (!rows.length) byId("budget-empty").textContent = this._strongest();
  }

  /** The labels with the highest scores, where none reaches its threshold. */
  _strongest() {
    const { labels, timeline } = this._result;
    const peaks = labels.map((label, k) => [label, Math.max(...timeline.scores.map((s) => s[k]))]);
    const named = peaks.sort((a, b) => b[1] - a[1]).slice(0, 3);
    const texts = named.map(([label, score]) => `${spoken(label)} (${score.toFixed(2)})`);
    return `No action reaches its threshold. Highest scores: ${texts.join(", ")}.`;
  }

  _fillSegments() {
    const { formatSeconds } = window.msqnet;
    const rows = this._ethogram.segments.map((segment) => {
      const { start_seconds: start, end_seconds: end } = segment;
      const row = make("tr");
      row.append(
        this._labelCell(segment.label, () => this._jump(segment)),
        make("td", "number", formatSeconds(start)),
        make("td", "number", formatSeconds(end)),
        make("td", "number", formatDuration(end - start)),
        make("td", "number", segment.score.toFixed(2)),
      );
      row.segment = segment;
      return row;
    });
    byId("segments").tBodies[0].replaceChildren(...rows);
    byId("segments").hidden = rows.length === 0;
    byId("segments-empty").hidden = rows.length > 0;
    byId("segments-title").textContent = plural(rows.length, "segment");
    this._markNow(this._ethogram.seconds);
  }

  _jump(segment) {
    this._ethogram.seek(segment.start_seconds);
    this._choose(segment);
  }

  /** A segment was chosen: the attribution map is about its label from now on. */
  _choose(segment) {
    byId("heat-label").value = segment.label;
    if (this._isHeatShown) this._showHeat();
  }

  _markNow(seconds) {
    const isIn = (item) => item.start_seconds <= seconds && seconds < item.end_seconds;
    const present = new Set();
    for (const row of byId("segments").tBodies[0].rows) {
      const isNow = Boolean(row.segment) && isIn(row.segment);
      row.classList.toggle("is-now", isNow);
      if (isNow) present.add(row.segment.label);
    }
    for (const row of byId("budget").tBodies[0].rows) {
      row.classList.toggle("is-now", present.has(row.dataset.label));
    }
  }

  _fillHeatLabels() {
    const { labels, segments } = this._result;
    const options = labels.map((label) => new Option(spoken(label), label));
    byId("heat-label").replaceChildren(...options);
    byId("heat-label").value = segments[0]?.label ?? labels[0];
  }

  /** The interval to explain: of the segment at the play head, at most some seconds around it. */
  _heatInterval(label) {
    const now = this._ethogram.seconds;
    const duration = this._result.duration_seconds;
    const around = this._ethogram.segments.find(
      (item) => item.label === label && item.start_seconds <= now && now < item.end_seconds,
    );
    const low = around ? around.start_seconds : 0;
    const high = around ? around.end_seconds : duration;
    const start = Math.max(low, Math.min(now - HEAT_SECONDS / 2, high - HEAT_SECONDS));
    return [start, Math.min(high, start + HEAT_SECONDS)];
  }

  async _showHeat() {
    this._heatLoading?.abort();
    this._heatLoading = new AbortController();
    const signal = AbortSignal.any([this._heatLoading.signal, this._loading.signal]);
    const label = byId("heat-label").value;
    const [start, end] = this._heatInterval(label);
    const note = byId("heat-note");
    this._isHeatShown = true;
    byId("heat-button").setAttribute("aria-pressed", "true");
    byId("heat-button").textContent = "Hide attribution map";
    note.textContent = "Computing …";
    const query = new URLSearchParams({
      label,
      start_seconds: start.toFixed(3),
      end_seconds: end.toFixed(3),
    });
    try {
      const response = await whenMade(`${this._path}/heat-map?${query}`, ({ state, position }) => {
        note.textContent = state === "queued" ? `Waiting, position ${position}` : "Computing …";
      }, { signal });
      const data = await response.json();
      this._heat.show(data);
      const { formatSeconds } = window.msqnet;
      const [first, last] = [data.start_seconds, data.end_seconds].map(formatSeconds);
      note.textContent = `${first} to ${last}; play the video to see it over time`;
    } catch (error) {
      if (error.name === "AbortError") return;
      this._hideHeat();
      note.textContent = sentence(error.message);
    }
  }

  _hideHeat() {
    this._heatLoading?.abort();
    this._heat.show(null);
    this._isHeatShown = false;
    byId("heat-button").setAttribute("aria-pressed", "false");
    byId("heat-button").textContent = "Show attribution map";
    byId("heat-note").textContent = "";
  }

  /** Have a file made, show the progress on its button, then store it. */
  async _download(name) {
    const { text } = DOWNLOADS[name];
    const button = byId(`download-${name}`);
    const { signal } = this._loading;
    const path = `${this._path}/${name}`;
    button.disabled = true;
    try {
      await whenMade(path, ({ progress, state }) => {
        const share = state === "queued" ? "waiting" : formatPercent(progress);
        button.textContent = `${text}: ${share}`;
      }, { headers: { Range: "bytes=0-0" }, signal });
      const link = make("a");
      link.href = address(path);
      link.download = "";
      link.click();
    } catch (error) {
      if (error.name === "AbortError") return;
      this._note(`${text}: ${error.message}`);
    }
    button.disabled = false;
    button.textContent = text;
  }

  _showNotes() {
    byId("notes").replaceChildren();
    for (const text of this._result.notes) this._note(text);
    const { timeline, novelty } = this._result;
    const { is_unknown: flags, edges_seconds: edges } = timeline;
    const seconds = (flags ?? []).reduce(
      (sum, flag, n) => sum + (flag ? edges[n + 1] - edges[n] : 0),
      0,
    );
    const share = flags ? seconds / (edges[edges.length - 1] - edges[0]) : Number(novelty?.is_unlike);
    if (share >= WORTH_A_NOTE) this._note(`${Math.round(100 * share)}% of this video is ${UNKNOWN_TEXT}.`);
  }

  _note(text) {
    byId("notes").append(make("p", "notice", text));
  }

  _showProvenance() {
    const { provenance, window_seconds: window_, stride_seconds: stride } = this._result;
    const facts = {
      Model: provenance.model?.name,
      Weights: provenance.model?.weights_digest,
      Settings: provenance.config_digest,
      Windows: `${formatDuration(window_)}, every ${formatDuration(stride)}`,
      msqnet: provenance.msqnet_version,
    };
    const items = Object.entries(facts).filter(([, value]) => value);
    byId("provenance").replaceChildren(
      ...items.flatMap(([name, value]) => [make("dt", "", name), make("dd", "", value)]),
    );
  }
}

const DOWNLOADS = {
  overlay: { text: "Overlay video" },
  report: { text: "Report" },
};
