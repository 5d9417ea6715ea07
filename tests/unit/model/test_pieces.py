"""When items are computed a few at a time, and when all at once."""

from __future__ import annotations

import torch

from msqnet.model.computing import chunks_of, computed_whole

ITEMS = torch.arange(10).view(5, 2)


def sizes(*, keeps_gradients: bool = False) -> list[int]:
    pieces = chunks_of(ITEMS, 2, keeps_gradients=keeps_gradients)
    assert torch.equal(torch.cat(list(pieces)), ITEMS)
    return [len(piece) for piece in pieces]


def test_cpu_computes_a_few_at_a_time() -> None:
    assert sizes() == [2, 2, 1]


def test_all_at_once_where_gradients_or_a_reader_need_it() -> None:
    assert sizes(keeps_gradients=True) == [5]
    with computed_whole():
        assert sizes() == [5]
    assert sizes() == [2, 2, 1]


def test_other_devices_compute_all_at_once() -> None:
    (whole,) = chunks_of(ITEMS.to("meta"), 2, keeps_gradients=False)
    assert whole.shape == ITEMS.shape
