from __future__ import annotations

import csv
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from msqnet import __version__
from msqnet.batch.runners import ResultsFolder, predict_into
from msqnet.batch.work_list import find_jobs
from msqnet.config import SegmentConfig, WindowConfig
from msqnet.errors import ConfigError, DatasetError
from msqnet.inference.predictor import Predictor
from msqnet.inference.results import IndexRow, VideoJob, find_videos, read_index
from msqnet.predictions import VideoPredictions
from tests.unit.inference.brightness import (
    BLACK,
    WHITE,
    BrightnessBackend,
    write_truncated_video,
    write_video,
)


def touch(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return path


def names(*arguments: Path) -> list[str]:
    return [video.name for video in find_videos(arguments)]


def index(folder: Path) -> list[dict[str, str]]:
    with (folder / "index.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def predictor() -> Predictor:
    return Predictor(BrightnessBackend(), WindowConfig(stride_seconds=1.0))


@pytest.fixture
def video(tmp_path: Path) -> VideoJob:
    path = write_video(tmp_path / "in" / "a" / "clip.mov", [BLACK] * 10 + [WHITE] * 10)
    return VideoJob("a/clip.mov", str(path))


def test_folder_is_walked_in_sorted_order_for_video_suffixes(tmp_path: Path) -> None:
    for name in ("b.MP4", "a/z.avi", "a/y.mkv", "notes.txt", "a/.hidden.mp4", ".git/x.mp4"):
        touch(tmp_path / name)
    assert names(tmp_path) == ["a/y.mkv", "a/z.avi", "b.MP4"]


def test_what_was_drawn_is_not_taken_for_a_video(tmp_path: Path) -> None:
    for name in ("a.mp4", "a.mp4.overlay.mp4", "a.mp4.overlay.gif", "b.gif"):
        touch(tmp_path / name)
    assert names(tmp_path) == ["a.mp4", "b.gif"]


def test_file_is_taken_whatever_its_suffix(tmp_path: Path) -> None:
    assert names(touch(tmp_path / "deep" / "clip.seq")) == ["clip.seq"]


def test_folder_that_holds_images_only_is_one_video(tmp_path: Path) -> None:
    for name in ("frames/1.png", "frames/2.JPG", "mixed/1.png", "mixed/readme.txt", "mixed/c.mp4"):
        touch(tmp_path / name)
    assert names(tmp_path) == ["frames", "mixed/c.mp4"]
    assert names(tmp_path / "frames") == ["frames"]


def test_missing_file_and_empty_folder_stay_so_that_reading_reports_them(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert names(tmp_path / "gone.mp4", tmp_path / "empty") == ["gone.mp4", "empty"]


def test_links_are_followed_but_never_in_circles(tmp_path: Path) -> None:
    touch(tmp_path / "data" / "a.mp4")
    touch(tmp_path / "elsewhere" / "b.mp4")
    (tmp_path / "data" / "again").symlink_to(tmp_path / "data", target_is_directory=True)
    (tmp_path / "data" / "more").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    assert names(tmp_path / "data") == ["a.mp4", "more/b.mp4"]


def test_same_video_named_twice_is_done_once(tmp_path: Path) -> None:
    path = touch(tmp_path / "a.mp4")
    assert names(path, tmp_path) == ["a.mp4"]


def test_two_videos_with_one_result_name_are_refused(tmp_path: Path) -> None:
    first, second = touch(tmp_path / "x" / "a.mp4"), touch(tmp_path / "y" / "a.mp4")
    with pytest.raises(ConfigError, match=r"x/a\.mp4 and .*y/a\.mp4 would both"):
        find_videos([first, second])


def test_name_that_leaves_no_room_for_suffixes_is_cut_and_stays_its_own(tmp_path: Path) -> None:
    long = "\N{GREEK SMALL LETTER BETA}" * 125  # two bytes each: 250, and 5 of the suffix
    first, second = touch(tmp_path / f"{long}.mp4"), touch(tmp_path / f"{long}.avi")
    found = names(first, second)
    assert len(set(found)) == 2
    for name in found:
        assert len(name.encode()) <= 215
        assert name.startswith("\N{GREEK SMALL LETTER BETA}" * 100)
    assert names(first) == found[:1]


def test_no_argument_is_an_error() -> None:
    with pytest.raises(ConfigError, match="no video given"):
        find_videos([])


def test_files_mirror_the_input_and_the_index_lists_them(
    tmp_path: Path, predictor: Predictor, video: VideoJob
) -> None:
    out = tmp_path / "out"
    row, predictions = predict_into(ResultsFolder(out), video, predictor)
    assert predictions == predictor(video.source)
    text = (out / "a" / "clip.mov.json").read_text(encoding="utf-8")
    assert VideoPredictions.from_json(text) == predictions
    outputs = "a/clip.mov.json|a/clip.mov.csv|a/clip.mov.scores.parquet"
    assert row == IndexRow(video.source, outputs, "ok", "")
    assert all((out / name).is_file() for name in outputs.split("|"))
    assert index(out) == [
        {"input": video.source, "outputs": outputs, "status": "ok", "error": "", "note": ""}
    ]


def test_without_a_results_folder_nothing_is_written(
    tmp_path: Path, predictor: Predictor, video: VideoJob
) -> None:
    before = sorted(tmp_path.rglob("*"))
    row, predictions = predict_into(None, video, predictor)
    assert row.status == "ok"
    assert predictions is not None
    assert sorted(tmp_path.rglob("*")) == before


def test_broken_file_is_one_row_and_leaves_no_results(tmp_path: Path, predictor: Predictor) -> None:
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no video")
    results = ResultsFolder(tmp_path / "out")
    row, predictions = predict_into(results, VideoJob("broken.mp4", str(broken)), predictor)
    assert predictions is None
    assert (row.status, row.outputs) == ("error", "")
    assert "broken.mp4" in row.error
    assert [path.name for path in results.folder.iterdir()] == ["index.csv"]


class SurprisedBackend(BrightnessBackend):
    """Fails as nobody foresaw."""

    def frame_features(self, *_: Any, **__: Any) -> Any:
        raise KeyError("no such scanner")


def test_error_that_nobody_foresaw_costs_a_row_and_is_logged(
    tmp_path: Path, video: VideoJob
) -> None:
    predictor = Predictor(SurprisedBackend())
    row, predictions = predict_into(ResultsFolder(tmp_path / "out"), video, predictor)
    assert (row.status, predictions) == ("error", None)
    assert video.source in row.error
    assert "KeyError: 'no such scanner'" in row.error
    assert f"msqnet {__version__}" in row.error
    (log,) = re.findall(r"traceback is in (\S+\.log)", row.error)
    text = Path(log).read_text(encoding="utf-8")
    assert "frame_features" in text
    assert video.source in text


def test_damaged_end_is_a_row_of_its_own_kind(tmp_path: Path, predictor: Predictor) -> None:
    path = write_truncated_video(tmp_path / "cut.mov", [WHITE] * 40)
    row, predictions = predict_into(
        ResultsFolder(tmp_path / "out"), VideoJob("cut.mov", str(path)), predictor
    )
    assert row.status == "partial"
    assert row.outputs
    assert predictions is not None
    assert row.error == predictions.notes[0]


def test_second_run_with_the_same_settings_computes_nothing(
    tmp_path: Path, predictor: Predictor, video: VideoJob
) -> None:
    out = tmp_path / "out"
    first, _ = predict_into(ResultsFolder(out), video, predictor)
    backend = BrightnessBackend()
    again = Predictor(backend, WindowConfig(stride_seconds=1.0, batch_size=2))
    row, predictions = predict_into(ResultsFolder(out), video, again)
    assert row == replace(first, status="exists")
    assert predictions is None
    assert backend.batch_sizes == []


def test_results_of_other_settings_are_not_replaced_unless_asked(
    tmp_path: Path, predictor: Predictor, video: VideoJob
) -> None:
    out = tmp_path / "out"
    predict_into(ResultsFolder(out), video, predictor)
    before = (out / "a" / "clip.mov.json").read_bytes()
    other = Predictor(BrightnessBackend(), WindowConfig(), SegmentConfig(threshold=0.1))
    row, _ = predict_into(ResultsFolder(out), video, other)
    assert row.status == "error"
    assert "--overwrite" in row.error
    assert (out / "a" / "clip.mov.json").read_bytes() == before
    row, predictions = predict_into(ResultsFolder(out, overwrite=True), video, other)
    assert row.status == "ok"
    assert predictions == other(video.source)
    assert (out / "a" / "clip.mov.json").read_bytes() != before


def test_file_of_the_user_in_the_way_is_not_replaced(
    tmp_path: Path, predictor: Predictor, video: VideoJob
) -> None:
    mine = touch(tmp_path / "out" / "a" / "clip.mov.csv")
    mine.write_text("my notes")
    row, _ = predict_into(ResultsFolder(tmp_path / "out"), video, predictor)
    assert row.status == "error"
    assert mine.read_text() == "my notes"
    assert sorted(path.name for path in mine.parent.iterdir()) == ["clip.mov.csv"]


def test_unreadable_result_is_not_taken_for_an_existing_one(
    tmp_path: Path, predictor: Predictor, video: VideoJob
) -> None:
    out = tmp_path / "out"
    predict_into(ResultsFolder(out), video, predictor)
    (out / "a" / "clip.mov.json").write_bytes(b"\xff{")
    row, _ = predict_into(ResultsFolder(out), video, predictor)
    assert row.status == "error"


def test_index_keeps_rows_of_earlier_runs(
    tmp_path: Path, predictor: Predictor, video: VideoJob
) -> None:
    out = tmp_path / "out"
    predict_into(ResultsFolder(out), video, predictor)
    odd = VideoJob("other.mp4", b"caf\xe9.mp4".decode("utf-8", "surrogateescape"))
    predict_into(ResultsFolder(out), odd, predictor)
    results = ResultsFolder(out)
    results.record(IndexRow(video.source, "", "error", "gone"))
    content = (out / "index.csv").read_bytes().splitlines()
    assert len(content) == 3
    assert content[1].endswith(b",error,gone,")
    assert content[2].startswith(b"caf\xe9.mp4,,error,")


def test_index_of_somebody_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "index.csv").write_text("id,name\n1,x\n")
    with pytest.raises(DatasetError, match="not an index of predictions"):
        ResultsFolder(tmp_path)
    assert (tmp_path / "index.csv").read_text() == "id,name\n1,x\n"


def test_results_folder_that_is_a_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="a file"):
        ResultsFolder(touch(tmp_path / "out"))


def test_video_that_would_replace_the_index_is_refused(tmp_path: Path) -> None:
    folder = touch(tmp_path / "index" / "1.png").parent
    with pytest.raises(ConfigError, match="a file of the run itself"):
        find_jobs([str(folder)], with_data_set=False)


def row_of(number: int, error: str = "cause") -> IndexRow:
    return IndexRow(f"video {number}.mp4", "", "error", error)


def test_rows_are_appended_and_those_that_change_are_replaced(tmp_path: Path) -> None:
    results = ResultsFolder(tmp_path)
    for number in range(3):
        results.record(row_of(number))
    results.record(row_of(1, "another\ncause, in two lines"))
    results.record(row_of(3))
    expected = [row_of(0), row_of(1, "another\ncause, in two lines"), row_of(2), row_of(3)]
    assert read_index(results.index_path) == expected
    again = ResultsFolder(tmp_path)
    again.record(row_of(4))
    assert read_index(results.index_path) == [*expected, row_of(4)]


@pytest.mark.parametrize("error", ["a cause", 'a cause,\nin two "lines"'])
def test_row_that_a_kill_cut_off_is_left_out_and_then_written_again(
    tmp_path: Path, error: str
) -> None:
    results = ResultsFolder(tmp_path)
    results.record(row_of(0))
    whole = results.index_path.read_bytes()
    results.record(row_of(1, error))
    added = results.index_path.read_bytes()[len(whole) :]
    for length in range(1, len(added)):
        results.index_path.write_bytes(whole + added[:length])
        assert read_index(results.index_path) == [row_of(0)], added[:length]
    again = ResultsFolder(tmp_path)
    again.record(row_of(1, error))
    assert read_index(results.index_path) == [row_of(0), row_of(1, error)]


def test_carriage_returns_in_names_and_causes_come_back(tmp_path: Path) -> None:
    rows = [
        IndexRow("a\rb.mp4", "", "error", "one\r\ntwo"),
        IndexRow("plain.mp4", "x|y", "ok", ""),
        IndexRow("c.mp4", "", "error", "\r"),
    ]
    results = ResultsFolder(tmp_path)
    for row in rows:
        results.record(row)
    assert read_index(results.index_path) == rows
    results.record(rows[0])
    assert read_index(results.index_path) == rows
    assert b"\nplain.mp4,x|y,ok,,\n" in results.index_path.read_bytes()


def test_index_of_many_videos_costs_each_the_same(tmp_path: Path) -> None:
    results = ResultsFolder(tmp_path)
    results.record(row_of(0))
    inode = results.index_path.stat().st_ino
    for number in range(1, 200):
        results.record(row_of(number))
    assert results.index_path.stat().st_ino == inode  # not written anew
    assert len(read_index(results.index_path)) == 200


def test_index_of_an_earlier_version_gets_notes(tmp_path: Path) -> None:
    (tmp_path / "index.csv").write_text("input,outputs,status,error\na.mp4,,error,gone\n")
    results = ResultsFolder(tmp_path)
    results.record(IndexRow("b.mp4", "x", "ok", "", "half of it is new"))
    assert results.index_path.read_text().splitlines() == [
        *("input,outputs,status,error,note", "a.mp4,,error,gone,"),
        "b.mp4,x,ok,,half of it is new",
    ]
