from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import av
import jsonschema
import pytest
from frictionless import Package

from msqnet.errors import ConfigError, DatasetError
from msqnet.formats import Reading, dropped_fields
from msqnet.formats.annotations import AnnotatedVideo, Annotations, Event
from msqnet.formats.camtrap_dp import FORMAT
from msqnet.formats.camtrap_dp.camtrap_metadata import creation_time
from msqnet.formats.camtrap_dp.camtrap_tables import TABLES, table_schemas
from tests.fixtures.camtrap import (
    LABELS,
    NEEDED,
    RECORDED,
    one_video,
    read,
    rows,
    write,
)
from tests.fixtures.videos import encode, number_image

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def test_written_package_says_who_saw_what_when(tmp_path: Path) -> None:
    annotations = one_video(
        tmp_path / "videos" / "clip.mp4",
        Event("grooming", 1.25, 3.5, "Ada", ("lifeStage:adult", "face"), comment="slow, left"),
        Event("vigilance", 4, 6, score=0.75),
    )
    out = tmp_path / "package"

    notes = write(annotations, out, NEEDED | RECORDED | {"species": "Mus musculus"})

    first, second = rows(out / "observations.csv")
    assert {name: text for name, text in first.items() if text} == {
        "observationID": "obs1",
        "deploymentID": "cage 1",
        "mediaID": "media/clip.mp4",
        "eventStart": "2026-05-01T10:00:01+02:00",
        "eventEnd": "2026-05-01T10:00:04+02:00",
        "observationLevel": "media",
        "observationType": "animal",
        "scientificName": "Mus musculus",
        "lifeStage": "adult",
        "behavior": "grooming",
        "individualID": "Ada",
        "classificationMethod": "human",
        "observationTags": "startSeconds:1.25 | endSeconds:3.5 | face",
        "observationComments": "slow, left",
    }
    assert second["classificationMethod"] == "machine"
    assert second["classificationProbability"] == "0.75"
    assert rows(out / "media.csv")[0]["filePath"] == "media/clip.mp4"
    assert rows(out / "deployments.csv")[0]["deploymentEnd"] == "2026-05-01T10:00:10+02:00"
    assert notes == (
        "videos that are not in the folder of the package; it expects them in its folder media/, "
        "so copy or link them there, or take --option base_url=...: 1",
        "deployments that are said to last as long as their videos; --option deployment_start=... "
        "and deployment_end=... change that: 1",
        "valid by the table schemas of Camtrap DP 1.0.2, as frictionless checks it",
    )


def test_descriptor_names_the_standard_and_has_what_it_requires(tmp_path: Path) -> None:
    out = tmp_path / "My package"
    write(one_video(tmp_path / "a.mp4", Event("grooming", 1, 2)), out, NEEDED | RECORDED)

    descriptor = json.loads((out / "datapackage.json").read_text(encoding="utf-8"))

    base = "https://raw.githubusercontent.com/tdwg/camtrap-dp/1.0.2"
    assert descriptor["profile"] == f"{base}/camtrap-dp-profile.json"
    assert [r["schema"] for r in descriptor["resources"][:3]] == [
        f"{base}/{name}-table-schema.json" for name in TABLES
    ]
    assert descriptor["name"] == "my-package"
    # What the profile of the standard asks of metadata, beyond those of any data package.
    jsonschema.validate(
        descriptor,
        {
            "required": [
                *("resources", "profile", "created", "contributors", "project"),
                *("spatial", "temporal", "taxonomic"),
            ],
            "properties": {
                "name": {"pattern": "^([-a-z0-9._/])+$"},
                "contributors": {"minItems": 1, "items": {"required": ["title"]}},
                "project": {
                    "required": [
                        *("title", "samplingDesign", "captureMethod"),
                        *("individualAnimals", "observationLevel"),
                    ],
                    "properties": {"captureMethod": {"minItems": 1, "uniqueItems": True}},
                },
                "spatial": {"required": ["type", "coordinates"]},
                "temporal": {
                    "required": ["start", "end"],
                    "additionalProperties": {"pattern": r"^\d{4}-\d{2}-\d{2}$"},
                },
                "taxonomic": {"items": {"required": ["scientificName"]}},
            },
        },
    )


def test_frictionless_finds_the_files_that_were_written_valid(tmp_path: Path) -> None:
    out = tmp_path / "package"
    write(one_video(tmp_path / "a.mp4", Event("grooming", 1, 2)), out, NEEDED | RECORDED)
    descriptor = json.loads((out / "datapackage.json").read_text(encoding="utf-8"))
    # The schemas as they stand at their addresses, which tests cannot reach.
    del descriptor["profile"]
    for resource in descriptor["resources"][:3]:
        resource["schema"] = table_schemas()[resource["name"]]

    report = Package.from_descriptor(descriptor, basepath=str(out)).validate()

    assert report.valid, report.flatten(["message"])
    assert report.stats["tasks"] == 4


