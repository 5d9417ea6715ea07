"""Evidence for labels, on cases whose answer is known."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from msqnet.metrics.evidence import label_evidence

GROUPS = [f"scene {row // 3}" for row in range(60)]


def one(scores: np.ndarray, targets: np.ndarray) -> tuple[str, str]:
    (found,) = label_evidence(scores[:, None], targets[:, None], GROUPS)
    return found.status, found.reason


def test_label_that_is_ranked_well_in_many_groups_is_reliable() -> None:
    targets = (np.arange(60) % 3 == 0).astype(float)
    assert one(0.1 + 0.8 * targets, targets) == ("reliable", "")


@given(st.floats(0, 1), st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=30)
def test_score_that_does_not_depend_on_the_video_is_never_reliable(value: float, seed: int) -> None:
    targets = (np.random.default_rng(seed).random(60) < 0.4).astype(float)
    assert one(np.full(60, value), targets)[0] != "reliable"


def test_scores_without_relation_to_the_label_are_weak_and_say_why() -> None:
    rng = np.random.default_rng(1)
    status, reason = one(rng.random(60), (rng.random(60) < 0.3).astype(float))
    assert status == "weak"
    assert "may rank no better than chance" in reason


def test_collapsed_calibration_is_weak_however_well_it_ranks() -> None:
    targets = (np.arange(60) % 3 == 0).astype(float)
    assert one(0.372 + 0.001 * targets, targets) == (
        "weak",
        "its scores hardly depend on the video",
    )


def test_positives_of_one_group_are_weak() -> None:
    targets = np.zeros(60)
    targets[:3] = 1
    status, reason = one(0.1 + 0.8 * targets, targets)
    assert (status, reason) == ("weak", "only 1 group shows it in held-out rows")


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (0.0, "no held-out row shows it, or recordings of one group alone do"),
        (-100.0, "no held-out row shows it, or recordings of one group alone do"),
        (1.0, "held-out rows of 20 groups show it, and none lacks it"),
    ],
)
def test_label_without_both_answers_is_untested(value: float, reason: str) -> None:
    assert one(np.linspace(0, 1, 60), np.full(60, value)) == ("untested", reason)


def test_numbers_are_those_of_the_held_out_rows() -> None:
    targets = (np.arange(60) % 3 == 0).astype(float)
    (found,) = label_evidence((0.1 + 0.8 * targets)[:, None], targets[:, None], GROUPS)
    assert (found.num_groups, found.ap, found.ap_low) == (20, 1.0, 1.0)
    assert found.chance == pytest.approx(1 / 3, abs=1e-4)
