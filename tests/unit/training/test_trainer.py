"""The Trainer with our loss, data and parameter groups."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset
from transformers import EvalPrediction, set_seed

from msqnet.config import AugmentationConfig, LossConfig, TrainConfig
from msqnet.data.dataset import ClipDataset
from msqnet.errors import ConfigError
from msqnet.model.losses import LOSSES, ActionLoss, LabelCounts
from msqnet.model.pretrained import MSQNet
from msqnet.training.finetuning import freeze, parameter_groups
from msqnet.training.processes import ClassAwareSampler
from msqnet.training.trainer import (
    last_whole_checkpoint,
    part_logits,
    run_trainer,
    training_arguments,
    validation_metrics,
)
from tests.fixtures.models import NUM_FRAMES, tiny_model
from tests.fixtures.tables import BRIGHT_AND_DARK, write_brightness_table

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
            self.labels = torch.eye(3)[torch.tensor([0, 1, 2, 0, 1, 0, 0, 0])]
            self.labels[3] = self.labels[6] = self.labels[7] = -100
            self.labels[1, 2] = self.labels[5, 1] = -100
        else:
            self.labels = torch.randint(0, 2, (NUM_CLIPS, 3), generator=generator).float()
            # Uneven, so that a mean of means over batches would be another number.
            self.labels[:5, 0] = self.labels[2, 1] = self.labels[7] = -100
        self.epoch = 0
        self.epochs_seen: list[int] = []
        self.rows_seen: list[int] = []

    def __len__(self) -> int:
        return NUM_CLIPS

    @property
    def targets(self) -> np.ndarray:
        """(V, K) of 1, 0 and -100."""
        return self.labels.numpy()

    def __getitem__(self, index: int) -> dict[str, Any]:
        self.epochs_seen.append(self.epoch)
        self.rows_seen.append(index)
        return {
            "maps": self.maps[index],
            "pooled": self.pooled[index],
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


def model_without_dropout(task: str) -> MSQNet:
    model = tiny_model("lite", task=task, dropout=0.0, video_query_dropout=0.0)
    model.video_encoder.config.hidden_dropout_prob = 0.0
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
        if hasattr(module, "dropout") and isinstance(module.dropout, float):
            module.dropout = 0.0
    freeze(model, "after_trunk")
    return model


def loss_on_all_clips(model: MSQNet, data: StoredClips, loss: ActionLoss) -> float:
    batch = next(iter(DataLoader(data, batch_size=NUM_CLIPS)))
    with torch.inference_mode():
        return loss(model.eval()(**batch), batch["labels"]).item()


def trained(
    folder: Path, task: str, config: TrainConfig
) -> tuple[dict[str, Tensor], dict[str, Tensor], float]:
    """Weights, gradients of the last step and loss of a run without dropout."""
    torch.set_num_threads(1)
    model = model_without_dropout(task)
    gradients: dict[str, Tensor] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            parameter.register_post_accumulate_grad_hook(
                lambda tensor, name=name: gradients.__setitem__(name, tensor.grad.clone())
            )
    data = StoredClips(task)
    trainer = run_trainer(model, data, None, config, folder, data.targets)
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


def test_label_that_is_unknown_in_every_row_is_not_trained(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    model, data = model_without_dropout("single_label"), StoredClips("single_label")
    data.labels[2] = torch.tensor([1.0, 0.0, 0.0])
    data.labels[:, 2] = -100
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    config = settings(learning_rate=1e-3, weight_decay=0.0)
    run_trainer(model, data, None, config, tmp_path, data.targets)
    after = model.state_dict()
    for key in ("head.weight", "head.bias", "query_head.weight", "query_head.bias"):
        assert torch.equal(after[key][2], before[key][2])
        assert not torch.equal(after[key][:2], before[key][:2])


@pytest.mark.parametrize(("task", "expected"), [("multi_label", 15), ("single_label", 5)])
def test_items_are_known_cells_or_rows_with_a_label(
    tmp_path: Path, task: str, expected: int
) -> None:
    """The loss is a mean over all batches of a step, however they are cut."""
    data = StoredClips(task)
    config = settings(learning_rate=0.0, encoder_learning_rate=0.0)
    trainer = run_trainer(model_without_dropout(task), data, None, config, tmp_path, data.targets)
    batches = iter(DataLoader(data, batch_size=3))
    _, num_items = trainer.get_batch_samples(batches, 3, torch.device("cpu"))
    assert int(num_items) == expected


def test_each_pass_over_the_data_has_its_number(tmp_path: Path) -> None:
    model = tiny_model("lite")
    freeze(model, "after_trunk")
    data = StoredClips("multi_label")
    config = settings(epochs=3, batch_size=4)
    run_trainer(model, data, None, config, tmp_path, data.targets)
    assert data.epochs_seen == [0] * NUM_CLIPS + [1] * NUM_CLIPS + [2] * NUM_CLIPS


def test_every_trained_parameter_is_in_one_group_with_its_rate_and_decay() -> None:
    model = tiny_model("timesformer", query_positions="learned")
    config = settings(learning_rate=1e-3, encoder_learning_rate=1e-5, weight_decay=0.05)
    groups = parameter_groups(model, config)
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


@pytest.mark.parametrize(("task", "name"), LOSSES)
def test_training_lowers_the_loss_that_is_asked_for(tmp_path: Path, task: str, name: str) -> None:
    torch.set_num_threads(1)
    model, data = model_without_dropout(task), StoredClips(task)
    config = settings(
        epochs=4,
        learning_rate=1e-3,
        encoder_learning_rate=1e-3,
        loss=LossConfig(name, {"threshold": 0.6} if name == "equalisation" else {}),
        class_balance="none",
    )
    loss = ActionLoss(task, config.loss, LabelCounts.of(data.targets))
    before = loss_on_all_clips(model, data, loss)
    trainer = run_trainer(model, data, None, config, tmp_path, data.targets)
    logged = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert logged[0] == pytest.approx(before, rel=1e-4)
    assert loss_on_all_clips(model, data, loss) < 0.9 * before


@pytest.mark.usefixtures("power_loss")
def test_loss_of_another_module_trains_by_one_registration(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    model, data = model_without_dropout("multi_label"), StoredClips("multi_label")
    config = settings(
        epochs=4,
        learning_rate=1e-3,
        loss=LossConfig("power", {"exponent": 1.5}),
        class_balance="none",
    )
    loss = ActionLoss("multi_label", config.loss, LabelCounts.of(data.targets))
    before = loss_on_all_clips(model, data, loss)
    run_trainer(model, data, None, config, tmp_path, data.targets)
    assert loss_on_all_clips(model, data, loss) < 0.9 * before


@pytest.mark.parametrize("class_balance", ["none", "inverse"])
def test_inverse_class_balance_weighs_the_positives(tmp_path: Path, class_balance: str) -> None:
    config = settings(class_balance=class_balance, learning_rate=0.0, encoder_learning_rate=0.0)
    found = trained(tmp_path, "multi_label", config)[2]
    data = StoredClips("multi_label")
    counts = LabelCounts.of(data.targets)
    assert (counts.negatives > counts.positives).any()
    loss = ActionLoss("multi_label", LossConfig(), counts, class_balance)
    expected = loss_on_all_clips(model_without_dropout("multi_label"), data, loss)
    assert found == pytest.approx(expected, rel=1e-4)


def test_class_aware_rows_are_those_of_seed_and_epoch_also_after_a_resume(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    config = settings(epochs=3, batch_size=3, sampling="class_aware", seed=5)
    expected = []
    sampler = ClassAwareSampler(StoredClips("multi_label").targets, seed=5)
    for sampler.epoch in range(3):
        expected += list(sampler)

    def run() -> tuple[list[int], dict[str, Tensor]]:
        model, data = tiny_model("lite"), StoredClips("multi_label")
        freeze(model, "after_trunk")
        set_seed(config.seed)
        run_trainer(model, data, None, config, tmp_path, data.targets)
        return data.rows_seen, model.state_dict()

    rows, weights = run()
    assert rows == expected
    last = last_whole_checkpoint(tmp_path)
    assert last is not None
    shutil.rmtree(last)
    rows, resumed = run()
    assert rows == expected[-NUM_CLIPS:]
    for name, tensor in weights.items():
        assert torch.equal(resumed[name], tensor), name


@pytest.mark.slow
def test_processes_that_live_on_see_each_epoch_and_resume_to_the_bit(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    table = write_brightness_table(tmp_path / "videos", 4)
    config = settings(epochs=3, batch_size=2, learning_rate=1e-3, num_workers=1)
    clip = tiny_model("lite").config.clip_config

    def run() -> dict[str, Tensor]:
        model = tiny_model("lite", labels=list(BRIGHT_AND_DARK))
        freeze(model, "after_trunk")
        data, held_out = (
            ClipDataset(table, BRIGHT_AND_DARK, clip, augmentation=augmentation, seed=1)
            for augmentation in (AugmentationConfig(), None)
        )
        set_seed(config.seed)
        targets = data.targets.numpy()
        trainer = run_trainer(model, data, held_out, config, tmp_path, targets)
        assert trainer.args.dataloader_persistent_workers
        losses.append([entry["loss"] for entry in trainer.state.log_history if "loss" in entry])
        checkpoint = last_whole_checkpoint(tmp_path)
        assert checkpoint is not None
        return MSQNet.from_pretrained(checkpoint).state_dict()

    losses: list[list[float]] = []
    weights = run()
    shutil.rmtree(tmp_path / "checkpoints" / "checkpoint-6")
    start = last_whole_checkpoint(tmp_path)
    # The best one is kept, and no epoch was better than the first: two are trained again.
    assert start is not None
    assert start.name == "checkpoint-2"
    resumed = run()
    assert losses[1] == losses[0]
    for name, tensor in weights.items():
        assert torch.equal(resumed[name], tensor), name


def test_freezing_behind_a_trunk_needs_a_trunk() -> None:
    with pytest.raises(ConfigError, match="needs an encoder with a backbone apart, such as lite"):
        freeze(tiny_model("timesformer"), "after_trunk")


@pytest.mark.skipif(torch.cuda.is_available(), reason="this device may have bf16")
def test_bf16_is_refused_where_the_device_lacks_it(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="bf16"):
        training_arguments(settings(precision="bf16"), tmp_path, best_by=None, num_workers=0)


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
    found = validation_metrics(EvalPrediction(logits, targets), task="multi_label")
    assert found == {"macro_map": pytest.approx((5 / 6 + 1) / 2)}
    nothing = EvalPrediction(logits, np.full((3, 2), -100.0))
    assert validation_metrics(nothing, task="multi_label") == {"macro_map": 0.0}
    assert validation_metrics(nothing, task="single_label") == {"top_1_accuracy": 0.0}


def test_validation_figure_of_single_label_models_is_top_1() -> None:
    logits = np.array([[3.0, 0.0, 1.0], [2.0, 1.0, 0.0], [1.0, 2.0, 0.0], [1.0, 0.0, 3.0]])
    # Right; wrong; without a label; right among the labels that are known there.
    targets = np.array(
        [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [-100.0] * 3, [1.0, 0.0, -100.0]], np.float32
    )
    found = validation_metrics(EvalPrediction(logits, targets), task="single_label")
    assert found == {"top_1_accuracy": pytest.approx(2 / 3)}


@pytest.mark.parametrize(
    ("task", "name"), [("multi_label", "macro_map"), ("single_label", "top_1_accuracy")]
)
def test_best_epoch_is_chosen_by_the_figure_of_the_task(
    tmp_path: Path, task: str, name: str
) -> None:
    model, data = model_without_dropout(task), StoredClips(task)
    trainer = run_trainer(model, data, data, settings(epochs=2), tmp_path, data.targets)
    found = [
        entry[f"eval_{name}"] for entry in trainer.state.log_history if f"eval_{name}" in entry
    ]
    assert len(found) == 2
    assert trainer.state.best_metric == max(found)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.filterwarnings("ignore:.torch.jit.script_method. is deprecated:DeprecationWarning")
def test_compiled_model_trains_as_the_plain_one(tmp_path: Path) -> None:
    losses = []
    for compiled in ("off", "on"):
        config = settings(epochs=2, batch_size=4, learning_rate=1e-3, compile=compiled)
        model, data = model_without_dropout("multi_label"), StoredClips("multi_label")
        trainer = run_trainer(model, data, None, config, tmp_path / compiled, data.targets)
        losses.append([entry["loss"] for entry in trainer.state.log_history if "loss" in entry])
        checkpoint = last_whole_checkpoint(tmp_path / compiled)
        assert checkpoint is not None
        saved = MSQNet.from_pretrained(checkpoint).state_dict()
        for name, tensor in model.state_dict().items():
            assert torch.equal(saved[name], tensor), name
    assert len(losses[0]) == 2
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-4)


def test_part_logits_keep_the_order_of_the_data_whatever_the_batch() -> None:
    model, data = tiny_model("lite"), StoredClips("multi_label")
    expected = part_logits(model, data, batch_size=NUM_CLIPS)
    assert expected.shape == (2, NUM_CLIPS, 3)
    # Sums in another order.
    np.testing.assert_allclose(part_logits(model, data, batch_size=3), expected, atol=1e-5)
    item = data[5]
    with torch.inference_mode():
        outputs = model(maps=item["maps"][None], pooled=item["pooled"][None])
    np.testing.assert_allclose(outputs.decoder_logits[0], expected[0, 5], atol=1e-5)
    np.testing.assert_allclose(outputs.query_logits[0], expected[1, 5], atol=1e-5)
