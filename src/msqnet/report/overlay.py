"""A video with its scores under the picture: bars now, segments over time (Figure 5)."""

from __future__ import annotations

import io
import math
from dataclasses import dataclass, replace
from importlib.resources import files
from typing import TYPE_CHECKING

import numpy as np

from msqnet.report.figures import NUM_SHOWN_LABELS
from msqnet.report.video_writer import VideoWriter, resized, square_size
from msqnet.style import LABEL_COLOURS, format_time, shown_name, tick_times
from msqnet.video.reader import open_video

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from numpy.typing import NDArray
    from PIL.Image import Image
    from PIL.ImageDraw import ImageDraw
    from PIL.ImageFont import FreeTypeFont

    from msqnet.clips import Pixels
    from msqnet.predictions import SecondsArray, VideoPredictions

    Rgb = tuple[int, int, int]

PANEL_COLOUR: Rgb = (20, 22, 26)
PANEL_TEXT: Rgb = (240, 242, 245)
_TRACK: Rgb = (43, 48, 56)
_MUTED: Rgb = (162, 171, 184)
_PLAY_HEAD: Rgb = (255, 255, 255)
_ABSENT_SHARE = 0.45
_ELLIPSIS = "…"

# Names and bars need this much; smaller pictures are enlarged in whole steps, or stand centred.
MIN_PANEL_WIDTH_PIXELS = 320
_MAX_ENLARGED_HEIGHT_PIXELS = 960
_MIN_TEXT_PIXELS = 12
_LONG_SIDE_EMS = 64
_NARROWEST_EMS = 26
_SIDE_BY_SIDE_EMS = 44
_TICK_EMS = 6


def load_font(pixels: int) -> FreeTypeFont:
    """DejaVu Sans, which comes with the package."""
    from PIL import ImageFont

    # Read here: where a path is not ASCII, Pillow needs a build of FreeType that can open it.
    content = (files("msqnet.report") / "assets" / "DejaVuSans.ttf").read_bytes()
    return ImageFont.truetype(io.BytesIO(content), pixels)


def shortened(text: str, font: FreeTypeFont, max_pixels: float) -> str:
    """The text, its end replaced by an ellipsis where it is too long."""
    if font.getlength(text) <= max_pixels:
        return text
    for length in range(len(text) - 1, 0, -1):
        candidate = text[:length].rstrip() + _ELLIPSIS
        if font.getlength(candidate) <= max_pixels:
            return candidate
    return _ELLIPSIS


@dataclass(frozen=True)
class PixelBox:
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
    def middle(self) -> float:
        """Halfway from top to bottom."""
        return (self.top + self.bottom) / 2

    def fill(self, draw: ImageDraw, colour: Rgb) -> None:
        """Paint the rectangle."""
        draw.rectangle((self.left, self.top, self.right - 1, self.bottom - 1), fill=colour)


@dataclass(frozen=True)
class PanelLayout:
    """Boxes of the panel in pixels; lists have one entry for each label that is shown.

    Attributes:
        text_pixels: size of the type.
        bars: tracks of the bars for the scores now.
        numbers: boxes of the scores, flush right.
        lanes: rows of the band of segments.
        axis: box of the times of the band.
        clock: box of the time now.
        is_side_by_side: whether lanes stand beside the bars rather than below them.
    """

    width: int
    height: int
    text_pixels: int
    names: tuple[PixelBox, ...]
    bars: tuple[PixelBox, ...]
    numbers: tuple[PixelBox, ...]
    lanes: tuple[PixelBox, ...]
    axis: PixelBox
    clock: PixelBox
    is_side_by_side: bool

    @property
    def line_pixels(self) -> int:
        """Width of the play head."""
        return max(2, round(self.text_pixels / 9))

    @property
    def band(self) -> PixelBox:
        """All lanes together."""
        first, last = self.lanes[0], self.lanes[-1]
        return PixelBox(first.left, first.top, first.right, last.bottom)


