"""Named arrays under keys, in files that are written once and never changed.

Each file holds some entries, as safetensors: for every name one array (N, ...), and in its metadata
the N keys and checksums. A file gets its name only when it is whole, so that a reader sees all of
it or nothing, whatever is written or killed beside it. Entries are read through memory maps.
"""

from __future__ import annotations

import json
import logging
import math
import os
import secrets
import time
import zlib
from collections import OrderedDict
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors.numpy import save

from msqnet.errors import ConfigError
from msqnet.predictions import replacing

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

_logger = logging.getLogger(__name__)
_FORMAT = "msqnet-features-1"
_SUFFIX = ".safetensors"
_LENGTH_BYTES = 8
_DTYPES: dict[str, np.dtype[Any]] = {"F16": np.dtype("<f2"), "F32": np.dtype("<f4")}
# What a killed process left half-written; no write takes that long.
_ABANDONED_SECONDS = 3600.0
# Each map holds a file descriptor, of which a process has 1,024 by default.
_MAX_OPEN_MAPS = 64

Entry = dict[str, np.ndarray]
"""Arrays by name, without an axis of entries."""


class _DamagedFileError(Exception):
    """A file that does not hold what it should; never leaves this module."""


@dataclass(frozen=True)
class _File:
    """What the header of one file says.

    Attributes:
        path: where it is.
        keys: of its N entries.
        checksums: of its N entries.
        layout: of the arrays (N, ...) by name: type, shape, first byte.
    """

    path: Path
    keys: tuple[str, ...]
    checksums: tuple[int, ...]
    layout: dict[str, tuple[np.dtype[Any], tuple[int, ...], int]]

    def mapped(self) -> Entry:
        """Its arrays as views of the file; each map holds a file descriptor."""
        data = np.memmap(self.path, np.uint8, mode="r")
        return {
            name: data[start : start + dtype.itemsize * math.prod(shape)].view(dtype).reshape(shape)
            for name, (dtype, shape, start) in self.layout.items()
        }


