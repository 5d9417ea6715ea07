"""The interface of encoders: uint8 frames in, frame memory out, and when each item happened."""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Self

import torch
from torch import Tensor, nn

from msqnet.errors import ConfigError, ShapeError, check
from msqnet.model.computing import chunks_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from transformers import PreTrainedConfig

    from msqnet.config import ArchConfig, ClipConfig
    from msqnet.model.attention import AttentionRecord

NUM_CHANNELS = 3
MAX_PIXEL = 255.0
RANDOM = "random"
"""What `ArchConfig` calls weights that are not pretrained."""
VIDEO_QUERY = "video_query"
"""Name of a clip's video query (B, D'') among its features, where it was computed already."""
FRAME_MEMORY = "frame_memory"
"""Likewise of its frame memory (B, M, D')."""
POOLED = "pooled"
"""Name of the feature (B, G, T, E) that an encoder makes its own video query of."""


class FrameSpan(NamedTuple):
    """The frames ``[first, end)`` of a clip that one memory item was made of."""

    first: int
    end: int


PixelStatistics = tuple[tuple[float, float, float], tuple[float, float, float]]
"""Mean and standard deviation of pixels scaled to [0, 1], one number a channel."""
# As in `transformers.utils.constants`, which holds them as untyped lists.
CLIP_STATISTICS = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
IMAGENET_STATISTICS = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
HALF_STATISTICS = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))

MemorySpans = tuple[FrameSpan | None, ...]
"""One entry for each memory item; None for an item that stands for the whole clip."""

FrameFeatures = dict[str, Tensor]
"""What was computed of single frames, by name: (N, ...) each; (B, T, ...) once put into clips."""


def of_clips(frame_features: Callable[[Tensor], FrameFeatures], pixels: Tensor) -> FrameFeatures:
    """Features (B, T, ...) of clips (B, T, 3, H, W), frame by frame."""
    leading = pixels.shape[:2]
    features = frame_features(pixels.flatten(0, 1))
    return {name: values.unflatten(0, leading) for name, values in features.items()}


class PixelEncoder(nn.Module):
    """Base of video and image encoders, which take uint8 RGB pixels.

    Args:
        config: of the backbone.
        width: of an output vector.
        pixel_statistics: of the published weights; None where a part of the encoder owns them.

    Attributes:
        pixel_mean: (3, 1, 1) float, as `pixel_std`; saved, so never left on the meta device.
        display_name: for messages.
        licence: of the published weights; printed where they are chosen.
    """

    display_name: ClassVar[str]
    licence: ClassVar[str] = "see the card of the weights"
    pixel_mean: Tensor
    pixel_std: Tensor

    def __init__(
        self, config: PreTrainedConfig, *, width: int, pixel_statistics: PixelStatistics | None
    ):
        super().__init__()
        self.config: Any = config
        self.width = width
        if pixel_statistics is not None:
            mean, std = pixel_statistics
            self.register_buffer("pixel_mean", torch.tensor(mean).view(-1, 1, 1))
            self.register_buffer("pixel_std", torch.tensor(std).view(-1, 1, 1))

    def set_pixel_statistics(self, statistics: PixelStatistics) -> None:
        """Normalize pixels in another way from now on."""
        mean, std = statistics
        self.pixel_mean.copy_(torch.tensor(mean).view(-1, 1, 1))
        self.pixel_std.copy_(torch.tensor(std).view(-1, 1, 1))

    @property
    def dtype(self) -> torch.dtype:
        """Of the backbone's parameters."""
        return next(self.parameters()).dtype

    def check_pixels(self, pixels: Tensor, num_frames: int | None, image_size: int) -> None:
        """Refuse clips that are not (B, T, 3, size, size) uint8 RGB with a `ShapeError`.

        ``num_frames`` is the T that is needed; None for any.
        """
        expected = (NUM_CHANNELS, image_size, image_size)
        is_right = (
            pixels.dtype == torch.uint8
            and pixels.ndim == 5
            and tuple(pixels.shape[2:]) == expected
            and num_frames in (None, pixels.shape[1])
        )
        if not is_right:
            raise ShapeError(
                f"{self.display_name} pixels: found {pixels.dtype} {tuple(pixels.shape)}, "
                f"expected torch.uint8 (B, T, 3, H, W) = (B, {num_frames or 'T'}, 3, {image_size}, "
                f"{image_size}); sample and resize clips to the model's own settings"
            )

    def normalize(self, pixels: Tensor, dtype: torch.dtype) -> Tensor:
        """(..., 3, H, W) uint8 -> the same of ``dtype``, normalized; computed in float32."""
        scaled = pixels.to(torch.float32) / MAX_PIXEL
        return ((scaled - self.pixel_mean.float()) / self.pixel_std.float()).to(dtype)


