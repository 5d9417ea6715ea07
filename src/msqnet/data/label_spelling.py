"""How labels of a table are written: signs that may join several, names nearly equal."""

from __future__ import annotations

from collections import Counter, defaultdict
from itertools import combinations
from typing import TYPE_CHECKING

from msqnet.labels import folded

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from msqnet.data.records import Record

_SEPARATORS = (";", ",", "/", "+", "&")
_ALSO_IN_NAMES = ("/", "+", "&")
_NO_VALUES = frozenset(["na", "n/a", "#n/a", "nan", "none", "null", "nil", "-", "--", "?", "."])
_MIN_LETTERS = 5
"""Shorter words that differ in a letter are mostly words of their own, such as sit and hit."""
_RARER, _MAX_MISTAKES = 3, 3
"""How many times rarer a name is than the one that it may stand for, and how many rows it has at
most, if both may be words."""


def separators(records: Iterable[Record]) -> dict[str, list[Record]]:
    """Rows with a label that may be several, by the sign between them.

    Signs that names hold too, such as a slash for "or", count where a part of the label is part of
    another one.
    """
    found: dict[str, dict[int, Record]] = defaultdict(dict)
    names: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        for name in record.labels:
            names[name].append(record)
    for mark in _SEPARATORS:
        parts_of = {name: {part.strip() for part in name.split(mark)} for name in names}
        shared = Counter(part for parts in parts_of.values() for part in parts)
        for name, rows in names.items():
            if mark not in name:
                continue
            if mark not in _ALSO_IN_NAMES or any(shared[part] > 1 for part in parts_of[name]):
                found[mark].update((id(row), row) for row in rows)
    return {mark: list(rows.values()) for mark, rows in found.items()}


def separator_notes(records: Sequence[Record]) -> tuple[str, ...]:
    """What to do about labels that hold such signs, a note for each sign."""
    notes = []
    for mark, rows in separators(records).items():
        name = next(name for name in rows[0].labels if mark in name)
        notes.append(
            f"{len(rows)} row(s) have a label that holds {mark!r} ({rows[0].place}: {name!r}), and "
            f"it counts as one label; if several are meant, split them with "
            f"--label-separator {mark!r}"
        )
    return tuple(notes)


def no_value_notes(records: Sequence[Record]) -> tuple[str, ...]:
    """What to do about labels that mean no value where people write tables, a note for each."""
    found: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        for name in record.labels:
            if name.lower() in _NO_VALUES:
                found[name].append(record)
    return tuple(
        f"{len(rows)} row(s) have the label {name!r} ({rows[0].place}), and it counts as a label; "
        "leave the cell empty if no label is there, and leave the row out if nobody looked"
        for name, rows in found.items()
    )


def spelling_notes(records: Sequence[Record]) -> tuple[str, ...]:
    """Which labels are the same but for their spelling and count as several, a note for each."""
    num_rows = Counter(name for record in records for name in record.labels)
    spellings: dict[str, list[str]] = defaultdict(list)
    for name, _ in num_rows.most_common():
        spellings[folded(name)].append(name)
    return tuple(
        f"{', '.join(f'{name!r} ({num_rows[name]} row(s))' for name in names)} differ in spelling "
        f"alone (case, spaces, underscores, hyphens), and count as {len(names)} labels; if one is "
        "meant, write it in one way"
        for names in spellings.values()
        if len(names) > 1
    )


def near_duplicates(num_rows: Mapping[str, int]) -> Iterator[tuple[str, str]]:
    """Pairs of labels of which the first, the rarer one, may be a misspelling of the second.

    `num_rows` are the rows of each label. Names that `folded` makes equal are none of these.
    """
    for one, other in combinations(num_rows, 2):
        rare, usual = sorted((one, other), key=lambda name: num_rows[name])
        words = rare.lower().replace("_", " ").split(), usual.lower().replace("_", " ").split()
        differing = [pair for pair in zip(*words, strict=False) if pair[0] != pair[1]]
        if len(words[0]) != len(words[1]) or len(differing) != 1 or folded(one) == folded(other):
            continue
        is_rare = num_rows[rare] <= min(_MAX_MISTAKES, num_rows[usual] / _RARER)
        if _is_misspelt(*differing[0], is_rare=is_rare):
            yield rare, usual


def _is_misspelt(word: str, other: str, *, is_rare: bool) -> bool:
    """Whether one word is the other but for one letter, or two letters in the wrong order.

    Letters that are swapped, doubled or missing at the end are mistakes; other ones make words of
    their own so often that the word must be rare too. A first letter makes another word.
    """
    short, long = sorted((word, other), key=len)
    if len(long if is_rare else short) < _MIN_LETTERS or not (short + long).isalpha():
        return False
    pairs = enumerate(zip(short, long, strict=False))
    place = next((n for n, (a, b) in pairs if a != b), len(short))
    if len(short) == len(long):
        rest, others = short[place:], long[place:]
        is_swapped = rest[:2] == others[1::-1] and rest[2:] == others[2:]
        return is_swapped or (is_rare and place > 0 and rest[1:] == others[1:])
    if short[place:] != long[place + 1 :]:
        return False
    is_doubled = place > 0 and long[place] == long[place - 1]
    return is_doubled or place == len(short) or (is_rare and place > 0)
