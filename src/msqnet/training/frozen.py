"""What frozen encoders give, and what it depends on: the content of the feature cache."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

import torch

from msqnet.errors import ConfigError
from msqnet.model.video_encoders.encoder import FRAME_MEMORY, VIDEO_QUERY

if TYPE_CHECKING:
    from torch import Tensor, nn

    from msqnet.model.pretrained import MSQNet

# Raise it where the code computes something else from the same weights and pixels.
_VERSION = 1
_NO_INFLUENCE = {"transformers_version", "dtype", "torch_dtype", "architectures"}


class FrozenPart:
    """The part of a model that training leaves as it is, as a function of clips.

    Args:
        model: whose encoders are taken.
        finetune: as `TrainConfig.finetune`: "after_trunk" keeps what the encoder's backbone gives
            of each frame, "decoder" the frame memory.

    Attributes:
        names: of the arrays, which are keyword arguments of `MSQNet.forward`: those of the frames,
            or ``frame_memory``; and ``video_query``, where neither tells it.

    Raises:
        ConfigError: nothing that clips pass through first is frozen.
    """

    def __init__(self, model: MSQNet, finetune: str):
        encoder = model.video_encoder
        if finetune == "full" or (finetune == "after_trunk" and not encoder.frozen_features):
            raise ConfigError(
                f"cached_views keeps what frozen layers give, but finetune {finetune} trains the "
                f"first layers of {encoder.display_name}; set finetune to decoder, or cached_views "
                "to 0"
            )
        self.model = model
        self.after_trunk = finetune == "after_trunk"
        # Also for a model without a query: others can then share the features.
        self.has_own_query = encoder.query_width > 0 and model.config.video_query != "image"
        names = encoder.frozen_features if self.after_trunk else (FRAME_MEMORY,)
        has_query = model.config.video_query == "image" or (
            self.has_own_query and not self.after_trunk
        )
        self.names = (*names, VIDEO_QUERY) if has_query else tuple(names)

    def digest(self) -> str:
        """Identifies all weights and settings that the features depend on: 64 hex digits."""
        encoder = self.model.video_encoder
        parts: dict[str, nn.Module] = {"video": encoder.trunk if self.after_trunk else encoder}
        settings: dict[str, Any] = {
            "version": _VERSION,
            "names": self.names,
            "video": [type(encoder).__name__, list(encoder.map_shape)]
            if self.after_trunk
            else _settings(encoder.config),
        }
        if not self.after_trunk:
            settings["frame_pooling"] = self.model.config.frame_pooling
        if self.model.image_encoder is not None:
            parts["image"] = self.model.image_encoder
            settings["image"] = _settings(self.model.image_encoder.config)
            settings["image_embedding"] = self.model.config.embedding
        digest = hashlib.sha256(json.dumps(settings, sort_keys=True, default=str).encode())
        for part, module in parts.items():
            for name, tensor in sorted(module.state_dict().items()):
                digest.update(f"{part} {name} {tensor.dtype} {tuple(tensor.shape)}".encode())
                raw = tensor.detach().cpu().contiguous().flatten().view(torch.uint8)
                digest.update(raw.numpy())
        return digest.hexdigest()

    @torch.inference_mode()
    def __call__(self, pixels: Tensor, closeups: Tensor | None) -> dict[str, Tensor]:
        """Features of clips.

        Args:
            pixels: (B, T, 3, H, W) uint8.
            closeups: motion crops, likewise; or None.

        Returns:
            (B, ...) float16 by name, on the CPU.

        Raises:
            ConfigError: a value outside of the range of half precision.
        """
        device = self.model.device
        found = self.model.encode(
            pixels.to(device), None if closeups is None else closeups.to(device)
        )
        if not self.after_trunk:
            encoder: Any = self.model.video_encoder
            if self.has_own_query:
                found[VIDEO_QUERY] = encoder.video_query(found)
            found[FRAME_MEMORY] = encoder.memory(
                {name: values for name, values in found.items() if name != VIDEO_QUERY}
            )
        halves = {name: found[name].half().cpu() for name in self.names}
        for name, values in halves.items():
            if not values.isfinite().all():
                raise ConfigError(
                    f"cached_views: {name} has values above 65504 or none at all, which half "
                    "precision cannot keep; set cached_views to 0"
                )
        return halves


def _settings(config: Any) -> dict[str, Any]:
    """An encoder's settings without those that do not change what it computes."""
    return {
        name: value
        for name, value in config.to_dict().items()
        if not name.startswith("_") and name not in _NO_INFLUENCE
    }
