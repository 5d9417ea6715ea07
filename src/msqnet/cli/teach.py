"""`msqnet teach`: a further label from a few examples."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

from msqnet.cli.console import progress_bar, say, shown
from msqnet.style import counted

if TYPE_CHECKING:
    from msqnet.training.teaching import Lesson


def teach(
    label: str,
    positive: list[str],
    out: str,
    negative: list[str] | None = None,
    model: str | None = None,
    replace: bool = False,
    overwrite: bool = False,
    device: str = "auto",
) -> int:
    """Teach a finished model one more label from 1 to 20 examples, in seconds.

    An example is a video, or a span of it: `clip.mp4@3-5` is what it shows from second 3 to 5; with
    minutes, `clip.mp4@1:05-1:12`. Examples of several videos, and negative ones that look alike,
    help most. The scores of the model's other labels do not change.

    Args:
        label: Name of the label.
        positive: Examples that show it.
        out: Folder for the new model.
        negative: Examples that lack it: the same place, the same animals or people, without the
            action. Without any, the label is told from the videos that the model was trained on,
            and its status is at most weak.
        model: A finished model: a folder, also one that was taught a label or that `msqnet export`
            wrote, or a name listed by `msqnet models`. By default the model that comes with msqnet.
        replace: Teach a label anew that the model has.
        overwrite: Replace the model in `--out`, which may be `--model` itself.
        device: auto, cpu, cuda, cuda:1, mps, ...
    """
    from rich.console import Console

    from msqnet.training.examples import Example
    from msqnet.training.teaching import teach as taught

    started = time.perf_counter()
    with progress_bar("examples") as progress:
        lesson = taught(
            label,
            [Example.parse(text) for text in positive],
            [Example.parse(text) for text in negative or ()],
            Path(out),
            model=model,
            device=device,
            replaces=replace,
            overwrite=overwrite,
            progress=progress,
        )
    console = Console()
    for line in _lines(lesson, len(positive), len(negative or ())):
        say(console, line)
    say(console, f"written: {out}, in {time.perf_counter() - started:.1f} s")
    return 0


def _lines(lesson: Lesson, num_positive: int, num_negative: int) -> list[str]:
    evidence = lesson.evidence
    lines = [
        f"{lesson.label}: {counted(num_positive, 'positive example')} "
        f"({counted(lesson.num_positive_windows, 'window')}), "
        f"{counted(num_negative, 'negative one')} "
        f"({counted(lesson.num_negative_windows, 'window')}), beside "
        f"{counted(lesson.num_background, 'window')} of the model's training"
    ]
    if lesson.held_out:
        lines.append(
            f"each {lesson.held_out} held out once: AP {shown(lesson.ap_among_training)} among "
            "negative examples and training windows"
        )
    if evidence.ap is not None:
        lines.append(
            f"among negative examples alone: AP {shown(evidence.ap)} (lower bound "
            f"{shown(evidence.ap_low)}, chance {shown(evidence.chance)})"
        )
    lines.append(f"threshold: {lesson.threshold_rule}")
    reason = f": {evidence.reason}" if evidence.reason else ""
    lines.append(f"status: {evidence.status}{reason}")
    if evidence.status != "reliable":
        lines.append("in no segment by default: msqnet predict --include-weak shows it")
    return lines
