"""The shipped model beside linear probes on frozen features, on the same rows in one run.

    python benchmarks/linear_probe.py --data mixed_actors.csv --model mixed-actors-lite

A probe is one logistic regression a label (C 0.01, balanced, standardised features, known rows
only) on mean, standard deviation and mean absolute frame difference of the frozen features of
EfficientNet-Lite0 for 8 frames a window: of the whole frames, and with the close-up of what moves
beside them.
Figures are macro mAP over the labels with a positive in both splits, and over the well-supported
ones, on the table's `test` rows; differences are from a paired bootstrap over clips.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from msqnet.cli.main import exit_code_of
from msqnet.clips import ClipBatch
from msqnet.data.dataset import read_window
from msqnet.data.table import read_table
from msqnet.evaluation.row_metrics import evaluate_rows
from msqnet.evaluation.scored_rows import EvaluationRows
from msqnet.evaluation.views import score_rows
from msqnet.inference.torch_backends import TorchBackend
from msqnet.metrics.average_precision import known_cells, label_average_precisions, mean_over_labels
from msqnet.metrics.bootstrap import percentile_interval, resampled_weights
from msqnet.model.registry import encoder_spec
from msqnet.model.video_encoders.lite import (
    LiteBackbone,
    load_published_state_dict,
    pretrained_state_dict,
    video_statistics,
)
from msqnet.models import model_folder
from msqnet.video.transforms import evaluation_clip

if TYPE_CHECKING:
    from msqnet.data.records import ClipTable
    from msqnet.labels import LabelSet

NUM_FRAMES = 8
STRENGTH = 0.01


def probe_features(table: ClipTable) -> np.ndarray:
    """(V, 2 * 3 * 1280) statistics: whole frames first, then the close-up."""
    trunk = LiteBackbone(grid_size=1).eval()
    load_published_state_dict(trunk.network, pretrained_state_dict())
    clip_config = replace(encoder_spec("lite").recipe().clip, num_frames=NUM_FRAMES, closeup=True)
    rows = []
    with torch.inference_mode():
        for record in table.records:
            batch = ClipBatch.stack(
                [evaluation_clip(read_window(record, clip_config), clip_config)]
            )
            views = [batch.pixels, batch.motion_crops]
            pooled = torch.stack([trunk(view.flatten(0, 1))[1] for view in views])  # (2, T, 1280)
            rows.append(video_statistics(pooled[None])[0].numpy())
    return np.stack(rows)


def probe_scores(train: np.ndarray, targets: np.ndarray, test: np.ndarray) -> np.ndarray:
    """(V, K) probabilities of one balanced logistic regression a label."""
    scaler = StandardScaler().fit(train)
    train, test = scaler.transform(train), scaler.transform(test)
    scores = np.zeros((len(test), targets.shape[1]))
    for label in range(targets.shape[1]):
        known = targets[:, label] >= 0
        if len(set(targets[known, label])) < 2:
            continue
        probe = LogisticRegression(C=STRENGTH, class_weight="balanced", max_iter=1000)
        probe.fit(train[known], targets[known, label])
        scores[:, label] = probe.predict_proba(test)[:, 1]
    return scores


def macro_map_difference(
    first: np.ndarray, second: np.ndarray, targets: np.ndarray, clips: list[str]
) -> dict[str, object]:
    """Macro mAP of one scorer less that of another, both on the same resampled clips."""
    every = np.ones(targets.shape[1], dtype=np.bool_)

    def difference(weights: np.ndarray) -> np.ndarray:
        """(R, V) row weights to (R,)."""
        one, other = (
            mean_over_labels(label_average_precisions(known_cells(s, targets), weights), every)
            for s in (first, second)
        )
        return one - other

    samples = np.concatenate([difference(weights) for weights in resampled_weights(clips)])
    defined = samples[~np.isnan(samples)]
    low, high = percentile_interval(samples[:, None])
    return {
        "difference": float(difference(np.ones((1, len(targets))))[0]),
        "interval": [float(low[0]), float(high[0])],
        "share_not_better": float((defined <= 0).mean()),
    }


def shown(value: float | None) -> str:
    """Three digits, or that no label had enough rows."""
    return "undefined (no such label)" if value is None else f"{value:.3f}"


def main() -> None:
    """Print and, where asked, write the comparison."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--data", required=True, help="table with the splits train and test")
    parser.add_argument("--model", default=None, help="finished model; the shipped one by default")
    parser.add_argument("--out", default=None, help="JSON file for the figures")
    settings = parser.parse_args()
    table = read_table(settings.data)
    train, test = table.select("train"), table.select("test")
    backend = TorchBackend.from_pretrained(model_folder(settings.model))
    labels: LabelSet = backend.labels
    train_targets, targets = train.targets(labels), test.targets(labels).astype(np.float64)
    train_features, test_features = probe_features(train), probe_features(test)
    half = train_features.shape[1] // 2
    scores = {
        "model": score_rows(test, backend).astype(np.float64),
        "probe": probe_scores(train_features[:, :half], train_targets, test_features[:, :half]),
        "probe with close-up": probe_scores(train_features, train_targets, test_features),
    }
    figures = {}
    for name, values in scores.items():
        rows = EvaluationRows(
            labels=labels,
            scores=values,
            targets=targets,
            table=test,
        )
        result = evaluate_rows(
            rows, thresholds=0.5, train_positive_windows=(train_targets == 1).sum(axis=0)
        )
        metrics = result.metrics
        figures[name] = {
            "macro_map": metrics["macro_map"],
            "well_supported_macro_map": metrics["well_supported_macro_map"],
            "macro_map_interval": metrics["intervals"]["macro_map"],
        }
        macro, well = metrics["macro_map"], metrics["well_supported_macro_map"]
        print(f"{name:>20}: macro mAP {shown(macro)}, well supported {shown(well)}")
    for name in ("probe", "probe with close-up"):
        found = macro_map_difference(scores["model"], scores[name], targets, test.clip_ids())
        figures[f"model minus {name}"] = found
        low, high = found["interval"]
        print(
            f"model minus {name}: {found['difference']:+.3f}, 95 % interval {low:+.3f} to "
            f"{high:+.3f}; not better in {found['share_not_better']:.1%} of resamples"
        )
    if settings.out:
        Path(settings.out).write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    sys.exit(exit_code_of(main))
