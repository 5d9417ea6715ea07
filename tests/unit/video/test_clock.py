"""The clock of files as players show it: late pictures, joined, raw, sparse and damaged streams."""

from __future__ import annotations

import io
import struct
from typing import TYPE_CHECKING, Any

import av
import pytest
from PIL import Image

from msqnet.config import WindowConfig
from msqnet.errors import ConfigError, UnreadableVideo
from msqnet.inference.predictor import Predictor
from msqnet.video.reader import open_video
from tests.fixtures.videos import HEIGHT, WIDTH, encode, encode_late, number_image, read_number
from tests.unit.inference.brightness import BrightnessBackend

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    WriteVideo = Callable[..., Path]

LONG_GROUPS = {"x264-params": "keyint=40:min-keyint=40:bframes=2:scenecut=0:b-adapt=0"}
TS_PACKET_BYTES = 188


def shown(path: Path, **settings: Any) -> tuple[list[float], list[int]]:
    """Times and numbers of all frames."""
    with open_video(path, **settings) as video:
        pairs = [(time, read_number(pixels)) for time, pixels in video]
    return [time for time, _ in pairs], [number for _, number in pairs]


@pytest.mark.parametrize(
    ("name", "settings", "offset"),
    [
        ("late.mp4", {}, 0.0),
        ("late.mov", {}, 0.0),
        ("late.mkv", {}, 0.0),
        ("late.webm", {"codec": "libvpx-vp9", "sound": "libopus"}, 0.0),
        ("late.ts", {"sound": "mp2"}, None),
        ("late.flv", {}, None),
    ],
)
def test_pictures_that_begin_after_the_sound_keep_their_times(
    tmp_path: Path, name: str, settings: dict[str, Any], offset: float | None
) -> None:
    path = encode_late(tmp_path / name, **settings)
    with open_video(path) as video:
        # Streams without a zero of their own start with the sound's first packet.
        assert video.start_seconds == pytest.approx(0.8, abs=1e-6 if offset == 0 else 0.03)
        assert video.end_seconds == pytest.approx(video.start_seconds + 1)
        assert video.duration_seconds == pytest.approx(3.0, abs=0.05)
        frames = video.frames_at([0.0, video.start_seconds + 0.25, 2.9])
        assert [read_number(pixels) for pixels in frames.pixels] == [0, 2, 9]
        assert video.shown_intervals == [(video.start_seconds, video.end_seconds)]
        assert "there is no picture at 0.0" not in " ".join(video.notes[1:])
        assert f"{video.start_seconds:.3f}" in video.notes[0]
        assert not video.is_damaged


@pytest.mark.parametrize(
    ("name", "first_seconds"),
    [("a.mp4", 0.8), ("a.mkv", 0.8), ("a.ts", 0.0), ("a.flv", 0.0)],
)
def test_late_pictures_without_sound_are_late_where_the_format_has_a_zero(
    tmp_path: Path, name: str, first_seconds: float
) -> None:
    times, numbers = shown(encode_late(tmp_path / name, sound=None))
    assert times == pytest.approx([first_seconds + number / 10 for number in range(10)])
    assert numbers == list(range(10))


@pytest.mark.parametrize("codec", ["libx264", "mpeg2video"])
@pytest.mark.parametrize("count", [20, 8])
def test_joined_recordings_follow_one_another(tmp_path: Path, codec: str, count: int) -> None:
    parts = []
    for part in range(2):
        images = [number_image(part * count + number) for number in range(count)]
        offset = {"output_ts_offset": f"{part * 0.013}"}
        path = tmp_path / f"{part}.ts"
        encode(path, images, codec=codec, rate=25, gop=10, container_options=offset)
        parts.append(path.read_bytes())
    joined = tmp_path / "joined.ts"
    joined.write_bytes(b"".join(parts))

    times, numbers = shown(joined)

    assert numbers == list(range(2 * count))
    assert times == pytest.approx([number / 25 for number in range(2 * count)], abs=1e-6)
    with open_video(joined) as video:
        assert video.duration_seconds == pytest.approx(2 * count / 25)
        assert not video.is_damaged
        assert "goes back 1 time(s)" in video.notes[0]
        assert f"at {count / 25:.3f} s" in video.notes[0]


