from __future__ import annotations

import csv
import json
from typing import TYPE_CHECKING, Any

import av
import jsonschema
import pytest
from frictionless import Package, system
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from msqnet.errors import ConfigError, DatasetError
from msqnet.formats.annotations import AnnotatedVideo, Annotations, Event, Reading, losses
from msqnet.formats.camtrap_dp import FORMAT
from msqnet.formats.camtrap_media import creation_time
from msqnet.formats.camtrap_schema import TABLES, table_schema
from msqnet.labels import LabelSet
from tests.fixtures.formats import outcome
from tests.fixtures.videos import encode, number_image

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

LABELS = LabelSet(("grooming", "vigilance", "calling"))
NEEDED = {
    "deployment": "cage 1",
    "latitude": "52.5",
    "longitude": "13.4",
    "project": "Cages",
    "contributor": "A. Person",
    "sampling_design": "targeted",
    "capture_method": "timeLapse",
}
RECORDED = {"recorded": "2026-05-01T10:00:00+02:00"}

# Rows of the example of the standard (MICA, doi:10.15468/5tb6ze, data under CC0 1.0).
REAL_DEPLOYMENTS = """\
deploymentID,locationID,locationName,latitude,longitude,coordinateUncertainty,deploymentStart,\
deploymentEnd,setupBy,cameraID,cameraModel,cameraDelay,cameraHeight,cameraDepth,cameraTilt,cameraHeading,\
detectionDistance,timestampIssues,baitUse,featureType,habitat,deploymentGroups,deploymentTags,\
deploymentComments
00a2c20d,e254a13c,B_HS_val 2_processiepark,51.496,4.774,187,2020-05-30T04:57:37+02:00,\
2020-07-01T11:41:41+02:00,anonymized:3eb30aa,320,Reconyx-HF2X,0,1.30,,-15,285,3.20,false,false,\
trailGame,Campine area with a number of river valleys with valuable grasslands,\
area:HS | season:spring,position:above stream,
"""
REAL_MEDIA = """\
mediaID,deploymentID,captureMethod,timestamp,filePath,filePublic,fileName,fileMediatype,exifData,\
favorite,mediaComments
07840dcc,00a2c20d,activityDetection,2020-05-30T04:57:37+02:00,\
https://multimedia.agouti.eu/assets/07840dcc-0d99-4ab4-973b-7e4a8e20b56d/file,true,\
20200709093328-RCNX0001.JPG,image/jpeg,,,
29aef5c3,00a2c20d,activityDetection,2020-05-31T06:05:14+02:00,\
https://multimedia.agouti.eu/assets/29aef5c3-20a6-4701-9027-8b04c620cda0/file,true,\
20200709093333-RCNX0017.JPG,image/jpeg,,,
401386c7,00a2c20d,activityDetection,2020-05-30T04:57:40+02:00,\
https://multimedia.agouti.eu/assets/401386c7-cc7a-46e5-9160-48c6158624a3/file,true,\
20200709093328-RCNX0002.JPG,image/jpeg,,,
"""
OBSERVATION_HEADER = """\
observationID,deploymentID,mediaID,eventID,eventStart,eventEnd,observationLevel,observationType,\
cameraSetupType,scientificName,count,lifeStage,sex,behavior,individualID,individualPositionRadius,\
individualPositionAngle,individualSpeed,bboxX,bboxY,bboxWidth,bboxHeight,classificationMethod,\
classifiedBy,classificationTimestamp,classificationProbability,observationTags,observationComments
"""
REAL_OBSERVATIONS = (
    OBSERVATION_HEADER
    + """\
705e6036,00a2c20d,,4bb69c45,2020-05-30T02:57:37Z,2020-05-30T02:57:44Z,event,animal,,\
Anas platyrhynchos,1,adult,female,foraging,,,,,,,,,human,Danny Van der beeck,\
2020-07-09T09:39:52Z,,,
07840dcc_1,00a2c20d,07840dcc,4bb69c45,2020-05-30T02:57:37Z,2020-05-30T02:57:37Z,media,animal,,\
Anas platyrhynchos,1,adult,female,,,,,,,,,,human,Peter Desmet,,,,
401386c7_1,00a2c20d,401386c7,4bb69c45,2020-05-30T02:57:40Z,2020-05-30T02:57:40Z,media,animal,,\
Anas platyrhynchos,1,adult,female,foraging,,,,,,,,,human,Peter Desmet,,,,
29aef5c3_1,00a2c20d,29aef5c3,f99bfff4,2020-05-31T04:05:14Z,2020-05-31T04:05:14Z,media,blank,,,,,,\
,,,,,,,,,human,Peter Desmet,,,,
"""
)


