"""TimeSformer as a video encoder: the paper's default (equations 1 to 3).

The network is in `timesformer_backbone`; here are the pixels on the way in, the frame memory on the
way out, and the loading of weights trained with another number of frames. Published Kinetics
weights are CC-BY-NC 4.0.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Literal

from torch import Tensor, cat, zeros
from torch.nn import functional
from transformers import TimesformerConfig, TimesformerModel
from transformers.initialization import no_init_weights

from msqnet.errors import ConfigError
from msqnet.model.loading import check_loaded, load_backbone
from msqnet.model.video_encoders.encoder import (
    ClipForm,
    FrameFeatures,
    FrameSpan,
    MemorySpans,
    VideoEncoder,
)
from msqnet.model.video_encoders.timesformer_backbone import TimesformerBackbone

if TYPE_CHECKING:
    from pathlib import Path

FramePooling = Literal["frames", "flat"]
TimeEmbeddings = Literal["interpolated", "zeros"]

# Of pixels scaled to [0, 1]; what the published TimeSformer weights were trained with.
PIXEL_MEAN = (0.45, 0.45, 0.45)
PIXEL_STD = (0.225, 0.225, 0.225)


class TimesformerVideoEncoder(VideoEncoder):
    """Frame memory from a divided space-time transformer.

    With tokens z_(p,t) after the backbone's last layer norm, P patches and T frames::

        frames: [z_0, v_1 .. v_T], v_t = mean_p z_(p,t)                       (T + 1 items)
        flat:   the token sequence z_0, z_(1,1) .. z_(P,T) averaged in T bins (T items)

    ``flat`` is what the authors' released code does. Tokens are ordered patch-major (token
    1 + p*T + t), so its bins are horizontal image strips averaged over time, not frames; it exists
    so that published figures can be compared. The width projection W_out is not part of this.

    Args:
        config: of the backbone; its ``num_frames`` is T and must be that of every clip.
        frame_pooling: ``frames`` or ``flat``, as above.

    Attributes:
        backbone: the `TimesformerBackbone`.

    Raises:
        ConfigError: a backbone whose tokens are not laid out as above.
    """

    licence = "TimeSformer weights: CC-BY-NC 4.0 (not for commercial use)"

    def __init__(self, config: TimesformerConfig, *, frame_pooling: FramePooling = "frames"):
        _check_config(config, frame_pooling)
        super().__init__(config, width=config.hidden_size, pixel_statistics=(PIXEL_MEAN, PIXEL_STD))
        self.frame_pooling = frame_pooling
        self.backbone = TimesformerBackbone(config)

    @classmethod
    def default_config(cls, num_frames: int, image_size: int) -> TimesformerConfig:
        """TimeSformer-B/16 with divided attention."""
        return TimesformerConfig(num_frames=num_frames, image_size=image_size)

    def memory_spans(self, num_frames: int) -> MemorySpans:
        """The whole clip and each frame; with ``flat`` the T bins count as frames, as they did."""
        frames = tuple(FrameSpan(index, index + 1) for index in range(num_frames))
        return frames if self.frame_pooling == "flat" else (None, *frames)

    @property
    def clip_form(self) -> ClipForm:
        """T and the size of the configuration.

        The backbone reshapes with its own frame count: another one gives wrong attention, not an
        error, and another size makes it resize its position embeddings in silence.
        """
        return ClipForm(self.config.num_frames, self.config.image_size)

    def frame_features(self, frames: Tensor) -> FrameFeatures:
        """Patch embeddings (N, P, D') with their positions in space, as "patches"."""
        features = super().frame_features(frames)
        return {"patches": self.backbone.patches(features["pixels"])}

    def _memory(self, features: FrameFeatures) -> Tensor:
        tokens = self.backbone.tokens(features["patches"])  # (B, 1 + P*T, D')
        num_frames = self.config.num_frames
        if self.frame_pooling == "flat":
            pooled = functional.adaptive_avg_pool1d(
                tokens.transpose(1, 2), num_frames
            )  # (B, D', T)
            return pooled.transpose(1, 2)  # (B, T, D')
        patches = tokens[:, 1:].unflatten(1, (-1, num_frames))  # (B, P, T, D')
        return cat([tokens[:, :1], patches.mean(dim=1)], dim=1)  # (B, T + 1, D')

    @classmethod
    def from_pretrained(
        cls,
        name_or_folder: str | Path,
        num_frames: int,
        image_size: int | None = None,
        *,
        frame_pooling: FramePooling = "frames",
        time_embeddings: TimeEmbeddings = "interpolated",
    ) -> TimesformerVideoEncoder:
        """Start from Hugging Face TimeSformer weights, with or without their classifier.

        The weights are loaded at their own number of frames; the time embeddings are then
        interpolated linearly where it differs, and the position embeddings bicubically where the
        size does.

        Args:
            name_or_folder: hub id or folder.
            num_frames: T, frames per clip.
            image_size: side of the square frames in pixels; by default the checkpoint's.
            frame_pooling: see the class.
            time_embeddings: ``zeros`` drops those of another number of frames instead, as loading
                with ``ignore_mismatched_sizes`` in transformers 4 did, and with it the authors'
                released code.

        Raises:
            CheckpointError: the weights are absent, incomplete, damaged or of another model.
            ConfigError: a number of frames or a size that the backbone cannot take.
        """
        source = load_backbone(
            TimesformerModel,
            name_or_folder,
            model_types={"timesformer"},
            ignored_prefixes=("classifier.",),
        )
        config = copy.deepcopy(source.config)
        config.num_frames = num_frames
        config.image_size = image_size if image_size is not None else config.image_size
        # Every value is replaced below; drawing random ones first takes longer than loading.
        with no_init_weights():
            encoder = cls(config, frame_pooling=frame_pooling)
        embeddings = source.embeddings
        weights = source.state_dict()
        weights["embeddings.time_embeddings"] = fitted_time_embeddings(
            embeddings.time_embeddings.detach(), num_frames, time_embeddings
        )
        weights["embeddings.position_embeddings"] = interpolate_position_embeddings(
            embeddings.position_embeddings.detach(), _grid_size(config)
        )
        encoder.backbone.load_state_dict(weights, strict=True, assign=True)
        check_loaded(encoder, name_or_folder)
        return encoder.eval()


def fitted_time_embeddings(embeddings: Tensor, num_frames: int, how: TimeEmbeddings) -> Tensor:
    """Time embeddings for another number of frames.

    Args:
        embeddings: (1, T_old, D') float.
        num_frames: T, at least 1.
        how: see `interpolate_time_embeddings`, or ``zeros`` for none.

    Returns:
        (1, T, D') float; the input itself where T is T_old.
    """
    if how == "zeros" and embeddings.shape[1] != num_frames:
        return zeros(1, num_frames, embeddings.shape[2])
    return interpolate_time_embeddings(embeddings, num_frames)


def interpolate_time_embeddings(embeddings: Tensor, num_frames: int) -> Tensor:
    """Stretch time embeddings linearly; the first and the last frame keep theirs.

    Deviation: transformers would take the nearest one, giving pairs of frames the same time.

    Args:
        embeddings: (1, T_old, D') float.
        num_frames: T, at least 1.

    Returns:
        (1, T, D') float; the input itself where T is T_old.
    """
    if embeddings.shape[1] == num_frames:
        return embeddings
    stretched = functional.interpolate(
        embeddings.transpose(1, 2), size=num_frames, mode="linear", align_corners=True
    )
    return stretched.transpose(1, 2)  # (1, D', T) -> (1, T, D')


def interpolate_position_embeddings(embeddings: Tensor, grid_size: int) -> Tensor:
    """Resize the position embeddings of a square patch grid bicubically.

    Args:
        embeddings: (1, 1 + G_old * G_old, D') float; item 0 is the global token's and is kept.
        grid_size: G, patches along a side.

    Returns:
        (1, 1 + G * G, D') float; the input itself where G is G_old.
    """
    old_size = round((embeddings.shape[1] - 1) ** 0.5)
    if old_size == grid_size:
        return embeddings
    grid = embeddings[:, 1:].transpose(1, 2)  # (1, D', G_old * G_old)
    grid = grid.reshape(1, -1, old_size, old_size)  # (1, D', G_old, G_old)
    resized = functional.interpolate(grid, size=grid_size, mode="bicubic", align_corners=False)
    patches = resized.flatten(2).transpose(1, 2)  # (1, D', G, G) -> (1, G * G, D')
    return cat([embeddings[:, :1], patches], dim=1)


def _grid_size(config: TimesformerConfig) -> int:
    """Patches along a side of the square frame."""
    size, patch = config.image_size, config.patch_size
    if not isinstance(size, int) or not isinstance(patch, int):
        raise ConfigError(
            f"TimeSformer image_size {size} and patch_size {patch}: expected one number each"
        )
    if size < patch or size % patch:
        raise ConfigError(
            f"TimeSformer image_size {size}: expected a multiple of patch_size {patch}"
        )
    return size // patch


def _check_config(config: TimesformerConfig, frame_pooling: str) -> None:
    if frame_pooling not in ("frames", "flat"):
        raise ConfigError(f"frame_pooling {frame_pooling!r}: expected 'frames' or 'flat'")
    if config.attention_type == "space_only":
        raise ConfigError(
            "TimeSformer attention_type 'space_only' has no token of one patch in one frame; "
            "use 'divided_space_time' or 'joint_space_time'"
        )
    _grid_size(config)
    if config.num_frames < 1:
        raise ConfigError(f"TimeSformer num_frames {config.num_frames}: expected at least 1")
    if config.num_channels != len(PIXEL_MEAN):
        raise ConfigError(f"TimeSformer num_channels {config.num_channels}: expected 3 (RGB)")
