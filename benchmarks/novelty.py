"""Whether a model's warning score tells videos that are unlike its training set.

    python benchmarks/novelty.py --data mixed_actors.csv --misc misc/ --out runs/novelty

Looks at every video of the folder of other videos, of further folders, and of the table's split
`test`, in windows that do not overlap, and prints the area under the ROC curve (AUROC) of the
distance that stands in results, per video, with 95 % bootstrap intervals over videos; and how many
videos are warned of. The videos of the training set itself, each compared with groups other than
its own, stand beside those of the test set. Embeddings are kept in OUT and not computed again.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from sklearn.metrics import roc_auc_score

from msqnet.cli.main import exit_code_of
from msqnet.config import WindowConfig
from msqnet.data.table import read_table
from msqnet.errors import VideoError
from msqnet.inference.predictor import Predictor
from msqnet.inference.results import find_videos
from msqnet.model.out_of_distribution import UNLIKE_SHARE, TrainingReference
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


class Embeddings:
    """Embeddings of the windows of videos, kept in a file.

    Args:
        predictor: what looks at videos.
        path: the file.
    """

    def __init__(self, predictor: Predictor, path: Path) -> None:
        self._predictor = predictor
        self._path = path
        self._kept = dict(np.load(path)) if path.exists() else {}

    def __call__(self, video: Path) -> np.ndarray:
        """(N, D) float32; none where the video cannot be read."""
        name = str(video)
        if name not in self._kept:
            try:
                embeddings: list[np.ndarray] = []
                self._predictor(video, embeddings=embeddings)
                self._kept[name] = np.concatenate(embeddings)
            except VideoError as error:
                print(f"left out: {error}", flush=True)
                self._kept[name] = np.zeros((0, 1), np.float32)
            np.savez(self._path, **self._kept)
        return self._kept[name]


def measured(
    look: Embeddings, reference: TrainingReference, videos: Iterable[Path]
) -> dict[str, dict[str, float]]:
    """Distance, share and warning of each video that can be read, by its path."""
    found = {}
    for video in videos:
        embeddings = look(video)
        if len(embeddings):
            distance = float(np.median(reference.distance(embeddings)))
            share = reference.share_nearer(distance)
            found[str(video)] = {
                "distance": distance,
                "share": share,
                "is_unlike": share >= UNLIKE_SHARE,
            }
    return found


def main() -> None:
    """Predict, compare, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="table with a split test")
    parser.add_argument("--misc", type=Path, required=True, help="folder of other videos")
    parser.add_argument("--singles", type=Path, nargs="*", default=[], help="further folders")
    parser.add_argument("--model", default=None, help="finished model; the shipped one by default")
    parser.add_argument("--out", type=Path, required=True, help="folder for embeddings and figures")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    reference = TrainingReference.load(model_folder(options.model))
    if reference is None:
        raise SystemExit("the model has no novelty.safetensors; see msqnet calibrate")
    backend = Predictor.from_pretrained(options.model).backend
    window = WindowConfig(backend.window_seconds, backend.window_seconds)
    look = Embeddings(Predictor(backend, window), options.out / "embeddings.npz")
    misc = measured(look, reference, [Path(video.source) for video in find_videos([options.misc])])
    traps = {path: item for path, item in misc.items() if CAMERA_TRAP in Path(path).parts}
    sets = {
        "misc": misc,
        "misc, camera traps": traps,
        "misc, the others": {path: item for path, item in misc.items() if path not in traps},
    }
    for folder in options.singles:
        videos = [Path(video.source) for video in find_videos([folder])]
        sets[folder.name] = measured(look, reference, videos)
    test = dict.fromkeys(record.path for record in read_table(options.data).select("test").records)
    sets["test"] = measured(look, reference, test)
    values = {
        name: np.array([item["distance"] for item in found.values()])
        for name, found in sets.items()
    }
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
    text = json.dumps(sets, indent=2) + "\n"
    (options.out / "videos.json").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    sys.exit(exit_code_of(main))
