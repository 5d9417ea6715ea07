"""The paper's tables as presets: the figures, what each row is, and what it resolves to."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from experiments import (
    PRESETS,
    Experiment,
    ExperimentSettings,
    PaperDataSet,
    data_sets,
    experiments,
    find_experiment,
    resolve,
    table_title,
)
from msqnet.errors import ConfigError
from msqnet.evaluation.protocols import PROTOCOLS
from msqnet.evaluation.row_metrics import DEFINITIONS
from msqnet.formats import load_format
from msqnet.formats.data_sets.animal_kingdom import NUM_CLIPS
from msqnet.formats.data_sets.list_files import official_labels
from msqnet.metrics.classification import zero_shot_metrics
from tests.fixtures.data_sets import DataSet

if TYPE_CHECKING:
    from pathlib import Path

# Read from the paper by eye, method MSQNet only.
FIGURES = {
    "table1/charades_vit_text": 43.99,
    "table1/charades_timesformer_text": 44.11,
    "table1/charades_timesformer_mmq": 47.57,
    "table1/thumos14_c3d_text": 67.47,
    "table1/thumos14_timesformer_text": 79.71,
    "table1/thumos14_timesformer_mmq": 83.16,
    "table1/animal_kingdom_i3d_text": 55.59,
    "table1/animal_kingdom_timesformer_text": 71.63,
    "table1/animal_kingdom_timesformer_mmq": 73.10,
    "table1/hockey_i3d_text": 93.29,
    "table1/hockey_timesformer_text": 93.45,
    "table1/hockey_timesformer_mmq": 96.95,
    "table2/hmdb51_timesformer_mmq": 93.25,
    "table3/thumos14_50_vanilla": 49.37,
    "table3/thumos14_50_text": 53.76,
    "table3/thumos14_50_full": 63.98,
    "table3/thumos14_75_vanilla": 52.02,
    "table3/thumos14_75_text": 60.28,
    "table3/thumos14_75_full": 75.33,
    "table3/charades_50_vanilla": 15.87,
    "table3/charades_50_text": 18.30,
    "table3/charades_50_full": 30.91,
    "table3/charades_75_vanilla": 17.43,
    "table3/charades_75_text": 18.62,
    "table3/charades_75_full": 35.59,
    "table3/hmdb51_50_vanilla": 45.66,
    "table3/hmdb51_50_text": 51.22,
    "table3/hmdb51_50_full": 59.24,
    "table3/hmdb51_75_vanilla": 48.37,
    "table3/hmdb51_75_text": 59.58,
    "table3/hmdb51_75_full": 69.43,
    "table4/animal_kingdom_videomae": 71.19,
    "table4/animal_kingdom_timesformer": 73.10,
    "table4/charades_videomae": 41.69,
    "table4/charades_timesformer": 47.57,
    "table5/animal_kingdom_8_frames": 67.74,
    "table5/animal_kingdom_10_frames": 69.73,
    "table5/animal_kingdom_16_frames": 73.10,
    "table5/charades_8_frames": 43.06,
    "table5/charades_10_frames": 45.33,
    "table5/charades_16_frames": 47.57,
    "table6/animal_kingdom_bert": 69.81,
    "table6/animal_kingdom_clip": 71.63,
    "table6/charades_bert": 43.57,
    "table6/charades_clip": 44.11,
}
REPORTED = {
    "table1": [44.20, 43.90, 44.30, 45.42, 57.19, 62.12, 25.25, 16.48, 90.00, 96.30],
    "table2": [84.31, 85.10, 88.10],
    "table3": [21.1, 25.8, 58.70, 61.40],
}
OWN = [item for item in experiments().values() if not item.reported]


def settings(name: str, preset: str = "default") -> ExperimentSettings:
    return resolve(find_experiment(name), preset)


def test_every_row_of_the_tables_is_there_with_its_figure() -> None:
    assert {item.name: item.paper for item in OWN} == FIGURES
    reported: dict[str, list[float]] = {}
    for item in experiments().values():
        if item.reported:
            reported.setdefault(f"table{item.table}", []).append(item.paper)
    assert reported == REPORTED
    assert Counter(item.table for item in experiments().values()) == {
        **{1: 22, 2: 4, 3: 22},
        **{4: 4, 5: 6, 6: 4},
    }


def test_only_the_rows_called_reported_in_table_3_are_of_another_setting() -> None:
    crossed = [item.name for item in experiments().values() if item.cross_dataset]
    assert crossed == [
        item.name for item in experiments().values() if item.table == 3 and item.reported
    ]


def test_column_for_multi_modal_queries_is_as_printed_misprint_included() -> None:
    printed = {item.name: item.mmq for item in OWN if item.table in (1, 2)}
    yes = {name for name, value in printed.items() if value == "Yes"}
    assert yes == {name for name in printed if name.endswith("_mmq")} | {
        "table1/thumos14_timesformer_text"
    }
    assert set(printed.values()) == {"Yes", "No"}
    # What is trained there is not what is printed.
    assert settings("table1/thumos14_timesformer_text").arch.video_query == "none"
    assert all(item.mmq == "" for item in OWN if item.table > 2)


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize(
    "item", [item for item in OWN if not item.is_zero_shot], ids=lambda item: item.name
)
def test_queries_are_those_of_the_row(item: Experiment, preset: str) -> None:
    arch = resolve(item, preset).trained_arch
    has_video = item.queries == "full"
    assert (arch.video_query == "image") is has_video
    assert arch.text_encoder != "random"
    assert arch.head == "group_wise"
    assert arch.learn_label_queries


def test_rows_that_repeat_another_one_share_its_settings_and_its_figure() -> None:
    repeating = [item for item in OWN if item.same_as]
    assert {item.name: item.same_as for item in repeating} == {
        "table4/animal_kingdom_timesformer": "table1/animal_kingdom_timesformer_mmq",
        "table4/charades_timesformer": "table1/charades_timesformer_mmq",
        "table5/animal_kingdom_16_frames": "table1/animal_kingdom_timesformer_mmq",
        "table5/charades_16_frames": "table1/charades_timesformer_mmq",
        "table6/animal_kingdom_clip": "table1/animal_kingdom_timesformer_text",
        "table6/charades_clip": "table1/charades_timesformer_text",
    }
    for item in repeating:
        other = find_experiment(item.same_as)
        assert item.paper == other.paper
        assert resolve(item) == resolve(other)


def test_encoders_frames_and_text_encoders_are_those_of_the_row() -> None:
    assert settings("table1/thumos14_c3d_text").arch.video_encoder == "c3d"
    assert settings("table1/thumos14_c3d_text").arch.size_pixels == 112
    assert settings("table4/charades_videomae").arch.video_encoder == "videomae"
    assert [settings(f"table5/charades_{n}_frames").arch.num_frames for n in (8, 10, 16)] == [
        *(8, 10, 16)
    ]
    assert settings("table6/charades_bert").arch.text_encoder.startswith("bert:")
    assert settings("table6/charades_bert").arch.video_query == "none"


def test_training_is_as_the_paper_says() -> None:
    train = settings("table1/charades_timesformer_mmq").train
    assert (train.epochs, train.learning_rate, train.encoder_learning_rate) == (100, 1e-5, 1e-5)
    assert (train.restart_epochs, train.samples_per_epoch) == (0, 0)
    assert (train.weight_decay, train.warmup_share, train.finetune) == (0.0, 0.0, "full")
    # Every training row is trained on.
    assert (train.validation_share, train.folds) == (0.0, 0)
    assert train.loss.name == "cross_entropy"
    assert train.class_balance == "none"


def test_reference_preset_changes_what_the_released_code_does_otherwise() -> None:
    changes = settings("table1/charades_timesformer_mmq", "reference").changes_from(
        settings("table1/charades_timesformer_mmq")
    )
    assert sorted(changes) == [
        "arch.final_norms=True",
        "arch.frame_pooling=flat",
        "arch.memory_encoder_layers=6",
        "arch.memory_positions=input",
        "arch.pixel_statistics=clip",
        "arch.time_embeddings=zeros",
        "augmentation.random_frames=False",
        "train.restart_epochs=10",
        "train.samples_per_epoch=2500",
    ]
    # Strips and time embeddings are TimeSformer's only.
    videomae = settings("table4/charades_videomae", "reference").arch
    assert (videomae.frame_pooling, videomae.memory_encoder_layers) == ("frames", 6)


def test_zero_shot_rows_can_be_asked_for_unseen_labels_unless_they_copy_the_paper() -> None:
    full = settings("table3/thumos14_50_full")
    assert full.variant == "open_full"
    assert full.trained_arch.head == "cosine"
    assert full.trained_arch.embedding == "projected"
    assert not full.trained_arch.query_attention
    assert settings("table3/thumos14_50_text").trained_arch.video_query == "none"
    vanilla = settings("table3/thumos14_50_vanilla").trained_arch
    assert (vanilla.text_encoder, vanilla.head) == ("random", "group_wise")
    reference = settings("table3/thumos14_50_full", "reference")
    assert reference.trained_arch.head == "group_wise"
    assert reference.trained_arch.embedding == "pooled"
    assert {item.seen_share for item in OWN if item.table == 3} == {0.5, 0.75}


@pytest.mark.parametrize("data_set", data_sets().values(), ids=lambda item: item.name)
def test_measures_exist_and_exactly_one_is_the_paper_figure(data_set: PaperDataSet) -> None:
    assert sum(measure.of_paper for measure in data_set.measures) == 1
    for measure in data_set.measures:
        protocol = next(item for item in PROTOCOLS.values() if item.name == measure.protocol)
        assert measure.metric in (protocol.headline, *protocol.beside) or (
            measure.metric in DEFINITIONS
        )
        assert measure.needs_times == (protocol.unit in ("oracle", "points"))
    # A sound protocol comes first.
    first = data_set.measures[0]
    assert not next(p for p in PROTOCOLS.values() if p.name == first.protocol).is_reference


def test_zero_shot_measures_are_the_metrics_of_a_split() -> None:
    found = zero_shot_metrics(np.eye(2), np.eye(2), [0], [1], single_label=True)
    measures = find_experiment("table3/thumos14_50_full").measures
    assert {measure.metric for measure in measures} == set(found)
    assert [measure.metric for measure in measures if measure.of_paper] == ["unseen"]


def test_data_sets_agree_with_their_formats() -> None:
    assert dict(data_sets()["animal_kingdom"].rows) == NUM_CLIPS
    for name, data_set in data_sets().items():
        assert load_format(name).task == data_set.task
        assert data_set.convert.startswith(f"msqnet convert --from {name} ")
        if name != "charades":  # whose own files list the labels
            assert len(official_labels(name)) == data_set.num_labels


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("charades", {}),
        ("hmdb51", {"split": "1"}),
        ("hmdb51", {"split": "3"}),
        ("thumos14", {"ucf101": "../ucf101"}),
    ],
)
def test_rows_and_labels_are_those_of_the_official_lists(
    real_data: Path, name: str, options: dict[str, str]
) -> None:
    converted = DataSet(name).read(real_data / "annotations" / name, options)
    data_set = data_sets()[name]
    counts = Counter(record.split for record in converted.records)
    assert {split: counts[split] for split in data_set.rows} == dict(data_set.rows)
    train = {name for r in converted.records if r.split == "train" for name in r.labels}
    assert len(train) == len(converted.labels) == data_set.num_labels


def test_changes_are_named_and_those_of_speed_are_not_changes() -> None:
    named = settings("table1/charades_timesformer_mmq")
    other = replace(
        named,
        arch=replace(named.arch, width=16, decoder_heads=2),
        train=replace(named.train, epochs=1, num_workers=7, gradient_checkpointing=True),
    )
    assert other.changes_from(named) == [
        "arch.width=16",
        "arch.decoder_heads=2",
        "train.epochs=1",
    ]
    assert named.changes_from(named) == []
    assert other.digest != named.digest == settings("table4/charades_timesformer").digest


def test_other_methods_and_unknown_names_are_refused() -> None:
    with pytest.raises(ConfigError, match="MViT, whose result the paper reports"):
        resolve(find_experiment("table1/charades_mvit"))
    with pytest.raises(ConfigError, match=r"did you mean table1/charades_timesformer_mmq"):
        find_experiment("table1/charades_timesformer_mm")
    with pytest.raises(ConfigError, match="the paper's tables are 1, 2"):
        table_title(7)
