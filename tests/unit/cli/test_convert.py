from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import pytest

from msqnet.cli.main import main
from msqnet.data.table import read_table
from msqnet.formats import FORMATS, load_format, prediction_files
from msqnet.formats.annotations import AnnotatedVideo, Annotations, Event
from msqnet.labels import LabelSet


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "UCF"
    folder.mkdir()
    (folder / "classInd.txt").write_text("1 Bowling\n2 Diving\n3 Rowing\n")
    (folder / "trainlist01.txt").write_text(
        "Diving/v_Diving_g08_c01.avi 2\nDiving/v_Diving_g08_c02.avi 2\n"
    )
    (folder / "testlist01.txt").write_text("Bowling/v_Bowling_g01_c01.avi\n")
    for part in ("train", "test"):
        (folder / f"{part}list02.txt").write_text("Diving/v_Diving_g08_c01.avi\n")
    return folder


def test_table_and_labels_are_written_and_summed_up(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "my clips.csv"

    assert main(["convert", "--from", "ucf101", "--root", str(root), "--out", str(out)]) == 0

    assert [(r.relative_path, r.labels, r.split) for r in read_table(out).records] == [
        ("UCF/UCF-101/Diving/v_Diving_g08_c01.avi", ("Diving",), "train"),
        ("UCF/UCF-101/Diving/v_Diving_g08_c02.avi", ("Diving",), "train"),
        ("UCF/UCF-101/Bowling/v_Bowling_g01_c01.avi", ("Bowling",), "test"),
    ]
    with (tmp_path / "my clips.labels.csv").open(newline="") as file:
        assert [row["name"] for row in csv.DictReader(file)] == ["Bowling", "Diving", "Rowing"]
    assert capsys.readouterr().out.splitlines() == [
        f"{out}: 3 rows of UCF101",
        "  train: 2 rows, 2 videos",
        "  test: 1 rows, 1 videos",
        "labels: 3: Bowling, Diving, Rowing",
        "labels that no row shows: 1",
        "licence: not stated (clips come from YouTube)",
        f"next: msqnet check '{out}'",
    ]


def test_missing_videos_are_found_by_the_check(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "clips.parquet"
    main(["convert", "--from", "ucf101", "--root", str(root), "--out", str(out)])

    assert main(["check", str(out)]) == 1
    assert "3 rows, 3 videos: 3 error(s)" in capsys.readouterr().out


def test_options_reach_the_data_set(root: Path, tmp_path: Path) -> None:
    out = tmp_path / "clips.csv"
    arguments = ["convert", "--from=ucf101", "--root", str(root), "--out", str(out)]

    assert main([*arguments, "--option", "split=2", "videos=v"]) == 0
    first = [record.relative_path for record in read_table(out).records]
    again = ["--option", "split=2", "--option", "videos=v", "--overwrite"]
    assert main([*arguments, *again]) == 0

    assert first == ["UCF/v/Diving/v_Diving_g08_c01.avi"] * 2
    assert [record.relative_path for record in read_table(out).records] == first


def test_settings_may_stand_in_a_file(root: Path, tmp_path: Path) -> None:
    config = tmp_path / "convert.yaml"
    config.write_text(f"from: ucf101\nroot: {root}\nout: {tmp_path / 'a.csv'}\noption: [split=2]\n")

    assert main(["convert", "--config", str(config)]) == 0
    assert len(read_table(tmp_path / "a.csv").records) == 2


def test_existing_tables_are_kept(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, labels = tmp_path / "clips.csv", tmp_path / "clips.labels.csv"
    arguments = ["convert", "--from", "ucf101", "--root", str(root), "--out", str(out)]
    labels.write_text("my descriptions")

    assert main(arguments) == 2
    assert capsys.readouterr().err == f"msqnet: error: {labels} exists; --overwrite replaces it\n"
    assert not out.exists()
    assert main([*arguments, "--overwrite"]) == 0
    assert labels.read_text().startswith("name,description,synonyms\n")


def test_every_data_set_is_listed_with_licence_and_options(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["convert", "--from", "list"]) == 0

    first, *entries = capsys.readouterr().out.split("\n\n")
    assert first == "data sets (--from NAME --root FOLDER)"
    middle = entries.index("formats")
    data_sets, formats = entries[:middle], entries[middle + 1 :]
    are_data_sets = {name: load_format(name).read_rows is not None for name in FORMATS}
    assert [entry.partition(":")[0] for entry in data_sets] == [
        name for name in FORMATS if are_data_sets[name]
    ]
    assert [entry.partition(":")[0] for entry in formats] == [
        name for name in FORMATS if not are_data_sets[name]
    ]
    for entry in data_sets:
        assert "\n  licence: " in entry
    [hmdb51] = [entry for entry in entries if entry.startswith("hmdb51: HMDB51 (single label)")]
    assert "\n  --option split=...: 1, 2 or 3" in hmdb51


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "--from: name the data set or the format, one of animal_kingdom, bento,"),
        (["--from", "imagenet"], "--from imagenet: no such data set or format; known are "),
        (["--from", "boris"], "--input: name the file or folder of "),
        (
            ["--from", "predictions", "--to", "predictions"],
            "can only be read",
        ),
        (["--from", "table", "--to", "imagenet"], "--to imagenet: no such format; known are "),
        (["--from", "table", "--to", "charades"], "--to charades: Charades can only be read"),
        (["--from"], "argument --from: expected one argument"),
        (["--from", "ucf101"], "--root: name the folder that UCF101 was unpacked in"),
        (["--from", "ucf101", "--root", "."], "--out: name what to write, such as ucf101.csv"),
        (["--option", "split"], "--option split: expected KEY=VALUE"),
        (["--option", "split="], "--option split=: expected KEY=VALUE"),
        (["--option", "split=1", "split=2"], "split is given twice"),
        (["--option", "fold=1"], "ucf101: no option 'fold'; known are: split, videos"),
        (["--option", "split=7"], "option split=7: expected 1 or 2 or 3"),
        (["--source_format", "ucf101"], "source_format is now called from"),
    ],
)
def test_wrong_usage_says_what_is_right(
    root: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    words: str,
) -> None:
    if arguments[:1] == ["--option"]:
        place = ["--root", str(root), "--out", str(tmp_path / "a.csv")]
        arguments = ["--from", "ucf101", *place, *arguments]

    assert main(["convert", *arguments]) == 2
    assert words in capsys.readouterr().err
    assert not (tmp_path / "a.csv").exists()


