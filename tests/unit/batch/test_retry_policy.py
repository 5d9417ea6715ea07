from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

from msqnet.batch.locations import Refused
from msqnet.batch.one_video import GaveUp, RetryPolicy
from tests.unit.batch.brightness_batch import job_settings

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Waits in seconds, none of which is waited."""
    found: list[float] = []
    monkeypatch.setattr(time, "sleep", found.append)
    return found


def failing(*errors: Exception) -> Callable[[], str]:
    left = list(errors)

    def action() -> str:
        if left:
            raise left.pop(0)
        return "done"

    return action


def policy(name: str = "a.mp4", **settings: Any) -> RetryPolicy:
    return RetryPolicy(name, job_settings("out", first_wait_seconds=1.0, **settings))


def test_reading_is_tried_again_after_waits_that_double(waits: list[float]) -> None:
    errors = [OSError("reset"), TimeoutError("late"), ConnectionError("gone")]
    tried = policy()
    assert tried.retried("reading", failing(*errors)) == "done"
    assert tried.num_retries == 3
    for wait, longest in zip(waits, (1, 2, 4), strict=True):
        assert longest / 2 <= wait <= longest


def test_waits_are_the_same_in_every_run_and_differ_between_videos(waits: list[float]) -> None:
    for name in ("a.mp4", "a.mp4", "b.mp4"):
        policy(name).retried("reading", failing(OSError("reset")))
    assert waits[0] == waits[1] != waits[2]


def test_number_of_retries_is_that_of_the_whole_video(waits: list[float]) -> None:
    tried = policy(num_retries=2)
    tried.retried("reading", failing(OSError("one")))
    with pytest.raises(GaveUp, match=r"three \(tried 3 times\)") as caught:
        tried.retried("writing", failing(OSError("two"), OSError("three")))
    assert caught.value.cause == "writing"
    assert len(waits) == 2


@pytest.mark.parametrize(
    "error",
    [FileNotFoundError("gone"), PermissionError("no"), Refused("403"), NotADirectoryError()],
)
def test_what_stays_is_not_tried_again(error: OSError, waits: list[float]) -> None:
    with pytest.raises(GaveUp):
        policy().retried("reading", failing(error))
    assert waits == []


def test_what_is_no_reading_error_is_passed_on(waits: list[float]) -> None:
    with pytest.raises(ValueError, match="a mistake"):
        policy().retried("reading", failing(ValueError("a mistake")))
    assert waits == []


def test_wait_ends_with_the_time(waits: list[float]) -> None:
    tried = policy(time_limit_seconds=0.25)
    tried.retried("reading", failing(OSError("reset")))
    assert waits[0] <= 0.25


def test_time_that_is_over_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    tried = policy(time_limit_seconds=5)
    tried.check_time()
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now + 6)
    with pytest.raises(GaveUp, match="longer than 5 s") as caught:
        tried.check_time()
    assert caught.value.cause == "time_limit"
