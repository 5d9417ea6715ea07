#!/usr/bin/env bash
# Package: imageio 2.38.1 with its plugin pyav; videos made and read by av 18.1.0 (PyAV).
# Behaviour: `imread(path, index=n, plugin="pyav")` takes the number of the key frame before frame n
# from its time and a rate, and counts on from there. The number is too low by one where times are
# rounded (Matroska, WebM: milliseconds), and far too high where a clock does not begin at 0. `imiter`
# gives the right frames in the right order for all of these files.
# Seen: frames 40, 60 and 110 of clip.mp4 are these; of clip.mkv (30 a second) 40, 60 and 111; of
# clip.ts 50, 100 and 150; of late.mp4, whose pictures begin at 3 s, 0, 0 and 35
# Hurts: whoever looks up frames by number, to label them or to cut windows, gets other ones.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check imageio==2.38.1 av==18.1.0 numpy==2.4.6
venv/bin/python - <<'PYTHON'
import sys
from fractions import Fraction

import av
import imageio.v3 as iio
import numpy as np

BITS = 1 << np.arange(8)


def write_video(path, first, rate):
    """200 frames from time `first` / rate on, a key frame every 50; stripes spell the number."""
    with av.open(path, "w") as file:
        options = {"g": "50", "keyint_min": "50", "sc_threshold": "0"}
        stream = file.add_stream("libx264", rate=rate, options=options)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for number in range(200):
            stripes = np.repeat(np.where(number & BITS, 255, 0), 8).astype(np.uint8)
            pixels = np.broadcast_to(stripes[None, :, None], (48, 64, 3))
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
            frame.pts, frame.time_base = first + number, Fraction(1, rate)
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))


def number_in(frame):
    stripes = frame.reshape(48, 8, 8, 3).mean((0, 2, 3)) > 127
    return int(BITS[stripes].sum())


expected = {
    ("clip.mp4", 0, 30): [40, 60, 110],
    ("clip.mkv", 0, 30): [40, 60, 111],
    ("clip.ts", 0, 25): [50, 100, 150],
    ("late.mp4", 75, 25): [0, 0, 35],
}
is_changed = False
for (path, first, rate), frames in expected.items():
    write_video(path, first, rate)
    in_order = [number_in(frame) for frame in iio.imiter(path, plugin="pyav")]
    found = [number_in(iio.imread(path, index=n, plugin="pyav")) for n in (40, 60, 110)]
    print(f"{path}: frames 40, 60 and 110 are {found}")
    is_changed |= found != frames or in_order != list(range(200))
sys.exit(is_changed)
PYTHON