def picture_size(width: int, height: int) -> tuple[int, int]:
    """The size of a picture, or its first multiple as wide as a panel that is no tower."""
    factor = math.ceil(MIN_PANEL_WIDTH_PIXELS / width)
    factor = max(1, min(factor, _MAX_ENLARGED_HEIGHT_PIXELS // height))
    return width * factor, height * factor


def text_size(width: int, height: int) -> int:
    """Pixels of the type in a panel of this width under a picture of this height.

    It grows with the long side, and shrinks where a narrow picture would leave no room for names.
    """
    wanted = max(width, height) / _LONG_SIDE_EMS
    return round(max(_MIN_TEXT_PIXELS, min(wanted, width / _NARROWEST_EMS)))


def panel_layout(width: int, height: int, num_labels: int, name_pixels: float) -> PanelLayout:
    """Lay out a panel; the longest name of the labels takes `name_pixels` at `text_size`."""
    em = text_size(width, height)
    lay_out = _side_by_side if width >= _SIDE_BY_SIDE_EMS * em else _stacked
    layout = lay_out(width, em, num_labels, name_pixels)
    return replace(layout, height=layout.height + layout.height % 2)


def _side_by_side(width: int, em: int, num_labels: int, name_pixels: float) -> PanelLayout:
    """Name, bar, number and lane of a label in one row."""
    pad, gap, row = round(0.9 * em), round(0.6 * em), round(1.5 * em)
    names_right = pad + math.ceil(min(name_pixels, 15 * em))
    bars = (names_right + gap, names_right + gap + 9 * em)
    numbers_right = bars[1] + gap + 2 * em
    lanes = (numbers_right + round(1.2 * em), width - pad)
    tops = [pad + number * row for number in range(num_labels)]
    axis_top = pad + num_labels * row + round(0.15 * em)
    axis_bottom = axis_top + round(1.3 * em)
    return PanelLayout(
        width=width,
        height=axis_bottom + round(0.5 * em),
        text_pixels=em,
        names=_rows(tops, row, row, pad, names_right),
        bars=_rows(tops, row, round(0.8 * em), *bars),
        numbers=_rows(tops, row, row, bars[1], numbers_right),
        lanes=_rows(tops, row, round(1.1 * em), *lanes),
        axis=PixelBox(lanes[0], axis_top, lanes[1], axis_bottom),
        clock=PixelBox(pad, axis_top, names_right, axis_bottom),
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
    axis = PixelBox(pad, axis_top, width - pad, axis_top + round(1.2 * em))
    return PanelLayout(
        width=width,
        height=axis.bottom + round(0.4 * em),
        text_pixels=em,
        names=_rows(tops, row, row, pad, names_right),
        bars=_rows(tops, row, round(0.75 * em), names_right + gap, numbers_left - gap),
        numbers=_rows(tops, row, row, numbers_left - gap, width - pad),
        lanes=_rows(lane_tops, lane, lane - max(1, round(0.15 * em)), pad, width - pad),
        axis=axis,
        clock=axis,
        is_side_by_side=False,
    )


def _rows(tops: list[int], row: int, height: int, left: int, right: int) -> tuple[PixelBox, ...]:
    """Boxes of one height, each in the middle of its row."""
    starts = [top + (row - height) // 2 for top in tops]
    return tuple(PixelBox(left, start, right, start + height) for start in starts)


class Panel:
    """The panel under a picture at each moment of a video.

    The labels are those with the highest peaks in the whole video, best first, and stay where they
    are. A bar is bright while the label is present, that is inside one of its segments. In unknown
    time the band is hatched, and absent labels have a question mark in place of a bar. What does
    not change is drawn once, bars and clock when they change, the play head every time.

    ``width`` is that of the panel and ``height`` that of the picture above it, in pixels.
    ``labels`` are those shown, top to bottom.
    """

    def __init__(self, predictions: VideoPredictions, width: int, height: int) -> None:
        self._font = load_font(text_size(width, height))
        self._predictions = predictions
        self.labels = tuple(peak.label for peak in predictions.peaks(NUM_SHOWN_LABELS))
        self._columns = [predictions.labels.names.index(label) for label in self.labels]
        self._spans: list[SecondsArray] = []  # of each label, starts and ends of segments (S, 2)
        for label in self.labels:
            own = [item for item in predictions.segments if item.label == label]
            times = [(item.start_seconds, item.end_seconds) for item in own]
            self._spans.append(np.array(times, dtype=np.float64).reshape(-1, 2))
        names = [shown_name(label) for label in self.labels]
        longest = max(self._font.getlength(name) for name in names)
        self.layout = panel_layout(width, height, len(names), longest)
        self._still = self._draw_still(names)
        self._moment: tuple[bytes, tuple[bool, ...], bool, str] | None = None
        self._drawn = np.asarray(self._still)

    def draw_at(self, seconds: float, canvas: NDArray[np.uint8]) -> None:
        """Draw the moment `seconds` on all of a canvas (H, W, 3) uint8 of the layout's size."""
        self._update(seconds)
        canvas[:] = self._drawn
        line, band = self.layout.line_pixels, self.layout.band
        left = min(max(self._x_of(seconds) - line // 2, band.left), band.right - line)
        canvas[band.top - line : band.bottom + line, left : left + line] = _PLAY_HEAD

    def _x_of(self, seconds: float) -> int:
        band = self.layout.band
        share = min(max(seconds / self._predictions.duration_seconds, 0.0), 1.0)
        return band.left + round(share * band.width)

    def _draw_still(self, names: list[str]) -> Image:
        from PIL import Image, ImageDraw

        layout = self.layout
        image = Image.new("RGB", (layout.width, layout.height), PANEL_COLOUR)
        draw = ImageDraw.Draw(image)
        for name, box in zip(names, layout.names, strict=True):
            text = shortened(name, self._font, box.width)
            draw.text((box.left, box.middle), text, fill=PANEL_TEXT, font=self._font, anchor="lm")
        for lane in layout.lanes:
            lane.fill(draw, _TRACK)
            height = lane.bottom - lane.top
            for start, end in self._predictions.timeline.unknown_intervals:
                for x in range(self._x_of(start), self._x_of(end) - height, height):
                    draw.line((x, lane.bottom - 1, x + height - 1, lane.top), fill=_MUTED)
        for lane, spans, colour in zip(layout.lanes, self._spans, LABEL_COLOURS, strict=False):
            for start, end in spans.tolist():
                left, right = self._x_of(start), self._x_of(end)
                draw.rectangle((left, lane.top, max(left, right - 1), lane.bottom - 1), fill=colour)
        self._draw_axis(draw)
        return image

    def _draw_axis(self, draw: ImageDraw) -> None:
        axis, duration = self.layout.axis, self._predictions.duration_seconds
        if not self.layout.is_side_by_side:
            text = format_time(duration, int(duration < 60), cut=True)
            draw.text((axis.right, axis.middle), text, fill=_MUTED, font=self._font, anchor="rm")
            return
        times = tick_times(duration, max(1, axis.width // (_TICK_EMS * self.layout.text_pixels)))
        decimals = int(any(time % 1 for time in times))
        for time in times:
            text = format_time(time, decimals, cut=True)
            half = self._font.getlength(text) / 2
            x = min(max(self._x_of(time), axis.left + half), axis.right - half)
            draw.text((x, axis.middle), text, fill=_MUTED, font=self._font, anchor="mm")

    def _update(self, seconds: float) -> None:
        scores = self._predictions.timeline.scores_at(np.array([seconds]))[0, self._columns]
        present = tuple(
            bool(((spans[:, 0] <= seconds) & (seconds < spans[:, 1])).any())
            for spans in self._spans
        )
        text, clock = format_time(seconds, 1, cut=True), self.layout.clock
        unknown = self._predictions.timeline.unknown_intervals
        is_unknown = any(start <= seconds < end for start, end in unknown)
        moment = (scores.tobytes(), present, is_unknown, text)
        if moment == self._moment:
            return
        from PIL import ImageDraw

        self._moment = moment
        image = self._still.copy()
        draw = ImageDraw.Draw(image)
        for rank, score in enumerate(scores.tolist()):
            known = score if present[rank] or not is_unknown else None
            self._draw_bar(draw, rank, known, is_present=present[rank])
        place = (clock.left, clock.middle)
        draw.text(place, text, fill=PANEL_TEXT, font=self._font, anchor="lm")
        self._drawn = np.asarray(image)

    def _draw_bar(
        self, draw: ImageDraw, rank: int, score: float | None, *, is_present: bool
    ) -> None:
        track, number = self.layout.bars[rank], self.layout.numbers[rank]
        colour: str | Rgb = LABEL_COLOURS[rank]
        if not is_present:
            pure = np.frombuffer(bytes.fromhex(LABEL_COLOURS[rank][1:]), np.uint8)
            mixed = _ABSENT_SHARE * pure + (1 - _ABSENT_SHARE) * np.array(_TRACK)
            red, green, blue = (round(level) for level in mixed.tolist())
            colour = red, green, blue
        track.fill(draw, _TRACK)
        end = track.left + round((score or 0.0) * track.width)
        if end > track.left:
            draw.rectangle((track.left, track.top, end - 1, track.bottom - 1), fill=colour)
        threshold = self._predictions.thresholds[self._columns[rank]]
        if 0 < threshold < 1:
            line, overhang = max(1, self.layout.line_pixels // 2), self.layout.line_pixels
            x = track.left + round(threshold * track.width) - line // 2
            top, bottom = track.top - overhang, track.bottom - 1 + overhang
            draw.rectangle((x, top, x + line - 1, bottom), fill=PANEL_TEXT)
        fill = PANEL_TEXT if is_present else _MUTED
        place = (number.right, number.middle)
        draw.text(
            place, "?" if score is None else f"{score:.2f}", fill=fill, font=self._font, anchor="rm"
        )


class Overlay:
    """Puts the panel under pictures of one size: that of the upright picture with square pixels.

    ``width`` and ``height`` are pixels of the result, and ``picture_height`` those of the picture
    at its top. The panel may be wider than the picture.
    """

    def __init__(self, predictions: VideoPredictions, width: int, height: int) -> None:
        self._picture_width, self.picture_height = picture_size(width, height)
        self.width = max(self._picture_width, MIN_PANEL_WIDTH_PIXELS)
        self.panel = Panel(predictions, self.width, self.picture_height)
        self.height = self.picture_height + self.panel.layout.height
        self._canvas = np.empty((self.height, self.width, 3), np.uint8)
        self._canvas[:] = PANEL_COLOUR

    def frames(
        self, frames: Iterable[tuple[float, Pixels]]
    ) -> Iterator[tuple[float, NDArray[np.uint8]]]:
        """Times and (3, h, w) uint8 RGB to times and (H, W, 3), which the next one overwrites."""
        left = (self.width - self._picture_width) // 2
        above = self._canvas[: self.picture_height, left : left + self._picture_width]
        below = self._canvas[self.picture_height :]
        for time, picture in resized(frames, self._picture_width, self.picture_height):
            # The reader's pixels lie channel by channel; copied so, it takes a fifth of the time.
            for channel in range(3):
                above[..., channel] = picture[..., channel]
            self.panel.draw_at(time, below)
            yield time, self._canvas


def write_overlay(
    predictions: VideoPredictions,
    video: Path,
    path: Path,
    progress: Callable[[float], None] | None = None,
) -> None:
    """Write a video with its scores under the picture, as an mp4 that appears when it is complete.

    Frames keep their size and times, and the sound is carried over. Of a damaged file, the part
    that decodes is written. `progress` is called with the share that is done, from 0 to 1.
    `VideoError` if the video cannot be read any more.
    """
    with open_video(video, fps=predictions.fps) as source:
        overlay = Overlay(predictions, *square_size(source))
        size = {"width": overlay.width, "height": overlay.height}
        with VideoWriter(path, **size, audio_from=video) as writer:
            for time, frame in overlay.frames(source):
                writer.write(frame, time)
                if progress is not None:
                    progress(time / source.duration_seconds)
            writer.close(source.duration_seconds)
    if progress is not None:
        progress(1.0)
