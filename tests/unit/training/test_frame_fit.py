"""Rows timed to their edges give a model that tells in which frame something begins."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import torch

from msqnet.data.records import ClipTable
from msqnet.inference.predictor import Predictor
from msqnet.labels import LabelSet
from msqnet.model.builder import new_model
from msqnet.model.pretrained import MSQNet
from msqnet.predictions import VideoPredictions
from msqnet.training.fit import fit
from msqnet.training.training_run import cut_into_windows, save_model
from tests.fixtures.models import fill_with_noise
from tests.fixtures.training_runs import lite_run
from tests.unit.inference.brightness import record_of, write_video

if TYPE_CHECKING:
    from pathlib import Path

    from msqnet.data.records import Record
    from msqnet.training.training_run import Run

BRIGHT, DARK = 200, 40
NUM_FRAMES = 8


def timed_rows(path: Path, borders: tuple[float, float], end: float) -> list[Record]:
    """Dark, bright and dark again, ten pictures a second, each as a row."""
    first, second = borders
    levels = [BRIGHT if first <= (n + 0.5) / 10 < second else DARK for n in range(round(end * 10))]
    write_video(path, levels)
    return [
        record_of(
            path,
            place + 2,
            labels=(label,),
            start_seconds=start,
            end_seconds=stop,
            group=path.stem,
            holds_throughout=True,
        )
        for place, (label, start, stop) in enumerate(
            (("dark", 0.0, first), ("bright", first, second), ("dark", second, end))
        )
    ]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, list[str]]:
    """Trained with windows of a second, eight frames each, on eight videos of five seconds."""
    folder = tmp_path_factory.mktemp("timed")
    rows = [
        row
        for number in range(8)
        for row in timed_rows(
            folder / f"v{number}.mov", (1.3 + 0.1 * number, 3.2 + 0.1 * number), 5.0
        )
    ]
    table = cut_into_windows(ClipTable(folder / "clips.csv", tuple(rows)), 1.0)
    run = lite_run(table, folder / "run", epochs=1)
    run = replace(
        run,
        arch=replace(run.arch, num_frames=NUM_FRAMES),
        clip=replace(run.clip, num_frames=NUM_FRAMES),
        given_window=(1.0, "a test"),
    )
    torch.manual_seed(0)
    model = new_model(run.arch, run.clip, LabelSet(("other",)))
    fill_with_noise(model)
    save_model(model, folder / "start")
    run = replace(run, init_from=str(folder / "start"))
    lines: list[str] = []
    fit(run, report=lines.append)
    return run, lines


def test_borders_are_told_to_the_frame(trained: tuple[Run, list[str]], tmp_path: Path) -> None:
    run, lines = trained
    assert any("100% with a label stand above those without" in line for line in lines)
    assert MSQNet.from_pretrained(run.folder / "best").config.frame_head
    timed_rows(tmp_path / "new.mov", (1.7, 3.1), 5.0)
    result = Predictor.from_pretrained(run.folder / "best")(tmp_path / "new.mov")
    changes = result.timeline.changes
    of_bright = changes[changes[:, 0] == result.labels.index("bright")]
    # Frames are an eighth of a second apart, windows a second long.
    assert of_bright[of_bright[:, 2].argmax(), 1] == pytest.approx(1.7, abs=0.13)
    assert of_bright[of_bright[:, 2].argmin(), 1] == pytest.approx(3.1, abs=0.13)
    again = VideoPredictions.from_json(result.to_json())
    assert again.timeline == result.timeline


def test_rows_without_borders_leave_windows_to_tell(
    trained: tuple[Run, list[str]], tmp_path: Path
) -> None:
    run, _ = trained
    inside = ClipTable(run.table.path, tuple(r for r in run.table.records if not r.parts))
    lines: list[str] = []
    fit(replace(run, table=inside, folder=tmp_path / "run"), report=lines.append)
    assert not any(line.startswith("frames") for line in lines)
    assert not MSQNet.from_pretrained(tmp_path / "run" / "best").config.frame_head
