"""X-CLIP as a video encoder: CLIP whose frames exchange messages.

The parts are those of `transformers.XCLIPModel` up to the video embedding, used unchanged; the
text side is left out. X-CLIP: Ni et al., "Expanding Language-Image Pretrained Models for General
Video Recognition", https://arxiv.org/abs/2208.02816. Published weights are MIT.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from torch import Tensor, cat, nn
from transformers import XCLIPVisionConfig, XCLIPVisionModel
from transformers.models.x_clip.modeling_x_clip import (
    XCLIPMultiframeIntegrationTransformer,
    XCLIPPreTrainedModel,
)

from msqnet.model.checkpoints import changed, filled, load_backbone
from msqnet.model.video_encoders.encoder import (
    IMAGENET_STATISTICS,
    FrameFeatures,
    MemorySpans,
    VideoEncoder,
    check_patches,
    frame_spans,
)
from msqnet.model.video_encoders.timesformer import interpolate_time_embeddings
from msqnet.model.video_encoders.vit import resized_positions

if TYPE_CHECKING:
    from pathlib import Path


class XCLIPVideoModel(XCLIPPreTrainedModel):
    """The video half of `transformers.XCLIPModel`, its tensors under the same names.

    The configuration is that of the image encoder; its ``mit_*`` entries are those of the
    multi-frame integration transformer (MIT).
    """

    config_class = XCLIPVisionConfig
    config: XCLIPVisionConfig  # type: ignore[assignment]
    main_input_name = "pixel_values"

    def __init__(self, config: XCLIPVisionConfig):
        super().__init__(config)
        self.vision_model = XCLIPVisionModel(config)
        self.visual_projection = nn.Linear(config.hidden_size, config.mit_hidden_size, bias=False)
        mit_config = changed(
            config,
            hidden_size=config.mit_hidden_size,
            intermediate_size=config.mit_intermediate_size,
            num_hidden_layers=config.mit_num_hidden_layers,
            num_attention_heads=config.mit_num_attention_heads,
        )
        self.mit = XCLIPMultiframeIntegrationTransformer(mit_config)
        self.post_init()  # type: ignore[no-untyped-call]

    def forward(self, pixel_values: Tensor) -> Tensor:
        """(B, T, 3, H, W) normalized -> (B, T, D'), whose mean is X-CLIP's video embedding."""
        frames = pixel_values.flatten(0, 1)  # (B*T, 3, H, W)
        classes = self.vision_model(frames).pooler_output  # (B*T, hidden)
        projected = self.visual_projection(classes)  # (B*T, D')
        clips = projected.unflatten(0, pixel_values.shape[:2])  # (B, T, D')
        return cast("Tensor", self.mit(clips).last_hidden_state)


class XCLIPVideoEncoder(VideoEncoder):
    """Frame memory from X-CLIP.

    With v_t the output of the multi-frame integration transformer for frame t::

        [mean_t v_t, v_1 .. v_T]                                              (T + 1 items)

    The first item is X-CLIP's own video embedding, before it is normalized. D' is the width of the
    joint space with text (512 for base models). Frames exchange messages in every layer, without a
    position in time; positions enter in the integration transformer.

    ``config.num_frames`` must be T of every clip: the backbone groups frames to clips with it, so
    that a multiple of it gives wrong clips, not an error. A size that it cannot take is a
    `ConfigError`.
    """

    config_class = XCLIPVisionConfig
    display_name = "X-CLIP"
    licence = "X-CLIP weights: MIT"

    def __init__(self, config: XCLIPVisionConfig):
        size, patch = config.image_size, config.patch_size
        check_patches("X-CLIP", size, patch, config.num_channels, config.num_frames)
        super().__init__(config, width=config.mit_hidden_size, pixel_statistics=IMAGENET_STATISTICS)
        self.backbone = XCLIPVideoModel(config)

    @classmethod
    def default_config(cls, num_frames: int, image_size: int) -> XCLIPVisionConfig:
        """X-CLIP-B/16."""
        return XCLIPVisionConfig(num_frames=num_frames, image_size=image_size, patch_size=16)

    def memory_spans(self, num_frames: int) -> MemorySpans:
        """The whole clip and each frame."""
        return (None, *frame_spans(num_frames))

    def _memory(self, features: FrameFeatures) -> Tensor:
        steps = self.backbone(features["pixels"])  # (B, T, D')
        return cat([steps.mean(dim=1, keepdim=True), steps], dim=1)  # (B, T + 1, D')

    @classmethod
    def from_pretrained(
        cls, name_or_folder: str | Path, num_frames: int, image_size: int
    ) -> XCLIPVideoEncoder:
        """Start from a whole X-CLIP checkpoint.

        The weights are loaded at their own number of frames; the time positions are then
        interpolated linearly, and the position embeddings of patches, where the size differs,
        as the backbone itself would do.
        """
        source = load_backbone(
            XCLIPVideoModel,
            name_or_folder,
            model_types={"xclip"},
            ignored_prefixes=("text_model.", "text_projection", "logit_scale", "prompts_"),
        )
        config = changed(source.config, num_frames=num_frames, image_size=image_size)
        weights = source.state_dict()
        space, time = "vision_model.embeddings.position_embedding.weight", "mit.position_embedding"
        weights[space] = resized_positions(source.vision_model, weights[space], image_size)
        weights[time] = interpolate_time_embeddings(weights[time], num_frames)
        return filled(lambda: cls(config), {"backbone": weights}, name_or_folder)
