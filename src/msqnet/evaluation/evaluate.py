"""Scores for the rows of a table, from the same clips and the same backend as prediction."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msqnet.config import ViewConfig
from msqnet.errors import VocabularyError
from msqnet.evaluation.result import EvaluationResult, evaluate_rows
from msqnet.evaluation.rows import EvaluationRows, evaluation_rows
from msqnet.evaluation.views import check_views, merge_views, row_clips, score_clips

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import numpy as np

    from msqnet.data.records import ClipTable
    from msqnet.inference.backends import Backend

_NOT_ASKED_FOR = (
    "the model does not have this label (an open-vocabulary model is asked for it by --labels)"
)


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
    return dict.fromkeys(missing, _NOT_ASKED_FOR)


def score_rows(
    table: ClipTable,
    backend: Backend,
    *,
    batch_size: int = 8,
    views: ViewConfig | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> np.ndarray:
    """Scores of every row: its window, T frames at the centres of T equal segments.

    Args:
        table: the rows.
        backend: the model.
        batch_size: clips at a time; changes no score.
        views: how often each row is looked at; by default once. See `msqnet.evaluation.views`.
        progress: called with (rows done, rows in all).

    Returns:
        (V, K) float32 in [0, 1].

    Raises:
        ConfigError: views that the model cannot be given.
        VideoError: a video cannot be read; an evaluation leaves nothing out silently.
    """
    views = views or ViewConfig()
    config = backend.clip_config
    check_views(views, config)

    def clips_done(num_clips: int) -> None:
        if progress is not None:
            progress(num_clips // views.num_views, len(table))

    clips = (clip for record in table.records for clip in row_clips(record, config, views))
    scores = score_clips(clips, backend, batch_size=batch_size, progress=clips_done)
    return merge_views(scores, views)


def evaluate_scores(
    rows: EvaluationRows,
    backend: Backend,
    *,
    has_top_k: bool | None = None,
    num_bootstrap: int = 1000,
    labels_not_in_model: Mapping[str, str] | None = None,
) -> EvaluationResult:
    """Figures of rows that a model has scored.

    Args:
        rows: scores and targets.
        backend: the model; gives thresholds and the counts of its training data.
        has_top_k: whether top-1 and top-5 are given; None where the model has one label a row.
        num_bootstrap: resamples for the intervals.
        labels_not_in_model: see `evaluate_rows`.

    Raises:
        ShapeError: see `evaluate_rows`.
    """
    return evaluate_rows(
        rows,
        thresholds=backend.thresholds,
        train_positive_windows=backend.train_positive_windows,
        train_negative_windows=backend.train_negative_windows,
        single_label=backend.single_label if has_top_k is None else has_top_k,
        num_bootstrap=num_bootstrap,
        labels_not_in_model=labels_not_in_model,
    )


def evaluate_table(
    table: ClipTable,
    backend: Backend,
    *,
    batch_size: int = 8,
    views: ViewConfig | None = None,
    strict_labels: bool = False,
    num_bootstrap: int = 1000,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[EvaluationResult, np.ndarray]:
    """Evaluate a model on the rows of a table; `evaluate_protocol` does so by a named protocol.

    Args:
        table: the rows.
        backend: the model.
        batch_size: clips at a time.
        views: how often each row is looked at; by default once.
        strict_labels: a label that the model lacks is an error.
        num_bootstrap: resamples for the intervals.
        progress: see `score_rows`.

    Returns:
        The figures, and the scores (V, K) behind them.

    Raises:
        VocabularyError: see `missing_labels`.
        ConfigError: see `score_rows`.
        VideoError: see `score_rows`.
    """
    missing = missing_labels(table, backend, strict=strict_labels)
    scores = score_rows(table, backend, batch_size=batch_size, views=views, progress=progress)
    rows = evaluation_rows(table, backend.labels, scores, table.targets(backend.labels))
    result = evaluate_scores(
        rows, backend, num_bootstrap=num_bootstrap, labels_not_in_model=missing
    )
    return result, scores
