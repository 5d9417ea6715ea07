"""VideoMAE as a video encoder: a plain ViT over tubelets of two frames (table 4 of the paper).

The network is `transformers.VideoMAEModel` itself; here are the pixels on the way in, the frame
memory on the way out, the norm that the model leaves to its classifier, and the loading of weights
trained with clips of another form. Published weights are CC-BY-NC 4.0.
"""

from __future__ import annotations

import copy
import logging
from typing import TYPE_CHECKING, cast

from torch import Tensor, nn
from transformers import (
    AutoConfig,
    VideoMAEConfig,
    VideoMAEForVideoClassification,
    VideoMAEModel,
)
from transformers.initialization import no_init_weights
from transformers.utils.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD

from msqnet.errors import ConfigError
from msqnet.model.loading import check_loaded, load_backbone, loading_from
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

    from msqnet.model.video_encoders.encoder import PixelStatistics

logger = logging.getLogger(__name__)

# What the published weights were trained with. The defaults of transformers' own processor are
# others (0.5); the files beside the weights override them.
PIXEL_STATISTICS = cast(
    "PixelStatistics", (tuple(IMAGENET_DEFAULT_MEAN), tuple(IMAGENET_DEFAULT_STD))
)
_MODEL_TYPE = "videomae"
_PRETRAINING_ONLY = ("decoder.", "encoder_to_decoder.", "mask_token")


class VideoMAEVideoEncoder(VideoEncoder):
    """Frame memory from a ViT with joint attention over space and time (arXiv 2203.12602).

    Tokens z_(s,p) are ordered time-major, for S = T / 2 time steps and P patches; there is no class
    token. Where the last layer norm stands depends on how the weights were trained, which their
    configuration says::

        use_mean_pooling (fine-tuned weights):   v_s = norm(mean_p z_(s,p))
        otherwise (masked pretraining):          v_s = mean_p layernorm(z_(s,p))

    The first is the classifier's own path, mean and then ``fc_norm``, at each time step instead of
    over the whole clip: with two frames, v_1 is exactly what the classifier saw. The second norm
    is inside the backbone.

    Args:
        config: of the backbone; ``num_frames`` and ``image_size`` must be those of every clip.

    Attributes:
        backbone: the `VideoMAEModel`; its table of positions is a buffer here, see below.
        norm: the layer norm after the mean, built with weight 1 and bias 0; nothing where the
            backbone has its own.

    Raises:
        ConfigError: a number of frames, a size or channels that cannot be cut into tubelets.
    """

    licence = "VideoMAE weights: CC-BY-NC 4.0 (not for commercial use)"

    def __init__(self, config: VideoMAEConfig):
        _check_config(config)
        super().__init__(config, width=config.hidden_size, pixel_statistics=PIXEL_STATISTICS)
        self.backbone = VideoMAEModel(config)
        # transformers keeps the table as a plain attribute: not saved, not moved with the module,
        # and left to chance where a model is built without storage and filled from a file.
        embeddings = self.backbone.embeddings
        table = embeddings.position_embeddings
        del embeddings.position_embeddings
        embeddings.register_buffer("position_embeddings", table)
        # The epsilon is torch's default, as in the classifier that it comes from.
        self.norm = nn.LayerNorm(self.width) if config.use_mean_pooling else nn.Identity()

    @classmethod
    def default_config(cls, num_frames: int, image_size: int) -> VideoMAEConfig:
        """VideoMAE ViT-B/16 as it is fine-tuned."""
        return VideoMAEConfig(num_frames=num_frames, image_size=image_size)

    def memory_spans(self, num_frames: int) -> MemorySpans:
        """The two frames of each tubelet."""
        return tubelet_spans(num_frames, self.config.tubelet_size)

    @property
    def clip_form(self) -> ClipForm:
        """T and the size of the configuration."""
        return ClipForm(self.config.num_frames, self.config.image_size)

    def _memory(self, features: FrameFeatures) -> Tensor:
        tokens = self.backbone(features["pixels"]).last_hidden_state  # (B, S*P, D')
        num_steps = self.config.num_frames // self.config.tubelet_size
        steps = tokens.unflatten(1, (num_steps, -1)).mean(dim=2)  # (B, S, P, D') -> (B, S, D')
        normed: Tensor = self.norm(steps)
        return normed

    @classmethod
    def from_pretrained(
        cls, name_or_folder: str | Path, num_frames: int, image_size: int
    ) -> VideoMAEVideoEncoder:
        """Start from Hugging Face VideoMAE weights: pretrained, fine-tuned or the model alone.

        Positions are fixed sinusoids of a token's number s * P + p and are computed anew for clips
        of this form. Other T at the checkpoint's size: the time steps both have keep their
        positions, and steps beyond those trained with get new ones. Another size changes P and
        with it the position of every token outside the first row of the first time step; such
        weights need fine-tuning.

        A checkpoint of the model alone with ``use_mean_pooling`` has no norm to load; ``norm``
        then starts with weight 1 and bias 0.

        Args:
            name_or_folder: hub id or folder.
            num_frames: T, frames per clip, even.
            image_size: side of the square frames in pixels, a multiple of the patch size.

        Raises:
            CheckpointError: the weights are absent, incomplete, damaged or of another model.
            ConfigError: a number of frames or a size that the backbone cannot take.
        """
        source, norm = _load(name_or_folder)
        config = copy.deepcopy(source.config)
        config.num_frames = num_frames
        config.image_size = image_size
        # Every value is replaced below; drawing random ones first takes longer than loading.
        with no_init_weights():
            encoder = cls(config)
        positions = encoder.backbone.embeddings.position_embeddings
        weights = source.state_dict() | {"embeddings.position_embeddings": positions}
        encoder.backbone.load_state_dict(weights, strict=True, assign=True)
        encoder.norm.load_state_dict(norm.state_dict(), strict=True, assign=True)
        check_loaded(encoder, name_or_folder)
        return encoder.eval()


def _load(name_or_folder: str | Path) -> tuple[VideoMAEModel, nn.Module]:
    """The backbone of a checkpoint, and the norm that goes after the mean."""
    with loading_from(name_or_folder):
        architectures = AutoConfig.from_pretrained(name_or_folder).architectures or ()
    if VideoMAEForVideoClassification.__name__ in architectures:
        classifier = load_backbone(
            VideoMAEForVideoClassification, name_or_folder, model_types={_MODEL_TYPE}
        )
        return classifier.videomae, classifier.fc_norm or nn.Identity()
    source = load_backbone(
        VideoMAEModel,
        name_or_folder,
        model_types={_MODEL_TYPE},
        ignored_prefixes=_PRETRAINING_ONLY,
    )
    if not source.config.use_mean_pooling:
        return source, nn.Identity()
    logger.info("%s holds no final norm; one with weight 1 and bias 0 is added", name_or_folder)
    return source, nn.LayerNorm(source.config.hidden_size)


def _check_config(config: VideoMAEConfig) -> None:
    size, patch = config.image_size, config.patch_size
    if not isinstance(size, int) or not isinstance(patch, int):
        raise ConfigError(
            f"VideoMAE image_size {size} and patch_size {patch}: expected one number each"
        )
    check_image_size("VideoMAE", size, at_least=patch, multiple_of=patch)
    tubelet = config.tubelet_size
    check_num_frames("VideoMAE", config.num_frames, at_least=tubelet, multiple_of=tubelet)
    if config.num_channels != NUM_CHANNELS:
        raise ConfigError(
            f"VideoMAE num_channels {config.num_channels}: expected {NUM_CHANNELS} (RGB)"
        )
