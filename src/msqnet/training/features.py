"""Features of frozen encoders, computed once per row and augmented view and kept on disk.

With them an epoch neither decodes nor runs what is frozen. A folder of features::

    videos.json             digests of videos by path, size and time of change
    <settings digest>/      features of one set of frozen weights and clip settings
        settings.json       what they are, to read
        *.safetensors       some entries each, half precision, see `FeatureFiles`

An entry is found by what it was made of: the video's content, the window, and for augmented views
the augmentation and its draw. So tables may gain, lose and reorder rows, videos may be moved, and
any number of runs may share a folder, also while they fill it.
"""

from __future__ import annotations

import hashlib
import json
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, default_collate

from msqnet.clips import SOUND_INPUTS, SOUND_TIMES
from msqnet.data.dataset import ClipDataset
from msqnet.errors import ConfigError, UnreadableVideo
from msqnet.files import replacing
from msqnet.model.computing import Fusable
from msqnet.model.sound import AUDIO_QUERY, SOUND_FEATURES
from msqnet.model.video_encoders.encoder import FRAME_MEMORY, POOLED, VIDEO_QUERY, of_clips
from msqnet.training.backbone_graph import backbone_graph
from msqnet.training.feature_files import FeatureFiles, VideoDigests

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from torch import Tensor, nn

    from msqnet.model.pretrained import MSQNet
    from msqnet.training.feature_files import Entry

# Raise it where the code computes something else from the same weights and pixels.
_VERSION = 2
_NO_INFLUENCE = {"transformers_version", "dtype", "torch_dtype", "architectures"}
_KEY_LENGTH = 32
# A killed run loses what it has not written: whichever of the two is reached first.
_WRITE_BYTES = 16 * 2**20
_WRITE_SECONDS = 60.0
# On a CPU one clip at a time: batches are no faster, and sums whose order depends on the batch
# would make features depend on what else was missing.
_CLIPS_ON_GPU = 16
_ROWS_AT_A_TIME = 64


