from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from msqnet.cli.main import main

if TYPE_CHECKING:
    from pathlib import Path


def test_page_lies_in_the_folder_of_results(
    predicted: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["report", str(predicted), "--preview_megabytes", "0"]) == 0
    printed = capsys.readouterr()
    assert f"written: {predicted / 'report.html'} (0.1 MB)" in printed.out
    assert "previews are switched off" in printed.err
    assert (predicted / "report.html").read_text().startswith("<!doctype html>")


def test_page_is_written_where_it_is_asked_for(evaluated: Path, tmp_path: Path) -> None:
    out = tmp_path / "deep" / "page.html"
    assert main(["report", str(evaluated), "--out", str(out)]) == 0
    assert out.exists()
    assert not (evaluated / "report.html").exists()


@pytest.mark.parametrize(
    ("options", "exit_code", "message"),
    [
        (["--preview_megabytes", "-1"], 2, "preview_megabytes -1.0"),
        (["--preview_megabytes", "inf"], 2, "preview_megabytes"),
        (["--out", "{folder}"], 2, "expected the name of the file to write"),
    ],
)
def test_settings_that_cannot_work_are_usage_errors(
    predicted: Path,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    exit_code: int,
    message: str,
) -> None:
    filled = [option.format(folder=predicted) for option in options]
    assert main(["report", str(predicted), *filled]) == exit_code
    assert message in capsys.readouterr().err


def test_folder_without_results_fails_and_says_how_to_make_some(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["report", str(tmp_path)]) == 1
    assert "no results found" in capsys.readouterr().err