def write(annotations: Annotations, folder: Path, options: Mapping[str, str]) -> tuple[str, ...]:
    assert FORMAT.write is not None
    return FORMAT.write(annotations, folder, options)


def read(folder: Path, videos: Path | None = None, **options: str) -> Annotations:
    assert FORMAT.read is not None
    return FORMAT.read(folder, Reading(videos or folder, options))


def one_video(path: Path, *events: Event, duration: float | None = 10.0) -> Annotations:
    return Annotations((AnnotatedVideo(path, events, duration, group="cage 1"),), LABELS)


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def package(tmp_path: Path) -> Callable[..., Path]:
    """Write a package of tables, by default the real one with its pictures as videos."""

    def write_files(
        observations: str = REAL_OBSERVATIONS,
        media: str | None = None,
        descriptor: Any = None,
    ) -> Path:
        folder = tmp_path / "package"
        folder.mkdir(exist_ok=True)
        as_videos = REAL_MEDIA.replace(".JPG,image/jpeg", ".MP4,video/mp4")
        (folder / "deployments.csv").write_text(REAL_DEPLOYMENTS, encoding="utf-8")
        (folder / "media.csv").write_text(media or as_videos, encoding="utf-8")
        (folder / "observations.csv").write_text(observations, encoding="utf-8")
        if descriptor is None:
            descriptor = {
                "profile": "https://raw.githubusercontent.com/tdwg/camtrap-dp/1.0.1/"
                "camtrap-dp-profile.json",
                "name": "example",
                "resources": [{"name": name, "path": f"{name}.csv"} for name in TABLES],
                "project": {"title": "MICA", "observationLevel": ["media", "event"]},
            }
        (folder / "datapackage.json").write_text(json.dumps(descriptor), encoding="utf-8")
        return folder

    return write_files


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
        resource["schema"] = table_schema(resource["name"])

    report = Package.from_descriptor(descriptor, basepath=str(out)).validate()

    assert report.valid, report.flatten(["message"])
    assert report.stats["tasks"] == 4


def test_schemas_take_the_example_of_the_standard_and_refuse_wrong_cells(
    package: Callable[..., Path],
) -> None:
    folder = package(media=REAL_MEDIA)
    resources = [
        {
            "name": name,
            "path": f"{name}.csv",
            "profile": "tabular-data-resource",
            "schema": table_schema(name),
        }
        for name in TABLES
    ]

    def errors() -> list[tuple[str, str]]:
        with system.use_context(trusted=True):
            found = Package.from_descriptor({"resources": resources}, basepath=str(folder))
            tasks = found.validate().tasks
            return [(str(task.name), error.message) for task in tasks for error in task.errors]

    assert errors() == []
    wrong = REAL_OBSERVATIONS.replace("adult,female,foraging", "old,female,foraging")
    package(wrong.replace("29aef5c3,f99bfff4", "12345678,f99bfff4"), REAL_MEDIA)
    found = errors()
    assert [name for name, _ in found] == ["observations"] * 3
    assert sum("lifeStage" in text and "enum" in text for _, text in found) == 2
    assert sum("12345678" in text for _, text in found) == 1


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
    assert losses(written, FORMAT.keeps, FORMAT.title) == ()


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


def test_events_of_the_standards_example_are_read(package: Callable[..., Path]) -> None:
    found = read(package())

    # A burst of pictures is taken as videos here: what the rows say, not when.
    [first, blank, third] = found.videos
    adult_female = ("scientificName:Anas platyrhynchos", "lifeStage:adult", "sex:female", "count:1")
    assert first.events == ()
    assert first.checked == frozenset()
    assert third.events == (Event("foraging", 0, None, modifiers=adult_female),)
    assert third.checked == {"foraging"}
    assert (blank.events, blank.checked) == ((), None)
    assert {video.group for video in found.videos} == {"00a2c20d"}
    assert found.labels.names == ("foraging",)
    assert found.notes == (
        "observations of events with several videos, which are left out: 1",
        "observations without a behavior, which say nothing here: 1",
        "observations that say what is in a video, not when: 1",
    )