class FrozenPart:
    """The part of a model that training leaves as it is, as a function of clips.

    ``finetune`` is `TrainConfig.finetune`: "after_trunk" keeps what the encoder's backbone gives of
    each frame, "decoder" the frame memory. Where nothing that clips pass through first is frozen,
    it is a `ConfigError`. ``names`` are those of the arrays, which are keyword arguments of
    `MSQNet.forward`: those of the frames, or ``frame_memory``; and ``video_query``, where neither
    tells it.
    """

    def __init__(self, model: MSQNet, finetune: str):
        encoder = model.video_encoder
        trains_it = finetune in ("full", "lora")
        if trains_it or (finetune == "after_trunk" and not encoder.frozen_features):
            raise ConfigError(
                f"cached_views keeps what frozen layers give, but finetune {finetune} trains the "
                f"first layers of {encoder.display_name}; set finetune to decoder, or cached_views "
                "to 0"
            )
        self.model = model
        self.after_trunk = finetune == "after_trunk"
        # Also for a model without a query: others can then share the features.
        self.has_own_query = encoder.query_width > 0 and model.config.video_query != "image"
        names = encoder.frozen_features if self.after_trunk else (FRAME_MEMORY,)
        has_query = model.config.video_query == "image" or (
            self.has_own_query and not self.after_trunk
        )
        self.names = (*names, VIDEO_QUERY) if has_query else tuple(names)
        if model.audio_encoder is not None:
            self.names = (*self.names, *SOUND_FEATURES)
        self._graph: Callable[[Tensor], dict[str, Tensor]] | None = None

    def prepare(self) -> None:
        """Make ready what computes faster; the weights must then stay as they are."""
        self.model.train(mode=False)
        for module in self.model.modules():
            if isinstance(module, Fusable):
                module.fuse()
        self._graph = backbone_graph(self.model) if self.after_trunk else None

    def digest(self) -> str:
        """Identifies all weights and settings that the features depend on: 64 hex digits."""
        encoder = self.model.video_encoder
        parts: dict[str, nn.Module] = {"video": encoder.trunk if self.after_trunk else encoder}
        settings: dict[str, Any] = {
            "version": _VERSION,
            "names": self.names,
            "video": [type(encoder).__name__, list(encoder.map_shape)]
            if self.after_trunk
            else _settings(encoder.config),
        }
        if not self.after_trunk:
            settings["frame_pooling"] = self.model.config.frame_pooling
        if self.model.image_encoder is not None:
            parts["image"] = self.model.image_encoder
            settings["image"] = _settings(self.model.image_encoder.config)
            settings["image_embedding"] = self.model.config.embedding
        if self.model.audio_encoder is not None:
            parts["audio"] = self.model.audio_encoder
            settings["audio"] = _settings(self.model.audio_encoder.config)
        digest = hashlib.sha256(json.dumps(settings, sort_keys=True, default=str).encode())
        for part, module in parts.items():
            for name, tensor in sorted(module.state_dict().items()):
                digest.update(f"{part} {name} {tensor.dtype} {tuple(tensor.shape)}".encode())
                raw = tensor.detach().cpu().contiguous().flatten().view(torch.uint8)
                digest.update(raw.numpy())
        return digest.hexdigest()

    @torch.inference_mode()
    def __call__(
        self, pixels: Tensor, motion_crops: Tensor | None, **sound: Tensor
    ) -> dict[str, Tensor]:
        """Features of clips (B, T, 3, H, W) uint8, their motion crops and their sound, if any.

        (B, ...) float16 by name, on the CPU; a value out of that range is a `ConfigError`.
        """
        found = self._encoded(pixels, motion_crops)
        found |= self.model.sound_features(len(pixels), **sound)
        if not self.after_trunk:
            encoder: Any = self.model.video_encoder
            if self.has_own_query:
                found[VIDEO_QUERY] = encoder.video_query(found)
            own = {name: values for name, values in found.items() if name not in SOUND_FEATURES}
            found[FRAME_MEMORY] = encoder.memory(own)
        halves = {name: found[name].half().cpu() for name in self.names}
        for name, values in halves.items():
            if not values.isfinite().all():
                raise ConfigError(
                    f"cached_views: {name} has values above 65504 or none at all, which half "
                    "precision cannot keep; set cached_views to 0"
                )
        return halves

    def _encoded(self, pixels: Tensor, motion_crops: Tensor | None) -> dict[str, Tensor]:
        if self._graph is None:
            return self.model.encode(pixels, motion_crops)
        views = [pixels] if motion_crops is None else [pixels, motion_crops]
        for view in views:
            self.model.video_encoder.check_clips(view)
        features = [of_clips(self._graph, pixels)] * len(views)
        # Where nothing or everything moves, the motion crop is the whole frame.
        if motion_crops is not None and not torch.equal(pixels, motion_crops):
            features[1] = of_clips(self._graph, motion_crops)
        return dict(self.model.video_encoder.join_views(features))


def _settings(config: Any) -> dict[str, Any]:
    """An encoder's settings without those that do not change what it computes."""
    return {
        name: value
        for name, value in config.to_dict().items()
        if not name.startswith("_") and name not in _NO_INFLUENCE
    }


@dataclass(eq=False)
class _Views(Dataset[dict[str, Any]]):
    """Clips of (row, view, what draws the augmentation); view 0 is the unchanged clip.

    ``augmented`` are the rows of ``plain`` with augmentation.
    """

    plain: ClipDataset
    augmented: ClipDataset
    todo: Sequence[tuple[int, int, int]]

    def __len__(self) -> int:
        return len(self.todo)

    def __getitem__(self, index: int) -> dict[str, Any]:
        row, view, drawn_by = self.todo[index]
        rows = self.augmented if view else self.plain
        clip = rows.clip(row, view, drawn_by=drawn_by)
        return {**clip.inputs(), "index": index}


