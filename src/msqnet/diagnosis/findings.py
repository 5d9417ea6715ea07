"""What a check found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Status = Literal["ok", "note", "problem"]


@dataclass(frozen=True)
class Finding:
    """One line of a diagnosis.

    Attributes:
        topic: what belongs together, such as ``video``.
        name: what was looked at.
        value: what was found.
        status: ``problem`` where something that msqnet needs does not work; ``note`` where a part
            does not work that can be done without, or is slower than it could be.
        advice: what to do about it; empty where all is well.
    """

    topic: str
    name: str
    value: str
    status: Status = "ok"
    advice: str = ""
