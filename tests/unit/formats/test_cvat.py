from __future__ import annotations

import zipfile
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from msqnet.errors import ConfigError, DatasetError
from tests.fixtures.annotation_formats import outcome
from tests.unit.formats.cvat_files import STAMPS, read, spans

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

# In the form of CVAT's documentation and exports.
META = """\
<task><id>5</id><name>anything</name><size>20</size><mode>interpolation</mode>
<overlap>5</overlap><subset>Train</subset><start_frame>0</start_frame><stop_frame>19</stop_frame>
<frame_filter></frame_filter>
<labels>
<label><name>mouse</name><color>#33ddff</color><type>any</type><attributes>
<attribute><name>action</name><mutable>True</mutable><input_type>select</input_type>
<default_value>__undefined__</default_value><values>__undefined__
rest
groom</values></attribute></attributes></label>
<label><name>dark</name><type>tag</type><attributes></attributes></label>
<label><name>nose</name><type>points</type><attributes></attributes><parent>mouse</parent></label>
</labels>
<segments><segment><id>1</id><start>0</start><stop>9</stop><url>http://h/?id=1</url></segment>
<segment><id>2</id><start>5</start><stop>19</stop></segment></segments>
<original_size><width>640</width><height>360</height></original_size>
<source>clip.mp4</source></task><dumped>2024-01-01</dumped>
"""


def document(*parts: str, meta: str = META) -> str:
    return (
        '<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n<version>1.1</version>\n'
        f"<meta>{meta}</meta>\n{''.join(parts)}</annotations>\n"
    )


def image(frame: int, *tags: str, more: str = "") -> str:
    listed = "".join(f'<tag label="{tag}" source="manual">{more}</tag>' for tag in tags)
    return (
        f'<image id="{frame}" name="frame_{frame:06d}" width="640" height="360">{listed}</image>\n'
    )


def track(label: str, *shapes: tuple[int, int, str], number: int = 0) -> str:
    boxes = "".join(
        f'<box frame="{frame}" keyframe="1" outside="{outside}" occluded="0" xtl="1" ytl="1" '
        f'xbr="9" ybr="9" z_order="0"><attribute name="action">{action}</attribute></box>\n'
        for frame, outside, action in shapes
    )
    return f'<track id="{number}" label="{label}" source="manual">\n{boxes}</track>\n'


@pytest.fixture
def exported(tmp_path: Path, write_video: Callable[..., Path]) -> Callable[..., Path]:
    """Write an export, and its video of 20 frames at 10 a second."""

    def write_file(text: str, *, video: bool = True) -> Path:
        if video:
            write_video("clip.mp4", 20, rate=10)
        path = tmp_path / "annotations.xml"
        path.write_text(text, encoding="utf-8")
        return path

    return write_file


def test_tags_of_frames_that_follow_each_other_are_one_event(
    exported: Callable[..., Path],
) -> None:
    text = document(
        *(image(frame, "dark") for frame in (3, 4, 5)), image(6), image(7, "dark", "mouse")
    )

    found = read(exported(text))

    assert spans(found) == [("dark", 0.3, 0.6), ("dark", 0.7, 0.8), ("mouse", 0.7, 0.8)]
    assert found.labels.names == ("mouse", "dark")
    [video] = found.videos
    assert (video.checked, video.observed, video.split) == (None, None, "Train")
    assert found.notes == ()


def test_attributes_are_modifiers_and_cut_events(exported: Callable[..., Path]) -> None:
    loud = '<attribute name="sound">loud</attribute><attribute name="subject">Ada</attribute>'
    text = document(image(1, "dark"), image(2, "dark", more=loud), image(3, "dark", more=loud))

    found = read(exported(text))

    assert spans(found) == [("dark", 0.1, 0.2), ("dark", 0.2, 0.4, "sound:loud")]
    assert [event.subject for event in found.events()] == ["", "Ada"]


