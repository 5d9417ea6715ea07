"""The sound of a video by time, on the clock of its pictures; windows of pictures with their sound.

Sound is mixed down to one channel and resampled once, from the first sample of a run on. A run is
sound without a gap: what the file does not hold, or what does not decode, is missing, and is never
filled in. A frame of sound whose time stamp is off by less than 10 ms from where the samples before
it end counts as their continuation, because containers round time stamps (Matroska to 1 ms).

The log-mel spectrograms are those that AST and CLAP were trained on, in NumPy alone. They equal
those of the feature extractors of `transformers` (`tests/parity/test_audio.py`), which are slower
and need the whole library.
"""

from __future__ import annotations

import logging
import math
from contextlib import suppress
from functools import cache
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import av
import numpy as np

from msqnet.clips import NO_SOUND, Frames, SoundInput
from msqnet.errors import VideoError
from msqnet.video.clock import clock_zero, format_names
from msqnet.video.decoding import open_stream
from msqnet.video.window_grid import segment_times

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from av.audio.frame import AudioFrame
    from av.container import InputContainer
    from numpy.typing import NDArray

    from msqnet.config import ClipConfig, SoundConfig
    from msqnet.video.reader import Video

    Floats = NDArray[np.float64]

_logger = logging.getLogger(__name__)
_SLACK_SECONDS = 0.01
_SEEKABLE_FORMATS = frozenset({"mov", "matroska", "webm"})
"""Containers whose packets keep their exact times after a seek."""
_FAR_SECONDS = 10.0
_LEAD_SECONDS = 1.0
"""Decoders of sound need some packets before the first one that is right."""
_PREEMPHASIS = 0.97
_SMALLEST = {"kaldi": 1.192092955078125e-07, "htk": 1e-10, "slaney": 1e-10}
_LOG_FROM_HERTZ, _LOG_FROM_MEL = 1000.0, 15.0
_LOG_STEP = 27 / np.log(6.4)


class Sound(NamedTuple):
    """Samples (n,) float32 without a gap, the first at ``start_seconds`` of the video's clock."""

    samples: NDArray[np.float32]
    start_seconds: float


class _Run:
    """Resampled sound without a gap; the samples kept begin at number ``first``."""

    def __init__(self, frame: AudioFrame, start_seconds: float, rate: int) -> None:
        self.form = (frame.sample_rate, frame.layout.name, frame.format.name)
        self.start_seconds = self.end_seconds = start_seconds
        self.rate, self.first = rate, 0
        self._resampler = av.AudioResampler(format="fltp", rate=rate)
        self._parts: list[NDArray[np.float32]] = []

    @property
    def size(self) -> int:
        """Number of the sample after the last."""
        return self.first + sum(len(part) for part in self._parts)

    def add(self, frame: AudioFrame | None) -> None:
        """Resample a frame; None for the rest that is held back."""
        if frame is not None:
            self.end_seconds += frame.samples / frame.sample_rate
            frame.pts = None  # we keep time ourselves
        for piece in self._resampler.resample(frame):
            self._parts.append(piece.to_ndarray().mean(axis=0, dtype=np.float32))

    def number_at(self, seconds: float) -> int:
        """Number of the first sample that is not before a time."""
        return math.ceil((seconds - self.start_seconds) * self.rate - 1e-6)

    def forget_before(self, seconds: float) -> None:
        """Drop parts that end before a time."""
        while self._parts and self.first + len(self._parts[0]) <= self.number_at(seconds):
            self.first += len(self._parts.pop(0))

    def between(self, start_seconds: float, end_seconds: float) -> Sound:
        """What there is of an interval."""
        start = max(self.number_at(start_seconds), self.first)
        end = max(start, self.number_at(end_seconds))
        kept = np.concatenate([np.zeros(0, np.float32), *self._parts])
        found = kept[start - self.first : end - self.first]
        return Sound(found, self.start_seconds + start / self.rate)


