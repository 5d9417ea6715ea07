"""Fits the head of frames, which tells when in a window something begins and ends.

After training, on windows whose labels are timed to their edges, also over borders between rows;
see `frame_targets`. It is a linear fit on stored features, judged on groups that it was not fitted
to.

Axes: V windows, T frames, K labels, E numbers around a frame.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from msqnet.data.frame_targets import frame_targets
from msqnet.labels import UNKNOWN
from msqnet.model.frame_head import around_frames
from msqnet.model.video_encoders.encoder import POOLED
from msqnet.training.fitted_parts import fit_linear

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from msqnet.model.pretrained import MSQNet
    from msqnet.training.features import FeatureStore
    from msqnet.training.fitted_parts import Part
    from msqnet.training.training_run import Run

_MIN_BORDERS = 10
_MAX_WINDOWS = 1500
# Neighbouring frames look alike: two of a window tell nearly as much as all.
_FRAMES_TO_FIT = 2
_STRENGTH = 1e-3
_NUM_FOLDS = 3
_MIN_SHARE = 0.7


def fit_frames(
    run: Run,
    model: MSQNet,
    store: FeatureStore | None,
    folds: Sequence[Part],
    report: Callable[[str], None],
) -> None:
    """Give a trained model a head of frames, where rows are timed and it tells borders.

    That is, where it orders the frames of windows over borders in the parts that folds keep back.
    """
    is_border = np.array([bool(record.parts) for record in run.table.records])
    if store is None or POOLED not in store.names or is_border.sum() < _MIN_BORDERS:
        return
    if run.task != "multi_label" or model.config.is_open or not model.config.frame_memory:
        return
    _fit(run, model, _Windows.of(run, store, _spread(is_border)), folds, report)


def _spread(is_border: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Places of at most so many windows, half of them over borders where there are many."""
    borders, others = np.flatnonzero(is_border), np.flatnonzero(~is_border)
    num_borders = min(len(borders), max(_MAX_WINDOWS // 2, _MAX_WINDOWS - len(others)))
    num_others = min(len(others), _MAX_WINDOWS - num_borders)
    chosen = (
        places[np.linspace(0, len(places) - 1, number).astype(np.intp)]
        for places, number in ((borders, num_borders), (others, num_others))
        if number
    )
    return np.sort(np.concatenate(list(chosen)))


class _Windows:
    """Some windows with what is seen around their frames.

    Attributes:
        rows: (V,) positions in the table.
        around: (V, T, E) float16.
        targets: (V, T, K) of 1, 0 and `UNKNOWN`.
    """

    def __init__(self, rows: np.ndarray, around: Tensor, targets: Tensor, seed: int):
        self.rows, self.around, self.targets = rows, around, targets
        rng = np.random.default_rng(seed)
        num_frames = around.shape[1]
        number = min(_FRAMES_TO_FIT, num_frames)
        chosen = [rng.choice(num_frames, number, replace=False) for _ in rows]
        self.sampled = torch.from_numpy(np.stack(chosen))  # (V, n)

    @classmethod
    def of(cls, run: Run, store: FeatureStore, rows: np.ndarray) -> _Windows:
        """Read the unchanged views of some rows."""
        keys = [store.key(int(row), 0) for row in rows]
        parts = [
            around_frames(torch.from_numpy(store.files.read(keys[i : i + 64], POOLED)).float())
            for i in range(0, len(keys), 64)
        ]
        around = torch.cat([part.half() for part in parts])
        records = [run.table.records[row] for row in rows]
        targets = frame_targets(records, run.labels.names, around.shape[1])
        return cls(rows, around, torch.from_numpy(targets), run.train.seed)

    def fitted(self, places: np.ndarray) -> tuple[Tensor, Tensor]:
        """Weight (K, E) and bias (K,) of a fit to sampled frames of the windows at some places."""
        at = torch.from_numpy(places)
        frames = self.around[at[:, None], self.sampled[at]].flatten(0, 1).float()  # (N, E)
        targets = self.targets[at[:, None], self.sampled[at]].flatten(0, 1)
        mean, deviation = frames.mean(dim=0), frames.std(dim=0, correction=0)
        deviation = torch.where(deviation > 1e-6, deviation, 1.0)
        frames = (frames - mean) / deviation
        weight, bias = fit_linear(frames, targets, _STRENGTH, self.sampled.shape[1])
        weight = weight / deviation
        return weight, bias - weight @ mean

    def logits(self, places: np.ndarray, weight: Tensor, bias: Tensor) -> np.ndarray:
        """(n, T, K) float32 of all frames."""
        found = F.linear(self.around[torch.from_numpy(places)].float(), weight, bias)
        return found.numpy()


def _fit(
    run: Run,
    model: MSQNet,
    data: _Windows,
    folds: Sequence[Part],
    report: Callable[[str], None],
) -> None:
    report(f"frames: fitting to {len(data.rows)} windows")
    num_right = num_pairs = 0.0
    for train_rows, out_rows in folds[:_NUM_FOLDS]:
        fit_at, test_at = (
            np.flatnonzero(np.isin(data.rows, part)) for part in (train_rows, out_rows)
        )
        if not len(fit_at) or not len(test_at):
            continue
        logits = data.logits(test_at, *data.fitted(fit_at))
        targets = data.targets[torch.from_numpy(test_at)].numpy().copy()
        targets[..., ~(run.targets[train_rows] == 1).any(axis=0)] = UNKNOWN
        right, pairs = ordered_pairs(logits, targets)
        num_right, num_pairs = num_right + right, num_pairs + pairs
    share = num_right / num_pairs if num_pairs else 0.0
    report(
        f"frames: of those of a held-out window, {share:.0%} with a label stand above those "
        f"without (chance 50%)"
    )
    if share < _MIN_SHARE:
        report("frames do not tell well enough where labels begin and end: window scores tell it")
        return
    head = model.add_frame_head()
    weight, bias = data.fitted(np.arange(len(data.rows)))
    head.weight.copy_(weight)
    head.bias.copy_(bias)


def ordered_pairs(logits: np.ndarray, targets: np.ndarray) -> tuple[float, int]:
    """Pairs of frames of a window, one with a label and one without: in the right order, and all.

    (V, T, K) logits and targets; equal ones count half.
    """
    difference = logits[:, :, None] - logits[:, None]  # (V, T, T, K)
    is_pair = (targets == 1)[:, :, None] & (targets == 0)[:, None]
    right = (difference > 0) + 0.5 * (difference == 0)
    return float(right[is_pair].sum()), int(is_pair.sum())
