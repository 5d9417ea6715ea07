from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from msqnet.errors import CheckpointError, ShapeError
from msqnet.labels import LabelSet
from msqnet.model.out_of_distribution import (
    REFERENCE_FILE,
    TrainingReference,
    actors_of_labels,
    clip_embeddings,
    rows_of_actors,
    spread_over_groups,
)
from tests.fixtures.models import random_inputs, tiny_model

if TYPE_CHECKING:
    from pathlib import Path

# Two places on opposite sides of the mean: cosine distances are 0 or 2.
OPPOSITE = np.array([[3, 1], [3, 1], [-1, 1], [-1, 1]], dtype=np.float32)


def fitted(values: Any, videos: str, groups: str) -> TrainingReference:
    reference = TrainingReference.fit(np.asarray(values, np.float32), list(videos), list(groups))
    assert reference is not None
    return reference


def test_training_videos_are_compared_with_other_groups() -> None:
    apart = fitted(OPPOSITE, "abcd", "abcd")
    in_pairs = fitted(OPPOSITE, "abcd", "aabb")

    # The like one is of another group, or of the same: then only opposite ones are left.
    assert apart.distances == pytest.approx([0.0] * 4, abs=1e-6)
    assert in_pairs.distances == pytest.approx([2.0] * 4)


def test_distance_of_a_new_clip_is_that_to_the_nearest_window() -> None:
    reference = fitted(np.repeat(OPPOSITE, 5, axis=0), "a" * 10 + "b" * 10, "a" * 10 + "b" * 10)

    distances = reference.distance(np.array([[7, 1], [1, 5], [-2, 1]], np.float32))

    assert distances == pytest.approx([0.0, 1.0, 0.0], abs=1e-6)


def test_a_video_counts_once_by_the_median_of_its_windows() -> None:
    east, north, west, south = [1, 0], [0, 1], [-1, 0], [0, -1]

    reference = fitted([east, north, west, east, south, west], "aaabbc", "aaabbc")

    # a: a twin of its first window and of its third, and a right angle from its second.
    # b: a twin of its first, a right angle from its second. c: a twin.
    medians = [np.median([0, 1, 0]), np.median([0, 1]), 0]
    assert reference.distances == pytest.approx(sorted(medians), abs=1e-3)


def test_share_counts_training_videos_that_are_nearer() -> None:
    reference = TrainingReference(
        np.zeros(1, np.float32),
        np.ones((1, 1), np.float32),
        np.array([0.1, 0.2, 0.2, 0.4], np.float32),
    )

    shares = [reference.share_nearer(value) for value in (0.0, 0.2, 0.3, 9.0)]

    assert shares == [0.0, 0.25, 0.75, 1.0]


def test_windows_of_one_group_say_nothing_of_new_videos() -> None:
    assert TrainingReference.fit(OPPOSITE, list("abcd"), ["one"] * 4) is None


