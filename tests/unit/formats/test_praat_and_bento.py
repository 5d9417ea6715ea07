from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from msqnet.errors import DatasetError
from tests.fixtures.annotation_formats import read_as

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from msqnet.formats.annotations import Annotations

LONG = """File type = "ooTextFile"
Object class = "TextGrid"

xmin = 0
xmax = 2.5
tiers? <exists>
size = 3
item []:
    item [1]:
        class = "IntervalTier"
        name = "Ada"
        xmin = 0
        xmax = 2.5
        intervals: size = 3
        intervals [1]:
            xmin = 0
            xmax = 1
            text = "null"
        intervals [2]:
            xmin = 1
            xmax = 2.25
            text = "says ""hm""
twice"
        intervals [3]:
            xmin = 2.25
            xmax = 2.5
            text = ""
    item [2]:
        class = "TextTier"
        name = "Ada"
        xmin = 0
        xmax = 2.5
        points: size = 1
        points [1]:
            number = 0.5
            mark = "jump"
"""
SHORT = """File type = "ooTextFile"
Object class = "TextGrid"

0
2.5
<exists>
1
"IntervalTier"
"groom"
0
2.5
2
0
1.5
""
1.5
2.5
"groom"
"""
ANNOT = """Bento annotation file
Movie file(s):  D:\\day 1\\other.seq D:\\day 1\\clip.seq\x20

Stimulus name: x
Annotation start frame: 1
Annotation stop frame: 10
Annotation framerate: 10.000000

List of channels:
Ch1
{more}
List of annotations:
attack
other
sniff

Ch1----------
>attack
Start	 Stop	 Duration\x20
{first}
>other
Start	 Stop	 Duration\x20
1	5	5

"""


def said(found: Annotations) -> list[tuple[object, ...]]:
    [video] = found.videos
    return [
        (item.label, item.start_seconds, item.end_seconds, item.subject) for item in video.events
    ]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_long_and_short_textgrids_are_read(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "a.TextGrid").write_text(LONG, encoding=encoding)
    (tmp_path / "b.TextGrid").write_text(SHORT, encoding=encoding)

    found = read_as("praat", tmp_path / "a.TextGrid", video="a.mp4")
    short = read_as("praat", tmp_path / "b.TextGrid", video="b.mp4")

    assert said(found) == [("jump", 0.5, 0.5, "Ada"), ('says "hm" twice', 1.0, 2.25, "Ada")]
    assert said(short) == [("groom", 1.5, 2.5, "")]
    assert (found.labels.names, found.point_labels) == ((), {"jump"})


def test_remarks_units_and_texts_of_several_lines_are_read_as_in_praat(tmp_path: Path) -> None:
    (tmp_path / "a.TextGrid").write_text(
        """"ooTextFile" "TextGrid" ! coded on day 3
        0s 2.5s ! that is "all"
        <exists> 2 tiers
        "IntervalTier" "Ada" ! tier 1
        0 +2.5 ! from 0 on
        2 intervals
        0 1.5s "groom
stop! now"
        1.5 2.5 "rest" ! asleep
        "TextTier" "Bo" 0 2.5 1 point
        5e-1 "a ! yawn" """
    )

    found = said(read_as("praat", tmp_path / "a.TextGrid", video="a.mp4"))

    assert found == [
        ("groom stop! now", 0.0, 1.5, "Ada"),
        ("a ! yawn", 0.5, 0.5, "Bo"),
        ("rest", 1.5, 2.5, "Ada"),
    ]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (LONG.replace('"jump"', "jump"), "a tier that is cut off or torn"),
        (SHORT.replace('"groom"', "4"), "cut off or torn"),
        (SHORT.replace("1.5", "90%"), "cut off or torn"),
        (SHORT.replace("1.5", "9"), "'groom' from 9.0 to 2.5 s"),
        ("ooBinaryFile", "cut off or torn"),
        (SHORT.replace("TextGrid", "PitchTier"), "expected a TextGrid as text"),
    ],
)
def test_broken_textgrids_are_refused(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "a.TextGrid").write_text(text)

    with pytest.raises(DatasetError, match=words):
        read_as("praat", tmp_path / "a.TextGrid")


@pytest.mark.parametrize("bout", ["3\t5\t3", "0.3\t0.5\t0.3"], ids=["frames", "seconds"])
@pytest.mark.parametrize("more", ["", "Ch2\n"])
def test_bouts_of_bento_are_frames_counted_from_1(
    tmp_path: Path, write_video: Callable[..., Path], bout: str, more: str
) -> None:
    write_video("clip.mp4")
    (tmp_path / "mine.annot").write_text(ANNOT.format(first=bout, more=more))

    found = read_as("bento", tmp_path / "mine.annot")

    assert found.videos[0].path.name == "clip.mp4"
    assert said(found) == [("attack", 0.2, 0.5, "Ch1" if more else "")]
    assert found.labels.names == ("attack", "sniff")
    assert (found.videos[0].checked, found.videos[0].observed) == (None, ((0.0, 1.0),))


def test_whole_numbers_with_a_decimal_point_are_seconds_in_bento(tmp_path: Path) -> None:
    text = ANNOT.replace("frame: 10", "frame: 40").format(first="1.0\t2.0\t1.0", more="")
    (tmp_path / "clip.annot").write_text(text)

    assert said(read_as("bento", tmp_path / "clip.annot")) == [("attack", 0.9, 2.0, "")]


def test_annotations_of_bento_may_have_a_rate_of_their_own(
    tmp_path: Path, write_video: Callable[..., Path]
) -> None:
    write_video("clip.mp4", 20, rate=20)
    (tmp_path / "clip.annot").write_text(ANNOT.format(first="3\t5\t3", more=""))

    assert said(read_as("bento", tmp_path / "clip.annot")) == [("attack", 0.2, 0.5, "")]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Caltech Behavior Annotator - Annotation File\n", "found no 'Bento annotation file'"),
        (ANNOT.format(first="3", more=""), "line 20: found '3', expected a start and a stop"),
        (ANNOT.format(first="3\tx\t1", more=""), "line 20: found 'x', expected a number"),
        (ANNOT.format(first="3\t50\t48", more=""), r"found frame 50, .*bouts of clip.mp4"),
    ],
)
def test_broken_annotations_of_bento_are_refused(
    tmp_path: Path, write_video: Callable[..., Path], text: str, words: str
) -> None:
    write_video("clip.mp4")
    (tmp_path / "clip.annot").write_text(text)

    with pytest.raises(DatasetError, match=words):
        read_as("bento", tmp_path / "clip.annot")