@pytest.mark.parametrize("name", ["clip.mp4", "Käfig 1, Tür.mp4", "a#b (1).mp4"])
def test_events_come_back_as_they_were(
    tmp_path: Path, write_video: Callable[..., Path], name: str
) -> None:
    path = write_video(name, 100, rate=10)
    events = (
        Event("grooming", 0.1234567, 3.987654321, "Ada", ("face", "count:2"), comment="é\n2, 3"),
        Event("grooming", 1.5, 2.5, "Bob"),
        Event("vigilance", 2.0, 5.0, score=0.123456),
        Event("calling", 4.25, 4.25),
        Event("calling", 0, 0),
        Event("vigilance", 6.5, None, "Ada"),
        Event("climbing", 7, 8, modifiers=("sex:female", "scientificName:Mus musculus")),
    )
    written = Annotations(
        (AnnotatedVideo(path, events, 10.0, group="cage 1"),), LABELS, frozenset({"calling"})
    )

    write(written, tmp_path, NEEDED | RECORDED)
    found = read(tmp_path)

    assert found.videos[0].path == path
    assert rows(tmp_path / "media.csv")[0]["filePath"] == name
    assert [_with_sorted_modifiers(e) for e in found.videos[0].events] == [
        _with_sorted_modifiers(e) for e in written.videos[0].events
    ]
    assert (found.labels, found.point_labels) == (LABELS, frozenset({"calling"}))
    assert found.videos[0].group == "cage 1"
    assert found.notes == ()
    assert dropped_fields(written, FORMAT.drops, FORMAT.title) == ()


def _with_sorted_modifiers(event: Event) -> tuple[object, ...]:
    return (
        *(event.label, event.start_seconds, event.end_seconds, event.subject),
        *(sorted(event.modifiers), event.score, event.comment),
    )


def test_what_was_looked_for_comes_back(tmp_path: Path) -> None:
    videos = (
        AnnotatedVideo(tmp_path / "media/a.mp4", (), 9.5, group="g"),
        AnnotatedVideo(tmp_path / "media/b.mp4", (), checked=frozenset({"calling"}), group="g"),
        AnnotatedVideo(
            tmp_path / "media/c.mp4",
            (Event("grooming", 1, 2),),
            observed=((0.5, 2.5), (3.0, 4.0)),
            group="g",
        ),
        AnnotatedVideo(tmp_path / "media/d.mp4", (), observed=(), group="h"),
    )
    with_times(tmp_path, videos)

    write(Annotations(videos, LABELS), tmp_path, {"package": str(tmp_path / "times")})
    found = read(tmp_path)

    assert [(v.path, v.checked, v.observed, v.group) for v in found.videos] == [
        (v.path, v.checked, v.observed, v.group) for v in videos
    ]
    [blank, _] = rows(tmp_path / "observations.csv")
    assert blank["observationType"] == "blank"
    assert (blank["eventStart"], blank["eventEnd"]) == (
        *("2026-05-01T10:00:00Z", "2026-05-01T10:00:10Z"),
    )


def with_times(folder: Path, videos: tuple[AnnotatedVideo, ...]) -> None:
    """A package that has these videos, an hour apart, and further columns and resources."""
    place = folder / "times"
    place.mkdir()
    deployments = "deploymentID,latitude,longitude,deploymentStart,deploymentEnd,own\n" + "".join(
        f"{name},1,2,2026-05-01T00:00:00Z,2026-05-09T00:00:00Z,x\n"
        for name in dict.fromkeys(video.group for video in videos)
    )
    media = "mediaID,deploymentID,timestamp,filePath,filePublic,fileMediatype\n" + "".join(
        f"m{n},{video.group},2026-05-01T{n + 10}:00:00Z,media/{video.path.name},true,video/mp4\n"
        for n, video in enumerate(videos)
    )
    (place / "deployments.csv").write_text(deployments)
    (place / "media.csv").write_text(media)
    descriptor = {
        "profile": "camtrap-dp/1.0",
        "id": "kept",
        "project": {"title": "Kept", "observationLevel": ["event"]},
        "resources": [
            {"name": "media", "path": "media.csv"},
            {"name": "own", "data": [{"a": 1}]},
            {"name": "more", "path": "more.csv"},
        ],
    }
    (place / "datapackage.json").write_text(json.dumps(descriptor))


