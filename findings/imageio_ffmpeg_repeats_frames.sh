#!/usr/bin/env bash
# Package: imageio-ffmpeg 0.8.1 (FFmpeg 9.0 inside); video made by av 18.1.0.
# Behaviour: `read_frames` fills the gaps of a video of variable rate with copies, up to a constant
# rate. `count_frames_and_secs` of the same file counts the real frames.
# Seen: 8 counted, 32 read
# Hurts: frame numbers of what was read are not those of the file, nor of any other reader.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check imageio-ffmpeg==0.8.1 av==18.1.0 numpy==2.4.6
venv/bin/python - <<'PYTHON'
import sys
from fractions import Fraction

import av
import imageio_ffmpeg
import numpy as np


def write_video(path, times, rate, codec="libx264", **settings):
    """Grey frames; `times` are in units of 1 / rate seconds."""
    with av.open(path, "w", **settings) as file:
        stream = file.add_stream(codec, rate=rate)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for number, time in enumerate(times):
            pixels = np.full((48, 64, 3), 10 * number % 250, np.uint8)
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = time, Fraction(1, rate)
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))


write_video("gaps.mkv", (0, 1, 2, 10, 11, 12, 30, 31), 25)
counted, _ = imageio_ffmpeg.count_frames_and_secs("gaps.mkv")
frames = imageio_ffmpeg.read_frames("gaps.mkv")
next(frames)  # what is known about the file
read = sum(1 for _ in frames)
print(f"{counted} counted, {read} read")
sys.exit((counted, read) != (8, 32))
PYTHON
