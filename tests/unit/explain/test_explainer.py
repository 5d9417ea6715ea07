"""Attribution maps of real models, and how they are put in place."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from msqnet.clips import WHOLE_FRAME, Box, ClipBatch, Frames
from msqnet.config import ClipConfig, WindowConfig
from msqnet.errors import ConfigError, ShapeError, VocabularyError
from msqnet.explain.explainer import (
    AttributionMaps,
    Explainer,
    grid_of,
    in_frame,
    rescaled,
    seen_box,
)
from msqnet.explain.rollout import frames_from_steps, label_relevance
from msqnet.inference.backends import clip_scores
from msqnet.inference.torch_backends import TorchBackend
from msqnet.model.video_encoders.encoder import FrameSpan, VideoEncoder
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
    return Frames(pixels.numpy(), np.arange(NUM_FRAMES, dtype=np.float64))


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
    paths, _ = label_relevance(model, ClipBatch(inputs["pixels"], inputs["motion_crops"]), [0, 2])
    assert [path.name for path in paths] == ["decoder", "direct"]
    head: Any = model.query_head
    with torch.no_grad():
        logits = model(**inputs).query_logits[0] - head.bias
    torch.testing.assert_close(paths[1].views.sum(dim=(1, 2, 3, 4)), logits[[0, 2]])


def test_shares_are_those_of_the_logits() -> None:
    model = tiny_model("lite", query_share=0.75)
    inputs = random_inputs("lite", 1)
    paths, scores = label_relevance(model, ClipBatch(inputs["pixels"], inputs["motion_crops"]), [1])
    assert [path.share for path in paths] == [0.25, 0.75]
    expected = model.scores(model(**inputs).logits)[0, [1]]
    torch.testing.assert_close(scores, expected, atol=1e-6, rtol=1e-5)
    without = tiny_model("lite", direct_path=False)
    paths, _ = label_relevance(without, ClipBatch(inputs["pixels"], inputs["motion_crops"]), [1])
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


def test_taught_labels_have_no_maps() -> None:
    explainer = Explainer(tiny_model("lite"), "cpu", taught=("sleep", "digging"))
    assert "sleep" not in explainer.labels
    with pytest.raises(VocabularyError, match=r"sleep: taught .* name some of .*sit"):
        explainer.explain_frames(noisy_frames(), ["sit", "sleep"])
    assert explainer.explain_frames(noisy_frames(), ["sit"]).labels == ("sit",)


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


@pytest.mark.parametrize("share", [0.25, 1.0])
def test_direct_path_from_an_image_is_said_not_to_be_drawn(share: float) -> None:
    model = tiny_model("timesformer", direct_path=True, query_share=share)
    assert model.query_head is not None
    assert model.config.video_query == "image"
    if share < 1:
        assert Explainer(model, "cpu").undrawn_share == share
        assert Explainer(tiny_model("lite", query_share=share), "cpu").undrawn_share == 0
        return
    with pytest.raises(ConfigError, match=r"direct path gives all scores .* nothing to draw"):
        Explainer(model, "cpu")
    assert Explainer(tiny_model("lite", query_share=share), "cpu").undrawn_share == 0


def test_scores_are_those_of_prediction(video: Path) -> None:
    model = tiny_model("lite")
    found = Explainer(model, "cpu").explain(video, ["walk", "sit"], 1.0, 3.0)
    backend = TorchBackend(model, "cpu")
    config = backend.clip_config
    with open_video(video, short_side_pixels=config.decode_short_side_pixels) as source:
        frames = source.frames_at(segment_times(1.0, 3.0, NUM_FRAMES).tolist())
    expected = clip_scores(backend, ClipBatch.stack([evaluation_clip(frames, config)]))[0, [1, 0]]
    np.testing.assert_allclose(found.scores, expected, atol=1e-5)
    np.testing.assert_array_equal(found.pts_seconds, frames.pts_seconds)


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


def test_labels_without_evidence_are_chosen_after_all_others(tmp_path: Path) -> None:
    video, window = write_video(tmp_path / "clip.mov", [40, 90, 140, 190] * 5), WindowConfig()
    best, second, last = Explainer(tiny_model("lite")).highest(video, window, 3)
    evidence = [
        {"status": "unproven" if name == best else "reliable", "reason": "no held-out rows"}
        for name in LABELS
    ]
    explainer = Explainer(tiny_model("lite", evidence=evidence))
    assert explainer.highest(video, window, 2) == (second, last)
    assert explainer.highest(video, window, 3) == (second, last, best)


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


def maps(values: list[float], scores: tuple[float, ...] = (0.5,)) -> AttributionMaps:
    """One label, frames at 0, 1, 2, ... s, each map of one value."""
    heat = np.array(values, np.float32)[None, :, None, None]
    times = np.arange(len(values), dtype=np.float64)
    return AttributionMaps(("walk",), heat, times, np.array(scores, np.float32))


def test_a_look_at_the_whole_frame_keeps_its_places() -> None:
    views = torch.zeros(1, 1, 1, 2, 4)
    views[..., 1, 3] = 1.0
    placed = in_frame(views, [WHOLE_FRAME], 2, 4)
    assert placed[0, 0].tolist() == [[0, 0, 0, 0], [0, 0, 0, 8]]  # density: 1 on an eighth


def test_a_look_at_a_part_lies_on_that_part_only_and_is_denser_there() -> None:
    views = torch.full((1, 1, 3, 2, 2), 0.25)  # 1 in all, in each of 3 frames
    placed = in_frame(views, [Box(0.5, 0.0, 1.0, 0.5)], 8, 8)
    inside = torch.zeros(8, 8, dtype=torch.bool)
    inside[:4, 4:] = True
    for frame in placed[0]:
        assert (frame[~inside] == 0).all()
        torch.testing.assert_close(frame[inside], torch.full((16,), 4.0))  # 1 on a quarter
        assert frame.mean() == pytest.approx(1.0)


def test_views_add_up() -> None:
    views = torch.rand(2, 2, 3, 4, 4)
    boxes = [WHOLE_FRAME, Box(0.2, 0.1, 0.7, 0.6)]
    together = in_frame(views, boxes, 9, 16)
    apart = [in_frame(views[:, [view]], [boxes[view]], 9, 16) for view in range(2)]
    torch.testing.assert_close(together, apart[0] + apart[1])
    with pytest.raises(ShapeError, match="2 views with 1 boxes"):
        in_frame(views, boxes[:1], 9, 16)


@pytest.mark.parametrize(("width", "height"), [(96, 48), (48, 96), (64, 64)])
def test_the_seen_part_is_what_the_transform_cuts(width: int, height: int) -> None:
    config = ClipConfig(
        num_frames=1, size_pixels=32, short_side_pixels=48, decode_short_side_pixels=48
    )
    # Each pixel says where it is.
    y, x = np.indices((height, width)) * 255 // np.array([height - 1, width - 1])[:, None, None]
    frames = Frames(np.stack([x, y, x]).astype(np.uint8)[None], np.zeros(1))
    seen = evaluation_clip(frames, config).pixels[0] / 255  # (3, 32, 32)
    box = seen_box(width, height, config)
    found = [seen[0, 0, 0], seen[1, 0, 0], seen[0, 0, -1], seen[1, -1, 0]]
    expected = [box.left, box.top, box.right, box.bottom]
    # Edge pixels have their centres half a pixel inside.
    np.testing.assert_allclose(np.array(found), expected, atol=1.5 / min(width, height))
    whole = ClipConfig(resize="stretch")
    assert seen_box(width, height, whole) == WHOLE_FRAME


def test_grid_keeps_the_aspect_of_the_frame() -> None:
    assert grid_of(1280, 720) == (36, 64)
    assert grid_of(240, 320) == (64, 48)
    assert grid_of(1000, 1) == (1, 64)


def test_a_tubelet_shares_its_relevance_among_its_frames() -> None:
    views = torch.tensor([2.0, 6.0]).view(1, 1, 2, 1, 1)
    spans = (None, FrameSpan(0, 2), FrameSpan(2, 4))
    frames = frames_from_steps(views, spans, 4)
    assert frames.flatten().tolist() == [1, 1, 3, 3]


def test_items_of_two_looks_at_the_same_frames_are_one_step() -> None:
    views = torch.arange(4.0).view(1, 2, 2, 1, 1)
    frames = tuple(FrameSpan(index, index + 1) for index in range(2))
    assert torch.equal(frames_from_steps(views, (None, *frames, *frames), 2), views)


def test_maps_fade_from_frame_to_frame_and_hold_at_both_ends() -> None:
    heat = maps([0.0, 1.0, 0.5])
    found = [float(heat.at(time)[0, 0, 0]) for time in (-1, 0, 0.25, 1, 1.5, 9)]
    assert found == pytest.approx([0, 0, 0.25, 1, 0.75, 0.5])


def test_parts_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ShapeError, match=r"AttributionMaps: found maps \(1, 2, 1, 1\)"):
        AttributionMaps(
            ("a",), np.zeros((1, 2, 1, 1), np.float32), np.zeros(3), np.zeros(1, np.float32)
        )
    with pytest.raises(ShapeError, match=r"AttributionMaps: found .* and scores \(2,\)"):
        maps([0.0], scores=(0.1, 0.2))


def test_maps_are_rescaled_over_what_was_seen_of_each_label() -> None:
    density = np.array([[[[0, 2, 3]], [[4, 2, 0]]], [[[5, 5, 5]], [[5, 5, 5]]]], np.float32)
    found = rescaled(density)  # 0 is what was not seen
    assert found[0].tolist() == [[[0, 0, 0.5]], [[1, 0, 0]]]
    assert (found[1] == 0).all()


def test_maps_of_a_model_with_other_frames_and_cells_are_put_on_those_of_the_first() -> None:
    few = maps([0.0, 1.0])  # at 0 and 1 s, one cell
    heat = np.zeros((1, 3, 2, 4), np.float32)
    many = AttributionMaps(("walk",), heat, np.array([0, 0.5, 1.0]), np.array([0.2], np.float32))
    found = few.aligned_with(many)
    assert found.maps.shape == many.maps.shape
    assert found.maps[0, :, 0, 0].tolist() == [0, 0.5, 1]
    assert found.scores == few.scores