def test_media_and_metadata_of_a_package_are_kept(tmp_path: Path) -> None:
    video = AnnotatedVideo(tmp_path / "elsewhere" / "a.mp4", (Event("grooming", 1, 2),), group="g")
    with_times(tmp_path, (video,))
    out = tmp_path / "out"

    notes = write(Annotations((video,), LABELS), out, {"package": str(tmp_path / "times")})

    assert notes == (
        f"media files that the package expects in {out}, as they are in {tmp_path / 'times'}: 1",
        "tables of the package beside those of the standard, which are left out: 1",
        "valid by the table schemas of Camtrap DP 1.0.2, as frictionless checks it",
    )
    descriptor = json.loads((out / "datapackage.json").read_text())
    assert descriptor["id"] == "kept"
    assert descriptor["project"] == {"title": "Kept", "observationLevel": ["media"]}
    assert [r["name"] for r in descriptor["resources"]] == [*TABLES, "ethogram", "own"]
    assert rows(out / "observations.csv")[0]["mediaID"] == "m0"
    other = AnnotatedVideo(tmp_path / "b.mp4", ())
    with pytest.raises(DatasetError, match=r"b\.mp4: no such media file in .*media\.csv; expected"):
        write(Annotations((other,), LABELS), out, {"package": str(tmp_path / "times")})


def test_what_is_wrong_in_a_package_of_others_is_said(tmp_path: Path) -> None:
    video = AnnotatedVideo(tmp_path / "a.mp4", (Event("grooming", 1, 2),), group="g")
    with_times(tmp_path, (video,))
    package = tmp_path / "times"
    deployments = (package / "deployments.csv").read_text()
    (package / "deployments.csv").write_text(deployments.replace("g,1,2", "g,north,2"))
    annotations = Annotations((video,), LABELS)

    notes = write(annotations, tmp_path / "out", {"package": str(package)})

    assert notes[-1].startswith("the package's own tables are not valid by the table schemas of")
    assert "north" in notes[-1]
    with pytest.raises(ConfigError, match="its own observations would be lost; write into another"):
        write(annotations, package, {"package": str(package)})
    document = json.loads((package / "datapackage.json").read_text())
    document["resources"].append({"name": "Not a name", "data": [{"a": 1}]})
    (package / "datapackage.json").write_text(json.dumps(document))
    with pytest.raises(DatasetError, match=r"not valid by .* 'Not a name' does not match"):
        write(annotations, tmp_path / "out", {"package": str(package)})


def test_what_videos_do_not_say_is_asked_for_all_at_once(tmp_path: Path) -> None:
    annotations = Annotations((AnnotatedVideo(tmp_path / "a.mp4", ()),), LABELS)

    with pytest.raises(ConfigError) as caught:
        write(annotations, tmp_path / "out", {"latitude": "1"})

    assert str(caught.value).startswith(
        f"{tmp_path / 'out'}: Camtrap DP asks for what videos do not say; add --option "
        "deployment=ID longitude=13.4 recorded=2026-05-01T10:00:00+02:00 'project=TITLE' "
        "'contributor=NAME' sampling_design=opportunistic capture_method=activityDetection "
    )
    assert not (tmp_path / "out").exists()


def test_several_videos_of_unknown_time_are_refused(tmp_path: Path) -> None:
    videos = tuple(AnnotatedVideo(tmp_path / f"{n}.mp4", ()) for n in range(5))

    with pytest.raises(ConfigError, match=r"5 videos do not say when .* such as 0\.mp4, 1\.mp4, 2"):
        write(Annotations(videos, LABELS), tmp_path / "out", NEEDED)
    with pytest.raises(ConfigError, match="it holds for one video, but there are 5"):
        write(Annotations(videos, LABELS), tmp_path / "out", NEEDED | RECORDED)


def test_events_later_than_any_video_lasts_are_refused(tmp_path: Path) -> None:
    late = one_video(tmp_path / "a.mp4", Event("grooming", 0, 1e300))

    with pytest.raises(DatasetError, match=r"a\.mp4: found a time of 1e\+300 s, which is later"):
        write(late, tmp_path / "out", NEEDED | RECORDED)


def test_names_that_stand_for_nothing_are_refused(tmp_path: Path) -> None:
    unnamed = one_video(tmp_path / "a.mp4", Event("grooming", 0, 1, "NA"))

    with pytest.raises(
        DatasetError, match="individualID: 'NA' stands for an empty cell in Camtrap"
    ):
        write(unnamed, tmp_path / "out", NEEDED | RECORDED)


