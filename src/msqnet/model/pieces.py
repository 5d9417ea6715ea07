"""How much is computed at a time."""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from torch import Tensor

_is_whole: ContextVar[bool] = ContextVar("_is_whole", default=False)


@contextmanager
def computed_whole() -> Iterator[None]:
    """Inside, nothing is computed in pieces: whoever looks in sees whole batches."""
    token = _is_whole.set(True)
    try:
        yield
    finally:
        _is_whole.reset(token)


def pieces_of(items: Tensor, size: int, *, keeps_gradients: bool) -> Sequence[Tensor]:
    """Items to compute at a time, of which each is computed for itself.

    On a CPU a few, so that what they need stays in its cache. All of them on other devices, which
    large batches keep busy; where gradients keep what was computed anyway; and in a graph, which
    holds for any number.

    Args:
        items: (N, ...), N at least 1.
        size: of a piece on a CPU.
        keeps_gradients: whether what is computed is kept.

    Returns:
        (n, ...) each, views of the items.
    """
    if keeps_gradients or not items.is_cpu or torch.compiler.is_compiling() or _is_whole.get():
        return [items]
    pieces: Sequence[Tensor] = items.split(size)
    return pieces
