"""Frames that a program holds already are a video like any other."""

from __future__ import annotations

import gc
import io
import tempfile
from dataclasses import replace
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from msqnet.config import SegmentConfig, WindowConfig
from msqnet.errors import ConfigError, EmptyVideo, MsqnetError, ShapeError, UnreadableVideo
from msqnet.inference.predictor import Predictor
from msqnet.video.reader import open_video
from tests.unit.inference.brightness import BLACK, WHITE, BrightnessBackend, write_video

if TYPE_CHECKING:
    from pathlib import Path

NOISE = np.random.default_rng(0).integers(0, 256, (5, 24, 32, 3), dtype=np.uint8)
READ_BEFORE = io.BytesIO(b"video")
READ_BEFORE.seek(0, io.SEEK_END)


@pytest.mark.parametrize("form", [np.asarray, list, np.asfortranarray, tuple])
def test_frames_are_kept_to_the_bit_at_their_rate(form: Any) -> None:
    with open_video(form(NOISE), fps=10) as video:
        assert (video.width, video.height, video.num_frames) == (32, 24, 5)
        assert (video.duration_seconds, video.average_fps, video.notes) == (0.5, 10, ())
        np.testing.assert_allclose(video.pts_seconds, [0, 0.1, 0.2, 0.3, 0.4])
        found = video.frames_by_index([3, 0])
    np.testing.assert_array_equal(found.pixels, NOISE[[3, 0]].transpose(0, 3, 1, 2))


def test_frames_in_memory_are_predicted_on_their_clock() -> None:
    levels = np.array([BLACK] * 20 + [WHITE] * 20 + [BLACK] * 40, dtype=np.uint8)
    frames = np.broadcast_to(levels[:, None, None, None], (80, 24, 32, 3))
    predictor = Predictor(
        BrightnessBackend(), WindowConfig(stride_seconds=1.0), SegmentConfig(max_gap_seconds=0)
    )
    result = predictor(frames, fps=10)
    (segment,) = result.segments
    assert (segment.label, segment.start_seconds, segment.end_seconds) == ("bright", 2.0, 4.0)
    assert (result.path, result.duration_seconds) == ("frames", 8.0)


@pytest.mark.parametrize(
    ("frames", "fps", "error", "message"),
    [
        (NOISE, None, ConfigError, "carry no times; give their rate"),
        (NOISE / 255, 10, ShapeError, r"found float64 of shape \(24, 32, 3\) as number 0"),
        (NOISE.transpose(0, 3, 1, 2), 10, ShapeError, r"shape \(3, 24, 32\) .*of \(H, W, 3\)"),
        (NOISE[0], 10, ShapeError, r"shape \(32, 3\) as number 0"),
        ([NOISE[0], NOISE[1][:20]], 10, ShapeError, r"\(20, 32, 3\) as number 1 and \(24, 32, 3\)"),
        (["a.jpg", "b.jpg"], 10, ShapeError, r"found <U5 of shape \(\)"),
        (NOISE[:0], 10, EmptyVideo, "found none"),
        (io.BytesIO(b"video"), 10, UnreadableVideo, "not a video"),
        (NOISE, "10", ConfigError, "fps '10': expected a number of more than 0"),
        (b"", 10, UnreadableVideo, "^bytes: reading gives no bytes"),
        (READ_BEFORE, 10, UnreadableVideo, r"^BytesIO: .* that was read before needs seek\(0\)"),
        (io.TextIOWrapper(io.BytesIO(b"\x87")), 10, ShapeError, "TextIOWrapper: .* as 'rb'"),
        (io.StringIO("video"), 10, ShapeError, "StringIO: reading gives no bytes; open .* 'rb'"),
        (7, 10, ShapeError, "a video as int: expected a path"),
    ],
)
def test_frames_of_another_form_are_refused_in_a_line(
    frames: Any, fps: float | None, error: type[MsqnetError], message: str
) -> None:
    with pytest.raises(error, match=message) as found:
        open_video(frames, fps=fps)
    assert len(str(found.value)) < 250


@pytest.mark.parametrize("fps", [np.float32(12.5), np.int64(10), Fraction(25, 2)])
def test_rate_may_be_any_number(fps: Any) -> None:
    with open_video(NOISE, fps=fps) as video:
        assert video.duration_seconds == len(NOISE) / float(fps)


@pytest.mark.parametrize("kind", ["bytes", "BytesIO", "file"])
def test_content_of_a_file_is_predicted_as_the_file_and_leaves_nothing_behind(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_video(tmp_path / "clip.mov", [BLACK] * 10 + [WHITE] * 20)
    spool = tmp_path / "spool"
    spool.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(spool))
    predictor = Predictor(BrightnessBackend(), WindowConfig(stride_seconds=1.0))
    with path.open("rb") as file:
        contents = {"bytes": path.read_bytes(), "BytesIO": io.BytesIO(path.read_bytes())}
        found = predictor((contents | {"file": file})[kind])
    expected = predictor(path)
    assert found.path == ("clip.mov" if kind == "file" else "video")
    assert replace(found, path="") == replace(expected, path="")
    assert not list(spool.iterdir())


def test_video_that_is_forgotten_or_unreadable_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_video(tmp_path / "clip.mov", [BLACK] * 10)
    spool = tmp_path / "spool"
    spool.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(spool))
    with pytest.raises(UnreadableVideo):
        open_video(b"no video")
    video = open_video(path.read_bytes())
    video.close()
    assert len(video.frames_at([0.0]).pixels) == 1  # opens it again
    assert len(list(spool.iterdir())) == 1
    video.close()
    del video
    gc.collect()
    assert not list(spool.iterdir())
