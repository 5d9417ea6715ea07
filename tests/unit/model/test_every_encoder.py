"""The whole model with each of its encoders: what must hold whichever it is."""

from __future__ import annotations

import copy
from dataclasses import asdict, dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch.func import functional_call
from torch.nn import functional as F

from msqnet.config import ClipConfig
from msqnet.model.configuration import MSQNetConfig
from msqnet.model.pretrained import MSQNet
from msqnet.model.registry import VIDEO_ENCODERS, spec_of_model_type
from msqnet.model.video_encoders.convolutional import ConvolutionalVideoEncoder
from msqnet.model.video_encoders.encoder import of_clips, time_positions
from msqnet.model.video_encoders.lite import LiteConfig
from tests.fixtures.models import fill_with_noise, tiny_vision_config
from tests.fixtures.tiny_encoders import (
    TINY_ENCODERS,
    clip_form_of,
    flickering_clips,
    tiny_encoder_config,
    tiny_siglip_config,
)

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

LABELS = ["sit", "walk", "sleep"]
ORDER = [2, 0, 1]
WIDTH = 16
# float32 sums in another order, of logits of the size of 1.
ROUNDING = 1e-5
FALL = 1e-7
QUERY_POSITIONS = "decoder.query_positions.weight"


@dataclass(frozen=True)
class Case:
    """A model: its video encoder (see `tiny_encoder_config`) and what differs from the others."""

    encoder: str
    settings: dict[str, Any] = field(default_factory=dict)


CASES = {
    **{name: Case(name) for name in TINY_ENCODERS},
    "flat pooling": Case("timesformer", {"frame_pooling": "flat"}),
    "clip image query": Case(
        "videomae", {"video_query": "image", "image_encoder": tiny_vision_config()}
    ),
    "siglip image query": Case(
        "timesformer",
        {
            "video_query": "image",
            "image_encoder": tiny_siglip_config(),
            "direct_path": True,
        },
    ),
    "memory encoder": Case(
        "vit/clip",
        {"memory_encoder_layers": 2, "memory_positions": "input", "final_norms": True},
    ),
    "query positions": Case("xclip", {"query_positions": "learned"}),
}
every_case = pytest.mark.parametrize("name", list(CASES))


@cache
def shared_model(name: str) -> MSQNet:
    """In eval mode, with values as of a trained model; not to be changed."""
    torch.manual_seed(0)
    encoder = tiny_encoder_config(CASES[name].encoder)
    is_lite = isinstance(encoder, LiteConfig)
    num_frames, size = clip_form_of(encoder)
    settings: dict[str, Any] = {
        "video_query": "trunk" if is_lite else "none",
        "direct_path": is_lite,
        "label_width": 12,
        "width": WIDTH,
        "decoder_layers": 1,
        "decoder_heads": 2,
        "decoder_feedforward": 24,
        "dropout": 0.0,
        "video_query_dropout": 0.0,
        "clip": asdict(ClipConfig(num_frames=num_frames, size_pixels=size)),
    }
    model = MSQNet(
        MSQNetConfig(video_encoder=encoder, labels=LABELS, **{**settings, **CASES[name].settings})
    )
    for part in model.children():
        # Convolutions start at the scale that keeps a signal; noise on top would drown it.
        if not isinstance(part, ConvolutionalVideoEncoder):
            fill_with_noise(part)
    return model.eval()


def clips_for(model: MSQNet) -> Tensor:
    return flickering_clips(model.config.video_encoder, 2)


@cache
def shared_outputs(name: str) -> Any:
    model = shared_model(name)
    with torch.inference_mode():
        return model(pixels=clips_for(model))


def scores_with(model: MSQNet, weights: dict[str, Tensor]) -> Tensor:
    """Logits with some weights replaced."""
    logits: Tensor = functional_call(model, weights, kwargs={"pixels": clips_for(model)}).logits
    return logits


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def test_cases_hold_every_encoder() -> None:
    types = [tiny_encoder_config(case.encoder).model_type for case in CASES.values()]
    found = {spec.name for spec in map(spec_of_model_type, types) if spec is not None}
    assert found == set(VIDEO_ENCODERS)


@every_case
def test_outputs_have_the_shapes_of_labels_and_memory_items(name: str) -> None:
    model, outputs = shared_model(name), shared_outputs(name)
    spans = model.video_encoder.memory_spans(model.config.clip_config.num_frames)
    assert outputs.logits.shape == (2, len(LABELS))
    assert outputs.memory.shape == (2, len(spans), WIDTH)
    assert outputs.decoded.shape == (2, len(LABELS), WIDTH)


@every_case
def test_memory_items_cover_the_clip_in_the_order_of_time(name: str) -> None:
    model = shared_model(name)
    num_frames = model.config.clip_config.num_frames
    spans = model.video_encoder.memory_spans(num_frames)
    positions = time_positions(spans)
    assert len(positions) == len(spans)
    assert [index for span in spans if span for index in range(*span)] == list(range(num_frames))
    in_time = [index for index, span in enumerate(spans) if span]
    assert [positions[index] for index in in_time] == list(range(len(in_time)))


