"""A folder of stored features: named arrays under keys, and the digests of videos.

Each safetensors file holds some entries: for every name one array (N, ...), and in its metadata the
N keys and checksums. A file is written once and gets its name only when it is whole, so that a
reader sees all of it or nothing, whatever is written or killed beside it.
"""

from __future__ import annotations

import json
import logging
import os
import secrets
import time
import zlib
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from msqnet.errors import ConfigError
from msqnet.files import replacing
from msqnet.video.frame_sources import content_digest, content_state

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

_logger = logging.getLogger(__name__)
_FORMAT = "msqnet-features-1"
_SUFFIX = ".safetensors"
# A killed process leaves half-written files; no write takes longer than this.
_ABANDONED_SECONDS = 3600.0
_DIGEST_LENGTH = 64
_SAVE_SECONDS = 30.0

Entry = dict[str, np.ndarray]
"""Arrays by name, without an axis of entries."""


class _File:
    """One file of N entries; it is mapped into memory and holds no file descriptor.

    A `FileNotFoundError` means that another process has removed it; any other `OSError` says
    nothing about its content. A `SafetensorError`, `LookupError`, `TypeError` or `ValueError` means
    that it is damaged, or no file of features.
    """

    def __init__(self, path: Path):
        self.path = path
        try:
            file: Any = safe_open(path, "np")
        except FileNotFoundError as error:
            if path.exists():  # safetensors says the same of a file that may not be read
                raise PermissionError(13, "no permission to read it") from error
            raise
        metadata = file.metadata()
        if metadata["format"] != _FORMAT:
            raise ValueError(f"format {metadata['format']!r}, expected {_FORMAT!r}")
        self.keys: list[str] = json.loads(metadata["keys"])
        self.checksums: list[int] = json.loads(metadata["checksums"])
        names: list[str] = file.keys()
        self.arrays = {name: file.get_slice(name) for name in names}
        numbers = [len(self.checksums), *(a.get_shape()[0] for a in self.arrays.values())]
        if any(number != len(self.keys) for number in numbers):
            raise ValueError("not as many entries as keys")


