from __future__ import annotations

import time
from typing import TYPE_CHECKING

import fsspec
import pandas as pd
import pytest

from msqnet.batch.work_list import find_jobs
from msqnet.errors import ConfigError, DatasetError
from msqnet.inference.results import find_videos

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def touch(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return path


def listed(*inputs: str | Path) -> dict[str, str]:
    return {job.name: job.source for job in find_jobs([str(item) for item in inputs])}


@pytest.fixture
def memory() -> Iterator[fsspec.AbstractFileSystem]:
    """An empty file system in memory."""
    system = fsspec.filesystem("memory")
    system.store.clear()
    system.pseudo_dirs[:] = [""]
    yield system
    system.store.clear()


def test_folder_is_listed_as_predict_names_it_sorted_by_name(tmp_path: Path) -> None:
    for name in ("b.MP4", "a/z.avi", "a/.hidden.mp4", "notes.txt", "a/x.mp4.overlay.mp4"):
        touch(tmp_path / name)
    assert listed(tmp_path) == {
        "a/z.avi": str(tmp_path / "a" / "z.avi"),
        "b.MP4": str(tmp_path / "b.MP4"),
    }


def test_videos_come_in_the_order_of_the_inputs(tmp_path: Path) -> None:
    first, second = touch(tmp_path / "x" / "b.mp4"), touch(tmp_path / "y" / "a.mp4")
    assert [job.name for job in find_jobs([str(first), str(second)])] == ["b.mp4", "a.mp4"]


def test_pattern_stands_for_what_it_matches(tmp_path: Path) -> None:
    for name in ("a1.mp4", "a2.mp4", "b.mp4"):
        touch(tmp_path / name)
    assert list(listed(tmp_path / "a*.mp4")) == ["a1.mp4", "a2.mp4"]
    with pytest.raises(ConfigError, match=r"c\*\.mp4: no file matches"):
        listed(tmp_path / "c*.mp4")


def test_file_whose_name_looks_like_a_pattern_stands_for_itself(tmp_path: Path) -> None:
    assert list(listed(touch(tmp_path / "a[1].mp4"))) == ["a[1].mp4"]


def test_file_url_is_a_local_path(tmp_path: Path) -> None:
    path = touch(tmp_path / "a b.mp4")
    assert listed(path.as_uri()) == {"a b.mp4": str(path)}


@pytest.mark.parametrize(("suffix", "separator"), [(".csv", ","), (".tsv", "\t")])
def test_manifest_names_paths_relative_to_itself(
    tmp_path: Path, suffix: str, separator: str
) -> None:
    rows = [["path", "name"], ["in/a.mp4", ""], ["in/b.mp4", "second.mp4"], ["/far/c.mp4", ""]]
    manifest = tmp_path / f"list{suffix}"
    manifest.write_text("\n".join(separator.join(row) for row in rows) + "\n")
    assert listed(manifest) == {
        "c.mp4": "/far/c.mp4",
        "in/a.mp4": str(tmp_path / "in" / "a.mp4"),
        "second.mp4": str(tmp_path / "in" / "b.mp4"),
    }


def test_manifest_may_be_parquet_and_hold_urls(tmp_path: Path) -> None:
    url = "http://videos.example/x/clip%201.mp4?key=1"
    pd.DataFrame({"path": ["../a.mp4", url]}).to_parquet(tmp_path / "list.parquet")
    found = listed(tmp_path / "list.parquet")
    assert list(found) == ["a.mp4", "clip 1.mp4"]
    assert found["clip 1.mp4"] == url


def test_table_of_clips_with_several_rows_a_video_is_a_manifest(tmp_path: Path) -> None:
    table = tmp_path / "clips.csv"
    table.write_text("path,start,end\na.mp4,0,1\na.mp4,1,2\n")
    assert list(listed(table)) == ["a.mp4"]


def test_manifest_may_have_another_column_and_encoding(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    manifest = tmp_path / "list.csv"
    manifest.write_bytes("Video;Ort\nKäfig.mp4;1\n".encode("cp1252"))
    assert list(listed(manifest)) == ["Käfig.mp4"]
    assert "read as Windows-1252" in caplog.text
    assert "videos are named by column 'Video'" in caplog.text


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("film,name\na.mp4,a\n", r"no column 'path'; found 'film', 'name'"),
        ("file,video\na.mp4,a\n", r"no column 'path'; found 'file', 'video'"),
        ("path\n", "without rows"),
        ("path,name\n,a\n", "row 2 has no path"),
        ("", "the file is empty"),
    ],
)
def test_unfit_manifest_is_refused(tmp_path: Path, text: str, problem: str) -> None:
    (tmp_path / "list.csv").write_text(text)
    with pytest.raises(DatasetError, match=problem):
        listed(tmp_path / "list.csv")


@pytest.mark.parametrize(
    "name", ["../a.mp4", "/a.mp4", ".batch/a.mp4", "dataset/scores/a.mp4", "index", "errors"]
)
def test_name_that_would_harm_other_files_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "list.csv").write_text(f"path,name\na.mp4,{name}\n")
    with pytest.raises(ConfigError, match="cannot be named"):
        listed(tmp_path / "list.csv")


def test_two_videos_of_one_name_are_refused(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("path\n/x/a.mp4\n/y/a.mp4\n")
    with pytest.raises(ConfigError, match=r"/x/a\.mp4 and /y/a\.mp4 would both"):
        listed(tmp_path / "list.csv")


def test_remote_folder_and_pattern_are_listed(memory: fsspec.AbstractFileSystem) -> None:
    for name in ("/in/b.mp4", "/in/deep/a.avi", "/in/.hidden/c.mp4", "/in/notes.txt"):
        memory.pipe_file(name, b"x")
    assert listed("memory://in") == {
        "b.mp4": "memory:///in/b.mp4",
        "deep/a.avi": "memory:///in/deep/a.avi",
    }
    assert listed("memory://in/*.mp4") == {"b.mp4": "memory:///in/b.mp4"}
    assert list(listed("memory://in/deep/a.avi")) == ["a.avi"]
    with pytest.raises(ConfigError, match="no file with a video suffix"):
        listed("memory://in/.hidden/*.avi")


def test_remote_manifest_names_urls_relative_to_itself(memory: fsspec.AbstractFileSystem) -> None:
    memory.pipe_file("/lists/list.csv", b"path\nin/a.mp4\n")
    assert listed("memory://lists/list.csv") == {"in/a.mp4": "memory://lists/in/a.mp4"}


def test_unknown_protocol_is_named() -> None:
    with pytest.raises(ConfigError, match="nothing://x/"):
        listed("nothing://x/")


def test_missing_file_stays_in_the_list(tmp_path: Path) -> None:
    assert list(listed(tmp_path / "gone.mp4")) == ["gone.mp4"]


def test_ten_thousand_files_are_listed_quickly(tmp_path: Path) -> None:
    for number in range(10_000):
        (tmp_path / f"{number:05}.mp4").touch()
    started = time.process_time()
    assert len(listed(tmp_path)) == 10_000
    assert time.process_time() - started < 10


def test_long_names_are_cut_as_predict_cuts_them(tmp_path: Path) -> None:
    name = "ä" * 120 + ".mp4"
    (tmp_path / "list.csv").write_text(f"path\nin/{name}\n", encoding="utf-8")
    (found,) = listed(tmp_path / "list.csv")
    assert found == f"in/{find_videos([tmp_path / 'in' / name])[0].name}"
    assert len(found.encode()) < 255
