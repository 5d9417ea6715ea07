"""Open vocabularies: what a label scores must not depend on which others are asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import Tensor

from msqnet.config import ArchConfig
from msqnet.errors import CheckpointError, ConfigError, ShapeError, VocabularyError
from msqnet.labels import LabelSet
from msqnet.model.builder import new_model
from msqnet.model.pretrained import MSQNet, save_in_half
from msqnet.model.vocabulary import ask_for, text_embeddings
from msqnet.prompts import read_label_table
from tests.fixtures.models import (
    NUM_FRAMES,
    SIZE_PIXELS,
    fill_with_noise,
    tiny_clip_settings,
    tiny_model,
    write_clip_folder,
    write_timesformer_folder,
)

if TYPE_CHECKING:
    from pathlib import Path

TRAINED = LabelSet(("sit", "walk", "sleep"))
OTHERS = ("dig", "walk", "cats fight")
# The same sums in another order.
ROUNDING = 1e-5


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("weights")
    write_clip_folder(folder / "clip")
    write_timesformer_folder(folder / "timesformer")
    return folder


def open_model(folder: Path, **changes: Any) -> MSQNet:
    settings: dict[str, Any] = {
        "video_encoder": "timesformer",
        "video_weights": str(folder / "timesformer"),
        "video_query": "image",
        "image_encoder": str(folder / "clip"),
        "text_encoder": f"clip:{folder / 'clip'}",
        "embedding": "projected",
        "learn_label_queries": False,
        "query_attention": False,
        "num_frames": NUM_FRAMES,
        "size_pixels": SIZE_PIXELS,
        "width": 16,
        "decoder_layers": 2,
        "decoder_heads": 2,
        "decoder_feedforward": 32,
        "head": "cosine",
        "direct_path": True,
        "closeup": False,
    }
    torch.manual_seed(0)
    arch = ArchConfig(**{**settings, **changes})
    model = new_model(arch, tiny_clip_settings(), TRAINED)
    return fill_new_parts(model)


def fill_new_parts(model: MSQNet) -> MSQNet:
    """Larger weights behind the encoders, so that every query counts."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for part in (model.query_encoder.project_labels, model.decoder, model.head):
            for parameter in part.parameters():
                if parameter.ndim > 1:
                    parameter.normal_(std=0.5, generator=generator)
    return model.eval()


@pytest.fixture(scope="module")
def pixels() -> Tensor:
    shape = (2, NUM_FRAMES, 3, SIZE_PIXELS, SIZE_PIXELS)
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)


@pytest.mark.parametrize("head", ["shared", "cosine"])
@pytest.mark.parametrize("direct_path", [False, True])
@torch.no_grad()
def test_score_of_a_label_is_the_same_in_every_vocabulary(
    folder: Path, pixels: Tensor, head: str, direct_path: bool
) -> None:
    model = open_model(folder, head=head, direct_path=direct_path)
    model.config.calibration_scale = [0.5] * 3
    model.config.calibration_bias = [0.3] * 3
    trained = model.scores(model(pixels=pixels).logits)
    assert trained.std(dim=1).min() > 1e-3
    ask_for(model, OTHERS)
    others = model.scores(model(pixels=pixels).logits)
    ask_for(model, ["walk"])
    alone = model.scores(model(pixels=pixels).logits)
    torch.testing.assert_close(others[:, 1], trained[:, 1], atol=ROUNDING, rtol=0)
    torch.testing.assert_close(alone[:, 0], trained[:, 1], atol=ROUNDING, rtol=0)


@torch.no_grad()
def test_embeddings_may_be_given_to_a_single_call(folder: Path, pixels: Tensor) -> None:
    model = open_model(folder)
    embeddings = text_embeddings(model, LabelSet(OTHERS))
    once = model(pixels=pixels, label_embeddings=embeddings).logits
    assert tuple(model.config.label_set) == tuple(TRAINED)
    ask_for(model, OTHERS)
    assert torch.equal(model(pixels=pixels).logits, once)


