from __future__ import annotations

import csv
import io
import os
import re
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from rich.console import Console

from msqnet.batch.runners import ResultsFolder
from msqnet.cli.main import main
from msqnet.cli.predict import _predict_all, _show_segments
from msqnet.config import InferenceOptions, SegmentConfig, WindowConfig
from msqnet.inference.predictor import Predictor
from msqnet.inference.results import DRAWN_SUFFIXES, find_videos
from msqnet.labels import LabelSet
from tests.unit.inference.brightness import (
    BLACK,
    WHITE,
    BrightnessBackend,
    write_truncated_video,
    write_video,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from msqnet.inference.backends import Arrays
    from msqnet.predictions import FloatArray

EVENT = [BLACK] * 20 + [WHITE] * 20 + [BLACK] * 20


class Terminal:
    """Runs the command's own loop with a backend that needs no weights; keeps what it prints."""

    def __init__(self) -> None:
        self.stdout, self.stderr = io.StringIO(), io.StringIO()

    def run(
        self,
        *arguments: Path,
        out: Path | None = None,
        backend: BrightnessBackend | None = None,
        is_terminal: bool = False,
        drawings: Sequence[str] = (),
        overwrite: bool = False,
    ) -> int:
        predictor = Predictor(
            backend or BrightnessBackend(),
            WindowConfig(stride_seconds=1.0),
            SegmentConfig(max_gap_seconds=0),
        )
        return _predict_all(
            find_videos(arguments),
            predictor,
            ResultsFolder(out, overwrite=overwrite) if out else None,
            Console(file=self.stdout, width=100),
            Console(file=self.stderr, width=100, force_terminal=is_terminal),
            drawings,
        )


@pytest.fixture
def terminal() -> Terminal:
    return Terminal()


def index_rows(out: Path) -> dict[str, dict[str, str]]:
    with (out / "index.csv").open(encoding="utf-8", newline="") as file:
        return {Path(row["input"]).name: row for row in csv.DictReader(file)}


def statuses(out: Path) -> dict[str, str]:
    return {name: row["status"] for name, row in index_rows(out).items()}


def test_table_names_label_start_end_and_score(tmp_path: Path, terminal: Terminal) -> None:
    path = write_video(tmp_path / "clip.mov", EVENT)
    assert terminal.run(path) == 0
    assert "clip.mov" in terminal.stdout.getvalue()
    assert re.search(r"bright\W+0:02\.00\W+0:04\.00\W+1\.00", terminal.stdout.getvalue())
    assert terminal.stderr.getvalue() == ""
    assert [item.name for item in tmp_path.iterdir()] == ["clip.mov"]


def test_rate_is_told_of_what_was_predicted_only(tmp_path: Path, terminal: Terminal) -> None:
    path = write_video(tmp_path / "clip.mov", EVENT)
    out = tmp_path / "out"
    terminal.run(path, out=out)
    last = terminal.stdout.getvalue().splitlines()[-1]
    found = re.fullmatch(r"(\S+) s of video in (\S+) s: (\S+) x real time", last)
    assert found
    assert float(found[1]) == pytest.approx(len(EVENT) / 10, abs=0.06)
    terminal.run(path, out=out)
    assert "results exist" in terminal.stdout.getvalue()
    assert terminal.stdout.getvalue().count("real time") == 1


def test_highest_labels_are_shown_where_no_segment_is(tmp_path: Path, terminal: Terminal) -> None:
    path = write_video(tmp_path / "clip.mov", [51] * 20)
    terminal.run(path)
    shown = terminal.stdout.getvalue()
    assert "no label reaches its threshold" in shown
    assert shown.index("dark") < shown.index("bright")
    assert "0.80" in shown
    assert "0.20" in shown


def test_label_that_is_not_reported_is_named_where_it_reaches_its_threshold(
    tmp_path: Path, terminal: Terminal
) -> None:
    path = write_video(tmp_path / "clip.mov", [WHITE] * 20)
    terminal.run(path, backend=BrightnessBackend(unproven={"bright": "for a test"}))
    shown = terminal.stdout.getvalue()
    assert "not reported without --include-weak: bright (1.00)" in shown
    assert "no other label reaches its threshold" in shown
    assert shown.index("dark") < shown.index("bright")


def test_kinds_of_actors_are_shown_only_where_most_of_a_video_is_known(tmp_path: Path) -> None:
    found = Predictor(BrightnessBackend())(write_video(tmp_path / "a.mov", EVENT))
    num_steps = len(found.timeline.scores)
    for num_unknown, shown in ((num_steps, False), (1, True)):
        timeline = replace(found.timeline, is_unknown=np.arange(num_steps) < num_unknown)
        console = Console(file=io.StringIO(), width=100)
        _show_segments(replace(found, timeline=timeline, actors={"rat": 1.0}), console)
        assert ("rat 100%" in console.file.getvalue()) is shown  # type: ignore[attr-defined]


def test_label_and_name_with_markup_are_shown_as_they_are(
    tmp_path: Path, terminal: Terminal
) -> None:
    backend = BrightnessBackend(labels=LabelSet(("[bold]x", "[/red]")))
    path = write_video(tmp_path / "[red]clip.mov", EVENT)
    assert terminal.run(path, backend=backend) == 0
    assert "[bold]x" in terminal.stdout.getvalue()
    assert "[red]clip.mov" in terminal.stdout.getvalue()


def test_many_segments_are_cut_short_on_the_terminal_only(
    tmp_path: Path, terminal: Terminal
) -> None:
    path = write_video(tmp_path / "blink.mov", ([WHITE] * 10 + [BLACK] * 10) * 45)
    terminal.run(path, out=tmp_path / "out")
    assert "and 5 more segments" in terminal.stdout.getvalue()
    lines = (tmp_path / "out" / "blink.mov.csv").read_text(encoding="utf-8").splitlines()
    assert len(lines) == 46


def test_progress_goes_to_the_error_stream_of_a_terminal_only(
    tmp_path: Path, terminal: Terminal
) -> None:
    path = write_video(tmp_path / "clip.mov", EVENT)
    terminal.run(path, is_terminal=True)
    assert "1/1 clip.mov" in terminal.stderr.getvalue()
    assert "1/1" not in terminal.stdout.getvalue()


def test_broken_file_is_one_error_and_the_others_are_done(
    tmp_path: Path, terminal: Terminal
) -> None:
    folder = tmp_path / "in"
    write_video(folder / "a.mov", EVENT)
    (folder / "b.mp4").write_bytes(b"")
    write_video(folder / "c" / "c.mov", EVENT)
    assert terminal.run(folder, tmp_path / "gone.mp4", out=tmp_path / "out") == 1
    assert statuses(tmp_path / "out") == {
        "a.mov": "ok",
        "b.mp4": "error",
        "c.mov": "ok",
        "gone.mp4": "error",
    }
    assert (tmp_path / "out" / "c" / "c.mov.json").is_file()
    assert terminal.stderr.getvalue().count("msqnet: error: ") == 2
    assert "2 error, 2 ok" in terminal.stdout.getvalue()


def test_damaged_end_is_answered_and_reported(
    tmp_path: Path, terminal: Terminal, caplog: pytest.LogCaptureFixture
) -> None:
    path = write_truncated_video(tmp_path / "cut.mov", [WHITE] * 40)
    assert terminal.run(path, out=tmp_path / "out") == 1
    assert statuses(tmp_path / "out") == {"cut.mov": "partial"}
    assert "msqnet: partial: " in terminal.stderr.getvalue()
    assert "bright" in terminal.stdout.getvalue()
    assert caplog.records


def test_second_run_skips_what_is_done_and_goes_on(tmp_path: Path, terminal: Terminal) -> None:
    folder = tmp_path / "in"
    write_video(folder / "a.mov", EVENT)
    assert terminal.run(folder, out=tmp_path / "out") == 0
    write_video(folder / "b.mov", EVENT)
    backend = BrightnessBackend()
    assert terminal.run(folder, out=tmp_path / "out", backend=backend) == 0
    assert statuses(tmp_path / "out") == {"a.mov": "exists", "b.mov": "ok"}
    assert backend.batch_sizes == [6]
    assert "a.mov: results exist" in terminal.stdout.getvalue()


def test_interruption_keeps_what_is_done_and_its_index(tmp_path: Path, terminal: Terminal) -> None:
    class Interrupted(BrightnessBackend):
        def score_frames(self, frames: Arrays, motion_crops: Arrays | None) -> FloatArray:
            if len(self.batch_sizes) == 1:
                raise KeyboardInterrupt
            return super().score_frames(frames, motion_crops)

    folder = tmp_path / "in"
    for name in ("a.mov", "b.mov", "c.mov"):
        write_video(folder / name, EVENT)
    with pytest.raises(KeyboardInterrupt):
        terminal.run(folder, out=tmp_path / "out", backend=Interrupted())
    assert statuses(tmp_path / "out") == {"a.mov": "ok"}
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "a.mov.csv",
        "a.mov.json",
        "a.mov.scores.parquet",
        "index.csv",
    ]


