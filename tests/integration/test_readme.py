"""README commands do what they say; see `tests.fixtures.documents` for what is checked and how."""

from __future__ import annotations

import shlex

import pytest

from msqnet.cli.main import COMMANDS
from tests.fixtures.documents import (
    ROOT,
    Block,
    Scene,
    check_command,
    command_lines,
    find_blocks,
    inline_commands,
)

README = ROOT / "README.md"
BLOCKS = find_blocks(README.read_text(encoding="utf-8")) if README.is_file() else []
RUN_BLOCKS = [
    pytest.param(block, id=f"line{block.line}", marks=[pytest.mark.slow] if block.is_slow else [])
    for block in BLOCKS
    if block.is_run
]


def test_blocks_are_found_with_their_marks() -> None:
    text = (
        "# T\n```console\n$ make demo\nsome output\n```\n"
        "<!-- run: slow -->\n```console\n$ msqnet predict \\\n    a.mp4\n```\n"
        "<!-- run -->\n\n```python\nprint(1)\n```\n```\n$ no\n```\n"
        '<!-- run -->\n```csv title="clips.csv"\npath,labels\n```\n'
        "<!-- not run: needs a GPU -->\n```console\n$ make bench\n```\n"
    )
    first, second, third, fourth, fifth = find_blocks(text)

    assert (first.commands, first.is_run, first.line) == (["make demo"], False, 2)
    assert (second.is_run, second.is_slow) == (True, True)
    assert shlex.split(second.commands[0]) == ["msqnet", "predict", "a.mp4"]
    assert (third.language, third.text, third.is_slow) == ("python", "print(1)\n", False)
    assert (fourth.title, fourth.text, fourth.is_run) == ("clips.csv", "path,labels\n", True)
    assert (fifth.reason, fifth.is_run) == ("needs a GPU", False)
    assert [block.needs_mark for block in find_blocks(text)] == [True, False, False, False, False]
    assert find_blocks("<!-- not run: -->\n```python\nprint(1)\n```\n")[0].needs_mark


def test_commands_in_sentences_are_found() -> None:
    text = "Say `msqnet check\nt.csv`, not `msqnet`.\n```console\n$ `msqnet models`\n```\n"
    text += "Or `A=1 python benchmarks/x.py` or `msqnet evaluate ... --out x` or `--data`."
    assert inline_commands(text) == ["msqnet check t.csv", "A=1 python benchmarks/x.py"]


def test_command_that_does_not_exist_is_found() -> None:
    with pytest.raises(AssertionError):
        check_command("msqnet predikt clip.mp4")
    with pytest.raises(AssertionError):
        check_command("make demos")
    with pytest.raises(ValueError, match="predict --help"):
        check_command("OMP_NUM_THREADS=1 msqnet predict clip.mp4 --no_such_option 1")
    for command in (
        "torchrun --nproc_per_node 4 -m msqnet nothing --data clips.csv",
        "pip install 'msqnet[nothing]'",
        "python benchmarks/no_such_script.py",
        "python benchmarks/linear_probe.py --data clips.csv --no-such-option 1",
        "python -m benchmarks.no_such_module",
    ):
        with pytest.raises(AssertionError):
            check_command(command)
    with pytest.raises(AssertionError):
        check_command("msqnet evaluate --no-such-option", is_whole=False)
    check_command("msqnet evaluate --protocol timeline", is_whole=False)


@pytest.mark.skipif(not README.is_file(), reason="there is no README.md")
def test_readme_shows_the_commands_of_the_main_job() -> None:
    text = README.read_text(encoding="utf-8")

    for command in ("make demo", "make test", *(f"msqnet {name}" for name in COMMANDS)):
        assert command in text


@pytest.mark.parametrize("command", command_lines(BLOCKS))
def test_command_of_the_readme_exists_with_its_options(command: str) -> None:
    check_command(command)


@pytest.mark.parametrize("command", dict.fromkeys(inline_commands(README.read_text("utf-8"))))
def test_command_in_a_sentence_exists_with_its_options(command: str) -> None:
    check_command(command, is_whole=False)


def test_every_block_of_the_readme_is_run_or_says_why_not() -> None:
    assert not [block for block in BLOCKS if block.needs_mark]


@pytest.mark.parametrize("block", RUN_BLOCKS)
def test_marked_block_of_the_readme_runs(block: Block, scene: Scene) -> None:
    scene.run(block)