def test_asking_for_other_labels_keeps_what_is_known_of_the_old_ones(folder: Path) -> None:
    model = open_model(folder)
    model.config.thresholds = [0.2, 0.3, 0.6]
    ask_for(model, OTHERS)
    assert tuple(model.config.label_set) == OTHERS
    # The median of the known thresholds for new labels.
    assert model.config.thresholds == [0.3, 0.3, 0.3]
    ask_for(model, ["sit", "walk"])
    assert model.config.thresholds == [0.3, 0.3]
    assert model.config.train_positive_windows is None


@torch.no_grad()
def test_another_vocabulary_survives_saving(folder: Path, pixels: Tensor, tmp_path: Path) -> None:
    model = open_model(folder)
    ask_for(model, OTHERS)
    model.save_pretrained(tmp_path)
    again = MSQNet.from_pretrained(tmp_path).eval()
    assert again.config.text_encoder == model.config.text_encoder
    assert torch.equal(again(pixels=pixels).logits, model(pixels=pixels).logits)


def test_label_embeddings_of_an_open_model_are_never_trained(folder: Path) -> None:
    model = open_model(folder).train()
    assert not model.query_encoder.label_embeddings.requires_grad


def test_group_wise_model_refuses_other_labels_and_says_what_to_do() -> None:
    model = tiny_model("lite")
    fill_with_noise(model)
    width = model.config.label_width
    for action in (
        lambda: model.set_labels(["dig"], torch.zeros(1, width)),
        lambda: ask_for(model, ["dig"]),
        lambda: model(
            maps=torch.zeros(1, 2, NUM_FRAMES, 1, 320),
            pooled=torch.zeros(1, 2, NUM_FRAMES, 1280),
            label_embeddings=torch.zeros(3, width),
        ),
    ):
        with pytest.raises(VocabularyError, match=r"--model siglip2-base.*--arch.head cosine"):
            action()


def test_embeddings_of_another_width_are_refused(folder: Path) -> None:
    with pytest.raises(ShapeError, match=r"\(1, 7\)"):
        open_model(folder).set_labels(["dig"], torch.zeros(1, 7))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"query_attention": True}, "query_attention false"),
        ({"query_positions": "learned"}, "query_positions none"),
        ({"learn_label_queries": True}, "learn_label_queries false"),
        ({"text_encoder": "random"}, "needs a text_encoder"),
    ],
)
def test_settings_that_tie_scores_together_are_refused(
    folder: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        open_model(folder, **changes)


@torch.no_grad()
def test_single_label_scores_of_an_open_model_stand_alone_too(folder: Path, pixels: Tensor) -> None:
    model = open_model(folder)
    model.config.task = "single_label"
    among_three = model.scores(model(pixels=pixels).logits)[:, 1]
    ask_for(model, ["walk"])
    alone = model.scores(model(pixels=pixels).logits)[:, 0]
    torch.testing.assert_close(alone, among_three, atol=ROUNDING, rtol=0)


def test_text_encoder_of_another_checkpoint_is_told(folder: Path, tmp_path: Path) -> None:
    model = open_model(folder)
    ask_for(model, OTHERS)
    with torch.no_grad():
        model.query_encoder.label_embeddings[0] += 0.1
    with pytest.raises(CheckpointError, match="embeds 'dig' otherwise than in training"):
        ask_for(model, ["sit"])


@torch.no_grad()
def test_half_precision_file_keeps_its_text_encoder(folder: Path, tmp_path: Path) -> None:
    model = open_model(folder, embedding="pooled")
    save_in_half(model, tmp_path)
    again = MSQNet.from_pretrained(tmp_path)
    ask_for(again, OTHERS)
    assert tuple(again.config.label_set) == OTHERS


def test_descriptions_are_needed_for_every_label_asked_for(folder: Path, tmp_path: Path) -> None:
    table = tmp_path / "labels.csv"
    table.write_text("name,description\nsit,rump down\nwalk,on foot\nsleep,eyes shut\ndig,paws\n")
    model = open_model(folder, prompts="descriptions", label_table=str(table))
    ask_for(model, ["dig"], read_label_table(table))
    assert tuple(model.config.label_set) == ("dig",)
    with pytest.raises(ConfigError, match="no description: eat"):
        ask_for(model, ["eat"], read_label_table(table))
