"""XML files of annotation tools, read without what makes XML from elsewhere dangerous.

A document type, which is where entities come from, is refused; so are more bytes, more elements and
deeper nesting than annotation files have. Together these bound the memory, at a few GiB: an element
takes up to 500 bytes, however short its text. Elements know their lines, for errors that say where
something is wrong.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers.expat import ExpatError, ParserCreate

from msqnet.documents import Value, read_bytes
from msqnet.errors import DatasetError
from msqnet.workbooks import SMALLER

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

MAX_BYTES = 128 * 1024 * 1024
"""Larger annotation files are refused, unpacked ones too; boxes in every frame take most."""

_MAX_ELEMENTS = 3_000_000
_MAX_DEPTH = 200
_NOT_XML = re.compile("[^\\t\\n\\r -\\ud7ff\\ue000-\\ufffd\\U00010000-\\U0010ffff]")
"""Characters that XML 1.0 does not allow: https://www.w3.org/TR/xml/#charsets."""


@dataclass(frozen=True)
class XmlElement:
    """An element of an XML document, with the lines of all elements, which count from 1.

    Errors end with the advice.
    """

    element: Element
    path: Path
    lines: Mapping[Element, int]
    advice: str

    @property
    def tag(self) -> str:
        """Its name."""
        return self.element.tag

    @property
    def text(self) -> str:
        """The text in it, without white space around it."""
        return (self.element.text or "").strip()

    @property
    def content(self) -> Value:
        """The text in it, and its place."""
        return Value(self.text, self._place, self.advice)

    def error(self, found: str, expected: str) -> DatasetError:
        """The error about something in it that is not as expected."""
        return Value(found, self._place, self.advice).error(expected)

    def children(self, *tags: str) -> Iterator[XmlElement]:
        """Elements right in it, in order; of some names, or all."""
        return (self._of(child) for child in self.element if not tags or child.tag in tags)

    def iter(self, *tags: str) -> Iterator[XmlElement]:
        """Itself and all elements in it, at any depth, in order; of some names, or all."""
        return (self._of(child) for child in self.element.iter() if not tags or child.tag in tags)

    def find(self, way: str) -> XmlElement | None:
        """The first element at the end of a way such as ``meta/task``; None where there is none."""
        found = self.element.find(way)
        return None if found is None else self._of(found)

    def get(self, name: str) -> str | None:
        """An attribute; None where there is none."""
        return self.element.get(name)

    def text_at(self, way: str) -> str:
        """The text in the element at the end of a way; empty where there is none."""
        found = self.find(way)
        return "" if found is None else found.text

    def require(self, name: str) -> str:
        """An attribute that has to be there; `DatasetError` if it is not."""
        value = self.element.get(name)
        if value is None:
            raise self.error(", ".join(self.element.keys()), f"an attribute {name}")
        return value

    def value(self, name: str) -> Value:
        """An attribute that has to be there, and its place; `DatasetError` if it is not."""
        return Value(self.require(name), f"{self._place} {name}", self.advice)

    @property
    def _place(self) -> str:
        return f"{self.path}, line {self.lines[self.element]}, <{self.tag}>"

    def _of(self, element: Element) -> XmlElement:
        return XmlElement(element, self.path, self.lines, self.advice)


def read_xml(path: Path, advice: str) -> XmlElement:
    """The root element of an XML file.

    `DatasetError` if it is not XML, has a document type, or is too large or too deep.
    """
    return _XmlReader(path, advice).read(read_bytes(path, advice, MAX_BYTES))


class _XmlReader:
    """Builds the tree of one document."""

    def __init__(self, path: Path, advice: str) -> None:
        self._path, self._advice = path, advice
        self._builder = TreeBuilder()
        self._lines: dict[Element, int] = {}
        self._depth = 0
        self._parser = ParserCreate()
        self._parser.buffer_text = True
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._end
        self._parser.CharacterDataHandler = self._builder.data
        self._parser.StartDoctypeDeclHandler = self._doctype

    def read(self, content: bytes) -> XmlElement:
        try:
            self._parser.Parse(content, True)
            root = self._builder.close()
        except ExpatError as error:
            raise DatasetError(
                f"{self._path}, line {error.lineno}, column {error.offset + 1}: not XML: {error}; "
                f"{self._advice}"
            ) from error
        except (ValueError, LookupError) as error:
            raise DatasetError(f"{self._path}: not XML: {error}; {self._advice}") from error
        return XmlElement(root, self._path, self._lines, self._advice)

    def _start(self, tag: str, attributes: dict[str, str]) -> None:
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise self._refused(f"elements in elements, {_MAX_DEPTH} deep")
        if len(self._lines) == _MAX_ELEMENTS:
            raise DatasetError(
                f"{self._path}: found more than {_MAX_ELEMENTS} elements, expected fewer; {SMALLER}"
            )
        self._lines[self._builder.start(tag, attributes)] = self._parser.CurrentLineNumber

    def _end(self, tag: str) -> None:
        self._depth -= 1
        self._builder.end(tag)

    def _doctype(self, *_: object) -> NoReturn:
        raise self._refused("a document type (<!DOCTYPE>)")

    def _refused(self, what: str) -> DatasetError:
        return DatasetError(
            f"{self._path}, line {self._parser.CurrentLineNumber}: found {what}, which no "
            f"annotation file needs; {self._advice}"
        )


def xml_text(text: str) -> str:
    """The same text; `DatasetError` for a character that XML does not allow."""
    found = _NOT_XML.search(text)
    if found is not None:
        raise DatasetError(
            f"{text!r}: found {found[0]!r}, expected characters that XML can hold; rename it"
        )
    return text
