"""Typed access to annotation files: JSON, tables and text.

Every value knows where it stands. One that is not as expected raises an error that names the file,
the place in it, what was found, what was expected and what to do next.

Files are not trusted: their size is bounded, that of unpacked files too. JSON values take up to
some 40 times the memory of their text (empty lists do), so that the largest file may take 2.5 GiB.
"""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import itertools
import json
import math
import os
import zipfile
import zlib
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple, cast

from msqnet.errors import DatasetError
from msqnet.workbooks import SMALLER, SPREADSHEET_SUFFIXES, read_sheets

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    _Lines = Iterator[tuple[int, Sequence[str]]]

MAX_JSON_BYTES = 64 * 1024 * 1024
"""Larger JSON files are refused; a quarter of a million coded events fit."""
_MAX_TEXT_BYTES = 1024 * 1024 * 1024
_DAMAGED = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError)
_COMMON_LETTERS = "\xe4\xf6\xfc\xdf\xe9\xe8\xea\xe0\xe7\xe5\xf8\xe6\xe1\xe2"
"""Of western Europe; those that are dashes, dots or quotes in another encoding are left out."""
_MAX_DIGITS = 18
_NUM_CHARACTERS_SHOWN = 60
_NUM_NAMES_SHOWN = 8


@dataclass(frozen=True)
class Value:
    """A value of a document: text or what JSON has. Access as another type raises `DatasetError`.

    ``place`` is the file and the way to the value, such as ``cage.boris: observations: 'monday'``;
    ``advice`` says what to do about a malformed document.
    """

    value: object
    place: str
    advice: str

    def error(self, expected: str) -> DatasetError:
        """The error about a value that is not as expected."""
        return DatasetError(
            f"{self.place}: found {_shown(self.value)}, expected {expected}; {self.advice}"
        )

    def text(self) -> str:
        """Text that UTF-8 can hold."""
        if not isinstance(self.value, str):
            raise self.error("text")
        if any("\ud800" <= letter <= "\udfff" for letter in self.value):
            raise self.error("text in Unicode")
        return self.value

    def score(self) -> float:
        """A number from 0 to 1, which may be written as text."""
        found = self.number()
        if not 0 <= found <= 1:
            raise self.error("a score from 0 to 1")
        return found

    def number(self) -> float:
        """A finite number, which may be written as text."""
        if isinstance(self.value, str | int | float) and not isinstance(self.value, bool):
            try:
                found = float(self.value)
            except (ValueError, OverflowError):
                found = math.nan
            if math.isfinite(found):
                return found
        raise self.error("a number")

    def whole(self) -> int:
        """A whole number of at least 0, which may be written as text."""
        found = self.value
        # More digits are no number of anything, and slow to read.
        if isinstance(found, str) and found.isascii() and found.isdigit():
            found = int(found) if len(found) <= _MAX_DIGITS else None
        if isinstance(found, bool) or not isinstance(found, int) or found < 0:
            raise self.error("a whole number of at least 0")
        return found

    def truth(self) -> bool:
        """Whether it is true."""
        if not isinstance(self.value, bool):
            raise self.error("true or false")
        return self.value


class JsonValue(Value):
    """A value of a JSON document."""

    def items(self) -> Iterator[tuple[str, JsonValue]]:
        """Names and values of an object in order."""
        for name, value in self.members().items():
            yield name, JsonValue(value, f"{self.place}: {name!r}", self.advice)

    def elements(self) -> Iterator[JsonValue]:
        """Values of a list, in order; places count from 1."""
        if not isinstance(self.value, list):
            raise self.error("a list")
        for number, value in enumerate(self.value, start=1):
            yield JsonValue(value, f"{self.place}: number {number}", self.advice)

    def get(self, *names: str) -> JsonValue | None:
        """A value of an object, or of an object in it; None where one is missing or null."""
        found = self
        for name in names:
            value = found.members().get(name)
            if value is None:
                return None
            found = JsonValue(value, f"{found.place}: {name}", self.advice)
        return found

    def elements_of(self, *names: str) -> Iterator[JsonValue]:
        """Values of the list at `get`; none where it is missing or null."""
        found = self.get(*names)
        return iter(()) if found is None else found.elements()

    def number_of(self, *names: str) -> float:
        """The number at `get`; 0 where it is missing or null."""
        found = self.get(*names)
        return 0.0 if found is None else found.number()

    def is_true(self, *names: str) -> bool:
        """Whether the value at `get` is true; missing or null is false."""
        found = self.get(*names)
        return found is not None and found.truth()

    def require(self, name: str) -> JsonValue:
        """A value of an object that has to be there; `DatasetError` if it is not."""
        found = self.get(name)
        if found is None:
            names = ", ".join(map(repr, list(self.members())[:_NUM_NAMES_SHOWN])) or "nothing"
            raise DatasetError(f"{self.place}: no {name!r}; found {names}; {self.advice}")
        return found

    def members(self) -> dict[str, object]:
        """Names and plain values of an object."""
        if not isinstance(self.value, dict):
            raise self.error("an object")
        return self.value