def test_tracks_are_events_while_their_object_is_in_view(exported: Callable[..., Path]) -> None:
    text = document(
        track(
            "mouse",
            (2, 0, "rest"),
            (3, 0, "rest"),
            (4, 0, "groom"),
            (6, 1, "groom"),
            (15, 0, "rest"),
        ),
        track("mouse", (0, 0, "__undefined__"), (1, 0, ""), (2, 1, ""), number=1),
    )

    assert spans(read(exported(text))) == [
        *(("mouse", 0, 0.2), ("mouse", 0.2, 0.4, "action:rest")),
        *(("mouse", 0.4, 0.6, "action:groom"), ("mouse", 1.5, 1.6, "action:rest")),
    ]


def test_values_of_an_attribute_can_be_the_labels(exported: Callable[..., Path]) -> None:
    text = document(
        track("mouse", (2, 0, "rest"), (4, 0, "groom"), (6, 1, "groom")),
        track("mouse", (0, 0, ""), (3, 0, "groom"), (9, 1, ""), number=1),
        image(1, "dark"),
    )

    found = read(exported(text), attribute="action")

    assert spans(found) == [("rest", 0.2, 0.4), ("groom", 0.3, 0.9), ("groom", 0.4, 0.6)]
    assert [event.subject for event in found.events()] == ["mouse 0", "mouse 1", "mouse 0"]
    assert found.labels.names == ("rest", "groom")


def test_a_skeleton_is_out_of_view_with_all_of_its_points(exported: Callable[..., Path]) -> None:
    skeleton = "".join(
        f'<skeleton frame="{frame}" keyframe="1">'
        f'<points label="1" outside="{a}" occluded="0" points="1,2"/>'
        f'<points label="2" outside="{b}" occluded="0" points="1,2"/></skeleton>'
        for frame, a, b in ((1, 0, 0), (2, 1, 0), (3, 1, 1))
    )

    found = read(exported(document(f'<track id="0" label="mouse">{skeleton}</track>')))

    assert spans(found) == [("mouse", 0.1, 0.3)]


def test_every_nth_frame_stands_for_those_up_to_the_next(exported: Callable[..., Path]) -> None:
    meta = META.replace("<start_frame>0", "<start_frame>3").replace(
        "<stop_frame>19", "<stop_frame>15"
    )
    meta = meta.replace("<frame_filter>", "<frame_filter>step=4")
    meta = meta[: meta.index("<segments>")] + meta[meta.index("<original_size>") :]
    text = document(image(3, "dark"), image(7, "dark"), image(11), image(15, "dark"), meta=meta)

    found = read(exported(text))

    assert spans(found) == [("dark", 0.3, 1.1), ("dark", 1.5, 1.9)]
    assert [(round(a, 4), round(b, 4)) for a, b in found.videos[0].observed or ()] == [(0.3, 1.6)]


def test_segments_are_what_was_looked_at(exported: Callable[..., Path]) -> None:
    text = document(meta=META.replace("<start>5", "<start>12"))

    observed = read(exported(text)).videos[0].observed

    assert [(round(a, 4), round(b, 4)) for a, b in observed or ()] == [(0, 1), (1.2, 2)]


def test_frames_have_the_time_stamps_of_the_file(
    tmp_path: Path, write_video: Callable[..., Path]
) -> None:
    write_video("clip.mp4", len(STAMPS), rate=10, pts=STAMPS)
    path = tmp_path / "a.xml"
    path.write_text(document(image(2, "dark"), image(3, "dark"), image(99, "dark")))

    found = read(path)

    assert spans(found) == [("dark", 0.2, 0.8)]
    assert found.notes[0] == "events after the end of their video, which are left out: 1"


def test_videos_that_are_not_there_need_a_rate(exported: Callable[..., Path]) -> None:
    path = exported(document(image(5, "dark")), video=False)

    with pytest.raises(
        DatasetError, match=r"clip\.mp4: the video is not there, and CVAT counts frames; put"
    ):
        read(path)
    found = read(path, fps="5")
    assert spans(found) == [("dark", 1, 1.2)]
    assert found.videos[0].duration_seconds == 4
    assert found.notes == ("missing videos, whose times follow from the frame rate alone: 1",)


