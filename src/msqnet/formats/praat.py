"""TextGrid files of Praat, long and short: https://www.fon.hum.uva.nl/praat/manual/TextGrid_file_formats.html.

The text of an interval or a point is a label, and its tier the subject, as in what BORIS exports,
which writes ``null`` where nothing was coded. A text that is the name of its tier has no subject.
A file says neither its video nor what was looked for.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from msqnet.documents import read_text
from msqnet.errors import DatasetError
from msqnet.formats import Format, Reading
from msqnet.formats.annotations import Event, clean_label
from msqnet.formats.columns import OPTIONS, EventLists, video_note

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from msqnet.formats.annotations import Annotations

_ADVICE = "open the file in Praat and save it as a text file"
# Numbers and texts count where spaces are around them; all else says what they are.
_TOKEN = re.compile(r'(?<!\S)(?:"((?:[^"]|"")*)"|(-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?))(?!\S)')
_NOTHING = ("", "null")


def _read(path: Path, reading: Reading) -> Annotations:
    found = EventLists()
    video = reading.find_video("", path)
    found.add(video)
    tokens = _TOKEN.finditer(re.sub(r"(?m)^[^\"\n]*!.*$", "", read_text(path, _ADVICE)))
    values = iter([m[1].replace('""', '"') if m[2] is None else float(m[2]) for m in tokens])
    try:
        kinds = next(values), next(values)
        if not str(kinds[0]).startswith("ooTextFile") or kinds[1] != "TextGrid":
            raise DatasetError(f"{path}: found {kinds}, expected a TextGrid as text; {_ADVICE}")
        _ = next(values), next(values), next(values)
        for tier in values:
            found.add(video, *_tier(str(tier), values))
    except (StopIteration, TypeError, ValueError) as error:
        raise DatasetError(f"{path}: found a tier that is cut off or torn; {_ADVICE}") from error
    except DatasetError as error:
        raise DatasetError(f"{path}: {error}; {_ADVICE}") from error
    return found.annotations(reading, video_note(reading, path))


def _tier(kind: str, values: Iterator[str | float]) -> list[Event]:
    """Events of a tier, by what stands behind its kind."""
    name = str(next(values)).strip()
    _ = next(values), next(values)
    events = []
    for _ in range(int(next(values))):
        start = float(next(values))
        end = float(next(values)) if kind == "IntervalTier" else start
        text = str(next(values)).strip()
        if text not in _NOTHING:
            label = clean_label(text)
            events.append(Event(label, start, end, "" if label == clean_label(name) else name))
    return events


FORMAT = Format(
    "praat", "TextGrid files of Praat", read=_read, suffixes=(".TextGrid",), options=OPTIONS
)
