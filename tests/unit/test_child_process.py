from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING

import pytest

from msqnet.child_process import Cancelled, ChildDied, ChildProcess, ChildTimedOut
from msqnet.errors import ConfigError, UnreadableVideo
from tests.unit.serving.children import run_child

if TYPE_CHECKING:
    from collections.abc import Iterator

_START_SECONDS = 60


@pytest.fixture(scope="module")
def child() -> Iterator[ChildProcess]:
    process = ChildProcess("child", run_child, "hello", _START_SECONDS)
    yield process
    process.kill()


@pytest.fixture
def running(child: ChildProcess) -> ChildProcess:
    if not child.is_running:
        child.start()
    return child


def test_says_hello_and_answers(child: ChildProcess) -> None:
    assert child.start() == f"hello from {child.pid}"
    assert child.ask("this", 30) == "did this"
    assert child.ask("that", 30) == "did that"


def test_error_reaches_the_one_who_asked_and_the_process_goes_on(running: ChildProcess) -> None:
    with pytest.raises(UnreadableVideo, match="0 decodable frames"):
        running.ask("refuse", 30)

    assert running.ask("more", 30) == "did more"


def test_full_disk_is_told_and_the_process_goes_on(running: ChildProcess) -> None:
    with pytest.raises(OSError, match="No space left"):
        running.ask("fill the disk", 30)

    assert running.ask("more", 30) == "did more"


def test_progress_is_told_in_order(running: ChildProcess) -> None:
    shares: list[float] = []

    running.ask("count", 60, on_progress=shares.append)

    assert shares == [number / 100 for number in range(100)]


def test_withdrawn_request_stops_early_and_the_process_goes_on(running: ChildProcess) -> None:
    shares: list[float] = []
    pid = running.pid

    with pytest.raises(Cancelled):
        running.ask("count", 60, shares.append, is_cancelled=lambda: len(shares) > 3)

    assert len(shares) < 100
    assert running.ask("more", 30) == "did more"
    assert running.pid == pid


@pytest.mark.parametrize("request_name", ["die", "hang"])
def test_lost_process_is_told_apart_from_a_slow_one(
    running: ChildProcess, request_name: str
) -> None:
    expected = ChildDied if request_name == "die" else ChildTimedOut

    with pytest.raises(expected):
        running.ask(request_name, 30 if request_name == "die" else 0.5)

    assert not running.is_running
    running.start()
    assert running.ask("more", 30) == "did more"


def test_killed_from_outside_is_noticed_at_once(running: ChildProcess) -> None:
    assert running.pid is not None
    os.kill(running.pid, signal.SIGKILL)
    started = time.monotonic()

    with pytest.raises(ChildDied):
        running.ask("hang", 300)

    assert time.monotonic() - started < 30


def test_process_that_cannot_work_says_why() -> None:
    process = ChildProcess("child", run_child, "refuse", _START_SECONDS)

    with pytest.raises(ConfigError, match="no such device"):
        process.start()
    process.kill()


def test_asking_what_was_never_started_fails() -> None:
    with pytest.raises(ChildDied, match="not running"):
        ChildProcess("child", run_child, "hello", _START_SECONDS).ask("this", 1)


def test_crash_says_what_was_raised(running: ChildProcess) -> None:
    with pytest.raises(ChildDied, match="the child crashed: RuntimeError: out of memory"):
        running.ask("crash", 30)

    assert not running.is_running


def test_process_that_was_killed_does_not_start_again() -> None:
    process = ChildProcess("child", run_child, "hello", _START_SECONDS)
    process.kill()

    with pytest.raises(ChildDied, match="stopped while it started"):
        process.start()