DRAWN = ["clip.mov.timeline.png", "clip.mov.overlay.mp4", "clip.mov.overlay.gif"]


def test_overlay_is_drawn_beside_the_results_and_listed(tmp_path: Path, terminal: Terminal) -> None:
    path, out = write_video(tmp_path / "clip.mov", EVENT), tmp_path / "out"
    assert terminal.run(path, out=out, drawings=DRAWN_SUFFIXES) == 0
    row = index_rows(out)["clip.mov"]
    assert row["outputs"].split("|")[3:] == DRAWN
    assert (row["status"], row["error"]) == ("ok", "")
    assert all((out / name).stat().st_size > 1000 for name in DRAWN)
    assert ", ".join(DRAWN) in terminal.stdout.getvalue()
    assert "the GIF shows" not in terminal.stdout.getvalue()


def test_overlay_of_results_that_exist_is_drawn_once_without_predicting(
    tmp_path: Path, terminal: Terminal
) -> None:
    path, out = write_video(tmp_path / "clip.mov", EVENT), tmp_path / "out"
    terminal.run(path, out=out)
    backend = BrightnessBackend()
    assert terminal.run(path, out=out, backend=backend, drawings=DRAWN_SUFFIXES) == 0
    row = index_rows(out)["clip.mov"]
    assert (row["status"], row["outputs"].split("|")[3:]) == ("exists", DRAWN)
    (out / DRAWN[1]).write_bytes(b"kept")
    assert terminal.run(path, out=out, backend=backend, drawings=DRAWN_SUFFIXES) == 0
    assert backend.batch_sizes == []
    assert (out / DRAWN[1]).read_bytes() == b"kept"
    assert terminal.stdout.getvalue().count("drawn: ") == 1
    assert terminal.run(path, out=out, drawings=DRAWN_SUFFIXES, overwrite=True) == 0
    assert (out / DRAWN[1]).read_bytes() != b"kept"


