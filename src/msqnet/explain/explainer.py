"""A finished model and an interval of video in, attribution maps of its labels out.

Axes: K labels, G views, T frames, h w cells.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from torch.nn import functional as F

from msqnet.clips import WHOLE_FRAME, Box, ClipBatch
from msqnet.errors import ConfigError, ShapeError, VocabularyError
from msqnet.explain.rollout import check_has_rollout, label_relevance, undrawn_share
from msqnet.inference.backends import clip_scores
from msqnet.inference.torch_backends import TorchBackend
from msqnet.inference.windows import iter_windows, window_lengths
from msqnet.labels import LabelSet
from msqnet.model.computing import resolve_device
from msqnet.model.out_of_distribution import TrainingReference, clip_embeddings
from msqnet.models import model_folder
from msqnet.models.taught import taught_names
from msqnet.video.reader import open_video
from msqnet.video.sound import window_frames
from msqnet.video.transforms import evaluation_clip

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from torch import Tensor

    from msqnet.clips import Frames
    from msqnet.config import ClipConfig, WindowConfig
    from msqnet.model.pretrained import MSQNet
    from msqnet.predictions import FloatArray, SecondsArray
    from msqnet.prompts import LabelText

Paths = Literal["all", "decoder"]

LONG_SIDE_CELLS = 64
"""Cells along the long side of a map: finer than any encoder's patches, coarse enough to send."""


@dataclass(frozen=True, eq=False)
class AttributionMaps:
    """The relevance of places in the frames of one clip for each label.

    Attributes:
        labels: K names.
        maps: (K, T, h, w) float32 in [0, 1], in coordinates of the whole upright frame, as
            `rescaled`: labels can be compared in place, not in strength. Parts that the model
            never sees (cut off at the edges) are 0.
        pts_seconds: (T,) float64, times of the frames, counted from the video's first one.
        scores: (K,) float32, the model's scores of the labels for this clip.
    """

    labels: tuple[str, ...]
    maps: FloatArray
    pts_seconds: SecondsArray
    scores: FloatArray

    def __post_init__(self) -> None:
        expected = (len(self.labels), len(self.pts_seconds))
        found = (self.maps.ndim, self.maps.shape[:2], self.scores.shape)
        if found != (4, expected, expected[:1]):
            raise ShapeError(
                f"AttributionMaps: found maps {self.maps.shape} and scores {self.scores.shape}, "
                f"expected (K, T, h, w) and (K,) with K, T = {expected}"
            )

    def at(self, time_seconds: float) -> FloatArray:
        """The maps (K, h, w) at a time, faded from one frame to the next."""
        place = np.interp(time_seconds, self.pts_seconds, np.arange(len(self.pts_seconds)))
        first = int(place)
        second = min(first + 1, len(self.pts_seconds) - 1)
        share = np.float32(place - first)
        return np.asarray(self.maps[:, first] * (1 - share) + self.maps[:, second] * share)

    def aligned_with(self, other: AttributionMaps) -> AttributionMaps:
        """These maps at the times and on the cells of another model's maps of the same interval."""
        at_times = np.stack([self.at(time) for time in other.pts_seconds.tolist()], axis=1)
        size = other.maps.shape[2:]
        if at_times.shape[2:] != size:
            cells = torch.from_numpy(at_times)
            at_times = np.asarray(F.interpolate(cells, size, mode="bilinear").numpy())
        return AttributionMaps(self.labels, at_times, other.pts_seconds, self.scores)


