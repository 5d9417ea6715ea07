"""The panel under a picture: bars of the scores now, and a band of segments with a play head."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from msqnet.errors import MissingExtra
from msqnet.report.overlay_layout import clock, panel_layout, text_size, tick_times
from msqnet.report.palette import LABEL_COLOURS

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL.Image import Image
    from PIL.ImageDraw import ImageDraw
    from PIL.ImageFont import FreeTypeFont

    from msqnet.predictions import SecondsArray, VideoPredictions
    from msqnet.report.overlay_layout import Box

    Rgb = tuple[int, int, int]

NUM_SHOWN_LABELS = 5
"""As in the paper's Figure 5: the labels with the highest peaks."""

PANEL_COLOUR: Rgb = (20, 22, 26)
_TRACK: Rgb = (43, 48, 56)
_TEXT: Rgb = (240, 242, 245)
_MUTED: Rgb = (162, 171, 184)
_PLAY_HEAD: Rgb = (255, 255, 255)
_ABSENT_SHARE = 0.45
_ELLIPSIS = "…"


def load_font(pixels: int) -> FreeTypeFont:
    """DejaVu Sans, which comes with matplotlib.

    Raises:
        MissingExtra: matplotlib or Pillow is not installed.
    """
    try:
        from matplotlib import get_data_path
        from PIL import ImageFont
    except ImportError as error:
        raise MissingExtra("an annotated video", extra="report") from error
    return ImageFont.truetype(f"{get_data_path()}/fonts/ttf/DejaVuSans.ttf", pixels)


def shown_name(label: str) -> str:
    """A label as people read it, on one line; what is not Unicode is shown escaped."""
    text = label.encode("utf-8", "backslashreplace").decode("utf-8")
    return " ".join(text.replace("_", " ").split()) or label


def shortened(text: str, font: FreeTypeFont, max_pixels: float) -> str:
    """The text, its end replaced by an ellipsis where it is too long."""
    if font.getlength(text) <= max_pixels:
        return text
    for length in range(len(text) - 1, 0, -1):
        candidate = text[:length].rstrip() + _ELLIPSIS
        if font.getlength(candidate) <= max_pixels:
            return candidate
    return _ELLIPSIS


