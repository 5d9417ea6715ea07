"""Embeddings of videos before and after the decoder, for the rows of a table, and their maps.

Before: the mean of the frame memory F, that is of the video encoder's output after W_out. After:
the mean of the K decoded queries Q_L. So both have the same width D, whatever the number of labels.
All decoded queries one after the other, their maximum, and their mean weighted by score separate
labels no better on held-out training rows (`benchmarks/embedding_summaries.py`).

A figure has one panel for the embedding before the decoder, and one each for the decoder with text
queries and with multi-modal queries (Figure 4 of the paper).

Axes: V rows, B clips of a batch, M memory items, K labels, D width of queries and memory.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from msqnet import __version__
from msqnet.data.dataset import iter_batches, iter_clips
from msqnet.errors import ConfigError
from msqnet.explain.embedding_maps import (
    MULTI_LABEL_DEFINITION,
    SHOWN_LABEL_DEFINITION,
    SILHOUETTE_DEFINITION,
    SINGLE_LABEL_DEFINITION,
    EmbeddingMap,
    MappedRows,
    map_embeddings,
)
from msqnet.files import plain, replacing, write_json
from msqnet.inference.torch_backends import TorchBackend
from msqnet.labels import join_labels
from msqnet.model.computing import resolve_device
from msqnet.model.out_of_distribution import EMBEDDING_DEFINITION
from msqnet.models import model_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from msqnet.clips import ClipBatch
    from msqnet.config import ClipConfig, EmbeddingMapConfig
    from msqnet.data.records import ClipTable
    from msqnet.model.pretrained import MSQNet
    from msqnet.predictions import FloatArray

NUMBERS_FILE = "embedding_map.json"
ROWS_FILE = "embeddings.parquet"

_NAME_WITH_VIDEO, _NAME_TEXT_ONLY = "multi_modal_queries", "text_queries"
_TITLES = {
    "before": "before the decoder",
    _NAME_TEXT_ONLY: "after the decoder, text queries",
    _NAME_WITH_VIDEO: "after the decoder, multi-modal queries",
}


class VideoEmbeddings(NamedTuple):
    """Embeddings (V, D) float32 of V rows by one model; see the definitions of both."""

    before: FloatArray
    after: FloatArray


class VideoEmbedder:
    """A finished `MSQNet`, put into eval mode, that gives embeddings in place of scores."""

    def __init__(
        self, model: MSQNet, device: str = "auto", provenance: dict[str, Any] | None = None
    ) -> None:
        self._model = model.to(resolve_device(device)).eval()  # type: ignore[arg-type]
        self.clip_config: ClipConfig = model.config.clip_config
        self.single_label: bool = model.config.task == "single_label"
        self.has_video_query: bool = model.config.video_query != "none"
        self.decoder_is_unused: bool = model.config.decoder_is_unused
        self.provenance = provenance or {}

    @property
    def name(self) -> str:
        """The model in messages."""
        return str(self.provenance.get("name", "without a name"))

    @classmethod
    def from_pretrained(
        cls, model: str | Path | None = None, *, device: str = "auto"
    ) -> VideoEmbedder:
        """Load a model by folder, Hub id or name (None: the default), else a `CheckpointError`."""
        from msqnet.model.pretrained import MSQNet

        folder = model_folder(model)
        source = TorchBackend.from_pretrained(folder, "cpu").provenance  # as in all other results
        return cls(MSQNet.from_pretrained(folder), device, source)

    def embed(self, batch: ClipBatch) -> VideoEmbeddings:
        """Embeddings of B clips; each row depends on its clip only."""
        with torch.inference_mode():
            found = self._model(**batch.inputs())
            before = found.memory.mean(dim=1)  # (B, M, D) -> (B, D)
            after = found.decoded.mean(dim=1)  # (B, K, D) -> (B, D)
        return VideoEmbeddings(before.float().cpu().numpy(), after.float().cpu().numpy())


def embed_rows(
    table: ClipTable,
    embedders: Sequence[VideoEmbedder],
    *,
    batch_size: int,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[VideoEmbeddings, ...]:
    """Embeddings of every row by every model; the clips are those that `evaluate` scores.

    Models that take the same clips share them, so that each video is decoded once. ``batch_size``
    changes no embedding but for rounding; ``progress`` is called with (clips done, clips in all).
    A video that cannot be read is a `VideoError`, a row after its end a `DatasetError`.
    """
    configs = list(dict.fromkeys(embedder.clip_config for embedder in embedders))
    parts: list[list[VideoEmbeddings]] = [[] for _ in embedders]
    num_done = 0
    for config in configs:
        for batch in iter_batches(iter_clips(table.records, config), batch_size):
            for embedder, found in zip(embedders, parts, strict=True):
                if embedder.clip_config == config:
                    found.append(embedder.embed(batch))
            num_done += len(batch.pixels)
            if progress is not None:
                progress(num_done, len(table) * len(configs))
    return tuple(
        VideoEmbeddings(*(np.concatenate(values) for values in zip(*found, strict=True)))
        for found in parts
    )


@dataclass(frozen=True)
class Panel:
    """One embedding (V, D) float32 of all rows, its map and its numbers."""

    name: str
    definition: str
    model: dict[str, Any]
    embeddings: FloatArray
    map: EmbeddingMap

    @property
    def title(self) -> str:
        """Heading of the panel."""
        return _TITLES[self.name]


@dataclass(frozen=True)
class EmbeddingPanels:
    """The panels of one figure, from before the decoder to multi-modal queries."""

    table: ClipTable
    rows: MappedRows
    panels: tuple[Panel, ...]
    config: EmbeddingMapConfig
    single_label: bool

    @property
    def differences(self) -> list[dict[str, Any]]:
        """How much better neighbours predict labels in a panel than in each panel before it.

        JSON values, NaN as None.
        """
        found = []
        for place, panel in enumerate(self.panels):
            for other in self.panels[:place]:
                values = plain(panel.map.neighbours.minus(other.map.neighbours))
                numbers = dict(zip(("difference", "low", "high"), values, strict=True))
                found.append({"panel": panel.name, "minus": other.name, **numbers})
        return found

    def to_dict(self) -> dict[str, Any]:
        """Every number with its definition; JSON values, NaN as None."""
        return {
            "msqnet_version": __version__,
            "data": self.table.path.name,
            "num_rows": len(self.table),
            "num_videos": len(set(self.table.clip_ids())),
            "num_groups": len(set(self.rows.groups)),
            "splits": list(self.table.split_names()),
            "settings": asdict(self.config),
            "definitions": {
                "silhouette": SILHOUETTE_DEFINITION,
                "neighbour_accuracy": SINGLE_LABEL_DEFINITION
                if self.single_label
                else MULTI_LABEL_DEFINITION,
                "chance": "what an answer that does not depend on the row reaches",
                "low, high": "95 % percentile bootstrap over groups; a difference is taken in the "
                "same resamples",
                "shown_label": SHOWN_LABEL_DEFINITION,
                "map": "t-SNE of the 50 main components at most, of rows less their mean and "
                "scaled to length 1; no number is computed in it",
            },
            "panels": [self._panel_numbers(panel) for panel in self.panels],
            "differences": self.differences,
        }

    def _panel_numbers(self, panel: Panel) -> dict[str, Any]:
        neighbours = panel.map.neighbours
        low, high = neighbours.interval
        numbers = {
            "name": panel.name,
            "model": panel.model,
            "embedding": panel.definition,
            "width": panel.embeddings.shape[1],
            "perplexity": panel.map.perplexity,
            "silhouette": panel.map.silhouette,
            "neighbour_accuracy": neighbours.accuracy,
            "low": low,
            "high": high,
            "chance": neighbours.chance,
            "num_labels": neighbours.num_labels,
            "label_accuracy": dict(zip(self.rows.labels, neighbours.label_accuracy, strict=True)),
        }
        found: dict[str, Any] = plain(numbers)
        return found

    def write(self, folder: Path) -> tuple[Path, Path]:
        """Write `ROWS_FILE` and then `NUMBERS_FILE`, each replaced at once; returns their paths."""
        folder.mkdir(parents=True, exist_ok=True)
        paths = folder / ROWS_FILE, folder / NUMBERS_FILE
        with replacing(paths[0]) as part:
            self._write_rows(part)
        write_json(paths[1], self.to_dict(), ensure_ascii=False, allow_nan=False)
        return paths

    def _write_rows(self, path: Path) -> None:
        """One line a row: who it is, and for each panel its place in the map and its embedding."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        records = self.table.records
        columns: dict[str, Any] = {
            "row": [record.row for record in records],
            "path": [record.relative_path for record in records],
            "start_seconds": pa.array([record.start_seconds for record in records], pa.float64()),
            "end_seconds": pa.array([record.end_seconds for record in records], pa.float64()),
            "group": list(self.rows.groups),
            "labels": [join_labels(record.labels) for record in records],
            "shown_label": list(self.rows.shown_labels),
        }
        for panel in self.panels:
            columns[f"{panel.name}_x"] = panel.map.coordinates[:, 0]
            columns[f"{panel.name}_y"] = panel.map.coordinates[:, 1]
            columns[panel.name] = pa.FixedSizeListArray.from_arrays(
                pa.array(panel.embeddings.ravel()), panel.embeddings.shape[1]
            )
        about = {key: value for key, value in self.to_dict().items() if key != "panels"}
        written = pa.table(columns)
        pq.write_table(written.replace_schema_metadata({"msqnet": json.dumps(about)}), path)


