"""Stored features: what they equal, what makes them stale, who may fill and read them."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from msqnet.clips import ClipBatch
from msqnet.config import AugmentationConfig
from msqnet.data.dataset import ClipDataset
from msqnet.data.records import ClipTable
from msqnet.errors import ConfigError, UnreadableVideo
from msqnet.training import features
from msqnet.training.features import FeatureDataset, FeatureStore, collate
from tests.fixtures.models import tiny_model
from tests.fixtures.tables import BRIGHT_AND_DARK, write_brightness_table

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from msqnet.model.pretrained import MSQNet

NUM_ROWS, NUM_VIEWS = 3, 2
ALL_ROWS = np.arange(NUM_ROWS)


def stored_item(store: FeatureStore, row: int, view: int) -> dict[str, torch.Tensor]:
    return {name: values[0] for name, values in store.batch([row], [view]).items()}


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


def store_of(
    folder: Path,
    model: MSQNet,
    table: ClipTable,
    finetune: str = "after_trunk",
    num_views: int = NUM_VIEWS,
    **settings: Any,
) -> FeatureStore:
    return FeatureStore(folder, model, dataset_of(table, model, **settings), num_views, finetune)


def filled_store(folder: Path, model: MSQNet, table: ClipTable, *args: Any) -> FeatureStore:
    store = store_of(folder, model, table, *args)
    store.fill(np.arange(len(table)), augmented=True)
    return store


def all_features(store: FeatureStore) -> dict[str, Tensor]:
    pairs = [(row, view) for row in range(len(store.dataset)) for view in range(NUM_VIEWS + 1)]
    rows, views = zip(*pairs, strict=True)
    return store.batch(rows, views)


def assert_same_features(found: FeatureStore, expected: dict[str, Tensor]) -> None:
    values = all_features(found)
    assert values.keys() == expected.keys()
    for name, tensor in expected.items():
        assert torch.equal(values[name], tensor), name


@pytest.fixture(scope="module")
def finished(
    tmp_path_factory: pytest.TempPathFactory, model: MSQNet, table: ClipTable
) -> FeatureStore:
    return filled_store(tmp_path_factory.mktemp("features"), model, table)


@pytest.fixture
def store(tmp_path: Path, finished: FeatureStore, model: MSQNet, table: ClipTable) -> FeatureStore:
    """A filled store of the test's own."""
    shutil.copytree(finished.folder.parent, tmp_path / "features")
    return store_of(tmp_path / "features", model, table)


@pytest.mark.parametrize(
    ("encoder", "finetune", "names"),
    [
        ("lite", "after_trunk", {"maps", "pooled"}),
        ("lite", "decoder", {"frame_memory", "video_query"}),
        ("timesformer", "decoder", {"frame_memory", "video_query"}),
    ],
)
@torch.inference_mode()
def test_unchanged_view_gives_the_logits_of_the_pixels(
    tmp_path: Path, table: ClipTable, encoder: str, finetune: str, names: set[str]
) -> None:
    model = tiny_model(encoder, labels=list(BRIGHT_AND_DARK))
    store = store_of(tmp_path, model, table, finetune, 0)
    store.fill(ALL_ROWS, augmented=False)
    assert set(store.names) == names
    plain = ClipDataset(table, BRIGHT_AND_DARK, model.config.clip_config)
    for row in range(NUM_ROWS):
        item, stored = plain[row], stored_item(store, row, 0)
        expected = model(**{name: value[None] for name, value in item.items()})
        found = model(**{name: value[None] for name, value in stored.items()})
        # Eleven bits of mantissa; queries are differences of features, so they lose more of them.
        torch.testing.assert_close(found.logits, expected.logits, atol=0.02, rtol=0.02)


