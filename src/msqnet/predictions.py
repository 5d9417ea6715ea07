"""Predictions for a video: window scores, their timeline and segments. Plain values only.

Results hold numbers and names, no live handles: they pickle, compare, and round trip through JSON
exactly. Files of one video share a stem (`clip.mp4` gives `clip.mp4.json`, `clip.mp4.csv` and
`clip.mp4.scores.parquet`), so that the extension of the input stays visible.
"""

from __future__ import annotations

import io
import json
from dataclasses import asdict, astuple, dataclass, field, replace
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from msqnet.answers import Answer
from msqnet.errors import DatasetError, ShapeError, VocabularyError, needs_extra
from msqnet.ethogram import ethogram_html
from msqnet.files import csv_writer, replacing
from msqnet.labels import LabelSet
from msqnet.parquet import write_parquet

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from pandas import DataFrame

    from msqnet.parquet import Columns

# Errors of reading a value of another type or shape, or too large.
_DAMAGES = (ArithmeticError, AttributeError, KeyError, TypeError, ValueError, VocabularyError)
SCHEMA_VERSION = 5
RESULT_SUFFIXES = (".json", ".csv", ".scores.parquet")
# Fields that JSON holds as they are.
PLAIN_FIELDS = (
    *("duration_seconds", "width", "height", "window_seconds", "stride_seconds", "single_label"),
    *("clock", "is_partial"),
)
UNKNOWN_TEXT = "unlike the training videos, and the model does not know what it shows"
# By construction a few in a hundred windows of familiar videos count as unknown.
_WORTH_A_NOTE = 0.1
SEGMENT_COLUMNS = ("path", "label", "start_seconds", "end_seconds", "score")

FloatArray = NDArray[np.float32]
SecondsArray = NDArray[np.float64]


def _checked_scores(scores: Any, name: str, num_dims: int) -> FloatArray:
    with np.errstate(over="ignore"):  # what float32 cannot hold is infinite, and refused below
        array = np.asarray(scores, dtype=np.float32)
    if array.ndim != num_dims:
        raise ShapeError(f"{name}: found shape {array.shape}, expected {num_dims} dimension(s)")
    if array.size and not bool(((array >= 0) & (array <= 1)).all()):
        raise ShapeError(
            f"{name}: found values from {array.min()} to {array.max()}, expected 0 to 1"
        )
    return array


def _plain(array: FloatArray) -> list[Any]:
    """Nested lists of the shortest decimals that give the same float32 again."""
    return [_plain(row) if array.ndim > 1 else float(str(row)) for row in array]


class _ByContents:
    """Compares and hashes a dataclass whose fields are arrays, numbers and tuples of numbers."""

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and all(
            np.array_equal(value, vars(other)[name]) for name, value in vars(self).items()
        )

    def __hash__(self) -> int:
        # As float64, and without a negative zero: equal values give equal bytes.
        arrays = (np.asarray(value, dtype=np.float64) + 0.0 for value in vars(self).values())
        return hash(tuple(array.tobytes() for array in arrays))


@dataclass(frozen=True, eq=False)
class WindowScores(_ByContents):
    """Scores of one window of a video; times are on the file's clock, the end is exclusive.

    Attributes:
        scores: (K,) float32 in [0, 1].
        motion_box: (left, top, right, bottom) of the motion crop as fractions of the frame.
        distance: from the training windows, see `TrainingReference`; None where they are not
            stored.

    Raises:
        ShapeError: scores are not (K,) or leave [0, 1].
    """

    start_seconds: float
    end_seconds: float
    scores: FloatArray
    motion_box: tuple[float, float, float, float] = (0.0, 0.0, 1.0, 1.0)
    distance: float | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "scores", _checked_scores(self.scores, "WindowScores.scores", 1))
        object.__setattr__(self, "motion_box", tuple(float(side) for side in self.motion_box))


