"""`msqnet train` on small tables beside thirty lines of scikit-learn, on the same rows.

    python -m benchmarks.small_tables --data many_actors.csv --out runs/small --before EARLIER

Each table holds 40 training rows of one source of `many_actors.csv`, drawn at random for each seed,
with the labels that its rows show. Figures are macro mAP over the labels with a positive on both
sides, on the source's `test` rows, or with `--tune` on those rows of `train` whose groups were not
drawn from; and the CPU seconds of whole processes, from the table to the saved model. The plain
baseline is what a reader of the scikit-learn manual would write: means and deviations over time of
frozen features of 8 whole frames a row, standardised, one balanced logistic regression a label.
Where `--before` names a folder with an earlier version, its command runs on the same rows.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import resource
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from msqnet.cli.main import exit_code_of
from msqnet.data.records import ClipTable, Record
from msqnet.data.table import read_table, write_table
from msqnet.labels import UNKNOWN, LabelSet
from msqnet.metrics.average_precision import average_precision, macro_map

SOURCES = {
    "mice": "YttriLab/B-SOID",
    "rats": "alllliceee/yolo_behavior",
    "home": "ekramalam/GMDCSA24-A-Dataset-for-Human-Fall-Detection-in-Videos",
    "fights": "seymanurakti/fight-detection-surv-dataset",
    "interactions": "deliangWu/Video-Interaction-Recognition-and-Detection-",
    "exercises": "facutarcaya/senalar-dataset",
}
NUM_ROWS = 40
_HERE = Path(__file__).resolve().parents[1]


def draw_table(table: ClipTable, source: str, seed: int, *, tune: bool) -> ClipTable:
    """40 rows of split `train` and the rows to score, as split `test`, with the source's labels.

    Rows are drawn at random, anew until each label of the source that has two training rows is
    there twice.
    """
    rows = [record for record in table.records if record.source == source]
    names = {name for record in rows for name in record.labels}
    rows = [
        replace(record, annotated=names if record.annotated is None else record.annotated & names)
        for record in rows
    ]
    train = [record for record in rows if record.split == "train"]
    random = np.random.default_rng(seed)
    drawn: list[Record] = []
    chosen = train
    if tune:
        groups = sorted({record.group for record in train})
        random.shuffle(groups)
        num_kept = max(1, round(len(groups) / 3))
        held = set(groups[:num_kept])
        while len(held) > 1 and sum(r.group not in held for r in train) < NUM_ROWS:
            held.pop()
        chosen = [record for record in train if record.group not in held]
    available = {name: sum(name in r.labels for r in chosen) for name in names}
    for _ in range(1000):
        order = random.permutation(len(chosen))[:NUM_ROWS]
        drawn = [chosen[index] for index in sorted(order)]
        counts = {name: sum(name in r.labels for r in drawn) for name in names}
        if all(counts[name] >= min(2, available[name]) for name in names):
            break
    scored = [record for record in rows if record.split == "test"]
    if tune:
        used = {record.group for record in drawn}
        scored = [replace(record, split="test") for record in train if record.group not in used]
    return ClipTable(table.path, (*drawn, *scored))


def fit_baseline(path: Path, out: Path) -> None:
    """Write the plain baseline's figure on split `test`, and its CPU seconds up to the scoring.

    Features of the rows of split `test` are the same for every seed and are kept in ``out``'s
    parent's parent.
    """
    import torch
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    from msqnet.data.dataset import read_window
    from msqnet.model.registry import encoder_spec
    from msqnet.model.video_encoders.lite import (
        LiteBackbone,
        load_published_state_dict,
        pretrained_state_dict,
    )
    from msqnet.video.transforms import evaluation_clip

    trunk = LiteBackbone(grid_size=1).eval()
    load_published_state_dict(trunk.network, pretrained_state_dict())
    config = replace(encoder_spec("lite").recipe().clip, num_frames=8, closeup=False)

    def features(table: ClipTable) -> np.ndarray:
        found = []
        for record in table.records:
            clip = evaluation_clip(read_window(record, config), config)
            with torch.inference_mode():
                pooled = trunk(torch.from_numpy(clip.pixels))[1].numpy()  # (T, 1280)
            found.append(np.concatenate([pooled.mean(axis=0), pooled.std(axis=0)]))
        return np.stack(found)

    table = read_table(path)
    train, test = table.select("train"), table.select("test")
    labels = LabelSet(train.label_names())
    scaler = StandardScaler()
    x, targets = scaler.fit_transform(features(train)), train.targets(labels)
    probes = []
    for column in targets.T:
        known = column >= 0
        probe = LogisticRegression(C=0.01, class_weight="balanced", max_iter=1000)
        probes.append(probe.fit(x[known], column[known]) if len(set(column[known])) > 1 else None)
    used = resource.getrusage(resource.RUSAGE_SELF)
    kept = out.parents[1] / f"{out.parent.name.rpartition('-')[0]}-{_rows_hash(test)}.npy"
    if not kept.exists():
        np.save(kept, features(test))
    rows = scaler.transform(np.load(kept))
    scores = np.zeros((len(test), len(labels)))
    for column, probe in enumerate(probes):
        if probe is not None:
            scores[:, column] = probe.predict_proba(rows)[:, 1]
    figures = {"macro_map": _macro_map(scores, test.targets(labels))}
    out.write_text(json.dumps({**figures, "cpu_seconds": used.ru_utime + used.ru_stime}))


def _rows_hash(table: ClipTable) -> str:
    """Short name of the rows of ``table``, which differ with `--tune`."""
    rows = "\n".join(
        f"{record.path} {record.start_seconds} {record.end_seconds}" for record in table.records
    )
    return hashlib.sha256(rows.encode()).hexdigest()[:12]


def _macro_map(scores: np.ndarray, targets: np.ndarray) -> float:
    return float(macro_map(average_precision(scores, targets)))


def _run(command: list[str], root: Path) -> float:
    """CPU seconds of a Python command and its children, with the package of ``root``."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    environment = {**os.environ, "PYTHONPATH": f"{root / 'src'}:{root}"}
    command = [sys.executable, "-m", *command]
    run = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if run.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {run.returncode}:\n{run.stderr[-3000:]}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def train_and_score(path: Path, out: Path, root: Path) -> dict[str, float]:
    """CPU seconds of `msqnet train` as a new user calls it, and macro mAP on split `test`."""
    import pandas as pd

    shutil.rmtree(out, ignore_errors=True)  # of a benchmark that was stopped
    seconds = _run(["msqnet", "train", "--data", str(path), "--out", str(out)], root)
    scored = ["--data", str(path), "--split", "test", "--out", str(out / "evaluation")]
    _run(["msqnet", "evaluate", "--model", str(out), *scored], root)
    scores, targets = (
        pd.read_parquet(out / "evaluation" / f"{name}.parquet") for name in ("scores", "targets")
    )
    labels = read_table(path).select("train").label_names()
    found, known = (frame[list(labels)].to_numpy(np.float64) for frame in (scores, targets))
    known = np.where(np.isnan(known), UNKNOWN, known)
    return {"macro_map": _macro_map(found, known), "cpu_seconds": seconds}


