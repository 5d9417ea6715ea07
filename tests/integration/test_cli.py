from __future__ import annotations

import re
import subprocess
import sys

import pytest

import msqnet
from msqnet.cli.main import COMMANDS, RUNNABLE_COMMANDS


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "msqnet", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


def modules_loaded_by(*arguments: str) -> set[str]:
    """Modules that running the program with these arguments imports."""
    code = (
        "import sys\n"
        "from msqnet.cli.main import main\n"
        "try:\n"
        f"    main({list(arguments)!r})\n"
        "except SystemExit:\n"
        "    pass\n"
        "print('MODULES', *sorted(sys.modules))\n"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    return set(done.stdout.rpartition("MODULES")[2].split())


def test_help_names_every_command() -> None:
    done = run("--help")

    assert done.returncode == 0
    for name, command in COMMANDS.items():
        assert re.search(rf"^  {name} +{re.escape(command.summary)}$", done.stdout, re.MULTILINE)


def test_help_loads_neither_torch_nor_commands() -> None:
    loaded = modules_loaded_by("--help")

    assert "torch" not in loaded
    assert {f"msqnet.cli.{name}" for name in COMMANDS}.isdisjoint(loaded)


@pytest.fixture(scope="module")
def loaded_by_help() -> dict[str, set[str]]:
    """Modules that the help of each command imports, each in a process forked from a fresh one."""
    code = (
        "import os, sys\n"
        "from msqnet.cli.main import main\n"
        "for name in sys.argv[1:]:\n"
        "    if os.fork():\n"
        "        os.wait()\n"
        "        continue\n"
        "    try:\n"
        "        main([*name.split(), '--help'])\n"
        "    except SystemExit:\n"
        "        print('MODULES', name.replace(' ', '-'), *sorted(sys.modules), flush=True)\n"
        "    os._exit(0)\n"
    )
    command = [sys.executable, "-c", code, *RUNNABLE_COMMANDS]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    lines = [line.split() for line in done.stdout.splitlines() if line.startswith("MODULES ")]
    return {name: set(modules) for _, name, *modules in lines}


@pytest.mark.parametrize("name", list(RUNNABLE_COMMANDS))
def test_help_of_a_command_loads_its_module_only_and_no_torch(
    name: str, loaded_by_help: dict[str, set[str]]
) -> None:
    loaded = loaded_by_help[name.replace(" ", "-")]
    commands = {module for module in loaded if module.startswith("msqnet.cli.")}

    # Commands that train share the defaults of `train`.
    command = RUNNABLE_COMMANDS[name]
    shared = {"msqnet.cli.console", "msqnet.cli.typed_values"} | (
        {"msqnet.cli.train"} if command.defaults else set()
    )
    own = command.target.partition(":")[0]
    assert commands | shared == {"msqnet.cli.main", own} | shared
    assert loaded.isdisjoint({"torch", "transformers", "av"})


def test_help_of_a_command_with_subcommands_lists_them() -> None:
    done = run("batch", "--help")

    assert done.returncode == 0
    assert re.search(r"^  status +show how far a run is$", done.stdout, re.MULTILINE)


def test_version_is_the_package_version() -> None:
    assert run("--version").stdout.strip() == f"msqnet {msqnet.__version__}"


def test_unknown_command_is_refused_with_the_known_ones() -> None:
    done = run("predcit")

    assert done.returncode == 2
    assert "predict" in done.stderr
    assert "Traceback" not in done.stderr


def test_models_answers_without_torch() -> None:
    done = run("models")

    assert done.returncode == 0, done.stderr
    assert "torch" not in modules_loaded_by("models")


def test_output_cut_off_by_the_reader_is_no_traceback() -> None:
    command = f"{sys.executable} -m msqnet models | true; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(
        ["bash", "-c", command], capture_output=True, text=True, check=False, timeout=120
    )

    # 1 is how rich ends a program whose reader is gone, 141 how the shell and msqnet do.
    assert done.returncode in (0, 1, 141)
    assert done.stderr == ""