class FeatureStore:
    """Features of every view of every row: half precision, memory-mapped.

    Args:
        folder: made if absent, and shared with other runs; a `ConfigError` if it cannot be used.
            The attribute is that of the files of these settings, in it.
        model: whose frozen part computes them; see `FrozenPart`.
        dataset: the rows, with their augmentation.
        num_views: augmented views beside the unchanged one.
        finetune: as `TrainConfig.finetune`; says what is frozen.
    """

    def __init__(
        self,
        folder: Path,
        model: MSQNet,
        dataset: ClipDataset,
        num_views: int,
        finetune: str,
    ):
        self.frozen = FrozenPart(model, finetune)
        self.names = self.frozen.names
        self.dataset = dataset
        self.num_views = num_views
        settings = {
            "encoders": self.frozen.digest(),
            "kept": self.names,
            "clip": dataset.config.as_dict(),
            # What decodes and resizes may give other pixels from release to release.
            "libraries": {name: version(name) for name in ("av", "kornia", "pillow")},
        }
        text = json.dumps(settings, sort_keys=True, indent=2)
        self._settings_digest = hashlib.sha256(text.encode()).hexdigest()
        self.folder = folder / self._settings_digest[:16]
        self.files = FeatureFiles(self.folder)
        self._videos = VideoDigests(folder / "videos.json")
        self._windows: dict[int, str] = {}
        self._keys: dict[tuple[int, int], str] = {}
        if not (self.folder / "settings.json").exists():
            with suppress(OSError), replacing(self.folder / "settings.json") as part:
                part.write_text(text + "\n", encoding="utf-8")

    def _window(self, row: int) -> str:
        """Identifies a row by the video's content and the part of it."""
        if row not in self._windows:
            record = self.dataset.table.records[row]
            try:
                digest = self._videos.of(record.path)
            except OSError as error:
                raise UnreadableVideo(f"{record.path}: {error.strerror or error}") from error
            parts = [digest, record.start_seconds or 0.0, record.end_seconds]
            self._windows[row] = hashlib.sha256(json.dumps(parts).encode()).hexdigest()
        return self._windows[row]

    def key(self, row: int, view: int) -> str:
        """The name under which a view of a row is kept; `VideoError` for an unreadable video."""
        if (row, view) not in self._keys:
            parts: list[Any] = [self._settings_digest, self._window(row)]
            if view:
                augmentation = self.dataset.augmentation
                changes = None if augmentation is None else asdict(augmentation)
                parts += [view, changes, self.dataset.seed]
            text = json.dumps(parts, sort_keys=True)
            self._keys[row, view] = hashlib.sha256(text.encode()).hexdigest()[:_KEY_LENGTH]
        return self._keys[row, view]

    def missing(self, rows: np.ndarray, *, augmented: bool) -> list[tuple[int, int]]:
        """(row, view) pairs of some rows that are not stored soundly yet, view by view.

        ``augmented`` asks for all views, not only the unchanged one. A video that cannot be read is
        a `VideoError`.
        """
        views = range(self.num_views + 1 if augmented else 1)
        pairs = [(int(row), view) for view in views for row in rows]
        keys = [self.key(*pair) for pair in pairs]
        self._videos.save()
        self.files.refresh()
        self.files.check(keys)
        first_of = {key: pair for key, pair in zip(keys[::-1], pairs[::-1], strict=True)}
        return [
            pair
            for key, pair in zip(keys, pairs, strict=True)
            if key not in self.files and first_of[key] == pair
        ]

    def fill(
        self,
        rows: np.ndarray,
        *,
        augmented: bool,
        num_workers: int = 0,
        progress: Callable[[int, int], None] | None = None,
    ) -> None:
        """Compute the missing features of some rows; processes that do so at once share the work.

        ``augmented`` asks for all views, not only the unchanged one; ``progress`` is called with
        (clips done, clips in all). A row that cannot be read is a `VideoError`, a folder that
        cannot be written a `ConfigError`.
        """
        # Again, where what another process wrote meanwhile turns out to be damaged.
        while todo := self.missing(rows, augmented=augmented):
            self.frozen.prepare()
            self._compute(todo, num_workers, progress)

    def _compute(
        self,
        todo: list[tuple[int, int]],
        num_workers: int,
        progress: Callable[[int, int], None] | None,
    ) -> None:
        drawn = [(row, view, int(self._window(row)[:16], 16)) for row, view in todo]
        table, labels = self.dataset.table, self.dataset.label_set
        views = _Views(ClipDataset(table, labels, self.dataset.config), self.dataset, drawn)
        keys = [self.key(*pair) for pair in todo]
        pending: dict[str, Entry] = {}
        written = time.monotonic()
        loader = DataLoader(views, batch_sampler=self._batches(keys), num_workers=num_workers)
        num_done = 0
        try:
            for batch in loader:
                sound = {name: batch[name] for name in SOUND_INPUTS if name in batch}
                found = self.frozen(batch["pixels"], batch.get("motion_crops"), **sound)
                for place, index in enumerate(batch["index"].tolist()):
                    pending[keys[index]] = {n: found[n][place].numpy() for n in self.names}
                num_bytes = sum(a.nbytes for entry in pending.values() for a in entry.values())
                is_due = time.monotonic() - written > _WRITE_SECONDS
                if is_due or num_bytes >= _WRITE_BYTES:
                    self.files.write(pending)
                    pending, written = {}, time.monotonic()
                num_done += len(batch["index"])
                if progress is not None:
                    progress(num_done, len(todo))
        finally:
            self.files.write(pending)
        if progress is not None:
            progress(len(todo), len(todo))

    def _batches(self, keys: list[str]) -> Iterator[list[int]]:
        """Batches of positions, without what other processes have written in the meantime.

        Each process starts somewhere else, so that they meet late.
        """
        size = _CLIPS_ON_GPU if self.frozen.model.device.type == "cuda" else 1
        start = int(np.random.default_rng().integers(len(keys)))
        order = [*range(start, len(keys)), *range(start)]
        looked = time.monotonic()
        batch: list[int] = []
        for index in order:
            if time.monotonic() - looked > 1.0:
                self.files.refresh()
                looked = time.monotonic()
            if keys[index] not in self.files:
                batch.append(index)
            if len(batch) == size:
                yield batch
                batch = []
        if batch:
            yield batch

    def batch(self, rows: Sequence[int], views: Sequence[int]) -> dict[str, Tensor]:
        """The model's keyword arguments for a view of each of some rows: (B, ...) float32."""
        keys = [self.key(row, view) for row, view in zip(rows, views, strict=True)]
        return {name: torch.from_numpy(self.files.read(keys, name)).float() for name in self.names}

    def video_queries(self, rows: np.ndarray, view: int) -> Tensor:
        """Queries [Q_v, Q_a] (N, D'') float32 of a view of some rows; the model must have one.

        They are those of `MSQNet.clip_query`.
        """
        # Reading all features would take many times as long.
        wanted = {VIDEO_QUERY if VIDEO_QUERY in self.names else POOLED, AUDIO_QUERY, SOUND_TIMES}
        names = wanted & set(self.names)
        model: Any = self.frozen.model
        keys = [self.key(int(row), view) for row in rows]
        parts = []
        for first in range(0, len(keys), _ROWS_AT_A_TIME):
            some = keys[first : first + _ROWS_AT_A_TIME]
            found = {name: torch.from_numpy(self.files.read(some, name)).float() for name in names}
            parts.append(model.clip_query(found))
        return torch.cat(parts)


