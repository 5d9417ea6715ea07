"""Values of options as they were typed. As YAML, `null`, `~`, `#1` and `&a` would be nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin

from jsonargparse._typehints import ActionTypeHint

from msqnet.errors import check

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jsonargparse import ArgumentParser, Namespace


class ValueAsTyped(ActionTypeHint):
    """An option whose text stays as it is, and whose number or switch is never lost unsaid."""

    def _check_type(self, value: Any, append: Any = None, cfg: Any = None, mode: Any = None) -> Any:
        if _is_text(self._typehint):
            takes_several = any(get_origin(kind) is tuple for kind in get_args(self._typehint))
            return tuple(value) if takes_several and isinstance(value, list) else value
        kinds = (self._typehint, *get_args(self._typehint))
        choices = [str(c) for kind in kinds if get_origin(kind) is Literal for c in get_args(kind)]
        if choices and value not in (None, "null") and str(value) not in choices:
            listed = ", ".join(choices)
            raise TypeError(f"--{self.dest}: found {value!r}, expected one of {listed}")
        found = super()._check_type(value, append, cfg)  # type: ignore[no-untyped-call]
        if found is None and value not in (None, "null"):
            raise TypeError(f"--{self.dest}: found {value!r}, expected a value, or null for none")
        return found


def check_texts(parser: ArgumentParser, found: Namespace) -> None:
    """Raise a `ConfigError` for an option for text that holds something else or an empty one."""
    for action in parser._actions:
        value, hint = found.get(action.dest), getattr(action, "_typehint", action.type)
        if not _is_text(hint) or (value is None and not action.required):
            continue
        name = f"--{action.dest}" if action.option_strings else action.dest
        is_list = isinstance(value, list)
        check(is_list or not action.nargs, f"{name}: found {value!r}, expected a list of texts")
        way = "give one" if action.required else f"leave {name} out for its default"
        for item in (value if action.nargs or isinstance(value, tuple) else [value]) or [""]:
            check(
                isinstance(item, str) and bool(item.strip()),
                f"{name}: found {item!r}, expected text, in quotes in a config file; {way}, or see "
                "whether a shell variable in it is set",
            )


def check_not_blank(option: str, value: str | None, hints: Mapping[str, Any]) -> None:
    """Raise a `ConfigError` for a number, switch, choice or config file that is given as blank.

    Args:
        option: with two dashes.
        value: what stands after it; None if nothing does.
        hints: the types of options; None for options without one.
    """
    is_file = option == "--config"
    if option not in hints or (_is_text(hints[option]) and not is_file):
        return
    is_missing = value is None and is_file
    what = "the name of a YAML file" if is_file else "a value"
    check(
        not is_missing and (value is None or bool(value.strip())),
        f"{option}: found {'nothing' if value is None else repr(value)}, expected {what}; leave "
        f"{option} out for its default, or see whether a shell variable after it is set",
    )


def _is_text(hint: Any) -> bool:
    """Whether an option holds any text, alone or among others; a choice of texts is none."""
    return hint is str or (get_origin(hint) is not dict and str in get_args(hint))
