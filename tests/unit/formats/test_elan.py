from __future__ import annotations

import contextlib
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from msqnet.errors import DatasetError, MsqnetError
from msqnet.formats import Reading, load_format
from msqnet.formats.annotations import AnnotatedVideo, Annotations, settled
from tests.fixtures.annotation_formats import read_as, write_as

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

ELAN = load_format("elan")

MEDIA = '<MEDIA_DESCRIPTOR MEDIA_URL="file:///x/cage.mp4" MIME_TYPE="video/mp4"/>'
TYPES = (
    '<LINGUISTIC_TYPE LINGUISTIC_TYPE_ID="default" TIME_ALIGNABLE="true"/>'
    '<LINGUISTIC_TYPE LINGUISTIC_TYPE_ID="coded" TIME_ALIGNABLE="true" '
    'CONTROLLED_VOCABULARY_REF="v"/>'
)
VOCABULARY = (
    '<CONTROLLED_VOCABULARY CV_ID="v"><CV_ENTRY_ML CVE_ID="c1">'
    '<CVE_VALUE LANG_REF="und">groom</CVE_VALUE></CV_ENTRY_ML>'
    '<CV_ENTRY_ML CVE_ID="c2"><CVE_VALUE LANG_REF="und">run</CVE_VALUE></CV_ENTRY_ML>'
    "</CONTROLLED_VOCABULARY>"
)


def document(
    *tiers: str,
    slots: tuple[int | None, ...] = (1000, 2500, 3000, 4000),
    media: str = MEDIA,
    tail: str = TYPES + VOCABULARY,
) -> str:
    times = "".join(
        f'<TIME_SLOT TIME_SLOT_ID="ts{number}"'
        + ("/>" if time is None else f' TIME_VALUE="{time}"/>')
        for number, time in enumerate(slots, start=1)
    )
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n<ANNOTATION_DOCUMENT VERSION="3.0">'
        f'<HEADER TIME_UNITS="milliseconds">{media}</HEADER>'
        f"<TIME_ORDER>{times}</TIME_ORDER>{''.join(tiers)}{tail}</ANNOTATION_DOCUMENT>"
    )


def tier(name: str, *annotations: str, kind: str = "default", **more: str) -> str:
    attributes = "".join(f' {key}="{value}"' for key, value in more.items())
    inner = "".join(f"<ANNOTATION>{item}</ANNOTATION>" for item in annotations)
    return f'<TIER TIER_ID="{name}" LINGUISTIC_TYPE_REF="{kind}"{attributes}>{inner}</TIER>'


def aligned(name: str, first: int, last: int, value: str = "") -> str:
    return (
        f'<ALIGNABLE_ANNOTATION ANNOTATION_ID="{name}" TIME_SLOT_REF1="ts{first}" '
        f'TIME_SLOT_REF2="ts{last}"><ANNOTATION_VALUE>{value}</ANNOTATION_VALUE>'
        "</ALIGNABLE_ANNOTATION>"
    )


def reference(name: str, to: str, value: str, previous: str = "") -> str:
    more = f' PREVIOUS_ANNOTATION="{previous}"' if previous else ""
    return (
        f'<REF_ANNOTATION ANNOTATION_ID="{name}" ANNOTATION_REF="{to}"{more}>'
        f"<ANNOTATION_VALUE>{value}</ANNOTATION_VALUE></REF_ANNOTATION>"
    )


@pytest.fixture
def read(tmp_path: Path) -> Callable[..., Annotations]:
    def read(text: str, **options: str) -> Annotations:
        path = tmp_path / "cage.eaf"
        path.write_text(text, encoding="utf-8")
        return ELAN.read(path, Reading(tmp_path, options))

    return read


read_back = partial(read_as, "elan")


def written(annotations: Annotations, path: Path, **options: str) -> tuple[str, ...]:
    return write_as("elan", annotations, path, options)


def spans(video: AnnotatedVideo) -> list[tuple[object, ...]]:
    return [
        (event.label, event.start_seconds, event.end_seconds, event.subject)
        for event in video.events
    ]


