"""How frames become a model input."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
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
        check(0 < self.energy_share <= 1, f"energy_share {self.energy_share}: expected (0, 1]")
        check(0 < self.min_side_share <= 1, f"min_side_share {self.min_side_share}: (0, 1]")
        check_numbers(self, margin=1)


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
    """

    num_frames: int = 16
    size_pixels: int = 224
    resize: Literal["crop", "stretch"] = "crop"
    short_side_pixels: int = 256
    decode_short_side_pixels: int = 256
    closeup: bool = False
    motion: MotionBoxConfig = field(default_factory=MotionBoxConfig)

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
        return cls(**{**values, "motion": MotionBoxConfig(**values.get("motion") or {})})
