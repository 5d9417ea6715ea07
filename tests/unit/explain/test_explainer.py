"""Explanations of tiny models: what each path adds, and where it ends in the frame."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from msqnet.clips import ClipBatch, Frames
from msqnet.config import WindowConfig
from msqnet.errors import ConfigError, VocabularyError
from msqnet.explain.explainer import Explainer
from msqnet.explain.relevance import label_relevance
from msqnet.inference.backends import TorchBackend, clip_scores
from msqnet.model.video_encoders.encoder import VideoEncoder
from msqnet.video.reader import open_video
from msqnet.video.transforms import evaluation_clip
from msqnet.video.window_grid import segment_times
from tests.fixtures.models import LABELS, NUM_FRAMES, random_inputs, tiny_model
from tests.unit.inference.brightness import write_video

if TYPE_CHECKING:
    from pathlib import Path

    from msqnet.model.pretrained import MSQNet


def noisy_frames(height: int = 40, width: int = 64) -> Frames:
    generator = torch.Generator().manual_seed(0)
    shape = (NUM_FRAMES, 3, height, width)
    pixels = torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)
    return Frames(pixels, torch.arange(NUM_FRAMES, dtype=torch.float64))


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four seconds whose brightness goes up and down, 32 x 24 pixels."""
    levels = [40 + 5 * (frame % 30) for frame in range(40)]
    return write_video(tmp_path_factory.mktemp("explain") / "clip.mov", levels)


def linear_direct_path(model: MSQNet) -> None:
    """Scores straight from the mean features, all weights positive: every cell speaks for all."""
    head: Any = model.query_head
    num_views, width = 2, model.video_encoder.query_width // 6
    weight = torch.zeros(len(LABELS), num_views, 3, width)
    weight[:, :, 0] = torch.rand(len(LABELS), num_views, width)
    with torch.no_grad():
        head.weight.copy_(weight.flatten(1))
        model.query_mean.zero_()


def test_cells_of_the_direct_path_add_up_to_its_logit() -> None:
    model = tiny_model("lite")
    linear_direct_path(model)
    inputs = random_inputs("lite", 1)
    paths, _ = label_relevance(model, ClipBatch(inputs["pixels"], inputs["closeups"]), [0, 2])
    assert [path.name for path in paths] == ["decoder", "direct"]
    head: Any = model.query_head
    with torch.no_grad():
        logits = model(**inputs).query_logits[0] - head.bias
    torch.testing.assert_close(paths[1].looks.sum(dim=(1, 2, 3, 4)), logits[[0, 2]])


def test_shares_are_those_of_the_logits() -> None:
    model = tiny_model("lite", query_share=0.75)
    inputs = random_inputs("lite", 1)
    paths, scores = label_relevance(model, ClipBatch(inputs["pixels"], inputs["closeups"]), [1])
    assert [path.share for path in paths] == [0.25, 0.75]
    expected = model.scores(model(**inputs).logits)[0, [1]]
    torch.testing.assert_close(scores, expected, atol=1e-6, rtol=1e-5)
    without = tiny_model("lite", direct_path=False)
    paths, _ = label_relevance(without, ClipBatch(inputs["pixels"], inputs["closeups"]), [1])
    assert [(path.name, path.share) for path in paths] == [("decoder", 1.0)]


@pytest.mark.parametrize("encoder", ["lite", "timesformer"])
def test_maps_have_the_form_of_the_frame_and_one_highest_place_for_each_label(encoder: str) -> None:
    explainer = Explainer(tiny_model(encoder), "cpu")
    found = explainer.explain_frames(noisy_frames(), ["sleep", "sit"])
    assert found.labels == ("sleep", "sit")
    assert found.maps.shape == (2, NUM_FRAMES, 40, 64)
    assert found.maps.dtype == np.float32
    assert found.maps.min() >= 0
    assert found.maps.max(axis=(1, 2, 3)).tolist() == [1.0, 1.0]
    assert not np.allclose(found.maps[0], found.maps[1])  # label-specific


def test_rollout_alone_differs_from_all_paths_where_there_are_two() -> None:
    model = tiny_model("lite")
    both = Explainer(model, "cpu").explain_frames(noisy_frames(), ["walk"])
    rollout = Explainer(model, "cpu", paths="decoder").explain_frames(noisy_frames(), ["walk"])
    assert not np.allclose(both.maps, rollout.maps, atol=0.01)
    model = tiny_model("timesformer")
    both = Explainer(model, "cpu").explain_frames(noisy_frames(), ["walk"])
    rollout = Explainer(model, "cpu", paths="decoder").explain_frames(noisy_frames(), ["walk"])
    np.testing.assert_array_equal(both.maps, rollout.maps)
    with pytest.raises(ConfigError, match="paths 'some'"):
        Explainer(model, "cpu", paths="some")  # type: ignore[arg-type]


def test_scores_are_those_of_prediction(video: Path) -> None:
    model = tiny_model("lite")
    found = Explainer(model, "cpu").explain(video, ["walk", "sit"], 1.0, 3.0)
    backend = TorchBackend(model, "cpu")
    config = backend.clip_config
    with open_video(video, short_side_pixels=config.decode_short_side_pixels) as source:
        frames = source.frames_at(segment_times(1.0, 3.0, NUM_FRAMES).tolist())
    expected = clip_scores(backend, ClipBatch.stack([evaluation_clip(frames, config)]))[0, [1, 0]]
    np.testing.assert_allclose(found.scores, expected, atol=1e-5)
    np.testing.assert_array_equal(found.pts_seconds, frames.pts_seconds.numpy())


def test_windows_are_those_whose_middle_lies_in_the_stretch(video: Path) -> None:
    explainer = Explainer(tiny_model("lite"), "cpu")
    window = WindowConfig(window_seconds=1.0, stride_seconds=0.5)
    spans = [item[:2] for item in explainer.explain_windows(video, ["sit"], window, 1.0, 2.1)]
    assert spans == [(0.5, 1.5), (1.0, 2.0), (1.5, 2.5)]
    assert (
        explainer.highest(video, window, 2, 1.0, 2.1)
        == explainer.highest(video, window, 3, 1.0, 2.1)[:2]
    )
    assert explainer.highest(video, window, 1, 9.0, 12.0) == ()


def test_what_cannot_be_explained_is_refused_before_anything_is_decoded(tmp_path: Path) -> None:
    explainer = Explainer(tiny_model("lite"), "cpu")
    with pytest.raises(VocabularyError, match="unknown label"):
        explainer.explain(tmp_path / "absent.mp4", ["swim"])


def test_empty_stretch_is_refused(video: Path) -> None:
    explainer = Explainer(tiny_model("lite"), "cpu")
    with pytest.raises(ConfigError, match="nothing from 5 to 4 s"):
        explainer.explain(video, ["sit"], 5.0)


def test_encoder_without_attention_is_refused_at_once() -> None:
    model = tiny_model("timesformer")
    without = {"rollout": VideoEncoder.rollout, "display_name": "Other"}
    model.video_encoder.__class__ = type("Other", (type(model.video_encoder),), without)
    with pytest.raises(ConfigError, match="Other has no attention between patches"):
        Explainer(model, "cpu")
