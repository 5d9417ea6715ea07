"""How large the code base is, beside what it was before the redesign and its targets.

    python benchmarks/size_of_the_house.py [CLIP] [--list]

Counts the files below ``src``, and runs one ``msqnet predict CLIP`` in this process under a
profiler hook for the number of functions that a prediction passes through; ``--list`` prints them
by file. Without a clip, that row is empty.
"""

from __future__ import annotations

import ast
import contextlib
import importlib
import inspect
import io
import re
import sys
import tempfile
import threading
from collections import Counter
from pathlib import Path

from msqnet.cli.main import exit_code_of

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "src" / "msqnet"
# Counted by this script at commit 67bcf8a. The target for a prediction was set for a count that had
# the bodies of classes in it, which run when their module is imported.
ROWS = (
    ("lines of src/**/*.py", "54,164", "<= 38,000"),
    ("files", "329", "<= 220"),
    ("options over all commands", "464", "<= 300"),
    ("functions, class bodies in a predict", "404", "<= 250"),
    ("of these, functions", "283", ""),
    ("private functions used once", "680", "<= 350"),
    ("lines of tests/**/*.py", "41,781", "falls"),
    ("comment-only lines, % of src", "0.5", "reasons"),
)


def num_lines(folder: Path) -> int:
    """Lines of all Python files below a folder."""
    return sum(len(path.read_text().splitlines()) for path in folder.rglob("*.py"))


def num_used_once() -> int:
    """Private module functions that the package names once beside their definition."""
    definitions: Counter[str] = Counter()
    names: Counter[str] = Counter()
    for path in SOURCE.rglob("*.py"):
        text = path.read_text()
        defined = [
            node.name
            for node in ast.parse(text).body
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
            and node.name.startswith("_")
        ]
        words = Counter(re.findall(r"\b_\w+", text))
        for name in defined:
            definitions[f"{path}:{name}"] = 1
            names[f"{path}:{name}"] = words[name] - 1
    return sum(1 for key in definitions if names[key] == 1)


def comment_share() -> float:
    """Comment-only lines in percent of all lines."""
    lines = [
        line.strip() for path in SOURCE.rglob("*.py") for line in path.read_text().splitlines()
    ]
    return 100 * sum(line.startswith("#") for line in lines) / len(lines)


def num_options() -> int:
    """Options that ``msqnet COMMAND --help`` lists, over all commands and their sub-commands."""
    from msqnet.cli.main import RUNNABLE_COMMANDS, command_parser

    return sum(len(_options(parser)) for parser in map(command_parser, RUNNABLE_COMMANDS))


def _options(parser: object) -> set[str]:
    hidden = "==SUPPRESS=="
    return {
        action.dest
        for action in parser._actions  # type: ignore[attr-defined]
        if action.dest not in ("help", "print_config")
        and action.help != hidden
        and not action.dest.endswith(".help")
    }


def functions_of_a_prediction(clip: str) -> tuple[list[str], int]:
    """What runs of the package in one prediction of a clip, as ``file:line name``.

    Returns:
        Distinct functions, and how many bodies of classes run besides.
    """
    seen: set[tuple[str, int, str]] = set()
    class_bodies: set[tuple[str, int]] = set()

    def hook(frame: object, event: str, _argument: object) -> None:
        code = frame.f_code  # type: ignore[attr-defined]
        is_ours = code.co_filename.startswith(source) and not code.co_name.startswith("<")
        if event == "call" and is_ours and code.co_flags & inspect.CO_OPTIMIZED:
            seen.add((code.co_filename, code.co_firstlineno, code.co_name))
        elif event == "call" and is_ours:
            class_bodies.add((code.co_filename, code.co_firstlineno))

    package = importlib.import_module("msqnet")
    source = str(Path(str(package.__file__)).parent)
    main = importlib.import_module("msqnet.cli.main").main
    threading.setprofile(hook)  # the reader works in a thread of its own
    sys.setprofile(hook)
    try:
        with tempfile.TemporaryDirectory() as out, contextlib.redirect_stdout(io.StringIO()):
            main(["predict", clip, "--out", out])
    finally:
        sys.setprofile(None)
        threading.setprofile(None)  # type: ignore[arg-type]
    names = [f"{name.removeprefix(source)}:{line} {called}" for name, line, called in sorted(seen)]
    return names, len(class_bodies)


def main() -> None:
    """Print the table."""
    clip = next((argument for argument in sys.argv[1:] if argument != "--list"), None)
    # First: nothing is imported or cached yet.
    called, num_bodies = functions_of_a_prediction(clip) if clip else ([], 0)
    if "--list" in sys.argv:
        print("\n".join(called))
    num_files = len({line.partition(":")[0] for line in called})
    now = [
        f"{num_lines(ROOT / 'src'):,}",
        str(len(list((ROOT / "src").rglob("*.py")))),
        str(num_options()),
        str(len(called) + num_bodies) if called else "(give a clip)",
        f"{len(called)} in {num_files} files" if called else "",
        str(num_used_once()),
        f"{num_lines(ROOT / 'tests'):,}",
        f"{comment_share():.1f}",
    ]
    print(f"{'measure':<36} {'then':>8} {'now':>18} {'target':>12}")
    for (name, then, target), value in zip(ROWS, now, strict=True):
        print(f"{name:<36} {then:>8} {value:>18} {target:>12}")


if __name__ == "__main__":
    sys.exit(exit_code_of(main))
