from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np
import pytest

from msqnet.errors import ConfigError, DatasetError
from msqnet.formats.frame_times import (
    FrameTimes,
    duration_seconds,
    parse_rate,
    read_frame_times,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

STAMPS = [0, 1, 2, 7, 8, 30, 31]
"""In tenths of a second: frames that are shown for 0.1, 0.5 and 2.2 s."""


@pytest.fixture
def varying(write_video: Callable[..., Path]) -> Path:
    """A clip whose frames are shown for different lengths of time."""
    return write_video("varying rate.mp4", len(STAMPS), rate=10, pts=STAMPS)


def test_times_are_those_of_the_file_where_the_rate_varies(varying: Path) -> None:
    times = read_frame_times(varying)

    assert times is not None
    np.testing.assert_allclose(times.starts_seconds, np.array(STAMPS) / 10, atol=1e-4)
    assert times.duration_seconds == pytest.approx(3.2, abs=1e-3)
    assert duration_seconds(varying, 99.0) == times.duration_seconds


def test_a_time_is_in_the_frame_that_is_shown_then(varying: Path) -> None:
    times = read_frame_times(varying)

    assert times is not None
    assert [times.frame_at(at) for at in (0.0, 0.19, 0.2, 0.65, 0.7, 2.9, 3.0)] == [
        *(0, 1, 2, 2, 3, 4, 5),
    ]
    assert times.frame_at(99.0) == len(STAMPS) - 1


def test_every_frame_is_found_again_from_its_time(varying: Path) -> None:
    times = read_frame_times(varying)

    assert times is not None
    for frame in range(len(STAMPS)):
        written = round(times.seconds_of(frame), 6)
        assert times.frame_at(written) == frame
        assert times.end_frame(written) == frame
    assert times.end_frame(times.duration_seconds) == len(STAMPS)


def test_end_of_an_event_inside_of_a_frame_is_the_next_frame(varying: Path) -> None:
    times = read_frame_times(varying)

    assert times is not None
    assert times.end_frame(0.21) == 3
    assert times.end_frame(3.15) == len(STAMPS)


def test_last_frame_ends_with_the_video_and_others_are_refused() -> None:
    times = FrameTimes.at_rate(10, 5)

    assert times.seconds_of(5) == 0.5
    for frame in (-1, 6):
        with pytest.raises(DatasetError, match=f"found frame {frame}, expected 0 to 5"):
            times.seconds_of(frame)


def test_times_at_a_broadcast_rate_do_not_drift() -> None:
    rate = Fraction(30000, 1001)
    times = FrameTimes.at_rate(float(rate), 108_000)

    assert times.seconds_of(107_892) == pytest.approx(float(107_892 / rate), abs=1e-9)
    assert times.frame_at(float(107_892 / rate)) == 107_892


def test_missing_and_unreadable_videos_have_the_written_length(tmp_path: Path) -> None:
    missing, broken = tmp_path / "no.mp4", tmp_path / "text.mp4"
    broken.write_text("no video")

    assert read_frame_times(missing) is None
    assert duration_seconds(missing) is None
    assert duration_seconds(missing, 4.5) == 4.5
    assert duration_seconds(broken, 4.5) == 4.5


def test_rates_are_numbers_or_fractions() -> None:
    assert [parse_rate(text) for text in ("25", "29.97", "1e1")] == [25, 29.97, 10]
    assert parse_rate("30000/1001") == pytest.approx(29.97003, abs=1e-6)
    for text in ("", "fast", "0", "-25", "nan", "inf", "1/0", "1e300", "1e-9"):
        with pytest.raises(ConfigError, match=f"fps={text}: expected frames a second"):
            parse_rate(text)