def exists(path: Path) -> bool:
    """Whether there is a file; the name, from whatever a file holds, may have any letters."""
    # `Path.exists` raises for names that are too long, or have a zero in them.
    return os.path.exists(path)  # noqa: PTH110


def read_json(path: Path, advice: str) -> JsonValue:
    """The document in a file; ``.gz`` is unpacked. `DatasetError` if too large or not JSON."""
    content = read_bytes(path, advice, MAX_JSON_BYTES)
    try:
        return JsonValue(json.loads(_decoded(path, content, advice)), str(path), advice)
    except json.JSONDecodeError as error:
        raise DatasetError(
            f"{path}, line {error.lineno}, column {error.colno}: not JSON: {error.msg}; {advice}"
        ) from error
    except (ValueError, RecursionError) as error:
        raise DatasetError(f"{path}: not JSON that can be used: {error}; {advice}") from error


def allow_long_cells(text: str) -> None:
    """Let `csv` read cells of any length in a text; its own bound is 128 KiB."""
    csv.field_size_limit(max(csv.field_size_limit(), len(text)))


def decimal_point(text: str, has_commas: bool) -> str:
    """A number with a point in place of its decimal comma, if it has one comma and may have it."""
    return text.replace(",", ".") if has_commas and text.count(",") == 1 else text


@dataclass(frozen=True)
class TableRow:
    """A row of a table; `require` raises `DatasetError` for an empty cell.

    Attributes:
        line: number of the line in the file that the row ends in.
        cells: text by column; of columns of the same name, the first.
        advice: what to do if the table is malformed.
        has_commas: whether numbers may have decimal commas, as no comma is between cells.
    """

    path: Path
    line: int
    cells: Mapping[str, str]
    advice: str
    has_commas: bool = False

    def __getitem__(self, column: str) -> str:
        """The text of a cell; empty where there is none."""
        return self.cells.get(column, "")

    def number(self, column: str) -> float:
        """The finite number in a cell; `DatasetError` if it holds none."""
        found = self.value(column)
        return replace(found, value=decimal_point(self[column], self.has_commas)).number()

    def value(self, column: str) -> Value:
        """A cell and its place."""
        return Value(self[column], f"{self.path}, line {self.line}, {column}", self.advice)

    def require(self, column: str) -> str:
        """The text of a cell."""
        if not self[column]:
            raise self.value(column).error("a value")
        return self[column]


@dataclass(frozen=True)
class Table:
    """A table of text.

    Attributes:
        rows: in order, without empty ones.
        before: second cells of the rows above the header, by their first cells.
        advice: what to do about a malformed table.
        delimiter: between cells; empty for a spreadsheet.
    """

    path: Path
    header: tuple[str, ...]
    rows: tuple[TableRow, ...]
    before: Mapping[str, Sequence[str]]
    advice: str
    delimiter: str = ""

    def require(self, columns: Iterable[str]) -> None:
        """Check that columns are there; `DatasetError` if some are not."""
        missing = [name for name in columns if name not in self.header]
        if missing:
            raise DatasetError(
                f"{self.path}: no column {', '.join(missing)}; found "
                f"{', '.join(self.header) or 'nothing'}; {self.advice}"
            )


