from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from msqnet.errors import ConfigError, DatasetError, MsqnetError
from msqnet.formats import Reading, dropped_fields, load_format
from msqnet.formats.annotations import AnnotatedVideo, Annotations, Event
from msqnet.labels import LabelSet
from tests.fixtures.annotation_formats import read_as, write_as

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

EVENTS = load_format("boris_events")
SEEN_ONLY = "a table of events names behaviours that were seen only"

NOW = (
    "Observation id\tObservation type\tSource\tTime offset (s)\tMedia duration (s)\tSubject\t"
    "Behavior\tModifier #1\tModifier #2\tBehavior type\tStart (s)\tStop (s)\tMedia file name\t"
    "Comment start\tComment stop\n"
)
OLD = (
    "Observation id,Media file,Total length,FPS,Subject,Behavior,Behavioral category,Modifiers,"
    "Behavior type,Start (s),Stop (s),Duration (s),Comment start,Comment stop\n"
)
TABULAR = (
    "Observation id\tObservation type\tSource\tTime offset (s)\tMedia duration (s)\tSubject\t"
    "Behavior\tModifier #1\tBehavior type\tTime\tMedia file name\tComment\n"
)


@pytest.fixture
def read(tmp_path: Path) -> Callable[..., Annotations]:
    def read(text: str, name: str = "events.tsv", **options: str) -> Annotations:
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return EVENTS.read(path, Reading(tmp_path, options))

    return read


def spans(video: AnnotatedVideo) -> list[tuple[object, ...]]:
    return [
        (event.label, event.start_seconds, event.end_seconds, event.subject, event.modifiers)
        for event in video.events
    ]


def test_aggregated_events_of_several_files(read: Callable[..., Annotations]) -> None:
    rest = "Media file\tplayer #1:a.mp4;b b.mp4|player #2:c.mp4\t0.0\t20.000;30.000|50.0"
    found = read(
        NOW
        + f"one\t{rest}\tNo focal subject\tgroom\t\t\tSTATE\t1.000\t2.500\ta.mp4\twet\twet\n"
        + f"one\t{rest}\tAda\trear\thigh\tNone\tSTATE\t18.000\t25.000\ta.mp4\t\t\n"
        + f"one\t{rest}\tAda\tjump\tNone\tfar\tPOINT\t30.000\t30.000\tb b.mp4\t\t\n"
        + f"one\t{rest}\tAda\trear\t\t\tSTATE\t40.000\tNA\tb b.mp4\t\t\n"
    )

    first, second = found.videos
    assert (first.path.name, second.path.name) == ("a.mp4", "b b.mp4")
    assert spans(first) == [
        ("groom", 1.0, 2.5, "", ()),
        ("rear", 18.0, 20.0, "Ada", ("high",)),
    ]
    assert spans(second) == [
        ("rear", 0.0, 5.0, "Ada", ("high",)),
        ("jump", 10.0, 10.0, "Ada", ("None", "far")),
        ("rear", 20.0, None, "Ada", ()),
    ]
    assert first.events[0].comment == "wet"
    assert (first.duration_seconds, second.duration_seconds) == (20.0, 30.0)
    assert found.labels.names == ("groom", "rear", "jump")
    assert found.point_labels == {"jump"}
    assert found.notes[0].startswith(SEEN_ONLY)


def test_aggregated_events_with_older_columns(read: Callable[..., Annotations]) -> None:
    rows = (
        "X,T:/My Project/Käfig 1.mp4,1381.010,29.97,No focal subject,NotHolding,Holding,,STATE,"
        "689.000,989.023,300.023,,\n"
        "X,T:/My Project/Käfig 1.mp4,1381.010,29.97,Ada,Touch,Holding,hand|left,POINT,700.5,700.5,"
        "NA,,\n"
    )
    found = read(OLD + rows, "events.csv")

    [video] = found.videos
    assert video.path.name == "Käfig 1.mp4"
    assert spans(video) == [
        ("NotHolding", 689.0, 989.023, "", ()),
        ("Touch", 700.5, 700.5, "Ada", ("hand", "left")),
    ]


def test_older_columns_do_not_say_where_the_second_file_begins(
    read: Callable[..., Annotations],
) -> None:
    rows = "X,a.mp4,50,25,,s,,,STATE,1,2,1,,\nX,b.mp4,50,25,,s,,,STATE,31,32,1,,\n"
    with pytest.raises(DatasetError, match=r"line 2: observation 'X': found no length of a.mp4"):
        read(OLD + rows, "events.csv")


