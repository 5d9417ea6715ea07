"""What fewer bits cost in average precision and gain in time, and how runtimes compare.

    python -m benchmarks.int8 --data mixed_actors.csv --split test
    python -m benchmarks.int8 --data mixed_actors.csv --split train --folds 5

Exports the model twice, in float32 and quantised on rows of `--calibration_split`, scores the rows
in float32 by ONNX Runtime, quantised by ONNX Runtime and by OpenVINO, and in bf16 by PyTorch where
the CPU has instructions for it, and prints macro mAP of each with the largest and the mean
difference of scores. Then all of them score the same clip in interleaved rounds; printed are
medians of the paired ratios to PyTorch and to ONNX Runtime in float32, of CPU and wall time.
OMP_NUM_THREADS sets the threads of all of them.

The model knows the rows that it was trained on too well to show a loss. So with `--folds`, a ridge
regression for each label on the mean and deviation of the frame features (every other frame, both
views) is fitted in float32 on all groups but a fold's, and scores that fold's rows by the features
of both graphs. Nothing else is done then.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from sklearn.linear_model import Ridge
from sklearn.model_selection import GroupKFold
from sklearn.preprocessing import StandardScaler

from benchmarks.speed.harness import Contender, StageClock, run_rounds
from msqnet.cli.main import exit_code_of
from msqnet.clips import ClipBatch
from msqnet.data.dataset import iter_clips
from msqnet.data.table import read_table
from msqnet.evaluation.row_metrics import evaluate_rows
from msqnet.evaluation.scored_rows import EvaluationRows
from msqnet.export.exporter import export_model, spread
from msqnet.inference.backends import clip_scores
from msqnet.inference.exported import ExportedBackend
from msqnet.inference.torch_backends import TorchBackend
from msqnet.model.computing import has_fast_bf16
from msqnet.models import model_folder

if TYPE_CHECKING:
    from msqnet.data.records import ClipTable
    from msqnet.inference.backends import Backend

NUM_CALIBRATION_CLIPS = 100
PROBE_STRENGTH = 3000.0
NUM_VERIFICATION_CLIPS = 4


def export_both(model: str | None, table: ClipTable, out: Path) -> tuple[Path, Path]:
    """Folders of the float32 and of the int8 export; the rows are for calibration and check."""
    folder = model_folder(model)
    config = TorchBackend.from_pretrained(folder, "cpu").clip_config
    clips = list(iter_clips(spread(table.records, NUM_CALIBRATION_CLIPS), config))
    check = clips[:NUM_VERIFICATION_CLIPS]
    export_model(folder, out / "float32", check)
    export_model(folder, out / "int8", check, calibration=clips)
    return out / "float32", out / "int8"


def macro_map(table: ClipTable, backend: Backend, scores: np.ndarray) -> float:
    """Macro mAP as `msqnet evaluate` prints it."""
    rows = EvaluationRows(backend.labels, scores, table.targets(backend.labels), table)
    result = evaluate_rows(
        rows,
        thresholds=backend.thresholds,
        train_positive_windows=backend.train_positive_windows,
        num_bootstrap=0,
    )
    return float(result.metrics["macro_map"])


def compare_scores(table: ClipTable, before: Backend, after: dict[str, Backend]) -> None:
    """Score every row with all of them, decoded once, and print the figures."""
    parts: dict[str, list[np.ndarray]] = {name: [] for name in ("float32", *after)}
    for clip in iter_clips(table.records, before.clip_config):
        batch = ClipBatch.stack([clip])
        for name, backend in (("float32", before), *after.items()):
            parts[name].append(clip_scores(backend, batch))
    scores = {name: np.concatenate(found) for name, found in parts.items()}
    whole = macro_map(table, before, scores["float32"])
    print(f"{len(table)} rows; macro mAP float32 {whole:.4f}")
    for name in after:
        found = macro_map(table, before, scores[name])
        differences = np.abs(scores[name] - scores["float32"])
        print(
            f"{name}: macro mAP {found:.4f}, loss {whole - found:+.4f}; scores differ by "
            f"{differences.max():.3f} at most, {differences.mean():.4f} on average"
        )


def compare_on_folds(table: ClipTable, plain: Path, small: Path, num_folds: int) -> None:
    """Print macro mAP of probes on rows of other groups, by the features of both graphs."""
    backends = {
        "float32": ExportedBackend.from_pretrained(plain),
        "int8": ExportedBackend.from_pretrained(small),
    }
    config = backends["float32"].clip_config
    parts: dict[str, list[np.ndarray]] = {name: [] for name in backends}
    for clip in iter_clips(table.records, config):
        views = [clip.pixels] if clip.motion_crop is None else [clip.pixels, clip.motion_crop]
        for name, backend in backends.items():
            of_views = [backend.frame_features(view[::2])["pooled"] for view in views]
            statistics = [(found.mean(axis=0), found.std(axis=0)) for found in of_views]
            parts[name].append(np.concatenate(statistics, axis=None))
    features = {name: np.stack(found) for name, found in parts.items()}
    labels = backends["float32"].labels
    targets = table.targets(labels)
    scores = {name: np.zeros(targets.shape, np.float32) for name in features}
    folds = GroupKFold(num_folds).split(targets, groups=[row.group for row in table.records])
    for train, held_out in folds:
        scaler = StandardScaler().fit(features["float32"][train])
        inputs = scaler.transform(features["float32"][train])
        for label in range(len(labels)):
            truth = targets[train, label]
            is_known = (truth == 0) | (truth == 1)
            share = truth[is_known].mean() if is_known.any() else 0.0
            if not 0 < share < 1:
                continue
            weights = np.where(truth == 1, 1 / share, 1 / (1 - share))[is_known]
            probe = Ridge(PROBE_STRENGTH).fit(inputs[is_known], truth[is_known], weights)
            for name, values in features.items():
                scores[name][held_out, label] = probe.predict(scaler.transform(values[held_out]))
    found = {
        name: macro_map(table, backends[name], _as_probabilities(values))
        for name, values in scores.items()
    }
    print(
        f"{len(table)} rows, {num_folds} folds by group, probes: macro mAP float32 "
        f"{found['float32']:.4f}, int8 {found['int8']:.4f}, loss "
        f"{found['float32'] - found['int8']:+.4f}"
    )


def _as_probabilities(values: np.ndarray) -> np.ndarray:
    """Rising with the values, between 0 and 1."""
    return (1 / (1 + np.exp(-values))).astype(np.float32)


def compare_speed(backends: dict[str, Backend], batch: ClipBatch, num_rounds: int) -> None:
    """Score one clip with all, round after round, each one first in turn; print the ratios."""

    def contender(name: str, backend: Backend) -> Contender:
        def run(_clock: StageClock) -> None:
            clip_scores(backend, batch)

        return Contender(name, run)

    contenders = [contender(name, backend) for name, backend in backends.items()]
    found = run_rounds(contenders, num_rounds=num_rounds)
    costs = {
        name: np.array([(cost.cpu_seconds, cost.wall_seconds) for cost in items])
        for name, items in found.items()
    }
    print(f"{num_rounds} rounds; times faster than PyTorch, than ONNX Runtime in float32:")
    for name in costs:
        cpu, wall = np.median(costs[name], axis=0)
        ratios = [
            np.median(costs[other] / costs[name], axis=0)
            for other in ("torch float32", "onnxruntime float32")
        ]
        shown = "; ".join(f"CPU {ratio[0]:.2f}, wall {ratio[1]:.2f}" for ratio in ratios)
        print(f"  {name}: {cpu:.3f} s CPU, {wall:.3f} s wall a clip: {shown}")


def main() -> None:
    """Export, score, time, print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", required=True)
    parser.add_argument("--split")
    parser.add_argument("--calibration_split", default="train")
    parser.add_argument("--model")
    parser.add_argument("--max_rows", type=int, help="evenly over the split; all by default")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--folds", type=int, help="measure the loss on folds, and nothing else")
    args = parser.parse_args()
    table = read_table(args.data)
    rows = table.select(args.split)
    if args.max_rows is not None:
        rows = rows.take(np.linspace(0, len(rows) - 1, args.max_rows).astype(np.int64))
    with tempfile.TemporaryDirectory() as folder:
        calibration = table.select(args.calibration_split)
        plain, small = export_both(args.model, calibration, Path(folder))
        if args.folds is not None:
            compare_on_folds(rows, plain, small, args.folds)
            return
        backends: dict[str, Backend] = {
            "torch float32": TorchBackend.from_pretrained(model_folder(args.model), "cpu"),
            "onnxruntime float32": ExportedBackend.from_pretrained(plain, runtime="onnxruntime"),
            "openvino float32": ExportedBackend.from_pretrained(plain, runtime="openvino"),
            "onnxruntime int8": ExportedBackend.from_pretrained(small, runtime="onnxruntime"),
            "openvino int8": ExportedBackend.from_pretrained(small, runtime="openvino"),
        }
        if has_fast_bf16(torch.device("cpu")):
            backends["torch bf16"] = TorchBackend.from_pretrained(
                model_folder(args.model), "cpu", precision="bf16"
            )
        rounded = {name: found for name, found in backends.items() if "float32" not in name}
        compare_scores(rows, backends["onnxruntime float32"], rounded)
        config = backends["torch float32"].clip_config
        batch = ClipBatch.stack(list(iter_clips(rows.records[:1], config)))
        compare_speed(backends, batch, args.rounds)


if __name__ == "__main__":
    sys.exit(exit_code_of(main))