class SoundTrack:
    """The first sound track of a video file; a file without one, or None, is silent throughout.

    It is read forward and with little in memory. An earlier time, or one far ahead, opens the file
    again. Damage is logged once, and its sound is missing.
    """

    def __init__(self, path: Path | None, rate: int) -> None:
        self._path, self.rate = path, rate
        self._container: InputContainer | None = None
        self._frames: Iterator[tuple[float, AudioFrame]] = iter(())
        self._runs: list[_Run] = []
        self._kept_from, self._is_at_end, self._is_told = math.inf, False, False

    def close(self) -> None:
        """Close the file; asking for sound opens it again."""
        if self._container is not None:
            self._container.close()
        self._container, self._runs, self._kept_from = None, [], math.inf

    def between(self, start_seconds: float, end_seconds: float) -> Sound:
        """The longest run of sound in an interval; no samples where there is none."""
        if start_seconds < self._kept_from or start_seconds > self._position + _FAR_SECONDS:
            self._open(start_seconds)
        self._kept_from = start_seconds
        while not self._is_at_end and self._position < end_seconds:
            frame = next(self._frames, None)
            if frame is not None:
                self._add(*frame)
            else:
                self._is_at_end = True
                if self._runs:
                    self._runs[-1].add(None)
            for run in self._runs:
                run.forget_before(start_seconds)
            self._runs = [run for run in self._runs if run.size > run.first] or self._runs[-1:]
        found = [run.between(start_seconds, end_seconds) for run in self._runs]
        found.append(Sound(np.zeros(0, np.float32), start_seconds))
        return max(found, key=lambda sound: len(sound.samples))

    @property
    def _position(self) -> float:
        """Up to where sound is at hand."""
        if not self._runs:
            return -math.inf
        return self._runs[-1].start_seconds + self._runs[-1].size / self.rate

    def _open(self, start_seconds: float) -> None:
        self.close()
        self._is_at_end = self._path is None
        if self._path is None:
            return
        self._frames = self._decoded(start_seconds - _LEAD_SECONDS)
        first = next(self._frames, None)
        if first is not None and first[0] > start_seconds > _FAR_SECONDS:
            self._frames = self._decoded(-math.inf)  # the seek went too far
            first = next(self._frames, None)
        self._is_at_end = first is None
        if first is not None:
            self._add(*first)

    def _add(self, seconds: float, frame: AudioFrame) -> None:
        run = self._runs[-1] if self._runs else None
        form = (frame.sample_rate, frame.layout.name, frame.format.name)
        if run is None or run.form != form or abs(seconds - run.end_seconds) > _SLACK_SECONDS:
            if run is not None:
                run.add(None)
            run = _Run(frame, seconds, self.rate)
            self._runs.append(run)
        run.add(frame)

    def _decoded(self, from_seconds: float) -> Iterator[tuple[float, AudioFrame]]:
        """Frames of sound with their times, from the last place before a time where that is safe.

        What does not decode is passed over.
        """
        assert self._path is not None
        if self._container is not None:
            self._container.close()
        container, video = open_stream(self._path, num_threads=1)
        self._container = container
        if not container.streams.audio:
            return
        track: Any = container.streams.audio[0]
        if track.codec_context is None:
            self._tell("no decoder for its codec")
            return
        zero, base = clock_zero(video), track.time_base
        if from_seconds > _FAR_SECONDS - _LEAD_SECONDS and (
            _SEEKABLE_FORMATS & format_names(video)
        ):
            with suppress(av.FFmpegError):
                container.seek(math.floor((from_seconds + zero) / base), stream=track)
        packets, packet, last_end = container.demux(track), object(), 0.0
        while packet is not None:
            try:
                packet = next(packets, None)
                if packet is not None and packet.size == 0:  # would end the decoder too early
                    continue
                frames = track.decode(packet)
            except av.FFmpegError as error:
                self._tell(str(error.strerror))
                continue
            for frame in frames:
                known = frame.pts is not None
                seconds = float(frame.pts * base - zero) if known else last_end
                last_end = seconds + frame.samples / frame.sample_rate
                yield seconds, frame

    def _tell(self, problem: str) -> None:
        if not self._is_told:
            text = "%s: its sound is damaged (%s); what does not decode is missing"
            _logger.warning(text, self._path, problem)
        self._is_told = True


def window_frames(
    video: Video,
    start_seconds: float,
    end_seconds: float,
    config: ClipConfig,
    offsets: list[float] | None = None,
) -> Frames:
    """Frames of T equal segments of an interval, see `segment_times`, and its sound.

    Errors are those of `Video.frames_at`.
    """
    times = segment_times(start_seconds, end_seconds, config.num_frames, offsets)
    frames = video.frames_at(times.tolist())
    return with_sound(frames, video, start_seconds, end_seconds, config)


def with_sound(
    frames: Frames, video: Video, start_seconds: float, end_seconds: float, config: ClipConfig
) -> Frames:
    """The same frames with the sound of their interval, where the model takes it."""
    sound = window_sound(video, start_seconds, end_seconds, config.sound)
    return Frames(frames.pixels, frames.pts_seconds, sound)


def window_sound(
    video: Video, start_seconds: float, end_seconds: float, config: SoundConfig | None
) -> SoundInput | None:
    """The sound of a window as a model takes it; None for a model that takes none.

    Of a window that is longer than the encoder takes, the middle.
    """
    if config is None:
        return None
    end_seconds = max(end_seconds, start_seconds + 1 / config.rate)
    middle, half = (start_seconds + end_seconds) / 2, config.max_seconds / 2
    start, end = max(start_seconds, middle - half), min(end_seconds, middle + half)
    try:
        found = video.sound_track(config.rate).between(start, end)
    except VideoError:  # the file is gone, or another one, since its pictures were read
        found = Sound(np.zeros(0, np.float32), start)
    return sound_input(found.samples, found.start_seconds, start_seconds, end_seconds, config)


