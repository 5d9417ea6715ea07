from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
import pytest
import torch

from msqnet.clips import ClipBatch
from msqnet.config import ClipConfig
from msqnet.errors import CheckpointError
from msqnet.inference.backends import clip_scores, source_of
from msqnet.inference.predictor import Predictor
from msqnet.inference.torch_backends import TorchBackend
from msqnet.model.computing import Precision, has_fast_bf16
from msqnet.model.configuration import MSQNetConfig
from msqnet.model.pretrained import MSQNet
from msqnet.model.video_encoders.lite import LiteConfig
from msqnet.predictions import VideoPredictions
from tests.unit.inference.brightness import write_video

if TYPE_CHECKING:
    from pathlib import Path

CLIP = ClipConfig(
    num_frames=4,
    size_pixels=64,
    resize="stretch",
    short_side_pixels=64,
    decode_short_side_pixels=64,
    closeup=True,
)


def tiny_model(**changes: Any) -> MSQNet:
    torch.manual_seed(0)
    settings: dict[str, Any] = {
        "video_encoder": LiteConfig(
            image_size=64, grid_size=2, num_frames=4, hidden_size=16, num_attention_heads=2
        ),
        "labels": ["walking", "face_washing", "resting"],
        "label_width": 8,
        "width": 16,
        "decoder_layers": 1,
        "decoder_heads": 2,
        "decoder_feedforward": 16,
        "clip": asdict(CLIP),
        "window_seconds": 1.5,
        "thresholds": [0.25, 0.5, 0.75],
        "calibration_scale": [1.0, 2.0, 0.5],
        "calibration_bias": [0.0, -1.0, 1.0],
        "provenance": {"data": "none"},
    }
    return MSQNet(MSQNetConfig(**{**settings, **changes}))


@pytest.fixture(scope="module")
def model() -> MSQNet:
    return tiny_model()


@pytest.fixture(scope="module")
def batch() -> ClipBatch:
    generator = torch.Generator().manual_seed(1)
    shape = (3, 4, 3, 64, 64)
    pixels, motion_crops = (
        torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8) for _ in range(2)
    )
    return ClipBatch(pixels, motion_crops)


def test_members_are_those_of_the_model(model: MSQNet) -> None:
    backend = TorchBackend(model.train(), "cpu", {"name": "tiny"})
    assert not model.training
    assert backend.labels.names == ("walking", "face_washing", "resting")
    assert backend.clip_config == CLIP
    assert backend.window_seconds == 1.5
    assert not backend.single_label
    assert backend.thresholds.dtype == np.float32
    np.testing.assert_array_equal(backend.thresholds, [0.25, 0.5, 0.75])
    assert backend.provenance == {"name": "tiny", "data": "none"}


def test_scores_are_calibrated_sigmoids_of_the_logits(model: MSQNet, batch: ClipBatch) -> None:
    scores = clip_scores(TorchBackend(model, "cpu"), batch)
    with torch.no_grad():
        logits = model(pixels=batch.pixels, motion_crops=batch.motion_crops).logits
    calibrated = logits * torch.tensor([1.0, 2.0, 0.5]) + torch.tensor([0.0, -1.0, 1.0])
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores, 1 / (1 + np.exp(-calibrated.numpy())), rtol=1e-5)


def test_single_label_scores_sum_to_one(batch: ClipBatch) -> None:
    backend = TorchBackend(tiny_model(task="single_label"), "cpu")
    assert backend.single_label
    np.testing.assert_allclose(clip_scores(backend, batch).sum(axis=1), 1, rtol=1e-6)


def test_batched_scores_equal_single_ones(model: MSQNet, batch: ClipBatch) -> None:
    backend = TorchBackend(model, "cpu")
    assert batch.motion_crops is not None
    single = [
        clip_scores(backend, ClipBatch(batch.pixels[i : i + 1], batch.motion_crops[i : i + 1]))
        for i in range(3)
    ]
    # Convolutions of another batch size sum in another order.
    np.testing.assert_allclose(clip_scores(backend, batch), np.concatenate(single), atol=1e-5)


def test_saved_model_predicts_as_the_one_in_memory(model: MSQNet, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path / "tiny")
    video = write_video(tmp_path / "a.mov", [i * 5 for i in range(40)], size=(96, 80))
    result = Predictor.from_pretrained(tmp_path / "tiny", device="cpu")(video)
    expected = Predictor(TorchBackend(model, "cpu"))(video)
    # The same weights at another address may be summed in another order: the last bit differs.
    np.testing.assert_allclose(result.timeline.scores, expected.timeline.scores, rtol=1e-6)
    assert result.labels == expected.labels
    assert result.provenance["model"]["name"] == "tiny"
    assert len(result.provenance["model"]["weights_digest"]) == 16
    assert VideoPredictions.from_json(result.to_json()) == result


def test_other_weights_have_another_digest(model: MSQNet, tmp_path: Path) -> None:
    other = tiny_model()
    with torch.no_grad():
        next(iter(other.head.parameters())).add_(1)
    digests = set()
    for number, item in enumerate((model, other, model)):
        item.save_pretrained(tmp_path / str(number))
        backend = TorchBackend.from_pretrained(tmp_path / str(number), "cpu")
        digests.add(backend.provenance["weights_digest"])
    assert len(digests) == 2


def test_best_model_of_a_run_has_the_name_of_the_run(tmp_path: Path) -> None:
    for folder in ("rats/best", "alone/best"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "rats" / "run.yaml").touch()
    assert source_of(tmp_path / "rats" / "best")["name"] == "rats"
    assert source_of(tmp_path / "alone" / "best")["name"] == "best"


def test_model_that_is_not_there_is_named() -> None:
    with pytest.raises(CheckpointError, match="nowhere"):
        Predictor.from_pretrained("nowhere")


@pytest.mark.skipif(not has_fast_bf16(torch.device("cpu")), reason="this CPU has no bf16")
def test_precision_is_part_of_what_decides_the_results(model: MSQNet, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path / "model")
    exact, found = (
        Predictor.from_pretrained(tmp_path / "model", device="cpu", precision=precision)
        for precision in get_args(Precision)
    )
    assert "precision" not in exact.provenance["model"]
    assert found.provenance["model"]["precision"] == "bf16"
    video = write_video(tmp_path / "clip.mov", [40, 90, 160, 220] * 5)
    scores = [predictor(video).timeline.scores for predictor in (exact, found)]
    np.testing.assert_allclose(scores[1], scores[0], atol=0.02)
    assert not np.array_equal(*scores)


@pytest.mark.gpu
def test_accelerator_gives_the_scores_of_the_cpu(model: MSQNet, batch: ClipBatch) -> None:
    on_cpu = clip_scores(TorchBackend(model, "cpu"), batch)
    on_gpu = clip_scores(TorchBackend(model, "cuda"), batch)
    model.cpu()
    # TF32 is off by default in matrix products but on in cuDNN convolutions: 10 bits of mantissa.
    np.testing.assert_allclose(on_gpu, on_cpu, atol=5e-3)