def test_tabular_events_pair_as_their_rows_say(read: Callable[..., Annotations]) -> None:
    rest = "one\tMedia file(s)\tplayer #1:a.mp4\t10.0\t60.000"
    found = read(
        TABULAR
        + f"{rest}\tAda\tgroom\tface\tSTART\t11.000\ta.mp4\twet\n"
        + f"{rest}\tBob\tgroom\tface\tSTART\t12.000\ta.mp4\t\n"
        + f"{rest}\tAda\tgroom\tface\tSTOP\t13.500\ta.mp4\tdry\n"
        + f"{rest}\t\tjump\tNone\tPOINT\t14.000\ta.mp4\tscore=0.5\n"
        + f"{rest}\tBob\trun\t\tSTOP\t15.000\ta.mp4\t\n"
    )

    [video] = found.videos
    assert spans(video) == [
        ("groom", 1.0, 3.5, "Ada", ("face",)),
        ("groom", 2.0, None, "Bob", ("face",)),
        ("jump", 4.0, 4.0, "", ()),
    ]
    assert [event.comment for event in video.events] == ["wet; dry", "", ""]
    assert video.events[2].score == 0.5
    assert found.notes[1:] == (
        "ends of states that nobody began, which are left out: 1",
        "states without an end: 1",
    )


def test_tabular_events_with_rows_before_the_header(read: Callable[..., Annotations]) -> None:
    found = read(
        "Observation id,obs 1,\n,,\nMedia file(s),,\nPlayer #1,a.mp4,\n\n"
        "Observation date,2016-11-27,\nTime offset (s),0.5,\n\n"
        "Time,Media file path,Total length,FPS,Subject,Behavior,Comment,Status\n"
        "3.300,a.mp4,359.960,25.0,subject1,s,,START\n"
        "7.750,a.mp4,359.960,25.0,subject1,s,,STOP\n",
        "events.csv",
    )

    assert found.videos[0].path.name == "a.mp4"
    assert spans(found.videos[0]) == [("s", 2.8, 7.25, "subject1", ())]


def test_observations_without_video(read: Callable[..., Annotations]) -> None:
    found = read(
        TABULAR
        + "one\tLive observation\tNA\t0.0\tNA\tAda\tgroom\t\tPOINT\t1.0\tNA\t\n"
        + "two\tFrom directories of images\t/x;/y\t0\tNA\tAda\tgroom\t\tPOINT\t1.0\tNA\t\n"
        + "three\tMedia file(s)\t\t0\tNA\tAda\tgroom\t\tPOINT\t1.0\tNot found\t\n"
    )

    assert found.videos == ()
    assert found.notes[1:] == (
        "observations that are live or of pictures, which have no video: 2",
        "observations without a media file, which are left out: 1",
    )


def test_observation_can_be_chosen(read: Callable[..., Annotations]) -> None:
    text = OLD + "X,a.mp4,,,,s,,,POINT,1,1,,,\nY,b.mp4,,,,t,,,POINT,1,1,,,\n"

    assert len(read(text, "events.csv").videos) == 2
    found = read(text, "events.csv", observation="Y")
    assert [video.path.name for video in found.videos] == ["b.mp4"]
    assert found.labels.names == ("t",)
    with pytest.raises(ConfigError, match="observation=Z: no such observation; found: X, Y"):
        read(text, "events.csv", observation="Z")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no table in it; expected columns 'Behavior', and"),
        ("a,b\n1,2\n", "no table in it"),
        ("Behavior,Start (s)\n", r"no column Stop \(s\); found Behavior, Start \(s\); export"),
        ("Behavior,Time\n", "no column Behavior type; found Behavior, Time"),
        (
            OLD + "X,a.mp4,,,,s,,,POINT,soon,1,,,\n",
            r"line 2, Start \(s\): found 'soon', expected a number",
        ),
        (
            OLD + "X,a.mp4,,,,s,,,STATE,5,1,,,\n",
            r"line 2, Stop \(s\): found '1', expected an end that",
        ),
        (OLD + "X,a.mp4,,,,,,,STATE,1,2,,,\n", "line 2, Behavior: found '', expected a behaviour"),
        ("Behavior,Time,Status\ns,1,BEGIN\n", "found 'BEGIN', expected START, STOP or POINT"),
        (
            "Behavior,Time,Status\ns,2,START\ns,1,STOP\n",
            "line 3, Time: found '1', expected a time that",
        ),
    ],
)
def test_malformed_tables_say_where(
    read: Callable[..., Annotations], text: str, words: str
) -> None:
    with pytest.raises(DatasetError, match=words) as caught:
        read(text, "events.csv")
    assert "events.csv" in str(caught.value)


