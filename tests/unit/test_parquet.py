"""Parquet files that numpy writes, read by pyarrow; and footers of both."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from msqnet.parquet import only_text, write_parquet

if TYPE_CHECKING:
    from pathlib import Path

TYPES = {
    "bool": (pa.bool_(), st.booleans()),
    "int64": (pa.int64(), st.integers(-(2**63), 2**63 - 1)),
    "float32": (pa.float32(), st.floats(width=32, allow_nan=False)),
    "float64": (pa.float64(), st.floats(allow_nan=False)),
    "string": (pa.string(), st.text(st.characters(exclude_categories=["Cs"]), max_size=5)),
}


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("parquet") / "table.parquet"


@pytest.mark.parametrize("kind", TYPES)
@given(data=st.data())
def test_columns_come_back_with_their_types_and_nulls(
    kind: Any, data: st.DataObject, path: Path
) -> None:
    arrow_type, values = TYPES[kind]
    column = data.draw(st.lists(st.none() | values, max_size=30))
    full = data.draw(st.lists(values, min_size=len(column), max_size=len(column)))
    dtype = object if kind == "string" else kind
    write_parquet(path, [("a b", kind, column), ("ü", kind, np.array(full, dtype=dtype))])
    found = pq.read_table(path)
    assert found.schema.equals(pa.schema([("a b", arrow_type), ("ü", arrow_type)]))
    assert found["a b"].to_pylist() == column
    assert found["ü"].to_pylist() == full


@pytest.mark.parametrize("num_texts", [1, 2, 3, 255, 256, 257, 5000])
def test_texts_of_any_number_come_back(num_texts: int, path: Path) -> None:
    texts = [f"text {number}" for number in range(num_texts)] * 2
    write_parquet(path, [("name", "string", texts)])
    assert pq.read_table(path)["name"].to_pylist() == texts


def test_many_columns_keep_their_order_and_metadata(path: Path) -> None:
    names = [f"label {number}" for number in range(40)]
    write_parquet(path, [(name, "float32", [0.5]) for name in names], {"msqnet": '{"a": "ü"}'})
    schema = pq.read_schema(path)
    assert schema.names == names
    assert schema.metadata[b"msqnet"].decode() == '{"a": "ü"}'


def test_filters_find_their_rows_by_the_bounds_of_texts(path: Path) -> None:
    write_parquet(path, [("label", "string", ["run", "eat", None, "run"])])
    bounds = pq.read_metadata(path).row_group(0).column(0).statistics
    assert (bounds.min, bounds.max, bounds.null_count) == ("eat", "run", 1)
    for label, expected in (("run", 2), ("eat", 1), ("walk", 0), ("a", 0)):
        assert ds.dataset(path).count_rows(filter=ds.field("label") == label) == expected


def test_the_same_table_gives_the_same_bytes(path: Path) -> None:
    written = []
    for _ in range(2):
        write_parquet(path, [("label", "string", ["b", "a", "b"]), ("n", "int64", [1, None, 2])])
        written.append(path.read_bytes())
    assert written[0] == written[1]


@pytest.mark.parametrize("by", ["numpy", "pyarrow"])
def test_a_text_is_read_from_the_footer_whoever_wrote_it(by: str, path: Path) -> None:
    row = {"name": "clip.mp4", "digest": "5e" * 32, "provenance": "x" * 9000}
    if by == "numpy":
        write_parquet(path, [(key, "string", [text]) for key, text in row.items()])
    else:
        pq.write_table(pa.table({key: [text] for key, text in row.items()}), path)
    content = path.read_bytes()
    assert only_text(content, "digest") == "5e" * 32
    assert only_text(content, "nothing") is None


def test_a_damaged_file_has_no_text(path: Path) -> None:
    write_parquet(path, [("digest", "string", ["5e" * 32])])
    content = path.read_bytes()
    assert [only_text(content[:end], "digest") for end in range(len(content))] == [None] * len(
        content
    )
    for place in range(len(content) - 40, len(content)):
        damaged = bytearray(content)
        damaged[place] ^= 0xFF
        only_text(bytes(damaged), "digest")  # whatever it finds, it raises nothing
    other = io.BytesIO()
    pq.write_table(pa.table({"digest": [1]}), other)
    assert only_text(other.getvalue(), "digest") is None
