"""Frames of every real clip, bit for bit as plain reading of the whole file gives them."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

import numpy as np
import pytest

from msqnet.video.reader import VIDEO_SUFFIXES, open_video
from tests.fixtures.videos import read_everything

if TYPE_CHECKING:
    from pathlib import Path

SHORT_SIDE_PIXELS = 128
NUM_WANTED = 8


def real_clips(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in VIDEO_SUFFIXES)


def assert_exact(path: Path) -> None:
    reference = read_everything(path, SHORT_SIDE_PIXELS)
    rng = np.random.default_rng(zlib.crc32(path.name.encode()))
    wanted = sorted(rng.integers(0, len(reference), NUM_WANTED).tolist())
    late = int(rng.integers(len(reference) // 2, len(reference)))
    expected = np.stack([reference[n] for n in wanted]).transpose(0, 3, 1, 2)
    with open_video(path, short_side_pixels=SHORT_SIDE_PIXELS) as video:
        assert video.num_frames == len(reference), path
        assert np.all(np.diff(video.pts_seconds) > 0), path
        times = video.pts_seconds[wanted].tolist()
        assert np.array_equal(video.frames_by_index(wanted).pixels, expected), path
        assert np.array_equal(video.frames_at(times[::-1]).pixels[::-1], expected), path
        streamed = np.stack([pixels for _, pixels in video.stream_at(times)])
        assert np.array_equal(streamed, expected), path
    with open_video(path, short_side_pixels=SHORT_SIDE_PIXELS) as video:
        found = video.frames_by_index([late]).pixels[0].transpose(1, 2, 0)
        assert np.array_equal(found, reference[late]), path


def test_some_real_clips_of_each_folder_are_exact(real_data: Path) -> None:
    folders: dict[str, list[Path]] = {}
    for path in real_clips(real_data):
        folders.setdefault(path.relative_to(real_data).parts[0], []).append(path)
    chosen = [path for paths in folders.values() for path in (paths[0], paths[-1])]
    for path in chosen:
        assert_exact(path)
    assert len(chosen) > 20


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_every_real_clip_is_exact(real_data: Path) -> None:
    clips = real_clips(real_data)
    for path in clips:
        assert_exact(path)
    assert len(clips) > 700
