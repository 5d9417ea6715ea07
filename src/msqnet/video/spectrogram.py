"""Sound as the log-mel spectrograms that AST and CLAP were trained on, in NumPy alone.

They equal those of the feature extractors of `transformers` (`tests/parity/test_audio.py`), which
are slower and need the whole library.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Literal

import numpy as np

from msqnet.clips import NO_SOUND, SoundInput

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from msqnet.config import SoundConfig

    Floats = NDArray[np.float64]

_PREEMPHASIS = 0.97
_SMALLEST = {"kaldi": 1.192092955078125e-07, "htk": 1e-10, "slaney": 1e-10}


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
        spectrogram[:] = _normalized(samples[: _capacity(config)], config)
    middles = tokens * config.token_step + (config.token_frames - 1) / 2
    seconds = first_seconds + (middles * config.hop_samples + delay) / config.rate
    times = (seconds - start_seconds) / (end_seconds - start_seconds)
    return SoundInput(spectrogram, np.where(is_heard, times, NO_SOUND).astype(np.float32))


def _capacity(config: SoundConfig) -> int:
    return round(config.max_seconds * config.rate)


def _normalized(samples: NDArray[np.float32], config: SoundConfig) -> Floats:
    """(F, N) as in published training: AST pads the spectrogram, CLAP repeats the sound."""
    if config.mels == "kaldi":
        found = _log_mels(samples.astype(np.float64), config)[: config.num_frames]
        padding = ((0, config.num_frames - len(found)), (0, 0))
        padded: Floats = (np.pad(found, padding) - config.mean) / config.scale
        return padded
    num_samples = _capacity(config)
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


_LOG_FROM_HERTZ, _LOG_FROM_MEL = 1000.0, 15.0
_LOG_STEP = 27 / np.log(6.4)


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