@dataclass(frozen=True, eq=False)
class Timeline(_ByContents):
    """Scores over time, constant in each step ``[edges_seconds[n], edges_seconds[n + 1])``.

    Attributes:
        edges_seconds: (N + 1,) float64, rising.
        scores: (N, K) float32 in [0, 1].
        is_unknown: (N,) bool, steps that are unlike the training videos; None where that was not
            looked for.
        changes: (C, 3) float64, column of a label, seconds and size of a change, see
            `changes_of_labels`; by default none.

    Raises:
        ShapeError: the arrays do not fit together, edges do not rise, or scores leave [0, 1].
    """

    edges_seconds: SecondsArray
    scores: FloatArray
    is_unknown: NDArray[np.bool_] | None = None
    changes: NDArray[np.float64] = field(default_factory=lambda: np.zeros((0, 3)))

    def __post_init__(self) -> None:
        changes = np.asarray(self.changes, dtype=np.float64).reshape(-1, 3)
        object.__setattr__(self, "changes", changes)
        edges = np.asarray(self.edges_seconds, dtype=np.float64)
        scores = _checked_scores(self.scores, "Timeline.scores", 2)
        rises = bool((np.diff(edges) > 0).all())
        if len(scores) == 0 or edges.shape != (len(scores) + 1,) or not rises:
            raise ShapeError(
                f"Timeline.edges_seconds: found shape {edges.shape}, "
                f"expected N + 1 rising times for scores {scores.shape}, N at least 1"
            )
        object.__setattr__(self, "edges_seconds", edges)
        object.__setattr__(self, "scores", scores)
        if self.is_unknown is not None:
            flags = np.asarray(self.is_unknown, dtype=np.bool_)
            if flags.shape != (len(scores),):
                raise ShapeError(
                    f"Timeline.is_unknown: found {flags.shape}, expected ({len(scores)},)"
                )
            object.__setattr__(self, "is_unknown", flags)

    def __len__(self) -> int:
        return len(self.scores)

    @property
    def unknown_intervals(self) -> list[tuple[float, float]]:
        """Where the video is unlike the training videos, [start, end) in seconds."""
        if self.is_unknown is None:
            return []
        changes = np.flatnonzero(np.diff(self.is_unknown, prepend=False, append=False))
        times = self.edges_seconds[changes].tolist()
        return list(zip(times[::2], times[1::2], strict=True))

    @property
    def unknown_share(self) -> float:
        """Share of the time, 0 to 1, that is unlike the training videos."""
        if self.is_unknown is None:
            return 0.0
        return float(np.average(self.is_unknown, weights=np.diff(self.edges_seconds)))

    def scores_at(self, times_seconds: SecondsArray) -> FloatArray:
        """(M, K) float32 scores at (M,) times; outside the timeline, those of the nearest step."""
        steps = np.searchsorted(self.edges_seconds, times_seconds, side="right") - 1
        return np.asarray(self.scores[np.clip(steps, 0, len(self) - 1)])


@dataclass(frozen=True)
class Segment:
    """An interval in which a label is present; times as of `WindowScores`.

    Attributes:
        score: mean score of the label over the segment, in [0, 1].
    """

    label: str
    start_seconds: float
    end_seconds: float
    score: float


_TimedT = TypeVar("_TimedT", WindowScores, Segment)


@dataclass(frozen=True)
class Novelty:
    """The out-of-distribution score of a video.

    Attributes:
        share: of the training videos that are nearer to the others than this video is, 0 to 1.
        distance: median over the windows of the distance from the training windows.
        is_unlike: whether the share is so high that the scores may mean nothing.
    """

    share: float
    distance: float
    is_unlike: bool

    @property
    def warning(self) -> str:
        """A sentence for readers; empty unless `is_unlike`."""
        if not self.is_unlike:
            return ""
        nearer = "all" if self.share == 1 else f"{self.share:.1%}"
        return (
            "possibly out of distribution: farther from the training videos than "
            f"{nearer} of them are from one another"
        )


