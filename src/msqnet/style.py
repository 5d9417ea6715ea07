"""How results look wherever they are shown: colours, names of labels, times.

Figures and overlays take their colours from here. Pages take theirs, one for light and one for dark
screens each, from ``assets/theme.css``.
"""

from __future__ import annotations

import math

# Of labels in the order in which they are shown: Okabe and Ito's set (2008), which can be told
# apart with any colour vision, without its yellow, which is too light for marks on white. Colour is
# never the only cue: marks have shapes, bars have names.
LABEL_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#000000")
OTHER_COLOUR = "#b4b8be"  # of all labels without a colour of their own
INK = "#1b2027"  # of text and lines
MUTED_INK = "#58616e"  # of explanations: units, notes, lines that only guide the eye
_MINUTE, _HOUR = 60, 3600
_TICK_STEPS_SECONDS = (
    *(0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30),
    *(minutes * _MINUTE for minutes in (1, 2, 5, 10, 15, 30)),
    *(hours * _HOUR for hours in (1, 2, 5, 10, 24)),
)


def printable(text: str) -> str:
    """Text for a screen, page or table; parts that are not Unicode (odd file names) are escaped."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def counted(number: int, noun: str) -> str:
    """A number with its noun, such as ``1 window`` and ``2 windows``."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def shown_name(label: str, max_letters: int | None = None) -> str:
    """A label as people read it, on one line, shortened by an ellipsis where it is too long."""
    name = " ".join(printable(label).replace("_", " ").split()) or label
    if max_letters is None or len(name) <= max_letters:
        return name
    return f"{name[: max_letters - 1].rstrip()}…"


def format_time(seconds: float, decimals: int = 2, *, cut: bool = False) -> str:
    """A time as ``m:ss.ss`` or ``h:mm:ss.ss``, rounded, or ``cut`` off as clocks do."""
    scale = 10**decimals
    units = math.floor(seconds * scale + 1e-6) if cut else round(seconds * scale)
    whole, fraction = divmod(units, scale)
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    tail = f"{rest:02}.{fraction:0{decimals}}" if decimals else f"{rest:02}"
    return f"{hours}:{minutes:02}:{tail}" if hours else f"{minutes}:{tail}"


def format_length(seconds: float) -> str:
    """A length of time as people read it: ``8.4 s``, ``2:05 min``, ``1:02:05 h``."""
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    return f"{format_time(seconds, 0)} {'h' if round(seconds) >= _HOUR else 'min'}"


def tick_times(duration_seconds: float, most: int) -> list[float]:
    """Round times from 0 to the end of a video, with at most ``most`` steps between them."""
    step = next(
        (step for step in _TICK_STEPS_SECONDS if duration_seconds / step <= most),
        duration_seconds / most,
    )
    return [number * step for number in range(math.floor(duration_seconds / step + 1e-9) + 1)]
