"""Which intervals of a video a large model is asked about, what it is asked, what it answered.

Answers stand beside the scores and change none of them.
"""

from __future__ import annotations

import io
import itertools
import json
import math
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from msqnet.answers import Answer
from msqnet.errors import VideoError, VocabularyError
from msqnet.inference.endpoint import NoAnswer, one_line
from msqnet.intervals import SAME_TIME_SECONDS, union
from msqnet.labels import folded

if TYPE_CHECKING:
    from collections.abc import Sequence

    from msqnet.inference.endpoint import Endpoint
    from msqnet.intervals import Interval
    from msqnet.labels import LabelSet
    from msqnet.predictions import VideoPredictions
    from msqnet.video.reader import Video

MAX_QUESTION_SECONDS = 10.0
"""Longer intervals are asked about in parts of equal length: a few frames show no more."""
SHORT_SIDE_PIXELS = 512
_LONG_SIDE_PIXELS = 768
_JPEG_QUALITY = 85
_MAX_FAILURES_IN_A_ROW = 3
_MAX_LETTERS = 500
_MAX_ANSWER_LETTERS = 64 * 1024
_NUM_UNLISTED = 5
_LEAST_SCORE = 1e-6


@dataclass(frozen=True)
class Question:
    """An interval to ask about.

    Attributes:
        reason: in words, for readers.
        distance: how sure the small model is: 0 for unknown time, else the difference of log-odds
            between the highest score and the threshold of the label that is nearest to its own.
    """

    start_seconds: float
    end_seconds: float
    reason: str
    distance: float


def labels_about(labels: LabelSet, words: Sequence[str]) -> tuple[str, ...]:
    """Labels whose names hold one of the words; `VocabularyError` for a word that is in none."""
    for word in words:
        if not any(folded(word) in folded(name) for name in labels):
            raise VocabularyError(
                f"--ask-about {word}: in no label; known are {', '.join(labels.names)}"
            )
    return tuple(name for name in labels if any(folded(w) in folded(name) for w in words))


def find_questions(predictions: VideoPredictions, about: Sequence[str] = ()) -> list[Question]:
    """Intervals that a large model should look at, those where most is open first.

    A run is where the odds of a label's score are at least half those of its threshold. Without
    ``about``, the intervals are unknown time, and outside of it the runs of reported labels in
    which no score has twice the odds of the threshold; with ``about`` they are all runs of these
    labels. What overlaps or touches is asked about together.
    """
    timeline, edges = predictions.timeline, predictions.timeline.edges_seconds
    names = about or [name for name in predictions.labels if name not in predictions.withheld]
    columns = predictions.labels.indices(names)
    unknown = [] if about else timeline.unknown_intervals
    hidden = timeline.is_unknown if unknown and timeline.is_unknown is not None else False
    runs: dict[int, list[Interval]] = {}
    for column in columns:
        threshold = predictions.thresholds[column]
        if not 0 < threshold < 1:
            continue
        scores = timeline.scores[:, column]
        is_run = (scores >= threshold / (2 - threshold)) & np.logical_not(hidden)
        changes = np.flatnonzero(np.diff(is_run, prepend=False, append=False)).tolist()
        for first, last in zip(changes[::2], changes[1::2], strict=True):
            if about or scores[first:last].max() < 2 * threshold / (1 + threshold):
                runs.setdefault(column, []).append((float(edges[first]), float(edges[last])))
    found = []
    for start, end in union([*unknown, *(run for each in runs.values() for run in each)]):
        num_parts = max(1, math.ceil((end - start) / MAX_QUESTION_SECONDS - SAME_TIME_SECONDS))
        bounds = np.linspace(start, end, num_parts + 1).tolist()
        for part in itertools.pairwise(bounds):
            concerned = [column for column in columns if _meet(runs.get(column, ()), part)]
            found.append(_question(predictions, part, concerned, is_unknown=_meet(unknown, part)))
    return sorted(found, key=lambda item: (item.distance, item.start_seconds))


def _meet(intervals: Sequence[Interval], part: Interval) -> bool:
    return any(start < part[1] and part[0] < end for start, end in intervals)


def _question(
    predictions: VideoPredictions, part: Interval, columns: Sequence[int], *, is_unknown: bool
) -> Question:
    edges = predictions.timeline.edges_seconds
    first, last = np.searchsorted(edges[1:], part[0], "right"), np.searchsorted(edges, part[1])
    reasons = {"unlike the training videos": 0.0} if is_unknown else {}
    for column in columns:
        score = float(predictions.timeline.scores[first:last, column].max())
        threshold = predictions.thresholds[column]
        reason = f"{predictions.labels.names[column]} {score:.2f}, threshold {threshold:.2f}"
        reasons[reason] = abs(_log_odds(score) - _log_odds(threshold))
    return Question(
        *part, "; ".join(sorted(reasons, key=reasons.__getitem__)), min(reasons.values())
    )


def _log_odds(share: float) -> float:
    share = min(max(share, _LEAST_SCORE), 1 - _LEAST_SCORE)
    return math.log(share / (1 - share))


