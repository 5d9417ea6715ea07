from __future__ import annotations

from typing import TYPE_CHECKING

from msqnet.diagnosis import machine
from msqnet.diagnosis.hub import _reach

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_codecs_that_ffmpeg_does_not_have_are_told_apart() -> None:
    assert machine._can("h264", "r")
    assert machine._can("ffv1", "w")
    assert not machine._can("a_codec_that_nobody_has", "r")


def test_codecs_and_devices_are_listed() -> None:
    found = (*machine.codec_findings(), *machine.device_findings())
    values = {finding.name: finding.value for finding in found}
    assert {"FFmpeg", "decoders", "encoder for annotated videos", "CPU"} <= values.keys()
    assert values["CPU"].rpartition(", ")[2] in ("bf16 yes", "bf16 no")


def test_folder_that_does_not_exist_is_a_problem(tmp_path: Path) -> None:
    found = machine._disk("disk here", tmp_path / "gone")
    assert found.status == "problem"
    assert str(tmp_path / "gone") in found.value
    assert machine._disk("disk here", tmp_path).status in ("ok", "note")


def test_few_open_files_are_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    import resource

    monkeypatch.setattr(resource, "getrlimit", lambda _: (100, 4096))
    found = machine._open_files()
    assert (found.status, found.advice) == ("note", "ulimit -n 4096")


def test_memory_is_free_in_part() -> None:
    available, total = machine._memory_bytes()
    assert 0 < available <= total


def test_hub_that_does_not_answer_is_a_note_with_what_works_all_the_same() -> None:
    # Nothing listens on the discard port of this machine.
    found = _reach("http://127.0.0.1:9")
    assert found.status == "note"
    assert "cannot be reached" in found.value
    assert "HF_HUB_OFFLINE" in found.advice