def test_pictures_are_left_out_and_counted(package: Callable[..., Path]) -> None:
    found = read(package(media=REAL_MEDIA))

    assert found.videos == ()
    assert found.notes[0] == "media files that are no videos, which are left out: 3"


def test_species_can_be_the_labels(package: Callable[..., Path]) -> None:
    found = read(package(), label="scientificName")

    assert found.labels.names == ("Anas platyrhynchos",)
    assert found.videos[0].events[0].modifiers == ("lifeStage:adult", "sex:female", "count:1")


def test_behaviors_that_a_row_does_not_name_are_unknown_unless_told(
    package: Callable[..., Path],
) -> None:
    found = read(package(), unlisted="absent")

    assert {video.checked for video in found.videos} == {None}


def observation(**cells: str) -> str:
    """A table with one row about the first video, which began at 02:57:37 UTC."""
    defaults = {
        "observationID": "o",
        "deploymentID": "00a2c20d",
        "mediaID": "07840dcc",
        "eventStart": "2020-05-30T04:57:39+02:00",
        "eventEnd": "2020-05-30T02:57:41Z",
        "observationLevel": "media",
        "observationType": "animal",
        "behavior": "foraging|vigilance",
    } | cells
    names = OBSERVATION_HEADER.strip().split(",")
    return OBSERVATION_HEADER + ",".join(defaults.get(name, "") for name in names) + "\n"


def test_times_are_counted_from_the_start_of_the_video(package: Callable[..., Path]) -> None:
    found = read(package(observation()))

    assert found.videos[0].events == (Event("foraging", 2, 4), Event("vigilance", 2, 4))
    assert "observations whose times are whole seconds: 2" in found.notes


def test_an_event_of_one_video_is_its_own(package: Callable[..., Path]) -> None:
    media = REAL_MEDIA.replace(".JPG,image/jpeg", ".MP4,video/mp4").split("401386c7,")[0]
    folder = package(
        observation(mediaID="", observationLevel="event", eventStart="2020-05-30T02:57:30Z"), media
    )

    assert read(folder).videos[0].events[0] == Event("foraging", 0, 4)


def test_times_outside_of_the_video_are_left_out(package: Callable[..., Path]) -> None:
    early = observation(eventStart="2020-05-30T02:50:00Z", eventEnd="2020-05-30T02:51:00Z")

    found = read(package(early))

    assert found.videos[0].events == ()
    assert found.notes[-1] == (
        "observations at times outside of their video, which are left out: 2"
    )


def test_tags_that_do_not_fit_to_the_times_are_not_believed(package: Callable[..., Path]) -> None:
    edited = observation(observationTags="startSeconds:7.5|endSeconds:8.5|left")
    kept = observation(observationTags="startSeconds:2.75|endSeconds:3.25")

    assert read(package(edited)).videos[0].events[0] == Event("foraging", 2, 4, modifiers=("left",))
    assert read(package(kept)).videos[0].events[0] == Event("foraging", 2.75, 3.25)


def test_probabilities_are_scores_where_a_model_gave_them(package: Callable[..., Path]) -> None:
    by_model = observation(classificationMethod="machine", classificationProbability="0.5")
    by_person = observation(classificationMethod="human", classificationProbability="0.9")

    assert read(package(by_model)).videos[0].events[0].score == 0.5
    found = read(package(by_person))
    assert found.videos[0].events[0].score is None
    assert "probabilities that no model gave, which are left out: 2" in found.notes


def test_unclassified_videos_were_not_looked_at(package: Callable[..., Path]) -> None:
    found = read(package(observation(observationType="unclassified", behavior="")))

    assert found.videos == ()
    assert found.notes == (
        "videos without an observation, which are left out: 3",
        "unclassified observations, which are left out: 1",
    )


@pytest.mark.parametrize(
    ("cells", "words"),
    [
        ({"eventStart": "2020-05-30"}, "line 2, eventStart: found '2020-05-30', expected a date"),
        ({"eventEnd": "9999-12-31T23:59:59Z"}, "line 2, eventEnd: found '9999-12-31T23:59:59Z'"),
        ({"eventEnd": "2020-05-30T02:57:41"}, "line 2, eventEnd: found '2020-05-30T02:57:41'"),
        ({"eventEnd": "2019-05-30T02:57:41Z"}, "eventEnd: found .* expected a time not before"),
        ({"mediaID": "other"}, "mediaID: found 'other', expected an identifier of the table of"),
        ({"observationType": ""}, "observationType: found '', expected a value"),
        ({"classificationProbability": "sure"}, "found 'sure', expected a number"),
        ({"classificationProbability": "1.5"}, "found '1.5', expected a number from 0 to 1"),
    ],
)
def test_wrong_cells_are_named(
    package: Callable[..., Path], cells: dict[str, str], words: str
) -> None:
    folder = package(observation(**cells))

    with pytest.raises(DatasetError, match=words) as caught:
        read(folder)
    assert str(caught.value).startswith(f"{folder / 'observations.csv'}, line 2")


