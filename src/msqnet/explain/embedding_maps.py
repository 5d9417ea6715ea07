"""Maps of embeddings, and how far embeddings keep labels apart: arrays and numbers only.

t-SNE shows neighbourhoods; neither distances nor sizes mean anything in it. So the numbers beside a
map are computed in the whole embedding: the silhouette, and k nearest neighbours.

Rows of the group of a row (the same recording, subject or scene) are no neighbours of it: they look
alike whatever they show. A label that was not annotated in a row is unknown there: for that label
the row neither votes nor counts.

Axes: V rows, D width of the embedding, K labels, R resamples, S sides of a label.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from msqnet.errors import DatasetError, ShapeError, needs_extra
from msqnet.metrics.average_precision import BoolArray, FloatArray, mean_over_labels
from msqnet.metrics.bootstrap import percentile_interval, resampled_weights

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from msqnet.config import EmbeddingMapConfig
    from msqnet.data.records import ClipTable

MIN_ROWS = 10
"""Fewer rows have no neighbourhoods that a map could show."""

SILHOUETTE_DEFINITION = (
    "mean silhouette coefficient by cosine distance over rows with a label, the clusters being the "
    "rarest label of each row; labels with a single such row take no part; -1 to 1, about 0 where "
    "labels are not kept apart; rows of one recording count as near as any others"
)
SHOWN_LABEL_DEFINITION = (
    "the label of a row that fewest of these rows show (equally rare: the first by name)"
)

MULTI_LABEL_DEFINITION = (
    "mean over labels of the balanced accuracy (recall of rows with the label and recall of rows "
    "known to be without it, averaged) of a majority vote of the nearest rows, by cosine, that "
    "are of other groups and in which the label is known; a row counts for a label only if "
    "enough such rows agree with it to carry the vote"
)
SINGLE_LABEL_DEFINITION = (
    "mean over labels of the share of its rows whose label has most votes among the nearest rows, "
    "by cosine, of other groups (equal votes: the label of the nearest); labels that one group "
    "alone shows take no part"
)

_MAX_PCA_WIDTH = 50
_MAX_PERPLEXITY = 30.0


@dataclass(frozen=True)
class MappedRows:
    """Labels and groups of the V rows of a map, whatever their embeddings.

    Attributes:
        labels: K names of the labels that these rows show.
        targets: (V, K) float32 of 1 (seen), 0 (known to be absent) and -100 (not annotated).
        groups: names of recordings, subjects or scenes.
        shown_labels: see the function of this name.
    """

    labels: tuple[str, ...]
    targets: NDArray[np.float32]
    groups: tuple[str, ...]
    shown_labels: tuple[str, ...]

    @classmethod
    def of(cls, table: ClipTable) -> MappedRows:
        """From a table; a `DatasetError` if it has too few rows for a map, or none with a label."""
        from msqnet.labels import LabelSet

        if len(table) < MIN_ROWS:
            raise DatasetError(
                f"{table.path}: {len(table)} row(s) chosen, expected at least {MIN_ROWS} for a "
                "map; choose another split or add rows"
            )
        names = table.label_names()
        if not names:
            raise DatasetError(
                f"{table.path}: none of the {len(table)} chosen rows has a label, so there is "
                "nothing to colour or to measure; choose another split or fill in 'labels'"
            )
        return cls(
            labels=names,
            targets=table.targets(LabelSet(names)),
            groups=tuple(table.group_ids()),
            shown_labels=shown_labels([record.labels for record in table.records]),
        )


@dataclass(frozen=True)
class EmbeddingMap:
    """One embedding of all rows: its map, coordinates (V, 2) float64, and its numbers."""

    coordinates: FloatArray
    perplexity: float
    silhouette: float
    neighbours: NeighbourAccuracy


def shown_labels(labels: Sequence[Sequence[str]]) -> tuple[str, ...]:
    """`SHOWN_LABEL_DEFINITION` of each of V rows; empty for rows without a label."""
    counts = Counter(name for names in labels for name in set(names))
    return tuple(min(names, key=lambda name: (counts[name], name), default="") for names in labels)


def map_embeddings(
    embeddings: NDArray[np.floating],
    rows: MappedRows,
    config: EmbeddingMapConfig,
    *,
    single_label: bool,
) -> EmbeddingMap:
    """Make the map of one embedding (V, D) and measure it; a `DatasetError` if all rows are equal.

    With `single_label`, each row has exactly one label, and a vote has one winner.
    """
    unit = unit_rows(embeddings)
    if not unit.any():
        raise DatasetError(
            f"all {len(unit)} rows have the same embedding; a map needs rows that differ"
        )
    perplexity = min(config.perplexity or _MAX_PERPLEXITY, (len(unit) - 1) / 3)
    return EmbeddingMap(
        coordinates=tsne(unit, perplexity=perplexity, seed=config.seed),
        perplexity=perplexity,
        silhouette=label_silhouette(unit, rows.shown_labels),
        neighbours=neighbour_accuracy(
            unit,
            rows.targets,
            rows.groups,
            num_neighbours=config.num_neighbours,
            single_label=single_label,
            num_resamples=config.num_resamples,
            seed=config.seed,
        ),
    )


def tsne(unit: FloatArray, *, perplexity: float, seed: int) -> FloatArray:
    """Centred coordinates (V, 2) float64 by t-SNE, of the 50 main components at most.

    Rows (V, D) are from `unit_rows`: Euclidean distances rank as cosines do. The perplexity is
    about how many neighbours stay close; the same seed gives the same map on one machine.
    """
    with needs_extra("a map of embeddings", extra="explain"):
        from sklearn.decomposition import PCA
        from sklearn.manifold import TSNE
        from threadpoolctl import threadpool_limits
    width = min(_MAX_PCA_WIDTH, *unit.shape)
    embedder = TSNE(perplexity=perplexity, init="pca", random_state=seed)
    # Sums over several threads come out in another order each time, and t-SNE amplifies that.
    with threadpool_limits(limits=1):
        components = PCA(width, svd_solver="full").fit_transform(unit)
        coordinates = embedder.fit_transform(components)
    return np.asarray(coordinates - coordinates.mean(axis=0), dtype=np.float64)


def label_silhouette(unit: FloatArray, labels: Sequence[str]) -> float:
    """`SILHOUETTE_DEFINITION` of rows (V, D) from `unit_rows`; an empty label takes no part.

    NaN where less than two labels can be compared.
    """
    with needs_extra("the silhouette of embeddings", extra="explain"):
        from sklearn.metrics import silhouette_score
    counts = Counter(name for name in labels if name)
    takes_part = np.array([counts[name] > 1 for name in labels], dtype=np.bool_)
    clusters = np.asarray(labels)[takes_part]
    if len(set(clusters.tolist())) < 2:
        return float("nan")
    return float(silhouette_score(unit[takes_part], clusters, metric="cosine"))


@dataclass(frozen=True)
class NeighbourAccuracy:
    """How well neighbours predict the labels of a row.

    Attributes:
        accuracy: macro mean over labels, in [0, 1]; NaN where no label can be scored.
        chance: accuracy of a guess that does not depend on the row.
        label_accuracy: (K,) float64, NaN for labels that cannot be scored.
        samples: (R,) float64, the accuracy with whole groups drawn anew; the same seed and groups
            draw the same, so that samples of two embeddings of the same rows are pairs.
    """

    accuracy: float
    chance: float
    label_accuracy: FloatArray
    samples: FloatArray

    @property
    def interval(self) -> tuple[float, float]:
        """Bounds of the 95 % interval; NaN without resamples."""
        return _interval(self.samples)

    @property
    def num_labels(self) -> int:
        """Labels behind the mean."""
        return int((~np.isnan(self.label_accuracy)).sum())

    def minus(self, other: NeighbourAccuracy) -> tuple[float, float, float]:
        """Difference to another embedding of the same rows, and bounds of its 95 % interval."""
        return (self.accuracy - other.accuracy, *_interval(self.samples - other.samples))


def _interval(samples: FloatArray) -> tuple[float, float]:
    low, high = percentile_interval(samples[:, None])
    return float(low[0]), float(high[0])


def unit_rows(embeddings: NDArray[np.floating]) -> FloatArray:
    """Rows (V, D) less their mean, scaled to length 1 in float64: products are cosines.

    Without the mean, what all rows have in common would bring every cosine close to 1. A row that
    is exactly the mean stays 0. Another shape, or a value that is not finite, is a `ShapeError`.
    """
    values = np.asarray(embeddings, dtype=np.float64)
    if values.ndim != 2 or not np.isfinite(values).all():
        raise ShapeError(
            f"embeddings: found shape {values.shape}, expected (V, D), all values finite"
        )
    values = values - values.mean(axis=0)
    lengths = np.linalg.norm(values, axis=1, keepdims=True)
    return np.asarray(values / np.where(lengths > 0, lengths, 1.0))


def neighbour_accuracy(
    unit: FloatArray,
    targets: NDArray[np.float32],
    groups: Sequence[str],
    *,
    num_neighbours: int,
    single_label: bool,
    num_resamples: int = 0,
    seed: int = 0,
) -> NeighbourAccuracy:
    """Let the nearest rows of other groups vote on the labels of every row.

    See `MULTI_LABEL_DEFINITION` and `SINGLE_LABEL_DEFINITION`; rows (V, D) are from `unit_rows`,
    targets and groups as those of `MappedRows`. Where less than ``num_neighbours`` rows can vote,
    all of them do. Whole groups are resampled for the interval.
    """
    if len(targets) != len(unit) or len(groups) != len(unit):
        raise ShapeError(
            f"{len(unit)} embeddings, targets {targets.shape}, {len(groups)} groups: "
            "expected one of each for every row"
        )
    ranking = _Ranking(unit, groups)
    vote = _single_label_votes if single_label else _multi_label_votes
    counts, hits = vote(ranking, targets, num_neighbours)  # each (S, V, K)
    per_label = _label_accuracy(counts, hits, np.ones((1, len(unit))))  # (1, K)
    samples = [np.zeros(0)]
    if num_resamples:
        resamples = resampled_weights(groups, num_resamples=num_resamples, seed=seed)
        samples += [_macro(_label_accuracy(counts, hits, weights)) for weights in resamples]
    num_classes = int(counts.any(axis=1).sum()) if single_label else 2
    return NeighbourAccuracy(
        accuracy=float(_macro(per_label)[0]),
        chance=1 / num_classes if num_classes else float("nan"),
        label_accuracy=per_label[0],
        samples=np.concatenate(samples),
    )


def _label_accuracy(counts: BoolArray, hits: BoolArray, weights: FloatArray) -> FloatArray:
    """(R, K): the share of counted rows that are hits, averaged over the sides of a label."""
    num = np.einsum("rv,svk->srk", weights, counts.astype(np.float64))
    num_hits = np.einsum("rv,svk->srk", weights, (counts & hits).astype(np.float64))
    return np.asarray(np.where(num > 0, num_hits / np.maximum(num, 1), np.nan).mean(axis=0))


def _macro(label_accuracy: FloatArray) -> FloatArray:
    return mean_over_labels(label_accuracy, np.full(label_accuracy.shape[1], True))


class _Ranking:
    """All rows by nearness to each row: the ``order`` (V, V), and which are of other groups."""

    def __init__(self, unit: FloatArray, groups: Sequence[str]) -> None:
        _, group_of = np.unique(np.asarray(groups), return_inverse=True)
        self.order = np.argsort(-(unit @ unit.T), axis=1, kind="stable")
        self.is_other: BoolArray = group_of[self.order] != group_of[:, None]

    def voters(self, can_vote: BoolArray, num_neighbours: int) -> tuple[BoolArray, BoolArray]:
        """The rows that vote on each row, and all that could (V,): (V, V) bool, nearest first."""
        candidates = self.is_other & can_vote[self.order]
        return candidates & (candidates.cumsum(axis=1) <= num_neighbours), candidates


def _multi_label_votes(
    ranking: _Ranking, targets: NDArray[np.float32], num_neighbours: int
) -> tuple[BoolArray, BoolArray]:
    """Rows that count and rows that are predicted right, (2, V, K): with and without a label."""
    counts = np.zeros((2, *targets.shape), dtype=np.bool_)
    hits = np.zeros_like(counts)
    for label, column in enumerate(targets.T):
        voters, candidates = ranking.voters(column >= 0, num_neighbours)
        needed = voters.sum(axis=1) // 2 + 1  # (V,) votes that are a majority
        for side, value in enumerate((1.0, 0.0)):
            agrees = (column == value)[ranking.order]
            could_carry = (candidates & agrees).sum(axis=1) >= needed
            counts[side, :, label] = (column == value) & could_carry
            hits[side, :, label] = (voters & agrees).sum(axis=1) >= needed
    return counts, hits


def _single_label_votes(
    ranking: _Ranking, targets: NDArray[np.float32], num_neighbours: int
) -> tuple[BoolArray, BoolArray]:
    """Rows that count and rows that are predicted right, (1, V, K)."""
    is_label = targets == 1
    has_one = is_label.sum(axis=1) == 1
    label_of = is_label.argmax(axis=1)  # (V,)
    same = label_of[ranking.order] == label_of[:, None]
    has_likeness = (ranking.is_other & same & has_one[ranking.order]).any(axis=1)
    counts = (is_label & (has_one & has_likeness)[:, None])[None]
    voters, _ = ranking.voters(counts[0].any(axis=1), num_neighbours)
    hits = np.zeros_like(counts)
    for row in np.flatnonzero(counts[0].any(axis=1)):
        votes = label_of[ranking.order[row][voters[row]]]  # nearest first
        most = np.bincount(votes, minlength=targets.shape[1])
        winner = next(vote for vote in votes if most[vote] == most.max())
        hits[0, row, winner] = True
    return counts, hits
