#!/usr/bin/env bash
# Package: av 18.1.0 (PyAV), picture made by pillow 13.0.0.
# Behaviour: FFmpeg hands the EXIF of a picture on as side data of a kind that PyAV has no name for.
# Listing the side data of the frame then raises `ValueError`, whatever kind was wanted.
# Seen: ValueError: 31 is not a valid Type
# Hurts: a program that reads side data (rotation, HDR) fails on photos of any camera.
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

exif = Image.Exif()
exif[274] = 6  # orientation
Image.fromarray(np.zeros((48, 64, 3), np.uint8)).save("photo.jpg", exif=exif.tobytes())
with av.open("photo.jpg") as file:
    frame = next(file.decode(video=0))
    try:
        print([item.type for item in frame.side_data])
    except ValueError as error:
        print(f"ValueError: {error}")
        sys.exit(0)
sys.exit(1)
PYTHON
