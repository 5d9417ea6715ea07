"""What the worker makes of a video besides its predictions. Everything is written to files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from msqnet.predictions import VideoPredictions
from msqnet.video.reader import open_video, scaled_size

if TYPE_CHECKING:
    from msqnet.child_process import Report
    from msqnet.serving.requests import (
        OverlayRequest,
        PictureRequest,
        PreviewRequest,
        ReportRequest,
    )

_PICTURE_SHORT_SIDE_PIXELS = 180
_PICTURE_SHARES = (0.1, 0.3, 0.5, 0.7, 0.9)
_PREVIEW_SHORT_SIDE_PIXELS = 480
_REPORT_PREVIEW_MEGABYTES = 50.0


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
    from msqnet.report import html
    from msqnet.report.results_reader import PredictedVideo, Results

    predictions = VideoPredictions.from_json(request.result.read_text(encoding="ascii"))
    status = "partial" if predictions.notes else "ok"
    video = PredictedVideo(request.display_name, predictions, status, request.video)
    # The folder gives the page its title, nothing else.
    results = Results(Path(request.display_name), (video,), (), None, None)
    html.write_report(results, request.output, preview_megabytes=_REPORT_PREVIEW_MEGABYTES)
