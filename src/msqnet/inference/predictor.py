"""One video file in, `VideoPredictions` out."""

from __future__ import annotations

import logging
from collections import Counter
from contextlib import closing
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING, Any, get_args

import numpy as np

from msqnet.config import InferenceOptions, RuntimeName, SegmentConfig, WindowConfig
from msqnet.errors import (
    CheckpointError,
    MissingExtra,
    ShapeError,
    check,
    needs_extra,
)
from msqnet.inference.changes import changes_of_labels
from msqnet.inference.exported import ExportedBackend
from msqnet.inference.manifest import has_graphs
from msqnet.inference.merge import merge_windows, segments_from_timeline
from msqnet.inference.model_facts import (
    BORDER_REACH_WINDOWS,
    locate_model,
    provenance_of,
    takes_graphs,
    thresholds_in_use,
    torch_precision,
)
from msqnet.inference.taught import TaughtBackend, asked_of_model
from msqnet.inference.windows import SharedFrames, preprocessed_windows, read_ahead, window_lengths
from msqnet.model.out_of_distribution import UNLIKE_SHARE
from msqnet.predictions import Novelty, VideoPredictions, WindowScores
from msqnet.prompts import TEMPLATE_ENSEMBLE, contrast_texts, read_label_table
from msqnet.video.reader import open_video

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from msqnet.config import ModelOptions
    from msqnet.inference.backends import Backend
    from msqnet.inference.model_facts import ModelPlace
    from msqnet.labels import LabelSet
    from msqnet.model.out_of_distribution import TrainingReference
    from msqnet.predictions import FloatArray
    from msqnet.video.reader import Video

_logger = logging.getLogger(__name__)