def test_jump_of_the_clock_is_noted_and_its_time_has_no_picture(tmp_path: Path) -> None:
    parts = []
    for part in range(2):
        images = [number_image(part * 20 + number) for number in range(20)]
        pts = [number + 600 * part for number in range(20)]
        path = tmp_path / f"{part}.ts"
        parts.append(encode(path, images, pts=pts, gop=10, options={"bf": "0"}).read_bytes())
    joined = tmp_path / "joined.ts"
    joined.write_bytes(b"".join(parts))
    with open_video(joined) as video:
        assert [read_number(pixels) for _, pixels in video] == list(range(40))
        assert video.end_seconds == pytest.approx(62.0)
        assert video.shown_intervals == [pytest.approx((0, 2)), pytest.approx((60, 62))]
        assert "jumps, without pictures at 2.000 to 60.000 s (58.000 s)" in video.notes[0]
        assert not video.is_damaged


def test_loss_in_the_middle_is_damage_with_its_seconds(
    tmp_path: Path, write_video: WriteVideo
) -> None:
    content = write_video("whole.ts", num_frames=120, options=LONG_GROUPS).read_bytes()
    middle = len(content) // TS_PACKET_BYTES // 2
    path = tmp_path / "hole.ts"
    place = TS_PACKET_BYTES * middle
    path.write_bytes(content[:place] + content[place + 30 * TS_PACKET_BYTES :])
    with open_video(path) as video:
        times = [time for time, _ in video]
        numbers = [read_number(pixels) for _, pixels in video]
        assert video.is_damaged
        assert "pictures are lost at " in video.notes[0]
        assert video.end_seconds == pytest.approx(12.0)
        assert len(video.shown_intervals) >= 2
    assert times == sorted(times)
    whole = [number for time, number in zip(times, numbers, strict=True) if time > 8.05]
    assert whole == list(range(120 - len(whole), 120))  # from the next key frame on


def jpegs(count: int) -> list[bytes]:
    found = []
    for number in range(count):
        buffer = io.BytesIO()
        Image.fromarray(number_image(number)).save(buffer, "JPEG", quality=95)
        found.append(buffer.getvalue())
    return found


