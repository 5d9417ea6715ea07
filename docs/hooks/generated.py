"""Fills places like `<!-- commands -->` with what the code says, each time the site is built.

Nothing that the code knows is written down a second time, so it cannot go stale.
"""

from __future__ import annotations

import html
import importlib
import inspect
import json
from argparse import SUPPRESS
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Any, Union, get_args, get_origin

from msqnet.cli.main import RUNNABLE_COMMANDS, command_parser, in_kebab_case
from msqnet.evaluation.by_protocol import PROTOCOL_METRICS
from msqnet.evaluation.protocols import PROTOCOLS
from msqnet.evaluation.row_metrics import DEFINITIONS
from msqnet.models.open_models import OPEN_MODELS, RECOMMENDED

if TYPE_CHECKING:
    from argparse import Action
    from collections.abc import Callable, Iterable, Iterator, Mapping

_NOT_LISTED = ("help", "print_config")
_WORDS = {str: "text", int: "whole number", float: "number", bool: "true or false"}


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Fill the places of a page; called by mkdocs for every page."""
    for name, make in PLACES.items():
        place = f"<!-- {name} -->"
        if place in markdown:
            markdown = markdown.replace(place, make())
    return markdown


def metrics() -> str:
    """The meaning of every metric of an evaluation."""
    of_protocols = {name: meaning for name, (_, meaning) in PROTOCOL_METRICS.items()}
    return _table(("metric", "meaning"), {**DEFINITIONS, **of_protocols}.items())


def protocols() -> str:
    """What every protocol measures, and its headline."""
    rows = ((name, f"`{item.headline}`", item.definition) for name, item in PROTOCOLS.items())
    return _table(("protocol", "headline", "what is done"), rows)


def open_models() -> str:
    """Every model that scores any words without training."""
    rows = (
        (
            item.name,
            f"[{item.hub_id}](https://huggingface.co/{item.hub_id})",
            item.size,
            item.licence,
            f"{item.about}{' (recommended)' if item is RECOMMENDED else ''}",
            "yes" if item.is_checked else "no",
        )
        for item in OPEN_MODELS
    )
    header = ("`--model`", "Hub id", "download", "licence", "scores", "checked with these weights")
    return _table(header, rows)


def _table(header: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    """A Markdown table; the first cell of each row is a name."""
    lines = [header, ("---",) * len(header), *((f"`{row[0]}`", *row[1:]) for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def all_commands() -> str:
    """Every command, in the order of `msqnet --help`."""
    return "\n\n".join(described(name) for name in RUNNABLE_COMMANDS)


def described(name: str) -> str:
    """One command as Markdown: what it does, how it is called, every option.

    Args:
        name: a key of `RUNNABLE_COMMANDS`.
    """
    command = RUNNABLE_COMMANDS[name]
    function, parser = command.load(), command_parser(name)
    if command.defaults is not None:
        module, _, function_name = command.defaults.partition(":")
        parser.set_defaults(getattr(importlib.import_module(module), function_name)(()))
    groups = list(_groups(parser))
    required = [_spelled(item) for _, items in groups for item in items if item.required]
    lines = [f"## `msqnet {name}`", *_paragraphs(function)]
    lines.append(f"```text\nmsqnet {name} {' '.join([*required, '[options]'])}\n```")
    if command.example:
        lines.append(f"```console\n$ {command.example}\n```")
    for title, items in groups:
        options = "\n\n".join(_option(name, item) for item in items)
        lines.append(options if title is None else _folded(title, options))
    return in_kebab_case("\n\n".join(lines))


def _groups(parser: Any) -> Iterator[tuple[str | None, list[Action]]]:
    """The command's own options, then those of each dataclass, with the heading of each."""
    own: list[Action] = []
    folded = []
    for group in parser._action_groups:
        items = [item for item in group._group_actions if _is_listed(item)]
        dotted = [item for item in items if "." in item.dest]
        own += [item for item in items if item not in dotted]
        if dotted:
            prefix = dotted[0].dest.rpartition(".")[0]
            folded.append((f"`--{prefix}.*`: {_lower_first(group.title)}", dotted))
    yield None, own
    yield from folded


def _is_listed(action: Action) -> bool:
    """Whether an action is an option of its own, and not the group of several."""
    is_group = action.default == SUPPRESS and bool(action.option_strings)
    return action.dest not in _NOT_LISTED and not is_group


def _paragraphs(function: Callable[..., int]) -> list[str]:
    """What the function's docstring says before its arguments."""
    text = inspect.cleandoc(function.__doc__ or "").partition("\nArgs:")[0]
    return [part.strip() for part in text.split("\n\n") if part.strip()]


def _spelled(action: Action) -> str:
    """An action as it stands in a usage line."""
    if not action.option_strings:
        return f"{action.dest.upper()}{' ...' if action.nargs == '+' else ''}"
    return f"{action.option_strings[0]} {_placeholder(action)}"


def _placeholder(action: Action) -> str:
    metavar = action.metavar if isinstance(action.metavar, str) else None
    return metavar or action.dest.rpartition(".")[2].upper()


def _option(command: str, action: Action) -> str:
    """A definition: name, values and default, then the help."""
    name = action.option_strings[0] if action.option_strings else action.dest
    facts = [html.escape(_values(action))]
    if action.required:
        facts.append("required")
    elif action.default not in (None, SUPPRESS):
        facts.append(f"default <code>{html.escape(_shown(action.default))}</code>")
    anchor = f"{command.replace(' ', '-')}-{action.dest}"
    term = (
        f'<span id="{anchor}" class="option"><code>{name}</code></span> '
        f'<span class="option-facts">{" · ".join(fact for fact in facts if fact)}</span>'
    )
    return f"{term}\n:   {' '.join((action.help or '').split())}"


def _values(action: Action) -> str:
    """What an option takes, in words or as its choices."""
    if action.choices is not None:
        return " | ".join(map(str, action.choices))
    hint = getattr(action, "_typehint", None)
    is_switch = action.nargs == 0
    text = "" if is_switch else "text" if hint is None else _type_words(hint)
    return f"one or more: {text}" if action.nargs == "+" else text


def _type_words(hint: Any) -> str:
    arguments = [item for item in get_args(hint) if item is not NoneType]
    if get_origin(hint) in (Union, UnionType):
        return " or ".join(dict.fromkeys(_type_words(item) for item in arguments))
    if get_origin(hint) in (list, tuple):
        return f"list of {_type_words(arguments[0])}"
    if get_origin(hint) is not None:
        return " | ".join(map(str, arguments))
    return _WORDS.get(hint, getattr(hint, "__name__", str(hint)))


def _shown(default: Any) -> str:
    """A default as one writes it on the command line."""
    if isinstance(default, str):
        return default
    return json.dumps(default, default=str)


def _folded(title: str, text: str) -> str:
    """Options of one group, shut until they are wanted."""
    indented = "\n".join(f"    {line}".rstrip() for line in text.splitlines())
    return f'??? note "{title}"\n\n{indented}'


def _lower_first(text: str | None) -> str:
    return f"{text[0].lower()}{text[1:]}" if text else ""


PLACES: Mapping[str, Callable[[], str]] = {
    "commands": all_commands,
    "metrics": metrics,
    "open-models": open_models,
    "protocols": protocols,
}
