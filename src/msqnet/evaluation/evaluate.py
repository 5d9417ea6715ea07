"""Scores for the rows of a table, from the same clips and the same backend as prediction."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

import numpy as np

from msqnet.clips import ClipBatch
from msqnet.data.dataset import read_window
from msqnet.errors import VocabularyError
from msqnet.evaluation.result import EvaluationResult, EvaluationRows, evaluate_rows
from msqnet.video.transforms import evaluation_clip

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from msqnet.clips import Clip
    from msqnet.data.records import ClipTable
    from msqnet.inference.backends import Backend

_NOT_TRAINED = "the model does not have this label"


def missing_labels(table: ClipTable, backend: Backend, *, strict: bool) -> dict[str, str]:
    """Labels of the table that the model lacks, with the reason.

    Args:
        table: the rows to evaluate.
        backend: the model.
        strict: raise instead.

    Raises:
        VocabularyError: with ``strict``, where there are any.
    """
    missing = [name for name in table.label_names() if name not in backend.labels]
    if missing and strict:
        raise VocabularyError(
            f"{table.path}: the model does not have the label(s) {', '.join(missing)}; "
            "train it on them, or leave --strict_labels off to have them listed as not scored"
        )
    return dict.fromkeys(missing, _NOT_TRAINED)


def score_rows(
    table: ClipTable,
    backend: Backend,
    *,
    batch_size: int = 8,
    progress: Callable[[int, int], None] | None = None,
) -> np.ndarray:
    """Scores of every row: its window, T frames at the centres of T equal segments.

    Args:
        table: the rows.
        backend: the model.
        batch_size: clips at a time; changes no score.
        progress: called with (rows done, rows in all).

    Returns:
        (V, K) float32 in [0, 1].

    Raises:
        VideoError: a video cannot be read; an evaluation leaves nothing out silently.
    """

    def clips() -> Iterator[Clip]:
        for record in table.records:
            yield evaluation_clip(read_window(record, backend.clip_config), backend.clip_config)

    stream = clips()
    parts: list[np.ndarray] = []
    num_done = 0
    while batch := list(islice(stream, batch_size)):
        parts.append(backend.scores(ClipBatch.stack(batch)))
        num_done += len(batch)
        if progress is not None:
            progress(num_done, len(table))
    return np.concatenate(parts) if parts else np.zeros((0, len(backend.labels)), np.float32)


def evaluate_table(
    table: ClipTable,
    backend: Backend,
    *,
    batch_size: int = 8,
    strict_labels: bool = False,
    num_bootstrap: int = 1000,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[EvaluationResult, np.ndarray]:
    """Evaluate a model on the rows of a table.

    Args:
        table: the rows.
        backend: the model.
        batch_size: clips at a time.
        strict_labels: a label that the model lacks is an error.
        num_bootstrap: resamples for the intervals.
        progress: see `score_rows`.

    Returns:
        The figures, and the scores (V, K) behind them.

    Raises:
        VocabularyError: see `missing_labels`.
        VideoError: see `score_rows`.
    """
    missing = missing_labels(table, backend, strict=strict_labels)
    scores = score_rows(table, backend, batch_size=batch_size, progress=progress)
    rows = EvaluationRows(
        labels=backend.labels,
        scores=scores,
        targets=table.targets(backend.labels).astype(np.float64),
        path=table.clip_ids(),
        group=table.group_ids(),
        source=[record.source for record in table.records],
        actor=[record.actor for record in table.records],
    )
    result = evaluate_rows(
        rows,
        thresholds=backend.thresholds,
        train_positive_windows=backend.train_positive_windows,
        train_negative_windows=backend.train_negative_windows,
        single_label=backend.single_label,
        num_bootstrap=num_bootstrap,
        labels_not_in_model=missing,
    )
    return result, scores