def test_drawings_of_replaced_results_do_not_stay(tmp_path: Path, terminal: Terminal) -> None:
    path, out = write_video(tmp_path / "clip.mov", EVENT), tmp_path / "out"
    terminal.run(path, out=out, drawings=DRAWN_SUFFIXES)
    assert terminal.run(path, out=out, overwrite=True) == 0
    assert not any((out / name).exists() for name in DRAWN)
    assert len(index_rows(out)["clip.mov"]["outputs"].split("|")) == 3


def test_predictions_stay_where_drawing_fails(tmp_path: Path, terminal: Terminal) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    write_video(folder / "clip.mov", EVENT)
    write_video(folder / "other.mov", EVENT)
    # Nothing can replace a folder, which stands for a disk that is full.
    (out / f".{DRAWN[1]}.{os.getpid()}.part").mkdir(parents=True)
    assert terminal.run(folder, out=out, drawings=DRAWN_SUFFIXES) == 1
    row, other = index_rows(out)["clip.mov"], index_rows(out)["other.mov"]
    assert row["status"] == other["status"] == "ok"
    assert row["error"].startswith("not drawn: ")
    assert row["outputs"].split("|")[3:] == DRAWN[:1]
    assert (other["error"], len(other["outputs"].split("|"))) == ("", 6)
    assert (out / "clip.mov.json").is_file()
    assert "clip.mov: not drawn: " in terminal.stderr.getvalue()
    assert "1 not drawn, 2 ok" in terminal.stdout.getvalue()


def test_the_note_of_a_failed_drawing_goes_when_it_succeeds(
    tmp_path: Path, terminal: Terminal
) -> None:
    path, out = write_video(tmp_path / "clip.mov", EVENT), tmp_path / "out"
    blocked = out / f".{DRAWN[1]}.{os.getpid()}.part"
    blocked.mkdir(parents=True)
    assert terminal.run(path, out=out, drawings=DRAWN_SUFFIXES) == 1
    blocked.rmdir()
    assert terminal.run(path, out=out, drawings=DRAWN_SUFFIXES) == 0
    row = index_rows(out)["clip.mov"]
    assert (row["status"], row["error"]) == ("exists", "")


