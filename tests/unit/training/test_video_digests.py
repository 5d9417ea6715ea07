"""Digests of videos: what they depend on, and what is remembered of them."""

from __future__ import annotations

import hashlib
import json
import os
from typing import TYPE_CHECKING

import pytest

from msqnet.training.feature_files import VideoDigests

if TYPE_CHECKING:
    from pathlib import Path


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def test_digest_is_that_of_the_content(tmp_path: Path) -> None:
    video = tmp_path / "a.mp4"
    video.write_bytes(b"first")
    digests = VideoDigests(tmp_path / "videos.json")
    assert digests.of(video) == sha256(b"first")
    video.write_bytes(b"second")
    assert digests.of(video) == sha256(b"second")


def test_change_is_seen_with_size_and_time_set_back(tmp_path: Path) -> None:
    video = tmp_path / "a.mp4"
    video.write_bytes(b"first")
    digests = VideoDigests(tmp_path / "videos.json")
    digests.of(video)
    times = video.stat()
    video.write_bytes(b"other")
    os.utime(video, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert digests.of(video) == sha256(b"other")


def test_unchanged_videos_are_not_read_again(tmp_path: Path) -> None:
    video, memory = tmp_path / "a.mp4", tmp_path / "videos.json"
    video.write_bytes(b"first")
    digests = VideoDigests(memory)
    digests.of(video)
    digests.save()
    stored = json.loads(memory.read_text())
    stored[str(video)][1] = "0" * 64
    memory.write_text(json.dumps(stored))
    # Only who does not read the file can say so.
    assert VideoDigests(memory).of(video) == "0" * 64


def test_what_two_runs_found_out_is_kept_of_both(tmp_path: Path) -> None:
    memory = tmp_path / "videos.json"
    runs = [VideoDigests(memory) for _ in range(2)]
    for name, run in zip("ab", runs, strict=True):
        (tmp_path / name).write_bytes(name.encode())
        run.of(tmp_path / name)
        run.save()
    assert len(json.loads(memory.read_text())) == 2


@pytest.mark.parametrize("content", ["", "[1]", '{"a": 3}', '{"a": ["1 2 3", "abc"]}'])
def test_damaged_memory_is_made_anew(tmp_path: Path, content: str) -> None:
    video, memory = tmp_path / "a", tmp_path / "videos.json"
    video.write_bytes(b"first")
    memory.write_text(content)
    digests = VideoDigests(memory)
    assert digests.of(video) == sha256(b"first")
    digests.save()
    assert list(json.loads(memory.read_text())) == [str(video)]


def test_folder_of_frames_has_a_digest_of_all_its_images(tmp_path: Path) -> None:
    frames = tmp_path / "frames"
    frames.mkdir()
    for name in ("1.png", "2.png"):
        (frames / name).write_bytes(name.encode())
    digests = VideoDigests(tmp_path / "videos.json")
    found = [digests.of(frames)]
    (frames / "2.png").write_bytes(b"other")
    found.append(digests.of(frames))
    (frames / "2.png").rename(frames / "3.png")
    found.append(digests.of(frames))
    (frames / "notes.txt").write_text("no image")
    assert digests.of(frames) == found[-1]
    assert len(set(found)) == 3


def test_digests_are_written_while_many_videos_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    digests = VideoDigests(tmp_path / "videos.json")
    for number in range(3):
        (tmp_path / f"{number}.mp4").write_bytes(bytes([number]))
    digests.of(tmp_path / "0.mp4")
    assert not (tmp_path / "videos.json").exists()
    now = 31.0
    digests.of(tmp_path / "1.mp4")
    assert len(json.loads((tmp_path / "videos.json").read_text())) == 2
    digests.of(tmp_path / "2.mp4")
    assert len(json.loads((tmp_path / "videos.json").read_text())) == 2
