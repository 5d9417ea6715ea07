"""`msqnet suggest`: which stretches of videos to label next."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from msqnet.config import WindowConfig
from msqnet.errors import ConfigError, VideoError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from msqnet.inference.predictor import Predictor
    from msqnet.inference.results_folder import VideoInput
    from msqnet.inference.suggested_windows import LookedAt, SuggestedWindow

_NUM_SHOWN = 10
_SUFFIXES = {"table": ".csv", "boris": ".boris", "label_studio": ".json"}


def suggest(
    videos: list[str],
    out: str,
    model: str | None = None,
    n: int = 50,
    format: Literal["table", "boris", "label_studio"] = "table",
    window_seconds: float | None = WindowConfig.window_seconds,
    known: str | None = None,
    batch_size: int = WindowConfig.batch_size,
    device: str = "auto",
    overwrite: bool = False,
) -> int:
    """Suggest stretches of videos to label next, of which the model is least sure.

    Of windows that look alike, one is taken: the one of whose labels the model is least sure.

    Args:
        videos: Video files, folders of videos (searched recursively), folders of frame images.
        out: The file to write, the most instructive window first. Its suffix is that of the format:
            .csv, .boris or .json.
        model: A finished model: a folder, a Hugging Face Hub id, or a name listed by
            `msqnet models`. By default the model that comes with msqnet.
        n: How many windows to suggest.
        format: `table` has an empty column `labels` to fill in, and is read by `msqnet check` and
            `msqnet train`. `boris` is a project with one observation a window, `label_studio`
            one task a window; `msqnet convert` makes a table of either once it is labelled.
        window_seconds: Length of a window; by default the length the model was trained on. Windows
            do not overlap.
        known: Table of clips that are labelled already: these windows are not suggested, nor what
            looks like them.
        batch_size: Windows looked at at a time.
        device: auto, cpu, cuda, cuda:1, mps, ...
        overwrite: Replace an existing file.

    Returns:
        0 if every video was looked at; 1 if one could not be read.
    """
    from rich.console import Console

    from msqnet.data.table import read_table
    from msqnet.inference.predictor import Predictor
    from msqnet.inference.results_folder import find_videos
    from msqnet.inference.suggested_windows import suggest_windows, write_suggestions

    path = Path(out)
    _check(path, n, _SUFFIXES[format], overwrite=overwrite)
    inputs = find_videos([Path(video) for video in videos])
    rows = () if known is None else read_table(known).records
    predictor = _without_overlap(
        Predictor.from_pretrained(model, device=device), window_seconds, batch_size
    )
    console, errors = Console(), Console(stderr=True)
    looked = _look(inputs, predictor, errors)
    if not looked:
        raise VideoError(f"none of {len(inputs)} videos can be read")
    windows = suggest_windows(looked, n, rows)
    if format == "table":
        write_suggestions(windows, path)
    else:
        _write_tasks(windows, predictor, format, path)
    _show(console, windows, num_videos=len(looked))
    console.print(f"written: {path}", soft_wrap=True, highlight=False)
    return 0 if len(looked) == len(inputs) else 1


def _check(path: Path, n: int, suffix: str, *, overwrite: bool) -> None:
    if n < 1:
        raise ConfigError(f"n {n}: expected at least 1")
    if path.suffix.lower() != suffix:
        raise ConfigError(f"{path}: expected a file that ends in {suffix}, as --format has it")
    if path.exists() and not overwrite:
        raise ConfigError(
            f"{path} exists, and may hold labels by now; name another file with --out, or replace "
            "it with --overwrite"
        )


def _without_overlap(
    predictor: Predictor, window_seconds: float | None, batch_size: int
) -> Predictor:
    length = window_seconds or predictor.backend.window_seconds
    return type(predictor)(predictor.backend, WindowConfig(length, length, batch_size))


def _look(inputs: Sequence[VideoInput], predictor: Predictor, errors: Console) -> list[LookedAt]:
    """Every video that can be read; the others are named."""
    from rich.progress import Progress

    from msqnet.inference.suggested_windows import LookedAt

    looked = []
    with Progress(console=errors, transient=True) as bars:
        bar = bars.add_task("videos", total=len(inputs))
        for video in inputs:
            try:
                predictions, embeddings = predictor.with_embeddings(video.path)
                looked.append(LookedAt(video.path, predictions, embeddings))
            except VideoError as error:
                bars.console.print(f"msqnet: left out: {error}", soft_wrap=True, markup=False)
            bars.advance(bar)
    return looked


def _write_tasks(
    windows: Sequence[SuggestedWindow], predictor: Predictor, format: str, path: Path
) -> None:
    """A file of an annotation tool in which each window is something to be looked at.

    What was looked at is the window alone: elsewhere in the video everything stays unknown.
    """
    from msqnet.formats import load_format
    from msqnet.formats.annotations import AnnotatedVideo, Annotations, Event

    def hints(window: SuggestedWindow) -> tuple[Event, ...]:
        """The likeliest label over the window, where a tool shows that as a model's guess."""
        if format != "label_studio":
            return ()
        (label, score), *_ = window.likely
        return (Event(label, window.start_seconds, window.end_seconds, score=score),)

    tasks = tuple(
        AnnotatedVideo(
            window.path.resolve(),
            hints(window),
            observed=((window.start_seconds, window.end_seconds),),
        )
        for window in windows
    )
    name = str(predictor.backend.provenance.get("name", ""))
    annotations = Annotations(tasks, predictor.backend.labels, model=name)
    write = load_format(format).write
    if write is None:
        raise ConfigError(f"format {format!r}: can only be read")
    path.parent.mkdir(parents=True, exist_ok=True)
    write(annotations, path, {})


def _show(console: Console, windows: Sequence[SuggestedWindow], num_videos: int) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table(title=f"{len(windows)} windows of {num_videos} videos")
    for heading in ("video", "start", "end", "uncertainty", "likely"):
        is_text = heading in ("video", "likely")
        table.add_column(heading, justify="left" if is_text else "right")
    for window in windows[:_NUM_SHOWN]:
        likely = ", ".join(f"{name} {score:.2f}" for name, score in window.likely)
        table.add_row(
            Text(window.path.name),
            f"{window.start_seconds:.2f}",
            f"{window.end_seconds:.2f}",
            f"{window.uncertainty:.3f}",
            Text(likely),
        )
    console.print(table)
    if len(windows) > _NUM_SHOWN:
        console.print(f"and {len(windows) - _NUM_SHOWN} more", highlight=False)
