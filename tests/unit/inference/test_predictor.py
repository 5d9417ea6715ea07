from __future__ import annotations

import json
import pickle
from typing import TYPE_CHECKING

import av
import numpy as np
import pytest

from msqnet.config import SegmentConfig, WindowConfig
from msqnet.errors import ConfigError, ShapeError, UnreadableVideo
from msqnet.inference.predictor import Predictor
from msqnet.predictions import Segment, VideoPredictions
from tests.unit.inference.brightness import (
    BLACK,
    LABELS,
    WHITE,
    BrightnessBackend,
    write_truncated_video,
    write_video,
)

if TYPE_CHECKING:
    from pathlib import Path

    from msqnet.inference.backends import Arrays
    from msqnet.predictions import FloatArray

NO_CLOSING = SegmentConfig(max_gap_seconds=0)
# 10 frames a second: bright from 2 s to 4 s of 8 s.
EVENT = [BLACK] * 20 + [WHITE] * 20 + [BLACK] * 40


@pytest.fixture
def event(tmp_path: Path) -> Path:
    return write_video(tmp_path / "event.mov", EVENT)


@pytest.mark.parametrize("stride", [1.0, 0.5])
def test_bright_interval_is_one_segment_with_its_exact_times(event: Path, stride: float) -> None:
    predictor = Predictor(
        BrightnessBackend(), WindowConfig(stride_seconds=stride, batch_size=3), NO_CLOSING
    )
    (segment,) = predictor(event).segments
    assert (segment.label, segment.start_seconds, segment.end_seconds) == ("bright", 2.0, 4.0)
    assert segment.score == (1.0 if stride == 1.0 else pytest.approx(0.875))


def test_timeline_follows_the_brightness(event: Path) -> None:
    timeline = Predictor(BrightnessBackend(), WindowConfig(stride_seconds=1.0))(event).timeline
    np.testing.assert_allclose(timeline.edges_seconds, np.arange(9), atol=1e-9)
    np.testing.assert_array_equal(timeline.scores[:, 0], [0, 0, 1, 1, 0, 0, 0, 0])
    np.testing.assert_array_equal(timeline.scores[:, 1], [1, 1, 0, 0, 1, 1, 1, 1])


def test_result_describes_the_video_and_how_it_was_made(event: Path) -> None:
    predictor = Predictor(BrightnessBackend())
    result = predictor(event)
    assert result.path == str(event)
    assert result.labels == LABELS
    assert (result.width, result.height) == (32, 24)
    assert result.duration_seconds == pytest.approx(8.0)
    assert (result.window_seconds, result.stride_seconds) == (1.0, 0.5)
    assert result.notes == ()
    assert result.provenance == predictor.provenance
    assert result.provenance["model"] == {"name": "brightness"}
    assert result.provenance["labels_digest"] == LABELS.digest
    assert VideoPredictions.from_json(result.to_json()) == result
    assert pickle.loads(pickle.dumps(result)) == result


@pytest.mark.parametrize("batch_size", [1, 2, 7, 100])
def test_batch_size_does_not_change_the_result(event: Path, batch_size: int) -> None:
    backend = BrightnessBackend()
    result = Predictor(backend, WindowConfig(batch_size=batch_size))(event)
    assert result == Predictor(BrightnessBackend())(event)
    assert max(backend.batch_sizes) == min(batch_size, len(result.windows))


def test_progress_rises_to_one(event: Path) -> None:
    shares: list[float] = []
    Predictor(BrightnessBackend(), WindowConfig(batch_size=4))(event, shares.append)
    assert len(shares) == 4
    assert shares == sorted(shares)
    assert shares[-1] == 1.0


def test_threshold_of_the_user_replaces_those_of_the_model(event: Path) -> None:
    config = SegmentConfig(threshold=0.9, max_gap_seconds=0)
    result = Predictor(BrightnessBackend(), WindowConfig(stride_seconds=1.0), config)(event)
    assert result.thresholds == pytest.approx((0.9, 0.9))
    assert [segment.label for segment in result.segments] == ["dark", "bright", "dark"]


def test_single_label_segments_never_overlap(event: Path) -> None:
    backend = BrightnessBackend(single_label=True, thresholds=np.array([0.1, 0.1], np.float32))
    result = Predictor(backend, WindowConfig(stride_seconds=1.0), SegmentConfig())(event)
    assert result.segments == (
        Segment("dark", 0.0, 2.0, 1.0),
        Segment("bright", 2.0, 4.0, 1.0),
        Segment("dark", 4.0, pytest.approx(8.0), 1.0),
    )
    assert result.single_label


def test_config_digest_tells_settings_apart() -> None:
    def digest(window: WindowConfig, segments: SegmentConfig) -> str:
        provenance = Predictor(BrightnessBackend(), window, segments).provenance
        assert json.loads(json.dumps(provenance)) == provenance
        return str(provenance["config_digest"])

    base = digest(WindowConfig(), SegmentConfig())
    assert base == digest(WindowConfig(window_seconds=1.0, batch_size=2), SegmentConfig())
    assert base != digest(WindowConfig(window_seconds=2.0), SegmentConfig())
    assert base != digest(WindowConfig(), SegmentConfig(threshold=0.5))
    assert base != digest(WindowConfig(), SegmentConfig(max_gap_seconds=1))


@pytest.mark.parametrize("num_frames", [1, 3])
def test_very_short_video_is_one_window(tmp_path: Path, num_frames: int) -> None:
    path = write_video(tmp_path / "short.mov", [WHITE] * num_frames, size=(7, 5))
    result = Predictor(BrightnessBackend())(path)
    assert len(result.windows) == len(result.timeline) == 1
    (segment,) = result.segments
    assert (segment.start_seconds, segment.end_seconds) == (0, result.duration_seconds)


def test_folder_of_images_is_a_video(tmp_path: Path) -> None:
    for number in range(50):
        level = WHITE if number < 25 else BLACK
        frame = av.VideoFrame.from_ndarray(np.full((8, 8, 3), level, np.uint8), format="rgb24")
        frame.save(tmp_path / f"{number:03}.png")
    result = Predictor(BrightnessBackend(), WindowConfig(stride_seconds=1.0))(tmp_path)
    assert [item.label for item in result.segments] == ["bright"]
    assert result.segments[0].end_seconds == pytest.approx(1.0)


def test_truncated_video_is_predicted_as_far_as_it_goes_and_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = write_truncated_video(tmp_path / "cut.mov", [200] * 60)
    result = Predictor(BrightnessBackend())(path)
    (note,) = result.notes
    assert "damaged" in note
    assert "damaged" in caplog.text
    assert result.timeline.edges_seconds[-1] == result.duration_seconds < 5


def test_broken_file_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "broken.mp4"
    path.write_bytes(b"not a video")
    with pytest.raises(UnreadableVideo, match=r"broken\.mp4"):
        Predictor(BrightnessBackend())(path)


def test_stride_longer_than_the_window_is_refused() -> None:
    with pytest.raises(ConfigError, match="stride_seconds"):
        Predictor(BrightnessBackend(), WindowConfig(stride_seconds=3))


def test_backend_with_scores_of_another_shape_is_named(event: Path) -> None:
    class OneColumn(BrightnessBackend):
        def score_frames(self, frames: Arrays, motion_crops: Arrays | None) -> FloatArray:
            return super().score_frames(frames, motion_crops)[:, :1]

    with pytest.raises(ShapeError, match=r"\(8, 1\), expected \(8, 2\)"):
        Predictor(OneColumn())(event)
