"""What has to work where Python lacks its Unix modules, as on Windows."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

from msqnet.cli.main import RUNNABLE_COMMANDS

if TYPE_CHECKING:
    from pathlib import Path

# Imported by packages of others in one process; hidden from ours alone.
_HIDE = """
import builtins, sys
real = builtins.__import__
def hidden(name, globals=None, *rest, **named):
    caller = (globals or {}).get("__name__") or ""
    if caller.partition(".")[0] == "msqnet" and name in ("fcntl", "resource", "pwd", "termios"):
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)
    return real(name, globals, *rest, **named)
builtins.__import__ = hidden
"""


def _run(code: str, *arguments: str, cwd: Path) -> str:
    completed = subprocess.run(
        [sys.executable, "-c", _HIDE + code, *arguments],
        capture_output=True,
        text=True,
        cwd=cwd,
        env={**os.environ, "COLUMNS": "200"},
        check=False,
    )
    assert completed.returncode == 0, completed.stderr
    return completed.stdout


def test_every_module_is_imported(tmp_path: Path) -> None:
    code = """
import importlib, pkgutil
import msqnet
names = [item.name for item in pkgutil.walk_packages(msqnet.__path__, "msqnet.")]
for name in names:
    if not name.endswith("__main__"):
        try:
            importlib.import_module(name)
        except ModuleNotFoundError as error:  # an extra that is not installed
            assert error.name not in ("fcntl", "resource"), error
print(len(names))
"""
    assert int(_run(code, cwd=tmp_path)) > 100


def test_help_of_every_command_and_a_conversion_work(tmp_path: Path) -> None:
    code = """
from msqnet.cli.main import main
for name in sys.argv[1:]:
    try:
        main([*name.split(), "--help"])
    except SystemExit as ending:
        assert not ending.code
"""
    shown = _run(code, *RUNNABLE_COMMANDS, cwd=tmp_path)
    assert shown.count("usage:") == len(RUNNABLE_COMMANDS)

    (tmp_path / "in.csv").write_text("path,labels,start,end\nclip.mp4,running,0,1\n")
    convert = """
from msqnet.cli.main import main
sys.exit(main(["convert", "--from", "table", "--input", "in.csv", "--out", "out.csv"]))
"""
    _run(convert, cwd=tmp_path)
    assert "running" in (tmp_path / "out.csv").read_text()