class Predictor:
    """Predicts actions over time in videos of any length.

    A video is decoded once, by a thread that reads ahead, and the encoders see each frame once,
    however many windows share it. In memory are the frames of the windows that overlap, and two
    batches of windows; only the scores grow with the video.

    Args:
        window: how videos are cut into windows.
        segments: how scores become segments.

    Attributes:
        thresholds: (K,) float32, those in use.

    Raises:
        ConfigError: the stride is longer than the window, which would leave gaps.

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
        self.thresholds = thresholds_in_use(backend, self._segments)

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
            window: all options of windows at once.
            segments: all options of segments at once.
            changes: single options by their names, such as ``labels=["walking"]`` or
                ``threshold=0.5``.

        Raises:
            CheckpointError: there is no such model, or it is damaged.
            ConfigError: the device, the runtime, the precision or the settings cannot be used.
            MissingExtra: the runtime is not installed.
            VocabularyError: labels that the model cannot score.
        """
        if model is not None:
            changes["model"] = str(model)
        chosen = replace(options or InferenceOptions(), **changes)
        return cls(load_backend(chosen), window or chosen, segments or chosen)

    @property
    def provenance(self) -> dict[str, Any]:
        """The model and settings behind the results: JSON values only.

        `config_digest` identifies all settings that change scores or segments.
        """
        return provenance_of(self.backend, self._window, self._segments)

    def __call__(
        self,
        path: str | Path | Iterable[Any],
        progress: Callable[[float], None] | None = None,
        embeddings: list[FloatArray] | None = None,
        fps: float | None = None,
    ) -> VideoPredictions:
        """Predict one video.

        Of a damaged file, the part that decodes is predicted: the result's ``is_partial`` is set,
        its ``duration_seconds`` is up to where the file decodes, and ``notes`` says what is lost.

        Args:
            path: a video file, a folder of frame images; bytes or a file object; or frames in
                memory, (T, H, W, 3) uint8 RGB or a list of (H, W, 3), with their ``fps``.
            progress: called with the share of the video that is done, rising to 1.
            embeddings: takes the embeddings of batches of windows, (B, D) float32 each, if the
                backend computes them.
            fps: frames a second, see `open_video`; in place of that of the windows' settings.

        Raises:
            VideoError: not a video, or no frame of it can be decoded.
            ConfigError: frames in memory without their rate.
            ShapeError: frames in memory of another form; a file object of text.
        """
        backend = self.backend
        short_side = backend.clip_config.decode_short_side_pixels
        fps = fps or self._window.fps
        with open_video(path, short_side_pixels=short_side, fps=fps) as video:
            windows, frame_logits, novelty, actors, num_missing = self._score(
                video, progress, embeddings
            )
            limit = None if self._reference is None else self._reference.window_limit
            timeline = merge_windows(windows, limit=limit)
            if frame_logits:
                timeline = replace(timeline, changes=changes_of_labels(windows, frame_logits))
            unproven = backend.unproven
            if backend.training_reference is not None:
                others = backend.training_reference.labels_of_others(actors)
                unproven = {name: others[name] for name in backend.labels if name in others}
                unproven |= backend.unproven
            segments = segments_from_timeline(
                timeline,
                *(backend.labels, self.thresholds, self._segments),
                reach_seconds=self._border_reach_seconds,
                single_label=backend.single_label,
                unproven=unproven,
            )
            return VideoPredictions(
                path=str(path if isinstance(path, str) else video.path),
                labels=backend.labels,
                duration_seconds=float(video.duration_seconds),
                width=int(video.width),
                height=int(video.height),
                window_seconds=self.window_seconds,
                stride_seconds=self.stride_seconds,
                windows=tuple(windows),
                timeline=timeline,
                segments=tuple(segments),
                thresholds=tuple(self.thresholds.tolist()),
                single_label=backend.single_label,
                provenance=self.provenance,
                notes=(*video.notes, *self._notes_of_sound(num_missing, len(windows))),
                is_partial=video.is_damaged,
                shown=tuple(video.shown_intervals),
                novelty=novelty,
                unproven=unproven,
                actors=actors,
            )

    def _notes_of_sound(self, num_missing: int, num_windows: int) -> list[str]:
        if self.backend.clip_config.sound is None or not num_missing:
            return []
        where = "all" if num_missing == num_windows else f"{num_missing} of {num_windows}"
        return [f"the model uses sound, which is missing in {where} windows; it is masked there"]

    @property
    def _border_reach_seconds(self) -> float:
        """How far around a border scores tell where it is."""
        return BORDER_REACH_WINDOWS * self.window_seconds

    @property
    def _reference(self) -> TrainingReference | None:
        return None if self._segments.ood == "ignore" else self.backend.training_reference

    def _score(
        self,
        video: Video,
        progress: Callable[[float], None] | None,
        kept: list[FloatArray] | None,
    ) -> tuple[list[WindowScores], list[FloatArray], Novelty | None, dict[str, float], int]:
        """Scores of all windows that decode, their out-of-distribution score, and the actors.

        Beside the windows the logits of their frames, (T, K) each, where the backend gives them.
        Last the number of windows without sound, where the model takes it.
        """
        backend, reference = self.backend, self._reference
        done: list[WindowScores] = []
        of_frames: list[FloatArray] = []
        votes, num_missing = Counter[str](), 0
        shared = SharedFrames(backend)
        stream = preprocessed_windows(
            video, backend.clip_config, self.window_seconds, self.stride_seconds
        )
        with closing(read_ahead(stream, self._window.batch_size)) as windows:
            while batch := list(islice(windows, self._window.batch_size)):
                scores, embeddings, frame_logits = shared.outputs(batch)
                sounds = [window.sound for window in batch]
                num_missing += sum(sound is not None and sound.is_missing for sound in sounds)
                of_frames += [] if frame_logits is None else list(frame_logits)
                expected = (len(batch), len(backend.labels))
                if scores.shape != expected:
                    raise ShapeError(f"backend gave scores {scores.shape}, expected {expected}")
                distances: list[float | None] = [None] * len(batch)
                if embeddings is not None and backend.training_reference is not None:
                    votes += backend.training_reference.actor_votes(embeddings)
                if embeddings is not None and reference is not None:
                    distances = reference.distance(embeddings).tolist()
                for window, row, distance in zip(batch, scores, distances, strict=True):
                    box = window.motion_box
                    sides = (box.left, box.top, box.right, box.bottom)
                    start, end = window.start_seconds, window.end_seconds
                    done.append(WindowScores(start, end, row, sides, distance))
                if embeddings is not None and kept is not None:
                    kept.append(embeddings)
                if progress is not None:
                    progress(min(1.0, done[-1].end_seconds / video.end_seconds))
        actors = {name: number / votes.total() for name, number in votes.most_common()}
        known = [window.distance for window in done if window.distance is not None]
        if reference is None or not known:
            return done, of_frames, None, actors, num_missing
        median = float(np.median(known))
        share = reference.share_nearer(median)
        found = Novelty(share, median, is_unlike=share >= UNLIKE_SHARE)
        return done, of_frames, found, actors, num_missing


