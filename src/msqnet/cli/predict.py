"""`msqnet predict`: actions over time in videos and folders of videos."""

from __future__ import annotations

import time
from collections import Counter
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, cast

from msqnet.cli.console import progress_bar, say, show_skipped
from msqnet.config import InferenceOptions
from msqnet.errors import ConfigError, MsqnetError, check, unexpected
from msqnet.style import format_time

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from msqnet.batch.runners import ResultsFolder
    from msqnet.cli.asking import Gate
    from msqnet.inference.predictor import Predictor
    from msqnet.inference.results import IndexRow, VideoJob
    from msqnet.predictions import Segment, VideoPredictions

_NUM_SHOWN_SEGMENTS = 40
_NUM_SHOWN_PEAKS = 3


def predict(
    videos: list[str],
    out: str | None = None,
    options: InferenceOptions = InferenceOptions(),  # noqa: B008 - frozen
    overlay: bool = False,
    figure: bool = False,
    overwrite: bool = False,
    list_skipped: bool = False,
    yes: bool = False,
    ask: str | None = None,
    ask_model: str | None = None,
    ask_about: list[str] | None = None,
    ask_frames: int = 8,
    max_requests: int = 20,
) -> int:
    """Recognise actions over time in videos and folders of videos.

    Args:
        videos: Video files (whatever their suffix), folders of videos (searched recursively),
            folders of frame images, and what else `msqnet batch run --inputs` takes.
        out: Folder for the results: for each video a .json with everything, a .csv with the
            segments and a .scores.parquet with every label over time, and for all of them
            index.csv and time_budget.csv, the seconds of every label.
            Results of an earlier run with the same model and settings are kept and not computed
            again. Without it, tables are printed and nothing is written.
        options: Which model, and how it predicts.
        overlay: Draw beside the results, where it is not there yet: the video with its scores under
            the picture (.overlay.mp4), and a GIF of it or of its best 20 seconds (.overlay.gif).
        figure: Draw beside the results, where it is not there yet, a figure of the scores over time
            (.timeline.png).
        overwrite: Replace existing results.
        list_skipped: List the files of folders that are no videos in index.csv.
        yes: Fetch the open model that scores words which the shipped model does not know, if it is
            not on this machine, without a question.
        ask: Ask a large model that takes pictures about the intervals where the scores are unsure:
            the address of an OpenAI-compatible endpoint, such as http://127.0.0.1:8000/v1. Frames
            of these intervals are sent there; answers stand beside the scores and change none. Its
            key, if it needs one, is read from the environment variable MSQNET_ASK_KEY.
        ask_model: Name of the model at that address.
        ask_about: Ask about all intervals of the labels that hold one of these words, in place of
            those that are unsure.
        ask_frames: Most pictures of an interval that are sent.
        max_requests: Most requests that are sent, those that are tried again included; the most
            unsure intervals go first. 0 sends nothing and says how many there are.

    Returns:
        0 if every video was predicted; 1 if any video failed, was only partly readable or could not
        be drawn, if its results exist from another model or other settings, or if a request failed.
    """
    from rich.console import Console

    from msqnet.batch.runners import ResultsFolder
    from msqnet.batch.work_list import find_jobs
    from msqnet.cli.open_words import choose_model
    from msqnet.inference.model_facts import known_provenance
    from msqnet.inference.predictor import Predictor
    from msqnet.inference.results import FIGURE_SUFFIX, OVERLAY_SUFFIXES

    skipped: list[str] = []
    jobs = find_jobs(videos, with_data_set=False, skipped=skipped)
    drawings = (FIGURE_SUFFIX,) * figure + OVERLAY_SUFFIXES * overlay
    _check_can_draw(out, jobs, figure=figure, overlay=overlay)
    gate = None
    if (ask, ask_model, ask_about) != (None, None, None):
        from msqnet.cli.asking import make_gate

        gate = make_gate(ask, ask_model, ask_about, ask_frames, max_requests, jobs)
    check(bool(out) or not list_skipped, "--list-skipped needs the folder of the index: --out")
    options = choose_model(options, yes=yes)
    results = None if out is None else ResultsFolder(Path(out), overwrite=overwrite)
    predictor = None
    if results is None or not results.has_all(jobs, partial(known_provenance, options)):
        predictor = Predictor.from_pretrained(options=options)
        if gate is not None:
            gate.check_words(predictor.backend.labels)
    show_skipped(skipped, results if list_skipped else None)
    return _predict_all(jobs, predictor, results, Console(), Console(stderr=True), drawings, gate)


