#!/usr/bin/env bash
# Package: onnxruntime 1.32.0, CPU; graphs made by onnx 1.23.2.
# Behaviour: where the last two axes of a tensor are swapped and the result is multiplied by a vector
# (MatMul), the default optimisation forgets that they were swapped. The shape is right, the numbers
# are not. Without optimisation, or with the vector as a matrix of one column, they are right.
# Seen: the mean over 4 frames of the features 1, 2 and 3, which are the same in all frames, is
# [1.75 2 2.25]; without optimisation, and with a column, [1 2 3].
# Hurts: a head that weighs frames ("features of frames, swapped, times a weight for each frame") gives
# wrong features for every clip, without an error.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check onnxruntime==1.32.0 onnx==1.23.2 numpy==2.4.6
venv/bin/python - <<'PYTHON'
import sys

import numpy as np
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

CLIPS, FRAMES, FEATURES = 2, 4, 3
ALL, NONE = (
    onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL,
    onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL,
)


def means(weights, level):
    """Weighted sums over frames of features (CLIPS, FRAMES, FEATURES), for the first clip."""
    shape = [CLIPS, FRAMES, FEATURES]
    graph = helper.make_graph(
        [
            helper.make_node("Transpose", ["features"], ["swapped"], perm=[0, 2, 1]),
            helper.make_node("MatMul", ["swapped", "weights"], ["means"]),
        ],
        "head",
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("means", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(weights, "weights")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = level
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    features = np.broadcast_to(np.array([1, 2, 3], np.float32), shape)
    return session.run(None, {"features": np.ascontiguousarray(features)})[0][0].ravel().tolist()


vector = np.full(FRAMES, 1 / FRAMES, np.float32)
found = means(vector, ALL), means(vector, NONE), means(vector[:, None], ALL)
for name, values in zip(("vector", "vector, not optimised", "column"), found, strict=True):
    print(f"{name}: {values}")
sys.exit(found != ([1.75, 2, 2.25], [1, 2, 3], [1, 2, 3]))
PYTHON