@pytest.mark.parametrize("name", ["events.tsv", "events.csv"])
def test_everything_that_a_table_holds_comes_back(tmp_path: Path, name: str) -> None:
    events = (
        Event("groom", 1.0, 3.5, "Ada", ("face", "left,right"), comment='wet, "very"'),
        Event("groom", 2.0, 7.123456, "Bob Ross"),
        Event("groom", 3.0, 4.0, "Ada", ("face",), 0.123456789, "wet; score"),
        Event("jump", 4.0, 4.0),
        Event("run", 5.0, None, "Ada"),
    )
    video = AnnotatedVideo(
        tmp_path / "Käfig 1.mp4",
        events,
        60.0,
        checked=frozenset({"groom", "jump"}),
        split="train",
        group="cage 1",
    )
    empty = AnnotatedVideo(tmp_path / "b.mp4", (), None)
    annotations = Annotations((video, empty), LabelSet(("groom", "jump", "run", "nap")))

    notes = EVENTS.write(annotations, tmp_path / name, {})
    again = EVENTS.read(tmp_path / name, Reading(tmp_path))

    assert again.videos == (video,)
    assert notes == ("videos without an event, which have no row: 1",)
    assert dropped_fields(annotations, EVENTS.drops, EVENTS.title) == (
        "aggregated events of BORIS has no place for ethogram: labels that no event has: 1",
    )
    with pytest.raises(DatasetError, match=r"found suffix '.txt', expected .tsv or .csv"):
        EVENTS.write(annotations, tmp_path / "events.txt", {})


def test_project_reader_takes_tables_too(tmp_path: Path) -> None:
    (tmp_path / "events.csv").write_text(OLD + "X,a.mp4,,,,s,,,POINT,1,1,,,\n")
    assert len(read_as("boris", tmp_path / "events.csv").videos) == 1
    (tmp_path / "events.html").touch()
    with pytest.raises(DatasetError, match=r"found suffix '.html', expected a project of BORIS"):
        read_as("boris", tmp_path / "events.html")


# As BORIS 7 and 8.0 write them: files of a queue a line each, the length of all files in each row.
QUEUE = (
    "Observation id\tq\nMedia file(s)\n\nPlayer #1\tc:\\x\\first.mp4\nPlayer #1\tsecond.mp4\n"
    "Player #2\tside.mp4\nTime offset (s)\t{offset}\nsplit\ttest\n\n"
    "Time\tMedia file path\tTotal length\tFPS\tSubject\tBehavior\tModifier 1\tComment\tStatus\n"
)


def queued(*rows: str, offset: float = 0.0, total: float = 3.0) -> str:
    """Rows of time, file, modifier and status, as a tabular export has them."""
    cells = (row.split() for row in rows)
    return QUEUE.format(offset=offset) + "".join(
        f"{time}\t{file}.mp4\t{total:.3f}\t10.0\t\tgroom\t{how}\t\t{status}\n"
        for time, file, how, status in cells
    )


@pytest.fixture
def videos(write_video: Callable[..., Path]) -> None:
    """Of 1 s and of 2 s."""
    write_video("first.mp4", 10, rate=10)
    write_video("second.mp4", 20, rate=10)


@pytest.mark.usefixtures("videos")
def test_old_tables_of_queued_files_are_cut_at_their_lengths(
    read: Callable[..., Annotations],
) -> None:
    states = ("0.2 first face START", "0.4 first tail START", "0.6 first face STOP")
    rows = (*states, "1.5 second tail STOP", "2.0 second face POINT")

    first, second = read(queued(*rows)).videos
    assert (first.split, second.split) == ("test", "test")
    assert spans(first) == [
        ("groom", 0.2, 0.6, "", ("face",)),
        ("groom", 0.4, 1.0, "", ("tail",)),
    ]
    assert spans(second) == [
        ("groom", 0.0, 0.5, "", ("tail",)),
        ("groom", 1.0, 1.0, "", ("face",)),
    ]
    later = read(queued("101.5 second face POINT", offset=100)).videos[1]
    assert spans(later) == [("groom", 0.5, 0.5, "", ("face",))]
    # Aggregated rows are in no order of time, and nothing else lists the files.
    aggregated = OLD + "".join(
        f"q,{file}.mp4,3.000,10,,groom,,,STATE,{start},{start + 0.5},0.500,,\n"
        for file, start in (("second", 1.25), ("first", 0.25))
    )
    first, second = read(aggregated, "events.csv").videos
    assert (first.path.name, spans(first)[0][1:3]) == ("first.mp4", (0.25, 0.75))
    assert (second.path.name, spans(second)[0][1:3]) == ("second.mp4", (0.25, 0.75))


