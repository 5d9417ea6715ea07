"""Which video to look at next: rules that order the list of a review, beside chance.

    python -m benchmarks.review_order --data many_actors.csv --out runs/order
    python -m benchmarks.review_order --data many_actors.csv --out runs/order --report

A simulated user looks at some random videos of a pool, the split `train` of one source or of all,
and then at those that a rule names. To look costs the seconds of a video's rows and tells the
labels that the table knows; unknown stays unknown. After each step the fit of small tables
(`fit_linear`, on stored features) is made anew on all that was looked at, up to half of the pool's
seconds. A curve is macro mAP on held-out rows over seconds, and its mean is compared with that of
chance, the mean of ten random orders, from the same first videos. Labels that the fit does not know
yet are scored as chance is. Held out are groups of `train`, drawn for each seed; with `--report`
the rows of `test`.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from sklearn.cluster import KMeans

from msqnet.cli.main import exit_code_of
from msqnet.config import ArchConfig, AugmentationConfig
from msqnet.data.table import read_table
from msqnet.labels import LabelSet
from msqnet.metrics.average_precision import average_precision, macro_map
from msqnet.model.builder import clip_settings
from msqnet.model.registry import encoder_spec
from msqnet.training.fit import build_model, stored_features
from msqnet.training.fitted_parts import fit_linear
from msqnet.training.training_run import Run, trainable_labels

if TYPE_CHECKING:
    from collections.abc import Callable

    from msqnet.data.records import ClipTable

SOURCES = {
    "mice": "YttriLab/B-SOID",
    "rats": "alllliceee/yolo_behavior",
    "fights": "seymanurakti/fight-detection-surv-dataset",
    "interactions": "deliangWu/Video-Interaction-Recognition-and-Detection-",
    "exercises": "facutarcaya/senalar-dataset",
    "all": "",
}
NUM_CHANCE, NUM_STEPS, SHARE_OF_SECONDS, STRENGTH, SCENE_WEIGHT = 10, 12, 0.5, 0.01, 0.5


@dataclass
class Pool:
    """N rows of V videos to look at, and H rows that are held out.

    Attributes:
        rows: (N, D) float32 coordinates of the normalized features, and ``held`` (H, D).
        targets: (N, K), and ``held_targets`` (H, K).
        video_of: (N,) the video of each row; ``seconds`` (V,) of the videos' rows.
        places: (V, D') unit vectors of the videos, and ``distances`` (V, V) between them.
    """

    rows: torch.Tensor
    held: torch.Tensor
    targets: torch.Tensor
    held_targets: np.ndarray
    video_of: np.ndarray
    seconds: np.ndarray
    places: np.ndarray
    distances: np.ndarray


@dataclass
class State:
    """What is known after some looking: (V,) seen videos, (N, K) probabilities of the pool."""

    pool: Pool
    seen: np.ndarray
    scores: np.ndarray
    random: np.random.Generator

    def of_videos(self, values: np.ndarray) -> np.ndarray:
        """(N,) values of rows to (V,), the highest of each video."""
        found = np.full(len(self.seen), -np.inf)
        np.maximum.at(found, self.pool.video_of, values)
        return found

    def highest(self, values: np.ndarray, number: int) -> np.ndarray:
        """The unseen videos with the highest values; (V,) values."""
        tied = np.where(self.seen, -np.inf, values + 1e-9 * self.random.random(len(values)))
        return np.argsort(-tied)[: min(number, int((~self.seen).sum()))]

    def one_by_one(self, value: Callable[[np.ndarray], np.ndarray], number: int) -> np.ndarray:
        """Videos with the highest value, which is told anew of (V,) seen ones after each."""
        seen, found = self.seen.copy(), list[int]()
        for _ in range(min(number, int((~seen).sum()))):
            values = np.where(seen, -np.inf, value(seen))
            found.append(int(values.argmax()))
            seen[found[-1]] = True
        return np.array(found)


def entropy(scores: np.ndarray) -> np.ndarray:
    """Of each label."""
    p = scores.clip(1e-6, 1 - 1e-6)
    return -p * np.log(p) - (1 - p) * np.log(1 - p)


def uncertain(state: State, number: int) -> np.ndarray:
    """The highest sum of entropies."""
    return state.highest(state.of_videos(entropy(state.scores).sum(axis=1)), number)


def near_threshold_and_long(state: State, number: int) -> np.ndarray:
    """Entropy of the most uncertain label, times the seconds."""
    values = state.of_videos(entropy(state.scores).max(axis=1))
    return state.highest(values * state.pool.seconds, number)


def expected_change(state: State, number: int) -> np.ndarray:
    """The gradient of the fit that is expected under its own scores."""
    per_row = 2 * (state.scores * (1 - state.scores)).sum(axis=1)
    return state.highest(state.of_videos(per_row * state.pool.rows.norm(dim=1).numpy()), number)


def disagreement(state: State, number: int) -> np.ndarray:
    """The deviation of the scores of four fits, each to three quarters of the seen videos."""
    seen = state.random.permutation(np.flatnonzero(state.seen))
    parts = [np.delete(seen, np.s_[fold::4]) for fold in range(4)]
    scores = np.stack([fitted(state.pool, part)[0] for part in parts])
    return state.highest(state.of_videos(scores.std(axis=0).sum(axis=1)), number)


def rare_label(state: State, number: int) -> np.ndarray:
    """Scores weighted by how few rows with that label were seen."""
    known = state.pool.targets[torch.from_numpy(state.seen[state.pool.video_of])]
    weights = 1 / (1 + (known == 1).sum(dim=0).numpy())
    return state.highest(state.of_videos((state.scores * weights).sum(axis=1)), number)


def farthest(state: State, number: int) -> np.ndarray:
    """Greedy k-center: the largest distance to the nearest seen video."""
    return state.one_by_one(lambda seen: state.pool.distances[:, seen].min(axis=1), number)


def covering(state: State, number: int) -> np.ndarray:
    """Greedy k-medoids: most lowers the mean distance of all videos to the nearest seen one."""
    all_ = state.pool.distances

    def gain(seen: np.ndarray) -> np.ndarray:
        nearest = all_[:, seen].min(axis=1)
        return np.maximum(nearest[:, None] - all_, 0).sum(axis=0)

    return state.one_by_one(gain, number)


def typical(state: State, number: int) -> np.ndarray:
    """The most typical video of the largest cluster with the fewest seen ones (TypiClust)."""
    num_clusters = min(int(state.seen.sum()) + number, len(state.seen) // 2)
    seed = int(state.random.integers(2**31))
    cluster = KMeans(num_clusters, n_init=1, random_state=seed).fit_predict(state.pool.places)
    is_same = cluster[:, None] == cluster
    near = np.where(is_same, state.pool.distances, np.nan)
    far_from_own = np.nanmean(near, axis=1)  # at most 2

    def value(seen: np.ndarray) -> np.ndarray:
        num_seen, size = is_same[:, seen].sum(axis=1), is_same.sum(axis=1)
        return -1e6 * num_seen + 10 * size - far_from_own

    return state.one_by_one(value, number)


def covering_then_uncertain(state: State, number: int) -> np.ndarray:
    """Coverage up to a quarter of the videos, then uncertainty."""
    return (covering if state.seen.mean() < 0.25 else uncertain)(state, number)


def uncertain_and_far(state: State, number: int) -> np.ndarray:
    """Entropy times the distance to the nearest seen video."""
    values = state.of_videos(entropy(state.scores).sum(axis=1))
    return state.one_by_one(lambda seen: values * state.pool.distances[:, seen].min(axis=1), number)


RULES: dict[str, Callable[[State, int], np.ndarray]] = {
    "in the order of the names": lambda state, n: np.flatnonzero(~state.seen)[:n],
    "shortest": lambda state, n: state.highest(-state.pool.seconds, n),
    "most uncertain": uncertain,
    "near the threshold, long": near_threshold_and_long,
    "expected change": expected_change,
    "disagreement of fits": disagreement,
    "likely a rare label": rare_label,
    "farthest (k-center)": farthest,
    "coverage (k-medoids)": covering,
    "coverage (typical of clusters)": typical,
    "coverage, then uncertain": covering_then_uncertain,
    "uncertain and far": uncertain_and_far,
}


def chance(state: State, number: int) -> np.ndarray:
    """Any unseen videos."""
    return state.random.permutation(np.flatnonzero(~state.seen))[:number]


def fitted(pool: Pool, seen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Scores of the pool's rows and of held-out ones by a fit to the rows of some videos."""
    rows = torch.from_numpy(np.isin(pool.video_of, seen))
    weight, bias = fit_linear(pool.rows[rows], pool.targets[rows], STRENGTH)
    own, held = ((x @ weight.T + bias).sigmoid().numpy() for x in (pool.rows, pool.held))
    return own, held


def curve(pool: Pool, rule: Callable[[State, int], np.ndarray], seed: int, first: int) -> float:
    """Mean of macro mAP over the seconds looked at, up to a share of all; ``seed`` of the rule."""
    number = max(2, len(pool.seconds) // NUM_STEPS)
    seen = np.zeros(len(pool.seconds), bool)
    begin = np.random.default_rng(first).permutation(len(seen))[: max(4, number)]
    seen[begin] = True
    limit = SHARE_OF_SECONDS * pool.seconds.sum()
    is_tested = (pool.targets == 1).any(dim=0).numpy()
    targets = pool.held_targets[:, is_tested]
    random, points = np.random.default_rng(seed), list[tuple[float, float]]()
    while True:
        scores, held = fitted(pool, np.flatnonzero(seen))
        found = float(macro_map(average_precision(held[:, is_tested], targets)))
        points.append((float(pool.seconds[seen].sum()), found))
        if points[-1][0] >= limit or seen.all():
            break
        seen[rule(State(pool, seen, scores, random), number)] = True
    at = np.linspace(pool.seconds[begin].sum(), max(limit, points[0][0]), 200)
    known = np.array(points)
    return float(np.interp(at, known[:, 0], known[:, 1]).mean())


def pool_of(
    table: ClipTable, features: np.ndarray, scene: slice, source: str, seed: int, *, report: bool
) -> Pool:
    """The rows of a source, "" for all; held out are groups of `train`, or the rows of `test`."""
    own = [i for i, r in enumerate(table.records) if source in ("", r.source)]
    labels = LabelSet(trainable_labels(table.take(own)))
    train = np.array([i for i in own if table.records[i].split == "train"])
    groups = np.array(table.group_ids())
    names = np.random.default_rng(1000 + seed).permutation(np.unique(groups[train]))
    is_held = np.isin(groups[train], names[: len(names) // 3])
    rows, held = train[~is_held], train[is_held]
    if report:
        rows, held = train, np.array([i for i in own if table.records[i].split == "test"])
    x = features[np.concatenate([rows, held])].astype(np.float64)
    deviation = x[: len(rows)].std(axis=0)
    x = (x - x[: len(rows)].mean(axis=0)) / np.where(deviation > 1e-6, deviation, 1)
    x[:, scene] *= SCENE_WEIGHT
    values, vectors = np.linalg.eigh(x @ x.T)
    x = vectors * np.sqrt(values.clip(0))  # the same angles and lengths in fewer numbers
    _, video_of = np.unique(np.array(table.clip_ids())[rows], return_inverse=True)
    lengths = [r.interval[1] - r.interval[0] for r in table.take(rows).records]
    seconds = np.bincount(video_of, lengths)
    places = np.zeros((len(seconds), x.shape[1]))
    np.add.at(places, video_of, x[: len(rows)])
    places /= np.linalg.norm(places, axis=1, keepdims=True)
    distances = np.sqrt(np.maximum(2 - 2 * places @ places.T, 0))
    targets = table.targets(labels)
    both = torch.from_numpy(x).float()
    return Pool(
        *(both[: len(rows)], both[len(rows) :]),
        *(torch.from_numpy(targets[rows]), targets[held], video_of, seconds, places, distances),
    )


def features_of(table: ClipTable, out: Path) -> tuple[np.ndarray, slice]:
    """(V, D) video queries of all rows, stored in ``out``; and which of them show whole frames."""
    arch, recipe = ArchConfig(), encoder_spec("lite").recipe()
    run = Run(
        table=table,
        labels=LabelSet(trainable_labels(table)),
        arch=arch,
        clip=clip_settings(arch, recipe.clip),
        augmentation=AugmentationConfig(),
        train=recipe.train,
        task="multi_label",
        folder=out,
        init_from=None,
        provenance={},
        features=out / "features",
    )
    model = build_model(run, lambda _line: None)
    store = stored_features(model, run, table, augmented=False)
    return store.video_queries(np.arange(len(table)), 0).numpy(), model.video_encoder.scene


def main() -> None:
    """Simulate, and print a row for each rule."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="many_actors.csv")
    parser.add_argument("--out", type=Path, required=True, help="folder; results are kept there")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--report", action="store_true", help="on split test")
    settings = parser.parse_args()
    table = read_table(settings.data)
    features, scene = features_of(table, settings.out)
    gains: dict[str, list[list[float]]] = {name: [] for name in ("chance", *RULES)}
    for name, source in SOURCES.items():
        found: dict[str, list[float]] = {rule: [] for rule in gains}
        for seed in range(settings.seeds):
            pool = pool_of(table, features, scene, source, seed, report=settings.report)
            orders = [curve(pool, chance, order, seed) for order in range(NUM_CHANCE)]
            found["chance"].append(float(np.mean(orders)))
            for rule, choose in RULES.items():
                found[rule].append(curve(pool, choose, seed, seed) - found["chance"][-1])
        for rule, values in found.items():
            gains[rule].append(values)
        print(name, {rule: round(float(np.mean(v)), 3) for rule, v in found.items()}, flush=True)
    settings.out.mkdir(parents=True, exist_ok=True)
    kept = settings.out / ("test.json" if settings.report else "train.json")
    kept.write_text(json.dumps(gains))
    print(f"\n| rule | {' | '.join(SOURCES)} | mean over pools, its standard error over seeds |")
    print("|---|" + "---:|" * (len(SOURCES) + 1))
    for rule, values in gains.items():
        by_seed = np.mean(values, axis=0)
        error = by_seed.std(ddof=1) / np.sqrt(len(by_seed))
        sign = "" if rule == "chance" else "+"
        cells = [f"{np.mean(of_pool):{sign}.3f}" for of_pool in values]
        print(f"| {rule} | {' | '.join(cells)} | {by_seed.mean():{sign}.3f} ± {error:.3f} |")


if __name__ == "__main__":
    sys.exit(exit_code_of(main))
