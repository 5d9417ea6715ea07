"""Still pictures and small copies of the videos of a page, within the size that a page may have."""

from __future__ import annotations

import base64
import io
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from msqnet.errors import VideoError, needs_extra
from msqnet.report.video_writer import VideoWriter
from msqnet.video.reader import open_video

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from msqnet.clips import Pixels
    from msqnet.report.results_reader import PredictedVideo

    Progress = Callable[[int, int], None]
    """Called with (things done, things in all)."""
    from msqnet.video.reader import Video

# In a page: at about 5 kB each, as many as a browser opens at once.
_MAX_THUMBNAILS = 2500
_MAX_THUMBNAILS_A_VIDEO = 24
# Short sides; smaller videos keep their size.
_THUMBNAIL_PIXELS, _PREVIEW_PIXELS = 135, 360
# Shortest time between two frames of a preview.
_PREVIEW_FRAME_SECONDS = 1 / 12
_JPEG_QUALITY = 72
_CRF = 32
_NUM_FRAMES_BETWEEN_CHECKS = 48


@dataclass(frozen=True)
class VideoMedia:
    """The pictures of one video.

    Attributes:
        thumbnails: times from the first frame, and JPEGs in base64; none where the video cannot be
            read.
        preview: a small mp4 of it.
        preview_note: for readers, why there is no preview; empty where there is one.
        note: why there is no picture; empty where there is one.
    """

    thumbnails: list[tuple[float, str]]
    preview: Path | None
    preview_note: str
    note: str = ""


def collect_media(
    videos: Sequence[PredictedVideo],
    writer: PreviewWriter,
    progress: Progress | None = None,
) -> list[VideoMedia]:
    """Pictures and previews of videos in their order; a video that is gone or broken gives a note.

    Previews of the shortest videos are written first, so that as many as possible fit.
    """
    shortest = sorted(range(len(videos)), key=lambda i: videos[i].predictions.duration_seconds)
    num_thumbnails = max(1, min(_MAX_THUMBNAILS_A_VIDEO, _MAX_THUMBNAILS // max(1, len(videos))))
    media: dict[int, VideoMedia] = {}
    for number, index in enumerate(shortest, start=1):
        file, predictions = videos[index].file, videos[index].predictions
        spans = [(item.start_seconds, item.end_seconds) for item in predictions.segments]
        times = thumbnail_times(spans, predictions.duration_seconds, num_thumbnails)
        try:
            pictures = video_thumbnails(file, times, predictions.fps)
            media[index] = VideoMedia(pictures, *writer.write(file, predictions.fps))
        except (VideoError, OSError) as error:
            note = f"The video cannot be shown: {error}"
            media[index] = VideoMedia([], None, "the video cannot be read", note)
        if progress is not None:
            progress(number, len(videos))
    return [media[index] for index in range(len(videos))]


def thumbnail_times(
    segments: Sequence[tuple[float, float]], duration_seconds: float, count: int
) -> list[float]:
    """At most `count` times: the middles of the longest segments, or else that of the video."""
    longest = sorted(segments, key=lambda span: span[0] - span[1])
    middles = dict.fromkeys((start + end) / 2 for start, end in longest)
    return sorted(list(middles)[:count]) or [duration_seconds / 2]


def video_thumbnails(
    path: Path, times_seconds: Sequence[float], fps: float | None = None
) -> list[tuple[float, str]]:
    """Times and JPEGs in base64 of a video at given times, read in one pass.

    They are fewer than requested where the file is damaged behind some time; `VideoError` if the
    video is gone or cannot be read.
    """
    with needs_extra("a report", extra="report"):
        from PIL import Image
    found: list[tuple[float, str]] = []
    times = sorted(times_seconds)
    with open_video(path, short_side_pixels=_THUMBNAIL_PIXELS, fps=fps) as video:
        frames = video.stream_at(times)
        for seconds in times:
            try:
                _, frame = next(frames)
            except VideoError:
                if found:
                    break
                raise
            buffer = io.BytesIO()
            image = Image.fromarray(frame.transpose(1, 2, 0))
            image.save(buffer, "JPEG", quality=_JPEG_QUALITY, optimize=True)
            found.append((seconds, base64.b64encode(buffer.getvalue()).decode("ascii")))
    return found


def clip_thumbnail(path: Path, start_seconds: float | None, end_seconds: float | None) -> str:
    """A frame from the middle of an interval, a JPEG in base64; empty where the video is broken.

    A start or an end of None is that of the video.
    """
    try:
        if end_seconds is None:
            with open_video(path) as video:
                end_seconds = video.duration_seconds
        ((_, jpeg),) = video_thumbnails(path, [((start_seconds or 0.0) + end_seconds) / 2])
    except (VideoError, OSError):
        return ""
    return jpeg


class PreviewWriter:
    """Writes previews into a folder until a number of bytes is used up; 0 for none.

    ``num_bytes`` are written so far, ``num_left_out`` the videos whose preview did not fit.
    """

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self.num_bytes = self.num_left_out = 0
        self._folder, self._max_bytes = folder, max_bytes

    def write(self, video: Path, fps: float | None = None) -> tuple[Path | None, str]:
        """Write a small copy of a video without sound, or say why there is none.

        It is H.264 with few pixels and few frames a second. Where it does not fit in what is left,
        encoding stops, and no file is left behind. `VideoError` if the video cannot be read.
        """
        if not self._max_bytes:
            return None, "previews are switched off"
        # A folder for each, so that the bytes that the encoder has written so far can be counted.
        folder = Path(tempfile.mkdtemp(dir=self._folder))
        path, num_bytes_left = folder / "preview.mp4", self._max_bytes - self.num_bytes
        with open_video(video, short_side_pixels=_PREVIEW_PIXELS, fps=fps) as source:
            frames = _preview_frames(source)
            last_seconds, first = next(frames)
            height, width = first.shape[1:]
            with VideoWriter(path, width=width, height=height, quality_crf=_CRF) as writer:
                writer.write(first.transpose(1, 2, 0), last_seconds)
                for number, (last_seconds, frame) in enumerate(frames):
                    writer.write(frame.transpose(1, 2, 0), last_seconds)
                    if number % _NUM_FRAMES_BETWEEN_CHECKS == 0:
                        num_bytes = sum(item.stat().st_size for item in folder.iterdir())
                        if num_bytes > num_bytes_left:
                            break
                end = source.duration_seconds
                writer.close(end_seconds=end if end > last_seconds else None)
        num_bytes = path.stat().st_size
        if num_bytes > num_bytes_left:
            path.unlink()
            self.num_left_out += 1
            allowed = f"{self._max_bytes / 1e6:g} MB"
            return None, f"it does not fit in the {allowed} that previews may take"
        self.num_bytes += num_bytes
        return path, ""


def _preview_frames(source: Video) -> Iterator[tuple[float, Pixels]]:
    """Frames at their own times, not nearer than a preview needs, as far as the file decodes."""
    times = np.arange(0, source.duration_seconds, _PREVIEW_FRAME_SECONDS).tolist()
    last = -1.0
    try:
        for seconds, frame in source.stream_at(times):
            if seconds > last:
                yield seconds, frame
            last = seconds
    except VideoError:
        # The readable part of a damaged file is shown; its notes say where it ends.
        if last < 0:
            raise
