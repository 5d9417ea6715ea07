#!/usr/bin/env bash
# Package: av 18.1.0 (PyAV), pictures made by pillow 13.0.0.
# Behaviour: an animated AVIF has two video streams, both marked as default: the first is a still, the
# second the animation. `decode(video=0)`, the usual way to read a file, gives the still alone.
# Seen: video=0: 1 frame; video=1: 12 frames.
# Hurts: an animation of 12 frames passes for a picture, without an error.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check av==18.1.0 numpy==2.4.6 pillow==13.0.0
venv/bin/python - <<'PYTHON'
import sys

import av
import numpy as np
from PIL import Image

pictures = [Image.fromarray(np.full((48, 64, 3), 20 * n, np.uint8)) for n in range(12)]
pictures[0].save("clip.avif", save_all=True, append_images=pictures[1:], duration=40)
found = []
for number in (0, 1):
    with av.open("clip.avif") as file:
        found.append(len(list(file.decode(video=number))))
        print(f"video={number}: {found[-1]} frames")
sys.exit(found != [1, 12])
PYTHON
