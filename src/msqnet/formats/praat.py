"""TextGrid files of Praat, long and short: https://www.fon.hum.uva.nl/praat/manual/TextGrid_file_formats.html.

The text of an interval or a point is a label, and its tier the subject, as in what BORIS exports,
which writes ``null`` where nothing was coded. A text that is the name of its tier has no subject.
A file says neither its video nor what was looked for.
"""

from __future__ import annotations

import re
from collections import deque
from typing import TYPE_CHECKING

from msqnet.documents import read_text
from msqnet.errors import DatasetError
from msqnet.formats import Format, Reading
from msqnet.formats.annotations import Event, clean_label
from msqnet.formats.columns import OPTIONS, EventLists, video_note

if TYPE_CHECKING:
    from pathlib import Path

    from msqnet.formats.annotations import Annotations

_ADVICE = "open the file in Praat and save it as a text file"
# As Praat reads it: words that begin with a digit or a sign are numbers (4, 4s), what is quoted is
# a text, and an exclamation mark begins a remark up to the end of its line.
_TOKEN = re.compile(
    r"(?<!\S)(?:![^\r\n]*"
    r'|"((?:[^"]|"")*)"(?!\S)'
    r"|([-+]?\d+(?:\.\d*)?(?:[eE][-+]?\d+)?)[^\s%]*(?!\S))"
)
_NOTHING = ("", "null")


def _read(path: Path, reading: Reading) -> Annotations:
    found = EventLists()
    video = reading.find_video("", path)
    found.add(video)
    values = _Values(read_text(path, _ADVICE))
    try:
        kinds = values.text(), values.text()
        if not kinds[0].startswith("ooTextFile") or kinds[1] != "TextGrid":
            raise DatasetError(f"{path}: found {kinds}, expected a TextGrid as text; {_ADVICE}")
        # The number of tiers may be wrong: BORIS writes that of behaviours.
        _ = values.number(), values.number(), values.number()
        while values.tokens:
            found.add(video, *_tier(values))
    except (IndexError, ValueError) as error:
        raise DatasetError(f"{path}: found a tier that is cut off or torn; {_ADVICE}") from error
    except DatasetError as error:
        raise DatasetError(f"{path}: {error}; {_ADVICE}") from error
    return found.annotations(reading, video_note(reading, path))


class _Values:
    """The numbers and texts of a file, in order; `IndexError` where they end."""

    def __init__(self, content: str) -> None:
        found = _TOKEN.finditer(content)
        self.tokens = deque(token for token in found if not token[0].startswith("!"))

    def number(self) -> float:
        token = self.tokens.popleft()
        if token[2] is None:
            raise ValueError(f"found the text {token[0]}, expected a number")
        return float(token[2])

    def text(self) -> str:
        token = self.tokens.popleft()
        if token[1] is None:
            raise ValueError(f"found the number {token[0]}, expected a text")
        return token[1].replace('""', '"')


def _tier(values: _Values) -> list[Event]:
    """Events of a tier, by what stands behind its kind."""
    is_of_intervals = values.text() == "IntervalTier"
    name = values.text().strip()
    _ = values.number(), values.number()
    events = []
    for _ in range(int(values.number())):
        start = values.number()
        end = values.number() if is_of_intervals else start
        text = values.text().strip()
        if text not in _NOTHING:
            label = clean_label(text)
            events.append(Event(label, start, end, "" if label == clean_label(name) else name))
    return events


FORMAT = Format(
    "praat", "TextGrid files of Praat", read=_read, suffixes=(".TextGrid",), options=OPTIONS
)
