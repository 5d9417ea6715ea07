"""Cells of spreadsheets as text. A cell without a value that can be trusted says so.

Who types 0:05 for five seconds gets five minutes, in a format without seconds. A formula that was
never computed, as scripts write them, and one that failed come from the reader as empty cells,
which mean something else in a table.
"""

from __future__ import annotations

import datetime
import re
import zipfile
from itertools import islice, product
from typing import TYPE_CHECKING

from msqnet.errors import DatasetError, needs_extra

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SPREADSHEET_SUFFIXES = (".xlsx", ".ods", ".xlsm", ".xlsb", ".xls")
MAX_SHEET_BYTES = 512 * 1024 * 1024
"""Larger spreadsheets are refused; this is their size unpacked."""
SMALLER = "split it, for instance by exporting fewer videos at a time"
"""What to do about a file that is too large."""
NOT_COMPUTED = "#FORMULA!"
"""Text of a cell whose formula has no value."""
MERGED = "#MERGED!"
"""Text of a cell that is merged with one above or left of it, if that is asked for."""
CELL_ERRORS = frozenset(
    {
        NOT_COMPUTED,
        MERGED,
        *("#N/A", "#REF!", "#VALUE!", "#NAME?", "#DIV/0!", "#NUM!", "#NULL!", "#SPILL!"),
    }
)
"""Texts of cells that have no value."""

HOURS_AND_MINUTES = " (h:mm)"
"""End of the text of a cell that is shown without seconds, as 0:05 is, if that is asked for."""

_DAMAGED = (NotImplementedError, RuntimeError, ValueError)
_FIRST_DATE = datetime.datetime(1900, 3, 1)
"""Earlier dates of spreadsheets are lengths of time."""
_LENGTH = re.compile(r"^PT(\d+)H(\d+)M(?=[\d.])(\d*)([\d.]*)S$")
"""How .ods has a length of time of a day and more."""
_CELL = re.compile(
    rb"<(?:\w+:)?c\b([^>]*)>\s*(?:<(?:\w+:)?f\b[^>]*?(/>|>[^<]*</(?:\w+:)?f>))?"
    rb"\s*(?:<(?:\w+:)?v\s*/>|<(?:\w+:)?v>([^<]*)</(?:\w+:)?v>)?\s*</(?:\w+:)?c>"
)
"""A cell of .xlsx with its attributes, formula and value (ECMA-376, 18.3.1.4)."""
_STYLE = re.compile(rb'\bs="(\d+)"')
_FORMATS = re.compile(rb"<(?:\w+:)?cellXfs\b.*?</(?:\w+:)?cellXfs>", re.DOTALL)
_FORMAT = re.compile(rb'<(?:\w+:)?xf\b(?:[^>]*?\bnumFmtId="(\d+)")?')
_OWN_FORMAT = re.compile(rb"<(?:\w+:)?numFmt\b[^>]*>")
_BUILT_IN_HOURS = {b"18", b"20"}
"""Formats of .xlsx that show hours and minutes, without seconds (ECMA-376, 18.8.30)."""
_PLACE = re.compile(rb'\br="([A-Z]+)(\d+)"')
_SHEET = re.compile(r"<(?:\w+:)?sheet\b[^>]*>")
_RELATION = re.compile(r"<(?:\w+:)?Relationship\b[^>]*>")
_OVER_ROWS = re.compile(rb'\btable:number-rows-spanned="(?!1")')
_NO_VALUE = re.compile(
    rb"<table:table-cell\b(?=[^>]*\btable:formula=)"
    rb'(?:(?![^>]*\boffice:value-type=)|(?=[^>]*\bcalcext:value-type="error"))[^>]*>'
)
"""A cell of .ods whose formula has no value, or failed."""


def read_sheets(
    path: Path,
    advice: str,
    sheet: str = "",
    *,
    extra: str = "formats",
    marks_unsure: bool = False,
) -> dict[str, list[list[str]]]:
    """Cells of a spreadsheet as text, by the names of its sheets, or those of one sheet.

    Cells without a value hold one of `CELL_ERRORS` in .xlsx; in .ods they are a `DatasetError`.
    With `marks_unsure`, times in .xlsx that are shown without seconds end in `HOURS_AND_MINUTES`,
    and cells below and right of the first of merged ones hold `MERGED`; in .ods, cells that are
    merged over rows are a `DatasetError`.
    Another error is that there is no such sheet, or the file cannot be read or is too large;
    `MissingExtra` (``extra``) without python-calamine.
    """
    with needs_extra(f"{path.name}: reading a spreadsheet", extra=extra):
        from python_calamine import CalamineError, CalamineWorkbook
    failed: dict[str, dict[tuple[int, int], str]] = {}
    # Older workbooks, `.xls`, are not packed.
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as packed:
            size = sum(item.file_size for item in packed.infolist())
            if size > MAX_SHEET_BYTES:
                raise DatasetError(
                    f"{path}: found {size // 1024**2} MiB unpacked, expected at most "
                    f"{MAX_SHEET_BYTES // 1024**2}; {SMALLER}"
                )
            failed = _unsure_cells(path, packed, marks_unsure=marks_unsure)
    try:
        book = CalamineWorkbook.from_path(path)
        pages = {name: book.get_sheet_by_name(name) for name in book.sheet_names}
        found = {name: page.to_python(False) for name, page in pages.items()}
    except (CalamineError, OSError) as error:
        raise DatasetError(f"{path}: not a readable spreadsheet ({error}); {advice}") from error
    if sheet and sheet not in found:
        raise DatasetError(f"{path}: no sheet {sheet!r}; found {', '.join(found)}; {advice}")
    texts: dict[str, list[list[str]]] = {}
    for name in [sheet] if sheet else found:
        texts[name] = [[_cell_text(cell) for cell in row] for row in found[name]]
        unsure = failed.get(name, {})
        merged = (pages[name].merged_cell_ranges or ()) if marks_unsure else ()
        for (top, left), (bottom, right) in merged:
            if top < len(texts[name]) and any(texts[name][top][left : left + 1]):
                area = product(range(top, bottom + 1), range(left, right + 1))
                unsure |= dict.fromkeys(islice(area, 1, None), MERGED)
        for (row, column), text in unsure.items():
            if row < len(texts[name]) and column < len(texts[name][row]):
                texts[name][row][column] = text
    return texts


