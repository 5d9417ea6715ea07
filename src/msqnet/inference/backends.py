"""Backends score windows: their protocol, an `MSQNet`, and a CLIP or SigLIP without training."""

from __future__ import annotations

import hashlib
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
import torch

from msqnet.config import ClipConfig
from msqnet.errors import ConfigError
from msqnet.model.computing import Computing
from msqnet.model.dual_encoders import DualEncoder, load_dual_encoder
from msqnet.model.out_of_distribution import REFERENCE_FILE, TrainingReference, clip_embeddings
from msqnet.model.text_encoders import embed_labels
from msqnet.model.video_encoders.encoder import of_clips
from msqnet.prompts import TEMPLATE_ENSEMBLE, LabelText, prompts_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from torch import Tensor

    from msqnet.clips import ClipBatch
    from msqnet.config import Precision
    from msqnet.labels import LabelSet
    from msqnet.model.pretrained import MSQNet
    from msqnet.model.video_encoders.encoder import FrameFeatures
    from msqnet.predictions import FloatArray


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

    def frame_features(self, frames: Tensor, *, is_motion_crop: bool = False) -> FrameFeatures:
        """Features of single frames, which windows share.

        Args:
            frames: (N, 3, S, S) uint8 RGB, N at least 1.
            is_motion_crop: they are motion crops.

        Returns:
            By name, (N, ...) each, on any device and of any dtype.
        """
        ...

    def clip_outputs(
        self, frames: FrameFeatures, motion_crops: FrameFeatures | None
    ) -> ClipOutputs:
        """Calibrated scores of clips, each from the features of its own frames only.

        ``frames`` are of `frame_features`, (B, T, ...) each; ``motion_crops`` are the same of the
        motion crops, where the model takes them.
        """
        ...


class ClipOutputs(NamedTuple):
    """Scores (B, K) float32 in [0, 1] of a backend for B clips, and their embeddings.

    These are (B, D) float32, see `clip_embeddings`; None where the backend gives none.
    """

    scores: FloatArray
    embeddings: FloatArray | None


def clip_scores(backend: Backend, batch: ClipBatch) -> FloatArray:
    """Calibrated scores (B, K) of B clips that share no frames, float32 in [0, 1]."""
    frames = of_clips(backend.frame_features, batch.pixels)
    motion_crops = None
    if batch.motion_crops is not None:
        of_crops = partial(backend.frame_features, is_motion_crop=True)
        motion_crops = of_clips(of_crops, batch.motion_crops)
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


class TorchBackend(ScoreColumns):
    """An `MSQNet` in PyTorch.

    Args:
        model: a finished model; prepared for inference here. In bf16 its weights are rounded: it is
            not to be used for anything else.
        device: `auto`, `cpu`, `cuda`, `cuda:1`, `mps`.
        source: origin of the model, for the provenance of results; JSON values only.
        training_reference: embeddings of its training set; None where they are not known.

    Raises:
        ConfigError: the device, or the precision on it, cannot be used.
    """

    def __init__(
        self,
        model: MSQNet,
        device: str = "auto",
        source: dict[str, Any] | None = None,
        training_reference: TrainingReference | None = None,
        precision: Precision = "fp32",
    ) -> None:
        self._computing = Computing.of(device, precision)
        self._model = model.prepare_for_inference()  # folds weights, in float32
        self._computing.prepare(self._model)
        config = model.config
        super().__init__(
            config.label_set,
            config.thresholds,
            config.train_positive_windows,
            config.train_negative_windows,
            config.evidence,
        )
        self.clip_config = config.clip_config
        self.single_label = config.task == "single_label"
        self.window_seconds = float(config.window_seconds)
        self.training_reference = training_reference
        self.provenance: dict[str, Any] = {**(source or {}), **(config.provenance or {})}
        if training_reference is not None:
            self.provenance["novelty_digest"] = training_reference.digest
        if precision != "fp32":  # gives other scores; unnamed before there was a choice
            self.provenance["precision"] = precision

    @classmethod
    def from_pretrained(
        cls,
        folder: Path,
        device: str = "auto",
        labels: LabelSet | None = None,
        texts: Mapping[str, LabelText] | None = None,
        precision: Precision = "fp32",
    ) -> TorchBackend:
        """Load the folder of a finished model.

        Args:
            labels: to score; by default those that the model was trained on.
            texts: descriptions and synonyms of labels by their names.

        Raises:
            CheckpointError: the folder is incomplete or damaged.
            VocabularyError: labels that the model was not trained on and cannot score.
        """
        from msqnet.model.pretrained import MSQNet
        from msqnet.model.vocabulary import ask_for

        source = {"name": folder.name, "weights_digest": weights_digest(folder)}
        model = MSQNet.from_pretrained(folder)
        own = model.config.label_set
        is_known = labels is not None and all(name in own for name in labels)
        if labels is not None and (model.config.is_open or not is_known):
            ask_for(model, tuple(labels), texts)
        backend = cls(model, device, source, TrainingReference.load(folder), precision)
        if labels is not None and not model.config.is_open:
            backend.keep_labels(labels)
        return backend

    def frame_features(self, frames: Tensor, *, is_motion_crop: bool = False) -> FrameFeatures:
        """See `Backend.frame_features`; on the model's device."""
        model: Any = self._model
        with self._computing.inference():
            on_device = frames.to(self._computing.device)
            found: FrameFeatures = model.frame_features(on_device, is_motion_crop=is_motion_crop)
            return found

    def clip_outputs(
        self, frames: FrameFeatures, motion_crops: FrameFeatures | None
    ) -> ClipOutputs:
        """See `Backend.clip_outputs`."""
        model: Any = self._model
        with self._computing.inference():
            output = model.score_frames(frames, motion_crops)
            scores = model.scores(output.logits)  # (B, K)
        kept = scores.float().cpu().numpy()[:, self._columns]
        return ClipOutputs(kept, clip_embeddings(model, output).cpu().numpy())


