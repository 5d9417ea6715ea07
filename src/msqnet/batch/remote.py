"""Files by URL, through fsspec: s3://, gs://, http://, memory:// and whatever else it knows.

Local paths and file:// never come here. What a file system raises becomes an `OSError`, so that
callers can tell "cannot be read" from a mistake of ours.
"""

from __future__ import annotations

import contextlib
import re
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from msqnet.errors import ConfigError, MissingExtra, MsqnetError

if TYPE_CHECKING:
    from collections.abc import Iterator

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

    Raises:
        ConfigError: a ``file://`` URL that names another machine.
    """
    found = _FILE_URL.fullmatch(location)
    if found is None:
        return None if _URL.match(location) else location
    if found["host"] not in (None, "", "localhost"):
        raise ConfigError(f"{location}: a file on {found['host']}; expected file:///path")
    return unquote(found["path"])


def file_system(url: str) -> tuple[Any, str]:
    """The fsspec file system of a URL, and the path in it.

    Raises:
        MissingExtra: fsspec is not installed.
        ConfigError: the protocol is not known, or what it needs is not installed.
    """
    try:
        from fsspec.core import url_to_fs
    except ImportError as error:
        raise MissingExtra("reading and writing by URL", extra="batch") from error
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

    Raises:
        Refused: a status from 400 to 499 that another try would not change.
        OSError: anything else.
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


def version_of(info: dict[str, Any]) -> str:
    """Size and version of a file by what its file system says; empty where it names no version."""
    versions = [f"{key}={info[key]}" for key in _VERSION_KEYS if info.get(key)]
    return " ".join([f"size={info.get('size')}", *versions]) if versions else ""
