"""What is written to a tool and read from it again is the same, whatever names and texts it has."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from msqnet.formats import Reading, dropped_fields, load_format
from msqnet.formats.annotations import AnnotatedVideo, Annotations, Event
from msqnet.labels import LabelSet, plain_text

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


NUM_FRAMES, RATE = 40, 10
CAMTRAP = {
    "deployment": "d",
    "latitude": "52.5",
    "longitude": "13.4",
    "project": "p",
    "contributor": "c",
    "sampling_design": "targeted",
    "capture_method": "timeLapse",
    "recorded": "2026-05-01T10:00:00+02:00",
}
TOOLS = {
    "camtrap_dp": ("package", CAMTRAP),
    "label_studio": ("tasks.json", {}),
    "via": ("project.json", {}),
    "cvat": ("tags.xml", {}),
}

_letters = st.characters(
    exclude_categories=("Cs", "Cc", "Zl", "Zp"), exclude_characters="|", max_codepoint=0x1F64F
)
_words = st.text(_letters, min_size=1, max_size=6).map(lambda text: " ".join(text.split()))
_names = _words.map(plain_text).filter(lambda text: text and text not in ("NA", "NaN", "nan"))
_frames = st.integers(0, NUM_FRAMES)


@st.composite
def _events(draw: st.DrawFn, labels: tuple[str, ...]) -> Event:
    first, last = sorted((draw(_frames), draw(_frames)))
    kind = draw(st.sampled_from(["state", "state", "state", "point", "open"]))
    if kind == "state" and first == last:
        first, last = (first, last + 1) if last < NUM_FRAMES else (first - 1, last)
    end = {"state": last / RATE, "point": first / RATE, "open": None}[kind]
    names = draw(st.lists(_names, max_size=2, unique=True))
    return Event(
        draw(st.sampled_from(labels) | _names),
        first / RATE,
        end,
        draw(st.just("") | _names),
        tuple(name for name in names if not name.startswith(("startSeconds:", "endSeconds:"))),
        draw(st.none() | st.integers(0, 8).map(lambda value: value / 8)),
        draw(st.just("") | _names.filter(lambda text: not text.startswith("score="))),
    )


@st.composite
def _annotations(draw: st.DrawFn, path: Path) -> Annotations:
    labels = tuple(draw(st.lists(_names, min_size=1, max_size=4, unique=True)))
    events = tuple(draw(st.lists(_events(labels), max_size=5, unique=True)))
    checked = draw(st.none() | st.sets(st.sampled_from(labels), max_size=3).map(frozenset))
    if checked == frozenset(labels):
        checked = None
    observed = draw(st.sampled_from([None, ((0.5, 2.0),), ((0.0, 1.0), (2.5, 4.0))]))
    video = AnnotatedVideo(
        path,
        events,
        NUM_FRAMES / RATE,
        checked,
        observed,
        split=draw(st.just("") | _names),
        group=draw(st.just("d") | _names),
    )
    return Annotations((video,), LabelSet(labels))


def kept(annotations: Annotations, drops: frozenset[str]) -> Annotations:
    """What remains of annotations in a format that drops some fields."""
    videos = []
    for video in annotations.videos:
        events = []
        for event in video.events:
            if (event.is_point and "points" in drops) or (event.is_open and "open ends" in drops):
                continue
            events.append(
                replace(
                    event,
                    subject=event.subject if "subjects" not in drops else "",
                    modifiers=tuple(sorted(event.modifiers)) if "modifiers" not in drops else (),
                )
            )
        videos.append(
            replace(
                video,
                events=tuple(sorted(events, key=repr)),
                split=video.split if "splits" not in drops else "",
                group=video.group if "groups" not in drops else "",
            )
        )
    return replace(annotations, videos=tuple(videos), notes=(), model="")


@pytest.mark.parametrize("name", TOOLS)
@settings(max_examples=25)
@given(data=st.data())
def test_annotations_come_back_as_far_as_a_format_keeps_them(
    tmp_path: Path, write_video: Callable[..., Path], name: str, data: st.DataObject
) -> None:
    path = tmp_path / "Käfig 1.mp4"
    if not path.exists():
        write_video(path.name, NUM_FRAMES, rate=RATE)
    annotations = data.draw(_annotations(path))
    tool, (file, options) = load_format(name), TOOLS[name]
    # Tools that have no place for these know what they change them into.
    whole = kept(annotations, tool.drops)
    if name == "label_studio":
        options = {**options, "as": "predictions"}
        whole = replace(annotations, videos=whole.videos)

    tool.write(whole, tmp_path / file, options)
    found = tool.read(tmp_path / file, Reading(tmp_path))

    before, after = kept(whole, tool.drops), kept(found, tool.drops)
    [video], [again] = before.videos, after.videos
    assert [_rounded(event) for event in again.events] == [_rounded(e) for e in video.events]
    assert (again.path, again.split, again.group) == (video.path, video.split, video.group)
    known = set(found.labels) if again.checked is None else again.checked & set(before.labels)
    assert known == (set(before.labels) if video.checked is None else set(video.checked))
    assert _rounded_pairs(again.observed) == _rounded_pairs(video.observed)
    assert dropped_fields(whole, tool.drops, tool.title) == ()


def _rounded(event: Event) -> tuple[object, ...]:
    end = None if event.end_seconds is None else round(event.end_seconds, 6)
    times = round(event.start_seconds, 6), end
    return (event.label, *times, event.subject, event.modifiers, event.score, event.comment)


def _rounded_pairs(
    pairs: tuple[tuple[float, float], ...] | None,
) -> list[tuple[float, float]] | None:
    return None if pairs is None else [(round(a, 6), round(b, 6)) for a, b in pairs]
