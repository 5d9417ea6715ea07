"""Sharing frames between windows against the plain way: every window on its own."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import av
import numpy as np
import pytest
import torch
from transformers import CLIPVisionConfig, TimesformerConfig, ViTConfig

from msqnet.clips import ClipBatch
from msqnet.config import ClipConfig, WindowConfig
from msqnet.inference.backends import clip_scores
from msqnet.inference.predictor import Predictor
from msqnet.inference.torch_backends import TorchBackend
from msqnet.inference.windows import iter_shared_windows, iter_windows, preprocessed_windows
from msqnet.model.configuration import MSQNetConfig
from msqnet.model.pretrained import MSQNet
from msqnet.video.reader import open_video
from msqnet.video.transforms import evaluation_clip
from tests.unit.inference.brightness import CLIP as BRIGHTNESS_CLIP
from tests.unit.inference.brightness import BrightnessBackend, write_video
from tests.unit.inference.test_backends import tiny_model

if TYPE_CHECKING:
    from pathlib import Path

    from msqnet.clips import Box, Pixels
    from msqnet.predictions import FloatArray

SIZE, NUM_FRAMES = 32, 4
CROP = ClipConfig(
    num_frames=NUM_FRAMES, size_pixels=SIZE, short_side_pixels=40, decode_short_side_pixels=40
)


def transformer_model(video: str) -> MSQNet:
    torch.manual_seed(1)
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    common: dict[str, Any] = {**sizes, "intermediate_size": 32, "image_size": SIZE, "patch_size": 8}
    encoders: dict[str, Any] = {
        "timesformer": TimesformerConfig(num_frames=NUM_FRAMES, **common),
        "vit": ViTConfig(**common),
    }
    encoder = encoders[video]
    encoder.num_frames = NUM_FRAMES
    model = MSQNet(
        MSQNetConfig(
            video_encoder=encoder,
            image_encoder=CLIPVisionConfig(**{**common, "image_size": 24}),
            video_query="image",
            direct_path=False,
            labels=["walking", "resting"],
            label_width=8,
            width=16,
            decoder_layers=1,
            decoder_heads=2,
            decoder_feedforward=16,
            clip=asdict(CROP),
            window_seconds=1.0,
        )
    )
    with torch.no_grad():  # larger weights than the initial ones, so that scores differ
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
    return model


@cache
def model_of(kind: str) -> MSQNet:
    return tiny_model() if kind == "lite" else transformer_model(kind)


def plain_scores(predictor: Predictor, path: Path) -> FloatArray:
    """Scores of all windows, each decoded and computed for itself.

    Frames that the window before holds too keep their crops from there if the boxes are alike.
    """
    config = predictor.backend.clip_config
    lengths = (predictor.window_seconds, predictor.stride_seconds)
    with open_video(path, short_side_pixels=config.decode_short_side_pixels) as video:
        spans = [(start, end) for start, end, _ in iter_windows(video, config, *lengths)]
        clips = [
            evaluation_clip(frames, config)
            for _, _, frames in iter_windows(video, config, *lengths)
        ]
    assert len(spans) == len(clips)
    crops: dict[float, tuple[Box, Pixels]] = {}
    for clip in clips:
        if clip.motion_crop is not None:
            kept, crops = crops, {}
            for place, pts_seconds in enumerate(clip.pts_seconds):
                own = clip.motion_box, clip.motion_crop[place]
                box, crop = kept.get(pts_seconds, own)
                if box.overlap(clip.motion_box) < 0.3:
                    box, crop = own
                crops[pts_seconds] = box, crop
                clip.motion_crop[place] = crop
    return np.concatenate(
        [clip_scores(predictor.backend, ClipBatch.stack([clip])) for clip in clips]
    )


@pytest.fixture(scope="module")
def moving(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """3 s of a square that moves and changes over a fixed pattern."""
    path = tmp_path_factory.mktemp("videos") / "moving.mov"
    pattern = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    with av.open(str(path), "w", format="mov") as container:
        stream = container.add_stream("png", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "rgb24"
        for number in range(75):
            image = pattern.copy()
            image[10:30, number % 44 : number % 44 + 20] = (number * 37 % 256, 255 - 3 * number, 40)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
    return path


@pytest.mark.parametrize("kind", ["lite", "timesformer", "vit"])
@pytest.mark.parametrize("stride", [None, 0.25, 0.37, 1.0])
@pytest.mark.parametrize("batch_size", [1, 3, 100])
def test_sharing_changes_no_score(
    moving: Path, kind: str, stride: float | None, batch_size: int
) -> None:
    window = WindowConfig(window_seconds=1.0, stride_seconds=stride, batch_size=batch_size)
    predictor = Predictor(TorchBackend(model_of(kind), "cpu"), window)
    found = np.stack([item.scores for item in predictor(moving).windows])
    expected = plain_scores(predictor, moving)
    assert np.ptp(expected, axis=0).max() > 1e-3  # windows differ, so that a mix-up would show
    np.testing.assert_allclose(found, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize(("stride", "share"), [(0.5, 0.5), (0.25, 0.25), (1.0, 1.0)])
def test_encoders_see_each_frame_once(tmp_path: Path, stride: float, share: float) -> None:
    path = write_video(tmp_path / "long.mov", [i % 200 for i in range(200)])  # 20 s
    backend = BrightnessBackend()
    result = Predictor(backend, WindowConfig(stride_seconds=stride, batch_size=3))(path)
    per_window = BRIGHTNESS_CLIP.num_frames * share
    first = BRIGHTNESS_CLIP.num_frames
    assert backend.num_frames_seen == first + per_window * (len(result.windows) - 1)


def test_times_on_one_frame_of_a_slow_video_are_one_frame(tmp_path: Path) -> None:
    path = write_video(tmp_path / "slow.mov", [10, 20, 30, 40], fps=2)  # 2 s
    with open_video(path) as video:
        (first, *_) = iter_shared_windows(video, BRIGHTNESS_CLIP, 1.0, 0.5)
    assert len(set(map(id, first.frames))) == 2
    assert first.frames[0] is first.frames[1]


def test_folded_weights_are_forgotten_in_training_and_when_others_are_loaded() -> None:
    model = transformer_model("timesformer")
    layer: Any = model.video_encoder.backbone.encoder.layer[0]
    model.eval()
    pixels = torch.randint(0, 256, (2, NUM_FRAMES, 3, SIZE, SIZE), dtype=torch.uint8)
    with torch.no_grad():
        plain = model(pixels=pixels).logits
        folded = model.prepare_for_inference()(pixels=pixels).logits
    assert layer.fused_weight is not None
    torch.testing.assert_close(folded, plain, atol=1e-5, rtol=0)
    assert "fused_weight" not in " ".join(model.state_dict())
    others = {name: tensor * 1.5 for name, tensor in model.state_dict().items()}
    model.load_state_dict(others)
    assert layer.fused_weight is None
    model.prepare_for_inference().train()
    assert layer.fused_weight is None


def test_crops_are_computed_once_and_none_of_windows_in_which_nothing_moves(
    tmp_path: Path, moving: Path
) -> None:
    still = write_video(tmp_path / "still.mov", [90] * 40, size=(64, 48))
    shares: list[float] = []
    # In windows of two frames each of them stands twice; the last one has one of its two in common
    # with the one before.
    for video, seconds in ((still, 1.0), (moving, 0.08), (moving, 1.0)):
        backend = TorchBackend(model_of("lite"), "cpu")
        of_frames, num_crops = backend.frame_features, Counter[bool]()

        def counting(frames: Any, *, is_motion_crop: bool = False) -> Any:
            num_crops[is_motion_crop] += len(frames)  # noqa: B023 - called in this round only
            return of_frames(frames, is_motion_crop=is_motion_crop)  # noqa: B023

        backend.frame_features = counting  # type: ignore[method-assign]
        predictor = Predictor(backend, WindowConfig(window_seconds=seconds, stride_seconds=seconds))
        result = predictor(video)
        cropped = [item for item in result.windows if item.motion_box != (0, 0, 1, 1)]
        shares.append(num_crops[True] / max(1, NUM_FRAMES * len(cropped)))
        found = np.stack([item.scores for item in result.windows])
        np.testing.assert_allclose(found, plain_scores(predictor, video), atol=1e-5, rtol=0)
    assert shares == [0, 0.5 - 0.25 / 38, 1]


def test_overlapping_windows_share_crops(moving: Path) -> None:
    with open_video(moving) as video:
        own, *shared = preprocessed_windows(video, tiny_model().config.clip_config, 1.0, 0.5)
    assert own.motion_crops is not None
    assert not set(own.motion_crops) & set(own.frames)  # something moves
    for before, window in pairwise([own, *shared]):
        assert window.motion_crops is not None
        assert before.motion_crops is not None
        known = dict(zip(before.frames, before.motion_crops, strict=True))
        common = [view for view in window.frames if view in known]
        assert len(common) == NUM_FRAMES // 2
        crops = dict(zip(window.frames, window.motion_crops, strict=True))
        assert all(crops[view] is known[view] for view in common)