def write_avi(path: Path, chunks: list[bytes], fps: int, num_announced: int | None = None) -> Path:
    """A motion JPEG AVI; an empty chunk is a picture that the camera did not store."""

    def chunk(tag: bytes, data: bytes) -> bytes:
        return tag + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2)

    def listed(tag: bytes, data: bytes) -> bytes:
        return chunk(b"LIST", tag + data)

    count, size = num_announced or len(chunks), (WIDTH, HEIGHT)
    main = struct.pack("<14I", 10**6 // fps, 0, 0, 16, count, 0, 1, 10**5, *size, 0, 0, 0, 0)
    numbers = (0, 0, 0, 0, 1, fps, 0, count, 10**5, 2**32 - 1, 0, 0, 0, *size)
    stream = b"vidsMJPG" + struct.pack("<IHHIIIIIIIIHHHH", *numbers)
    picture = struct.pack("<IiiHHIIiiII", 40, *size, 1, 24, 0x47504A4D, 0, 0, 0, 0, 0)
    streams = listed(b"strl", chunk(b"strh", stream) + chunk(b"strf", picture))
    entries, place = b"", 4
    for data in chunks:
        entries += b"00dc" + struct.pack("<III", 16, place, len(data))
        place += 8 + len(data) + len(data) % 2
    body = b"AVI " + listed(b"hdrl", chunk(b"avih", main) + streams)
    body += listed(b"movi", b"".join(chunk(b"00dc", data) for data in chunks))
    path.write_bytes(chunk(b"RIFF", body + chunk(b"idx1", entries)))
    return path


def test_empty_chunks_of_avi_repeat_the_picture_before(tmp_path: Path) -> None:
    images = jpegs(8)
    chunks = [*images[:4], b"", *images[4:], b"", b"", b""]
    path = write_avi(tmp_path / "sparse.avi", chunks, fps=4)
    with open_video(path) as video:
        assert not video.is_damaged
        assert video.duration_seconds == 3.0
        frames = video.frames_at([1.1, 1.3, 2.9])
        assert [read_number(pixels) for pixels in frames.pixels] == [3, 4, 7]
        assert video.notes == ()
    short = write_avi(tmp_path / "short.avi", chunks, fps=4, num_announced=20)
    with open_video(short) as video:
        assert video.is_damaged  # eight chunks are not there


@pytest.mark.parametrize(
    ("name", "settings", "rate"),
    [
        ("a.h264", {"rate": 50}, 50),
        ("a.hevc", {"rate": 50, "codec": "libx265"}, 50),
        ("a.m2v", {"rate": 30, "codec": "mpeg2video"}, 30),
    ],
)
def test_raw_stream_has_the_rate_of_its_headers(
    write_video: WriteVideo, name: str, settings: dict[str, Any], rate: int
) -> None:
    if settings.get("codec") == "libx265":
        settings["options"] = {"x265-params": "log-level=none"}
    path = write_video(name, num_frames=10, **settings)
    times, numbers = shown(path, fps=10)
    assert times == pytest.approx([number / rate for number in range(10)])
    assert numbers == list(range(10))
    with open_video(path) as video:
        assert video.duration_seconds == pytest.approx(10 / rate)
        assert video.notes == ()


@pytest.mark.parametrize("kind", ["stream", "folder"])
def test_rate_that_nothing_states_is_an_option_or_assumed_with_a_note(
    tmp_path: Path, kind: str
) -> None:
    path = tmp_path / "a.mjpeg"
    if kind == "stream":
        path.write_bytes(b"".join(jpegs(10)))
    else:
        path.mkdir()
        for number, content in enumerate(jpegs(10)):
            (path / f"{number}.jpg").write_bytes(content)
    assert shown(path, fps=5)[0] == pytest.approx([number / 5 for number in range(10)])
    with open_video(path, fps=5) as video:
        assert video.duration_seconds == 2.0
        assert video.notes == ()
    with open_video(path) as video:
        assert video.duration_seconds == 0.4
        assert "25 assumed; --fps" in video.notes[0]
    result = Predictor(BrightnessBackend(), WindowConfig(fps=2.0))(path)
    assert (result.duration_seconds, result.fps) == (5.0, 2.0)
    with pytest.raises(ConfigError, match="fps 0"):
        open_video(path, fps=0)


def test_error_of_a_library_that_nobody_foresaw_names_the_file(
    write_video: WriteVideo, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_video()

    def fail(*_: Any, **__: Any) -> None:
        raise ValueError("99 is not a valid Type")

    monkeypatch.setattr(av, "open", fail)
    with pytest.raises(UnreadableVideo, match=r"clip\.mp4: unexpected ValueError: 99 .*\.log"):
        open_video(path)


def test_animated_avif_is_read_as_a_film(write_video: WriteVideo) -> None:
    path = write_video(
        "a.avif", num_frames=12, rate=25, codec="libsvtav1", options={"preset": "12", "crf": "10"}
    )
    with av.open(str(path)) as container:
        assert len(container.streams.video) == 2
    assert shown(path)[1] == list(range(12))


def test_animated_png_keeps_its_own_rate(tmp_path: Path) -> None:
    images = [Image.fromarray(number_image(number)) for number in range(6)]
    path = tmp_path / "a.apng"
    images[0].save(path, "PNG", save_all=True, append_images=images[1:], duration=200)
    assert shown(path) == (pytest.approx([number / 5 for number in range(6)]), list(range(6)))
    with open_video(path) as video:
        assert video.duration_seconds == pytest.approx(1.2)
        assert video.notes == ()


def test_a_long_wait_for_the_next_picture_is_noted(tmp_path: Path) -> None:
    pts = [*range(30), *range(40, 70)]
    images = [number_image(number) for number in range(60)]
    path = encode(tmp_path / "a.flv", images, pts=pts, options={"bf": "0"})
    with open_video(path) as video:
        assert video.notes == ("no new picture comes for long at 2.900 to 4.000 s (1.100 s)",)
        assert not video.is_damaged
    path = encode(tmp_path / "b.flv", images, pts=[2 * n + n % 2 for n in range(60)])
    with open_video(path) as video:
        assert video.notes == ()
