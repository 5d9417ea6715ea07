#!/usr/bin/env bash
# Package: opencv-python-headless 5.0.0.93; videos made and compared by av 18.1.0.
# Behaviour: in a file whose pictures begin at 3 s, as cutting without encoding leaves it,
# CAP_PROP_POS_MSEC counts from the first picture. PyAV counts on the clock of the file, as players
# (Chromium, mpv) show it.
# Seen: late.mp4, late.mkv, late.ts: OpenCV 0 ms, PyAV 3000 ms
# Hurts: events that were coded in a player are looked up 3 s too late.
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


found = []
for path in ("late.mp4", "late.mkv", "late.ts"):
    write_video(path, range(75, 100), 25)
    video = cv2.VideoCapture(path)
    video.read()
    with av.open(path) as file:
        first = next(file.decode(video=0)).time
    found.append((round(video.get(cv2.CAP_PROP_POS_MSEC)), round(1000 * first)))
    print(f"{path}: OpenCV {found[-1][0]} ms, PyAV {found[-1][1]} ms")
sys.exit(found != [(0, 3000)] * 3)
PYTHON
