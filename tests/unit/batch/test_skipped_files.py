from __future__ import annotations

import os
import zipfile
from pathlib import Path

import av
import numpy as np
import pytest

from msqnet.batch.runners import ResultsFolder
from msqnet.cli.console import show_skipped
from msqnet.inference.results import IndexRow, find_videos, read_index, skipped_note
from msqnet.video.reader import open_video


def touch(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()


def names(folder: Path) -> list[str]:
    return [video.name for video in find_videos([folder])]


@pytest.mark.parametrize(
    ("name", "format_name", "codec"),
    [
        ("a.m2ts", "mpegts", "mpeg2video"),
        ("a.M2T", "mpegts", "mpeg4"),
        ("a.vob", "vob", "mpeg2video"),
        ("a.h264", "h264", "libx264"),
        ("a.3g2", "3g2", "mpeg4"),
        ("a.DIVX", "avi", "mpeg4"),
        ("a.nut", "nut", "mpeg4"),
        ("a.amv", "matroska", "mpeg4"),
        ("a.seq", "avi", "mpeg4"),
        ("a", "mp4", "mpeg4"),
    ],
)
def test_every_file_that_ffmpeg_takes_for_video_is_found(
    tmp_path: Path, name: str, format_name: str, codec: str
) -> None:
    with av.open(str(tmp_path / name), "w", format=format_name) as container:
        stream = container.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for _ in range(3):
            frame = av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8), "rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))

    assert names(tmp_path) == [name]


def test_what_is_no_video_is_counted_and_never_opened_as_one(tmp_path: Path) -> None:
    text = "[1;31mHello, world\n" * 50
    for name in ("a.txt", "a.nfo", "a.diz", "a.ans", "a.m3u8", "README", "a.csv"):
        (tmp_path / name).write_text(text)
    (tmp_path / "latin.nfo").write_bytes(text.encode() + b"\xe4\xf6\0" * 9)
    (tmp_path / "cat.ffconcat").write_text("ffconcat version 1.0\nfile a.mp4\n")
    (tmp_path / "tables.db").write_bytes(bytes.fromhex("d0cf11e0a1b11ae1") + bytes(5000))
    (tmp_path / "noise.bin").write_bytes(np.random.default_rng(0).bytes(5000))
    (tmp_path / "empty.xyz").touch()
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as packed:
        packed.writestr("a", "x" * 1000)
    image = av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8), "rgb24").to_image()
    for suffix in ("png", "jpg", "ico", "pcx", "tga"):
        image.save(tmp_path / f"picture.{suffix}")
    touch(tmp_path / "a.mp4")
    os.mkfifo(tmp_path / "pipe")
    skipped: list[str] = []

    found = find_videos([tmp_path], skipped)

    assert [job.name for job in found] == ["a.mp4"]
    assert len(skipped) == len(list(tmp_path.iterdir())) - 1
    note = skipped_note(skipped)
    assert "19 files are no videos and were skipped: 2 without a suffix, 2 .nfo, 1 .ans" in note


def test_a_folder_of_pictures_may_hold_a_few_other_files(tmp_path: Path) -> None:
    for number in range(3):
        touch(tmp_path / "frames" / f"{number}.TIF")
    for name in ("Thumbs.db", "notes.txt"):
        touch(tmp_path / "frames" / name)
    touch(tmp_path / "page" / "logo.png")
    touch(tmp_path / "page" / "index.html")
    skipped: list[str] = []

    found = find_videos([tmp_path], skipped)

    assert [job.name for job in found] == ["frames"]
    assert {Path(path).name for path in skipped} == {
        *("Thumbs.db", "notes.txt", "logo.png", "index.html")
    }


def test_skipped_files_are_counted_in_a_line_and_listed_in_the_index(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    index = ResultsFolder(tmp_path)

    show_skipped(["in/a.txt", "in/b.txt", "in/c"], index)
    show_skipped([], index)

    assert capsys.readouterr().err == (
        "msqnet: note: 3 files are no videos and were skipped: 2 .txt, 1 without a suffix; "
        "--list-skipped lists them in index.csv\n"
    )
    assert read_index(tmp_path / "index.csv") == [
        IndexRow(path, "", "skipped", "", "no video") for path in ("in/a.txt", "in/b.txt", "in/c")
    ]


def test_tiff_pictures_are_frames(tmp_path: Path) -> None:
    for number in range(3):
        pixels = np.full((48, 64, 3), number * 100, np.uint8)
        av.VideoFrame.from_ndarray(pixels, "rgb24").to_image().save(tmp_path / f"{number}.tif")

    with open_video(tmp_path) as video:
        frames = video.frames_by_index([0, 1, 2]).pixels

    assert frames.mean(axis=(1, 2, 3)).round().tolist() == [0, 100, 200]
