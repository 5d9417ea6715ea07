from __future__ import annotations

import gzip
import json
import tracemalloc
from typing import TYPE_CHECKING

import pytest

from msqnet import documents
from msqnet.documents import JsonValue, read_json
from msqnet.errors import DatasetError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def value(found: object) -> JsonValue:
    return JsonValue(found, "a.json: here", "look again")


@pytest.mark.parametrize(
    ("read", "found", "expected"),
    [
        (JsonValue.number, 1, 1.0),
        (JsonValue.number, "2.5", 2.5),
        (JsonValue.whole, 3, 3),
        (JsonValue.text, "ä", "ä"),
        (JsonValue.truth, False, False),
        (lambda item: [part.value for part in item.elements()], [1, "x"], [1, "x"]),
        (lambda item: {name: part.value for name, part in item.items()}, {"a": 1}, {"a": 1}),
        (lambda item: item.get("a"), {"a": None}, None),
    ],
)
def test_values_of_the_right_type_are_given(
    read: Callable[[JsonValue], object], found: object, expected: object
) -> None:
    assert read(value(found)) == expected


@pytest.mark.parametrize(
    ("read", "found", "words"),
    [
        (JsonValue.number, True, "found true, expected a number; look again"),
        (JsonValue.number, "soon", "found 'soon', expected a number"),
        (JsonValue.number, float("nan"), "found NaN, expected a number"),
        (JsonValue.number, "1e999", "expected a number"),
        pytest.param(JsonValue.number, 10**400, "expected a number", id="huge"),
        (JsonValue.whole, 1.0, "found 1.0, expected a whole number of at least 0"),
        (JsonValue.whole, True, "found true, expected a whole number"),
        (JsonValue.whole, -1, "found -1, expected a whole number"),
        (JsonValue.text, None, "found null, expected text"),
        (JsonValue.text, "\ud800", "expected text in Unicode"),
        (JsonValue.truth, 0, "found 0, expected true or false"),
        (lambda item: list(item.elements()), {}, "found an object of 0, expected a list"),
        (lambda item: list(item.items()), [], "found a list of 0, expected an object"),
        (lambda item: item.get("a"), "x" * 99, "found 'x+[.]{3}', expected an object"),
        (lambda item: item.require("a"), {"b": 1}, "no 'a'; found 'b'; look again"),
        (lambda item: item.require("a"), {}, "no 'a'; found nothing"),
    ],
)
def test_other_values_are_refused_with_their_place(
    read: Callable[[JsonValue], object], found: object, words: str
) -> None:
    with pytest.raises(DatasetError, match=f"^a.json: here: (found .*)?{words}"):
        read(value(found))


def test_files_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.json"
    path.write_text("[1, 2, 3]")
    assert read_json(path, "look again").value == [1, 2, 3]
    monkeypatch.setattr(documents, "MAX_JSON_BYTES", 5)
    packed = tmp_path / "a.json.gz"
    packed.write_bytes(gzip.compress(b"[" + b" " * 100_000 + b"]"))
    for large in (path, packed):
        with pytest.raises(DatasetError, match=r"a.json.*: found more than 0 MiB.*; split it"):
            read_json(large, "look again")
    with pytest.raises(DatasetError, match="cannot be read: Is a directory"):
        read_json(tmp_path, "look again")


def test_values_of_the_largest_file_fit_into_memory() -> None:
    text = '[{"":{}},' + '{"":{}},' * 10_000 + "[]]"
    tracemalloc.start()
    found = json.loads(text)
    taken, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert found
    assert documents.MAX_JSON_BYTES * taken / len(text) < 2.5 * 1024**3
