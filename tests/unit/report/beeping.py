"""Videos that turn white while a tone sounds, and the times at which they are seen and heard."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, Any

import av
import numpy as np

from msqnet.video.reader import open_video

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

SOUND_RATE = 48_000
_TONE_HERTZ = 1000
_CHUNK_SAMPLES = 960
_LOUD = 0.2
_BRIGHT = 128


def write_beeping_video(
    path: Path,
    *,
    video_codec: str = "libx264",
    audio_codec: str = "aac",
    video_start: Fraction | int = 0,
    duration: Fraction | int = 4,
    beep: tuple[Fraction | int, Fraction | int] = (2, 3),
    fps: int = 10,
) -> Path:
    """A video that is white, and sounds, in ``beep``; times in seconds from the first frame.

    The sound starts where the file's clock is 0, the pictures at ``video_start``.
    """
    with av.open(str(path), "w") as container:
        pictures: Any = container.add_stream(video_codec, rate=fps)
        pictures.width, pictures.height, pictures.pix_fmt = 64, 48, "yuv420p"
        sound: Any = container.add_stream(audio_codec, rate=SOUND_RATE, layout="mono")
        for number in range(int(duration * fps)):
            level = 255 if beep[0] <= Fraction(number, fps) < beep[1] else 0
            image = np.full((48, 64, 3), level, np.uint8)
            frame = av.VideoFrame.from_ndarray(image, "rgb24")
            frame.pts = number + round(video_start * fps)
            frame.time_base = Fraction(1, fps)
            container.mux(pictures.encode(frame))
        container.mux(pictures.encode(None))
        resampler = av.AudioResampler(sound.format, "mono", SOUND_RATE, sound.frame_size or None)
        for chunk in _tone(video_start, duration, beep):
            for piece in resampler.resample(chunk):
                container.mux(sound.encode(piece))
        for piece in resampler.resample(None):
            container.mux(sound.encode(piece))
        container.mux(sound.encode(None))
    return path


def _tone(
    video_start: Fraction | int, duration: Fraction | int, beep: tuple[Fraction | int, ...]
) -> Sequence[av.AudioFrame]:
    times = np.arange(int((video_start + duration) * SOUND_RATE)) / SOUND_RATE
    start, end = (float(video_start + time) for time in beep)
    wave = 0.8 * np.sin(2 * np.pi * _TONE_HERTZ * times) * ((times >= start) & (times < end))
    frames = []
    for first in range(0, len(wave), _CHUNK_SAMPLES):
        samples = wave[None, first : first + _CHUNK_SAMPLES].astype(np.float32)
        frame = av.AudioFrame.from_ndarray(samples, "fltp", "mono")
        frame.sample_rate, frame.pts, frame.time_base = SOUND_RATE, first, Fraction(1, SOUND_RATE)
        frames.append(frame)
    return frames


def seen(path: Path) -> tuple[float, float]:
    """From when until when the first picture of a video is white; seconds from its first frame."""
    with open_video(path) as video:
        bright = [time for time, pixels in video if pixels.mean() > _BRIGHT]
        ends = [*video.pts_seconds.tolist(), video.duration_seconds]
    return bright[0], min(time for time in ends if time > bright[-1])


def heard(path: Path) -> tuple[float, float]:
    """From when until when the tone of an mp4 is heard; seconds on the clock of the file."""
    resampler = av.AudioResampler("fltp", "mono", SOUND_RATE)
    loud: list[float] = []
    with av.open(str(path)) as container:
        for frame in container.decode(audio=0):
            assert frame.pts is not None
            for piece in resampler.resample(frame):
                samples = piece.to_ndarray()[0]
                start = float(piece.pts * piece.time_base)  # type: ignore[operator]
                loud += (start + np.flatnonzero(np.abs(samples) > _LOUD) / SOUND_RATE).tolist()
    return loud[0], loud[-1]
