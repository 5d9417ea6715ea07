"""Whether attribution maps show what scores rest on: deletion and insertion against random maps.

    python benchmarks/explanation_check.py --data mixed_actors.csv --split test

For one row of each chosen clip and one of its labels, prints the areas under both curves for the
attention rollout, for the whole explanation (which for `lite` adds the path from the video query
straight to the scores) and for random maps, and in how many clips each beats random. Labels whose
scores calibration has nearly flattened, because it found no skill, are left out: there is nothing
to delete.

Deletion removes the parts of the frames that a map names first and watches the score fall;
insertion starts from blurred frames, puts these parts back and watches it rise (Petsiuk et al.
2018, arXiv:1806.07421). A good map has a small area under the first curve and a large one under the
second. Two things differ here:

- Every frame loses the same share of its own area, and the random maps stand still, so that what
  is removed flickers no more at random than by the map; to a model that looks at motion, flicker
  is an event of its own.
- Curves are of log-odds, not of scores: between 0 and 1 a score of 0.02 and one of 0.0002 are
  alike, though the second is a hundred times surer.

What is removed is replaced by the frame, blurred until no shape is left. The motion crop stays
where it was. Axes: T frames, F shares of the area, h w cells of a map.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn import functional as F

from msqnet.cli.main import exit_code_of
from msqnet.clips import Clip, ClipBatch, Frames
from msqnet.data.dataset import read_window
from msqnet.data.table import read_table
from msqnet.explain.explainer import Explainer
from msqnet.inference.backends import clip_scores
from msqnet.inference.torch_backends import TorchBackend
from msqnet.model.pretrained import MSQNet
from msqnet.models import model_folder
from msqnet.video.transforms import clip_with_crop, evaluation_clip

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from numpy.typing import NDArray

    from msqnet.clips import Pixels
    from msqnet.config import ClipConfig
    from msqnet.data.records import ClipTable, Record
    from msqnet.predictions import FloatArray

NUM_RANDOM_MAPS = 2
LEAST_CALIBRATION_SCALE = 0.1
KINDS = ("rollout", "whole", "random")
AREA_SHARES = (0.05, 0.15, 0.3, 0.6)
"""Shares of each frame's area that are taken away or put back; close together where maps differ."""
_BLUR_CELLS = 6
_RANDOM_CELLS = 7
_LEAST_SCORE = 1e-6


@dataclass(frozen=True)
class Areas:
    """Areas under the curves of one map, in log-odds: means over the shares of the area.

    Attributes:
        deletion: smaller is better.
        insertion: larger is better.
    """

    deletion: float
    insertion: float

    @property
    def difference(self) -> float:
        """Insertion less deletion; larger is better."""
        return self.insertion - self.deletion


def random_map(num_frames: int, rows: int, columns: int, rng: np.random.Generator) -> FloatArray:
    """A smooth random map that stands still: (T, rows, columns) float32 in [0, 1]."""
    noise = torch.from_numpy(rng.random((1, 1, _RANDOM_CELLS, _RANDOM_CELLS), dtype=np.float32))
    smooth = F.interpolate(noise, (rows, columns), mode="bilinear", align_corners=False)[0]
    return np.asarray(smooth.expand(num_frames, -1, -1).numpy())


def ranks(heat: FloatArray) -> FloatArray:
    """Share of a frame's cells that are hotter, for every cell: (T, h, w) -> (T, h, w) in [0, 1).

    Equal cells are ranked in the order of the frame.
    """
    flat = heat.reshape(len(heat), -1)
    order = np.argsort(-flat, axis=1, kind="stable")
    places = np.empty_like(order)
    np.put_along_axis(places, order, np.arange(flat.shape[1])[None], axis=1)
    shares: FloatArray = (places / flat.shape[1]).astype(np.float32)
    return shares.reshape(heat.shape)


def areas(
    frames: Frames,
    heat: FloatArray,
    score: Callable[[Clip], float],
    config: ClipConfig,
    shares: Sequence[float] = AREA_SHARES,
) -> Areas:
    """Areas under deletion and insertion curve of one map.

    Args:
        frames: T frames of a window.
        heat: (T, h, w) float, the map in coordinates of the frame; only its order matters.
        score: of the label in [0, 1], for a clip.
        config: the model's own clip settings.
        shares: F shares of each frame's area, rising.
    """
    cells = torch.from_numpy(ranks(heat))[:, None]  # (T, 1, h, w)
    order = F.interpolate(cells, frames.pixels.shape[-2:], mode="nearest").numpy()
    blurred = blurred_beyond_shapes(frames.pixels)
    box = evaluation_clip(frames, config).motion_box

    def log_odds(is_kept: NDArray[np.bool_]) -> float:
        mixed = Frames(np.where(is_kept, frames.pixels, blurred), frames.pts_seconds)
        value = min(max(score(clip_with_crop(mixed, config, box)), _LEAST_SCORE), 1 - _LEAST_SCORE)
        return float(np.log(value / (1 - value)))

    deletion = [log_odds(order >= share) for share in shares]
    insertion = [log_odds(order < share) for share in shares]
    width = shares[-1] - shares[0]
    return Areas(
        float(np.trapezoid(deletion, shares)) / width,
        float(np.trapezoid(insertion, shares)) / width,
    )


def blurred_beyond_shapes(pixels: Pixels) -> Pixels:
    """Frames of which only the distribution of light is left: (T, 3, H, W) uint8 -> the same."""
    coarse = F.interpolate(
        torch.from_numpy(pixels).float(), (_BLUR_CELLS, _BLUR_CELLS), mode="area"
    )
    smooth = F.interpolate(coarse, pixels.shape[-2:], mode="bilinear", align_corners=False)
    return smooth.round().clamp(0, 255).to(torch.uint8).numpy()


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
    sys.exit(exit_code_of(main))
