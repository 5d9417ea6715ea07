from __future__ import annotations

import threading
import time
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from msqnet.inference.windows import read_ahead

if TYPE_CHECKING:
    from collections.abc import Iterator


def reader_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("msqnet-reader")]


def test_items_come_in_order_from_another_thread() -> None:
    threads = []

    def items() -> Iterator[int]:
        for number in range(100):
            threads.append(threading.current_thread())
            yield number

    with closing(read_ahead(items(), 3)) as found:
        assert list(found) == list(range(100))
    assert threading.current_thread() not in threads
    assert not reader_threads()


def test_no_more_is_drawn_than_fits() -> None:
    drawn: list[int] = []

    def items() -> Iterator[int]:
        for number in range(100):
            drawn.append(number)
            yield number

    with closing(read_ahead(items(), 4)) as found:
        assert next(found) == 0
        time.sleep(0.3)
        assert len(drawn) == 1 + 4  # taken, and waiting
    assert not reader_threads()


def test_an_error_comes_after_the_items_before_it() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise KeyError("two")

    with closing(read_ahead(items(), 8)) as found:
        assert next(found) == 1
        with pytest.raises(KeyError, match="two"):
            next(found)
    assert not reader_threads()


def test_a_reader_that_gives_up_ends_the_thread() -> None:
    def items() -> Iterator[int]:
        while True:
            yield 0

    def give_up() -> None:
        with closing(read_ahead(items(), 2)) as found:
            raise ZeroDivisionError(next(found))

    with pytest.raises(ZeroDivisionError):
        give_up()
    assert not reader_threads()
