"""Windows read, cut and resized by a thread of their own while the model computes."""

from __future__ import annotations

import queue
import threading
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from types import TracebackType

ItemT = TypeVar("ItemT")

_POLL_SECONDS = 0.1


class _End:
    """What the thread says last: the error that stopped it, or None where nothing is left."""

    def __init__(self, error: BaseException | None) -> None:
        self.error = error


class ReadAhead(Generic[ItemT]):
    """Draws items in a thread, at most ``size`` ahead of their reader; a context manager.

    The thread has ended when the context is left, whatever happened. What raises in it is raised
    where the items are read, after those before it.

    Args:
        items: used in the thread alone.
        size: of the queue, at least 1.
    """

    def __init__(self, items: Iterable[ItemT], size: int) -> None:
        self._items = items
        self._waiting: queue.Queue[ItemT | _End] = queue.Queue(size)
        self._is_left = threading.Event()
        self._thread = threading.Thread(target=self._draw, name="msqnet-reader", daemon=True)

    def __enter__(self) -> Iterator[ItemT]:
        self._thread.start()
        return self._received()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._is_left.set()
        self._thread.join()

    def _draw(self) -> None:
        error: BaseException | None = None
        try:
            for item in self._items:
                self._put(item)
                if self._is_left.is_set():
                    return
        except BaseException as raised:  # raised again where the items are read
            error = raised
        self._put(_End(error))

    def _put(self, item: ItemT | _End) -> None:
        while not self._is_left.is_set():
            try:
                self._waiting.put(item, timeout=_POLL_SECONDS)
            except queue.Full:
                continue
            return

    def _received(self) -> Iterator[ItemT]:
        while True:
            item = self._waiting.get()
            if not isinstance(item, _End):
                yield item
            elif item.error is not None:
                raise item.error
            else:
                return
