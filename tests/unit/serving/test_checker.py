from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from fractions import Fraction
from typing import TYPE_CHECKING

import pytest

from msqnet.config import ServerLimits
from msqnet.errors import EmptyVideo, UnreadableVideo, VideoError
from msqnet.serving.checker import Checker
from msqnet.serving.inspection import inspect_video
from msqnet.serving.request_errors import RequestError
from tests.fixtures.bad_videos import huge_header, resize_header

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

_LIMITS = ServerLimits()


@pytest.fixture(scope="module")
def checker() -> Iterator[Checker]:
    running = Checker(ServerLimits(duration_seconds=10, check_seconds=60))
    yield running
    running.stop()


def test_tells_size_length_and_codec(write_video: Callable[..., Path]) -> None:
    facts = inspect_video(write_video("clip.mp4", 12, rate=10), _LIMITS)

    assert (facts.width, facts.height, facts.num_frames) == (128, 80, 12)
    assert facts.duration_seconds == pytest.approx(1.2)
    assert facts.codec == "h264"


@pytest.mark.parametrize(
    ("name", "codec", "pix_fmt", "expected"),
    [
        ("clip.mp4", "libx264", "yuv420p", "video/mp4"),
        ("clip.mov", "libx264", "yuv420p", "video/mp4"),
        ("clip.webm", "libvpx-vp9", "yuv420p", "video/webm"),
        ("clip.mp4", "libx264", "yuv444p", None),
        ("clip.mp4", "mpeg4", "yuv420p", None),
        ("clip.avi", "mjpeg", "yuvj420p", None),
        ("clip.mkv", "ffv1", "yuv420p", None),
    ],
)
def test_knows_what_browsers_play(
    write_video: Callable[..., Path], name: str, codec: str, pix_fmt: str, expected: str | None
) -> None:
    facts = inspect_video(write_video(name, 6, codec=codec, pix_fmt=pix_fmt), _LIMITS)

    assert facts.media_type == expected


def test_name_does_not_count(write_video: Callable[..., Path]) -> None:
    path = write_video("clip.mp4")
    renamed = path.rename(path.with_name("readme.txt"))

    assert inspect_video(renamed, _LIMITS).media_type == "video/mp4"


@pytest.mark.parametrize(
    ("limits", "limit", "found"),
    [
        (ServerLimits(duration_seconds=1.1), "duration_seconds", 1.2),
        (ServerLimits(num_frames=11), "num_frames", 12),
        (ServerLimits(frame_pixels=128 * 80 - 1), "frame_pixels", 128 * 80),
    ],
)
def test_names_the_limit_and_what_was_found(
    write_video: Callable[..., Path], limits: ServerLimits, limit: str, found: float
) -> None:
    with pytest.raises(RequestError, match=limit) as caught:
        inspect_video(write_video("clip.mp4", 12, rate=10), limits)

    detail = caught.value.detail
    assert detail.limit == limit
    assert detail.allowed == getattr(limits, limit)
    assert detail.found == pytest.approx(found)


def test_length_without_times_follows_from_the_frames(write_video: Callable[..., Path]) -> None:
    path = write_video("clip.y4m", 50, codec="wrapped_avframe", rate=Fraction(25))

    assert inspect_video(path, _LIMITS).duration_seconds == pytest.approx(2.0)


@pytest.mark.parametrize("content", [b"", b"Dear sir,\n" * 50, b"\x00" * 5000, b"GIF89a"])
def test_what_is_no_video_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "clip.mp4"
    path.write_bytes(content)

    with pytest.raises(VideoError):
        inspect_video(path, _LIMITS)


def test_playlist_that_names_other_files_is_refused(
    tmp_path: Path, write_video: Callable[..., Path]
) -> None:
    write_video("clip.ts", codec="mpeg2video")
    path = tmp_path / "clip.mp4"
    path.write_text("#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\nclip.ts\n#EXT-X-ENDLIST\n")

    with pytest.raises(UnreadableVideo):
        inspect_video(path, _LIMITS)


def test_sound_without_pictures_is_refused(write_audio: Callable[[str], Path]) -> None:
    with pytest.raises(EmptyVideo, match="no video stream"):
        inspect_video(write_audio("clip.m4a"), _LIMITS)


def test_damaged_end_is_left_to_the_prediction(write_video: Callable[..., Path]) -> None:
    path = write_video("clip.mp4", 60, container_options={"movflags": "faststart"})
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 2 // 3])

    assert 0 < inspect_video(path, _LIMITS).num_frames < 60


def test_file_without_its_index_is_refused(write_video: Callable[..., Path]) -> None:
    path = write_video("clip.mp4", 60)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])

    with pytest.raises(UnreadableVideo):
        inspect_video(path, _LIMITS)


def test_announced_large_frame_is_refused_from_the_header(tmp_path: Path) -> None:
    path = huge_header(tmp_path / "clip.y4m", 12_000, 12_000)

    with pytest.raises(RequestError, match=r"12000x12000 .* at most 8294400 \(frame_pixels\)"):
        inspect_video(path, _LIMITS)


def test_frame_too_large_for_any_decoder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnreadableVideo):
        inspect_video(huge_header(tmp_path / "clip.y4m", 20_000, 20_000), _LIMITS)


def test_checker_survives_what_announces_giant_frames(
    checker: Checker, tmp_path: Path, write_video: Callable[..., Path]
) -> None:
    good = write_video("good.mp4")
    # The pictures themselves are small, and that is what counts.
    lying = resize_header(good, tmp_path / "lying.mp4", 20_000, 20_000)
    giant = huge_header(tmp_path / "giant.y4m", 20_000, 20_000)

    with pytest.raises(RequestError):
        checker.submit(giant, "giant.y4m").result()
    assert checker.submit(lying, "lying.mp4").result().width == 128
    assert checker.submit(good, "good.mp4").result().width == 128


def test_messages_hold_the_clients_name_and_not_the_path(checker: Checker, tmp_path: Path) -> None:
    path = tmp_path / "video"
    path.write_bytes(b"no video")

    with pytest.raises(RequestError, match=re.escape("holiday.mp4: not a video")) as caught:
        checker.submit(path, "holiday.mp4").result()

    assert str(path) not in str(caught.value)


def test_checker_that_hangs_is_replaced(write_video: Callable[..., Path]) -> None:
    path = write_video("clip.mp4")
    checker = Checker(ServerLimits(check_seconds=2))
    checker.submit(path, "clip.mp4").result()
    first = checker.child.pid
    assert first is not None
    os.kill(first, signal.SIGSTOP)

    with pytest.raises(RequestError, match=r"clip\.mp4: opening it took longer than 2 s") as caught:
        checker.submit(path, "clip.mp4").result()

    assert caught.value.detail.code == "check_failed"
    assert checker.submit(path, "clip.mp4").result().num_frames == 12
    assert checker.child.pid != first
    checker.stop()


def test_the_server_itself_loads_no_decoder() -> None:
    code = "import sys, msqnet.serving.app; print({'av', 'numpy', 'torch'} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
