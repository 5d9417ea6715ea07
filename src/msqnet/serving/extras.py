"""What the worker makes of a video besides its predictions. Everything is written to files."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING

import numpy as np

from msqnet.predictions import VideoPredictions, replacing
from msqnet.video.pixels import scaled_size
from msqnet.video.reader import open_video

if TYPE_CHECKING:
    from msqnet.explain.explainer import Explainer
    from msqnet.serving.child_process import Report
    from msqnet.serving.requests import (
        HeatMapRequest,
        OverlayRequest,
        PictureRequest,
        PreviewRequest,
        ReportRequest,
        WorkerSettings,
    )

_PICTURE_SHORT_SIDE_PIXELS = 180
_PICTURE_SHARES = (0.1, 0.3, 0.5, 0.7, 0.9)
_PREVIEW_SHORT_SIDE_PIXELS = 480


def write_picture(request: PictureRequest) -> None:
    """A JPEG of the sharpest of a few frames."""
    from PIL import Image

    with open_video(request.video, short_side_pixels=_PICTURE_SHORT_SIDE_PIXELS) as video:
        times = [share * video.duration_seconds for share in _PICTURE_SHARES]
        frames = video.frames_at(times).pixels.permute(0, 2, 3, 1).numpy()  # -> (T, H, W, 3)
    best = max(frames, key=lambda frame: float(np.abs(np.diff(frame.astype(float), axis=1)).mean()))
    Image.fromarray(best).save(request.output, format="JPEG", quality=85)


def write_preview(request: PreviewRequest, report: Report) -> None:
    """An H.264 copy with the same times and sound, its first frame at 0."""
    from msqnet.report.pictures import resized, square_size
    from msqnet.report.video_writer import VideoWriter

    with open_video(request.video, short_side_pixels=_PREVIEW_SHORT_SIDE_PIXELS) as video:
        width, height = scaled_size(*square_size(video), _PREVIEW_SHORT_SIDE_PIXELS)
        with VideoWriter(
            request.output, width=width, height=height, audio_from=request.video
        ) as writer:
            for time_seconds, frame in resized(video, width, height):
                writer.write(frame, time_seconds)
                report(min(1.0, time_seconds / video.duration_seconds))
            writer.close(video.duration_seconds)


def write_overlay(request: OverlayRequest, report: Report) -> None:
    """The video with its scores drawn into it."""
    from msqnet.report import overlay

    predictions = VideoPredictions.from_json(request.result.read_text(encoding="ascii"))
    overlay.write_overlay(predictions, request.video, request.output, progress=report)


def write_report(request: ReportRequest) -> None:
    """One self-contained HTML file about the video."""
    raise NotImplementedError


class HeatMaps:
    """Where the model looked. The explaining model is loaded when it is first asked.

    Args:
        settings: which model.
    """

    def __init__(self, settings: WorkerSettings) -> None:
        self._settings = settings
        self._explainer: Explainer | None = None

    def write(self, request: HeatMapRequest) -> None:
        """JSON: times, size in cells, and the maps of all frames as base64 of bytes.

        Raises:
            MsqnetError: the model cannot be explained, or the stretch holds no frame.
        """
        if self._explainer is None:
            from msqnet.explain.explainer import Explainer

            self._explainer = Explainer.from_pretrained(
                self._settings.model, device=self._settings.device
            )
        found = self._explainer.explain(
            request.video,
            [request.label],
            start_seconds=request.start_seconds,
            end_seconds=request.end_seconds,
        )
        maps = np.asarray(found.maps[0])  # (T, h, w)
        document = {
            "label": request.label,
            "start_seconds": request.start_seconds,
            "end_seconds": request.end_seconds,
            "score": float(found.scores[0]),
            "num_frames": maps.shape[0],
            "height": maps.shape[1],
            "width": maps.shape[2],
            "pts_seconds": [float(time) for time in found.pts_seconds],
            "maps": base64.b64encode((maps * 255).round().astype(np.uint8).tobytes()).decode(),
        }
        with replacing(request.output) as part:
            part.write_text(json.dumps(document, allow_nan=False), encoding="ascii")