def test_files_that_do_not_name_their_video_are_told(exported: Callable[..., Path]) -> None:
    path = exported(document(image(5, "dark"), meta=META.replace("clip.mp4", "")))

    with pytest.raises(DatasetError, match="--option video=NAME gives it"):
        read(path)
    assert spans(read(path, video="clip.mp4")) == [("dark", 0.5, 0.6)]


def test_exports_of_jobs_projects_archives_and_folders_are_read(
    exported: Callable[..., Path], tmp_path: Path, write_video: Callable[..., Path]
) -> None:
    path = exported(document(image(5, "dark")))
    job = META.replace("<task>", "<job>").replace("</task>", "</job>")
    path.write_text(document(image(5, "dark"), meta=job), encoding="utf-8")
    assert spans(read(path)) == [("dark", 0.5, 0.6)]

    write_video("other.mp4", 20, rate=10)
    labels = META[META.index("<labels>") : META.index("<segments>")]
    task = "<task><id>{}</id><source>{}</source></task>"
    project = f"<project>{labels}<tasks>{task.format(1, 'clip.mp4')}{task.format(2, 'other.mp4')}"
    one, two = image(5, "dark"), image(5, "mouse")
    text = document(
        one.replace("<image ", '<image task_id="1" '),
        two.replace("<image ", '<image task_id="2" '),
        track("mouse", (1, 0, ""), (2, 1, "")).replace("<track ", '<track task_id="2" '),
        meta=project + "</tasks></project>",
    )
    path.write_text(text, encoding="utf-8")
    found = read(path)
    assert [video.path.name for video in found.videos] == ["clip.mp4", "other.mp4"]
    assert [len(video.events) for video in found.videos] == [1, 2]
    with pytest.raises(ConfigError, match=r"option video=a: .*annotations\.xml has 2 videos"):
        read(path, video="a")

    path.unlink()
    with zipfile.ZipFile(tmp_path / "one.zip", "w") as archive:
        archive.writestr("annotations.xml", document(one))
    with zipfile.ZipFile(tmp_path / "two.zip", "w") as archive:
        other = META.replace("clip.mp4", "other.mp4").replace("<name>dark<", "<name>late<")
        archive.writestr("annotations.xml", document(two, meta=other))
    assert spans(read(tmp_path / "one.zip")) == [("dark", 0.5, 0.6)]
    found = read(tmp_path)
    assert found.labels.names == ("mouse", "dark", "late")
    assert [video.checked for video in found.videos] == [{"mouse", "dark"}, {"mouse", "late"}]


def test_shapes_of_single_frames_are_counted(exported: Callable[..., Path]) -> None:
    box = '<image id="1" name="a"><box label="mouse" xtl="1" ytl="1" xbr="2" ybr="2"/></image>'

    found = read(exported(document(box)))
    assert spans(found) == [("mouse", 0.1, 0.2)]
    assert found.notes[0] == "shapes in single frames, whose labels are known only there: 1"
    assert "mouse" not in (found.videos[0].checked or ())


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "line 1, column 1: not XML: no element found"),
        ("<annotations><a></annotations>", "line 1, column 19: not XML: mismatched tag"),
        ("<a/>", "line 1, <a>: found 'a', expected <annotations>"),
        (
            "<annotations/>",
            "found 'no meta/task, meta/job or meta/project', expected one that says",
        ),
        (document(image(1, "")), "line 21, <tag>: found '', expected a label"),
        (document('<image name="a"/>'), "<image>: found 'name', expected an attribute id"),
        (
            document('<image id="-1"/>'),
            "<image> id: found '-1', expected a whole number of at least 0",
        ),
        (
            document(f'<image id="{10**12}"/>'),
            "found '1000000000000', expected frames up to 10000000",
        ),
        (document('<track id="0"/>'), "<track>: found 'id', expected an attribute label"),
        (document(meta=META.replace("<stop_frame>19", "<stop_frame>x")), "found 'x', expected a"),
        (
            document(meta=META.replace("<stop_frame>19", "<stop_frame>" + "0" * 10 + "9" * 10)),
            "expected a whole number of at least 0",
        ),
        (
            document(meta=META.replace("<frame_filter>", "<frame_filter>step=0")),
            "found 'step=0', expected a filter such as step=5",
        ),
        (
            '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><annotations>&x;</annotations>',
            r"line 1: found a document type \(<!DOCTYPE>\), which no annotation file needs",
        ),
        ("<a>" * 300, "found elements in elements, 200 deep"),
    ],
)
def test_wrong_files_are_named(exported: Callable[..., Path], text: str, words: str) -> None:
    path = exported(text)

    with pytest.raises(DatasetError, match=words) as caught:
        read(path)
    assert str(caught.value).startswith(str(path))
    assert "export it from CVAT again" in str(caught.value)


