from __future__ import annotations

import json
from typing import TYPE_CHECKING

from msqnet.cli.main import main
from msqnet.diagnosis.self_test import self_test_findings

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_self_test_reads_and_predicts() -> None:
    found = {finding.name: finding for finding in self_test_findings(device="cpu")}
    assert set(found) == {"video", "model", "took"}
    assert {finding.status for finding in found.values()} == {"ok"}
    assert "read back exactly" in found["video"].value


def test_model_that_cannot_be_loaded_is_a_problem(tmp_path: Path) -> None:
    found = list(self_test_findings(str(tmp_path), "cpu"))
    assert [finding.status for finding in found] == ["ok", "problem", "ok"]
    assert str(tmp_path) in found[1].value


def test_doctor_says_what_it_found_and_fails_where_msqnet_does_not_work(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main(["doctor", "--offline", "--device", "cpu"]) == 0
    output = capsys.readouterr().out
    for topic in ("packages", "video", "devices", "resources", "models", "self-test"):
        assert f"\n{topic}\n" in output
    assert "problems: 0" in output

    assert main(["doctor", "--offline", "--as_json", "--model", str(tmp_path)]) == 1
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["name"] for line in lines if line["status"] == "problem"] == ["failed"]
