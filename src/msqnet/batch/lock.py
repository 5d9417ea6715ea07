"""One batch run at a time in a results folder."""

from __future__ import annotations

import fcntl
import os
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from msqnet.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import TextIO

# A look at the lock (`is_locked`) holds it for less than that.
_LOOK_SECONDS = 0.5


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
            _lock(file)
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


def _lock(file: TextIO) -> None:
    """Take the lock, at the second try if somebody just looks at it."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        time.sleep(_LOOK_SECONDS)
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def is_locked(path: Path) -> bool:
    """Whether a run holds the lock now.

    Raises:
        OSError: the file cannot be read.
    """
    try:
        # Reading is enough for a shared lock; a run that starts meanwhile waits for it.
        with path.open(encoding="ascii") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False
