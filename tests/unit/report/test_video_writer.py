from __future__ import annotations

import resource
from fractions import Fraction
from typing import TYPE_CHECKING

import av
import numpy as np
import pytest

from msqnet.errors import EmptyVideo, ShapeError
from msqnet.report.video_writer import VideoWriter
from msqnet.video.reader import open_video
from tests.unit.report.beeping import SOUND_RATE, heard, seen, write_beeping_video

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

MILLISECOND = 1e-3
AAC_FRAME_SECONDS = 1024 / SOUND_RATE
MP3_FRAME_SECONDS = 1152 / SOUND_RATE


def grey(level: int, height: int = 48, width: int = 64) -> np.ndarray:
    return np.full((height, width, 3), level, np.uint8)


def copy(source: Path, path: Path, start_seconds: float = 0.0, end_seconds: float = 1e9) -> Path:
    """Read a video, or an interval of it, and write it again with its sound."""
    with (
        open_video(source) as video,
        VideoWriter(
            path,
            width=video.width,
            height=video.height,
            audio_from=source,
            start_seconds=start_seconds,
        ) as writer,
    ):
        for time, pixels in video:
            if start_seconds <= time < end_seconds:
                writer.write(pixels.transpose(1, 2, 0), time)
        writer.close(min(video.duration_seconds, end_seconds))
    return path


def sound_codec(path: Path) -> str:
    with av.open(str(path)) as container:
        return container.streams.audio[0].codec_context.codec.canonical_name


def stream_seconds(path: Path) -> tuple[float, float]:
    """Lengths of pictures and sound."""
    with av.open(str(path)) as container:
        streams = (container.streams.video[0], container.streams.audio[0])
        video, audio = (float(item.duration * item.time_base) for item in streams)
        return video, audio


def test_every_frame_keeps_its_own_time_and_the_last_one_its_end(tmp_path: Path) -> None:
    times = [0.0, 0.033, 0.04, 1 / 3, 1.0, 2.5]
    path = tmp_path / "out.mp4"
    with VideoWriter(path, width=64, height=48) as writer:
        for number, time in enumerate(times):
            writer.write(grey(40 * number), time)
        writer.close(end_seconds=3.25)
    with open_video(path) as video:
        frames = list(video)
        assert video.pts_seconds == pytest.approx(times, abs=1e-5)
        assert video.duration_seconds == pytest.approx(3.25, abs=1e-5)
    levels = [round(float(pixels.mean())) for _, pixels in frames]
    assert levels == pytest.approx([40 * number for number in range(len(times))], abs=3)


def test_last_frame_lasts_as_long_as_the_one_before_by_default(tmp_path: Path) -> None:
    path = tmp_path / "out.mp4"
    with VideoWriter(path, width=64, height=48) as writer:
        for time in (0.0, 0.5, 0.75):
            writer.write(grey(0), time)
    with open_video(path) as video:
        assert video.duration_seconds == pytest.approx(1.0, abs=1e-5)


@pytest.mark.parametrize(
    "colour", [(255, 255, 255), (0, 0, 0), (230, 30, 30), (20, 200, 40), (30, 60, 220)]
)
def test_colours_are_kept_and_their_matrix_is_stated(
    tmp_path: Path, colour: tuple[int, int, int]
) -> None:
    path = tmp_path / "out.mp4"
    frame = np.empty((48, 64, 3), np.uint8)
    frame[:] = colour
    with VideoWriter(path, width=64, height=48) as writer:
        writer.write(frame, 0.0)
    with open_video(path) as video:
        (_, pixels), *_ = video
    with av.open(str(path)) as container:
        context = container.streams.video[0].codec_context
        assert (context.colorspace, context.color_range, context.pix_fmt) == (1, 1, "yuv420p")
    # Eight bits in limited range leave about one step for every 255 / 219.
    assert pixels.mean(axis=(1, 2)).tolist() == pytest.approx(colour, abs=3)


