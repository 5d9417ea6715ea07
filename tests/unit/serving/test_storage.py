from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from msqnet.errors import ServiceError
from msqnet.serving.storage import Storage

if TYPE_CHECKING:
    from pathlib import Path


def test_folders_are_private_and_closing_removes_everything(tmp_path: Path) -> None:
    storage = Storage(tmp_path / "work")
    folder = storage.new_folder("uploads/one")
    (folder / "video").write_bytes(b"12345")

    assert storage.num_bytes() >= 5
    for path in (tmp_path / "work", storage.root, storage.uploads, folder):
        assert path.stat().st_mode & 0o077 == 0

    storage.close()
    assert list((tmp_path / "work").iterdir()) == []


def test_what_a_killed_server_left_is_removed_but_a_living_one_keeps_its_files(
    tmp_path: Path,
) -> None:
    work = tmp_path / "work"
    code = (
        "import os, pathlib, sys; from msqnet.serving.storage import Storage; "
        "s = Storage(pathlib.Path(sys.argv[1])); "
        "(s.new_folder('uploads/a') / 'video').write_text('x'); "
        "os._exit(1)"
    )
    living = Storage(work)
    subprocess.run([sys.executable, "-c", code, str(work)], check=False)
    assert len(list(work.glob("server-*/uploads/a/video"))) == 1

    after = Storage(work)

    assert sorted(work.iterdir()) == sorted([living.root, after.root])
    living.close()
    after.close()


def test_folder_that_others_can_enter_is_refused(tmp_path: Path) -> None:
    (tmp_path / "work").mkdir(mode=0o755)

    with pytest.raises(ServiceError, match="chmod 700"):
        Storage(tmp_path / "work")


def test_link_planted_by_somebody_is_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    (tmp_path / "work").symlink_to(tmp_path / "elsewhere")

    with pytest.raises(ServiceError, match="expected a folder"):
        Storage(tmp_path / "work")
