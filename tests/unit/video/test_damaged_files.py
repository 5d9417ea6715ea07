from __future__ import annotations

import logging
import struct
import zlib
from typing import TYPE_CHECKING, Any

import av
import pytest

from msqnet.errors import EmptyVideo, UnreadableVideo
from msqnet.video.reader import open_video
from tests.fixtures.videos import encode, number_image, read_number

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    WriteVideo = Callable[..., Path]

SHORT_GROUPS = {"x264-params": "keyint=6:min-keyint=6:bframes=2:scenecut=0"}
INDEX_IN_FRONT = {"movflags": "faststart"}


def cut(path: Path, packet: int) -> Path:
    """End the file inside a packet, counted in file order."""
    place, size = packet_places(path)[packet]
    path.write_bytes(path.read_bytes()[: place + size // 2])
    return path


def packet_places(path: Path) -> list[tuple[int, int]]:
    with av.open(str(path)) as container:
        return [(p.pos, p.size) for p in container.demux(video=0) if p.size]


def overwrite_packets(path: Path, first: int, last: int) -> Path:
    """Overwrite the data of packets ``first`` to ``last - 1``, counted in file order."""
    content = bytearray(path.read_bytes())
    for place, size in packet_places(path)[first:last]:
        content[place : place + size] = b"\xff" * size
    path.write_bytes(content)
    return path


@pytest.fixture
def truncated(write_video: WriteVideo) -> Path:
    path = write_video(
        "cut.mp4", num_frames=60, options=SHORT_GROUPS, container_options=INDEX_IN_FRONT
    )
    return cut(path, 42)


def test_truncated_file_gives_the_part_that_is_there(
    truncated: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING), open_video(truncated) as video:
        assert video.is_damaged
        assert 42 <= video.num_frames <= 43  # the frame that is half there may decode
        assert video.duration_seconds == pytest.approx(video.num_frames / 10)
        shown = [read_number(pixels) for _, pixels in video]
        assert shown == list(range(video.num_frames))
    assert len(caplog.records) == 1
    assert "cut.mp4: damaged " in caplog.text
    assert f"{video.num_frames} of 60 frames can be read" in caplog.text


def test_truncated_file_refuses_what_is_lost(truncated: Path) -> None:
    with open_video(truncated) as video:
        last = video.num_frames - 1
        assert read_number(video.frames_at([video.duration_seconds - 0.05]).pixels[0]) == last
        for ask in (
            lambda: video.frames_at([0.0, video.duration_seconds + 0.01]),
            lambda: video.frames_by_index([last + 1]),
            lambda: list(video.stream_at([0.0, 5.9])),
        ):
            with pytest.raises(UnreadableVideo, match=rf"cut.mp4: .* only {last + 1} of 60 frames"):
                ask()


def test_stream_yields_good_frames_first(truncated: Path) -> None:
    found = []

    def collect() -> None:
        for _, pixels in video.stream_at(n / 10 for n in range(60)):
            found.append(read_number(pixels))

    with open_video(truncated) as video:
        with pytest.raises(UnreadableVideo):
            collect()
        assert found == list(range(video.num_frames))


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("cut.mkv", {"options": SHORT_GROUPS}),
        ("cut.ts", {"options": SHORT_GROUPS}),
        ("cut.avi", {"codec": "mjpeg", "pix_fmt": "yuvj420p"}),
        ("cut_b.avi", {"codec": "mpeg4", "options": {"bf": "2"}, "gop": 6}),
        ("cut.gif", {"codec": "gif", "pix_fmt": "rgb8"}),
    ],
)
@pytest.mark.parametrize("packet", [25, 42])
def test_truncated_file_without_an_index_in_front_gives_what_it_holds(
    write_video: WriteVideo, name: str, settings: dict[str, Any], packet: int
) -> None:
    path = cut(write_video(name, num_frames=60, **settings), packet)
    with open_video(path) as video:
        shown = [read_number(pixels) for _, pixels in video]
        assert packet - 2 <= video.num_frames <= packet + 1
        # The packet that is half there may decode, and so may those that refer to it.
        assert shown[: packet - 2] == list(range(packet - 2))
        assert len(shown) == video.num_frames


