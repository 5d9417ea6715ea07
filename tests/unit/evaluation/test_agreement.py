"""Agreement of two annotations: kappa as elsewhere, bouts, matched videos, known time."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

from msqnet.cli.main import main
from msqnet.config import SegmentConfig, WindowConfig
from msqnet.data.table import read_table
from msqnet.errors import ConfigError, DatasetError
from msqnet.evaluation.agreement import (
    Annotation,
    agreement,
    annotations_of_results,
    annotations_of_table,
)
from msqnet.inference.predictor import Predictor
from tests.unit.inference.brightness import BLACK, WHITE, BrightnessBackend, write_video

if TYPE_CHECKING:
    from pathlib import Path


def annotation(path: str, known: Any, **present: Any) -> Annotation:
    found = Annotation(path)
    found.known.update({label: known for label in present})
    found.present.update(present)
    return found


def test_kappa_is_that_of_another_implementation() -> None:
    rng = np.random.default_rng(0)
    first, second = [], []
    says: list[list[int]] = [[], []]
    for number in range(3):
        bins = rng.random((2, 50)) < 0.3
        bins[1] ^= rng.random(50) < 0.2
        spans = [[(float(n), n + 1.0) for n in np.flatnonzero(side)] for side in bins]
        first.append(annotation(f"{number}.mp4", [(0.0, 50.0)], dig=spans[0]))
        second.append(annotation(f"{number}.mp4", [(0.0, 50.0)], dig=spans[1]))
        for side, values in zip(says, bins.astype(int).tolist(), strict=True):
            side += values
    (found,) = agreement(first, second).labels
    assert found.kappa == pytest.approx(cohen_kappa_score(*says))
    assert found.agreement == pytest.approx(np.mean(np.equal(*says)))
    assert (found.seconds, found.first_seconds) == (150, sum(says[0]))


def test_only_time_counts_that_both_know() -> None:
    one = annotation("a.mp4", [(0.0, 10.0), (20.0, 30.0)], dig=[(2.0, 4.0), (20.0, 22.0)])
    other = annotation("a.mp4", [(0.0, 25.0)], dig=[(2.0, 4.0), (12.0, 18.0), (20.0, 22.0)])
    (found,) = agreement([one], [other]).labels
    assert (found.seconds, found.first_seconds, found.second_seconds) == (15, 4, 4)
    assert (found.agreement, found.kappa, found.bout_f1) == (1, 1, 1)


def test_bouts_and_borders_are_compared() -> None:
    one = annotation("a.mp4", [(0.0, 60.0)], dig=[(2.0, 6.0), (20.0, 30.0), (40.0, 44.0)])
    other = annotation("a.mp4", [(0.0, 60.0)], dig=[(2.5, 6.0), (28.0, 38.0)])
    found = agreement([one], [other], bin_seconds=0.1)
    (dig,) = found.labels
    assert (dig.first_bouts, dig.second_bouts) == (3, 2)
    assert dig.bout_f1 == pytest.approx(2 * 1 / 5)
    assert found.borders["num_missed"] == 1
    assert found.borders["start"] == {"median": 4.25, "percentile_90": 7.25, "number": 2}


def test_kappa_is_undefined_where_both_say_yes_all_the_time() -> None:
    one = annotation("a.mp4", [(0.0, 10.0)], dig=[(0.0, 10.0)], sit=[])
    found = agreement([one], [one])
    assert np.isnan(found.labels[0].kappa)
    assert found.never_seen == ("sit",)


def test_videos_are_matched_by_the_end_of_their_paths_where_it_tells_them_apart() -> None:
    names = ("/mine/day1/a.mp4", "/mine/day2/a.mp4", "/mine/b.mp4", "/mine/only.mp4")
    others = ("C:\\hers\\day2\\a.mp4", "C:\\hers\\day1\\a.mp4", "C:\\hers\\b.mp4", "x/new.mp4")
    first, second = (
        [annotation(name, [(0.0, 5.0)], dig=[(0.0, 1.0)]) for name in side]
        for side in (names, others)
    )
    found = agreement(first, second)
    assert [(one.path, other.path) for one, other in found.videos] == [
        (names[0], others[1]),
        (names[1], others[0]),
        (names[2], others[2]),
    ]
    assert found.only_first["videos"] == [names[3]]
    assert found.only_second["videos"] == [others[3]]


@pytest.mark.parametrize(
    ("second", "message"),
    [
        (annotation("b.mp4", [(0.0, 5.0)], dig=[]), "no video is in both"),
        (annotation("a.mp4", [(0.0, 5.0)], sit=[]), "no label is in both"),
        (annotation("a.mp4", [(6.0, 9.0)], dig=[]), "know the same label at no time"),
    ],
)
def test_nothing_in_common_is_refused(second: Annotation, message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        agreement([annotation("a.mp4", [(0.0, 5.0)], dig=[])], [second])
    with pytest.raises(ConfigError, match="bin_seconds"):
        agreement([second], [second], bin_seconds=0)


@pytest.fixture
def tables(tmp_path: Path) -> tuple[str, str]:
    write_video(tmp_path / "a.mov", [BLACK] * 100)  # 10 s
    head = "path,start,end,labels,annotated\n"
    rows = {
        "first.csv": "a.mov,1,3,dig,*\na.mov,3,6,,dig\na.mov,8,,dig|sit,*\n",
        "second.csv": "a.mov,1,4,dig,*\na.mov,4,6,,*\n",
    }
    for name, text in rows.items():
        (tmp_path / name).write_text(head + text)
    return str(tmp_path / "first.csv"), str(tmp_path / "second.csv")


def test_rows_say_what_is_known(tables: tuple[str, str]) -> None:
    first, second = (annotations_of_table(read_table([path])) for path in tables)
    (one,), (other,) = first, second
    assert one.knows("dig") == [(1, 3), (3, 6), (8, 10)]
    assert one.knows("sit") == [(1, 3), (8, 10)]
    assert other.knows("sit") == []
    (dig,) = agreement(first, second).labels
    assert (dig.seconds, dig.first_seconds, dig.second_seconds) == (5, 2, 3)


def test_complete_tables_know_all_of_the_video_and_all_labels(tables: tuple[str, str]) -> None:
    first, second = (annotations_of_table(read_table([path]), is_complete=True) for path in tables)
    dig, sit = agreement(first, second).labels
    assert (dig.seconds, dig.first_seconds, dig.second_seconds) == (10, 4, 3)
    assert (sit.seconds, sit.first_seconds, sit.second_seconds) == (10, 2, 0)
    assert sit.kappa == 0


def test_person_and_model_are_compared(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mov", [BLACK] * 20 + [WHITE] * 40 + [BLACK] * 40)
    predictor = Predictor(
        BrightnessBackend(), WindowConfig(stride_seconds=1.0), SegmentConfig(max_gap_seconds=0)
    )
    (model,) = annotations_of_results([predictor(path)])
    person = annotation(str(path), [(0.0, 10.0)], bright=[(2.0, 6.0)])
    bright = agreement([person], [model]).labels[0]
    assert (bright.label, bright.kappa, bright.bout_f1) == ("bright", 1, 1)


def test_command_writes_a_table_and_a_picture(
    tables: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert main(["agree", *tables, "--out", str(out), "--bin-seconds", "0.5"]) == 0
    printed = capsys.readouterr().out
    assert "starts of 1 common bouts differ by" not in printed  # both begin with the rows
    rows = list(csv.DictReader((out / "agreement.csv").read_text().splitlines()))
    assert [row["label"] for row in rows] == ["dig", "all"]
    assert float(rows[0]["kappa"]) == pytest.approx(0.6154, abs=1e-4)
    assert (out / "001_a.mov.png").read_bytes().startswith(b"\x89PNG")
    assert main(["agree", tables[0]]) == 2
    assert "expected two" in capsys.readouterr().err
