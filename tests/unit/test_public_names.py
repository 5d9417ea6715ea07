from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import msqnet

ROOT = Path(__file__).parents[2]


def type_checking_imports() -> dict[str, str]:
    """Name -> module of the imports that type checkers see in the package's __init__."""
    tree = ast.parse(Path(msqnet.__file__).read_text(encoding="utf-8"))
    block = next(node for node in tree.body if isinstance(node, ast.If))
    return {
        alias.name: str(node.module).removeprefix("msqnet.")
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }


@pytest.mark.parametrize("name", msqnet.__all__)
def test_public_name_resolves_to_what_bears_the_name(name: str) -> None:
    found = getattr(msqnet, name)

    assert getattr(found, "__name__", name) == name


def test_public_names_are_sorted_and_listed_by_dir() -> None:
    assert sorted(msqnet.__all__) == msqnet.__all__
    assert set(msqnet.__all__) <= set(dir(msqnet))


def test_type_checkers_see_the_same_names_from_the_same_modules() -> None:
    assert type_checking_imports() == msqnet._MODULE_OF
    assert set(msqnet._MODULE_OF) | {"__version__"} == set(msqnet.__all__)


def test_unknown_name_is_an_attribute_error_that_names_it() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = msqnet.nonsense


@pytest.mark.parametrize("module", ["msqnet", "msqnet.config", "msqnet.labels", "msqnet.cli.main"])
def test_import_loads_no_torch(module: str) -> None:
    code = f"import sys, {module}; sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_package_tells_type_checkers_that_it_is_typed() -> None:
    assert Path(msqnet.__file__).with_name("py.typed").is_file()


@pytest.mark.parametrize(
    ("file", "pattern"),
    [("CITATION.cff", r"^version: (\S+)$"), ("CHANGELOG.md", r"^## \[(\d[^\]]*)\]")],
)
def test_other_files_name_the_same_version(file: str, pattern: str) -> None:
    match = re.search(pattern, (ROOT / file).read_text(encoding="utf-8"), re.MULTILINE)

    assert match is not None
    assert match.group(1) == msqnet.__version__
