"""Checks in a process of its own whether an upload is a video within the limits.

It opens and decodes the file and ignores its name. It does not load torch. A file that makes the
process hang or crash affects that process only.
"""

from __future__ import annotations

import importlib.util
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from msqnet.child_process import ChildDied, ChildProcess, ChildTimedOut, answer_requests
from msqnet.errors import MsqnetError
from msqnet.serving.request_errors import RequestError, detail_of

if TYPE_CHECKING:
    from concurrent.futures import Future
    from multiprocessing.connection import Connection
    from pathlib import Path

    from msqnet.config import ServerLimits
    from msqnet.serving.schemas import VideoFactsBody

_MEMORY_BYTES = 4 * 2**30


class Checker:
    """The checker process ``child``, seen from the server. It does one check at a time."""

    def __init__(self, limits: ServerLimits) -> None:
        self._limits = limits
        self.child = ChildProcess("checker", run_checker, limits, start_seconds=120.0)
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="checks")

    def submit(self, path: Path, name: str) -> Future[VideoFactsBody]:
        """Check a file, which messages call ``name``; the result may be a `RequestError`."""
        return self._thread.submit(self._check, path, name)

    def stop(self) -> None:
        """End the process."""
        self._thread.shutdown(cancel_futures=True, wait=False)
        self.child.kill()

    def _check(self, path: Path, name: str) -> VideoFactsBody:
        try:
            if not self.child.is_running:
                self.child.start()
            facts: VideoFactsBody = self.child.ask(path, self._limits.check_seconds)
        except (ChildDied, ChildTimedOut) as error:
            ending = str(error) if isinstance(error, ChildTimedOut) else "crashes the decoder"
            message = f"{name}: opening it {ending}; re-encode the file"
            raise RequestError("check_failed", message) from error
        except (MsqnetError, OSError) as error:
            raise RequestError(**detail_of(error, path, name).model_dump()) from error
        return facts


def run_checker(connection: Connection, limits: ServerLimits) -> None:
    """Main function of the process: return the `VideoFactsBody` of each path, or raise."""
    # Here, not above: the server imports this module and decodes nothing. And before the limit, as
    # libraries may reserve much memory for each core.
    import av

    from msqnet.serving.inspection import inspect_video

    if importlib.util.find_spec("resource"):  # not on Windows
        import resource

        # FFmpeg may allocate the size that a header announces before anything checks it.
        resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))
    av.logging.set_level(None)

    def check(path: Path, _report: Any) -> VideoFactsBody:
        return inspect_video(path, limits)

    answer_requests(connection, lambda: (None, check))
