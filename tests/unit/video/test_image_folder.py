from __future__ import annotations

import io
from fractions import Fraction
from typing import TYPE_CHECKING

import av
import numpy as np
import pytest
from PIL import ExifTags, Image, ImageOps

from msqnet.errors import ConfigError, EmptyVideo, ShapeError, UnreadableVideo
from msqnet.video.reader import open_video
from tests.fixtures.videos import encode, number_image, read_number

if TYPE_CHECKING:
    from pathlib import Path


CODECS = {".png": ("png", "rgb24"), ".jpg": ("mjpeg", "yuvj420p"), ".bmp": ("bmp", "bgr24")}


def write_image(path: Path, image: np.ndarray) -> None:
    codec, pix_fmt = CODECS[path.suffix.lower()]
    context = av.CodecContext.create(codec, "w")
    context.height, context.width = image.shape[:2]
    context.pix_fmt = pix_fmt
    context.time_base = Fraction(1, 25)
    frame = av.VideoFrame.from_ndarray(image, "rgb24").reformat(format=pix_fmt)
    packets = [*context.encode(frame), *context.encode(None)]
    path.write_bytes(b"".join(bytes(packet) for packet in packets))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "frames"
    folder.mkdir()
    for number in range(12):
        write_image(folder / f"frame{number}.png", number_image(number))
    return folder


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp"])
def test_images_of_cameras_are_read_around_their_exif_each_upright(
    tmp_path: Path, suffix: str
) -> None:
    for orientation in range(1, 9):
        image = Image.fromarray(number_image(37 * orientation % 256))
        exif = image.getexif()
        exif[ExifTags.Base.Orientation] = orientation
        exif[ExifTags.Base.DateTime] = "2026:05:01 10:00:00"
        image.save(tmp_path / f"{orientation}.{suffix}", exif=exif, quality=95)
    with open_video(tmp_path) as video:
        for orientation, (_, pixels) in enumerate(video, start=1):
            with Image.open(tmp_path / f"{orientation}.{suffix}") as stored:
                upright = ImageOps.exif_transpose(stored).convert("RGB").resize((128, 80))
            difference = np.abs(np.moveaxis(np.asarray(pixels, int), 0, 2) - np.asarray(upright))
            assert difference.mean() < 4, orientation


def test_film_of_pictures_with_exif_is_read(tmp_path: Path) -> None:
    content = b""
    for number in range(5):
        image, buffer = Image.fromarray(number_image(number)), io.BytesIO()
        exif = image.getexif()
        exif[ExifTags.Base.Make] = "CAMERA"
        image.save(buffer, "JPEG", exif=exif, quality=95)
        content += buffer.getvalue()
    path = tmp_path / "film.mjpeg"
    path.write_bytes(content)
    with open_video(path) as video:
        assert [read_number(pixels) for _, pixels in video] == list(range(5))


def test_images_come_in_natural_order(folder: Path) -> None:
    with open_video(folder) as video:
        assert [read_number(pixels) for _, pixels in video] == list(range(12))
        assert (video.num_frames, video.width, video.height) == (12, 128, 80)


def test_rate_is_25_unless_given(folder: Path) -> None:
    with open_video(folder) as video:
        assert video.average_fps == 25
        assert video.pts_seconds.tolist() == pytest.approx([n / 25 for n in range(12)])
        assert video.duration_seconds == pytest.approx(12 / 25)
    with open_video(folder, fps=Fraction(30000, 1001)) as video:
        assert video.average_fps == Fraction(30000, 1001)
    with open_video(folder, fps=12.5) as video:
        frames = video.frames_at([0.85, 0.0, 0.16])
        assert [read_number(pixels) for pixels in frames.pixels] == [10, 0, 2]


def test_lossless_images_come_bit_equal(folder: Path) -> None:
    with open_video(folder) as video:
        pixels = video.frames_by_index([7]).pixels[0]
    assert np.array_equal(pixels, number_image(7).transpose(2, 0, 1))


def test_images_are_scaled_while_decoding(folder: Path) -> None:
    with open_video(folder, short_side_pixels=40) as video:
        frames = video.frames_at([0.2])
    assert frames.pixels.shape == (1, 3, 40, 64)
    assert read_number(frames.pixels[0]) == 5


def test_kinds_and_sizes_of_images_may_be_mixed(tmp_path: Path) -> None:
    write_image(tmp_path / "1.jpg", number_image(1))
    write_image(tmp_path / "2.PNG", number_image(2, 256, 160))
    write_image(tmp_path / "10.bmp", number_image(10, 64, 40))
    (tmp_path / "notes.txt").write_text("not a frame")
    (tmp_path / ".3.png").write_bytes(b"hidden")
    with open_video(tmp_path) as video:
        frames = video.frames_by_index([0, 1, 2])
    assert [read_number(pixels) for pixels in frames.pixels] == [1, 2, 10]
    assert frames.pixels.shape == (3, 3, 80, 128)


def test_names_with_percent_signs_are_plain_names(tmp_path: Path) -> None:
    write_image(tmp_path / "a%03d.png", number_image(1))
    write_image(tmp_path / "b%d.png", number_image(2))
    with open_video(tmp_path) as video:
        assert [read_number(pixels) for _, pixels in video] == [1, 2]


def test_folder_without_images_is_an_empty_video(tmp_path: Path) -> None:
    encode(tmp_path / "clip.mp4", [number_image(0)])
    with pytest.raises(EmptyVideo, match=f"{tmp_path.name}: no video and no frame image"):
        open_video(tmp_path)


def test_broken_image_is_named(folder: Path) -> None:
    (folder / "frame4.png").write_bytes(b"")
    (folder / "frame5.png").write_bytes((folder / "frame6.png").read_bytes()[:60])
    with open_video(folder) as video:
        assert read_number(video.frames_by_index([3]).pixels[0]) == 3
        for number in (4, 5):
            with pytest.raises(UnreadableVideo, match=rf"frame{number}\.png"):
                video.frames_by_index([number])


@pytest.mark.parametrize("fps", [0, -1.0, Fraction(0), float("nan")])
def test_a_rate_that_is_not_above_zero_is_refused(folder: Path, fps: float) -> None:
    with pytest.raises(ConfigError, match="fps"):
        open_video(folder, fps=fps)


def test_an_index_behind_the_last_image_is_refused(folder: Path) -> None:
    with open_video(folder) as video, pytest.raises(ShapeError, match="expected 0 to 11"):
        video.frames_by_index([12])
