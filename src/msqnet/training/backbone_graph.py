"""The shipped model's frame graph, for other models with the same backbone.

ONNX Runtime computes the features of frames in about half of PyTorch's time on a CPU, and does not
keep cores busy while it waits. The shipped model has the published backbone of `lite` unchanged, as
new models have that train what follows it; the graph then serves them too.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import torch
from safetensors import safe_open

from msqnet.errors import CheckpointError
from msqnet.inference.exported import ExportedBackend
from msqnet.model.video_encoders.lite import LiteVideoEncoder
from msqnet.models import WEIGHTS_FILE, model_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from torch import Tensor

    from msqnet.model.pretrained import MSQNet

_logger = logging.getLogger(__name__)
_PREFIX = "video_encoder.trunk."


def backbone_graph(model: MSQNet) -> Callable[[Tensor], dict[str, Tensor]] | None:
    """What computes a model's features of frames (N, 3, S, S) uint8, by its backbone's own names.

    None where the model is not on the CPU, or has another backbone than the shipped one: other
    sizes, or a single weight that differs.
    """
    encoder = model.video_encoder
    if model.device.type != "cpu" or not isinstance(encoder, LiteVideoEncoder):
        return None
    if model.image_encoder is not None:
        return None
    folder = model_folder()
    own = encoder.trunk.state_dict()
    with safe_open(folder / WEIGHTS_FILE, "pt") as shipped:
        names = {name for name in shipped.keys() if name.startswith(_PREFIX)}  # noqa: SIM118
        if names != {_PREFIX + name for name in own}:
            return None
        for name, tensor in own.items():
            if not torch.equal(shipped.get_tensor(_PREFIX + name).to(tensor.dtype), tensor):
                return None
    try:
        graph = ExportedBackend.from_pretrained(folder, precision="fp32")
    except CheckpointError as error:
        _logger.info("features of frames are computed by PyTorch: %s", error)
        return None
    size = graph.clip_config.size_pixels
    if encoder.config.image_size != size:
        return None

    def features(frames: Tensor) -> dict[str, Tensor]:
        found = graph.frame_features(frames.numpy())
        return {name: torch.from_numpy(values) for name, values in found.items()}

    # Maps of another grid have other shapes.
    probe = torch.zeros(1, 3, size, size, dtype=torch.uint8)
    with torch.inference_mode():
        wanted = encoder.frame_features(probe)
    found = features(probe)
    return features if _shapes(found) == _shapes(wanted) else None


def _shapes(features: Mapping[str, Tensor]) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in features.items()}