def weights_digest(folder: Path) -> str:
    """First 16 hex digits of the SHA-256 of the weight files."""
    digest = hashlib.sha256()
    for path in sorted(folder.glob("*.safetensors")):
        if path.name == REFERENCE_FILE:
            continue
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:16]


PREFIX = "clip-zero-shot:"
_NUM_FRAMES = 8
_WINDOW_SECONDS = 2.0
# SigLIP's own probability that text and image belong together; a share of CLIP's softmax.
_THRESHOLD = 0.5


class ClipZeroShotBackend(ScoreColumns):
    """Scores any labels without training: frame-text similarity, averaged over the window.

    A SigLIP was trained with a sigmoid for each pair, so its scores stand alone. A CLIP was trained
    with a softmax over texts: its scores compare the labels asked for, of which there must be two
    or more, and add up to 1.

    Args:
        name: of the model, for the provenance of results.
        texts: descriptions and synonyms by label name.
        precision: of the images; the texts' embeddings are computed in float32.

    Raises:
        ConfigError: one label only for a CLIP, or a device or precision that cannot be used.
    """

    def __init__(
        self,
        dual: DualEncoder,
        labels: LabelSet,
        *,
        name: str,
        texts: Mapping[str, LabelText] | None = None,
        device: str = "auto",
        precision: Precision = "fp32",
    ) -> None:
        self.single_label = dual.kind == "clip"
        if self.single_label and len(labels) < 2:
            raise ConfigError(
                f"{name}: a CLIP compares labels with each other; ask for two or more, for "
                "instance by adding what else may be seen, or use a SigLIP"
            )
        self._computing = Computing.of(device, precision)
        self._dual = dual
        self._images = dual.image_encoder.eval()
        self._computing.prepare(self._images)
        self._texts = embed_labels(
            dual.text_encoder, prompts_of(labels, TEMPLATE_ENSEMBLE, texts)
        ).to(self._computing.device)
        size = int(dual.image_encoder.config.image_size)
        super().__init__(labels, [_THRESHOLD] * len(labels), None, None)
        self.clip_config = ClipConfig(
            num_frames=_NUM_FRAMES,
            size_pixels=size,
            resize="stretch",
            short_side_pixels=size,
            decode_short_side_pixels=size,
        )
        self.window_seconds = _WINDOW_SECONDS
        self.training_reference: TrainingReference | None = None
        self.provenance: dict[str, Any] = {
            "name": f"{PREFIX}{name}",
            "protocol": f"{dual.kind}, training-free: mean frame-text similarity of a window",
            "prompts": TEMPLATE_ENSEMBLE,
            "pretrained_licences": [dual.image_encoder.licence],
        }
        if precision != "fp32":  # gives other scores; unnamed before there was a choice
            self.provenance["precision"] = precision

    @classmethod
    def from_pretrained(
        cls,
        name_or_folder: str,
        labels: LabelSet,
        texts: Mapping[str, LabelText] | None = None,
        device: str = "auto",
        precision: Precision = "fp32",
    ) -> ClipZeroShotBackend:
        """Load a whole CLIP or SigLIP from the hub or from disk; else a `CheckpointError`."""
        dual = load_dual_encoder(name_or_folder)
        return cls(
            dual, labels, name=name_or_folder, texts=texts, device=device, precision=precision
        )

    def frame_features(self, frames: Tensor, *, is_motion_crop: bool = False) -> FrameFeatures:
        """Image embeddings (N, D), as "image"; there are no motion crops."""
        with self._computing.inference():
            return {"image": self._images(frames[None].to(self._computing.device))[0].float()}

    def clip_outputs(
        self, frames: FrameFeatures, motion_crops: FrameFeatures | None
    ) -> ClipOutputs:
        """Scores are the sigmoid (SigLIP) or softmax (CLIP) of the mean similarity."""
        with torch.inference_mode():
            # The mean of the frames' similarities is that of their mean embedding, not normalised.
            video = frames["image"].mean(dim=1)  # (B, T, D) -> (B, D)
            logits = self._dual.logits(video, self._texts)  # (B, K)
            scores = logits.softmax(dim=-1) if self.single_label else logits.sigmoid()
        return ClipOutputs(scores.float().cpu().numpy(), None)
