/**
 * The report page: tables that sort, the list of videos with its filter, and one open video.
 *
 * Data of a video is read from its own element when the video is opened. Text from results is only
 * ever set as text, never as markup.
 */
(function () {
  "use strict";

  const NUM_CARDS = 60;
  const { byId, make, bytesOf, isDark } = window.msqnet;

  /** Give a node the colour of a label. */
  function paint(node, column) {
    node.style.setProperty("--ethogram-colour", msqnet.labelColour(column));
    return node;
  }

  function listenToTheme() {
    byId("theme").addEventListener("click", () => {
      document.documentElement.dataset.theme = isDark() ? "light" : "dark";
    });
  }

  /* Tables that sort: missing values stay last either way. */
  function compare(kind, direction) {
    return (a, b) => {
      if (a.key === "" || b.key === "") return (a.key === "") - (b.key === "");
      const order =
        kind === "number"
          ? Number(a.key) - Number(b.key)
          : a.key.localeCompare(b.key, undefined, { numeric: true });
      return direction * order;
    };
  }

  function sortBy(heading) {
    const body = heading.closest("table").tBodies[0];
    const kind = heading.querySelector("button").dataset.sort;
    const before = heading.getAttribute("aria-sort");
    const falls = before === "none" ? kind === "number" : before === "ascending";
    for (const other of heading.parentElement.cells) {
      if (other.hasAttribute("aria-sort")) other.setAttribute("aria-sort", "none");
    }
    heading.setAttribute("aria-sort", falls ? "descending" : "ascending");
    const rows = Array.from(body.rows, (row) => ({
      row,
      key: row.cells[heading.cellIndex]?.dataset.value ?? "",
    }));
    rows.sort(compare(kind, falls ? -1 : 1));
    body.append(...rows.map(({ row }) => row));
  }

  function listenToTables() {
    for (const table of document.querySelectorAll("table.sortable")) {
      table.tHead.addEventListener("click", (event) => {
        const heading = event.target.closest("th[aria-sort]");
        if (heading) sortBy(heading);
      });
    }
  }

  /** The data of a video, as `msqnet predict` wrote it but for the windows. */
  function readVideo(index) {
    const video = JSON.parse(byId(`video-${index}`).textContent);
    const flat = new Float32Array(bytesOf(video.scores).buffer);
    const width = video.labels.length;
    const steps = video.edges_seconds.length - 1;
    video.timeline = {
      edges_seconds: video.edges_seconds,
      scores: Array.from({ length: steps }, (_, n) =>
        Array.from(flat.subarray(n * width, (n + 1) * width)),
      ),
      is_unknown: video.is_unknown,
      changes: video.changes,
    };
    if (!video.provenance.settings.segments) video.provenance = {};
    return video;
  }

  function pictureUrl(thumbnail) {
    return `data:image/jpeg;base64,${thumbnail.jpeg}`;
  }

  /** The thumbnail nearest to a time, or null without any. */
  function nearest(thumbnails, seconds) {
    const away = (item) => Math.abs(item.seconds - seconds);
    return thumbnails.reduce((best, item) => (best && away(best) <= away(item) ? best : item), null);
  }

  /** The list of videos: which rows are shown, in which order. */
  class VideoList {
    constructor(open) {
      this._rows = Array.from(byId("video-table").tBodies[0].rows);
      for (const chip of byId("video-table").querySelectorAll(".chip")) {
        paint(chip, Number(chip.dataset.column));
      }
      for (const row of this._rows) {
        row.labels = row.dataset.labels ? row.dataset.labels.split("|") : [];
        row.haystack = row.textContent.toLowerCase() + row.dataset.labels.toLowerCase();
      }
      byId("video-filter").addEventListener("submit", (event) => event.preventDefault());
      byId("filter-text").addEventListener("input", () => this._filter());
      byId("filter-label").addEventListener("change", () => this._filter());
      byId("video-table").addEventListener("click", (event) => {
        const row = event.target.closest("tbody tr");
        if (row) open(Number(row.dataset.index), true);
      });
    }

    _filter() {
      const words = byId("filter-text").value.toLowerCase().split(/\s+/).filter(Boolean);
      const label = byId("filter-label").value;
      for (const row of this._rows) {
        const fits = words.every((word) => row.haystack.includes(word));
        row.hidden = !fits || (label !== "" && !row.labels.includes(label));
      }
      const num = this._rows.filter((row) => !row.hidden).length;
      byId("filter-count").textContent = `${num} of ${this._rows.length} shown`;
      byId("filter-empty").hidden = num > 0;
    }

    /** Indices of the videos that are shown, in their order on the page. */
    shown() {
      const rows = Array.from(byId("video-table").tBodies[0].rows);
      return rows.filter((row) => !row.hidden).map((row) => Number(row.dataset.index));
    }

    mark(index) {
      for (const row of this._rows) {
        const isOpen = Number(row.dataset.index) === index;
        row.classList.toggle("is-open", isOpen);
        row.querySelector(".open-video").setAttribute("aria-current", String(isOpen));
      }
    }
  }

  /** The open video: player, ethogram, time budget and segments, all at one threshold. */
  class VideoPanel {
    constructor() {
      this._address = null;
      this._ethogram = null;
      byId("threshold").addEventListener("input", () => {
        byId("threshold-own").checked = false;
        this._applyThreshold();
      });
      byId("threshold-own").addEventListener("change", () => this._applyThreshold());
      byId("shown-labels").addEventListener("change", () => this._applyLabels());
      byId("zoom-in").addEventListener("click", () => this._zoom(2));
      byId("zoom-out").addEventListener("click", () => this._zoom(0.5));
      byId("more-cards").addEventListener("click", () => this._drawCards(Infinity));
    }

    open(index) {
      this._close();
      const video = (this._video = readVideo(index));
      byId("video-panel").hidden = false;
      byId("video-name").textContent = video.name;
      const about = [
        msqnet.formatSeconds(video.duration_seconds),
        `${video.width} × ${video.height} pixels`,
        `windows of ${Number(video.window_seconds.toFixed(3))} s`,
      ];
      byId("video-about").textContent = [...about, video.model].filter(Boolean).join(" · ");
      const notes = [...video.notes, video.pictures_note].filter(Boolean);
      byId("video-notes").replaceChildren(...notes.map((note) => make("p", "notice", note)));
      byId("video-answers").hidden = !video.answers.length;
      const answers = video.answers.map((answer) => make("li", "", answer));
      byId("video-answers-list").replaceChildren(...answers);
      const player = this._makePlayer(index);
      this._ethogram = new msqnet.Ethogram(byId("ethogram"), video, {
        video: player,
        onTime: (seconds) => this._showStill(seconds),
      });
      this._setZoom(1);
      this._applyThreshold();
    }

    _close() {
      this._ethogram?.destroy();
      this._ethogram = null;
      this._still = null;
      byId("player").replaceChildren();
      if (this._address) URL.revokeObjectURL(this._address);
      this._address = null;
    }

    /** The player, or null and a still picture where there is no preview. */
    _makePlayer(index) {
      const preview = byId(`preview-${index}`);
      if (!preview) {
        this._makeStill();
        return null;
      }
      const video = make("video");
      const blob = new Blob([bytesOf(preview.textContent)], { type: "video/mp4" });
      this._address = URL.createObjectURL(blob);
      Object.assign(video, { controls: true, muted: true, playsInline: true, preload: "auto" });
      video.setAttribute("aria-label", `Preview of ${this._video.name}`);
      video.src = this._address;
      byId("player").append(video);
      return video;
    }

    _makeStill() {
      const figure = make("figure");
      const image = make("img");
      const caption = make("figcaption", "is-quiet");
      if (this._video.thumbnails.length) figure.append(image, caption);
      else figure.append(make("div", "no-picture", "no picture of this video"));
      this._still = { image, caption };
      byId("player").append(figure);
    }

    _showStill(seconds) {
      const found = this._still && nearest(this._video.thumbnails, seconds);
      if (!found) return;
      const time = msqnet.formatSeconds(found.seconds);
      if (this._still.image.dataset.time !== time) {
        this._still.image.src = pictureUrl(found);
        this._still.image.dataset.time = time;
        this._still.image.alt = `Frame at ${time}`;
      }
      this._still.caption.textContent =
        `Picture at ${time}, the nearest to the play head. ` +
        `No player: ${this._video.preview_note}.`;
    }

    _applyThreshold() {
      const isOwn = byId("threshold-own").checked;
      const threshold = isOwn ? null : Number(byId("threshold").value);
      byId("threshold-value").textContent = isOwn ? "own" : threshold.toFixed(2);
      this._ethogram.setThreshold(threshold);
      this._applyLabels();
    }

    _applyLabels() {
      this._ethogram.showLabels(null);
      this._segments = this._ethogram.segments;
      if (byId("shown-labels").value === "present") {
        this._ethogram.showLabels(this._segments.map((segment) => segment.label));
      }
      this._drawBudget();
      this._drawCards(NUM_CARDS);
    }

    _zoom(factor) {
      this._setZoom(this._zoomed * factor);
    }

    _setZoom(zoom) {
      this._zoomed = this._ethogram.setZoom(zoom);
      byId("zoom-out").disabled = this._zoomed <= 1;
    }

    _colour(node, label) {
      return paint(node, this._video.labels.indexOf(label));
    }

    _drawBudget() {
      const budget = msqnet.timeBudget(this._video, this._segments);
      budget.sort((a, b) => b.total_seconds - a.total_seconds);
      byId("budget").tBodies[0].replaceChildren(...budget.map((item) => this._budgetRow(item)));
      byId("budget").hidden = budget.length === 0;
      byId("budget-empty").hidden = budget.length > 0;
    }

    _budgetRow(item) {
      const row = make("tr");
      const name = make("th");
      name.scope = "row";
      name.append(this._colour(make("span", "chip", item.label), item.label));
      const share = make("div", "share");
      const bar = this._colour(make("span", "share-bar"), item.label);
      const filled = make("span");
      filled.style.width = `${Math.min(100, 100 * item.share)}%`;
      bar.append(filled);
      share.append(bar, make("span", "", `${(100 * item.share).toFixed(1)} %`));
      const cell = make("td");
      cell.append(share);
      row.append(
        name,
        make("td", "is-number", msqnet.formatSeconds(item.total_seconds)),
        cell,
        make("td", "is-number", String(item.bouts)),
        make("td", "is-number", `${item.mean_bout_seconds.toFixed(2)} s`),
        make("td", "is-number", item.mean_score.toFixed(2)),
      );
      return row;
    }

    _drawCards(count) {
      const shown = this._segments.slice(0, count);
      byId("cards").replaceChildren(...shown.map((segment) => this._card(segment)));
      const num = this._segments.length - shown.length;
      byId("more-cards").hidden = num === 0;
      byId("more-cards").textContent = `Show ${num} more`;
    }

    _card(segment) {
      const { label, start_seconds: start, end_seconds: end, score } = segment;
      const item = make("li");
      const button = this._colour(make("button", "card"), label);
      button.type = "button";
      const found = nearest(this._video.thumbnails, (start + end) / 2);
      if (found && start <= found.seconds && found.seconds < end) {
        const image = make("img");
        image.alt = "";
        image.src = pictureUrl(found);
        button.append(image);
      } else {
        button.append(make("div", "no-picture", "no picture"));
      }
      const times = `${msqnet.formatSeconds(start)} – ${msqnet.formatSeconds(end)}`;
      button.append(make("strong", "", label), make("span", "", times));
      button.append(make("span", "is-quiet", `mean score ${score.toFixed(2)}`));
      button.addEventListener("click", () => this._ethogram.seek(start));
      item.append(button);
      return item;
    }
  }

  function listenToVideos() {
    const panel = new VideoPanel();
    let current = 0;
    const list = new VideoList((index, isRequested) => open(index, isRequested));

    function open(index, isRequested) {
      current = index;
      panel.open(index);
      list.mark(index);
      if (isRequested) byId("video-name").focus({ preventScroll: true });
      if (isRequested) byId("video-panel").scrollIntoView({ block: "start" });
    }

    function move(by) {
      const shown = list.shown();
      if (!shown.length) return;
      const place = shown.indexOf(current) + by;
      open(shown[(place + shown.length) % shown.length], false);
    }

    byId("video-previous").addEventListener("click", () => move(-1));
    byId("video-next").addEventListener("click", () => move(1));
    open(0, false);
  }

  listenToTheme();
  listenToTables();
  if (byId("video-table")) listenToVideos();
})();
