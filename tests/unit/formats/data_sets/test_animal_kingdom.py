from __future__ import annotations

import ast
import random
import sys
from collections import Counter, defaultdict
from typing import TYPE_CHECKING

import pytest

from msqnet.data.records import ClipTable
from msqnet.data.table_check import check_table
from msqnet.errors import ConfigError, DatasetError, MissingExtra
from msqnet.formats.data_sets.list_files import official_labels
from msqnet.workbooks import read_sheets
from tests.fixtures.data_sets import ANIMAL_KINGDOM

if TYPE_CHECKING:
    from pathlib import Path

    from msqnet.data.records import Record
    from msqnet.formats.clip_table import ClipRows

# In the format that the authors describe (Charades frame lists); the real lists are 272 MB.
TRAIN_CSV = """original_vido_id video_id frame_id path labels
AAACXZTV 1 1 AAACXZTV/AAACXZTV_000001.jpg "2,40"
AAACXZTV 1 2 AAACXZTV/AAACXZTV_000002.jpg "2,40"
AABCQPTK 2 1 AABCQPTK/AABCQPTK_000001.jpg 15
"""
VAL_CSV = """original_vido_id video_id frame_id path labels
ZZZZQPTK 1 1 ZZZZQPTK/ZZZZQPTK_000001.jpg 139
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "action_recognition" / "annotation"
    folder.mkdir(parents=True)
    (folder / "train.csv").write_text(TRAIN_CSV)
    (folder / "val.csv").write_text(VAL_CSV)
    return tmp_path


@pytest.fixture
def workbooks(real_data: Path) -> Path:
    pytest.importorskip("python_calamine", reason="needs the extra 'datasets'")
    return real_data / "annotations" / "animal_kingdom"


@pytest.fixture(scope="module")
def real_rows(real_data: Path) -> dict[str, tuple[set[int], set[tuple[str, str]]]]:
    """Label ids and (animal, action) of each clip, by an independent parser: Python's own."""
    pytest.importorskip("python_calamine", reason="needs the extra 'datasets'")
    path = real_data / "annotations" / "animal_kingdom" / "AR_metadata.xlsx"
    rows: dict[str, tuple[set[int], set[tuple[str, str]]]] = {}
    header, *cells = read_sheets(path, "", "AR")["AR"]
    places = [header.index(name) for name in ("video_id", "labels", "list_animal_action")]
    for name, ids, text in ([row[place] for place in places] for row in cells):
        # Where an animal's name holds an apostrophe, the list is a list of lists as text.
        items = [
            ast.literal_eval(item) if isinstance(item, str) else [item]
            for item in ast.literal_eval(text)
        ]
        rows[name] = (
            {int(part) for part in ids.split(",")},
            {p for item in items for p in item},
        )
    return rows


def test_frames_of_a_clip_become_one_row(root: Path) -> None:
    records = ANIMAL_KINGDOM.read(root).records
    assert [(r.row, r.relative_path, r.labels, r.split) for r in records] == [
        (2, "action_recognition/dataset/video/AAACXZTV.mp4", ("Attending", "Eating"), "train"),
        (3, "action_recognition/dataset/video/AABCQPTK.mp4", ("Chirping",), "train"),
        (4, "action_recognition/dataset/video/ZZZZQPTK.mp4", ("Yawning",), "test"),
    ]
    assert [record.group for record in records] == ["ZTV", "PTK", "PTK"]
    assert all(record.annotated is None for record in records)


def test_frame_folders_instead_of_videos(root: Path) -> None:
    first = ANIMAL_KINGDOM.read(root, {"frames": "true"}).records[0]
    assert first.path == root / "action_recognition" / "dataset" / "image" / "AAACXZTV"


def test_a_recording_in_both_splits_is_reported(root: Path) -> None:
    notes = ANIMAL_KINGDOM.read(root).notes
    assert any("1 of 1 test clips come from a recording that training" in note for note in notes)


def test_missing_clips_are_counted(root: Path) -> None:
    assert "2 train clips; the official split has 24004" in ANIMAL_KINGDOM.read(root).notes


@pytest.mark.parametrize(
    ("line", "place"),
    [
        ("AABCQPTK 2 2 AABCQPTK/2.jpg", "train.csv, line 5"),
        ("AABCQPTK 2 2 AABCQPTK/2.jpg 16", "train.csv, line 5: found '16', expected 15"),
        ("AAADQPTK 3 1 AAADQPTK/1.jpg 140", "train.csv, line 5: found '140', expected label ids"),
        ("AAADQPTK 3 1 AAADQPTK/1.jpg 1,,2", "train.csv, line 5"),
    ],
)
def test_malformed_line_is_named(root: Path, line: str, place: str) -> None:
    path = root / "action_recognition" / "annotation" / "train.csv"
    path.write_text(TRAIN_CSV + line + "\n")
    with pytest.raises(DatasetError, match=place):
        ANIMAL_KINGDOM.read(root)


