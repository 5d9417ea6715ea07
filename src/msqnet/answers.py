"""Answers of large models, which stand beside the scores of a video and change none of them."""

from __future__ import annotations

from dataclasses import dataclass

from msqnet.style import format_time


@dataclass(frozen=True)
class Answer:
    """What a large model that was asked said of an interval; scores and segments are without it.

    Attributes:
        reason: why it was asked, in words.
        model: its name at the endpoint.
        endpoint: the address that frames were sent to.
        frames_seconds: exact times of these frames.
        labels: those that it saw, of the labels of the scores.
        unlisted: names that it gave and that are no labels.
        sentence: what it says happens.
        error: why there is no answer; empty where there is one.
    """

    start_seconds: float
    end_seconds: float
    reason: str
    model: str
    endpoint: str
    frames_seconds: tuple[float, ...] = ()
    labels: tuple[str, ...] = ()
    unlisted: tuple[str, ...] = ()
    sentence: str = ""
    error: str = ""

    def __post_init__(self) -> None:
        for name in ("frames_seconds", "labels", "unlisted"):
            object.__setattr__(self, name, tuple(getattr(self, name)))

    @property
    def question(self) -> tuple[float, float, str, str]:
        """Interval, model and endpoint: answers to the same question replace one another."""
        return self.start_seconds, self.end_seconds, self.model, self.endpoint

    @property
    def text(self) -> str:
        """The answer in a line, for readers."""
        when = f"{format_time(self.start_seconds)} to {format_time(self.end_seconds)}"
        said = f"no answer: {self.error}" if self.error else ", ".join(self.labels) or "no label"
        others = f"no labels: {', '.join(self.unlisted)}" if self.unlisted else ""
        parts = (f"{when}, asked {self.model}: {said}", others, self.sentence)
        return "; ".join(filter(None, parts))
