"""Names and times as they are shown."""

from __future__ import annotations

import pytest

from msqnet.style import format_length, format_time, shown_name, tick_times


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0:00.00"), (59.999, "1:00.00"), (61.25, "1:01.25"), (3725.5, "1:02:05.50")],
)
def test_times_are_rounded(seconds: float, text: str) -> None:
    assert format_time(seconds) == text


def test_long_names_end_in_an_ellipsis() -> None:
    assert shown_name("wall_supported_rearing", 13) == "wall support…"
    assert shown_name("wall_supported_rearing") == "wall supported rearing"


@pytest.mark.parametrize(
    ("duration", "times"),
    [
        (5.28, [0, 1, 2, 3, 4, 5]),
        (12.0, [0, 2, 4, 6, 8, 10, 12]),
        (0.35, [0, 0.1, 0.2, 0.3]),
        (60.0, [0, 10, 20, 30, 40, 50, 60]),
        (7200.0, [0, 1800, 3600, 5400, 7200]),
    ],
)
def test_times_on_the_axis_are_round_and_few(duration: float, times: list[float]) -> None:
    assert tick_times(duration, 7) == pytest.approx(times)


def test_an_axis_of_many_days_still_has_times() -> None:
    assert 2 <= len(tick_times(1e7, 7)) <= 8


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0:00.0"), (59.99, "0:59.9"), (0.3, "0:00.3"), (61.25, "1:01.2"), (3725, "1:02:05.0")],
)
def test_clock_is_cut_and_not_rounded(seconds: float, text: str) -> None:
    assert format_time(seconds, 1, cut=True) == text
    assert format_time(seconds, 0, cut=True) == text[:-2]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.04, "0.0 s"), (59.94, "59.9 s"), (59.96, "1:00 min"), (3599.6, "1:00:00 h")],
)
def test_lengths_of_time_are_read_at_a_glance(seconds: float, text: str) -> None:
    assert format_length(seconds) == text