def test_of_a_damaged_file_the_part_that_decodes_is_drawn(
    tmp_path: Path, terminal: Terminal, caplog: pytest.LogCaptureFixture
) -> None:
    path, out = write_truncated_video(tmp_path / "clip.mov", [WHITE] * 40), tmp_path / "out"
    assert terminal.run(path, out=out, drawings=DRAWN_SUFFIXES) == 1
    row = index_rows(out)["clip.mov"]
    assert row["status"] == "partial"
    assert "damaged" in row["error"]
    assert "not drawn" not in row["error"]
    assert row["outputs"].split("|")[3:] == DRAWN
    assert caplog.records


@pytest.mark.slow
def test_cut_of_a_gif_is_said(tmp_path: Path, terminal: Terminal) -> None:
    path = write_video(tmp_path / "clip.mov", [BLACK] * 40 + [WHITE] * 20, fps=2)
    terminal.run(path, out=tmp_path / "out", drawings=DRAWN_SUFFIXES)
    assert "the GIF shows 0:10.00 to 0:30.00 of 0:30.00" in terminal.stdout.getvalue()


def test_overlay_without_a_folder_for_results_is_a_usage_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with_fake_model(monkeypatch)
    path = write_video(tmp_path / "clip.mov", EVENT)
    assert main(["predict", str(path), "--overlay"]) == 2
    assert "--out" in capsys.readouterr().err
    out = tmp_path / "out"
    assert main(["predict", str(path), "--overlay", "--out", str(out)]) == 0
    assert [(out / name).is_file() for name in DRAWN] == [False, True, True]


def test_a_figure_needs_a_folder_and_matplotlib(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with_fake_model(monkeypatch)
    path, out = write_video(tmp_path / "clip.mov", EVENT), tmp_path / "out"
    assert main(["predict", str(path), "--figure"]) == 2
    assert "--figure draws files beside the results" in capsys.readouterr().err
    with monkeypatch.context() as without:
        without.setitem(sys.modules, "matplotlib", None)
        assert main(["predict", str(path), "--figure", "--out", str(out)]) == 1
    assert "pip install 'msqnet[figures]'" in capsys.readouterr().err
    assert main(["predict", str(path), "--figure", "--out", str(out)]) == 0
    assert [(out / name).is_file() for name in DRAWN] == [True, False, False]


def with_fake_model(monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    """Let the command load the brightness backend in place of a model folder."""
    seen: dict[str, object] = {}

    def from_pretrained(*, options: InferenceOptions) -> Predictor:
        seen.update(asdict(options))
        return Predictor(BrightnessBackend(), options, options)

    monkeypatch.setattr(Predictor, "from_pretrained", from_pretrained)
    return seen


def test_options_reach_the_predictor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seen = with_fake_model(monkeypatch)
    path = write_video(tmp_path / "clip.mov", EVENT)
    options = {
        "labels": "dark|two cats",
        "label_table": "labels.csv",
        "prompts": "animals",
        "contrast": "an empty scene",
        "model": "mine",
        "device": "cpu",
        "window_seconds": "2",
        "stride_seconds": "0.5",
        "batch_size": "3",
        "threshold": "0.7",
        "min_duration_seconds": "0.25",
        "max_gap_seconds": "1.5",
        "include_weak": "True",
        "ood": "report",
        "runtime": "torch",
        "precision": "bf16",
        "fps": "30.0",
    }
    arguments = [part for name, value in options.items() for part in (f"--{name}", value)]
    assert main(["predict", str(path), "--out", str(tmp_path / "out"), *arguments]) == 0
    assert {name: str(value) for name, value in seen.items()} == {
        **options,
        "window_seconds": "2.0",
    }
    assert "bright" in capsys.readouterr().out


def test_overwrite_replaces_results_of_other_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with_fake_model(monkeypatch)
    path = write_video(tmp_path / "clip.mov", EVENT)
    command = ["predict", str(path), "--out", str(tmp_path / "out")]
    assert main(command) == 0
    assert main([*command, "--threshold", "0.1"]) == 1
    assert "--overwrite" in capsys.readouterr().err
    assert main([*command, "--threshold", "0.1", "--overwrite"]) == 0
    assert statuses(tmp_path / "out") == {"clip.mov": "ok"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--window_seconds", "0"], "window_seconds"),
        (["--threshold", "1.5"], "threshold"),
        (["--window_seconds", "1", "--stride_seconds", "2"], "stride_seconds"),
    ],
)
def test_settings_that_cannot_work_are_usage_errors(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    with_fake_model(monkeypatch)
    assert main(["predict", str(tmp_path / "x.mp4"), *arguments]) == 2
    assert message in capsys.readouterr().err