@pytest.mark.parametrize(("width", "height"), [(64, 48), (63, 48), (64, 47), (63, 47), (1, 1)])
def test_an_odd_side_is_repeated_by_one_pixel(tmp_path: Path, width: int, height: int) -> None:
    path = tmp_path / "out.mp4"
    frame = grey(0, height, width)
    frame[:, width // 2 :] = 255
    with VideoWriter(path, width=width, height=height) as writer:
        writer.write(frame, 0.0)
    with open_video(path) as video:
        assert (video.width, video.height) == (width + width % 2, height + height % 2)
        (_, pixels), *_ = video
    assert float(pixels[..., -1].mean()) > 250


def test_a_page_can_play_it_while_it_loads(tmp_path: Path) -> None:
    content = copy(write_beeping_video(tmp_path / "in.mp4"), tmp_path / "out.mp4").read_bytes()
    assert 0 < content.index(b"moov") < content.index(b"mdat")


def test_a_picture_that_comes_late_is_late_in_every_player(tmp_path: Path) -> None:
    path = tmp_path / "out.mp4"
    with VideoWriter(path, width=64, height=48) as writer:
        writer.write(grey(200), 1.5)
        writer.close(2.0)
    with open_video(path) as video:
        assert video.pts_seconds.tolist() == pytest.approx([0, 1.5])  # a black one first
        levels = [float(np.asarray(pixels).mean()) for _, pixels in video]
        assert video.duration_seconds == pytest.approx(2.0)
    assert levels == pytest.approx([0, 200], abs=3)


def test_every_two_seconds_there_is_a_frame_to_jump_to(tmp_path: Path) -> None:
    path = tmp_path / "out.mp4"
    with VideoWriter(path, width=64, height=48) as writer:
        for number in range(70):
            writer.write(grey(100), number / 10)
    with av.open(str(path)) as container:
        times = [
            float(packet.pts * packet.time_base)
            for packet in container.demux(video=0)
            if packet.is_keyframe and packet.pts is not None and packet.time_base is not None
        ]
    assert times == pytest.approx([0, 2, 4, 6])


@pytest.mark.parametrize("video_start", [0, Fraction(1, 2)], ids=["at once", "late pictures"])
@pytest.mark.parametrize(
    ("name", "codec", "written_codec"),
    [
        ("in.mp4", "aac", "aac"),
        ("in.mkv", "aac", "aac"),
        ("in.ts", "aac", "aac"),
        ("in.mp4", "libmp3lame", "mp3"),
        ("in.mkv", "libopus", "opus"),
        ("in.mp4", "ac3", "ac3"),
        ("in.mkv", "flac", "flac"),
        ("in.mov", "pcm_s16le", "aac"),
        ("in.ts", "mp2", "aac"),
    ],
)
def test_what_is_heard_while_the_picture_is_white_stays_there(
    tmp_path: Path, name: str, codec: str, written_codec: str, video_start: Fraction | int
) -> None:
    source = write_beeping_video(tmp_path / name, audio_codec=codec, video_start=video_start)
    path = copy(source, tmp_path / "out.mp4")
    # Encoders put some sound before the first sample, which moves the zero of some containers; the
    # start of an mp4 is in whole milliseconds.
    with open_video(source) as video:
        start = video.start_seconds
    assert start == pytest.approx(float(video_start), abs=MP3_FRAME_SECONDS)
    assert seen(path) == pytest.approx((start + 2, start + 3), abs=MILLISECOND)
    assert heard(path) == pytest.approx((start + 2, start + 3), abs=MILLISECOND)
    assert sound_codec(path) == written_codec
    assert all(seconds >= 4 - MP3_FRAME_SECONDS for seconds in stream_seconds(path))


def test_first_picture_of_an_avi_is_at_the_start_of_its_sound(tmp_path: Path) -> None:
    source = write_beeping_video(tmp_path / "in.avi", audio_codec="pcm_s16le")
    path = copy(source, tmp_path / "out.mp4")
    assert seen(path) == pytest.approx((2, 3), abs=1e-5)
    assert heard(path) == pytest.approx((2, 3), abs=MILLISECOND)


def test_a_stretch_of_a_video_starts_at_0_with_its_own_sound(tmp_path: Path) -> None:
    source = write_beeping_video(tmp_path / "in.mp4", video_start=Fraction(1, 2))
    path = copy(source, tmp_path / "out.mp4", start_seconds=2.0, end_seconds=4.0)
    assert seen(path) == pytest.approx((0.5, 1.5), abs=1e-5)
    assert heard(path) == pytest.approx((0.5, 1.5), abs=MILLISECOND)
    assert stream_seconds(path) == pytest.approx((2, 2), abs=AAC_FRAME_SECONDS)


def test_a_video_without_sound_and_a_folder_of_images_give_none(tmp_path: Path) -> None:
    silent = tmp_path / "silent.mp4"
    with VideoWriter(silent, width=64, height=48) as writer:
        writer.write(grey(0), 0.0)
    for number, source in enumerate((silent, tmp_path)):
        path = tmp_path / f"{number}.mp4"
        with VideoWriter(path, width=64, height=48, audio_from=source) as writer:
            writer.write(grey(0), 0.0)
        with av.open(str(path)) as container:
            assert [stream.type for stream in container.streams] == ["video"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
@pytest.mark.parametrize("num_frames", [0, 1, 60])
def test_an_interruption_leaves_no_trace_and_what_was_there(
    tmp_path: Path, error: type[BaseException], num_frames: int
) -> None:
    source = write_beeping_video(tmp_path / "in.mp4")
    path = tmp_path / "out.mp4"
    path.write_bytes(b"before")

    def fail() -> None:
        with VideoWriter(path, width=64, height=48, audio_from=source) as writer:
            for number in range(num_frames):
                writer.write(grey(number), number / 10)
            raise error

    with pytest.raises(error):
        fail()
    assert path.read_bytes() == b"before"
    assert sorted(item.name for item in tmp_path.iterdir()) == ["in.mp4", "out.mp4"]


@pytest.fixture
def small_disk() -> Iterator[Callable[[int], None]]:
    """Let no file grow beyond a number of bytes, which fails as a full disk does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    def limit(num_bytes: int) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, hard))

    yield limit
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_is_an_error_that_names_the_file_and_leaves_nothing(
    tmp_path: Path, small_disk: Callable[[int], None]
) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (30, 240, 320, 3), np.uint8)

    def write() -> None:
        with VideoWriter(tmp_path / "out.mp4", width=320, height=240) as writer:
            for number, frame in enumerate(noise):
                writer.write(frame, number / 10)

    small_disk(100_000)
    with pytest.raises(OSError, match=r"out\.mp4: the video cannot be written"):
        write()
    assert list(tmp_path.iterdir()) == []


def test_no_frame_is_an_error_and_no_file(tmp_path: Path) -> None:
    with (
        pytest.raises(ShapeError, match="no frame was written"),
        VideoWriter(tmp_path / "out.mp4", width=64, height=48),
    ):
        pass
    assert list(tmp_path.iterdir()) == []


def test_frames_of_another_size_and_times_that_do_not_rise_are_refused(tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "out.mp4", width=64, height=48) as writer:
        with pytest.raises(ShapeError, match=r"\(48, 64, 3\)"):
            writer.write(grey(0, 64, 48), 0.0)
        writer.write(grey(0), 1.0)
        for late in (1.0, 0.5):
            with pytest.raises(ShapeError, match=r"1\.0 s, expected a later one"):
                writer.write(grey(0), late)


def test_a_source_without_pictures_is_refused_before_anything_is_written(
    tmp_path: Path, write_audio: Callable[[str], Path]
) -> None:
    source = write_audio("in.m4a")
    with (
        pytest.raises(EmptyVideo),
        VideoWriter(tmp_path / "out.mp4", width=64, height=48, audio_from=source),
    ):
        pytest.fail("the source was accepted")
    assert list(tmp_path.iterdir()) == [source]
