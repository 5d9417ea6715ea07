from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest

from msqnet.errors import ConfigError, DatasetError
from tests.fixtures.data_sets import UCF101

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    def write(train: str, test: str = "", classes: str = "1 Bowling\r\n2 Diving\r\n") -> Path:
        place = tmp_path / "ucfTrainTestlist"
        place.mkdir(exist_ok=True)
        (place / "classInd.txt").write_text(classes)
        (place / "trainlist01.txt").write_text(train)
        (place / "testlist01.txt").write_text(test)
        return tmp_path

    return write


def test_lists_become_rows(write: Callable[..., Path]) -> None:
    root = write(
        "Diving/v_Diving_g08_c01.avi 2\r\nDiving/v_Diving_g08_c02.avi\r\n",
        "Bowling/v_Bowling_g01_c01.avi\n",
    )

    converted = UCF101.read(root)

    assert converted.labels.names == ("Bowling", "Diving")
    assert [(r.relative_path, r.labels, r.split, r.group) for r in converted.records] == [
        ("UCF-101/Diving/v_Diving_g08_c01.avi", ("Diving",), "train", "v_Diving_g08"),
        ("UCF-101/Diving/v_Diving_g08_c02.avi", ("Diving",), "train", "v_Diving_g08"),
        ("UCF-101/Bowling/v_Bowling_g01_c01.avi", ("Bowling",), "test", "v_Bowling_g01"),
    ]


def test_folders_of_classes_may_lie_beside_the_lists(write: Callable[..., Path]) -> None:
    root = write("Diving/v_Diving_g08_c01.avi 2\n")
    (root / "Bowling").mkdir()

    assert UCF101.read(root).records[0].relative_path == "Diving/v_Diving_g08_c01.avi"


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("v_Diving_g08_c01.avi 2", "expected <class>/<clip>.avi"),
        ("Dving/v_Diving_g08_c01.avi 2", "expected <class>/<clip>.avi"),
        ("Diving/v_Diving_g08_c01.avi 1", "expected class number 2"),
    ],
)
def test_malformed_line_is_named(write: Callable[..., Path], line: str, words: str) -> None:
    root = write(f"Diving/v_Diving_g08_c01.avi 2\n\n{line}\n")

    with pytest.raises(DatasetError) as caught:
        UCF101.read(root)
    assert f"trainlist01.txt, line 3: found {line!r}" in str(caught.value)
    assert words in str(caught.value)


@pytest.mark.parametrize("classes", ["1 Bowling\n3 Diving\n", "1 Bowling\n2 Bowling\n", "1\n", ""])
def test_classes_are_numbered_from_1(write: Callable[..., Path], classes: str) -> None:
    with pytest.raises(DatasetError, match="classInd"):
        UCF101.read(write("", classes=classes))


def test_wrong_folder_says_what_was_looked_for(write: Callable[..., Path], tmp_path: Path) -> None:
    with pytest.raises(
        DatasetError,
        match=r"ucfTrainTestlist/classInd.txt, annotations/classInd.txt, classInd.txt",
    ):
        UCF101.read(tmp_path)
    with pytest.raises(DatasetError, match=r"trainlist02.txt"):
        UCF101.read(write(""), {"split": "2"})
    with pytest.raises(ConfigError, match="split=0"):
        UCF101.read(tmp_path, {"split": "0"})


@pytest.mark.parametrize(
    ("split", "num_train", "num_test"), [("1", 9537, 3783), ("2", 9586, 3734), ("3", 9624, 3696)]
)
def test_real_lists(real_data: Path, split: str, num_train: int, num_test: int) -> None:
    root = real_data / "annotations" / "ucf101"

    converted = UCF101.read(root, {"split": split})

    counts = Counter(record.split for record in converted.records)
    assert counts == {"train": num_train, "test": num_test}
    assert len(converted.labels) == 101
    assert converted.labels.names[:2] == ("ApplyEyeMakeup", "ApplyLipstick")
    assert len({record.path for record in converted.records}) == 13320
    # 25 groups a class, each on one side.
    assert len({(record.group, record.split) for record in converted.records}) == 2525
