"""Figure, annotated video and GIF of one video."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from msqnet.errors import UnreadableVideo
from msqnet.inference.predictor import Predictor
from msqnet.inference.results import DRAWN_SUFFIXES, OVERLAY_SUFFIXES
from msqnet.report.drawings import draw_missing, gif_interval, write_gif
from tests.fixtures.videos import encode
from tests.unit.inference.brightness import BLACK, WHITE, BrightnessBackend, write_video
from tests.unit.report.beeping import write_beeping_video
from tests.unit.report.made_up import predictions_of

if TYPE_CHECKING:
    from pathlib import Path


def test_only_what_is_missing_is_drawn(tmp_path: Path) -> None:
    video = write_video(tmp_path / "clip.mov", [BLACK] * 10 + [WHITE] * 10)
    predictions = Predictor(BrightnessBackend())(video)
    figure, overlay, gif = (video.with_name(video.name + suffix) for suffix in DRAWN_SUFFIXES)
    shares: list[float] = []
    assert draw_missing(predictions, video, video, OVERLAY_SUFFIXES) == (overlay, gif)
    for path in (overlay, gif):
        path.unlink()
    drawn = draw_missing(predictions, video, video, progress=shares.append)
    assert drawn == (figure, overlay, gif)
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    heads = [path.read_bytes()[:12] for path in (figure, overlay, gif)]
    assert heads[0].startswith(b"\x89PNG")
    assert heads[1][4:8] == b"ftyp"
    assert heads[2].startswith(b"GIF89a")
    overlay.write_bytes(b"mine")
    gif.unlink()
    assert draw_missing(predictions, video, video) == (gif,)
    assert overlay.read_bytes() == b"mine"
    assert draw_missing(predictions, video, video) == ()


def test_what_needs_no_video_is_drawn_where_the_video_is_gone(tmp_path: Path) -> None:
    video = write_video(tmp_path / "clip.mov", [WHITE] * 10)
    predictions = Predictor(BrightnessBackend())(video)
    video.unlink()
    with pytest.raises(UnreadableVideo):
        draw_missing(predictions, video, video)
    assert [path.name for path in tmp_path.iterdir()] == ["clip.mov.timeline.png"]


def frames_of(path: Path) -> list[tuple[float, np.ndarray]]:
    """Starts in seconds and pixels of the frames of a GIF, and its end with no pixels."""
    frames, time = [], 0.0
    with Image.open(path) as image:
        for number in range(image.n_frames):  # type: ignore[attr-defined]
            image.seek(number)
            frames.append((time, np.asarray(image.convert("RGB"))))
            time += image.info["duration"] / 1000
    return [*frames, (time, np.zeros((0, 0, 3)))]


def test_it_runs_at_the_speed_of_the_video_and_starts_again(tmp_path: Path) -> None:
    source = write_beeping_video(tmp_path / "in.mp4", duration=4, beep=(2, 3), fps=25)
    path = tmp_path / "out.gif"
    write_gif(predictions_of({"a": [0.9, 0.1, 0.6, 0.2]}), source, path)
    *frames, (end, _) = frames_of(path)
    assert end == pytest.approx(4)
    assert len(frames) == 40
    white = [time for time, pixels in frames if pixels[:200].mean() > 200]
    assert (white[0], white[-1]) == pytest.approx((2.0, 2.9))
    with Image.open(path) as image:
        assert image.info["loop"] == 0


@pytest.mark.parametrize(
    ("size", "shown"),
    [((1280, 720), (480, 270)), ((600, 900), (480, 720)), ((100, 60), (400, 240))],
)
def test_it_is_at_most_480_pixels_wide(
    tmp_path: Path, size: tuple[int, int], shown: tuple[int, int]
) -> None:
    image = np.full((size[1], size[0], 3), 255, np.uint8)
    source = encode(tmp_path / "in.mp4", [image] * 3)
    path = tmp_path / "out.gif"
    write_gif(predictions_of({"a": [0.9, 0.1, 0.6]}, step_seconds=0.1), source, path)
    (_, pixels), *_ = frames_of(path)
    assert pixels.shape[1] == shown[0]
    is_white = (pixels > 240).all(axis=(1, 2))
    assert int(is_white.sum()) == shown[1]


def test_a_long_video_is_cut_around_its_highest_score() -> None:
    for step, start in ((0, 0.0), (30, 20.5), (59, 40.0)):
        scores = [0.2] * 60
        scores[step] = 0.9
        assert gif_interval(predictions_of({"a": scores})) == pytest.approx((start, start + 20))
    assert gif_interval(predictions_of({"a": [0.2] * 20})) == (0.0, 20.0)


@pytest.mark.slow
def test_the_cut_shows_the_right_part(tmp_path: Path) -> None:
    source = write_beeping_video(tmp_path / "in.mp4", duration=40, beep=(30, 31), fps=5)
    scores = [0.1] * 40
    scores[30] = 0.9
    path = tmp_path / "out.gif"
    write_gif(predictions_of({"a": scores}), source, path)
    *frames, (end, _) = frames_of(path)
    assert end == pytest.approx(20)
    white = [time for time, pixels in frames if pixels[:200].mean() > 200]
    # The interval starts at 20 s, half a second after which a frame of 5 a second is due.
    assert white[0] == pytest.approx(30 - 20, abs=0.1)
    assert white[-1] == pytest.approx(31 - 20 - 0.1, abs=0.2)


def test_noise_does_not_move_what_stands_still(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    still = np.full((240, 320, 3), 120, np.int16)
    images = [(still + random.integers(-3, 4, (240, 320, 1))).astype(np.uint8) for _ in range(10)]
    for image in images[5:]:
        image[:20, :20] = 255
    source = encode(tmp_path / "in.mp4", images, options={"crf": "0"})
    path = tmp_path / "out.gif"
    write_gif(predictions_of({"a": [0.9] * 10}, step_seconds=0.1), source, path)
    *frames, _ = frames_of(path)
    for (_, before), (_, after) in pairwise(frames):
        is_moved = (before[:240] != after[:240]).any(axis=2)
        assert not is_moved[24:, 24:].any()
    assert frames[-1][1][:16, :16].min() > 240


def test_progress_rises_to_the_end(tmp_path: Path) -> None:
    source = write_beeping_video(tmp_path / "in.mp4", duration=1, beep=(0, 1))
    shares: list[float] = []
    write_gif(predictions_of({"a": [0.9]}), source, tmp_path / "out.gif", shares.append)
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
