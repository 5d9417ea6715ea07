"""Tables with a row a frame: a column of 0 and 1 for each label, or of the names of labels.

Rows are frames of the video, or have a column of their times or of the numbers of frames. 0 is
absent, for the labels of the columns and nothing else; an empty cell, or -1, is unknown. Where all
labels of a row are unknown nobody looked; a label that is unknown in other rows counts as one that
was not looked for. Columns that hold anything else are left out.

- DeepEthogram: ``NAME_labels.csv`` and ``NAME_predictions.csv``, with a first column that numbers
  the rows; -1 until a video is finalized (`deepethogram.gui.main`). Its first class is
  ``background``, which stands for none of the others.
- SimBA: ``targets_inserted`` and ``machine_results``. Labels are the last columns, behind those of
  body parts and features (`simba.third_party_label_appenders`, `Annotation._read_simba` of Bento).
- JAABA: what `JAABAScores2CSV` writes, a row an animal and a frame, counted from 1, with the sign
  of the score of one behaviour, which is named by the file, ``scores_NAME.csv``.
- Solomon Coder: a row a step in time and a column a category, whose cells are names of behaviours:
  in one category they exclude each other (``misc/solomon_example.csv`` of SimBA).
"""

from __future__ import annotations

import csv
import io
import itertools
import re
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from msqnet.data.columns import bare_name, unit_of
from msqnet.documents import read_text
from msqnet.errors import ConfigError, DatasetError
from msqnet.formats import Format, Reading
from msqnet.formats.annotations import AnnotatedVideo, Annotations, Event, clean_label, count_notes
from msqnet.formats.columns import (
    OPTIONS,
    SECONDS,
    Columns,
    guess_roles,
    video_note,
)
from msqnet.formats.frame_times import VideoClock, parse_rate
from msqnet.formats.options import is_absent_if_unlisted
from msqnet.intervals import Interval, covers, parse_clock, union
from msqnet.workbooks import SPREADSHEET_SUFFIXES, read_sheets

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd
    from numpy.typing import NDArray

_ADVICE = "name the columns: --option columns=label:A|B,time:NAME,unit:frames"
_UNKNOWN = -1
_STATES = {"1": 1, "true": 1, "0": 0, "false": 0, "-1": _UNKNOWN, "": _UNKNOWN}
_NO_LABEL = re.compile(r"_(x|y|p|likelihood)$|^probability_|^low_prob|^unnamed", re.IGNORECASE)
_FRAME_NAMES = ("frame", "framenumber", "frameindex", "frameno", "framenum")


@dataclass(frozen=True)
class _Tool:
    """What is particular to the tables of a tool.

    Attributes:
        background: a label that stands for none of the others.
        is_last: whether labels are the last columns.
        is_sign: whether the label of the file's name is 1 or -1.
        has_names: whether cells are names of labels.
        counted_from: number of the first frame; None where the table begins with it.
    """

    counted_from: int | None = None
    background: str = ""
    is_last: bool = False
    is_sign: bool = False
    has_names: bool = False


def _read(path: Path, reading: Reading, tool: _Tool) -> Annotations:
    table = _load(path, reading.options.get("sheet", ""))
    columns = _columns(table, path, reading)
    names = _label_columns(table, columns, tool)
    states = _states(table, names, tool, path)
    if is_absent_if_unlisted(reading.options):
        states = {label: np.maximum(values, 0) for label, values in states.items()}
    if not states:
        raise DatasetError(f"{path}: found no column of labels, expected 0 and 1 in it; {_ADVICE}")
    first = columns.counted_from if "label" in columns.of else tool.counted_from
    times = _Times(path, reading, columns, first)
    subjects = np.full(len(table), "")
    if "subject" in columns.of:
        subjects = table[columns.of["subject"][0]].astype(str).to_numpy()
    events: list[Event] = []
    looked_at: list[Interval] = []
    unknown = set()
    for subject in dict.fromkeys(subjects.tolist()):
        rows = np.flatnonzero(subjects == subject)
        starts, ends = times.of(table.iloc[rows])
        looked = np.any([values[rows] != _UNKNOWN for values in states.values()], axis=0)
        looked_at += _intervals(starts, ends, looked)
        for label, values in states.items():
            unknown |= {label} if np.any(values[rows][looked] == _UNKNOWN) else set()
            spans = _intervals(starts, ends, values[rows] == 1)
            events += [Event(label, start, end, subject) for start, end in spans]
    video = times.video(events, union(looked_at), frozenset(states) - unknown)
    used = {*names, *(name for names in columns.of.values() for name in names)}
    counts = {
        "labels that are unknown in some rows, and so wherever they are not seen": len(unknown),
        "columns that are neither labels nor times, which are left out": sum(
            name not in used and not name.startswith("Unnamed") for name in table.columns
        ),
    }
    notes = [*video_note(reading, path), *count_notes(counts)]
    return Annotations.of_files([video], tuple(states), notes)