@torch.inference_mode()
def test_every_view_holds_the_features_of_its_own_augmentation(
    finished: FeatureStore, model: MSQNet
) -> None:
    def pixels(row: int, view: int) -> Tensor:
        drawn_by = int(finished._window(row)[:16], 16)
        clip = ClipBatch.stack([finished.dataset.clip(row, view, drawn_by=drawn_by)])
        features = model.video_encoder.features(clip.pixels, clip.motion_crops)
        found: Tensor = features["maps"][0]
        return found

    maps = {(r, v): stored_item(finished, r, v)["maps"] for r in range(NUM_ROWS) for v in (1, 2)}
    assert maps[0, 1].shape == (2, 4, 1, 320)
    for (row, view), found in maps.items():
        # Half precision; batches of another size add in another order, which weights magnify.
        torch.testing.assert_close(found, pixels(row, view), atol=0.02, rtol=0.01)
    assert not torch.equal(maps[0, 1], maps[0, 2])


def test_image_query_is_kept_beside_the_maps_of_the_trunk(tmp_path: Path, table: ClipTable) -> None:
    image = tiny_model("timesformer").config.image_encoder
    model = tiny_model(
        "lite",
        labels=list(BRIGHT_AND_DARK),
        video_query="image",
        image_encoder=image,
        direct_path=False,
    )
    store = store_of(tmp_path, model, table, "after_trunk", 0)
    store.fill(ALL_ROWS, augmented=False)
    item = ClipDataset(table, BRIGHT_AND_DARK, model.config.clip_config)[1]
    with torch.inference_mode():
        query = model.video_query(model.encode(item["pixels"][None], item["motion_crops"][None]))
        expected = model(
            pixels=item["pixels"][None], motion_crops=item["motion_crops"][None]
        ).logits
        found = model(**store.batch([1], [0])).logits
    torch.testing.assert_close(store.video_queries(ALL_ROWS, 0)[[1]], query, atol=2e-3, rtol=1e-3)
    torch.testing.assert_close(found, expected, atol=0.02, rtol=0.02)


def test_nothing_is_computed_again_and_nothing_written_where_all_is_there(
    store: FeatureStore, model: MSQNet, table: ClipTable
) -> None:
    before = {path: path.stat().st_mtime_ns for path in store.folder.parent.rglob("*")}
    again = store_of(store.folder.parent, model, table)
    assert again.missing(ALL_ROWS, augmented=True) == []
    again.fill(ALL_ROWS, augmented=True)
    after = {path: path.stat().st_mtime_ns for path in store.folder.parent.rglob("*")}
    assert after == before


def test_whatever_features_depend_on_makes_others_of_them(
    finished: FeatureStore, model: MSQNet, table: ClipTable
) -> None:
    folder = finished.folder.parent
    clip = model.config.clip_config
    other_motion = replace(clip, motion=replace(clip.motion, margin=2.0))
    other_trunk = tiny_model("lite", labels=list(BRIGHT_AND_DARK))
    with torch.no_grad():
        other_trunk.video_encoder.trunk.network.head.conv.weight[0, 0] += 1e-3
    for changed in (
        store_of(folder, model, table, config=other_motion),
        store_of(folder, other_trunk, table),
        store_of(folder, model, table, "decoder"),
    ):
        assert len(changed.missing(ALL_ROWS, augmented=False)) == NUM_ROWS
    for other_draw in ({"seed": 4}, {"augmentation": AugmentationConfig(colour_strength=2)}):
        changed = store_of(folder, model, table, **other_draw)
        assert changed.missing(ALL_ROWS, augmented=False) == []
        assert len(changed.missing(ALL_ROWS, augmented=True)) == NUM_ROWS * NUM_VIEWS
    more_views = store_of(folder, model, table, num_views=NUM_VIEWS + 1)
    assert more_views.missing(ALL_ROWS, augmented=True) == [(row, 3) for row in range(NUM_ROWS)]


def test_weights_behind_what_is_frozen_leave_the_features_valid(
    finished: FeatureStore, table: ClipTable
) -> None:
    other = tiny_model("lite", labels=list(BRIGHT_AND_DARK))
    with torch.no_grad():
        other.head.weight += 1
        other.video_encoder.project.weight += 1
    same_trunk = store_of(finished.folder.parent, other, table)
    assert same_trunk.missing(ALL_ROWS, augmented=True) == []


