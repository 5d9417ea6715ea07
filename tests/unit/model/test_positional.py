"""Sinusoidal positions against the formula, and the global token's zero."""

from __future__ import annotations

import math

import torch

from msqnet.model.decoder import sinusoidal_positions


def test_positions_follow_the_published_formula() -> None:
    width, indices = 8, [0, 1, 5, 15]
    table = sinusoidal_positions(torch.tensor(indices), width)
    assert table.shape == (4, 8)
    assert table.dtype == torch.float32
    for row, position in enumerate(indices):
        for pair in range(width // 2):
            angle = position / 10000 ** (2 * pair / width)
            # float32 rounding of angles up to 15.
            assert abs(table[row, 2 * pair].item() - math.sin(angle)) < 1e-5
            assert abs(table[row, 2 * pair + 1].item() - math.cos(angle)) < 1e-5


def test_global_token_has_no_position_and_frame_zero_has_one() -> None:
    table = sinusoidal_positions(torch.tensor([-1, 0]), 6)
    assert torch.equal(table[0], torch.zeros(6))
    assert torch.equal(table[1], torch.tensor([0.0, 1.0] * 3))


def test_both_looks_at_one_time_share_a_position() -> None:
    table = sinusoidal_positions(torch.tensor([-1, 0, 1, 0, 1]), 6)
    assert torch.equal(table[1:3], table[3:5])