@dataclass(frozen=True)
class VideoPredictions:
    """All predictions for one video.

    Attributes:
        path: the video as it was given.
        labels: names of the K score columns.
        duration_seconds: end of the file; it may have sound and no pictures at its start or end.
        width: pixels, upright; as is the height.
        stride_seconds: time between the starts of windows.
        windows: in time order.
        timeline: the windows merged; from the first picture to the last.
        segments: in order of start.
        thresholds: (K,) score of each label from which it counts as present.
        single_label: whether exactly one label holds at a time (softmax) or any number (sigmoid).
        provenance: model, label and config digests, versions, settings; JSON values only.
        notes: for readers, for example that the end of the file is damaged.
        novelty: None where the model does not store its training videos.
        unproven: labels that the model was not shown to recognise, in general or for these actors,
            each with the reason. They are in no segment unless asked for.
        actors: kinds of actors, the likeliest first, by their share of the training windows nearest
            to the video's; empty where all of it is unknown, or the model does not know kinds.
        shown: intervals of which there are pictures, in order; by default that of the timeline.
        clock: what all times count from: ``file``, its clock as players show it; ``first_frame`` in
            results of schema versions below 4.
        is_partial: whether pictures of a damaged file are missing.
        answers: of large models that were asked about parts of it, in order of start.

    Raises:
        ShapeError: the parts do not have the same K, or a segment has an unknown label.
    """

    path: str
    labels: LabelSet
    duration_seconds: float
    width: int
    height: int
    window_seconds: float
    stride_seconds: float
    windows: tuple[WindowScores, ...]
    timeline: Timeline
    segments: tuple[Segment, ...]
    thresholds: tuple[float, ...]
    single_label: bool = False
    provenance: dict[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    novelty: Novelty | None = None
    unproven: dict[str, str] = field(default_factory=dict)
    actors: dict[str, float] = field(default_factory=dict)
    shown: tuple[tuple[float, float], ...] = ()
    clock: str = "file"
    is_partial: bool = False
    answers: tuple[Answer, ...] = ()

    def __post_init__(self) -> None:
        for name in ("windows", "segments", "notes", "answers"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        object.__setattr__(self, "thresholds", tuple(float(value) for value in self.thresholds))
        edges = self.timeline.edges_seconds
        shown = self.shown or [(edges[0], edges[-1])]
        object.__setattr__(self, "shown", tuple((float(a), float(b)) for a, b in shown))
        widths = {len(window.scores) for window in self.windows}
        widths |= {self.timeline.scores.shape[1], len(self.thresholds)}
        if widths != {len(self.labels)}:
            raise ShapeError(
                f"{self.path}: windows, timeline and thresholds have {sorted(widths)} columns, "
                f"expected {len(self.labels)}, one for each label"
            )
        unknown = sorted({item.label for item in self.segments} - set(self.labels))
        if unknown:
            raise ShapeError(f"{self.path}: segments of unknown label(s) {unknown}")

    @property
    def warnings(self) -> tuple[str, ...]:
        """The notes, and how much of the video is unlike the training videos."""
        warning = self.novelty.warning if self.novelty else ""
        share = self.timeline.unknown_share
        if self.timeline.is_unknown is not None:
            warning = "" if share < _WORTH_A_NOTE else f"{share:.0%} of it is {UNKNOWN_TEXT}"
        return (*self.notes, warning) if warning else self.notes

    @property
    def fps(self) -> float | None:
        """Frames a second that the user stated for videos that do not."""
        settings = self.provenance.get("settings")
        return settings.get("fps") if isinstance(settings, dict) else None

    @property
    def withheld(self) -> dict[str, str]:
        """The `unproven` labels and reasons; none where `include_weak` had them reported."""
        settings = self.provenance.get("settings")
        options = settings.get("segments") if isinstance(settings, dict) else None
        return {} if isinstance(options, dict) and options.get("include_weak") else self.unproven

    def peaks(self, count: int) -> list[Segment]:
        """The highest score of a label and the step of the timeline in which it is reached.

        At most ``count`` labels, those with the highest scores anywhere in the video, best first.
        """
        steps = self.timeline.scores.argmax(axis=0)  # (K,)
        best = self.timeline.scores.max(axis=0)  # (K,)
        starts, ends = self.timeline.edges_seconds[steps], self.timeline.edges_seconds[steps + 1]
        return [
            Segment(self.labels.names[k], float(starts[k]), float(ends[k]), float(best[k]))
            for k in np.argsort(-best, kind="stable")[:count]
        ]

    def moved(self, seconds: float, duration_seconds: float) -> VideoPredictions:
        """The same on the clock of a file whose first frame is shown at ``seconds``."""

        def later(item: _TimedT) -> _TimedT:
            start, end = item.start_seconds + seconds, item.end_seconds + seconds
            return replace(item, start_seconds=start, end_seconds=end)

        timeline = self.timeline
        edges = timeline.edges_seconds + seconds
        changes = timeline.changes + np.array([0, seconds, 0])
        return replace(
            self,
            duration_seconds=duration_seconds,
            windows=tuple(map(later, self.windows)),
            segments=tuple(map(later, self.segments)),
            timeline=replace(timeline, edges_seconds=edges, changes=changes),
            shown=tuple((start + seconds, end + seconds) for start, end in self.shown),
            clock="file",
        )

    def with_answers(self, answers: Iterable[Answer]) -> VideoPredictions:
        """The same with more answers.

        They replace those to the same questions, and failures of any model over the same interval.
        """
        new = {answer.question: answer for answer in answers}
        asked = {question[:2] for question in new}
        old = {a.question: a for a in self.answers if not (a.error and a.question[:2] in asked)}
        found = old | new
        return replace(self, answers=tuple(found[question] for question in sorted(found)))

    def to_json(self) -> str:
        """Strict JSON, one line for each field; `from_json` gives back an equal object."""
        document = {
            "schema_version": SCHEMA_VERSION,
            "path": self.path,
            **{name: getattr(self, name) for name in PLAIN_FIELDS},
            "labels": list(self.labels),
            "thresholds": list(self.thresholds),
            "segments": [asdict(item) for item in self.segments],
            "notes": list(self.notes),
            "novelty": self.novelty and asdict(self.novelty),
            "unproven": self.unproven,
            "actors": self.actors,
            "shown": [list(interval) for interval in self.shown],
            # Only where a model was asked.
            **({"answers": [asdict(item) for item in self.answers]} if self.answers else {}),
            "provenance": self.provenance,
            "timeline": {
                "edges_seconds": self.timeline.edges_seconds.tolist(),
                "scores": _plain(self.timeline.scores),
                "is_unknown": None
                if (flags := self.timeline.is_unknown) is None
                else flags.tolist(),
                "changes": [[int(k), *item] for k, *item in self.timeline.changes.tolist()],
            },
            "windows": [
                {
                    "start_seconds": window.start_seconds,
                    "end_seconds": window.end_seconds,
                    "motion_box": list(window.motion_box),
                    "distance": window.distance,
                    "scores": _plain(window.scores),
                }
                for window in self.windows
            ],
        }
        # ASCII only: a file name that is not UTF-8 survives as an escaped surrogate.
        lines = (
            f"{json.dumps(key)}: {json.dumps(value, allow_nan=False)}"
            for key, value in document.items()
        )
        return "{\n" + ",\n".join(lines) + "\n}\n"

    @classmethod
    def from_json(cls, text: str) -> VideoPredictions:
        """Rebuild from `to_json`; raises `DatasetError` for anything else or a newer schema."""
        document = _parsed(text)
        try:
            return cls(
                labels=LabelSet(tuple(document.pop("labels"))),
                timeline=Timeline(**document.pop("timeline")),
                windows=tuple(WindowScores(**item) for item in document.pop("windows")),
                segments=tuple(Segment(**item) for item in document.pop("segments")),
                novelty=Novelty(**found) if (found := document.pop("novelty")) else None,
                answers=tuple(Answer(**item) for item in document.pop("answers", ())),
                **document,
            )
        except _DAMAGES as error:
            raise DatasetError(
                f"not a complete msqnet result: {error}; predict the video again"
            ) from error

    def write(self, stem: Path) -> tuple[Path, ...]:
        """Write the files of `result_names`, replacing existing ones; returns their paths.

        All are written aside before any appears. The JSON comes last: where it is, all are.
        Folders are created.
        """
        paths = tuple(stem.with_name(name) for name in result_names(stem.name))
        json_path, segments_path, scores_path = paths
        edges, scores = self.timeline.edges_seconds, self.timeline.scores
        flags = self.timeline.is_unknown
        columns: Columns = [
            ("start_seconds", "float64", edges[:-1]),
            ("end_seconds", "float64", edges[1:]),
            *((name, "float32", scores[:, k]) for k, name in enumerate(self.labels)),
            ("is_unknown", "bool", [None] * len(scores) if flags is None else flags),
        ]
        about = {"path": self.path, "provenance": self.provenance, "notes": list(self.notes)}
        stem.parent.mkdir(parents=True, exist_ok=True)
        with replacing(json_path) as json_part, replacing(segments_path) as segments_part:
            json_part.write_text(self.to_json(), encoding="ascii")
            segments_part.write_text(self.segments_csv(), "utf-8", "surrogateescape", newline="")
            with replacing(scores_path) as scores_part:
                write_parquet(scores_part, columns, {"msqnet": json.dumps(about)})
        return paths

    def to_dataframe(self) -> DataFrame:
        """The segments in pandas, with `SEGMENT_COLUMNS`; without it a `MissingExtra`."""
        with needs_extra("VideoPredictions.to_dataframe", extra="pandas"):
            import pandas as pd
        rows = [(self.path, *astuple(item)) for item in self.segments]
        numbers = dict.fromkeys(SEGMENT_COLUMNS[2:], "float64")  # also where there is no row
        return pd.DataFrame(rows, columns=list(SEGMENT_COLUMNS)).astype(numbers)

    def _repr_html_(self) -> str:
        """The picture that notebooks show of it: see `ethogram_html`."""
        return ethogram_html(
            PurePath(self.path).name,
            self.duration_seconds,
            self.labels,
            [astuple(item) for item in self.segments],
            self.timeline.unknown_intervals,
            self.warnings,
            self.withheld,
        )

    def segments_csv(self) -> str:
        """The segments as CSV, with the columns `SEGMENT_COLUMNS`."""
        text = io.StringIO()
        csv_writer(text).writerow(SEGMENT_COLUMNS)
        rows = ((self.path, *astuple(item)) for item in self.segments)
        csv_writer(text, self.path).writerows(rows)
        return text.getvalue()


def _parsed(text: str) -> dict[str, Any]:
    """The fields of a result document, without its schema version."""
    try:
        document = json.loads(text)
    except json.JSONDecodeError as error:
        raise DatasetError(f"not JSON: {error}; predict the video again") from error
    version = document.pop("schema_version", None) if isinstance(document, dict) else None
    if not isinstance(version, int):
        raise DatasetError("not an msqnet result: it has no schema_version")
    if version > SCHEMA_VERSION:
        raise DatasetError(
            f"result of schema version {version}, but this msqnet reads up to {SCHEMA_VERSION}; "
            "upgrade msqnet or predict the video again"
        )
    if version < 2:
        document["novelty"] = None  # models had no such score then
    if version < 3:
        document["unproven"] = document["actors"] = {}
    if version < 4:
        document |= {"clock": "first_frame", "is_partial": bool(document.get("notes"))}
    return dict(document)


def result_names(name: str) -> tuple[str, ...]:
    """Names of the result files of a video, in the order of `RESULT_SUFFIXES`."""
    return tuple(name + suffix for suffix in RESULT_SUFFIXES)
