"""Frames as they are to be looked at, and an mp4 of them that every player and browser shows."""

from __future__ import annotations

import contextlib
from fractions import Fraction
from typing import TYPE_CHECKING, Self

import av
import numpy as np
from av.video.frame import PictureType
from av.video.reformatter import ColorRange, Colorspace, Interpolation, VideoReformatter

from msqnet.errors import ShapeError
from msqnet.files import replacing
from msqnet.report.sound import open_sound
from msqnet.video.decoding import FrameDecoder
from msqnet.video.reader import open_video, scaled_size

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path
    from types import TracebackType

    from av.container import OutputContainer
    from av.packet import Packet
    from av.video.stream import VideoStream
    from numpy.typing import NDArray

    from msqnet.clips import Pixels
    from msqnet.report.sound import Sound
    from msqnet.video.reader import Video

TIME_BASE = Fraction(1, 90_000)
"""Unit of the times in the file: fine enough that none is off by more than 6 microseconds."""

_FALLBACK_FRAME_SECONDS = 1 / 25
_KEYFRAME_SECONDS = 2.0
_LONGEST_EMPTY_START_SECONDS = 0.1
# Without B frames packets come in the order of their times, and times and end are exact.
_X264_OPTIONS = {"preset": "veryfast", "bf": "0", "g": "100000"}
_BT709 = 1
_LIMITED_RANGE = 1
_SIDEWAYS_DEGREES = (90, 270)


def square_size(video: Video) -> tuple[int, int]:
    """(width, height) of a video's picture once its pixels are square.

    Frames are upright, but their pixels are as stored: not square in files from DVDs, camcorders
    and broadcasts. The side that is too short is stretched, so that no detail is lost.
    """
    if video.path.is_dir():
        return video.width, video.height
    with FrameDecoder(video.path) as decoder:
        frame = decoder.next_frame()
        aspect = decoder.stream.sample_aspect_ratio or Fraction(1)  # of a pixel, width by height
        if frame is not None and frame.rotation % 360 in _SIDEWAYS_DEGREES:
            aspect = 1 / aspect
    if aspect >= 1:
        return max(1, round(video.width * aspect)), video.height
    return video.width, max(1, round(video.height / aspect))


def resized(
    frames: Iterable[tuple[float, Pixels]], width: int, height: int
) -> Iterator[tuple[float, NDArray[np.uint8]]]:
    """Frames (3, h, w) uint8 RGB with their times, as a `Video` gives them, at one size.

    Yields the time and (H, W, 3) uint8 RGB; where the size is right already, a view of the input.
    """
    reformatter = VideoReformatter()
    for time, pixels in frames:
        image = pixels.transpose(1, 2, 0)  # (3, h, w) -> (h, w, 3)
        if image.shape[:2] == (height, width):
            yield time, image
            continue
        is_smaller = width * height < image.shape[0] * image.shape[1]
        scaled = reformatter.reformat(
            av.VideoFrame.from_numpy_buffer(np.ascontiguousarray(image), format="rgb24"),
            width,
            height,
            interpolation=Interpolation.AREA if is_smaller else Interpolation.BICUBIC,
        )
        yield time, np.asarray(scaled.to_ndarray(), dtype=np.uint8)


def write_copy(
    path: Path, copy: Path, short_side_pixels: int, progress: Callable[[float], None]
) -> None:
    """Write a copy of a video that every browser plays: square pixels, the same times and sound.

    ``progress`` gets the share that is done. `VideoError` if the video cannot be read, `OSError` if
    the copy cannot be written.
    """
    with open_video(path, short_side_pixels=short_side_pixels) as video:
        width, height = scaled_size(*square_size(video), short_side_pixels)
        audio = None if path.is_dir() else path
        with VideoWriter(copy, width=width, height=height, audio_from=audio) as writer:
            for time_seconds, frame in resized(video, width, height):
                writer.write(frame, time_seconds)
                progress(min(1.0, time_seconds / video.duration_seconds))
            writer.close(video.duration_seconds)


