"""Files are made after the description of the format: real ones were not at hand."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from msqnet.config import ClipConfig
from msqnet.data.dataset import read_window
from msqnet.errors import ConfigError, DatasetError
from msqnet.formats.data_sets.frame_folders import HOCKEY_CLIP_FRAMES
from msqnet.video.decoding import FALLBACK_FPS
from msqnet.video.window_grid import segment_times
from tests.fixtures.data_sets import HOCKEY
from tests.fixtures.videos import number_image, read_number
from tests.unit.video.test_image_folder import write_image

if TYPE_CHECKING:
    from pathlib import Path

NUM_LABELS = 12


def write_part(root: Path, name: str, frames: np.ndarray) -> None:
    """(F, 12) of 0 and 1."""
    lines = "\n".join(",".join(map(str, row)) for row in frames)
    (root / f"{name}-gray-label.txt").write_text(lines + "\n")


def frames(num_frames: int, **positives: int) -> np.ndarray:
    present = np.zeros((num_frames, NUM_LABELS), dtype=int)
    for column, frame in positives.items():
        present[frame, int(column.removeprefix("label"))] = 1
    return present


@pytest.fixture
def root(tmp_path: Path) -> Path:
    # Label 6 (Goal) in the very last frame of the second clip, label 4 (Face-off) in frame 0.
    write_part(tmp_path, "period1-1-1", frames(49, label6=39, label4=0))
    write_part(tmp_path, "period1-1-6", frames(120, label11=60))
    write_part(tmp_path, "period2-2", frames(29))
    (tmp_path / "notes.txt").write_text("not a part")
    return tmp_path


def test_clips_and_their_labels(root: Path) -> None:
    converted = HOCKEY.read(root)
    assert len(converted.labels) == NUM_LABELS
    train = [record for record in converted.records if record.split == "train"]
    # 49 frames: [0, 30) and [10, 40); [20, 50) would be one frame short.
    assert [(r.start_seconds, r.end_seconds, r.labels) for r in train] == [
        (0.0, 1.2, ("Face-off",)),
        (0.4, 1.6, ("Goal",)),
    ]
    test = [record for record in converted.records if record.split == "test"]
    assert [(r.start_seconds, r.labels) for r in test] == [(0.0, ()), (1.8, ("Play",)), (3.6, ())]
    assert {record.relative_path for record in test} == {"period1-1-6-gray"}
    assert {record.group for record in converted.records} == {"period1-1"}
    assert all(record.annotated is None for record in converted.records)


def test_what_is_left_out_is_counted(root: Path) -> None:
    notes = HOCKEY.read(root).notes
    assert "part(s) left out, with fewer than 30 frames: 1" in notes
    assert any(note.startswith("period(s) in both train and test") for note in notes)


def test_centre_frame_only(root: Path) -> None:
    records = HOCKEY.read(root, {"labels": "centre"}).records
    assert [record.labels for record in records] == [(), (), (), ("Play",), ()]


def test_other_part_and_strides(root: Path) -> None:
    options = {"test_part": "1", "test_stride": "19", "train_stride": "90"}
    records = HOCKEY.read(root, options).records
    assert [(r.split, r.start_seconds) for r in records] == [
        ("test", 0.0),
        ("test", 0.76),
        ("train", 0.0),
        ("train", 3.6),
    ]


@pytest.mark.parametrize("value", ["0", "-1", "2.5", ""])
def test_stride_must_be_a_whole_number(root: Path, value: str) -> None:
    with pytest.raises(ConfigError, match="train_stride"):
        HOCKEY.read(root, {"train_stride": value})


@pytest.mark.parametrize("line", ["0,1", "0,0,0,0,0,0,0,0,0,0,0,2", "0 0 0 0 0 0 0 0 0 0 0 0"])
def test_malformed_line_is_named(root: Path, line: str) -> None:
    good = ",".join("0" * NUM_LABELS)
    (root / "period3-1-gray-label.txt").write_text(f"{good}\n{line}\n{good}\n")
    with pytest.raises(DatasetError, match=r"period3-1-gray-label\.txt, line 2"):
        HOCKEY.read(root)


def test_empty_line_does_not_shift_the_frames_after_it(root: Path) -> None:
    good = ",".join("0" * NUM_LABELS)
    (root / "period3-1-gray-label.txt").write_text(f"{good}\n\n{good}\n")
    with pytest.raises(DatasetError, match=r"period3-1-gray-label\.txt, line 2"):
        HOCKEY.read(root)


def test_wrong_folder_says_what_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"period\*-<part>-gray-label\.txt"):
        HOCKEY.read(tmp_path)


def test_a_clip_shows_exactly_its_frames(tmp_path: Path) -> None:
    write_part(tmp_path, "period1-1", frames(42))
    folder = tmp_path / "period1-1-gray"
    folder.mkdir()
    for number in range(42):
        write_image(folder / f"frame{number}.png", number_image(number))
    clip = HOCKEY.read(tmp_path).records[1]
    shown = read_window(clip, ClipConfig(num_frames=HOCKEY_CLIP_FRAMES))
    assert [read_number(pixels) for pixels in shown.pixels] == list(range(10, 40))


def test_a_clip_never_reaches_beyond_its_frames(tmp_path: Path) -> None:
    write_part(tmp_path, "period1-1", np.zeros((20_000, NUM_LABELS), dtype=int))
    first_and_last = ([0.0] * 16, [np.nextafter(1, 0)] * 16)
    for number, clip in enumerate(HOCKEY.read(tmp_path).records):
        start, end = number * 10, number * 10 + HOCKEY_CLIP_FRAMES
        assert (clip.start_seconds, clip.end_seconds) == (start / 25, end / 25)
        low, high = (
            segment_times(clip.start_seconds, clip.end_seconds, 16, offsets)
            for offsets in first_and_last
        )
        # What a folder of images gives for its frames.
        frame_times = np.arange(start, end + 1) / float(FALLBACK_FPS)
        assert low[0] >= frame_times[0]
        assert high[-1] <= frame_times[-1]
