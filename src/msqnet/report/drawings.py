"""Everything that is drawn of the predictions of one video, beside its result files."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msqnet.inference.results_folder import DRAWN_SUFFIXES, drawn_paths
from msqnet.report.gif import write_gif
from msqnet.report.overlay import write_overlay
from msqnet.report.overlay_panel import load_font
from msqnet.report.plots import save_figure, timeline_figure

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from msqnet.predictions import VideoPredictions

    Progress = Callable[[float], None]
    Writer = Callable[[VideoPredictions, Path, Path, Progress], None]


def check_can_draw() -> None:
    """Refuse, before any work, to draw without what it takes.

    Raises:
        MissingExtra: matplotlib or Pillow is not installed.
    """
    load_font(12)


def draw_missing(
    predictions: VideoPredictions,
    video: Path,
    stem: Path,
    progress: Progress | None = None,
) -> tuple[Path, ...]:
    """Draw the figure, the annotated video and its GIF, where they do not exist.

    Args:
        predictions: of the video.
        video: the file or folder of images; its path may have changed since it was predicted.
        stem: folder and name of the result files, see `msqnet.predictions.result_paths`.
        progress: called with the share that is done, from 0 to 1.

    Returns:
        What was drawn, in the order of `DRAWN_SUFFIXES`.

    Raises:
        VideoError: the video cannot be read any more.
        OSError: a file cannot be written; what was drawn before stays.
        MissingExtra: matplotlib or Pillow is not installed.
    """
    missing = [path for path in drawn_paths(stem) if not path.exists()]
    for number, path in enumerate(missing):

        def report(share: float, number: int = number) -> None:
            if progress is not None:
                progress((number + share) / len(missing))

        suffix = path.name.removeprefix(stem.name)
        _WRITERS[suffix](predictions, video, path, report)
    return tuple(missing)


def _write_figure(
    predictions: VideoPredictions, _video: Path, path: Path, _progress: Progress
) -> None:
    save_figure(timeline_figure(predictions), path)


_WRITERS: Mapping[str, Writer] = dict(
    zip(DRAWN_SUFFIXES, (_write_figure, write_overlay, write_gif), strict=True)
)