@pytest.mark.parametrize(
    ("out", "words"),
    [("a.xlsx", "found .xlsx, expected .csv"), ("a.csv", "found no list of classes; looked for")],
)
def test_wrong_data_fail(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], out: str, words: str
) -> None:
    place = ["--root", str(tmp_path), "--out", str(tmp_path / out)]

    assert main(["convert", "--from", "ucf101", *place]) == 1
    assert words in capsys.readouterr().err


def test_help_shows_the_names_to_type_and_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["convert", "--help"])

    text = " ".join(capsys.readouterr().out.split())
    assert "--from FROM Data set or format to read." in text
    assert "--option OPTION [OPTION ...] Options of reading and writing, as KEY=VALUE" in text
    assert "from_" not in text
    assert "example: msqnet convert --from charades --root" in text


def test_real_data_set(real_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "charades.csv"
    root = real_data / "annotations" / "charades"

    assert main(["convert", "--from", "charades", "--root", str(root), "--out", str(out)]) == 0

    printed = capsys.readouterr().out
    assert "  train: 7811 rows, 7811 videos\n  test: 1863 rows, 1863 videos\n" in printed
    assert "labels: 157: Holding some clothes, " in printed
    assert "note: train videos without an action" in printed
    table = read_table(out)
    assert len(table) == 7811 + 1863
    assert table.records[0].path == root / "Charades_v1_480" / "46GP8.mp4"


NOT_UNICODE = "\udcff"
WRITERS = [name for name in FORMATS if load_format(name).write is not None]
EVENT = Event("rear", 1.0, 2.0)
TEXTS = {
    "path of a video": {"path": Path(f"/videos/{NOT_UNICODE}.mp4")},
    "split of a.mp4": {"split": NOT_UNICODE},
    "group of a.mp4": {"group": NOT_UNICODE},
    "label of a.mp4": {"events": (replace(EVENT, label=NOT_UNICODE),)},
    "subject of rear of a.mp4": {"events": (replace(EVENT, subject=NOT_UNICODE),)},
    "comment of rear of a.mp4": {"events": (replace(EVENT, comment=NOT_UNICODE),)},
    "modifier of rear of a.mp4": {"events": (replace(EVENT, modifiers=(NOT_UNICODE,)),)},
}


@pytest.mark.parametrize("target", WRITERS)
@pytest.mark.parametrize("what", TEXTS)
def test_no_writer_meets_a_name_that_is_not_unicode(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    target: str,
    what: str,
) -> None:
    video = replace(AnnotatedVideo(Path("/videos/a.mp4"), (EVENT,), 4.0), **TEXTS[what])
    annotations = Annotations((video,), LabelSet(("rear",)))
    source = replace(load_format("predictions"), read=lambda *_: annotations)
    monkeypatch.setattr(prediction_files, "FORMAT", source)
    out = tmp_path / "new" / f"out{load_format(target).suffix}"
    arguments = ["--from", "predictions", "--input", str(tmp_path), "--to", target]

    assert main(["convert", *arguments, "--out", str(out)]) == 1

    said = capsys.readouterr().err
    assert f"{what}: found '" in said
    assert "\\udcff" in said
    assert said.endswith("nothing else; rename it and try again\n")
    assert not out.parent.exists()


@pytest.mark.parametrize("target", WRITERS)
def test_results_with_labels_that_are_not_unicode_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], target: str
) -> None:
    document = {
        "schema_version": 1,
        "path": f"/videos/{NOT_UNICODE}.mp4",
        **{"duration_seconds": 4.0, "width": 64, "height": 48},
        **{"window_seconds": 4.0, "stride_seconds": 4.0, "thresholds": [0.5]},
        "labels": [NOT_UNICODE],
        "timeline": {"edges_seconds": [0.0, 4.0], "scores": [[0.5]]},
        **{"windows": [], "segments": []},
    }
    (tmp_path / "a.json").write_text(json.dumps(document))
    out = tmp_path / f"out{load_format(target).suffix}"
    arguments = ["--from", "predictions", "--input", str(tmp_path / "a.json"), "--to", target]

    assert main(["convert", *arguments, "--out", str(out)]) == 1

    assert "label: found '\\udcff', expected Unicode text" in capsys.readouterr().err
    assert not out.exists()
