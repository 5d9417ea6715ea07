"""X-CLIP as a video encoder: CLIP whose frames exchange messages.

The parts are those of `transformers.XCLIPModel` up to the video embedding, used unchanged; the
text side is left out. X-CLIP: Ni et al., "Expanding Language-Image Pretrained Models for General
Video Recognition", https://arxiv.org/abs/2208.02816. Published weights are MIT.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

from torch import Tensor, cat, nn
from transformers import XCLIPVisionConfig, XCLIPVisionModel
from transformers.initialization import no_init_weights
from transformers.models.x_clip.modeling_x_clip import (
    XCLIPMultiframeIntegrationTransformer,
    XCLIPPreTrainedModel,
)

from msqnet.model.loading import check_loaded, load_backbone
from msqnet.model.video_encoders.encoder import (
    ClipForm,
    FrameFeatures,
    FrameSpan,
    MemorySpans,
    VideoEncoder,
)
from msqnet.model.video_encoders.timesformer import interpolate_time_embeddings
from msqnet.model.video_encoders.vit import (
    IMAGENET_STATISTICS,
    check_frames_and_patches,
    resized_positions,
)

if TYPE_CHECKING:
    from pathlib import Path

_SPACE_POSITIONS = "vision_model.embeddings.position_embedding.weight"
_TIME_POSITIONS = "mit.position_embedding"


class XCLIPVideoModel(XCLIPPreTrainedModel):
    """The video half of `transformers.XCLIPModel`, its tensors under the same names.

    Args:
        config: of the image encoder; its ``mit_*`` entries are those of the multi-frame
            integration transformer (MIT), its ``num_frames`` is T.
    """

    config_class = XCLIPVisionConfig
    config: XCLIPVisionConfig  # type: ignore[assignment]
    main_input_name = "pixel_values"

    def __init__(self, config: XCLIPVisionConfig):
        super().__init__(config)
        self.vision_model = XCLIPVisionModel(config)
        self.visual_projection = nn.Linear(config.hidden_size, config.mit_hidden_size, bias=False)
        mit_config = copy.copy(config)
        mit_config.hidden_size = config.mit_hidden_size
        mit_config.intermediate_size = config.mit_intermediate_size
        mit_config.num_hidden_layers = config.mit_num_hidden_layers
        mit_config.num_attention_heads = config.mit_num_attention_heads
        self.mit = XCLIPMultiframeIntegrationTransformer(mit_config)
        self.post_init()  # type: ignore[no-untyped-call]

    def forward(self, pixel_values: Tensor) -> Tensor:
        """Features of every frame, from which X-CLIP takes the mean as video embedding.

        Args:
            pixel_values: (B, T, 3, H, W) float, standardised.

        Returns:
            (B, T, D') float, the MIT's last hidden state.
        """
        frames = pixel_values.flatten(0, 1)  # (B*T, 3, H, W)
        classes = self.vision_model(frames).pooler_output  # (B*T, hidden)
        projected = self.visual_projection(classes)  # (B*T, D')
        features: Tensor = self.mit(
            projected.unflatten(0, pixel_values.shape[:2])
        ).last_hidden_state  # (B, T, D')
        return features


class XCLIPVideoEncoder(VideoEncoder):
    """Frame memory from X-CLIP.

    With v_t the output of the multi-frame integration transformer for frame t::

        [mean_t v_t, v_1 .. v_T]                                              (T + 1 items)

    The first item is X-CLIP's own video embedding, before it is normalised. D' is the width of the
    joint space with text (512 for base models). Frames exchange messages in every layer, without a
    position in time; positions enter in the integration transformer.

    Args:
        config: of the image encoder and the integration transformer; its ``num_frames`` is T and
            must be that of every clip.

    Attributes:
        backbone: the `XCLIPVideoModel`.

    Raises:
        ConfigError: a size that the backbone cannot take.
    """

    licence = "X-CLIP weights: MIT"

    def __init__(self, config: XCLIPVisionConfig):
        check_frames_and_patches("X-CLIP", config)
        super().__init__(config, width=config.mit_hidden_size, pixel_statistics=IMAGENET_STATISTICS)
        self.backbone = XCLIPVideoModel(config)

    @classmethod
    def default_config(cls, num_frames: int, image_size: int) -> XCLIPVisionConfig:
        """X-CLIP-B/16."""
        return XCLIPVisionConfig(num_frames=num_frames, image_size=image_size, patch_size=16)

    def memory_spans(self, num_frames: int) -> MemorySpans:
        """The whole clip and each frame."""
        return (None, *(FrameSpan(index, index + 1) for index in range(num_frames)))

    @property
    def clip_form(self) -> ClipForm:
        """T and the size of the configuration.

        The backbone groups frames to clips by its own frame count: with a multiple of it, frames of
        one clip would be taken for several clips, without an error.
        """
        return ClipForm(self.config.num_frames, self.config.image_size)

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

        Args:
            name_or_folder: hub id or folder.
            num_frames: T, frames per clip.
            image_size: side of the square frames, in pixels.

        Raises:
            CheckpointError: the weights are absent, incomplete, damaged or of another model; also
                an image encoder saved alone, which lacks the integration transformer.
            ConfigError: a number of frames or a size that the encoder cannot take.
        """
        source = load_backbone(
            XCLIPVideoModel,
            name_or_folder,
            model_types={"xclip"},
            ignored_prefixes=("text_model.", "text_projection", "logit_scale", "prompts_"),
        )
        config = copy.deepcopy(source.config)
        config.num_frames = num_frames
        config.image_size = image_size
        # Every value is replaced below; drawing random ones first takes longer than loading.
        with no_init_weights():
            encoder = cls(config)
        weights = source.state_dict()
        weights[_SPACE_POSITIONS] = resized_positions(
            source.vision_model, weights[_SPACE_POSITIONS], image_size
        )
        weights[_TIME_POSITIONS] = interpolate_time_embeddings(weights[_TIME_POSITIONS], num_frames)
        encoder.backbone.load_state_dict(weights, strict=True, assign=True)
        check_loaded(encoder, name_or_folder)
        return encoder.eval()
