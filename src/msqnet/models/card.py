"""The card of a model that a user trains: what its folder's README.md says of it.

A card is a function of the folder's settings alone, so that it follows every change of them.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from msqnet.models import CARD_FILE, CONFIG_FILE, DEFAULT_THRESHOLD, DEFAULT_WINDOW_SECONDS
from msqnet.models.taught import TAUGHT_THRESHOLD, TaughtLabels

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

_MARK = "<!-- written by msqnet from config.json; without this line it is left as it is -->"
_MAX_NAMED = 5
_COLUMNS = ("label", "status", "AP, held out", "low end", "chance", "groups", "threshold")
_TAUGHT = "## Taught labels"
_OF_TAUGHT = """\
`msqnet teach` added these from a few examples, by a linear head in `taught.safetensors`. AP is
that of the examples, each video held out once, the negative ones among them; a group is a video.
The table of labels above says nothing of them."""
_STATUSES = """\
Labels with status `weak` or `untested` make no segments unless asked for (`--include-weak`): on
held-out rows they may have ranked no better than chance, or too few rows showed them."""


def write_card(folder: Path) -> None:
    """Write or renew the README.md of a model's folder.

    One that somebody else wrote stays, but for the part on taught labels, which ends each card.
    """
    path = folder / CARD_FILE
    card = path.read_text(encoding="utf-8") if path.exists() else _MARK
    if _MARK in card:
        card = _card(json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8")))
    elif _TAUGHT in card:
        card = card.partition(_TAUGHT)[0].rstrip() + "\n"
    taught = TaughtLabels.load(folder)
    if taught is not None:
        rows = [_row(item["label"], item["evidence"], TAUGHT_THRESHOLD) for item in taught.about]
        table = _table([_COLUMNS, *rows])
        card = f"{card.rstrip()}\n\n{_TAUGHT}\n\n{table}\n\n{_OF_TAUGHT}\n"
    path.write_text(card, encoding="utf-8")


def change_config(folder: Path, values: dict[str, Any]) -> None:
    """Set some settings, JSON values by name, of a model that is not in use; others stay.

    The card is renewed as by `write_card`.
    """
    path = folder / CONFIG_FILE
    settings = json.loads(path.read_text(encoding="utf-8"))
    text = json.dumps({**settings, **values}, indent=2, sort_keys=True) + "\n"
    path.write_text(text, encoding="utf-8")
    write_card(folder)


def _card(settings: dict[str, Any]) -> str:
    names = settings["labels"]
    kind = (settings.get("video_encoder") or {}).get("model_type", "video")
    window = settings.get("window_seconds", DEFAULT_WINDOW_SECONDS)
    one = "one of them" if settings.get("task") == "single_label" else "any number of them at once"
    frames = (settings.get("clip") or {}).get("num_frames")
    evidence: list[dict[str, Any]] = settings.get("evidence") or [{} for _ in names]
    thresholds = settings.get("thresholds") or [DEFAULT_THRESHOLD] * len(names)
    labels = zip(names, evidence, thresholds, strict=True)
    parts = [
        "---\nlibrary_name: msqnet\npipeline_tag: video-classification\n"
        "tags:\n- action-recognition\n- msqnet\n---",
        _MARK,
        f"# Actions in video: {', '.join(names[:_MAX_NAMED])}{' ...' * (len(names) > _MAX_NAMED)}",
        f"A model of msqnet (video encoder {kind}). It looks at {frames} frames of each window of "
        f"{window:g} s and scores each label; a window can show {one}.",
        "## Use",
        "```console\n$ msqnet predict VIDEO --model THIS_FOLDER\n```",
        '```python\nimport msqnet\n\npredictor = msqnet.Predictor.from_pretrained("THIS_FOLDER")\n'
        'print(predictor("VIDEO").segments)\n```',
        "## Labels",
        _table([_COLUMNS, *(_row(*item) for item in labels)]),
        "AP: average precision on training rows that were held out by group; low end: of its 95 % "
        "interval over groups; chance: AP of guesses. These rows are of the same kind as those "
        "that the model was trained on; other cameras and scenes can be harder.\n\n" + _STATUSES,
        "## Training",
        _table([("what", "value"), *_origin(settings.get("provenance") or {})]),
        "## Licence",
        *_licence(settings.get("provenance") or {}),
    ]
    return "\n\n".join(parts) + "\n"


def _row(name: str, seen: dict[str, Any], threshold: float) -> tuple[str, ...]:
    return (
        name,
        seen.get("status", "not measured"),
        *(_number(seen.get(key)) for key in ("ap", "ap_low", "chance")),
        str(seen.get("num_groups", "-")),
        _number(threshold),
    )


def _origin(provenance: dict[str, Any]) -> list[tuple[str, str]]:
    versions = [f"{name} {provenance[name]}" for name in ("msqnet", "torch") if name in provenance]
    told = {
        "table": provenance.get("data"),
        "rows": provenance.get("num_rows"),
        "sources": ", ".join(provenance.get("sources") or ()),
        "recipe": provenance.get("recipe"),
        "seed": provenance.get("seed"),
        "started from": (provenance.get("init_from") or {}).get("model"),
        "versions": ", ".join(versions),
    }
    known = [(name, str(value)) for name, value in told.items() if value not in (None, "")]
    return known or [("table", "not recorded")]


def _licence(provenance: dict[str, Any]) -> Iterable[str]:
    licences = list(provenance.get("pretrained_licences") or ())
    licences += (provenance.get("init_from") or {}).get("pretrained_licences") or ()
    if licences:
        listed = "\n".join(f"- {line}" for line in dict.fromkeys(licences))
        yield f"Weights that training started from:\n\n{listed}"
    yield (
        "msqnet states no licence for the trained weights: that is for whoever trained them to "
        "say. The terms of the training videos, and of the weights above, may limit their use. To "
        "share the model, add a line `license:` at the top of this file, and delete the comment "
        "above the title."
    )


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _table(rows: list[Any]) -> str:
    cells = [[str(cell).replace("|", "\\|").replace("\n", " ") for cell in row] for row in rows]
    lines = ["| " + " | ".join(row) + " |" for row in cells]
    return "\n".join([lines[0], "|---" * len(cells[0]) + "|", *lines[1:]])