@pytest.mark.usefixtures("videos")
@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            queued("1.5 first face POINT"),
            "Media file path: found 'first.mp4', expected second.mp4, which is shown at 1.5 s",
        ),
        (
            OLD + "q,second.mp4,9,10,,a,,,POINT,1,1,,,\nq,first.mp4,9,10,,a,,,POINT,0,0,,,\n",
            "Total length 9 s, but its files first.mp4, second.mp4 have 3 s",
        ),
        (
            OLD + "q,first.mp4,1,10,,a,,,STATE,0,1,2.5,,\n",
            "Duration .s.: found '2.5', expected 1 s, which are from start to stop",
        ),
        (
            OLD + "q,first.mp4,1,10,,a,,,POINT,0,0,,,\nq,first.mp4,2,10,,a,,,POINT,0,0,,,\n",
            "Total length: found '2', expected '1' as in line 2",
        ),
    ],
)
def test_rows_that_contradict_their_files_are_refused(
    read: Callable[..., Annotations], text: str, words: str
) -> None:
    with pytest.raises(DatasetError, match=words):
        read(text, "events.tsv" if "\t" in text else "events.csv")


def test_the_length_of_a_missing_video_is_that_of_the_table(
    read: Callable[..., Annotations],
) -> None:
    german = OLD.replace(",", ";") + "q;a.avi;336,5;30;;mount;;;STATE;18,075;23,1;5,025;;\n"

    [video] = read(german, "events.csv").videos

    assert video.duration_seconds == 336.5
    assert spans(video) == [("mount", 18.075, 23.1, "", ())]
    # Where the last event is after the end of the video, its time stands there instead.
    [video] = read(german.replace("336,5", "23,1"), "events.csv").videos
    assert video.duration_seconds is None


@pytest.mark.parametrize("head", ["Live observation\n", ""])
def test_old_tables_of_live_observations_have_no_video(
    read: Callable[..., Annotations], head: str
) -> None:
    rest = "Time\tMedia file path\tBehavior\tStatus\n1.0\tLIVE\tpeck\tPOINT\n"

    found = read(head + rest)

    assert found.videos == ()
    assert "observations that are live or of pictures, which have no video: 1" in found.notes


@settings(max_examples=100)
@given(
    st.integers(0, 14),
    st.integers(0, 3),
    st.text(max_size=8) | st.sampled_from(("nan", "1e999", '"', "a;b|c", "player #1:", "\0", "-1")),
)
def test_any_change_is_read_or_refused(tmp_path: Path, column: int, row: int, cell: str) -> None:
    rest = "one\tMedia file\tplayer #1:a.mp4;b.mp4|player #2:c.mp4\t0.0\t20.000;30.000|50.0"
    lines = [
        *NOW.splitlines(),
        f"{rest}\tAda\tgroom\t\t\tSTATE\t1.000\t2.500\ta.mp4\twet\twet",
        f"{rest}\tAda\trear\thigh\tNone\tSTATE\t18.000\t25.000\ta.mp4\t\t",
        f"{rest}\tAda\tjump\tNone\tfar\tPOINT\t30.000\t30.000\tb b.mp4\t\t",
    ]
    cells = lines[row].split("\t")
    cells[column] = cell
    lines[row] = "\t".join(cells)
    path = tmp_path / "events.tsv"
    path.write_text("\n".join(lines), encoding="utf-8")

    with contextlib.suppress(MsqnetError):
        EVENTS.read(path, Reading(tmp_path))


@pytest.mark.parametrize("name", ["events.tsv", "events.csv", "project.boris"])
def test_no_label_that_was_looked_for_is_not_all_of_them(tmp_path: Path, name: str) -> None:
    videos = (
        AnnotatedVideo(tmp_path / "a.mp4", (Event("groom", 1, 2),), None, checked=frozenset()),
        AnnotatedVideo(tmp_path / "b.mp4", (Event("rear", 1, 2),), None),
    )
    tool = "boris" if name.endswith("boris") else "boris_events"

    write_as(tool, Annotations(videos, LabelSet(("groom", "rear"))), tmp_path / name)
    found = read_as(tool, tmp_path / name)

    assert [video.checked for video in found.videos] == [frozenset(), None]
    assert '"|"' in (text := (tmp_path / name).read_text()) or "\t|\t" in text or ",|," in text


def test_an_empty_cell_of_labels_that_were_looked_for_is_none_of_them(
    read: Callable[..., Annotations],
) -> None:
    text = "Observation id\tSource\tchecked labels\tBehavior\tStart (s)\tStop (s)\n"

    found = read(text + "one\tplayer #1:a.mp4\t\tgroom\t1\t2\n")

    assert [video.checked for video in found.videos] == [frozenset()]


def test_what_a_table_of_events_changes_is_said(tmp_path: Path) -> None:
    events = (
        Event("groom", 1, 2, modifiers=("face (left)", "wet"), comment="one\ntwo"),
        Event("groom", 3, 4, modifiers=("face",), comment="one line"),
    )
    annotations = Annotations(
        (AnnotatedVideo(tmp_path / "a.mp4", events, 4.0),), LabelSet(("groom",))
    )

    assert EVENTS.write(annotations, tmp_path / "events.tsv", {}) == (
        "modifiers with a character that BORIS does not allow, which is replaced: 1",
        "comments with line breaks, which become spaces: 1",
    )
