from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from msqnet.report.overlay_layout import (
    MIN_PANEL_WIDTH_PIXELS,
    clock,
    panel_layout,
    picture_size,
    text_size,
    tick_times,
)


@settings(deadline=None)
@given(
    width=st.integers(MIN_PANEL_WIDTH_PIXELS, 8192),
    height=st.integers(2, 8192),
    num_labels=st.integers(1, 5),
    name_pixels=st.floats(1, 5000),
)
def test_nothing_overlaps_and_nothing_leaves_the_panel(
    width: int, height: int, num_labels: int, name_pixels: float
) -> None:
    layout = panel_layout(width, height, num_labels, name_pixels)
    boxes = [*layout.names, *layout.bars, *layout.numbers, *layout.lanes]
    assert len(boxes) == 4 * num_labels
    for box in (*boxes, layout.axis, layout.clock):
        assert 0 <= box.left < box.right <= layout.width
        assert 0 <= box.top < box.bottom <= layout.height
    for one, other in itertools.combinations([*boxes, layout.axis], 2):
        is_apart_x = one.right <= other.left or other.right <= one.left
        is_apart_y = one.bottom <= other.top or other.bottom <= one.top
        assert is_apart_x or is_apart_y
    assert layout.height % 2 == 0
    assert all(bar.width >= 3 * layout.text_pixels for bar in layout.bars)
    assert layout.band.width >= 8 * layout.text_pixels


@pytest.mark.parametrize(
    ("width", "height", "smallest"),
    [(320, 240, 12), (640, 480, 12), (1280, 720, 20), (3840, 2160, 60), (720, 1280, 20)],
)
def test_type_grows_with_the_picture(width: int, height: int, smallest: int) -> None:
    assert text_size(width, height) == smallest


@pytest.mark.parametrize(
    ("size", "shown"),
    [
        ((1280, 720), (1280, 720)),
        ((320, 240), (320, 240)),
        ((319, 240), (638, 480)),
        ((100, 60), (400, 240)),
        ((100, 800), (100, 800)),
        ((1, 16384), (1, 16384)),
        ((2, 2), (320, 320)),
    ],
)
def test_small_pictures_are_enlarged_in_whole_steps_but_never_to_towers(
    size: tuple[int, int], shown: tuple[int, int]
) -> None:
    assert picture_size(*size) == shown


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
    assert clock(seconds) == text
    assert clock(seconds, with_tenths=False) == text[:-2]
