"""Attribution maps over the frames that they are about: a contact sheet (Figure 3), and a video."""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from msqnet.errors import needs_extra
from msqnet.report.overlay import PANEL_COLOUR, PANEL_TEXT, load_font, shortened
from msqnet.report.video_writer import VideoWriter, resized, square_size
from msqnet.style import INK, MUTED_INK, shown_name
from msqnet.video.reader import open_video

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from msqnet.explain.explainer import AttributionMaps
    from msqnet.predictions import FloatArray, SecondsArray

_COLOUR_MAP = "inferno"
# A frame is grey and a little darker where relevance is 0, and glows where it is highest.
_DIMMED = 0.7
_STRONGEST = 0.72
_CONTRAST = 0.8
_MAX_VIDEO_WIDTH_PIXELS = 1920
_CAPTION_SHARE = 0.09
_MIN_CAPTION_PIXELS = 18
_TILE_INCHES = 1.35
_SHEET_SHORT_SIDE_PIXELS = 256


class SheetRow(NamedTuple):
    """Maps (T, h, w) float32 in [0, 1] with a title, and a smaller note below it."""

    title: str
    note: str
    maps: FloatArray


@functools.cache
def _glow_colours() -> NDArray[np.float32]:
    """(256, 3) RGB from 0 to 255, from no relevance to the highest."""
    with needs_extra("drawing attribution maps", extra="explain"):
        from matplotlib import colormaps
    return np.asarray(colormaps[_COLOUR_MAP](np.linspace(0, 1, 256))[:, :3] * 255, dtype=np.float32)


def lay_over(image: NDArray[np.uint8], map: FloatArray) -> NDArray[np.uint8]:
    """Lay a map (h, w) of [0, 1] over a whole frame (H, W, 3) uint8 RGB; returns the same."""
    import torch
    from torch.nn import functional as F

    grey = image @ np.array([0.299, 0.587, 0.114], dtype=np.float32)  # (H, W)
    cells = torch.from_numpy(np.ascontiguousarray(map, dtype=np.float32))[None, None]
    spread = F.interpolate(cells, grey.shape, mode="bilinear", align_corners=False)
    full: FloatArray = np.asarray(spread[0, 0].clamp(0, 1).numpy())  # (H, W)
    strength = (_STRONGEST * full**_CONTRAST)[..., None]
    glow = _glow_colours()[(full * 255).astype(np.uint8)]  # (H, W, 3)
    mixed = _DIMMED * grey[..., None] * (1 - strength) + glow * strength
    return np.asarray(mixed.round().clip(0, 255), dtype=np.uint8)


def sheet_frames(video: Path, pts_seconds: SecondsArray) -> list[NDArray[np.uint8]]:
    """T small frames of a video with square pixels, (H, W, 3) uint8 RGB each."""
    with open_video(video, short_side_pixels=_SHEET_SHORT_SIDE_PIXELS) as source:
        width, height = square_size(source)
        scale = min(1.0, _SHEET_SHORT_SIDE_PIXELS / min(width, height))
        frames = source.frames_at(pts_seconds.tolist())
        pairs = zip(frames.pts_seconds.tolist(), frames.pixels, strict=True)
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        return [image.copy() for _, image in resized(pairs, *size)]


def contact_sheet(
    frames: Sequence[NDArray[np.uint8]],
    pts_seconds: Sequence[float],
    rows: Sequence[SheetRow],
    *,
    num_columns: int = 8,
) -> Figure:
    """A row of frames and, below it, one row of attribution maps for each label and model.

    Args:
        frames: T of (H, W, 3) uint8 RGB, in order.
        pts_seconds: T times, which stand above the columns.
        num_columns: frames that are shown, spread evenly over the T.
    """
    _glow_colours()  # fails if matplotlib is missing
    from matplotlib.figure import Figure

    shown = np.linspace(0, len(frames) - 1, min(num_columns, len(frames))).round().astype(int)
    height, width = frames[0].shape[:2]
    tile_height = _TILE_INCHES * height / width
    widest = max(max(0.075 * len(row.title), 0.06 * len(row.note)) for row in rows)
    side = max(1.2, widest + 0.35)
    full_width = side + _TILE_INCHES * len(shown)
    full_height = 0.3 + (len(rows) + 1) * (tile_height + 0.04)
    figure = Figure(figsize=(full_width, full_height))
    edges = {"left": side / full_width, "right": 0.998}
    edges |= {"bottom": 0.01, "top": 1 - 0.24 / full_height, "wspace": 0.03, "hspace": 0.04}
    grid = figure.subplots(len(rows) + 1, len(shown), squeeze=False, gridspec_kw=edges)
    for column, place in enumerate(shown.tolist()):
        axis = grid[0, column]
        axis.imshow(frames[place], aspect="auto")
        axis.set_title(f"{pts_seconds[place]:.2f} s", fontsize=7, color=MUTED_INK, pad=3)
        for number, row in enumerate(rows, start=1):
            picture = lay_over(frames[place], row.maps[place])
            grid[number, column].imshow(picture, aspect="auto")
    for axis in grid.flat:
        axis.set_axis_off()
    _name_rows(figure, grid, rows)
    return figure