class VideoEncoder(PixelEncoder, ABC):
    """Base of all video encoders.

    A clip is seen in one or more views, each a clip of its own: the whole frames and, for encoders
    that take it, the motion crop.

    Attributes:
        config_class: of the configuration; one of our own is registered with `transformers`.
        takes_any_length: whether T is free.
        frozen_features: names of what ``finetune after_trunk`` computes without gradients, by the
            part that is then called ``trunk``; empty for encoders that have no such part.
        has_fast_frames: whether most of the work is done frame by frame.
        num_views: G, of each clip.
        pooled_width: G * E of the feature `POOLED` of a frame; 0 where there is none.
        query_width: D'' of the encoder's own video query; 0 where it has none.
        appearance: the part of that query that tells what was there, apart from its motion.
        scene: the part that is of whole frames, where another is of the motion crop.
    """

    config_class: ClassVar[Any]
    takes_any_length: ClassVar[bool] = False
    frozen_features: ClassVar[tuple[str, ...]] = ()
    has_fast_frames: ClassVar[bool] = False
    trunk: nn.Module
    num_views: int = 1
    pooled_width: int = 0
    query_width: int = 0
    appearance: slice | None = None
    scene: slice | None = None

    # How an encoder is made.

    @classmethod
    def default_config(cls, num_frames: int, image_size: int) -> PreTrainedConfig:
        """The published architecture for clips of this form, for training from random weights."""
        config: PreTrainedConfig = cls.config_class(num_frames=num_frames, image_size=image_size)
        return config

    @classmethod
    @abstractmethod
    def from_pretrained(cls, name_or_folder: str | Path, num_frames: int, image_size: int) -> Self:
        """Start from published weights, for clips of T square frames of ``image_size`` pixels.

        Weights that are absent, incomplete, damaged or of another model are a `CheckpointError`; a
        number of frames or a size that the encoder cannot take is a `ConfigError`.
        """

    @classmethod
    def from_arch(cls, arch: ArchConfig, clip: ClipConfig) -> Self:
        """The encoder of a new model: published weights or random ones, as the settings say."""
        form = (clip.num_frames, clip.size_pixels)
        if arch.video_weights != RANDOM:
            return cls.from_pretrained(arch.video_weights, *form)
        build: Any = cls
        encoder: Self = build(cls.default_config(*form))
        return encoder

    @classmethod
    def from_model_config(cls, config: Any) -> Self:
        """The encoder that an `MSQNetConfig` describes, with random weights."""
        build: Any = cls
        encoder: Self = build(config.video_encoder)
        return encoder

    @property
    def model_settings(self) -> dict[str, Any]:
        """Fields of `MSQNetConfig` that an encoder at hand decides."""
        return {}

    @classmethod
    def licence_of(cls, name_or_folder: str) -> str:
        """Licence of weights, as far as it can be told without loading them."""
        del name_or_folder
        return cls.licence

    def reset_parameters(self) -> None:
        """Initialise parameters of the encoder itself, where its layers do not."""

    # What clips an encoder takes.

    @property
    def num_frames(self) -> int:
        """T that the configuration was made for."""
        return int(self.config.num_frames)

    @property
    def image_size(self) -> int:
        """Side of the square frames, in pixels."""
        return int(self.config.image_size)

    def check_clips(self, pixels: Tensor) -> None:
        """Refuse clips (B, T, 3, H, W) of another form with a `ShapeError`."""
        self.check_pixels(
            pixels, None if self.takes_any_length else self.num_frames, self.image_size
        )

    @abstractmethod
    def memory_spans(self, num_frames: int) -> MemorySpans:
        """Which frames of T each memory item was made of, in the order of the items."""

    # From pixels to the frame memory.

    def frame_features(self, frames: Tensor) -> FrameFeatures:
        """What is computed of each frame alone, so that clips which share frames can share it.

        (N, 3, H, W) uint8 RGB -> (N, ...) by name; by default the normalized pixels, as "pixels".
        Another shape or type is a `ShapeError`.
        """
        self.check_pixels(frames[None], None, self.image_size)
        return {"pixels": self.normalize(frames, self.dtype)}

    def join_views(self, views: Sequence[FrameFeatures]) -> FrameFeatures:
        """Features of clips from those of their G views, (B, T, ...) each.

        Another number of views is a `ShapeError`.
        """
        if len(views) != self.num_views:
            raise ShapeError(
                f"{self.display_name}: found {len(views)} views of each clip, expected "
                f"{self.num_views}; its clip settings say whether it takes a motion crop"
            )
        return views[0]

    def video_query(self, features: FrameFeatures) -> Tensor:
        """The encoder's own video query (B, D''), not yet normalized; else a `ConfigError`."""
        del features
        raise ConfigError(f"{self.display_name} has no video query of its own")

    def memory(self, features: FrameFeatures) -> Tensor:
        """Frame memory of clips, (B, M, D') float: one item for each entry of `memory_spans`.

        ``features`` are those of `join_views`; another number of frames is a `ShapeError`.
        """
        own = {name: values for name, values in features.items() if name != VIDEO_QUERY}
        num_frames = next(iter(own.values())).shape[1]
        if not self.takes_any_length and num_frames != self.num_frames:
            raise ShapeError(
                f"{self.display_name}: found {num_frames} frames per clip, expected "
                f"{self.num_frames}; sample clips to the model's own settings"
            )
        # One clip at a time.
        keeps = torch.is_grad_enabled()
        chunks = (chunks_of(v, 1, keeps_gradients=keeps) for v in own.values())
        clips = [dict(zip(own, chunk, strict=True)) for chunk in zip(*chunks, strict=True)]
        return torch.cat([self._memory(chunk) for chunk in clips])

    @abstractmethod
    def _memory(self, features: FrameFeatures) -> Tensor:
        """As `memory`, of the right number of frames."""

    def forward(self, *views: Tensor) -> Tensor:
        """Frame memory (B, M, D') float of G views, each (B, T, 3, H, W) uint8 RGB."""
        return self.memory(self.features(*views))

    def features(self, *views: Tensor) -> FrameFeatures:
        """As `join_views`, of the views' pixels; see `forward`."""
        for pixels in views:
            self.check_clips(pixels)
        return self.join_views([of_clips(self.frame_features, pixels) for pixels in views])

    # For explanations.

    def rollout(self, attention: AttentionRecord, memory: Tensor) -> Tensor:
        """Attention rollout from memory items to the patches that they were made of.

        From (K, M) relevance of the memory items for K labels, and the attention of a recorded
        forward pass for one clip, to (K, G, T', h, w) float, not negative: T' are the encoder's
        time steps, G its views. Relevance that ends on tokens without a place (the global token,
        registers) is left out. An encoder without attention between patches is a `ConfigError`.
        """
        del attention, memory
        raise ConfigError(f"{self.display_name} has no attention between patches")

    @contextmanager
    def recorded_query_cells(self) -> Iterator[list[Tensor]]:
        """Yield a list that holds the cells behind the video query once the block has ended.

        (G*T, E, h, w) float of the one clip of a forward pass in the block; nothing for encoders
        without a video query of their own. The video query must be a function of the cells' spatial
        mean (B, G, T, E), as the feature "pooled", whose mean over time comes first in each view.
        """
        yield []


