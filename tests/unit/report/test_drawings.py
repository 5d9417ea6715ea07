from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from msqnet.errors import UnreadableVideo
from msqnet.inference.predictor import Predictor
from msqnet.inference.results_folder import drawn_paths
from msqnet.report.drawings import draw_missing
from tests.unit.inference.brightness import BLACK, WHITE, BrightnessBackend, write_video

if TYPE_CHECKING:
    from pathlib import Path


def test_only_what_is_missing_is_drawn(tmp_path: Path) -> None:
    video = write_video(tmp_path / "clip.mov", [BLACK] * 10 + [WHITE] * 10)
    predictions = Predictor(BrightnessBackend())(video)
    figure, overlay, gif = drawn_paths(video)
    shares: list[float] = []
    assert draw_missing(predictions, video, video, shares.append) == (figure, overlay, gif)
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
