from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from msqnet.predictions import Segment
from msqnet.report.results_reader import read_results
from msqnet.report.video_summary import time_budget

if TYPE_CHECKING:
    from pathlib import Path

    from msqnet.predictions import VideoPredictions


def predictions(folder: Path) -> list[VideoPredictions]:
    return [video.predictions for video in read_results(folder).videos]


def test_time_of_a_label_is_summed_over_videos(predicted: Path) -> None:
    (bright,) = time_budget(predictions(predicted))
    assert bright.label == "bright"
    assert bright.num_videos == 2
    assert bright.num_bouts == 3
    assert bright.total_seconds == pytest.approx(2 + 3 + 6)
    assert bright.share == pytest.approx(11 / 18)
    assert bright.mean_bout_seconds == pytest.approx(11 / 3)
    assert bright.mean_score == pytest.approx(1, abs=1e-6)


def test_without_a_segment_there_is_no_budget(predicted: Path) -> None:
    assert time_budget([replace(item, segments=()) for item in predictions(predicted)]) == ()


def test_mean_score_is_weighted_by_time(predicted: Path) -> None:
    (first, *_) = predictions(predicted)
    segments = (Segment("bright", 0, 1, 0.5), Segment("bright", 2, 5, 0.9))
    (bright,) = time_budget([replace(first, segments=segments)])
    assert bright.mean_score == pytest.approx((0.5 + 3 * 0.9) / 4)
    assert bright.share == pytest.approx(4 / first.duration_seconds)
