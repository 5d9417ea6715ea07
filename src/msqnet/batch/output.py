"""Where results go: a folder, or a URL through fsspec.

Files are written aside and published one after the other, so that a reader sees each of them whole
or not at all. In a folder publishing is a rename; object stores (s3://, gs://) show an object when
all of it has arrived.
"""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
from abc import ABC, abstractmethod
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from msqnet.batch.remote import as_os_errors, file_system, join, local_path
from msqnet.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

STATE_FOLDER = ".batch"
_STAGING = "staging"


class Output(ABC):
    """Where results go; names are relative, with ``/``.

    Args:
        location: as it was given.
    """

    def __init__(self, location: str) -> None:
        self.location = location

    @property
    @abstractmethod
    def staging_folder(self) -> Path | None:
        """Local folder for files that are not published yet; None for the system's."""

    @abstractmethod
    def publish(self, name: str, staged: Path) -> None:
        """Let a local file appear under its name, in place of what is there."""

    @abstractmethod
    def remove(self, name: str) -> None:
        """Remove a file if it is there."""

    @abstractmethod
    def read(self, name: str) -> bytes | None:
        """Content of a file; None if it is not there."""

    @abstractmethod
    def file_state(self, name: str) -> str:
        """Another text after a change of the file; empty if it is not there."""

    def changed_at(self, name: str) -> float | None:
        """When a file was last changed, in seconds since 1970; None where that is not known."""
        return None

    def state(self, names: Sequence[str]) -> str:
        """Another text after a change of one of the files; empty if one is not there."""
        states = [self.file_state(name) for name in names]
        return ",".join(states) if all(states) else ""

    def present(self, names: Sequence[str]) -> list[str]:
        """Those of the files that are there."""
        return [name for name in names if self.file_state(name)]

    @contextmanager
    def staging(self) -> Iterator[Path]:
        """A local folder to write in before publishing; gone afterwards."""
        above = self.staging_folder
        if above is not None:
            above.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=_staging_prefix(os.getpid()), dir=above))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def clear_staging(self, process_id: int) -> None:
        """Remove what a process of this machine that was killed has left unpublished."""
        above = self.staging_folder or Path(tempfile.gettempdir())
        for folder in above.glob(f"{_staging_prefix(process_id)}*"):
            shutil.rmtree(folder, ignore_errors=True)


class LocalOutput(Output):
    """A folder.

    Raises:
        ConfigError: it is a file.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(str(folder))
        if folder.exists() and not folder.is_dir():
            raise ConfigError(f"{folder}: a file; expected the folder for the results")
        self.folder = folder

    @property
    def staging_folder(self) -> Path:
        """On the same file system, so that publishing is a rename."""
        return self.folder / STATE_FOLDER / _STAGING

    def publish(self, name: str, staged: Path) -> None:
        """Rename a file into place."""
        target = self.folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        staged.replace(target)

    def remove(self, name: str) -> None:
        """Remove a file if it is there."""
        (self.folder / name).unlink(missing_ok=True)

    def read(self, name: str) -> bytes | None:
        """Content of a file; None if it is not there."""
        try:
            return (self.folder / name).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None

    def file_state(self, name: str) -> str:
        """Size and time of the last change."""
        try:
            status = (self.folder / name).stat()
        except (FileNotFoundError, NotADirectoryError):
            return ""
        return f"{status.st_size}@{status.st_mtime_ns}"

    def changed_at(self, name: str) -> float | None:
        """When a file was last changed, in seconds since 1970; None if it is not there."""
        try:
            return (self.folder / name).stat().st_mtime
        except FileNotFoundError:
            return None


class RemoteOutput(Output):
    """A URL.

    Raises:
        ConfigError: the protocol is not known, or what it needs is not installed.
        MissingExtra: fsspec is not installed.
    """

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self._system, self._root = file_system(url)

    @property
    def staging_folder(self) -> None:
        """The system's folder for temporary files."""
        return

    def publish(self, name: str, staged: Path) -> None:
        """Upload a file."""
        target = join(self._root, name)
        with as_os_errors(join(self.location, name)):
            self._system.makedirs(target.rpartition("/")[0], exist_ok=True)
            self._system.put_file(str(staged), target)

    def remove(self, name: str) -> None:
        """Remove a file if it is there."""
        target = join(self._root, name)
        with as_os_errors(join(self.location, name)):
            if self._system.exists(target):
                self._system.rm_file(target)
                self._system.invalidate_cache()

    def read(self, name: str) -> bytes | None:
        """Content of a file; None if it is not there."""
        with as_os_errors(join(self.location, name)):
            try:
                return bytes(self._system.cat_file(join(self._root, name)))
            except FileNotFoundError:
                return None

    def file_state(self, name: str) -> str:
        """The size."""
        with as_os_errors(join(self.location, name)):
            self._system.invalidate_cache()
            try:
                return f"{self._system.info(join(self._root, name))['size']}"
            except FileNotFoundError:
                return ""


def _staging_prefix(process_id: int) -> str:
    # Other machines may stage in the same folder, and have processes of the same number.
    return f"msqnet-batch-{socket.gethostname()}-{process_id}-"


def open_output(location: str) -> Output:
    """The results folder that a path or URL names; it need not exist.

    Raises:
        ConfigError: it is a file, or its protocol is not known.
        MissingExtra: fsspec is not installed.
    """
    path = local_path(location)
    return RemoteOutput(location) if path is None else LocalOutput(Path(path))
