from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from msqnet.errors import VideoError
from msqnet.report.media import PreviewWriter, thumbnail_times, video_thumbnails
from msqnet.video.reader import open_video
from tests.unit.inference.brightness import BLACK, WHITE, write_truncated_video, write_video

if TYPE_CHECKING:
    from pathlib import Path


def test_preview_has_the_times_and_the_length_of_the_video(tmp_path: Path) -> None:
    video = write_video(tmp_path / "a.mov", [BLACK] * 25 + [WHITE] * 25, fps=50, size=(64, 36))
    path, why = PreviewWriter(tmp_path, max_bytes=10**6).write(video)
    assert path is not None, why
    with open_video(path) as preview:
        assert preview.duration_seconds == pytest.approx(1.0, abs=1e-4)
        assert preview.num_frames == 12  # of 50
        before, after = preview.frames_at([0.45, 0.55]).pixels.mean(axis=(1, 2, 3)).tolist()
        assert before < 30
        assert after > 220


def test_preview_of_a_large_video_is_small(tmp_path: Path) -> None:
    video = write_video(tmp_path / "a.mov", [BLACK] * 2, size=(1280, 720))
    path, why = PreviewWriter(tmp_path, max_bytes=10**6).write(video)
    assert path is not None, why
    with open_video(path) as preview:
        assert (preview.width, preview.height) == (640, 360)


def test_preview_that_grows_too_large_is_given_up(tmp_path: Path) -> None:
    video = write_video(tmp_path / "a.mov", [BLACK, WHITE] * 60)
    writer = PreviewWriter(tmp_path, max_bytes=300)
    path, why = writer.write(video)
    assert path is None
    assert "0.0003 MB" in why
    assert (writer.num_bytes, writer.num_left_out) == (0, 1)
    assert not list(tmp_path.rglob("*.mp4"))


def test_preview_of_a_damaged_file_is_what_decodes(tmp_path: Path) -> None:
    video = write_truncated_video(tmp_path / "a.mov", [100] * 60)
    path, why = PreviewWriter(tmp_path, max_bytes=10**6).write(video)
    assert path is not None, why
    with open_video(path) as preview:
        assert 2 < preview.duration_seconds < 5


def test_preview_of_what_is_no_video_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_text("no")
    with pytest.raises(VideoError):
        PreviewWriter(tmp_path, max_bytes=1000).write(tmp_path / "a.mp4")


def test_thumbnails_show_the_frames_at_their_times(tmp_path: Path) -> None:
    import base64
    import io

    from PIL import Image

    video = write_video(tmp_path / "a.mov", [BLACK] * 10 + [WHITE] * 10, size=(320, 270))
    found = video_thumbnails(video, [1.5, 0.5])
    assert [seconds for seconds, _ in found] == [0.5, 1.5]
    pictures = [np.asarray(Image.open(io.BytesIO(base64.b64decode(jpeg)))) for _, jpeg in found]
    assert [picture.shape for picture in pictures] == [(135, 160, 3)] * 2
    assert pictures[0].mean() < 5
    assert pictures[1].mean() > 250


def test_thumbnails_of_a_damaged_file_end_where_it_does(tmp_path: Path) -> None:
    video = write_truncated_video(tmp_path / "a.mov", [100] * 60)
    assert [seconds for seconds, _ in video_thumbnails(video, [0.5, 1.0, 5.9])] == [0.5, 1.0]
    with pytest.raises(VideoError):
        video_thumbnails(video, [5.9])


def test_longest_segments_get_pictures_first() -> None:
    spans = [(0.0, 1.0), (2.0, 8.0), (9.0, 11.0), (2.0, 8.0)]
    assert thumbnail_times(spans, 12.0, 2) == [5.0, 10.0]
    assert thumbnail_times(spans, 12.0, 9) == [0.5, 5.0, 10.0]
    assert thumbnail_times([], 12.0, 9) == [6.0]
