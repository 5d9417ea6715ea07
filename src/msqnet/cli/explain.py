"""`msqnet explain`: attribution maps of labels over the frames of a video."""

from __future__ import annotations

import math
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from msqnet.cli.console import progress_bar, say
from msqnet.config import ModelOptions, WindowConfig
from msqnet.errors import ConfigError, check
from msqnet.models import closed_labels, model_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from rich.console import Console

    from msqnet.explain.explainer import AttributionMaps

    Window = tuple[float, float, AttributionMaps]

_NUM_LABELS = 3
_DPI = 200


def explain(
    video: str,
    out: str,
    labels: str | None = None,
    model: list[str] | None = None,
    paths: Literal["all", "decoder"] = "all",
    start_seconds: float = 0.0,
    end_seconds: float | None = None,
    window_seconds: float | None = WindowConfig.window_seconds,
    stride_seconds: float | None = WindowConfig.stride_seconds,
    columns: int = 8,
    heat_video: bool = True,
    device: str = "auto",
    overwrite: bool = False,
) -> int:
    """Show which parts of the frames contribute to the scores of a model.

    Writes a contact sheet, a video and arrays. The sheet shows the frames of the window with the
    highest mean score of the labels, with one row of attribution maps per label. The video shows
    the maps of all windows; the arrays hold those of the sheet. Each map has its own scale: it
    shows where, not how certain.

    Args:
        video: A video file, or a folder of frame images.
        out: Folder for CLIP.heat.png, CLIP.heat.mp4 and CLIP.heat.npz.
        labels: Labels to explain, `walking|eating`, any text for an open-vocabulary model; by
            default the three with the highest scores of those that the model was shown to
            recognise, then others.
        model: Finished models: folders, Hugging Face Hub ids, names that `msqnet models` lists. By
            default the model that comes with msqnet. With several, the sheet has a row per label
            and model; the window and the video are those of the first.
        paths: `all` adds up the relevance along every path to the scores, weighted as in the
            scores; `decoder` is attention rollout alone, as in the paper. They differ for models
            with a direct path to the scores, such as `lite`.
        start_seconds: Skip windows whose middle lies before this.
        end_seconds: Skip windows whose middle does not lie before this.
        window_seconds: Length of a window; by default the length the model was trained on.
        stride_seconds: Time from the start of one window to the start of the next; by default about
            half a window.
        columns: Frames on the sheet.
        heat_video: Write the video too.
        device: auto, cpu, cuda, cuda:1, mps, ...
        overwrite: Replace existing results.
    """
    from rich.console import Console

    from msqnet.predictions import UNKNOWN_TEXT

    kinds = ("png", "npz", "mp4") if heat_video else ("png", "npz")
    name = Path(video).resolve().name
    files = {kind: Path(out) / f"{name}.heat.{kind}" for kind in kinds}
    check(columns >= 1, f"columns {columns}: expected at least 1")
    for path in files.values():
        check(overwrite or not path.exists(), f"{path} exists; --overwrite replaces it")
    names: list[str | None] = [*model] if model else [None]
    named = ModelOptions(labels=labels).label_names
    for own in map(closed_labels, map(model_folder, names if named else ())):
        named = named if own is None else own.as_spelled(named or ())
    from msqnet.explain.explainer import Explainer  # slowly: it needs torch

    explainers = [
        Explainer.from_pretrained(name, device, paths=paths, labels=named) for name in names
    ]
    window = WindowConfig(window_seconds, stride_seconds)
    interval = start_seconds, math.inf if end_seconds is None else end_seconds
    requested = named or explainers[0].highest(video, window, _NUM_LABELS, *interval)
    for explainer in explainers:
        explainer.columns(requested)
    with progress_bar(Path(video).name) as progress:
        start, end, maps = _best_window(
            explainers[0].explain_windows(video, requested, window, *interval),
            Path(video),
            files.get("mp4"),
            requested,
            interval,
            lambda share: progress(share, 1.0),
        )
    others = [item.explain(video, requested, start, end) for item in explainers[1:]]
    found = [maps, *(other.aligned_with(maps) for other in others)]
    titles = [""] if len(names) == 1 else [str(name or "default model") for name in names]
    _write_sheet(files, Path(video), found, titles, columns)
    console = Console()
    _show(console, found, titles, (start, end), files)
    for title, explainer in zip(titles, explainers, strict=True):
        if explainer.undrawn_share:
            share = f"{title and f'{title}: '}{explainer.undrawn_share:.0%}"
            say(
                console,
                f"note: {share} of each logit come from an embedding of whole frames, by the "
                "direct path; the maps show the rest",
            )
    if explainers[0].is_unknown(video, start, end):
        say(console, f"note: this window is {UNKNOWN_TEXT}")
    return 0