class Explainer:
    """Shows which parts of the frames a model's scores rest on.

    Args:
        model: a finished model; put into eval mode here. A video encoder whose attention cannot be
            rolled out is a `ConfigError`.
        device: `auto`, `cpu`, `cuda`, ...
        paths: ``all`` shows the relevance by each path to the scores, weighted as in the logits;
            ``decoder`` attention rollout alone, as the paper does. They differ for models with a
            direct path only; see `msqnet.explain.rollout`.
        reference: the model's training windows, for `is_unknown`.
        taught: labels that the model was taught by `msqnet teach`, of which no map can be drawn.

    Attention to sound is left out of the maps, which are of frames.

    Attributes:
        undrawn_share: weight in the logits of what no map shows: a direct path from the embedding
            of an image encoder. A model whose scores all come from there is a `ConfigError`.

    Example:
        >>> from msqnet.explain.explainer import Explainer  # doctest: +SKIP
        >>> maps = Explainer.from_pretrained().explain("clip.mp4", ["walking"])  # doctest: +SKIP
    """

    def __init__(
        self,
        model: MSQNet,
        device: str = "auto",
        *,
        paths: Paths = "all",
        reference: TrainingReference | None = None,
        taught: Sequence[str] = (),
    ) -> None:
        check_has_rollout(model.video_encoder)
        if not model.config.frame_memory:
            raise ConfigError(
                "this model looks at sound alone: no part of its frames has any share"
            )
        if paths not in ("all", "decoder"):
            raise ConfigError(f"paths {paths!r}: expected 'all' or 'decoder'")
        if paths == "decoder" and model.config.decoder_is_unused:
            raise ConfigError(
                "paths 'decoder': the direct path gives all scores of this model, so that its "
                "decoder explains none; choose 'all'"
            )
        self.undrawn_share = undrawn_share(model)
        if self.undrawn_share == 1:
            raise ConfigError(
                "the direct path gives all scores of this model, from an embedding of whole frames "
                "of which no places are known: there is nothing to draw"
            )
        self._device = resolve_device(device)
        self._model = model.to(self._device).eval()  # type: ignore[arg-type]
        self._paths = paths
        self._reference, self._taught = reference, taught

    @classmethod
    def from_pretrained(
        cls,
        model: str | Path | None = None,
        device: str = "auto",
        *,
        paths: Paths = "all",
        labels: Sequence[str] | None = None,
        texts: Mapping[str, LabelText] | None = None,
    ) -> Explainer:
        """Load a finished model, else a `CheckpointError`.

        Args:
            model: a folder, a Hugging Face Hub id, or the name of a model that comes with msqnet;
                None for the default one.
            labels: of an open-vocabulary model in place of its own; without effect on others.
            texts: descriptions and synonyms of labels by their names.
        """
        from msqnet.model.pretrained import MSQNet
        from msqnet.model.vocabulary import ask_for

        folder = model_folder(model)
        loaded = MSQNet.from_pretrained(folder)
        if labels is not None and loaded.config.is_open:
            ask_for(loaded, tuple(labels), texts)
        reference = TrainingReference.load(folder)
        return cls(loaded, device, paths=paths, reference=reference, taught=taught_names(folder))

    @property
    def labels(self) -> LabelSet:
        """The labels that the model can explain."""
        labels: LabelSet = self._model.config.label_set
        return LabelSet(tuple(name for name in labels if name not in self._taught))

    def columns(self, labels: Sequence[str]) -> list[int]:
        """Those of some labels in the model; a `VocabularyError` for labels without maps."""
        taught = [name for name in labels if name in self._taught]
        if taught:
            raise VocabularyError(
                f"{', '.join(taught)}: taught by msqnet teach, and there are no maps of taught "
                f"labels; name some of {', '.join(self.labels)}"
            )
        own: LabelSet = self._model.config.label_set
        return own.indices(labels)

    def explain(
        self,
        path: str | Path,
        labels: Sequence[str],
        start_seconds: float = 0.0,
        end_seconds: float | None = None,
    ) -> AttributionMaps:
        """Maps of one interval of a video, taken as one window; by default to the video's end.

        `VideoError` if that cannot be decoded, `VocabularyError` for labels that the model does not
        have, `ConfigError` if the interval is empty or outside of the video.
        """
        self.columns(labels)  # before anything is decoded
        return self.explain_frames(self._frames(path, start_seconds, end_seconds), labels)

    def is_unknown(
        self, path: str | Path, start_seconds: float = 0.0, end_seconds: float | None = None
    ) -> bool:
        """Whether an interval, taken as one window, is unlike the training windows.

        False where the model does not store them. Errors are those of `explain`.
        """
        if self._reference is None or self._reference.window_limit is None:
            return False
        frames = self._frames(path, start_seconds, end_seconds)
        clip = evaluation_clip(frames, self._model.config.clip_config)
        with torch.inference_mode():
            output = self._model(**ClipBatch.stack([clip]).inputs())
        embedding = clip_embeddings(self._model, output).cpu().numpy()
        return bool(self._reference.distance(embedding)[0] > self._reference.window_limit)

    def _frames(self, path: str | Path, start_seconds: float, end_seconds: float | None) -> Frames:
        config = self._model.config.clip_config
        with open_video(path, short_side_pixels=config.decode_short_side_pixels) as video:
            first, last = video.start_seconds, video.end_seconds
            start, end = max(start_seconds, first), min(end_seconds or last, last)
            if not 0 <= start_seconds <= start < end:
                raise ConfigError(
                    f"{path}: nothing from {start_seconds:g} to {end:g} s; expected an interval of "
                    f"its pictures, {first:g} to {last:g} s"
                )
            return window_frames(video, start, end, config)

    def explain_windows(
        self,
        path: str | Path,
        labels: Sequence[str],
        window: WindowConfig,
        start_seconds: float = 0.0,
        end_seconds: float = math.inf,
    ) -> Iterator[tuple[float, float, AttributionMaps]]:
        """Start, end and maps of every window of a video whose middle lies in an interval.

        Errors are those of `explain`; a stride longer than the window is a `ConfigError` too.
        """
        for start, end, frames in self._windows(path, window, start_seconds, end_seconds):
            yield start, end, self.explain_frames(frames, labels)

    def highest(
        self,
        path: str | Path,
        window: WindowConfig,
        count: int,
        start_seconds: float = 0.0,
        end_seconds: float = math.inf,
    ) -> tuple[str, ...]:
        """At most `count` labels with the highest scores in any window, best first.

        Those that the model was not shown to recognise come after all others. Windows and errors
        are those of `explain_windows`; none if there is no window.
        """
        backend = TorchBackend(self._model, str(self._device))
        windows = self._windows(path, window, start_seconds, end_seconds)
        clips = (evaluation_clip(frames, backend.clip_config) for _, _, frames in windows)
        rows = [clip_scores(backend, ClipBatch.stack([clip]))[0] for clip in clips]
        if not rows:
            return ()
        best = dict(zip(backend.labels, np.max(rows, axis=0), strict=True))
        order = sorted(self.labels, key=lambda name: (name in backend.unproven, -best[name]))
        return tuple(order[:count])

    def _windows(
        self, path: str | Path, window: WindowConfig, start_seconds: float, end_seconds: float
    ) -> Iterator[tuple[float, float, Frames]]:
        config = self._model.config.clip_config
        lengths = window_lengths(window, self._model.config.window_seconds, config.num_frames)
        with open_video(path, short_side_pixels=config.decode_short_side_pixels) as video:
            for start, end, frames in iter_windows(video, config, *lengths):
                if start_seconds <= (start + end) / 2 < end_seconds:
                    yield start, end, frames

    def explain_frames(self, frames: Frames, labels: Sequence[str]) -> AttributionMaps:
        """Maps of the frames of a window, which may have any size; see `explain`."""
        config = self._model.config.clip_config
        clip = evaluation_clip(frames, config)
        height, width = frames.pixels.shape[-2:]
        boxes = [seen_box(width, height, config), clip.motion_box]
        columns = self.columns(labels)
        paths, scores = label_relevance(self._model, ClipBatch.stack([clip]), columns)
        if self._paths == "decoder":
            paths = paths[:1]
        total: Tensor | float = 0.0
        for path in paths:
            placed = in_frame(path.views, boxes[: path.views.shape[1]], *grid_of(width, height))
            sums = placed.sum(dim=(1, 2, 3), keepdim=True).clamp_min(torch.finfo().tiny)
            total = total + path.share * placed / sums
        maps = rescaled(np.asarray(torch.as_tensor(total).float().cpu().numpy()))
        found = scores.float().cpu().numpy()
        return AttributionMaps(tuple(labels), maps, frames.pts_seconds, found)


