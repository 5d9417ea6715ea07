"""What a project holds about a video: segments of labels, and marks of time that was looked at.

Three kinds of time are told apart for each label: it is there, it is known not to be there, and
nobody knows. Only what a person settled is known: accepted segments and the time of rejected ones,
and marks. Who marks time in which a proposal is still open leaves the proposal unknown; one that
comes after the mark, which has a higher id, changes nothing.
"""

from __future__ import annotations

import math
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, model_validator

from msqnet.intervals import Interval, subtract, union

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

Seconds = Annotated[float, Field(ge=0, le=1e7, allow_inf_nan=False)]
Name = Annotated[str, Field(min_length=1, max_length=200)]
Text = Annotated[str, Field(max_length=2000)]


class State(StrEnum):
    """What is settled about a segment.

    A segment that is `PROPOSED` is what a model says; `UNTIMED` is a label that is somewhere in its
    time, as tables of clips say it. Neither is known to hold throughout.
    """

    ACCEPTED = "accepted"
    REJECTED = "rejected"
    PROPOSED = "proposed"
    UNTIMED = "untimed"

    @property
    def is_open(self) -> bool:
        """Whether a person has still to settle it."""
        return self in (State.PROPOSED, State.UNTIMED)


class _Item(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    id: int = Field(default=0, ge=0, description="0 for a new one.")
    start: Seconds
    end: Seconds | None

    @model_validator(mode="after")
    def _check_order(self) -> Self:
        if self.end is not None and self.end < self.start:
            raise ValueError(f"it ends at {self.end:g} s, before it starts at {self.start:g} s")
        return self

    @property
    def interval(self) -> Interval:
        """Start and end in seconds; infinite where there is no end."""
        return self.start, math.inf if self.end is None else self.end


class Proposal(BaseModel):
    """What a segment was before it was edited."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    label: Name
    start: Seconds
    end: Seconds


class Segment(_Item):
    """A label from a start to an end; without an end it still goes on, equal to it is a point."""

    kind: Literal["segment"] = "segment"
    label: Name
    state: State = State.ACCEPTED
    subject: Text = ""
    modifiers: tuple[Text, ...] = Field(default=(), max_length=50)
    comment: Text = ""
    score: float | None = Field(default=None, ge=0, le=1)
    proposal: Proposal | None = None

    def settled(self, label: str) -> Iterable[Interval]:
        """The time of a label that this says something about, be it there or not."""
        if self.state.is_open:
            return
        if self.label == label and self.end is not None:
            yield self.interval
        if self.proposal is not None and self.proposal.label == label:
            yield self.proposal.start, self.proposal.end


class Mark(_Item):
    """Somebody looked for these labels from a start to an end; without an end, that of the video.

    Whatever of them is not annotated there is known to be absent.
    """

    kind: Literal["mark"] = "mark"
    labels: tuple[Name, ...] = Field(min_length=1, max_length=5000)


Item = Annotated[Segment | Mark, Field(discriminator="kind")]


class ChangeBody(BaseModel):
    """A request: items to store, and ids of those to remove."""

    model_config = ConfigDict(extra="forbid")

    put: list[Item] = Field(default=[], max_length=20000)
    remove: list[int] = Field(default=[], max_length=20000)


ITEM: TypeAdapter[Segment | Mark] = TypeAdapter(Item)


def known_intervals(
    items: Sequence[Segment | Mark], label: str, *, without_open_ends: bool = True
) -> list[Interval]:
    """When it is known whether a label holds, disjoint and in order.

    Points count with their moment only. A state without an end is unknown from its start on, or
    does not matter here if not ``without_open_ends``.
    """
    segments = [item for item in items if isinstance(item, Segment)]
    unsettled = [item for item in segments if item.label == label and item.state.is_open]
    known: list[Interval] = []
    for item in items:
        if isinstance(item, Segment):
            known += item.settled(label)
        elif label in item.labels:
            earlier = [other.interval for other in unsettled if other.id <= item.id]
            known += subtract([item.interval], earlier)
    opened = [
        item.interval
        for item in segments
        if item.label == label and item.end is None and item.state is State.ACCEPTED
    ]
    return subtract(known, opened) if without_open_ends else union(known)
