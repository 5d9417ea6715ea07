"""What `msqnet train` says at its end."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING, Any

import pytest
from rich.console import Console

from msqnet.cli.train import show_summary
from msqnet.training.table_training import TrainedModel
from tests.fixtures.tables import write_brightness_table

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("evidence", "status", "rule"),
    [
        (None, "not tested", "No row was held out to test the labels: all of them make segments."),
        (
            [{"status": "weak"}, {"status": "untested"}],
            "untested",
            "Labels that are not reliable make no segments.",
        ),
    ],
)
def test_labels_that_no_row_tests_are_said_to_make_segments(
    evidence: Any, status: str, rule: str, tmp_path: Path
) -> None:
    config = {
        "labels": ["bright", "dark"],
        "thresholds": [0.5, 0.5],
        "task": "multi_label",
        "evidence": evidence,
    }
    (tmp_path / "best").mkdir()
    (tmp_path / "best" / "config.json").write_text(json.dumps(config))
    table = write_brightness_table(tmp_path, 2)
    shown = io.StringIO()
    show_summary(Console(file=shown, width=200), TrainedModel(tmp_path, table, (0.8, "of a test")))
    assert rule in " ".join(shown.getvalue().split())
    assert shown.getvalue().count(status) == (2 if evidence is None else 1)
