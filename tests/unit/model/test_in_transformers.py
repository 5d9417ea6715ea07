"""What users of `transformers` expect of any model: names, labels, loss, `Trainer`."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch.nn import functional
from transformers import AutoModel, Trainer, TrainingArguments

from msqnet.errors import CheckpointError, ShapeError
from msqnet.model.pretrained import MSQNet
from msqnet.training.trainer import batch_outputs
from tests.fixtures.models import LABELS, random_inputs, tiny_model

if TYPE_CHECKING:
    from pathlib import Path

UNKNOWN = -100
TARGETS = torch.tensor([[1.0, 0.0, UNKNOWN], [0.0, 1.0, 0.0]])
TASKS = ("multi_label", "single_label")
SHIPPED_WITHOUT_NETWORK = """
import socket

asked = []

def refuse(*address, **_):
    asked.append(address)
    raise OSError("no network")

socket.getaddrinfo = refuse
from msqnet import MSQNet
assert MSQNet.from_pretrained("mixed-actors-lite").config.num_labels == 18
assert not asked, asked
"""


@pytest.mark.parametrize("task", TASKS)
def test_configuration_tells_the_labels_in_the_words_of_transformers(
    task: str, tmp_path: Path
) -> None:
    tiny_model("timesformer", task=task).save_pretrained(tmp_path)
    config = AutoModel.from_pretrained(tmp_path).config
    assert config.num_labels == len(LABELS)
    assert config.id2label == dict(enumerate(LABELS))
    assert config.label2id == {name: column for column, name in enumerate(LABELS)}
    assert config.problem_type == f"{task}_classification"


def test_configuration_follows_other_labels_of_an_open_vocabulary() -> None:
    model = tiny_model(
        "timesformer",
        head="cosine",
        query_attention=False,
        learn_label_queries=False,
        video_query="none",
        image_encoder=None,
    )
    model.set_labels(["dig"], torch.ones(1, model.config.label_width))
    assert (model.config.num_labels, model.config.id2label) == (1, {0: "dig"})
    assert model.config.label2id == {"dig": 0}


def test_saved_model_has_a_card_and_keeps_one_that_somebody_wrote(tmp_path: Path) -> None:
    model, card = tiny_model("timesformer"), tmp_path / "README.md"
    model.save_pretrained(tmp_path)
    assert all(f"| {name} |" in card.read_text(encoding="utf-8") for name in LABELS)
    card.write_text("my own words", encoding="utf-8")
    model.save_pretrained(tmp_path)
    assert card.read_text(encoding="utf-8") == "my own words"


@pytest.mark.parametrize("changes", [{"num_labels": 5}, {"id2label": {0: "x"}}])
@pytest.mark.parametrize("loader", [MSQNet, AutoModel])
def test_other_labels_than_those_of_the_weights_are_refused(
    tmp_path: Path, changes: dict[str, Any], loader: Any
) -> None:
    tiny_model("timesformer").save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match=r"num_labels or id2label: found .* 'sit'"):
        loader.from_pretrained(tmp_path, **changes)


def test_shipped_model_is_loaded_by_its_name_without_a_network(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SHIPPED_WITHOUT_NETWORK],
        cwd=tmp_path,
        env={**os.environ, "HF_HUB_OFFLINE": "0"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_run_folder_stands_for_its_best_model(tmp_path: Path) -> None:
    tiny_model("timesformer").save_pretrained(tmp_path / "best")
    assert MSQNet.from_pretrained(tmp_path).config.labels == LABELS


@pytest.mark.parametrize("task", TASKS)
@torch.inference_mode()
def test_loss_is_cross_entropy_over_known_labels_of_both_paths(task: str) -> None:
    model = tiny_model("lite", task=task)
    outputs = model(**random_inputs("lite", 2), labels=TARGETS)
    parts = []
    for logits in (outputs.decoder_logits, outputs.query_logits):
        if task == "multi_label":
            is_known = TARGETS != UNKNOWN
            known, wanted = logits[is_known], TARGETS[is_known]
            parts.append(functional.binary_cross_entropy_with_logits(known, wanted))
        else:  # the first clip chooses between two labels, the third is not known of it
            rows = (logits[0, :2].log_softmax(0)[0], logits[1].log_softmax(0)[1])
            parts.append(-torch.stack(rows).mean())
    torch.testing.assert_close(outputs.loss, torch.stack(parts).mean())
    assert next(iter(outputs)) == "loss"


@torch.inference_mode()
def test_single_label_models_take_columns_too() -> None:
    model, inputs = tiny_model("lite", task="single_label"), random_inputs("lite", 2)
    found = model(**inputs, labels=torch.tensor([2, UNKNOWN])).loss
    rows = torch.tensor([[0, 0, 1], [UNKNOWN] * 3])
    torch.testing.assert_close(found, model(**inputs, labels=rows).loss)
    assert found > 0


@pytest.mark.parametrize(
    ("task", "labels", "message"),
    [
        ("multi_label", [[1, -1, 0], [0, 0, 1]], r"found \[-1, 0, 1\], expected 1 for present"),
        ("multi_label", [0, 1], r"found \(2,\), expected \(2, 3\)"),
        ("multi_label", [[1, 0], [0, 1]], r"found \(2, 2\), expected \(2, 3\)"),
        ("single_label", [0, 3], r"found columns \[0, 3\], expected 0 to 2"),
        ("single_label", [0, -1], r"found columns \[0, -1\], expected 0 to 2"),
    ],
)
def test_labels_of_another_form_are_refused(task: str, labels: list[Any], message: str) -> None:
    model = tiny_model("lite", task=task)
    with pytest.raises(ShapeError, match=message):
        model(**random_inputs("lite", 2), labels=torch.tensor(labels))


@pytest.mark.parametrize("task", TASKS)
def test_plain_trainer_trains_and_evaluates(task: str, tmp_path: Path) -> None:
    model, inputs = tiny_model("lite", task=task), random_inputs("lite", 2)
    before = model.head.weight.detach().clone()
    columns = torch.tensor([0, 1])
    labels = TARGETS if task == "multi_label" else columns
    rows = [
        {**{name: value[row] for name, value in inputs.items()}, "labels": labels[row]}
        for row in range(2)
    ]
    settings = TrainingArguments(
        output_dir=str(tmp_path),
        max_steps=2,
        per_device_train_batch_size=2,
        label_names=["labels"],
        logging_steps=1,
        save_strategy="no",
        report_to="none",
        use_cpu=True,
        dataloader_pin_memory=False,
    )
    trainer = Trainer(model=model, args=settings, train_dataset=rows, eval_dataset=rows)
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert len(losses) == 2
    assert not torch.equal(model.head.weight, before)
    with torch.inference_mode():
        expected = model.eval()(**inputs, labels=labels).loss
    assert trainer.evaluate()["eval_loss"] == pytest.approx(float(expected), rel=1e-5)


def test_outputs_of_rows_need_no_labels_of_the_model() -> None:
    model, inputs = tiny_model("lite"), random_inputs("lite", 1)
    rows: Any = [{**{name: value[0] for name, value in inputs.items()}, "labels": torch.ones(7)}]
    (outputs,) = batch_outputs(model, rows, 1)
    assert outputs.loss is None
    assert outputs.logits.shape == (1, len(LABELS))
