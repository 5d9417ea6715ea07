"""The training-free baseline: how well a label's text fits the frames, by a CLIP or SigLIP."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from msqnet.config import ClipConfig
from msqnet.errors import ConfigError
from msqnet.model.computing import Computing
from msqnet.model.dual_encoders import DualEncoder, load_dual_encoder
from msqnet.model.text_encoders import embed_labels
from msqnet.prompts import TEMPLATE_ENSEMBLE, LabelText, prompts_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from msqnet.config import Precision
    from msqnet.labels import LabelSet
    from msqnet.model.video_encoders.encoder import FrameFeatures
    from msqnet.predictions import FloatArray

PREFIX = "clip-zero-shot:"
_NUM_FRAMES = 8
_WINDOW_SECONDS = 2.0
# SigLIP's own probability that text and image belong together; a share of CLIP's softmax.
_THRESHOLD = 0.5


class ClipZeroShotBackend:
    """Scores any labels without training: frame-text similarity, averaged over the window.

    A SigLIP was trained with a sigmoid for each pair, so its scores stand alone. A CLIP was trained
    with a softmax over texts: its scores compare the labels asked for, of which there must be two
    or more, and add up to 1.

    Args:
        dual: both halves of the model.
        labels: the K labels to score.
        name: where the model is from, for the provenance of results.
        texts: descriptions and synonyms by label name.
        device: as for `TorchBackend`.
        precision: likewise, of the images; the texts' embeddings are computed in float32.

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
        self.labels = labels
        self.clip_config = ClipConfig(
            num_frames=_NUM_FRAMES,
            size_pixels=size,
            resize="stretch",
            short_side_pixels=size,
            decode_short_side_pixels=size,
        )
        self.thresholds: FloatArray = np.full(len(labels), _THRESHOLD, dtype=np.float32)
        self.window_seconds = _WINDOW_SECONDS
        self.train_positive_windows: list[int] | None = None
        self.train_negative_windows: list[int] | None = None
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
        """Load a whole CLIP or SigLIP from the hub or from disk.

        Raises:
            CheckpointError: it is absent, incomplete or another kind of model.
            ConfigError: labels, device or precision that cannot be used.
        """
        dual = load_dual_encoder(name_or_folder)
        return cls(
            dual, labels, name=name_or_folder, texts=texts, device=device, precision=precision
        )

    def frame_features(self, frames: Tensor, *, is_closeup: bool = False) -> FrameFeatures:
        """Image embeddings (N, D), as "image"; there is no second look."""
        with self._computing.inference():
            return {"image": self._images(frames[None].to(self._computing.device))[0].float()}

    def score_frames(self, frames: FrameFeatures, closeups: FrameFeatures | None) -> FloatArray:
        """(B, K) float32 in [0, 1]: sigmoid (SigLIP) or softmax (CLIP) of the mean similarity."""
        with torch.inference_mode():
            # The mean of the frames' similarities is that of their mean embedding, not normalised.
            video = frames["image"].mean(dim=1)  # (B, T, D) -> (B, D)
            logits = self._dual.logits(video, self._texts)  # (B, K)
            scores = logits.softmax(dim=-1) if self.single_label else logits.sigmoid()
        return np.asarray(scores.float().cpu().numpy(), dtype=np.float32)