class Panel:
    """What stands under a picture at each moment of a video.

    The labels are those with the highest peaks in the whole video, best first, and stay where they
    are. A bar is bright while the label is present, that is inside of one of its segments. What
    does not change is drawn once, bars when their scores change, play head and clock every time.

    Args:
        predictions: of the video.
        width: pixels of the panel.
        height: of the picture above it as it is shown.

    Attributes:
        layout: where everything is.
        labels: the labels shown, top to bottom.

    Raises:
        MissingExtra: matplotlib or Pillow is not installed.
    """

    def __init__(self, predictions: VideoPredictions, width: int, height: int) -> None:
        self._font = load_font(text_size(width, height))
        self._predictions = predictions
        self.labels = tuple(peak.label for peak in predictions.peaks(NUM_SHOWN_LABELS))
        self._columns = [predictions.labels.names.index(label) for label in self.labels]
        self._spans = [_spans(predictions, label) for label in self.labels]
        self._colours = [_rgb(LABEL_COLOURS[rank]) for rank in range(len(self.labels))]
        names = [shown_name(label) for label in self.labels]
        longest = max(self._font.getlength(name) for name in names)
        self.layout = panel_layout(width, height, len(names), longest)
        self._still = self._draw_still(names)
        self._moment: tuple[bytes, tuple[bool, ...]] | None = None
        self._with_bars = np.asarray(self._still)
        self._clock_text = ""
        self._clock_pixels = np.zeros((0, 0, 3), np.uint8)

    def draw_at(self, seconds: float, canvas: NDArray[np.uint8]) -> None:
        """Draw one moment.

        Args:
            seconds: from the first frame.
            canvas: (H, W, 3) uint8 of the size of the layout, all of which is written.
        """
        self._update_bars(seconds)
        canvas[:] = self._with_bars
        self._put_clock(seconds, canvas)
        x, line = self._x_of(seconds), self.layout.line_pixels
        band = self.layout.band
        left = min(max(x - line // 2, band.left), band.right - line)
        overhang = line
        canvas[band.top - overhang : band.bottom + overhang, left : left + line] = _PLAY_HEAD

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
            self._text(draw, box, shortened(name, self._font, box.width))
        for lane in layout.lanes:
            _fill(draw, lane, _TRACK)
        for lane, spans, colour in zip(layout.lanes, self._spans, self._colours, strict=True):
            for start, end in spans.tolist():
                left, right = self._x_of(start), self._x_of(end)
                draw.rectangle((left, lane.top, max(left, right - 1), lane.bottom - 1), fill=colour)
        self._draw_axis(draw)
        return image

    def _draw_axis(self, draw: ImageDraw) -> None:
        axis, duration = self.layout.axis, self._predictions.duration_seconds
        y = (axis.top + axis.bottom) / 2
        if not self.layout.is_side_by_side:
            text = clock(duration, with_tenths=duration < 60)
            draw.text((axis.right, y), text, fill=_MUTED, font=self._font, anchor="rm")
            return
        times = tick_times(duration, self.layout.num_axis_steps)
        with_tenths = any(time % 1 for time in times)
        for time in times:
            text, x = clock(time, with_tenths=with_tenths), self._x_of(time)
            half = self._font.getlength(text) / 2
            x_text = min(max(x, axis.left + half), axis.right - half)
            draw.text((x_text, y), text, fill=_MUTED, font=self._font, anchor="mm")

    def _update_bars(self, seconds: float) -> None:
        scores = self._predictions.timeline.scores_at(np.array([seconds]))[0, self._columns]
        present = tuple(_covers(spans, seconds) for spans in self._spans)
        if self._moment == (scores.tobytes(), present):
            return
        from PIL import ImageDraw

        self._moment = (scores.tobytes(), present)
        image = self._still.copy()
        draw = ImageDraw.Draw(image)
        for rank, score in enumerate(scores.tolist()):
            self._draw_bar(draw, rank, score, is_present=present[rank])
        self._with_bars = np.asarray(image)

    def _draw_bar(self, draw: ImageDraw, rank: int, score: float, *, is_present: bool) -> None:
        track, number = self.layout.bars[rank], self.layout.numbers[rank]
        colour = self._colours[rank]
        if not is_present:
            colour = _blend(colour, _TRACK, _ABSENT_SHARE)
        _fill(draw, track, _TRACK)
        end = track.left + round(score * track.width)
        if end > track.left:
            draw.rectangle((track.left, track.top, end - 1, track.bottom - 1), fill=colour)
        threshold = self._predictions.thresholds[self._columns[rank]]
        if 0 < threshold < 1:
            line, overhang = max(1, self.layout.line_pixels // 2), self.layout.line_pixels
            x = track.left + round(threshold * track.width) - line // 2
            draw.rectangle(
                (x, track.top - overhang, x + line - 1, track.bottom - 1 + overhang), fill=_TEXT
            )
        y = (number.top + number.bottom) / 2
        fill = _TEXT if is_present else _MUTED
        draw.text((number.right, y), f"{score:.2f}", fill=fill, font=self._font, anchor="rm")

    def _put_clock(self, seconds: float, canvas: NDArray[np.uint8]) -> None:
        from PIL import Image, ImageDraw

        box, text = self.layout.clock, clock(seconds)
        if text != self._clock_text:
            width = min(box.width, int(self._font.getlength(text)) + 2)
            image = Image.new("RGB", (width, box.height), PANEL_COLOUR)
            ImageDraw.Draw(image).text(
                (0, box.height / 2), text, fill=_TEXT, font=self._font, anchor="lm"
            )
            self._clock_text, self._clock_pixels = text, np.asarray(image)
        height, width, _ = self._clock_pixels.shape
        canvas[box.top : box.top + height, box.left : box.left + width] = self._clock_pixels

    def _text(self, draw: ImageDraw, box: Box, text: str) -> None:
        y = (box.top + box.bottom) / 2
        draw.text((box.left, y), text, fill=_TEXT, font=self._font, anchor="lm")


def _spans(predictions: VideoPredictions, label: str) -> SecondsArray:
    """(S, 2) starts and ends of the label's segments, which do not overlap, in order."""
    spans = [
        (item.start_seconds, item.end_seconds)
        for item in predictions.segments
        if item.label == label
    ]
    return np.array(sorted(spans), dtype=np.float64).reshape(-1, 2)


def _covers(spans: SecondsArray, seconds: float) -> bool:
    place = int(np.searchsorted(spans[:, 0], seconds, side="right")) - 1
    return place >= 0 and bool(seconds < spans[place, 1])


def _rgb(colour: str) -> Rgb:
    red, green, blue = bytes.fromhex(colour.removeprefix("#"))
    return red, green, blue


def _blend(colour: Rgb, ground: Rgb, share: float) -> Rgb:
    """The colour at this opacity before the ground."""
    red, green, blue = (
        round(share * top + (1 - share) * below) for top, below in zip(colour, ground, strict=True)
    )
    return red, green, blue


def _fill(draw: ImageDraw, box: Box, colour: Rgb) -> None:
    draw.rectangle((box.left, box.top, box.right - 1, box.bottom - 1), fill=colour)
