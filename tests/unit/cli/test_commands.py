from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

import msqnet.models
from msqnet.cli import main as cli
from msqnet.cli.models import models

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("name", list(cli.RUNNABLE_COMMANDS))
def test_command_loads_and_has_a_parser(name: str) -> None:
    function = cli.RUNNABLE_COMMANDS[name].load()
    text = cli.command_parser(name).format_help()

    assert f"msqnet {name}" in text
    assert function.__doc__ is not None
    assert function.__annotations__["return"] in ("int", int)


@pytest.mark.parametrize("name", list(cli.RUNNABLE_COMMANDS))
def test_module_of_a_command_imports_no_torch(name: str) -> None:
    module = cli.RUNNABLE_COMMANDS[name].target.partition(":")[0]
    code = f"import sys, {module}; sys.exit('torch' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_models_lists_name_size_licence_and_labels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "tiny"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"labels": ["eating", "rearing"]}))
    (folder / "model.safetensors").write_bytes(bytes(2_500_000))
    (folder / "README.md").write_text("---\nlicense: gpl-3.0\n---\n# Tiny\n")
    found = msqnet.models.available_models(tmp_path)
    monkeypatch.setattr(msqnet.models, "available_models", lambda: found)

    assert models() == 0
    text = capsys.readouterr().out
    for words in ("tiny", "2.5 MB", "gpl-3.0", "eating", "rearing", str(folder)):
        assert words in text


def test_models_says_so_where_there_is_none(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(msqnet.models, "available_models", list)

    assert models() == 0
    assert "holds no model" in capsys.readouterr().out
