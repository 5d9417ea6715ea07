"""Rows as model inputs: which frames, which targets, and what decides the random changes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from msqnet.config import AugmentationConfig
from msqnet.data.dataset import ClipDataset, read_window
from msqnet.data.records import ClipTable, Record
from msqnet.errors import DatasetError, VideoError
from msqnet.labels import LabelSet
from tests.fixtures.models import tiny_clip_settings
from tests.fixtures.videos import HEIGHT, read_number

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

LABELS = LabelSet(("sit", "walk"))
# The numbers can be read at the size they were written in.
READABLE = tiny_clip_settings(decode_short_side_pixels=HEIGHT)


def record(row: int, path: Path, **settings: Any) -> Record:
    return Record(row=row, path=path, relative_path=path.name, **{"labels": ("sit",), **settings})


@pytest.fixture
def table(write_video: Callable[..., Path]) -> ClipTable:
    """Three windows of a video whose frame i, at i / 10 s, shows i."""
    path = write_video("numbers.mp4", 40, gop=10)
    return ClipTable(
        path.parent / "clips.csv",
        (
            record(2, path, start_seconds=0.0, end_seconds=2.0),
            record(
                3, path, start_seconds=1.0, end_seconds=3.0, labels=(), annotated=frozenset({"sit"})
            ),
            record(5, path, labels=("walk",), annotated=frozenset({"walk"})),
        ),
    )


def dataset_of(table: ClipTable, *, seed: int = 0, **settings: Any) -> ClipDataset:
    augmentation = AugmentationConfig(horizontal_flip=True)
    return ClipDataset(
        table, LABELS, READABLE, **{"augmentation": augmentation, "seed": seed, **settings}
    )


def shown(pixels: torch.Tensor) -> list[int]:
    return [read_number(frame) for frame in pixels]


def test_window_gives_the_frames_at_the_centres_of_its_segments(table: ClipTable) -> None:
    # Segments of 0.5 s, centres at 0.25, 0.75, ... s after the start: frames last 0.1 s.
    expected = [[2, 7, 12, 17], [12, 17, 22, 27], [5, 15, 25, 35]]
    for row, numbers in zip(table.records, expected, strict=True):
        assert shown(read_window(row, READABLE).pixels) == numbers


def test_random_window_takes_one_frame_of_each_segment(table: ClipTable) -> None:
    seen = set()
    for seed in range(8):
        frames = read_window(table.records[0], READABLE, np.random.default_rng(seed))
        numbers = shown(frames.pixels)
        assert [number // 5 for number in numbers] == [0, 1, 2, 3]
        seen.add(tuple(numbers))
    assert len(seen) > 4


def test_unknown_labels_are_minus_100(table: ClipTable) -> None:
    dataset = dataset_of(table)
    expected = torch.tensor([[1.0, 0.0], [0.0, -100.0], [-100.0, 1.0]])
    assert torch.equal(dataset.targets, expected)
    assert torch.equal(dataset[1]["labels"], expected[1])


def same_items(first: dict[str, Any], second: dict[str, Any]) -> bool:
    return first.keys() == second.keys() and all(
        torch.equal(first[name], second[name]) for name in first
    )


def test_random_changes_depend_on_seed_epoch_and_row_alone(table: ClipTable) -> None:
    dataset = dataset_of(table)
    forwards = [dataset[row] for row in range(3)]
    np.random.default_rng().random()
    torch.rand(3)
    backwards = [dataset_of(table)[row] for row in (2, 1, 0)][::-1]
    assert all(map(same_items, forwards, backwards))


def test_row_numbers_and_not_places_decide(table: ClipTable) -> None:
    alone = dataset_of(table.take([2]))
    assert same_items(alone[0], dataset_of(table)[2])


def test_another_epoch_or_seed_gives_another_clip(table: ClipTable) -> None:
    dataset = dataset_of(table)
    first = dataset[0]
    dataset.epoch = 1
    assert not same_items(dataset[0], first)
    assert not same_items(dataset_of(table, seed=1)[0], first)
    dataset.epoch = 0
    assert same_items(dataset[0], first)


def test_without_augmentation_every_epoch_is_the_same(table: ClipTable) -> None:
    dataset = dataset_of(table, augmentation=None)
    first = dataset[0]
    dataset.epoch = 3
    assert same_items(dataset[0], first)


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_worker_processes_change_nothing(table: ClipTable) -> None:
    dataset = dataset_of(table)
    dataset.epoch = 1
    inline = list(DataLoader(dataset, batch_size=2, num_workers=0))
    workers = list(DataLoader(dataset, batch_size=2, num_workers=2))
    assert all(map(same_items, inline, workers))


def test_closeup_is_given_where_the_model_takes_one(table: ClipTable) -> None:
    clip = tiny_clip_settings(closeup=True)
    item = ClipDataset(table, LABELS, clip)[0]
    assert item["motion_crops"].shape == item["pixels"].shape == (4, 3, 32, 32)
    assert "motion_crops" not in dataset_of(table)[0]


def test_unreadable_video_is_named(table: ClipTable, tmp_path: Path) -> None:
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no video")
    whole = ClipTable(table.path, (*table.records, record(9, broken)))
    with pytest.raises(VideoError, match=r"broken\.mp4"):
        dataset_of(whole)[3]


def test_window_past_the_end_stops_with_the_video(table: ClipTable) -> None:
    # 4 s of video: segments of 0.5 s from 2 s on.
    late = record(7, table.records[0].path, start_seconds=2.0, end_seconds=6.0)
    assert shown(read_window(late, READABLE).pixels) == [22, 27, 32, 37]


def test_window_that_starts_after_the_end_is_refused_with_its_row(table: ClipTable) -> None:
    late = record(7, table.records[0].path, start_seconds=4.5, end_seconds=6.0)
    with pytest.raises(DatasetError, match=r"row 7: there is no picture .* from 0 to 4 s"):
        read_window(late, READABLE)