def test_another_header_is_refused(root: Path) -> None:
    path = root / "action_recognition" / "annotation" / "val.csv"
    path.write_text(VAL_CSV.replace("vido", "video"))
    with pytest.raises(DatasetError, match=r"val\.csv, line 1.*original_vido_id"):
        ANIMAL_KINGDOM.read(root)


def test_wrong_folder_says_what_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"train\.csv.*AR_metadata\.xlsx.*test_animal\.txt"):
        ANIMAL_KINGDOM.read(tmp_path)


def test_unknown_option_value(root: Path) -> None:
    with pytest.raises(ConfigError, match="csv or metadata or lists"):
        ANIMAL_KINGDOM.read(root, {"source": "tsv"})


def test_workbook_without_its_reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "AR_metadata.xlsx").touch()
    monkeypatch.setitem(sys.modules, "python_calamine", None)
    with pytest.raises(MissingExtra, match=r"msqnet\[formats\]"):
        ANIMAL_KINGDOM.read(tmp_path)


def test_workbook_that_is_none(tmp_path: Path) -> None:
    pytest.importorskip("python_calamine", reason="needs the extra 'datasets'")
    (tmp_path / "AR_metadata.xlsx").write_text("no workbook")
    with pytest.raises(DatasetError, match="not a readable spreadsheet"):
        ANIMAL_KINGDOM.read(tmp_path)


@pytest.mark.parametrize(
    ("cells", "place"),
    [
        ((1, "AAACXZTV", "train", "2,x", "[]"), "line 3"),
        ((1, "AAACXZTV", "val", "2", "[]"), "line 3: found 'AAACXZTV val 2'"),
        ((1, None, "train", "2", "[]"), "line 3"),
    ],
)
def test_malformed_row_of_the_workbook_is_named(
    tmp_path: Path, cells: tuple[object, ...], place: str
) -> None:
    openpyxl = pytest.importorskip("openpyxl")
    pytest.importorskip("python_calamine", reason="needs the extra 'datasets'")
    book = openpyxl.Workbook()
    sheet = book.active
    sheet.title = "AR"
    sheet.append(("S/N", "video_id", "type", "labels", "list_animal_action"))
    sheet.append((1, "AAACXZTU", "train", "2", "[('Lion', 'Attending')]"))
    sheet.append(cells)
    book.save(tmp_path / "AR_metadata.xlsx")
    with pytest.raises(DatasetError, match=rf"AR_metadata\.xlsx, {place}"):
        ANIMAL_KINGDOM.read(tmp_path)


def test_list_of_actions_that_is_incomplete(root: Path) -> None:
    openpyxl = pytest.importorskip("openpyxl")
    pytest.importorskip("python_calamine", reason="needs the extra 'datasets'")
    book = openpyxl.Workbook()
    book.active.title = "AR_count"
    book.active.append(("index", "action"))
    book.active.append((0, "Abseiling"))
    book.save(root / "df_action.xlsx")
    with pytest.raises(DatasetError, match=r"found 1 actions, expected ids 0 to 139"):
        ANIMAL_KINGDOM.read(root, {"names": "df_action"})


def test_real_workbook_has_the_official_clips(animal_kingdom: ClipRows) -> None:
    counts = Counter(record.split for record in animal_kingdom.records)
    assert counts == {"train": 24_004, "test": 6_096}
    assert len(animal_kingdom.labels) == 140
    assert animal_kingdom.labels.names[139] == "Yawning"
    assert sum("Yawning" in record.labels for record in animal_kingdom.records) == 79
    assert "label(s) that no test clip shows: 13" in animal_kingdom.notes


def test_labels_are_the_ids_of_the_real_workbook(
    animal_kingdom: ClipRows, real_rows: dict[str, tuple[set[int], set[tuple[str, str]]]]
) -> None:
    labels = animal_kingdom.labels
    found = {r.path.stem: set(labels.indices(r.labels)) for r in animal_kingdom.records}
    assert found == {name: ids for name, (ids, _) in real_rows.items()}


def test_animals_are_those_of_the_real_workbook(
    animal_kingdom: ClipRows, real_rows: dict[str, tuple[set[int], set[tuple[str, str]]]]
) -> None:
    found = {r.path.stem: set(r.actor.split("|")) - {""} for r in animal_kingdom.records}
    assert found == {name: {a for a, _ in pairs} for name, (_, pairs) in real_rows.items()}


def test_every_name_is_the_action_that_its_clips_list(
    animal_kingdom: ClipRows, real_rows: dict[str, tuple[set[int], set[tuple[str, str]]]]
) -> None:
    num_clips: Counter[int] = Counter()
    num_listed: Counter[str] = Counter()
    num_both: dict[int, Counter[str]] = defaultdict(Counter)
    for ids, pairs in real_rows.values():
        listed = {action.casefold() for _, action in pairs}
        num_clips.update(ids)
        num_listed.update(listed)
        for number in ids:
            num_both[number].update(listed)
    for number, name in enumerate(animal_kingdom.labels):
        # Half the F1 of each listed action against this column.
        overlap = {
            action: count / (num_clips[number] + num_listed[action])
            for action, count in num_both[number].items()
        }
        assert max(overlap, key=overlap.__getitem__) == name.casefold()


