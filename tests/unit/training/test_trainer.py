"""The Trainer with our loss, data and parameter groups."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from torch.utils.data import Dataset
from transformers import EvalPrediction

from msqnet.config import TrainConfig
from msqnet.errors import ConfigError
from msqnet.training.trainer import (
    freeze,
    last_whole_checkpoint,
    parameter_groups,
    part_logits,
    positive_weight,
    run_trainer,
    training_arguments,
    validation_metrics,
)
from tests.fixtures.models import NUM_FRAMES, tiny_model

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

NUM_CLIPS = 8


class StoredClips(Dataset[dict[str, Any]]):
    """Trunk features of eight clips with labels of which some are unknown."""

    def __init__(self, task: str) -> None:
        generator = torch.Generator().manual_seed(0)
        self.maps = torch.rand(NUM_CLIPS, 2, NUM_FRAMES, 1, 320, generator=generator)
        self.pooled = torch.rand(NUM_CLIPS, 2, NUM_FRAMES, 1280, generator=generator)
        if task == "single_label":
            self.labels = torch.tensor([0, 1, 2, -100, 1, 0, -100, -100])
        else:
            self.labels = torch.randint(0, 2, (NUM_CLIPS, 3), generator=generator).float()
            # Uneven, so that a mean of means over batches would be another number.
            self.labels[:5, 0] = self.labels[2, 1] = self.labels[7] = -100
        self.epoch = 0
        self.epochs_seen: list[int] = []

    def __len__(self) -> int:
        return NUM_CLIPS

    def __getitem__(self, index: int) -> dict[str, Any]:
        self.epochs_seen.append(self.epoch)
        return {
            "trunk_maps": self.maps[index],
            "trunk_pooled": self.pooled[index],
            "labels": self.labels[index],
        }


def settings(**changes: Any) -> TrainConfig:
    defaults: dict[str, Any] = {
        "epochs": 1,
        "batch_size": NUM_CLIPS,
        "learning_rate": 2e-5,
        "encoder_learning_rate": 2e-5,
        "warmup_share": 0.0,
        "folds": 0,
        "num_workers": 0,
        "precision": "fp32",
    }
    return TrainConfig(**{**defaults, **changes})


def trained(
    folder: Path, task: str, config: TrainConfig
) -> tuple[dict[str, Tensor], dict[str, Tensor], float]:
    """Weights, gradients of the last step and loss of a run without dropout."""
    torch.set_num_threads(1)
    model = tiny_model("lite", task=task, dropout=0.0, video_query_dropout=0.0)
    model.video_encoder.config.hidden_dropout_prob = 0.0
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
        if hasattr(module, "dropout") and isinstance(module.dropout, float):
            module.dropout = 0.0
    freeze(model, "after_trunk")
    gradients: dict[str, Tensor] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            parameter.register_post_accumulate_grad_hook(
                lambda tensor, name=name: gradients.__setitem__(name, tensor.grad.clone())
            )
    weight = torch.tensor([1.0, 2.0, 3.0]) if task == "multi_label" else None
    trainer = run_trainer(model, StoredClips(task), None, config, folder, weight)
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    return model.state_dict(), gradients, losses[-1]


@pytest.mark.parametrize("task", ["multi_label", "single_label"])
@pytest.mark.parametrize(("batch_size", "accumulation_steps"), [(4, 2), (1, 8)])
def test_accumulated_steps_equal_one_step_on_the_whole_batch(
    tmp_path: Path, task: str, batch_size: int, accumulation_steps: int
) -> None:
    whole = trained(tmp_path / "whole", task, settings())
    parts = settings(batch_size=batch_size, accumulation_steps=accumulation_steps)
    accumulated = trained(tmp_path / "parts", task, parts)
    for expected, found in zip(whole[:2], accumulated[:2], strict=True):
        assert expected.keys() == found.keys()
        for name, tensor in expected.items():
            # Sums in another order. Adam divides a gradient by its size, so that where it is all
            # rounding (key biases) a step can differ by a share of the rate of 2e-5.
            tolerance = 2e-5 if name.endswith("key.bias") else 1e-6
            torch.testing.assert_close(
                found[name], tensor, atol=tolerance, rtol=1e-5, msg=lambda m, n=name: f"{n}: {m}"
            )
    assert accumulated[2] == pytest.approx(whole[2], abs=1e-6)


def test_each_pass_over_the_data_has_its_number(tmp_path: Path) -> None:
    model = tiny_model("lite")
    freeze(model, "after_trunk")
    data = StoredClips("multi_label")
    run_trainer(model, data, None, settings(epochs=3, batch_size=4), tmp_path)
    assert data.epochs_seen == [0] * NUM_CLIPS + [1] * NUM_CLIPS + [2] * NUM_CLIPS


def test_every_trained_parameter_is_in_one_group_with_its_rate_and_decay() -> None:
    model = tiny_model("timesformer", query_positions="learned")
    groups = parameter_groups(model, 1e-3, 1e-5, 0.05)
    found = {
        id(parameter): (group["lr"], group["weight_decay"])
        for group in groups
        for parameter in group["params"]
    }
    trained = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    assert sum(len(group["params"]) for group in groups) == len(found) == len(trained)
    by_name = {name: found[id(parameter)] for name, parameter in trained}
    backbone = "video_encoder.backbone"
    assert by_name["head.weight"] == (1e-3, 0.05)
    assert by_name["head.bias"] == (1e-3, 0.0)
    assert by_name["query_encoder.label_embeddings"] == (1e-3, 0.0)
    assert by_name["decoder.query_positions.weight"] == (1e-3, 0.0)
    assert by_name[f"{backbone}.encoder.layer.0.intermediate.dense.weight"] == (1e-5, 0.05)
    assert by_name[f"{backbone}.encoder.layer.0.layernorm_before.weight"] == (1e-5, 0.0)
    assert by_name[f"{backbone}.embeddings.position_embeddings"] == (1e-5, 0.0)


def test_positives_weigh_negatives_over_positives_within_bounds() -> None:
    targets = np.array([[1, 0, 0, -100]] + [[0, 1, 0, -100]] * 3 + [[0, 1, -100, 0]] * 9)
    assert positive_weight(targets).tolist() == [10.0, 1.0, 4.0, 9.0]
    assert positive_weight(targets[:4]).tolist()[:2] == [3.0, 1.0]


def test_freezing_behind_a_trunk_needs_a_trunk() -> None:
    with pytest.raises(ConfigError, match="needs the lite video encoder"):
        freeze(tiny_model("timesformer"), "after_trunk")


@pytest.mark.skipif(torch.cuda.is_available(), reason="this device may have bf16")
def test_bf16_is_refused_where_the_device_lacks_it(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="bf16"):
        training_arguments(settings(precision="bf16"), tmp_path, validates=False, num_workers=0)


def write_checkpoint(folder: Path, step: int, state: str | None) -> Path:
    checkpoint = folder / "checkpoints" / f"checkpoint-{step}"
    checkpoint.mkdir(parents=True)
    if state is not None:
        (checkpoint / "trainer_state.json").write_text(state)
    return checkpoint


def test_last_checkpoint_is_the_newest_that_was_written_to_its_end(tmp_path: Path) -> None:
    assert last_whole_checkpoint(tmp_path) is None
    write_checkpoint(tmp_path, 9, "{}")
    whole = write_checkpoint(tmp_path, 10, "{}")
    write_checkpoint(tmp_path, 11, '{"epoch": 1.')
    write_checkpoint(tmp_path, 100, None)
    assert last_whole_checkpoint(tmp_path) == whole


def test_folder_of_half_written_checkpoints_has_none(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, 5, None)
    assert last_whole_checkpoint(tmp_path) is None


def test_validation_figure_is_the_macro_map_over_known_cells() -> None:
    logits = np.array([[3.0, 0.0], [2.0, 1.0], [1.0, 2.0]])
    targets = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, -100.0]])
    # Label 0: positives at ranks 1 and 3, (1 + 2/3) / 2; label 1: 1.
    found = validation_metrics(EvalPrediction(logits, targets))["macro_map"]
    assert found == pytest.approx((5 / 6 + 1) / 2)
    nothing = np.full((3, 2), -100.0)
    assert validation_metrics(EvalPrediction(logits, nothing)) == {"macro_map": 0.0}


def test_validation_figure_of_single_label_models_is_top_1() -> None:
    logits = np.array([[3.0, 0.0], [2.0, 1.0], [1.0, 2.0]])
    targets = np.array([0, 1, -100])
    assert validation_metrics(EvalPrediction(logits, targets)) == {"macro_map": 0.5}


def test_part_logits_keep_the_order_of_the_data_whatever_the_batch() -> None:
    model, data = tiny_model("lite"), StoredClips("multi_label")
    expected = part_logits(model, data, batch_size=NUM_CLIPS)
    assert expected.shape == (2, NUM_CLIPS, 3)
    # Sums in another order.
    np.testing.assert_allclose(part_logits(model, data, batch_size=3), expected, atol=1e-5)
    item = data[5]
    with torch.inference_mode():
        outputs = model(
            trunk_maps=item["trunk_maps"][None], trunk_pooled=item["trunk_pooled"][None]
        )
    np.testing.assert_allclose(outputs.decoder_logits[0], expected[0, 5], atol=1e-5)
    np.testing.assert_allclose(outputs.query_logits[0], expected[1, 5], atol=1e-5)