def frames_of(video: Video, question: Question, count: int) -> dict[float, bytes]:
    """JPEGs by their exact times in the file: up to ``count`` frames, evenly over the interval."""
    from PIL import Image

    length = question.end_seconds - question.start_seconds
    times = [question.start_seconds + (n + 0.5) * length / count for n in range(count)]
    found: dict[float, bytes] = {}
    for seconds, frame in video.stream_at(times):
        if seconds not in found:
            image, file = Image.fromarray(frame.transpose(1, 2, 0)), io.BytesIO()
            image.thumbnail((_LONG_SIDE_PIXELS, _LONG_SIDE_PIXELS))
            image.save(file, "JPEG", quality=_JPEG_QUALITY)
            found[seconds] = file.getvalue()
    return found


def prompt(question: Question, times_seconds: Sequence[float], labels: LabelSet) -> str:
    """What is asked; it says nothing of the small model's scores, which would lead the answer."""
    times = ", ".join(f"{seconds:.3f} s" for seconds in times_seconds)
    return (
        f"The pictures are {len(times_seconds)} frame(s) of a video, in order. They were taken at "
        f"these times after its start: {times}. They stand for the time from "
        f"{question.start_seconds:.3f} s to {question.end_seconds:.3f} s. Which of these actions "
        f"happen in it? {json.dumps(labels.prompts, ensure_ascii=False)}\n"
        'Answer with JSON only: {"labels": [the actions of this list that you see, written as they '
        'are in it; empty if there is none], "sentence": "what happens, in one sentence"}'
    )


def parse_answer(written: str, labels: LabelSet) -> tuple[tuple[str, ...], tuple[str, ...], str]:
    """Labels, names that are no labels, and the sentence; `NoAnswer` if there is no such JSON.

    The JSON may stand between other text, as models write it; the last one counts.
    """
    written, decoder = written[-_MAX_ANSWER_LETTERS:], json.JSONDecoder()
    found, place = None, 0
    while (place := written.find("{", place)) >= 0:
        try:
            value, end = decoder.raw_decode(written, place)
        except (ValueError, RecursionError):
            value, end = None, place + 1
        is_it = isinstance(value, dict) and "labels" in value
        found, place = (value, end) if is_it else (found, place + 1)
    names = found and found["labels"]
    names = [names] if isinstance(names, str) else names or []
    if found is None or not (isinstance(names, list) and all(isinstance(n, str) for n in names)):
        raise NoAnswer(f"not the JSON that was asked for: {one_line(written, 200) or 'no text'}")
    names = [name for name in names if folded(name) not in ("", "none") or name in labels]
    others = labels.unknown(names)
    sentence = found.get("sentence")
    return (
        labels.as_spelled(name for name in names if name not in others),
        tuple(one_line(name, 60) for name in dict.fromkeys(others))[:_NUM_UNLISTED],
        one_line(sentence, _MAX_LETTERS) if isinstance(sentence, str) else "",
    )


@dataclass
class Asking:
    """Asks, within a budget, until it is clear that nothing more will be answered.

    Attributes:
        num_frames: most pictures of a request.
        max_requests: sent in all, those that are tried again included.
        stopped: why no more requests are sent; empty while they are.
    """

    endpoint: Endpoint
    num_frames: int
    max_requests: int
    num_requests: int = 0
    stopped: str = ""
    _num_failures: int = 0

    @property
    def is_over(self) -> bool:
        """Whether nothing more is sent."""
        return bool(self.stopped) or self.num_requests >= self.max_requests

    def ask(self, video: Video, question: Question, labels: LabelSet) -> Answer | None:
        """The answer, or one that says why there is none; None where nothing more is sent."""
        if self.is_over:
            return None
        asked = self.unanswered(question)
        try:
            frames = frames_of(video, question, self.num_frames)
        except VideoError as error:
            return replace(asked, error=f"no frames: {error}")
        asked = replace(asked, frames_seconds=tuple(frames))
        text = prompt(question, asked.frames_seconds, labels)
        try:
            found, unlisted, sentence = parse_answer(self._send(text, (*frames.values(),)), labels)
        except NoAnswer as error:
            self._num_failures += 1
            if error.is_final:
                self.stopped = str(error)
            elif self._num_failures == _MAX_FAILURES_IN_A_ROW:
                self.stopped = f"{_MAX_FAILURES_IN_A_ROW} requests in a row failed: {error}"
            return replace(asked, error=str(error))
        self._num_failures = 0
        return replace(asked, labels=found, unlisted=unlisted, sentence=sentence)

    def unanswered(self, question: Question, error: str = "") -> Answer:
        """The entry of a question that nobody has answered."""
        times = question.start_seconds, question.end_seconds
        return Answer(*times, question.reason, self.endpoint.model, self.endpoint.url, error=error)

    def _send(self, text: str, jpegs: Sequence[bytes]) -> str:
        self.num_requests += 1
        try:
            return self.endpoint.answer(text, jpegs)
        except NoAnswer as error:
            if error.wait_seconds is None or self.num_requests >= self.max_requests:
                raise
            time.sleep(error.wait_seconds)
        self.num_requests += 1
        return self.endpoint.answer(text, jpegs)