@dataclass(eq=False)
class FeatureDataset(Dataset[dict[str, Any]]):
    """Stored features of some rows; a loader of it needs `collate`.

    Args:
        store: filled for these rows.
        rows: (N,) positions in the store's data set.
        targets: (N, K) of these rows.
        view_seed: in each epoch a view is drawn from (seed, epoch, row), the unchanged one among
            them; None takes the unchanged one always.
    """

    store: FeatureStore
    rows: np.ndarray
    targets: Tensor
    view_seed: int | None = field(default=None, kw_only=True)
    epoch: int = field(default=0, init=False)

    def __len__(self) -> int:
        return len(self.rows)

    def _view(self, row: int) -> int:
        if self.view_seed is None:
            return 0
        rng = np.random.default_rng([self.view_seed, self.epoch, row])
        return int(rng.integers(self.store.num_views + 1))

    def __getitems__(self, indices: list[int]) -> dict[str, Any]:
        """A whole batch at once, (B, ...) by name: what the loader takes where it is there."""
        rows = [int(self.rows[index]) for index in indices]
        batch = self.store.batch(rows, [self._view(row) for row in rows])
        return {**batch, "labels": self.targets[indices]}

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {name: values[0] for name, values in self.__getitems__([index]).items()}


def collate(items: Any) -> Any:
    """A batch of items, or the batch that a `FeatureDataset` gave as a whole."""
    return items if isinstance(items, dict) else default_collate(items)
