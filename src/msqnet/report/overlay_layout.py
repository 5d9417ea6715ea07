"""Where things stand in the panel under a picture, for every size of picture. Numbers only."""

from __future__ import annotations

import math
from dataclasses import dataclass

MIN_PANEL_WIDTH_PIXELS = 320
"""Names and bars need this much; smaller pictures are enlarged in whole steps, or stand centred."""

_MAX_ENLARGED_HEIGHT_PIXELS = 960
_MIN_TEXT_PIXELS = 12
_LONG_SIDE_EMS = 64
_NARROWEST_EMS = 26
_SIDE_BY_SIDE_EMS = 44
_MINUTE, _HOUR = 60, 3600
_TICK_STEPS_SECONDS = (
    *(0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30),
    *(minutes * _MINUTE for minutes in (1, 2, 5, 10, 15, 30)),
    *(hours * _HOUR for hours in (1, 2, 5, 10, 24)),
)
_TICK_EMS = 6


@dataclass(frozen=True)
class Box:
    """A rectangle in pixels of the panel; right and bottom are exclusive."""

    left: int
    top: int
    right: int
    bottom: int

    @property
    def width(self) -> int:
        """Pixels from left to right."""
        return self.right - self.left

    @property
    def height(self) -> int:
        """Pixels from top to bottom."""
        return self.bottom - self.top


