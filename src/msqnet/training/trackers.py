"""Reports of a run to an experiment tracker: TensorBoard, Weights & Biases or MLflow.

A run is one run of the tracker, whatever folds it trains, and goes on in it when it is resumed. It
has the name of the run folder, the settings of ``run.yaml``, the metrics of each epoch in groups
(``fold-1/``, ``fold-2/``, ..., ``training/`` for the model itself), and the results on held-out
rows (``validation/``). The Trainer's own callbacks know neither the folds nor the results.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import logging
import os
import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

import yaml

from msqnet.errors import ConfigError
from msqnet.files import write_json
from msqnet.training.training_run import settings_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from msqnet.config import TrainConfig
    from msqnet.training.training_run import Run

_logger = logging.getLogger(__name__)
_PROJECT = "msqnet"
# The lowest limits of MLflow's releases.
_PARAM_LENGTH = 500
_PARAMS_AT_ONCE = 100


class _Tracker(Protocol):
    """A started run of a tracker.

    ``run_id`` finds it again, None where the run folder does; ``errors`` are those that it raises
    where its server cannot be reached.
    """

    run_id: str | None
    errors: tuple[type[Exception], ...]

    def log(self, group: str, values: Mapping[str, float], step: int) -> None:
        """Add values to a group of metrics."""

    def end(self, *, is_finished: bool) -> None:
        """Close the run, as finished or as failed."""


class _TensorBoard:
    run_id: str | None = None
    errors: tuple[type[Exception], ...] = (OSError,)

    def __init__(self, run: Run, run_id: str | None):
        from torch.utils.tensorboard import SummaryWriter

        self._writer: Any = SummaryWriter(run.folder / "tensorboard")
        text = yaml.safe_dump(settings_of(run), sort_keys=False)
        self._writer.add_text("settings", "\n".join(f"    {line}" for line in text.splitlines()))

    def log(self, group: str, values: Mapping[str, float], step: int) -> None:
        for name, value in values.items():
            self._writer.add_scalar(f"{group}/{name}", value, step)
        self._writer.flush()

    def end(self, *, is_finished: bool) -> None:
        self._writer.close()


class _Wandb:
    """The run that the program has begun, which stays open, or one of its own."""

    def __init__(self, run: Run, run_id: str | None):
        wandb: Any = importlib.import_module("wandb")
        self.errors: tuple[type[Exception], ...] = (wandb.Error, OSError)
        self._is_own = wandb.run is None
        self._run = wandb.run or wandb.init(
            project=os.environ.get("WANDB_PROJECT", _PROJECT),
            name=os.environ.get("WANDB_NAME", run.folder.resolve().name),
            id=run_id,
            resume=None if run_id is None else "allow",
        )
        self._run.config.update(settings_of(run), allow_val_change=True)
        self._groups: set[str] = set()
        self.run_id: str | None = self._run.id

    def log(self, group: str, values: Mapping[str, float], step: int) -> None:
        if group not in self._groups:  # the steps of every fold begin at 0
            self._groups.add(group)
            self._run.define_metric(f"{group}/*", step_metric=f"{group}/step")
        named = {f"{group}/{name}": value for name, value in values.items()}
        self._run.log({**named, f"{group}/step": step})

    def end(self, *, is_finished: bool) -> None:
        if self._is_own:
            self._run.finish(exit_code=0 if is_finished else 1)


class _MLflow:
    """The run that the program has begun, which stays open, or one of its own."""

    def __init__(self, run: Run, run_id: str | None):
        self._mlflow: Any = importlib.import_module("mlflow")
        self.errors: tuple[type[Exception], ...] = (self._mlflow.MlflowException, OSError)
        begun = self._mlflow.active_run()
        self._is_own = begun is None
        if begun is None:
            self._mlflow.set_experiment(os.environ.get("MLFLOW_EXPERIMENT_NAME", _PROJECT))
            begun = self._mlflow.start_run(run_id=run_id, run_name=run.folder.resolve().name)
        self.run_id: str | None = begun.info.run_id
        if self._is_own and run_id is not None:
            return  # it has its settings, which MLflow does not let change
        params = [(name, _shortened(str(item))) for name, item in _flat(settings_of(run)).items()]
        for first in range(0, len(params), _PARAMS_AT_ONCE):
            self._mlflow.log_params(dict(params[first : first + _PARAMS_AT_ONCE]))

    def log(self, group: str, values: Mapping[str, float], step: int) -> None:
        named = {_mlflow_name(f"{group}/{name}"): value for name, value in values.items()}
        self._mlflow.log_metrics(named, step=step)

    def end(self, *, is_finished: bool) -> None:
        if self._is_own:
            self._mlflow.end_run("FINISHED" if is_finished else "FAILED")


_TRACKERS: dict[str, type[_TensorBoard | _Wandb | _MLflow]] = {
    "tensorboard": _TensorBoard,
    "wandb": _Wandb,
    "mlflow": _MLflow,
}


def _flat(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Nested settings by dotted names, as the options are called."""
    found = {}
    for name, value in settings.items():
        parts = _flat(value) if isinstance(value, dict) and value else {"": value}
        found.update({f"{name}.{part}" if part else name: item for part, item in parts.items()})
    return found


