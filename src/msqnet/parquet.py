"""Parquet files of results, by numpy alone.

Kept by hand on purpose: pyarrow, which knows the whole format, takes 170 MB, and 0.2 s of every
start. Written are tables of one row group and gzip; text goes by a dictionary, and its least and
greatest value are stated, so that readers can skip a file. Of files, whoever wrote them, only the
footer is read.

The layout is Apache Parquet's (https://parquet.apache.org/docs/file-format/); its headers are
structs of Thrift's compact protocol, whose fields have the numbers of `parquet.thrift`.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    Kind = Literal["bool", "int64", "float32", "float64", "string"]
    Values = Sequence[Any] | NDArray[Any]
    Columns = Sequence[tuple[str, Kind, Values]]
    """The name of a column, its type, and its values, None where there is none."""

    Field = tuple[int, bytes]
    """The type of a value in Thrift's numbers, and its encoding."""

_MAGIC = b"PAR1"
_NUMBER_OF_KIND = {"bool": 0, "int64": 2, "float32": 4, "float64": 5, "string": 6}
_DTYPE_OF_KIND = {"int64": "<i8", "float32": "<f4", "float64": "<f8"}
_I32, _I64, _BINARY, _LIST, _STRUCT = 5, 6, 8, 9, 12
_PLAIN, _RLE, _BY_DICTIONARY = 0, 3, 8
_DATA_PAGE, _DICTIONARY_PAGE = 0, 2
_OPTIONAL, _UTF8, _GZIP = 1, 0, 2
_GZIP_WINDOW = 31  # zlib's, with the header and checksum of gzip
_MAX_STATED_BYTES = 4096


def write_parquet(path: Path, columns: Columns, metadata: Mapping[str, str] | None = None) -> None:
    """Write columns of one length, at least one, as a table; every column may hold nulls.

    ``metadata`` are texts by key, for the whole file.
    """
    num_rows = len(columns[0][2])
    chunks, leaves, content = [], [], bytearray(_MAGIC)
    for name, kind, values in columns:
        chunk, pages = _column_chunk(name, kind, values, len(content))
        chunks.append(chunk)
        content += pages
        leaf = {1: _i32(_NUMBER_OF_KIND[kind]), 3: _i32(_OPTIONAL), 4: _text(name)}
        if kind == "string":
            leaf |= {6: _i32(_UTF8), 10: _struct({1: _struct({})})}
        leaves.append(_struct(leaf))
    footer = _struct(
        {
            1: _i32(1),
            2: _list([_struct({4: _text("schema"), 5: _i32(len(columns))}), *leaves]),
            3: _i64(num_rows),
            4: _list(
                [_struct({1: _list(chunks), 2: _i64(len(content)), 3: _i64(num_rows)})]
                if num_rows
                else []
            ),
            5: _list(
                [_struct({1: _text(key), 2: _text(text)}) for key, text in (metadata or {}).items()]
            ),
            6: _text("msqnet"),
            # Texts are in the order of their bytes.
            7: _list([_struct({1: _struct({})})] * len(columns)),
        }
    )[1]
    path.write_bytes(content + footer + len(footer).to_bytes(4, "little") + _MAGIC)


def only_text(content: bytes, column: str) -> str | None:
    """The text in a column of a file with one row; None if the file is damaged or another.

    It is the least value, which the footer states.
    """
    length = int.from_bytes(content[-8:-4], "little")
    try:
        if content[:4] != _MAGIC or content[-4:] != _MAGIC:
            return None
        footer = _Reader(content[-8 - length : -8]).value(_STRUCT)
        (group,) = footer[4]
        for chunk in group[1]:
            if (chunk[3][1], chunk[3][3]) == (_NUMBER_OF_KIND["string"], [column.encode()]):
                return str(chunk[3][12][6], "utf-8")
    except (KeyError, IndexError, TypeError, ValueError, RecursionError):
        pass
    return None


def _column_chunk(name: str, kind: Kind, values: Values, offset: int) -> tuple[Field, bytes]:
    """The description of a column that begins ``offset`` bytes into the file, and its pages."""
    is_there = np.ones(len(values), np.int64)
    if not isinstance(values, np.ndarray):
        is_there = np.array([value is not None for value in values], np.int64)
        values = [value for value in values if value is not None]
    levels = _run_lengths(is_there, 1)
    levels = len(levels).to_bytes(4, "little") + levels
    encoding, dictionary, num_plain_bytes = _PLAIN, b"", 0
    statistics = {3: _i64(len(is_there) - len(values))}
    if kind == "string":
        encoding, texts = _BY_DICTIONARY, {text: text.encode() for text in sorted(set(values))}
        header = {7: _struct({1: _i32(len(texts)), 2: _i32(_PLAIN)})}
        plain = b"".join(len(text).to_bytes(4, "little") + text for text in texts.values())
        dictionary, num_plain_bytes = _page(_DICTIONARY_PAGE, header, plain)
        statistics |= _bounds(list(texts.values()))
        data = _indices(values, list(texts))
    elif kind == "bool":
        data = np.packbits(np.asarray(values, bool), bitorder="little").tobytes()
    else:
        data = np.asarray(values, _DTYPE_OF_KIND[kind]).tobytes()
    about = {1: _i32(len(is_there)), 2: _i32(encoding), 3: _i32(_RLE), 4: _i32(_RLE)}
    page, num_bytes = _page(_DATA_PAGE, {5: _struct(about)}, levels + data)
    fields = {
        1: _i32(_NUMBER_OF_KIND[kind]),
        2: _list([_i32(_PLAIN), _i32(_RLE), _i32(encoding)]),
        3: _list([_text(name)]),
        4: _i32(_GZIP),
        5: _i64(len(is_there)),
        6: _i64(num_plain_bytes + num_bytes),
        7: _i64(len(dictionary) + len(page)),
        9: _i64(offset + len(dictionary)),
        **({11: _i64(offset)} if dictionary else {}),
        12: _struct(statistics),
    }
    return _struct({2: _i64(offset), 3: _struct(fields)}), dictionary + page


