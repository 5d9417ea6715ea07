"""SHA-256 digests of videos, remembered, so that terabytes are not read at every start."""

from __future__ import annotations

import json
import logging
import time
from typing import TYPE_CHECKING

from msqnet.predictions import replacing
from msqnet.video.frame_sources import content_digest, content_state

if TYPE_CHECKING:
    from pathlib import Path

_logger = logging.getLogger(__name__)
_DIGEST_LENGTH = 64
_SAVE_SECONDS = 30.0


class VideoDigests:
    """Digests of what videos hold.

    A digest is taken anew where the path, the size, or the time of the last change of the content
    or of the inode (mtime, ctime, in nanoseconds) is another one. Programs can set mtime back, but
    not ctime; only where a file system keeps no ctime does such a change stay unseen.

    They are written every half minute, so that a kill loses little of what was read.

    Args:
        path: JSON file that remembers digests from run to run. Runs that write it at the same time
            may lose each other's digests, which are then taken again.
    """

    def __init__(self, path: Path):
        self.path = path
        self._known = _read(path)
        self._is_changed = False
        self._saved_at = time.monotonic()

    def of(self, video: Path) -> str:
        """Digest of a file, or of all images of a folder of frames: 64 hexadecimal digits.

        Raises:
            OSError: the file cannot be read.
            EmptyVideo: a folder without images.
        """
        name, state = str(video.absolute()), content_state(video)
        known_state, known_digest = self._known.get(name, ("", ""))
        if known_state == state:
            return known_digest
        digest = content_digest(video)
        self._known[name] = (state, digest)
        self._is_changed = True
        if time.monotonic() - self._saved_at > _SAVE_SECONDS:
            self.save()
        return digest

    def save(self) -> None:
        """Remember what was found out; in a folder that cannot be written nothing is kept."""
        if not self._is_changed:
            return
        self._saved_at = time.monotonic()
        try:
            with replacing(self.path) as part:
                part.write_text(json.dumps({**_read(self.path), **self._known}), encoding="utf-8")
        except OSError as error:
            _logger.info("%s: not written (%s); videos are read again next time", self.path, error)
            return
        self._is_changed = False


def _read(path: Path) -> dict[str, tuple[str, str]]:
    """State and digest by path; nothing where the file is absent or damaged."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        known = {str(name): (str(state), str(digest)) for name, (state, digest) in found.items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        _logger.warning("%s: damaged (%s); videos are read again", path, error)
        return {}
    return {name: pair for name, pair in known.items() if len(pair[1]) == _DIGEST_LENGTH}