def frame_spans(num_frames: int) -> tuple[FrameSpan, ...]:
    """One span for each frame."""
    return tuple(FrameSpan(index, index + 1) for index in range(num_frames))


def time_positions(spans: MemorySpans) -> tuple[int, ...]:
    """Time index of each memory item: 0 to T'-1 in the order of time, -1 for the whole clip.

    Items of the same frames (two views of one frame) share an index.
    """
    order = {span: index for index, span in enumerate(sorted({s for s in spans if s}))}
    return tuple(-1 if span is None else order[span] for span in spans)


def check_clip_form(
    name: str, num_frames: int, min_frames: int, image_size: int, min_size: int, *, in_steps: bool
) -> None:
    """Refuse too few frames or pixels; ``in_steps``, also numbers that are no multiple."""
    for found, least, stated, option in (
        (num_frames, min_frames, f"{num_frames} frames per clip", "num-frames"),
        (image_size, min_size, f"frames of {image_size} pixels", "size-pixels"),
    ):
        step = f", a multiple of {least}" if in_steps and least > 1 else ""
        check(
            found >= least and not (in_steps and found % least),
            f"{name}: {stated}, expected at least {least}{step}; set --arch.{option}",
        )


def check_patches(
    name: str,
    image_size: Any,
    patch_size: Any,
    num_channels: int,
    num_frames: int,
    tubelet_size: int = 1,
) -> None:
    """Refuse clips that cannot be cut into square RGB patches, or tubelets of several frames."""
    check(
        isinstance(image_size, int) and isinstance(patch_size, int),
        f"{name} image_size {image_size} and patch_size {patch_size}: expected one number each",
    )
    check(
        num_channels == NUM_CHANNELS,
        f"{name} with {num_channels} channels: expected {NUM_CHANNELS} (RGB)",
    )
    check_clip_form(name, num_frames, tubelet_size, image_size, patch_size, in_steps=True)
