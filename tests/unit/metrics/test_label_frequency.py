"""What a scorer that never sees a video gets on Animal Kingdom's real test labels.

It answers every clip with the labels' training frequencies. Its micro AP looks like a result; its
macro mAP shows that it is none.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import sklearn.metrics as reference

from msqnet.data.records import ClipTable
from msqnet.metrics.average_precision import (
    average_precision,
    macro_map,
    micro_average_precision,
    reference_micro_ap,
)
from tests.fixtures.data_sets import ANIMAL_KINGDOM

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from msqnet.formats.clip_table import ClipRows

    FloatArray = NDArray[np.float64]

NUM_LABELS_WITH_POSITIVES = 127


def scores_and_targets(converted: ClipRows) -> tuple[FloatArray, FloatArray]:
    """(V, 140) training frequencies, the same in every row, and the targets of the test clips."""
    table = ClipTable(Path("clips.csv"), converted.records)
    frequencies = table.select("train").targets(converted.labels).mean(axis=0, dtype=np.float64)
    targets = table.select("test").targets(converted.labels).astype(np.float64)
    return np.tile(frequencies, (len(targets), 1)), targets


@pytest.fixture(scope="module")
def lists(real_data: Path) -> tuple[FloatArray, FloatArray]:
    """Animal-CLIP's lists: labels are actions by name; frequencies of 3,000 training clips."""
    folder = real_data / "annotations" / "animal_clip_lists" / "AK"
    return scores_and_targets(ANIMAL_KINGDOM.read(folder))


@pytest.fixture(scope="module")
def workbook(animal_kingdom: ClipRows) -> tuple[FloatArray, FloatArray]:
    """The authors' workbook: labels are the official ids; all training clips."""
    return scores_and_targets(animal_kingdom)


def percent(values: tuple[FloatArray, FloatArray]) -> tuple[float, float]:
    """Macro mAP and micro AP."""
    return 100 * macro_map(average_precision(*values)), 100 * micro_average_precision(*values)


def test_macro_map_is_below_two_percent_on_the_lists(
    lists: tuple[FloatArray, FloatArray],
) -> None:
    assert percent(lists) == pytest.approx((1.617, 18.617), abs=5e-4)


def test_official_ids_give_slightly_more(workbook: tuple[FloatArray, FloatArray]) -> None:
    assert percent(workbook) == pytest.approx((1.670, 18.976), abs=5e-4)


def test_macro_map_is_the_mean_share_of_positives(
    workbook: tuple[FloatArray, FloatArray],
) -> None:
    # All scores of a label are equal: its AP is the share of its positives.
    share = workbook[1].mean(axis=0)
    assert macro_map(average_precision(*workbook)) == pytest.approx(share[share > 0].mean())


def test_labels_without_a_positive_have_no_average_precision(
    workbook: tuple[FloatArray, FloatArray],
) -> None:
    defined = ~np.isnan(average_precision(*workbook))
    assert defined.sum() == NUM_LABELS_WITH_POSITIVES
    # Counting them as 0, as torchmetrics does, would give 1.52 in place of 1.67.
    counted_as_zero = 100 * np.nan_to_num(average_precision(*workbook)).mean()
    assert counted_as_zero == pytest.approx(1.515, abs=5e-4)


@pytest.mark.parametrize("name", ["lists", "workbook"])
def test_scikit_learn_agrees(name: str, request: pytest.FixtureRequest) -> None:
    scores, targets = request.getfixturevalue(name)
    tested = targets.any(axis=0)
    macro = reference.average_precision_score(targets[:, tested], scores[:, tested])
    micro = reference.average_precision_score(targets, scores, average="micro")
    assert macro_map(average_precision(scores, targets)) == pytest.approx(macro, abs=1e-12)
    assert micro_average_precision(scores, targets) == pytest.approx(micro, abs=1e-12)


def test_reference_figure_grows_as_batches_shrink(
    workbook: tuple[FloatArray, FloatArray],
) -> None:
    values = [100 * reference_micro_ap(*workbook, batch_size) for batch_size in (1_024, 64, 16)]
    assert values == sorted(values)
    assert values == pytest.approx([19.0, 19.2, 20.1], abs=0.06)
