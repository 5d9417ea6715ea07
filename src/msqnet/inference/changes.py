"""Where frames change: the times at which a label seems to begin or to end.

Window scores tell what a video shows, and to about half a window when. Frames see less, so that
they tell worse what it is, but to the frame when it changes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from msqnet.predictions import FloatArray, WindowScores

# Frames on either side of a change that are compared. On films of joined training clips 2 to 8 do
# nearly as well.
_NUM_FRAMES = 3
# In logits; what is smaller is noise, and would make results large.
_SMALLEST = 0.5
_SIZE_DIGITS, _SAME_TIME_DIGITS = 3, 6


def changes_of_labels(
    windows: Sequence[WindowScores], frame_logits: Sequence[FloatArray]
) -> NDArray[np.float64]:
    """Largest changes in their neighbourhood, of each label: (C, 3) float64 of column, time, size.

    The size, in logits, is the mean over a few frames after the time less that over as many before:
    above 0 where the label seems to begin. Frames of several windows count as windows do in the
    timeline, those in the middle most. By column, then by time.

    Args:
        windows: in the order of time.
        frame_logits: (T, K) of each.
    """
    num_frames = len(frame_logits[0])
    place = (np.arange(num_frames) + 0.5) / num_frames
    starts, ends = (
        np.array([getattr(w, name) for w in windows]) for name in ("start_seconds", "end_seconds")
    )
    times = starts[:, None] + place * (ends - starts)[:, None]
    weights = np.broadcast_to(1 - np.abs(2 * place - 1), times.shape).ravel()
    at, index = np.unique(times.round(_SAME_TIME_DIGITS), return_inverse=True)
    index = index.ravel()
    logits = np.concatenate(list(frame_logits)).astype(np.float64)  # (W * T, K)
    sums = np.zeros((len(at), logits.shape[1]))
    np.add.at(sums, index, weights[:, None] * logits)
    means = sums / np.bincount(index, weights)[:, None]  # (N, K)
    borders = (at[1:] + at[:-1]) / 2
    sizes = _steps(means, at, borders, _NUM_FRAMES * float((ends - starts)[0]) / num_frames)
    found = [
        (column, round(borders[place], _SAME_TIME_DIGITS), sizes[place, column])
        for column in range(sizes.shape[1])
        for place in _extremes(sizes[:, column])
    ]
    return np.array(found, np.float64).reshape(-1, 3)


def _steps(
    means: NDArray[np.float64], at: NDArray[np.float64], borders: NDArray[np.float64], reach: float
) -> NDArray[np.float64]:
    """Mean of (N, K) values at times within reach after each border, less that before: (N - 1, K).

    The neighbours of a border count in any case.
    """
    total = np.concatenate([np.zeros((1, means.shape[1])), np.cumsum(means, axis=0)])
    middle = np.arange(1, len(at))
    first = np.minimum(np.searchsorted(at, borders - reach), middle - 1)
    last = np.maximum(np.searchsorted(at, borders + reach), middle + 1)
    after = (total[last] - total[middle]) / (last - middle)[:, None]
    before = (total[middle] - total[first]) / (middle - first)[:, None]
    return np.asarray((after - before).round(_SIZE_DIGITS))


def _extremes(sizes: NDArray[np.float64]) -> list[int]:
    """Places of (N,) sizes that are the largest rise, or fall, of their neighbourhood."""
    padded = np.concatenate([[0.0], sizes, [0.0]])
    before, after = padded[:-2], padded[2:]
    rises = (sizes >= before) & (sizes > after) & (sizes >= _SMALLEST)
    falls = (sizes <= before) & (sizes < after) & (sizes <= -_SMALLEST)
    return [int(place) for place in np.flatnonzero(rises | falls)]
