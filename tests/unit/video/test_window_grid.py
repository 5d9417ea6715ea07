from __future__ import annotations

import itertools
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from msqnet.errors import ConfigError, ShapeError
from msqnet.video.window_grid import (
    WindowGrid,
    segment_times,
)


def test_centres_of_equal_segments() -> None:
    assert segment_times(2.0, 4.0, 4).tolist() == [2.25, 2.75, 3.25, 3.75]


def test_offsets_choose_a_place_in_each_segment() -> None:
    assert segment_times(0.0, 4.0, 4, [0.0, 0.25, 0.5, 0.75]).tolist() == [0, 1.25, 2.5, 3.75]


def test_an_interval_of_no_length_repeats_its_time() -> None:
    assert segment_times(3.0, 3.0, 3).tolist() == [3.0, 3.0, 3.0]


@pytest.mark.parametrize(
    ("start", "end", "num_frames", "offsets"),
    [
        (0.0, 1.0, 0, None),
        (1.0, 0.0, 2, None),
        (0.0, float("nan"), 2, None),
        (0.0, 1.0, 2, [0.5]),
        (0.0, 1.0, 2, [0.5, 1.0]),
        (0.0, 1.0, 2, [-0.1, 0.5]),
    ],
)
def test_segments_that_cannot_be_are_refused(
    start: float, end: float, num_frames: int, offsets: list[float] | None
) -> None:
    with pytest.raises(ShapeError):
        segment_times(start, end, num_frames, offsets)


@pytest.mark.parametrize(
    ("duration", "window", "stride", "starts"),
    [
        (5.0, 2.0, 1.0, [0, 1, 2, 3]),
        (5.5, 2.0, 1.0, [0, 1, 2, 3, 3.5]),
        (2.0, 2.0, 1.0, [0]),
        (1.3, 2.0, 1.0, [0]),
        (2.1, 2.0, 1.0, [0, 0.1]),
        (4.0, 2.0, 2.0, [0, 2]),
        (0.9, 0.3, 0.3, [0, 0.3, 0.6]),
    ],
)
def test_windows_cover_the_video_and_the_last_ends_with_it(
    duration: float, window: float, stride: float, starts: list[float]
) -> None:
    assert WindowGrid(duration, window, stride, 1).starts_seconds.tolist() == pytest.approx(starts)


@settings(max_examples=100)
@given(st.floats(0.01, 500), st.floats(0.05, 20), st.floats(0.05, 1.0), st.integers(1, 32))
def test_any_grid_covers_everything_without_repeats(
    duration: float, window: float, stride_share: float, num_frames: int
) -> None:
    grid = WindowGrid(duration, window, window * stride_share, num_frames)
    starts, ends = grid.starts_seconds, grid.ends_seconds
    assert len(starts) == len(ends) == len(grid)
    assert starts[0] == 0
    assert ends[-1] == duration
    assert np.all(np.diff(starts) > 0)
    assert np.all(starts[1:] <= ends[:-1] * (1 + 1e-9))
    for place in {0, len(grid) // 2, len(grid) - 1}:
        times = grid.frame_times_seconds(place)
        assert times.shape == (num_frames,)
        assert np.all(np.diff(times) > 0)
        assert starts[place] < times[0]
        assert times[-1] < ends[place] * (1 + 1e-9)


@pytest.mark.parametrize("num_frames", [1, 2, 5, 7, 8, 16])
@pytest.mark.parametrize("window", [2.0, 1.7, 0.64, 1 / 3, 10.0])
def test_overlapping_windows_share_their_frame_times_to_the_bit(
    window: float, num_frames: int
) -> None:
    stride = window * max(1, num_frames // 2) / num_frames  # by default
    grid = WindowGrid(window * 30, window, stride, num_frames)
    num_shared = num_frames - max(1, num_frames // 2)
    for first, second in itertools.pairwise(range(len(grid) - 1)):
        times = set(grid.frame_times_seconds(first).tolist())
        assert len(times & set(grid.frame_times_seconds(second).tolist())) == num_shared


def test_last_window_shares_times_where_the_duration_allows() -> None:
    grid = WindowGrid(5.25, 2.0, 1.0, 8)
    last, before = (set(grid.frame_times_seconds(len(grid) - n).tolist()) for n in (1, 2))
    assert grid.starts_seconds[-1] == 3.25
    assert len(last & before) == 7


def test_frame_times_of_a_window_are_the_centres_of_its_segments() -> None:
    grid = WindowGrid(10.0, 2.0, 0.7, 4)
    assert grid.frame_times_seconds(3) == pytest.approx(segment_times(2.1, 4.1, 4))


def test_a_video_shorter_than_a_window_is_sampled_over_its_own_length() -> None:
    grid = WindowGrid(1.0, 2.0, 1.0, 4)
    assert len(grid) == 1
    assert grid.ends_seconds.tolist() == [1.0]
    assert grid.frame_times_seconds(0).tolist() == [0.125, 0.375, 0.625, 0.875]


@pytest.mark.parametrize(
    ("duration", "window", "stride", "num_frames", "error"),
    [
        (0.0, 2.0, 1.0, 8, ShapeError),
        (float("nan"), 2.0, 1.0, 8, ShapeError),
        (5.0, 0.0, 1.0, 8, ConfigError),
        (5.0, 2.0, 0.0, 8, ConfigError),
        (5.0, 2.0, 2.1, 8, ConfigError),
        (5.0, 2.0, 1.0, 0, ConfigError),
    ],
)
def test_grids_that_cannot_be_are_refused(
    duration: float, window: float, stride: float, num_frames: int, error: type[Exception]
) -> None:
    with pytest.raises(error):
        WindowGrid(duration, window, stride, num_frames)


@pytest.mark.parametrize("window", [-1, 9, 100])
def test_a_window_that_does_not_exist_is_refused(window: int) -> None:
    with pytest.raises(ShapeError, match="expected 0 to 8"):
        WindowGrid(10.0, 2.0, 1.0, 8).frame_times_seconds(window)


def test_sampling_does_not_import_torch() -> None:
    code = "import sys, msqnet.video.window_grid; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
