"""What a model makes of the rows of a table before calibration: logits and clip embeddings.

The clips are those that `msqnet evaluate` scores. Axes: V rows, K labels, D width.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np
import torch

from msqnet.clips import ClipBatch
from msqnet.data.dataset import read_window
from msqnet.errors import ConfigError
from msqnet.inference.clip_zero_shot import PREFIX
from msqnet.inference.manifest import is_exported
from msqnet.model.computing import resolve_device
from msqnet.model.novelty import clip_embeddings
from msqnet.models import model_folder
from msqnet.video.transforms import evaluation_clip

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from msqnet.clips import Clip
    from msqnet.config import ClipConfig
    from msqnet.data.records import ClipTable
    from msqnet.model.msqnet import MSQNet
    from msqnet.predictions import FloatArray


@dataclass(frozen=True)
class RowOutputs:
    """What one model makes of V rows.

    Attributes:
        logits: (V, K) float32, not calibrated.
        embeddings: (V, D) float32, see `msqnet.model.novelty.clip_embeddings`.
    """

    logits: FloatArray
    embeddings: FloatArray


def changeable_folder(model: str | Path | None) -> Path:
    """The folder of a model whose calibration can be changed.

    Args:
        model: as for `msqnet.models.model_folder`.

    Raises:
        CheckpointError: there is no such model.
        ConfigError: an exported model, or the training-free baseline.
    """
    if model is not None and is_exported(model):
        raise ConfigError(
            f"{model}: an exported model, whose calibration is fixed in its graphs; calibrate the "
            "model that it was made of, then run msqnet export with that one"
        )
    if str(model or "").startswith(PREFIX):
        raise ConfigError(
            f"{model}: the training-free baseline has no folder that a calibration could be kept "
            "in; train a model with msqnet train, or set --threshold of msqnet predict"
        )
    return model_folder(model)


def row_outputs(
    table: ClipTable,
    model: MSQNet,
    *,
    device: str = "auto",
    batch_size: int = 8,
    progress: Callable[[int, int], None] | None = None,
) -> RowOutputs:
    """Look at every row once.

    Args:
        table: V rows.
        model: a finished model; prepared for inference here.
        device: where it runs: `auto`, `cpu`, `cuda`, `cuda:1`, `mps`.
        batch_size: clips at a time; changes nothing but rounding.
        progress: called with (rows done, rows in all).

    Raises:
        ConfigError: the device cannot be used.
        VideoError: a video cannot be read; no row is left out silently.
        DatasetError: a row starts after the end of its video.
    """
    place = resolve_device(device)
    torch.nn.Module.to(model, place)
    model.prepare_for_inference()
    logits, embeddings = [], []
    num_done = 0
    for batch in _batches(table, model.config.clip_config, batch_size):
        with torch.inference_mode():
            closeups = None if batch.closeups is None else batch.closeups.to(place)
            found = model(pixels=batch.pixels.to(place), closeups=closeups)
        logits.append(found.logits.float().cpu().numpy())
        embeddings.append(clip_embeddings(found))
        num_done += len(batch.pixels)
        if progress is not None:
            progress(num_done, len(table))
    return RowOutputs(np.concatenate(logits), np.concatenate(embeddings))


def _batches(table: ClipTable, config: ClipConfig, batch_size: int) -> Iterator[ClipBatch]:
    clips: Iterator[Clip] = (
        evaluation_clip(read_window(record, config), config) for record in table.records
    )
    while batch := list(islice(clips, batch_size)):
        yield ClipBatch.stack(batch)
