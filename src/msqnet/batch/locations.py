"""Local paths and URLs: reading videos, and writing results so that each file appears at once.

URLs go through fsspec: s3://, gs://, http://, memory:// and whatever else it knows; paths and
file:// do not. What a file system raises becomes an `OSError`, so that callers can tell "cannot be
read" from a mistake of ours.

Results are written aside and published one after the other, so that a reader sees each file whole
or not at all. In a folder, publishing is a rename; object stores (s3://, gs://) show an object when
all of it has arrived.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import socket
import tempfile
from abc import ABC, abstractmethod
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import unquote

import psutil

from msqnet.errors import ConfigError, MsqnetError, UnreadableVideo, needs_extra
from msqnet.video.frame_sources import content_digest, content_state

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

STATE_FOLDER = ".batch"
# Other machines may stage in the same folder, and have processes of the same number.
_STAGING_PREFIX = f"msqnet-batch-{socket.gethostname()}-"
_STAGING_TRIES = 20
_CHUNK_BYTES = 4 * 2**20
# Protocols may be chained, as in simplecache::s3://bucket/clip.mp4.
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+(::[A-Za-z][A-Za-z0-9+.-]+)*://")
_FILE_URL = re.compile(r"file:(?://(?P<host>[^/]*))?(?P<path>/.*)", re.IGNORECASE | re.DOTALL)
_TRY_AGAIN = (408, 425, 429)
# What tells one version of a file from another, by the names that file systems give it.
_VERSION_KEYS = (
    *("ETag", "etag", "Content-MD5", "md5Hash", "crc32c", "generation", "versionId"),
    *("LastModified", "Last-Modified", "last_modified", "mtime", "updated", "created"),
)


class Refused(OSError):  # noqa: N818 - says what happened
    """A server says no, and would say it again."""


def local_path(location: str) -> str | None:
    """The local path that a path or a ``file://`` URL names; None for any other URL.

    A ``file://`` URL that names another machine is a `ConfigError`.
    """
    found = _FILE_URL.fullmatch(location)
    if found is None:
        return None if _URL.match(location) else location
    if found["host"] not in (None, "", "localhost"):
        raise ConfigError(f"{location}: a file on {found['host']}; expected file:///path")
    return unquote(found["path"])


def file_system(url: str) -> tuple[Any, str]:
    """The fsspec file system of a URL, and the path in it.

    `MissingExtra` without fsspec; `ConfigError` if the protocol is not known, or what it needs is
    not installed.
    """
    with needs_extra("reading and writing by URL", extra="batch"):
        from fsspec.core import url_to_fs
    try:
        system, path = url_to_fs(url)
    except (ImportError, ValueError) as error:
        # fsspec names the package, such as s3fs.
        raise ConfigError(f"{url}: {error}") from error
    return system, str(path)


def join(url: str, name: str) -> str:
    """A URL below another one."""
    return f"{url.rstrip('/')}/{name}"


@contextlib.contextmanager
def as_os_errors(url: str) -> Iterator[None]:
    """Turn whatever a file system raises into an `OSError` that names the URL.

    It is `Refused` for a status from 400 to 499 that another try would not change.
    """
    try:
        yield
    except MsqnetError:
        raise
    # Every file system has errors of its own, of libraries that are not imported here.
    except Exception as error:
        # By HTTP, fsspec says "not found" whatever went wrong, and keeps what did.
        is_vague = isinstance(error, FileNotFoundError) and error.__cause__ is not None
        real = error.__cause__ if is_vague else error
        if isinstance(real, OSError) and not is_vague:
            raise
        status = getattr(real, "status", None) or getattr(real, "code", None)
        text = f"{url}: {type(real).__name__}: {real}"
        is_final = isinstance(status, int) and 400 <= status < 500 and status not in _TRY_AGAIN
        raise (Refused(text) if is_final else OSError(text)) from error


class LocalCopy(NamedTuple):
    """A video that can be opened: a file, or a folder of frame images.

    ``fetched_digest`` is the SHA-256 of what was fetched, empty for a local video; ``num_bytes``
    are those of the content, 0 for a folder and for what does not exist.
    """

    path: Path
    fetched_digest: str
    num_bytes: int

    def digest(self) -> str:
        """SHA-256 of the content; raises `OSError`, or `EmptyVideo` for a folder without images."""
        return self.fetched_digest or content_digest(self.path)


def source_state(source: str) -> str:
    """Another text after a change of the video; empty where its server names no version.

    `OSError` if it is not there or cannot be reached, `EmptyVideo` for a folder without images.
    """
    path = local_path(source)
    if path is not None:
        if not os.path.lexists(path):
            raise FileNotFoundError(f"{path}: no such file or folder; check the path")
        return content_state(Path(path))
    system, remote_path = file_system(source)
    with as_os_errors(source):
        info = system.info(remote_path)
    versions = [f"{key}={info[key]}" for key in _VERSION_KEYS if info.get(key)]
    return " ".join([f"size={info.get('size')}", *versions]) if versions else ""


@contextlib.contextmanager
def local_copy(
    source: str, folder: Path, max_bytes: int, check_time: Callable[[], None]
) -> Iterator[LocalCopy]:
    """The video of a path or URL as a local file; one that was fetched is removed afterwards.

    Args:
        folder: where to put what is fetched.
        max_bytes: of the largest file that is fetched.
        check_time: called now and then; an error that it raises ends the fetching.

    Raises:
        OSError: it cannot be fetched.
        UnreadableVideo: it is larger than allowed.
    """
    path = local_path(source)
    if path is not None:
        video = Path(path)
        yield LocalCopy(video, "", video.stat().st_size if video.is_file() else 0)
        return
    copy = folder / f"video{PurePosixPath(source.partition('?')[0]).suffix}"
    try:
        yield _fetch(source, copy, max_bytes, check_time)
    finally:
        copy.unlink(missing_ok=True)


def _fetch(source: str, copy: Path, max_bytes: int, check_time: Callable[[], None]) -> LocalCopy:
    system, remote_path = file_system(source)
    digest, num_bytes = hashlib.sha256(), 0
    with as_os_errors(source), system.open(remote_path, "rb") as remote, copy.open("wb") as file:
        while chunk := remote.read(_CHUNK_BYTES):
            num_bytes += len(chunk)
            if num_bytes > max_bytes:
                break
            digest.update(chunk)
            file.write(chunk)
            check_time()
        announced = getattr(remote, "size", None)
    if num_bytes > max_bytes:
        raise UnreadableVideo(
            f"{source}: more than {max_bytes} bytes; fetch it yourself, or allow more with "
            "--max-gigabytes"
        )
    if announced is not None and num_bytes != announced:
        raise OSError(f"{source}: ended after {num_bytes} of {announced} bytes")
    return LocalCopy(copy, digest.hexdigest(), num_bytes)


class Output(ABC):
    """Where results go; ``location`` is as it was given, names are relative, with ``/``.

    ``staging_above`` is the local folder that holds files before they are published; None for the
    system's.
    """

    location: str
    staging_above: Path | None = None

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

    def state(self, names: Sequence[str]) -> str:
        """Another text after a change of one of the files; empty if one is not there."""
        states = [self.file_state(name) for name in names]
        return ",".join(states) if all(states) else ""

    @contextlib.contextmanager
    def staging(self) -> Iterator[Path]:
        """A local folder to write in before publishing; gone afterwards."""
        prefix, above = f"{_STAGING_PREFIX}{os.getpid()}-", self.staging_above
        for num_left in reversed(range(_STAGING_TRIES)):
            try:
                if above is not None:
                    above.mkdir(parents=True, exist_ok=True)
                folder = Path(tempfile.mkdtemp(prefix=prefix, dir=above))
                break
            except FileNotFoundError:  # another run removed the empty folder in between
                if not num_left:
                    raise
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            if above is not None:
                with contextlib.suppress(OSError):  # other files are in it
                    above.rmdir()
                    above.parent.rmdir()

    def clear_staging(self, process_id: int) -> None:
        """Remove what a process of this machine that was killed has left unpublished."""
        above = self.staging_above or Path(tempfile.gettempdir())
        for folder in above.glob(f"{_STAGING_PREFIX}{process_id}-*"):
            shutil.rmtree(folder, ignore_errors=True)


class LocalOutput(Output):
    """A folder; a file is a `ConfigError`."""

    def __init__(self, folder: Path) -> None:
        if folder.exists() and not folder.is_dir():
            raise ConfigError(f"{folder}: a file; expected the folder for the results")
        self.location, self.folder = str(folder), folder
        # On the same file system, so that publishing is a rename.
        self.staging_above: Path = folder / STATE_FOLDER / "staging"

    def clear_abandoned_staging(self) -> None:
        """Remove what processes that were killed left unpublished; `predict` may be at work."""
        for folder in self.staging_above.glob("*"):
            process_id = folder.name.removeprefix(_STAGING_PREFIX).partition("-")[0]
            is_alive = process_id.isdecimal() and psutil.pid_exists(int(process_id))
            if not is_alive or int(process_id) == os.getpid():
                shutil.rmtree(folder, ignore_errors=True)

    def publish(self, name: str, staged: Path) -> None:
        """Rename a file into place."""
        target = self.folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        staged.replace(target)

    def remove(self, name: str) -> None:  # noqa: D102
        (self.folder / name).unlink(missing_ok=True)

    def read(self, name: str) -> bytes | None:  # noqa: D102
        try:
            return (self.folder / name).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None

    def file_state(self, name: str) -> str:
        """Size, and time of the last change in nanoseconds."""
        try:
            status = (self.folder / name).stat()
        except (FileNotFoundError, NotADirectoryError):
            return ""
        return f"{status.st_size}@{status.st_mtime_ns}"


class RemoteOutput(Output):
    """A URL; errors are those of `file_system`."""

    def __init__(self, url: str) -> None:
        self.location = url
        self._system, self._root = file_system(url)

    def publish(self, name: str, staged: Path) -> None:
        """Upload a file."""
        target = join(self._root, name)
        with as_os_errors(join(self.location, name)):
            self._system.makedirs(target.rpartition("/")[0], exist_ok=True)
            self._system.put_file(str(staged), target)

    def remove(self, name: str) -> None:  # noqa: D102
        target = join(self._root, name)
        with as_os_errors(join(self.location, name)):
            if self._system.exists(target):
                self._system.rm_file(target)
                self._system.invalidate_cache()

    def read(self, name: str) -> bytes | None:  # noqa: D102
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


def cannot_write(location: str | Path, error: OSError) -> OSError:
    """The error for a results folder that cannot be made or written."""
    return OSError(
        f"{location}: cannot write there ({error.strerror or error}); make it writable, or choose "
        "another --out"
    )


def open_output(location: str) -> Output:
    """The results folder that a path or URL names; it need not exist.

    Errors are those of `LocalOutput` and `RemoteOutput`.
    """
    path = local_path(location)
    return RemoteOutput(location) if path is None else LocalOutput(Path(path))
