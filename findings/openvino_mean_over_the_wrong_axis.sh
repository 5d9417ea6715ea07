#!/usr/bin/env bash
# Package: openvino 2026.4.1, CPU.
# Behaviour: a new axis of length 1 is added at the end (unsqueeze), and an axis before it is averaged,
# summed or maximised away. If that axis is counted from the end, it is counted before the new one is
# there: -2 means the last axis but one of the input. Counted from the start, it is right.
# Seen: for scores (3 clips, 3 windows), the means over windows are [2 2 2] with axis -2, which are the
# means over clips, and [1 2 3] with axis 1.
# Hurts: a model's scores of clips are mixed with each other, without an error where there are as many
# clips as windows. Otherwise the shape is wrong, which later broadcasting may hide.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check openvino==2026.4.1 numpy==2.4.6
venv/bin/python - <<'PYTHON'
import sys

import numpy as np
import openvino
from openvino import opset13 as ops


def means(windows, axis):
    """Means over windows of scores (3, windows): all scores of clip n are n."""
    scores = np.repeat(np.arange(1, 4, dtype=np.float32)[:, None], windows, axis=1)
    given = ops.parameter(scores.shape, np.float32)
    column = ops.unsqueeze(given, np.array([-1]))  # (3, windows, 1)
    result = ops.reduce_mean(column, np.array([axis]), keep_dims=False)  # (3, 1)
    model = openvino.Core().compile_model(
        openvino.Model([result], [given]), "CPU", {"INFERENCE_PRECISION_HINT": "f32"}
    )
    return model(scores)[0].tolist()


found = [means(3, -2), means(3, 1), means(4, -2), means(4, 1)]
print("3 clips of 3 windows: axis -2 {}, axis 1 {}\n3 clips of 4 windows: axis -2 {}, axis 1 {}"
      .format(*found))
right = [[1], [2], [3]]
sys.exit(found != [[[2]] * 3, right, [[2]] * 4, right])
PYTHON