class FeatureFiles:
    """The entries of one folder, which is made if absent; `ConfigError` where that fails.

    Any number of processes may read and write it at the same time. An entry that two of them write
    is there twice, and either is right.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise _not_writable(folder, error) from error
        self._seen: set[Path] = set()
        self._places: dict[str, tuple[_File, int]] = {}
        self._is_sound: set[str] = set()
        for path in folder.glob(".*.part"):
            with suppress(OSError):
                if path.stat().st_mtime < time.time() - _ABANDONED_SECONDS:
                    path.unlink()
        self.refresh()

    def __contains__(self, key: str) -> bool:
        return key in self._places

    def refresh(self) -> None:
        """Take in the files that were written since the last time.

        One that cannot be read, for another reason than damage, is a `ConfigError`.
        """
        for path in sorted(set(self.folder.glob(f"*{_SUFFIX}")) - self._seen):
            self._seen.add(path)
            try:
                file = _File(path)
            except FileNotFoundError:
                continue  # another process found it damaged in the meantime
            except OSError as error:
                raise ConfigError(
                    f"{path}: stored features cannot be read ({error.strerror or error}); allow "
                    "reading, raise the limit it names, or name another folder"
                ) from error
            except (SafetensorError, LookupError, TypeError, ValueError) as error:
                _discard(path, f"{type(error).__name__}: {error}")
                continue
            for place, key in enumerate(file.keys):
                self._places.setdefault(key, (file, place))

    def write(self, entries: dict[str, Entry]) -> None:
        """Keep some entries, all with the same names, shapes and types, in one file.

        A folder that cannot be written, or a full disk, is a `ConfigError`.
        """
        if not entries:
            return
        names = sorted(next(iter(entries.values())))
        metadata = {
            "format": _FORMAT,
            "keys": json.dumps(list(entries)),
            "checksums": json.dumps([_checksum(*item) for item in entries.items()]),
        }
        content = save(
            {name: np.stack([entry[name] for entry in entries.values()]) for name in names},
            metadata,
        )
        try:
            path = self.folder / f"{secrets.token_hex(8)}{_SUFFIX}"
            with replacing(path) as part, part.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise _not_writable(self.folder, error) from error
        self.refresh()

    def check(self, keys: Iterable[str]) -> None:
        """Read some entries once and compare their checksums.

        A file with a damaged entry is deleted, with a warning, and none of its entries is there any
        more. What was found sound is not read again.
        """
        for key in keys:
            if key in self._is_sound or key not in self._places:
                continue
            file, place = self._places[key]
            entry = {name: array[place] for name, array in file.arrays.items()}
            if _checksum(key, entry) == file.checksums[place]:
                self._is_sound.add(key)
                continue
            _discard(file.path, f"entry {place} is not what was written")
            for lost in file.keys:
                if self._places.get(lost, (None, 0))[0] is file:
                    del self._places[lost]
                    self._is_sound.discard(lost)

    def read(self, keys: Sequence[str], name: str) -> NDArray[Any]:
        """One array of B entries that are there: (B, ...), in the order of the keys."""
        places = [self._places[key] for key in keys]
        return np.stack([file.arrays[name][place] for file, place in places])


def _not_writable(folder: Path, error: OSError) -> ConfigError:
    return ConfigError(
        f"{folder}: features cannot be kept there ({error.strerror or error}); make room, allow "
        "writing, or name another folder"
    )


def _checksum(key: str, entry: Entry) -> int:
    """CRC-32 of the key, and of names, types, shapes and values of the arrays."""
    value = zlib.crc32(key.encode())
    for name in sorted(entry):
        array = np.ascontiguousarray(entry[name])
        value = zlib.crc32(f"{name} {array.dtype.str} {array.shape}".encode(), value)
        value = zlib.crc32(array.reshape(-1).view(np.uint8).data, value)
    return value


def _discard(path: Path, reason: str) -> None:
    """Delete a damaged file, where that is allowed; its name is never used again."""
    _logger.warning("%s: damaged (%s); its features are computed anew", path, reason)
    with suppress(OSError):
        path.unlink(missing_ok=True)


class VideoDigests:
    """SHA-256 digests of videos, remembered, so that terabytes are not read at every start.

    A digest is taken anew where the path, the size, or the time of the last change of the content
    or of the inode (mtime, ctime, in nanoseconds) is another one. Programs can set mtime back, but
    not ctime; only where a file system keeps no ctime does such a change stay unseen.

    They are written to a JSON file every half minute, so that a kill loses little of what was read.
    Runs that write it at the same time may lose each other's digests, which are then taken again.
    """

    def __init__(self, path: Path):
        self.path = path
        self._known = self._read()
        self._is_changed = False
        self._saved_at = time.monotonic()

    def _read(self) -> dict[str, tuple[str, str]]:
        """State and digest by path; nothing where the file is absent or damaged."""
        try:
            found = json.loads(self.path.read_text(encoding="utf-8"))
            known = {str(name): (str(was), str(digest)) for name, (was, digest) in found.items()}
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, TypeError, AttributeError) as error:
            _logger.warning("%s: damaged (%s); videos are read again", self.path, error)
            return {}
        return {name: pair for name, pair in known.items() if len(pair[1]) == _DIGEST_LENGTH}

    def of(self, video: Path) -> str:
        """Digest of a file, or of all images of a folder of frames: 64 hexadecimal digits.

        A file that cannot be read is an `OSError`, a folder without images an `EmptyVideo`.
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
                part.write_text(json.dumps({**self._read(), **self._known}), encoding="utf-8")
        except OSError as error:
            _logger.info("%s: not written (%s); videos are read again next time", self.path, error)
            return
        self._is_changed = False
