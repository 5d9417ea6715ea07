"""Videos as model inputs, as `AutoProcessor` and the pipelines of `transformers` ask for them."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from transformers import BatchFeature

from msqnet.clips import ClipBatch
from msqnet.errors import ShapeError, check
from msqnet.model.configuration import MSQNetConfig
from msqnet.models import local_model
from msqnet.models.hub import HUB_OPTIONS
from msqnet.video.reader import open_video
from msqnet.video.sound import window_frames
from msqnet.video.transforms import evaluation_clip

if TYPE_CHECKING:
    from collections.abc import Iterable

    from msqnet.clips import Clip

PROCESSOR_FILE = "preprocessor_config.json"
"""In a model's folder: says which class prepares videos. Its settings stand in the model's own."""
_LONG = 2.0
_logger = logging.getLogger(__name__)


class MSQNetVideoProcessor:
    """Turns each video, as one window, into what `MSQNet` takes.

    The clip is that of training rows and of a `Predictor` whose window is as long as the video: T
    frames, the centres of equal segments, and the motion crop where the model takes one. A video
    of more than twice the window that the model was made for is warned about in the log.

    Args:
        config: of the model.
    """

    def __init__(self, config: MSQNetConfig) -> None:
        self.clip_config = config.clip_config
        self.window_seconds = config.window_seconds

    @classmethod
    def from_pretrained(cls, name_or_folder: str | Path, **kwargs: Any) -> MSQNetVideoProcessor:
        """By the configuration of a model, see `local_model`.

        Of ``kwargs`` only where and how to look on the Hub has an effect.
        """
        options = {name: kwargs[name] for name in (*HUB_OPTIONS, "subfolder") if name in kwargs}
        place, rest = local_model(name_or_folder, options)
        return cls(MSQNetConfig.from_pretrained(place, **rest))

    def save_pretrained(self, save_directory: str | Path, **_kwargs: Any) -> None:
        """Name this class in a model's folder; the settings are saved by the model."""
        write_processor_file(save_directory)

    def __call__(
        self,
        videos: str | Path | Iterable[Any],
        *,
        num_frames: int | None = None,
        return_tensors: str = "pt",
        **_kwargs: Any,
    ) -> BatchFeature:
        """Prepare one video, or a list of B.

        Args:
            videos: a path, or frames (T, H, W, 3) uint8 RGB of equal duration; or a list of these.
            num_frames: as the model has it, or None.
            return_tensors: "pt".

        Returns:
            ``pixels`` (B, T, 3, S, S) uint8 and, where the model takes them, ``motion_crops``, and
            ``spectrogram`` and ``sound_times``.

        Raises:
            ConfigError: another number of frames, or another kind of tensors.
            VideoError: not a video, or no frame of it can be decoded.
            ShapeError: frames of another form.
        """
        expected = self.clip_config.num_frames
        check(
            num_frames in (None, expected),
            f"num_frames {num_frames}: this model takes {expected}; leave it out",
        )
        check(return_tensors == "pt", f"return_tensors {return_tensors!r}: expected 'pt'")
        clips = [self._clip(video) for video in _listed(videos)]
        if not clips:
            raise ShapeError("videos: found nothing; expected at least one path, or frames")
        batch = ClipBatch.stack(clips)
        tensors = {"pixels": batch.pixels}
        if batch.motion_crops is not None:
            tensors["motion_crops"] = batch.motion_crops
        return BatchFeature({**tensors, **batch.sound})

    def _clip(self, source: Any) -> Clip:
        config, is_path = self.clip_config, isinstance(source, str | Path)
        short_side = config.decode_short_side_pixels
        # Of frames in memory only the order counts, so that any rate gives the same clip.
        fps = None if is_path else 1.0
        with open_video(source, short_side_pixels=short_side, fps=fps) as video:
            if is_path and video.duration_seconds > _LONG * self.window_seconds:
                _logger.warning(
                    "%s: lasts %.1f s, and this model is made for windows of %g s; one score for "
                    "all of it says little, msqnet.Predictor scores it window by window",
                    *(source, video.duration_seconds, self.window_seconds),
                )
            frames = window_frames(video, video.start_seconds, video.end_seconds, config)
            return evaluation_clip(frames, config)


def write_processor_file(folder: str | Path) -> None:
    """Name the class that prepares videos, for `AutoVideoProcessor`, in a model's folder."""
    path = Path(folder) / PROCESSOR_FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    told = {"video_processor_type": MSQNetVideoProcessor.__name__}
    path.write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")


def _listed(videos: Any) -> list[Any]:
    """Several videos, or the only one, which may be a list of frames itself."""
    if isinstance(videos, str | Path) or not hasattr(videos, "__iter__"):
        return [videos]
    found = list(videos)
    is_of_frames = bool(found) and not isinstance(found[0], str | Path) and np.ndim(found[0]) == 3
    return [found] if is_of_frames else found
