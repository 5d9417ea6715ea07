"""How long a video may take, and how often what failed is tried again."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING, TypeVar

from msqnet.batch.remote import Refused
from msqnet.errors import MsqnetError

if TYPE_CHECKING:
    from collections.abc import Callable

    from msqnet.batch.jobs import Cause
    from msqnet.batch.settings import JobSettings

ResultT = TypeVar("ResultT")

_FINAL = (FileNotFoundError, IsADirectoryError, NotADirectoryError, PermissionError, Refused)
_LONGEST_WAIT_SECONDS = 60.0


class TookTooLong(MsqnetError):  # noqa: N818 - says what happened
    """The time for a video is over."""


class GaveUp(MsqnetError):  # noqa: N818 - says what happened
    """Reading or writing failed, and trying again did not help, or would not.

    Args:
        cause: what was tried.
        message: what went wrong.
    """

    def __init__(self, cause: Cause, message: str) -> None:
        super().__init__(message)
        self.cause = cause


class Patience:
    """The time and the retries of one video.

    Args:
        name: of the video; the same name waits equally long in every run.
        settings: how long and how often.

    Attributes:
        num_retries: that were used up.
    """

    def __init__(self, name: str, settings: JobSettings) -> None:
        self._settings = settings
        self._random = random.Random(name.encode("utf-8", "surrogateescape"))
        self._started = time.monotonic()
        self.num_retries = 0

    @property
    def seconds(self) -> float:
        """Time since the start."""
        return time.monotonic() - self._started

    def check_time(self, _share: float = 0.0) -> None:
        """Does nothing while there is time; fit to be a progress callback.

        Raises:
            TookTooLong: there is none left.
        """
        if self.seconds > self._settings.time_limit_seconds:
            raise TookTooLong(
                f"took longer than {self._settings.time_limit_seconds:g} s; "
                "--time_limit_seconds allows more"
            )

    def retried(self, cause: Cause, action: Callable[[], ResultT]) -> ResultT:
        """Do something that reads or writes files, again and again where that fails.

        Waits grow by a factor of two, each drawn between half and all of its length, so that many
        processes do not ask a server at the same moment.

        Raises:
            GaveUp: it failed too often, or in a way that stays.
            TookTooLong: the time is over.
        """
        while True:
            self.check_time()
            try:
                return action()
            except _FINAL as error:
                raise GaveUp(cause, _words(error)) from error
            except OSError as error:
                if self.num_retries == self._settings.num_retries:
                    attempts = f" (tried {self.num_retries + 1} times)" if self.num_retries else ""
                    raise GaveUp(cause, f"{_words(error)}{attempts}") from error
            self._wait()
            self.num_retries += 1

    def _wait(self) -> None:
        longest = min(
            self._settings.first_wait_seconds * 2**self.num_retries, _LONGEST_WAIT_SECONDS
        )
        left = self._settings.time_limit_seconds - self.seconds
        time.sleep(max(0.0, min(longest * self._random.uniform(0.5, 1.0), left)))


def _words(error: OSError) -> str:
    return str(error) or type(error).__name__
