"""Backends in PyTorch: an `MSQNet`, and a CLIP or SigLIP without training."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from msqnet.clips import SOUND_INPUTS
from msqnet.errors import ConfigError
from msqnet.inference.backends import ClipOutputs, ScoreColumns, source_of
from msqnet.inference.model_facts import dual_facts, torch_provenance
from msqnet.model.computing import Computing
from msqnet.model.dual_encoders import DualEncoder, load_dual_encoder
from msqnet.model.out_of_distribution import TrainingReference, clip_embeddings
from msqnet.model.text_encoders import embed_labels
from msqnet.prompts import TEMPLATE_ENSEMBLE, LabelText, prompts_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from torch import Tensor

    from msqnet.clips import Pixels
    from msqnet.config import Precision
    from msqnet.inference.backends import Arrays
    from msqnet.labels import LabelSet
    from msqnet.model.pretrained import MSQNet


_SMALLEST_SCORE = 1e-6
"""Of a frame; the logit of a smaller one means nothing."""


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
        self.provenance = torch_provenance(
            source or {}, config.provenance, training_reference, precision
        )

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

        source = source_of(folder)
        model = MSQNet.from_pretrained(folder)
        if labels is not None and model.config.is_open:
            ask_for(model, tuple(labels), texts)
        backend = cls(model, device, source, TrainingReference.load(folder), precision)
        if labels is not None and not model.config.is_open:
            backend.keep_labels(labels)
        return backend

    def frame_features(self, frames: Pixels, *, is_motion_crop: bool = False) -> Arrays:
        """See `Backend.frame_features`; on the model's device."""
        model: Any = self._model
        with self._computing.inference():
            on_device = torch.from_numpy(frames).to(self._computing.device)
            found: Arrays = model.frame_features(on_device, is_motion_crop=is_motion_crop)
            return found

    def clip_outputs(self, frames: Arrays, motion_crops: Arrays | None) -> ClipOutputs:
        """See `Backend.clip_outputs`."""
        model: Any = self._model
        with self._computing.inference():
            sound = {name: torch.as_tensor(frames[name]) for name in SOUND_INPUTS if name in frames}
            output = model.score_frames({**frames, **sound}, motion_crops)
            scores = model.scores(output.logits)  # (B, K)
        kept = scores.float().cpu().numpy()[:, self._columns]
        frame_logits = output.frame_logits
        if frame_logits is not None:
            frame_logits = frame_logits.float().cpu().numpy()[..., self._columns]
        return ClipOutputs(kept, clip_embeddings(model, output).cpu().numpy(), frame_logits)


class ClipZeroShotBackend(ScoreColumns):
    """Scores any labels without training: frame-text similarity, averaged over the window.

    A SigLIP was trained with a sigmoid for each pair, so its scores stand alone. A CLIP was trained
    with a softmax over texts: its scores compare the labels asked for, of which there must be two
    or more, and add up to 1. With ``contrast``, each label of either is compared with these texts
    alone, whatever else is asked for::

        score_k = e^l_k / (e^l_k + sum_c e^l_c)       l: logits of labels k and of the texts c

    Args:
        name: of the model, for the provenance of results.
        texts: descriptions and synonyms by label name.
        precision: of the images; the texts' embeddings are computed in float32.
        prompts: style of the texts of labels, see `msqnet.prompts`.
        contrast: texts for no action.

    Raises:
        ConfigError: one label only for a CLIP without contrast, unknown prompts, or a device or
            precision that cannot be used.
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
        prompts: str = TEMPLATE_ENSEMBLE,
        contrast: tuple[str, ...] = (),
    ) -> None:
        self.single_label = dual.kind == "clip" and not contrast
        if self.single_label and len(labels) < 2:
            raise ConfigError(
                f"{name}: a CLIP compares labels with each other; ask for two or more, for "
                "instance by adding what else may be seen, say --contrast default, or use a SigLIP"
            )
        self._computing = Computing.of(device, precision)
        self._images = dual.image_encoder.eval()
        # The text encoder, the larger half of a SigLIP 2, is not kept.
        self._logits = dual.similarity.logits
        self._computing.prepare(self._images)
        sentences = (*prompts_of(labels, prompts, texts), *((text,) for text in contrast))
        self._texts = embed_labels(dual.text_encoder, sentences).to(self._computing.device)
        size = int(dual.image_encoder.config.image_size)
        facts = dual_facts(name, labels, dual.kind, size, precision, prompts, contrast)
        super().__init__(labels, facts.thresholds.tolist(), None, None)
        self.clip_config, self.window_seconds = facts.clip_config, facts.window_seconds
        self.training_reference: TrainingReference | None = None
        self.provenance = facts.provenance

    @classmethod
    def from_pretrained(
        cls,
        name_or_folder: str | Path,
        labels: LabelSet,
        texts: Mapping[str, LabelText] | None = None,
        device: str = "auto",
        precision: Precision = "fp32",
        **settings: Any,
    ) -> ClipZeroShotBackend:
        """Load a whole CLIP or SigLIP from the hub or from disk; else a `CheckpointError`.

        ``settings`` are those of the class; the name is by default the first argument.
        """
        settings.setdefault("name", str(name_or_folder))
        dual = load_dual_encoder(name_or_folder)
        return cls(dual, labels, texts=texts, device=device, precision=precision, **settings)

    def frame_features(self, frames: Pixels, *, is_motion_crop: bool = False) -> Arrays:
        """Image embeddings (N, D), as "image"; there are no motion crops."""
        with self._computing.inference():
            on_device = torch.from_numpy(frames)[None].to(self._computing.device)
            return {"image": self._images(on_device)[0].float()}

    def clip_outputs(self, frames: Arrays, motion_crops: Arrays | None) -> ClipOutputs:
        """Scores of the mean similarity, and the log odds of each frame, see `Backend`."""
        with torch.inference_mode():
            of_frames = self._logits(frames["image"], self._texts)  # (B, T, K + C)
            scores, frame_scores = self._scores(of_frames.mean(dim=1)), self._scores(of_frames)
            frame_logits = frame_scores.logit(eps=_SMALLEST_SCORE)
        return ClipOutputs(scores.cpu().numpy(), None, frame_logits.cpu().numpy())

    def _scores(self, logits: Tensor) -> Tensor:
        """Logits (..., K + C) of labels and contrast to scores (..., K) of the labels."""
        own, contrast = logits[..., : len(self.labels)], logits[..., len(self.labels) :]
        if self.single_label:
            return own.softmax(dim=-1)
        if contrast.shape[-1]:
            own = own - contrast.logsumexp(dim=-1, keepdim=True)
        return own.sigmoid()
