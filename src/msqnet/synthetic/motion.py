"""What every kind of actor can do, as curves over time that no body has shaped yet."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

Array: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True)
class Motion:
    """Channels over time, each (T,) float64; an actor at rest has 0 in all of them.

    Attributes:
        advance: Way along the ground, in body sizes; positive is to the right of the picture.
        height: Height above the ground, in body sizes.
        turn: Turn about the vertical axis, radians.
        rear: 0 is the posture of rest, 1 has the front of the body raised.
        lie: 0 is the posture of rest, 1 lies flat.
        phase: Phase of the gait, radians; it grows while the actor moves the way that it faces.
        stride: Amplitude of the gait, radians.
        gallop: 0 moves legs in turn, 1 in pairs.
        tuck: 0 has legs as at rest, 1 folded.
        head_pitch: Radians; positive is up.
        head_yaw: Radians; positive is to the actor's side that faces the camera at first.
        limb_raise: 0 is the limb at rest, 1 is held high.
        limb_swing: Radians about where the limb is held.
        tail_raise: 0 is the tail at rest, 1 is held high.
        tail_swing: Radians about where the tail is held.
    """

    advance: Array
    height: Array
    turn: Array
    rear: Array
    lie: Array
    phase: Array
    stride: Array
    gallop: Array
    tuck: Array
    head_pitch: Array
    head_yaw: Array
    limb_raise: Array
    limb_swing: Array
    tail_raise: Array
    tail_swing: Array

    @classmethod
    def add(cls, parts: Iterable[Mapping[str, Array]], num_frames: int) -> Motion:
        """Sum channels of several actions.

        Args:
            parts: channels by name, each (T,) float64; a name that is missing is 0.
            num_frames: T.
        """
        total = {item.name: np.zeros(num_frames) for item in fields(cls)}
        for part in parts:
            for name, values in part.items():
                total[name] = total[name] + values
        return cls(**total)