def test_tier_with_empty_annotations_is_a_label(read: Callable[..., Annotations]) -> None:
    found = read(
        document(
            tier("groom", aligned("a1", 1, 2), aligned("a2", 3, 4)),
            tier("run@Ada", aligned("a3", 1, 3, "run"), PARTICIPANT="Ada"),
            tier("rear"),
        )
    )

    [video] = found.videos
    assert spans(video) == [
        ("groom", 1.0, 2.5, ""),
        ("run", 1.0, 3.0, "Ada"),
        ("groom", 3.0, 4.0, ""),
    ]
    assert found.labels.names == ("groom", "run")
    assert found.notes == (
        "tiers without annotations, of which nobody is known to have looked for anything: rear",
    )


def test_tier_with_values_is_a_subject(read: Callable[..., Annotations]) -> None:
    found = read(
        document(
            tier("left mouse", aligned("a1", 1, 2, "groom"), aligned("a2", 3, 4, "nap")),
            tier("B", aligned("a3", 1, 3, "run"), kind="coded", PARTICIPANT="Bob"),
            tier("B2", aligned("a4", 1, 3), kind="coded", PARTICIPANT="Bob"),
        )
    )

    assert spans(found.videos[0]) == [
        ("groom", 1.0, 2.5, "left mouse"),
        ("run", 1.0, 3.0, "Bob"),
        ("nap", 3.0, 4.0, "left mouse"),
    ]
    assert found.labels.names == ("groom", "nap", "run")
    assert found.notes == (
        "values are labels on these tiers (names are with --option tiers=labels): left mouse, B, "
        "B2",
        "annotations without a value, which are left out: 1",
    )


def test_layout_can_be_said(read: Callable[..., Annotations]) -> None:
    text = document(tier("groom", aligned("a1", 1, 2, "left paw"), aligned("a2", 3, 4)))

    [first, second] = read(text, tiers="labels").videos[0].events
    assert (first.label, first.subject, first.comment) == ("groom", "", "left paw")
    assert (second.label, second.comment) == ("groom", "")
    found = read(text, tiers="subjects")
    assert spans(found.videos[0]) == [("left paw", 1.0, 2.5, "groom")]
    assert found.notes == ("annotations without a value, which are left out: 1",)
    with pytest.raises(DatasetError, match="no tier 'rows', which an option names; it has: groom"):
        read(text, tiers="rows")


def test_tiers_in_tiers_are_modifiers_unless_they_are_chosen(
    read: Callable[..., Annotations],
) -> None:
    text = document(
        tier("what", aligned("a1", 1, 5, "groom")),
        tier("how", aligned("a2", 2, 3, "low"), aligned("a3", 3, 4, "high"), PARENT_REF="what"),
        tier("which", reference("a4", "a3", "left paw"), PARENT_REF="how"),
        tier("other", aligned("a5", 1, 4, "groom")),
        tier("seen", aligned("a7", 1, 4)),
        slots=(1000, 1000, None, 5000, 5000),
    )

    [grooming] = (e for e in read(text).events() if e.subject == "what")
    assert grooming.modifiers == ("how: low", "how: high", "which: left paw")
    assert (grooming.start_seconds, grooming.end_seconds) == (1.0, 5.0)
    chosen = read(text, tiers="what", observed="seen")
    [video] = chosen.videos
    assert video.events == (grooming,)
    assert video.observed == ((1.0, 5.0),)
    # The label of a tier that was left out may be there all the same.
    assert settled(chosen).videos[0].checked == frozenset()
    inner = read(text, tiers="how,which").videos[0]
    assert [e.label for e in inner.events] == ["low", "high", "left paw"]
    assert [e.start_seconds for e in inner.events] == [1.0, 3.0, 3.0]


def test_parts_without_times_lie_evenly_in_what_they_subdivide(
    read: Callable[..., Annotations],
) -> None:
    text = document(
        tier("bout", aligned("a1", 1, 2, "play"), aligned("a2", 3, 4, "play")),
        tier(
            "acts",
            reference("a5", "a1", "bite", previous="a4"),
            reference("a3", "a1", "chase"),
            reference("a4", "a1", "pin", previous="a3"),
            reference("a6", "a2", "chase"),
            kind="parts",
            PARENT_REF="bout",
        ),
        tier(
            "steps",
            reference("a7", "a4", "left"),
            reference("a8", "a4", "right", "a7"),
            kind="parts",
            PARENT_REF="acts",
        ),
        tier("whom", reference("a9", "a5", "Bo"), PARENT_REF="acts"),
        slots=(1000, 4000, 5000, 6000),
        tail='<LINGUISTIC_TYPE LINGUISTIC_TYPE_ID="parts" CONSTRAINTS="Symbolic_Subdivision"/>',
    )

    [video] = read(text, tiers="acts,steps,whom").videos

    assert [span[:3] for span in spans(video)] == [
        ("chase", 1.0, 2.0),
        ("left", 2.0, 2.5),
        ("pin", 2.0, 3.0),
        ("right", 2.5, 3.0),
        ("Bo", 3.0, 4.0),
        ("bite", 3.0, 4.0),
        ("chase", 5.0, 6.0),
    ]


