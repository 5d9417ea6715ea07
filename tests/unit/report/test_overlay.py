from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, Any

import av
import numpy as np
import pytest

from msqnet.inference.predictor import Predictor
from msqnet.report.overlay import write_overlay
from msqnet.report.pictures import resized, square_size
from msqnet.video.reader import open_video
from tests.fixtures.videos import encode, number_image, read_number
from tests.unit.inference.brightness import WHITE, BrightnessBackend, write_truncated_video
from tests.unit.report.beeping import heard, seen, write_beeping_video
from tests.unit.report.made_up import predictions_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from msqnet.predictions import VideoPredictions

    WriteVideo = Callable[..., Path]


def predictions_for(video: Path) -> VideoPredictions:
    with open_video(video) as source:
        return predictions_of(
            {"walking": [0.9, 0.2], "resting": [0.1, 0.7]},
            step_seconds=source.duration_seconds / 2,
        )


def written(video: Path) -> Path:
    path = video.with_name("out.mp4")
    write_overlay(predictions_for(video), video, path)
    return path


def test_the_white_part_is_seen_and_heard_when_it_was(tmp_path: Path) -> None:
    source = write_beeping_video(tmp_path / "in.mp4", video_start=Fraction(1, 2))
    predictions = Predictor(BrightnessBackend())(source)
    path = tmp_path / "out.mp4"
    write_overlay(predictions, source, path)
    assert seen(path) == pytest.approx((2, 3), abs=1e-5)
    assert heard(path) == pytest.approx((2, 3), abs=1e-3)
    with open_video(path) as video:
        assert video.duration_seconds == pytest.approx(4, abs=1e-5)


@pytest.mark.parametrize(
    ("settings", "picture_size"),
    [
        ({"width": 320, "height": 240}, (320, 240)),
        ({"width": 640, "height": 360, "rate": Fraction(30000, 1001)}, (640, 360)),
        ({"width": 360, "height": 640}, (360, 640)),
        ({"width": 128, "height": 80}, (384, 240)),
        ({"width": 321, "height": 241, "codec": "png", "pix_fmt": "rgb24"}, (321, 241)),
        ({"width": 640, "height": 360, "pts": [0, 1, 2, 9, 10, 31]}, (640, 360)),
    ],
    ids=["320x240", "29.97 fps", "portrait", "small", "odd", "variable rate"],
)
def test_every_frame_keeps_its_picture_and_its_time(
    write_video: WriteVideo, settings: dict[str, Any], picture_size: tuple[int, int]
) -> None:
    source = write_video("in.mov", num_frames=6, **settings)
    width, height = picture_size
    with open_video(source) as video, open_video(written(source)) as overlay:
        assert overlay.width == width + width % 2
        assert overlay.height > height
        assert overlay.pts_seconds == pytest.approx(video.pts_seconds, abs=1e-5)
        assert overlay.duration_seconds == pytest.approx(video.duration_seconds, abs=1e-5)
        pictures = [pixels[:, :height, :width] for _, pixels in overlay]
    assert [read_number(picture) for picture in pictures] == list(range(6))


def test_a_second_of_4k_keeps_its_size_and_its_speed(tmp_path: Path) -> None:
    images = [number_image(number, 3840, 2160) for number in range(2)]
    options = {"preset": "ultrafast"}
    source = encode(tmp_path / "in.mp4", images, rate=2, options=options)
    with open_video(written(source)) as overlay:
        assert overlay.width == 3840
        assert overlay.pts_seconds == pytest.approx([0, 0.5], abs=1e-5)
        assert overlay.duration_seconds == pytest.approx(1, abs=1e-5)
        pictures = [pixels[:, :2160] for _, pixels in overlay]
    assert [read_number(picture) for picture in pictures] == [0, 1]