def sound_input(
    samples: NDArray[np.float32],
    first_seconds: float,
    start_seconds: float,
    end_seconds: float,
    config: SoundConfig,
) -> SoundInput:
    """One run of sound (n,), which begins at ``first_seconds``, as the input of a window.

    Each token gets the time of its middle. Tokens of which any part is missing have none: the model
    masks them. Sound too short for one token is no sound.
    """
    tokens = np.arange(config.num_tokens)
    if config.mels == "kaldi":
        num_frames = 1 + (len(samples) - config.window_samples) // config.hop_samples
        is_heard = tokens * config.token_step + config.token_frames <= num_frames
        delay = config.window_samples / 2
    else:  # frames are centred, and sound that is too short is repeated
        ends = (tokens * config.token_step + config.token_frames) * config.hop_samples
        is_heard = ends <= len(samples) + config.hop_samples
        delay = 0.0
    spectrogram = np.zeros((config.num_frames, config.num_mel_bins), np.float32)
    if is_heard.any():
        spectrogram[:] = _normalized(samples[: round(config.max_seconds * config.rate)], config)
    middles = tokens * config.token_step + (config.token_frames - 1) / 2
    seconds = first_seconds + (middles * config.hop_samples + delay) / config.rate
    times = (seconds - start_seconds) / (end_seconds - start_seconds)
    return SoundInput(spectrogram, np.where(is_heard, times, NO_SOUND).astype(np.float32))


def _normalized(samples: NDArray[np.float32], config: SoundConfig) -> Floats:
    """(F, N) as in published training: AST pads the spectrogram, CLAP repeats the sound."""
    if config.mels == "kaldi":
        found = _log_mels(samples.astype(np.float64), config)[: config.num_frames]
        padding = ((0, config.num_frames - len(found)), (0, 0))
        padded: Floats = (np.pad(found, padding) - config.mean) / config.scale
        return padded
    num_samples = round(config.max_seconds * config.rate)
    repeated = np.tile(samples.astype(np.float64), max(1, num_samples // len(samples)))
    repeated = np.pad(repeated, (0, num_samples - len(repeated)))
    return (_log_mels(repeated, config) - config.mean) / config.scale


def _log_mels(samples: Floats, config: SoundConfig) -> Floats:
    """(n,) to the (f, N) logarithms of the frames that fit into it."""
    size, is_kaldi = config.window_samples, config.mels == "kaldi"
    if not is_kaldi:
        samples = np.pad(samples, size // 2, mode="reflect")
    frames = np.lib.stride_tricks.sliding_window_view(samples, size)[:: config.hop_samples]
    if is_kaldi:
        frames = frames - frames.mean(axis=1, keepdims=True)
        before = np.concatenate([frames[:, :1], frames[:, :-1]], axis=1)
        frames = frames - _PREEMPHASIS * before
    # Of a symmetric window the last sample is 0 too; of a periodic one it would be the next.
    steps = size - 1 if is_kaldi else size
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(size) / steps)
    power = np.abs(np.fft.rfft(frames * window, config.fft_samples)) ** 2  # (f, fft / 2 + 1)
    mels = np.maximum(power @ _filters(config), _SMALLEST[config.mels])
    return np.log(mels) if is_kaldi else 10 * np.log10(mels)


@cache
def _filters(config: SoundConfig) -> Floats:
    """(fft / 2 + 1, N) triangles that overlap by half, evenly over the mel scale."""
    kind, num_bins = config.mels, config.fft_samples // 2 + 1
    low, high = (
        _to_mel(np.array([edge]), kind)[0] for edge in (config.low_hertz, config.high_hertz)
    )
    corners = np.linspace(low, high, config.num_mel_bins + 2)
    hertz = np.linspace(0, config.rate / 2, num_bins)
    places = _to_mel(hertz, kind) if kind == "kaldi" else hertz
    if kind != "kaldi":
        corners = _to_hertz(corners, kind)
    slopes = corners[None] - places[:, None]  # (bins, N + 2)
    widths = np.diff(corners)
    rising, falling = -slopes[:, :-2] / widths[:-1], slopes[:, 2:] / widths[1:]
    found: Floats = np.maximum(0, np.minimum(rising, falling))
    return found * (2 / (corners[2:] - corners[:-2])) if kind == "slaney" else found


def _to_mel(hertz: Floats, kind: Literal["kaldi", "htk", "slaney"]) -> Floats:
    if kind == "slaney":
        above = _LOG_FROM_MEL + np.log(np.maximum(hertz, 1) / _LOG_FROM_HERTZ) * _LOG_STEP
        return np.where(hertz >= _LOG_FROM_HERTZ, above, 3 * hertz / 200)
    scaled: Floats = np.log1p(hertz / 700)
    return 1127 * scaled if kind == "kaldi" else 2595 / np.log(10) * scaled


def _to_hertz(mels: Floats, kind: Literal["kaldi", "htk", "slaney"]) -> Floats:
    if kind == "slaney":
        above = _LOG_FROM_HERTZ * np.exp((mels - _LOG_FROM_MEL) / _LOG_STEP)
        return np.where(mels >= _LOG_FROM_MEL, above, 200 * mels / 3)
    return 700 * (10 ** (mels / 2595) - 1)
