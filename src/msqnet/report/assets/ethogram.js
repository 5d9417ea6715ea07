/**
 * The ethogram: scores of all labels over time, segments, and a play head in step with a video.
 *
 *   const ethogram = new msqnet.Ethogram(element, predictions, {video, onSelect, onTime});
 *
 * `predictions` is the parsed JSON of a result of `msqnet predict`. Segments are computed here by the
 * rules of `msqnet.inference.merge.segments_from_timeline`, number for number, so that a threshold
 * can be moved. Text from results is only ever set as text, never as markup.
 */
(function () {
  "use strict";

  const SAME_TIME_SECONDS = 1e-6;
  // Of the reach of a border, as in `msqnet.inference.merge`.
  const CHANGE_REACH = 0.25;
  const NUM_LABEL_COLOURS = 20;
  const MAX_CURVE_STEPS = 1500;
  const MAX_ZOOM = 64;
  const PIXELS_A_TICK = 90;
  const SVG = "http://www.w3.org/2000/svg";
  const { make } = window.msqnet;

  /** NumPy's pairwise sum of `values[start .. start + count)`: the same order, so the same bits. */
  function pairwiseSum(values, start, count) {
    if (count > 128) {
      const middle = Math.floor(count / 2);
      const half = middle - (middle % 8);
      return pairwiseSum(values, start, half) + pairwiseSum(values, start + half, count - half);
    }
    let sum = 0;
    let i = 0;
    if (count >= 8) {
      const lanes = values.slice(start, start + 8);
      for (i = 8; i < count - (count % 8); i += 8) {
        for (let k = 0; k < 8; k++) lanes[k] += values[start + i + k];
      }
      sum =
        lanes[0] + lanes[1] + (lanes[2] + lanes[3]) + (lanes[4] + lanes[5] + (lanes[6] + lanes[7]));
    }
    for (; i < count; i++) sum += values[start + i];
    return sum;
  }

  /** Mean score of a label over the steps [first, last), weighted by their length. */
  function meanScore(timeline, column, first, last) {
    const edges = timeline.edges_seconds;
    const lengths = [];
    const products = [];
    let low = Infinity;
    let high = -Infinity;
    for (let n = first; n < last; n++) {
      const score = Math.fround(timeline.scores[n][column]);
      lengths.push(edges[n + 1] - edges[n]);
      products.push(score * lengths[lengths.length - 1]);
      low = Math.min(low, score);
      high = Math.max(high, score);
    }
    const mean = pairwiseSum(products, 0, products.length) / pairwiseSum(lengths, 0, lengths.length);
    return Math.min(Math.max(mean, low), high);
  }

  /** Steps in which no label is asserted, since they are unlike the training videos. */
  function hiddenSteps(predictions, settings) {
    const { is_unknown: flags, scores } = predictions.timeline;
    return scores.map((_, n) => Boolean(flags?.[n]) && (settings.ood ?? "hide") === "hide");
  }

  /** Which labels are present in each step, as [step][label]. */
  function presence(predictions, thresholds, settings, isHidden) {
    const unproven = settings.include_weak ? {} : (predictions.unproven ?? {});
    const isAsserted = predictions.labels.map((label) => !Object.hasOwn(unproven, label));
    return predictions.timeline.scores.map((row, n) => {
      const scores = row.map(Math.fround);
      const best = predictions.single_label ? scores.indexOf(Math.max(...scores)) : -1;
      return scores.map(
        (score, k) =>
          !isHidden[n] && isAsserted[k] && score >= thresholds[k] && (best < 0 || best === k),
      );
    });
  }

  /** Runs of presence of one label as [first, last) steps, gaps closed. */
  function runsOf(column, present, isTaken, edges, settings) {
    const runs = [];
    for (let n = 0; n < present.length; n++) {
      if (!present[n][column] || (n > 0 && present[n - 1][column])) continue;
      let end = n;
      while (end < present.length && present[end][column]) end++;
      const before = runs[runs.length - 1];
      const closes =
        before &&
        edges[n] - edges[before[1]] <= settings.max_gap_seconds + SAME_TIME_SECONDS &&
        !isTaken.slice(before[1], n).some(Boolean);
      if (closes) before[1] = end;
      else runs.push([n, end]);
    }
    return runs;
  }

  /** Where the line of scores passes half way from the lowest outside to the highest inside. */
  function crossing(outside, inside, border, scores, centre) {
    if (!outside.length || !inside.length) return border;
    const low = outside.reduce((best, n) => (scores[n] < scores[best] ? n : best));
    const high = inside.reduce((best, n) => (scores[n] > scores[best] ? n : best));
    const level = (scores[low] + scores[high]) / 2;
    if (!(scores[low] < level && level < scores[high])) return border;
    const towards = high > low ? 1 : -1;
    let step = low;
    while (scores[step + towards] < level) step += towards;
    const rise = scores[step + towards] - scores[step];
    return (
      centre(step) +
      ((level - scores[step]) / rise) * (centre(step + towards) - centre(step))
    );
  }

  /** The time of the largest change of a sign near a border, between two others; else the border. */
  function nearbyChange(border, lowest, highest, sign, changes, reach) {
    let found = [0, border];
    for (const [, time, size] of changes) {
      const isNear = Math.abs(time - border) <= reach && lowest < time && time < highest;
      if (isNear && sign * size > found[0]) found = [sign * size, time];
    }
    return found[1];
  }

  /** Start and end of each run of one label moved to changes of its frames, where there are any. */
  function toChanges(runs, found, changes, reach, isHidden) {
    const hasVerdict = (step) => step >= 0 && step < isHidden.length && !isHidden[step];
    const moved = [];
    found.forEach(([start, end], number) => {
      const [first, last] = runs[number];
      const lowest = number ? moved[number - 1][1] : -Infinity;
      const highest = number + 1 < found.length ? found[number + 1][0] : Infinity;
      if (hasVerdict(first - 1)) start = nearbyChange(start, lowest, end, 1, changes, reach);
      if (hasVerdict(last)) end = nearbyChange(end, start, highest, -1, changes, reach);
      moved.push([start, end]);
    });
    return moved;
  }

  /** Start and end of each run of one label, between the steps of the timeline. */
  function bordersOf(runs, predictions, column, scores, isHidden) {
    const { edges_seconds: edges } = predictions.timeline;
    // Results of earlier versions have their borders on steps.
    const stored = predictions.provenance?.settings?.border_reach_seconds ?? 0;
    const reach = predictions.single_label ? 0 : stored;
    const centre = (n) => (edges[n] + edges[n + 1]) / 2;
    const near = (border, step, towards, stop) => {
      const steps = [];
      for (let n = step; n !== stop; n += towards) {
        const distance = Math.abs(centre(n) - edges[border]);
        if (isHidden[n] || distance > reach) break;
        steps.push(n);
      }
      return steps;
    };
    const found = runs.map(([first, last], number) => {
      const lowest = number ? runs[number - 1][1] : 0;
      const highest = number + 1 < runs.length ? runs[number + 1][0] : scores.length;
      const before = near(first, first - 1, -1, lowest - 1);
      const after = near(last, last, 1, highest);
      return [
        crossing(before, near(first, first, 1, last), edges[first], scores, centre),
        crossing(after, near(last, last - 1, -1, first - 1), edges[last], scores, centre),
      ];
    });
    const changes = (predictions.timeline.changes ?? []).filter(([of]) => of === column);
    if (!changes.length || !reach) return found;
    return toChanges(runs, found, changes, reach * CHANGE_REACH, isHidden);
  }

  /** The thresholds in use: one number for every label, or null for those of the model. */
  function thresholdsOf(predictions, threshold) {
    return predictions.thresholds.map((own) => Math.fround(threshold === null ? own : threshold));
  }

  /**
   * Intervals in which a label is present, by start, end and column.
   *
   * A result without settings of its own (`provenance.settings.segments`) has no gap closed and no
   * segment dropped.
   */
  function segmentsFromTimeline(predictions, threshold = null) {
    const { labels, timeline, provenance } = predictions;
    const settings = provenance?.settings?.segments ?? {
      min_duration_seconds: 0,
      max_gap_seconds: 0,
    };
    const edges = timeline.edges_seconds;
    const isHidden = hiddenSteps(predictions, settings);
    const present = presence(predictions, thresholdsOf(predictions, threshold), settings, isHidden);
    const isTaken = present.map(
      (row, n) => isHidden[n] || (Boolean(predictions.single_label) && row.some(Boolean)),
    );
    const shortest = settings.min_duration_seconds - SAME_TIME_SECONDS;
    const found = labels.flatMap((label, column) => {
      const runs = runsOf(column, present, isTaken, edges, settings);
      const own = timeline.scores.map((row) => Math.fround(row[column]));
      return bordersOf(runs, predictions, column, own, isHidden)
        .map(([start, end], number) => ({
          column,
          label,
          start_seconds: start,
          end_seconds: end,
          score: meanScore(timeline, column, ...runs[number]),
        }))
        .filter((segment) => segment.end_seconds - segment.start_seconds >= shortest);
    });
    found.sort(
      (a, b) =>
        a.start_seconds - b.start_seconds || a.end_seconds - b.end_seconds || a.column - b.column,
    );
    return found.map(({ column, ...segment }) => segment);
  }

  /** For each label with a segment: total and mean time, share of the video, bouts, mean score. */
  function timeBudget(predictions, segments) {
    return predictions.labels.flatMap((label) => {
      const bouts = segments.filter((segment) => segment.label === label);
      if (!bouts.length) return [];
      const lengths = bouts.map((bout) => bout.end_seconds - bout.start_seconds);
      const total = lengths.reduce((sum, length) => sum + length, 0);
      const scored = bouts.reduce((sum, bout, i) => sum + bout.score * lengths[i], 0);
      return [
        {
          label,
          total_seconds: total,
          share: total / predictions.duration_seconds,
          bouts: bouts.length,
          mean_bout_seconds: total / bouts.length,
          mean_score: scored / total,
        },
      ];
    });
  }

  /** The colour of a label by its place among the model's labels; beyond 20 they start again. */
  function labelColour(column) {
    return `var(--label-${column % NUM_LABEL_COLOURS})`;
  }

  /** A time as m:ss.ss or h:mm:ss.ss. */
  function formatSeconds(seconds) {
    const hundredths = Math.round(seconds * 100);
    const two = (value) => String(value).padStart(2, "0");
    const tail = `${two(Math.floor(hundredths / 100) % 60)}.${two(hundredths % 100)}`;
    const minutes = Math.floor(hundredths / 6000);
    if (minutes < 60) return `${minutes}:${tail}`;
    return `${Math.floor(minutes / 60)}:${two(minutes % 60)}:${tail}`;
  }

  /** Round times for about `count` ticks of an axis, with the number of decimals they need. */
  function ticks(duration, count) {
    const steps = [0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200];
    const step = steps.find((value) => duration / value <= count) ?? Math.ceil(duration / count);
    return Array.from({ length: Math.floor(duration / step + 1e-9) + 1 }, (_, i) => ({
      seconds: i * step,
      text: step < 1 ? formatSeconds(i * step).slice(0, -1) : formatSeconds(i * step).slice(0, -3),
    }));
  }

  /** Start, end and score of each step to draw; many steps are joined, the highest score kept. */
  function curveSteps(timeline, column) {
    const { edges_seconds: edges, scores } = timeline;
    const size = Math.ceil(scores.length / MAX_CURVE_STEPS);
    const steps = [];
    for (let n = 0; n < scores.length; n += size) {
      const last = Math.min(n + size, scores.length);
      let score = 0;
      for (let i = n; i < last; i++) score = Math.max(score, scores[i][column]);
      steps.push([edges[n], edges[last], score]);
    }
    return steps;
  }

  /** The line over the steps, and the area below it; y is 0 at the top. */
  function curvePaths(timeline, column) {
    const steps = curveSteps(timeline, column);
    const y = (score) => (1 - score).toFixed(4);
    const corners = steps.map(([start, end, score]) => `${start} ${y(score)}L${end} ${y(score)}`);
    const line = corners.join("L");
    return { line: `M${line}`, area: `M${steps[0][0]} 1L${line}L${steps[steps.length - 1][1]} 1Z` };
  }

  function makeSvg(tag, attributes) {
    const node = document.createElementNS(SVG, tag);
    for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
    return node;
  }

  /** The lane of one label: its name, the curve with the threshold, segments, the score now. */
  function makeLane(label, column, timeline, duration, reason) {
    const row = make("div", "ethogram-row");
    row.style.setProperty("--ethogram-colour", labelColour(column));
    const name = make("div", "ethogram-label");
    name.title = reason ? `${label}: not reported, ${reason}` : label;
    row.classList.toggle("is-unproven", Boolean(reason));
    name.append(make("span", "ethogram-swatch"), make("span", "", label));
    const lane = make("div", "ethogram-lane");
    const curve = makeSvg("svg", {
      class: "ethogram-curve",
      viewBox: `0 0 ${duration} 1`,
      preserveAspectRatio: "none",
      "aria-hidden": "true",
    });
    const threshold = makeSvg("line", { class: "ethogram-threshold", x1: 0, x2: duration });
    const { line, area } = curvePaths(timeline, column);
    curve.append(
      makeSvg("path", { class: "ethogram-area", d: area }),
      threshold,
      makeSvg("path", { class: "ethogram-line", d: line }),
    );
    lane.append(curve);
    const value = make("div", "ethogram-value");
    row.append(name, lane, value);
    return { row, lane, threshold, value, label, column };
  }

  function makeSegment(segment, duration) {
    const { label, start_seconds: start, end_seconds: end, score } = segment;
    const button = make("button", "ethogram-segment");
    const times = `${formatSeconds(start)} to ${formatSeconds(end)}`;
    button.type = "button";
    button.tabIndex = -1;
    button.title = `${label}, ${times}, mean score ${score.toFixed(2)}`;
    button.setAttribute("aria-label", button.title);
    Object.assign(button.dataset, { label, start, end });
    button.style.left = `${(100 * start) / duration}%`;
    button.style.width = `${(100 * (end - start)) / duration}%`;
    button.segment = segment;
    return button;
  }

  /** Hatched areas over all lanes, where the video is unlike the training videos. */
  function makeUnknown(timeline, duration) {
    const { is_unknown: flags, edges_seconds: edges } = timeline;
    const areas = [];
    for (let n = 0; n < (flags?.length ?? 0); n++) {
      if (!flags[n] || flags[n - 1]) continue;
      let end = n;
      while (flags[end]) end++;
      const area = make("div", "ethogram-unknown");
      area.style.left = `${(100 * edges[n]) / duration}%`;
      area.style.width = `${(100 * (edges[end] - edges[n])) / duration}%`;
      areas.push(area);
    }
    return areas;
  }

  class Ethogram {
    /**
     * @param {HTMLElement} element takes the ethogram; what it holds is removed.
     * @param {object} predictions parsed JSON of one result.
     * @param {object} [options] `video`: the element to follow and to move; `onSelect(segment)`: a
     *   segment was chosen; `onTime(seconds)`: the play head moved.
     */
    constructor(element, predictions, { video = null, onSelect = null, onTime = null } = {}) {
      const edges = predictions.timeline.edges_seconds;
      this.predictions = predictions;
      this.duration = Math.max(predictions.duration_seconds, edges[edges.length - 1]);
      this.segments = [];
      this.seconds = 0;
      this._video = video;
      this._onSelect = onSelect;
      this._onTime = onTime;
      this._shown = null;
      this._zoom = 1;
      this._listening = new AbortController();
      this._build(element);
      this._listen();
      this.setThreshold(null);
      this._moveTo(video ? video.currentTime : 0);
    }

    /** Recompute segments with one threshold for all labels, or null for the model's own ones. */
    setThreshold(threshold) {
      const thresholds = thresholdsOf(this.predictions, threshold);
      this._all = segmentsFromTimeline(this.predictions, threshold);
      for (const lane of this._lanes) {
        const y = 1 - thresholds[lane.column];
        lane.threshold.setAttribute("y1", y);
        lane.threshold.setAttribute("y2", y);
        lane.threshold.style.display = y < 0 ? "none" : "";
      }
      this._thresholds = thresholds;
      this._drawSegments();
    }

    /** Show the lanes of some labels only, or null for all. */
    showLabels(names) {
      this._shown = names === null ? null : new Set(names);
      for (const lane of this._lanes) lane.row.hidden = !this._isShown(lane.label);
      this._drawSegments();
    }

    /** Move the play head, and the video with it. */
    seek(seconds) {
      const time = Math.min(Math.max(seconds, 0), this.duration);
      if (this._video) this._video.currentTime = time;
      this._moveTo(time);
    }

    /** How many times wider than its place the time axis is drawn, from 1. */
    setZoom(factor) {
      this._zoom = Math.min(Math.max(factor, 1), MAX_ZOOM);
      this._grid.style.setProperty("--ethogram-zoom", this._zoom);
      this._drawTicks();
      const playhead = (this.seconds / this.duration) * this._axis.clientWidth;
      this._scroll.scrollLeft = playhead - this._scroll.clientWidth / 2;
      return this._zoom;
    }

    /** Stop following the video and empty the element. */
    destroy() {
      this._listening.abort();
      this._resizing.disconnect();
      cancelAnimationFrame(this._frame);
      this._root.remove();
    }

    _isShown(label) {
      return this._shown === null || this._shown.has(label);
    }

    _build(element) {
      const { labels, timeline, path, unproven, provenance } = this.predictions;
      const hasWeak = provenance?.settings?.segments?.include_weak;
      this._root = make("div", "ethogram");
      this._root.setAttribute("role", "group");
      this._root.setAttribute("aria-label", `Ethogram of ${path}`);
      this._scroll = make("div", "ethogram-scroll");
      this._grid = make("div", "ethogram-grid");
      const head = make("div", "ethogram-row is-axis");
      this._axis = make("div", "ethogram-axis");
      const about = { role: "slider", "aria-label": "Time", "aria-valuemin": 0, tabindex: 0 };
      for (const [name, value] of Object.entries(about)) this._axis.setAttribute(name, value);
      this._axis.setAttribute("aria-valuemax", this.duration);
      head.append(make("div", "ethogram-label"), this._axis, make("div", "ethogram-value"));
      this._lanes = labels.map((label, k) =>
        makeLane(label, k, timeline, this.duration, hasWeak ? undefined : unproven?.[label]),
      );
      const overlay = make("div", "ethogram-overlay");
      this._playhead = make("div", "ethogram-playhead");
      overlay.append(...makeUnknown(timeline, this.duration), this._playhead);
      this._grid.append(head, ...this._lanes.map((lane) => lane.row), overlay);
      this._scroll.append(this._grid);
      this._root.append(this._scroll);
      element.replaceChildren(this._root);
      this._drawTicks();
    }

    _listen() {
      const { signal } = this._listening;
      this._axis.addEventListener("keydown", (event) => this._onAxisKey(event), { signal });
      this._axis.addEventListener("pointerdown", (event) => this._onScrub(event), { signal });
      this._axis.addEventListener("pointermove", (event) => this._onScrub(event), { signal });
      this._grid.addEventListener("click", (event) => this._onClick(event), { signal });
      this._grid.addEventListener("keydown", (event) => this._onSegmentKey(event), { signal });
      this._resizing = new ResizeObserver(() => this._drawTicks());
      this._resizing.observe(this._axis);
      const follow = () => this._follow();
      for (const name of ["play", "pause", "seeking", "seeked", "timeupdate"]) {
        this._video?.addEventListener(name, follow, { signal });
      }
    }

    _follow() {
      cancelAnimationFrame(this._frame);
      this._moveTo(this._video.currentTime);
      const isMoving = !this._video.paused && !this._video.ended;
      if (isMoving) this._frame = requestAnimationFrame(() => this._follow());
    }

    _moveTo(seconds) {
      this.seconds = Math.min(Math.max(seconds, 0), this.duration);
      this._playhead.style.left = `${(100 * this.seconds) / this.duration}%`;
      this._axis.setAttribute("aria-valuenow", this.seconds.toFixed(2));
      this._axis.setAttribute("aria-valuetext", formatSeconds(this.seconds));
      this._drawNow();
      this._onTime?.(this.seconds);
    }

    _drawSegments() {
      this.segments = this._all.filter((segment) => this._isShown(segment.label));
      for (const button of this._buttons ?? []) button.remove();
      const laneOf = new Map(this._lanes.map((lane) => [lane.label, lane]));
      this._buttons = this.segments.map((segment) => {
        const button = makeSegment(segment, this.duration);
        laneOf.get(segment.label).lane.append(button);
        return button;
      });
      // One tab stop for all segments; arrows go from one to the next.
      if (this._buttons.length) this._buttons[0].tabIndex = 0;
      const present = new Set(this.segments.map((segment) => segment.label));
      for (const lane of this._lanes) {
        lane.row.classList.toggle("is-silent", !present.has(lane.label));
      }
      this._drawNow();
    }

    _drawTicks() {
      const width = this._axis.clientWidth || 600;
      const nodes = ticks(this.duration, width / PIXELS_A_TICK).map(({ seconds, text }) => {
        const share = seconds / this.duration;
        const tick = make("div", "ethogram-tick");
        tick.style.left = `${100 * share}%`;
        tick.classList.toggle("is-last", (1 - share) * width < PIXELS_A_TICK / 3);
        tick.append(make("span", "", text));
        return tick;
      });
      this._axis.replaceChildren(...nodes);
    }

    _seekToPointer(event, element) {
      const { left, width } = element.getBoundingClientRect();
      this.seek((this.duration * (event.clientX - left)) / width);
    }

    _onScrub(event) {
      if (event.buttons !== 1) return;
      if (event.type === "pointerdown") this._axis.setPointerCapture(event.pointerId);
      this._seekToPointer(event, this._axis);
    }

    _onClick(event) {
      const button = event.target.closest(".ethogram-segment");
      const lane = event.target.closest(".ethogram-lane");
      if (button) {
        this._focusable(button);
        this.seek(button.segment.start_seconds);
        this._onSelect?.(button.segment);
      } else if (lane) {
        this._seekToPointer(event, lane);
      }
    }

    _onAxisKey(event) {
      const small = Math.max(this.duration / 100, 0.05);
      const moves = {
        ArrowRight: this.seconds + small,
        ArrowLeft: this.seconds - small,
        ArrowUp: this.seconds + small,
        ArrowDown: this.seconds - small,
        PageUp: this.seconds + 10 * small,
        PageDown: this.seconds - 10 * small,
        Home: 0,
        End: this.duration,
      };
      if (!(event.key in moves)) return;
      event.preventDefault();
      this.seek(moves[event.key]);
    }

    _onSegmentKey(event) {
      const button = event.target.closest(".ethogram-segment");
      const target = button && this._neighbour(button, event.key);
      if (!target) return;
      event.preventDefault();
      this._focusable(target);
      target.focus();
    }

    /** The segment that a key leads to: along time, to the lane above or below, first, last. */
    _neighbour(button, key) {
      const place = this._buttons.indexOf(button);
      const along = { ArrowRight: place + 1, ArrowLeft: place - 1, Home: 0 };
      if (key in along) return this._buttons[along[key]];
      if (key === "End") return this._buttons[this._buttons.length - 1];
      if (key !== "ArrowUp" && key !== "ArrowDown") return undefined;
      const column = (item) => this.predictions.labels.indexOf(item.segment.label);
      const distance = (item) => (column(item) - column(button)) * (key === "ArrowUp" ? -1 : 1);
      const away = (item) => Math.abs(item.segment.start_seconds - button.segment.start_seconds);
      return this._buttons
        .filter((item) => distance(item) > 0)
        .sort((a, b) => distance(a) - distance(b) || away(a) - away(b))[0];
    }

    _focusable(button) {
      for (const item of this._buttons) item.tabIndex = item === button ? 0 : -1;
    }

    /** The step that holds the play head. */
    _step() {
      const edges = this.predictions.timeline.edges_seconds;
      let low = 0;
      let high = edges.length - 2;
      while (low < high) {
        const middle = Math.ceil((low + high) / 2);
        if (edges[middle] <= this.seconds) low = middle;
        else high = middle - 1;
      }
      return low;
    }

    /** Scores at the play head, and the segments that it stands in. */
    _drawNow() {
      const scores = this.predictions.timeline.scores[this._step()];
      for (const lane of this._lanes) {
        const text = scores[lane.column].toFixed(2);
        if (lane.value.textContent !== text) lane.value.textContent = text;
      }
      const present = new Set();
      for (const button of this._buttons) {
        const { start_seconds: start, end_seconds: end, label } = button.segment;
        const isCurrent = start <= this.seconds && this.seconds < end;
        button.classList.toggle("is-current", isCurrent);
        if (isCurrent) present.add(label);
      }
      for (const lane of this._lanes) {
        lane.row.classList.toggle("is-present", present.has(lane.label));
      }
    }
  }

  Object.assign(window.msqnet, {
    Ethogram,
    segmentsFromTimeline,
    timeBudget,
    formatSeconds,
    labelColour,
  });
})();
