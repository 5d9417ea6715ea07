"""Folders for uploads and results. Clients never choose a name, and all files are removed."""

from __future__ import annotations

import getpass
import logging
import os
import shutil
import stat
import tempfile
from contextlib import suppress
from pathlib import Path

from filelock import FileLock, Timeout

from msqnet.errors import ServiceError

_LOCK_FILE = "lock"
_FOLDER_MODE = 0o700
_logger = logging.getLogger(__name__)


class Storage:
    """One server's folder, private to the user that runs it.

    A lock that ends with the process marks it as in use. Folders of servers that were killed are
    removed when the next one starts. ``parent`` holds the folders of all servers of this user; by
    default it is in the system's folder for temporary files. One that belongs to another user, or
    that others can read, is a `ServiceError`.
    """

    def __init__(self, parent: Path | None = None) -> None:
        if parent is None:
            user = os.getuid() if hasattr(os, "getuid") else getpass.getuser()
            parent = Path(tempfile.gettempdir()) / f"msqnet-serve-{user}"
        _make_private(parent)
        for folder in parent.glob("server-*"):
            if folder.is_dir() and not folder.is_symlink() and (lock := _locked(folder)):
                _logger.warning("removing files of a killed server in %s", folder)
                shutil.rmtree(folder, ignore_errors=True)
                lock.release()
        self.root = Path(tempfile.mkdtemp(prefix="server-", dir=parent))
        self._lock = _locked(self.root)
        self.uploads = self.new_folder("uploads")  # holds one folder for each video
        self.scratch = self.new_folder("scratch")  # for temporary files

    def new_folder(self, name: str) -> Path:
        """An empty folder below the root; the name is made by the server, never by a client."""
        folder = self.root / name
        folder.mkdir(mode=_FOLDER_MODE)
        return folder

    def num_bytes(self) -> int:
        """Size of everything that is kept."""
        num_bytes = 0
        # Unlike `Path.rglob`, this skips folders that are removed meanwhile.
        for folder, _, names in os.walk(self.uploads):
            for name in names:
                with suppress(FileNotFoundError):
                    num_bytes += Path(folder, name).lstat().st_size
        return num_bytes

    def close(self) -> None:
        """Remove everything."""
        shutil.rmtree(self.root, ignore_errors=True)
        if self._lock is not None:
            self._lock.release()


def _make_private(folder: Path) -> None:
    """Create the folder, or check that nobody else can write to it."""
    folder.mkdir(mode=_FOLDER_MODE, parents=True, exist_ok=True)
    if not hasattr(os, "getuid"):
        return  # on Windows a user's folder for temporary files is private
    found = folder.lstat()
    is_ours = stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid()
    if not is_ours or found.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise ServiceError(
            f"{folder}: found owner {found.st_uid} and mode {stat.filemode(found.st_mode)}, "
            f"expected a folder of user {os.getuid()} that nobody else can enter (chmod 700); "
            "name another one with --work-folder"
        )


def _locked(folder: Path) -> FileLock | None:
    """The lock of a server's folder; None if another process holds it."""
    lock = FileLock(folder / _LOCK_FILE)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return None
    return lock
