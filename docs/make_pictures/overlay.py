"""Pictures of the annotated video: `python docs/make_pictures/overlay.py docs/pictures`.

`msqnet predict --overlay --figure` with the shipped model on a demo clip: a frame of the video, and
the figure.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

from msqnet.demo import FOLDER
from msqnet.video.reader import open_video

SHOWN_SECONDS = 8.2
WIDTH_PIXELS = 800
MAX_COLOURS = 255


def main() -> int:
    """Make the pictures in the folder that the command line names."""
    out = Path(sys.argv[1])
    out.mkdir(parents=True, exist_ok=True)
    clip = FOLDER / "fall_at_home.mp4"
    with tempfile.TemporaryDirectory() as folder:
        command = ["predict", str(clip), "--out", folder, "--overlay", "--figure"]
        subprocess.run([sys.executable, "-m", "msqnet", *command], check=True)
        save_frame(Path(folder) / f"{clip.name}.overlay.mp4", out / "overlay.png")
        shutil.copy(Path(folder) / f"{clip.name}.timeline.png", out / "overlay-timeline.png")
    return 0


def save_frame(video: Path, path: Path) -> None:
    """One frame, small enough for a page."""
    with open_video(video) as source:
        pixels = source.frames_at([SHOWN_SECONDS]).pixels[0]  # (3, H, W)
    image = Image.fromarray(pixels.transpose(1, 2, 0))
    size = (WIDTH_PIXELS, round(image.height * WIDTH_PIXELS / image.width))
    image = image.resize(size, Image.Resampling.LANCZOS)
    palette = image.quantize(MAX_COLOURS, method=Image.Quantize.FASTOCTREE)
    image.quantize(palette=palette, dither=Image.Dither.FLOYDSTEINBERG).save(path, optimize=True)


if __name__ == "__main__":
    sys.exit(main())
