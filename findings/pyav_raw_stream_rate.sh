#!/usr/bin/env bash
# Package: av 18.1.0 (PyAV).
# Behaviour: a raw H.264 stream whose headers say 50 frames a second is read at 25, what FFmpeg's
# demuxers of raw streams take for a default. Frames have no time at all.
# Seen: average_rate 25, guessed_rate 50, time of the last frame None.
# Hurts: times by the average rate are twice too long.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check av==18.1.0 numpy==2.4.6
venv/bin/python - <<'PYTHON'
import sys
from fractions import Fraction

import av
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


write_video("clip.h264", range(100), 50, format="h264")
with av.open("clip.h264") as file:
    stream = file.streams.video[0]
    rates = int(stream.average_rate), int(stream.guessed_rate)
    time = list(file.decode(stream))[-1].time
print(f"average_rate {rates[0]}, guessed_rate {rates[1]}, time of the last frame {time}")
sys.exit((*rates, time) != (25, 50, None))
PYTHON
