"""What windows share: each frame is resized once and seen by the encoders once.

Axes: B windows, T frames of a window, N frames.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import torch

from msqnet.clips import WHOLE_FRAME, Box
from msqnet.inference.backends import answer_frames
from msqnet.inference.windows import iter_shared_windows
from msqnet.video.transforms import motion_box, motion_crop, whole_view

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from torch import Tensor

    from msqnet.config import ClipConfig
    from msqnet.inference.backends import Backend, ClipAnswers
    from msqnet.inference.windows import DecodedFrame, Window
    from msqnet.model.video_encoders.encoder import FrameFeatures
    from msqnet.predictions import FloatArray
    from msqnet.video.reader import Video


@dataclass(frozen=True, eq=False)
class SeenFrame:
    """One whole frame as the model takes it, the same object in all windows that see it.

    Attributes:
        pts_seconds: its own time.
        pixels: (3, S, S) uint8.
    """

    pts_seconds: float
    pixels: Tensor


class SeenWindow(NamedTuple):
    """A window as the model takes it.

    Attributes:
        start_seconds: where it starts.
        end_seconds: where it ends.
        frames: T, in order; a frame may stand there twice.
        closeups: (T, 3, S, S) uint8, where the model takes a second look.
        motion_box: where the second look is.
    """

    start_seconds: float
    end_seconds: float
    frames: tuple[SeenFrame, ...]
    closeups: Tensor | None
    motion_box: Box


def seen_windows(
    video: Video, config: ClipConfig, window_seconds: float, stride_seconds: float
) -> Iterator[SeenWindow]:
    """The windows of a video in time order, as `msqnet.video.transforms.evaluation_clip` sees them.

    Args:
        video: an open video.
        config: the model's own clip settings.
        window_seconds: length of a window.
        stride_seconds: from one start to the next.

    Raises:
        UnreadableVideo: no window can be decoded.
    """
    seen: dict[DecodedFrame, SeenFrame] = {}
    for window in iter_shared_windows(video, config, window_seconds, stride_seconds):
        seen = {frame: seen.get(frame) or _seen(frame, config) for frame in window.frames}
        closeups, box = _second_look(window, config)
        frames = tuple(seen[frame] for frame in window.frames)
        yield SeenWindow(window.start_seconds, window.end_seconds, frames, closeups, box)


def _seen(frame: DecodedFrame, config: ClipConfig) -> SeenFrame:
    return SeenFrame(frame.pts_seconds, whole_view(frame.pixels[None], config)[0])


def _second_look(window: Window, config: ClipConfig) -> tuple[Tensor | None, Box]:
    if not config.closeup:
        return None, WHOLE_FRAME
    pixels = torch.stack([frame.pixels for frame in window.frames])
    box = motion_box(pixels, config.motion)
    return motion_crop(pixels, config, box), box


class SharedFrames:
    """Scores windows in their order; keeps the features of frames that later windows may see.

    Args:
        backend: what scores.
    """

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._place: dict[SeenFrame, int] = {}
        self._held: FrameFeatures = {}

    def scores(self, windows: Sequence[SeenWindow]) -> FloatArray:
        """(B, K) float32 in [0, 1]; see `answers`."""
        return self.answers(windows).scores

    def answers(self, windows: Sequence[SeenWindow]) -> ClipAnswers:
        """Calibrated scores, and embeddings where the backend gives them.

        Args:
            windows: B, after those of the call before.
        """
        self._see(windows)
        places = torch.tensor(
            [[self._place[frame] for frame in window.frames] for window in windows]
        )  # (B, T)
        frames = {name: values[places.to(values.device)] for name, values in self._held.items()}
        found = answer_frames(self._backend, frames, self._closeups(windows))
        self._drop_before(windows[-1].frames[0].pts_seconds)
        return found

    def _see(self, windows: Sequence[SeenWindow]) -> None:
        """Let the encoders see the frames that they have not seen."""
        new = dict.fromkeys(
            frame for window in windows for frame in window.frames if frame not in self._place
        )
        if not new:
            return
        features = self._backend.frame_features(torch.stack([frame.pixels for frame in new]))
        for frame in new:
            self._place[frame] = len(self._place)
        self._held = {
            name: torch.cat([self._held[name], values]) if self._held else values
            for name, values in features.items()
        }

    def _closeups(self, windows: Sequence[SeenWindow]) -> FrameFeatures | None:
        looks = [window.closeups for window in windows if window.closeups is not None]
        if not looks:
            return None
        leading = (len(looks), len(looks[0]))
        features = self._backend.frame_features(torch.cat(looks), is_closeup=True)
        return {name: values.unflatten(0, leading) for name, values in features.items()}

    def _drop_before(self, pts_seconds: float) -> None:
        """Forget frames that no later window sees."""
        kept = [frame for frame in self._place if frame.pts_seconds >= pts_seconds]
        places = torch.tensor([self._place[frame] for frame in kept])
        self._held = {name: values[places.to(values.device)] for name, values in self._held.items()}
        self._place = {frame: place for place, frame in enumerate(kept)}
