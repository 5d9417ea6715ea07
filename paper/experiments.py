"""The rows of the paper's Tables 1 to 6, and the settings that each row stands for.

Rows are YAML files in ``rows/``, one per table; nothing is run here.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field, fields, is_dataclass, replace
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from msqnet.config import AugmentationConfig
from msqnet.errors import ConfigError
from msqnet.model.registry import encoder_spec
from msqnet.training.training_run import variant

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from msqnet.config import ArchConfig, TrainConfig

TABLES = (1, 2, 3, 4, 5, 6)
PRESETS = ("default", "reference")
NUM_ZERO_SHOT_SPLITS = 10
"""Random splits of the labels behind each number of Table 3."""

_ROWS = Path(__file__).parent / "rows"
_ZERO_SHOT_TABLE = 3
# They change how long a run takes, not its result.
_NEUTRAL = frozenset({"train.num_workers", "train.gradient_checkpointing"})


@dataclass(frozen=True)
class Measure:
    """A metric to take from a finished model.

    Attributes:
        protocol: name of an evaluation protocol.
        metric: key in `metrics.json`.
        of_paper: whether it is the metric that the paper reports.
        needs_times: whether it needs a table of the test videos whose rows have times.
    """

    protocol: str
    metric: str
    of_paper: bool = False
    needs_times: bool = False


@dataclass(frozen=True)
class PaperDataSet:
    """A data set as the tables use it.

    Attributes:
        name: of the adapter that makes its table.
        title: its own name.
        task: "multi_label" or "single_label".
        num_labels: K, all official labels.
        paper_metric: the paper's name for its metric.
        means: what that metric is.
        measures: metrics taken from a finished model.
        convert: the command that makes its table.
        rows: number of rows by split, as that command makes them; empty where not known.
        num_parts: official train/test splits that a result is the mean of.
        convert_with_times: the command that makes its table of rows with times, or empty.
        zero_shot_metric: the name of its metric in Table 3.
        zero_shot_means: what that metric is.
    """

    name: str
    title: str
    task: str
    num_labels: int
    paper_metric: str
    means: str
    measures: tuple[Measure, ...]
    convert: str
    rows: Mapping[str, int] = field(default_factory=dict)
    num_parts: int = 1
    convert_with_times: str = ""
    zero_shot_metric: str = ""
    zero_shot_means: str = ""


@dataclass(frozen=True)
class Experiment:
    """One row of a table on one data set.

    Attributes:
        name: ``table1/charades_timesformer_mmq``.
        data_set: what it is measured on.
        paper: the paper's result, in percent.
        method: whose result it is.
        backbone: as the paper names it; empty where it says nothing.
        pretraining: likewise.
        mmq: "Yes" or "No" where the table has a column for multi-modal queries, as printed.
        queries: variant of `msqnet.training.training_run`; empty for other methods.
        video_encoder: name of the encoder; empty for other methods.
        arch: what differs from the recipe of that encoder.
        seen_share: share of the labels that is trained on; None where all are.
        reported: result of another method, copied by the paper from elsewhere: nothing to run.
        cross_dataset: measured in another setting, after training on other data sets.
        same_as: the experiment that this row repeats; empty for none.
        note: what must be known to read the result.
    """

    name: str
    data_set: PaperDataSet
    paper: float
    method: str = "MSQNet"
    backbone: str = ""
    pretraining: str = ""
    mmq: str = ""
    queries: str = ""
    video_encoder: str = ""
    arch: Mapping[str, Any] = field(default_factory=dict)
    seen_share: float | None = None
    reported: bool = False
    cross_dataset: bool = False
    same_as: str = ""
    note: str = ""

    @property
    def table(self) -> int:
        """Number of the table."""
        return int(self.name.partition("/")[0].removeprefix("table"))

    @property
    def canonical(self) -> str:
        """The name under which a run counts: rows that repeat another one share its runs."""
        return self.same_as or self.name

    @property
    def is_zero_shot(self) -> bool:
        """Whether the model is tested on labels that it was not trained on."""
        return self.table == _ZERO_SHOT_TABLE

    @property
    def paper_metric(self) -> str:
        """The paper's name for the metric."""
        data_set = self.data_set
        return data_set.zero_shot_metric if self.is_zero_shot else data_set.paper_metric

    @property
    def means(self) -> str:
        """What the metric is."""
        if self.reported:
            return "as its authors report it; its protocol need not be that of the MSQNet rows"
        return self.data_set.zero_shot_means if self.is_zero_shot else self.data_set.means

    @property
    def measures(self) -> tuple[Measure, ...]:
        """The metrics that a finished run reports."""
        if not self.is_zero_shot:
            return self.data_set.measures
        names = ("unseen", "chance_unseen", "generalised_seen", "generalised_unseen", "harmonic")
        kind = "top-1" if self.data_set.task == "single_label" else "macro mAP"
        return tuple(
            Measure(f"zero_shot ({kind})", name, of_paper=name == "unseen") for name in names
        )

    @property
    def description(self) -> str:
        """The row in words."""
        parts = [self.method, self.backbone, self.pretraining]
        if self.queries:
            parts.append(_settings()["queries"][self.queries]["title"])
        if self.seen_share is not None:
            parts.append(f"{self.seen_share:.0%} of the labels seen")
        parts += [f"{name} {value}" for name, value in self.arch.items()]
        if self.reported:
            parts.append("reported, cross-dataset" if self.cross_dataset else "reported")
        return ", ".join(filter(None, parts))


