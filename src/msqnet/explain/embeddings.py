"""The embedding of a video before and after the decoder, for the rows of a table.

Before: the mean of the frame memory F, which is what the video encoder says through W_out. After:
the mean of the K decoded queries Q_L. So both have the same width D, whatever the number of labels.
All decoded queries one after the other, their maximum, and their mean weighted by score tell labels
no better on held-out training rows (`benchmarks/embedding_summaries.py`).

Axes: V rows, B clips of a batch, M memory items, K labels, D width of queries and memory.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from msqnet.clips import ClipBatch
from msqnet.data.dataset import read_window
from msqnet.inference.backends import TorchBackend
from msqnet.model.computing import resolve_device
from msqnet.models import model_folder
from msqnet.video.transforms import evaluation_clip

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from torch import Tensor

    from msqnet.clips import Clip
    from msqnet.config import ClipConfig
    from msqnet.data.records import ClipTable
    from msqnet.model.pretrained import MSQNet
    from msqnet.predictions import FloatArray

BEFORE_DEFINITION = "mean over the items of the frame memory, after W_out"
AFTER_DEFINITION = "mean over the decoded queries of all labels"


@dataclass(frozen=True)
class VideoEmbeddings:
    """What one model makes of V rows.

    Attributes:
        before: (V, D) float32, see `BEFORE_DEFINITION`.
        after: (V, D) float32, see `AFTER_DEFINITION`.
    """

    before: FloatArray
    after: FloatArray


class VideoEmbedder:
    """An `MSQNet` that is asked for embeddings in place of scores.

    Args:
        model: a finished model; put into eval mode here.
        device: where it runs: `auto`, `cpu`, `cuda`, `cuda:1`, `mps`.
        provenance: which model this is; JSON values only.
    """

    def __init__(
        self, model: MSQNet, device: str = "auto", provenance: dict[str, Any] | None = None
    ) -> None:
        self._device = resolve_device(device)
        self._model = model.to(self._device).eval()  # type: ignore[arg-type]
        self.clip_config: ClipConfig = model.config.clip_config
        self.single_label: bool = model.config.task == "single_label"
        self.has_video_query: bool = model.config.video_query != "none"
        self.provenance = provenance or {}

    @property
    def name(self) -> str:
        """What messages call the model."""
        return str(self.provenance.get("name", "without a name"))

    @classmethod
    def from_pretrained(
        cls, model: str | Path | None = None, *, device: str = "auto"
    ) -> VideoEmbedder:
        """Load a finished model.

        Args:
            model: a folder, a Hugging Face Hub id, or the name of a model that comes with msqnet;
                None for the default one.
            device: see the class.

        Raises:
            CheckpointError: there is no such model, or it is damaged.
            ConfigError: the device cannot be used.
        """
        from msqnet.model.pretrained import MSQNet

        folder = model_folder(model)
        source = TorchBackend.from_pretrained(folder, "cpu").provenance  # as in all other results
        return cls(MSQNet.from_pretrained(folder), device, source)

    def embed(self, batch: ClipBatch) -> VideoEmbeddings:
        """Embeddings of B clips; each row depends on its clip only."""
        with torch.inference_mode():
            closeups = None if batch.closeups is None else batch.closeups.to(self._device)
            found = self._model(pixels=batch.pixels.to(self._device), closeups=closeups)
            before = found.memory.mean(dim=1)  # (B, M, D) -> (B, D)
            after = found.decoded.mean(dim=1)  # (B, K, D) -> (B, D)
        return VideoEmbeddings(_array(before), _array(after))


def _array(values: Tensor) -> FloatArray:
    return np.asarray(values.float().cpu().numpy(), dtype=np.float32)


def embed_rows(
    table: ClipTable,
    embedders: Sequence[VideoEmbedder],
    *,
    batch_size: int,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[VideoEmbeddings, ...]:
    """Embeddings of every row by every model; the clips are those that `evaluate` scores.

    Models that take the same clips share them, so that each video is decoded once.

    Args:
        table: V rows.
        embedders: the models.
        batch_size: clips at a time; changes no embedding but for rounding.
        progress: called with (clips done, clips in all).

    Returns:
        One a model, rows in the order of the table.

    Raises:
        VideoError: a video cannot be read; no row is left out silently.
        DatasetError: a row starts after the end of its video.
    """
    configs = list(dict.fromkeys(embedder.clip_config for embedder in embedders))
    parts: list[list[VideoEmbeddings]] = [[] for _ in embedders]
    num_done = 0
    for config in configs:
        for batch in _batches(table, config, batch_size):
            for embedder, found in zip(embedders, parts, strict=True):
                if embedder.clip_config == config:
                    found.append(embedder.embed(batch))
            num_done += len(batch.pixels)
            if progress is not None:
                progress(num_done, len(table) * len(configs))
    return tuple(
        VideoEmbeddings(
            np.concatenate([part.before for part in found]),
            np.concatenate([part.after for part in found]),
        )
        for found in parts
    )


def _batches(table: ClipTable, config: ClipConfig, batch_size: int) -> Iterator[ClipBatch]:
    clips: Iterator[Clip] = (
        evaluation_clip(read_window(record, config), config) for record in table.records
    )
    while batch := list(islice(clips, batch_size)):
        yield ClipBatch.stack(batch)
