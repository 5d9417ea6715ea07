"""A model together with labels that it was taught."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from msqnet.errors import ConfigError
from msqnet.inference.backends import ClipOutputs, ScoreColumns
from msqnet.labels import LabelSet
from msqnet.models.taught import TAUGHT_THRESHOLD

if TYPE_CHECKING:
    from msqnet.clips import Pixels
    from msqnet.inference.backends import Arrays, Backend
    from msqnet.models.taught import TaughtLabels
    from msqnet.predictions import FloatArray

_POOLED = "pooled"


class TaughtBackend(ScoreColumns):
    """The scores of a model as they are, and after them those of its taught labels.

    A taught label stands in place of one of that name which the model has itself, or scores by its
    text.
    """

    def __init__(self, model: Backend, taught: TaughtLabels) -> None:
        own = [column for column, name in enumerate(model.labels) if name not in taught.names]
        super().__init__(
            labels_with(model.labels, taught),
            [*model.thresholds[own], *[TAUGHT_THRESHOLD] * len(taught.about)],
            _counts(model.train_positive_windows, own, taught, "positive_windows"),
            _counts(model.train_negative_windows, own, taught, "negative_windows"),
        )
        taught_unproven = {
            item["label"]: item["evidence"]["reason"]
            for item in taught.about
            if item["evidence"]["status"] != "reliable"
        }
        known = {name: why for name, why in model.unproven.items() if name not in taught.names}
        self.unproven = known | taught_unproven
        self._model, self._taught, self._own = model, taught, own
        self.clip_config = model.clip_config
        self.single_label = model.single_label
        self.window_seconds = model.window_seconds
        self.provenance = model.provenance
        reference = model.training_reference
        if reference is not None:
            reference = reference.with_windows(taught.embeddings)
        self.training_reference = reference

    def frame_features(self, frames: Pixels, *, is_motion_crop: bool = False) -> Arrays:
        """See `Backend.frame_features`."""
        return self._model.frame_features(frames, is_motion_crop=is_motion_crop)

    def clip_outputs(self, frames: Arrays, motion_crops: Arrays | None) -> ClipOutputs:
        """See `Backend.clip_outputs`; frames tell nothing of taught labels."""
        found = self._model.clip_outputs(frames, motion_crops)
        taught = self._taught.scores(clip_features(frames, motion_crops, found))
        scores = np.concatenate([found.scores[:, self._own], taught], axis=1)[:, self._columns]
        of_frames = found.frame_logits
        if of_frames is not None:
            padding = ((0, 0), (0, 0), (0, taught.shape[1]))
            of_frames = np.pad(of_frames[..., self._own], padding)[..., self._columns]
        return ClipOutputs(scores, found.embeddings, of_frames)


def labels_with(own: LabelSet, taught: TaughtLabels) -> LabelSet:
    """The labels of a model, then those that it was taught."""
    return LabelSet((*(name for name in own if name not in taught.names), *taught.names))


def asked_of_model(asked: LabelSet | None, taught: TaughtLabels) -> LabelSet | None:
    """Which of the labels that are asked for the model itself has to score; None for its own."""
    own = tuple(name for name in asked or () if name not in taught.names)
    return LabelSet(own) if own else None


def clip_features(frames: Arrays, motion_crops: Arrays | None, outputs: ClipOutputs) -> FloatArray:
    """What taught labels are told by: (B, D) float32.

    Where the encoder pools frames, as `lite` does, what was there, how much it varied and how fast
    it changed, of both views; see `video_statistics`. Else the model's embedding, of length 1.
    """
    if _POOLED in frames:
        views = [frames[_POOLED], *([] if motion_crops is None else [motion_crops[_POOLED]])]
        return np.concatenate([_statistics(np.asarray(_on_cpu(view))) for view in views], axis=1)
    if outputs.embeddings is None:
        raise ConfigError(
            "this model gives no embeddings of clips, so that it can be taught no labels; export "
            "it again with this version, or teach the model that it was exported from"
        )
    values = outputs.embeddings.astype(np.float32)
    lengths = np.linalg.norm(values, axis=1, keepdims=True)
    return np.asarray(values / np.maximum(lengths, np.finfo(np.float32).tiny))


def _statistics(pooled: FloatArray) -> FloatArray:
    """(B, T, E) to (B, 3 * E): mean, standard deviation, mean absolute difference of frames."""
    values = pooled.astype(np.float32)
    change = (
        np.abs(np.diff(values, axis=1)).mean(axis=1) if values.shape[1] > 1 else 0 * values[:, 0]
    )
    return np.concatenate([values.mean(axis=1), values.std(axis=1), change], axis=1)


def _on_cpu(values: Any) -> Any:
    return values if isinstance(values, np.ndarray) else values.float().cpu()


def _counts(
    known: list[int] | None, own: list[int], taught: TaughtLabels, name: str
) -> list[int] | None:
    if known is None:
        return None
    return [*(known[column] for column in own), *(item[name] for item in taught.about)]
