from __future__ import annotations

import contextlib
import csv
import io
import json
import pickle
import stat
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from msqnet.errors import DatasetError, MissingExtra, ShapeError
from msqnet.files import replacing
from msqnet.labels import LabelSet
from msqnet.predictions import (
    SCHEMA_VERSION,
    Novelty,
    Segment,
    Timeline,
    VideoPredictions,
    WindowScores,
    result_names,
)

if TYPE_CHECKING:
    from pathlib import Path

# Numbers that have no short decimal, so that a lossy round trip shows.
THIRD = float(np.float32(1 / 3))
START = 1001 / 30000


def predictions(**changes: Any) -> VideoPredictions:
    random = np.random.default_rng(0)
    result = VideoPredictions(
        path="a/clip ünd.mp4",
        labels=LabelSet(("walking", "face_washing")),
        duration_seconds=10 / 3,
        width=640,
        height=361,
        window_seconds=2.0,
        stride_seconds=4 / 3,
        windows=(
            WindowScores(0.0, 2.0, random.random(2, dtype=np.float32), (0.1, 0.2, 0.3, 1 / 3)),
            WindowScores(START, 10 / 3, random.random(2, dtype=np.float32)),
        ),
        timeline=Timeline(
            np.array([0.0, START, 2.0, 10 / 3]), random.random((3, 2), dtype=np.float32)
        ),
        segments=(Segment("walking", START, 10 / 3, THIRD),),
        thresholds=(0.5, THIRD),
        provenance={"model": {"name": "tiny"}, "msqnet_version": "1"},
        notes=("the end is damaged",),
    )
    return replace(result, **changes)


def test_json_round_trip_is_exact() -> None:
    original = predictions()
    again = VideoPredictions.from_json(original.to_json())
    assert again == original
    assert again.timeline.scores.dtype == np.float32
    assert again.to_json() == original.to_json()


def test_equality_notices_one_changed_score() -> None:
    original = predictions()
    scores = original.timeline.scores.copy()
    scores[2, 1] = np.nextafter(scores[2, 1], np.float32(1))
    changed = replace(original, timeline=Timeline(original.timeline.edges_seconds, scores))
    assert changed != original


def test_json_is_strict_and_names_its_schema() -> None:
    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    document = json.loads(predictions().to_json(), parse_constant=refuse)
    assert document["schema_version"] == SCHEMA_VERSION
    assert document["labels"] == ["walking", "face_washing"]


def test_a_not_a_number_in_the_provenance_is_refused() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        predictions(provenance={"threshold": float("nan")}).to_json()


def test_file_name_that_is_not_utf8_survives(tmp_path: Path) -> None:
    original = predictions(path=b"caf\xe9.mp4".decode("utf-8", "surrogateescape"))
    json_path, segments_path, _ = original.write(tmp_path / "x.mp4")
    assert VideoPredictions.from_json(json_path.read_text(encoding="utf-8")) == original
    assert b"caf\xe9.mp4,walking" in segments_path.read_bytes()


@pytest.mark.parametrize("version", [1, 2, 3])
def test_result_of_an_earlier_schema_keeps_its_meaning(version: int) -> None:
    document = json.loads(predictions(notes=("cut",)).to_json())
    document["schema_version"] = version
    for name in ("clock", "is_partial", "shown", *(("novelty",) if version == 1 else ())):
        del document[name]

    old = VideoPredictions.from_json(json.dumps(document))

    assert old == predictions(notes=("cut",), clock="first_frame", is_partial=True)
    assert old.novelty is None
    moved = old.moved(3.0, 13.0)
    assert (moved.clock, moved.duration_seconds) == ("file", 13.0)
    for new, own in zip(
        (*moved.windows, *moved.segments), (*old.windows, *old.segments), strict=True
    ):
        assert new.start_seconds == own.start_seconds + 3
        assert new.end_seconds == own.end_seconds + 3
    assert moved.shown[0][0] == moved.timeline.edges_seconds[0] == 3


