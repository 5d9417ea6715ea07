"""A folder of results as one HTML file that opens from disk, without a network, in any browser.

Everything is inside: styles, scripts, pictures, previews and scores. A Content-Security-Policy lets
nothing be loaded and no script run but the page's own, whatever labels and file names hold.
"""

from __future__ import annotations

import base64
import hashlib
import json
import tempfile
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from msqnet import __version__
from msqnet.errors import needs_extra
from msqnet.files import replacing
from msqnet.intervals import covered_seconds
from msqnet.predictions import PLAIN_FIELDS
from msqnet.report.evaluation_page import evaluation_page, timeline_page
from msqnet.report.media import PreviewWriter, collect_media
from msqnet.report.time_budget import time_budget, unknown_seconds
from msqnet.style import format_length, printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from jinja2 import Environment

    from msqnet.report.media import Progress, VideoMedia
    from msqnet.report.results_reader import PredictedVideo, Results

_STYLES = ("theme.css", "ethogram.css", "report.css")
_SCRIPTS = ("elements.js", "ethogram.js", "report.js")
# What can end a script element, or begin a comment in one, as JSON strings may write it too.
_ESCAPES = {ord("<"): "\\u003c", ord(">"): "\\u003e", ord("&"): "\\u0026"}


def write_report(
    results: Results,
    path: Path,
    *,
    preview_megabytes: float,
    progress: Callable[[str, int, int], None] | None = None,
) -> tuple[str, ...]:
    """Write the report of a folder of results; it appears when it is complete.

    Args:
        path: the HTML file, replaced if it exists; its folder is created.
        preview_megabytes: what the previews of all videos may take, before they are encoded as
            text, which adds a third; 0 for none.
        progress: called with the kind of item, how many are done, and how many there are.

    Returns:
        Sentences about what was left out of the page.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    environment = _environment()

    def step(name: str) -> Callable[[int, int], None]:
        return lambda done, total: progress(name, done, total) if progress else None

    with tempfile.TemporaryDirectory(prefix="msqnet-report-") as folder:
        writer = PreviewWriter(Path(folder), round(preview_megabytes * 1e6))
        media = collect_media(results.videos, writer, step("videos"))
        notes = _notes(media, writer, preview_megabytes)
        context = _context(results, media, notes, step("clips"))
        with replacing(path) as part, part.open("w", encoding="utf-8", newline="\n") as file:
            # In chunks: previews are read when they are written, one at a time.
            for chunk in environment.get_template("report.html.j2").generate(context):
                file.write(chunk)
    return notes


def _environment() -> Environment:
    with needs_extra("a report", extra="report"):
        import jinja2
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("msqnet.report", "templates"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters["clock"] = format_length
    environment.filters["figure"] = lambda value: f"{value:.3f}"
    return environment


def _context(
    results: Results, media: Sequence[VideoMedia], notes: Sequence[str], progress: Progress
) -> dict[str, Any]:
    from markupsafe import Markup

    assets = files("msqnet.report") / "assets"
    style = "\n".join((assets / name).read_text(encoding="utf-8") for name in _STYLES)
    scripts = [(assets / name).read_text(encoding="utf-8") for name in _SCRIPTS]
    rows = [_video_row(video, item) for video, item in zip(results.videos, media, strict=True)]
    evaluation, timeline = results.evaluation, results.timeline
    models = {_model_name(video) for video in results.videos}
    unproven = [video.predictions.withheld for video in results.videos]
    return {
        "title": results.folder.resolve().name or "results",
        "version": __version__,
        "policy": _policy(style, scripts),
        "style": Markup(style),
        "scripts": [Markup(script) for script in scripts],
        "notes": notes,
        "models": sorted(models - {""}),
        "videos": rows,
        "has_notes": any(row["note"] for row in rows),
        "failures": results.failures,
        "total_seconds": sum(row["duration_seconds"] for row in rows),
        "unknown_seconds": sum(row["unknown_seconds"] for row in rows),
        "unproven": {  # in every video: what is annotated for some actors may be reported for them
            name: "; ".join(sorted({item[name] for item in unproven}))
            for name in sorted(unproven[0] if unproven else ())
            if all(name in item for item in unproven)
        },
        "num_segments": sum(row["num_segments"] for row in rows),
        "num_partial": sum(video.status == "partial" for video in results.videos),
        "budget": time_budget(video.predictions for video in results.videos),
        "blocks": _blocks(results.videos, media),
        "evaluation": evaluation and evaluation_page(evaluation, progress),
        "timeline": timeline and timeline_page(timeline, results.ethograms),
    }


def _policy(style: str, scripts: Sequence[str]) -> str:
    """Only what the page itself holds is run and shown; nothing is loaded from anywhere."""
    hashes = (hashlib.sha256(text.encode("utf-8")).digest() for text in (style, *scripts))
    allowed = [f"'sha256-{base64.b64encode(found).decode('ascii')}'" for found in hashes]
    return (
        f"default-src 'none'; script-src {' '.join(allowed[1:])}; style-src {allowed[0]}; "
        "img-src data:; media-src blob:; base-uri 'none'; form-action 'none'"
    )


def _notes(
    media: Sequence[VideoMedia], writer: PreviewWriter, preview_megabytes: float
) -> tuple[str, ...]:
    notes = []
    if writer.num_left_out:
        notes.append(
            f"{writer.num_left_out} of {len(media)} videos cannot be played here: previews may "
            f"take {preview_megabytes:g} MB. --preview-megabytes allows more."
        )
    if media and not preview_megabytes:
        notes.append("Videos cannot be played here: previews are switched off.")
    if num_gone := sum(bool(item.note) for item in media):
        notes.append(
            f"{num_gone} of {len(media)} videos cannot be shown, because the files are gone or "
            "cannot be read; what was predicted of them is here."
        )
    return tuple(notes)


def _model_name(video: PredictedVideo) -> str:
    model = video.predictions.provenance.get("model")
    return str(model.get("name", "")) if isinstance(model, dict) else ""


def _video_row(video: PredictedVideo, media: VideoMedia) -> dict[str, Any]:
    """One line of the table of videos; labels are those with a segment, the longest time first."""
    predictions = video.predictions
    labels = [row["label"] for row in time_budget([predictions])]
    segments = [(item.start_seconds, item.end_seconds) for item in predictions.segments]
    duration = predictions.duration_seconds
    return {
        "name": printable(video.name),
        "duration_seconds": duration,
        "unknown_seconds": unknown_seconds(predictions),
        "num_segments": len(predictions.segments),
        "labels": labels,
        "columns": {label: predictions.labels.index(label) for label in labels},
        "covered_share": covered_seconds(segments, (0.0, duration)) / duration,
        "note": printable("; ".join(filter(None, [*predictions.warnings, media.note]))),
    }


def _blocks(videos: Sequence[PredictedVideo], media: Sequence[VideoMedia]) -> Iterator[Any]:
    """Data of every video, in elements that a browser ignores until the page reads them."""
    from markupsafe import Markup

    for index, (video, item) in enumerate(zip(videos, media, strict=True)):
        text = inline_json(_video_data(video, item))
        yield Markup(f'<script type="application/json" id="video-{index}">{text}</script>')
        if item.preview is not None:
            encoded = base64.b64encode(item.preview.read_bytes()).decode("ascii")
            yield Markup(f'<script type="text/plain" id="preview-{index}">{encoded}</script>')


def _video_data(video: PredictedVideo, media: VideoMedia) -> dict[str, Any]:
    predictions = video.predictions
    settings = predictions.provenance.get("settings", {})
    scores = np.ascontiguousarray(predictions.timeline.scores, dtype="<f4")  # (N, K)
    return {
        "name": printable(video.name),
        "path": printable(predictions.path),
        "labels": list(predictions.labels),
        **{name: getattr(predictions, name) for name in PLAIN_FIELDS},
        "thresholds": list(predictions.thresholds),
        "provenance": {
            "settings": {name: settings.get(name) for name in ("segments", "border_reach_seconds")}
        },
        "edges_seconds": predictions.timeline.edges_seconds.tolist(),
        "scores": base64.b64encode(scores.tobytes()).decode("ascii"),
        "is_unknown": None
        if (flags := predictions.timeline.is_unknown) is None
        else flags.tolist(),
        "changes": predictions.timeline.changes.tolist(),
        "unproven": predictions.withheld,
        "model": _model_name(video),
        "notes": [printable(note) for note in predictions.warnings],
        "answers": [printable(answer.text) for answer in predictions.answers],
        "pictures_note": printable(media.note),
        "preview_note": media.preview_note,
        "thumbnails": [{"seconds": seconds, "jpeg": jpeg} for seconds, jpeg in media.thumbnails],
    }


def inline_json(value: Any) -> str:
    """JSON for a script element, whatever its strings hold.

    ASCII only, so that no line separator of Unicode ends a line, and without the characters by
    which an element could end or a comment begin.
    """
    return json.dumps(value, allow_nan=False, separators=(",", ":")).translate(_ESCAPES)
