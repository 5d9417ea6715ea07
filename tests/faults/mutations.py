"""Files damaged in the ways in which cards, disks and copies damage them; by a seed, repeatably."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

_HEADER_BYTES = 2048
_BLOCK_BYTES = 4096


def flipped_bits(data: bytearray, rng: np.random.Generator) -> bytearray:
    """A few bits anywhere."""
    for place in rng.integers(len(data), size=int(rng.integers(1, 50))):
        data[place] ^= 1 << int(rng.integers(8))
    return data


def flipped_in_header(data: bytearray, rng: np.random.Generator) -> bytearray:
    """A few bits where sizes, codecs and tables stand: at the start, or at the end of a mov."""
    first = 0 if rng.random() < 0.5 else max(0, len(data) - _HEADER_BYTES)
    for place in rng.integers(min(_HEADER_BYTES, len(data)), size=int(rng.integers(1, 8))):
        data[first + place] ^= 1 << int(rng.integers(8))
    return data


def extreme_numbers(data: bytearray, rng: np.random.Generator) -> bytearray:
    """Four bytes of the header as the largest, or a very large, number."""
    place = int(rng.integers(min(_HEADER_BYTES, len(data) - 4)))
    data[place : place + 4] = bytes([[0xFF, 0x7F, 0x00][int(rng.integers(3))], 0xFF, 0xFF, 0xFF])
    return data


def cut_off(data: bytearray, rng: np.random.Generator) -> bytearray:
    """The end is missing, as after a copy that was stopped."""
    return data[: int(rng.integers(len(data)))]


def zeroed_block(data: bytearray, rng: np.random.Generator) -> bytearray:
    """A block that was never written."""
    place = int(rng.integers(len(data)))
    length = min(int(rng.integers(1, 8)) * _BLOCK_BYTES, len(data) - place)
    data[place : place + length] = bytes(length)
    return data


def moved_block(data: bytearray, rng: np.random.Generator) -> bytearray:
    """A block that stands in another one's place."""
    source, target = (int(place) for place in rng.integers(len(data), size=2))
    block = data[source : source + _BLOCK_BYTES]
    data[target : target + len(block)] = block
    return data


def inserted_bytes(data: bytearray, rng: np.random.Generator) -> bytearray:
    """Bytes too many in the middle, so that all that follows is shifted."""
    place = int(rng.integers(len(data)))
    data[place:place] = rng.bytes(int(rng.integers(1, 200)))
    return data


MUTATIONS: tuple[Callable[[bytearray, np.random.Generator], bytearray], ...] = (
    flipped_bits,
    flipped_in_header,
    extreme_numbers,
    cut_off,
    zeroed_block,
    moved_block,
    inserted_bytes,
)


def write_mutated(sources: Sequence[Path], folder: Path, count: int, seed: int) -> list[Path]:
    """Damaged copies of clips, each way and each clip in turn."""
    rng = np.random.default_rng(seed)
    written = []
    for number in range(count):
        source = sources[int(rng.integers(len(sources)))]
        mutate = MUTATIONS[number % len(MUTATIONS)]
        path = folder / f"{number:04}-{mutate.__name__}-{source.stem[:30]}{source.suffix}"
        path.write_bytes(mutate(bytearray(source.read_bytes()), rng))
        written.append(path)
    return written