def test_novelty_survives_and_warns_where_a_video_is_unlike_the_training_videos() -> None:
    unlike = predictions(notes=("cut",), novelty=Novelty(0.996, 0.7, is_unlike=True))

    again = VideoPredictions.from_json(unlike.to_json())

    assert again == unlike
    assert again.warnings[0] == "cut"
    assert again.warnings[1] == (
        "possibly out of distribution: farther from the training videos than 99.6% of them are "
        "from one another"
    )
    assert "than all of them" in Novelty(1.0, 0.7, is_unlike=True).warning
    usual = predictions(notes=(), novelty=Novelty(0.5, 0.2, is_unlike=False))
    assert usual.warnings == ()


def test_newer_schema_is_refused_with_the_next_step() -> None:
    document = json.loads(predictions().to_json())
    document["schema_version"] = SCHEMA_VERSION + 1
    with pytest.raises(DatasetError, match=rf"version {SCHEMA_VERSION + 1}.*upgrade msqnet"):
        VideoPredictions.from_json(json.dumps(document))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not JSON"),
        ("[1]", "no schema_version"),
        ("{}", "no schema_version"),
        ('{"schema_version": 1}', "labels"),
    ],
)
def test_other_text_is_refused(text: str, message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        VideoPredictions.from_json(text)


@settings(max_examples=100)
@given(data=st.data())
def test_changed_result_is_refused_by_one_error_or_read(data: st.DataObject) -> None:
    """Whatever value stands in a field: no other error comes out."""
    document = json.loads(predictions().to_json())
    place: Any = document
    while True:
        key = data.draw(
            st.sampled_from(list(place) if isinstance(place, dict) else range(len(place)))
        )
        if not isinstance(place[key], dict | list) or not place[key] or data.draw(st.booleans()):
            break
        place = place[key]
    values = st.none() | st.integers() | st.text() | st.floats(allow_nan=False)
    place[key] = data.draw(st.recursive(values, st.lists, max_leaves=4))
    with contextlib.suppress(DatasetError):
        VideoPredictions.from_json(json.dumps(document))


def test_pickle_gives_an_equal_object() -> None:
    original = predictions()
    assert pickle.loads(pickle.dumps(original)) == original
    assert len({original.timeline, pickle.loads(pickle.dumps(original.timeline))}) == 1
    assert len({original.windows[0], pickle.loads(pickle.dumps(original.windows[0]))}) == 1


def test_import_does_not_load_torch() -> None:
    program = "import sys, msqnet.predictions; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_files_keep_the_extension_of_the_input(tmp_path: Path) -> None:
    paths = predictions().write(tmp_path / "deep" / "clip.mp4")
    assert [path.name for path in paths] == [
        "clip.mp4.json",
        "clip.mp4.csv",
        "clip.mp4.scores.parquet",
    ]
    assert sorted((tmp_path / "deep").iterdir()) == sorted(paths)
    assert paths == tuple(tmp_path / "deep" / name for name in result_names("clip.mp4"))


def test_segments_file_holds_exact_times(tmp_path: Path) -> None:
    original = predictions()
    _, path, _ = original.write(tmp_path / "clip.mp4")
    with path.open(encoding="utf-8", newline="") as file:
        (row,) = csv.DictReader(file)
    assert row["path"] == original.path
    assert row["label"] == "walking"
    assert float(row["start_seconds"]) == START
    assert float(row["end_seconds"]) == 10 / 3
    assert float(row["score"]) == THIRD


def test_scores_file_holds_the_timeline_of_every_label(tmp_path: Path) -> None:
    original = predictions()
    _, _, path = original.write(tmp_path / "clip.mp4")
    table = pq.read_table(path)
    assert table.column_names == [
        *("start_seconds", "end_seconds", "walking", "face_washing", "is_unknown"),
    ]
    edges = original.timeline.edges_seconds
    np.testing.assert_array_equal(table["start_seconds"].to_numpy(), edges[:-1])
    np.testing.assert_array_equal(table["end_seconds"].to_numpy(), edges[1:])
    np.testing.assert_array_equal(table["face_washing"].to_numpy(), original.timeline.scores[:, 1])
    about = json.loads(table.schema.metadata[b"msqnet"])
    assert about["provenance"] == original.provenance


def test_failed_write_leaves_the_old_results_alone(tmp_path: Path) -> None:
    stem = tmp_path / "clip.mp4"
    before = [path.read_bytes() for path in predictions().write(stem)]
    with pytest.raises(ValueError, match="JSON"):
        predictions(segments=(), provenance={"bad": float("nan")}).write(stem)
    assert [stem.with_name(name).read_bytes() for name in result_names(stem.name)] == before
    assert len(list(tmp_path.iterdir())) == len(before)


def test_replacing_keeps_usual_permissions(tmp_path: Path) -> None:
    plain, replaced = tmp_path / "plain", tmp_path / "replaced"
    plain.write_text("")
    with replacing(replaced) as part:
        part.write_text("")
    assert stat.S_IMODE(replaced.stat().st_mode) == stat.S_IMODE(plain.stat().st_mode)


def test_scores_at_a_time_are_those_of_its_half_open_step() -> None:
    timeline = Timeline(np.array([0.0, 1.0, 3.0]), np.array([[0.25], [0.75]], np.float32))
    times = np.array([-1.0, 0.0, 0.999, 1.0, 2.5, 3.0, 9.0])
    expected = [0.25, 0.25, 0.25, 0.75, 0.75, 0.75, 0.75]
    np.testing.assert_array_equal(timeline.scores_at(times)[:, 0], expected)


def test_peaks_are_the_highest_labels_with_their_place() -> None:
    scores = np.array([[0.1, 0.9, 0.2], [0.3, 0.1, 0.2]], np.float32)
    result = predictions(
        labels=LabelSet(("a", "b", "c")),
        windows=(),
        segments=(),
        thresholds=(1, 1, 1),
        timeline=Timeline(np.array([0.0, 1.0, 3.0]), scores),
    )
    best, second = result.peaks(2)
    assert (best.label, best.start_seconds, best.end_seconds) == ("b", 0.0, 1.0)
    assert (second.label, second.start_seconds, second.end_seconds) == ("a", 1.0, 3.0)
    assert len(result.peaks(9)) == 3


@pytest.mark.parametrize(
    "changes",
    [
        {"thresholds": (0.5,)},
        {"labels": LabelSet(("one", "two", "three"))},
        {"segments": (Segment("flying", 0.0, 1.0, 0.5),)},
    ],
)
def test_parts_that_do_not_fit_together_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ShapeError, match="clip"):
        predictions(**changes)


