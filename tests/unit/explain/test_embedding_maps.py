"""Maps of embeddings, and numbers of how far labels are kept apart."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import silhouette_score
from sklearn.neighbors import KNeighborsClassifier

from msqnet.config import EmbeddingMapConfig
from msqnet.data.records import ClipTable, Record
from msqnet.errors import ConfigError, DatasetError, ShapeError
from msqnet.explain.embedding_maps import (
    MIN_ROWS,
    MappedRows,
    NeighbourAccuracy,
    label_silhouette,
    map_embeddings,
    neighbour_accuracy,
    shown_labels,
    tsne,
    unit_rows,
)

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


NUM_LABELS, PER_LABEL, WIDTH = 3, 12, 8


def clusters(
    spread: float, *, seed: int = 0, per_label: int = PER_LABEL
) -> tuple[np.ndarray, np.ndarray]:
    """Embeddings around one far-off centre a label, and which label each row has."""
    rng = np.random.default_rng(seed)
    label_of = np.repeat(np.arange(NUM_LABELS), per_label)
    centres = 10 * np.eye(WIDTH)[:NUM_LABELS]
    noise = spread * rng.normal(size=(len(label_of), WIDTH))
    return centres[label_of] + noise, label_of


def one_hot(label_of: np.ndarray) -> np.ndarray:
    return np.eye(NUM_LABELS, dtype=np.float32)[label_of]


def own_groups(num_rows: int) -> list[str]:
    return [str(index) for index in range(num_rows)]


def measured(
    embeddings: np.ndarray,
    targets: np.ndarray,
    groups: list[str] | None = None,
    *,
    num_neighbours: int = 5,
    single_label: bool = False,
    num_resamples: int = 0,
) -> NeighbourAccuracy:
    return neighbour_accuracy(
        unit_rows(embeddings),
        targets,
        own_groups(len(embeddings)) if groups is None else groups,
        num_neighbours=num_neighbours,
        single_label=single_label,
        num_resamples=num_resamples,
    )


@pytest.mark.parametrize("single_label", [False, True])
def test_clusters_far_apart_are_all_told(single_label: bool) -> None:
    embeddings, label_of = clusters(0.1)
    found = measured(embeddings, one_hot(label_of), single_label=single_label)

    assert found.accuracy == 1
    assert found.num_labels == NUM_LABELS


@pytest.mark.parametrize(("single_label", "chance"), [(False, 1 / 2), (True, 1 / 3)])
def test_shuffled_labels_are_told_by_chance(single_label: bool, chance: float) -> None:
    embeddings, label_of = clusters(0.1, per_label=60)
    rng = np.random.default_rng(0)
    found = [
        measured(embeddings, one_hot(rng.permutation(label_of)), single_label=single_label)
        for _ in range(20)
    ]

    assert {item.chance for item in found} == {chance}
    # A row is no neighbour of itself, which makes its label a little rarer: chance less about 0.01.
    # The standard error of the mean of 20 shuffles of 180 rows is about 0.01.
    assert np.mean([item.accuracy for item in found]) == pytest.approx(chance, abs=0.04)


def test_one_label_a_row_is_voted_on_as_scikit_learn_does() -> None:
    embeddings, label_of = clusters(6.0, seed=3)
    unit = unit_rows(embeddings)
    told = []
    for row in range(len(unit)):
        others = np.arange(len(unit)) != row
        voter = KNeighborsClassifier(n_neighbors=1, metric="cosine").fit(
            unit[others], label_of[others]
        )
        told.append(voter.predict(unit[row : row + 1])[0])
    recalls = [np.mean(np.array(told)[label_of == label] == label) for label in range(NUM_LABELS)]

    found = measured(embeddings, one_hot(label_of), num_neighbours=1, single_label=True)
    np.testing.assert_allclose(found.label_accuracy, recalls)
    assert 0.4 < found.accuracy < 1
    assert found.accuracy == pytest.approx(np.mean(recalls))


def test_majorities_are_those_of_scikit_learn_label_by_label() -> None:
    embeddings, label_of = clusters(6.0, seed=4)
    unit, targets = unit_rows(embeddings), one_hot(label_of)
    expected = []
    for column in targets.T:
        told = []
        for row in range(len(unit)):
            others = np.arange(len(unit)) != row
            voter = KNeighborsClassifier(n_neighbors=5, metric="cosine").fit(
                unit[others], column[others]
            )
            told.append(voter.predict(unit[row : row + 1])[0])
        hits = np.array(told) == column
        expected.append((hits[column == 1].mean() + hits[column == 0].mean()) / 2)

    np.testing.assert_allclose(measured(embeddings, targets).label_accuracy, expected)


def test_rows_of_the_same_group_are_no_neighbours() -> None:
    # Every recording lies on a spot of its own, and its two rows show the same label; the nearest
    # spot always shows the other one.
    angles = np.repeat(np.linspace(0, 2 * np.pi, 8, endpoint=False), 2)
    embeddings = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    embeddings[1::2] *= 1.001
    targets = one_hot(np.repeat([0, 1] * 4, 2))[:, :2]
    recordings = [str(index // 2) for index in range(len(embeddings))]

    assert measured(embeddings, targets, num_neighbours=1).accuracy == 1
    assert measured(embeddings, targets, recordings, num_neighbours=1).accuracy == 0


def test_unknown_label_neither_votes_nor_counts() -> None:
    embeddings, label_of = clusters(0.1)
    targets = one_hot(label_of)
    expected = measured(embeddings, targets)
    # Rows beside the first cluster that nobody looked at for label 0: as negatives they would turn
    # the vote of its rows.
    beside = embeddings[:PER_LABEL].repeat(3, axis=0)
    unknown = np.zeros((len(beside), NUM_LABELS), np.float32)
    all_embeddings = np.concatenate([embeddings, beside])
    as_negatives = measured(all_embeddings, np.concatenate([targets, unknown]))
    unknown[:, 0] = -100
    found = measured(all_embeddings, np.concatenate([targets, unknown]))

    assert expected.label_accuracy[0] == 1
    assert found.label_accuracy[0] == 1
    assert as_negatives.label_accuracy[0] < 0.8


def test_rows_that_no_vote_could_tell_do_not_count() -> None:
    embeddings, label_of = clusters(0.1)
    targets = one_hot(label_of)
    targets[:, 2] = 0
    targets[[0, 1, 2], 2] = 1  # two others with it: less than a majority of five
    found = measured(embeddings, targets)

    assert np.isnan(found.label_accuracy[2])
    assert found.num_labels == 2
    assert found.accuracy == 1


def test_label_of_one_group_alone_takes_no_part() -> None:
    embeddings, label_of = clusters(0.1)
    groups = own_groups(len(label_of))
    groups[2 * PER_LABEL :] = ["one"] * PER_LABEL
    found = measured(embeddings, one_hot(label_of), groups, single_label=True)

    assert np.isnan(found.label_accuracy[2])
    assert found.chance == 1 / 2


def test_rows_without_exactly_one_label_take_no_part_where_one_wins() -> None:
    embeddings, label_of = clusters(0.1)
    targets = one_hot(label_of)
    targets[0] = 0
    targets[PER_LABEL] = 1
    rest = np.setdiff1d(np.arange(len(targets)), [0, PER_LABEL])
    found = measured(embeddings, targets, single_label=True)

    assert found.accuracy == measured(embeddings[rest], targets[rest], single_label=True).accuracy


def test_equal_votes_go_to_the_nearest() -> None:
    angles = np.radians([0, 10, 30, 180, 190, 210])
    embeddings = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    targets = one_hot(np.array([0, 0, 1, 0, 0, 1]))[:, :2]
    found = measured(embeddings, targets, num_neighbours=2, single_label=True)

    np.testing.assert_allclose(found.label_accuracy, [1, 0])


def test_less_voters_than_asked_for_all_vote() -> None:
    embeddings, label_of = clusters(0.1)
    kept = np.r_[0:4, PER_LABEL : PER_LABEL + 4]
    few = measured(embeddings[kept], one_hot(label_of)[kept][:, :2], num_neighbours=100)

    # Of the seven others three are like the row: no vote of all of them tells it.
    assert np.isnan(few.accuracy)
    assert few.num_labels == 0


def test_interval_holds_the_figure_and_is_that_of_whole_groups() -> None:
    embeddings, label_of = clusters(6.0, seed=4)
    targets = one_hot(label_of)
    found = measured(embeddings, targets, num_resamples=200)
    low, high = found.interval

    assert low < found.accuracy < high
    assert np.isnan(measured(embeddings, targets).interval).all()
    whole = measured(embeddings, targets, ["one"] * len(targets), num_resamples=20)
    assert np.isnan(whole.accuracy)


def test_difference_is_taken_in_the_same_resamples() -> None:
    embeddings, label_of = clusters(6.0, seed=4)
    better, _ = clusters(0.1)
    targets = one_hot(label_of)
    worse_found = measured(embeddings, targets, num_resamples=200)
    found = measured(better, targets, num_resamples=200)
    difference, low, high = found.minus(worse_found)

    assert difference == pytest.approx(1 - worse_found.accuracy)
    assert 0 < low < difference < high
    assert worse_found.minus(worse_found) == (0, 0, 0)


def test_unit_rows_are_centred_first() -> None:
    rows = np.array([[101.0, 100.0], [99.0, 100.0], [100.0, 102.0], [100.0, 98.0]])

    np.testing.assert_allclose(unit_rows(rows), [[1, 0], [-1, 0], [0, 1], [0, -1]])


def test_row_at_the_mean_stays_zero() -> None:
    assert not unit_rows(np.ones((3, 2))).any()


def test_values_that_are_not_finite_are_refused() -> None:
    with pytest.raises(ShapeError, match="all values finite"):
        unit_rows(np.array([[1.0, np.nan]]))


def test_parts_of_different_length_are_refused() -> None:
    embeddings, label_of = clusters(0.1)
    with pytest.raises(ShapeError, match="one of each for every row"):
        measured(embeddings, one_hot(label_of)[1:])