def test_tiers_that_refer_to_annotations_say_more_about_them(
    read: Callable[..., Annotations],
) -> None:
    found = read(
        document(
            tier("groom", aligned("a1", 1, 2), aligned("a2", 3, 4)),
            tier("how", reference("a3", "a1", "slowly"), PARENT_REF="groom"),
            tier("m", reference("a4", "a1", "face|left"), kind="modifiers"),
            tier("c", reference("a5", "a2", "it rains"), kind="comment"),
            tier("s", reference("a6", "a2", "0.25"), kind="score"),
            tier("more", reference("a7", "a5", "cats and dogs")),
        )
    )

    [first, second] = found.videos[0].events
    assert first.modifiers == ("how: slowly", "face", "left")
    assert (second.comment, second.score) == ("it rains", 0.25)
    assert second.modifiers == ("more: cats and dogs",)


def test_slots_without_a_time_lie_evenly_between_aligned_ones(
    read: Callable[..., Annotations],
) -> None:
    found = read(
        document(
            tier("a", aligned("a1", 1, 2), aligned("a2", 2, 3), aligned("a3", 3, 4)),
            slots=(1000, None, None, 4000),
        )
    )

    assert [span[1:3] for span in spans(found.videos[0])] == [(1.0, 2.0), (2.0, 3.0), (3.0, 4.0)]
    with pytest.raises(DatasetError, match="line 2, <ALIGNABLE_ANNOTATION>: found 'ts2 without a"):
        read(document(tier("a", aligned("a1", 1, 2)), slots=(1000, None)))
    with pytest.raises(DatasetError, match="annotations with times before and after it"):
        read(document(tier("a", aligned("a1", 1, 2), aligned("a2", 2, 1)), slots=(None, None)))


def test_linked_video_is_found(read: Callable[..., Annotations], tmp_path: Path) -> None:
    text = '<MEDIA_DESCRIPTOR MEDIA_URL="{}" MIME_TYPE="{}" RELATIVE_MEDIA_URL="{}" {}/>'

    def path_of(*links: tuple[str, ...], **options: str) -> str:
        media = "".join(text.format(*link, *[""] * (4 - len(link))) for link in links)
        video = read(document(media=media), **options).videos[0]
        return str(video.path)

    assert path_of(("file:///x/y z/a.mp4", "video/mp4")) == "/x/y z/a.mp4"
    assert path_of(("file:///x/y%20z/ä.mp4", "video/mp4")) == "/x/y z/ä.mp4"
    assert path_of(("file:///C:/My videos/a.mp4", "video/mp4")) == str(tmp_path / "a.mp4")
    assert path_of(("file://server/share/a.mp4", "video/mp4")) == str(tmp_path / "a.mp4")
    assert path_of(("http://host/there/a.mp4", "video/mp4")) == str(tmp_path / "a.mp4")
    assert path_of(("file:///x/a.mp4", "video/mp4", "./b/a.mp4")) == str(tmp_path / "b" / "a.mp4")
    (tmp_path / "a.mp4").write_bytes(b"not a video")
    assert path_of(("file:///x/a.mp4", "video/mp4", "../b/a.mp4")) == str(tmp_path / "a.mp4")
    assert path_of(("file:///x/a.wav", "audio/x-wav"), ("file:///x/b.mp4", "video/mp4")) == (
        "/x/b.mp4"
    )
    assert path_of(video="a.mp4") == str(tmp_path / "a.mp4")
    with pytest.raises(DatasetError, match=r"links no media file; link it in ELAN"):
        path_of()


