"""Changes of frames: found where they are, whatever the windows."""

from __future__ import annotations

import numpy as np
import pytest

from msqnet.inference.changes import changes_of_labels
from msqnet.predictions import WindowScores

NO_SCORES = np.zeros(2, np.float32)


@pytest.mark.parametrize("starts", [(0.0,), (0.0, 1.0, 2.0), (0.0, 1.0, 1.6)])
def test_each_label_changes_where_its_logits_do(starts: tuple[float, ...]) -> None:
    windows, logits = [], []
    for start in starts:
        windows.append(WindowScores(start, start + 2.0, NO_SCORES))
        times = start + (np.arange(16) + 0.5) / 8
        first = np.where((times > 0.5) & (times < 1.5), 3.0, -1.0)
        logits.append(np.stack([first, np.full(16, 2.0)], axis=1))
    found = changes_of_labels(windows, logits)
    assert found[:, 0].tolist() == [0, 0]  # the second label stays
    assert found[:, 1] == pytest.approx([0.5, 1.5], abs=0.07)
    assert found[:, 2].tolist() == [4.0, -4.0]


def test_small_changes_are_noise() -> None:
    logits = np.where(np.arange(16)[:, None] < 8, 0.0, [0.4, 0.6])
    found = changes_of_labels([WindowScores(0.0, 2.0, NO_SCORES)], [logits])
    assert found.tolist() == [[1.0, 1.0, 0.6]]
