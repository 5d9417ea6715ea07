/** The player: exact frames by the true times of the file, also where their rate varies. */

import { fileAddress } from "./store.js";

export const SPEEDS = [0.1, 0.25, 0.5, 0.75, 1, 1.25, 1.5, 2, 3, 4, 6, 8];
const SAME_TIME = 1e-6;
const COPY_POLL_MILLISECONDS = 700;

/** The place of the last value in a rising array that is not above another one; 0 at least. */
export function lastNotAbove(values, wanted) {
  let low = 0;
  let high = values.length - 1;
  while (low < high) {
    const middle = Math.ceil((low + high) / 2);
    if (values[middle] <= wanted) low = middle;
    else high = middle - 1;
  }
  return low;
}

export class Player {
  duration = 0;
  starts = null;
  #seconds = 0;
  #until = null;
  #isSought = false;

  /** `onTime()` is called whenever the play head moved; `note(text)` shows why there is no picture. */
  constructor(video, store, onTime, note) {
    this.video = video;
    this.#store = store;
    this.#onTime = onTime;
    this.#note = note;
    video.addEventListener("play", () => this.#follow());
    video.addEventListener("pause", () => this.#settle());
    video.addEventListener("ended", () => this.#set(this.duration));
    video.addEventListener("error", () => this.#onError());
  }

  #store;
  #onTime;
  #note;

  get seconds() {
    return this.#seconds;
  }

  get isPlaying() {
    return !this.video.paused && !this.video.ended;
  }

  /** Number of the frame at the play head, from 0; null without a readable file. */
  get frame() {
    return this.starts && lastNotAbove(this.starts, this.#seconds + SAME_TIME);
  }

  async load(id, duration) {
    this.id = id;
    this.video.pause();
    this.video.removeAttribute("src");
    this.video.load();
    [this.starts, this.facts, this.#seconds, this.duration] = [null, null, 0, duration ?? 0];
    this.#note("Reading the video…");
    try {
      const facts = await this.#store.facts(id);
      const starts = await this.#store.frames(id);
      if (this.id !== id) return;
      [this.facts, this.starts, this.duration] = [facts, starts, facts.duration];
      this.#set(0);
      await this.#show(!facts.is_playable);
    } catch (error) {
      if (this.id === id) this.#note(`This video cannot be shown: ${error.message}`);
    }
  }

  async #show(isCopy) {
    const id = this.id;
    for (let share = isCopy ? 0 : null; share !== null; ) {
      share = await this.#store.copyShare(id);
      if (this.id !== id) return;
      if (share === null) break;
      const percent = Math.floor(100 * share);
      this.#note(`Your browser cannot play this file. Making a copy that it can: ${percent} %`);
      await new Promise((resolve) => setTimeout(resolve, COPY_POLL_MILLISECONDS));
    }
    this.isCopy = isCopy;
    this.video.src = fileAddress(id, isCopy);
    this.#note("");
    this.seek(this.#seconds);
  }

  #onError() {
    if (!this.video.getAttribute("src") || !this.starts) return;
    if (this.isCopy) this.#note("This video cannot be shown by this browser.");
    else this.#show(true).catch((error) => this.#note(`It cannot be shown: ${error.message}`));
  }

  setSpeed(speed) {
    this.video.playbackRate = this.video.defaultPlaybackRate = speed;
  }

  toggle() {
    this.#until = null;
    if (this.isPlaying) this.video.pause();
    else if (this.starts) {
      if (this.#seconds >= this.duration - 0.05) this.seek(0);
      this.video.play().catch(() => {});
    }
  }

  /** Play from one time to another. */
  playSpan(start, end) {
    this.seek(start);
    this.#until = end ?? this.duration;
    if (this.starts) this.video.play().catch(() => {});
  }

  /** Show the frame at a time; the play head stands exactly there. */
  seek(seconds) {
    this.#set(Math.min(Math.max(seconds, 0), this.duration));
    this.#isSought = true;
    if (!this.starts) return;
    // The middle of a frame, so that no rounding of the browser's clock shows its neighbour.
    const frame = this.frame;
    const start = this.starts[frame];
    const next = this.starts[frame + 1] ?? this.facts.end;
    this.video.currentTime = this.isPlaying ? this.#seconds : (start + Math.max(start, next)) / 2;
  }

  step(count) {
    this.video.pause();
    if (!this.starts) return this.seek(this.#seconds + count / 25);
    const place = this.frame + count;
    this.seek(this.starts[Math.min(Math.max(place, 0), this.starts.length - 1)]);
  }

  #set(seconds) {
    this.#seconds = seconds;
    this.#onTime();
  }

  #follow() {
    const move = () => {
      if (!this.isPlaying) return;
      if (this.#until !== null && this.video.currentTime >= this.#until) {
        const until = this.#until;
        this.#until = null;
        this.video.pause();
        this.seek(until);
        return;
      }
      this.#isSought = false;
      this.#set(this.#frameStart());
      requestAnimationFrame(move);
    };
    this.video.requestVideoFrameCallback?.(this.#onFrame);
    requestAnimationFrame(move);
  }

  #onFrame = (_now, { mediaTime }) => {
    this.shownTime = mediaTime;
    if (this.isPlaying) this.video.requestVideoFrameCallback(this.#onFrame);
  };

  #frameStart() {
    const near = Math.abs((this.shownTime ?? -1) - this.video.currentTime) < 0.5;
    const time = near ? this.shownTime : this.video.currentTime;
    return this.starts ? this.starts[lastNotAbove(this.starts, time + 1e-4)] : time;
  }

  #settle() {
    if (!this.video.ended && !this.#isSought) this.#set(this.#frameStart());
  }
}
