"""A map of embeddings, and how far they keep labels apart: arrays and numbers only.

t-SNE shows neighbourhoods, and neither distances nor sizes mean anything in it. So the numbers
beside it are computed in the whole embedding: the silhouette, and how well the nearest rows tell
labels. Axes: V rows, D width of the embedding, K labels.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from msqnet.errors import DatasetError, MissingExtra
from msqnet.explain.neighbours import NeighbourAccuracy, neighbour_accuracy, unit_rows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from msqnet.config import EmbeddingMapConfig
    from msqnet.data.records import ClipTable
    from msqnet.explain.neighbours import Float64Array

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

_MAX_PCA_WIDTH = 50
_MAX_PERPLEXITY = 30.0


@dataclass(frozen=True)
class MappedRows:
    """What is known of the rows of a map, whatever their embeddings.

    Attributes:
        labels: K names of the labels that these rows show.
        targets: (V, K) float32 of 1 (seen), 0 (known to be absent) and -100 (not annotated).
        groups: V names of recordings, subjects or scenes.
        shown_labels: V names, see `SHOWN_LABEL_DEFINITION`; empty for rows without a label.
    """

    labels: tuple[str, ...]
    targets: NDArray[np.float32]
    groups: tuple[str, ...]
    shown_labels: tuple[str, ...]

    @classmethod
    def of(cls, table: ClipTable) -> MappedRows:
        """What a table says of its rows.

        Raises:
            DatasetError: too few rows for a map, or none with a label.
        """
        from msqnet.labels import LabelSet

        if len(table) < MIN_ROWS:
            raise DatasetError(
                f"{table.path}: {len(table)} row(s) chosen, expected at least {MIN_ROWS} for a "
                "map; choose another split or add rows"
            )
        names = table.label_names()
        if not names:
            raise DatasetError(
                f"{table.path}: none of the {len(table)} chosen rows has a label, so that there is "
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
    """One embedding of all rows: its map and its numbers.

    Attributes:
        coordinates: (V, 2) float64; only who lies beside whom means something.
        perplexity: that the map was made with.
        silhouette: see `SILHOUETTE_DEFINITION`; NaN where less than two labels can be compared.
        neighbours: how well the nearest rows tell labels.
    """

    coordinates: Float64Array
    perplexity: float
    silhouette: float
    neighbours: NeighbourAccuracy


def shown_labels(labels: Sequence[Sequence[str]]) -> tuple[str, ...]:
    """The one label by which each row is drawn; see `SHOWN_LABEL_DEFINITION`.

    Args:
        labels: the labels of V rows.

    Returns:
        V names, empty for rows without a label.
    """
    counts = Counter(name for names in labels for name in set(names))
    return tuple(
        min(names, key=lambda name: (counts[name], name)) if names else "" for names in labels
    )


def map_embeddings(
    embeddings: NDArray[np.floating],
    rows: MappedRows,
    config: EmbeddingMapConfig,
    *,
    single_label: bool,
) -> EmbeddingMap:
    """Draw up the map of one embedding and measure it.

    Args:
        embeddings: (V, D) float.
        rows: what is known of them.
        config: how.
        single_label: whether each row has exactly one label, and a vote has one winner.

    Raises:
        DatasetError: all rows have the same embedding.
        MissingExtra: scikit-learn is not installed.
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


def tsne(unit: Float64Array, *, perplexity: float, seed: int) -> Float64Array:
    """Coordinates by t-SNE, of the 50 main components at most.

    Args:
        unit: (V, D), from `unit_rows`: Euclidean distances rank as cosines do.
        perplexity: about how many neighbours stay close to each row.
        seed: the same seed gives the same map on one machine.

    Returns:
        (V, 2) float64, centred.

    Raises:
        MissingExtra: scikit-learn is not installed.
    """
    try:
        from sklearn.decomposition import PCA
        from sklearn.manifold import TSNE
        from threadpoolctl import threadpool_limits
    except ImportError as error:
        raise MissingExtra("a map of embeddings", extra="explain") from error
    width = min(_MAX_PCA_WIDTH, *unit.shape)
    embedder = TSNE(perplexity=perplexity, init="pca", random_state=seed)
    # Sums over several threads come out in another order each time, and t-SNE amplifies that.
    with threadpool_limits(limits=1):
        components = PCA(width, svd_solver="full").fit_transform(unit)
        coordinates = embedder.fit_transform(components)
    return np.asarray(coordinates - coordinates.mean(axis=0), dtype=np.float64)


def label_silhouette(unit: Float64Array, labels: Sequence[str]) -> float:
    """How far rows of one label lie from those of the nearest other one.

    Args:
        unit: (V, D), from `unit_rows`.
        labels: V names, empty for rows that take no part.

    Returns:
        See `SILHOUETTE_DEFINITION`; NaN where less than two labels can be compared.

    Raises:
        MissingExtra: scikit-learn is not installed.
    """
    try:
        from sklearn.metrics import silhouette_score
    except ImportError as error:
        raise MissingExtra("the silhouette of embeddings", extra="explain") from error
    counts = Counter(name for name in labels if name)
    takes_part = np.array([counts[name] > 1 for name in labels], dtype=np.bool_)
    clusters = np.asarray(labels)[takes_part]
    if len(set(clusters.tolist())) < 2:
        return float("nan")
    return float(silhouette_score(unit[takes_part], clusters, metric="cosine"))