def test_damage_that_only_decoding_shows_shortens_the_video(
    write_video: WriteVideo, caplog: pytest.LogCaptureFixture
) -> None:
    path = write_video("tail.mp4", num_frames=60, options=SHORT_GROUPS)
    overwrite_packets(path, 42, 60)
    with open_video(path) as video, caplog.at_level(logging.WARNING):
        assert video.num_frames == 60
        assert read_number(video.frames_at([3.0]).pixels[0]) == 30
        with pytest.raises(UnreadableVideo, match=r"tail.mp4: 5.900 s cannot be read"):
            video.frames_at([5.9])
        assert video.is_damaged
        assert video.num_frames == 42
        assert [read_number(pixels) for _, pixels in video] == list(range(42))
        with pytest.raises(UnreadableVideo):
            video.frames_at([5.9])
    assert [record.levelname for record in caplog.records] == ["WARNING"]


def test_iterating_ends_where_decoding_ends(write_video: WriteVideo) -> None:
    path = write_video("tail.mp4", num_frames=60, options=SHORT_GROUPS)
    overwrite_packets(path, 42, 60)
    with open_video(path) as video:
        assert [read_number(pixels) for _, pixels in video] == list(range(42))
        assert video.num_frames == 42


def test_a_hole_in_the_middle_never_gives_a_wrong_frame(write_video: WriteVideo) -> None:
    path = write_video("hole.mp4", num_frames=60, options=SHORT_GROUPS)
    overwrite_packets(path, 24, 30)
    with open_video(path) as video:
        frames = video.frames_at([n / 10 for n in range(60)])
        shown = [read_number(pixels) for pixels in frames.pixels]
    assert shown[:24] == list(range(24))
    assert shown[30:] == list(range(30, 60))
    assert frames.pts_seconds[30:].tolist() == pytest.approx([n / 10 for n in range(30, 60)])


@pytest.mark.parametrize("name", ["hole.mp4", "hole.mkv", "hole.avi"])
def test_loss_in_the_middle_is_damage_with_its_seconds(write_video: WriteVideo, name: str) -> None:
    settings = {"codec": "mjpeg", "pix_fmt": "yuvj420p"} if name.endswith("avi") else {}
    path = write_video(name, num_frames=60, **(settings or {"options": SHORT_GROUPS}))
    overwrite_packets(path, 24, 30)
    with open_video(path) as video:
        assert len(list(video)) < 60
        assert video.is_damaged
        assert "pictures are lost at 2.400 to " in video.notes[0]
        (before, after) = video.shown_intervals
        assert before == pytest.approx((0, 2.4))
        assert after[1] == pytest.approx(6)


def test_file_whose_packets_all_fail_is_unreadable(write_video: WriteVideo) -> None:
    path = write_video("noise.mp4", num_frames=10, options=SHORT_GROUPS)
    overwrite_packets(path, 0, 10)
    with pytest.raises(UnreadableVideo, match=r"noise\.mp4: .*decode"):
        open_video(path)


def test_mp4_without_its_index_is_unreadable(write_video: WriteVideo) -> None:
    path = cut(write_video("no_index.mp4", num_frames=60), 40)
    with pytest.raises(UnreadableVideo, match=r"no_index\.mp4: not a video that can be opened"):
        open_video(path)


def test_audio_alone_is_an_empty_video(write_audio: Callable[[str], Path]) -> None:
    for name in ("sound.m4a", "sound.mp4"):
        with pytest.raises(EmptyVideo, match=rf"{name}: no video stream \(found 1 audio"):
            open_video(write_audio(name))


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UnreadableVideo, match=r"nowhere\.mp4: no such file"):
        open_video(tmp_path / "nowhere.mp4")