@pytest.mark.parametrize("rotation", [90, 180, 270])
def test_a_rotated_clip_is_upright(tmp_path: Path, rotation: int) -> None:
    image = np.zeros((320, 480, 3), np.uint8)
    image[:60, :60] = 255
    source = encode(tmp_path / "in.mp4", [image] * 3, rotation=rotation)
    with open_video(source) as video, open_video(written(source)) as overlay:
        (_, upright), *_ = video
        (_, shown), *_ = overlay
    _, height, width = upright.shape
    assert (width, height) == ((480, 320) if rotation == 180 else (320, 480))
    assert shown.shape[2] == width
    difference = shown[:, :height].float() - upright.float()
    assert float(difference.abs().mean()) < 2


@pytest.mark.parametrize(
    ("aspect", "rotation", "size"),
    [
        (Fraction(2), 0, (800, 300)),
        (Fraction(1, 2), 0, (400, 600)),
        (Fraction(2), 90, (300, 800)),
        (Fraction(64, 45), 0, (569, 300)),
        (Fraction(1), 0, (400, 300)),
    ],
)
def test_pixels_that_are_not_square_are_stretched(
    tmp_path: Path, aspect: Fraction, rotation: int, size: tuple[int, int]
) -> None:
    source = tmp_path / "in.mp4"
    with av.open(str(source), "w") as container:
        stream: Any = container.add_stream("libx264", rate=5)
        stream.width, stream.height, stream.pix_fmt = 400, 300, "yuv420p"
        stream.codec_context.sample_aspect_ratio = aspect
        if rotation:
            stream.set_display_rotation(rotation)
        for _ in range(3):
            image = np.full((300, 400, 3), 255, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, "rgb24")))
        container.mux(stream.encode(None))
    with open_video(source) as video:
        assert square_size(video) == size
        (_, picture), *_ = resized(video, *size)
    assert picture.shape == (size[1], size[0], 3)
    with open_video(written(source)) as overlay:
        assert overlay.width == max(size[0] + size[0] % 2, 320)


def test_a_narrow_picture_stands_in_the_middle(tmp_path: Path) -> None:
    image = np.full((900, 100, 3), 255, np.uint8)
    source = encode(tmp_path / "in.mp4", [image] * 3)
    with open_video(written(source)) as overlay:
        (_, pixels), *_ = overlay
    row = pixels[:, 450].float().mean(dim=0)  # (W,)
    assert row.shape == (320,)
    assert (row > 128).nonzero().flatten().tolist() == list(range(110, 210))


def test_of_a_damaged_file_it_is_what_decodes(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = write_truncated_video(tmp_path / "cut.mov", [WHITE] * 40)
    predictions = Predictor(BrightnessBackend())(source)
    path = tmp_path / "out.mp4"
    write_overlay(predictions, source, path)
    with open_video(source) as video, open_video(path) as overlay:
        assert 0 < overlay.num_frames < 40
        list(video)
        assert overlay.num_frames == video.num_frames
        assert overlay.duration_seconds == pytest.approx(predictions.duration_seconds, abs=1e-5)
    assert caplog.records


def test_a_folder_of_images_is_a_video_without_sound(tmp_path: Path) -> None:
    from PIL import Image

    folder = tmp_path / "frames"
    folder.mkdir()
    for number in range(5):
        Image.fromarray(number_image(number, 320, 240)).save(folder / f"{number}.png")
    with open_video(written(folder)) as overlay:
        assert [read_number(pixels[:, :240]) for _, pixels in overlay] == list(range(5))


def test_progress_rises_to_the_end(write_video: WriteVideo) -> None:
    source = write_video(num_frames=6)
    shares: list[float] = []
    write_overlay(predictions_for(source), source, source.with_name("out.mp4"), shares.append)
    assert shares == sorted(shares)
    assert 0 <= shares[0] < shares[-2] < 1
    assert shares[-1] == 1.0


def test_a_real_clip_keeps_its_times_and_its_length(real_data: Path, tmp_path: Path) -> None:
    source = real_data / "yolo_behavior_rat" / "face_washing" / "11232.mp4"
    path = tmp_path / "out.mp4"
    write_overlay(predictions_for(source), source, path)
    with open_video(source) as video, open_video(path) as overlay:
        assert overlay.pts_seconds == pytest.approx(video.pts_seconds, abs=1e-5)
        assert overlay.duration_seconds == pytest.approx(video.duration_seconds, abs=1e-5)
