"""Predictions of a video as a picture for notebooks: when each label holds. Plain HTML and SVG.

Text has the colour of the page, so that light and dark notebooks show it; nothing is loaded.
"""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from msqnet.style import LABEL_COLOURS, OTHER_COLOUR, format_time, printable, shown_name, tick_times

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

_WIDTH, _NAMES_WIDTH, _ROW, _BAR, _MARGIN = 760, 170, 24, 14, 28  # pixels
_MAX_TICKS = 8
_MAX_NAME_LETTERS = 24
_MAX_OTHERS = 12
_SAME_TIME_SECONDS = 1e-3
_HATCH = (
    '<pattern id="msqnet-unknown" width="6" height="6" patternUnits="userSpaceOnUse" '
    'patternTransform="rotate(45)"><rect width="2" height="6" fill="currentColor" '
    'fill-opacity="0.25"/></pattern>'
)


def ethogram_html(
    title: str,
    duration_seconds: float,
    labels: Iterable[str],
    segments: Sequence[tuple[str, float, float, float]],
    unknown: Sequence[tuple[float, float]],
    notes: Iterable[str],
    withheld: Collection[str] = (),
) -> str:
    """A row of bars for each label that has a segment, over the time of the video.

    Args:
        labels: all that the model scored, in the order of the rows; those without a segment are
            named below the picture, unless all of the time is unknown.
        segments: label, start and end in seconds, score in [0, 1].
        unknown: (start, end) in seconds that are unlike the training videos; they are hatched.
        notes: sentences for readers, below the picture.
        withheld: labels that make no segment whatever their scores, named below the picture too.
    """
    present = {label for label, *_ in segments}
    names = list(labels)
    rows = [name for name in names if name in present]
    is_known = sum(end - start for start, end in unknown) < duration_seconds - _SAME_TIME_SECONDS
    absent = [name for name in names if is_known and name not in (*present, *withheld)]
    bottom = max(len(rows), 1) * _ROW
    scale = (_WIDTH - _NAMES_WIDTH - _MARGIN) / duration_seconds

    def place(start: float, end: float) -> str:
        left = _NAMES_WIDTH + start * scale
        return f'x="{left:.1f}" width="{max((end - start) * scale, 1):.1f}"'

    parts = [f"<defs>{_HATCH}</defs>"]
    for start, end in unknown:
        told = f"{_span(start, end)}: unlike the training videos"
        parts.append(
            f'<rect {place(start, end)} y="0" height="{bottom}" fill="url(#msqnet-unknown)">'
            f"<title>{told}</title></rect>"
        )
    for row, name in enumerate(rows):
        colour = LABEL_COLOURS[row] if row < len(LABEL_COLOURS) else OTHER_COLOUR
        parts.append(
            f'<text x="{_NAMES_WIDTH - 8}" y="{row * _ROW + 16}" text-anchor="end" '
            f'fill="currentColor">{escape(shown_name(name, _MAX_NAME_LETTERS))}</text>'
        )
        for label, start, end, score in segments:
            if label == name:
                told = f"{escape(shown_name(name))}: {_span(start, end)}, score {score:.2f}"
                parts.append(
                    f'<rect {place(start, end)} y="{row * _ROW + 5}" height="{_BAR}" '
                    f'fill="{colour}" stroke="currentColor" stroke-width="0.4">'
                    f"<title>{told}</title></rect>"
                )
    if not rows and not unknown:
        parts.append(
            f'<text x="{_NAMES_WIDTH + 8}" y="16" fill="currentColor" fill-opacity="0.7">'
            "no label reaches its threshold</text>"
        )
    parts.append(_axis(duration_seconds, scale, bottom))
    return (
        f'<div style="max-width:{_WIDTH}px;font:13px sans-serif"><b>{escape(printable(title))}</b> '
        f"({format_time(duration_seconds)})"
        f'<svg role="img" viewBox="0 0 {_WIDTH} {bottom + 22}" width="100%" '
        'xmlns="http://www.w3.org/2000/svg" font-size="12">'
        f"<title>Ethogram of {escape(printable(title))}</title>{''.join(parts)}</svg>"
        f"{_below(absent, [name for name in names if name in withheld], notes)}</div>"
    )


def _span(start: float, end: float) -> str:
    return f"{format_time(start)} to {format_time(end)}"


def _axis(duration: float, scale: float, bottom: int) -> str:
    right = _NAMES_WIDTH + duration * scale
    parts = [f'<path d="M{_NAMES_WIDTH} {bottom}H{right:.1f}" stroke="currentColor"/>']
    times = tick_times(duration, _MAX_TICKS)
    decimals = 1 if any(time % 1 for time in times) else 0
    for time in times:
        x = _NAMES_WIDTH + time * scale
        parts.append(
            f'<path d="M{x:.1f} {bottom}v4" stroke="currentColor"/>'
            f'<text x="{x:.1f}" y="{bottom + 17}" text-anchor="middle" fill="currentColor">'
            f"{format_time(time, decimals)}</text>"
        )
    return "".join(parts)


def _below(absent: Sequence[str], withheld: Sequence[str], notes: Iterable[str]) -> str:
    lines = []
    for what, names in (("no segment", absent), ("not reported", withheld)):
        more = f" and {len(names) - _MAX_OTHERS} more" if len(names) > _MAX_OTHERS else ""
        if names:
            lines.append(f"{what}: {', '.join(map(shown_name, names[:_MAX_OTHERS]))}{more}")
    lines += map(printable, notes)
    return "".join(f"<div>{escape(line)}</div>" for line in lines)