def _best_window(
    windows: Iterator[Window],
    video: Path,
    heat_video: Path | None,
    labels: Sequence[str],
    interval: tuple[float, float],
    progress: Callable[[float], None],
) -> Window:
    """The window in which the labels score highest together; writes the video on the way."""
    first = next(windows, None)
    if first is None:
        raise ConfigError(
            f"{video}: no window has its middle from {interval[0]:g} to {interval[1]:g} s; "
            "choose an interval inside of the video"
        )
    best = [first]

    def watched() -> Iterator[Window]:
        for window in chain(best, windows):
            best[:] = [max(*best, window, key=lambda item: float(item[2].scores.mean()))]
            yield window

    passing = watched()
    if heat_video is not None:
        heat_video.parent.mkdir(parents=True, exist_ok=True)
        from msqnet.report.attribution_sheet import write_attribution_video

        write_attribution_video(passing, labels, video, heat_video, *interval, progress=progress)
    for _ in passing:  # the windows that the video's last frames did not need, or all of them
        pass
    return best[0]


def _write_sheet(
    files: dict[str, Path],
    video: Path,
    found: list[AttributionMaps],
    titles: list[str],
    columns: int,
) -> None:
    """The sheet, and the arrays behind it: maps (M, K, T, h, w) of M models."""
    import numpy as np

    from msqnet.files import replacing
    from msqnet.report.attribution_sheet import SheetRow, contact_sheet, sheet_frames

    rows = [
        SheetRow(
            label.replace("_", " "),
            f"{title and f'{Path(title).name} · '}score {maps.scores[column]:.2f}",
            maps.maps[column],
        )
        for column, label in enumerate(found[0].labels)
        for title, maps in zip(titles, found, strict=True)
    ]
    frames = sheet_frames(video, found[0].pts_seconds)
    figure = contact_sheet(frames, found[0].pts_seconds.tolist(), rows, num_columns=columns)
    files["png"].parent.mkdir(parents=True, exist_ok=True)
    with replacing(files["png"]) as part:
        figure.savefig(part, dpi=_DPI, format="png")
    with replacing(files["npz"]) as part, part.open("wb") as file:
        np.savez_compressed(
            file,
            maps=np.stack([maps.maps for maps in found]),
            scores=np.stack([maps.scores for maps in found]),
            labels=np.array(found[0].labels),
            pts_seconds=found[0].pts_seconds,
        )


def _show(
    console: Console,
    found: list[AttributionMaps],
    titles: list[str],
    window: tuple[float, float],
    files: dict[str, Path],
) -> None:
    from msqnet.style import format_time

    start, end = map(format_time, window)
    say(console, f"window {start} to {end}")
    for title, maps in zip(titles, found, strict=True):
        scores = zip(maps.labels, maps.scores.tolist(), strict=True)
        text = ", ".join(f"{label} {score:.2f}" for label, score in scores)
        say(console, f"{title and f'{title}: '}{text}")
    for path in files.values():
        say(console, f"written: {path}")
