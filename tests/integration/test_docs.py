"""The documentation does what it says: commands, blocks, links, pictures, navigation.

See `tests.fixtures.documents` for how commands and blocks are checked. Blocks are run in the order
of the navigation, all pages in one folder. That the site itself is sound, `mkdocs build --strict`
says, which `make check` runs.
"""

from __future__ import annotations

import importlib.util
import inspect
import pkgutil
import re
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
import yaml

import msqnet.config
from msqnet import errors
from msqnet.cli.main import RUNNABLE_COMMANDS, command_parser
from msqnet.models import CARD_FILE, SHIPPED_MODEL
from tests.fixtures.documents import (
    ROOT,
    Block,
    Scene,
    check_command,
    command_lines,
    find_blocks,
    inline_commands,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from types import ModuleType

DOCS = ROOT / "docs"
# Of Markdown, `[text](target)` and `![text](target)`, and of HTML.
LINK = re.compile(r'(?<=\]\()[^)\s]+(?=[^)]*\))|(?<=src=")[^"]+|(?<=href=")[^"]+')
CODE = re.compile(r"^```.*?^```$|`[^`\n]+`", re.MULTILINE | re.DOTALL)
FOREIGN = re.compile(r'<(?:script|link|img|iframe)[^>]*(?:src|href)="(?:https?:)?//[^"]+"')


class _Loader(yaml.SafeLoader):
    """Reads mkdocs.yml, whose own tags say nothing here."""


_Loader.add_multi_constructor("!", lambda _loader, _suffix, node: node.value)
SETTINGS: dict[str, Any] = yaml.load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"), _Loader)


def pages_of(nav: Any) -> Iterator[str]:
    """Every page of a part of the navigation, in order."""
    if isinstance(nav, str):
        yield nav
    else:
        for item in nav.values() if isinstance(nav, dict) else nav:
            yield from pages_of(item)


PAGES = list(pages_of(SETTINGS["nav"]))
CARD = f"src/msqnet/models/{SHIPPED_MODEL}/{CARD_FILE}"
TEXTS = {page: (DOCS / page).read_text(encoding="utf-8") for page in PAGES}
TEXTS[CARD] = (ROOT / CARD).read_text(encoding="utf-8")
BLOCKS = {page: find_blocks(text) for page, text in TEXTS.items()}
COMMAND_LINES = [
    pytest.param(command, id=f"{page}-{command}")
    for page, blocks in BLOCKS.items()
    for command in dict.fromkeys(command_lines(blocks))
]
INLINE_COMMANDS = [
    pytest.param(command, id=f"{page}-{command}")
    for page, text in TEXTS.items()
    for command in dict.fromkeys(inline_commands(text))
]
# Slow blocks train, several commands in one; on a machine that others share that takes minutes.
SLOW_MARKS = (pytest.mark.slow, pytest.mark.timeout(1800))
RUN_BLOCKS = [
    pytest.param(block, id=f"{page}-line{block.line}", marks=SLOW_MARKS if block.is_slow else ())
    for page, blocks in BLOCKS.items()
    for block in blocks
    if block.is_run
]


def test_every_page_is_in_the_navigation_once() -> None:
    written = {path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md")}

    assert sorted(PAGES) == sorted(written)


@pytest.mark.parametrize("page", ["README.md", *(f"docs/{page}" for page in PAGES)])
def test_relative_links_and_pictures_exist(page: str) -> None:
    path = ROOT / page
    text = CODE.sub("", path.read_text(encoding="utf-8"))
    targets = [target.partition("#")[0] for target in LINK.findall(text) if "//" not in target]

    missing = [target for target in targets if target and not (path.parent / target).exists()]

    assert not missing


@pytest.mark.parametrize("command", COMMAND_LINES)
def test_command_of_the_docs_exists_with_its_options(command: str) -> None:
    check_command(command)


@pytest.mark.parametrize("command", INLINE_COMMANDS)
def test_command_in_a_sentence_exists_with_its_options(command: str) -> None:
    check_command(command, is_whole=False)


@pytest.mark.parametrize("page", BLOCKS)
def test_every_block_is_run_or_says_why_not(page: str) -> None:
    assert not [block for block in BLOCKS[page] if block.needs_mark]


@pytest.mark.parametrize("block", RUN_BLOCKS)
def test_marked_block_of_the_docs_runs(block: Block, scene: Scene) -> None:
    scene.run(block)


@pytest.fixture(scope="module")
def generated() -> ModuleType:
    """The hook that fills places of pages."""
    path = DOCS / "hooks" / "generated.py"
    spec = importlib.util.spec_from_file_location("docs_generated", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def commands_page(generated: ModuleType) -> str:
    """What stands in the place for the commands."""
    text: str = generated.on_page_markdown("<!-- commands -->")
    return text


@pytest.mark.parametrize("command", RUNNABLE_COMMANDS)
def test_every_option_of_a_command_is_listed(command: str, commands_page: str) -> None:
    described = commands_page.partition(f"## `msqnet {command}`\n")[2].partition("\n## ")[0]
    parser = command_parser(command)

    options = {action.dest for action in parser._actions if action.help != "==SUPPRESS=="}
    listed = set(
        re.findall(rf'<span id="{re.escape(command.replace(" ", "-"))}-([\w.]+)"', described)
    )

    # Help itself, and what stands for a whole group of options, are no options.
    groups = {name.rpartition(".")[0] for name in listed if "." in name}
    assert options - listed <= {"help", "print_config", *groups}
    assert listed <= options


def test_places_that_the_pages_leave_are_filled(generated: ModuleType) -> None:
    for page in PAGES:
        text = (DOCS / page).read_text(encoding="utf-8")
        filled = generated.on_page_markdown(text)
        assert set(re.findall(r"^<!-- (\S+) -->$", filled, re.MULTILINE)) <= {"run"}


def test_every_public_name_has_its_place_in_the_reference() -> None:
    pages = [
        (DOCS / "reference" / f"{name}.md").read_text() for name in ("python", "configuration")
    ]
    shown = set(re.findall(r"^::: [\w.]+\.(\w+)$", "\n".join(pages), re.MULTILINE))

    assert set(msqnet.__all__) - shown <= {"__version__", "MsqnetError"}
    classes = {
        name for name in msqnet.config.__all__ if inspect.isclass(getattr(msqnet.config, name))
    }
    assert classes - shown <= {"ViewChoice"}


def test_every_error_is_listed_with_its_exit_code() -> None:
    text = (DOCS / "reference" / "errors.md").read_text(encoding="utf-8")
    listed = dict(re.findall(r"^\| `(\w+)` \| (\d) \|", text, re.MULTILINE))

    own = inspect.getmembers(
        errors, lambda item: getattr(item, "__module__", "") == errors.__name__
    )
    for name, error in [item for item in own if inspect.isclass(item[1])]:
        is_usage = issubclass(error, (errors.ConfigError, errors.VocabularyError))
        assert listed.pop(name) == ("2" if is_usage else "1")
    assert not listed


@pytest.mark.slow
def test_site_is_built_strictly_and_takes_nothing_from_elsewhere(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", tmp_path],
        cwd=ROOT,
        check=True,
    )

    for page in tmp_path.rglob("*.html"):
        assert not FOREIGN.findall(page.read_text(encoding="utf-8")), page
    for style in tmp_path.rglob("*.css"):
        assert not re.search(r"url\(\W*(https?:)?//", style.read_text(encoding="utf-8")), style


def test_python_reference_can_be_read_without_building_the_site() -> None:
    text = (DOCS / "reference" / "python.md").read_text(encoding="utf-8")
    names = re.findall(r"^::: (\S+)", text, re.MULTILINE)
    assert names
    for name in names:
        module, _, item = name.rpartition(".")
        said = inspect.getdoc(pkgutil.resolve_name(f"{module}:{item}")) or ""
        summary = said.partition("\n\n")[0].replace("\n", " ").replace("``", "`")
        assert f"| `{item}` | {summary} | `{module}` |" in text