@dataclass(frozen=True)
class PanelLayout:
    """Boxes of the panel; lists have one entry for each label that is shown, top to bottom.

    Attributes:
        width: pixels of the panel, that of the picture above it where this is wide enough.
        height: pixels of the panel.
        text_pixels: size of the type.
        names: where names stand, their text centred vertically.
        bars: tracks of the bars for the scores now.
        numbers: where the scores stand, flush right.
        lanes: rows of the band of segments.
        axis: where times of the band stand.
        clock: where the time now stands.
        is_side_by_side: whether lanes stand beside the bars rather than below them.
    """

    width: int
    height: int
    text_pixels: int
    names: tuple[Box, ...]
    bars: tuple[Box, ...]
    numbers: tuple[Box, ...]
    lanes: tuple[Box, ...]
    axis: Box
    clock: Box
    is_side_by_side: bool

    @property
    def line_pixels(self) -> int:
        """Width of the play head."""
        return max(2, round(self.text_pixels / 9))

    @property
    def num_axis_steps(self) -> int:
        """How many steps between times stand comfortably on the axis."""
        return max(1, self.axis.width // (_TICK_EMS * self.text_pixels))

    @property
    def band(self) -> Box:
        """All lanes together."""
        first, last = self.lanes[0], self.lanes[-1]
        return Box(first.left, first.top, first.right, last.bottom)


def picture_size(width: int, height: int) -> tuple[int, int]:
    """The size at which a picture is shown: its own, or a multiple where it is small.

    The first multiple that is as wide as the narrowest panel, unless that would be a tower.
    """
    factor = math.ceil(MIN_PANEL_WIDTH_PIXELS / width)
    factor = max(1, min(factor, _MAX_ENLARGED_HEIGHT_PIXELS // height))
    return width * factor, height * factor


def text_size(width: int, height: int) -> int:
    """Pixels of the type in a panel of this width under a picture of this height.

    It grows with the long side, since a picture is shown as large as the screen allows, and shrinks
    again where a narrow picture would leave no room for names.
    """
    wanted = max(width, height) / _LONG_SIDE_EMS
    return round(max(_MIN_TEXT_PIXELS, min(wanted, width / _NARROWEST_EMS)))


def panel_layout(width: int, height: int, num_labels: int, name_pixels: float) -> PanelLayout:
    """Lay out the panel.

    Args:
        width: pixels of the panel.
        height: of the picture above it as it is shown.
        num_labels: how many labels are shown.
        name_pixels: what the longest of their names takes at `text_size`.
    """
    em = text_size(width, height)
    if width >= _SIDE_BY_SIDE_EMS * em:
        return _side_by_side(width, em, num_labels, name_pixels)
    return _stacked(width, em, num_labels, name_pixels)


def _side_by_side(width: int, em: int, num_labels: int, name_pixels: float) -> PanelLayout:
    """Name, bar, number and lane of a label in one row."""
    pad, gap, row = round(0.9 * em), round(0.6 * em), round(1.5 * em)
    names_right = pad + math.ceil(min(name_pixels, 15 * em))
    bars = (names_right + gap, names_right + gap + 9 * em)
    numbers_right = bars[1] + gap + 2 * em
    lanes = (numbers_right + round(1.2 * em), width - pad)
    tops = [pad + number * row for number in range(num_labels)]
    axis_top = pad + num_labels * row + round(0.15 * em)
    return PanelLayout(
        width=width,
        height=_even(axis_top + round(1.3 * em) + round(0.5 * em)),
        text_pixels=em,
        names=_rows(tops, row, row, pad, names_right),
        bars=_rows(tops, row, round(0.8 * em), *bars),
        numbers=_rows(tops, row, row, bars[1], numbers_right),
        lanes=_rows(tops, row, round(1.1 * em), *lanes),
        axis=Box(lanes[0], axis_top, lanes[1], axis_top + round(1.3 * em)),
        clock=Box(pad, axis_top, names_right, axis_top + round(1.3 * em)),
        is_side_by_side=True,
    )


def _stacked(width: int, em: int, num_labels: int, name_pixels: float) -> PanelLayout:
    """Name, bar and number of a label in one row, and all lanes below."""
    pad, gap, row, lane = round(0.6 * em), round(0.5 * em), round(1.35 * em), round(0.75 * em)
    numbers_left = width - pad - 2 * em
    names_right = pad + math.ceil(min(name_pixels, 0.5 * (width - 2 * pad)))
    tops = [round(0.5 * em) + number * row for number in range(num_labels)]
    first_lane = tops[-1] + row + round(0.4 * em)
    lane_tops = [first_lane + number * lane for number in range(num_labels)]
    axis_top = lane_tops[-1] + lane + round(0.2 * em)
    axis = Box(pad, axis_top, width - pad, axis_top + round(1.2 * em))
    return PanelLayout(
        width=width,
        height=_even(axis.bottom + round(0.4 * em)),
        text_pixels=em,
        names=_rows(tops, row, row, pad, names_right),
        bars=_rows(tops, row, round(0.75 * em), names_right + gap, numbers_left - gap),
        numbers=_rows(tops, row, row, numbers_left - gap, width - pad),
        lanes=_rows(lane_tops, lane, lane - max(1, round(0.15 * em)), pad, width - pad),
        axis=axis,
        clock=axis,
        is_side_by_side=False,
    )


def _rows(tops: list[int], row: int, height: int, left: int, right: int) -> tuple[Box, ...]:
    """Boxes of one height, each in the middle of its row."""
    return tuple(
        Box(left, top + (row - height) // 2, right, top + (row - height) // 2 + height)
        for top in tops
    )


def _even(pixels: int) -> int:
    return pixels + pixels % 2


def tick_times(duration_seconds: float, most: int) -> list[float]:
    """Round times from 0 to the end of a video.

    Args:
        duration_seconds: of the video.
        most: the number of steps between them at most, 1 or more.
    """
    step = next(
        (step for step in _TICK_STEPS_SECONDS if duration_seconds / step <= most),
        duration_seconds / most,
    )
    return [number * step for number in range(math.floor(duration_seconds / step + 1e-9) + 1)]


def clock(seconds: float, *, with_tenths: bool = True) -> str:
    """A time as ``m:ss.s`` or ``h:mm:ss.s``, cut and not rounded, as clocks show it."""
    tenths = math.floor(seconds * 10 + 1e-6)
    minutes, rest = divmod(tenths, 600)
    hours, minutes = divmod(minutes, 60)
    tail = f"{rest // 10:02}" + (f".{rest % 10}" if with_tenths else "")
    return f"{hours}:{minutes:02}:{tail}" if hours else f"{minutes}:{tail}"
