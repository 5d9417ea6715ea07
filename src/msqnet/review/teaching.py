"""Teaching the model a label of the project from what a person annotated, and proposing it.

Examples that show the label are its accepted segments; examples that lack it are the time in which
it is known to be absent. Both are in the project, so that nothing is lost between two steps.
"""

from __future__ import annotations

import json
import math
import shutil
from itertools import chain, zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from msqnet.errors import check
from msqnet.intervals import SAME_TIME_SECONDS, subtract, union
from msqnet.labels import LabelSet, folded
from msqnet.models import closed_labels, model_folder
from msqnet.models.taught import TaughtLabels, taught_names
from msqnet.review.export import POINT_SECONDS
from msqnet.review.items import Segment, State, known_intervals
from msqnet.review.project import Label, with_keys
from msqnet.review.sources import of_results
from msqnet.review.tasks import Task, model_of, new_folder, set_taught_folders, taught_folders

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from msqnet.intervals import Interval
    from msqnet.review.items import Mark
    from msqnet.review.project import Project, Video

MAX_EXAMPLES = 20
"""Of each kind; what `msqnet teach` is made for, and somebody waits."""
_MIN_ABSENT_SECONDS = 1.0
"""Shorter spans without the label are left out: their windows would show what lies around them."""
_LAST_ID = 2**62  # after all others: what is made now settles what was open before
_LESSONS = "lessons"


class Span(NamedTuple):
    """A part of a video, in seconds; without an end, all of a video."""

    video: Video
    start: float
    end: float | None

    @property
    def as_example(self) -> str:
        """As `msqnet teach` takes it."""
        if self.end is None:
            return str(self.video.path)
        return f"{self.video.path}@{self.start:.3f}-{self.end:.3f}"

    def as_json(self) -> dict[str, Any]:
        """What the page shows."""
        return {"video": self.video.name, "start": self.start, "end": self.end}


class Examples(NamedTuple):
    """What a label is learned from: at most `MAX_EXAMPLES` of each kind, of many videos."""

    positives: tuple[Span, ...]
    negatives: tuple[Span, ...]

    @classmethod
    def of(
        cls, project: Project, label: str, number: int = 0, more: Sequence[Segment | Mark] = ()
    ) -> Examples:
        """Those of a label of a project, in videos that are there.

        ``more`` are counted as changes of the video with an id, which are not made.
        """
        changed = {item.id for item in more}
        new = [item.model_copy(update={"id": item.id or _LAST_ID}) for item in more]
        shows, lacks = [], []
        for video in project.videos():
            items: Sequence[Segment | Mark] = project.items(video.id)
            if video.id == number:
                items = [*(item for item in items if item.id not in changed), *new]
            if not items or not video.path.exists():
                continue
            held = union(
                _around(item, video)
                for item in items
                if isinstance(item, Segment)
                and (item.state, item.label) == (State.ACCEPTED, label)
                and item.end is not None
            )
            shows.append([Span(video, *interval) for interval in held])
            absent = subtract(known_intervals(items, label), held)
            lacks.append([found for span in absent if (found := _absent(video, span)) is not None])
        return cls(_of_many_videos(shows), _of_many_videos(lacks))


def _around(item: Segment, video: Video) -> Interval:
    """Where a segment is; a point stands for the time around it."""
    start, end = item.interval
    if end - start > SAME_TIME_SECONDS:
        return start, end
    last = math.inf if video.duration_seconds is None else video.duration_seconds
    return max(0.0, start - POINT_SECONDS / 2), min(end + POINT_SECONDS / 2, last)


def _absent(video: Video, span: Interval) -> Span | None:
    start, end = span
    if video.duration_seconds is not None:
        end = min(end, video.duration_seconds)
    if end - start < _MIN_ABSENT_SECONDS or (math.isinf(end) and start):
        return None
    return Span(video, start, None if math.isinf(end) else end)


def _of_many_videos(spans: Iterable[Sequence[Span]]) -> tuple[Span, ...]:
    """At most `MAX_EXAMPLES`: the first of every video, then the second, and so on."""
    taken = [item for item in chain.from_iterable(zip_longest(*spans)) if item is not None]
    return tuple(sorted(taken[:MAX_EXAMPLES], key=lambda span: (span.video.id, span.start)))


def check_name(project: Project, label: str) -> None:
    """Refuse with a `ConfigError` what the project or its model has in another spelling, or knows.

    A label that the model was taught may be taught anew.
    """
    (label,) = LabelSet((label,)).names
    check_spelling(label, [item.name for item in project.labels()], "this project")
    model = model_of(project)
    folder = model_folder(model)
    own = closed_labels(folder) or LabelSet(())
    check_spelling(label, own.names, "the model")
    check(
        label not in own or label in taught_names(folder),
        f"the model knows {label!r} already: correct its proposals and retrain, or choose another "
        "name",
    )


