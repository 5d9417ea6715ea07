"""One training run: its rows and settings, its ablations, and the folder that it claims."""

from __future__ import annotations

import filecmp
import hashlib
import itertools
import json
import logging
import re
import shutil
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import yaml

from msqnet.config.differences import differences
from msqnet.data.frame_targets import border_windows
from msqnet.errors import ConfigError, DatasetError, check
from msqnet.files import replacing
from msqnet.video.reader import open_video

if TYPE_CHECKING:
    from pathlib import Path

    from msqnet.config import ArchConfig, AugmentationConfig, ClipConfig, TrainConfig
    from msqnet.data.records import ClipTable
    from msqnet.labels import LabelSet
    from msqnet.model.out_of_distribution import TrainingReference
    from msqnet.model.pretrained import MSQNet
    from msqnet.models.taught import Background

DECODER_ROWS = 100
# A direct path that starts from another model's leaves the decoder less to add.
_DECODER_ROWS_FROM_A_MODEL = 300
_MAX_WINDOW_SECONDS = 2.0
_MAX_WINDOWS = 8
_logger = logging.getLogger(__name__)
# What a run that goes on must have in common with its beginning, to the release.
_RELEASES = ("msqnet", "torch", "transformers")
_SETTINGS = ("arch", "clip", "augmentation", "train")
# Settings of training that change neither the weights nor the scores.
_WITHOUT_EFFECT = {"num_workers", "report_to"}
_SIDED_WORDS = {
    *("left", "right", "leftward", "rightward", "leftwards", "rightwards"),
    *("clockwise", "anticlockwise", "counterclockwise"),
}


@dataclass(frozen=True)
class Run:
    """Rows and settings of a run; every setting resolved.

    Attributes:
        table: the training rows, all readable.
        task: "multi_label" or "single_label".
        init_from: model folder to start from, or None.
        provenance: goes into the model's configuration.
        features: where features of frozen parts are kept; None: in the run folder, until its end.
        given_window: as `window`; None: that of the rows.
    """

    table: ClipTable
    labels: LabelSet
    arch: ArchConfig
    clip: ClipConfig
    augmentation: AugmentationConfig
    train: TrainConfig
    task: str
    folder: Path
    init_from: str | None
    provenance: dict[str, Any]
    features: Path | None = None
    given_window: tuple[float, str] | None = None

    @cached_property
    def window(self) -> tuple[float, str]:
        """Length in seconds of the windows that the model predicts on, and why."""
        return self.given_window or typical_window(self.table)

    @property
    def has_few_rows(self) -> bool:
        """Whether the rows are too few for the decoder; see `TrainConfig.decoder_rows`."""
        return bool(self.train.folds) and len(self.table) < self.decoder_rows

    @property
    def decoder_rows(self) -> int:
        """Fewest rows with which the decoder is trained."""
        if self.train.decoder_rows is not None:
            return self.train.decoder_rows
        return DECODER_ROWS if self.init_from is None else _DECODER_ROWS_FROM_A_MODEL

    @property
    def cached_views(self) -> int:
        """Augmented views whose features are kept."""
        if self.train.cached_views is not None:
            return self.train.cached_views
        usual = 1 if self.has_few_rows else 3
        return 0 if self.train.trains_backbone else usual

    @property
    def scene_weight(self) -> float:
        """Weight of whole frames in the direct path."""
        if self.train.scene_weight is not None:
            return self.train.scene_weight
        return 0.5 if self.has_few_rows else 1.0

    @property
    def targets(self) -> np.ndarray:
        """(V, K) float32 of 1, 0 and -100."""
        return self.table.targets(self.labels)


def trainable_labels(table: ClipTable) -> tuple[str, ...]:
    """Labels with at least one positive row; `DatasetError` without any."""
    names = table.label_names()
    if not names:
        raise DatasetError(f"{table.path}: no row has a label; there is nothing to train on")
    return names


def check_single_label(table: ClipTable) -> None:
    """Refuse rows that do not have exactly one label, with a `DatasetError` that names them."""
    wrong = [record.place for record in table.records if len(record.labels) != 1]
    if wrong:
        named = ", ".join(wrong[:10])
        raise DatasetError(
            f"{table.path}: {len(wrong)} rows have no label or several ({named} ...); "
            "single_label needs exactly one in each, multi_label takes any number"
        )


def rows_digest(table: ClipTable) -> str:
    """Identifies the rows, their order and their labels."""
    rows = [
        (
            *(r.relative_path, r.start_seconds, r.end_seconds),
            *(r.labels, sorted(r.annotated or "*"), r.group, r.holds_throughout),
        )
        for r in table.records
    ]
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()[:16]


