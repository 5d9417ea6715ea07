"""Label sets: the only place that converts between label names and column numbers."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property
from typing import TYPE_CHECKING

from msqnet.errors import VocabularyError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

SEPARATOR = "|"
UNKNOWN = -100
"""Target of a label that was not annotated; it counts neither in the loss nor in a metric."""
_NUM_NAMED_IN_ERRORS = 8
_INVISIBLE = dict.fromkeys(map(ord, "\u00ad\u200b\u200e\u200f\u2060\ufeff"))
"""Soft hyphen, zero width space, marks of direction, word joiner, mark of byte order."""


def plain_text(written: str) -> str:
    """Text in one spelling: composed (NFC), single spaces for white space, nothing invisible."""
    return " ".join(unicodedata.normalize("NFC", written).translate(_INVISIBLE).split())


def split_labels(text: str) -> tuple[str, ...]:
    """Names in a ``|``-joined cell, as `plain_text`, in order, without repeats; () if empty."""
    names = map(plain_text, text.split(SEPARATOR))
    return tuple(dict.fromkeys(name for name in names if name))


def folded(name: str) -> str:
    """A name without what is easily typed otherwise: case, spaces, underscores and hyphens."""
    return re.sub(r"[\s_-]", "", unicodedata.normalize("NFKC", plain_text(name)).casefold())


def as_words(name: str) -> str:
    """A name with underscores as spaces."""
    return " ".join(name.replace("_", " ").split())


def join_labels(names: Iterable[str]) -> str:
    """The inverse of `split_labels`."""
    return SEPARATOR.join(names)


@dataclass(frozen=True)
class LabelSet:
    """Ordered, unique label names; position k is column k of every score array.

    A name that is empty, repeated, or holds the separator ``|`` is a `VocabularyError`. Names are
    found in any spelling of the same `plain_text`.
    """

    names: tuple[str, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "names", tuple(self.names))
        seen: set[str] = set()
        for name in self.names:
            if not name.strip() or SEPARATOR in name:
                raise VocabularyError(f"{name!r} is not a label name: it is empty or holds '|'")
            if name in seen:
                raise VocabularyError(f"label {name!r} is listed twice")
            seen.add(name)

    def __len__(self) -> int:
        return len(self.names)

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and plain_text(name) in self._index_of

    @cached_property
    def _index_of(self) -> dict[str, int]:
        return {plain_text(name): index for index, name in enumerate(self.names)}

    def index(self, name: str) -> int:
        """Column of one label; raises `VocabularyError` if it is not in the set."""
        return self.indices((name,))[0]

    def indices(self, names: Iterable[str]) -> list[int]:
        """Columns of several labels; raises `VocabularyError` for those that are not in the set."""
        names = list(names)
        missing = [name for name in names if name not in self]
        if missing:
            shown, own = missing[:_NUM_NAMED_IN_ERRORS], {folded(name) for name in self.names}
            near = self.nearest(shown)
            parts = [folded(part) for name in missing for part in re.split("[,;]", name)]
            is_joined = len(parts) > len(missing) and {*parts} <= own
            raise VocabularyError(
                f"unknown label(s) {', '.join(shown)}; "
                + (f"labels are joined by {SEPARATOR!r}; " if is_joined else "")
                + (f"nearest are {', '.join(near)}; " if near else "")
                + f"known are {', '.join(self.names)}"
            )
        return [self._index_of[plain_text(name)] for name in names]

    def nearest(self, names: Iterable[str]) -> tuple[str, ...]:
        """Labels of the set that are written much like some names."""
        own = {folded(name): name for name in self.names}
        near = [own[key] for name in names for key in get_close_matches(folded(name), own)]
        return tuple(dict.fromkeys(near))

    def as_spelled(self, names: Iterable[str]) -> tuple[str, ...]:
        """Names typed as `folded` forgives, where one is meant; `VocabularyError` for others."""
        meant = self._meant(names)
        return tuple(dict.fromkeys(self.names[index] for index in self.indices(meant)))

    def unknown(self, names: Iterable[str]) -> tuple[str, ...]:
        """Those that `as_spelled` refuses."""
        return tuple(name for name in self._meant(names) if name not in self)

    def _meant(self, names: Iterable[str]) -> list[str]:
        own = [folded(name) for name in self.names]
        alone = {key: self.names[own.index(key)] for key in own if own.count(key) == 1}
        return [name if name in self else alone.get(folded(name), name) for name in names]

    @property
    def prompts(self) -> tuple[str, ...]:
        """The names with underscores as spaces, for a text encoder."""
        return tuple(as_words(name) for name in self.names)

    @property
    def digest(self) -> str:
        """First 16 hex digits of the SHA-256 of the names in order: identifies the columns."""
        return hashlib.sha256("\n".join(self.names).encode()).hexdigest()[:16]
