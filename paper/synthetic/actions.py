"""The actions: an English name, a definition that holds for every kind of actor, a motion.

Eight frames of a clip of 2 s are 4 frames a second. Oscillations stay at 1.3 Hz or below, so that
they are seen at three or more phases a period, and are not aliased away.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

from msqnet.labels import LabelSet

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

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


LEFT, RIGHT = -1, 1
GROUPS = ("body", "head", "limb", "tail")
"""A clip shows at most one action of each group; those of different groups combine freely."""

_WALK_SPEED = 0.34  # body sizes a second
_RUN_SPEED = 0.95
_JUMP_SPEED = 0.6
_AIRBORNE_SHARE = 0.72
_ONSET_SECONDS = 0.5


@dataclass(frozen=True)
class Style:
    """How one clip performs one action.

    Attributes:
        tempo: Factor of speed and frequency, about 1.
        size: Factor of amplitude, about 1.
        phase: Radians; where an oscillation starts.
        onset_seconds: When a posture is begun; below 0 it is held from the start.
        sign: 1 or -1; the way of a turn.
        is_backwards: The actor faces away from where it goes.
    """

    tempo: float
    size: float
    phase: float
    onset_seconds: float
    sign: int
    is_backwards: bool = False

    @classmethod
    def draw(cls, rng: np.random.Generator, *, is_backwards: bool = False) -> Style:
        """Draw one performance of an action."""
        tempo, size, phase = rng.uniform(0.85, 1.15), rng.uniform(0.85, 1.15), rng.uniform(0, 1)
        onset = rng.uniform(0.0, 0.5) if rng.random() < 0.5 else -_ONSET_SECONDS
        sign = RIGHT if rng.random() < 0.5 else LEFT
        return cls(tempo, size, 2 * np.pi * phase, onset, sign, is_backwards)

    def held(self, seconds: Array) -> Array:
        """(T,) from 0 before the posture to 1 in it."""
        share = np.clip((seconds - self.onset_seconds) / _ONSET_SECONDS, 0, 1)
        smooth: Array = share * share * (3 - 2 * share)
        return smooth

    def swing(self, seconds: Array, hertz: float) -> Array:
        """(T,) sine in [-1, 1]."""
        wave: Array = np.sin(2 * np.pi * hertz * self.tempo * seconds + self.phase)
        return wave


@dataclass(frozen=True)
class Action:
    """One label.

    Attributes:
        name: The label.
        group: One of `GROUPS`.
        definition: What every kind of actor does.
        move: Times (T,) in seconds and a style give channels of `Motion`.
        direction: `LEFT` or `RIGHT` in the picture; 0 where the actor stays in its place.
    """

    name: str
    group: str
    definition: str
    move: Callable[[Array, Style], Mapping[str, Array]]
    direction: int = 0


def _gait(
    direction: int, speed: float, hertz: float, stride: float, *, is_run: bool
) -> Callable[[Array, Style], Mapping[str, Array]]:
    def move(seconds: Array, style: Style) -> Mapping[str, Array]:
        forwards = -1 if style.is_backwards else 1
        phase = style.phase + forwards * 2 * np.pi * hertz * style.tempo * seconds
        ones = np.ones_like(seconds)
        channels = {
            "advance": direction * speed * style.tempo * seconds,
            "phase": phase,
            "stride": stride * style.size * ones,
        }
        if is_run:
            channels["gallop"] = ones
            channels["height"] = 0.05 * style.size * (1 + np.cos(2 * phase))
        return channels

    return move


def _jump(direction: int) -> Callable[[Array, Style], Mapping[str, Array]]:
    def move(seconds: Array, style: Style) -> Mapping[str, Array]:
        period = (1.0 * style.tempo * seconds + style.phase / (2 * np.pi)) % 1.0
        flight = np.clip(period / _AIRBORNE_SHARE, 0, 1)
        squat = np.clip((period - _AIRBORNE_SHARE) / (1 - _AIRBORNE_SHARE), 0, 1)
        arc = 4 * flight * (1 - flight)
        return {
            "advance": direction * _JUMP_SPEED * style.tempo * seconds,
            "height": 0.34 * style.size * arc,
            "tuck": 0.9 * np.sin(np.pi * squat) + 0.5 * arc,
        }

    return move


def _lie(seconds: Array, style: Style) -> Mapping[str, Array]:
    return {"lie": style.held(seconds)}


def _rear(seconds: Array, style: Style) -> Mapping[str, Array]:
    return {"rear": style.held(seconds)}


def _spin(seconds: Array, style: Style) -> Mapping[str, Array]:
    return {"turn": style.sign * 2 * np.pi * 0.6 * style.tempo * seconds + style.phase}


def _nod(seconds: Array, style: Style) -> Mapping[str, Array]:
    return {"head_pitch": style.size * (0.95 * style.swing(seconds, 1.0) - 0.3)}


def _shake_head(seconds: Array, style: Style) -> Mapping[str, Array]:
    return {"head_yaw": 1.5 * style.size * style.swing(seconds, 1.0)}


def _raise_head(seconds: Array, style: Style) -> Mapping[str, Array]:
    return {"head_pitch": 0.95 * style.size * style.held(seconds)}


def _wave(seconds: Array, style: Style) -> Mapping[str, Array]:
    swing = 0.95 * style.size * style.swing(seconds, 1.05)
    return {"limb_raise": np.full_like(seconds, 0.85), "limb_swing": swing}


def _raise_limb(seconds: Array, style: Style) -> Mapping[str, Array]:
    return {"limb_raise": style.held(seconds)}


def _wag(seconds: Array, style: Style) -> Mapping[str, Array]:
    swing = 0.85 * style.size * style.swing(seconds, 1.1)
    return {"tail_raise": np.full_like(seconds, 0.45), "tail_swing": swing}


def _raise_tail(seconds: Array, style: Style) -> Mapping[str, Array]:
    return {"tail_raise": style.held(seconds)}


def _directed() -> Iterable[Action]:
    for direction, side in ((LEFT, "left"), (RIGHT, "right")):
        walk = _gait(direction, _WALK_SPEED, 0.9, 0.5, is_run=False)
        run = _gait(direction, _RUN_SPEED, 1.3, 0.95, is_run=True)
        for verb, how, motion in (
            ("walking", ", slowly; legs step in turn, a legless body ripples", walk),
            ("running", ", fast, with long strides and a bobbing body, or large ripples", run),
            ("jumping", " in hops: all of the body leaves the ground", _jump(direction)),
        ):
            description = f"moves to the {side} past the background{how}"
            yield Action(f"{verb} to the {side}", "body", description, motion, direction)


ACTIONS: tuple[Action, ...] = (
    *_directed(),
    Action("lying down", "body", "lies flat on the ground, limbs and neck stretched out", _lie),
    Action("rearing up", "body", "raises the front of the body, front limbs off the ground", _rear),
    Action("spinning around", "body", "turns about the vertical axis on the spot", _spin),
    Action("nodding the head", "head", "moves the head up and down again and again", _nod),
    Action("shaking the head", "head", "turns the head from side to side", _shake_head),
    Action("raising the head", "head", "holds the head up and looks upwards", _raise_head),
    Action("waving a limb", "limb", "holds one arm, foreleg, wing or fin up and swings it", _wave),
    Action("raising a limb", "limb", "holds one arm, foreleg, wing or fin up, still", _raise_limb),
    Action("wagging the tail", "tail", "swings the tail up and down, and to the sides", _wag),
    Action("raising the tail", "tail", "holds the tail up, still", _raise_tail),
)
"""All actions, in the order of the labels."""

BY_NAME: Mapping[str, Action] = {action.name: action for action in ACTIONS}
LABELS = LabelSet(tuple(BY_NAME))


def idle(seconds: Array, rng: np.random.Generator) -> Mapping[str, Array]:
    """Small slow movements that every clip has, far below those of any action.

    Args:
        seconds: (T,) times.
        rng: source of amplitudes and phases.
    """
    amplitudes = {"head_pitch": 0.1, "head_yaw": 0.15, "limb_swing": 0.08, "tail_swing": 0.12}
    channels = {}
    for name, amplitude in amplitudes.items():
        hertz, phase = rng.uniform(0.2, 0.5), rng.uniform(0, 2 * np.pi)
        offset = rng.uniform(-amplitude, amplitude)
        wave = np.sin(2 * np.pi * hertz * seconds + phase)
        channels[name] = offset + rng.uniform(0, amplitude) * wave
    return channels


def slide(seconds: Array, style: Style) -> Mapping[str, Array]:
    """Passes the background without a gait: no action, so that passing it is not yet walking."""
    return {"advance": style.sign * _WALK_SPEED * style.tempo * seconds}
