from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from msqnet.errors import ConfigError, DatasetError
from msqnet.formats.data_sets.frame_folders import VOLLEYBALL_SPLITS
from tests.fixtures.data_sets import VOLLEYBALL

if TYPE_CHECKING:
    from pathlib import Path

SCENE = "100.jpg l-pass 619 582 86 131 falling 784 -5 122 205 standing 1 2 3 4 falling"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for video, text in {
        "39": f"{SCENE}\n120.jpg  r_winpoint 1 2 3 4 jumping \n",
        "4": SCENE,
    }.items():
        (tmp_path / video).mkdir()
        (tmp_path / video / "annotations.txt").write_text(text)
    return tmp_path


def test_players_actions_are_the_labels(root: Path) -> None:
    converted = VOLLEYBALL.read(root)
    assert [(r.row, r.relative_path, r.labels, r.split, r.group) for r in converted.records] == [
        (2, "4/100", ("falling", "standing"), "test", "4"),
        (3, "39/100", ("falling", "standing"), "train", "39"),
        (4, "39/120", ("jumping",), "train", "39"),
    ]
    first = converted.records[0]
    assert (first.path, first.start_seconds, first.end_seconds) == (root / "4" / "100", None, None)
    assert len(converted.labels) == 9
    assert converted.notes == ("53 of 55 videos are not there",)


def test_team_activity_is_the_label_on_demand(root: Path) -> None:
    converted = VOLLEYBALL.read(root, {"target": "group"})
    assert len(converted.labels) == 8
    assert [r.labels for r in converted.records] == [
        ("left pass",),
        ("left pass",),
        ("right winpoint",),
    ]


MALFORMED = [
    "140.jpg l-pass 1 2 3 standing",
    "140.jpg l-pass 1 2 3 4 dozing",
    "140.jpg l-pass 1 2 3 4 standing 5",
    "140.jpg l-pass standing 1 2 3 4",
    "140.jpg l-pass",
    "140 l-pass 1 2 3 4 standing",
    "120.jpg l-pass 1 2 3 4 standing",
]


@pytest.mark.parametrize("line", MALFORMED)
def test_malformed_line_is_named(root: Path, line: str) -> None:
    path = root / "39" / "annotations.txt"
    path.write_text(path.read_text() + line + "\n")
    with pytest.raises(DatasetError, match=r"39/annotations\.txt, line 3"):
        VOLLEYBALL.read(root)


@pytest.mark.parametrize("line", MALFORMED)
def test_malformed_line_that_is_skipped_is_named_too(root: Path, line: str) -> None:
    path = root / "39" / "annotations.txt"
    path.write_text(path.read_text() + line + "\n160.jpg l_set 1 2 3 4 setting\n")
    converted = VOLLEYBALL.read(root, {"malformed": "skip"})
    assert [r.relative_path for r in converted.records][-2:] == ["39/120", "39/160"]
    assert any("39/annotations.txt, line 3" in note for note in converted.notes)


def test_unknown_team_activity_is_named(root: Path) -> None:
    (root / "4" / "annotations.txt").write_text("100.jpg m_pass 1 2 3 4 standing")
    assert len(VOLLEYBALL.read(root).records) == 3
    with pytest.raises(DatasetError, match=r"4/annotations\.txt, line 1: found 'm_pass'"):
        VOLLEYBALL.read(root, {"target": "group"})


def test_folder_that_is_no_video_is_named(root: Path) -> None:
    for name in ("55", "backup"):
        (root / name).mkdir()
        (root / name / "annotations.txt").write_text(SCENE)
    converted = VOLLEYBALL.read(root)
    assert len(converted.records) == 3
    left_out = [note for note in converted.notes if "is no video of the official split" in note]
    assert len(left_out) == 2


def test_wrong_folder_says_what_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"<video>/annotations\.txt, volleyball/<video>"):
        VOLLEYBALL.read(tmp_path)


def test_unknown_option_value(root: Path) -> None:
    with pytest.raises(ConfigError, match="person or group"):
        VOLLEYBALL.read(root, {"target": "ball"})


def test_every_video_is_in_one_split() -> None:
    videos = [video for split in VOLLEYBALL_SPLITS.values() for video in split]
    assert sorted(videos) == list(range(55))
    assert {split: len(videos) for split, videos in VOLLEYBALL_SPLITS.items()} == {
        "train": 24,
        "val": 15,
        "test": 16,
    }


def test_split_is_that_of_the_authors_files(real_data: Path) -> None:
    folder = real_data / "annotations" / "volleyball" / "dataset-config"

    def listed(name: str) -> list[int]:
        return sorted(int(line) for line in (folder / name).read_text().split())

    assert listed("test.txt") == sorted(VOLLEYBALL_SPLITS["test"])
    assert listed("trainval.txt") == sorted(VOLLEYBALL_SPLITS["train"] + VOLLEYBALL_SPLITS["val"])
    readme = (folder.parent / "README_dataset.md").read_text()
    for title, split in {"Train": "train", "Validation": "val", "Test": "test"}.items():
        line = readme.split(f"**{title} Videos**:")[1].splitlines()[0]
        assert [int(word) for word in line.split()] == list(VOLLEYBALL_SPLITS[split])


def test_real_files(real_data: Path) -> None:
    converted = VOLLEYBALL.read(real_data / "annotations" / "volleyball")
    assert {r.relative_path: r.labels for r in converted.records} == {
        "volleyball-simple/39/29885": (
            ("waiting", "digging", "spiking", "blocking", "moving", "standing")
        ),
        "volleyball-simple/39/29905": ("waiting", "falling", "standing"),
        "volleyball-simple/41/19515": ("digging", "moving", "standing"),
        "volleyball-simple/41/19560": ("setting", "moving", "standing"),
    }
