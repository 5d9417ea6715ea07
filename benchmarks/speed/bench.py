"""What contenders run on: videos, models and windows, each made when it is first needed."""

from __future__ import annotations

import copy
from collections import Counter
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from benchmarks.speed import baseline
from benchmarks.speed.limits import count_flops
from benchmarks.speed.models import HuggingFaceParts, paper_model
from benchmarks.speed.videos import looped
from msqnet import Predictor, WindowConfig
from msqnet.clips import ClipBatch
from msqnet.config import ModelOptions
from msqnet.inference.predictor import load_backend
from msqnet.inference.torch_backends import TorchBackend
from msqnet.inference.windows import SharedFrames, preprocessed_windows
from msqnet.video.reader import open_video

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from torch import Tensor

    from benchmarks.speed.harness import StageClock
    from benchmarks.speed.settings import Settings
    from msqnet.clips import Pixels
    from msqnet.inference.backends import Arrays, Backend, ClipOutputs
    from msqnet.inference.windows import PreprocessedWindow
    from msqnet.model.pretrained import MSQNet
    from msqnet.predictions import VideoPredictions

SCORES_AGREE = 1e-4
BATCH_SIZE = 8
_LESS_SECONDS = 0.1


class CountingBackend:
    """A backend that counts what it is given, so that its floating-point operations are known."""

    def __init__(self, backend: Backend) -> None:
        self._backend: Any = backend
        self.counts: Counter[str] = Counter()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backend, name)

    def frame_features(self, frames: Pixels, *, is_motion_crop: bool = False) -> Arrays:
        """See `Backend.frame_features`."""
        self.counts["closeup" if is_motion_crop else "frame"] += len(frames)
        features: Arrays = self._backend.frame_features(frames, is_motion_crop=is_motion_crop)
        return features

    def clip_outputs(self, frames: Arrays, motion_crops: Arrays | None) -> ClipOutputs:
        """See `Backend.clip_outputs`."""
        outputs: ClipOutputs = self._backend.clip_outputs(frames, motion_crops)
        self.counts["window"] += len(outputs.scores)
        return outputs


def flops_of(backend: Backend) -> dict[str, float]:
    """Floating-point operations of one frame, one close-up and one window of a torch backend."""
    clip = backend.clip_config
    shape = (clip.num_frames, 3, clip.size_pixels, clip.size_pixels)
    pixels = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    found: dict[str, float] = {}
    features: dict[str, Arrays] = {}
    for name, is_motion_crop in (("frame", False), ("closeup", True))[: 1 + clip.closeup]:

        def see(name: str = name, is_motion_crop: bool = is_motion_crop) -> None:
            made = backend.frame_features(pixels, is_motion_crop=is_motion_crop)
            features[name] = {key: values[None] for key, values in made.items()}

        found[name] = count_flops(see) / clip.num_frames
    found["window"] = count_flops(
        lambda: backend.clip_outputs(features["frame"], features.get("closeup"))
    )
    return found


