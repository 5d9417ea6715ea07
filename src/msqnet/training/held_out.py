"""Rows kept aside: how they are chosen, and how they calibrate the finished model."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from msqnet.data.records import UNKNOWN
from msqnet.data.splits import grouped_folds, grouped_validation_split
from msqnet.metrics.average_precision import average_precision, macro_map
from msqnet.metrics.scaling import PlattScaling, best_f1_thresholds, fit_platt
from msqnet.training.run import typical_window

if TYPE_CHECKING:
    from collections.abc import Callable

    from msqnet.model.configuration import MSQNetConfig
    from msqnet.model.pretrained import MSQNet
    from msqnet.training.run import Run

_logger = logging.getLogger(__name__)
# Without a bound, the best F1 of a label that cannot be told is reached by flagging everything.
_MIN_PRECISION = 0.3
_QUERY_SHARES = (0.0, 0.25, 0.5, 0.75, 0.9, 1.0)

Part = tuple[np.ndarray, np.ndarray]
"""Rows to train on, and rows held out."""


def partition(run: Run) -> list[Part]:
    """The folds, or the one validation part; rows of a group stay together."""
    if not run.train.folds:
        if not run.train.validation_share:
            return [(np.arange(len(run.table)), np.zeros(0, np.int64))]
        return [
            grouped_validation_split(
                run.table, run.labels, share=run.train.validation_share, seed=run.train.seed
            )
        ]
    num_groups = len(set(run.table.group_ids()))
    num_folds = max(2, min(run.train.folds, num_groups))
    if num_folds < run.train.folds:
        _logger.warning(
            "%d groups of clips: %d folds, not %d", num_groups, num_folds, run.train.folds
        )
    fold_of = grouped_folds(
        run.table,
        run.labels,
        num_folds=num_folds,
        seed=run.train.seed,
    )
    return [
        (np.flatnonzero(fold_of != fold), np.flatnonzero(fold_of == fold))
        for fold in range(num_folds)
    ]


@dataclass(frozen=True)
class HeldOut:
    """What models said of rows that they were not trained on.

    Attributes:
        rows: (V,) positions in the table.
        parts: (2, V, K) logits, see `part_logits`.
        targets: (V, K) of 1, 0 and -100, see `scorable_targets`.
    """

    rows: np.ndarray
    parts: np.ndarray
    targets: np.ndarray


def scorable_targets(run: Run, train_rows: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Targets of held-out rows; unknown where the model that scored them never saw the label.

    A label that lives in one group has no positive left to train on while that group is held out.
    Its logits there say nothing of the finished model, which did see it.
    """
    targets: np.ndarray = run.targets[rows].copy()
    never_seen = ~(run.targets[train_rows] == 1).any(axis=0)
    targets[:, never_seen] = UNKNOWN
    return targets


def _best_share(parts: np.ndarray, targets: np.ndarray) -> tuple[float, dict[float, float]]:
    """The weight of the direct path that ranks held-out rows best, and the macro mAP of each."""
    values = {
        share: macro_map(average_precision((1 - share) * parts[0] + share * parts[1], targets))
        for share in _QUERY_SHARES
    }
    return max(values, key=lambda share: np.nan_to_num(values[share])), values


def describe_training(run: Run, config: MSQNetConfig) -> None:
    """What the model was trained on, into its configuration."""
    known = run.targets
    config.train_positive_windows = (known == 1).sum(axis=0).tolist()
    config.train_negative_windows = (known == 0).sum(axis=0).tolist()
    config.window_seconds = typical_window(run.table)
    config.provenance = run.provenance


def _calibrate(config: MSQNetConfig, logits: np.ndarray, targets: np.ndarray) -> None:
    """Platt scaling and thresholds; one scaling for all labels of an open vocabulary.

    A label that is asked for later has no held-out rows, so it must do with what holds for all.
    """
    if config.is_open:
        shared = fit_platt(logits.reshape(-1, 1), targets.reshape(-1, 1))
        scale, bias = (np.full(logits.shape[1], part[0]) for part in (shared.scale, shared.bias))
    else:
        each = fit_platt(logits, targets)
        scale, bias = each.scale, each.bias
    scores = PlattScaling(scale, bias).apply(logits)
    config.calibration_scale, config.calibration_bias = scale.tolist(), bias.tolist()
    config.thresholds = best_f1_thresholds(scores, targets, min_precision=_MIN_PRECISION).tolist()


def calibrate_and_describe(
    run: Run, model: MSQNet, held_out: HeldOut, report: Callable[[str], None]
) -> None:
    """Weigh the parts, calibrate and set thresholds on held-out rows; write what they showed."""
    parts, targets = held_out.parts, held_out.targets
    config = model.config
    describe_training(run, config)
    if model.query_head is not None:
        config.query_share, values = _best_share(parts, targets)
        shown = ", ".join(f"{share:g}: {value:.3f}" for share, value in values.items())
        report(f"macro mAP by share of the direct path: {shown}")
    logits = (1 - config.query_share) * parts[0] + config.query_share * parts[1]
    if run.task == "multi_label" or config.is_open:
        _calibrate(config, logits, targets)
    precision = average_precision(logits, targets)
    not_calibrated = [
        name
        for name, column in zip(run.labels, targets.T, strict=True)
        if not (column == 1).any() or not (column == 0).any()
    ]
    summary = {
        "what": "cross-validation by groups inside the training rows"
        if run.train.folds
        else "validation part of the training rows, kept apart by groups; chose the epoch",
        "num_rows": len(held_out.rows),
        "query_share": config.query_share,
        "macro_map": _or_none(macro_map(precision)),
        "label_ap": {
            name: _or_none(value) for name, value in zip(run.labels, precision, strict=True)
        },
        "not_calibrated": not_calibrated,
    }
    np.savez(run.folder / "validation.npz", rows=held_out.rows, parts=parts, targets=targets)
    (run.folder / "validation.json").write_text(json.dumps(summary, indent=2) + "\n")
    report(f"macro mAP {summary['macro_map']} on {len(held_out.rows)} rows ({summary['what']})")
    if not_calibrated:
        names = ", ".join(not_calibrated)
        report(f"not calibrated, threshold 0.5 (seen in one group only): {names}")


def _or_none(value: float) -> float | None:
    return None if np.isnan(value) else round(float(value), 4)