def test_boxes_with_an_attribute_are_labels_in_their_frames(exported: Callable[..., Path]) -> None:
    box = '<box label="mouse" xtl="1"><attribute name="action">{}</attribute></box>'
    frames = [
        f'<image id="{frame}">{box.format("rest" if frame < 6 else "__undefined__")}</image>'
        for frame in range(3, 9)
    ]

    found = read(exported(document(*frames)), attribute="action")

    assert spans(found) == [("rest", 0.3, 0.6)]
    assert found.labels.names == ("rest", "groom")
    assert found.videos[0].checked == frozenset()


def test_old_files_name_the_video_beside_the_task(exported: Callable[..., Path]) -> None:
    source = "<source>clip.mp4</source>"
    meta = META.replace(source, "").replace("</task>", f"</task>{source}")

    [video] = read(exported(document(track("mouse", (2, 0, "rest")), meta=meta))).videos

    assert (video.path.name, video.events[0].start_seconds) == ("clip.mp4", 0.2)


def test_archives_without_annotations_are_named(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("other.xml", "<a/>")
    with pytest.raises(DatasetError, match=r"a\.zip: found other\.xml in it"):
        read(tmp_path / "a.zip")
    with zipfile.ZipFile(tmp_path / "b.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("annotations.xml", document(image(1, "dark")))
    content = bytearray((tmp_path / "b.zip").read_bytes())
    content[60:70] = bytes(10)
    (tmp_path / "b.zip").write_bytes(content)
    with pytest.raises(DatasetError, match=r"b\.zip/annotations\.xml: a damaged archive"):
        read(tmp_path / "b.zip")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DatasetError, match=r"found no \*\.xml or \*\.zip in it"):
        read(tmp_path / "empty")


_PIECES = st.sampled_from(
    [
        *("", "<", ">", '"', "&", "&x;", "\x00", "ü", "<a>", "</task>", "99999999999", "-1", "1.5"),
        *('outside="1"', 'id="3"', "<tag/>", "<!DOCTYPE a>", "<![CDATA[", "step=3", "\ud800"),
    ]
)


@settings(max_examples=100)
@given(data=st.data())
def test_broken_files_give_errors_that_can_be_read(
    exported: Callable[..., Path], data: st.DataObject
) -> None:
    text = document(image(1, "dark"), track("mouse", (2, 0, "rest"), (5, 1, "")))
    for _ in range(data.draw(st.integers(1, 3))):
        start = data.draw(st.integers(0, len(text)))
        end = data.draw(st.integers(start, min(len(text), start + 20)))
        text = text[:start] + data.draw(_PIECES) + text[end:]
    path = exported("", video=False)
    path.write_bytes(text.encode("utf-8", "surrogatepass"))

    found, problem = outcome(lambda: read(path, fps="10"))

    assert str(path) in problem or problem == ""
    assert found is None or all(video.path.is_absolute() for video in found.videos)