def _shortened(text: str) -> str:
    return text if len(text) <= _PARAM_LENGTH else f"{text[: _PARAM_LENGTH - 4]} ..."


def _mlflow_name(name: str) -> str:
    """The name with the codes of characters that MLflow refuses in metrics."""
    return re.sub(r"[^/\w.\- :]", lambda found: f"_{ord(found[0]):x}_", name)


def tracker_name(config: TrainConfig) -> str | None:
    """The tracker that a run reports to; a `ConfigError` for one that is not installed."""
    name = config.report_to
    if name == "none":
        return None
    wanted = "tensorboard" if name == "auto" else name
    # A folder of that name, such as W&B leaves behind, has no origin.
    spec = importlib.util.find_spec(wanted)
    if spec is not None and spec.origin is not None:
        return wanted
    package = "'msqnet[train]'" if wanted == "tensorboard" else wanted
    if name == "auto":
        _logger.info("no TensorBoard events: pip install %s to have them", package)
        return None
    raise ConfigError(f"report_to {name}: it is not installed; pip install {package}, or say none")


class Reports:
    """The reports of one run: to a tracker, or to none.

    A tracker that can no longer be reached is told once, in a warning; training goes on.
    """

    def __init__(self, tracker: _Tracker | None = None):
        self._tracker = tracker
        self._is_lost = False

    def log(self, group: str, values: Mapping[str, Any], step: int = 0) -> None:
        """Report what is a number among some values, after so many steps of the group."""
        if self._tracker is None or self._is_lost:
            return
        numbers = {name: float(value) for name, value in values.items() if value is not None}
        try:
            self._tracker.log(group, numbers, step)
        except self._tracker.errors as error:
            self._lose(error)

    def end(self, *, is_finished: bool) -> None:
        """Close the tracker's run."""
        if self._tracker is None:
            return
        try:
            self._tracker.end(is_finished=is_finished)
        except self._tracker.errors as error:
            self._lose(error)

    def _lose(self, error: Exception) -> None:
        name = type(self._tracker).__name__.strip("_")
        text = "%s: %s; nothing more is reported there, train.log has the rest"
        _logger.log(logging.INFO if self._is_lost else logging.WARNING, text, name, error)
        self._is_lost = True


@contextmanager
def reports_of(run: Run, *, is_first: bool) -> Iterator[Reports]:
    """Reports to what the settings name; of several processes only the first one reports.

    A tracker that cannot be started is a `ConfigError`.
    """
    name = tracker_name(run.train) if is_first else None
    reports = Reports(None if name is None else _started(name, run))
    try:
        yield reports
    except BaseException:
        reports.end(is_finished=False)
        raise
    reports.end(is_finished=True)


def _started(name: str, run: Run) -> _Tracker:
    run.folder.mkdir(parents=True, exist_ok=True)
    known = run.folder / "tracker.json"
    run_id = json.loads(known.read_bytes()).get(name) if known.is_file() else None
    try:
        tracker: _Tracker = _TRACKERS[name](run, run_id)
    except Exception as error:  # whatever its login, its server or its store raises
        raise ConfigError(
            f"report_to {name}: it did not start ({type(error).__name__}: {error}); set it up as "
            "its own pages say, or say none"
        ) from error
    if tracker.run_id is not None:
        write_json(known, {name: tracker.run_id})
    return tracker
