/** Draws an attribution map over the player, frame by frame, in step with it. */

/** From clear over blue and yellow to white; the same in light and dark, as it lies on a video. */
function colourTable() {
  const stops = [
    [0.0, [20, 10, 80, 0]],
    [0.25, [70, 30, 160, 70]],
    [0.5, [200, 50, 110, 140]],
    [0.75, [250, 140, 40, 175]],
    [1.0, [255, 245, 150, 200]],
  ];
  const table = new Uint8ClampedArray(256 * 4);
  for (let value = 0; value < 256; value++) {
    const share = value / 255;
    const upper = Math.max(1, stops.findIndex(([place]) => place >= share));
    const [low, from] = stops[upper - 1];
    const [high, to] = stops[upper];
    const mix = (share - low) / (high - low);
    for (let c = 0; c < 4; c++) table[4 * value + c] = from[c] + mix * (to[c] - from[c]);
  }
  return table;
}

const COLOURS = colourTable();

export class HeatMap {
  /** @param {HTMLVideoElement} video @param {HTMLCanvasElement} canvas lies over it. */
  constructor(video, canvas) {
    this._video = video;
    this._canvas = canvas;
    this._data = null;
    this._drawn = null;
    new ResizeObserver(() => this._place()).observe(video);
    for (const name of ["seeked", "timeupdate", "loadedmetadata"]) {
      video.addEventListener(name, () => this.draw());
    }
    video.addEventListener("play", () => this._follow());
  }

  /** Show an attribution map as the server gives it, or null for none. */
  show(data) {
    this._data = data && { ...data, bytes: window.msqnet.bytesOf(data.maps) };
    this._drawn = null;
    this._canvas.hidden = !data;
    if (!data) return;
    this._canvas.width = data.width;
    this._canvas.height = data.height;
    this._place();
    this.draw();
  }

  /** The map of the last frame that is not after the time of the player. */
  draw() {
    if (!this._data) return;
    const { pts_seconds: times, width, height, bytes } = this._data;
    const seconds = this._video.currentTime + 1e-3;
    const isInside = seconds >= this._data.start_seconds && seconds <= this._data.end_seconds + 0.1;
    let frame = 0;
    while (frame + 1 < times.length && times[frame + 1] <= seconds) frame++;
    const wanted = isInside ? frame : -1;
    if (this._drawn === wanted) return;
    this._drawn = wanted;
    const context = this._canvas.getContext("2d");
    context.clearRect(0, 0, width, height);
    if (wanted < 0) return;
    const image = context.createImageData(width, height);
    for (let i = 0; i < width * height; i++) {
      const value = bytes[frame * width * height + i];
      image.data.set(COLOURS.subarray(4 * value, 4 * value + 4), 4 * i);
    }
    context.putImageData(image, 0, 0);
  }

  _follow() {
    this.draw();
    if (!this._video.paused) requestAnimationFrame(() => this._follow());
  }

  /** Lie exactly over the picture, which may be smaller than the element that holds it. */
  _place() {
    const { videoWidth, videoHeight, clientWidth, clientHeight, offsetLeft, offsetTop } = this._video;
    if (!videoWidth) return;
    const scale = Math.min(clientWidth / videoWidth, clientHeight / videoHeight);
    const [width, height] = [videoWidth * scale, videoHeight * scale];
    Object.assign(this._canvas.style, {
      width: `${width}px`,
      height: `${height}px`,
      left: `${offsetLeft + (clientWidth - width) / 2}px`,
      top: `${offsetTop + (clientHeight - height) / 2}px`,
    });
  }
}
