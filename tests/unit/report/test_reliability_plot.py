from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from msqnet.config import CalibrationConfig
from msqnet.evaluation.calibration_figures import CalibrationFigures, calibrate_rows
from msqnet.evaluation.recalibration import Calibration, CalibrationRows
from msqnet.metrics.calibration import PlattScaling
from msqnet.report.plots import save_figure
from msqnet.report.reliability_plot import reliability_figure

if TYPE_CHECKING:
    from pathlib import Path


def figures_of(names: tuple[str, ...]) -> CalibrationFigures:
    generator = np.random.default_rng(0)
    logits = generator.normal(0, 3, (200, len(names)))
    targets = (generator.random(logits.shape) < 0.3).astype(np.float64)
    groups = [str(row // 4) for row in range(200)]
    rows = CalibrationRows(names, logits, targets, groups, np.arange(200) // 4 % 5)
    scaling = PlattScaling(np.ones(len(names)), np.zeros(len(names)))
    now = Calibration(scaling, np.full(len(names), 0.5), "each")
    return calibrate_rows(rows, now, CalibrationConfig(num_bootstrap=10))


def test_every_fitted_label_has_its_line_the_worst_first() -> None:
    figures = figures_of(("walking", "wall_supported_rearing", "costs $5 $"))

    diagram, _, errors = reliability_figure(figures).axes

    shown = [tick.get_text() for tick in errors.get_yticklabels()]
    before = {
        item["label"].replace("_", " "): item["expected_calibration_error_before"]
        for item in figures.per_label
    }
    assert shown == sorted(before, key=lambda name: -before[name])
    legend = [text for text in diagram.get_legend_handles_labels()[1] if "ECE" in text]
    assert legend[0].startswith("before: ECE 0.")


@pytest.mark.parametrize("num_labels", [1, 40])
def test_plot_is_drawn_for_few_and_for_many_labels(tmp_path: Path, num_labels: int) -> None:
    names = tuple(f"a label with a rather long name {index}" for index in range(num_labels))
    path = tmp_path / "plot.png"

    save_figure(reliability_figure(figures_of(names)), path)

    assert path.read_bytes().startswith(b"\x89PNG")