@pytest.mark.parametrize("scores", [[1.5], [-0.1], [1e39], [float("nan")], [[0.5]]])
def test_scores_that_are_not_scores_are_refused(scores: Any) -> None:
    with pytest.raises(ShapeError, match=r"WindowScores\.scores"):
        WindowScores(0.0, 1.0, np.array(scores))


@pytest.mark.parametrize(
    ("edges", "scores"),
    [
        ([0.0, 1.0], [[0.5], [0.5]]),
        ([0.0, 1.0, 1.0], [[0.5], [0.5]]),
        ([0.0], np.zeros((0, 1))),
    ],
)
def test_timeline_with_wrong_edges_is_refused(edges: Any, scores: Any) -> None:
    with pytest.raises(ShapeError, match="rising"):
        Timeline(np.array(edges), np.array(scores, dtype=np.float32))


@pytest.mark.parametrize("num_segments", [0, 1])
def test_data_frame_holds_what_the_csv_holds(num_segments: int) -> None:
    result = predictions()
    result = replace(result, segments=result.segments[:num_segments])
    frame = result.to_dataframe()
    names, *rows = csv.reader(io.StringIO(result.segments_csv()))
    assert list(frame.columns) == names
    assert [list(map(str, row)) for row in frame.to_numpy().tolist()] == rows
    assert set(frame.dtypes[2:]) == {np.dtype("float64")}


def test_data_frame_without_pandas_names_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(MissingExtra, match=r"to_dataframe needs .*'msqnet\[pandas\]'"):
        predictions().to_dataframe()