def _check_can_draw(
    out: str | None, jobs: Sequence[VideoJob], *, figure: bool, overlay: bool
) -> None:
    from msqnet.batch.locations import local_path

    if out is None and (figure or overlay):
        option = "--overlay" if overlay else "--figure"
        raise ConfigError(f"{option} draws files beside the results; name their folder with --out")
    remote = [job.source for job in jobs if overlay and local_path(job.source) is None]
    if remote:
        raise ConfigError(f"{remote[0]}: --overlay draws local videos only; fetch it first")
    if figure:
        from msqnet.report.figures import check_can_draw_figures

        check_can_draw_figures()


def _predict_all(
    jobs: Sequence[VideoJob],
    predictor: Predictor | None,
    results: ResultsFolder | None,
    console: Console,
    errors: Console,
    drawings: Sequence[str] = (),
    gate: Gate | None = None,
) -> int:
    """Predict videos, and show what was found; None for a predictor where all have results.

    ``drawings`` are the suffixes of those that are asked for; ``gate`` asks a large model.
    """
    from msqnet.batch.runners import predict_into

    counts: Counter[str] = Counter()
    video_seconds = taken_seconds = 0.0
    for number, job in enumerate(jobs, start=1):
        started = time.perf_counter()
        with progress_bar(f"{number}/{len(jobs)} {job.name}", errors) as progress:
            show = partial(progress, total=1.0)
            if predictor is not None:
                row, predictions = predict_into(results, job, predictor, show)
            else:
                row, predictions = cast("ResultsFolder", results).record_outcome(job), None
        if predictions is not None:
            video_seconds += predictions.duration_seconds
            taken_seconds += time.perf_counter() - started
        counts[row.status] += 1
        _show(row, predictions, console, errors)
        if drawings and results and row.status != "error":
            is_drawn = _draw(job, row, predictions, results, drawings, console, errors)
            counts["not drawn"] += not is_drawn
        if gate is not None and row.status != "error":
            gate.add(job, predictions or cast("ResultsFolder", results).read(job))
    if results:
        _write_time_budget(results.folder)
    if gate is not None:
        counts["not answered"] += gate.ask(results, console, errors)
    if len(jobs) > 1 or results:
        summary = ", ".join(f"{counts[name]} {name}" for name in sorted(+counts))
        where = f"; results: {results.folder}, index: {results.index_path}" if results else ""
        say(console, f"{summary}{where}")
    if taken_seconds:
        rate = video_seconds / taken_seconds
        taken = f"{video_seconds:.1f} s of video in {taken_seconds:.1f} s"
        say(console, f"{taken}: {rate:.{1 if rate < 10 else 0}f} x real time")
    return int(any(counts[name] for name in ("error", "partial", "not drawn", "not answered")))


def _write_time_budget(folder: Path) -> None:
    """Of all results that are there, those of earlier runs too."""
    from msqnet.inference.results import TIME_BUDGET_FILE
    from msqnet.report.results_reader import read_videos
    from msqnet.report.time_budget import write_time_budget

    videos, _ = read_videos(folder)
    path = folder / TIME_BUDGET_FILE
    if videos:
        write_time_budget((video.predictions for video in videos), path)
    else:
        path.unlink(missing_ok=True)


