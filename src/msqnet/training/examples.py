"""Examples of a label, as they are typed: a video, or a span of it, and its windows."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from msqnet.clips import stacked_sound
from msqnet.errors import ConfigError
from msqnet.inference.backends import features_of_clips
from msqnet.inference.taught import clip_features
from msqnet.intervals import END_TOLERANCE_SECONDS, parse_clock
from msqnet.video.reader import open_video
from msqnet.video.sound import window_frames
from msqnet.video.transforms import evaluation_clip

if TYPE_CHECKING:
    from msqnet.inference.backends import Backend
    from msqnet.predictions import FloatArray

_SPAN = re.compile(r"(?P<video>.+)@(?P<start>[\d:.]+)-(?P<end>[\d:.]+)")
_MAX_WINDOWS = 8


@dataclass(frozen=True)
class Example:
    """A video, or a span of it in seconds, that shows a label or lacks it."""

    video: str
    start_seconds: float | None = None
    end_seconds: float | None = None

    @classmethod
    def parse(cls, text: str) -> Example:
        """Read ``video`` or ``video@start-end``, in seconds or as 1:02.5; else a `ConfigError`."""
        found = None if Path(text).exists() else _SPAN.fullmatch(text)
        if found is None:
            if not Path(text).exists() and "@" in Path(text).name:
                raise ConfigError(
                    f"{text}: no such file, and no span of one; expected VIDEO@START-END in "
                    "seconds, such as a.mp4@3-5.5, or a video by itself"
                )
            return cls(text)
        try:
            start, end = (parse_clock(found[name], has_comma=False) for name in ("start", "end"))
        except ValueError:
            start = end = 0.0
        if start >= end:
            raise ConfigError(
                f"{text}: found no span from {found['start']} to {found['end']}; expected a start "
                "and a later end, in seconds or as minutes:seconds, such as a.mp4@3-5.5"
            )
        return cls(found["video"], start, end)

    @property
    def span(self) -> str:
        """As it is typed behind the video."""
        if self.start_seconds is None:
            return ""
        return f"@{self.start_seconds:g}-{self.end_seconds:g}"

    def __str__(self) -> str:
        return f"{self.video}{self.span}"

    def overlaps(self, other: Example) -> bool:
        """Whether both show the same moment of the same video."""
        starts, ends = zip(*(item._interval for item in (self, other)), strict=True)
        is_same = Path(self.video).resolve() == Path(other.video).resolve()
        return is_same and max(starts) < min(ends)

    @property
    def _interval(self) -> tuple[float, float]:
        start, end = self.start_seconds, self.end_seconds
        return (0.0 if start is None else start), (math.inf if end is None else end)


class ExampleFeatures(NamedTuple):
    """What a model computes of the windows of one example.

    Attributes:
        features: (N, D) float32, see `clip_features`.
        embeddings: (N, E) float32; E is 0 where the model gives none.
    """

    features: FloatArray
    embeddings: FloatArray


def example_features(example: Example, backend: Backend) -> ExampleFeatures:
    """Features of the windows of an example, which are as long as those of predictions.

    A shorter span has one window around its middle, a longer one windows that overlap by half, at
    most 8 of them. `VideoError` if the video cannot be read, `ConfigError` if it lacks the span.
    """
    config = backend.clip_config
    parts = []
    with open_video(example.video, short_side_pixels=config.decode_short_side_pixels) as video:
        first, last = video.start_seconds, video.end_seconds
        start = first if example.start_seconds is None else example.start_seconds
        end = last if example.end_seconds is None else example.end_seconds
        if not (start < last and end > first and end <= last + END_TOLERANCE_SECONDS):
            raise ConfigError(
                f"{example}: the span is not in the video, which shows pictures from {first:g} to "
                f"{last:g} s; correct its start and end"
            )
        for since in window_starts((start, min(end, last)), (first, last), backend.window_seconds):
            until = min(since + backend.window_seconds, last)
            clip = evaluation_clip(window_frames(video, since, until, config), config)
            frames, crops = features_of_clips(backend, clip.pixels[None]), None
            frames |= stacked_sound([clip.sound])
            if clip.motion_crop is not None:
                crops = features_of_clips(backend, clip.motion_crop[None], is_motion_crop=True)
            outputs = backend.clip_outputs(frames, crops)
            given = outputs.embeddings
            embedding = np.zeros((1, 0), np.float32) if given is None else given
            parts.append((clip_features(frames, crops, outputs), embedding))
    return ExampleFeatures(*(np.concatenate(part) for part in zip(*parts, strict=True)))


def window_starts(
    span: tuple[float, float], video: tuple[float, float], window_seconds: float
) -> list[float]:
    """Where the windows of a span of a video begin; all in seconds."""
    (start, end), (first, last) = span, video
    beyond = end - start - window_seconds
    if beyond <= 0:
        centred = (start + end - window_seconds) / 2
        return [max(first, min(centred, last - window_seconds))]
    num = min(_MAX_WINDOWS, 1 + int(np.ceil(2 * beyond / window_seconds - 1e-9)))
    starts: list[float] = np.linspace(start, end - window_seconds, num).tolist()
    return starts
