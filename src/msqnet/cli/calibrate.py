"""`msqnet calibrate`: scores, thresholds and the warning score of a finished model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from msqnet.cli.console import number_table, progress_bar, read_clips, say, shown
from msqnet.config import CalibrationConfig, TableOptions
from msqnet.errors import ConfigError, check

if TYPE_CHECKING:
    from rich.console import Console

    from msqnet.data.records import ClipTable
    from msqnet.evaluation.calibration_results import CalibrationResult
    from msqnet.model.configuration import MSQNetConfig
    from msqnet.model.pretrained import MSQNet
    from msqnet.predictions import FloatArray

    Outputs = Callable[[ClipTable, str], tuple[FloatArray, FloatArray]]
    """Logits and embeddings of a table; the text is the title of the progress bar."""

CALIBRATION_FOLDER = "calibration"
_COLUMNS = (
    *("expected_calibration_error_before", "expected_calibration_error_after"),
    *("threshold_before", "threshold_after", "f1_before", "f1_after"),
    *("precision_after", "recall_after"),
)


def calibrate(
    data: list[str] | None = None,
    out: str | None = None,
    model: str | None = None,
    split: str | None = None,
    options: CalibrationConfig = CalibrationConfig(),  # noqa: B008 - frozen
    training_data: list[str] | None = None,
    training_split: str | None = None,
    reading: TableOptions = TableOptions(),  # noqa: B008 - frozen
    overwrite: bool = False,
    batch_size: int = 8,
    device: str = "auto",
) -> int:
    """Fit a finished model's scores and thresholds to your own labelled clips.

    The weights do not change, nor does the order of a label's scores. The gain is measured on
    groups of rows that were not fitted on. Use rows that the model was not trained on.

    Args:
        data: Tables of clips, or folders per label; see `msqnet check`.
        out: Folder for the changed model; by default the model's own, with `--overwrite`.
        model: A finished model: a folder, a Hugging Face Hub id, or a name listed by
            `msqnet models`. By default the model that comes with msqnet.
        split: Rows to fit on, for instance `val`; by default all.
        options: How scores and thresholds are fitted.
        training_data: Tables of the rows that the model was trained on. Their statistics are
            stored, so that predictions know time that is unlike them. `msqnet train` does so too.
        training_split: Rows of these tables to take, for instance `train`; by default all.
        reading: How all tables are read.
        overwrite: Replace the model in `--out`.
        batch_size: Clips scored at a time; changes no metric.
        device: auto, cpu, cuda, cuda:1, mps, ...
    """
    from rich.console import Console

    from msqnet.evaluation.calibration_results import store_calibration
    from msqnet.model.pretrained import MSQNet
    from msqnet.models import changed_model, check_target, provenance_in
    from msqnet.report.figures import check_can_draw_figures, reliability_figure, save_figure

    if data is None and training_data is None:
        raise ConfigError(
            "nothing to do: name rows to calibrate on with --data, or the rows that the model was "
            "trained on with --training-data, or both"
        )
    for kind, tables, part in (("", data, split), ("training-", training_data, training_split)):
        given = part is None or tables is not None
        check(given, f"--{kind}split takes rows of a table; name it with --{kind}data")
    source = _changeable_folder(model)
    if out is None and (model is None or not Path(model).is_dir()):
        raise ConfigError(
            f"{model or 'the model that comes with msqnet'} is not a folder of yours; name a new "
            "one for the changed model with --out"
        )
    target = source if out is None else Path(out)
    check_target(source, target, overwrite=overwrite)
    if data is not None:
        check_can_draw_figures()
    provenance = provenance_in(source)
    table, training = (
        None if tables is None else read_clips(tables, reading, part, provenance)
        for tables, part in ((data, split), (training_data, training_split))
    )
    loaded = MSQNet.from_pretrained(source)
    console = Console()

    def outputs(rows: ClipTable, title: str) -> tuple[FloatArray, FloatArray]:
        from msqnet.evaluation.views import row_outputs

        with progress_bar(title) as progress:
            return row_outputs(
                rows, loaded, device=device, batch_size=batch_size, progress=progress
            )

    result = None if table is None else _calibrated(outputs, loaded, table, options)
    with changed_model(source, target, overwrite=overwrite) as draft:
        if table is not None and result is not None:
            store_calibration(draft, loaded.config, result, data=table.path.name, split=split)
            folder = draft / CALIBRATION_FOLDER
            folder.mkdir(exist_ok=True)
            result.write(folder)
            save_figure(reliability_figure(result), folder / "reliability.png")
            _show(console, result)
            say(console, f"metrics and plot: {target / CALIBRATION_FOLDER}")
        if training is not None:
            _write_novelty(console, draft, outputs, training, loaded.config)
    say(console, f"written: {target}")
    return 0


def _changeable_folder(model: str | None) -> Path:
    """The folder of a model whose calibration can be changed; `CheckpointError` if there is none.

    An exported model, or the training-free baseline, is a `ConfigError`.
    """
    from msqnet.inference.manifest import is_exported
    from msqnet.models import model_folder
    from msqnet.models.open_models import open_model_source

    if model is not None and is_exported(model):
        raise ConfigError(
            f"{model}: an exported model, whose calibration is fixed in its graphs; calibrate the "
            "model that it was made of, then run msqnet export with that one"
        )
    if open_model_source(model) is not None:
        raise ConfigError(
            f"{model}: the training-free baseline has no folder that could keep a calibration; "
            "train a model with msqnet train, or set --threshold of msqnet predict"
        )
    return model_folder(model)


def _calibrated(
    outputs: Outputs, model: MSQNet, table: ClipTable, config: CalibrationConfig
) -> CalibrationResult:
    import numpy as np

    from msqnet.evaluation.calibration_results import calibrate_rows, calibration_rows
    from msqnet.evaluation.recalibration import Calibration, method_for

    now = Calibration.of_model(model.config)
    method_for(now.kind, config)  # quick failures come before slow work
    logits = outputs(table, "clips")[0].astype(np.float64)
    rows = calibration_rows(table, model.config.label_set, logits, config)
    return calibrate_rows(rows, now, config)


def _write_novelty(
    console: Console, draft: Path, outputs: Outputs, training: ClipTable, config: MSQNetConfig
) -> None:
    from msqnet.model.out_of_distribution import TrainingReference, actors_of_labels, rows_of_actors

    labels = config.label_set
    training = training.take(rows_of_actors(training.targets(labels), training.group_ids()))
    _, embeddings = outputs(training, "training clips")
    actors = [record.actor for record in training.records]
    reference = TrainingReference.fit(
        embeddings,
        training.clip_ids(),
        training.group_ids(),
        is_centred=not config.compares_appearance,
        actors=actors,
        label_actors=actors_of_labels(training.targets(labels), actors, labels),
    )
    if reference is None:
        raise ConfigError(
            f"{training.path}: all rows are of one group; expected at least 2, as nothing says how "
            "far videos of another group may be; name the recordings in the column 'group'"
        )
    reference.save(draft)
    say(
        console,
        f"warning score: {len(training)} training windows of {len(reference.distances)} videos; "
        "predictions say where a video looks unlike them",
    )


def _show(console: Console, result: CalibrationResult) -> None:
    from rich.text import Text

    summary = result.summary
    table = number_table(
        f"{summary['num_windows']} windows of {summary['num_groups']} groups; "
        "after: held out by groups",
        "label",
        *("positives", "negatives", "ECE before", "after"),
        *("threshold before", "after", "F1 before", "after", "precision", "recall"),
    )
    for item in result.per_label:
        if item["is_fitted"]:
            counts = [str(item[f"{sign}_windows"]) for sign in ("positive", "negative")]
            table.add_row(
                Text(item["label"]), *counts, *(shown(item[name], 2) for name in _COLUMNS)
            )
    console.print(table)
    titles = {
        "expected_calibration_error": "calibration error (ECE)",
        "brier_score": "Brier score",
        "macro_f1": "macro F1",
    }
    for name, title in titles.items():
        values, parts = summary["overall"][name], []
        for side, sign in (("before", ""), ("after", ""), ("difference", "+")):
            low, high = values[f"{side}_interval"]
            interval = "" if low is None else f" ({low:{sign}.3f} to {high:{sign}.3f})"
            value = "-" if values[side] is None else f"{values[side]:{sign}.3f}"
            parts.append(f"{side} {value}{interval}")
        say(console, f"{title}: {', '.join(parts)}")
    for item in result.per_label:
        if item["kept"]:
            say(console, f"kept: {item['label']}: {item['kept']}")
    for note in summary["notes"]:
        say(console, f"note: {note}")