def test_saved_reference_gives_the_same_distances(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    values = generator.normal(size=(40, 8)).astype(np.float32)
    groups = [str(row // 2) for row in range(40)]
    reference = TrainingReference.fit(values, groups, groups)
    assert reference is not None
    asked = generator.normal(size=(5, 8)).astype(np.float32)

    reference.save(tmp_path)
    again = TrainingReference.load(tmp_path)

    assert again is not None
    assert np.array_equal(again.distance(asked), reference.distance(asked))
    assert np.array_equal(again.distances, reference.distances)
    assert again.digest == reference.digest


def test_digest_tells_references_apart() -> None:
    assert fitted(OPPOSITE, "abcd", "abcd").digest != fitted(OPPOSITE, "abcd", "aabb").digest


def test_folder_without_the_file_has_no_reference(tmp_path: Path) -> None:
    assert TrainingReference.load(tmp_path) is None


def test_damaged_file_is_an_error_that_says_how_to_make_it_anew(tmp_path: Path) -> None:
    (tmp_path / REFERENCE_FILE).write_bytes(b"not tensors")

    with pytest.raises(CheckpointError, match=r"novelty\.safetensors: damaged .*--training-data"):
        TrainingReference.load(tmp_path)


def test_embedding_of_another_model_is_refused() -> None:
    with pytest.raises(ShapeError, match=r"found \(1, 3\), expected \(B, 2\)"):
        fitted(OPPOSITE, "abcd", "abcd").distance(np.zeros((1, 3), np.float32))


@pytest.mark.parametrize(
    ("values", "videos"), [([[1.0, np.nan]] * 2, "ab"), ([[1.0, 2.0]] * 2, "abc")]
)
def test_values_that_cannot_be_described_are_refused(values: Any, videos: str) -> None:
    with pytest.raises(ShapeError):
        TrainingReference.fit(np.asarray(values, np.float32), list(videos), list(videos))


def test_rows_are_spread_over_groups_of_any_size() -> None:
    groups = ["large"] * 50 + ["small"] * 2 + ["single"]

    chosen = spread_over_groups(groups, 6, seed=0)

    names = [groups[row] for row in chosen]
    assert sorted(names) == ["large"] * 3 + ["single"] + ["small"] * 2
    assert chosen.tolist() == sorted(chosen.tolist())
    assert spread_over_groups(groups, 53, seed=0).tolist() == list(range(53))


@pytest.mark.parametrize("encoder", ["lite", "timesformer"])
def test_every_encoder_gives_an_embedding_of_the_decoders_width(encoder: str) -> None:
    model = tiny_model(encoder)
    with torch.inference_mode():
        output = model(**random_inputs(encoder, 3))

    embeddings = clip_embeddings(model, output)

    assert embeddings.shape == (3, model.config.width)
    assert embeddings == pytest.approx(output.memory.numpy().mean(axis=1), abs=1e-6)


def test_models_that_compare_appearance_embed_what_the_backbone_saw() -> None:
    model = tiny_model("lite")
    model.config.compares_appearance = True
    inputs = random_inputs("lite", 3)
    with torch.inference_mode():
        output = model(**inputs)
        pooled = model.encode(**inputs)["pooled"]  # (B, G, T, E)

    embeddings = clip_embeddings(model, output)

    assert embeddings.numpy() == pytest.approx(pooled[:, -1].mean(dim=1).numpy(), abs=1e-5)


def with_actors(label_actors: dict[str, list[str]]) -> TrainingReference:
    """Ten windows of mice in the east, ten of people in the north."""
    groups = [f"scene {row}" for row in range(20)]
    reference = TrainingReference.fit(
        np.repeat(np.float32([[1, 0], [0, 1]]), 10, axis=0),
        *(groups, groups),
        is_centred=False,
        actors=["mouse"] * 10 + ["person"] * 10,
        label_actors=label_actors,
    )
    assert reference is not None
    return reference


def test_nearest_training_windows_tell_the_kind_of_actor(tmp_path: Path) -> None:
    reference = with_actors({"turning": ["mouse"]})
    reference.save(tmp_path)
    read = TrainingReference.load(tmp_path)
    assert read is not None
    assert read.digest == reference.digest
    assert read.actor_votes(np.float32([[5, 0], [0, 9]])) == {"mouse": 1, "person": 1}
    assert read.actor_votes(np.float32([[5, 0], [1, 1]])) == {"mouse": 1}  # the second is unknown
    assert not fitted(OPPOSITE, "abcd", "abcd").actor_votes(OPPOSITE)
    new = np.float32([[1, 1]])
    more = read.with_windows(new)
    assert read.window_limit is not None
    assert read.distance(new)[0] > read.window_limit
    assert more.distance(new)[0] == pytest.approx(0, abs=1e-6)
    assert not more.actor_votes(new)  # what it shows was not said


@pytest.mark.parametrize(
    ("shares", "named"),
    [
        ({"person": 1.0}, {"turning"}),
        ({"person": 0.95, "mouse": 0.05}, {"turning"}),
        ({"person": 0.8, "mouse": 0.2}, set()),
        ({"mouse": 1.0}, set()),
        ({}, set()),
    ],
)
def test_labels_of_other_actors_are_named(shares: dict[str, float], named: set[str]) -> None:
    reference = with_actors(
        {"turning": ["mouse"], "walking": ["mouse", "person"], "unsaid": ["", "mouse"]}
    )
    found = reference.labels_of_others(shares)
    assert set(found) == named
    assert all("annotated for mouse only" in reason for reason in found.values())


def test_labels_count_for_the_actors_that_rows_annotate_them_for() -> None:
    targets = np.array([[1, -100], [0, -100], [-100, 1], [-100, 0]])
    actors = ["mouse", "person", "rat", ""]
    found = actors_of_labels(targets, actors, LabelSet(("walking", "turning")))
    assert found == {"walking": ["mouse", "person"], "turning": ["", "rat"]}


def test_background_is_not_what_a_model_knows() -> None:
    targets = np.array([[1, 0], [0, 0], [0, 0], [0, -100]])
    # The second row is of a recording that shows a label elsewhere, the fourth is not all known.
    assert rows_of_actors(targets, ["a", "a", "street", "b"]) == [0, 1, 3]
