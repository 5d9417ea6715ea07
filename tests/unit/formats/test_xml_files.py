from __future__ import annotations

import tracemalloc
import zipfile
from typing import TYPE_CHECKING

import pytest

import msqnet.formats.xml_files
from msqnet.documents import opened_archive
from msqnet.errors import DatasetError
from msqnet.formats.xml_files import read_xml, xml_text

if TYPE_CHECKING:
    from pathlib import Path

ADVICE = "get it again"


def test_elements_know_their_lines_texts_and_attributes(tmp_path: Path) -> None:
    path = tmp_path / "a.xml"
    path.write_text("<a>\n<b n='7'> one </b>\n<c><b n='x'>two</b></c>\n</a>", encoding="utf-8")

    root = read_xml(path, ADVICE)

    assert [child.tag for child in root.children()] == ["b", "c"]
    assert [element.text for element in root.iter("b")] == ["one", "two"]
    [first, second] = root.iter("b")
    assert (first.value("n").whole(), first.get("m")) == (7, None)
    found = root.find("c/b")
    assert found is not None
    assert found.text == "two"
    assert root.find("d") is None
    with pytest.raises(DatasetError, match=r"a\.xml, line 3, <b> n: found 'x', expected a whole"):
        second.value("n").whole()
    with pytest.raises(DatasetError, match="found 'n', expected an attribute m; get it again"):
        second.require("m")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "iso-8859-1"])
def test_encodings_are_those_that_the_file_names(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "a.xml"
    name = encoding.removesuffix("-sig")
    path.write_text(f"<?xml version='1.0' encoding='{name}'?><a>Tür</a>", encoding=encoding)

    assert read_xml(path, ADVICE).text == "Tür"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_document_types_are_refused_in_any_encoding(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "a.xml"
    entities = "<!ENTITY a 'aaaaaaaaaa'><!ENTITY b '&a;&a;&a;&a;&a;&a;&a;&a;'>"
    path.write_text(
        f"<?xml version='1.0' encoding='{encoding}'?><!DOCTYPE x [{entities}]><x>&b;</x>",
        encoding=encoding,
    )

    with pytest.raises(DatasetError, match="found a document type"):
        read_xml(path, ADVICE)


def test_large_files_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(msqnet.formats.xml_files, "MAX_BYTES", 100)
    (tmp_path / "a.xml").write_text("<a>" + " " * 100 + "</a>")
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.xml", "<a>" + " " * 100_000 + "</a>")

    with pytest.raises(DatasetError, match=r"more than 0 MiB, expected less; split it"):
        read_xml(tmp_path / "a.xml", ADVICE)
    with (
        opened_archive(tmp_path / "a.zip", ADVICE, "a.xml".__eq__) as member,
        pytest.raises(DatasetError, match=r"a\.zip/a\.xml: found more than 0 MiB"),
    ):
        read_xml(member, ADVICE)


def test_many_elements_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(msqnet.formats.xml_files, "_MAX_ELEMENTS", 4)
    path = tmp_path / "a.xml"
    path.write_text("<a><b/><b/><b/></a>")
    assert read_xml(path, ADVICE).tag == "a"
    path.write_text("<a><b/><b/><b/><b/></a>")
    with pytest.raises(DatasetError, match=r"a\.xml: found more than 4 elements, expected fewer"):
        read_xml(path, ADVICE)


def test_elements_take_as_much_memory_as_the_bounds_count_on(tmp_path: Path) -> None:
    path = tmp_path / "a.xml"
    path.write_text("<a>" + '<a b=""/>' * 10_000 + "</a>")
    tracemalloc.start()
    root = read_xml(path, ADVICE)
    taken, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert taken / len(root.lines) < 500


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"no\.xml: cannot be read: No such file"):
        read_xml(tmp_path / "no.xml", ADVICE)
    (tmp_path / "a.xml").write_bytes(b"<?xml version='1.0' encoding='klingon'?><a/>")
    with pytest.raises(DatasetError, match=r"a\.xml.*: not XML: unknown encoding"):
        read_xml(tmp_path / "a.xml", ADVICE)
    (tmp_path / "a.zip").write_bytes(b"PK no archive")
    with (
        pytest.raises(DatasetError, match=r"a\.zip: not a zip file that can be read"),
        opened_archive(tmp_path / "a.zip", ADVICE, "a.xml".__eq__),
    ):
        pass


def test_text_that_xml_cannot_hold_is_refused() -> None:
    assert xml_text("a <b> & 'ü' 🐁\n") == "a <b> & 'ü' 🐁\n"
    for letter in ("\x00", "\x0b", "\ud800", "\uffff"):
        with pytest.raises(DatasetError, match="expected characters that XML can hold"):
            xml_text(f"a{letter}b")