def test_rows_keep_their_features_where_others_come_and_go(
    finished: FeatureStore, model: MSQNet, table: ClipTable
) -> None:
    records = [replace(table.records[row], row=10 + row) for row in (2, 0)]
    half = replace(table.records[0], row=2, end_seconds=0.4)
    changed = ClipTable(table.path, (records[0], half, records[1]))
    store = store_of(finished.folder.parent, model, changed)
    assert {row for row, _ in store.missing(np.arange(3), augmented=True)} == {1}
    for row, before in ((0, 2), (2, 0)):
        for view in range(1 + NUM_VIEWS):
            found, expected = stored_item(store, row, view), stored_item(finished, before, view)
            assert torch.equal(found["maps"], expected["maps"])


def test_same_window_twice_is_computed_once(
    tmp_path: Path, model: MSQNet, table: ClipTable
) -> None:
    twice = ClipTable(table.path, (table.records[0], replace(table.records[0], row=9)))
    store = store_of(tmp_path, model, twice, "after_trunk", 0)
    assert store.missing(np.arange(2), augmented=False) == [(0, 0)]
    store.fill(np.arange(2), augmented=False)
    assert torch.equal(stored_item(store, 0, 0)["maps"], stored_item(store, 1, 0)["maps"])


def test_other_video_under_the_same_name_is_seen_also_with_its_times_set_back(
    tmp_path: Path, finished: FeatureStore, model: MSQNet, table: ClipTable
) -> None:
    source = table.records[0].path
    copy = shutil.copy(source, tmp_path / "moved.mov")
    moved = ClipTable(table.path, (replace(table.records[0], path=Path(copy)),))
    folder = finished.folder.parent
    rows = np.arange(1)
    assert store_of(folder, model, moved).missing(rows, augmented=True) == []
    before = Path(copy).stat()
    content = bytearray(source.read_bytes())
    content[-100] ^= 1
    Path(copy).write_bytes(content)
    os.utime(copy, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert Path(copy).stat().st_size == before.st_size
    assert len(store_of(folder, model, moved).missing(rows, augmented=True)) == 1 + NUM_VIEWS
    shutil.copy(source, copy)
    assert store_of(folder, model, moved).missing(rows, augmented=True) == []
    Path(copy).unlink()
    with pytest.raises(UnreadableVideo, match=r"moved\.mov"):
        store_of(folder, model, moved).missing(rows, augmented=True)


def damage(path: Path, kind: str) -> None:
    content = bytearray(path.read_bytes())
    if kind == "cut short":
        content = content[: len(content) // 2]
    elif kind == "no header":
        content = bytearray(b"\0" * 4)
    else:
        content[-3] ^= 4
    path.write_bytes(content)


@pytest.mark.parametrize("kind", ["cut short", "no header", "one bit"])
def test_damaged_file_is_computed_anew_with_a_warning(
    store: FeatureStore,
    finished: FeatureStore,
    model: MSQNet,
    table: ClipTable,
    caplog: pytest.LogCaptureFixture,
    kind: str,
) -> None:
    (path,) = store.folder.glob("*.safetensors")
    damage(path, kind)
    again = store_of(store.folder.parent, model, table)
    again.fill(ALL_ROWS, augmented=True)
    assert f"{path}: damaged" in caplog.text
    assert not path.exists()
    assert_same_features(again, all_features(finished))


def as_other_process(work: Callable[[], None], *, at_once: int = 1) -> list[int]:
    """Exit codes of processes that do something at the same time."""

    def run() -> None:
        torch.set_num_threads(1)
        work()

    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=run) for _ in range(at_once)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    return [process.exitcode for process in processes]


def test_two_processes_fill_one_folder_at_the_same_time(
    tmp_path: Path, finished: FeatureStore, model: MSQNet, table: ClipTable
) -> None:
    def fill() -> None:
        features._WRITE_BYTES = 1  # every clip a file, so that they meet as often as can be
        store = filled_store(tmp_path, model, table)
        assert_same_features(store, all_features(finished))

    assert as_other_process(fill, at_once=2) == [0, 0]
    store = store_of(tmp_path, model, table)
    assert store.missing(ALL_ROWS, augmented=True) == []
    assert_same_features(store, all_features(finished))
    assert not list(tmp_path.rglob("*.part"))


def test_filling_goes_on_after_a_kill_in_the_middle_of_a_write(
    tmp_path: Path, finished: FeatureStore, model: MSQNet, table: ClipTable
) -> None:
    def die() -> None:
        features._WRITE_BYTES = 1
        num_written = 0

        def sync(_descriptor: int) -> None:
            nonlocal num_written
            num_written += 1
            if num_written == 3:
                os.kill(os.getpid(), signal.SIGKILL)

        os.fsync = sync
        filled_store(tmp_path, model, table)

    assert as_other_process(die) == [-signal.SIGKILL]
    (abandoned,) = tmp_path.rglob("*.part")
    store = store_of(tmp_path, model, table)
    assert len(store.missing(ALL_ROWS, augmented=True)) == NUM_ROWS * (NUM_VIEWS + 1) - 2
    seen: list[tuple[int, int]] = []
    store.fill(ALL_ROWS, augmented=True, progress=lambda *counts: seen.append(counts))
    assert seen[-1] == (7, 7)
    assert_same_features(store, all_features(finished))
    os.utime(abandoned, (0, 0))
    store_of(tmp_path, model, table)
    assert not abandoned.exists()


@pytest.mark.slow
def test_filling_goes_on_after_kills_at_any_moment(
    tmp_path: Path, finished: FeatureStore, model: MSQNet, table: ClipTable
) -> None:
    def fill() -> None:
        features._WRITE_BYTES = 1
        torch.set_num_threads(1)
        filled_store(tmp_path, model, table)

    context = multiprocessing.get_context("fork")
    num_killed = 0
    for attempt in range(60):
        process = context.Process(target=fill)
        process.start()
        process.join(0.02 + 0.005 * attempt)
        if process.exitcode is None:
            process.kill()
            process.join()
            num_killed += 1
        store = store_of(tmp_path, model, table)
        if not store.missing(ALL_ROWS, augmented=True):
            break
    store.fill(ALL_ROWS, augmented=True)
    assert num_killed > 1
    assert_same_features(store, all_features(finished))


def test_features_are_written_where_a_row_cannot_be_read(
    tmp_path: Path, model: MSQNet, table: ClipTable
) -> None:
    broken = tmp_path / "broken.mov"
    broken.write_bytes(b"no video")
    records = (*table.records, replace(table.records[0], path=broken, row=9))
    store = store_of(tmp_path / "features", model, ClipTable(table.path, records), num_views=0)
    for _ in range(4):  # each start is at another row
        with pytest.raises(UnreadableVideo, match=r"broken\.mov"):
            store.fill(np.arange(4), augmented=False)
    store.fill(np.arange(3), augmented=False)
    assert store.missing(np.arange(4), augmented=False) == [(3, 0)]


@pytest.mark.skipif(not hasattr(os, "seteuid"), reason="no user ids")
def test_finished_folder_serves_those_who_may_only_read_it(
    finished: FeatureStore, model: MSQNet, table: ClipTable
) -> None:
    expected = all_features(finished)
    with tempfile.TemporaryDirectory() as name:  # unlike pytest's, open to others
        root = Path(name)
        shutil.copytree(finished.folder.parent, root / "features")
        for record in table.records:
            shutil.copy(record.path, root)
        records = [replace(r, path=root / r.path.name) for r in table.records]
        moved = ClipTable(table.path, tuple(records))
        for path in (root, *root.rglob("*")):
            path.chmod(0o555)
        user = os.geteuid()
        if user == 0:
            os.seteuid(65534)  # root may write everything
        try:
            store = filled_store(root / "features", model, moved)
            assert_same_features(store, expected)
            with pytest.raises(ConfigError, match="features cannot be kept there"):
                filled_store(root / "features", model, moved, "after_trunk", NUM_VIEWS + 1)
            with pytest.raises(ConfigError, match="features cannot be kept there"):
                store_of(root / "new", model, moved)
        finally:
            os.seteuid(user)
            for path in (root, *root.rglob("*")):
                path.chmod(0o755)


TARGETS = torch.tensor([[float(row), 1.0] for row in range(NUM_ROWS)])


def test_batch_comes_whole_and_with_its_targets(finished: FeatureStore) -> None:
    data = FeatureDataset(finished, np.array([2, 0]), TARGETS[[2, 0]])
    loader = torch.utils.data.DataLoader(data, batch_size=2, collate_fn=collate)
    (batch,) = loader
    assert batch["labels"][:, 0].tolist() == [2.0, 0.0]
    for place, row in enumerate((2, 0)):
        for name, values in stored_item(finished, row, 0).items():
            assert torch.equal(batch[name][place], values)
            assert torch.equal(data[place][name], values)


def test_plain_rows_are_filled_without_their_augmented_views(
    tmp_path: Path, model: MSQNet, table: ClipTable
) -> None:
    store = store_of(tmp_path, model, table)
    store.fill(np.array([1]), augmented=False)
    assert store.missing(ALL_ROWS, augmented=False) == [(0, 0), (2, 0)]
    assert (1, 1) in store.missing(np.array([1]), augmented=True)


def view_shown(data: FeatureDataset, store: FeatureStore, index: int) -> int:
    maps = data[index]["maps"]
    views = [stored_item(store, int(data.rows[index]), view) for view in range(1 + NUM_VIEWS)]
    return [torch.equal(maps, view["maps"]) for view in views].index(True)


def test_views_are_drawn_by_epoch_and_row_alone(finished: FeatureStore) -> None:
    data = FeatureDataset(finished, ALL_ROWS, TARGETS, view_seed=0)
    reordered = FeatureDataset(finished, np.array([2, 0]), TARGETS, view_seed=0)
    drawn = []
    for epoch in range(30):
        data.epoch = reordered.epoch = epoch
        drawn.append([view_shown(data, finished, row) for row in range(NUM_ROWS)])
        of_others = [view_shown(reordered, finished, index) for index in (0, 1)]
        assert of_others == [drawn[-1][2], drawn[-1][0]]
    for row in range(NUM_ROWS):
        assert {views[row] for views in drawn} == {0, 1, 2}


def test_rows_without_augmentation_show_the_unchanged_view(finished: FeatureStore) -> None:
    data = FeatureDataset(finished, np.array([1, 2]), TARGETS)
    for epoch in range(5):
        data.epoch = epoch
        assert [view_shown(data, finished, index) for index in range(len(data))] == [0, 0]


def test_encoder_that_is_trained_is_refused(tmp_path: Path, table: ClipTable) -> None:
    with pytest.raises(ConfigError, match="set finetune to decoder, or cached_views to 0"):
        store_of(tmp_path, tiny_model("timesformer"), table, "after_trunk")
    with pytest.raises(ConfigError, match="set finetune to decoder, or cached_views to 0"):
        store_of(tmp_path, tiny_model("lite"), table, "full")


def test_values_outside_of_half_precision_are_refused(tmp_path: Path, table: ClipTable) -> None:
    model = tiny_model("lite", labels=list(BRIGHT_AND_DARK))
    with torch.no_grad():
        model.video_encoder.norm.bias += 1e5
    with pytest.raises(ConfigError, match="frame_memory has values above 65504"):
        filled_store(tmp_path, model, table, "decoder")
