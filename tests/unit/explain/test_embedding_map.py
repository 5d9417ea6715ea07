"""Maps of embeddings, and the silhouette beside them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import silhouette_score

from msqnet.config import EmbeddingMapConfig
from msqnet.data.records import ClipTable, Record
from msqnet.errors import ConfigError, DatasetError
from msqnet.explain.embedding_map import (
    MIN_ROWS,
    MappedRows,
    label_silhouette,
    map_embeddings,
    shown_labels,
    tsne,
)
from msqnet.explain.neighbours import unit_rows
from tests.unit.explain.test_neighbours import clusters

NAMES = ("sit", "walk", "sleep")


def table_of(*labels: tuple[str, ...]) -> ClipTable:
    records = (
        Record(
            row=index + 2,
            path=Path(f"/videos/{index}.mp4"),
            relative_path=f"{index}.mp4",
            labels=names,
            group=f"group {index}",
        )
        for index, names in enumerate(labels)
    )
    return ClipTable(Path("/videos/clips.csv"), tuple(records))


def clustered_rows() -> MappedRows:
    _, label_of = clusters(0.1)
    return MappedRows.of(table_of(*((NAMES[label],) for label in label_of)))


def test_clusters_far_apart_have_a_silhouette_near_one() -> None:
    embeddings, _ = clusters(0.1)
    found = map_embeddings(embeddings, clustered_rows(), EmbeddingMapConfig(), single_label=False)

    assert found.silhouette > 0.95
    assert found.neighbours.accuracy == 1


def test_shuffled_labels_have_a_silhouette_near_zero() -> None:
    embeddings, label_of = clusters(0.1)
    rng = np.random.default_rng(0)
    found = [
        label_silhouette(
            unit_rows(embeddings), [NAMES[label] for label in rng.permutation(label_of)]
        )
        for _ in range(30)
    ]

    # A row is nearer to its own label only by luck, and to the best of two others more often.
    assert -0.3 < np.mean(found) < 0.02


def test_silhouette_is_that_of_scikit_learn_over_rows_that_can_be_compared() -> None:
    embeddings, label_of = clusters(5.0)
    unit = unit_rows(embeddings)
    names = [NAMES[label] for label in label_of]
    expected = silhouette_score(unit[2:], names[2:], metric="cosine")
    names[0], names[1] = "", "only here"

    assert label_silhouette(unit, names) == pytest.approx(expected)
    assert 0 < expected < 0.9


def test_one_label_alone_has_no_silhouette() -> None:
    embeddings, label_of = clusters(0.1)
    names = ["sit"] * (len(label_of) - 1) + ["only here"]

    assert np.isnan(label_silhouette(unit_rows(embeddings), names))


def test_same_seed_gives_the_same_map() -> None:
    unit = unit_rows(clusters(5.0)[0])
    first = tsne(unit, perplexity=8.0, seed=1)

    np.testing.assert_array_equal(first, tsne(unit, perplexity=8.0, seed=1))
    assert first.shape == (len(unit), 2)
    assert np.ptp(first, axis=0).min() > 1


def test_map_keeps_clusters_together() -> None:
    embeddings, label_of = clusters(0.1)
    places = tsne(unit_rows(embeddings), perplexity=8.0, seed=0)

    assert silhouette_score(places, label_of) > 0.6
    np.testing.assert_allclose(places.mean(axis=0), 0, atol=1e-4)


def test_wide_embeddings_of_few_rows_are_mapped() -> None:
    embeddings = np.random.default_rng(0).normal(size=(MIN_ROWS, 300)).astype(np.float32)
    rows = MappedRows.of(table_of(*([("sit",), ("walk",)] * (MIN_ROWS // 2))))
    found = map_embeddings(embeddings, rows, EmbeddingMapConfig(), single_label=False)

    assert np.isfinite(found.coordinates).all()
    assert found.perplexity == (MIN_ROWS - 1) / 3


def test_perplexity_asked_for_is_taken_as_far_as_there_are_rows() -> None:
    embeddings, _ = clusters(0.1)
    rows = clustered_rows()
    for asked, expected in ((4.0, 4.0), (1000.0, 35 / 3), (None, 35 / 3)):
        config = EmbeddingMapConfig(perplexity=asked, num_resamples=0)
        found = map_embeddings(embeddings, rows, config, single_label=True)
        assert found.perplexity == expected


def test_row_is_shown_by_its_rarest_label() -> None:
    labels = [("sit", "walk"), ("sit",), ("sit", "walk", "eat"), (), ("jump", "eat", "sit")]

    assert shown_labels(labels) == ("walk", "sit", "eat", "", "jump")


def test_too_few_rows_are_refused() -> None:
    with pytest.raises(DatasetError, match=r"clips\.csv: 3 row\(s\) chosen, expected at least 10"):
        MappedRows.of(table_of(("sit",), ("walk",), ("sit",)))


def test_rows_without_any_label_are_refused() -> None:
    with pytest.raises(DatasetError, match="none of the 12 chosen rows has a label"):
        MappedRows.of(table_of(*[()] * 12))


def test_rows_that_are_all_alike_are_refused() -> None:
    with pytest.raises(DatasetError, match="all 36 rows have the same embedding"):
        map_embeddings(np.ones((36, 4)), clustered_rows(), EmbeddingMapConfig(), single_label=False)


@pytest.mark.parametrize(
    "settings",
    [{"perplexity": 0.0}, {"num_neighbours": 0}, {"num_resamples": -1}, {"seed": -1}],
)
def test_settings_that_cannot_work_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=next(iter(settings))):
        EmbeddingMapConfig(**settings)  # type: ignore[arg-type]