class Bench:
    """What contenders are made of; everything is made when it is first needed.

    Args:
        settings: what is measured.
        source: the clip that videos are made from.
        exported: folders of exported models, of the shipped model's clips.
    """

    def __init__(self, settings: Settings, source: Path, exported: Sequence[Path] = ()) -> None:
        self.settings = settings
        self.source = source
        self.exported = list(exported)

    @cached_property
    def paper_video(self) -> Path:
        """For the paper's model."""
        return looped(self.source, self.settings.paper_seconds)

    @cached_property
    def unshared_video(self) -> Path:
        """For the paper's model and windows that do not overlap."""
        return looped(self.source, self.unshared_seconds)

    @property
    def unshared_seconds(self) -> float:
        """Its length: a little less, so that rounding of the file's length adds no window."""
        return self.settings.unshared_seconds - _LESS_SECONDS

    @cached_property
    def lite_video(self) -> Path:
        """For the shipped model."""
        return looped(self.source, self.settings.lite_seconds)

    @cached_property
    def short_video(self) -> Path:
        """Of one window, for warming up."""
        return looped(self.source, self.settings.window_seconds)

    @cached_property
    def model(self) -> MSQNet:
        """The paper's model."""
        # Even where it is first asked for in inference mode, it is a model as every other.
        with torch.inference_mode(False):
            return paper_model(self.settings)

    @cached_property
    def backend(self) -> TorchBackend:
        """The paper's model, prepared for inference."""
        with torch.inference_mode(False):
            return TorchBackend(self.model, "cpu")

    @cached_property
    def backend_in_bf16(self) -> TorchBackend:
        """The same in bf16, with weights of its own: the baseline shares the other ones."""
        with torch.inference_mode(False):
            return TorchBackend(copy.deepcopy(self.backend._model), "cpu", precision="bf16")

    @cached_property
    def parts(self) -> HuggingFaceParts:
        """The same weights in transformers' modules."""
        with torch.inference_mode(False):
            return HuggingFaceParts.of(self.model, self.settings.sizes)

    @cached_property
    def windows(self) -> list[PreprocessedWindow]:
        """Those of the rows without decoding."""
        settings = self.settings
        config = self.model.config.clip_config
        with open_video(
            self.paper_video, short_side_pixels=config.decode_short_side_pixels
        ) as video:
            seen = preprocessed_windows(
                video, config, settings.window_seconds, settings.stride_seconds
            )
            return [window for window, _ in zip(seen, range(settings.model_windows), strict=False)]

    @cached_property
    def pixels(self) -> Tensor:
        """Their clips, (W, T, 3, S, S) uint8."""
        return torch.from_numpy(np.stack([_pixels(window) for window in self.windows]))

    @cached_property
    def lite(self) -> Backend:
        """The shipped model."""
        return load_backend(ModelOptions(device="cpu", runtime="torch"))

    def check_agreement(self) -> dict[str, float]:
        """Largest difference of scores between baseline and ours on the same pixels.

        Raises:
            RuntimeError: above `SCORES_AGREE`, so that the two are not the same work.
        """
        with torch.inference_mode():
            theirs = torch.cat([self.parts.scores(clip[None]) for clip in self.pixels]).numpy()
        ours = SharedFrames(self.backend).outputs(self.windows).scores
        difference = float(np.abs(theirs - ours).max())
        if not difference <= SCORES_AGREE:
            raise RuntimeError(
                f"baseline and msqnet differ by {difference:.2e} in their scores, expected at most "
                f"{SCORES_AGREE:.0e}: they do not do the same work, mend that first"
            )
        between_windows = float(np.abs(ours[0] - ours[-1]).max())
        return {"largest_difference": difference, "between_windows": between_windows}

    def baseline_run(self, clock: StageClock, *, from_start: bool) -> Tensor:
        """The baseline on the paper's video."""
        return baseline.predict(
            self.paper_video, self.parts, self.settings, clock, from_start=from_start
        )

    def predict(
        self,
        backend: Any,
        video: Path,
        stride_seconds: float | None = None,
        window_seconds: float | None = None,
    ) -> VideoPredictions:
        """Ours on a video."""
        chosen = WindowConfig(window_seconds, stride_seconds, BATCH_SIZE)
        return Predictor(backend, chosen)(video)


def _pixels(window: PreprocessedWindow) -> Pixels:
    return np.stack([frame.pixels for frame in window.frames])


def clips_of(windows: Sequence[PreprocessedWindow]) -> ClipBatch:
    """Windows as clips that share nothing."""
    motion_crops = [window.motion_crops for window in windows if window.motion_crops is not None]
    return ClipBatch(
        torch.from_numpy(np.stack([_pixels(window) for window in windows])),
        torch.from_numpy(np.stack(motion_crops)) if motion_crops else None,
    )
