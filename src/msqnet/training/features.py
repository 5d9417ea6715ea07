"""Features of the frozen trunk, computed once per augmented view and kept on disk.

With the trunk frozen, an epoch on stored features costs a small part of one on pixels. Files are
memory-mapped; a view of a row counts as present only after its data reached the file, so a killed
run goes on where it stopped.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from msqnet.data.dataset import ClipDataset
from msqnet.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from msqnet.model.msqnet import MSQNet


def trunk_digest(model: MSQNet) -> str:
    """Identifies the trunk's weights."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.video_encoder.trunk.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def _store_digest(model: MSQNet, dataset: ClipDataset, num_views: int) -> str:
    """Identifies everything that the stored features depend on."""
    parts: dict[str, Any] = {
        "trunk": trunk_digest(model),
        "map_shape": list(model.video_encoder.map_shape),
        "clip": dataset.config.to_dict(),
        "augmentation": asdict(dataset.augmentation) if dataset.augmentation else None,
        "seed": dataset.seed,
        "num_views": num_views,
        "rows": [
            [str(r.path), *_file_state(r.path), r.row, r.start_seconds, r.end_seconds]
            for r in dataset.table.records
        ],
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def _file_state(path: Path) -> tuple[int, int]:
    """Size and time of the last change: another file under the same name has others."""
    status = path.stat()
    return status.st_size, status.st_mtime_ns


class _Views(Dataset[dict[str, Any]]):
    """Clips of the (row, view) pairs that are still missing; view 0 is the unchanged clip."""

    def __init__(self, plain: ClipDataset, augmented: ClipDataset, todo: list[tuple[int, int]]):
        self.plain = plain
        self.augmented = augmented
        self.todo = todo

    def __len__(self) -> int:
        return len(self.todo)

    def __getitem__(self, index: int) -> dict[str, Any]:
        row, view = self.todo[index]
        clip = self.augmented.clip(row, view) if view else self.plain.clip(row, 0)
        item = {"pixels": clip.pixels, "row": row, "view": view}
        if clip.closeup is not None:
            item["closeups"] = clip.closeup
        return item


class FeatureStore:
    """Trunk features of every view of every row: half precision, memory-mapped.

    Args:
        folder: where the files are; made if absent.
        model: a `lite` model whose trunk stays frozen.
        dataset: training rows with their augmentation.
        num_views: augmented views beside the unchanged one.

    Attributes:
        maps: (V, N, G, T, P, C) float16, V = num_views + 1, N rows.
        pooled: (V, N, G, T, E) float16.

    Raises:
        ConfigError: the model has no trunk whose features could be kept.
    """

    def __init__(self, folder: Path, model: MSQNet, dataset: ClipDataset, num_views: int):
        if not hasattr(model.video_encoder, "trunk"):
            raise ConfigError("cached_views needs the lite video encoder; set cached_views to 0")
        self.model = model
        self.dataset = dataset
        self.num_views = num_views
        self.folder = folder / _store_digest(model, dataset, num_views)
        self.folder.mkdir(parents=True, exist_ok=True)
        config = model.video_encoder.config
        shape = (num_views + 1, len(dataset), config.num_looks, config.num_frames)
        self.maps = self._open("maps", (*shape, *model.video_encoder.map_shape), np.float16)
        self.pooled = self._open("pooled", (*shape, model.video_encoder.feature_width), np.float16)
        self._is_done = self._open("done", shape[:2], np.uint8)

    def _open(self, name: str, shape: tuple[int, ...], dtype: type) -> np.memmap:
        path = self.folder / f"{name}.npy"
        mode = "r+" if path.exists() else "w+"
        return np.lib.format.open_memmap(path, mode, dtype, shape)

    def missing(self, rows: np.ndarray, *, augmented: bool) -> list[tuple[int, int]]:
        """(row, view) pairs of some rows that are not stored yet, view by view."""
        views = range(self.num_views + 1 if augmented else 1)
        done = np.asarray(self._is_done)
        return [(int(row), view) for view in views for row in rows if not done[view, row]]

    def fill(
        self,
        rows: np.ndarray,
        *,
        augmented: bool,
        batch_size: int = 4,
        num_workers: int = 0,
        progress: Callable[[int, int], None] | None = None,
    ) -> None:
        """Compute what is missing of some rows.

        Args:
            rows: positions in the data set.
            augmented: all views, or only the unchanged one.
            batch_size: clips at a time.
            num_workers: decoding processes.
            progress: called with (clips done, clips in all).

        Raises:
            VideoError: a row cannot be read.
        """
        todo = self.missing(rows, augmented=augmented)
        if not todo:
            return
        plain = ClipDataset(self.dataset.table, self.model.config.label_set, self.dataset.config)
        loader = DataLoader(
            _Views(plain, self.dataset, todo), batch_size=batch_size, num_workers=num_workers
        )
        self.model.train(mode=False)
        num_done = 0
        for batch in loader:
            self._store(batch)
            num_done += len(batch["row"])
            if progress is not None:
                progress(num_done, len(todo))

    @torch.inference_mode()
    def _store(self, batch: dict[str, Any]) -> None:
        device = self.model.device
        closeups = batch.get("closeups")
        features = self.model.video_encoder.features(
            batch["pixels"].to(device), None if closeups is None else closeups.to(device)
        )
        rows, views = batch["row"].numpy(), batch["view"].numpy()
        self.maps[views, rows] = features.maps.half().cpu().numpy()
        self.pooled[views, rows] = features.pooled.half().cpu().numpy()
        self.maps.flush()
        self.pooled.flush()
        self._is_done[views, rows] = 1  # only now: a kill in between repeats, never skips
        self._is_done.flush()

    def item(self, row: int, view: int) -> dict[str, torch.Tensor]:
        """The model's keyword arguments for one view of one row."""
        return {
            "trunk_maps": torch.from_numpy(self.maps[view, row].astype(np.float32)),
            "trunk_pooled": torch.from_numpy(self.pooled[view, row].astype(np.float32)),
        }


class FeatureDataset(Dataset[dict[str, Any]]):
    """Stored features of some rows.

    Args:
        store: filled for these rows.
        rows: positions in the store's data set.
        targets: what is known of their labels, row by row, as `ClipDataset.target` gives it.
        view_seed: in each epoch a view is drawn from (seed, epoch, row), the unchanged one among
            them; None takes the unchanged one always.
    """

    def __init__(
        self,
        store: FeatureStore,
        rows: np.ndarray,
        targets: Sequence[torch.Tensor],
        *,
        view_seed: int | None = None,
    ):
        self.store = store
        self.rows = rows
        self.targets = targets
        self.view_seed = view_seed
        self.epoch = 0

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        row = int(self.rows[index])
        view = 0
        if self.view_seed is not None:
            rng = np.random.default_rng([self.view_seed, self.epoch, row])
            view = int(rng.integers(self.store.num_views + 1))
        return {**self.store.item(row, view), "labels": self.targets[index]}
