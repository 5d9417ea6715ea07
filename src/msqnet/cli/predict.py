"""`msqnet predict`: actions over time in videos and folders of videos."""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from msqnet.config import SegmentConfig, WindowConfig
from msqnet.errors import ConfigError, MsqnetError
from msqnet.labels import split_labels
from msqnet.report.style import format_time, printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from rich.console import Console

    from msqnet.inference.predictor import Predictor
    from msqnet.inference.results_folder import IndexRow, ResultsFolder, VideoInput
    from msqnet.predictions import VideoPredictions

_NUM_SHOWN_SEGMENTS = 40
_NUM_SHOWN_PEAKS = 3


def predict(
    videos: list[str],
    out: str | None = None,
    model: str | None = None,
    labels: str | None = None,
    label_table: str | None = None,
    window_seconds: float | None = WindowConfig.window_seconds,
    stride_seconds: float | None = WindowConfig.stride_seconds,
    batch_size: int = WindowConfig.batch_size,
    threshold: float | None = SegmentConfig.threshold,
    min_duration_seconds: float = SegmentConfig.min_duration_seconds,
    max_gap_seconds: float = SegmentConfig.max_gap_seconds,
    device: str = "auto",
    runtime: Literal["auto", "torch", "onnxruntime", "openvino"] = "auto",
    precision: Literal["fp32", "bf16"] = "fp32",
    overlay: bool = False,
    overwrite: bool = False,
) -> int:
    """Recognise actions over time in videos and folders of videos.

    Args:
        videos: Video files (whatever their suffix), folders of videos (searched recursively) and
            folders of frame images.
        out: Folder for the results: for each video a .json with everything, a .csv with the
            segments and a .scores.parquet with every label over time, and index.csv for all.
            Results of an earlier run with the same model and settings are kept and not computed
            again. Without it, tables are printed and nothing is written.
        model: A finished model: a folder, also one that `msqnet export` wrote, a Hugging Face Hub
            id, or a name listed by `msqnet models`. By default the model that comes with msqnet.
            `clip-zero-shot:ID_OR_FOLDER` asks a CLIP or SigLIP without any training.
        labels: What to look for, `walking|two animals fighting`: any text for an open-vocabulary
            model and for clip-zero-shot, some of its own labels for any other. By default all
            labels of the model.
        label_table: CSV with the columns name, description, synonyms of the labels asked for, for
            models that were trained with descriptions or synonyms.
        window_seconds: Length of a window; by default the length the model was trained on.
        stride_seconds: Time from one window's start to the next one's; by default about half a
            window, such that overlapping windows share frames.
        batch_size: Windows scored at a time.
        threshold: Score from 0 to 1 from which an action counts as present; by default the model's
            own threshold of each label.
        min_duration_seconds: Shorter segments are dropped.
        max_gap_seconds: Gaps of one label up to this length are closed.
        device: auto, cpu, cuda, cuda:1, mps, ...
        runtime: What computes the scores: `torch` for models, `onnxruntime` or `openvino` for what
            `msqnet export` wrote, on the CPU; `auto` chooses by the folder.
        precision: Numbers of matrix products: `fp32`, or `bf16` on NVIDIA's GPUs since Ampere and
            on CPUs with AVX512-BF16 or AMX: faster for large models, with slightly other scores.
        overlay: Draw beside the results, where it is not there yet: the video with its scores under
            the picture (.overlay.mp4), a GIF of it or of its best 20 seconds (.overlay.gif), and a
            figure of the scores over time (.timeline.png).
        overwrite: Replace existing results.

    Returns:
        0 if every video is answered; 1 if one could not be read, or only in part, or not be drawn,
        or if its results exist from another model or other settings.
    """
    from rich.console import Console

    from msqnet.inference.predictor import Predictor
    from msqnet.inference.results_folder import ResultsFolder, find_videos

    window = WindowConfig(window_seconds, stride_seconds, batch_size)
    segments = SegmentConfig(threshold, min_duration_seconds, max_gap_seconds)
    if overlay:
        _check_can_draw(out)
    inputs = find_videos([Path(video) for video in videos])
    results = None if out is None else ResultsFolder(Path(out), overwrite=overwrite)
    if results:
        results.check(inputs)
    chosen = None if labels is None else split_labels(labels)
    predictor = Predictor.from_pretrained(
        model,
        labels=chosen,
        label_table=label_table,
        device=device,
        window=window,
        segments=segments,
        runtime=runtime,
        precision=precision,
    )
    return _predict_all(
        inputs, predictor, results, Console(), Console(stderr=True), overlay=overlay
    )


def _check_can_draw(out: str | None) -> None:
    from msqnet.report.drawings import check_can_draw

    if out is None:
        raise ConfigError("--overlay draws files beside the results; name their folder with --out")
    check_can_draw()