def read_delimited(
    path: Path,
    advice: str,
    required: Iterable[str] = (),
    *,
    is_header: Callable[[Sequence[str]], bool] = any,
    header: str = "a header in its first row",
    delimiters: Sequence[str] = (",",),
    is_strict: bool = True,
    is_lower: bool = False,
    sheet: str = "",
    is_row: Callable[[Sequence[str]], bool] | None = None,
) -> Table:
    """The table in a CSV or TSV file or a spreadsheet; `DatasetError` if there is no such table.

    Args:
        advice: end of all errors about it.
        required: columns that have to be there.
        is_header: whether names are those of a header; rows may stand above it.
        header: describes the header in the error about a file without one.
        delimiters: between cells; the first with which there is a header is taken.
        is_strict: whether each column has a name of its own, and each row a cell for each.
            Otherwise cells may be missing; one without a column is an error all the same.
        is_lower: whether names of columns are taken in lower case.
        sheet: of a spreadsheet; the first with a header if not given.
        is_row: whether cells are the first row of a table without a header. Its columns have
            numbers from 1 for their names.
    """
    for delimiter, lines in _grids(path, advice, tuple(dict.fromkeys(delimiters)), sheet):
        before: dict[str, list[str]] = {}
        for number, cells in lines:
            names = tuple(cell.strip().lower() if is_lower else cell.strip() for cell in cells)
            is_first = is_row is not None and is_row(names)
            if is_first:
                lines = itertools.chain([(number, cells)], lines)
                names = tuple(str(column) for column in range(1, len(cells) + 1))
            if is_first or is_header(names):
                table = Table(path, names, (), before, advice, delimiter)
                table.require(required)
                return replace(table, rows=tuple(_rows(lines, table, is_strict=is_strict)))
            if names and names[0]:
                before.setdefault(names[0], []).extend(names[1:2])
    raise DatasetError(f"{path}: no table in it; expected {header}; {advice}")


def _grids(
    path: Path, advice: str, delimiters: Iterable[str], sheet: str
) -> Iterator[tuple[str, _Lines]]:
    """Rows of cells with the numbers of their lines, for each delimiter or each sheet."""
    if path.suffix.lower() in SPREADSHEET_SUFFIXES:
        for cells in read_sheets(path, advice, sheet).values():
            yield "", enumerate(cells, start=1)
        return
    text = read_text(path, advice).replace("\0", "")
    allow_long_cells(text)
    for delimiter in delimiters:
        yield delimiter, _csv_lines(path, text, delimiter, advice)


class CsvRows(NamedTuple):
    """Rows of a CSV file as a spreadsheet numbers them, with the text between their cells.

    ``note`` says which encoding was assumed, and shows a line where it matters; it may be empty.
    """

    rows: list[list[str]]
    delimiter: str
    note: str


def read_csv_rows(path: Path, advice: str, is_header: Callable[[Sequence[str]], bool]) -> CsvRows:
    """The rows of a CSV file, with the delimiter that gives a header; without one, most cells.

    Besides Unicode, text is read in the encodings that spreadsheets save CSV in. `DatasetError` if
    it is no CSV file.
    """
    text, note = _table_text(path, read_bytes(path, advice, _MAX_TEXT_BYTES), advice)
    allow_long_cells(text)
    first, _, rest = text.partition("\n")
    # Excel hides this line, which tells it the delimiter.
    told = first.strip().removeprefix("sep=") if first.startswith("sep=") else ""
    text = rest if len(told) == 1 else text
    first = next((line for line in text.splitlines() if line.strip()), "")
    headers = {mark: next(csv.reader([first], delimiter=mark), []) for mark in (",", ";", "\t")}
    fitting = [mark for mark, cells in headers.items() if len(cells) > 1 and is_header(cells)]
    most = max(headers, key=lambda mark: len(headers[mark]))
    delimiter = told if len(told) == 1 else (*fitting, most)[0]
    try:
        # One record is one spreadsheet row, even where a quoted cell holds line breaks.
        rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True))
    except csv.Error as error:
        raise DatasetError(f"{path}: not a well-formed CSV table ({error})") from error
    return CsvRows(rows, delimiter, note)


