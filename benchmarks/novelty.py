"""Whether a model's warning score tells videos that are unlike its training set.

    python benchmarks/novelty.py --data mixed_actors.csv --misc misc/ --singles singles/

Predicts every video of the table's split `test`, of the folder of other videos and of further
folders, and prints the area under the ROC curve (AUROC) of the distance that stands in the results,
per video, with 95 % bootstrap intervals over videos; and how many videos are warned of. The videos
of the training set itself, each compared with groups other than its own, stand beside those of the
test set.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from sklearn.metrics import roc_auc_score

from msqnet.data.table import read_table
from msqnet.errors import VideoError
from msqnet.inference.predictor import Predictor
from msqnet.inference.results_folder import find_videos
from msqnet.model.novelty import NoveltyReference
from msqnet.models import model_folder

if TYPE_CHECKING:
    from collections.abc import Iterable

NUM_RESAMPLES = 2000
CAMERA_TRAP = "camera_trap"


def interval(known: np.ndarray, new: np.ndarray) -> tuple[float, float, float]:
    """AUROC and its 95 % interval, both sets of videos drawn anew."""
    rng = np.random.default_rng(0)

    def area(first: np.ndarray, second: np.ndarray) -> float:
        is_new = np.repeat([0, 1], [len(first), len(second)])
        return float(roc_auc_score(is_new, np.concatenate([first, second])))

    drawn = [
        area(rng.choice(known, len(known)), rng.choice(new, len(new))) for _ in range(NUM_RESAMPLES)
    ]
    low, high = np.quantile(drawn, [0.025, 0.975])
    return area(known, new), float(low), float(high)


def measured(predictor: Predictor, paths: Iterable[Path]) -> dict[str, dict[str, float]]:
    """Distance, share and warning of each video that can be read, by its path."""
    found = {}
    for path in paths:
        try:
            novelty = predictor(path).novelty
        except VideoError as error:
            print(f"left out: {error}")
            continue
        if novelty is None:
            raise SystemExit("the model has no novelty.safetensors; see msqnet calibrate")
        found[str(path)] = {
            "distance": novelty.distance,
            "share": novelty.share,
            "is_unlike": novelty.is_unlike,
        }
    return found


def main() -> None:
    """Predict, compare, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="table with a split test")
    parser.add_argument("--misc", type=Path, required=True, help="folder of other videos")
    parser.add_argument("--singles", type=Path, nargs="*", default=[], help="further folders")
    parser.add_argument("--model", default=None, help="finished model; the shipped one by default")
    parser.add_argument("--out", type=Path, help="JSON file for every video")
    options = parser.parse_args()
    predictor = Predictor.from_pretrained(options.model)
    reference = NoveltyReference.load(model_folder(options.model))
    test = dict.fromkeys(record.path for record in read_table(options.data).select("test").records)
    misc = measured(predictor, [video.path for video in find_videos([options.misc])])
    traps = {path: item for path, item in misc.items() if CAMERA_TRAP in Path(path).parts}
    sets = {
        "test": measured(predictor, test),
        "misc": misc,
        "misc, camera traps": traps,
        "misc, the others": {path: item for path, item in misc.items() if path not in traps},
    }
    for folder in options.singles:
        sets[folder.name] = measured(predictor, [video.path for video in find_videos([folder])])
    values = {
        name: np.array([item["distance"] for item in found.values()])
        for name, found in sets.items()
    }
    if reference is not None:
        values["train, other groups"] = reference.distances
    print("| videos | number | warned of | AUROC against test | against train, other groups |")
    print("|---|---|---|---|---|")
    for name, distances in values.items():
        warned = sum(item["is_unlike"] for item in sets.get(name, {}).values())
        cells = [str(len(distances)), f"{warned}" if name in sets else "-"]
        for known in ("test", "train, other groups"):
            is_same = name == known or (name.startswith("train") and known == "test")
            area = () if is_same else interval(values[known], distances)
            cells.append("-" if is_same else f"{area[0]:.3f} ({area[1]:.3f} to {area[2]:.3f})")
        print(f"| {name} | {' | '.join(cells)} |")
    if options.out:
        options.out.write_text(json.dumps(sets, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