@every_case
@torch.inference_mode()
def test_batch_gives_a_clip_the_scores_it_gets_alone(name: str) -> None:
    model, together = shared_model(name), shared_outputs(name).logits
    # Clips differ in their scores, or equality would say nothing.
    assert (together[0] - together[1]).abs().max() > 10 * ROUNDING
    alone = model(pixels=clips_for(model)[1:]).logits
    torch.testing.assert_close(alone, together[1:], atol=ROUNDING, rtol=ROUNDING)


@every_case
@torch.inference_mode()
def test_features_of_frames_give_the_scores_of_their_clips(name: str) -> None:
    """As windows are predicted, which share frames."""
    model = shared_model(name)
    found = model.score_frames(of_clips(model.frame_features, clips_for(model))).logits
    torch.testing.assert_close(found, shared_outputs(name).logits, atol=ROUNDING, rtol=ROUNDING)


def gradient(model: MSQNet, precision: torch.dtype | None) -> Tensor:
    """Of what lies behind the convolutions in one vector, float32.

    Under autocast torch 2.13 gives wrong gradients of 3D convolutions' weights on CPUs, and a trunk
    of many layers with random weights multiplies every rounding.
    """
    with torch.autocast("cpu", precision, enabled=precision is not None):
        logits = model(pixels=clips_for(model)).logits
    assert logits.dtype == torch.float32
    model.zero_grad()
    F.binary_cross_entropy_with_logits(logits, torch.eye(2, len(LABELS))).backward()
    return torch.cat(
        [
            torch.zeros(parameter.numel()) if parameter.grad is None else parameter.grad.flatten()
            for name, parameter in model.named_parameters()
            if parameter.ndim < 5 and ".trunk." not in name
        ]
    )


@every_case
def test_autocast_gives_nearly_the_gradient_of_float32(name: str) -> None:
    """As GPUs train: types that do not fit each other would end the run."""
    model = copy.deepcopy(shared_model(name))
    exact, found = gradient(model, None), gradient(model, torch.bfloat16)
    assert F.cosine_similarity(exact, found, dim=0) > 0.9
    assert not torch.equal(exact, found)


@every_case
@torch.inference_mode()
def test_permuted_labels_give_permuted_scores(name: str) -> None:
    model, straight = shared_model(name), shared_outputs(name).logits
    bound = ("query_encoder.label_embeddings", "head.", "query_head.", QUERY_POSITIONS)
    permuted = {
        key: tensor[ORDER] for key, tensor in model.state_dict().items() if key.startswith(bound)
    }
    assert (straight[:, ORDER] - straight).abs().max() > 10 * ROUNDING
    torch.testing.assert_close(
        scores_with(model, permuted), straight[:, ORDER], atol=ROUNDING, rtol=ROUNDING
    )


@torch.inference_mode()
def test_learned_query_positions_change_scores() -> None:
    model = shared_model("query positions")
    moved = scores_with(model, {QUERY_POSITIONS: model.state_dict()[QUERY_POSITIONS][ORDER]})
    assert (moved - shared_outputs("query positions").logits).abs().max() > 10 * ROUNDING


@every_case
def test_saved_model_loads_to_the_bit(name: str, tmp_path: Path) -> None:
    model = shared_model(name)
    model.save_pretrained(tmp_path)
    loaded = MSQNet.from_pretrained(tmp_path)
    with torch.inference_mode():
        logits = loaded(pixels=clips_for(model)).logits
    assert torch.equal(logits, shared_outputs(name).logits)


@every_case
def test_a_step_moves_all_that_is_trained_and_nothing_else(name: str) -> None:
    # In float64, so that the step can be short.
    model = copy.deepcopy(shared_model(name)).double().train()
    clips, targets = clips_for(model), torch.tensor([[1.0, 0.0, 1.0], [0.0, 1.0, 0.0]]).double()
    loss = F.binary_cross_entropy_with_logits(model(pixels=clips).logits, targets)
    loss.backward()
    gradients = {}
    for key, parameter in model.named_parameters():
        assert parameter.requires_grad != key.startswith("image_encoder."), key
        assert (parameter.grad is not None) == parameter.requires_grad, key
        # A shift of all keys leaves a softmax as it is, so key biases have none but rounding.
        if parameter.grad is not None and not key.endswith(("key.bias", "k_proj.bias")):
            assert parameter.grad.any(), f"zero gradient for {key}"
            gradients[key] = parameter.grad
    # Along the gradient, as far as a plane would have to fall by `FALL`.
    slope = sum(float(gradient.square().sum()) for gradient in gradients.values())
    with torch.no_grad():
        for key, gradient in gradients.items():
            model.get_parameter(key).sub_(FALL / slope * gradient)
        after = F.binary_cross_entropy_with_logits(model(pixels=clips).logits, targets)
    assert float(loss.detach() - after) == pytest.approx(FALL, rel=0.02)
