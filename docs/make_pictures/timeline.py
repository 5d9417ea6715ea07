"""The first picture of the README: `python docs/make_pictures/timeline.py docs/pictures`.

The shipped model on a demo clip, a test video of GMDCSA24 (Ekram Alam and others, MIT): frames, and
below them the scores over time with the times that its authors state.
"""

from __future__ import annotations

import sys
from pathlib import Path

from PIL import Image

from msqnet import Predictor
from msqnet.demo import FOLDER
from msqnet.report.figures import save_figure, timeline_figure
from msqnet.video.reader import open_video

VIDEO = FOLDER / "fall_at_home.mp4"
ANNOTATED = {"walking": [(0.0, 3.6)], "standing": [(3.6, 6.9)], "falling": [(6.9, 12.0)]}
NUM_FRAMES = 6
GAP_PIXELS = 6


def main() -> int:
    """Make the picture in the folder that the command line names."""
    path = Path(sys.argv[1]) / "timeline.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    predictions = Predictor.from_pretrained()(VIDEO)
    figure = timeline_figure(predictions, ANNOTATED, num_labels=len(ANNOTATED))
    save_figure(figure, path)
    with Image.open(path) as stored:
        scores = stored.convert("RGB")
    # Known when the figure was drawn: the frames stand over the axis of time.
    axis = figure.axes[0].get_position()
    left, right = round(axis.x0 * scores.width), round(axis.x1 * scores.width)
    frames = strip(right - left, predictions.duration_seconds)
    picture = Image.new("RGB", (scores.width, frames.height + GAP_PIXELS + scores.height), "white")
    picture.paste(frames, (left, 0))
    picture.paste(scores, (0, frames.height + GAP_PIXELS))
    picture.save(path, optimize=True)
    return 0


def strip(width_pixels: int, duration_seconds: float) -> Image.Image:
    """Frames side by side, each from the middle of the time that it stands over."""
    times = [duration_seconds * (number + 0.5) / NUM_FRAMES for number in range(NUM_FRAMES)]
    with open_video(VIDEO) as video:
        pixels = video.frames_at(times).pixels  # (N, 3, H, W)
    width = (width_pixels - GAP_PIXELS * (NUM_FRAMES - 1)) / NUM_FRAMES
    height = round(width * pixels.shape[2] / pixels.shape[3])
    whole = Image.new("RGB", (width_pixels, height), "white")
    for number, frame in enumerate(pixels):
        image = Image.fromarray(frame.transpose(1, 2, 0))
        place = round(number * (width + GAP_PIXELS))
        whole.paste(image.resize((round(width), height), Image.Resampling.LANCZOS), (place, 0))
    return whole


if __name__ == "__main__":
    sys.exit(main())