def _name_rows(figure: Figure, grid: NDArray[np.object_], rows: Sequence[SheetRow]) -> None:
    """Titles to the left of the rows, in the middle of each."""
    names = [("frames", ""), *((row.title, row.note) for row in rows)]
    for (title, note), axes in zip(names, grid, strict=True):
        box = axes[0].get_position()
        middle, right = (box.y0 + box.y1) / 2, box.x0 - 0.08 / figure.get_figwidth()
        lift = 0.075 / figure.get_figheight() if note else 0.0
        style: dict[str, Any] = {"ha": "right", "va": "center"}
        figure.text(right, middle + lift, title, fontsize=9, color=INK, **style)
        figure.text(right, middle - lift, note, fontsize=7, color=MUTED_INK, **style)


class MapsOverTime:
    """Maps at any time of a video, faded from one window to the next.

    ``windows``, at least one, are start, end and maps of each in time order. They are read as they
    are needed; two are held at a time.
    """

    def __init__(self, windows: Iterable[tuple[float, float, AttributionMaps]]) -> None:
        self._stream = (((start + end) / 2, maps) for start, end, maps in windows)
        self._before = self._after = next(self._stream)

    def at(self, time_seconds: float) -> FloatArray:
        """(K, h, w) float32 in [0, 1]; times must never decrease from call to call."""
        while self._after[0] <= time_seconds:
            following = next(self._stream, None)
            self._before = self._after
            if following is None:
                break
            self._after = following
        start, end = self._before[0], self._after[0]
        share = np.float32(
            np.clip((time_seconds - start) / (end - start), 0, 1) if end > start else 0
        )
        before, after = (maps.at(time_seconds) for _, maps in (self._before, self._after))
        return np.asarray(before * (1 - share) + after * share)


def write_attribution_video(
    windows: Iterable[tuple[float, float, AttributionMaps]],
    labels: Sequence[str],
    video: Path,
    path: Path,
    start_seconds: float = 0.0,
    end_seconds: float = math.inf,
    *,
    progress: Callable[[float], None] | None = None,
) -> None:
    """Write a video: its own picture, and beside it one with the attribution map of each label.

    `windows` are as for `MapsOverTime`, of K labels. The mp4 appears when it is complete.
    `progress` is called with the share that is done, from 0 to 1. `VideoError` if the video cannot
    be read any more.
    """
    maps = MapsOverTime(windows)
    with open_video(video) as source:
        end = min(end_seconds, source.end_seconds)
        width, height = square_size(source)
        # Even sides, never enlarged, all tiles side by side within the greatest width.
        scale = min(1.0, _MAX_VIDEO_WIDTH_PIXELS / (width * (1 + len(labels))))
        width, height = (max(2, round(side * scale / 2) * 2) for side in (width, height))
        caption = _caption(["video", *map(shown_name, labels)], width, height)
        size = {"width": caption.shape[1], "height": len(caption) + height}
        with VideoWriter(path, **size, audio_from=video, start_seconds=start_seconds) as writer:
            frames = ((time, pixels) for time, pixels in source if time >= start_seconds)
            for time, picture in resized(frames, width, height):
                if time >= end_seconds:
                    break
                tiles = [picture, *(lay_over(picture, item) for item in maps.at(time))]
                writer.write(np.vstack([caption, np.hstack(tiles)]), time)
                if progress is not None:
                    progress((time - start_seconds) / (end - start_seconds))
            writer.close(end)
    if progress is not None:
        progress(1.0)


def _caption(names: Sequence[str], width: int, height: int) -> NDArray[np.uint8]:
    """The strip above the pictures: (h, number of names * width, 3) uint8."""
    from PIL import Image, ImageDraw

    row = max(_MIN_CAPTION_PIXELS, round(_CAPTION_SHARE * height / 2) * 2)
    font = load_font(round(0.62 * row))
    strip = Image.new("RGB", (width * len(names), row), PANEL_COLOUR)
    draw = ImageDraw.Draw(strip)
    for number, name in enumerate(names):
        left = number * width + row // 3
        text = shortened(name, font, width - 2 * (row // 3))
        draw.text((left, row / 2), text, fill=PANEL_TEXT, font=font, anchor="lm")
    return np.asarray(strip)