def _table_text(path: Path, content: bytes, advice: str) -> tuple[str, str]:
    """Text in UTF-8 or UTF-16, or else in Windows-1252 or Mac Roman and a note on that."""
    try:
        return _decoded(path, content, advice), ""
    except DatasetError as error:
        unknown = error
        is_mixed = not content.decode("utf-8", "ignore").isascii()
        if is_mixed or b"\0" in content:
            raise
    text, name = content.decode("mac_roman"), "Mac Roman"
    try:
        windows = content.decode("cp1252")
        # In the wrong one, common letters are other signs.
        if _num_common(windows) >= _num_common(text):
            text, name = windows, "Windows-1252"
    except UnicodeDecodeError:
        if not _num_common(text):
            raise unknown from None
    number, line = next(
        (number, line) for number, line in enumerate(text.split("\n"), 1) if not line.isascii()
    )
    first = next(place for place, letter in enumerate(line) if not letter.isascii())
    shown = line[max(0, first - _NUM_CHARACTERS_SHOWN // 2) :].strip()
    return text, (
        f"{path}: not UTF-8 text, so it was read as {name}; line {number} reads "
        f"{_shown(shown)}: if that is wrong, {advice}"
    )


def _num_common(text: str) -> int:
    return sum(map(text.count, _COMMON_LETTERS))


def _csv_lines(path: Path, text: str, delimiter: str, advice: str) -> _Lines:
    lines = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    try:
        for cells in lines:
            yield lines.line_num, cells
    except csv.Error as error:
        raise DatasetError(
            f"{path}, line {lines.line_num}: not a row of a table: {error}; {advice}"
        ) from error


def _rows(lines: _Lines, table: Table, *, is_strict: bool) -> Iterator[TableRow]:
    """Rows below the header, from which `lines` goes on."""
    header = table.header
    twice = sorted({name for name in header if name and header.count(name) > 1})
    if twice and is_strict:
        raise DatasetError(f"{table.path}: column {twice[0]} is there twice; {table.advice}")
    for number, cells in lines:
        if not any(cells):
            continue
        if any(cells[len(header) :]) or (is_strict and len(cells) != len(header)):
            raise DatasetError(
                f"{table.path}, line {number}: found {len(cells)} cells, expected "
                f"{len(header)}, one for each column; {table.advice}"
            )
        by_column: dict[str, str] = {}
        for name, cell in zip(header, cells, strict=False):
            by_column.setdefault(name, cell)
        has_commas = table.delimiter != ","
        yield TableRow(table.path, number, by_column, table.advice, has_commas)


def read_text(path: Path, advice: str = "get the file again") -> str:
    """The text of a file; `DatasetError` if it cannot be read, or is not UTF-8."""
    return _decoded(path, read_bytes(path, advice, _MAX_TEXT_BYTES), advice)


def read_bytes(path: Path, advice: str, max_bytes: int) -> bytes:
    """The content of a file, which may be one in an archive; ``.gz`` is unpacked.

    `DatasetError` if it cannot be read, is damaged, or is larger than the bound.
    """
    try:
        with path.open("rb") as file:
            is_packed = path.suffix.lower() == ".gz"
            content = (gzip.GzipFile(fileobj=file) if is_packed else file).read(max_bytes + 1)
    # Damaged archives raise all of these.
    except (*_DAMAGED, gzip.BadGzipFile) as error:
        raise DatasetError(f"{path}: a damaged archive: {error}; {advice}") from error
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read: {error.strerror or error}") from error
    if len(content) > max_bytes:
        raise DatasetError(
            f"{path}: found more than {max_bytes // 1024**2} MiB, expected less; {SMALLER}"
        )
    return content


@contextmanager
def opened_archive(path: Path, advice: str, is_member: Callable[[str], bool]) -> Iterator[Path]:
    """The first file of a zip archive whose name fits, of those highest up; `DatasetError` if none.

    It is good for reading only, as are paths beside it.
    """
    try:
        archive = zipfile.ZipFile(path)
    except (*_DAMAGED, OSError) as error:
        raise DatasetError(f"{path}: not a zip file that can be read: {error}; {advice}") from error
    with archive:
        found = sorted(filter(is_member, archive.namelist()), key=lambda name: name.count("/"))
        if not found:
            names = ", ".join(archive.namelist()[:_NUM_NAMES_SHOWN]) or "nothing"
            raise DatasetError(f"{path}: found {names} in it, not what is expected; {advice}")
        yield cast("Path", zipfile.Path(archive, found[0]))


def _decoded(path: Path, content: bytes, advice: str) -> str:
    encoding = "utf-8-sig"
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        encoding = "utf-16"
    elif content[1:2] == b"\0" != content[:1]:
        encoding = "utf-16-le"
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        raise DatasetError(f"{path}: byte {error.start} is not UTF-8 text; {advice}") from error


def _shown(value: object) -> str:
    if isinstance(value, dict | list):
        return f"{'an object' if isinstance(value, dict) else 'a list'} of {len(value)}"
    if isinstance(value, str):
        is_long = len(value) > _NUM_CHARACTERS_SHOWN
        return repr(value[:_NUM_CHARACTERS_SHOWN] + "..." if is_long else value)
    text = json.dumps(value)
    return text if len(text) <= _NUM_CHARACTERS_SHOWN else text[:_NUM_CHARACTERS_SHOWN] + "..."