class VideoWriter:
    """Writes RGB frames to H.264 in mp4, at the times they are given, with the source's sound.

    The file appears when it is complete: after an error or an interruption, what stood there before
    stays. Some dozens of frames are in memory at most. The file's index comes first, so that a page
    can play it while it loads, and every two seconds there is a frame to jump to.

    Pixels are square. Players need even sides, so an odd one is repeated by one pixel at the right
    or the bottom.

    Args:
        path: the file to write; its folder exists.
        width: pixels of the frames.
        height: as ``width``.
        audio_from: the source whose sound is carried over, copied where mp4 holds its codec, else
            encoded as AAC.
        start_seconds: time of the source that becomes 0 in the file, for an interval of a video.
        quality_crf: constant quality, 0 (lossless) to 51; each 6 less about doubles the file.

    Raises:
        VideoError: on entering, if ``audio_from`` is not a video.
        OSError: on entering, writing or closing, if the file cannot be written.

    Example:
        >>> with VideoWriter(path, width=640, height=480) as writer:  # doctest: +SKIP
        ...     writer.write(frame, pts_seconds=0.0)
        ...     writer.close(end_seconds=0.04)
    """

    def __init__(
        self,
        path: Path,
        *,
        width: int,
        height: int,
        audio_from: Path | None = None,
        start_seconds: float = 0.0,
        quality_crf: int = 20,
    ) -> None:
        self.path, self.width, self.height = path, width, height
        self._audio_from, self._start_seconds = audio_from, start_seconds
        self._quality_crf = quality_crf
        self._open = contextlib.ExitStack()
        self._reformatter = VideoReformatter()
        self._sound: Sound | None = None
        self._waiting: Packet[VideoStream] | None = None
        self._last_ticks: int | None = None
        self._last_interval = round(_FALLBACK_FRAME_SECONDS / TIME_BASE)
        self._next_keyframe_ticks = 0
        self._is_open = False

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            part = stack.enter_context(replacing(self.path))
            self._output = stack.enter_context(_opened(part, self.path))
            self._stream = self._add_stream()
            if self._audio_from is not None:
                self._sound = open_sound(self._audio_from, self._output, self._start_seconds)
            if self._sound is not None:
                stack.callback(self._sound.source.close)
            with _os_errors(self.path):
                self._output.start_encoding()
            self._open = stack.pop_all()
        self._is_open = True
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            self.close()
        self._open.__exit__(kind, error, trace)  # nothing is left in it after `close`

    def write(self, frame: NDArray[np.uint8], pts_seconds: float) -> None:
        """Add a frame (H, W, 3) uint8 RGB; it is shown until the next one's time.

        Another shape or type, or a time that is not later than the last one, is a `ShapeError`.
        """
        expected = (self.height, self.width, 3)
        if frame.shape != expected or frame.dtype != np.uint8:
            raise ShapeError(
                f"{self.path}: found a frame {frame.shape} {frame.dtype}, expected {expected} uint8"
            )
        ticks = self._ticks_after_last(pts_seconds)
        with _os_errors(self.path):
            if self._last_ticks is None and ticks * TIME_BASE > _LONGEST_EMPTY_START_SECONDS:
                # Players disagree on where a video without sound begins whose picture comes later.
                self._encode(self._encodable(np.zeros_like(frame), 0))
            self._encode(self._encodable(frame, ticks))
            if self._sound is not None:
                self._sound.write_until(float(ticks * TIME_BASE))

    def close(self, end_seconds: float | None = None) -> None:
        """Complete the file and move it into place; once more does nothing.

        Without an end, the last frame is shown for as long as the one before it. `ShapeError` if no
        frame was written, or the end is not behind the last one.
        """
        if not self._is_open:
            return
        self._is_open = False
        # What goes wrong in here reaches what is open as an error, which removes the part.
        with self._open:
            if self._last_ticks is None:
                raise ShapeError(f"{self.path}: no frame was written, expected at least one")
            if end_seconds is None:
                end_ticks = self._last_ticks + self._last_interval
            else:
                end_ticks = self._ticks_after_last(end_seconds)
            with _os_errors(self.path):
                self._encode(None)
                self._mux_waiting(until_ticks=end_ticks)
                if self._sound is not None:
                    self._sound.finish(float(end_ticks * TIME_BASE))

    def _encode(self, picture: av.VideoFrame | None) -> None:
        for packet in self._stream.encode(picture):
            self._mux_waiting(until_ticks=packet.pts)
            self._waiting = packet

    def _mux_waiting(self, until_ticks: int | None) -> None:
        """Write the last packet, which lasts until the next one: known now."""
        packet = self._waiting
        if packet is None or packet.pts is None or until_ticks is None:
            return
        packet.duration = until_ticks - packet.pts
        self._output.mux(packet)

    def _ticks_after_last(self, seconds: float) -> int:
        ticks = round((seconds - self._start_seconds) / TIME_BASE)
        if self._last_ticks is not None:
            if ticks <= self._last_ticks:
                last_seconds = float(self._last_ticks * TIME_BASE) + self._start_seconds
                raise ShapeError(
                    f"{self.path}: found time {seconds} s after a frame at {last_seconds} s, "
                    "expected a later one"
                )
            self._last_interval = ticks - self._last_ticks
        return ticks

    def _encodable(self, frame: NDArray[np.uint8], ticks: int) -> av.VideoFrame:
        """An even-sized yuv420p frame with its time; one every two seconds can be jumped to."""
        if self.width % 2 or self.height % 2:
            frame = np.pad(frame, ((0, self.height % 2), (0, self.width % 2), (0, 0)), mode="edge")
        picture = self._reformatter.reformat(
            av.VideoFrame.from_numpy_buffer(np.ascontiguousarray(frame), format="rgb24"),
            format="yuv420p",
            dst_colorspace=Colorspace.ITU709,
            dst_color_range=ColorRange.MPEG,
        )
        picture.pts, picture.time_base = ticks, TIME_BASE
        self._last_ticks = ticks
        if ticks >= self._next_keyframe_ticks:
            picture.pict_type = PictureType.I
            self._next_keyframe_ticks = ticks + round(_KEYFRAME_SECONDS / TIME_BASE)
        return picture

    def _add_stream(self) -> VideoStream:
        options = {**_X264_OPTIONS, "crf": str(self._quality_crf)}
        stream = self._output.add_stream("libx264", options=options, time_base=TIME_BASE)
        stream.width, stream.height = self.width + self.width % 2, self.height + self.height % 2
        stream.pix_fmt = "yuv420p"
        context = stream.codec_context
        context.colorspace = context.color_primaries = context.color_trc = _BT709
        context.color_range = _LIMITED_RANGE
        return stream


@contextlib.contextmanager
def _opened(part: Path, path: Path) -> Iterator[OutputContainer]:
    """An open mp4, whose index goes to the front when the block ends without an error."""
    with _os_errors(path):
        output = av.open(str(part), "w", format="mp4", options={"movflags": "+faststart"})
    try:
        yield output
    except BaseException:
        with contextlib.suppress(av.FFmpegError):
            output.close()
        raise
    with _os_errors(path):
        output.close()


@contextlib.contextmanager
def _os_errors(path: Path) -> Iterator[None]:
    """Turn what the encoder and the file system say into an `OSError` that names the file."""
    try:
        yield
    except av.FFmpegError as error:
        text = error.strerror or str(error)
        raise OSError(error.errno, f"{path}: the video cannot be written ({text})") from error
