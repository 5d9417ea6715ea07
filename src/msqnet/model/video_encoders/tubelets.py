"""VideoMAE and V-JEPA 2 as video encoders: ViTs over tubelets of two frames.

The networks are those of `transformers`; here are the pixels on the way in, the frame memory on the
way out, and the loading of weights trained with clips of another form.

- ``videomae``: a plain ViT (table 4 of the paper, arXiv 2203.12602), with the norm that the model
  leaves to its classifier. Published weights are CC-BY-NC 4.0.
- ``vjepa2``: rotary positions, trained to predict its own features (arXiv 2506.09985). The
  predictor beside the encoder serves pretraining only and is not built. The published weights are
  free for commercial use (MIT or Apache 2.0); the smallest is a ViT-L.

Axes: B clips, T frames, S = T / 2 time steps, P patches, D' width. Tokens are ordered time-major;
there is no class token.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, cast

from torch import Tensor, nn
from transformers import (
    VideoMAEConfig,
    VideoMAEForVideoClassification,
    VideoMAEModel,
    VJEPA2Config,
    VJEPA2PreTrainedModel,
)
from transformers.models.videomae.modeling_videomae import get_sinusoid_encoding_table
from transformers.models.vjepa2.modeling_vjepa2 import VJEPA2Encoder

from msqnet.errors import ShapeError
from msqnet.model.attention import through
from msqnet.model.checkpoints import changed, config_of, filled, load_backbone
from msqnet.model.video_encoders.encoder import (
    IMAGENET_STATISTICS,
    FrameFeatures,
    FrameSpan,
    MemorySpans,
    VideoEncoder,
    check_patches,
)

if TYPE_CHECKING:
    from pathlib import Path

    from msqnet.model.attention import AttentionRecord

logger = logging.getLogger(__name__)


class TubeletEncoder(VideoEncoder):
    """Base of encoders of tubelets, with one memory item for each time step."""

    def memory_spans(self, num_frames: int) -> MemorySpans:
        """The frames of each tubelet."""
        size = self.config.tubelet_size
        starts = range(0, num_frames - size + 1, size)
        return tuple(FrameSpan(start, start + size) for start in starts)


class VideoMAEVideoEncoder(TubeletEncoder):
    """Frame memory from a ViT with joint attention over space and time (arXiv 2203.12602).

    Where the last layer norm stands depends on how the weights were trained, which their
    configuration says; with tokens z_(s,p)::

        use_mean_pooling (fine-tuned weights):   v_s = norm(mean_p z_(s,p))
        otherwise (masked pretraining):          v_s = mean_p layernorm(z_(s,p))

    The first is the classifier's own path, mean and then ``fc_norm``, at each time step instead of
    over the whole clip: with two frames, v_1 is exactly what the classifier saw. The second norm
    is inside the backbone.

    The number of frames and the size of the configuration must be those of every clip; what cannot
    be cut into tubelets is a `ConfigError`.
    """

    config_class = VideoMAEConfig  # its defaults are VideoMAE ViT-B/16 as it is fine-tuned
    display_name = "VideoMAE"
    licence = "VideoMAE weights: CC-BY-NC 4.0 (not for commercial use)"

    def __init__(self, config: VideoMAEConfig):
        size, patch, channels = config.image_size, config.patch_size, config.num_channels
        frames, tubelet = config.num_frames, config.tubelet_size
        check_patches("VideoMAE", size, patch, channels, frames, tubelet)
        # The defaults of transformers' own processor are others (0.5); the files beside the
        # published weights override them.
        super().__init__(config, width=config.hidden_size, pixel_statistics=IMAGENET_STATISTICS)
        self.backbone = VideoMAEModel(config)
        # transformers keeps the table as a plain attribute: not saved, not moved with the module,
        # and left to chance where a model is built without storage and filled from a file.
        embeddings = self.backbone.embeddings
        table = embeddings.position_embeddings
        del embeddings.position_embeddings
        embeddings.register_buffer("position_embeddings", table)
        # The epsilon is torch's default, as in the classifier that it comes from.
        self.norm = nn.LayerNorm(self.width) if config.use_mean_pooling else nn.Identity()

    def _memory(self, features: FrameFeatures) -> Tensor:
        tokens = self.backbone(features["pixels"]).last_hidden_state  # (B, S*P, D')
        num_steps = self.config.num_frames // self.config.tubelet_size
        steps = tokens.unflatten(1, (num_steps, -1)).mean(dim=2)  # (B, S, P, D') -> (B, S, D')
        return cast("Tensor", self.norm(steps))

    @classmethod
    def from_pretrained(
        cls, name_or_folder: str | Path, num_frames: int, image_size: int
    ) -> VideoMAEVideoEncoder:
        """Start from Hugging Face VideoMAE weights: pretrained, fine-tuned or the model alone.

        Positions are fixed sinusoids of a token's number s * P + p, computed anew for clips of this
        form. With another T, the time steps that both have keep their positions. Another size
        changes P and so the position of nearly every token; such weights need fine-tuning.
        """
        source, norm = _load(name_or_folder)
        config = changed(source.config, num_frames=num_frames, image_size=image_size)
        weights = source.state_dict()
        num_tokens = (num_frames // config.tubelet_size) * (image_size // config.patch_size) ** 2
        weights["embeddings.position_embeddings"] = get_sinusoid_encoding_table(
            num_tokens, config.hidden_size
        )
        parts = {"backbone": weights, "norm": norm.state_dict()}
        return filled(lambda: cls(config), parts, name_or_folder)

    def rollout(self, attention: AttentionRecord, memory: Tensor) -> Tensor:
        """See the base class; attention is joint over all tubelets, in the order of time."""
        grid = self.config.image_size // self.config.patch_size
        tokens = (memory[:, :, None].expand(-1, -1, grid**2) / grid**2).flatten(1)  # (K, S*P)
        for weights in reversed(attention.means()):
            tokens = through(tokens, weights[0])
        return cast("Tensor", tokens.unflatten(1, (1, -1, grid, grid)))  # (K, 1, S, h, w)


def _load(name_or_folder: str | Path) -> tuple[VideoMAEModel, nn.Module]:
    """The backbone of a checkpoint, and the norm that goes after the mean."""
    architectures = config_of(name_or_folder).architectures or ()
    types = {"videomae"}
    if VideoMAEForVideoClassification.__name__ in architectures:
        classifier = load_backbone(
            VideoMAEForVideoClassification, name_or_folder, model_types=types
        )
        return classifier.videomae, classifier.fc_norm or nn.Identity()
    unused = ("decoder.", "encoder_to_decoder.", "mask_token")  # for pretraining only
    source = load_backbone(
        VideoMAEModel, name_or_folder, model_types=types, ignored_prefixes=unused
    )
    if not source.config.use_mean_pooling:
        return source, nn.Identity()
    logger.info("%s holds no final norm; one with weight 1 and bias 0 is added", name_or_folder)
    return source, nn.LayerNorm(source.config.hidden_size)


class VJEPA2Backbone(VJEPA2PreTrainedModel):
    """`transformers.VJEPA2Model` without its predictor; weights have the same names."""

    def __init__(self, config: VJEPA2Config):
        super().__init__(config)
        self.encoder = VJEPA2Encoder(config)
        self.post_init()  # type: ignore[no-untyped-call]

    def forward(self, pixels: Tensor) -> Tensor:
        """(B, T, 3, H, W) float, normalized -> (B, S*P, D') float, after the last norm."""
        return cast("Tensor", self.encoder(pixels).last_hidden_state)


class VJEPA2VideoEncoder(TubeletEncoder):
    """Frame memory from V-JEPA 2 (arXiv 2506.09985).

    With tokens z_(s,p) after the backbone's last layer norm::

        v_s = mean_p z_(s,p)

    Positions are rotary, computed from token numbers wherever they are used: T is free, and
    ``config.frames_per_clip`` changes nothing. ``config.crop_size`` must be the height and width of
    every clip: the backbone counts rows and columns with it, so that another size gives wrong
    positions, not an error. What cannot be cut into tubelets is a `ConfigError`.
    """

    config_class = VJEPA2Config
    display_name = "V-JEPA 2"
    takes_any_length = True
    licence = "V-JEPA 2 weights: MIT or Apache 2.0, as their model card says"

    def __init__(self, config: VJEPA2Config):
        size, patch, channels = config.crop_size, config.patch_size, config.in_chans
        frames, tubelet = config.frames_per_clip, config.tubelet_size
        check_patches("V-JEPA 2", size, patch, channels, frames, tubelet)
        super().__init__(config, width=config.hidden_size, pixel_statistics=IMAGENET_STATISTICS)
        self.backbone = VJEPA2Backbone(config)

    @classmethod
    def default_config(cls, num_frames: int, image_size: int) -> VJEPA2Config:
        """V-JEPA 2 ViT-L/16."""
        return VJEPA2Config(frames_per_clip=num_frames, crop_size=image_size)

    @property
    def num_frames(self) -> int:
        """T that the configuration was made for; clips may have another."""
        return int(self.config.frames_per_clip)

    @property
    def image_size(self) -> int:
        """Side of the square frames, in pixels."""
        return int(self.config.crop_size)

    def _memory(self, features: FrameFeatures) -> Tensor:
        pixels = features["pixels"]
        num_steps, rest = divmod(pixels.shape[1], self.config.tubelet_size)
        if rest or not num_steps:  # of an odd number of frames it would leave out the last
            raise ShapeError(
                f"{self.display_name} pixels: found {pixels.shape[1]} frames per clip, expected a "
                f"multiple of {self.config.tubelet_size}; sample another number of frames"
            )
        tokens = self.backbone(pixels)  # (B, S*P, D')
        return cast("Tensor", tokens.unflatten(1, (num_steps, -1)).mean(dim=2))  # (B, S, D')

    @classmethod
    def from_pretrained(
        cls, name_or_folder: str | Path, num_frames: int, image_size: int
    ) -> VJEPA2VideoEncoder:
        """Start from Hugging Face V-JEPA 2 weights, with or without their classifier.

        No weight depends on T or on the frame size; tokens further apart than in training get
        rotations that the weights have not seen.
        """
        source = load_backbone(
            VJEPA2Backbone,
            name_or_folder,
            model_types={"vjepa2"},
            ignored_prefixes=("predictor.", "vjepa2.predictor.", "pooler.", "classifier."),
        )
        config = changed(source.config, frames_per_clip=num_frames, crop_size=image_size)
        return filled(lambda: cls(config), {"backbone": source.state_dict()}, name_or_folder)
