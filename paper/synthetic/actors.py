"""Four kinds of actor: one motion, four bodies."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import TYPE_CHECKING

import numpy as np

from synthetic.skeleton import Part, Shape, Skeleton, blend, point_at

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from synthetic.actions import Array, Motion

_COMMON = {
    "taper": (0.8, 1.2),
    "ear_length": (0.04, 0.12),
    "knee": (0.1, 0.4),
}
RANGES: Mapping[str, Mapping[str, tuple[float, float]]] = {
    "two-legged": {
        "torso_length": (0.28, 0.36),
        "torso_radius": (0.1, 0.14),
        "torso_pitch": (0.85, 1.2),
        "neck_length": (0.103, 0.161),
        "neck_angle": (1.0, 1.4),
        "head_radius": (0.153, 0.195),
        "snout_length": (0.092, 0.172),
        "leg_length": (0.36, 0.46),
        "leg_radius": (0.05, 0.065),
        "limb_length": (0.38, 0.48),
        "limb_radius": (0.0504, 0.0672),
        "tail_length": (0.42, 0.56),
        "tail_radius": (0.045, 0.06),
        "tail_rest": (-0.9, -0.5),
    },
    "four-legged": {
        "torso_length": (0.42, 0.54),
        "torso_radius": (0.11, 0.15),
        "torso_pitch": (-0.08, 0.08),
        "neck_length": (0.23, 0.345),
        "neck_angle": (0.8, 1.2),
        "head_radius": (0.142, 0.177),
        "snout_length": (0.115, 0.207),
        "leg_length": (0.36, 0.5),
        "leg_radius": (0.046, 0.06),
        "limb_length": (0.36, 0.5),
        "limb_radius": (0.0552, 0.072),
        "tail_length": (0.38, 0.5),
        "tail_radius": (0.045, 0.06),
        "tail_rest": (-0.9, -0.4),
    },
    "winged": {
        "torso_length": (0.32, 0.42),
        "torso_radius": (0.13, 0.17),
        "torso_pitch": (0.15, 0.45),
        "neck_length": (0.184, 0.322),
        "neck_angle": (0.8, 1.2),
        "head_radius": (0.136, 0.171),
        "snout_length": (0.161, 0.253),
        "leg_length": (0.3, 0.42),
        "leg_radius": (0.032, 0.042),
        "limb_length": (0.5, 0.62),
        "limb_radius": (0.048, 0.066),
        "tail_length": (0.34, 0.46),
        "tail_radius": (0.055, 0.075),
        "tail_rest": (-0.45, -0.1),
    },
    "legless": {
        "torso_length": (0.62, 0.76),
        "torso_radius": (0.095, 0.125),
        "torso_pitch": (0.7, 1),
        "neck_length": (0.069, 0.115),
        "neck_angle": (0.4, 0.8),
        "head_radius": (0.153, 0.189),
        "snout_length": (0.103, 0.184),
        "leg_length": (0.0, 0.0),
        "leg_radius": (0.0, 0.0),
        "limb_length": (0.32, 0.42),
        "limb_radius": (0.054, 0.0696),
        "tail_length": (0.34, 0.44),
        "tail_radius": (0.075, 0.095),
        "tail_rest": (0.0, 0.1),
    },
}
"""Ranges of `Shape` by kind, from which every actor draws its own proportions."""

KINDS = tuple(RANGES)
_UP = np.array([0.0, 1.0, 0.0])
_SIDE = np.array([0.0, 0.0, 1.0])


def draw_shape(kind: str, rng: np.random.Generator) -> Shape:
    """Draw the proportions of one actor of a kind."""
    ranges = {**_COMMON, **RANGES[kind]}
    shape = Shape(**{item.name: rng.uniform(*ranges[item.name]) for item in fields(Shape)})
    if kind == "four-legged":
        # All four feet reach the ground.
        shape = replace(shape, limb_length=shape.leg_length, limb_radius=shape.leg_radius)
    return shape


def build(kind: str, shape: Shape, motion: Motion, near: int) -> list[Part]:
    """The body in motion, standing on the ground at y = 0, not yet turned or moved along.

    Args:
        kind: one of `KINDS`.
        shape: proportions.
        motion: channels over T frames.
        near: 1 or -1: the z of the side whose limb acts.
    """
    skeleton = Skeleton(shape, motion, near)
    _BUILDERS[kind](skeleton)
    return skeleton.settled()


def _torso(skeleton: Skeleton, pitch: Array) -> tuple[Array, Array]:
    """Pelvis and chest, each (T, 3)."""
    shape = skeleton.shape
    pelvis = np.zeros((len(pitch), 3))
    radii = [shape.torso_radius, shape.torso_radius * shape.taper]
    return pelvis, skeleton.chain(pelvis, [pitch], [shape.torso_length], radii, "body")


def _bob(motion: Motion) -> Array:
    return 0.16 * motion.gallop * np.sin(motion.phase)


def _two_legged(skeleton: Skeleton) -> None:
    shape, motion = skeleton.shape, skeleton.motion
    upright = blend(shape.torso_pitch - 0.3 * motion.gallop, 1.75, motion.rear)
    pitch = blend(upright - 0.35 * motion.tuck, 0.05, motion.lie)
    pelvis, chest = _torso(skeleton, pitch)
    knee = 0.4 + shape.knee
    for side in (-skeleton.near, skeleton.near):
        phase = motion.phase + (0 if side == skeleton.near else np.pi)
        hip = pelvis + 0.55 * shape.torso_radius * side * _SIDE
        skeleton.leg(hip, phase, -np.pi + 0.03, knee)
        shoulder = chest + 0.9 * shape.torso_radius * side * _SIDE
        swing = -motion.stride * np.sin(phase)
        upper = blend(-1.75 + swing, 0.05, motion.lie)
        lower = blend(-1.4 + swing + 0.7 * motion.gallop, 0.0, motion.lie)
        skeleton.arm(shoulder, side, (upper, lower), raised=1.0)
    skeleton.tail(pelvis - 0.5 * shape.torso_radius * point_at(pitch), _tail_rest(skeleton))
    neck = blend(blend(shape.neck_angle, 1.6, motion.rear), 0.3, motion.lie)
    skeleton.head(chest + 0.4 * shape.torso_radius * point_at(pitch), neck)


def _four_legged(skeleton: Skeleton) -> None:
    shape, motion = skeleton.shape, skeleton.motion
    level = shape.torso_pitch + _bob(motion) - 0.25 * motion.tuck
    pitch = blend(blend(level, 1.0, motion.rear), 0.0, motion.lie)
    pelvis, chest = _torso(skeleton, pitch)
    for side in (-skeleton.near, skeleton.near):
        is_near = side == skeleton.near
        offset = blend(0 if is_near else np.pi, 0 if is_near else 0.5, motion.gallop)
        hip = pelvis + 0.6 * shape.torso_radius * side * _SIDE
        skeleton.leg(hip, motion.phase + offset, -np.pi + 0.1, shape.knee)
        front = motion.phase + offset + blend(np.pi, 2.2, motion.gallop)
        shoulder = chest + 0.6 * shape.torso_radius * side * _SIDE
        skeleton.arm(shoulder, side, _foreleg(skeleton, front), raised=0.15)
    _tail_and_head(skeleton, pelvis, chest, pitch)


def _foreleg(skeleton: Skeleton, phase: Array) -> tuple[Array, Array]:
    motion = skeleton.motion
    lift = 1.1 * motion.stride * np.maximum(0, np.cos(phase))
    upper = -np.pi / 2 + motion.stride * np.sin(phase) + 0.6 * motion.tuck
    lower = upper - lift - 1.3 * motion.tuck
    return blend(upper, -0.1, motion.lie), blend(lower, -0.05, motion.lie)


def _tail_and_head(skeleton: Skeleton, pelvis: Array, chest: Array, pitch: Array) -> None:
    shape, motion = skeleton.shape, skeleton.motion
    rump = pelvis - 0.7 * shape.torso_radius * point_at(pitch) + 0.3 * shape.torso_radius * _UP
    skeleton.tail(rump, _tail_rest(skeleton))
    neck = blend(blend(shape.neck_angle, 1.2, motion.rear), 0.1, motion.lie)
    skeleton.head(chest + 0.4 * shape.torso_radius * point_at(pitch), neck)


def _tail_rest(skeleton: Skeleton) -> Array:
    return blend(skeleton.shape.tail_rest, -0.05, skeleton.motion.lie)


def _winged(skeleton: Skeleton) -> None:
    shape, motion = skeleton.shape, skeleton.motion
    level = shape.torso_pitch + 0.6 * _bob(motion) - 0.2 * motion.tuck
    pitch = blend(blend(level, 1.25, motion.rear), 0.0, motion.lie)
    pelvis, chest = _torso(skeleton, pitch)
    hips = pelvis + 0.3 * shape.torso_length * point_at(pitch)
    for side in (-skeleton.near, skeleton.near):
        phase = motion.phase + (0 if side == skeleton.near else np.pi)
        hip = hips + 0.5 * shape.torso_radius * side * _SIDE
        skeleton.leg(hip, phase, -np.pi + 0.25, 0.3 + shape.knee)
        _wing(skeleton, chest + 0.85 * shape.torso_radius * side * _SIDE, side, pitch)
    _tail_and_head(skeleton, pelvis, chest, pitch)


def _wing(skeleton: Skeleton, root: Array, side: int, pitch: Array) -> None:
    """Folded along the back, or held up with its feathers spread."""
    shape, motion = skeleton.shape, skeleton.motion
    lift, swing = 0.3 * motion.rear, 0.0 * motion.limb_swing
    if side == skeleton.near:
        lift, swing = np.maximum(lift, motion.limb_raise), motion.limb_swing
    lift = np.clip(lift, 0, 1)
    upper = blend(np.pi + pitch - 0.1, 1.75, lift) - 0.8 * swing
    lower = blend(np.pi + pitch + 0.1, 1.95, lift) - 1.1 * swing
    arm, feather, radius = 0.4 * shape.limb_length, 0.55 * shape.limb_length, shape.limb_radius
    wrist = skeleton.chain(root, [upper], [arm], [1.3 * radius, radius], "limb", stands=False)
    spread = blend(0.06, 0.38, lift)
    for number in (2, 1, 0):
        angle = lower + spread * number
        radii = [radius, 0.75 * radius]
        skeleton.chain(wrist, [angle], [feather], radii, "feature", stands=False)
        middle = root + 0.5 * (wrist - root)
        skeleton.chain(middle, [angle], [0.8 * feather], radii, "limb", stands=False)


def _legless(skeleton: Skeleton) -> None:
    """A chain that lies on the ground at the back and is raised at the front."""
    shape, motion = skeleton.shape, skeleton.motion
    num_links = 9
    radius = shape.torso_radius
    raised = blend(blend(shape.torso_pitch, 1.45, motion.rear), 0.0, motion.lie)
    root = np.zeros((len(raised), 3))
    links = [root]
    for number in range(num_links):
        share = number / (num_links - 1)
        begin = blend(0.35, 0.02, motion.rear)
        angle = raised * np.clip((share - begin) / 0.35, 0, 1)
        ripple = (1 - 0.4 * share) * motion.stride * np.sin(2 * np.pi * 1.1 * share - motion.phase)
        coil = 1.1 * motion.tuck * np.cos(np.pi * share)
        angles = angle + ripple + coil
        width = [radius * (0.85 + 0.15 * np.sin(np.pi * s)) for s in (share, share + 0.12)]
        length = shape.torso_length / num_links
        root = skeleton.chain(root, [angles], [length], width, "body")
        links.append(root)
    for side in (-skeleton.near, skeleton.near):
        fin = links[6] + 0.9 * radius * side * _SIDE
        rest = np.full(len(raised), np.pi + 0.3)
        skeleton.arm(fin, side, (rest, rest - 0.15), raised=1.9, stands=False)
    wave = 0.5 * motion.stride * np.sin(motion.phase)
    skeleton.tail(links[0], _tail_rest(skeleton) + wave)
    skeleton.head(root, blend(blend(shape.neck_angle, 1.3, motion.rear), 0.0, motion.lie))


_BUILDERS: Mapping[str, Callable[[Skeleton], None]] = {
    "two-legged": _two_legged,
    "four-legged": _four_legged,
    "winged": _winged,
    "legless": _legless,
}
