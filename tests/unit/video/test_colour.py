"""Colours of frames: matrix, range, interlacing and high dynamic range, each of known values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import av
import numpy as np
import pytest

from msqnet.video.hdr import to_screen
from msqnet.video.reader import open_video

if TYPE_CHECKING:
    from pathlib import Path

Y, CB, CR = 120, 110, 150
LOSSLESS = {"qp": "0", "preset": "ultrafast"}
X265_LOSSLESS = {"x265-params": "log-level=none:lossless=1"}
# Shares of red and blue in luma: ITU-T H.273, table 4. FFmpeg takes FCC for BT.601.
BT709, BT601, SMPTE240, BT2020 = (0.2126, 0.0722), (0.299, 0.114), (0.212, 0.087), (0.2627, 0.0593)


def write(
    path: Path,
    levels: tuple[int, int, int],
    tags: dict[str, int],
    *,
    pix_fmt: str = "yuv420p",
    codec: str = "libx264",
    options: dict[str, str] = LOSSLESS,
) -> Path:
    """Frames of one colour, given by its stored levels."""
    kind = np.uint16 if "10" in pix_fmt else np.uint8
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream(codec, rate=10, options=options)
        stream.width, stream.height, stream.pix_fmt = 64, 48, pix_fmt
        for name, value in tags.items():
            setattr(stream.codec_context, name, value)
        for number in range(3):
            frame = av.VideoFrame(64, 48, pix_fmt)
            for plane, level in zip(frame.planes, levels, strict=True):
                plane.update(np.full(plane.buffer_size // kind().itemsize, level, kind))
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def first_colour(path: Path) -> list[int]:
    with open_video(path) as video:
        (_, pixels), *_ = video
    return [int(level) for level in np.asarray(pixels)[:, 20, 20]]


def rgb_of(shares: tuple[float, float], *, is_full: bool) -> list[float]:
    red, blue = shares
    luma, scale = (Y, 1.0) if is_full else ((Y - 16) * 255 / 219, 255 / 224)
    r = luma + 2 * (1 - red) * (CR - 128) * scale
    b = luma + 2 * (1 - blue) * (CB - 128) * scale
    return [r, (luma - red * r - blue * b) / (1 - red - blue), b]


@pytest.mark.parametrize(
    ("matrix", "shares"),
    [(1, BT709), (2, BT601), (4, BT601), (5, BT601), (6, BT601), (7, SMPTE240), (9, BT2020)],
)
@pytest.mark.parametrize("color_range", [0, 1, 2])
def test_matrix_and_range_are_those_that_are_stated(
    tmp_path: Path, matrix: int, shares: tuple[float, float], color_range: int
) -> None:
    tags = {"colorspace": matrix, "color_range": color_range}
    path = write(tmp_path / "a.mp4", (Y, CB, CR), tags)
    expected = rgb_of(shares, is_full=color_range == 2)
    assert first_colour(path) == pytest.approx(expected, abs=2)


def test_fields_of_interlaced_frames_stay_woven(tmp_path: Path) -> None:
    image = np.full((48, 64, 3), 40, np.uint8)
    image[::2] = 200
    path = tmp_path / "a.mkv"
    options = {"flags": "+ilme+ildct", "q": "2", "bf": "0"}
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("mpeg2video", rate=25, options=options)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for number in range(3):
            frame = av.VideoFrame.from_ndarray(image, "rgb24")
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with av.open(str(path)) as container:
        assert next(container.decode(video=0)).interlaced_frame
    with open_video(path) as video:
        (_, pixels), *_ = video
    rows = np.asarray(pixels, float).mean(axis=(0, 2))
    assert rows[::2] == pytest.approx(np.full(24, 200), abs=15)
    assert rows[1::2] == pytest.approx(np.full(24, 40), abs=15)


# What lights a white sheet of paper (203 cd/m2) is stored as 58 % in PQ and 75 % in HLG.
@pytest.mark.parametrize(("transfer", "name", "share"), [(16, "PQ", 0.58), (18, "HLG", 0.75)])
def test_high_dynamic_range_is_mapped_with_a_note(
    tmp_path: Path, transfer: int, name: str, share: float
) -> None:
    tags = {"colorspace": 9, "color_primaries": 9, "color_trc": transfer, "color_range": 1}
    levels = (round(64 + 876 * share), 512, 512)
    settings: dict[str, Any] = {"codec": "libx265", "options": X265_LOSSLESS}
    path = write(tmp_path / "a.mp4", levels, tags, pix_fmt="yuv420p10le", **settings)
    assert first_colour(path) == pytest.approx([245] * 3, abs=2)
    with open_video(path) as video:
        assert video.notes == (f"{name} footage: mapped to the range of usual screens",)


@pytest.mark.parametrize("transfer", ["PQ", "HLG"])
def test_light_is_mapped_in_order_and_neutral_stays_neutral(transfer: str) -> None:
    ramp = np.linspace(0, 65535, 200).astype(np.uint16)
    grey = np.repeat(ramp[None, :, None], 3, axis=2)  # (1, 200, 3)
    shown = to_screen(grey, transfer)[0].astype(int)  # (200, 3)
    assert shown[0].tolist() == [0, 0, 0]
    assert shown[-1].min() >= 254
    assert (np.diff(shown[:, 1]) >= 0).all()
    assert np.ptp(shown, axis=1).max() <= 1
