"""Chains of capsules in the space of the body, over time: the parts that all bodies share.

Axes of the body: x forward, y up, z to the side that faces the camera when the actor faces right.
Angles are radians in the plane of x and y from forward to up; an azimuth turns towards z.
Lengths are body sizes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from synthetic.actions import Array, Motion


@dataclass(frozen=True)
class Part:
    """One tapered capsule.

    Attributes:
        start: (T, 3) one end.
        end: (T, 3) the other end.
        start_radius: Radius there.
        end_radius: Radius at the other end.
        role: What a palette colours: ``body``, ``limb``, ``head``, ``feature``, ``eye``.
        stands: Whether the part may bear the actor on the ground.
    """

    start: Array
    end: Array
    start_radius: float
    end_radius: float
    role: str
    stands: bool = True


@dataclass(frozen=True)
class Shape:
    """Proportions of one actor, in body sizes and radians; see `actors.RANGES`."""

    torso_length: float
    torso_radius: float
    taper: float
    torso_pitch: float
    neck_length: float
    neck_angle: float
    head_radius: float
    snout_length: float
    ear_length: float
    leg_length: float
    leg_radius: float
    knee: float
    limb_length: float
    limb_radius: float
    tail_length: float
    tail_radius: float
    tail_rest: float


def point_at(angle: Array | float, azimuth: Array | float = 0.0) -> Array:
    """Unit vectors, (T, 3) or (3,)."""
    angle, azimuth = np.broadcast_arrays(angle, azimuth)
    flat = np.cos(angle)
    return np.stack([flat * np.cos(azimuth), np.sin(angle), flat * np.sin(azimuth)], axis=-1)


def blend(rest: Array | float, other: Array | float, share: Array) -> Array:
    """(T,) from ``rest`` where the share is 0 to ``other`` where it is 1."""
    return (1 - share) * rest + share * other


@dataclass
class Skeleton:
    """Collects the parts of one actor.

    Attributes:
        shape: Proportions.
        motion: Channels over T frames.
        near: 1 or -1: the z of the side that faces the camera at first; that side's limb acts.
        parts: What was added so far.
    """

    shape: Shape
    motion: Motion
    near: int
    parts: list[Part] = field(default_factory=list)

    def chain(
        self,
        root: Array,
        angles: Sequence[Array],
        lengths: Sequence[float],
        radii: Sequence[float],
        role: str,
        *,
        azimuth: Array | float = 0.0,
        stands: bool = True,
    ) -> Array:
        """Add segments one after the other; returns the (T, 3) end of the last."""
        for position, (angle, length) in enumerate(zip(angles, lengths, strict=True)):
            tip = root + length * point_at(angle, azimuth)
            start, end = radii[position], radii[position + 1]
            self.parts.append(Part(root, tip, start, end, role, stands))
            root = tip
        return root

    def leg(self, hip: Array, phase: Array, lie_angle: float, knee: float) -> None:
        """A leg that steps; its lower part folds backwards.

        Args:
            hip: (T, 3) where it begins.
            phase: (T,) radians; the leg swings forwards while the cosine is positive.
            lie_angle: where the leg points when the actor lies.
            knee: how far it is bent at rest, radians.
        """
        shape, motion = self.shape, self.motion
        swing = motion.stride * np.sin(phase)
        lift = 1.15 * motion.stride * np.maximum(0, np.cos(phase))
        flex = knee * (1 - motion.lie) * (1 - 0.8 * motion.rear) + lift + 1.5 * motion.tuck
        upper = blend(-np.pi / 2 + knee / 2 + swing + 0.75 * motion.tuck, lie_angle, motion.lie)
        half, radius = shape.leg_length / 2, shape.leg_radius
        foot = self.chain(
            hip, [upper, upper - flex], [half, half], [radius, 0.8 * radius, 0.65 * radius], "limb"
        )
        toe = foot + 1.7 * radius * point_at(0.35 * (upper - flex + np.pi / 2))
        self.parts.append(Part(foot, toe, 0.7 * radius, 0.6 * radius, "feature"))

    def head(self, root: Array, rest: Array) -> None:
        """Neck, skull, snout, ears and eyes.

        Args:
            root: (T, 3) where the neck begins.
            rest: (T,) angle of the neck before the actions of the head.
        """
        shape, motion = self.shape, self.motion
        radius = shape.head_radius
        angle = rest + np.clip(0.8 * motion.head_pitch, -1.1, 0.7)
        width = max(0.55 * radius, 0.45 * shape.torso_radius)
        yaw = self.near * motion.head_yaw
        radii = [width, 0.55 * radius]
        top = self.chain(root, [angle], [shape.neck_length], radii, "body", azimuth=0.8 * yaw)
        pitch = np.clip(motion.head_pitch, -1.4, 1.2) + 0.12 * motion.rear
        ahead = point_at(pitch, yaw)
        side = np.cross(ahead, np.array([0.0, 1.0, 0.0]))
        side /= np.linalg.norm(side, axis=1, keepdims=True)
        above = np.cross(side, ahead)
        centre = top + 0.25 * radius * ahead
        for sign in (-1, 1):
            ear = centre + radius * (0.7 * above - 0.25 * ahead + 0.5 * sign * side)
            tip = ear + shape.ear_length * (0.9 * above - 0.35 * ahead + 0.25 * sign * side)
            self.parts.append(Part(ear, tip, 0.32 * radius, 0.14 * radius, "feature"))
        back, front = centre - 0.2 * radius * ahead, centre + 0.2 * radius * ahead
        self.parts.append(Part(back, front, radius, 0.9 * radius, "head"))
        nose = centre + (0.75 * radius + shape.snout_length) * ahead - 0.2 * radius * above
        mouth = centre + 0.5 * radius * ahead - 0.2 * radius * above
        self.parts.append(Part(mouth, nose, 0.55 * radius, 0.3 * radius, "feature"))
        for sign in (-1, 1):
            eye = centre + radius * (0.45 * ahead + 0.3 * above + 0.8 * sign * side)
            self.parts.append(Part(eye, eye, 0.26 * radius, 0.26 * radius, "eye"))

    def tail(self, root: Array, angle: Array, role: str = "body") -> None:
        """A tail of five segments.

        Args:
            root: (T, 3) where it begins.
            angle: (T,) how far the tail at rest points above straight backwards, radians.
            role: what the palette colours.
        """
        shape, motion = self.shape, self.motion
        raised = np.clip(motion.tail_raise, 0, 1)
        lift = blend(angle, 1.15, raised)
        curl = blend(0.08, 0.14, raised) + 0.1 * motion.tail_swing
        angles = [np.pi - lift - motion.tail_swing - curl * number for number in range(5)]
        sideways = self.near * 0.4 * motion.tail_swing
        radii = [shape.tail_radius * (1 - 0.13 * number) for number in range(6)]
        lengths = [shape.tail_length / 5] * 5
        self.chain(root, angles, lengths, radii, role, azimuth=sideways, stands=False)

    def arm(
        self,
        root: Array,
        side: int,
        rest: tuple[Array, Array],
        raised: float,
        *,
        stands: bool = True,
    ) -> None:
        """An arm, a foreleg or a fin that hangs, and that the limb actions lift.

        Args:
            root: (T, 3) where it begins.
            side: 1 or -1: its z.
            rest: (T,) angles of its upper and lower part at rest.
            raised: angle when it is held high.
            stands: whether it bears the actor.
        """
        shape, motion = self.shape, self.motion
        lift = 0.3 * motion.rear * (1 - motion.lie)
        swing = 0.0 * motion.limb_swing
        if side == self.near:
            lift = np.maximum(lift, motion.limb_raise)
            swing = motion.limb_swing
        lift = np.clip(lift, 0, 1)
        upper = blend(rest[0], raised, lift) + 0.7 * swing
        lower = blend(rest[1], raised + 0.25, lift) + 1.1 * swing
        half, radius = shape.limb_length / 2, shape.limb_radius
        radii = [radius, 0.85 * radius, 0.8 * radius]
        hand = self.chain(root, [upper, lower], [half, half], radii, "limb", stands=stands)
        tip = hand + 1.1 * radius * point_at(lower)
        self.parts.append(Part(hand, tip, 1.1 * radius, 1.05 * radius, "feature", stands))

    def settled(self) -> list[Part]:
        """The parts with the lowest bearing one on the ground (y = 0), and none below it."""
        lowest = np.min(
            [
                np.minimum(part.start[:, 1] - part.start_radius, part.end[:, 1] - part.end_radius)
                for part in self.parts
                if part.stands
            ],
            axis=0,
        )
        return [_lifted(part, lowest) for part in self.parts]


def _lifted(part: Part, lowest: Array) -> Part:
    start, end = part.start.copy(), part.end.copy()
    start[:, 1] = np.maximum(start[:, 1] - lowest, part.start_radius)
    end[:, 1] = np.maximum(end[:, 1] - lowest, part.end_radius)
    return Part(start, end, part.start_radius, part.end_radius, part.role, part.stands)
