"""V-JEPA 2 as a video encoder: a ViT with rotary positions, trained to predict its own features.

The network is the encoder of `transformers.VJEPA2Model`, used unchanged; the predictor beside it
serves pretraining only and is not built. The published weights are free for commercial use (MIT or
Apache 2.0); the smallest is a ViT-L.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, cast

from transformers import VJEPA2Config, VJEPA2PreTrainedModel
from transformers.initialization import no_init_weights
from transformers.models.vjepa2.modeling_vjepa2 import VJEPA2Encoder
from transformers.utils.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD

from msqnet.errors import ConfigError, ShapeError
from msqnet.model.loading import check_loaded, load_backbone
from msqnet.model.video_encoders.encoder import (
    NUM_CHANNELS,
    ClipForm,
    FrameFeatures,
    MemorySpans,
    VideoEncoder,
    check_image_size,
    check_num_frames,
    tubelet_spans,
)

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

    from msqnet.model.video_encoders.encoder import PixelStatistics

# Of pixels scaled to [0, 1]; what the published weights were trained with.
PIXEL_STATISTICS = cast(
    "PixelStatistics", (tuple(IMAGENET_DEFAULT_MEAN), tuple(IMAGENET_DEFAULT_STD))
)


class VJEPA2Backbone(VJEPA2PreTrainedModel):
    """`transformers.VJEPA2Model` without its predictor; weights have the same names.

    Args:
        config: as for `VJEPA2Model`; what it says of the predictor and the pooler is not used.
    """

    def __init__(self, config: VJEPA2Config):
        super().__init__(config)
        self.encoder = VJEPA2Encoder(config)
        self.post_init()  # type: ignore[no-untyped-call]

    def forward(self, pixels: Tensor) -> Tensor:
        """(B, T, 3, H, W) float, standardised -> (B, S*P, D') float, after the last norm."""
        tokens: Tensor = self.encoder(pixels).last_hidden_state
        return tokens


class VJEPA2VideoEncoder(VideoEncoder):
    """Frame memory from V-JEPA 2 (arXiv 2506.09985).

    With tokens z_(s,p) after the backbone's last layer norm, time-major, for S = T / 2 time steps
    and P patches (there is no class token)::

        v_s = mean_p z_(s,p)

    Positions are rotary, computed from token numbers wherever they are used: T is free, and
    ``config.frames_per_clip`` changes nothing.

    Args:
        config: of the backbone; ``crop_size`` must be the height and width of every clip.

    Attributes:
        backbone: the `VJEPA2Backbone`.

    Raises:
        ConfigError: a number of frames, a size or channels that cannot be cut into tubelets.
    """

    licence = "V-JEPA 2 weights: MIT or Apache 2.0, as their model card says"

    def __init__(self, config: VJEPA2Config):
        _check_config(config)
        super().__init__(config, width=config.hidden_size, pixel_statistics=PIXEL_STATISTICS)
        self.backbone = VJEPA2Backbone(config)

    @classmethod
    def default_config(cls, num_frames: int, image_size: int) -> VJEPA2Config:
        """V-JEPA 2 ViT-L/16."""
        return VJEPA2Config(frames_per_clip=num_frames, crop_size=image_size)

    def memory_spans(self, num_frames: int) -> MemorySpans:
        """The two frames of each tubelet."""
        return tubelet_spans(num_frames, self.config.tubelet_size)

    @property
    def clip_form(self) -> ClipForm:
        """Any even number of frames, of the size of the configuration.

        The backbone counts rows and columns with its own size: frames of another one get wrong
        positions, not an error.
        """
        return ClipForm(None, self.config.crop_size)

    def _memory(self, features: FrameFeatures) -> Tensor:
        pixels = features["pixels"]
        num_steps, rest = divmod(pixels.shape[1], self.config.tubelet_size)
        if rest or not num_steps:  # of an odd number of frames it would leave out the last
            raise ShapeError(
                f"VJEPA2VideoEncoder pixels: found {pixels.shape[1]} frames per clip, expected a "
                f"multiple of {self.config.tubelet_size}; sample another number of frames"
            )
        tokens = self.backbone(pixels)  # (B, S*P, D')
        steps: Tensor = tokens.unflatten(1, (num_steps, -1)).mean(dim=2)
        return steps  # (B, S, P, D') -> (B, S, D')

    @classmethod
    def from_pretrained(
        cls, name_or_folder: str | Path, num_frames: int, image_size: int
    ) -> VJEPA2VideoEncoder:
        """Start from Hugging Face V-JEPA 2 weights, with or without their classifier.

        No weight depends on T or on the frame size; tokens further apart than in training get
        rotations that the weights have not seen.

        Args:
            name_or_folder: hub id or folder.
            num_frames: T, frames per clip, even.
            image_size: side of the square frames in pixels, a multiple of the patch size.

        Raises:
            CheckpointError: the weights are absent, incomplete, damaged or of another model.
            ConfigError: a number of frames or a size that the backbone cannot take.
        """
        source = load_backbone(
            VJEPA2Backbone,
            name_or_folder,
            model_types={"vjepa2"},
            ignored_prefixes=("predictor.", "vjepa2.predictor.", "pooler.", "classifier."),
        )
        config = copy.deepcopy(source.config)
        config.frames_per_clip = num_frames
        config.crop_size = image_size
        # Every value is replaced below; drawing random ones first takes longer than loading.
        with no_init_weights():
            encoder = cls(config)
        encoder.backbone.load_state_dict(source.state_dict(), strict=True, assign=True)
        check_loaded(encoder, name_or_folder)
        return encoder.eval()


def _check_config(config: VJEPA2Config) -> None:
    patch = config.patch_size
    if not isinstance(patch, int):
        raise ConfigError(f"V-JEPA 2 patch_size {patch}: expected one number")
    check_image_size("V-JEPA 2", config.crop_size, at_least=patch, multiple_of=patch)
    tubelet = config.tubelet_size
    check_num_frames("V-JEPA 2", config.frames_per_clip, at_least=tubelet, multiple_of=tubelet)
    if config.in_chans != NUM_CHANNELS:
        raise ConfigError(f"V-JEPA 2 in_chans {config.in_chans}: expected {NUM_CHANNELS} (RGB)")
