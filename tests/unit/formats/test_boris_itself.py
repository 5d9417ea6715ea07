"""What BORIS itself makes of projects, where it is installed (``pip install boris-behav-obs``)."""

from __future__ import annotations

import csv
import json
import random
import sys
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from msqnet.formats.annotations import AnnotatedVideo, Annotations, Event
from msqnet.labels import LabelSet
from tests.fixtures.annotation_formats import read_as, write_as

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = [
    pytest.mark.slow,
    # BORIS leaves the files that it reads open.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

SUBJECTS = ("", "Ada", "Bob B.")
CODES = {"groom": "State event", "run": "State event", "jump": "Point event"}
MODIFIERS = ("", "None", "face", "left,right")


@pytest.fixture
def boris(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """BORIS's modules, without a window and without the player's library."""
    pytest.importorskip("boris.config", reason="BORIS is not installed")
    monkeypatch.setenv("QT_QPA_PLATFORM", "offscreen")
    monkeypatch.setattr(sys, "argv", ["boris", "--ipc"])
    from boris import config, export_observation, project_functions

    return SimpleNamespace(config=config, export=export_observation, project=project_functions)


def opened(boris: SimpleNamespace, path: Path) -> dict[str, Any]:
    _, is_changed, project, message = boris.project.open_project_json(str(path))
    assert (is_changed, message, project.get("error")) == (False, "", None)
    return dict(project)


def aggregated(boris: SimpleNamespace, project: dict[str, Any], path: Path) -> None:
    """What BORIS exports of all observations, as a file."""
    settings = {
        "time": boris.config.TIME_FULL_OBS,
        boris.config.SELECTED_SUBJECTS: [boris.config.NO_FOCAL_SUBJECT, *SUBJECTS[1:]],
        boris.config.SELECTED_BEHAVIORS: [
            item["code"] for item in project["behaviors_conf"].values()
        ],
    }
    header = (
        *("Observation id", "Observation date", "Description", "Observation type", "Source"),
        *("Time offset (s)", "Coding duration", "Media duration (s)", "FPS (frame/s)", "Subject"),
        *("Observation duration by subject by observation", "Behavior", "Behavioral category"),
        *("Modifier #1", "Behavior type", "Start (s)", "Stop (s)", "Duration (s)"),
        *("Media file name", "Image index start", "Image index stop", "Image file path start"),
        *("Image file path stop", "Comment start", "Comment stop"),
    )
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter="\t")
        writer.writerow(header)
        for name in project["observations"]:
            rows, _ = boris.export.export_aggregated_events(project, settings, name, 1)
            assert {len(row) for row in rows} <= {len(header)}
            writer.writerows(rows)


def events_of(videos: tuple[AnnotatedVideo, ...]) -> list[tuple[str, tuple[Event, ...]]]:
    return [(video.path.name, tuple(sorted(video.events, key=repr))) for video in videos]


def test_boris_opens_what_is_written_and_finds_nothing_wrong(
    boris: SimpleNamespace, write_video: Callable[..., Path], tmp_path: Path
) -> None:
    events = (
        Event("groom", 0.1, 0.3, "Ada", ("face",), 0.25, "wet"),
        Event("groom", 0.2, 0.7, "Bob B."),
        Event("groom", 0.3, 0.4, "Ada", ("face",)),
        Event("jump", 0.4, 0.4, comment="far"),
        Event("run", 0.5, 0.5, "Ada"),
        Event("run", 0.5, 0.9, "Ada", ("left,right",)),
    )
    video = AnnotatedVideo(write_video("Käfig 1.mp4"), events, 1.2)
    annotations = Annotations((video,), LabelSet(("groom", "jump", "run")))
    write_as("boris", annotations, tmp_path / "project.boris")

    project = opened(boris, tmp_path / "project.boris")

    problems = boris.project.check_project_integrity(project, "s", str(tmp_path / "project.boris"))
    assert problems == ""
    aggregated(boris, project, tmp_path / "events.tsv")
    assert events_of(read_as("boris_events", tmp_path / "events.tsv").videos) == events_of((video,))


@pytest.mark.parametrize("seed", range(20))
def test_states_pair_as_in_boris(boris: SimpleNamespace, tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    events: list[list[object]] = []
    for subject in SUBJECTS:
        for code in CODES:
            for modifiers in MODIFIERS:
                # An even number: BORIS exports nothing of an observation with an open state.
                times = [chance.randrange(90_000) / 1000 for _ in range(2 * chance.randrange(4))]
                events += [[time, subject, code, modifiers, "", "NA"] for time in times]
    chance.shuffle(events)
    media = {"a.mp4": 40.0, "b b.mp4": 25.5, "c.mp4": 30.0}
    document = {
        "project_format_version": "7.0",
        "subjects_conf": {
            str(n): {"key": "", "name": name, "description": ""}
            for n, name in enumerate(SUBJECTS[1:])
        },
        "behaviors_conf": {
            str(n): {"code": code, "type": kind, "key": "", "category": "", "modifiers": {}}
            for n, (code, kind) in enumerate(CODES.items())
        },
        "behavioral_categories": [],
        "behavioral_categories_config": {},
        "coding_map": {},
        "independent_variables": {},
        "observations": {
            "first": {
                "type": "MEDIA",
                "date": "2026-01-01T12:00:00",
                "description": "",
                "file": {"1": list(media)},
                "events": events,
                "time offset": 0.0,
                "independent_variables": {},
                "media_info": {
                    "length": media,
                    "fps": dict.fromkeys(media, 25.0),
                    "hasVideo": dict.fromkeys(media, True),
                    "hasAudio": dict.fromkeys(media, False),
                    "offset": {"1": 0.0},
                    "display": {},
                },
            }
        },
    }
    (tmp_path / "project.boris").write_text(json.dumps(document), encoding="utf-8")

    aggregated(boris, opened(boris, tmp_path / "project.boris"), tmp_path / "events.tsv")

    ours = read_as("boris", tmp_path / "project.boris").videos
    assert events_of(ours) == events_of(read_as("boris_events", tmp_path / "events.tsv").videos)
    assert sum(len(video.events) for video in ours) > 20
