#!/usr/bin/env bash
# Package: openvino 2026.4.1, CPU.
# Behaviour: where the last axis of (N, K, D) is summed or averaged away and K values, one for each
# column, are added to the (N, K) result, row n gets value n in all its columns. One row alone is
# right, and so are means over the middle axis. Multiplying goes wrong in the same way.
# Seen: for 2 rows of 5 columns, [1 1 1 1 1] and [2 2 2 2 2] were added in place of [1 2 3 4 5].
# Hurts: a head of several labels ("weighted sum of features plus the label's bias") gives right
# scores of one clip, and wrong ones as soon as several clips are scored at once, without an error.
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

K, D = 5, 16
OFFSETS = np.arange(1, K + 1, dtype=np.float32)


def added(rows, axis):
    """What is added to the means of zeros."""
    shape = [rows, K, D] if axis == 2 else [rows, D, K]
    features = ops.parameter(shape, np.float32)
    means = ops.reduce_mean(features, np.array([axis]), keep_dims=False)
    scores = ops.add(means, ops.constant(OFFSETS))
    model = openvino.Core().compile_model(
        openvino.Model([scores], [features]), "CPU", {"INFERENCE_PRECISION_HINT": "f32"}
    )
    return model(np.zeros(shape, np.float32))[0].tolist()


one, middle, several = added(1, 2), added(2, 1), added(2, 2)
print(f"one row: {one}\ntwo rows, middle axis: {middle}\ntwo rows: {several}")
is_right = one == [OFFSETS.tolist()] and middle == [OFFSETS.tolist()] * 2
sys.exit(not (is_right and several == [[1] * K, [2] * K]))
PYTHON