def _load(path: Path, sheet: str) -> pd.DataFrame:
    """The cells; an empty one is NaN. `DatasetError` if it cannot be read."""
    import pandas as pd

    delimiter, source = ",", io.StringIO(newline="")
    try:
        if path.suffix.lower() in SPREADSHEET_SUFFIXES:
            rows = next(iter(read_sheets(path, _ADVICE, sheet).values()))
            csv.writer(source).writerows(rows)
            source.seek(0)
        else:
            source = io.StringIO(read_text(path, _ADVICE), newline="")
            delimiter = max(",;\t", key=source.readline().count)
            source.seek(0)
        table = pd.read_csv(
            source,
            sep=delimiter,
            decimal="," if delimiter == ";" else ".",
            keep_default_na=False,
            na_values=["", "NA", "NaN", "nan"],
        )
    except ValueError as error:
        raise DatasetError(f"{path}: not a table: {error}; {_ADVICE}") from error
    table.columns = [str(name).strip() for name in table.columns]
    return table


def _columns(table: pd.DataFrame, path: Path, reading: Reading) -> Columns:
    """Columns of labels, if they are told, of times and of subjects."""
    names = list(table.columns)
    if "columns" in reading.options:
        told = Columns.parse(reading.options["columns"], needs_time=False)
        missing = sorted({name for found in told.of.values() for name in found} - {*names})
        if missing:
            raise ConfigError(f"{path}: no column {missing[0]}; found {', '.join(names)}")
        return told
    frames = [name for name in names if bare_name(name) in _FRAME_NAMES]
    of = {role: found for role, found in guess_roles(names).items() if role in ("time", "subject")}
    of |= {"time": (frames[0],)} if frames and "time" not in of else {}
    units = {"time": unit_of(of["time"][0])} if "time" in of else {}
    return Columns(of, units)


def _label_columns(table: pd.DataFrame, columns: Columns, tool: _Tool) -> list[str]:
    if "label" in columns.of:
        return list(columns.of["label"])
    used = {name for names in columns.of.values() for name in names}
    free = [name for name in table.columns if name not in used and not _NO_LABEL.search(name)]
    if tool.is_sign:
        return [name for name in free if bare_name(name).endswith("prediction")]
    fitting = {name for name in free if (_binary(table[name]) is None) == tool.has_names}
    if tool.is_last:
        last = list(itertools.takewhile(fitting.__contains__, reversed(free)))
        return last[::-1]
    return [name for name in free if name in fitting]


def _states(
    table: pd.DataFrame, names: list[str], tool: _Tool, path: Path
) -> dict[str, NDArray[np.int8]]:
    """(rows,) of 1, 0 or `_UNKNOWN` by label."""
    found: dict[str, NDArray[np.int8]] = {}
    for name in names:
        column, values = table[name], _binary(table[name])
        if column.isna().all():
            continue
        if values is not None and tool.is_sign:
            label = clean_label(path.stem.removeprefix("scores_"))
            found[label] = np.choose(values + 1, [0, _UNKNOWN, 1]).astype(np.int8)
        elif values is not None:
            found[clean_label(name.removesuffix("_prediction"))] = values
        elif column.dtype.kind in "if":
            wrong = column[~column.isin((0, 1, -1)) & column.notna()].iloc[0]
            raise DatasetError(
                f"{path}, {name}: found {wrong}, expected 0, 1 or the name of a label"
            )
        else:
            texts = column.fillna("").astype(str).map(clean_label).to_numpy()
            for label in sorted({*texts} - {""}):
                values = np.where(texts == label, 1, np.where(texts == "", _UNKNOWN, 0))
                found[label] = np.maximum(found.get(label, values), values).astype(np.int8)
    found.pop(tool.background, None)
    return found


def _binary(column: pd.Series[Any]) -> NDArray[np.int8] | None:
    """(rows,) of 1, 0 or `_UNKNOWN`; None for a column of anything else, or of nothing."""
    if column.isna().all():
        return None
    if column.dtype.kind in "if":
        numbers = column.fillna(_UNKNOWN)
        return numbers.to_numpy(np.int8) if numbers.isin((0, 1, _UNKNOWN)).all() else None
    values = column.astype(object).fillna("").astype(str).str.strip().str.lower().map(_STATES)
    return None if values.isna().any() else np.asarray(values, dtype=np.int8)


