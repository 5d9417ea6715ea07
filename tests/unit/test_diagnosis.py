from __future__ import annotations

import json
from typing import TYPE_CHECKING

from packaging.requirements import Requirement

from msqnet import diagnosis
from msqnet.cli.main import main

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_missing_or_old_dependency_is_a_problem_with_the_command_that_fixes_it() -> None:
    absent = diagnosis.check_dependency(Requirement("a-package-that-nobody-has>=2"))
    assert (absent.status, absent.value) == ("problem", "not installed")
    assert absent.advice == "pip install 'a-package-that-nobody-has>=2'"
    old = diagnosis.check_dependency(Requirement("numpy<1"))
    assert old.status == "problem"
    assert old.value.startswith("2.")
    assert diagnosis.check_dependency(Requirement("numpy>=2")).status == "ok"


def test_build_with_a_local_version_counts_as_its_release() -> None:
    assert diagnosis.check_dependency(Requirement("torch>=2.11")).status == "ok"


def test_optional_part_names_what_is_missing_of_it() -> None:
    requirements = [
        Requirement("numpy>=2; extra == 'one'"),
        Requirement("a-package-that-nobody-has; extra == 'two'"),
        Requirement("msqnet[one]; extra == 'two'"),
        Requirement("never-wanted; extra == 'one' and python_version < '3'"),
    ]
    found = {result.name: result for result in diagnosis.check_extras(requirements)}
    assert found["msqnet[one]"].status == "ok"
    assert found["msqnet[two]"].status == "note"
    assert found["msqnet[two]"].value == "missing: a-package-that-nobody-has"
    assert found["msqnet[two]"].advice == "pip install 'msqnet[two]'"


def test_every_dependency_of_this_installation_has_a_line() -> None:
    names = {result.name for result in diagnosis.check_packages()}
    assert {"Python", "msqnet", "onnxruntime", "numpy", "av", "msqnet[serve]"} <= names


def test_codecs_that_ffmpeg_does_not_have_are_told_apart() -> None:
    assert diagnosis.has_codec("h264", "r")
    assert diagnosis.has_codec("ffv1", "w")
    assert not diagnosis.has_codec("a_codec_that_nobody_has", "r")


def test_codecs_and_devices_are_listed() -> None:
    found = (*diagnosis.check_codecs(), *diagnosis.check_devices())
    values = {result.name: result.value for result in found}
    assert {"FFmpeg", "decoders", "encoder for annotated videos", "CPU"} <= values.keys()
    assert values["CPU"].rpartition(", ")[2] in ("bf16 yes", "bf16 no")


def test_folder_that_does_not_exist_is_a_problem(tmp_path: Path) -> None:
    found = diagnosis.check_disk("disk here", tmp_path / "gone")
    assert found.status == "problem"
    assert str(tmp_path / "gone") in found.value
    assert diagnosis.check_disk("disk here", tmp_path).status in ("ok", "note")


def test_few_open_files_are_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    import resource

    monkeypatch.setattr(resource, "getrlimit", lambda _: (100, 4096))
    found = diagnosis.check_open_files()
    assert (found.status, found.advice) == ("note", "ulimit -n 4096")


def test_memory_is_free_in_part() -> None:
    available, total = diagnosis.memory_bytes()
    assert 0 < available <= total


def test_hub_that_does_not_respond_is_a_note_that_says_what_works_without_it() -> None:
    # Nothing listens on the discard port of this machine.
    found = diagnosis.check_address("http://127.0.0.1:9")
    assert found.status == "note"
    assert "cannot be reached" in found.value
    assert "HF_HUB_OFFLINE" in found.advice


def test_self_test_reads_and_predicts() -> None:
    found = {result.name: result for result in diagnosis.self_test(device="cpu")}
    assert set(found) == {"video", "model", "took"}
    assert {result.status for result in found.values()} == {"ok"}
    assert "read back exactly" in found["video"].value


def test_model_that_cannot_be_loaded_is_a_problem(tmp_path: Path) -> None:
    found = list(diagnosis.self_test(str(tmp_path), "cpu"))
    assert [result.status for result in found] == ["ok", "problem", "ok"]
    assert str(tmp_path) in found[1].value


def test_doctor_prints_all_topics_and_fails_where_msqnet_does_not_work(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main(["doctor", "--offline", "--device", "cpu"]) == 0
    output = capsys.readouterr().out
    for topic in ("packages", "video", "devices", "resources", "models", "self-test"):
        assert f"\n{topic}\n" in output
    assert "problems: 0" in output

    assert main(["doctor", "--offline", "--as_json", "--model", str(tmp_path)]) == 1
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["name"] for line in lines if line["status"] == "problem"] == ["failed"]
