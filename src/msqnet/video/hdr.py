"""Footage of high dynamic range as ordinary screens show it, which is what models were trained on.

HLG and PQ store other numbers for the same light than ordinary video. Light is computed from them
(ITU-R BT.2100), its colours are expressed by the primaries of BT.709 (ITU-R BT.2087), highlights
are compressed, and the result is encoded for a screen of BT.1886. What lights a white sheet of
paper, 203 cd/m2 (ITU-R BT.2408), comes out nearly white.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

TRANSFERS = {16: "PQ", 18: "HLG"}
"""Transfer functions by their numbers in ITU-T H.273."""

_PAPER_WHITE, _HLG_PEAK, _PQ_PEAK = 203.0, 1000.0, 10000.0  # cd/m2
_HLG_GAMMA, _SCREEN_GAMMA = 1.2, 2.4
_KNEE = 0.75
_LUMINANCE_2020 = np.array([0.2627, 0.6780, 0.0593], dtype=np.float32)
_PRIMARIES = np.array(
    [[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]],
    dtype=np.float32,
)
_NUM_LEVELS = 4096


@cache
def _light(transfer: str) -> NDArray[np.float32]:
    """(65536,) light of stored levels: of PQ in units of paper white, of HLG of the scene, 0-1."""
    stored = np.linspace(0, 1, 2**16)
    if transfer == "PQ":
        root = stored ** (1 / 78.84375)
        ratio = np.maximum(root - 0.8359375, 0) / (18.8515625 - 18.6875 * root)
        return (ratio ** (1 / 0.1593017578125) * _PQ_PEAK / _PAPER_WHITE).astype(np.float32)
    bright = (np.exp((stored - 0.55991073) / 0.17883277) + 0.28466892) / 12
    return np.where(stored <= 0.5, stored**2 / 3, bright).astype(np.float32)


@cache
def _levels() -> NDArray[np.uint8]:
    """(_NUM_LEVELS,) levels of a screen for light from 0 to 1."""
    light = np.linspace(0, 1, _NUM_LEVELS)
    return np.rint(255 * light ** (1 / _SCREEN_GAMMA)).astype(np.uint8)


def to_screen(pixels: NDArray[np.uint16], transfer: str) -> NDArray[np.uint8]:
    """(H, W, 3) 16-bit R'G'B' of BT.2020, ``PQ`` or ``HLG``, to (H, W, 3) uint8 of BT.709."""
    light = _light(transfer)[pixels]  # (H, W, 3)
    if transfer == "HLG":
        luminance = (light @ _LUMINANCE_2020)[..., None]
        light *= np.maximum(luminance, 1e-6) ** (_HLG_GAMMA - 1) * (_HLG_PEAK / _PAPER_WHITE)
    light = np.clip(light @ _PRIMARIES.T, 0, None)
    room = 1 - _KNEE
    bright = _KNEE + room * (1 - np.exp(-(np.maximum(light, _KNEE) - _KNEE) / room))
    shown = np.where(light > _KNEE, bright, light)
    screen: NDArray[np.uint8] = _levels()[np.rint(shown * (_NUM_LEVELS - 1)).astype(np.int64)]
    return screen