class _Times:
    """When rows of a table begin and end; frames are counted from `first`, None: as they begin."""

    def __init__(self, path: Path, reading: Reading, columns: Columns, first: int | None) -> None:
        self._path, self._first = path, first
        self._column = columns.of.get("time", ("",))[0]
        self._unit = columns.units.get("time", "")
        written = reading.options.get("fps")
        self._fps = columns.fps or (parse_rate(written) if written else None)
        # Rows may be at another rate than frames, but numbers of frames are those of the video.
        fps = self._fps if self._unit == "frames" else None
        self._clock = VideoClock(reading.find_video("", path), str(path), fps)

    def video(
        self, events: list[Event], observed: list[Interval], checked: frozenset[str]
    ) -> AnnotatedVideo:
        """The video, of which somebody looked at intervals for labels."""
        length = self._clock.duration_seconds or (observed[-1][1] if observed else None)
        is_whole = length is not None and covers(observed, (0.0, length))
        seen = None if is_whole else tuple(observed)
        return AnnotatedVideo(self._clock.path, tuple(events), length, checked, seen)

    def of(self, rows: pd.DataFrame) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Starts and ends of rows in seconds, (rows,) each."""
        if not self._column:
            return self._of_frames(len(rows))
        try:
            numbers = np.array([parse_clock(str(cell)) for cell in rows[self._column]])
            if (np.diff(numbers) <= 0).any():
                row = int(np.argmax(np.diff(numbers) <= 0)) + 1
                raise DatasetError(
                    f"found {numbers[row]:g} after {numbers[row - 1]:g}, expected times that rise; "
                    "if there are several subjects, name their column, subject:NAME"
                )
            return self._of_numbers(numbers)
        except (DatasetError, ValueError) as error:
            raise DatasetError(f"{self._path}, {self._column}: {error}; {_ADVICE}") from error

    def _of_frames(self, count: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        times, fps, length = self._clock.times, self._fps, self._clock.duration_seconds
        if times is not None and len(times.starts_seconds) == count:
            return times.starts_seconds, np.append(times.starts_seconds[1:], times.end_seconds)
        if fps is None or (length is not None and abs(count / fps - length) > max(1, length / 50)):
            frames = (
                f"{len(times.starts_seconds)} frames and {length:g} s" if times else "no frames"
            )
            raise DatasetError(
                f"{self._path}: found {count} rows, but {self._clock.path.name} has {frames}; "
                "expected a row a frame of the video that was annotated; give that one, or the "
                "rows a second as --option fps=..."
            )
        return np.arange(count) / fps, np.arange(1, count + 1) / fps

    def _of_numbers(
        self, numbers: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        if self._unit == "frames":
            if self._first is None:
                self._first = int(numbers[0] == 1)
            shown = [int(number) - self._first for number in numbers]
            ends = np.array([self._clock.seconds_of(frame + 1) for frame in shown])
            return np.array([self._clock.seconds_of(frame) for frame in shown]), ends
        starts = numbers * SECONDS[self._unit]
        steps = np.diff(starts)
        step = float(np.median(steps)) if len(steps) else 0.0
        length = self._clock.duration_seconds
        if length is not None and starts[-1] > length + 1:
            raise DatasetError(
                f"found a row at {starts[-1]:g} s, but {self._clock.path.name} has {length:g} s; "
                "expected the video that was annotated"
            )
        return starts, starts + np.append(np.minimum(steps, 1.5 * step), step)


def _intervals(
    starts: NDArray[np.float64], ends: NDArray[np.float64], chosen: NDArray[np.bool_]
) -> list[Interval]:
    """The time of the rows that are chosen, without gaps between rows that touch."""
    return union(zip(starts[chosen].tolist(), ends[chosen].tolist(), strict=True))


FRAME_TABLE = Format(
    "frame_table",
    "tables with a row a frame and a column of 0 and 1 for each label",
    read=partial(_read, tool=_Tool()),
    suffixes=(".csv", ".tsv", ".txt", *SPREADSHEET_SUFFIXES),
    options={
        "columns": "labels, and the column of times, such as label:groom|walk,time:Frame,"
        "unit:frames,counted_from:1; otherwise all columns of 0 and 1",
        "fps": "rows a second, where they are not the frames of the video",
        "sheet": "of a spreadsheet; the first one otherwise",
        **OPTIONS,
    },
)
DEEPETHOGRAM, SIMBA, JAABA, SOLOMON = (
    replace(FRAME_TABLE, name=name, title=title, read=partial(_read, tool=tool))
    for name, title, tool in (
        ("deepethogram", "labels of frames of DeepEthogram", _Tool(background="background")),
        ("simba", "labels of frames of SimBA", _Tool(is_last=True)),
        ("jaaba", "scores of JAABA as .csv", _Tool(is_sign=True, counted_from=1)),
        ("solomon", "coding sheets of Solomon Coder as .csv", _Tool(has_names=True)),
    )
)