def check_folder(run: Run, *, resume: bool) -> None:
    """Refuse a folder that holds a run where ``resume`` is off, or one with another result.

    Either is a `ConfigError`. Workers and the experiment tracker may change.
    """
    path = run.folder / "run.yaml"
    if not resume:
        refuse_begun(run.folder)
    if not path.exists():
        return
    begun = settings_in(run.folder)
    here: dict[str, Any] = yaml.safe_load(_as_yaml(run))
    _check_release(path, begun, here)
    found = differences(_deciding(begun), _deciding(here), frozenset({"rows_digest"}))
    if begun.get("rows_digest") != here["rows_digest"]:
        of_rows = "the rows: their videos, times, labels or groups"
        found = f"{found}; {of_rows}" if found else of_rows
    if found:
        raise ConfigError(
            f"{path} has other settings or rows than this call ({found}); repeat that call, or "
            "choose another --out"
        )


def refuse_begun(folder: Path) -> None:
    """Refuse, with a `ConfigError`, a folder that holds a run."""
    check(
        not (folder / "run.yaml").exists(),
        f"{folder} holds a run; continue it with --resume true, or choose another --out",
    )


def _check_release(path: Path, begun: dict[str, Any], here: dict[str, Any]) -> None:
    """Refuse a run of another release of what trains, whose settings or weights may differ."""
    was, now = (
        {name: str((settings.get("provenance") or {}).get(name)) for name in _RELEASES}
        for settings in (begun, here)
    )
    names = [name for name in _RELEASES if was[name] != now[name]]
    is_alike = all(_names(begun.get(group)) == _names(here[group]) for group in _SETTINGS)
    if not names and is_alike:
        return
    if names:
        of, with_ = (", ".join(f"{name} {known[name]}" for name in names) for known in (was, now))
    else:
        of, with_ = "other settings", f"msqnet {now['msqnet']} of today"
    features = path.with_name("features")
    kept = f" (--features {features} takes over what it has computed)" if features.is_dir() else ""
    raise ConfigError(
        f"{path}: the run began with {of} and cannot be resumed with {with_}, which may lead to "
        f"other weights; install what it began with, or train anew with another --out{kept}"
    )


def _names(settings: Any) -> set[str]:
    return set(settings) if isinstance(settings, dict) else set()


def _deciding(settings: dict[str, Any]) -> dict[str, Any]:
    """The settings that decide the result, each of them once."""
    left_out = {"train": _WITHOUT_EFFECT, "provenance": {"data", "num_rows", "seed", *_RELEASES}}
    parts = {
        group: {name: value for name, value in settings[group].items() if name not in names}
        for group, names in left_out.items()
        if isinstance(settings.get(group), dict)
    }
    return {**settings, **parts}


def claim_folder(run: Run) -> None:
    """Write ``run.yaml``, where `check_folder` has found none or one of the same result."""
    run.folder.mkdir(parents=True, exist_ok=True)
    with replacing(run.folder / "run.yaml") as part:
        part.write_text(_as_yaml(run), encoding="utf-8")


def _as_yaml(run: Run) -> str:
    return yaml.safe_dump(settings_of(run), sort_keys=False)


def settings_in(folder: Path) -> dict[str, Any]:
    """Settings of the run in a folder, as `settings_of` gives them; empty where there is none.

    A file that is no YAML is a `ConfigError`.
    """
    path = folder / "run.yaml"
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8")) if path.is_file() else None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is damaged; choose another --out ({error})") from error
    return found if isinstance(found, dict) else {}


def is_finished(folder: Path) -> bool:
    """Whether a run has its model, and nothing more to resume it from."""
    has_model = (folder / "best" / "config.json").is_file()
    return has_model and not any((folder / "checkpoints").glob("checkpoint-*"))


def remove_leftovers(folder: Path) -> None:
    """Delete what only a run that goes on needs: checkpoints, folds, a second copy of the model.

    The model of the last epoch stays where another epoch was chosen.
    """
    for path in [*folder.glob("fold-*"), folder / "checkpoints"]:
        shutil.rmtree(path, ignore_errors=True)
    best, last = (folder / name / "model.safetensors" for name in ("best", "last"))
    if best.is_file() and last.is_file() and filecmp.cmp(best, last, shallow=False):
        shutil.rmtree(folder / "last", ignore_errors=True)


def settings_of(run: Run) -> dict[str, Any]:
    """Everything that decides the result, as plain values for ``run.yaml``."""
    return {
        "data": str(run.table.path),
        "num_rows": len(run.table),
        "rows_digest": rows_digest(run.table),
        "labels": list(run.labels),
        "task": run.task,
        "init_from": run.init_from,
        "arch": asdict(run.arch),
        "clip": run.clip.as_dict(),
        "augmentation": asdict(run.augmentation),
        "train": {
            **asdict(run.train),
            "cached_views": run.cached_views,
            "scene_weight": run.scene_weight,
            "decoder_rows": run.decoder_rows,
        },
        "provenance": run.provenance,
    }


