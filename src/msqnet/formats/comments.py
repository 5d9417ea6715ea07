"""Scores in comments: where a tool has no place for a score, it stands as ``score=0.87; text``."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from msqnet.formats.annotations import Event

_SCORED = re.compile(r"score=(\d+(?:\.\d+)?(?:[eE][-+]?\d+)?)(?:; (.*))?", re.DOTALL)


def comment_with_score(event: Event) -> str:
    """What an event's comment is in a tool that has no place for its score."""
    if event.score is None:
        return event.comment
    return f"score={float(event.score)!r}" + (f"; {event.comment}" if event.comment else "")


def split_comment(written: str) -> tuple[float | None, str]:
    """Score and comment of what `comment_with_score` wrote; no score for any other comment."""
    found = _SCORED.fullmatch(written)
    if found is None or float(found[1]) > 1:
        return None, written
    return float(found[1]), found[2] or ""
