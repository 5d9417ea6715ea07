"""Pictures and previews of all videos of a page, within what a page may hold."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from msqnet.errors import VideoError
from msqnet.report.previews import Preview, PreviewWriter
from msqnet.report.thumbnails import Thumbnail, segment_times, video_thumbnails
from msqnet.video.reader import open_video

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from msqnet.report.results_reader import PredictedVideo

MAX_THUMBNAILS = 2500
"""In a page: at about 5 kB each, what a browser still opens at once."""

MAX_THUMBNAILS_A_VIDEO = 24


@dataclass(frozen=True)
class VideoMedia:
    """What can be seen of one video.

    Attributes:
        thumbnails: by time; empty where the video cannot be read.
        preview: a small copy, or why there is none.
        note: why nothing can be seen; empty where something can.
    """

    thumbnails: tuple[Thumbnail, ...]
    preview: Preview
    note: str = ""


def collect_media(
    videos: Sequence[PredictedVideo],
    writer: PreviewWriter,
    progress: Callable[[int, int], None] | None = None,
) -> list[VideoMedia]:
    """Pictures and previews of videos, in their order.

    Previews of the shortest videos are written first, so that as many as possible fit. A video that
    is gone or broken gives a note.

    Args:
        videos: what was predicted.
        writer: writes previews.
        progress: called with (videos done, videos in all).

    Raises:
        MissingExtra: a needed package is not installed.
    """
    shortest = sorted(range(len(videos)), key=lambda i: videos[i].predictions.duration_seconds)
    num_thumbnails = max(1, min(MAX_THUMBNAILS_A_VIDEO, MAX_THUMBNAILS // max(1, len(videos))))
    media: dict[int, VideoMedia] = {}
    for number, index in enumerate(shortest, start=1):
        media[index] = _media_of(videos[index], writer, num_thumbnails)
        if progress is not None:
            progress(number, len(videos))
    return [media[index] for index in range(len(videos))]


def _media_of(video: PredictedVideo, writer: PreviewWriter, num_thumbnails: int) -> VideoMedia:
    predictions = video.predictions
    spans = [(item.start_seconds, item.end_seconds) for item in predictions.segments]
    times = segment_times(spans, predictions.duration_seconds, num_thumbnails)
    try:
        return VideoMedia(video_thumbnails(video.file, times), writer.write(video.file))
    except (VideoError, OSError) as error:
        note = f"The video cannot be shown: {error}"
        return VideoMedia((), Preview(None, "the video cannot be read"), note)


def clip_thumbnail(
    path: Path, start_seconds: float | None, end_seconds: float | None
) -> Thumbnail | None:
    """A frame from the middle of a stretch; None where the video is gone or broken.

    Args:
        path: the video.
        start_seconds: None is the start of the video.
        end_seconds: None is the end of the video.
    """
    try:
        if end_seconds is None:
            with open_video(path) as video:
                end_seconds = video.duration_seconds
        (found,) = video_thumbnails(path, [((start_seconds or 0.0) + end_seconds) / 2])
    except (VideoError, OSError):
        return None
    return found
