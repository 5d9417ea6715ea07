"""Stored trunk features: what they equal, what makes them stale, and going on after a kill."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from msqnet.config import AugmentationConfig
from msqnet.data.dataset import ClipDataset
from msqnet.errors import ConfigError
from msqnet.training.features import FeatureDataset, FeatureStore
from tests.fixtures.models import tiny_model
from tests.fixtures.tables import BRIGHT_AND_DARK, write_brightness_table

if TYPE_CHECKING:
    from pathlib import Path

    from msqnet.data.records import ClipTable
    from msqnet.model.msqnet import MSQNet

NUM_ROWS, NUM_VIEWS = 3, 2


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> ClipTable:
    return write_brightness_table(tmp_path_factory.mktemp("videos"), NUM_ROWS)


@pytest.fixture(scope="module")
def model() -> MSQNet:
    return tiny_model("lite", labels=list(BRIGHT_AND_DARK))


def dataset_of(table: ClipTable, model: MSQNet, **settings: Any) -> ClipDataset:
    defaults = {"augmentation": AugmentationConfig(), "seed": 3}
    config = settings.pop("config", model.config.clip_config)
    return ClipDataset(table, BRIGHT_AND_DARK, config, **{**defaults, **settings})


def filled_store(folder: Path, model: MSQNet, dataset: ClipDataset) -> FeatureStore:
    store = FeatureStore(folder, model, dataset, NUM_VIEWS)
    store.fill(np.arange(len(dataset)), augmented=True, batch_size=2)
    return store


@pytest.fixture(scope="module")
def store(
    tmp_path_factory: pytest.TempPathFactory, model: MSQNet, table: ClipTable
) -> FeatureStore:
    return filled_store(tmp_path_factory.mktemp("features"), model, dataset_of(table, model))


@torch.inference_mode()
def test_unchanged_view_gives_the_logits_of_the_pixels(store: FeatureStore, model: MSQNet) -> None:
    plain = ClipDataset(store.dataset.table, BRIGHT_AND_DARK, model.config.clip_config)
    for row in range(NUM_ROWS):
        item, stored = plain[row], store.item(row, 0)
        expected = model(**{name: value[None] for name, value in item.items()})
        found = model(**{name: value[None] for name, value in stored.items()})
        # Eleven bits of mantissa; queries are differences of features, so they lose more of them.
        torch.testing.assert_close(
            found.decoder_logits, expected.decoder_logits, atol=0.02, rtol=0.02
        )


@torch.inference_mode()
def test_every_view_holds_the_features_of_its_own_augmentation(
    store: FeatureStore, model: MSQNet
) -> None:
    assert store.maps.shape == (1 + NUM_VIEWS, NUM_ROWS, 2, 4, 1, 320)
    for view in range(1, 1 + NUM_VIEWS):
        for row in range(NUM_ROWS):
            clip = store.dataset.clip(row, view)
            features = model.video_encoder.features(clip.pixels[None], clip.closeup[None])
            maps = torch.from_numpy(store.maps[view, row])
            # Half precision; batches of another size add in another order, which weights magnify.
            torch.testing.assert_close(maps.float(), features.maps[0], atol=0.02, rtol=0.01)
    assert not np.array_equal(store.maps[1], store.maps[2])


def test_interrupted_filling_goes_on_where_it_stopped(
    tmp_path: Path, model: MSQNet, table: ClipTable
) -> None:
    dataset = dataset_of(table, model)
    first = filled_store(tmp_path, model, dataset)
    expected = np.array(first.maps)
    first.maps[1, 2] = first.maps[2, 0] = -7  # what a kill may leave half-written
    first.maps[0, 0] = 5  # done, so not computed again
    first._is_done[1, 2] = first._is_done[2, 0] = 0
    del first
    second = FeatureStore(tmp_path, model, dataset, NUM_VIEWS)
    assert second.missing(np.arange(NUM_ROWS), augmented=True) == [(2, 1), (0, 2)]
    seen: list[tuple[int, int]] = []
    rows = np.arange(NUM_ROWS)
    second.fill(rows, augmented=True, batch_size=1, progress=lambda *counts: seen.append(counts))
    assert seen == [(1, 2), (2, 2)]
    assert second.missing(np.arange(NUM_ROWS), augmented=True) == []
    assert (second.maps[0, 0] == 5).all()
    second.maps[0, 0] = expected[0, 0]
    # Batches of other sizes may add in another order; in half precision that is the last bit.
    np.testing.assert_allclose(second.maps, expected, atol=0.02, rtol=0.01)


def test_whatever_features_depend_on_gives_another_folder(
    tmp_path: Path, model: MSQNet, table: ClipTable
) -> None:
    def folder(dataset: ClipDataset, num_views: int = NUM_VIEWS, of: MSQNet = model) -> str:
        return FeatureStore(tmp_path, of, dataset, num_views).folder.name

    clip = model.config.clip_config
    other_motion = replace(clip, motion=replace(clip.motion, margin=2.0))
    other_trunk = tiny_model("lite", labels=list(BRIGHT_AND_DARK))
    with torch.no_grad():
        other_trunk.video_encoder.trunk.network.head.conv.weight[0, 0] += 1e-3
    found = [
        folder(dataset_of(table, model)),
        folder(dataset_of(table, model, seed=4)),
        folder(dataset_of(table, model, config=other_motion)),
        folder(dataset_of(table, model, augmentation=AugmentationConfig(hue=0.2))),
        folder(dataset_of(table.take([0, 1]), model)),
        folder(dataset_of(table, model), num_views=1),
        folder(dataset_of(table, model), of=other_trunk),
    ]
    assert len(set(found)) == len(found)


def test_weights_behind_the_trunk_leave_the_features_valid(
    tmp_path: Path, model: MSQNet, table: ClipTable
) -> None:
    other_decoder = tiny_model("lite", labels=list(BRIGHT_AND_DARK))
    with torch.no_grad():
        other_decoder.head.weight += 1
    folders = {
        FeatureStore(tmp_path, of, dataset_of(table, of), NUM_VIEWS).folder
        for of in (model, other_decoder)
    }
    assert len(folders) == 1


TARGETS = [torch.tensor([float(row), 1.0]) for row in range(NUM_ROWS)]


def test_targets_come_with_the_features(store: FeatureStore) -> None:
    data = FeatureDataset(store, np.array([2, 0]), [TARGETS[2], TARGETS[0]])
    assert [float(data[index]["labels"][0]) for index in range(2)] == [2.0, 0.0]


def test_plain_rows_are_filled_without_their_augmented_views(
    tmp_path: Path, model: MSQNet, table: ClipTable
) -> None:
    store = FeatureStore(tmp_path, model, dataset_of(table, model), NUM_VIEWS)
    store.fill(np.array([1]), augmented=False)
    assert store.missing(np.arange(NUM_ROWS), augmented=False) == [(0, 0), (2, 0)]
    assert (1, 1) in store.missing(np.array([1]), augmented=True)


def views_shown(data: FeatureDataset, store: FeatureStore, index: int) -> int:
    maps = data[index]["trunk_maps"].numpy()
    row = data.rows[index]
    return next(
        view for view in range(1 + NUM_VIEWS) if np.array_equal(maps, store.maps[view, row])
    )


def test_views_are_drawn_by_epoch_and_row_alone(store: FeatureStore) -> None:
    data = FeatureDataset(store, np.arange(NUM_ROWS), TARGETS, view_seed=0)
    reordered = FeatureDataset(store, np.array([2, 0]), TARGETS, view_seed=0)
    drawn = []
    for epoch in range(30):
        data.epoch = reordered.epoch = epoch
        drawn.append([views_shown(data, store, row) for row in range(NUM_ROWS)])
        assert [views_shown(reordered, store, index) for index in (0, 1)] == [
            drawn[-1][2],
            drawn[-1][0],
        ]
    for row in range(NUM_ROWS):
        assert {views[row] for views in drawn} == {0, 1, 2}


def test_rows_without_augmentation_show_the_unchanged_view(store: FeatureStore) -> None:
    data = FeatureDataset(store, np.array([1, 2]), TARGETS)
    for epoch in range(5):
        data.epoch = epoch
        assert [views_shown(data, store, index) for index in range(len(data))] == [0, 0]


def test_encoder_without_a_trunk_is_refused(tmp_path: Path, table: ClipTable) -> None:
    model = tiny_model("timesformer", labels=list(BRIGHT_AND_DARK))
    with pytest.raises(ConfigError, match="cached_views needs the lite video encoder"):
        FeatureStore(tmp_path, model, dataset_of(table, model), 1)
