"""The rule of all formats for what is known, and files of a folder that are read together."""

from __future__ import annotations

import csv
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from msqnet.cli.main import main
from msqnet.data.table import read_table, write_table
from msqnet.errors import DatasetError
from msqnet.formats.annotations import (
    ANY_LABEL,
    AnnotatedVideo,
    Annotations,
    Event,
    clean_label,
    joined,
    settled,
)
from msqnet.formats.clip_table import rows_from
from msqnet.labels import UNKNOWN, LabelSet
from tests.fixtures.annotation_formats import read_as, write_as

if TYPE_CHECKING:
    from pathlib import Path

LABELS = LabelSet(("groom", "rear", "jump"))


def known(path: Path, *videos: AnnotatedVideo) -> list[set[str] | None]:
    """Labels that are known in videos, None for all."""
    found = settled(Annotations(videos, LABELS)).videos
    return [None if video.checked is None else set(video.checked) for video in found]


def test_labels_of_what_was_left_out_are_unknown(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    some, every = frozenset({"rear"}), frozenset({ANY_LABEL})
    video = AnnotatedVideo(path, (), 4.0, left_out=some)

    assert known(path, video) == [{"groom", "jump"}]
    assert known(path, AnnotatedVideo(path, (), 4.0, left_out=every)) == [set()]
    [row] = rows_from(Annotations((video,), LABELS), {}).records
    assert row.annotated == {"groom", "jump"}
    assert known(path, AnnotatedVideo(path, (), 4.0, frozenset({"jump"}), left_out=some)) == [
        {"jump"}
    ]
    assert known(path, AnnotatedVideo(path, (), 4.0)) == [None]
    assert settled(Annotations((video,), LABELS)).notes == (
        "videos with labels that are known only where they were seen (rear in a.mp4): 1",
    )


@pytest.mark.parametrize(
    ("event", "is_kept", "is_cut"),
    [
        (Event("rear", 3.9, 4.4), True, False),
        (Event("rear", 3.9, 5.0), True, True),
        (Event("rear", 4.0, 5.0), False, False),
        # A moment may be the end itself; a state that nobody ended has to begin before it.
        (Event("rear", 4.0, 4.0), True, False),
        (Event("rear", 4.1, 4.1), False, False),
        (Event("rear", 4.0, None), False, False),
        (Event("rear", 3.0, None), True, False),
    ],
)
def test_events_after_the_end_are_left_out_and_named(
    tmp_path: Path, event: Event, is_kept: bool, is_cut: bool
) -> None:
    video = AnnotatedVideo(tmp_path / "a.mp4", (event, Event("groom", 1, 2)), 4.0)

    found = settled(Annotations((video,), LABELS))

    assert (event in found.videos[0].events) == is_kept
    assert (found.videos[0].checked is None) == is_kept
    late = "events that begin after the end of their video, which are left out (rear in a.mp4): 1"
    assert (late in found.notes) != is_kept
    assert any(note.startswith("events that go on after the end") for note in found.notes) == is_cut
    assert settled(found).videos == found.videos


def test_observations_of_one_video_know_what_they_looked_for(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    ada = AnnotatedVideo(path, (Event("groom", 1, 2, "Ada"), Event("rear", 2, 3, "Ada")), 4.0)
    bob = AnnotatedVideo(path, (Event("groom", 3, 3.5, "Bob"),), 4.0)
    again = AnnotatedVideo(path, (Event("groom", 1, 2.1, "Ada"), Event("rear", 2, 3, "Ada")), 4.0)
    other = AnnotatedVideo(tmp_path / "b.mp4", bob.events, 4.0)
    later = AnnotatedVideo(path, bob.events, 4.0, observed=((3.0, 4.0),))

    assert known(path, ada, bob) == [{"rear", "jump"}, {"jump"}]
    # Two people who looked for the same may contradict each other; `msqnet check` says where.
    assert known(path, ada, again) == [None, None]
    assert known(path, ada, other) == [None, None]
    # What was seen while nobody looked contradicts nothing.
    assert known(path, ada, later) == [{"rear", "jump"}, None]


def test_files_of_a_folder_become_one_table_with_a_group_each(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = {"a": "groom", "deep/b": "rear"}
    for name, label in rows.items():
        events = (Event(label, 1, 2),)
        video = AnnotatedVideo(tmp_path / f"{name[-1]}.mp4", events, 4.0)
        path = tmp_path / "coded" / f"{name}.boris"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_as("boris", Annotations((video,), LabelSet((label,))), path)
    (tmp_path / "coded" / "notes.json").write_text("[]")
    (tmp_path / "coded" / ".hidden.boris").write_text("{")
    out = tmp_path / "clips.csv"

    words = ["--from", "boris", "--input", str(tmp_path / "coded"), "--root", str(tmp_path)]
    assert main(["convert", *words, "--out", str(out)]) == 0

    found = {(r.path.name, r.group, r.annotated) for r in read_table(out).records}
    assert found == {
        ("a.mp4", "a.boris", frozenset({"groom"})),
        ("b.mp4", "deep/b.boris", frozenset({"rear"})),
    }
    printed = capsys.readouterr().out
    assert "note: left out: " in printed
    assert "notes.json: found a list of 0, expected an object" in printed
    (tmp_path / "empty").mkdir()
    with pytest.raises(DatasetError, match=r"empty: found no \*\.boris or .* in it, expected proj"):
        read_as("boris", tmp_path / "empty")


def test_tables_of_a_folder_are_one_without_their_labels(tmp_path: Path) -> None:
    for name in ("a", "b"):
        video = AnnotatedVideo(tmp_path / f"{name}.mp4", (Event("groom", 1, 2),), 4.0)
        write_as("table", Annotations((video,), LABELS), tmp_path / f"{name}.csv")

    found = read_as("table", tmp_path)

    assert [(video.path.name, video.group) for video in found.videos] == [
        ("a.mp4", "a.csv"),
        ("b.mp4", "b.csv"),
    ]
    assert found.labels == LABELS


def test_notes_of_several_files_are_said_once(tmp_path: Path) -> None:
    parts = {
        name: Annotations((), LABELS, notes=notes, model=model)
        for name, notes, model in (("a", ("x", "y"), "m"), ("b", ("x",), "m"), ("c", ("x",), ""))
    }

    found = joined(parts, ["z"])

    assert found.notes == ("z", "x", "a: y")
    assert found.model == "m"


def test_notes_are_printed_with_errors_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "e.tsv"
    path.write_text(
        "Observation id\tObservation type\tBehavior\tBehavior type\tTime\n"
        "o\tLive observation\tpeck\tPOINT\t1\n"
    )

    words = ["--from", "boris", "--input", str(path), "--out", str(tmp_path / "a.csv")]
    assert main(["convert", *words]) == 1

    printed = capsys.readouterr().err.splitlines()
    assert printed[0].startswith("msqnet: error: ")
    assert "msqnet: note: observations that are live or of pictures, which have no video: 1" in (
        printed
    )


SPELLINGS = (
    "p\u00e9turbation 1",
    "pe\u0301turbation\u00a01",
    " p\u00e9turba\u00adtion\u2009 1\u200b",
)


def test_labels_that_look_the_same_are_one(tmp_path: Path) -> None:
    assert {clean_label(name) for name in SPELLINGS} == {SPELLINGS[0]}
    path = tmp_path / "clips.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = [(f"{n}.mp4", name, name) for n, name in enumerate(SPELLINGS)]
        csv.writer(file).writerows([("path", "labels", "annotated"), *rows])

    table = read_table(path)

    assert table.label_names() == (SPELLINGS[0],)
    assert {record.annotated for record in table.records} == {frozenset(SPELLINGS[:1])}
    # Rows of other sources may have any spelling.
    again = tmp_path / "again.csv"
    write_table([replace(table.records[0], labels=(SPELLINGS[1],))], again)
    assert read_table(again).label_names() == (SPELLINGS[0],)
    # A model may have been trained with another spelling.
    for name in SPELLINGS:
        assert table.targets(LabelSet((name, "other"))).tolist() == [[1.0, UNKNOWN]] * 3


def test_events_without_a_subject_may_be_of_any(tmp_path: Path) -> None:
    events = (Event("groom", 1, 2, "Ada"), Event("rear", 2, 3), Event("jump", 1, 2, "Bob"))
    video = AnnotatedVideo(tmp_path / "a.mp4", events, 4.0)

    rows = rows_from(Annotations((video,), LABELS), {"subject": "Ada"}).records

    assert [(row.labels, row.annotated) for row in rows] == [
        ((), {"groom", "jump"}),
        (("groom",), {"groom", "jump"}),
        ((), {"groom", "jump"}),
    ]


@pytest.mark.parametrize("delimiter", [";", "\t"])
def test_decimal_commas_are_read_where_no_comma_is_between_cells(
    tmp_path: Path, delimiter: str
) -> None:
    path = tmp_path / "clips.tsv"
    cells = ("path", "start", "end", "labels"), ("a.mp4", "0,5", "1,25", "groom" + "x" * 200_000)
    path.write_text("\n".join(delimiter.join(row) for row in cells))

    [record] = read_table(path).records

    assert (record.start_seconds, record.end_seconds) == (0.5, 1.25)
    assert len(record.labels[0]) == 200_005
    path.write_text('path,start,end,labels\na.mp4,0,"1,25",groom\n')
    with pytest.raises(DatasetError, match="end '1,25' is not a number of seconds"):
        read_table(path)