def _draw(
    job: VideoJob,
    row: IndexRow,
    predictions: VideoPredictions | None,
    results: ResultsFolder,
    drawings: Sequence[str],
    console: Console,
    errors: Console,
) -> bool:
    """Draw what is missing of one video; its results stay whatever happens."""
    from msqnet.report.drawings import draw_missing, gif_interval

    problem = ""
    try:
        predictions = predictions or results.read(job)
        with progress_bar(f"drawing {job.name}", errors) as progress:
            show, stem = partial(progress, total=1.0), results.folder / job.name
            drawn = draw_missing(predictions, Path(job.source), stem, drawings, show)
        if drawn:
            say(console, f"drawn: {', '.join(path.name for path in drawn)}")
        (start, end), whole = gif_interval(predictions), predictions.duration_seconds
        if end - start < whole and any(path.suffix == ".gif" for path in drawn):
            part = f"{format_time(start)} to {format_time(end)} of {format_time(whole)}"
            say(console, f"the GIF shows {part}, around the highest score")
    except Exception as error:
        is_known = isinstance(error, (MsqnetError, OSError))
        problem = (str(error) or type(error).__name__) if is_known else unexpected(error, row.input)
        say(errors, f"msqnet: {row.input}: not drawn: {problem}")
    results.record_drawing(job, row, problem)
    return not problem


def _show(
    row: IndexRow, predictions: VideoPredictions | None, console: Console, errors: Console
) -> None:
    """Problems, and the segments of a video with its unknown time, or else its highest scores."""
    for text, kind in ((row.error, row.status), (row.note, "note")):
        if text:
            named = text if row.input in text else f"{row.input}: {text}"
            say(errors, f"msqnet: {kind}: {named}")
    if row.status == "exists":
        say(console, f"{row.input}: results exist; --overwrite computes them again")
    if predictions is not None:
        _show_segments(predictions, console)


def _show_segments(predictions: VideoPredictions, console: Console) -> None:
    from rich.table import Table
    from rich.text import Text

    from msqnet.models.open_models import PREFIX

    found: list[tuple[float, float, Segment | None]] = [
        (item.start_seconds, item.end_seconds, item) for item in predictions.segments
    ]
    found += [(start, end, None) for start, end in predictions.timeline.unknown_intervals]
    peaks = predictions.peaks(len(predictions.labels))
    withheld = [item for item in peaks if item.label in predictions.withheld]
    is_empty = not found
    if is_empty:
        chosen = [item for item in peaks if item not in withheld][:_NUM_SHOWN_PEAKS]
        found = [(item.start_seconds, item.end_seconds, item) for item in chosen]
    shown = sorted(found, key=lambda row: row[:2])[:_NUM_SHOWN_SEGMENTS]
    table = Table()
    for name in ("label", "start", "end", "score"):
        table.add_column(name, justify="left" if name == "label" else "right")
    for start, end, item in shown:
        label, score = (Text(item.label), f"{item.score:.2f}") if item else ("[dim]unknown[/]", "-")
        table.add_row(label, format_time(start), format_time(end), score)
    unknown_seconds = sum(end - start for start, end in predictions.timeline.unknown_intervals)
    actors = ""
    if 2 * unknown_seconds <= predictions.duration_seconds:  # else they are those of few windows
        actors = "".join(f", {name} {share:.0%}" for name, share in predictions.actors.items())
    say(console, f"{predictions.path} ({format_time(predictions.duration_seconds)}{actors})")
    if shown:
        console.print(table)
    limits = dict(zip(predictions.labels, predictions.thresholds, strict=True))
    hidden = [item for item in withheld if item.score >= limits[item.label]]
    if hidden and not predictions.timeline.unknown_intervals:  # whose scores mean nothing
        listed = ", ".join(f"{item.label} ({item.score:.2f})" for item in hidden)
        say(console, f"not reported without --include-weak: {listed}")
    if is_empty:
        which = "no other label" if hidden else "no label"
        ending = "; the highest scores are shown" if shown else ""
        say(console, f"{which} reaches its threshold{ending}")
        model = predictions.provenance.get("model", {})
        if str(model.get("name", "")).startswith(PREFIX) and "contrast" not in model:
            say(
                console,
                "open models seldom give high scores; try --contrast default, or choose "
                "--threshold by the scores above",
            )
    elif len(found) > len(shown):
        say(console, f"and {len(found) - len(shown)} more segments; --out DIR writes all of them")