def load_backend(options: ModelOptions) -> Backend:
    """Load the backend of a model; raises the errors of `Predictor.from_pretrained`.

    Exported models run on the CPU, in a precision that they were exported in.
    """
    runtime, runtimes = options.runtime, get_args(RuntimeName)
    check(runtime in runtimes, f"runtime {runtime!r}: expected one of {', '.join(runtimes)}")
    place = locate_model(options)
    if place.taught is None:
        return _load_model(options, place)
    own = asked_of_model(place.labels, place.taught)
    backend = TaughtBackend(_load_model(options, replace(place, labels=own)), place.taught)
    if place.labels is not None:
        backend.keep_labels(place.labels)
    return backend


def _load_model(options: ModelOptions, place: ModelPlace) -> Backend:
    """The model itself, without the labels that it was taught."""
    model, runtime, device = options.model, options.runtime, options.device
    table = options.label_table
    texts = None if table is None else read_label_table(table)
    folder, labels, source = place.folder, place.labels, place.open_source
    if place.is_graphs_alone:
        return ExportedBackend.from_pretrained(
            folder, device, labels, texts, runtime, options.precision
        )
    if source is None and (found := _backend_of_graphs(folder, options, labels)) is not None:
        return found
    precision = torch_precision(options)
    with needs_extra(f"{model or 'this'} in PyTorch", extra="train"):
        from msqnet.inference.torch_backends import ClipZeroShotBackend, TorchBackend

    if source is not None and labels is not None:
        return ClipZeroShotBackend.from_pretrained(
            folder,
            labels,
            texts,
            device,
            precision,
            name=source,
            prompts=options.prompts or TEMPLATE_ENSEMBLE,
            contrast=contrast_texts(options.contrast),
        )
    return TorchBackend.from_pretrained(folder, device, labels, texts, precision)


def _backend_of_graphs(
    folder: Path, options: ModelOptions, labels: LabelSet | None
) -> ExportedBackend | None:
    """The graphs in a model's own folder; None where PyTorch is to compute, or has to."""
    wishes = [f"--runtime {options.runtime}"] if options.runtime not in ("auto", "torch") else []
    wishes += ["--precision int8"] if options.precision == "int8" else []
    if not has_graphs(folder):
        check(
            not wishes,
            f"{' '.join(wishes)} is for exported models, and {folder} holds no graphs; make them "
            f"first: msqnet export --model {folder}",
        )
        return None
    if not takes_graphs(folder, options):
        return None
    try:
        found = ExportedBackend.from_pretrained(
            folder, options.device, runtime=options.runtime, precision=options.precision
        )
    except (CheckpointError, MissingExtra) as error:
        if wishes:
            raise
        _logger.warning("computing in PyTorch, which is slower: %s", error)
        return None
    if labels is None:
        return found
    if found.is_open:
        return None  # texts are embedded in PyTorch
    found.keep_labels(labels)
    return found
