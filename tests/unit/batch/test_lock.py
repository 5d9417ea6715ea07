from __future__ import annotations

import fcntl
import io
import threading
from typing import TYPE_CHECKING, Any

import pytest

from msqnet.batch.lock import is_locked, only_run
from msqnet.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path


def test_lock_ends_with_its_run(tmp_path: Path) -> None:
    path = tmp_path / "out" / ".batch" / "lock"
    assert not is_locked(path)
    with only_run(path):
        assert is_locked(path)
        with pytest.raises(ConfigError, match=r"out: another batch run \(process \d+ on"):
            only_run(path).__enter__()
    assert not is_locked(path)


def test_looking_keeps_no_run_from_starting(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    path.touch()
    with path.open(encoding="ascii") as file:  # as `is_locked` does, for longer
        fcntl.flock(file, fcntl.LOCK_SH)
        assert not is_locked(path)
        threading.Timer(0.1, fcntl.flock, (file, fcntl.LOCK_UN)).start()
        with only_run(path):
            assert is_locked(path)


def test_looking_needs_no_right_to_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "lock"
    path.touch()
    flags = []
    opened = io.open

    def noting(file: Any, mode: str = "r", *arguments: Any, **options: Any) -> Any:
        flags.append(mode)
        return opened(file, mode, *arguments, **options)

    monkeypatch.setattr(io, "open", noting)  # what `Path.open` calls
    assert not is_locked(path)
    assert flags == ["r"]