def test_an_empty_project_has_no_place(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="there is no video to write"):
        write(Annotations((), LABELS), tmp_path / "out", NEEDED)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"latitude": "91"}, "latitude=91: expected decimal degrees from -90 to 90"),
        ({"longitude": "east"}, "longitude=east: expected decimal degrees from -180 to 180"),
        ({"recorded": "2026-05-01T10:00:00"}, "recorded=2026-05-01T10:00:00: expected a date and"),
        ({"recorded": "yesterday"}, "recorded=yesterday: expected a date and time with a time"),
        ({"classified_at": "2026"}, "classified_at=2026: expected a date and time"),
        ({"deployment_end": "x"}, "deployment_end=x: expected a date and time"),
        ({"sampling_design": "none"}, "sampling_design=none: expected simpleRandom or"),
        ({"capture_method": "me"}, "capture_method=me: expected activityDetection or timeLapse"),
        ({"public": "no"}, "public=no: expected false or true"),
        ({"observation_type": "cat"}, "observation_type=cat: expected animal or human"),
    ],
)
def test_wrong_options_are_refused(tmp_path: Path, options: dict[str, str], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        write(one_video(tmp_path / "a.mp4"), tmp_path / "out", NEEDED | RECORDED | options)


def test_time_of_recording_comes_from_the_file(tmp_path: Path) -> None:
    path = tmp_path / "dated.mp4"
    images = [number_image(number) for number in range(4)]
    encode(tmp_path / "plain.mp4", images)
    with av.open(str(path), "w") as out, av.open(str(tmp_path / "plain.mp4")) as source:
        out.metadata["creation_time"] = "2026-05-01T08:30:15.000000Z"
        stream = out.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(source.streams.video[0]):
            if packet.dts is not None:
                packet.stream = stream
                out.mux(packet)

    found = creation_time(path)
    notes = write(one_video(path, Event("grooming", 0.1, 0.2)), tmp_path / "out", NEEDED)

    assert found is not None
    assert found.isoformat() == "2026-05-01T08:30:15+00:00"
    assert rows(tmp_path / "out" / "media.csv")[0]["timestamp"] == "2026-05-01T08:30:15Z"
    assert "whose time of recording is the creation_time of their file" in notes[0]
    assert creation_time(tmp_path / "plain.mp4") is None
    (tmp_path / "text.mp4").write_text("no video")
    assert creation_time(tmp_path / "text.mp4") is None


def test_results_of_a_model_name_it(tmp_path: Path) -> None:
    videos = (AnnotatedVideo(tmp_path / "a.mp4", (Event("grooming", 1, 2, score=0.5),)),)
    quiet = (AnnotatedVideo(tmp_path / "a.mp4", ()),)

    write(Annotations(videos, LABELS, model="msqnet x"), tmp_path / "out", NEEDED | RECORDED)
    write(Annotations(quiet, LABELS, model="msqnet x"), tmp_path / "quiet", NEEDED | RECORDED)

    [row] = rows(tmp_path / "out" / "observations.csv")
    assert (row["classifiedBy"], row["classificationMethod"]) == ("msqnet x", "machine")
    [row] = rows(tmp_path / "quiet" / "observations.csv")
    assert (row["classifiedBy"], row["classificationMethod"]) == ("msqnet x", "machine")
    assert row["observationType"] == "blank"


def test_a_package_that_the_standard_does_not_allow_is_not_written(tmp_path: Path) -> None:
    out = tmp_path / "out"
    write(one_video(tmp_path / "a.mp4", Event("grooming", 1, 2)), out, NEEDED | RECORDED)
    before = (out / "observations.csv").read_text()
    odd = NEEDED | RECORDED | {"base_url": "../videos"}

    with pytest.raises(DatasetError, match=r"not valid by .*\"filePath\".*; nothing is written"):
        write(one_video(tmp_path / "a.mp4"), out, odd)
    assert (out / "observations.csv").read_text() == before
    assert sorted(path.name for path in out.iterdir()) == [
        *("datapackage.json", "deployments.csv", "media.csv", "observations.csv"),
    ]


def test_two_observations_of_one_video_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "media" / "a.mp4"
    stretches = {"grooming": (0.0, 10.0), "calling": (20.0, 30.0)}
    one, other = (
        AnnotatedVideo(path, (), 40.0, frozenset({name}), (stretch,), group="g")
        for name, stretch in stretches.items()
    )
    with_times(tmp_path, (one,))
    elsewhere = replace(other, path=tmp_path / "elsewhere" / "a.mp4")

    for second in (other, elsewhere):
        with pytest.raises(DatasetError, match=r"are both the media file .*; take one observation"):
            write(
                Annotations((one, second), LABELS),
                tmp_path / "out",
                {"package": str(tmp_path / "times")},
            )
    assert not (tmp_path / "out").exists()


def test_each_media_file_of_a_package_is_looked_for_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    videos = tuple(AnnotatedVideo(tmp_path / f"media/{n}.mp4", (), group="g") for n in range(5))
    with_times(tmp_path, videos)
    looked_for = []
    video_path = Reading.video_path

    def counted(reading: Reading, written: str) -> Path:
        looked_for.append(written)
        return video_path(reading, written)

    monkeypatch.setattr(Reading, "video_path", counted)

    write(Annotations(videos, LABELS), tmp_path / "out", {"package": str(tmp_path / "times")})

    assert len(looked_for) == len(videos)
