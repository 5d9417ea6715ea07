"""What a run is, the settings that identify it, and the folder that it claims."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import torch
import yaml

from msqnet.config import ArchConfig, AugmentationConfig, TrainConfig
from msqnet.data.records import ClipTable, Record
from msqnet.errors import ConfigError, DatasetError
from msqnet.labels import LabelSet
from msqnet.model.pretrained import MSQNet
from msqnet.training.training_run import (
    Run,
    check_folder,
    check_single_label,
    claim_folder,
    is_finished,
    remove_leftovers,
    save_model,
    settings_in,
    settings_of,
    trainable_labels,
    typical_window,
    without_flip_where_sides_matter,
)
from msqnet.video.reader import open_video
from tests.fixtures.models import SIZE_PIXELS, tiny_clip_settings, tiny_model
from tests.fixtures.tables import BRIGHT_AND_DARK, write_brightness_table

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def table(tmp_path: Path) -> ClipTable:
    """Two rows of videos that nobody opens."""
    records = tuple(
        Record(row=row, path=tmp_path / f"{row}.mp4", relative_path=f"{row}.mp4", labels=(name,))
        for row, name in ((2, "dark"), (3, "bright"))
    )
    return ClipTable(tmp_path / "clips.csv", records)


def changed(table: ClipTable, **settings: Any) -> ClipTable:
    """The table with these settings in its first row."""
    first = replace(table.records[0], **settings)
    return ClipTable(table.path, (first, *table.records[1:]))


def run_of(table: ClipTable, folder: Path, **changes: Any) -> Run:
    return Run(
        table=table,
        labels=BRIGHT_AND_DARK,
        arch=ArchConfig(),
        clip=tiny_clip_settings(),
        augmentation=AugmentationConfig(),
        train=TrainConfig(**changes),
        task="multi_label",
        folder=folder,
        init_from=None,
        provenance={},
    )


def test_decoder_needs_more_rows_where_a_first_model_tells_much_already(
    table: ClipTable, tmp_path: Path
) -> None:
    anew = run_of(table, tmp_path)
    assert (anew.decoder_rows, replace(anew, init_from="first").decoder_rows) == (100, 300)
    asked = replace(run_of(table, tmp_path, decoder_rows=1), init_from="first")
    assert asked.decoder_rows == 1
    assert not asked.has_few_rows
    assert anew.has_few_rows


def test_saving_replaces_a_model_whole(tmp_path: Path) -> None:
    folder = tmp_path / "best"
    folder.mkdir()
    (folder / "leftover.txt").write_text("old")
    (tmp_path / "best.partial").mkdir()
    model = tiny_model("timesformer")
    save_model(model, folder)
    assert not (folder / "leftover.txt").exists()
    assert not (tmp_path / "best.partial").exists()
    assert torch.equal(MSQNet.from_pretrained(folder).head.weight, model.head.weight)


def test_settings_survive_yaml(table: ClipTable, tmp_path: Path) -> None:
    settings = settings_of(run_of(table, tmp_path, folds=2))
    loaded = yaml.safe_load(yaml.safe_dump(settings))
    assert loaded["train"]["folds"] == 2
    assert loaded["labels"] == ["bright", "dark"]
    assert loaded["clip"]["size_pixels"] == SIZE_PIXELS


def test_table_without_a_label_is_refused(table: ClipTable) -> None:
    records = tuple(replace(record, labels=()) for record in table.records)
    with pytest.raises(DatasetError, match="nothing to train on"):
        trainable_labels(ClipTable(table.path, records))
    assert trainable_labels(table) == ("bright", "dark")


@pytest.mark.parametrize(
    ("names", "is_flipped"),
    [(("turn_left", "sit"), False), (("sit", "Right turn"), False), (("bright", "leftover"), True)],
)
def test_clips_are_not_mirrored_where_a_label_names_a_side(
    names: tuple[str, ...], is_flipped: bool
) -> None:
    augmentation = AugmentationConfig(horizontal_flip=True)
    found = without_flip_where_sides_matter(augmentation, LabelSet(names))
    assert found.horizontal_flip is is_flipped


def test_folder_is_claimed_once_and_resumed_by_the_same_call(
    table: ClipTable, tmp_path: Path
) -> None:
    run = run_of(table, tmp_path / "run")
    check_folder(run, resume=False)
    claim_folder(run)
    with pytest.raises(ConfigError, match="holds a run; continue it with --resume true"):
        check_folder(run, resume=False)
    check_folder(run, resume=True)


@pytest.mark.parametrize(
    "change",
    [{"labels": ("bright",)}, {"annotated": frozenset({"dark"})}, {"end_seconds": 2.0}],
    ids=["labels", "annotated", "times"],
)
def test_resuming_with_other_rows_is_refused(
    table: ClipTable, tmp_path: Path, change: dict[str, Any]
) -> None:
    claim_folder(run_of(table, tmp_path / "run"))
    with pytest.raises(ConfigError, match=r"\(the rows: their videos, times, labels or groups\)"):
        check_folder(run_of(changed(table, **change), tmp_path / "run"), resume=True)


def test_resuming_with_other_settings_is_refused(table: ClipTable, tmp_path: Path) -> None:
    claim_folder(run_of(table, tmp_path / "run"))
    with pytest.raises(
        ConfigError, match=r"other settings or rows .*\(train.seed: 0 there, 1 here"
    ):
        check_folder(run_of(table, tmp_path / "run", seed=1), resume=True)


def begun_with(run: Run, **provenance: str) -> None:
    """Claim the folder of a run as other releases do."""
    claim_folder(replace(run, provenance=provenance))


def test_run_of_another_release_is_refused_with_what_to_do(
    table: ClipTable, tmp_path: Path
) -> None:
    run = replace(
        run_of(table, tmp_path / "run"), provenance={"msqnet": "0.2.0", "torch": "2.13.0"}
    )
    begun_with(run, msqnet="0.1.0", torch="2.13.0")
    expected = r"began with msqnet 0.1.0 and cannot be resumed with msqnet 0.2.0, .* anew .* --out$"
    with pytest.raises(ConfigError, match=expected):
        check_folder(run, resume=True)
    features = run.folder / "features"
    features.mkdir()
    with pytest.raises(ConfigError, match=rf"\(--features {features} takes over"):
        check_folder(run, resume=True)


def test_run_without_a_setting_of_today_is_one_of_another_release(
    table: ClipTable, tmp_path: Path
) -> None:
    run = run_of(table, tmp_path / "run")
    claim_folder(run)
    settings = yaml.safe_load((run.folder / "run.yaml").read_text())
    del settings["train"]["scene_weight"]
    (run.folder / "run.yaml").write_text(yaml.safe_dump(settings))
    with pytest.raises(ConfigError, match=r"cannot be resumed .* train anew with another --out"):
        check_folder(run, resume=True)


def test_workers_and_tracker_of_a_resumed_run_may_change(table: ClipTable, tmp_path: Path) -> None:
    claim_folder(run_of(table, tmp_path / "run"))
    run = run_of(table, tmp_path / "run", num_workers=0, report_to="none")
    check_folder(run, resume=True)
    claim_folder(run)
    assert settings_in(run.folder)["train"]["num_workers"] == 0


def test_damaged_settings_of_a_run_are_named(tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text("train: [")
    with pytest.raises(ConfigError, match=r"run\.yaml is damaged; choose another --out"):
        settings_in(tmp_path)


@pytest.mark.parametrize("labels", [(), ("bright", "dark")])
def test_single_label_needs_one_label_in_each_row(
    table: ClipTable, labels: tuple[str, ...]
) -> None:
    check_single_label(table)
    with pytest.raises(DatasetError, match=r"1 rows .*row 2"):
        check_single_label(changed(table, labels=labels))


def test_typical_window_is_the_median_length_of_rows_up_to_two_seconds(tmp_path: Path) -> None:
    table = write_brightness_table(tmp_path, 3)
    with open_video(table.records[0].path) as video:
        whole = round(video.duration_seconds, 3)
    assert typical_window(table) == (whole, "the median length of the 3 row(s)")
    for end, expected in ((0.5, 0.5), (7.0, 2.0)):
        rows = tuple(replace(record, end_seconds=end) for record in table.records)
        assert typical_window(ClipTable(table.path, rows))[0] == expected
        one = (*table.records[:2], replace(table.records[2], end_seconds=end))
        assert typical_window(ClipTable(table.path, one))[0] == whole


def test_what_only_a_resumed_run_needs_is_removed_and_the_last_epoch_kept(tmp_path: Path) -> None:
    for folder in ("best", "last", "checkpoints/checkpoint-3", "tensorboard", "fold-0"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "model.safetensors").write_bytes(folder[:1].encode())
    (tmp_path / "best" / "config.json").write_text("{}")
    assert not is_finished(tmp_path)
    remove_leftovers(tmp_path)
    assert is_finished(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["best", "last", "tensorboard"]
    (tmp_path / "last" / "model.safetensors").write_bytes(b"b")
    remove_leftovers(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["best", "tensorboard"]