class FeatureFiles:
    """The entries of one folder.

    Any number of processes may read and write it at the same time. An entry that two of them write
    is there twice, and either is right.

    Args:
        folder: made if absent.

    Raises:
        ConfigError: the folder can be neither found nor made.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise _not_writable(folder, error) from error
        self._seen: set[str] = set()
        self._places: dict[str, tuple[_File, int]] = {}
        self._is_sound: set[str] = set()
        self._maps: OrderedDict[Path, Entry] = OrderedDict()
        _remove_abandoned(folder)
        self.refresh()

    def _arrays(self, file: _File) -> Entry:
        """The arrays of a file; only the maps used last stay open.

        Raises:
            ConfigError: it cannot be read any more.
        """
        if file.path not in self._maps:
            try:
                self._maps[file.path] = file.mapped()
            except (OSError, ValueError) as error:
                raise _not_readable(file.path, error) from error
            if len(self._maps) > _MAX_OPEN_MAPS:
                self._maps.popitem(last=False)
        self._maps.move_to_end(file.path)
        return self._maps[file.path]

    def __contains__(self, key: str) -> bool:
        return key in self._places

    def refresh(self) -> None:
        """Take in the files that were written since the last time."""
        with os.scandir(self.folder) as found:
            names = [item.name for item in found if item.name.endswith(_SUFFIX)]
        for name in sorted(set(names) - self._seen):
            self._seen.add(name)
            try:
                file = _open(self.folder / name)
            except FileNotFoundError:
                continue  # another process found it damaged in the meantime
            except _DamagedFileError as error:
                _discard(self.folder / name, str(error))
                continue
            for place, key in enumerate(file.keys):
                self._places.setdefault(key, (file, place))

    def write(self, entries: dict[str, Entry]) -> None:
        """Keep some entries, in one file.

        Args:
            entries: by key; all with the same names, shapes and types.

        Raises:
            ConfigError: the folder cannot be written, or the disk is full.
        """
        if not entries:
            return
        items = list(entries.items())
        arrays = {
            name: np.stack([entry[name] for _, entry in items]) for name in sorted(items[0][1])
        }
        metadata = {
            "format": _FORMAT,
            "keys": json.dumps([key for key, _ in items]),
            "checksums": json.dumps([_checksum(key, entry) for key, entry in items]),
        }
        path = self.folder / f"{secrets.token_hex(8)}{_SUFFIX}"
        try:
            with replacing(path) as part, part.open("wb") as file:
                file.write(save(arrays, metadata))
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise _not_writable(self.folder, error) from error
        self.refresh()

    def check(self, keys: Iterable[str]) -> None:
        """Read some entries once and compare their checksums.

        A file with a damaged entry is deleted, with a warning, and none of its entries is there any
        more. What was found sound is not read again.

        Raises:
            ConfigError: a file cannot be read, for another reason than damage.
        """
        for key in keys:
            if key in self._is_sound or key not in self._places:
                continue
            file, place = self._places[key]
            entry = {name: values[place] for name, values in self._arrays(file).items()}
            if _checksum(key, entry) == file.checksums[place]:
                self._is_sound.add(key)
                continue
            self._maps.pop(file.path, None)
            _discard(file.path, f"entry {place} is not what was written")
            for lost in file.keys:
                if self._places.get(lost, (None, 0))[0] is file:
                    del self._places[lost]
                    self._is_sound.discard(lost)

    def read(self, keys: Sequence[str], name: str) -> NDArray[Any]:
        """One array of some entries.

        Args:
            keys: of B entries that are there.
            name: of the array.

        Returns:
            (B, ...), in the order of the keys.
        """
        places = [self._places[key] for key in keys]
        dtype, shape, _ = places[0][0].layout[name]
        found = np.empty((len(keys), *shape[1:]), dtype)
        for target, (file, place) in zip(found, places, strict=True):
            target[...] = self._arrays(file)[name][place]
        return found


def _not_writable(folder: Path, error: OSError) -> ConfigError:
    return ConfigError(
        f"{folder}: features cannot be kept there ({error.strerror or error}); make room, allow "
        "writing, or name another folder"
    )


def _not_readable(path: Path, error: Exception) -> ConfigError:
    reason = getattr(error, "strerror", None) or error
    return ConfigError(
        f"{path}: stored features cannot be read ({reason}); allow reading, raise the limit it "
        "names, or name another folder"
    )


def _checksum(key: str, entry: Entry) -> int:
    """Of what an entry says, and of the form in which it says it."""
    value = zlib.crc32(key.encode())
    for name in sorted(entry):
        array = np.ascontiguousarray(entry[name])
        value = zlib.crc32(f"{name} {array.dtype.str} {array.shape}".encode(), value)
        value = zlib.crc32(array.reshape(-1).view(np.uint8).data, value)
    return value


def _open(path: Path) -> _File:
    """Read the header of a file.

    Raises:
        FileNotFoundError: it is gone.
        ConfigError: it cannot be read, which says nothing of what is in it.
        _DamagedFileError: it is cut short, or no file of features.
    """
    try:
        with path.open("rb") as file:
            num_bytes = os.fstat(file.fileno()).st_size
            header_length = int.from_bytes(file.read(_LENGTH_BYTES), "little")
            start = _LENGTH_BYTES + header_length
            if start > num_bytes:
                raise _DamagedFileError(f"{num_bytes} bytes, expected a header of {start}")
            raw_header = file.read(header_length)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise _not_readable(path, error) from error
    try:
        header = json.loads(raw_header)
        metadata = header.pop("__metadata__")
        if metadata["format"] != _FORMAT:
            raise _DamagedFileError(f"format {metadata['format']!r}, expected {_FORMAT!r}")
        keys = tuple(map(str, json.loads(metadata["keys"])))
        checksums = tuple(map(int, json.loads(metadata["checksums"])))
        layout = {name: _place(tensor, start, num_bytes) for name, tensor in header.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _DamagedFileError(f"{type(error).__name__}: {error}") from error
    numbers = [len(checksums), *(shape[0] for _, shape, _ in layout.values())]
    if any(number != len(keys) for number in numbers):
        raise _DamagedFileError("not as many entries as keys")
    return _File(path, keys, checksums, layout)


def _place(
    tensor: dict[str, Any], start: int, num_bytes: int
) -> tuple[np.dtype[Any], tuple[int, ...], int]:
    """Type, shape and first byte of an array; a ValueError where the file is too short for it."""
    first, end = map(int, tensor["data_offsets"])
    dtype, shape = _DTYPES[tensor["dtype"]], tuple(map(int, tensor["shape"]))
    if not shape or end - first != dtype.itemsize * math.prod(shape) or start + end > num_bytes:
        raise ValueError(f"{shape} of {dtype} in bytes {first} to {end} of {num_bytes - start}")
    return dtype, shape, start + first


def _discard(path: Path, reason: str) -> None:
    """Delete a damaged file, where that is allowed; its name is never used again."""
    _logger.warning("%s: damaged (%s); its features are computed anew", path, reason)
    with suppress(OSError):
        path.unlink(missing_ok=True)


def _remove_abandoned(folder: Path) -> None:
    """Delete what killed processes left half-written."""
    oldest = time.time() - _ABANDONED_SECONDS
    for path in folder.glob(".*.part"):
        with suppress(OSError):
            if path.stat().st_mtime < oldest:
                path.unlink()
