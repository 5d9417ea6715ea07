"""Whether heat maps show what scores rest on: deletion and insertion against random maps.

    python benchmarks/explanation_check.py --data mixed_actors.csv --split test

Of one row of each chosen clip, for one of its labels, prints the areas under both curves of the
attention rollout, of the whole explanation (which for `lite` adds the path from the video query
straight to the scores) and of random maps, and in how many clips each beats random.
`msqnet.explain.faithfulness` says how the areas are defined. Labels whose scores calibration
has all but flattened, since it found no skill, are left out: there is nothing to delete.
"""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from msqnet.clips import Clip, ClipBatch
from msqnet.data.dataset import read_window
from msqnet.data.table import read_table
from msqnet.explain.explainer import Explainer
from msqnet.explain.faithfulness import Areas, areas, random_map
from msqnet.inference.backends import TorchBackend, clip_scores
from msqnet.model.msqnet import MSQNet
from msqnet.models import model_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from msqnet.data.records import ClipTable, Record

NUM_RANDOM_MAPS = 2
LEAST_CALIBRATION_SCALE = 0.1
KINDS = ("rollout", "whole", "random")


def chosen_rows(
    table: ClipTable, labels: Collection[str], count: int, seed: int
) -> list[tuple[Record, str]]:
    """One row each of different clips, and one of its labels; rare labels as often as others."""
    records = [item for item in table.records if any(name in labels for name in item.labels)]
    np.random.default_rng(seed).shuffle(records)  # type: ignore[arg-type]
    chosen: list[tuple[Record, str]] = []
    times: Counter[str] = Counter()
    paths = set()
    while len(chosen) < count:
        left = [item for item in records if item.path not in paths]
        if not left:
            break
        pairs = [(item, name) for item in left for name in item.labels if name in labels]
        record, label = min(pairs, key=lambda pair: times[pair[1]])
        times[label] += 1
        paths.add(record.path)
        chosen.append((record, label))
    return chosen


def areas_of_row(
    record: Record, label: str, explainers: dict[str, Explainer], backend: TorchBackend, seed: int
) -> dict[str, Areas]:
    """Areas by kind of map; those of random maps are means."""
    config = backend.clip_config
    frames = read_window(record, config)
    column = backend.labels.index(label)

    def score(clip: Clip) -> float:
        return float(clip_scores(backend, ClipBatch.stack([clip]))[0, column])

    found: dict[str, Areas] = {}
    for kind, explainer in explainers.items():
        heat = explainer.explain_frames(frames, [label]).maps[0]
        found[kind] = areas(frames, heat, score, config)
    rng = np.random.default_rng([seed, record.row])
    random = [
        areas(frames, random_map(*heat.shape, rng=rng), score, config)
        for _ in range(NUM_RANDOM_MAPS)
    ]
    found["random"] = Areas(
        float(np.mean([item.deletion for item in random])),
        float(np.mean([item.insertion for item in random])),
    )
    return found


def summary(rows: list[dict[str, Areas]]) -> list[str]:
    """Lines with means, and in how many rows each kind beats random."""
    lines = []
    for kind in KINDS:
        means = {
            name: np.mean([getattr(row[kind], name) for row in rows])
            for name in ("deletion", "insertion", "difference")
        }
        lines.append(
            f"{kind:8}  " + "  ".join(f"{name} {value:+.2f}" for name, value in means.items())
        )
    tests: dict[str, Callable[[Areas, Areas], bool]] = {
        "smaller deletion": lambda found, random: found.deletion < random.deletion,
        "larger insertion": lambda found, random: found.insertion > random.insertion,
        "larger difference": lambda found, random: found.difference > random.difference,
        "both": lambda found, random: (
            found.deletion < random.deletion and found.insertion > random.insertion
        ),
    }
    for kind in KINDS[:-1]:
        for name, is_better in tests.items():
            number = sum(is_better(row[kind], row["random"]) for row in rows)
            lines.append(f"{kind} beats random, {name}: {number} of {len(rows)} clips")
    return lines


def main() -> None:
    """Choose, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", required=True, help="table of clips")
    parser.add_argument("--split", default="test", help="its rows; by default test")
    parser.add_argument("--model", default=None, help="by default the model that comes with msqnet")
    parser.add_argument("--clips", type=int, default=30, help="how many clips; by default 30")
    parser.add_argument("--seed", type=int, default=0, help="of the choice and the random maps")
    settings = parser.parse_args()
    model = MSQNet.from_pretrained(model_folder(settings.model))
    backend = TorchBackend(model)
    explainers = {
        "rollout": Explainer(model, paths="decoder"),
        "whole": Explainer(model, paths="all"),
    }
    table = read_table(Path(settings.data)).select(settings.split)
    scales = zip(backend.labels, model.config.calibration_scale, strict=True)
    varying = {label for label, scale in scales if scale >= LEAST_CALIBRATION_SCALE}
    rows = []
    for record, label in chosen_rows(table, varying, settings.clips, settings.seed):
        found = areas_of_row(record, label, explainers, backend, settings.seed)
        rows.append(found)
        shown = "  ".join(
            f"{kind} {found[kind].deletion:+.2f} {found[kind].insertion:+.2f}" for kind in KINDS
        )
        print(f"{record.path.name}, {label}: {shown}", flush=True)
    print(f"areas in log-odds, means over {len(rows)} clips, split {settings.split}")
    print("\n".join(summary(rows)))


if __name__ == "__main__":
    main()