def check_spelling(label: str, known: Iterable[str], owner: str) -> None:
    """Refuse with a `ConfigError` a label of which another spelling is known."""
    for name in known:
        check(
            name == label or folded(name) != folded(label),
            f"{owner} has a label {name!r}, which differs from {label!r} in spelling alone; "
            "take that one, or choose another name",
        )


def teach_task(project: Project, label: str) -> Task:
    """Teach the model in use a label; then propose it in all videos.

    Once it is taught, the label is in the project, and the new model is the one in use, whatever
    becomes of the proposals.

    Raises:
        ConfigError: see `check_name`; nothing shows the label.
    """
    check_name(project, label)
    examples = Examples.of(project, label)
    check(
        bool(examples.positives),
        f"no accepted segment shows {label!r} in a video that is there; select some segments, or "
        "annotate it first",
    )
    model, folder = model_of(project), new_folder(project.folder / "models")
    results = new_folder(project.folder / "results")
    command = ["teach", f"--label={label}", "--replace", "--model", model, "--out", str(folder)]
    command += ["--positive", *(span.as_example for span in examples.positives)]
    if examples.negatives:
        command += ["--negative", *(span.as_example for span in examples.negatives)]
    videos = [str(video.path) for video in project.videos() if video.path.exists()]
    predict = ["predict", *videos, "--model", str(folder), "--include-weak", "--out", str(results)]

    def taught() -> None:
        names = {item.name for item in project.labels()}
        if label not in names:
            project.set_labels(with_keys((*project.labels(), Label(label)), first=names))
        project.set_fact("model", str(folder))
        set_taught_folders(project, [*taught_folders(project), folder])
        project.set_fact(_LESSONS, json.dumps(lessons(project) | {label: _lesson(folder, label)}))

    def proposed() -> dict[str, Any]:
        found = {"num_proposals": propose(project, label, results)}
        remove_superseded(project)
        return found

    title = f"Teaching {label!r} and looking for it"
    return Task(title, [command, predict], proposed, may_fail=True, after_first=taught)


def remove_superseded(project: Project) -> None:
    """Remove models that were taught here and that nothing names any more.

    The newest one stays, and those that the project uses or starts from. Models that were trained,
    or named by the user, are not among them. Results hold their scores and open no model.
    """
    folders = taught_folders(project)
    facts = (project.fact(name) for name in ("model", "start", "trained_model"))
    kept = {Path(name).resolve() for name in facts if name}
    for folder in folders[:-1]:
        if folder.resolve() not in kept:
            shutil.rmtree(folder, ignore_errors=True)
    set_taught_folders(project, [folder for folder in folders if folder.exists()])


def _lesson(folder: Path, label: str) -> dict[str, Any]:
    """What held-out examples say of a taught label."""
    found = TaughtLabels.load(folder)
    known = {} if found is None else {item["label"]: item for item in found.about}
    about = known[label]
    return {
        "status": about["evidence"]["status"],
        "reason": about["evidence"]["reason"],
        "held_out": about["held_out"],
        "ap": about["ap_among_training"],
        **{f"num_{kind}": len(spans) for kind, spans in about["examples"].items()},
    }


def lessons(project: Project) -> dict[str, dict[str, Any]]:
    """What is known of the labels that were taught in a project, by label."""
    found: dict[str, dict[str, Any]] = json.loads(project.fact(_LESSONS) or "{}")
    return found


def propose(project: Project, label: str, results: Path) -> int:
    """Make segments of a label in results proposals, where nobody knows whether it is there.

    They take the place of open ones of that label; nothing else of a video changes. Scores are
    taken where they are of all labels that were shown before. Returns the number of proposals.
    """
    known = {video.path: video for video in project.videos()}
    number = 0
    for found in of_results(results, None).videos:
        video = known.get(found.path)
        if video is None:
            continue
        settled = known_intervals(project.items(video.id), label)
        new = [
            item
            for item in found.items
            if isinstance(item, Segment)
            and item.label == label
            and subtract([item.interval], settled) == [item.interval]
        ]
        has_all = _labels(video.result) <= _labels(found.result)
        project.replace_proposals(video.id, label, new, found.result if has_all else video.result)
        number += len(new)
    return number


def _labels(result: str) -> set[str]:
    """The labels of a result; none where there is none, or it cannot be read."""
    try:
        return set(json.loads(Path(result).read_text("ascii"))["labels"])
    except (OSError, ValueError, KeyError, TypeError):
        return set()