def _unsure_cells(
    path: Path, packed: zipfile.ZipFile, *, marks_unsure: bool
) -> dict[str, dict[tuple[int, int], str]]:
    """Texts of cells whose value cannot be trusted, by sheet, and by row and column from 0."""
    names = set(packed.namelist())
    try:
        content = packed.read("content.xml") if "content.xml" in names else b""
        if _NO_VALUE.search(content):
            raise DatasetError(
                f"{path}: a formula in it has no value or failed; open it in LibreOffice, correct "
                "it and save it again"
            )
        if marks_unsure and _OVER_ROWS.search(content):
            raise DatasetError(
                f"{path}: cells in it are merged over rows, of which only the first holds the "
                "value; unmerge them and fill in every row"
            )
        files = _sheet_files(packed) if "xl/workbook.xml" in names else {}
        has_styles = marks_unsure and "xl/styles.xml" in names
        hours = _styles_of_hours(packed.read("xl/styles.xml")) if has_styles else frozenset()
        return {
            sheet: dict(_unsure_in(packed.read(file), hours))
            for sheet, file in files.items()
            if file in names
        }
    except (zipfile.BadZipFile, EOFError, KeyError, OSError, *_DAMAGED) as error:
        raise DatasetError(f"{path}: not a readable spreadsheet ({error})") from error


def _styles_of_hours(content: bytes) -> frozenset[bytes]:
    """Numbers of the styles that show hours and minutes, without seconds."""
    hours = set(_BUILT_IN_HOURS)
    for tag in _OWN_FORMAT.findall(content):
        number = re.search(rb'\bnumFmtId="(\d+)"', tag)
        code = re.search(rb'\bformatCode="([^"]*)"', tag)
        # Without quoted text, and without colours and the like in brackets, but those of [h].
        shown = re.sub(
            rb"&quot;.*?&quot;|\\.|\[(?!h+\])[^]]*\]", b"", code[1].lower() if code else b""
        )
        if number and b"h" in shown and b"s" not in shown and b"y" not in shown:
            hours.add(number[1])
    found = _FORMATS.search(content)
    formats = _FORMAT.findall(found[0]) if found else []
    return frozenset(str(n).encode() for n, number in enumerate(formats) if number in hours)


def _unsure_in(content: bytes, hours: frozenset[bytes]) -> Iterator[tuple[tuple[int, int], str]]:
    for found in _CELL.finditer(content):
        attributes, formula, value = found.groups()
        place, style = _PLACE.search(attributes), _STYLE.search(attributes)
        # A formula whose result is an empty text has the type of a text.
        if formula and not value and b't="str"' not in attributes:
            text = NOT_COMPUTED
        elif b't="e"' in attributes:
            text = (value or b"#N/A").decode("utf-8", "replace")
        elif (
            style and value and style[1] in hours and b"t=" not in attributes.replace(b't="n"', b"")
        ):
            minutes = round(float(value) * 24 * 60)
            text = f"{minutes // 60}:{minutes % 60:02}{HOURS_AND_MINUTES}"
        else:
            continue
        if place is not None:
            column = 0
            for letter in place[1]:
                column = column * 26 + letter - ord("A") + 1
            yield (int(place[2]) - 1, column - 1), text


def _sheet_files(packed: zipfile.ZipFile) -> dict[str, str]:
    """Names of the files of sheets in the archive, by the names of the sheets."""
    from html import unescape

    def attribute(tag: str, name: str) -> str:
        found = re.search(rf'(?<![\w]){name}="([^"]*)"', tag)
        return unescape(found[1]) if found else ""

    book = packed.read("xl/workbook.xml").decode("utf-8", "replace")
    relations = packed.read("xl/_rels/workbook.xml.rels").decode("utf-8", "replace")
    target_of = {
        attribute(tag, "Id"): attribute(tag, "Target") for tag in _RELATION.findall(relations)
    }
    files = {}
    for tag in _SHEET.findall(book):
        target = target_of.get(attribute(tag, r"\w+:id"), "")
        files[attribute(tag, "name")] = target[1:] if target[:1] == "/" else f"xl/{target}"
    return files


def _cell_text(cell: object) -> str:
    """Whole numbers without decimals, lengths of time as seconds."""
    # What is shown as 24:10:00 comes as ten minutes past midnight of the first day.
    if isinstance(cell, datetime.datetime) and cell < _FIRST_DATE:
        cell -= datetime.datetime(1899, 12, 31)
    if isinstance(cell, datetime.timedelta):
        cell = cell.total_seconds()
    if isinstance(cell, str):
        found = _LENGTH.match(cell)
        return cell if found is None else f"{found[1]}:{found[2]:0>2}:{found[3]:0>2}{found[4]}"
    return str(int(cell)) if isinstance(cell, float) and cell.is_integer() else str(cell)
