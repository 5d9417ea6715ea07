"""One batch run at a time in a results folder."""

from __future__ import annotations

import fcntl
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

from msqnet.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def only_run(path: Path) -> Iterator[None]:
    """Hold a lock that ends with this process, however that ends.

    Args:
        path: the file that is locked; made if missing, and kept.

    Raises:
        ConfigError: another run holds it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+", encoding="ascii") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            raise ConfigError(
                f"{path.parent.parent}: another batch run (process {file.read().strip() or '?'}) "
                "writes there; wait for it, stop it, or choose another --out"
            ) from error
        file.truncate(0)
        file.write(f"{os.getpid()} on {os.uname().nodename}")
        file.flush()
        yield


def is_locked(path: Path) -> bool:
    """Whether a run holds the lock now."""
    if not path.exists():
        return False
    with path.open("a+", encoding="ascii") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False
