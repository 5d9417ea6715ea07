"""I3D and C3D against the same networks written as plain functions of the published tensors.

Padding is explicit and of minus infinity before pooling, and batch norm is spelled out.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

import pytest
import torch
from torch import Tensor
from torch.nn import functional

if TYPE_CHECKING:
    from pathlib import Path

    from tests.fixtures.convolutional import Published

SPORTS_1M_MEAN_BGR = (90.25, 97.66, 101.41)


def padded_same(maps: Tensor, kernel: tuple[int, ...], stride: int, fill: float) -> Tensor:
    """TensorFlow's rule, as its documentation states it."""
    for axis, width in enumerate(kernel, start=2):
        size = maps.shape[axis]
        step = stride if width > 1 else 1
        total = max(width - (size % step or step), 0)
        front, back = total // 2, total - total // 2
        before = maps.new_full((*maps.shape[:axis], front, *maps.shape[axis + 1 :]), fill)
        behind = maps.new_full((*maps.shape[:axis], back, *maps.shape[axis + 1 :]), fill)
        maps = torch.cat([before, maps, behind], dim=axis)
    return maps


def i3d_unit(maps: Tensor, tensors: dict[str, Tensor], name: str, stride: int = 1) -> Tensor:
    weight = tensors[f"{name}.conv3d.weight"]
    maps = padded_same(maps, tuple(weight.shape[2:]), stride, 0.0)
    maps = functional.conv3d(maps, weight, stride=stride)
    scale, shift, mean, variance = (
        tensors[f"{name}.bn.{part}"].view(-1, 1, 1, 1)
        for part in ("weight", "bias", "running_mean", "running_var")
    )
    return ((maps - mean) / (variance + 0.001) ** 0.5 * scale + shift).clamp(min=0)


def i3d_pool(maps: Tensor, kernel: tuple[int, int, int], stride: int) -> Tensor:
    maps = padded_same(maps, kernel, stride, -inf)
    return functional.max_pool3d(maps, kernel, [stride if k > 1 else 1 for k in kernel])


def i3d_block(maps: Tensor, tensors: dict[str, Tensor], name: str) -> Tensor:
    def branch(maps: Tensor, *units: str) -> Tensor:
        for unit in units:
            maps = i3d_unit(maps, tensors, f"{name}.{unit}")
        return maps

    pooled = i3d_pool(maps, (3, 3, 3), 1)
    branches = [branch(maps, "b0"), branch(maps, "b1a", "b1b"), branch(maps, "b2a", "b2b")]
    return torch.cat([*branches, branch(pooled, "b3b")], dim=1)


def i3d_memory(pixels: Tensor, tensors: dict[str, Tensor]) -> Tensor:
    maps = pixels.float().transpose(1, 2) / 127.5 - 1
    maps = i3d_unit(maps, tensors, "Conv3d_1a_7x7", stride=2)
    maps = i3d_pool(maps, (1, 3, 3), 2)
    maps = i3d_unit(maps, tensors, "Conv3d_2b_1x1")
    maps = i3d_unit(maps, tensors, "Conv3d_2c_3x3")
    maps = i3d_pool(maps, (1, 3, 3), 2)
    for letter in "bc":
        maps = i3d_block(maps, tensors, f"Mixed_3{letter}")
    maps = i3d_pool(maps, (3, 3, 3), 2)
    for letter in "bcdef":
        maps = i3d_block(maps, tensors, f"Mixed_4{letter}")
    maps = i3d_pool(maps, (2, 2, 2), 2)
    for letter in "bc":
        maps = i3d_block(maps, tensors, f"Mixed_5{letter}")
    return maps.mean(dim=(3, 4)).transpose(1, 2)


def c3d_memory(pixels: Tensor, tensors: dict[str, Tensor]) -> Tensor:
    mean = torch.tensor(SPORTS_1M_MEAN_BGR, dtype=torch.float32).view(3, 1, 1)
    maps = (pixels.float()[:, :, [2, 1, 0]] - mean).transpose(1, 2)
    for step in ("1", "pool1", "2", "pool2", "3a", "3b", "pool3", "4a", "4b", "pool4", "5a", "5b"):
        if step.startswith("pool"):
            kernel = (1, 2, 2) if step == "pool1" else (2, 2, 2)
            # A window may hang over the end, never before the start.
            maps = padded_same(maps, kernel, 2, -inf)
            maps = functional.max_pool3d(maps, kernel)
        else:
            weight, bias = tensors[f"conv{step}.weight"], tensors[f"conv{step}.bias"]
            maps = functional.conv3d(maps, weight, bias, padding=1).clamp(min=0)
    return maps.mean(dim=(3, 4)).transpose(1, 2)


MEMORY_OF = {"I3D": i3d_memory, "C3D": c3d_memory}


@pytest.mark.parametrize(("num_frames", "size"), [(8, 32), (13, 45)])
def test_memory_is_that_of_the_plain_functions(
    published: Published,
    published_values: dict[str, Tensor],
    published_file: Path,
    num_frames: int,
    size: int,
) -> None:
    torch.manual_seed(0)
    encoder = published.encoder.from_pretrained(published_file, num_frames, size)
    pixels = torch.randint(0, 256, (1, num_frames, 3, size, size), dtype=torch.uint8)
    with torch.no_grad():
        found = encoder(pixels)
        expected = MEMORY_OF[published.encoder.display_name](pixels, published_values)
    assert expected.std() > 0.01
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5 * expected.abs().max().item())
