"""What a dry run counts, against published numbers and hand-made data."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import torch
from transformers import VJEPA2Config

from msqnet.data.writer import write_table
from msqnet.evaluation.experiment_plan import (
    Cost,
    check_data,
    check_splits,
    cost_of,
    count_videos,
    empty_model,
    weights_of,
)
from msqnet.evaluation.experiments import data_sets, find_experiment, resolve
from msqnet.evaluation.zero_shot import LabelSplit
from msqnet.labels import LabelSet
from msqnet.model.builder import new_model
from msqnet.training.recipes import RECIPES
from tests.fixtures.models import write_clip_folder, write_timesformer_folder
from tests.fixtures.tables import write_split_table

if TYPE_CHECKING:
    from pathlib import Path

    from msqnet.evaluation.experiments import ExperimentSettings

LABELS = LabelSet(tuple(f"label {number}" for number in range(140)))
GIGA = 1e9


@pytest.fixture(autouse=True)
def _no_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nobody's downloads decide which sizes are counted."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))


def settings(name: str, **arch: Any) -> ExperimentSettings:
    found = resolve(find_experiment(name))
    return replace(found, arch=replace(found.arch, **arch))


def cost(chosen: ExperimentSettings) -> Cost:
    return cost_of(empty_model(chosen, LABELS, "multi_label"), chosen)


def test_flops_and_parameters_are_the_published_ones() -> None:
    text = cost(settings("table1/animal_kingdom_timesformer_text", num_frames=8))
    # TimeSformer of 8 frames: 590 GFLOPs for 3 views, counted as multiply-adds
    # (Bertasius et al. 2021, table 2); the decoder adds 1.5 %.
    assert text.flops == pytest.approx(2 * 590 / 3 * GIGA, rel=0.03)
    assert text.parameters["video_encoder"] == (121_258_752, 121_258_752)
    full = cost(settings("table1/animal_kingdom_timesformer_mmq", num_frames=8))
    # CLIP ViT-B/16 is a ViT-B/16: 17.6 giga multiply-adds for each of 8 frames; it is frozen. Its
    # last layer computes keys and values of all 197 tokens, and the rest of one of them.
    spared = 196 * (10 * 768**2 + 2 * 197 * 768)
    assert full.flops - text.flops == pytest.approx(8 * 2 * (17.56 * GIGA - spared), rel=0.01)
    assert full.parameters["image_encoder"] == (85_799_424, 0)
    # A frozen encoder keeps nothing for the backward pass.
    assert full.activation_bytes == pytest.approx(text.activation_bytes, rel=0.001)


def test_memory_is_weights_gradients_two_moments_and_activations() -> None:
    made = Cost({"a": (100, 100), "b": (50, 0)}, flops=1, activation_bytes=1000, batch_size=3)
    assert (made.num_parameters, made.num_trained) == (150, 100)
    assert made.memory_bytes == 4 * 150 + 3 * 4 * 100 + 3 * 1000


def test_frozen_encoder_needs_less_memory() -> None:
    whole = settings("table1/animal_kingdom_timesformer_text", num_frames=8)
    frozen = replace(whole, train=replace(whole.train, finetune="decoder"))
    assert cost(frozen).num_trained < cost(whole).num_trained / 3
    assert cost(frozen).memory_bytes < cost(whole).memory_bytes / 4


def test_empty_model_has_the_tensors_of_the_real_one(tmp_path: Path) -> None:
    chosen = settings(
        "table1/animal_kingdom_timesformer_mmq",
        video_weights=str(write_timesformer_folder(tmp_path / "timesformer")),
        image_encoder=str(write_clip_folder(tmp_path / "clip")),
        text_encoder=str(tmp_path / "clip"),
        num_frames=6,
        size_pixels=32,
    )
    labels = LabelSet(("sit", "walk"))
    real = new_model(chosen.arch, RECIPES["timesformer"].clip, labels, task="multi_label")
    empty = empty_model(chosen, labels, "multi_label")
    assert {name: tensor.shape for name, tensor in empty.state_dict().items()} == {
        name: tensor.shape for name, tensor in real.state_dict().items()
    }
    assert all(tensor.device == torch.device("meta") for tensor in empty.state_dict().values())


def test_encoder_at_hand_has_the_frames_and_the_size_of_the_run(tmp_path: Path) -> None:
    config = VJEPA2Config(
        frames_per_clip=64,
        crop_size=256,
        hidden_size=24,
        num_hidden_layers=1,
        num_attention_heads=2,
    )
    config.save_pretrained(tmp_path)
    chosen = settings(
        "table1/animal_kingdom_timesformer_text",
        video_encoder="vjepa2",
        video_weights=str(tmp_path),
        num_frames=4,
        size_pixels=32,
    )
    encoder = empty_model(chosen, LABELS, "multi_label").config.video_encoder
    assert (encoder.frames_per_clip, encoder.crop_size, encoder.hidden_size) == (4, 32, 24)


@pytest.mark.parametrize(("text", "width"), [("minilm", 384), ("random", 512), ("bert:x/y", 768)])
def test_label_queries_are_as_wide_as_their_text(text: str, width: int) -> None:
    chosen = settings("table1/animal_kingdom_timesformer_text", text_encoder=text)
    model = empty_model(chosen, LABELS, "multi_label")
    assert model.query_encoder.label_embeddings.shape == (140, width)


def test_weights_are_found_where_they_are(tmp_path: Path) -> None:
    (tmp_path / "weights.pt").touch()
    arch = settings(
        "table6/charades_bert",
        video_weights=str(tmp_path / "weights.pt"),
        text_encoder=f"bert:{tmp_path}",
    ).arch
    assert [(item.part, item.state) for item in weights_of(arch)] == [
        ("video encoder", "file"),
        ("text encoder", "folder"),
    ]
    full = settings("table1/charades_timesformer_mmq", video_weights=str(tmp_path / "none")).arch
    states = {item.part: item.state for item in weights_of(full)}
    assert states == {
        "video encoder": "absent",
        "image encoder": "absent",  # tests are offline, and the cache is empty
        "text encoder": "absent",
    }
    (c3d, *_) = weights_of(settings("table1/thumos14_c3d_text").arch)
    assert (c3d.state, c3d.is_usable) == ("unnamed", False)
    vanilla = settings("table3/thumos14_50_vanilla").trained_arch
    assert [item.part for item in weights_of(vanilla)] == ["video encoder"]


def test_data_that_are_not_the_official_ones_are_warned_of(tmp_path: Path) -> None:
    path = write_split_table(tmp_path / "clips.csv", num_train=4, num_test=2)
    table, findings = check_data(path, data_sets()["animal_kingdom"])
    assert len(table) == 6
    assert [item.is_error for item in findings] == [False] * 3
    text = "; ".join(item.message for item in findings)
    assert "4 rows of split train, the official lists give 24004" in text
    assert "2 rows of split test, the official lists give 6096" in text
    assert "4 labels in split train, Animal Kingdom has 140" in text


def test_videos_are_counted_once_each_and_a_missing_one_is_named(tmp_path: Path) -> None:
    path = write_split_table(tmp_path / "clips.csv", num_train=4, num_test=2)
    table, _ = check_data(path, data_sets()["animal_kingdom"])
    twice = replace(table, records=table.records * 2)
    assert count_videos(twice).message == "6 of 6 videos exist"
    (tmp_path / "grey3.mov").unlink()
    found = count_videos(twice)
    assert not found.is_error
    assert found.message.startswith("5 of 6 videos exist; missing")
    assert found.message.endswith("grey3.mov")


def test_data_that_cannot_be_used_are_errors(tmp_path: Path) -> None:
    path = write_split_table(tmp_path / "clips.csv", num_train=4, num_test=2)
    table, _ = check_data(path, data_sets()["hmdb51"])
    train_only = [replace(record, split="train") for record in table.records]
    several = [replace(r, labels=("black", "white")) for r in train_only[:1]] + train_only[1:]
    write_table(several, path)
    _, findings = check_data(path, data_sets()["hmdb51"])
    errors = [item.message for item in findings if item.is_error]
    assert len(errors) == 2
    assert "no row of split test (splits found: train)" in errors[0]
    assert "single_label needs exactly one" in errors[1]


def test_splits_of_the_labels_that_cannot_be_run_are_errors(tmp_path: Path) -> None:
    path = write_split_table(tmp_path / "clips.csv", num_train=8, num_test=4)
    table, _ = check_data(path, data_sets()["thumos14"])
    usual = LabelSplit(("black", "dark"), ("light", "white"), "usual", "by hand")
    unknown = LabelSplit(("black", "pink"), ("light", "white"), "unknown", "by hand")
    first, second = check_splits(table, [usual, unknown])
    assert not first.is_error
    assert first.message == "usual: 2 seen and 2 unseen labels, 4 of 8 training rows"
    assert second.is_error
    assert "shows no pink" in second.message
