"""Backends score windows: their protocol, and what they share. Nothing here imports torch."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from msqnet.model.out_of_distribution import REFERENCE_FILE
from msqnet.models.taught import BACKGROUND_FILE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from msqnet.clips import ClipBatch, Pixels
    from msqnet.config import ClipConfig
    from msqnet.labels import LabelSet
    from msqnet.model.out_of_distribution import TrainingReference
    from msqnet.predictions import FloatArray

Arrays = dict[str, Any]
"""What was computed of single frames, by name: numpy arrays or tensors, which are indexed alike.

(N, ...) each; (B, T, ...) once put into clips.
"""


class Backend(Protocol):
    """Anything that turns clips into calibrated scores.

    Attributes:
        labels: names of the K columns.
        clip_config: how the frames of a window become a clip.
        thresholds: (K,) float32, score from which a label counts as present.
        single_label: whether exactly one label holds at a time.
        window_seconds: length of the windows the model was trained on.
        train_positive_windows: (K,) positive windows the model was trained on; None if not known.
        train_negative_windows: (K,) windows known to be negative there; None if not known.
        unproven: labels that the model was not shown to recognise, each with the reason.
        training_reference: embeddings of the training set; None where they are not stored.
        provenance: which model this is; JSON values only.
    """

    labels: LabelSet
    clip_config: ClipConfig
    thresholds: FloatArray
    single_label: bool
    window_seconds: float
    train_positive_windows: list[int] | None
    train_negative_windows: list[int] | None
    unproven: dict[str, str]
    training_reference: TrainingReference | None
    provenance: dict[str, Any]

    def frame_features(self, frames: Pixels, *, is_motion_crop: bool = False) -> Arrays:
        """Features of single frames, which windows share.

        Args:
            frames: (N, 3, S, S) uint8 RGB, N at least 1.
            is_motion_crop: they are motion crops.

        Returns:
            By name, (N, ...) each, on any device and of any dtype.
        """
        ...

    def clip_outputs(self, frames: Arrays, motion_crops: Arrays | None) -> ClipOutputs:
        """Calibrated scores of clips, each from the features of its own frames only.

        ``frames`` are of `frame_features`, (B, T, ...) each, and, where the clip settings have
        sound, the `SOUND_INPUTS` (B, ...); ``motion_crops`` are the features of the motion crops,
        where the model takes them.
        """
        ...


class ClipOutputs(NamedTuple):
    """What a backend gives for B clips, float32.

    Attributes:
        scores: (B, K) in [0, 1].
        embeddings: (B, D), see `clip_embeddings`; None where the backend gives none.
        frame_logits: (B, T, K) of the frames, which tell where a label begins and ends; None where
            the model has none.
    """

    scores: FloatArray
    embeddings: FloatArray | None
    frame_logits: FloatArray | None = None


def features_of_clips(backend: Backend, pixels: Pixels, *, is_motion_crop: bool = False) -> Arrays:
    """Features (B, T, ...) of clips (B, T, 3, H, W), frame by frame."""
    leading = pixels.shape[:2]
    frames = pixels.reshape(-1, *pixels.shape[2:])
    found = backend.frame_features(frames, is_motion_crop=is_motion_crop)
    return {name: values.reshape(*leading, *values.shape[1:]) for name, values in found.items()}


def clip_scores(backend: Backend, batch: ClipBatch) -> FloatArray:
    """Calibrated scores (B, K) of B clips that share no frames, float32 in [0, 1]."""
    frames, motion_crops = features_of_clips(backend, batch.pixels.numpy()), None
    frames |= {name: values.numpy() for name, values in batch.sound.items()}
    if (crops := batch.motion_crops) is not None:
        motion_crops = features_of_clips(backend, crops.numpy(), is_motion_crop=True)
    return backend.clip_outputs(frames, motion_crops).scores


class ScoreColumns:
    """The labels of a backend, or some of them, with what `Backend` tells about each."""

    def __init__(
        self,
        labels: LabelSet,
        thresholds: Sequence[float] | None,
        positives: list[int] | None,
        negatives: list[int] | None,
        evidence: Sequence[Mapping[str, Any]] | None = None,
    ) -> None:
        self.labels = labels
        self.thresholds: FloatArray = np.asarray(thresholds, dtype=np.float32)
        self.train_positive_windows = positives
        self.train_negative_windows = negatives
        self.unproven: dict[str, str] = {
            name: found["reason"]
            for name, found in zip(labels, evidence or (), strict=False)
            if found["status"] != "reliable"
        }
        self._columns = list(range(len(labels)))  # of the model's scores

    def keep_labels(self, labels: LabelSet) -> None:
        """Score some of the model's labels only, in this order; a `VocabularyError` for others."""
        columns = self.labels.indices(labels)
        self._columns = [self._columns[index] for index in columns]
        self.labels = labels
        self.thresholds = self.thresholds[columns]
        self.unproven = {name: self.unproven[name] for name in labels if name in self.unproven}
        positives, negatives = self.train_positive_windows, self.train_negative_windows
        self.train_positive_windows = positives and [positives[index] for index in columns]
        self.train_negative_windows = negatives and [negatives[index] for index in columns]


def source_of(folder: Path) -> dict[str, str]:
    """The name and the digest of a model's folder; the best model of a run has the run's name."""
    of_run = folder.name == "best" and (folder.parent / "run.yaml").is_file()
    name = folder.resolve().parent.name if of_run else folder.name
    return {"name": name, "weights_digest": weights_digest(folder)}


def weights_digest(folder: Path) -> str:
    """First 16 hex digits of the SHA-256 of the weight files."""
    digest = hashlib.sha256()
    for path in sorted(folder.glob("*.safetensors")):
        if path.name in (REFERENCE_FILE, BACKGROUND_FILE):
            continue
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:16]