def grid_of(width: int, height: int) -> tuple[int, int]:
    """Rows and columns of the maps of a frame of ``width`` by ``height`` pixels."""
    scale = LONG_SIDE_CELLS / max(width, height)
    return max(1, round(height * scale)), max(1, round(width * scale))


def seen_box(width: int, height: int, config: ClipConfig) -> Box:
    """The part of an upright frame, sides in pixels, that the whole view shows."""
    if config.resize == "stretch":
        return WHOLE_FRAME
    side = config.size_pixels / config.short_side_pixels * min(width, height)
    across, down = side / width / 2, side / height / 2
    return Box(0.5 - across, 0.5 - down, 0.5 + across, 0.5 + down)


def in_frame(views: Tensor, boxes: Sequence[Box], rows: int, columns: int) -> Tensor:
    """Put views in place: density of relevance over the frame, the sum of all views.

    Relevance of patches (K, G, T, h, w) of G views, which show ``boxes`` -> (K, T, rows, columns)
    float, interpolated between the centres of patches; 0 outside of the boxes. The relevance of a
    view of a part of the frame lands on that part only, and so more densely.
    """
    num_labels, num_views, num_frames, height, width = views.shape
    if len(boxes) != num_views:
        raise ShapeError(f"{num_views} views with {len(boxes)} boxes; expected one for each")
    down = (torch.arange(rows, device=views.device) + 0.5) / rows
    across = (torch.arange(columns, device=views.device) + 0.5) / columns
    placed = views.new_zeros(num_labels, num_frames, rows, columns)
    for view, box in enumerate(boxes):
        y = (down - box.top) / (box.bottom - box.top)  # in the view, 0 to 1 inside it
        x = (across - box.left) / (box.right - box.left)
        inside = ((y >= 0) & (y <= 1))[:, None] & ((x >= 0) & (x <= 1))  # (rows, columns)
        y_grid, x_grid = torch.meshgrid(2 * y - 1, 2 * x - 1, indexing="ij")
        grid = torch.stack([x_grid, y_grid], dim=-1)  # (rows, columns, 2)
        patches = views[:, view].flatten(0, 1)[:, None]  # (K*T, 1, h, w)
        sampled = F.grid_sample(
            patches,
            grid.expand(len(patches), -1, -1, -1).to(patches.dtype),
            padding_mode="border",
            align_corners=False,
        )
        area = (box.right - box.left) * (box.bottom - box.top) / (height * width)  # of a patch
        placed += (sampled[:, 0] * inside / area).unflatten(0, (num_labels, num_frames))
    return placed


def rescaled(density: FloatArray) -> FloatArray:
    """Each label's density from its lowest (0) to its highest value (1), over all frames.

    (K, T, h, w) float, 0 outside of the views -> float32; all 0 where a density is constant. Skip
    connections leave a part of the relevance everywhere, which says nothing about places.
    """
    axes = (1, 2, 3)
    seen = np.where(density > 0, density, np.inf)
    lowest = np.minimum(seen.min(axis=axes, keepdims=True), density.max(axis=axes, keepdims=True))
    spread = density.max(axis=axes, keepdims=True) - lowest
    scaled = (density - lowest) / np.maximum(spread, np.finfo(np.float32).tiny)
    return np.asarray(scaled.clip(0, 1), dtype=np.float32)
