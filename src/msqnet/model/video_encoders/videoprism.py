"""VideoPrism as video encoder (arXiv 2402.13217): a ViT over each frame, then one over time.

The layers are those of `transformers`; here are the pixels on the way in, the frame memory on the
way out, and the loading of weights trained with clips of another form. What the video-text form has
behind the encoder (auxiliary layers, pooling, text) is not built.

Axes: B clips, T frames, P patches, D' width.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor
from transformers import VideoPrismClipModel, VideoPrismVisionConfig, VideoPrismVisionModel

from msqnet.errors import check
from msqnet.model.attention import through
from msqnet.model.checkpoints import changed, filled, load_backbone, model_type_of
from msqnet.model.video_encoders.encoder import (
    FrameFeatures,
    MemorySpans,
    VideoEncoder,
    check_patches,
    frame_spans,
)

if TYPE_CHECKING:
    from pathlib import Path

    from msqnet.model.attention import AttentionRecord

_PIXELS_FROM_0_TO_1 = ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
_VISION, _WITH_TEXT = "videoprism_vision_model", "videoprism"


class VideoPrismVideoEncoder(VideoEncoder):
    """Frame memory from VideoPrism.

    With tokens z_(p,t) after the last norm::

        v_t = mean_p z_(p,t)                                                   (T items)

    A patch attends to its frame in the spatial layers, and to its own place in other frames in the
    temporal ones. ``config.num_frames`` and ``config.image_size`` must be those of every clip; what
    cannot be cut into square patches of single frames is a `ConfigError`.
    """

    config_class = VideoPrismVisionConfig  # its defaults are VideoPrism-B
    display_name = "VideoPrism"
    licence = "VideoPrism weights: as their model card says (the authors' code: Apache-2.0)"

    def __init__(self, config: VideoPrismVisionConfig):
        frames_of_patch, patch, width = config.tubelet_size
        check(
            frames_of_patch == 1 and patch == width,
            f"VideoPrism tubelet_size {config.tubelet_size}: expected 1 frame and a square",
        )
        size, channels = config.image_size, config.num_channels
        check_patches("VideoPrism", size, patch, channels, config.num_frames)
        super().__init__(config, width=config.hidden_size, pixel_statistics=_PIXELS_FROM_0_TO_1)
        self.backbone = VideoPrismVisionModel(config)

    def memory_spans(self, num_frames: int) -> MemorySpans:
        """Each frame."""
        return frame_spans(num_frames)

    def frame_features(self, frames: Tensor) -> FrameFeatures:
        """What the spatial layers make of each frame: (N, P, D'), as "patches"."""
        pixels = super().frame_features(frames)["pixels"]
        tokens = self.backbone.spatial_embeddings(pixels[:, None])
        for layer in self.backbone.spatial_layers:
            tokens = layer(tokens)
        return {"patches": self.backbone.layernorm1(tokens)}

    def _memory(self, features: FrameFeatures) -> Tensor:
        patches = features["patches"]  # (B, T, P, D')
        num_clips, num_frames = patches.shape[:2]
        form = torch.Size((num_clips, num_frames, 3, self.image_size, self.image_size))
        tokens = self.backbone.temporal_embeddings(patches.flatten(0, 1), form)  # (B*P, T, D')
        for layer in self.backbone.temporal_layers:
            tokens = layer(tokens)
        tokens = self.backbone.layernorm2(tokens).unflatten(0, (num_clips, -1))  # (B, P, T, D')
        return cast("Tensor", tokens.mean(dim=1))

    @classmethod
    def from_pretrained(
        cls, name_or_folder: str | Path, num_frames: int, image_size: int
    ) -> VideoPrismVideoEncoder:
        """Start from VideoPrism weights, with or without a classifier or the parts for text.

        With another number of frames or another size, the positions are interpolated once, as the
        backbone itself would do on every forward pass.
        """
        if model_type_of(name_or_folder) == _WITH_TEXT:
            whole = load_backbone(VideoPrismClipModel, name_or_folder, model_types={_WITH_TEXT})
            source: Any = whole.video_model.vision_model
        else:
            source = load_backbone(
                VideoPrismVisionModel,
                name_or_folder,
                model_types={_VISION, _WITH_TEXT},
                ignored_prefixes=("auxiliary_layers.", "head.", "head_layernorm.", "classifier."),
            )
        config = changed(source.config, num_frames=num_frames, image_size=image_size)
        weights = source.state_dict()
        with torch.no_grad():
            # Only their number is read, to see whether anything changes.
            no_values = torch.empty(1, num_frames, config.hidden_size)
            in_time = source.temporal_embeddings.interpolate_pos_encoding(no_values)
            weights["temporal_embeddings.position_embeddings"] = in_time
            if image_size != source.config.image_size:
                in_space = source.spatial_embeddings.interpolate_pos_encoding(
                    no_values, image_size, image_size
                )
                weights["spatial_embeddings.position_embeddings"] = in_space
        return filled(lambda: cls(config), {"backbone": weights}, name_or_folder)

    def rollout(self, attention: AttentionRecord, memory: Tensor) -> Tensor:
        """See the base class; back over time at each place, then over space in each frame."""
        grid = self.image_size // self.config.tubelet_size[1]
        layers = attention.means()  # (T, P, P) of the spatial, (P, T, T) of the temporal ones
        over_space = layers[: len(self.backbone.spatial_layers)]
        patches = memory[:, :, None].expand(-1, -1, grid**2) / grid**2  # (K, T, P)
        for weights in reversed(layers[len(over_space) :]):
            patches = through(patches.mT, weights).mT
        for weights in reversed(over_space):
            patches = through(patches, weights)
        maps: Tensor = patches[:, None].unflatten(3, (grid, grid))
        return maps  # (K, 1, T, h, w)