def _bounds(texts: list[bytes]) -> dict[int, Field]:
    """The greatest and the least of sorted texts, for the statistics of a column."""
    ends = texts[-1:] + texts[:1]
    if not ends or max(map(len, ends)) > _MAX_STATED_BYTES:
        return {}
    return dict(zip((5, 6), ((_BINARY, _sized(end)) for end in ends), strict=True))


def _indices(values: Values, dictionary: Sequence[str]) -> bytes:
    numbers = {text: number for number, text in enumerate(dictionary)}
    width = max(1, (len(dictionary) - 1).bit_length())
    found = np.array([numbers[text] for text in values], np.int64)
    return bytes([width]) + _run_lengths(found, width)


def _page(kind: int, header: Mapping[int, Field], content: bytes) -> tuple[bytes, int]:
    """A page with its header, and how long it would be if it were not compressed."""
    packed = zlib.compress(content, wbits=_GZIP_WINDOW)
    sizes = {1: _i32(kind), 2: _i32(len(content)), 3: _i32(len(packed))}
    encoded = _struct({**sizes, **header})[1]
    return encoded + packed, len(encoded) + len(content)


def _run_lengths(values: NDArray[np.int64], width: int) -> bytes:
    """Numbers below ``2 ** width`` in the format's hybrid of runs and packed bits."""
    if len(values) and (values == values[0]).all():
        return _varint(len(values) << 1) + int(values[0]).to_bytes(-(-width // 8), "little")
    num_groups = -(-len(values) // 8)
    padded = np.pad(values, (0, 8 * num_groups - len(values)))
    bits = (padded[:, None] >> np.arange(width)) & 1  # (N, width), the lowest bit first
    packed = np.packbits(bits.astype(np.uint8).reshape(-1), bitorder="little")
    return _varint(num_groups << 1 | 1) + packed.tobytes()


def _varint(value: int) -> bytes:
    """Seven bits a byte, the lowest first; the eighth says that another byte follows."""
    encoded = bytearray()
    while value > 127:
        encoded.append(value & 127 | 128)
        value >>= 7
    return bytes([*encoded, value])


def _sized(content: bytes) -> bytes:
    return _varint(len(content)) + content


def _i32(value: int) -> Field:
    return _I32, _varint(value << 1)  # numbers here are never negative


def _i64(value: int) -> Field:
    return _I64, _varint(value << 1)


def _text(value: str) -> Field:
    return _BINARY, _sized(value.encode())


def _list(items: Sequence[Field]) -> Field:
    kind = items[0][0] if items else _STRUCT
    size = bytes([len(items) << 4 | kind]) if len(items) < 15 else bytes([0xF0 | kind])
    size += b"" if len(items) < 15 else _varint(len(items))
    return _LIST, size + b"".join(content for _, content in items)


def _struct(fields: Mapping[int, Field]) -> Field:
    """Fields by number, in order."""
    encoded, last = bytearray(), 0
    for number, (kind, content) in fields.items():
        encoded += bytes([(number - last) << 4 | kind]) + content
        last = number
    return _STRUCT, bytes(encoded) + b"\0"


class _Reader:
    """Values of Thrift's compact protocol: structs are fields by number."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self._place = 0

    def value(self, kind: int) -> Any:
        """The next value; what ends too early is an `IndexError` or gives too short a text."""
        if kind == _STRUCT:
            return self._fields()
        if kind in (_LIST, _LIST + 1):  # or a set
            head = self._take(1)[0]
            size = head >> 4 if head >> 4 < 15 else self._varint()
            return [self.value(head & 15) for _ in range(size)]
        if kind == _BINARY:
            return self._take(self._varint())
        if kind in (1, 2):
            return kind == 1
        if kind in (3, 7):
            return self._take(1 if kind == 3 else 8)
        if kind in (4, _I32, _I64):
            number = self._varint()
            return number >> 1 ^ -(number & 1)
        raise ValueError(f"type {kind}")

    def _fields(self) -> dict[int, Any]:
        found, number = {}, 0
        while head := self._take(1)[0]:
            if head >> 4:
                number += head >> 4
            else:
                number = self.value(4)
            found[number] = self.value(head & 15)
        return found

    def _take(self, size: int) -> bytes:
        taken = self._content[self._place : self._place + size]
        self._place += size
        return taken

    def _varint(self) -> int:
        value = shift = 0
        while True:
            byte = self._take(1)[0]
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value
