"""Projects of BORIS, as Python values, for the tests of reading and of writing them."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from msqnet.formats import load_format
from tests.fixtures.annotation_formats import read_as, write_as

if TYPE_CHECKING:
    from msqnet.formats.annotations import AnnotatedVideo

BORIS = load_format("boris")


def behaviour(code: str, kind: str = "State event", **more: object) -> dict[str, object]:
    return {"type": kind, "key": "", "code": code, "description": "", "modifiers": "", **more}


ETHOGRAM = {
    "0": behaviour("groom"),
    "1": behaviour("jump", "Point event"),
    "10": behaviour("run"),
    "2": behaviour("rear", modifiers={"0": {"name": "", "type": 0, "values": ["high", "low"]}}),
}


def observation(*events: list[object], **more: object) -> dict[str, Any]:
    return {
        "type": "MEDIA",
        "file": {"1": ["cage.mp4"], "2": []},
        "events": list(events),
        "time offset": 0.0,
        "media_info": {"length": {"cage.mp4": 60.0}, "fps": {"cage.mp4": 25.0}},
        **more,
    }


def project(**observations: dict[str, Any]) -> dict[str, Any]:
    return {
        "project_format_version": "7.0",
        "subjects_conf": {"0": {"key": "1", "name": "Ada", "description": ""}},
        "behaviors_conf": ETHOGRAM,
        "observations": observations,
    }


read_back, written = partial(read_as, "boris"), partial(write_as, "boris")


def spans(video: AnnotatedVideo) -> list[tuple[object, ...]]:
    return [
        (event.label, event.start_seconds, event.end_seconds, event.subject)
        for event in video.events
    ]
