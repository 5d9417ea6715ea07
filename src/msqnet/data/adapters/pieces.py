"""Cuts a video wherever a label begins or ends, so that each piece's labels are exactly known.

Rows of single annotated spans cannot say what is absent: other labels come and go inside them, and
the time between them has no row at all. Pieces cover the whole time, background included, and the
labels of each hold from its start to its end.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence


@dataclass(frozen=True)
class Span:
    """One annotated stretch of a video.

    Attributes:
        label: what is seen.
        start_seconds: start.
        end_seconds: end, itself not part of it; after the start.
    """

    label: str
    start_seconds: float
    end_seconds: float


@dataclass(frozen=True)
class Piece:
    """A stretch in which the same labels hold all the time.

    Attributes:
        start_seconds: start.
        end_seconds: end, itself not part of it; None is the end of the video.
        labels: all of them; none in background.
    """

    start_seconds: float
    end_seconds: float | None
    labels: frozenset[str]


def cut(
    spans: Sequence[Span],
    end_seconds: float | None,
    *,
    unknown: Collection[Span] = (),
    min_seconds: float = 0.0,
) -> list[Piece]:
    """The pieces of one video in order; neighbours differ in their labels.

    Args:
        spans: of all labels; they may overlap.
        end_seconds: end of the video, beyond which spans are cut off; None if it is not known: then
            the last piece is open.
        unknown: stretches about which nothing is known, whatever spans say: no piece covers them.
        min_seconds: shorter pieces are left out: their time counts as unknown.
    """
    video_end = math.inf if end_seconds is None else end_seconds
    times = {0.0, video_end}
    for span in (*spans, *unknown):
        times |= {min(span.start_seconds, video_end), min(span.end_seconds, video_end)}
    edges = sorted(times)
    pieces: list[Piece] = []
    for start, end in itertools.pairwise(edges):
        if any(_covers(span, start, end) for span in unknown):
            continue
        labels = frozenset(span.label for span in spans if _covers(span, start, end))
        if pieces and pieces[-1].end_seconds == start and pieces[-1].labels == labels:
            start = pieces.pop().start_seconds
        pieces.append(Piece(start, None if math.isinf(end) else end, labels))
    return [
        piece
        for piece in pieces
        if piece.end_seconds is None or piece.end_seconds - piece.start_seconds >= min_seconds
    ]


def _covers(span: Span, start_seconds: float, end_seconds: float) -> bool:
    return span.start_seconds <= start_seconds and end_seconds <= span.end_seconds
