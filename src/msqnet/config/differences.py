"""Which settings of two runs differ, in words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Set

_NUM_SHOWN = 6
_MAX_LENGTH = 60


def differences(
    there: Mapping[str, Any], here: Mapping[str, Any], ignored: Set[str] = frozenset()
) -> str:
    """Name every setting of two that differs, with both values: ``fps: 25 there, 30 here``.

    Both are plain values, as JSON and YAML hold them; ``ignored`` are names at the top. The first
    six are listed, and how many more there are. Empty if nothing differs.
    """
    found = [
        f"{name}: {_both(old, new)}"
        for name, old, new in _pairs(there, here)
        if name not in ignored
    ]
    rest = len(found) - _NUM_SHOWN
    return "; ".join([*found[:_NUM_SHOWN], *([f"and {rest} more"] if rest > 0 else [])])


def _pairs(there: Mapping[str, Any], here: Mapping[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    """Dotted name and both values of what differs; ``...`` where there is none."""
    for key in dict.fromkeys((*here, *there)):
        old, new = there.get(key, ...), here.get(key, ...)
        if isinstance(old, dict) and isinstance(new, dict):
            yield from (
                (f"{key}.{name}", first, second) for name, first, second in _pairs(old, new)
            )
        elif old != new:
            yield key, old, new


def _both(old: Any, new: Any) -> str:
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        num_other = sum(first != second for first, second in zip(old, new, strict=True))
        return f"{num_other} of {len(old)} values"
    return f"{_shown(old)} there, {_shown(new)} here"


def _shown(value: Any) -> str:
    text = "nothing" if value is ... else repr(value)
    return text if len(text) <= _MAX_LENGTH else f"{text[: _MAX_LENGTH - 3]}..."