def make_panels(
    table: ClipTable,
    model: VideoEmbedder,
    text_model: VideoEmbedder | None,
    config: EmbeddingMapConfig,
    *,
    batch_size: int,
    progress: Callable[[int, int], None] | None = None,
) -> EmbeddingPanels:
    """Embed the rows of a table by `embed_rows`, and map and measure every panel.

    Before and after the decoder are shown of ``model``, after it of ``text_model``, whose queries
    know nothing of the video. Models that do not fit are a `ConfigError`, too few rows, or none
    with a label, a `DatasetError`.
    """
    _check_models(model, text_model)
    rows = MappedRows.of(table)
    models = (model,) if text_model is None else (model, text_model)
    found = embed_rows(table, models, batch_size=batch_size, progress=progress)

    shown = [("before", EMBEDDING_DEFINITION, model, found[0].before)]
    # Text queries first, as in the paper's figure.
    for embedder, embeddings in reversed(list(zip(models, found, strict=True))):
        name = _NAME_WITH_VIDEO if embedder.has_video_query else _NAME_TEXT_ONLY
        definition = "mean over the decoded queries of all labels"
        shown.append((name, definition, embedder, embeddings.after))
    panels = []
    for name, definition, embedder, values in shown:
        mapped = map_embeddings(values, rows, config, single_label=model.single_label)
        panels.append(Panel(name, definition, embedder.provenance, values, mapped))
    return EmbeddingPanels(table, rows, tuple(panels), config, model.single_label)


def _check_models(model: VideoEmbedder, text_model: VideoEmbedder | None) -> None:
    if text_model is None:
        return
    if text_model.has_video_query:
        raise ConfigError(
            f"text_model {text_model.name}: its queries know of the video; expected a model "
            "trained with --arch.video-query none --arch.direct-path false"
        )
    if not model.has_video_query:
        raise ConfigError(
            f"model {model.name}: its queries know nothing of the video, as those of text_model; "
            "give it alone, or a model with a video query beside it"
        )
    if model.single_label != text_model.single_label:
        raise ConfigError(
            f"model {model.name} and text_model {text_model.name}: one gives a single label a row, "
            "the other any number; expected two that were trained with the same --task"
        )