def main() -> None:
    """Draw, train, score, and print one row a table and means over all."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--data", required=True, type=Path, help="many_actors.csv")
    parser.add_argument("--out", required=True, type=Path, help="folder; finished runs are kept")
    parser.add_argument("--before", type=Path, help="folder with an earlier version's sources")
    parser.add_argument("--sources", nargs="+", choices=SOURCES, default=list(SOURCES))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--tune", action="store_true", help="score rows of train instead of test")
    parser.add_argument("--baseline", type=Path, help=argparse.SUPPRESS)
    settings = parser.parse_args()
    if settings.baseline:
        fit_baseline(settings.baseline, settings.out)
        return
    table = read_table(settings.data)
    roots = {"now": _HERE, **({"before": settings.before} if settings.before else {})}
    found: dict[str, dict[str, list[dict[str, float]]]] = {}
    for seed in range(settings.seeds):
        for source in settings.sources:
            folder = settings.out / f"{source}-{seed}"
            folder.mkdir(parents=True, exist_ok=True)
            path = folder / "clips.csv"
            rows = draw_table(table, SOURCES[source], seed, tune=settings.tune)
            write_table(rows.records, path)
            for name in ("baseline", *roots):
                done = folder / f"{name}.json"
                if not done.exists() and name == "baseline":
                    command = ["benchmarks.small_tables", "--baseline", str(path)]
                    _run([*command, "--data", str(path), "--out", str(done)], _HERE)
                elif not done.exists():
                    figures = train_and_score(path, folder / name, roots[name])
                    done.write_text(json.dumps(figures))
                figures = json.loads(done.read_text())
                found.setdefault(source, {}).setdefault(name, []).append(figures)
                print(
                    f"{source} seed {seed} {name}: macro mAP {figures['macro_map']:.3f}, "
                    f"{figures['cpu_seconds']:.1f} CPU s",
                    flush=True,
                )
    _show(found, ["baseline", *roots])


def _show(found: dict[str, dict[str, list[dict[str, float]]]], names: list[str]) -> None:
    def means(name: str, source: str) -> tuple[float, float]:
        runs = found[source][name]
        maps, seconds = ([run[key] for run in runs] for key in ("macro_map", "cpu_seconds"))
        return float(np.mean(maps)), float(np.median(seconds))

    print("\n| table | " + " | ".join(f"{name}: macro mAP, CPU s" for name in names) + " |")
    print("|---|" + "---|" * len(names))
    for source in found:
        cells = [means(name, source) for name in names]
        print(f"| {source} | " + " | ".join(f"{m:.3f}, {s:.1f}" for m, s in cells) + " |")
    rows = [[means(name, source) for source in found] for name in names]
    averages = [np.mean(row, axis=0) for row in rows]
    print("| mean | " + " | ".join(f"{m:.3f}, {s:.1f}" for m, s in averages) + " |")
    if "before" in names:
        now, before = (np.array(rows[names.index(name)])[:, 1] for name in ("now", "before"))
        print(f"\nCPU time of msqnet train, now / before: median {np.median(now / before):.2f}")


if __name__ == "__main__":
    sys.exit(exit_code_of(main))
