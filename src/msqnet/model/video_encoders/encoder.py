"""What every video encoder is: uint8 clips in, frame memory out, and when each item happened."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Self

import torch
from torch import Tensor, nn

from msqnet.errors import ConfigError, ShapeError
from msqnet.model.pieces import pieces_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from transformers import PreTrainedConfig

NUM_CHANNELS = 3
MAX_PIXEL = 255.0
_CLIPS_AT_A_TIME = 1


class FrameSpan(NamedTuple):
    """The frames ``[first, end)`` of a clip that one memory item was made of."""

    first: int
    end: int


PixelStatistics = tuple[tuple[float, float, float], tuple[float, float, float]]

MemorySpans = tuple[FrameSpan | None, ...]
"""One entry for each memory item; None for an item that stands for the whole clip."""

FrameFeatures = dict[str, Tensor]
"""What was computed of single frames, by name: (N, ...) each; (B, T, ...) once put into clips."""


class ClipForm(NamedTuple):
    """What clips an encoder takes: T frames (None for any number), square, of this side."""

    num_frames: int | None
    image_size: int


def of_clips(frame_features: Callable[[Tensor], FrameFeatures], pixels: Tensor) -> FrameFeatures:
    """Features (B, T, ...) of clips (B, T, 3, H, W), frame by frame."""
    leading = pixels.shape[:2]
    features = frame_features(pixels.flatten(0, 1))
    return {name: values.unflatten(0, leading) for name, values in features.items()}


class VideoEncoder(nn.Module, ABC):
    """Base of all video encoders.

    Pixels stay uint8 RGB until they are here: each encoder owns the statistics that its published
    weights were trained with.

    Args:
        config: of the backbone.
        width: D', the width of a memory item.
        pixel_statistics: mean and standard deviation of pixels scaled to [0, 1], one number a
            channel; None where a part of the encoder owns them.

    Attributes:
        config: as given.
        width: as given.
        pixel_mean: (3, 1, 1) float, persistent, so that it is never left on the meta device.
        pixel_std: (3, 1, 1) float, likewise.
        licence: of the published weights; printed where they are chosen.
    """

    licence: ClassVar[str]
    pixel_mean: Tensor
    pixel_std: Tensor

    def __init__(
        self,
        config: PreTrainedConfig,
        *,
        width: int,
        pixel_statistics: PixelStatistics | None,
    ):
        super().__init__()
        self.config: Any = config
        self.width = width
        if pixel_statistics is not None:
            mean, std = pixel_statistics
            self.register_buffer("pixel_mean", torch.tensor(mean).view(-1, 1, 1))
            self.register_buffer("pixel_std", torch.tensor(std).view(-1, 1, 1))

    @classmethod
    @abstractmethod
    def default_config(cls, num_frames: int, image_size: int) -> PreTrainedConfig:
        """The published architecture for clips of this form, for training from random weights."""

    @classmethod
    @abstractmethod
    def from_pretrained(cls, name_or_folder: str | Path, num_frames: int, image_size: int) -> Self:
        """Start from published weights.

        Args:
            name_or_folder: hub id or folder.
            num_frames: T, frames per clip.
            image_size: side of the square frames, in pixels.

        Raises:
            CheckpointError: the weights are absent, incomplete, damaged or of another model.
            ConfigError: a number of frames or a size that the encoder cannot take.
        """

    @abstractmethod
    def memory_spans(self, num_frames: int) -> MemorySpans:
        """Which frames each memory item was made of, in the order of the items.

        Args:
            num_frames: T of the clip.
        """

    @property
    @abstractmethod
    def clip_form(self) -> ClipForm:
        """What clips this encoder takes."""

    def frame_features(self, frames: Tensor) -> FrameFeatures:
        """What is computed of each frame alone, so that clips which share frames can share it.

        Args:
            frames: (N, 3, H, W) uint8 RGB.

        Returns:
            By name, (N, ...) each; by default the standardised pixels, as "pixels".

        Raises:
            ShapeError: another shape or type.
        """
        self.check_pixels(frames[None], None, self.clip_form.image_size)
        return {"pixels": self.standardise(frames, self.dtype)}

    def memory(self, features: Any) -> Tensor:
        """Encode clips whose frames were seen to one by one.

        Args:
            features: of `frame_features`, (B, T, ...) each; for ``lite`` its `TrunkFeatures`.

        Returns:
            (B, M, D') float, one item for each entry of `memory_spans`.

        Raises:
            ShapeError: another number of frames.
        """
        expected = self.clip_form.num_frames
        first = next(iter(features.values()))
        num_frames = first.shape[1]
        if expected not in (None, num_frames):
            raise ShapeError(
                f"{type(self).__name__}: found {num_frames} frames per clip, expected {expected}; "
                "sample clips to the model's own settings"
            )
        keeps = torch.is_grad_enabled()
        pieces = (pieces_of(v, _CLIPS_AT_A_TIME, keeps_gradients=keeps) for v in features.values())
        clips = [dict(zip(features, part, strict=True)) for part in zip(*pieces, strict=True)]
        return torch.cat([self._memory(part) for part in clips])

    @abstractmethod
    def _memory(self, features: Any) -> Tensor:
        """As `memory`, of the right number of frames."""

    def forward(self, pixels: Any) -> Tensor:
        """Encode clips.

        Args:
            pixels: (B, T, 3, H, W) uint8 RGB, of the form that `clip_form` says; for ``lite`` the
                features that its trunk made of them.

        Returns:
            (B, M, D') float, one item for each entry of `memory_spans`.

        Raises:
            ShapeError: another shape or type.
        """
        self.check_pixels(pixels, *self.clip_form)
        return self.memory(of_clips(self.frame_features, pixels))

    @property
    def dtype(self) -> torch.dtype:
        """Of the backbone's parameters."""
        return next(self.parameters()).dtype

    def check_pixels(self, pixels: Tensor, num_frames: int | None, image_size: int) -> None:
        """Refuse clips that the backbone would take wrongly or not at all.

        Args:
            pixels: as for `forward`.
            num_frames: T that is needed; None for any.
            image_size: H = W that is needed.

        Raises:
            ShapeError: says what was found and expected.
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
                f"{type(self).__name__} pixels: found {pixels.dtype} {tuple(pixels.shape)}, "
                f"expected torch.uint8 (B, T, 3, H, W) = (B, {num_frames or 'T'}, 3, {image_size}, "
                f"{image_size}); sample and resize clips to the model's own settings"
            )

    def standardise(self, pixels: Tensor, dtype: torch.dtype) -> Tensor:
        """Pixels in the encoder's own scale.

        Args:
            pixels: (..., 3, H, W) uint8.
            dtype: of the backbone; the arithmetic is done in float32.

        Returns:
            (..., 3, H, W) of ``dtype``.
        """
        scaled = pixels.to(torch.float32) / MAX_PIXEL
        return ((scaled - self.pixel_mean.float()) / self.pixel_std.float()).to(dtype)


def tubelet_spans(num_frames: int, tubelet_size: int) -> MemorySpans:
    """Spans of an encoder that joins every ``tubelet_size`` frames into one time step."""
    starts = range(0, num_frames - tubelet_size + 1, tubelet_size)
    return tuple(FrameSpan(start, start + tubelet_size) for start in starts)


def time_positions(spans: MemorySpans) -> tuple[int, ...]:
    """Time index of each memory item: 0 to T'-1 in the order of time, -1 for the whole clip.

    Items of the same frames (two looks at one frame) share an index.
    """
    order = {span: index for index, span in enumerate(sorted({s for s in spans if s}))}
    return tuple(-1 if span is None else order[span] for span in spans)


def item_seconds(spans: MemorySpans, pts_seconds: Tensor) -> Tensor:
    """When each memory item happened: the mean time of its frames.

    Args:
        spans: of M items.
        pts_seconds: (T,) float64, times of the clip's frames.

    Returns:
        (M,) float64 seconds; for an item of the whole clip the mean of all frames.
    """
    whole = FrameSpan(0, len(pts_seconds))
    means = [pts_seconds[slice(*(span or whole))].mean() for span in spans]
    return torch.stack(means)


def check_num_frames(name: str, found: int, *, at_least: int, multiple_of: int = 1) -> None:
    """Refuse a number of frames that an encoder cannot take.

    Raises:
        ConfigError: too few, or not a multiple.
    """
    if found < at_least or found % multiple_of:
        even = f", a multiple of {multiple_of}" if multiple_of > 1 else ""
        raise ConfigError(
            f"{name}: {found} frames per clip, expected at least {at_least}{even}; "
            "set --arch.num_frames"
        )


def check_image_size(name: str, found: int, *, at_least: int, multiple_of: int = 1) -> None:
    """Refuse a frame size that an encoder cannot take.

    Raises:
        ConfigError: too small, or not a multiple.
    """
    if found < at_least or found % multiple_of:
        step = f", a multiple of {multiple_of}" if multiple_of > 1 else ""
        raise ConfigError(
            f"{name}: frames of {found} pixels, expected at least {at_least}{step}; "
            "set --arch.size_pixels"
        )
