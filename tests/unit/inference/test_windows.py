from __future__ import annotations

import weakref
from fractions import Fraction
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from msqnet.config import ClipConfig, WindowConfig
from msqnet.errors import ConfigError, UnreadableVideo
from msqnet.inference.windows import iter_windows, window_lengths
from msqnet.video.reader import open_video
from tests.unit.inference.brightness import CLIP, write_truncated_video, write_video

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from msqnet.clips import Pixels
    from msqnet.video.reader import Video


class WatchedVideo:
    """A real video that notes how many frames were asked for, and how many are alive at a time."""

    def __init__(self, video: Video) -> None:
        self._video = video
        self._alive: dict[int, weakref.ref[Pixels]] = {}
        self.asked: list[float] = []
        self.max_alive = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._video, name)

    def stream_at(self, times: Iterable[float]) -> Iterator[tuple[float, Pixels]]:
        for time in times:
            ((pts, frame),) = self._video.stream_at([time])
            self.asked.append(time)
            self._alive[len(self.asked)] = weakref.ref(frame)
            self._alive = {key: ref for key, ref in self._alive.items() if ref() is not None}
            self.max_alive = max(self.max_alive, len(self._alive))
            yield pts, frame
            del frame


class ShrinkingVideo:
    """Says 10 s, but turns out to end earlier, as a reader of a damaged file does."""

    def __init__(self, real_seconds: float, *, raises: bool) -> None:
        self.start_seconds, self.end_seconds = 0.0, 10.0
        self._real_seconds = real_seconds
        self._raises = raises

    def stream_at(self, times: Iterable[float]) -> Iterator[tuple[float, Pixels]]:
        for time in times:
            if time >= self._real_seconds:
                self.end_seconds = self._real_seconds
                if self._raises:
                    raise UnreadableVideo("the end does not decode")
            yield min(time, self._real_seconds), np.zeros((3, 4, 4), np.uint8)


def test_default_lengths_are_those_of_the_model_and_half_a_window() -> None:
    assert window_lengths(WindowConfig(), 2.0, 16) == (2.0, 1.0)
    assert window_lengths(WindowConfig(), 3.0, 5) == (3.0, pytest.approx(1.2))
    assert window_lengths(WindowConfig(window_seconds=4.0), 2.0, 8) == (4.0, 2.0)
    assert window_lengths(WindowConfig(stride_seconds=0.3), 2.0, 8) == (2.0, 0.3)


def test_stride_beyond_the_window_is_refused() -> None:
    with pytest.raises(ConfigError, match="stride_seconds"):
        window_lengths(WindowConfig(window_seconds=1, stride_seconds=1.5), 2.0, 8)


@pytest.mark.parametrize(
    ("window", "num_frames", "stride"),
    [(2.0, 8, 1.0), (2.0, 16, 1.0), (3.0, 5, 1.2), (2.0, 1, 2.0), (2.0, 2, 1.0), (1.0, 3, 1 / 3)],
)
def test_default_stride_is_half_a_window_in_whole_segments(
    window: float, num_frames: int, stride: float
) -> None:
    lengths = window_lengths(WindowConfig(), window, num_frames)
    assert lengths == (window, pytest.approx(stride))


@pytest.mark.parametrize("stride", [1.0, 0.5, 0.25, 0.37])
@pytest.mark.parametrize("num_frames", [35, 36, 61])
def test_windows_cover_the_video_and_hold_exactly_its_frames(
    tmp_path: Path, stride: float, num_frames: int
) -> None:
    path = write_video(tmp_path / "a.mov", range(num_frames), fps=Fraction(30000, 1001))
    with open_video(path) as video, open_video(path) as reference:
        windows = list(iter_windows(video, CLIP, 1.0, stride))
        assert windows[0][0] == 0
        assert windows[-1][1] == video.end_seconds
        for (start, end, frames), (next_start, _, _) in pairwise(windows):
            assert start < next_start <= end
            assert frames.pts_seconds[0] >= start - 1 / 29
        for start, end, frames in windows:
            step = (end - start) / CLIP.num_frames
            expected = reference.frames_at([start + (i + 0.5) * step for i in range(4)])
            assert np.array_equal(frames.pixels, expected.pixels)
            assert np.array_equal(frames.pts_seconds, expected.pts_seconds)


def test_video_shorter_than_a_window_is_one_window(tmp_path: Path) -> None:
    with open_video(write_video(tmp_path / "a.mov", [10, 20])) as video:
        ((start, end, frames),) = iter_windows(video, CLIP, 5.0, 2.5)
    assert (start, end) == (0.0, pytest.approx(0.2))
    assert frames.pixels[:, 0, 0, 0].tolist() == [10, 10, 20, 20]


def test_frames_that_windows_share_are_read_once(tmp_path: Path) -> None:
    with open_video(write_video(tmp_path / "a.mov", [0] * 100)) as real:
        video = WatchedVideo(real)
        windows = list(iter_windows(video, CLIP, 1.0, 0.5))  # type: ignore[arg-type]
    assert len(windows) == 19
    assert len(video.asked) == len(set(video.asked)) == (19 + 1) * CLIP.num_frames // 2


def test_frames_in_memory_do_not_grow_with_the_video(tmp_path: Path) -> None:
    config = ClipConfig(num_frames=4, size_pixels=16, short_side_pixels=16)
    most = []
    for num_frames in (60, 240):
        path = write_video(tmp_path / f"{num_frames}.mov", [i % 256 for i in range(num_frames)])
        with open_video(path) as real:
            video = WatchedVideo(real)
            for _ in iter_windows(video, config, 1.0, 0.25):  # type: ignore[arg-type]
                pass
            assert len(video.asked) >= num_frames // 3
            most.append(video.max_alive)
    assert most[0] == most[1]
    assert most[0] <= config.num_frames + 2


def test_truncated_file_is_covered_up_to_where_it_decodes(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with open_video(write_truncated_video(tmp_path / "a.mov", [100] * 60)) as video:
        windows = list(iter_windows(video, CLIP, 1.0, 0.5))
        assert video.is_damaged
        assert 3 < video.end_seconds < 5
        assert windows[-1][1] == video.end_seconds
    assert "damaged" in caplog.text


@pytest.mark.parametrize("raises", [True, False])
@pytest.mark.parametrize(
    ("real_seconds", "expected"),
    [
        (4.3, [(0, 2), (1, 3), (2, 4), (2.3, 4.3)]),
        (4.0, [(0, 2), (1, 3), (2, 4)]),
        (1.2, [(0, 1.2)]),
    ],
)
def test_damage_found_while_reading_ends_the_windows_where_the_video_ends(
    real_seconds: float, expected: list[tuple[float, float]], raises: bool
) -> None:
    video: Any = ShrinkingVideo(real_seconds, raises=raises)
    windows = [(start, end) for start, end, _ in iter_windows(video, CLIP, 2.0, 1.0)]
    assert windows == [pytest.approx(bounds) for bounds in expected]


def test_error_that_says_nothing_new_about_the_length_is_passed_on() -> None:
    video: Any = ShrinkingVideo(0.0, raises=True)
    video._real_seconds = 0.1

    def unreadable(times: Iterable[float]) -> Iterator[tuple[float, Pixels]]:
        raise UnreadableVideo("nothing decodes")
        yield

    video.stream_at = unreadable
    with pytest.raises(UnreadableVideo, match="nothing decodes"):
        list(iter_windows(video, CLIP, 2.0, 1.0))
