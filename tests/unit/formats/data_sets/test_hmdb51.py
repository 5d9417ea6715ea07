from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest

from msqnet.data.records import ClipTable
from msqnet.data.table_check import check_table
from msqnet.errors import ConfigError, DatasetError
from msqnet.formats.data_sets.clip_lists import film_of
from msqnet.formats.data_sets.list_files import official_labels
from tests.fixtures.data_sets import HMDB51

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

LABELS = official_labels("hmdb51")


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Write empty lists of split 1, but for the ones given by class."""

    def write(folder: str = "testTrainMulti_7030_splits", **texts: str) -> Path:
        place = tmp_path / folder
        place.mkdir(exist_ok=True)
        for name in LABELS:
            (place / f"{name}_test_split1.txt").write_text(texts.get(name, ""))
        return tmp_path

    return write


def test_parts_are_train_and_test_and_unused(write: Callable[..., Path]) -> None:
    root = write(
        wave="A_wave_u_cm_np1_fr_bad_0.avi 1 \nA_wave_u_cm_np1_fr_bad_1.avi 0 \n",
        chew="A_chew_h_nm_np1_fr_goo_0.avi 2 \n",
    )

    converted = HMDB51.read(root)

    assert [(r.relative_path, r.labels, r.split, r.group) for r in converted.records] == [
        ("chew/A_chew_h_nm_np1_fr_goo_0.avi", ("chew",), "test", "A"),
        ("wave/A_wave_u_cm_np1_fr_bad_0.avi", ("wave",), "train", "A"),
    ]
    assert converted.labels == LABELS
    assert converted.notes[0].endswith("left out: 1")
    assert converted.notes[1].startswith("films with clips of one class in train")


def test_videos_are_looked_for_in_usual_places(write: Callable[..., Path]) -> None:
    root = write("annotations", wave="A_wave_u_cm_np1_fr_bad_0.avi 1\n")
    (root / "hmdb51_org" / "brush_hair").mkdir(parents=True)

    [record] = HMDB51.read(root).records

    assert record.path == root / "hmdb51_org" / "wave" / "A_wave_u_cm_np1_fr_bad_0.avi"


@pytest.mark.parametrize(
    ("clip", "label", "film"),
    [
        ("A_Beautiful_Mind_2_smile_h_nm_np1_fr_goo_2.avi", "smile", "A_Beautiful_Mind_2"),
        ("metacafe_coolsoccer_run_f_cm_np10_le_bad_2.avi", "run", "metacafe_coolsoccer"),
        ("x_shoot_ball_y_shoot_ball_u_nm_np1_ba_med_0.avi", "shoot_ball", "x_shoot_ball_y"),
        ("holiday.avi", "wave", "holiday"),
    ],
)
def test_film_stands_before_class_and_properties(clip: str, label: str, film: str) -> None:
    assert film_of(clip, label) == film


@pytest.mark.parametrize("line", ["A.avi 3", "A.avi", "A.mp4 1", "1"])
def test_malformed_line_is_named(write: Callable[..., Path], line: str) -> None:
    root = write(wave=f"A.avi 1\n{line}\n")

    with pytest.raises(DatasetError, match=r"wave_test_split1\.txt, line 2: found .*0, 1 or 2"):
        HMDB51.read(root)


def test_missing_lists_are_counted_and_named(write: Callable[..., Path]) -> None:
    root = write()
    (root / "testTrainMulti_7030_splits" / "wave_test_split1.txt").unlink()
    with pytest.raises(DatasetError, match=r"1 of 51 lists are not there: wave_test_split1.txt"):
        HMDB51.read(root)
    with pytest.raises(DatasetError, match=r"brush_hair_test_split2\.txt, annotations/brush_hair"):
        HMDB51.read(root, {"split": "2"})
    with pytest.raises(ConfigError, match="split=4: expected 1 or 2 or 3"):
        HMDB51.read(root, {"split": "4"})


@pytest.mark.parametrize(("split", "num_shared_films"), [("1", 133), ("2", 149), ("3", 144)])
def test_real_lists(real_data: Path, split: str, num_shared_films: int) -> None:
    root = real_data / "annotations" / "hmdb51"

    converted = HMDB51.read(root, {"split": split})

    counts = Counter(record.split for record in converted.records)
    assert counts == {"train": 3570, "test": 1530}
    per_class = Counter((record.labels[0], record.split) for record in converted.records)
    assert {per_class[name, "train"] for name in LABELS} == {70}
    assert {per_class[name, "test"] for name in LABELS} == {30}
    assert converted.notes[0].endswith("left out: 1666")
    assert converted.notes[1].endswith(f": {num_shared_films}")
    files = (root / "testTrainMulti_7030_splits").glob(f"*_test_split{split}.txt")
    assert {path.name.rpartition("_test_")[0] for path in files} == set(LABELS)
    # No film has clips of one class on both sides: the film is what the authors kept together.
    sides: dict[tuple[str, str], set[str]] = {}
    for record in converted.records:
        sides.setdefault((record.group, record.labels[0]), set()).add(record.split)
    assert {len(found) for found in sides.values()} == {1}


def test_real_table_has_no_problem_but_missing_videos_and_shared_films(real_data: Path) -> None:
    root = real_data / "annotations" / "hmdb51"
    table = ClipTable(root, HMDB51.read(root).records)

    problems = check_table(table, decode=False).problems

    assert Counter(problem.kind for problem in problems) == {"missing": 5100, "split_leak": 133}
