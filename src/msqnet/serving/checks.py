"""The checker process, as the server sees it: one check after the other, each with a time limit."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from msqnet.child_process import ChildDied, ChildProcess, ChildTimedOut
from msqnet.errors import MsqnetError
from msqnet.serving.checker import VideoFacts, run_checker
from msqnet.serving.refusals import Problem, Refusal, problem_of

if TYPE_CHECKING:
    from concurrent.futures import Future
    from pathlib import Path

    from msqnet.config import ServingLimits

_START_SECONDS = 120.0


class Checks:
    """Asks the checker; starts it anew where a file made it hang or crash.

    Args:
        limits: what is accepted, and how long a check may take.
    """

    def __init__(self, limits: ServingLimits) -> None:
        self._limits = limits
        self._child = ChildProcess("checker", run_checker, limits, _START_SECONDS)
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="checks")

    @property
    def pid(self) -> int | None:
        """Process number of the checker."""
        return self._child.pid

    def submit(self, path: Path, name: str) -> Future[VideoFacts]:
        """Have a file checked.

        Args:
            path: the file.
            name: what messages call it.

        Returns:
            What it turned out to be; or `Refusal`, where it is not accepted.
        """
        return self._thread.submit(self._check, path, name)

    def stop(self) -> None:
        """End the process."""
        self._thread.shutdown(cancel_futures=True, wait=False)
        self._child.kill()

    def _check(self, path: Path, name: str) -> VideoFacts:
        try:
            if not self._child.is_running:
                self._child.start()
            facts = self._child.ask(path, self._limits.check_seconds)
        except (ChildDied, ChildTimedOut) as error:
            ending = str(error) if isinstance(error, ChildTimedOut) else "crashes the decoder"
            raise Refusal(
                Problem("check_failed", f"{name}: opening it {ending}; re-encode the file")
            ) from error
        except (MsqnetError, OSError) as error:
            raise Refusal(problem_of(error).about(path, name)) from error
        if not isinstance(facts, VideoFacts):
            raise TypeError(f"the checker answered {facts!r}")
        return facts
