"""A finished model and a stretch of video in, heat maps of its labels out."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch

from msqnet.clips import ClipBatch
from msqnet.errors import ConfigError
from msqnet.explain.heat_maps import HeatMaps, grid_of, in_frame, seen_box, stretched
from msqnet.explain.relevance import label_relevance
from msqnet.explain.rollout import check_has_rollout
from msqnet.inference.backends import TorchBackend, clip_scores
from msqnet.inference.windows import iter_windows, window_lengths
from msqnet.model.computing import resolve_device
from msqnet.models import model_folder
from msqnet.video.reader import open_video
from msqnet.video.transforms import evaluation_clip
from msqnet.video.window_grid import segment_times

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from torch import Tensor

    from msqnet.clips import Frames
    from msqnet.config import WindowConfig
    from msqnet.labels import LabelSet
    from msqnet.model.pretrained import MSQNet
    from msqnet.prompts import LabelText

Paths = Literal["all", "decoder"]


class Explainer:
    """Tells where a model looked for its labels.

    Args:
        model: a finished model; put into eval mode here.
        device: where it runs: `auto`, `cpu`, `cuda`, ...
        paths: ``all`` shows what each path to the scores looked at, weighted as in the logits;
            ``decoder`` attention rollout alone, as the paper does. They differ for ``lite`` models
            with a direct path only; see `msqnet.explain.relevance`.

    Raises:
        ConfigError: a video encoder whose attention cannot be rolled out, or a device that cannot
            be used.

    Example:
        >>> from msqnet.explain.explainer import Explainer  # doctest: +SKIP
        >>> maps = Explainer.from_pretrained().explain("clip.mp4", ["walking"])  # doctest: +SKIP
    """

    def __init__(self, model: MSQNet, device: str = "auto", *, paths: Paths = "all") -> None:
        check_has_rollout(model.video_encoder)
        if paths not in ("all", "decoder"):
            raise ConfigError(f"paths {paths!r}: expected 'all' or 'decoder'")
        self._device = resolve_device(device)
        self._model = model.to(self._device).eval()  # type: ignore[arg-type]
        self._paths = paths

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
        """Load a finished model.

        Args:
            model: a folder, a Hugging Face Hub id, or the name of a model that comes with msqnet;
                None for the default one.
            device: see the class.
            paths: see the class.
            labels: what an open-vocabulary model is to be asked for instead of its own labels;
                without effect on others.
            texts: descriptions and synonyms of labels by their names.

        Raises:
            CheckpointError: there is no such model, or it is damaged.
            ConfigError: see the class.
        """
        from msqnet.model.pretrained import MSQNet
        from msqnet.model.vocabulary import ask_for

        loaded = MSQNet.from_pretrained(model_folder(model))
        if labels is not None and loaded.config.is_open:
            ask_for(loaded, tuple(labels), texts)
        return cls(loaded, device, paths=paths)

    @property
    def labels(self) -> LabelSet:
        """What the model can be asked about."""
        labels: LabelSet = self._model.config.label_set
        return labels

    def explain(
        self,
        path: str | Path,
        labels: Sequence[str],
        start_seconds: float = 0.0,
        end_seconds: float | None = None,
    ) -> HeatMaps:
        """Where the model looked in one stretch of a video, seen as one window.

        Args:
            path: a video file, or a folder of frame images.
            labels: K of the model's labels.
            start_seconds: start of the stretch.
            end_seconds: its end; by default, and at most, the video's.

        Raises:
            VideoError: not a video, or the stretch cannot be decoded.
            VocabularyError: labels that the model does not have.
            ConfigError: the stretch is empty or outside of the video.
        """
        self.labels.indices(labels)  # before anything is decoded
        config = self._model.config.clip_config
        with open_video(path, short_side_pixels=config.decode_short_side_pixels) as video:
            end = min(end_seconds or video.duration_seconds, video.duration_seconds)
            if not 0 <= start_seconds < end:
                raise ConfigError(
                    f"{path}: nothing from {start_seconds:g} to {end:g} s; expected a stretch of "
                    f"its {video.duration_seconds:g} s"
                )
            times = segment_times(start_seconds, end, config.num_frames)
            return self.explain_frames(video.frames_at(times.tolist()), labels)

    def explain_windows(
        self,
        path: str | Path,
        labels: Sequence[str],
        window: WindowConfig,
        start_seconds: float = 0.0,
        end_seconds: float = math.inf,
    ) -> Iterator[tuple[float, float, HeatMaps]]:
        """Where the model looked in every window of a video.

        Args:
            path: a video file, or a folder of frame images.
            labels: K of the model's labels.
            window: how the video is cut into windows; see `msqnet.inference.windows`.
            start_seconds: windows whose middle lies before this are left out.
            end_seconds: windows whose middle does not lie before this are left out.

        Yields:
            Start and end of each window in seconds, and its maps.

        Raises:
            VideoError: not a video, or no frame of it can be decoded.
            VocabularyError: labels that the model does not have.
            ConfigError: the stride is longer than the window.
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
        """The labels with the highest scores in any window of a video, best first; none of none.

        Args:
            path: see `explain_windows`, and so for the others.
            window: see there.
            count: how many labels at most.
            start_seconds: see there.
            end_seconds: see there.

        Raises:
            VideoError: not a video, or no frame of it can be decoded.
        """
        backend = TorchBackend(self._model, str(self._device))
        windows = self._windows(path, window, start_seconds, end_seconds)
        clips = (evaluation_clip(frames, backend.clip_config) for _, _, frames in windows)
        rows = [clip_scores(backend, ClipBatch.stack([clip]))[0] for clip in clips]
        if not rows:
            return ()
        order = np.argsort(-np.max(rows, axis=0), kind="stable")[:count]
        return tuple(self.labels.names[column] for column in order)

    def _windows(
        self, path: str | Path, window: WindowConfig, start_seconds: float, end_seconds: float
    ) -> Iterator[tuple[float, float, Frames]]:
        config = self._model.config.clip_config
        lengths = window_lengths(window, self._model.config.window_seconds, config.num_frames)
        with open_video(path, short_side_pixels=config.decode_short_side_pixels) as video:
            for start, end, frames in iter_windows(video, config, *lengths):
                if start_seconds <= (start + end) / 2 < end_seconds:
                    yield start, end, frames

    def explain_frames(self, frames: Frames, labels: Sequence[str]) -> HeatMaps:
        """Where the model looked in the frames of a window.

        Args:
            frames: T, of any size, as the model takes them.
            labels: K of the model's labels.

        Raises:
            VocabularyError: labels that the model does not have.
        """
        columns = self.labels.indices(labels)
        config = self._model.config.clip_config
        clip = evaluation_clip(frames, config)
        height, width = frames.pixels.shape[-2:]
        boxes = [seen_box(width, height, config), clip.motion_box]
        batch = ClipBatch.stack([clip])
        closeups = None if batch.closeups is None else batch.closeups.to(self._device)
        paths, scores = label_relevance(
            self._model, ClipBatch(batch.pixels.to(self._device), closeups), columns
        )
        if self._paths == "decoder":
            paths = paths[:1]
        rows, cells = grid_of(width, height)
        total: Tensor | float = 0.0
        for path in paths:
            placed = in_frame(path.looks, boxes[: path.looks.shape[1]], rows, cells)
            sums = placed.sum(dim=(1, 2, 3), keepdim=True).clamp_min(torch.finfo().tiny)
            total = total + path.share * placed / sums
        maps = np.asarray(torch.as_tensor(total).float().cpu().numpy())
        return HeatMaps(
            tuple(labels), stretched(maps), frames.pts_seconds.numpy(), scores.float().cpu().numpy()
        )
