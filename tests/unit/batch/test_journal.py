from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from msqnet.batch.run import Journal, read_journal
from msqnet.errors import DatasetError
from msqnet.inference.results import Outcome

if TYPE_CHECKING:
    from pathlib import Path

FIRST = Outcome("a.mp4", "/in/a.mp4", "ok", seconds=1.5, digest="00")
SECOND = Outcome("b\udcff.mp4", "/in/b\udcff.mp4", "error", "bad_file", "no video")


def outcomes(path: Path) -> dict[str, Outcome]:
    return read_journal(path.read_bytes(), path)[0]


def test_lines_are_read_back_also_while_it_is_open(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    with closing(Journal(path)) as journal:
        journal.append(FIRST)
        journal.append(SECOND)
        assert outcomes(path) == {FIRST.name: FIRST, SECOND.name: SECOND}
    assert outcomes(path) == {FIRST.name: FIRST, SECOND.name: SECOND}


def test_torn_last_line_is_cut_off_wherever_it_is_torn(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    with closing(Journal(path)) as journal:
        journal.append(FIRST)
        journal.append(SECOND)
    whole = path.read_bytes()
    start_of_last = whole.rindex(b"\n", 0, -1) + 1
    for length in range(start_of_last, len(whole)):
        path.write_bytes(whole[:length])
        with closing(Journal(path)) as journal:
            assert list(journal.outcomes) == [FIRST.name]
            journal.append(SECOND)
        assert path.read_bytes() == whole


def test_last_line_of_a_video_counts_and_stays_alone(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    with closing(Journal(path)) as journal:
        journal.append(SECOND)
        for number in range(5):
            journal.append(replace(FIRST, num_attempts=number))
        assert path.read_bytes().count(b"\n") == 6
    assert path.read_bytes().count(b"\n") == 2
    assert outcomes(path)[FIRST.name].num_attempts == 4


def test_what_is_no_journal_is_named_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    for text in ("nonsense\n", '["a"]\n', '{"name": "a"}\n'):
        path.write_text(text)
        with pytest.raises(DatasetError, match=r"journal\.jsonl: line 1 is no line"):
            Journal(path)


def test_fields_of_a_newer_version_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    path.write_text('{"name": "a", "source": "/a", "status": "ok", "new": 1}\n')
    assert outcomes(path) == {"a": Outcome("a", "/a", "ok")}
