"""The released code's Charades test: annotated moments alone are seen, their labels alone count."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from msqnet.errors import DatasetError
from msqnet.evaluation.whole_videos import (
    annotated_spans,
    oracle_times,
    score_oracle,
)
from msqnet.labels import UNKNOWN
from tests.unit.inference.brightness import (
    BLACK,
    WHITE,
    TrainedBackend,
    record_of,
    table_of,
    write_video,
)

if TYPE_CHECKING:
    from pathlib import Path

# T is 4 in the brightness backend.
GREY = 102


def test_times_are_the_centres_of_what_is_left() -> None:
    # Left are 1 to 2 s and 5 to 8 s, four seconds: centres at 0.5, 1.5, 2.5 and 3.5 s of them.
    times = oracle_times([(1.0, 2.0), (5.0, 8.0)], 4)
    assert times.tolist() == [1.5, 5.5, 6.5, 7.5]
    assert oracle_times([(3.0, 5.0)], 2).tolist() == [3.5, 4.5]


def test_spans_are_joined_cut_at_the_end_and_hold_labelled_rows_only(tmp_path: Path) -> None:
    path = tmp_path / "a.mov"
    rows = table_of(
        record_of(path, 2, labels=("dark",), start_seconds=6.0, end_seconds=12.0),
        record_of(path, 3, labels=("bright",), start_seconds=1.0, end_seconds=2.0),
        record_of(path, 4, start_seconds=3.0, end_seconds=6.0),
        record_of(path, 5, labels=("dark",), start_seconds=2.0, end_seconds=3.0),
        record_of(path, 6, labels=("dark",), start_seconds=11.0, end_seconds=12.0),
    )
    assert annotated_spans(rows, 10.0) == [(1.0, 3.0), (6.0, 10.0)]


def test_only_annotated_moments_are_seen_and_only_their_labels_are_targets(tmp_path: Path) -> None:
    # 0-4 s black, nothing annotated; 4-8 s white, "bright"; 8-8.1 s black, "dark", too short to be
    # sampled; the rest grey, nothing annotated.
    path = write_video(tmp_path / "a.mov", [BLACK] * 40 + [WHITE] * 40 + [BLACK] + [GREY] * 19)
    empty = write_video(tmp_path / "b.mov", [WHITE] * 10)
    table = table_of(
        record_of(path, 2, end_seconds=4.0),
        record_of(path, 3, labels=("bright",), start_seconds=4.0, end_seconds=8.0),
        record_of(path, 4, labels=("dark",), start_seconds=8.0, end_seconds=8.1),
        record_of(path, 5, start_seconds=8.1, end_seconds=10.0),
        record_of(empty, 6, end_seconds=1.0),
    )
    done: list[tuple[int, int]] = []
    scored = score_oracle(table, TrainedBackend(), progress=lambda *counts: done.append(counts))
    # The whole video is 0.4 white, the annotated part all but 0.1 s of 4.1 s.
    assert scored.scores.tolist() == [[1.0, 0.0]]
    assert scored.targets.tolist() == [[1.0, 0.0]]
    (shown,) = scored.table.records
    assert shown.start_seconds == pytest.approx(4 + 4.1 / 8)
    assert shown.end_seconds == pytest.approx(4 + 4.1 * 7 / 8)
    assert scored.notes == ("videos without an annotated action, which the oracle leaves out: 1",)
    assert done == [(1, 1)]


def test_label_that_a_sampled_moment_does_not_know_is_unknown(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mov", [WHITE] * 40)
    known = frozenset({"bright"})
    table = table_of(
        record_of(path, 2, labels=("bright",), end_seconds=2.0),
        record_of(path, 3, labels=("bright",), annotated=known, start_seconds=2.0, end_seconds=4.0),
    )
    assert score_oracle(table, TrainedBackend()).targets.tolist() == [[1.0, UNKNOWN]]


def test_batch_size_changes_no_score(tmp_path: Path) -> None:
    rows = [
        record_of(
            write_video(tmp_path / f"{level}.mov", [level] * 10),
            labels=("bright",),
            end_seconds=1.0,
        )
        for level in (51, 102, 204)
    ]
    scores = [
        score_oracle(table_of(*rows), TrainedBackend(), batch_size=size).scores
        for size in (1, 2, 8)
    ]
    assert np.array_equal(scores[0], scores[1])
    assert np.array_equal(scores[0], scores[2])
    np.testing.assert_allclose(np.sort(scores[0][:, 0]), [0.2, 0.4, 0.8], rtol=1e-6)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"labels": ("bright",)}, "no row has start or end"),
        ({"end_seconds": 1.0}, "the oracle keeps nothing"),
        (
            {"labels": ("bright",), "start_seconds": 5.0, "end_seconds": 6.0},
            "no annotated action is in its pictures",
        ),
    ],
)
def test_tables_without_annotated_moments_are_refused(
    tmp_path: Path, settings: dict[str, Any], message: str
) -> None:
    path = write_video(tmp_path / "a.mov", [WHITE] * 10)
    with pytest.raises(DatasetError, match=message):
        score_oracle(table_of(record_of(path, **settings)), TrainedBackend())
