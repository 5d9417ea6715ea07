"""How well the nearest rows of other groups tell labels."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.neighbors import KNeighborsClassifier

from msqnet.errors import ShapeError
from msqnet.explain.neighbours import NeighbourAccuracy, neighbour_accuracy, unit_rows

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
