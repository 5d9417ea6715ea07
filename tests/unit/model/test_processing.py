"""`AutoProcessor` and the pipeline of `transformers` see what `Predictor` sees."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
import transformers
from transformers import AutoModelForVideoClassification, AutoProcessor, pipeline

from msqnet.errors import CheckpointError, ConfigError, ShapeError, UnreadableVideo
from msqnet.inference.predictor import Predictor
from msqnet.model.processing import MSQNetVideoProcessor
from msqnet.models import resolve_model
from tests.fixtures.models import LABELS, tiny_clip_settings, tiny_model

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

CALIBRATION = {"calibration_scale": [0.5, 1.0, 2.0], "calibration_bias": [-1.0, 0.5, 0.0]}
WHOLE = {"window_seconds": 60.0, "runtime": "torch", "device": "cpu"}
OPEN = {"head": "cosine", "query_attention": False, "learn_label_queries": False}


def saved(folder: Path, encoder: str = "lite", **changes: Any) -> Path:
    tiny_model(encoder, **CALIBRATION, **changes).save_pretrained(folder)
    return folder


@pytest.mark.parametrize(
    ("encoder", "settings"),
    [
        ("lite", {}),
        ("lite", {"task": "single_label"}),
        ("timesformer", {}),
        ("timesformer", {**OPEN, "task": "single_label"}),
    ],
)
def test_pipeline_gives_the_scores_of_one_window(
    encoder: str, settings: dict[str, Any], tmp_path: Path, write_video: Callable[..., Path]
) -> None:
    folder, video = saved(tmp_path / "model", encoder, **settings), write_video(num_frames=17)
    classify = pipeline("video-classification", model=str(folder), device="cpu")
    found = {item["label"]: item["score"] for item in classify(str(video))}
    (window,) = Predictor.from_pretrained(folder, **WHOLE)(video).windows
    assert list(found) == sorted(LABELS, key=found.__getitem__, reverse=True)
    assert [found[name] for name in LABELS] == pytest.approx(window.scores.tolist(), abs=1e-6)


def test_shipped_model_has_a_pipeline(write_video: Callable[..., Path]) -> None:
    folder = str(resolve_model("mixed-actors-lite"))
    classify = pipeline("video-classification", model=folder, device="cpu")
    assert type(classify.video_processor) is MSQNetVideoProcessor
    assert len(classify(str(write_video()), top_k=3)) == 3


def test_processor_gives_clips_of_paths_and_of_frames(
    tmp_path: Path, write_video: Callable[..., Path]
) -> None:
    processor = AutoProcessor.from_pretrained(saved(tmp_path / "model"))
    assert type(processor) is MSQNetVideoProcessor
    frames = np.random.default_rng(0).integers(0, 255, (9, 40, 60, 3), dtype=np.uint8)
    inputs = processor([str(write_video()), frames, list(frames)])
    clip = tiny_clip_settings()
    shape = (3, clip.num_frames, 3, clip.size_pixels, clip.size_pixels)
    assert inputs["pixels"].shape == inputs["motion_crops"].shape == shape
    assert inputs["pixels"].dtype == torch.uint8
    assert torch.equal(inputs["pixels"][1], inputs["pixels"][2])
    model = AutoModelForVideoClassification.from_pretrained(tmp_path / "model").eval()
    assert model(**inputs).logits.shape == (3, len(LABELS))


def test_folder_without_the_processors_file_has_a_processor(tmp_path: Path) -> None:
    (saved(tmp_path) / "preprocessor_config.json").unlink()
    assert AutoProcessor.from_pretrained(tmp_path).clip_config == tiny_clip_settings(closeup=True)


def test_processor_names_wrong_input(tmp_path: Path, write_video: Callable[..., Path]) -> None:
    processor = AutoProcessor.from_pretrained(saved(tmp_path / "model"))
    video, count = write_video(), processor.clip_config.num_frames
    with pytest.raises(ConfigError, match=f"num_frames 99: this model takes {count}"):
        processor(str(video), num_frames=99)
    with pytest.raises(ConfigError, match="return_tensors 'np'"):
        processor(str(video), return_tensors="np")
    with pytest.raises(ShapeError, match="float64"):
        processor(np.zeros((4, 8, 8, 3)))
    with pytest.raises(ShapeError, match="nothing"):
        processor([])
    with pytest.raises(UnreadableVideo, match=r"none\.mp4"):
        processor("none.mp4")
    with pytest.raises(CheckpointError, match="nowhere"):
        MSQNetVideoProcessor.from_pretrained("nowhere")


def test_long_video_is_warned_about(
    tmp_path: Path, write_video: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    processor = AutoProcessor.from_pretrained(saved(tmp_path / "model", window_seconds=0.5))
    with caplog.at_level(logging.WARNING):
        processor(str(write_video("short.mp4", num_frames=10)))
        assert not caplog.records
        processor(str(write_video("long.mp4", num_frames=12)))
    assert "long.mp4: lasts 1.2 s, and this model is made for windows of 0.5 s" in caplog.text


def test_versions_that_apply_a_softmax_are_warned_about(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(transformers, "__version__", "5.17.0")
    with caplog.at_level(logging.WARNING):
        AutoModelForVideoClassification.from_pretrained(saved(tmp_path / "1", task="single_label"))
        assert not caplog.records
        AutoModelForVideoClassification.from_pretrained(saved(tmp_path / "2"))
    assert 'say pipeline(..., function_to_apply="sigmoid")' in caplog.text