def without_flip_where_sides_matter(
    augmentation: AugmentationConfig, labels: LabelSet
) -> AugmentationConfig:
    """No mirrored clips where a label speaks of left or right."""
    words = {word.lower() for name in labels for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+", name)}
    if augmentation.horizontal_flip and words & _SIDED_WORDS:
        _logger.warning("labels speak of left and right: clips are not mirrored")
        return replace(augmentation, horizontal_flip=False)
    return augmentation


def save_model(model: MSQNet, folder: Path, *beside: TrainingReference | Background | None) -> None:
    """Write or replace a finished model folder, with what lies beside the model in it.

    Half-written ones never carry its name.
    """
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    model.save_pretrained(partial)
    for item in beside:
        if item is not None:
            item.save(partial)
    if folder.exists():
        shutil.rmtree(folder)
    partial.replace(folder)


def typical_window(table: ClipTable) -> tuple[float, str]:
    """Length in seconds of the windows that a model of these rows predicts on, and why.

    The median length of the rows, where a row without an end lasts as long as its video, which is
    opened for that; but at most 2 s. Rows of many seconds say that an action is somewhere in them,
    and windows as long as they are tell worse when it was.

    A video that cannot be read is a `VideoError`.
    """
    ends: dict[Path, float] = {}
    lengths = []
    for record in table.records:
        end = record.end_seconds
        if end is None:
            if record.path not in ends:
                with open_video(record.path, fps=record.fps) as video:
                    ends[record.path] = video.duration_seconds
            end = ends[record.path]
        lengths.append(end - (record.start_seconds or 0.0))
    median = round(float(np.median(lengths)), 3)
    if median > _MAX_WINDOW_SECONDS:
        reason = f"the longest that tells well when something was; rows are longer ({median:g} s)"
        return _MAX_WINDOW_SECONDS, reason
    return median, f"the median length of the {len(table)} row(s)"


def cut_into_windows(table: ClipTable, seconds: float) -> ClipTable:
    """The table with windows in place of long rows whose labels hold throughout.

    So a model learns at the time scale on which it predicts; see `Record.windows`. Last come
    windows over borders between such rows, see `border_windows`.
    """
    windows = (record.windows(seconds, _MAX_WINDOWS) for record in table.records)
    records = (*itertools.chain.from_iterable(windows), *border_windows(table.records, seconds))
    return replace(table, records=records)


_PAPER: dict[str, Any] = {"head": "group_wise", "direct_path": False}
_TEXT_ONLY: dict[str, Any] = {"video_query": "none", "image_encoder": "none"}
_OPEN: dict[str, Any] = {
    "head": "cosine",
    "direct_path": False,
    "learn_label_queries": False,
    "query_attention": False,
    "query_positions": "none",
}

VARIANTS: dict[str, dict[str, Any]] = {
    "vanilla": {**_PAPER, **_TEXT_ONLY, "text_encoder": "random"},
    "text_init": {**_PAPER, **_TEXT_ONLY},
    "full": _PAPER,
    "open_text": {**_OPEN, **_TEXT_ONLY},
    "open_full": _OPEN,
    "video": {"audio_encoder": "none"},
    "audio": {"video_query": "none", "image_encoder": "none", "frame_memory": False},
    "both": {},
}
"""What each variant changes.

- ``vanilla``: random label queries, no video query;
- ``text_init``: label queries start from text, no video query;
- ``full``: text and video query, as the paper's MSQNet;
- ``open_text``, ``open_full``: the latter two with a head and queries that are functions of text;
- ``video``, ``audio``, ``both``: what a model with an audio encoder is given; the rest stays.
"""


def variant(arch: ArchConfig, name: str) -> ArchConfig:
    """The settings of one of `VARIANTS`, from those of the full model.

    No such variant, or settings that lack what a variant takes away, are a `ConfigError`.
    """
    if name not in VARIANTS:
        raise ConfigError(f"no variant {name!r}; known are: {', '.join(VARIANTS)}")
    changes = VARIANTS[name]
    is_of_sound = "head" not in changes
    if arch.video_query == "none" or (arch.text_encoder == "random" and not is_of_sound):
        raise ConfigError(
            "variants start from the full model: set video_query to image or trunk, and "
            "text_encoder to one that reads text"
        )
    if is_of_sound:
        check(
            arch.audio_encoder != "none",
            f"variant {name}: variants of sound start from the full model with sound: set "
            "audio_encoder",
        )
    elif changes["head"] == _OPEN["head"] and arch.head != "group_wise":
        changes = {**changes, "head": arch.head}  # another open head that was asked for
    return replace(arch, **changes)
