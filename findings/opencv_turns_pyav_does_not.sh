#!/usr/bin/env bash
# Package: opencv-python-headless 5.0.0.93, imageio-ffmpeg 0.8.1 and av 18.1.0 (PyAV).
# Behaviour: a phone's video that is to be shown turned by 90 degrees comes out upright from OpenCV and
# imageio-ffmpeg, and lying from PyAV, which says the angle only.
# Seen: OpenCV 48x64, imageio-ffmpeg 48x64, PyAV 64x48 with rotation 90
# Hurts: points and boxes that one reader's frames gave do not fit the frames of another.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check opencv-python-headless==5.0.0.93 imageio-ffmpeg==0.8.1 av==18.1.0 numpy==2.4.6
venv/bin/python - <<'PYTHON'
import sys

import av
import cv2
import imageio_ffmpeg
import numpy as np

with av.open("phone.mp4", "w") as file:
    stream = file.add_stream("libx264", rate=25)
    stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
    stream.set_display_rotation(90)
    for _ in range(5):
        file.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8))))
    file.mux(stream.encode(None))
height, width, _ = cv2.VideoCapture("phone.mp4").read()[1].shape
shown = imageio_ffmpeg.read_frames("phone.mp4")
size = next(shown)["size"]
shown.close()
with av.open("phone.mp4") as file:
    frame = next(file.decode(video=0))
found = (width, height), size, (frame.width, frame.height), frame.rotation
print("OpenCV {0[0]}x{0[1]}, imageio-ffmpeg {1[0]}x{1[1]}, PyAV {2[0]}x{2[1]} with rotation {3}"
      .format(*found))
sys.exit(found != ((48, 64), (48, 64), (64, 48), 90))
PYTHON
