"""`msqnet explain`: where a model looked for its labels."""

from __future__ import annotations

import math
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from msqnet.config import WindowConfig
from msqnet.errors import ConfigError
from msqnet.labels import split_labels

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from rich.console import Console

    from msqnet.explain.heat_maps import HeatMaps

    Window = tuple[float, float, HeatMaps]

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
    """Show where a model looked for its labels.

    Writes a sheet of frames with a row of heat maps for each label, of the window in which the
    labels score highest together, a video with the heat maps of all windows, and the maps of the
    sheet as arrays. Each label's map has its own scale: it tells where, not how sure.

    Args:
        video: A video file, or a folder of frame images.
        out: Folder for CLIP.heat.png, CLIP.heat.mp4 and CLIP.heat.npz.
        labels: Labels to explain, `walking|eating`, any text for an open-vocabulary model; by
            default the three that score highest.
        model: Finished models: folders, Hugging Face Hub ids, names that `msqnet models` lists. By
            default the model that comes with msqnet. Of several, the sheet has one row each for
            every label; window and video are those of the first.
        paths: `all` weighs what every path to the scores looked at as the scores do; `decoder` is
            attention rollout alone, as in the paper. They differ for `lite` models with a path
            straight to the scores.
        start_seconds: Only windows whose middle lies behind this are looked at.
        end_seconds: Only windows whose middle lies before this are looked at.
        window_seconds: Length of a window; by default the length the model was trained on.
        stride_seconds: Time from one window's start to the next one's; by default about half a
            window.
        columns: Frames on the sheet.
        heat_video: Write the video too.
        device: auto, cpu, cuda, cuda:1, mps, ...
        overwrite: Replace existing results.

    Returns:
        Exit code.
    """
    from rich.console import Console
    from rich.progress import Progress

    from msqnet.explain.explainer import Explainer
    from msqnet.explain.heat_maps import aligned

    files = _files(Path(out), Path(video), heat_video=heat_video)
    _check(files, columns, overwrite=overwrite)
    names: list[str | None] = [*model] if model else [None]
    named = split_labels(labels or "") or None
    explainers = [
        Explainer.from_pretrained(name, device, paths=paths, labels=named) for name in names
    ]
    window = WindowConfig(window_seconds, stride_seconds)
    stretch = _Stretch(start_seconds, math.inf if end_seconds is None else end_seconds)
    asked = named or explainers[0].highest(video, window, _NUM_LABELS, *stretch)
    for explainer in explainers:
        explainer.labels.indices(asked)
    errors = Console(stderr=True)
    with Progress(console=errors, transient=True, disable=not errors.is_terminal) as bars:
        bar = bars.add_task(Path(video).name, total=1.0)
        start, end, maps = _best_window(
            explainers[0].explain_windows(video, asked, window, *stretch),
            Path(video),
            files.get("mp4"),
            asked,
            stretch,
            lambda share: bars.update(bar, completed=share),
        )
    others = [item.explain(video, asked, start, end) for item in explainers[1:]]
    found = [maps, *(aligned(other, maps) for other in others)]
    titles = [] if len(names) == 1 else [str(name or "default model") for name in names]
    _write_sheet(files, Path(video), found, titles, columns)
    _show(Console(), found, titles, (start, end), files)
    return 0


class _Stretch(NamedTuple):
    start_seconds: float
    end_seconds: float


def _best_window(
    windows: Iterator[Window],
    video: Path,
    heat_video: Path | None,
    labels: Sequence[str],
    stretch: _Stretch,
    progress: Callable[[float], None],
) -> Window:
    """The window in which the labels score highest together; on the way, the video is written."""
    first = next(windows, None)
    if first is None:
        raise ConfigError(
            f"{video}: no window has its middle from {stretch.start_seconds:g} to "
            f"{stretch.end_seconds:g} s; choose a stretch inside of the video"
        )
    best = [first]

    def watched() -> Iterator[Window]:
        for window in chain(best, windows):
            best[:] = [max(*best, window, key=_mean)]
            yield window

    passing = watched()
    if heat_video is not None:
        heat_video.parent.mkdir(parents=True, exist_ok=True)
        from msqnet.report.attribution_sheet import write_attribution_video

        write_attribution_video(passing, labels, video, heat_video, *stretch, progress=progress)
    for _ in passing:  # what the video's last frames did not need, or all of them
        pass
    return best[0]


def _mean(window: Window) -> float:
    return float(window[2].scores.mean())


def _files(folder: Path, video: Path, *, heat_video: bool) -> dict[str, Path]:
    name = video.resolve().name
    kinds = ("png", "npz", "mp4") if heat_video else ("png", "npz")
    return {kind: folder / f"{name}.heat.{kind}" for kind in kinds}


def _check(files: dict[str, Path], columns: int, *, overwrite: bool) -> None:
    if columns < 1:
        raise ConfigError(f"columns {columns}: expected at least 1")
    present = [path for path in files.values() if path.exists()]
    if present and not overwrite:
        raise ConfigError(f"{present[0]} exists; --overwrite replaces it")


def _write_sheet(
    files: dict[str, Path], video: Path, found: list[HeatMaps], titles: list[str], columns: int
) -> None:
    """The sheet, and the arrays behind it: maps (M, K, T, h, w) of M models."""
    import numpy as np

    from msqnet.predictions import replacing
    from msqnet.report.attribution_sheet import SheetRow, contact_sheet, sheet_frames

    rows = [
        SheetRow(
            label.replace("_", " "),
            " · ".join(
                [
                    *(Path(name).name for name in titles[number : number + 1]),
                    f"score {maps.scores[column]:.2f}",
                ]
            ),
            maps.maps[column],
        )
        for column, label in enumerate(found[0].labels)
        for number, maps in enumerate(found)
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
    found: list[HeatMaps],
    titles: list[str],
    window: tuple[float, float],
    files: dict[str, Path],
) -> None:
    from msqnet.report.style import format_time

    start, end = map(format_time, window)
    console.print(f"window {start} to {end}", highlight=False)
    for number, maps in enumerate(found):
        scores = zip(maps.labels, maps.scores.tolist(), strict=True)
        text = ", ".join(f"{label} {score:.2f}" for label, score in scores)
        name = f"{titles[number]}: " if titles else ""
        console.print(f"{name}{text}", highlight=False, soft_wrap=True, markup=False)
    for path in files.values():
        console.print(f"written: {path}", highlight=False, soft_wrap=True, markup=False)
