"""The whole model with tiny random encoders: what must hold whatever the weights are."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import pytest
import torch
from safetensors.torch import load_file, save_file

from msqnet.errors import CheckpointError, ShapeError
from msqnet.model.decoder import sinusoidal_positions
from msqnet.model.pretrained import MSQNet, save_in_half
from msqnet.training.finetuning import freeze
from tests.fixtures.models import (
    LABELS,
    NUM_FRAMES,
    SIZE_PIXELS,
    WIDTH,
    random_inputs,
    tiny_model,
    tiny_vision_config,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from torch import Tensor

ENCODERS = ("lite", "timesformer")
both_encoders = pytest.mark.parametrize("video_encoder", ENCODERS)
# float32 sums in another order, of logits of the size of 1.
ROUNDING = 1e-5
LABEL_ROWS = ("query_encoder.label_embeddings", "head.weight", "head.bias")
QUERY_HEAD_ROWS = ("query_head.weight", "query_head.bias")


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def model_of() -> Callable[[str], MSQNet]:
    """One shared model of each kind, for tests that change nothing."""
    models = {name: tiny_model(name) for name in ENCODERS}
    return models.__getitem__


def change_file(folder: Path, changes: dict[str, Tensor | None]) -> None:
    """Overwrite, add or (None) remove tensors of a saved model."""
    weights = load_file(folder / "model.safetensors") | changes
    kept = {name: tensor for name, tensor in weights.items() if tensor is not None}
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})


@both_encoders
@torch.inference_mode()
def test_outputs_have_the_documented_shapes(
    model_of: Callable[[str], MSQNet], video_encoder: str
) -> None:
    model = model_of(video_encoder)
    outputs = model(**random_inputs(video_encoder, 2))
    num_views = 2 if video_encoder == "lite" else 1
    query_width = 2 * 3 * 1280 if video_encoder == "lite" else 24
    assert outputs.logits.shape == (2, len(LABELS))
    assert outputs.decoded.shape == (2, len(LABELS), WIDTH)
    assert outputs.memory.shape == (2, 1 + num_views * NUM_FRAMES, WIDTH)
    assert outputs.video_query.shape == (2, query_width)
    assert (outputs.query_logits is not None) == (video_encoder == "lite")


@both_encoders
@torch.inference_mode()
def test_batch_gives_each_clip_the_scores_it_gets_alone(
    model_of: Callable[[str], MSQNet], video_encoder: str
) -> None:
    model, inputs = model_of(video_encoder), random_inputs(video_encoder, 3)
    together = model(**inputs).logits
    # Clips differ in their scores, or equality would say nothing.
    assert together.std(dim=0).min() > 10 * ROUNDING
    for index in range(3):
        alone = model(**{name: value[index : index + 1] for name, value in inputs.items()}).logits
        torch.testing.assert_close(alone[0], together[index], atol=ROUNDING, rtol=ROUNDING)


@both_encoders
@torch.inference_mode()
def test_permuted_labels_give_permuted_scores(
    model_of: Callable[[str], MSQNet], video_encoder: str
) -> None:
    model, inputs = model_of(video_encoder), random_inputs(video_encoder, 2)
    order = [2, 0, 1]
    permuted = tiny_model(video_encoder, labels=[LABELS[index] for index in order])
    weights = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    for name in LABEL_ROWS + (QUERY_HEAD_ROWS if video_encoder == "lite" else ()):
        weights[name] = weights[name][order]
    permuted.load_state_dict(weights)
    straight = model(**inputs).logits
    torch.testing.assert_close(
        permuted(**inputs).logits, straight[:, order], atol=ROUNDING, rtol=ROUNDING
    )


@both_encoders
@torch.inference_mode()
def test_queries_join_label_and_video_embeddings_in_one_projection(
    model_of: Callable[[str], MSQNet], video_encoder: str
) -> None:
    encoder = model_of(video_encoder).query_encoder
    width = encoder.project_video.in_features
    video_query = torch.randn(2, width, generator=torch.Generator().manual_seed(0))
    weight = torch.cat([encoder.project_labels.weight, encoder.project_video.weight], dim=1)
    queries = encoder(encoder.label_embeddings, video_query, 2)
    for clip in range(2):
        for label, embedding in enumerate(encoder.label_embeddings):
            expected = weight @ torch.cat([embedding, video_query[clip]])
            torch.testing.assert_close(queries[clip, label], expected, atol=1e-4, rtol=1e-4)


@torch.inference_mode()
def test_image_query_is_the_mean_of_the_frames_standardised(
    model_of: Callable[[str], MSQNet],
) -> None:
    model, inputs = model_of("timesformer"), random_inputs("timesformer", 2)
    frames = model.image_encoder(inputs["pixels"])
    expected = (frames.mean(dim=1) - model.query_mean) / model.query_std
    assert torch.equal(model(**inputs).video_query, expected)


@torch.inference_mode()
def test_share_weighs_the_direct_path_against_the_decoder() -> None:
    model = tiny_model("lite", query_share=0.25)
    outputs = model(**random_inputs("lite", 2))
    expected = 0.75 * outputs.decoder_logits + 0.25 * outputs.query_logits
    torch.testing.assert_close(outputs.logits, expected)


@torch.inference_mode()
def test_memory_positions_follow_time_and_spare_the_global_token(
    model_of: Callable[[str], MSQNet],
) -> None:
    model = model_of("lite")
    features = model.encode(**random_inputs("lite", 1))
    frames = model.video_encoder.memory(features)
    _, positions, _ = model.positioned(frames, features)
    indices = torch.tensor([-1, 0, 1, 2, 3, 0, 1, 2, 3])
    expected = sinusoidal_positions(indices, WIDTH)
    assert torch.equal(positions, expected)


@torch.inference_mode()
def test_stored_trunk_features_give_the_logits_of_the_pixels(
    model_of: Callable[[str], MSQNet],
) -> None:
    model, inputs = model_of("lite"), random_inputs("lite", 2)
    features = model.video_encoder.features(inputs["pixels"], inputs["motion_crops"])
    stored = model(**features)
    assert torch.equal(stored.logits, model(**inputs).logits)


@both_encoders
@torch.inference_mode()
def test_saved_model_loads_to_the_bit(
    model_of: Callable[[str], MSQNet], tmp_path: Path, video_encoder: str
) -> None:
    model, inputs = model_of(video_encoder), random_inputs(video_encoder, 2)
    model.save_pretrained(tmp_path)
    loaded = MSQNet.from_pretrained(tmp_path)
    weights = loaded.state_dict()
    assert weights.keys() == model.state_dict().keys()
    for name, tensor in model.state_dict().items():
        assert torch.equal(weights[name], tensor), name
    assert torch.equal(loaded(**inputs).logits, model(**inputs).logits)


@both_encoders
def test_half_precision_file_loads_as_float32(tmp_path: Path, video_encoder: str) -> None:
    model = tiny_model(video_encoder).half()
    model.save_pretrained(tmp_path)
    loaded = MSQNet.from_pretrained(tmp_path)
    weights = loaded.state_dict()
    for name, tensor in model.state_dict().items():
        if tensor.is_floating_point():
            assert weights[name].dtype == torch.float32, name
            assert torch.equal(weights[name], tensor.float()), name


def test_half_size_file_keeps_vectors_as_they_are(tmp_path: Path) -> None:
    model = tiny_model("lite")
    with torch.no_grad():
        model.query_std[0] = 1e6  # beyond half precision
    save_in_half(model, tmp_path)
    weights = MSQNet.from_pretrained(tmp_path).state_dict()
    for name, tensor in model.state_dict().items():
        expected = tensor.half().float() if tensor.ndim > 1 else tensor
        assert torch.equal(weights[name], expected), name


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_file_with_a_value_that_is_no_number_is_refused(
    model_of: Callable[[str], MSQNet], tmp_path: Path, value: float
) -> None:
    model = model_of("timesformer")
    model.save_pretrained(tmp_path)
    weight = model.head.weight.detach().clone()
    weight[1, 2] = value
    change_file(tmp_path, {"head.weight": weight})
    with pytest.raises(CheckpointError, match=r"head\.weight.*1 of 48"):
        MSQNet.from_pretrained(tmp_path)


@pytest.mark.parametrize(
    "changes",
    [{"head.weight": None}, {"head.bias": torch.zeros(7)}, {"head.scale": torch.zeros(3)}],
    ids=["missing", "other shape", "unexpected"],
)
def test_file_of_other_tensors_is_refused(
    model_of: Callable[[str], MSQNet], tmp_path: Path, changes: dict[str, Tensor | None]
) -> None:
    model_of("timesformer").save_pretrained(tmp_path)
    change_file(tmp_path, changes)
    with pytest.raises(CheckpointError, match=tmp_path.name):
        MSQNet.from_pretrained(tmp_path)


def test_fixed_label_queries_stay_fixed_after_loading(tmp_path: Path) -> None:
    tiny_model("timesformer", learn_label_queries=False).save_pretrained(tmp_path)
    loaded = MSQNet.from_pretrained(tmp_path)
    assert not loaded.query_encoder.label_embeddings.requires_grad
    assert loaded.head.weight.requires_grad


@pytest.mark.parametrize(
    ("video_encoder", "finetune", "frozen"),
    [
        ("lite", "full", ()),
        ("lite", "after_trunk", ("video_encoder.trunk.",)),
        ("lite", "decoder", ("video_encoder.",)),
        ("timesformer", "full", ("image_encoder.",)),
        ("timesformer", "decoder", ("image_encoder.", "video_encoder.")),
    ],
)
def test_gradients_reach_exactly_what_is_trained(
    video_encoder: str, finetune: str, frozen: tuple[str, ...]
) -> None:
    model = tiny_model(video_encoder)
    freeze(model, finetune)
    model.train()
    model(**random_inputs(video_encoder, 2)).logits.square().sum().backward()
    for name, parameter in model.named_parameters():
        if name.startswith(frozen):
            assert not parameter.requires_grad, name
            assert parameter.grad is None, name
        else:
            assert parameter.grad is not None, f"no gradient for {name}"
            # A shift of all keys leaves a softmax as it is, so key biases have none but rounding.
            assert name.endswith("key.bias") or parameter.grad.any(), f"zero gradient for {name}"


@both_encoders
def test_frozen_parts_stay_in_eval_mode(video_encoder: str) -> None:
    model = tiny_model(video_encoder)
    freeze(model, "decoder")
    model.train()
    assert model.decoder.training
    frozen = [model.video_encoder, *([model.image_encoder] if model.image_encoder else [])]
    assert not any(module.training for part in frozen for module in part.modules())


def test_batch_norm_statistics_never_change_in_training() -> None:
    model = tiny_model("lite").train()
    before = {name: tensor.clone() for name, tensor in model.named_buffers()}
    optimiser = torch.optim.SGD(model.parameters(), lr=1e-4)
    for step in range(2):
        model(**random_inputs("lite", 2, seed=step)).logits.sum().backward()
        optimiser.step()
    assert any("running_mean" in name for name in before)
    for name, tensor in model.named_buffers():
        assert torch.equal(tensor, before[name]), name


def test_scores_are_calibrated_sigmoids() -> None:
    model = tiny_model(
        "timesformer", calibration_scale=[1.0, 2.0, 0.5], calibration_bias=[0.0, -1.0, 1.0]
    )
    scores = model.scores(torch.tensor([[0.0, 0.5, -2.0]]))
    torch.testing.assert_close(scores, torch.tensor([[0.5, 0.5, 0.5]]))


def test_scores_of_single_label_models_sum_to_one() -> None:
    model = tiny_model("timesformer", task="single_label")
    logits = torch.tensor([[1.0, 2.0, 3.0]])
    torch.testing.assert_close(model.scores(logits), logits.softmax(dim=1))


def test_nothing_to_look_at_is_refused(model_of: Callable[[str], MSQNet]) -> None:
    with pytest.raises(ShapeError, match="neither pixels nor"):
        model_of("lite")()


def test_closeup_for_a_model_without_one_is_refused(model_of: Callable[[str], MSQNet]) -> None:
    pixels = random_inputs("timesformer", 1)["pixels"]
    with pytest.raises(ShapeError, match="found 2 views of each clip, expected 1"):
        model_of("timesformer")(pixels=pixels, motion_crops=pixels)


@torch.inference_mode()
def test_image_encoder_of_another_size_sees_resized_frames() -> None:
    large = tiny_vision_config()
    large.image_size = 2 * SIZE_PIXELS
    model = tiny_model("timesformer", image_encoder=large)
    pixels = random_inputs("timesformer", 2)["pixels"]
    # Nearest would give blocks of four; a constant frame stays constant under any resizing.
    constant = torch.full_like(pixels, 77)
    doubled = torch.full((2, NUM_FRAMES, 3, 2 * SIZE_PIXELS, 2 * SIZE_PIXELS), 77).byte()
    expected = model.image_encoder(doubled).mean(dim=1)
    torch.testing.assert_close(model.video_query(model.encode(constant)), expected)
    assert not torch.equal(model.video_query(model.encode(pixels)), expected)


def test_model_without_anything_to_train_can_be_set_to_training(
    model_of: Callable[[str], MSQNet],
) -> None:
    model = copy.deepcopy(model_of("lite")).requires_grad_(requires_grad=False)
    assert model.train() is model
    assert not any(part.training for part in (model.decoder, model.head, model.video_encoder))
