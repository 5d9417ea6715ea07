"""A model under a named protocol: what is scored, the figures, and the protocol's name on them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from msqnet.errors import ConfigError, DatasetError
from msqnet.evaluation.evaluate import evaluate_scores, missing_labels, score_rows
from msqnet.evaluation.oracle import score_oracle
from msqnet.evaluation.plain import plain
from msqnet.evaluation.protocol_figures import PROTOCOL_FIGURES, protocol_figures
from msqnet.evaluation.rows import ScoredRows, evaluation_rows
from msqnet.evaluation.whole_videos import score_points, score_windows

if TYPE_CHECKING:
    from collections.abc import Callable

    from msqnet.config import ViewChoice, ViewConfig
    from msqnet.data.records import ClipTable
    from msqnet.evaluation.protocols import Protocol
    from msqnet.evaluation.result import EvaluationResult
    from msqnet.inference.predictor import Predictor


def evaluate_protocol(
    table: ClipTable,
    predictor: Predictor,
    protocol: Protocol,
    *,
    views: ViewChoice | None = None,
    batch_size: int = 8,
    strict_labels: bool = False,
    num_bootstrap: int = 1000,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[EvaluationResult, ScoredRows]:
    """Evaluate a model on a table by a protocol.

    Args:
        table: the rows.
        predictor: the model with its windows.
        protocol: one of `msqnet.evaluation.protocols.PROTOCOLS`, but for `timeline`, which
            `evaluate_timelines` gives.
        views: instead of the protocol's own, where its scores are not over time.
        batch_size: clips at a time; changes no figure.
        strict_labels: a label that the model lacks is an error.
        num_bootstrap: resamples for the intervals.
        progress: called with (rows or videos done, rows or videos in all).

    Returns:
        The figures with ``protocol`` among them, and the scores behind them.

    Raises:
        ConfigError: views that the protocol or the model has no use for.
        DatasetError: rows of another kind than the protocol scores.
        VocabularyError: see `missing_labels`.
        VideoError: a video cannot be read.
    """
    chosen = protocol.views_with(views)
    backend = predictor.backend
    missing = missing_labels(table, backend, strict=strict_labels)
    scored = _score(table, predictor, protocol, chosen, batch_size, progress)
    result = evaluate_scores(
        scored.rows,
        backend,
        has_top_k=protocol.has_top_k,
        num_bootstrap=num_bootstrap,
        labels_not_in_model=missing,
    )
    description = protocol.describe(chosen)
    if protocol.unit in ("windows", "points"):
        description["window_seconds"] = predictor.window_seconds
        description["stride_seconds"] = predictor.stride_seconds
    return _named(result, scored, protocol, description), scored


def _score(
    table: ClipTable,
    predictor: Predictor,
    protocol: Protocol,
    views: ViewConfig | None,
    batch_size: int,
    progress: Callable[[int, int], None] | None,
) -> ScoredRows:
    backend = predictor.backend
    if protocol.unit == "oracle":
        return score_oracle(table, backend, batch_size=batch_size, progress=progress)
    if protocol.unit == "points":
        return score_points(table, predictor, progress=progress)
    if views is None:
        raise ConfigError(f"protocol {protocol.name}: evaluate_timelines gives its figures")
    if protocol.unit == "windows":
        return score_windows(table, predictor, views.merge, progress)
    if protocol.unit == "videos":
        _need_whole_videos(table, protocol)
    scores = score_rows(table, backend, batch_size=batch_size, views=views, progress=progress)
    records = table.records
    return ScoredRows(
        evaluation_rows(table, backend.labels, scores, table.targets(backend.labels)),
        [record.row for record in records],
        [record.start_seconds for record in records],
        [record.end_seconds for record in records],
    )


def _need_whole_videos(table: ClipTable, protocol: Protocol) -> None:
    timed = [r.row for r in table.records if (r.start_seconds, r.end_seconds) != (None, None)]
    if timed:
        raise DatasetError(
            f"{table.path}: row {timed[0]} has start or end, and so have {len(timed)} rows in all; "
            f"protocol {protocol.name} scores whole videos, for instance from 'msqnet convert ... "
            "--option level=videos'"
        )


def _named(
    result: EvaluationResult, scored: ScoredRows, protocol: Protocol, description: dict[str, Any]
) -> EvaluationResult:
    """The figures with the protocol's own ones, its name and its definition in every file."""
    rows = scored.rows
    extra = protocol_figures((protocol.headline, *protocol.beside), rows.scores, rows.targets)
    definitions = {name: PROTOCOL_FIGURES[name].definition for name in extra}
    metrics = {
        "protocol": description,
        **result.metrics,
        **extra,
        "notes": scored.notes,
        "definitions": {**result.metrics["definitions"], **definitions},
    }
    note = {"protocol": protocol.name, "protocol_definition": protocol.definition}
    return replace(
        result,
        metrics=plain(metrics),
        per_label=[row | note for row in result.per_label],
    )
