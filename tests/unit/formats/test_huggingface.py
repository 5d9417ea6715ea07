from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from msqnet.cli.main import main
from msqnet.formats import Reading, load_format
from msqnet.formats.conversion import write_annotations
from tests.unit.inference.brightness import BLACK, write_video

needs_datasets = pytest.mark.skipif(
    importlib.util.find_spec("datasets") is None, reason="datasets is not installed"
)
LOAD = """
import json, sys
import datasets

folder, *how = sys.argv[1:]
loaded = datasets.load_dataset(*how, data_dir=folder) if how else datasets.load_dataset(folder)
plain = loaded.cast_column("video", datasets.Video(decode=False))
print(json.dumps({name: part.to_list() for name, part in plain.items()}))
"""


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Rows of several splits, one without any label, of videos of one name in two folders."""
    for name in ("day/clip.mp4", "test/clip.mp4", "day/m\u00fcll.mp4"):
        write_video(tmp_path / name, [BLACK] * 20)
    table = tmp_path / "clips.csv"
    rows = [
        "path,start,end,labels,annotated,split,group,actor,extent",
        "day/clip.mp4,0,1,walking|falling,*,train,a,human,whole",
        "day/clip.mp4,1,1.5,,walking,train,a,human,",
        "test/clip.mp4,,,rearing,,train,b,rat,",
        "day/clip.mp4,1.5,2,walking,*,val,a,human,",
        "day/m\u00fcll.mp4,,,,*,test,c,,",
    ]
    table.write_text("\n".join([*rows, ""]), encoding="utf-8")
    return table


def convert(table: Path, out: Path, *more: str) -> int:
    words = ["convert", "--from", "table", "--input", str(table), "--to", "huggingface"]
    return main([*words, "--out", str(out), *more])


def loaded(folder: Path, *how: str) -> dict[str, list[dict[str, Any]]]:
    """By the library itself, in a process of its own and without a network."""
    home = str(folder.parent / "hf")
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", LOAD, str(folder), *how],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "HF_HOME": home, "HF_HUB_OFFLINE": "1"},
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, list[dict[str, Any]]] = json.loads(done.stdout.splitlines()[-1])
    return found


@needs_datasets
@pytest.mark.parametrize("how", [(), ("videofolder",)])
def test_the_library_loads_every_row_with_its_video(
    table: Path, tmp_path: Path, how: tuple[str, ...]
) -> None:
    out = tmp_path / "out"
    assert convert(table, out) == 0
    found = loaded(out, *how)
    assert {name: len(rows) for name, rows in found.items()} == {
        "train": 3, "validation": 1, "test": 1,
    }  # fmt: skip
    first, second, third = found["train"]
    assert (first["start_seconds"], first["end_seconds"]) == (0, 1)
    assert first["labels"] == ["walking", "falling"]
    assert sorted(first["annotated"]) == ["falling", "rearing", "walking"]
    assert (first["group"], first["actor"], first["holds_throughout"]) == ("a", "human", True)
    assert (second["labels"], second["annotated"]) == ([], ["walking"])
    assert (third["start_seconds"], third["end_seconds"]) == (None, None)
    assert third["annotated"] == ["rearing"]
    assert found["test"][0]["labels"] == []
    sources = ["day/clip.mp4", "day/clip.mp4", "test/clip.mp4"]
    for row, source in zip(found["train"], sources, strict=True):
        assert Path(row["video"]["path"]).read_bytes() == (tmp_path / source).read_bytes()


@needs_datasets
def test_videos_of_other_kinds_are_loaded_as_the_note_says(
    table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "day/m\u00fcll.mp4").rename(tmp_path / "day/m\u00fcll.webm")
    table.write_text(table.read_text(encoding="utf-8").replace("m\u00fcll.mp4", "m\u00fcll.webm"))
    out = tmp_path / "out"
    assert convert(table, out) == 0
    assert "not take for videos (.webm), so load the folder by" in capsys.readouterr().out
    assert loaded(out, "videofolder")["test"][0]["video"]["path"].endswith("m\u00fcll.webm")


def test_videos_are_linked_and_never_moved(
    table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert convert(table, out) == 0
    assert (out / "train/clip.mp4").samefile(tmp_path / "day/clip.mp4")
    assert (out / "validation/clip.mp4").samefile(tmp_path / "day/clip.mp4")
    assert (out / "train/clip_2.mp4").samefile(tmp_path / "test/clip.mp4")
    inside = tmp_path / "inside.csv"
    inside.write_text("path,labels\nout/train/clip.mp4,walking\n")
    assert convert(inside, out, "--overwrite") == 1
    assert "holds a video of the table" in capsys.readouterr().err
    assert (out / "train/clip_2.mp4").is_file()
    assert "licence" not in capsys.readouterr().out


def test_names_fit_disks_that_ignore_case_and_the_library(tmp_path: Path) -> None:
    for name in ("a/Clip.mp4", "b/clip.mp4", "b/.clip.mp4"):
        write_video(tmp_path / name, [BLACK] * 5)
    table = tmp_path / "clips.csv"
    rows = ["path,labels", "a/Clip.mp4,walking", "b/clip.mp4,walking", "b/.clip.mp4,walking"]
    table.write_text("\n".join([*rows, ""]), encoding="utf-8")
    assert convert(table, tmp_path / "out") == 0
    found = sorted(path.name for path in (tmp_path / "out/train").glob("*.mp4"))
    assert found == ["Clip.mp4", "clip_2.mp4", "clip_3.mp4"]


def test_videos_are_copied_where_they_cannot_be_linked(
    table: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    out = tmp_path / "out"
    assert convert(table, out) == 0
    assert not (out / "train/clip.mp4").samefile(tmp_path / "day/clip.mp4")
    assert (out / "train/clip.mp4").read_bytes() == (tmp_path / "day/clip.mp4").read_bytes()
    assert "videos that were copied, because they cannot be linked there: 4" in (
        capsys.readouterr().out
    )


def test_a_folder_is_replaced_only_if_it_is_one_of_its_own(
    table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert convert(table, out) == 0
    assert convert(table, out) == 2
    assert "README.md exists; --overwrite replaces it" in capsys.readouterr().err
    lines = table.read_text(encoding="utf-8").splitlines()
    table.write_text("\n".join(lines[:3]) + "\n", encoding="utf-8")
    assert convert(table, out, "--overwrite") == 0
    files = {str(path.relative_to(out)) for path in out.rglob("*")} - {"README.md", "train"}
    assert files == {"train/metadata.parquet", "train/clip.mp4"}
    (out / "README.md").write_text("my own")
    assert convert(table, out, "--overwrite") == 1
    assert convert(table, tmp_path / "day") == 1
    assert "holds something else; name a new folder" in capsys.readouterr().err
    assert (tmp_path / "day/clip.mp4").is_file()


def test_what_cannot_be_exported_is_named(
    table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = table.read_text(encoding="utf-8")
    table.write_text(text.replace(",val,", ",fold 1,"), encoding="utf-8")
    assert convert(table, tmp_path / "out") == 1
    assert "row 5: found split 'fold 1', expected letters" in capsys.readouterr().err
    table.write_text(text.replace(",val,", ",Train,"), encoding="utf-8")
    assert convert(table, tmp_path / "out") == 1
    assert "found splits Train, test, train, of which some differ" in capsys.readouterr().err
    table.write_text(text, encoding="utf-8")
    shutil.rmtree(tmp_path / "test")
    assert convert(table, tmp_path / "out") == 1
    assert "1 video(s) of the rows are not there, the first is" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_events_of_tools_become_rows(table: Path, tmp_path: Path) -> None:
    found = load_format("table").read
    assert found is not None
    annotations = found(table, Reading(tmp_path))
    target, out = load_format("huggingface"), tmp_path / "out"
    lines = write_annotations(annotations, None, target, out, {})
    assert lines[0].startswith(f"{out}: 3 videos")
    rows = pq.read_table(out / "train/metadata.parquet").to_pylist()
    assert ["walking"] in [row["labels"] for row in rows if row["start_seconds"] == 1.5]