def _predict_all(
    inputs: Sequence[VideoInput],
    predictor: Predictor,
    results: ResultsFolder | None,
    console: Console,
    errors: Console,
    *,
    overlay: bool = False,
) -> int:
    counts: Counter[str] = Counter()
    video_seconds = taken_seconds = 0.0
    for number, video in enumerate(inputs, start=1):
        title = f"{number}/{len(inputs)} {video.name}"
        started = time.perf_counter()
        row, predictions = _predict_one(video, predictor, results, errors, title)
        if predictions is not None:
            video_seconds += predictions.duration_seconds
            taken_seconds += time.perf_counter() - started
        counts[row.status] += 1
        _show(row, predictions, console, errors)
        if overlay and results and row.status != "error":
            is_drawn = _draw(video, row, predictions, results, console, errors)
            counts["not drawn"] += not is_drawn
    if len(inputs) > 1 or results:
        summary = ", ".join(f"{counts[name]} {name}" for name in sorted(+counts))
        where = f"; results: {results.folder}, index: {results.index_path}" if results else ""
        console.print(printable(f"{summary}{where}"), soft_wrap=True, highlight=False, markup=False)
    if taken_seconds:
        rate = video_seconds / taken_seconds
        taken = f"{video_seconds:.1f} s of video in {taken_seconds:.1f} s"
        _say(console, f"{taken}: {rate:.{1 if rate < 10 else 0}f} x real time")
    return 1 if counts["error"] or counts["partial"] or counts["not drawn"] else 0


def _predict_one(
    video: VideoInput,
    predictor: Predictor,
    results: ResultsFolder | None,
    errors: Console,
    title: str,
) -> tuple[IndexRow, VideoPredictions | None]:
    from msqnet.inference.results_folder import predict_into

    with _bar(errors, title) as progress:
        return predict_into(results, video, predictor, progress)


def _draw(
    video: VideoInput,
    row: IndexRow,
    predictions: VideoPredictions | None,
    results: ResultsFolder,
    console: Console,
    errors: Console,
) -> bool:
    """Draw what is missing of one video; its results stay whatever happens."""
    from msqnet.report.drawings import draw_missing

    try:
        predictions = predictions or results.read(video)
        with _bar(errors, f"drawing {video.name}") as progress:
            drawn = draw_missing(predictions, video.path, results.stem(video), progress)
    except (MsqnetError, OSError) as error:
        problem = str(error) or type(error).__name__
        results.record_drawing(video, row, problem)
        _say(errors, f"msqnet: {row.input}: not drawn: {problem}")
        return False
    results.record_drawing(video, row)
    if drawn:
        _show_drawn(drawn, predictions, console)
    return True


def _show_drawn(drawn: Sequence[Path], predictions: VideoPredictions, console: Console) -> None:
    from msqnet.report.drawings import gif_interval

    _say(console, f"drawn: {', '.join(path.name for path in drawn)}")
    start, end = gif_interval(predictions)
    if end - start < predictions.duration_seconds and any(path.suffix == ".gif" for path in drawn):
        _say(
            console,
            f"the GIF shows {format_time(start)} to {format_time(end)} "
            f"of {format_time(predictions.duration_seconds)}, around the highest score",
        )


@contextlib.contextmanager
def _bar(errors: Console, title: str) -> Iterator[Callable[[float], None]]:
    """One bar for each video, gone before its table is printed, which may go to another stream."""
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn
    from rich.progress import TimeRemainingColumn as Remaining

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TaskProgressColumn(),
        Remaining(),
    )
    bar = Progress(
        *columns,
        console=errors,
        transient=True,
        disable=not errors.is_terminal,
        redirect_stdout=False,
        redirect_stderr=False,
    )
    with bar:
        task = bar.add_task(printable(title), total=1.0)
        yield lambda share: bar.update(task, completed=share)


def _show(
    row: IndexRow, predictions: VideoPredictions | None, console: Console, errors: Console
) -> None:
    if row.error:
        text = row.error if row.input in row.error else f"{row.input}: {row.error}"
        _say(errors, f"msqnet: {'note' if row.status == 'ok' else row.status}: {text}")
    if row.status == "exists":
        _say(console, f"{row.input}: results exist; --overwrite computes them again")
    if predictions is not None:
        _show_segments(predictions, console)


def _show_segments(predictions: VideoPredictions, console: Console) -> None:
    """Segments of a video, or its highest labels where there is no segment."""
    from rich.table import Table
    from rich.text import Text

    shown = predictions.segments[:_NUM_SHOWN_SEGMENTS] or predictions.peaks(_NUM_SHOWN_PEAKS)
    table = Table()
    for name in ("label", "start", "end", "score"):
        table.add_column(name, justify="left" if name == "label" else "right")
    for item in shown:
        start, end = format_time(item.start_seconds), format_time(item.end_seconds)
        table.add_row(Text(item.label), start, end, f"{item.score:.2f}")
    _say(console, f"{predictions.path} ({format_time(predictions.duration_seconds)})")
    console.print(table)
    if not predictions.segments:
        _say(console, "no label reaches its threshold; the highest scores are shown")
    elif len(predictions.segments) > len(shown):
        num_left = len(predictions.segments) - len(shown)
        _say(console, f"and {num_left} more segments; --out DIR writes all of them")


def _say(console: Console, text: str) -> None:
    console.print(printable(text), soft_wrap=True, highlight=False, markup=False)
