"""A whole run on stored features: folds, calibration, and what lies in the run folder."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from msqnet.data.dataset import ClipDataset
from msqnet.data.records import ClipTable
from msqnet.errors import ConfigError, DatasetError
from msqnet.evaluation.views import row_outputs, score_rows
from msqnet.inference.torch_backends import TorchBackend
from msqnet.labels import LabelSet
from msqnet.model.builder import new_model
from msqnet.model.out_of_distribution import TrainingReference
from msqnet.model.pretrained import MSQNet
from msqnet.training import fit as fit_module
from msqnet.training.fit import _prepare_query, _TrainingData, build_model, fit
from msqnet.training.fitted_parts import (
    HeldOut,
    calibrate_and_describe,
    fit_linear,
    partition,
    scorable_targets,
)
from msqnet.training.processes import Processes
from msqnet.training.trackers import Reports
from msqnet.training.trainer import part_logits
from msqnet.training.training_run import Run, save_model
from tests.fixtures.models import fill_with_noise, write_clip_folder
from tests.fixtures.tables import write_brightness_table
from tests.fixtures.training_runs import lite_run

if TYPE_CHECKING:
    from pathlib import Path

NUM_VIDEOS = 8


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> ClipTable:
    return write_brightness_table(tmp_path_factory.mktemp("videos"), NUM_VIDEOS)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, table: ClipTable) -> tuple[Run, list[str]]:
    run = lite_run(table, tmp_path_factory.mktemp("run"), decoder_rows=0)
    # Untrained convolutions let hardly anything through; with noise in them brightness shows.
    torch.manual_seed(0)
    model = new_model(run.arch, run.clip, LabelSet(("other",)))
    fill_with_noise(model)
    save_model(model, run.folder / "start")
    run = replace(run, init_from=str(run.folder / "start"))
    lines: list[str] = []
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    fit(run, report=lines.append)
    torch.set_num_threads(threads)
    return run, lines


def test_run_leaves_one_model_and_no_features(finished: tuple[Run, list[str]]) -> None:
    folder = finished[0].folder
    left = {path.name for path in folder.iterdir()}
    assert {"best", "fold-0", "fold-1", "validation.json", "validation.npz"} <= left
    assert not {"last", "features"} & left
    assert not list(folder.glob("*.partial"))


def test_model_knows_what_the_training_videos_look_like(
    finished: tuple[Run, list[str]],
) -> None:
    run = finished[0]
    reference = TrainingReference.load(run.folder / "best")
    assert reference is not None
    assert len(reference.distances) == len(run.table)
    _, embeddings = row_outputs(
        run.table, MSQNet.from_pretrained(run.folder / "best"), device="cpu"
    )
    again = TrainingReference.fit(
        embeddings, run.table.clip_ids(), run.table.group_ids(), is_centred=False
    )
    assert again is not None
    # Training sees features that were kept in half precision.
    assert reference.distances == pytest.approx(again.distances, abs=0.05)


def test_run_says_how_long_it_waited_for_data(finished: tuple[Run, list[str]]) -> None:
    run, lines = finished
    time = json.loads((run.folder / "training_time.json").read_text())
    assert 0 < time["waited_seconds"] < time["training_seconds"]
    share = time["waited_seconds"] / time["training_seconds"]
    assert time["waited_share"] == pytest.approx(share, abs=0.01)
    shown = re.match(r"waited for data (\d+)% of", lines[-1])
    assert shown is not None
    assert int(shown[1]) == pytest.approx(100 * share, abs=1)  # both are rounded


def test_model_carries_what_it_was_trained_on(finished: tuple[Run, list[str]]) -> None:
    config = MSQNet.from_pretrained(finished[0].folder / "best").config
    assert tuple(config.label_set) == ("bright", "dark")
    # Eight rows, of which the last knows nothing of the bright ones.
    assert config.train_positive_windows == [4, 4]
    assert config.train_negative_windows == [3, 4]
    assert config.provenance == {"recipe": "test"}
    assert config.clip_config == finished[0].clip
    assert config.window_seconds == 0.8  # the rows are whole videos


def test_every_row_is_validated_by_a_model_that_did_not_see_it(
    finished: tuple[Run, list[str]],
) -> None:
    run = finished[0]
    stored = np.load(run.folder / "validation.npz")
    assert stored["rows"].tolist() == list(range(NUM_VIDEOS))
    assert np.array_equal(stored["targets"], run.targets)
    assert stored["parts"].shape == (2, NUM_VIDEOS, 2)
    assert np.isfinite(stored["parts"]).all()
    summary = json.loads((run.folder / "validation.json").read_text())
    assert summary["num_rows"] == NUM_VIDEOS
    assert set(summary["label_ap"]) == {"bright", "dark"}


def test_logits_of_a_fold_go_to_the_rows_that_it_held_out(
    finished: tuple[Run, list[str]],
) -> None:
    run = finished[0]
    parts = np.load(run.folder / "validation.npz")["parts"]
    for fold, (train_rows, held_out) in enumerate(partition(run)):
        stored = np.load(run.folder / f"fold-{fold}" / "logits.npy")
        assert np.array_equal(parts[:, held_out], stored)
        assert sorted([*train_rows, *held_out]) == list(range(NUM_VIDEOS))


@pytest.mark.weights
def test_calibrated_scores_separate_what_is_plain_to_see(table: ClipTable, tmp_path: Path) -> None:
    run = lite_run(table, tmp_path, epochs=1)
    run = replace(run, arch=replace(run.arch, video_weights="imagenet"))
    fit(run, report=lambda _line: None)
    summary = json.loads((tmp_path / "validation.json").read_text())
    # Brightness, which augmentation changes by less than the labels differ; chance is 0.5.
    assert summary["macro_map"] > 0.9
    backend = TorchBackend.from_pretrained(tmp_path / "best", "cpu")
    found = score_rows(table, backend) >= backend.thresholds
    is_known = run.targets != -100
    assert (found == (run.targets == 1))[is_known].mean() > 0.9


def test_finished_folds_are_not_trained_again(
    finished: tuple[Run, list[str]], tmp_path: Path
) -> None:
    run = finished[0]
    for fold in range(2):
        (tmp_path / f"fold-{fold}").mkdir()
        logits = np.load(run.folder / f"fold-{fold}" / "logits.npy")
        np.save(tmp_path / f"fold-{fold}" / "logits.npy", logits)
    torch.set_num_threads(1)
    lines: list[str] = []
    fit(replace(run, folder=tmp_path), report=lines.append)
    assert not [line for line in lines if line.startswith("fold")]
    assert [line for line in finished[1] if line.startswith("fold 2 of 2")]
    expected = MSQNet.from_pretrained(run.folder / "best").state_dict()
    # The last training starts from the same state whether or not folds ran before it.
    for name, tensor in MSQNet.from_pretrained(tmp_path / "best").state_dict().items():
        assert torch.equal(tensor, expected[name]), name


def test_label_that_its_fold_never_saw_is_unknown_there(table: ClipTable, tmp_path: Path) -> None:
    run = lite_run(table, tmp_path)
    # Bright are the rows 0, 2, 4, 6: training on odd ones shows no bright clip at all.
    found = scorable_targets(run, np.array([1, 3]), np.array([0, 5]))
    assert found.tolist() == [[-100.0, 0.0], [-100.0, 1.0]]
    found = scorable_targets(run, np.array([2, 3]), np.array([0, 5]))
    assert found.tolist() == [[1.0, 0.0], [0.0, 1.0]]


def test_folder_of_a_run_is_not_used_again_unless_asked(
    finished: tuple[Run, list[str]],
) -> None:
    with pytest.raises(ConfigError, match="holds a run"):
        fit(finished[0], report=lambda _line: None)


def test_new_labels_keep_the_rest_of_the_model(
    finished: tuple[Run, list[str]], table: ClipTable, tmp_path: Path
) -> None:
    records = tuple(
        replace(record, labels=tuple("black" if n == "dark" else n for n in record.labels))
        for record in table.records[:4]
    )
    run = replace(
        lite_run(ClipTable(table.path, records), tmp_path, epochs=1, decoder_rows=0),
        labels=LabelSet(("black", "bright")),
        init_from=str(finished[0].folder / "best"),
    )
    lines: list[str] = []
    steps: list[str] = []
    fit(run, report=lines.append, progress=lambda what, _done, _total: steps.append(what))
    assert {"fold 1", "fold 2", "training"} <= set(steps)  # as the lines about folds count them
    assert any("kept bright" in line for line in lines)
    assert "new labels: black" in lines
    # That model was trained on these rows, so that they do not test what it says of them.
    assert (
        f"{run.init_from} was trained on 4 of these rows, which therefore do not test "
        in "".join(lines)
    )
    targets = np.load(tmp_path / "validation.npz")["targets"]
    assert (targets[:, 1] == -100).all()
    assert (targets[:, 0] != -100).any()
    model = MSQNet.from_pretrained(tmp_path / "best")
    assert tuple(model.config.labels) == ("black", "bright")
    # What the video query is standardised with belongs to the weights that were kept.
    source = MSQNet.from_pretrained(finished[0].folder / "best")
    assert torch.equal(model.query_std, source.query_std)


def test_rows_of_one_group_are_refused_with_what_helps(table: ClipTable, tmp_path: Path) -> None:
    records = tuple(replace(record, group="only") for record in table.records)
    run = lite_run(ClipTable(table.path, records), tmp_path)
    with pytest.raises(DatasetError, match=r"all 8 row.s. are of one group.*--train\.folds 0"):
        fit(run, report=lambda _line: None)
    assert not list(tmp_path.iterdir())


def described(
    table: ClipTable, folder: Path, logits: np.ndarray, targets: np.ndarray
) -> tuple[Any, list[str]]:
    """The configuration and the lines after a single-label run with these held-out rows."""
    run = replace(lite_run(table, folder), task="single_label")
    model = build_model(run, lambda _line: None)
    held_out = HeldOut(np.arange(NUM_VIDEOS), np.stack([logits, logits]), targets, True)
    lines: list[str] = []
    calibrate_and_describe(run, model, held_out, lines.append)
    return model.config, lines


def test_single_label_run_tells_which_labels_held_out_rows_do_not_prove(
    table: ClipTable, tmp_path: Path
) -> None:
    one_hot = np.eye(2, dtype=np.float32)[np.arange(NUM_VIDEOS) % 2]
    config, lines = described(table, tmp_path, 8 * one_hot - 4, one_hot)
    assert [item["status"] for item in config.evidence] == ["reliable", "reliable"]
    assert config.calibration_scale == [1.0, 1.0]
    assert not [line for line in lines if "in no segment" in line]
    config, lines = described(table, tmp_path, 4 - 8 * one_hot, one_hot)
    assert [item["status"] for item in config.evidence] == ["weak", "weak"]
    assert [line for line in lines if line.startswith("bright: weak, in no segment by default")]


def test_result_that_no_row_can_tell_is_not_given_as_a_number(
    table: ClipTable, tmp_path: Path
) -> None:
    targets = np.tile(np.array([1.0, -100.0], np.float32), (NUM_VIDEOS, 1))
    logits = np.zeros((NUM_VIDEOS, 2), np.float32)
    assert not HeldOut(np.arange(NUM_VIDEOS), np.stack([logits, logits]), targets).is_scorable
    config, lines = described(table, tmp_path, logits, targets)
    assert [item["status"] for item in config.evidence] == ["untested", "untested"]
    assert [line for line in lines if line.startswith("macro mAP: none on 8 rows")]
    assert not [line for line in lines if "None" in line]


def test_run_on_pixels_with_one_label_per_clip_and_a_validation_part(
    finished: tuple[Run, list[str]], table: ClipTable, tmp_path: Path
) -> None:
    run = lite_run(
        table, tmp_path, folds=0, cached_views=0, validation_share=0.5, early_stopping_patience=1
    )
    run = replace(run, task="single_label", init_from=finished[0].init_from)
    fit(run, report=lambda _line: None)
    summary = json.loads((tmp_path / "validation.json").read_text())
    assert 0 < summary["num_rows"] < NUM_VIDEOS
    assert MSQNet.from_pretrained(tmp_path / "best").config.task == "single_label"
    assert MSQNet.from_pretrained(tmp_path / "last").config.task == "single_label"


def image_query_run(table: ClipTable, folder: Path, *, direct_path: bool, **changes: Any) -> Run:
    """A run on pixels whose video query comes from an image encoder."""
    encoder = str(write_clip_folder(folder / "clip"))
    run = lite_run(
        table, folder / "run", folds=0, cached_views=0, validation_share=0.5, epochs=1, **changes
    )
    arch = replace(run.arch, video_query="image", image_encoder=encoder, direct_path=direct_path)
    return replace(run, arch=arch)


def image_queries(model: MSQNet, run: Run) -> torch.Tensor:
    data = ClipDataset(run.table.take(partition(run)[0][0]), run.labels, run.clip)
    pixels = torch.stack([data[row]["pixels"] for row in range(len(data))])
    with torch.inference_mode():
        query = model.video_query(model.encode(pixels))
    assert query is not None
    return query


def test_direct_path_from_an_image_query_starts_as_the_linear_fit(
    table: ClipTable, tmp_path: Path
) -> None:
    torch.set_num_threads(1)
    run = image_query_run(table, tmp_path, direct_path=True, probe_strength=0.5)
    fit(run, report=lambda _line: None)
    model = MSQNet.from_pretrained(run.folder / "best")
    queries = image_queries(model, run)
    torch.testing.assert_close(model.query_mean, queries.mean(dim=0))
    standardised = (queries - model.query_mean) / model.query_std
    torch.testing.assert_close(standardised.std(dim=0, correction=0), torch.ones(24))
    targets = torch.from_numpy(run.targets[partition(run)[0][0]])
    weight, bias = fit_linear(standardised, targets, 0.5)
    assert weight.any()
    torch.testing.assert_close(model.query_head.weight.data, weight, atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(model.query_head.bias.data, bias, atol=1e-4, rtol=1e-3)


def test_image_query_without_a_direct_path_is_not_standardised(
    table: ClipTable, tmp_path: Path
) -> None:
    torch.set_num_threads(1)
    run = image_query_run(table, tmp_path, direct_path=False)
    fit(run, report=lambda _line: None)
    model = MSQNet.from_pretrained(run.folder / "best")
    assert not model.query_mean.any()
    assert torch.equal(model.query_std, torch.ones(24))


@pytest.mark.parametrize("finetune", ["after_trunk", "decoder"])
def test_run_with_an_image_query_trains_on_stored_features(
    table: ClipTable, tmp_path: Path, finetune: str
) -> None:
    torch.set_num_threads(1)
    run = image_query_run(table, tmp_path, direct_path=True, finetune=finetune)
    run = replace(run, train=replace(run.train, cached_views=1))
    fit(run, report=lambda _line: None)
    model = MSQNet.from_pretrained(run.folder / "best")
    queries = image_queries(model, run)
    # The mean over the unchanged view and the augmented one, which differ less than clips do.
    error = (model.query_mean - queries.mean(dim=0)).abs() / model.query_std
    assert error.max() < 2
    data = ClipDataset(table, run.labels, run.clip)
    assert np.isfinite(part_logits(model, data, 4)).all()


def test_answers_do_not_depend_on_the_batch(
    finished: tuple[Run, list[str]], table: ClipTable
) -> None:
    run = finished[0]
    model = MSQNet.from_pretrained(run.folder / "best")
    data = ClipDataset(table.take(range(3)), run.labels, run.clip)
    together = part_logits(model, data, batch_size=3)
    # Sums in another order.
    np.testing.assert_allclose(part_logits(model, data, batch_size=1), together, atol=1e-4)


def test_few_rows_get_the_direct_path_alone(tmp_path: Path, table: ClipTable) -> None:
    run = lite_run(table, tmp_path, decoder_rows=NUM_VIDEOS + 1)
    lines: list[str] = []
    fit(run, report=lines.append)
    assert lines[0].startswith("direct path alone: macro mAP ")
    assert lines[1].startswith(f"fewer than {NUM_VIDEOS + 1} rows: the direct path gives all")
    assert not (tmp_path / "checkpoints").exists()
    model = MSQNet.from_pretrained(tmp_path / "best")
    assert model.config.query_share == 1.0
    stored = np.load(tmp_path / "validation.npz")["parts"]
    np.testing.assert_array_equal(stored[0], stored[1])
    # What a fold's own fit says of a row that it did not see.
    train_rows, held_out = partition(run)[0]
    with_folds = lite_run(table, tmp_path / "fold", folds=0, epochs=1, validation_share=0.0)
    data = _TrainingData(
        with_folds, build_model(with_folds, lines.append), None, Processes(), Reports()
    )
    _prepare_query(with_folds, data.fresh_model(), data, train_rows)
    logits = part_logits(data.model, data.rows(held_out, augmented=False), 4)[1]
    np.testing.assert_allclose(stored[1][held_out], logits, atol=1e-4)

    fit(run, report=lines.append, resume=True)
    assert lines[-1] == "the run is finished; nothing is left to do"


def test_few_rows_bend_the_direct_path_of_the_model_to_start_from(
    finished: tuple[Run, list[str]], tmp_path: Path, table: ClipTable
) -> None:
    source = MSQNet.from_pretrained(finished[0].folder / "best")
    records = tuple(
        replace(record, annotated=frozenset({"dark"}), labels=tuple({*record.labels} & {"dark"}))
        for record in table.records
    )
    run = lite_run(ClipTable(table.path, records), tmp_path, decoder_rows=NUM_VIDEOS + 1)
    run = replace(run, init_from=str(finished[0].folder / "best"))
    lines: list[str] = []
    fit(run, report=lines.append)
    assert any(line.startswith(f"fewer than {NUM_VIDEOS + 1} rows") for line in lines)
    assert not (tmp_path / "checkpoints").exists()
    model = MSQNet.from_pretrained(tmp_path / "best")
    assert model.config.query_share == 1.0
    data = ClipDataset(table, run.labels, run.clip)
    before, after = part_logits(source, data, 4)[1], part_logits(model, data, 4)[1]
    bright, dark = run.labels.names.index("bright"), run.labels.names.index("dark")
    # Nothing was said about one label, so that what the model knew of it stays.
    np.testing.assert_allclose(after[:, bright], before[:, bright], atol=1e-3)
    assert np.abs(after[:, dark] - before[:, dark]).max() > 0.01


@pytest.mark.parametrize("wanted", [-1.0, 2.0])
def test_decoder_is_given_up_where_two_folds_show_no_gain(
    wanted: float, tmp_path: Path, table: ClipTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fit_module, "_MIN_GAIN", wanted)
    run = lite_run(table, tmp_path, decoder_rows=1, folds=4, epochs=1)
    lines: list[str] = []
    fit(run, report=lines.append)
    is_given_up = wanted > 1
    said = [line for line in lines if line.startswith("after 2 folds the decoder adds")]
    assert bool(said) == is_given_up
    assert (tmp_path / "fold-2").exists() == (not is_given_up)
    stored = np.load(tmp_path / "validation.npz")["parts"]
    assert np.array_equal(stored[0], stored[1]) == is_given_up
    share = MSQNet.from_pretrained(tmp_path / "best").config.query_share
    assert share == 1.0 or not is_given_up
