"""What identifies the content of a video, and what tells cheaply that it was changed."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from msqnet.video.image_folder import frame_image_paths

if TYPE_CHECKING:
    from os import stat_result
    from pathlib import Path


def content_digest(video: Path) -> str:
    """SHA-256 of a file, or of all images of a folder of frames: 64 hexadecimal digits.

    Raises:
        OSError: the file cannot be read.
        EmptyVideo: a folder without images.
    """
    if not video.is_dir():
        return _file_digest(video)
    parts = [f"{path.name} {_file_digest(path)}" for path in frame_image_paths(video)]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def content_state(video: Path) -> str:
    """Size and times of change: another text after a change, found without reading the video.

    Programs can set the time of the last change of the content (mtime) back, but not that of the
    inode (ctime); only where a file system keeps no ctime does such a change stay unseen.

    Raises:
        OSError: the file is not there.
        EmptyVideo: a folder without images.
    """
    if not video.is_dir():
        return _times(video.stat())
    listing = [f"{path.name} {_times(path.stat())}" for path in frame_image_paths(video)]
    return hashlib.sha256("\n".join(listing).encode()).hexdigest()


def _times(status: stat_result) -> str:
    return f"{status.st_size} {status.st_mtime_ns} {status.st_ctime_ns}"


def _file_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
