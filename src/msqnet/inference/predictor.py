"""One video file in, `VideoPredictions` out."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, replace
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

from msqnet import __version__
from msqnet.config import InferenceOptions, SegmentConfig, WindowConfig
from msqnet.errors import ConfigError, ShapeError
from msqnet.inference.backends import EmbeddingBackend
from msqnet.inference.loading import load_backend
from msqnet.inference.merge import merge_windows, segments_from_timeline
from msqnet.inference.read_ahead import ReadAhead
from msqnet.inference.shared_frames import SharedFrames, seen_windows
from msqnet.inference.windows import window_lengths
from msqnet.model.out_of_distribution import UNLIKE_SHARE
from msqnet.predictions import SCHEMA_VERSION, Novelty, VideoPredictions, WindowScores
from msqnet.video.reader import open_video

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from msqnet.clips import Box
    from msqnet.inference.backends import Backend
    from msqnet.inference.shared_frames import SeenWindow
    from msqnet.model.out_of_distribution import NoveltyReference
    from msqnet.predictions import FloatArray
    from msqnet.video.reader import Video


class Predictor:
    """Predicts actions over time in videos of any length.

    A video is decoded once, by a thread that reads ahead, and the encoders see each frame once,
    however many windows share it. In memory are the frames of the windows that overlap, and two
    batches of windows; only the scores grow with the video.

    Args:
        backend: what scores clips.
        window: how videos are cut into windows.
        segments: how scores become segments.

    Raises:
        ConfigError: the stride is longer than the window, so that time would go unseen.

    Examples:
        >>> from msqnet import Predictor  # doctest: +SKIP
        >>> Predictor.from_pretrained()("clip.mp4").segments  # doctest: +SKIP
    """

    def __init__(
        self,
        backend: Backend,
        window: WindowConfig | None = None,
        segments: SegmentConfig | None = None,
    ) -> None:
        self.backend = backend
        self._window = window or WindowConfig()
        self._segments = segments or SegmentConfig()
        self.window_seconds, self.stride_seconds = window_lengths(
            self._window, backend.window_seconds, backend.clip_config.num_frames
        )

    @classmethod
    def from_pretrained(
        cls,
        model: str | Path | None = None,
        options: InferenceOptions | None = None,
        *,
        window: WindowConfig | None = None,
        segments: SegmentConfig | None = None,
        **changes: Any,
    ) -> Predictor:
        """Load a finished model.

        Args:
            model: see `InferenceOptions`.
            options: which model, and how it predicts.
            window: all options of windows at once.
            segments: all options of segments at once.
            changes: single options by their names, such as ``labels=["walking"]`` or
                ``threshold=0.5``.

        Raises:
            CheckpointError: there is no such model, or it is damaged.
            ConfigError: the device, the runtime, the precision or the settings cannot be used.
            MissingExtra: the runtime is not installed.
            TypeError: there is no such option.
            VocabularyError: labels that the model cannot score.
        """
        if model is not None:
            changes["model"] = str(model)
        chosen = replace(options or InferenceOptions(), **changes)
        return cls(load_backend(chosen), window or chosen.window, segments or chosen.segments)

    @property
    def thresholds(self) -> FloatArray:
        """(K,) float32, the thresholds in use."""
        if self._segments.threshold is None:
            return self.backend.thresholds
        return np.full(len(self.backend.labels), self._segments.threshold, dtype=np.float32)

    @property
    def provenance(self) -> dict[str, Any]:
        """What decides the results besides the video: JSON values only.

        `config_digest` identifies all settings that change scores or segments.
        """
        settings = {
            "clip": self.backend.clip_config.to_dict(),
            "window_seconds": self.window_seconds,
            "stride_seconds": self.stride_seconds,
            "thresholds": [float(value) for value in self.thresholds],
            "segments": asdict(self._segments),
        }
        text = json.dumps(settings, sort_keys=True)
        return {
            "schema_version": SCHEMA_VERSION,
            "msqnet_version": __version__,
            "model": self.backend.provenance,
            "labels_digest": self.backend.labels.digest,
            "config_digest": hashlib.sha256(text.encode()).hexdigest()[:16],
            "settings": settings,
        }

    def __call__(
        self, path: str | Path, progress: Callable[[float], None] | None = None
    ) -> VideoPredictions:
        """Predict one video.

        Of a file with a damaged end, the part that decodes is predicted: the result's
        ``duration_seconds`` is the length of that part, and ``notes`` says so.

        Args:
            path: a video file, or a folder of frame images.
            progress: called with the share of the video that is done, rising to 1.

        Raises:
            VideoError: not a video, or no frame of it can be decoded.
        """
        return self._predict(path, progress or _ignore, None)

    def with_embeddings(
        self, path: str | Path, progress: Callable[[float], None] | None = None
    ) -> tuple[VideoPredictions, FloatArray]:
        """Predict one video, and keep the embedding of each window.

        Args:
            path: see `__call__`.
            progress: see `__call__`.

        Returns:
            The predictions, and (N, D) float32 for its N windows.

        Raises:
            ConfigError: the backend gives no embeddings.
            VideoError: see `__call__`.
        """
        kept: list[FloatArray] = []
        predictions = self._predict(path, progress or _ignore, kept)
        if not kept:
            name = self.backend.provenance.get("name", "this model")
            raise ConfigError(
                f"{name} gives no embeddings of windows; name a model that msqnet trained, or one "
                "that this version of msqnet exported"
            )
        return predictions, np.concatenate(kept)

    def _predict(
        self, path: str | Path, progress: Callable[[float], None], kept: list[FloatArray] | None
    ) -> VideoPredictions:
        """As `__call__`; embeddings are added to ``kept``."""
        config = self.backend.clip_config
        with open_video(path, short_side_pixels=config.decode_short_side_pixels) as video:
            windows, distances = self._score(video, progress, kept)
            timeline = merge_windows(windows)
            segments = segments_from_timeline(
                timeline,
                self.backend.labels,
                self.thresholds,
                self._segments,
                single_label=self.backend.single_label,
            )
            return VideoPredictions(
                path=str(path),
                labels=self.backend.labels,
                duration_seconds=float(video.duration_seconds),
                width=int(video.width),
                height=int(video.height),
                window_seconds=self.window_seconds,
                stride_seconds=self.stride_seconds,
                windows=tuple(windows),
                timeline=timeline,
                segments=tuple(segments),
                thresholds=tuple(self.thresholds.tolist()),
                single_label=self.backend.single_label,
                provenance=self.provenance,
                notes=_notes(video),
                novelty=self._novelty(distances),
            )

    @property
    def _reference(self) -> NoveltyReference | None:
        """What the training set looks like to the model, where it stores that."""
        return self.backend.novelty if isinstance(self.backend, EmbeddingBackend) else None

    def _novelty(self, distances: Sequence[float]) -> Novelty | None:
        """How unlike the training videos a video is, by the median of its windows."""
        if self._reference is None or not distances:
            return None
        distance = float(np.median(distances))
        share = self._reference.share_nearer(distance)
        return Novelty(share, distance, is_unlike=share >= UNLIKE_SHARE)

    def _score(
        self, video: Video, progress: Callable[[float], None], kept: list[FloatArray] | None
    ) -> tuple[list[WindowScores], list[float]]:
        """Scores of all windows that can be decoded, and their distances from the training set."""
        done: list[WindowScores] = []
        distances: list[float] = []
        shared = SharedFrames(self.backend)
        stream = seen_windows(
            video, self.backend.clip_config, self.window_seconds, self.stride_seconds
        )
        with ReadAhead(stream, self._window.batch_size) as windows:
            while batch := list(islice(windows, self._window.batch_size)):
                scores, embeddings = shared.answers(batch)
                done += self._window_scores(batch, scores)
                if embeddings is not None and self._reference is not None:
                    distances += self._reference.distance(embeddings).tolist()
                if embeddings is not None and kept is not None:
                    kept.append(embeddings)
                progress(min(1.0, done[-1].end_seconds / video.duration_seconds))
        return done, distances

    def _window_scores(self, batch: Sequence[SeenWindow], scores: FloatArray) -> list[WindowScores]:
        expected = (len(batch), len(self.backend.labels))
        if scores.shape != expected:
            raise ShapeError(f"backend gave scores {scores.shape}, expected {expected}")
        return [
            WindowScores(window.start_seconds, window.end_seconds, row, _sides(window.motion_box))
            for window, row in zip(batch, scores, strict=True)
        ]


def _notes(video: Video) -> tuple[str, ...]:
    """What a reader must know of a video of which all windows were read."""
    if not video.is_damaged:
        return ()
    return (
        f"the file is damaged: {video.num_frames} frames decode, up to "
        f"{video.duration_seconds:.3f} s; what lies behind is not predicted",
    )


def _sides(box: Box) -> tuple[float, float, float, float]:
    return (box.left, box.top, box.right, box.bottom)


def _ignore(_share: float) -> None:
    """The progress callback of a caller who wants none."""
