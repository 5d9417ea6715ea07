"""How frames become a model input."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal

from msqnet.errors import check, check_numbers


@dataclass(frozen=True)
class MotionBoxConfig:
    """How the motion crop, the square around what moves, is found.

    Attributes:
        energy_share: Share of the difference energy that the square keeps along x and along y.
        margin: The square's side as a multiple of the tight one.
        min_side_share: Smallest side, as a share of the frame's short side.
        noise_levels: Grey levels (of 255) below which a frame difference counts as noise.
        min_moving_share: Share of moving pixels below which nothing counts as moving.
        max_moving_share: Share above which everything moves (camera motion, cut).
    """

    energy_share: float = 0.9
    margin: float = 1.4
    min_side_share: float = 0.3
    noise_levels: float = 12.0
    min_moving_share: float = 0.0002
    max_moving_share: float = 0.6

    def __post_init__(self) -> None:
        shares = ["energy_share", "min_side_share"]
        check_numbers(self, shares, shares, margin=1)


@dataclass(frozen=True)
class SoundConfig:
    """How the sound of a window becomes the spectrogram of an audio encoder, which decides it all.

    The encoder gives one token for `token_frames` frames of the spectrogram, every `token_step`.

    Attributes:
        mels: Spectrogram: `kaldi` (AST), `htk` (CLAP, fused) or `slaney` (CLAP).
        rate: Samples a second.
        num_frames: Frames of the spectrogram, F; what a window has more is left out on both sides.
        num_mel_bins: Mel bins, N.
        window_samples: Samples of a frame.
        fft_samples: Length of its Fourier transform.
        hop_samples: Samples from frame to frame.
        low_hertz: Lower edge of the first bin.
        high_hertz: Upper edge of the last.
        mean: Subtracted from the logarithms.
        scale: They are then divided by it.
        num_tokens: Tokens of a full spectrogram, A.
        token_frames: Frames of a token.
        token_step: Frames from token to token.
    """

    mels: Literal["kaldi", "htk", "slaney"]
    rate: int
    num_frames: int
    num_mel_bins: int
    window_samples: int
    fft_samples: int
    hop_samples: int
    low_hertz: float
    high_hertz: float
    mean: float
    scale: float
    num_tokens: int
    token_frames: float
    token_step: float

    def __post_init__(self) -> None:
        choices = ("kaldi", "htk", "slaney")
        check(self.mels in choices, f"mels {self.mels!r}: expected one of {choices}")
        check_numbers(self, ["scale"], rate=1, num_frames=1, num_mel_bins=1)
        check_numbers(self, hop_samples=1, num_tokens=1)
        check(
            0 <= self.low_hertz < self.high_hertz <= self.rate / 2,
            f"bins from {self.low_hertz:g} to {self.high_hertz:g} Hz: expected a part of 0 to "
            f"{self.rate / 2:g} Hz, half the rate",
        )

    @property
    def max_seconds(self) -> float:
        """Length of the sound that a spectrogram holds."""
        # The frames of Kaldi begin where the others have their middle.
        own = self.window_samples if self.mels == "kaldi" else 0
        return ((self.num_frames - 1) * self.hop_samples + own) / self.rate


@dataclass(frozen=True)
class ClipConfig:
    """How the frames of a window become a model input. Stored in every checkpoint.

    Attributes:
        num_frames: Frames per clip, T.
        size_pixels: Side of the square input of the encoders.
        resize: `crop` scales the short side to `short_side_pixels` and cuts the centre (the paper);
            `stretch` scales the whole frame to the square, so that nothing is cut off.
        short_side_pixels: Short side before the centre crop.
        decode_short_side_pixels: Frames are scaled down to this short side while decoding.
        closeup: Whether the model also gets a motion crop: the square around what moves.
        motion: How the motion crop is found.
        sound: How its sound becomes a model input; the audio encoder sets it.
    """

    num_frames: int = 16
    size_pixels: int = 224
    resize: Literal["crop", "stretch"] = "crop"
    short_side_pixels: int = 256
    decode_short_side_pixels: int = 256
    closeup: bool = False
    motion: MotionBoxConfig = field(default_factory=MotionBoxConfig)
    sound: SoundConfig | None = None

    def __post_init__(self) -> None:
        size = self.size_pixels
        check_numbers(self, num_frames=1, size_pixels=16, decode_short_side_pixels=size)
        check(
            self.short_side_pixels >= size,
            f"short_side_pixels {self.short_side_pixels} is less than size_pixels {size}: the "
            "centre crop would not fit",
        )

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> ClipConfig:
        """Rebuild from `asdict`; raises `ConfigError` for an unknown field or a wrong value."""
        known = {item.name for item in fields(cls)}
        unknown = sorted(set(values) - known)
        check(not unknown, f"unknown clip settings {unknown}; known are {sorted(known)}")
        sound = values.get("sound")
        parts = {
            "motion": MotionBoxConfig(**values.get("motion") or {}),
            "sound": None if sound is None else SoundConfig(**sound),
        }
        return cls(**{**values, **parts})

    def as_dict(self) -> dict[str, Any]:
        """Plain values; no word of sound where there is none, as in files of older versions."""
        values = asdict(self)
        if self.sound is None:
            del values["sound"]
        return values
