"""Reading a folder of results: predicted videos, failures, an evaluation."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msqnet.documents import read_json
from msqnet.errors import DatasetError
from msqnet.evaluation.scored_rows import (
    METRICS_FILE,
    PER_LABEL_FILE,
    SCORES_FILE,
    ScoreTables,
    read_score_tables,
)
from msqnet.inference.results import (
    INDEX_FILE,
    OUTPUT_SEPARATOR,
    on_file_clock,
    read_index,
)
from msqnet.predictions import RESULT_SUFFIXES, VideoPredictions

if TYPE_CHECKING:
    from collections.abc import Callable

TIMELINE_FILE = "timeline.json"
ETHOGRAM_FOLDER = "ethograms"
"""Pictures of annotated and predicted segments, beside it."""
_JSON_SUFFIX = RESULT_SUFFIXES[0]


@dataclass(frozen=True)
class PredictedVideo:
    """One result of `msqnet predict`, by its path in its folder, without the suffix of results.

    ``status`` is that of the index, `ok` where there is none; ``file`` the video, if still there.
    """

    name: str
    predictions: VideoPredictions
    status: str
    file: Path


@dataclass(frozen=True)
class Failure:
    """An input, by its name, without a result, or a result that cannot be read."""

    name: str
    cause: str


@dataclass(frozen=True)
class EvaluationFolder:
    """`metrics.json`, the texts of `per_label.csv`, and `scores.parquet` with targets, if any."""

    metrics: dict[str, Any]
    per_label: list[dict[str, str]]
    tables: ScoreTables | None


@dataclass(frozen=True)
class Results:
    """Everything in a folder of results.

    `videos` are in the order of the index, or by name. `evaluation` is of rows, and `timeline` is
    the `timeline.json` of an evaluation of whole videos, whose pictures are ``ethograms``.
    """

    folder: Path
    videos: tuple[PredictedVideo, ...]
    failures: tuple[Failure, ...]
    evaluation: EvaluationFolder | None
    timeline: dict[str, Any] | None
    ethograms: tuple[Path, ...] = ()


def read_results(folder: Path, progress: Callable[[int, int], None] | None = None) -> Results:
    """Read a folder that `msqnet predict --out` or `msqnet evaluate --out` wrote, or both.

    ``progress`` is called with (results read, results in all). No such folder, nothing in it that
    msqnet wrote, or a damaged evaluation, is a `DatasetError`; a damaged result of one video is a
    failure in the list instead.
    """
    if not folder.is_dir():
        raise DatasetError(f"{folder}: no such folder; give the one that --out named")
    videos, failures = read_videos(folder, progress)
    evaluation = _read_evaluation(folder)
    timeline: dict[str, Any] | None = None
    if (folder / TIMELINE_FILE).exists():
        timeline = read_json(folder / TIMELINE_FILE, "evaluate again").members()
    if not (videos or failures or evaluation or timeline):
        raise DatasetError(
            f"{folder}: no results found (looked for {INDEX_FILE}, {METRICS_FILE}, {TIMELINE_FILE} "
            f"and *{_JSON_SUFFIX} of videos); make some by 'msqnet predict ... --out {folder}' or "
            "'msqnet evaluate ... --out'"
        )
    pictures = tuple(sorted((folder / ETHOGRAM_FOLDER).glob("*.png"))) if timeline else ()
    return Results(folder, videos, failures, evaluation, timeline, pictures)


def read_videos(
    folder: Path, progress: Callable[[int, int], None] | None = None
) -> tuple[tuple[PredictedVideo, ...], tuple[Failure, ...]]:
    """The results of `msqnet predict` in a folder, and the failures; see `read_results`."""
    rows = read_index(folder / INDEX_FILE)
    failed = [Failure(row.input, row.error) for row in rows if row.status == "error"]
    found = []
    for row in rows:
        outputs = [Path(output) for output in row.outputs.split(OUTPUT_SEPARATOR) if output]
        # An index that was tampered with must not make the report read files elsewhere.
        inside = [path for path in outputs if not path.is_absolute() and ".." not in path.parts]
        results = [folder / path for path in inside if path.name.endswith(_JSON_SUFFIX)]
        found += [(path, str(row.status)) for path in results]
    # Beside an index, results of another kind lie where an evaluation of whole videos puts them.
    for path in sorted((folder / "videos" if rows else folder).rglob(f"*{_JSON_SUFFIX}")):
        with path.open("rb") as opened:
            if b'"schema_version"' in opened.read(64):  # in the first line of a video's result
                found.append((path, "ok"))
    videos = []
    for number, (path, status) in enumerate(found, start=1):
        name = path.relative_to(folder).as_posix().removesuffix(_JSON_SUFFIX)
        try:
            predictions = VideoPredictions.from_json(path.read_text(encoding="utf-8"))
            file = Path(predictions.path)
            videos.append(PredictedVideo(name, on_file_clock(predictions, file), status, file))
        except (DatasetError, ValueError, OSError) as error:
            failed.append(Failure(name, f"its result cannot be read: {error}"))
        if progress is not None:
            progress(number, len(found))
    return tuple(videos), tuple(failed)


def _read_evaluation(folder: Path) -> EvaluationFolder | None:
    if not (folder / METRICS_FILE).exists():
        return None
    metrics = read_json(folder / METRICS_FILE, "evaluate again").members()
    if "definitions" not in metrics or not (folder / PER_LABEL_FILE).exists():
        raise DatasetError(
            f"{folder}: {METRICS_FILE} has no definitions or {PER_LABEL_FILE} is missing; "
            "evaluate again"
        )
    with (folder / PER_LABEL_FILE).open(encoding="utf-8", newline="") as file:
        per_label = list(csv.DictReader(file))
    has_scores = (folder / SCORES_FILE).exists()
    return EvaluationFolder(metrics, per_label, read_score_tables(folder) if has_scores else None)
