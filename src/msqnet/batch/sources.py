"""The video of a job: whether it was changed, and its content as a local file."""

from __future__ import annotations

import hashlib
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from msqnet.batch.remote import as_os_errors, file_system, local_path, version_of
from msqnet.errors import UnreadableVideo
from msqnet.video.frame_sources import content_digest, content_state

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_CHUNK_BYTES = 4 * 2**20


@dataclass(frozen=True)
class LocalCopy:
    """A video that can be opened.

    Attributes:
        path: a file, or a folder of frame images.
        digest: SHA-256 of the content.
        num_bytes: of the content; 0 of a folder.
    """

    path: Path
    digest: str
    num_bytes: int


def source_state(source: str) -> str:
    """Another text after a change of the video; empty where its server names no version.

    Raises:
        OSError: it is not there, or cannot be reached.
        EmptyVideo: a folder without images.
    """
    path = local_path(source)
    if path is not None:
        return content_state(Path(path))
    system, remote_path = file_system(source)
    with as_os_errors(source):
        return version_of(system.info(remote_path))


@contextmanager
def local_copy(
    source: str, folder: Path, max_bytes: int, check_time: Callable[[], None]
) -> Iterator[LocalCopy]:
    """The video as a local file; one that was fetched is removed afterwards.

    Args:
        source: path or URL.
        folder: where to put what is fetched.
        max_bytes: the longest file that is fetched.
        check_time: called now and then; what it raises ends the fetching.

    Raises:
        OSError: it cannot be read.
        UnreadableVideo: it is longer than allowed.
        EmptyVideo: a folder without images.
    """
    path = local_path(source)
    if path is not None:
        video = Path(path)
        digest = content_digest(video)
        yield LocalCopy(video, digest, 0 if video.is_dir() else video.stat().st_size)
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
            "--max_gigabytes"
        )
    if announced is not None and num_bytes != announced:
        raise OSError(f"{source}: ended after {num_bytes} of {announced} bytes")
    return LocalCopy(copy, digest.hexdigest(), num_bytes)
