"""What `msqnet train` says at its end: what each label can be told by, and what to do next."""

from __future__ import annotations

import json
import shlex
from typing import TYPE_CHECKING, Any

from msqnet.cli.console import say, shown

if TYPE_CHECKING:
    from rich.console import Console

    from msqnet.data.records import ClipTable
    from msqnet.training.table_training import TrainedModel

_BYTES_A_MEGABYTE = 1_000_000


def show_summary(console: Console, trained: TrainedModel) -> None:
    """Print the table of labels, the window, the size of the folder and the next command."""
    folder, validation = trained.folder, trained.validation
    config = json.loads((trained.model_folder / "config.json").read_text(encoding="utf-8"))
    console.print(_labels(config, validation, trained.table))
    seconds, reason = trained.window
    say(console, f"window: {seconds:g} s, {reason}")
    num_bytes = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    say(
        console,
        f"{folder}: {num_bytes / _BYTES_A_MEGABYTE:.0f} MB, the model in {trained.model_folder}",
    )
    say(console, f"next: msqnet predict VIDEO --model {shlex.quote(str(folder))} --out results")


def _labels(config: dict[str, Any], validation: dict[str, Any], table: ClipTable) -> Any:
    from rich.table import Table
    from rich.text import Text

    clips: dict[str, set[str]] = {name: set() for name in config["labels"]}
    for record, clip in zip(table.records, table.clip_ids(), strict=True):
        for name in record.labels:
            clips.get(name, set()).add(clip)
    evidence = config.get("evidence")
    rule = "Labels that are not reliable make no segments."
    if not evidence:
        rule = "No row was held out to test the labels: all of them make segments."
    found = Table(
        caption="AP: average precision on held-out rows; low: the low end of its 95 % interval "
        f"over groups; chance: AP of guesses. {rule}"
    )
    found.add_column("label", overflow="fold")
    for heading in ("clips", "AP", "low", "chance", "threshold"):
        found.add_column(heading, justify="right")
    found.add_column("status")
    columns = zip(clips, config["thresholds"], evidence or [{} for _ in clips], strict=True)
    for name, threshold, item in columns:
        ap = item.get("ap", validation.get("label_ap", {}).get(name))
        status = item.get("status", "not tested")
        found.add_row(
            Text(name),
            str(len(clips[name])),
            shown(ap, 2),
            *(shown(item.get(part), 2) for part in ("ap_low", "chance")),
            "-" if config["task"] == "single_label" else shown(threshold, 2),
            Text(status, style="" if status == "reliable" else "yellow"),
        )
    return found