def test_wrong_tables_are_named(package: Callable[..., Path]) -> None:
    with pytest.raises(DatasetError, match=r"observations\.csv: no column mediaID, eventStart"):
        read(package("observationID,deploymentID\n"))
    with pytest.raises(DatasetError, match="line 2: found 2 cells, expected 28, one for each"):
        read(package(OBSERVATION_HEADER + "a,b\n"))
    twice = REAL_MEDIA + REAL_MEDIA.split("\n", maxsplit=1)[1]
    with pytest.raises(DatasetError, match=r"media\.csv, line 5, mediaID: found '07840dcc'"):
        read(package(media=twice))
    folder = package()
    (folder / "media.csv").unlink()
    with pytest.raises(DatasetError, match=r"media\.csv: no such file, but the package needs it"):
        read(folder)


def descriptor(**changes: Any) -> dict[str, Any]:
    return {
        "profile": "https://example.org/camtrap-dp/1.0/camtrap-dp-profile.json",
        "resources": [{"name": name, "path": f"{name}.csv"} for name in TABLES],
    } | changes


@pytest.mark.parametrize(
    ("document", "words"),
    [
        (descriptor(profile="x/camtrap-dp/0.6/y"), "profile: found Camtrap DP 0.6, expected 1.x"),
        (descriptor(resources=[]), "resources: none is named 'media'; this is no Camtrap DP"),
        ([], "found a list of 0, expected an object"),
        ({}, "no 'profile'; found nothing"),
        (
            descriptor(resources=[{"name": "media", "path": "../../secret.csv"}]),
            r"path: found \"../../secret.csv\", expected a path below the folder",
        ),
        (
            descriptor(resources=[{"name": "media", "path": "https://example.org/a.csv"}]),
            "expected a path below the folder of the package",
        ),
        (
            descriptor(resources=[{"name": "media", "path": "C:\\\\a.csv"}]),
            "expected a path below the folder of the package",
        ),
    ],
)
def test_wrong_descriptors_are_named(
    package: Callable[..., Path], document: Any, words: str
) -> None:
    folder = package(descriptor=document)

    with pytest.raises(DatasetError, match=words) as caught:
        read(folder)
    assert str(folder / "datapackage.json") in str(caught.value)


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


_CELLS = st.sampled_from(
    [
        *(
            "",
            "NA",
            "x",
            "1",
            "-1",
            "nan",
            "1e999",
            "|",
            "a|b|a",
            "\x00",
            "blank",
            "human",
            "media",
        ),
        *("2020-05-30T02:57:41Z", "9999-12-31T23:59:59Z", "0001-01-01T00:00:00+14:00", "00a2c20d"),
        *("07840dcc", "startSeconds:1|endSeconds:2", "video/mp4", '"', "ünï", "a" * 5000, "\ud800"),
    ]
)


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=150
)
@given(data=st.data())
def test_broken_tables_give_errors_that_can_be_read(
    package: Callable[..., Path], data: st.DataObject
) -> None:
    tables = []
    for text in (REAL_OBSERVATIONS, REAL_MEDIA.replace("image/jpeg", "video/mp4")):
        lines = [line.split(",") for line in text.splitlines()]
        for _ in range(data.draw(st.integers(0, 3))):
            line = lines[data.draw(st.integers(0, len(lines) - 1))]
            line[data.draw(st.integers(0, len(line) - 1))] = data.draw(_CELLS)
        joined = "\n".join(map(",".join, lines))
        tables.append(
            joined[: data.draw(st.integers(0, len(joined)))] if len(lines) % 2 else joined
        )
    folder = package(descriptor=descriptor())
    for name, text in zip(("observations", "media"), tables, strict=True):
        (folder / f"{name}.csv").write_bytes(text.encode("utf-8", "surrogatepass"))

    found, problem = outcome(lambda: read(folder))

    assert str(folder) in problem or problem == ""
    assert found is None or all(video.path.is_absolute() for video in found.videos)
