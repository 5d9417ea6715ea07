"""Draw the demo clip of a worm, which the shipped model has never seen: ten seconds of its crawl.

    python benchmarks/draw_worm.py src/msqnet/demo/worm.mp4

A wave runs along a body that moves forward on a dark ground. No camera was there.
"""

from __future__ import annotations

import argparse
import sys
from fractions import Fraction

import av
import numpy as np

from msqnet.cli.main import exit_code_of

WIDTH, HEIGHT, FPS, SECONDS = 256, 192, 25, 10
LENGTH, THICKNESS = 110.0, 4.5


def frame_at(seconds: float) -> np.ndarray:
    """(HEIGHT, WIDTH, 3) uint8."""
    along = np.linspace(0, 1, 160)
    x = 20 + 9 * seconds + LENGTH * along
    y = HEIGHT / 2 + 18 * np.sin(2 * np.pi * (1.6 * along - 0.5 * seconds)) * (0.5 + 0.5 * along)
    radius = THICKNESS * np.sqrt(np.clip(4 * along * (1 - along), 0.05, None))
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    inside = np.zeros((HEIGHT, WIDTH))
    for place, height, size in zip(x, y, radius, strict=True):
        distance = np.hypot(columns - place, rows - height)
        inside = np.maximum(inside, np.clip(size + 0.5 - distance, 0, 1))
    grain = np.random.default_rng(round(seconds * FPS)).normal(0, 3, (HEIGHT, WIDTH))
    grey = np.clip(24 + 110 * inside + grain, 0, 255).astype(np.uint8)
    return np.repeat(grey[:, :, None], 3, axis=2)


def main() -> None:
    """Write the clip that the command line names."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("clip", help="file to write, such as worm.mp4")
    with av.open(parser.parse_args().clip, "w") as container:
        stream = container.add_stream("libx264", rate=FPS)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.time_base = Fraction(1, FPS)
        stream.options = {"crf": "24"}
        for number in range(FPS * SECONDS):
            frame = av.VideoFrame.from_ndarray(frame_at(number / FPS), format="rgb24")
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


if __name__ == "__main__":
    sys.exit(exit_code_of(main))