@pytest.mark.parametrize(
    ("name", "content", "cause"),
    [
        ("zero.mp4", b"", "0 bytes"),
        ("text.mp4", b"this is not a video\n" * 50, "not a video that can be opened"),
        ("text.txt", b"neither is this\n" * 50, "not a video"),
        ("table.csv", b"path,labels\na.mp4,walking\n", "not a video"),
        ("list.m3u8", b"#EXTM3U\n#EXTINF:1,\nother.ts\n", "not a video"),
        ("page.mp4", b"<!DOCTYPE html><html><body>404</body></html>", "not a video"),
        ("zeros.mp4", bytes(5000), "not a video"),
    ],
)
def test_what_is_no_video_is_refused_with_its_name_and_cause(
    tmp_path: Path, name: str, content: bytes, cause: str
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(UnreadableVideo, match=rf"{name}: .*{cause}"):
        open_video(path)


def test_list_of_other_files_is_not_followed(tmp_path: Path, write_video: WriteVideo) -> None:
    write_video("other.ts")
    (tmp_path / "list.mp4").write_bytes(
        b"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:1,\nother.ts\n#EXT-X-ENDLIST\n"
    )
    (tmp_path / "concat.mp4").write_bytes(b"ffconcat version 1.0\nfile other.ts\n")
    for name in ("list.mp4", "concat.mp4"):
        with pytest.raises(UnreadableVideo, match=name):
            open_video(tmp_path / name)


def png_header(width: int, height: int) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return (
        b"\x89PNG\r\n\x1a\n"
        + head
        + chunk(b"IDAT", zlib.compress(bytes(100)))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("size", [(16385, 16), (40000, 40000)])
def test_frames_beyond_the_size_limit_are_refused(tmp_path: Path, size: tuple[int, int]) -> None:
    path = tmp_path / "huge.png"
    path.write_bytes(png_header(*size))
    with pytest.raises(UnreadableVideo, match=r"huge\.png"):
        open_video(path)


@pytest.mark.parametrize("gop", [6, 24])
def test_edit_list_that_hides_the_first_frames_is_honoured(tmp_path: Path, gop: int) -> None:
    images = [number_image(n) for n in range(24)]
    path = encode(tmp_path / "edited.mp4", images, options={"bf": "0"}, gop=gop)
    content = path.read_bytes()
    place = content.index(b"elst") + 12  # version, flags and count, then duration, media time
    with av.open(str(path)) as container:
        ticks_a_second = 1 / container.streams.video[0].time_base
    num_ticks = round(ticks_a_second * 8 / 10)
    path.write_bytes(content[: place + 4] + struct.pack(">i", num_ticks) + content[place + 8 :])
    with open_video(path) as video:
        assert [read_number(pixels) for _, pixels in video] == list(range(8, 24))
        assert read_number(video.frames_at([1.0]).pixels[0]) == 18
        assert not video.is_damaged
        assert video.notes == ()


def test_stream_joined_in_the_middle_of_a_group_starts_where_it_decodes(
    write_video: WriteVideo,
) -> None:
    path = write_video("joined.ts", num_frames=60, options=SHORT_GROUPS)
    content = path.read_bytes()
    place, _ = packet_places(path)[15]
    table_end = packet_places(path)[0][0]
    path.write_bytes(content[:table_end] + content[place:])
    with open_video(path) as video:
        shown = [read_number(pixels) for _, pixels in video]
        assert read_number(video.frames_by_index([20]).pixels[0]) == shown[20]
        assert video.start_seconds == pytest.approx(0.4)  # the first packet's is 0
        assert video.is_damaged
        assert "pictures are lost at 0.000 to 0.400 s" in " ".join(video.notes)
    assert shown[-42:] == list(range(18, 60))


def test_raw_stream_of_noise_is_unreadable(tmp_path: Path, write_video: WriteVideo) -> None:
    content = write_video("good.h264", num_frames=1).read_bytes()
    path = tmp_path / "noise.h264"
    path.write_bytes(content[:40] + bytes(range(7, 256)) * 20)
    with pytest.raises(UnreadableVideo, match=r"noise\.h264"):
        open_video(path)


def test_container_without_a_frame_is_an_empty_video(tmp_path: Path) -> None:
    path = tmp_path / "nothing.avi"
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("mjpeg", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuvj420p"
        container.start_encoding()
    with pytest.raises(EmptyVideo, match=r"nothing\.avi: .*no frame"):
        open_video(path)
