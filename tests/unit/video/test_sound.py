"""The sound of a video stands where it is heard, to the millisecond, and gaps stay gaps."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import numpy as np
import pytest

from msqnet.clips import NO_SOUND
from msqnet.video.reader import open_video
from msqnet.video.sound import SoundTrack, window_sound
from tests.fixtures.models import sound_settings_of
from tests.fixtures.sounds import clicks, loudest, write_video_with_sound

if TYPE_CHECKING:
    from pathlib import Path

_CLICKS = (0.5, 1.5, 2.25)
# What a container rounds, by its time base: MP4 edit lists and Matroska have milliseconds.
_EXACT, _ROUNDED = 2e-5, 1.1e-3


@pytest.mark.parametrize("start", [0.0, 0.75])
@pytest.mark.parametrize(
    ("suffix", "codec", "rate", "num_channels", "tolerance"),
    [
        ("mkv", "pcm_s16le", 16000, 1, _EXACT),
        ("mov", "pcm_s16le", 44100, 2, _EXACT),
        ("mp4", "aac", 48000, 2, _ROUNDED),
        ("mp4", "aac", 44100, 1, _ROUNDED),
        ("mkv", "libopus", 48000, 2, _ROUNDED),
        ("mkv", "flac", 44100, 1, _EXACT),
        ("ts", "aac", 48000, 1, _ROUNDED),
    ],
)
def test_clicks_are_heard_when_they_were_made(
    tmp_path: Path,
    suffix: str,
    codec: str,
    rate: int,
    num_channels: int,
    tolerance: float,
    start: float,
) -> None:
    samples = np.stack([clicks(_CLICKS, 3, rate)] * num_channels)
    path = write_video_with_sound(
        tmp_path / f"a.{suffix}", samples, rate, codec=codec, start_seconds=start
    )
    with open_video(path) as video:
        track = video.sound_track(16000)
        for time in _CLICKS:
            expected = time + start + video.start_seconds  # a stream's clock may begin with sound
            found = track.between(expected - 0.2, expected + 0.2)
            heard = found.start_seconds + loudest(found.samples, 16000)
            assert heard == pytest.approx(expected, abs=tolerance)
            assert abs(found.samples).max() == pytest.approx(0.8, abs=0.05)


def test_what_a_track_does_not_hold_is_missing(tmp_path: Path) -> None:
    samples = clicks([0.2], 1.0, 16000)
    path = write_video_with_sound(tmp_path / "late.mkv", samples, start_seconds=1.5, seconds=4)
    with open_video(path) as video:
        track = video.sound_track(16000)
        assert len(track.between(0, 1.4).samples) == 0
        found = track.between(1.0, 4.0)
        assert found.start_seconds == pytest.approx(1.5)
        assert len(found.samples) == 16000
        assert len(track.between(3.0, 4.0).samples) == 0
        assert len(track.between(1.5, 2.0).samples) == 8000  # an earlier time opens it again


def test_a_gap_ends_a_run_and_the_longer_run_is_heard(tmp_path: Path) -> None:
    samples = 0.5 * np.ones(16000 * 2, np.float32)
    path = write_video_with_sound(tmp_path / "gap.mkv", samples, gap=(10240, 0.5))
    with open_video(path) as video:
        found = video.sound_track(16000).between(0, 4)
        assert found.start_seconds == pytest.approx(1.14, abs=1e-3)
        assert len(found.samples) == 32000 - 10240


def test_reading_by_windows_and_reading_at_once_agree(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    samples = rng.normal(0, 0.1, 44100 * 3).astype(np.float32)
    path = write_video_with_sound(tmp_path / "noise.mkv", samples, 44100, codec="flac")
    whole = SoundTrack(path, 16000).between(0, 3)
    track = SoundTrack(path, 16000)
    for start in (0.0, 0.5, 1.0, 1.5):
        part = track.between(start, start + 1)
        first = round(start * 16000)
        np.testing.assert_array_equal(part.samples, whole.samples[first : first + 16000])


def test_a_seek_far_ahead_finds_the_same_samples(tmp_path: Path) -> None:
    times = np.arange(1, 30) + 0.25
    for suffix, codec in (("mp4", "aac"), ("mkv", "libopus")):
        path = write_video_with_sound(
            tmp_path / f"long.{suffix}", clicks(list(times), 30, 48000), 48000,
            codec=codec, seconds=30,
        )  # fmt: skip
        found = SoundTrack(path, 16000).between(25.0, 25.5)
        heard = found.start_seconds + loudest(found.samples, 16000)
        assert heard == pytest.approx(25.25, abs=_ROUNDED)


def test_damaged_sound_is_missing_and_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rng = np.random.default_rng(0)
    samples = rng.normal(0, 0.1, 16000 * 4).astype(np.float32)
    path = write_video_with_sound(tmp_path / "a.mkv", samples, codec="flac")
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 20000] = rng.integers(0, 256, 20000, np.uint8).tobytes()
    path.write_bytes(content)
    with caplog.at_level(logging.WARNING), open_video(path) as video:
        found = video.sound_track(16000).between(0, 4)
    assert 0 < len(found.samples) < 4 * 16000
    assert sum("sound is damaged" in record.message for record in caplog.records) <= 1


def test_tokens_have_the_times_of_their_sound_and_none_where_it_is_missing(tmp_path: Path) -> None:
    config = sound_settings_of("ast")
    samples = clicks([0.4], 1.0, 16000)
    path = write_video_with_sound(tmp_path / "late.mkv", samples, start_seconds=1.0, seconds=3)
    with open_video(path) as video:
        sound = window_sound(video, 0.5, 2.5, config)
    assert sound is not None
    heard = sound.times != NO_SOUND
    # From 1 to 2 s, of a window from 0.5 to 2.5 s.
    assert (sound.times[heard] > 0.25).all()
    assert (sound.times[heard] < 0.75).all()
    num_frames = 1 + (16000 - 400) // 160
    assert heard.sum() == (num_frames - config.token_frames) // config.token_step + 1
    step = config.token_step * 0.01 / 2.0
    np.testing.assert_allclose(np.diff(sound.times[heard]), step, rtol=1e-4)
    # The token that holds the click is the loudest.
    frames = sound.spectrogram[: len(sound.times) * int(config.token_step)].max(axis=1)
    token = int(frames.argmax() // config.token_step)
    assert sound.times[token] * 2.0 + 0.5 == pytest.approx(1.4, abs=0.05)


def test_no_track_no_file_and_too_little_sound_are_no_sound(tmp_path: Path) -> None:
    config = sound_settings_of("clap")
    silent = write_video_with_sound(tmp_path / "silent.mkv", None)
    short = write_video_with_sound(tmp_path / "short.mkv", clicks([0.005], 0.01, 16000))
    frames = np.zeros((4, 16, 16, 3), np.uint8)
    for source in (silent, short, frames):
        with open_video(source, fps=2) as video:
            sound = window_sound(video, 0.0, 1.0, config)
            assert sound is not None
            assert sound.is_missing
            assert window_sound(video, 0.0, 1.0, None) is None


def test_of_a_long_window_the_middle_is_heard(tmp_path: Path) -> None:
    config = sound_settings_of("ast")
    path = write_video_with_sound(tmp_path / "a.mkv", clicks([6], 12, 16000), seconds=12)
    with open_video(path) as video:
        sound = window_sound(video, 0.0, 12.0, config)
    assert sound is not None
    heard = sound.times[sound.times != NO_SOUND]
    assert heard.min() == pytest.approx(1 - heard.max(), abs=0.02)
    assert (heard.max() - heard.min()) * 12 < config.max_seconds


def test_where_the_clock_goes_back_no_sound_is_heard_at_a_wrong_time(tmp_path: Path) -> None:
    samples = clicks([1.0], 2, 48000)
    part = write_video_with_sound(tmp_path / "a.ts", samples, 48000, codec="aac", seconds=2)
    joined = tmp_path / "joined.ts"
    joined.write_bytes(2 * part.read_bytes())
    with open_video(joined) as video:
        assert "goes back" in " ".join(video.notes)
        assert len(video.sound_track(16000).between(0, 4).samples) == 0