def test_origin_of_the_video_moves_times(read: Callable[..., Annotations]) -> None:
    media = MEDIA.replace("/>", ' TIME_ORIGIN="{}"/>')
    tiers = tier("groom", aligned("a1", 1, 2), aligned("a2", 3, 4))

    later = read(document(tiers, media=media.format(500))).videos[0]
    assert [span[1:3] for span in spans(later)] == [(1.5, 3.0), (3.5, 4.5)]
    earlier = read(document(tiers, media=media.format(-2600)))
    assert [span[1:3] for span in spans(earlier.videos[0])] == [(0.4, 1.4)]
    assert earlier.notes == ("annotations before the start of the video, which are left out: 1",)


def test_old_vocabulary_is_read(read: Callable[..., Annotations]) -> None:
    old = (
        '<CONTROLLED_VOCABULARY CV_ID="v" DESCRIPTION=""><CV_ENTRY DESCRIPTION="">jump</CV_ENTRY>'
        "</CONTROLLED_VOCABULARY>"
    )
    found = read(document(tier("A", aligned("a1", 1, 2, "nap"), kind="coded"), tail=TYPES + old))

    assert found.labels.names == ("jump",)
    assert [event.label for event in found.videos[0].events] == ["nap"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "line 1, column 1: not XML: no element found"),
        ("<a>", "line 1, column 4: not XML"),
        ("<html/>", "line 1, <html>: found 'html', expected ANNOTATION_DOCUMENT; open the file"),
        ("<ANNOTATION_DOCUMENT/>", "found '', expected a HEADER"),
        (
            '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><a>&x;</a>',
            "found a document type",
        ),
        ('<?xml version="1.0" encoding="none-such"?><a/>', "not XML"),
        (
            document().replace('"milliseconds"', '"PAL-frames"'),
            "'PAL-frames', expected milliseconds",
        ),
        (
            document(slots=(1,)).replace('"1"', '"soon"'),
            "<TIME_SLOT> TIME_VALUE: found 'soon', expected a whole num",
        ),
        (document(tier("a", aligned("a1", 1, 9))), "found 'ts9', expected a time slot of"),
        (document(tier("a", aligned("a1", 2, 1))), "found '2.5 to 1.0 s', expected an end"),
        (document(tier(" ")), "<TIER>: found '', expected a name for"),
        (document(tier("a"), tier("a")), "<TIER>: found 'a', expected a name for TIER_ID that no"),
        (document(tier("a").replace("TIER_ID", "NAME")), "expected an attribute TIER_ID"),
        (document(media="<MEDIA_DESCRIPTOR/>"), "expected an attribute MEDIA_URL"),
        (
            document(media=MEDIA.replace("/>", ' TIME_ORIGIN="x"/>')),
            "found 'x', expected whole millis",
        ),
        (
            document(
                tier("a", aligned("a1", 1, 2)), tier("s", reference("r", "a1", "2"), kind="score")
            ),
            "tier 's': found '2', expected a score from 0 to 1",
        ),
    ],
)
def test_malformed_files_say_where(
    read: Callable[..., Annotations], tmp_path: Path, text: str, words: str
) -> None:
    with pytest.raises(DatasetError, match=words) as caught:
        read(text)
    assert str(caught.value).startswith(str(tmp_path / "cage.eaf"))


FULL = document(
    tier("groom", aligned("a1", 1, 2, "x"), aligned("a2", 3, 4), PARTICIPANT="Ada"),
    tier("m", reference("a4", "a1", "face|left"), kind="modifiers"),
    tier("s", reference("a6", "a2", "0.25"), kind="score"),
    tier("B", aligned("a7", 1, 3, "run"), kind="coded"),
    slots=(1000, None, 3000, 4000),
)


@settings(max_examples=100)
@given(st.data())
def test_any_change_is_read_or_refused(tmp_path: Path, data: Any) -> None:
    start = data.draw(st.integers(0, len(FULL)))
    end = data.draw(st.integers(start, min(len(FULL), start + 30)))
    new = data.draw(
        st.text(max_size=5)
        | st.sampled_from(('"', "<", "&#0;", "&x;", "<!DOCTYPE a>", "9" * 5000, "ts4", "\ud800"))
    )
    path = tmp_path / "a.eaf"
    text = FULL[:start] + new + FULL[end:]
    path.write_text(text, encoding="utf-8", errors="surrogatepass")

    with contextlib.suppress(MsqnetError):
        read_back(path)
