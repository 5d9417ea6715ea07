"""The one place where rows of a table become decoded model inputs."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.utils.data import Dataset

from msqnet.clips import ClipBatch
from msqnet.errors import DatasetError
from msqnet.video.reader import open_video
from msqnet.video.sound import window_frames
from msqnet.video.transforms import evaluation_clip, training_clip

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from msqnet.clips import Clip, Frames
    from msqnet.config import AugmentationConfig, ClipConfig
    from msqnet.data.records import ClipTable, Record
    from msqnet.labels import LabelSet


def read_window(
    record: Record, config: ClipConfig, rng: np.random.Generator | None = None
) -> Frames:
    """The frames of one row, from each of T equal segments one that `rng` draws, or its centre.

    The sound of the row comes along, where the model takes it. `VideoError` if the video cannot be
    read, `DatasetError` if the row starts after its end.
    """
    offsets = None if rng is None else rng.random(config.num_frames).tolist()
    short_side = config.decode_short_side_pixels
    with open_video(record.path, short_side_pixels=short_side, fps=record.fps) as video:
        # As in prediction, where no window leaves the pictures.
        start = max(record.start_seconds or 0.0, video.start_seconds)
        end = video.end_seconds if record.end_seconds is None else record.end_seconds
        end = min(end, video.end_seconds)
        if start >= end:
            raise DatasetError(
                f"{record.place}: there is no picture in it: {record.path} has some from "
                f"{video.start_seconds:g} to {video.end_seconds:g} s; correct the row or drop it"
            )
        return window_frames(video, start, end, config, offsets)


def iter_clips(records: Iterable[Record], config: ClipConfig) -> Iterator[Clip]:
    """Clips of rows, one at a time; errors are those of `read_window`."""
    for record in records:
        yield evaluation_clip(read_window(record, config), config)


def iter_batches(clips: Iterable[Clip], batch_size: int) -> Iterator[ClipBatch]:
    """Clips in their order, stacked as they are needed."""
    stream = iter(clips)
    while chunk := list(islice(stream, batch_size)):
        yield ClipBatch.stack(chunk)


class ClipDataset(Dataset[dict[str, Any]]):
    """Rows of a table as model inputs.

    Every random choice is a function of (seed, epoch, row) alone, never of worker, rank or place in
    the batch. Set `epoch` before each pass. Without an augmentation all epochs have the same clips.
    Indexing raises `VideoError` for a video that cannot be read.
    """

    def __init__(
        self,
        table: ClipTable,
        label_set: LabelSet,
        config: ClipConfig,
        *,
        augmentation: AugmentationConfig | None = None,
        seed: int = 0,
    ):
        self.table = table
        self.label_set = label_set
        self.config = config
        self.augmentation = augmentation
        self.seed = seed
        # Shared, so that loading processes that live on see each pass begin.
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()
        # (V, K) float32 of 1, 0 and -100: single-label losses too must know what is unknown.
        self.targets = torch.from_numpy(table.targets(label_set))

    def __len__(self) -> int:
        return len(self.table.records)

    @property
    def epoch(self) -> int:
        """Number of the pass, on which the draws of the next items depend."""
        return int(self._epoch)

    @epoch.setter
    def epoch(self, value: int) -> None:
        self._epoch.fill_(value)

    def clip(self, index: int, epoch: int, *, drawn_by: int | None = None) -> Clip:
        """The clip at position ``index``; ``drawn_by`` replaces the row's number in the seed."""
        record = self.table.records[index]
        if self.augmentation is None:
            return evaluation_clip(read_window(record, self.config), self.config)
        drawn_by = record.row if drawn_by is None else drawn_by
        rng = np.random.default_rng([self.seed, epoch, drawn_by])
        random_frames = rng if self.augmentation.random_frames else None
        frames = read_window(record, self.config, random_frames)
        return training_clip(frames, self.config, self.augmentation, rng)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {**self.clip(index, self.epoch).inputs(), "labels": self.targets[index]}