def test_names_of_df_action_are_kept_on_demand(root: Path, workbooks: Path) -> None:
    (root / "df_action.xlsx").symlink_to(workbooks / "df_action.xlsx")
    ours, theirs = ANIMAL_KINGDOM.read(root), ANIMAL_KINGDOM.read(root, {"names": "df_action"})
    differing = [
        number
        for number, names in enumerate(zip(ours.labels, theirs.labels, strict=True))
        if names[0].casefold() != names[1].casefold()
    ]
    assert differing == [49, 50, 70, 74, 81, 82, 83, 84]
    assert any("49 'Flapping its ears'" in note for note in theirs.notes)
    assert ours.records[0].labels == theirs.records[0].labels


def share_with_common_animal(pairs: list[tuple[Record, Record]]) -> float:
    same = [set(a.actor.split("|")) & set(b.actor.split("|")) for a, b in pairs]
    return sum(bool(common) for common in same) / len(pairs)


def test_last_letters_of_a_clip_name_a_recording(animal_kingdom: ClipRows) -> None:
    chance = random.Random(0)
    groups: dict[str, list[Record]] = defaultdict(list)
    for record in animal_kingdom.records:
        groups[record.group].append(record)
    large = [group for group in groups.values() if len(group) > 1]
    inside = [tuple(chance.sample(group, 2)) for group in large for _ in range(min(50, len(group)))]
    anywhere = [tuple(chance.sample(animal_kingdom.records, 2)) for _ in inside]
    assert len(groups) == 336
    assert share_with_common_animal(inside) > 0.65
    assert share_with_common_animal(anywhere) < 0.03


def test_real_split_divides_recordings(animal_kingdom: ClipRows) -> None:
    assert any(note.startswith("6095 of 6096 test clips") for note in animal_kingdom.notes)
    assert any("222 of 336 recordings are in both" in note for note in animal_kingdom.notes)


def test_classes_of_animals(tmp_path: Path, real_data: Path, workbooks: Path) -> None:
    lists = real_data / "annotations" / "animal_clip_lists" / "AK"
    for path in (workbooks / "AR_metadata.xlsx", *lists.iterdir()):
        (tmp_path / path.name).symlink_to(path)
    converted = ANIMAL_KINGDOM.read(tmp_path, {"actor": "class", "source": "lists"})
    actor_of = {record.path.stem: record.actor for record in converted.records}
    assert actor_of["AAAUILHH"] == "Amphibian"  # a frog
    assert actor_of["BEGOPIKV"] == "Fish|Sea animal"
    classes = {"Amphibian", "Bird", "Fish", "Insect", "Mammal", "Reptile", "Sea animal"}
    assert {name for actor in actor_of.values() for name in actor.split("|")} == classes


def test_real_lists_of_animal_clip(real_data: Path) -> None:
    converted = ANIMAL_KINGDOM.read(real_data / "annotations" / "animal_clip_lists" / "AK")
    assert Counter(r.split for r in converted.records) == {"train": 3_000, "test": 6_096}
    named = {record.path.stem: record for record in converted.records}
    assert named["AAQNNZGK"].labels == ("Being eaten", "Eating")
    assert named["AAQNNZGK"].actor == "Diving Bell Water Spider|Larva"
    # The list has an apostrophe that nothing escapes, and a quote that is not there.
    assert named["BEGOPIKV"].actor.startswith("Fish|")
    assert named["BEGOPIKV"].actor.endswith(" Man O'War")
    assert named["BEGOPIKV"].labels == ("Immobilized", "Keeping still")


@pytest.mark.parametrize(
    "line",
    [
        "AAAUILHH.mp4\t[('Frog', 'Singing an aria')]",
        "AAAUILHH.mp4",
        "AAAUILHH.mp4\t[('Frog', 'Climbing'), ('Frog')]",
    ],
)
def test_malformed_line_of_a_list_is_named(tmp_path: Path, line: str) -> None:
    (tmp_path / "train_all.txt").write_text("AAAUILHI.mp4\t[('Frog', 'Climbing')]\n")
    (tmp_path / "test_animal.txt").write_text(f"AAAUILHK.mp4\t[('Frog', 'Eating')]\n{line}\n")
    with pytest.raises(DatasetError, match=r"test_animal\.txt, line 2"):
        ANIMAL_KINGDOM.read(tmp_path)


def test_check_sees_the_divided_recordings(root: Path) -> None:
    table = ClipTable(root / "clips.csv", ANIMAL_KINGDOM.read(root).records)
    leaks = [p for p in check_table(table, decode=False).problems if p.kind == "split_leak"]
    assert [problem.row for problem in leaks] == [4]


def test_label_set_has_140_names() -> None:
    assert len(official_labels("animal_kingdom")) == 140