@dataclass(frozen=True)
class ExperimentSettings:
    """Everything that decides the result of an experiment, apart from the data.

    Attributes:
        arch: of a zero-shot experiment the full model, from which ``variant`` takes parts away.
        train: training.
        augmentation: random changes in training.
        variant: of `msqnet.training.training_run`, for zero-shot experiments; else empty.
    """

    arch: ArchConfig
    train: TrainConfig
    augmentation: AugmentationConfig = field(default_factory=AugmentationConfig)
    variant: str = ""

    @property
    def trained_arch(self) -> ArchConfig:
        """The architecture that is trained."""
        return variant(self.arch, self.variant) if self.variant else self.arch

    def dotted(self) -> dict[str, Any]:
        """Every setting by its option name, such as ``train.epochs``."""
        groups = {"arch": self.arch, "train": self.train, "augmentation": self.augmentation}
        return {
            f"{group}.{name}": value
            for group, config in groups.items()
            for name, value in _leaves(config)
        }

    def trained(self) -> dict[str, Any]:
        """Every setting of what is trained, as `dotted`, and the name of the variant."""
        return {**replace(self, arch=self.trained_arch).dotted(), "variant": self.variant}

    @property
    def digest(self) -> str:
        """First 16 hex digits of the SHA-256 of all settings of what is trained."""
        text = json.dumps(self.trained(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def changes_from(self, other: ExperimentSettings) -> list[str]:
        """``name=value`` of each setting that differs, except those that only cost time."""
        theirs = other.dotted()
        return [
            f"{name}={value}"
            for name, value in self.dotted().items()
            if value != theirs[name] and name not in _NEUTRAL
        ]


def _leaves(config: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted names and values of a settings dataclass, nested ones taken apart."""
    for item in fields(config):
        value = getattr(config, item.name)
        if is_dataclass(value):
            yield from _leaves(value, f"{prefix}{item.name}.")
        else:
            yield f"{prefix}{item.name}", value


def _read(name: str) -> Any:
    return yaml.safe_load((_ROWS / f"{name}.yaml").read_text(encoding="utf-8"))


@cache
def _settings() -> dict[str, Any]:
    found: dict[str, Any] = _read("settings")
    return found


@cache
def data_sets() -> Mapping[str, PaperDataSet]:
    """The data sets of the tables by name."""
    return {
        name: PaperDataSet(
            **{
                **values,
                "name": name,
                "measures": tuple(Measure(**measure) for measure in values["measures"]),
            }
        )
        for name, values in _read("data_sets").items()
    }


@cache
def experiments() -> Mapping[str, Experiment]:
    """Every row of Tables 1 to 6 by name, in the order of the paper."""
    found: dict[str, Experiment] = {}
    for number in TABLES:
        content = _read(f"table{number}")
        for row, values in content["rows"].items():
            name = f"table{number}/{row}"
            if "same_as" in values:
                found[name] = replace(found[values["same_as"]], name=name, mmq="", **values)
                continue
            values = {**values, "data_set": data_sets()[values["data_set"]]}
            if content["has_mmq_column"] and "queries" in values:
                printed = _settings()["queries"][values["queries"]]["paper"]
                values = {"mmq": printed, **values}  # a row may say that it is printed otherwise
            found[name] = Experiment(name=name, **values)
    return found


def table_title(number: int) -> str:
    """The caption of a table.

    Raises:
        ConfigError: the paper has no such table.
    """
    if number not in TABLES:
        raise ConfigError(f"table {number}: the paper's tables are {', '.join(map(str, TABLES))}")
    title: str = _read(f"table{number}")["title"]
    return title


def preset_title(preset: str) -> str:
    """A preset in words."""
    title: str = _settings()["presets"][preset]["title"]
    return title


def find_experiment(name: str) -> Experiment:
    """The experiment of a name.

    Raises:
        ConfigError: there is none; suggests names that are spelt alike.
    """
    known = experiments()
    if name not in known:
        near = get_close_matches(name, known, n=3, cutoff=0.5)
        meant = f"; did you mean {', '.join(near)}?" if near else ";"
        raise ConfigError(
            f"no experiment {name!r}{meant} 'python paper/run.py --list' names all of them"
        )
    return known[name]


def resolve(experiment: Experiment, preset: str = "default") -> ExperimentSettings:
    """The settings of an experiment.

    Args:
        experiment: one that can be run.
        preset: of `PRESETS`: `default` is the paper, and what is correct where it is silent;
            `reference` is its released code.

    Raises:
        ConfigError: the result of another method.
    """
    if experiment.reported:
        raise ConfigError(
            f"{experiment.name} is {experiment.method}, whose result the paper reports; there is "
            "nothing to run"
        )
    common, changes = _settings(), _settings()["presets"][preset]
    recipe = encoder_spec(experiment.video_encoder).recipe()
    arch = replace(
        recipe.arch,
        **{
            **experiment.arch,
            **changes.get("arch", {}),
            **changes.get("encoders", {}).get(experiment.video_encoder, {}),
            **(changes.get("zero_shot", {}) if experiment.is_zero_shot else {}),
        },
    )
    queries = experiment.queries
    if experiment.is_zero_shot and preset == "default":
        queries = common["queries"][queries]["open"]
    settings = ExperimentSettings(
        arch=arch,
        train=replace(recipe.train, **{**common["train"], **changes.get("train", {})}),
        augmentation=replace(AugmentationConfig(), **changes.get("augmentation", {})),
        variant=queries,
    )
    if experiment.is_zero_shot:
        return settings
    return replace(settings, arch=settings.trained_arch, variant="")
