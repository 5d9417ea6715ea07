from __future__ import annotations

import json
import zipfile
from typing import TYPE_CHECKING, Any

import pytest
from frictionless import Package, system
from hypothesis import given, settings
from hypothesis import strategies as st

from msqnet.errors import DatasetError
from msqnet.formats.annotations import Event
from msqnet.formats.camtrap_dp.camtrap_tables import TABLES, table_schemas
from tests.fixtures.annotation_formats import outcome
from tests.fixtures.camtrap import (
    OBSERVATION_HEADER,
    REAL_MEDIA,
    REAL_OBSERVATIONS,
    read,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def test_schemas_take_the_example_of_the_standard_and_refuse_wrong_cells(
    package: Callable[..., Path],
) -> None:
    folder = package(media=REAL_MEDIA)
    resources = [
        {
            "name": name,
            "path": f"{name}.csv",
            "profile": "tabular-data-resource",
            "schema": table_schemas()[name],
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


def test_events_of_the_standards_example_are_read(package: Callable[..., Path]) -> None:
    found = read(package())

    # A burst of pictures is taken as videos here: what the rows say, not when.
    [first, blank, third] = found.videos
    adult_female = ("scientificName:Anas platyrhynchos", "lifeStage:adult", "sex:female", "count:1")
    assert first.events == ()
    assert first.checked == frozenset()
    assert third.events == (Event("foraging", 0, None, modifiers=adult_female),)
    # The row of the burst may be about either, and was left out.
    assert third.checked == frozenset()
    assert (blank.events, blank.checked) == ((), None)
    assert {video.group for video in found.videos} == {"00a2c20d"}
    assert found.labels.names == ("foraging",)
    assert found.notes == (
        "observations of events with several videos, which are left out: 1",
        "observations without a behavior, which say nothing here: 1",
        "observations that say what is in a video, not when: 1",
        "videos with labels that are known only where they were seen (foraging in "
        "20200709093328-RCNX0002.MP4): 1",
    )


@pytest.mark.parametrize("way", ["folder", "descriptor", "zip", "folder in zip"])
def test_videos_at_addresses_are_found_by_their_names(
    package: Callable[..., Path], tmp_path: Path, way: str
) -> None:
    folder = package(observation())
    videos = tmp_path / "videos"
    # One camera has a folder of its own.
    (videos / "00a2c20d").mkdir(parents=True)
    for name in ("00a2c20d/20200709093328-RCNX0001.MP4", "20200709093333-RCNX0017.MP4"):
        (videos / name).write_bytes(b"")
    path = folder / "datapackage.json" if way == "descriptor" else folder
    if "zip" in way:
        path = tmp_path / "export.zip"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for file in folder.iterdir():
                archive.write(file, f"{'agouti/' if 'folder' in way else ''}{file.name}")

    found = read(path, videos)

    assert [video.path for video in found.videos] == [
        videos / "00a2c20d" / "20200709093328-RCNX0001.MP4"
    ]


def test_media_that_would_be_the_same_file_are_left_out(package: Callable[..., Path]) -> None:
    media = REAL_MEDIA.replace(".JPG,image/jpeg", ".MP4,video/mp4").replace("RCNX0002", "RCNX0001")

    found = read(package(REAL_OBSERVATIONS, media))

    assert [video.path.name for video in found.videos] == ["20200709093333-RCNX0017.MP4"]
    assert found.notes[0].startswith("media files that are all called 20200709093328-RCNX0001.MP4")


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"PK no archive", "not a zip file"), ({"a.txt": "a"}, "found a.txt in it, not what is")],
)
def test_archives_without_a_package_are_named(
    tmp_path: Path, content: bytes | dict[str, str], words: str
) -> None:
    path = tmp_path / "a.zip"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        with zipfile.ZipFile(path, "w") as archive:
            for name, text in content.items():
                archive.writestr(name, text)
    with pytest.raises(DatasetError, match=words):
        read(path)


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

    # A row of an event that is about the first or the third video was left out.
    assert [video.checked for video in found.videos] == [frozenset(), None, frozenset()]


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
    assert "observations at times outside of their video, which are left out: 2" in found.notes


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
        "unclassified observations, which are left out: 1",
        "videos without an observation, which are left out: 3",
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
        ({"classificationProbability": "1.5"}, "found '1.5', expected a score from 0 to 1"),
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
            r"path: found '../../secret.csv', expected a path below the folder",
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


@settings(max_examples=100)
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


def test_several_sets_of_labels_of_one_file_count_as_what_they_share(
    package: Callable[..., Path],
) -> None:
    folder = package(observation(mediaID="401386c7"))
    document = json.loads((folder / "datapackage.json").read_text(encoding="utf-8"))
    stretches = [("foraging|alert", 0, 10), ("foraging", 20, 30), ("*", 40, 50)]
    document["resources"].append(
        {
            "name": "looked-for",
            "data": [
                {
                    "mediaID": "401386c7",
                    "labels": labels,
                    "startSeconds": start,
                    "endSeconds": end,
                }
                for labels, start, end in stretches
            ],
        }
    )
    (folder / "datapackage.json").write_text(json.dumps(document), encoding="utf-8")

    [video] = [video for video in read(folder).videos if video.observed is not None]

    assert video.checked == {"foraging"}
    assert video.observed == ((0, 10), (20, 30), (40, 50))
