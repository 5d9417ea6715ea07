"""Which column of somebody's table is which: as told, by its own name, or guessed from another.

A guess is made for missing columns only, and is never silent: `ColumnMap.note` says it. Two columns
that fit equally are an error. Times in milliseconds or frames are no seconds, so that a column of
those alone is an error too. A column of individuals becomes the group if it tells rows apart.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING

from msqnet.config.tables import COLUMNS, OPTIONAL_COLUMNS, REQUIRED_COLUMNS
from msqnet.errors import ConfigError, DatasetError
from msqnet.intervals import parse_clock

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

UNITS = {
    "seconds": "sf s sec secs second seconds ss hmsf hms hh h tc",
    "milliseconds": "ms msec msecs millisecond milliseconds",
    "minutes": "min mins minute minutes",
    "frames": "frame frames frm idx index number num no",
}
"""Units of time by words in names of columns, the most exact words first: ``hms`` of The Observer
are whole seconds, and frames need the video."""
_UNIT_OF = {word: unit for unit, words in UNITS.items() for word in words.split()}
_OTHER_NAMES = {
    "path": "path video videopath videofile videofilename videoname file filename filepath clip "
    "clippath clipfile clipname movie media mediafile mediafilename mediafilepath footage",
    "labels": "labels label behavior behaviors behaviour behaviours action actions activity "
    "activities class classes classname tag tags category event events annotation annotations",
    "start": "start starttime timestart tstart timein from begin begintime onset",
    "end": "end endtime timeend tend timeout stop stoptime timestop tstop to until offset",
    "annotated": "annotated annotatedlabels labelsannotated checkedlabels labelschecked",
    "split": "split splits set subset partition",
    "group": "group groups groupid subject subjectid animal animalid individual individualid "
    "participant participantid person personid session sessionid recording recordingid",
}
"""Names that a missing column may have, as `words_of` joins them."""
_TIMES = ("start", "end")
SPLIT_NAMES = frozenset(
    {"train", "training", "val", "valid", "validation", "dev", "test", "testing"}
)
_MIN_GROUPS = 2
_NUM_NAMED = 8
_YES_OR_NO = frozenset(["0", "1", "yes", "no", "y", "n", "true", "false", "x"])


def words_of(name: str) -> list[str]:
    """The words in a name, in small letters."""
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)
    return re.findall(r"[^\W_]+", spaced.lower())


def _unit_word(name: str) -> str:
    return next((word for word in words_of(name) if word in _UNIT_OF), "s")


def unit_of(name: str) -> str:
    """The unit that the name of a column of times says, seconds if it says none."""
    return _UNIT_OF[_unit_word(name)]


def unit_rank(name: str) -> int:
    """Place of the unit in `UNITS`: columns of more exact times come first."""
    return [*_UNIT_OF].index(_unit_word(name))


def bare_name(name: str) -> str:
    """A name without units, numbers, signs and capitals; what it has only of these stays."""
    words = words_of(name)
    kept = [word for word in words if word not in (*_UNIT_OF, "m", "mm") and not word.isdecimal()]
    return "".join(kept or words)


@dataclass(frozen=True)
class ColumnMap:
    """Places of columns.

    Attributes:
        position: in the header, from 0, by those names of `COLUMNS` that are there.
        renamed: names in the file, of columns that have another one there.
        guessed: those of `renamed` that nobody told.
        ignored: problems of columns that are not used though they may be meant.
        unread: names of columns that are not used.
    """

    position: Mapping[str, int]
    renamed: Mapping[str, str]
    guessed: tuple[str, ...]
    ignored: tuple[str, ...]
    unread: tuple[str, ...] = ()

    @property
    def note(self) -> str:
        """Says which columns have other names, and which are not read; empty if none has."""
        if not self.renamed:
            return ""
        pairs = ", ".join(f"{role} from {name!r}" for role, name in self.renamed.items())
        how = f"; --columns {self.guessed[0]}=NAME changes a guess" if self.guessed else ""
        extra = [role for role in self.guessed if role not in REQUIRED_COLUMNS]
        how += f", {extra[0]}= drops one" if extra else ""
        others = ", ".join(map(repr, self.unread[:_NUM_NAMED]))
        more = len(self.unread) - _NUM_NAMED
        others += f" and {more} more" if more > 0 else ""
        return f"columns: {pairs}{how}{'; not read: ' if others else ''}{others}"


def path_column(path: Path, header: Sequence[str]) -> tuple[int, str]:
    """Place of the column of videos in a list of videos, and a note if it has another name.

    `DatasetError` if there is none, or several may be it.
    """
    lower = [name.lower() for name in header]
    if "path" in lower:
        return lower.index("path"), ""
    found = _candidates("path", header)
    if len(found) != 1:
        names = ", ".join(map(repr, found or header))
        raise DatasetError(
            f"{path}: no column 'path'; found {names}; name the column of videos 'path'"
        )
    return header.index(found[0]), f"{path}: videos are named by column {found[0]!r}"


def is_header(cells: Sequence[str], told: Mapping[str, str], *, wholly: bool = False) -> bool:
    """Whether there is a column of videos among names of columns, or all that were told.

    Of labels too if it is to be one `wholly`.
    """
    names = [cell.strip() for cell in cells]
    lower = [name.lower() for name in names]
    if any(told.values()):
        return all(name in names or name.lower() in lower for name in told.values() if name)
    roles = REQUIRED_COLUMNS if wholly else ("path",)
    return all(role in lower or _candidates(role, names) for role in roles)


def find_columns(
    path: Path, header: Sequence[str], rows: Sequence[Sequence[str]], told: Mapping[str, str]
) -> ColumnMap:
    """Find the columns of a table.

    Args:
        path: for errors.
        header: names, without space around them.
        rows: cells, which decide whether a column can be what its name says.
        told: `TableOptions.told_columns`.

    Raises:
        ConfigError: a column that was told is not there, or two fit equally.
        DatasetError: a required column is missing, one is there twice, or times are no seconds.
    """
    lower = [name.lower() for name in header]
    place = {role: _told_place(path, header, name) for role, name in told.items() if name}
    for role in COLUMNS:
        if role in lower and role not in told:
            if lower.count(role) > 1:
                raise DatasetError(f"{path}: column {role!r} is there twice")
            place[role] = lower.index(role)
    taken = {header[index] for index in place.values()}
    guessed = []
    for role in _OTHER_NAMES:
        if role in place or role in told:
            continue
        found = [name for name in _candidates(role, header) if name not in taken]
        found = [name for name in found if _can_be(role, _cells(header, rows, name))]
        chosen = _chosen(path, role, found)
        if chosen is not None:
            place[role] = header.index(chosen)
            taken.add(chosen)
            guessed.append(role)
    unread = {
        name: _cells(header, rows, name)
        for name in header
        if name and name not in taken and name.lower() not in COLUMNS
    }
    _require(path, header, place, unread)
    ignored = (*_ignored(unread, place, told), *_ignored_times(unread, place, told))
    renamed = {
        role: header[place[role]]
        for role in COLUMNS
        if role in place and lower[place[role]] != role
    }
    return ColumnMap(place, renamed, tuple(guessed), ignored, tuple(unread))


def _told_place(path: Path, header: Sequence[str], name: str) -> int:
    lower = [item.lower() for item in header]
    for names, wanted in ((list(header), name), (lower, name.lower())):
        if names.count(wanted) == 1:
            return names.index(wanted)
        if names.count(wanted) > 1:
            raise ConfigError(f"{path}: column {name!r}, named by --columns, is there twice")
    raise ConfigError(
        f"{path}: no column {name!r}, named by --columns; found {', '.join(header) or 'nothing'}"
    )


def _candidates(role: str, header: Sequence[str]) -> list[str]:
    """Names that the column may have."""
    known = _OTHER_NAMES[role].split()
    if role in _TIMES:
        return [name for name in header if bare_name(name) in known]
    return [name for name in header if "".join(words_of(name)) in known]


def _cells(header: Sequence[str], rows: Sequence[Sequence[str]], name: str) -> set[str]:
    index = header.index(name)
    return {row[index].strip() for row in rows if index < len(row)} - {""}


def _can_be(role: str, values: set[str]) -> bool:
    if role == "split":
        return bool(values) and {value.lower() for value in values} <= SPLIT_NAMES
    return role != "group" or len(values) >= _MIN_GROUPS


def _chosen(path: Path, role: str, found: list[str]) -> str | None:
    """The one column that fits; None if there is none."""
    if role in _TIMES and found:
        in_seconds = [name for name in found if unit_of(name) == "seconds"]
        if not in_seconds:
            raise DatasetError(
                f"{path}: column {found[0]!r} holds {unit_of(found[0])}, expected seconds in "
                f"{role!r}; add a column of seconds, say --columns {role}= to do without, or see "
                "msqnet convert --from columns"
            )
        found = in_seconds
    if len(set(found)) < len(found):
        raise DatasetError(f"{path}: column {found[0]!r} is there twice")
    if len(found) > 1:
        without = "" if role in REQUIRED_COLUMNS else f", or {role}= for none"
        raise ConfigError(
            f"{path}: columns {' and '.join(map(repr, found))} may both be {role!r}: choose one, "
            f"for instance with --columns {role}={found[0]!r}{without}"
        )
    return found[0] if found else None


def _require(
    path: Path, header: Sequence[str], place: Mapping[str, int], unread: Mapping[str, set[str]]
) -> None:
    missing = [role for role in REQUIRED_COLUMNS if role not in place]
    if not missing:
        return
    how = f"--columns {missing[0]}=NAME says which one it is"
    marks = [name for name, cells in unread.items() if {c.lower() for c in cells} <= _YES_OR_NO]
    if missing == ["labels"] and len(marks) > 1:
        how = (
            f"{', '.join(map(repr, marks[:_NUM_NAMED]))} look like a column for each label: write "
            "the names of those that are there into one column 'labels', joined by '|'"
        )
    raise DatasetError(
        f"{path}: no column {' and no column '.join(map(repr, missing))}; "
        f"found {', '.join(header) or 'nothing'}; the first row must name the columns "
        f"{','.join(REQUIRED_COLUMNS)} and may name {','.join(OPTIONAL_COLUMNS)}; {how}"
    )


def _ignored(unread: Iterable[str], place: Mapping[str, int], told: Mapping[str, str]) -> list[str]:
    """What is to be said about columns that are not used, by their names."""
    absent = [role for role in OPTIONAL_COLUMNS if role not in place and role not in told]
    messages = []
    for name in unread:
        near = get_close_matches(name.lower().partition("_")[0], absent, n=1, cutoff=0.8)
        if near:
            messages.append(
                f"column {name!r} is ignored; if it means {near[0]!r}, say --columns "
                f"{near[0]}={name}"
            )
        elif "start" in absent and bare_name(name) in ("time", "timestamp"):
            messages.append(
                f"column {name!r} is ignored, and rows begin where their video does; if it holds "
                f"their starts, say --columns start={name}"
            )
        elif "end" in absent and "start" in place and bare_name(name) in ("duration", "length"):
            messages.append(
                f"column {name!r} is ignored, and rows go to the end of their video; if it holds "
                "their lengths, add a column 'end'"
            )
    return messages


def _ignored_times(
    unread: Mapping[str, set[str]], place: Mapping[str, int], told: Mapping[str, str]
) -> list[str]:
    """What is to be said about columns that are not used and may be times by their cells."""
    absent = [role for role in _TIMES if role not in place and role not in told]
    names = [name for name, cells in unread.items() if _may_be_times(cells)]
    if not absent or not names:
        return []
    what = {"start": "begin where their video does", "end": "go to the end of their video"}
    choice = ",".join(f"{role}=NAME" for role in absent)
    return [
        f"no column is {' or '.join(map(repr, absent))}, so that rows "
        f"{' and '.join(what[role] for role in absent)}, and {', '.join(map(repr, names))} "
        f"with numbers or times are ignored; if they are meant, say --columns {choice}, and if "
        f"not, --columns {','.join(f'{role}=' for role in absent)}"
    ]


def _may_be_times(cells: set[str]) -> bool:
    """Whether all cells are numbers or times, and not only 0 and 1, as marks are."""
    try:
        return {parse_clock(cell) for cell in cells} - {0.0, 1.0} != set()
    except ValueError:
        return False
