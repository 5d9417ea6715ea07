#!/usr/bin/env bash
# Package: opencv-python-headless 5.0.0.93; videos made by av 18.1.0.
# Behaviour: CAP_PROP_FRAME_COUNT of Matroska and AVI is the length times the rate, not a count. A
# video with gaps, as motion-triggered cameras write it, and one that begins late, have fewer frames.
# Seen: gaps.mkv: 32 announced, 8 read; gaps.avi: 32 announced, 8 read; late.mkv: 100 announced, 25 read
# Hurts: tables with a row for each announced frame are longer than the video, and their rows are not
# its frames.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check opencv-python-headless==5.0.0.93 av==18.1.0 numpy==2.4.6
venv/bin/python - <<'PYTHON'
import sys
from fractions import Fraction

import av
import cv2
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


gaps = (0, 1, 2, 10, 11, 12, 30, 31)
write_video("gaps.mkv", gaps, 25)
write_video("gaps.avi", gaps, 25, "mpeg4")
write_video("late.mkv", range(75, 100), 25)
found = []
for path in ("gaps.mkv", "gaps.avi", "late.mkv"):
    video = cv2.VideoCapture(path)
    announced, read = int(video.get(cv2.CAP_PROP_FRAME_COUNT)), 0
    while video.read()[0]:
        read += 1
    found.append((announced, read))
    print(f"{path}: {announced} announced, {read} read")
sys.exit(found != [(32, 8), (32, 8), (100, 25)])
PYTHON
