"""States that nobody ended, for tools that have no place for them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from msqnet.formats.annotations import AnnotatedVideo


def without_open_states(video: AnnotatedVideo, labels: Iterable[str]) -> AnnotatedVideo:
    """The same with states that nobody ended as points, for a tool that knows which labels count.

    Whether such a state still held is unknown, so its label counts as one that was not looked for
    in this video: it is known where it is seen and nowhere else.

    Args:
        video: what was noted.
        labels: the ethogram.
    """
    opened = {event.label for event in video.events if event.is_open}
    if not opened:
        return video
    events = tuple(
        replace(event, end_seconds=event.start_seconds) if event.is_open else event
        for event in video.events
    )
    checked = frozenset(labels) if video.checked is None else video.checked
    return replace(video, events=events, checked=checked - opened)
