"""What a video file holds, as bytes or a file object, in a file of its own."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path, PurePath
from typing import Any

from msqnet.errors import ShapeError, UnreadableVideo


def store_content(content: Any) -> Path:
    """Write bytes, or what a file object gives, into a new temporary folder; returns the file.

    It has the object's name, if that has one. The folder is the caller's to remove; after an error
    it is gone. Nothing to read is an `UnreadableVideo`, text a `ShapeError`.
    """
    told = getattr(content, "name", None)
    name = PurePath(told).name.strip(".") if isinstance(told, str) else ""
    shown = name or type(content).__name__
    folder = tempfile.mkdtemp(prefix="msqnet-")
    try:
        path = Path(folder, name or "video")
        with path.open("wb") as file:
            if hasattr(content, "read"):
                shutil.copyfileobj(content, file)
            else:
                file.write(content)
        if path.stat().st_size == 0:
            raise UnreadableVideo(
                f"{shown}: reading gives no bytes; one that was read before needs seek(0)"
            )
    except BaseException as error:
        shutil.rmtree(folder, ignore_errors=True)
        if isinstance(error, TypeError | UnicodeDecodeError):
            raise ShapeError(f"{shown}: reading gives no bytes; open the file as 'rb'") from error
        raise
    return path
