"""Known absent means looked for and not there, whatever format the annotations come from.

Each format brings files in which something is left out, or could not be in the file, together with
its label. No row of a table may say that this label is absent.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from msqnet.errors import DatasetError
from msqnet.formats import FORMATS, load_format
from msqnet.formats.annotations import AnnotatedVideo, Annotations, Event
from msqnet.formats.clip_table import rows_from
from msqnet.labels import LabelSet
from msqnet.predictions import Segment
from tests.fixtures.annotation_formats import read_as, write_as
from tests.fixtures.camtrap import NEEDED, RECORDED
from tests.unit.formats.boris_projects import observation, project
from tests.unit.formats.test_camtrap_dp import observation as sighting
from tests.unit.formats.test_elan import aligned, tier
from tests.unit.formats.test_elan import document as elan_document
from tests.unit.formats.test_predictions import result
from tests.unit.formats.test_via import entry
from tests.unit.formats.test_via import project as via_project

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

LEVELS = ("pieces", "events", "windows", "videos")
SECONDS, RATE = 4, 10


class Case(NamedTuple):
    """A file of a format by its name and text, and the label that may be there all the same."""

    file: str
    text: str
    label: str
    options: dict[str, str]


def case(file: str, content: Any, label: str, **options: str) -> Case:
    text = content if isinstance(content, str) else json.dumps(content)
    text = text.replace("cage.mp4", "clip.mp4")
    return Case(file, text, label, options)


def boris(*events: list[object], **observations: Any) -> Any:
    media = {"file": {"1": ["clip.mp4"]}, "media_info": {}}
    return project(
        one=observation([1, "", "groom", "", ""], [2, "", "groom", "", ""], *events, **media),
        **{name: observation(*rows, **media) for name, rows in observations.items()},
    )


BORIS_TABLE = (
    "Observation id\tMedia file name\tSubject\tBehavior\tBehavior type\tTime\n"
    "o\tclip.mp4\t\tgroom\tSTART\t1\no\tclip.mp4\t\tgroom\tSTOP\t2\n"
    "o\tclip.mp4\t\trear\tSTART\t1\no\tclip.mp4\t\trear\tSTOP\t2\n"
)
BORIS_TABLES = [
    case("e.tsv", f"{BORIS_TABLE}o\tclip.mp4\t\trear\tSTOP\t3\n", "rear"),
    case("e.tsv", f"{BORIS_TABLE}o\tclip.mp4\t\trear\tPOINT\t9\n", "rear"),
    case("e.tsv", f"{BORIS_TABLE}p\tclip.mp4\tBob\trear\tPOINT\t3\n", "rear"),
]


def cvat(body: str, label: str, **options: str) -> Case:
    kinds = {"zebra": "any", "dusk": "tag", "dawn": "any", "tree": "rectangle"}
    labels = "".join(
        f"<label><name>{name}</name><type>{kind}</type><attributes><attribute><name>does</name>"
        f"<values>walk\ngraze</values></attribute></attributes></label>"
        for name, kind in kinds.items()
    )
    meta = f"<meta><task><labels>{labels}</labels><source>clip.mp4</source></task></meta>"
    return case("a.xml", f"<annotations>{meta}{body}</annotations>", label, **options)


def box(label: str) -> str:
    corners = 'xtl="1" ytl="1" xbr="2" ybr="2"'
    return f'<box label="{label}" {corners}><attribute name="does">walk</attribute></box>'


TRACK = f'<track id="0" label="zebra">{box("zebra").replace("<box", "<box frame=@")}</track>'
TRACK = TRACK.replace("@", '"3"')


def label_studio(*regions: dict[str, Any], **data: Any) -> Any:
    groom = {
        "type": "timelinelabels",
        "value": {"ranges": [{"start": 1, "end": 5}], "timelinelabels": ["groom"]},
    }
    task = {"data": {"video": "clip.mp4"}, "annotations": [{"result": [groom, *regions]}]}
    return [task | data]


LABELS_OF_STUDIO = (
    '<View><Video name="v" value="$video" frameRate="10"/><TimelineLabels name="t" toName="v">'
    '<Label value="groom"/><Label value="rear"/></TimelineLabels>'
    '<Choices name="c" toName="v"><Choice value="night"/></Choices></View>'
)


def ranges(*spans: tuple[int, int], labels: tuple[str, ...] = ("rear",)) -> dict[str, Any]:
    listed = [{"start": start, "end": end} for start, end in spans]
    return {
        "type": "timelinelabels",
        "value": {"ranges": listed, "timelinelabels": list(labels)},
    }


def via(*entries: dict[str, Any]) -> Any:
    changed = via_project(entry("1", [1, 2], {"1": "0"}), *entries)
    changed["file"]["1"] |= {"loc": 1, "fname": "clip.mp4"}
    return changed


TEXTGRID = """File type = "ooTextFile"
Object class = "TextGrid"

