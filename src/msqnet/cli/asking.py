"""`msqnet predict --ask`: what is sent to a large model, and what it answered."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from msqnet.batch.locations import local_path
from msqnet.cli.console import progress_bar, say
from msqnet.errors import ConfigError, VideoError, check
from msqnet.inference.asking import SHORT_SIDE_PIXELS, Asking, find_questions, labels_about
from msqnet.inference.endpoint import Endpoint
from msqnet.style import counted
from msqnet.video.reader import open_video

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.console import Console

    from msqnet.answers import Answer
    from msqnet.batch.runners import ResultsFolder
    from msqnet.inference.asking import Question
    from msqnet.inference.results import VideoJob
    from msqnet.labels import LabelSet
    from msqnet.predictions import VideoPredictions

MAX_FRAMES = 32


@dataclass(frozen=True)
class _Open:
    """The questions about one video; frames of folders of images have the rate ``fps``."""

    job: VideoJob
    labels: LabelSet
    fps: float | None
    questions: list[Question]


@dataclass
class Gate:
    """Gathers questions while videos are predicted, and asks those that the budget allows.

    Attributes:
        words: of labels to ask about; none for what is unsure.
    """

    asking: Asking
    words: Sequence[str] = ()
    _open: list[_Open] = field(default_factory=list)

    def check_words(self, labels: LabelSet) -> tuple[str, ...]:
        """The labels that are asked about; `VocabularyError` for a word that is in none."""
        return labels_about(labels, self.words)

    def add(self, job: VideoJob, predictions: VideoPredictions) -> None:
        """Find what to ask about a video; questions that were answered before are left out."""
        labels = predictions.labels
        answered = {item.question for item in predictions.answers if not item.error}
        found = [
            question
            for question in find_questions(predictions, self.check_words(labels))
            if self.asking.unanswered(question).question not in answered
        ]
        if found:
            self._open.append(_Open(job, labels, predictions.fps, found))

    def ask(self, results: ResultsFolder | None, console: Console, errors: Console) -> int:
        """Ask, print and store answers, the questions of a video together; counts failures.

        The budget goes to those of all videos that are most unsure. What was answered before an
        interruption is stored.
        """
        asking = self.asking
        ranked = [
            (q.distance, number, q) for number, v in enumerate(self._open) for q in v.questions
        ]
        ranked.sort(key=lambda item: item[:2])
        chosen = {(number, q) for _, number, q in ranked[: asking.max_requests]}
        self._announce(len(chosen), len(ranked), errors)
        num_done = num_failed = 0
        for number, video in enumerate(self._open):
            questions = [question for question in video.questions if (number, question) in chosen]
            answers: list[Answer] = []
            try:
                with progress_bar(f"asking about {video.job.name}", errors) as progress:
                    for answer in self._answers(video, questions):
                        answers.append(answer)
                        progress(len(answers), len(questions))
            finally:
                if results and answers:
                    results.add_answers(video.job, answers)
            for answer in answers:
                say(console, f"{video.job.source}: {answer.text}")
            num_done += len(answers)
            num_failed += sum(bool(answer.error) for answer in answers)
        if num_done < len(chosen):
            why = asking.stopped or f"--max-requests {asking.max_requests} are sent"
            say(errors, f"msqnet: --ask: {len(chosen) - num_done} not asked any more: {why}")
        elif num_failed:
            say(errors, f"msqnet: --ask: no answer about {num_failed} of {num_done} intervals")
        return num_failed

    def _answers(self, video: _Open, questions: Sequence[Question]) -> Iterator[Answer]:
        waiting = sorted(questions, key=lambda question: question.start_seconds)
        if not waiting or self.asking.is_over:
            return
        path = local_path(video.job.source) or video.job.source
        try:
            with open_video(path, short_side_pixels=SHORT_SIDE_PIXELS, fps=video.fps) as frames:
                while waiting:
                    answer = self.asking.ask(frames, waiting[0], video.labels)
                    if answer is None:
                        return
                    del waiting[0]
                    yield answer
        except (VideoError, OSError) as error:
            yield from (self.asking.unanswered(item, f"no frames: {error}") for item in waiting)

    def _announce(self, num_chosen: int, num_found: int, errors: Console) -> None:
        asking, endpoint = self.asking, self.asking.endpoint
        if not num_found:
            say(errors, "msqnet: --ask: nothing to ask about; nothing is sent")
            return
        if not num_chosen:
            found = counted(num_found, "interval")
            say(errors, f"msqnet: --ask: {found} to ask about; nothing is sent")
            return
        where = "on this machine" if endpoint.is_local else "on another machine"
        where += "" if endpoint.is_local or endpoint.is_encrypted else ", unencrypted"
        say(
            errors,
            f"msqnet: --ask: frames of {num_chosen} of {num_found} intervals go to {endpoint.url} "
            f"({where}), model {endpoint.model}: up to {asking.num_frames} pictures each, at most "
            f"{asking.max_requests} requests (--max-requests)",
        )


def make_gate(
    url: str | None,
    model: str | None,
    about: list[str] | None,
    num_frames: int,
    max_requests: int,
    jobs: Sequence[VideoJob],
) -> Gate | None:
    """The gate of the options of `msqnet predict`; None without ``--ask``.

    `ConfigError` for options that cannot work, before anything is predicted.
    """
    if url is None:
        for name, value in (("--ask-model", model), ("--ask-about", about)):
            check(value is None, f"{name} is for --ask; name the address of the model with --ask")
        return None
    if model is None:
        raise ConfigError("--ask needs --ask-model: the name of the model at that address")
    check(max_requests >= 0, f"--max-requests {max_requests}: expected 0 or more")
    check(1 <= num_frames <= MAX_FRAMES, f"--ask-frames {num_frames}: expected 1 to {MAX_FRAMES}")
    remote = [job.source for job in jobs if local_path(job.source) is None]
    if remote:
        raise ConfigError(f"{remote[0]}: --ask takes frames of local videos only; fetch it first")
    return Gate(Asking(Endpoint.of_user(url, model), num_frames, max_requests), about or ())