0
9
<exists>
1
"IntervalTier"
"A"
0
9
2
1
2
"groom"
7
9
"rear"
"""
BENTO = """Bento annotation file
Movie file(s): clip.mp4
Annotation framerate: 25
List of channels:
Ch1

List of annotations:
groom
rear

Ch1----------
>groom
Start Stop Duration
25 50 25
>rear
Start Stop Duration
150 175 25
"""
FRAMES = "frame,groom,rear\n0,1,0\n1,0,\n2,1,1\n"
TURNS = "video,Behavior,Event_Type,Time\nclip.mp4,groom,start,1\nclip.mp4,groom,stop,2\n"

CASES: dict[str, list[Case]] = {
    "bento": [case("clip.annot", BENTO, "rear")],
    "columns": [
        case(
            "a.csv",
            "video,label,start,stop\nclip.mp4,groom,1,2\nclip.mp4,rear,4.5,4.8\n",
            "rear",
            unlisted="absent",
        )
    ],
    "deepethogram": [case("clip.csv", FRAMES, "rear")],
    "elan_text": [
        case(
            "clip.txt",
            "A\tAda\t1.0\t2.0\t1.0\tgroom\nA\tAda\t4.5\t4.8\t0.3\trear\n",
            "rear",
            unlisted="absent",
        )
    ],
    "frame_table": [case("clip.csv", FRAMES, "rear")],
    "jaaba": [case("scores_rear.csv", "frame,prediction\n1,1\n2,0\n", "rear", video="clip.mp4")],
    "noldus": [case("a.csv", f"{TURNS}clip.mp4,rear,stop,3\n", "rear", unlisted="absent")],
    "praat": [case("clip.TextGrid", TEXTGRID, "rear", unlisted="absent")],
    "simba": [case("clip.csv", FRAMES, "rear")],
    # Its cells name what holds, and every time has a cell.
    "solomon": [],
    "boris": [
        case("a.boris", boris(["NA", "", "jump", "", ""]), "jump"),
        case("a.boris", boris([9, "", "jump", "", ""]), "jump"),
        case("a.boris", boris([-1, "", "jump", "", ""]), "jump"),
        # Whoever watched Bob did not watch Ada.
        case(
            "a.boris",
            boris([3, "Ada", "jump", "", ""], bob=[[1, "Bob", "jump", "", ""]]),
            "jump",
        ),
        *BORIS_TABLES,
    ],
    "boris_events": BORIS_TABLES,
    "camtrap_dp": [
        case(
            "observations.csv",
            sighting(**{"mediaID": "m", "eventStart": start} | more),
            "vigilance",
            **to,
        )
        for to in ({}, {"unlisted": "absent"})
        for start, more in (
            ("2020-05-30T02:57:37Z", {"observationType": "unclassified", "behavior": ""}),
            ("2020-05-30T02:57:30Z", {"eventEnd": "2020-05-30T02:57:31Z"}),
            ("2020-05-30T02:57:37Z", {"mediaID": "", "eventEnd": "2020-05-30T02:59:31Z"}),
        )
    ],
    "cvat": [
        cvat(TRACK, "dusk"),
        cvat(TRACK, "dusk", unlisted="absent"),
        cvat(TRACK, "dawn"),
        cvat(TRACK, "graze", attribute="does"),
        cvat(f'<image id="3">{box("zebra")}</image>', "zebra"),
        cvat(f'<image id="3">{box("zebra")}</image>', "tree"),
        cvat(f'<image id="3">{box("zebra")}</image>', "graze", attribute="does"),
        cvat(
            '<image id="3"><tag label="dusk"/></image><image id="99"><tag label="dawn"/></image>',
            "dawn",
        ),
    ],
    "elan": [
        case("a.eaf", elan_document(tier("groom", aligned("a", 1, 2)), tier("rear")), "rear"),
        case(
            "a.eaf",
            elan_document(
                tier("A", aligned("a", 1, 2, "groom"), aligned("b", 3, 4, "rear")),
                tier("B", aligned("c", 1, 2, "rear")),
            ),
            "rear",
            tiers="A",
        ),
        case(
            "a.eaf",
            elan_document(tier("A", aligned("a", 1, 2, "groom"), aligned("b", 3, 4), kind="coded")),
            "run",
        ),
        case(
            "a.eaf",
            elan_document(
                tier("A", aligned("a", 1, 2, "groom"), aligned("b", 3, 4, "run"), kind="coded"),
                slots=(1000, 2000, 7000, 9000),
            ),
            "run",
        ),
    ],
    # Its frames say of every class whether it holds.
    "feral": [],
    "label_studio": [
        case("a.json", label_studio({"type": "rectangle", "value": {"labels": ["rear"]}}), "rear"),
        case("a.json", label_studio(ranges((90, 95))), "rear"),
        case("a.json", label_studio(ranges((8, 9), (90, 95))), "rear"),
        case("a.json", label_studio(ranges((8, 9), labels=())), "rear"),
        case("a.json", label_studio(), "night"),
        case(
            "a.json",
            label_studio(annotations=[{"result": [ranges((8, 9))]}, {"result": [ranges((1, 2))]}]),
            "night",
        ),
    ],
    "predictions": [],
    # Labels that a row does not know have no events either.
    "table": [
        case(
            "clips.csv",
            "path,labels,start,end,annotated\nclip.mp4,a,0,1,a|b\nclip.mp4,a,1,4,a\n",
            "b",
        ),
        case("clips.csv", "path,labels,start,end\nclip.mp4,a,0,1\nclip.mp4,b,7,9\n", "b"),
    ],
    "via": [
        case("a.json", via(entry("1", [3], {"1": "1"}, 2, 1, 1, 5, 5)), "pour"),
        case("a.json", via(entry("1", [3, 2], {"1": "1"})), "pour"),
        case("a.json", via(entry("1", [3, 3.5], {})), "pour"),
        case("a.json", via(entry("1", [0, 0], {"1": "1"})), "pour"),
        case("a.json", via(entry("1", [8, 9], {"1": "1"})), "pour"),
    ],
}


def files_of(folder: Path, found: Case, name: str) -> Path:
    path = folder / found.file
    path.write_text(found.text, encoding="utf-8")
    if name == "label_studio":
        (folder / "a.xml").write_text(LABELS_OF_STUDIO)
    if name == "camtrap_dp":
        media = "mediaID,deploymentID,timestamp,filePath,fileMediatype\n"
        at = "2020-05-30T02:57:37Z"
        for number in ("m", "n"):
            file = "clip.mp4" if number == "m" else "other.mp4"
            media += f"{number},00a2c20d,{at},{file},video/mp4\n"
        (folder / "media.csv").write_text(media)
        resources = [{"name": n, "path": f"{n}.csv"} for n in ("media", "observations")]
        (folder / "datapackage.json").write_text(
            json.dumps({"profile": "camtrap-dp/1.0", "resources": resources})
        )
        return folder
    return path


def rows_that_deny(found: Annotations, label: str) -> list[tuple[str, Any]]:
    """Rows of tables, by their level, that say that a label is absent."""
    return [
        (level, record)
        for level in LEVELS
        for record in rows_from(found, {"level": level}).records
        if record.is_absent(label)
    ]


def read_formats() -> set[str]:
    return {name for name in FORMATS if load_format(name).read is not None}


def test_every_format_names_what_it_leaves_out() -> None:
    assert set(CASES) == read_formats()


@pytest.mark.parametrize(
    ("name", "number"), [(name, n) for name, cases in CASES.items() for n in range(len(cases))]
)
def test_what_a_reader_leaves_out_is_never_absent(
    tmp_path: Path, write_video: Callable[..., Path], name: str, number: int
) -> None:
    found = CASES[name][number]
    write_video("clip.mp4", SECONDS * RATE, rate=RATE)

    annotations = read_as(name, files_of(tmp_path, found, name), tmp_path, **found.options)

    assert annotations.videos == () or annotations.videos[0].path == tmp_path / "clip.mp4"
    assert rows_that_deny(annotations, found.label) == []


@pytest.mark.parametrize("name", sorted(name for name, cases in CASES.items() if cases))
def test_files_of_a_folder_are_read_together(
    tmp_path: Path, write_video: Callable[..., Path], name: str
) -> None:
    found = CASES[name][0]
    write_video("clip.mp4", SECONDS * RATE, rate=RATE)
    for folder in ("a", "b"):
        (tmp_path / "coded" / folder).mkdir(parents=True)
        files_of(tmp_path / "coded" / folder, found, name)
    (tmp_path / "coded" / "Thumbs.db").touch()

    both = read_as(name, tmp_path / "coded", tmp_path, **found.options)

    # Nothing is known of the video of the package: its only row is unclassified.
    files = () if name == "camtrap_dp" else (f"a/{found.file}", f"b/{found.file}")
    assert {video.group for video in both.videos} == set(files)
    assert rows_that_deny(both, found.label) == []


OPTIONS = {"camtrap_dp": NEEDED | RECORDED}


@pytest.mark.parametrize(
    "name", sorted(name for name in read_formats() if load_format(name).write is not None)
)
def test_events_after_the_end_of_a_video_leave_their_label_unknown(
    tmp_path: Path, write_video: Callable[..., Path], name: str
) -> None:
    video = write_video("clip.mp4", 10 * RATE, rate=RATE)
    events = (Event("groom", 1, 2), Event("rear", 7, 9))
    written = Annotations(
        (AnnotatedVideo(video, events, 10.0),), LabelSet(("groom", "rear", "jump"))
    )
    target = load_format(name)
    path = tmp_path / f"file{target.suffix}"
    write_as(name, written, path, OPTIONS.get(name, {}))
    write_video("clip.mp4", SECONDS * RATE, rate=RATE)

    if name == "feral":
        with pytest.raises(DatasetError, match=r"found labels of 100 frames, but clip\.mp4 has 40"):
            read_as(name, path)
        return
    found = read_as(name, path, tmp_path)

    assert [event.label for event in found.events()] == ["groom"]
    assert rows_that_deny(found, "rear") == []
    assert any("rear" in note and "clip.mp4" in note for note in found.notes)
    # What was looked for all the same is still known, where the format can say so.
    assert rows_that_deny(found, "jump") != [] or name == "boris_events"


def test_a_label_that_a_result_withholds_is_not_absent(tmp_path: Path) -> None:
    plain = result(
        tmp_path / "clip.mp4",
        ("groom", "rear"),
        Segment("groom", 1.0, 2.0, 0.75),
        unproven={"rear": "why"},
    )
    (tmp_path / "results").mkdir()
    plain.write(tmp_path / "results" / "clip.mp4")

    assert rows_that_deny(read_as("predictions", tmp_path / "results"), "rear") == []
