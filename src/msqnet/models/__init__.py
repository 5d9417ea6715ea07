"""Model folders: those that come with the package, those that ``--model`` names, changed copies.

A model is a folder with `config.json`, `model.safetensors` and a card, `README.md`, and perhaps
graphs that compute the same without PyTorch, with their `manifest.json`.
"""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msqnet.errors import CheckpointError, check
from msqnet.labels import LabelSet
from msqnet.models.hub import HUB_OPTIONS, checkpoint_file, checkpoint_folder
from msqnet.models.open_models import (
    OPEN_MODEL_TYPES,
    PREFIX,
    RECOMMENDED,
    open_model_source,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

SHIPPED_MODEL = "mixed-actors-lite"
"""What every command uses where no model is named."""

CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"
CARD_FILE = "README.md"
MANIFEST_FILE = "manifest.json"
"""Of the graphs in a model's folder, or of an exported model."""
BEST_FOLDER = "best"
"""Where a run folder of training holds its finished model."""

DEFAULT_THRESHOLD = 0.5
"""Of a label, where a model states none."""
DEFAULT_WINDOW_SECONDS = 2.0
"""Of a model that does not state how long the windows were that it was trained on."""

_LICENCE_LINE = re.compile(r"^license:\s*(\S.*?)\s*$", re.MULTILINE)


@dataclass(frozen=True)
class ModelInfo:
    """What is known of a model without loading it.

    Attributes:
        name: what to give as ``--model``.
        size_bytes: of all its files.
        labels: in the order of its scores.
        licence: as its card states it; empty where it states none.
    """

    name: str
    folder: Path
    size_bytes: int
    labels: tuple[str, ...]
    licence: str


def available_models(folder: Path | None = None) -> list[ModelInfo]:
    """The models in a folder, by name; by default those that come with the package."""
    folder = Path(__file__).parent if folder is None else folder
    return [
        _describe(item)
        for item in sorted(folder.iterdir())
        if (item / CONFIG_FILE).is_file() and (item / WEIGHTS_FILE).is_file()
    ]


def resolve_model(name: str | Path | None = None) -> Path | str:
    """Find a finished model; nothing is loaded or downloaded.

    Args:
        name: None for the shipped model; a model's folder; the folder of a training run, which
            stands for its best checkpoint; a name from `available_models`; an id ``owner/name`` of
            the Hugging Face Hub. What exists on disk comes first.

    Returns:
        A folder that holds a config, or an id of the Hub as it was given.

    Raises:
        CheckpointError: nothing of the kind exists.
    """
    name = SHIPPED_MODEL if name is None else name
    if open_model_source(name) is not None:
        raise CheckpointError(
            f"{name}: a CLIP or SigLIP, which predicts and is evaluated without training, and no "
            "model of msqnet, as expected here; name one of these"
        )
    folder = Path(name)
    shipped = Path(__file__).parent / folder.name
    places = (folder, folder / BEST_FOLDER, *([shipped] if folder.name == str(name) else []))
    for candidate in places:
        if (candidate / CONFIG_FILE).is_file():
            return candidate
    if (folder / MANIFEST_FILE).is_file():
        raise CheckpointError(
            f"{folder}: an exported model, which predicts and is evaluated, but cannot be changed "
            "or looked into; give the model that it was exported from"
        )
    if folder.is_dir():
        raise CheckpointError(
            f"{folder}: a folder without {CONFIG_FILE} and without {BEST_FOLDER}/{CONFIG_FILE}; "
            "expected a model's folder or that of a finished training run"
        )
    if isinstance(name, str) and re.fullmatch(r"[\w][\w.-]*/[\w][\w.-]*", name):
        return name
    listed = ", ".join(item.name for item in available_models())
    raise CheckpointError(
        f"{str(name)!r} is no folder and no known model; known are "
        f"{listed or 'none (this installation holds no model)'}. "
        "Give a model's folder, an id owner/name of the Hugging Face Hub, "
        "or a name listed by: msqnet models"
    )


OPEN_ADVICE = (
    f"take --model {RECOMMENDED.name} ({RECOMMENDED.size}, without training), or train an open "
    "model with --arch.head cosine --arch.direct-path false --arch.learn-label-queries false "
    "--arch.query-attention false"
)
"""What to do about a label that a closed-set model does not have."""


def model_folder(name: str | Path | None = None) -> Path:
    """Like `resolve_model`, but a model of the Hub is fetched into its cache first.

    Its settings come first, so that what is no model of msqnet is a `CheckpointError` before
    anything large is fetched.
    """
    found = resolve_model(name)
    if isinstance(found, str) and (settings := checkpoint_file(found, CONFIG_FILE)) is not None:
        check_is_own(found, settings)
    return checkpoint_folder(found)


def check_is_own(name: str, settings: Path) -> None:
    """Refuse with a `CheckpointError` a model whose settings are not those of msqnet."""
    try:
        told = json.loads(settings.read_text(encoding="utf-8"))
        kind = "" if "labels" in told else told.get("model_type", "other")
    except (OSError, ValueError, TypeError, AttributeError):
        return  # loading says what is wrong
    if not kind:
        return
    advice = (
        f"to predict with it without training: --model {PREFIX}{name} --labels 'walking|eating'"
        if kind in OPEN_MODEL_TYPES
        else "name a model that msqnet trained"
    )
    raise CheckpointError(f"{name}: a model of type {kind!r}, and none of msqnet; {advice}")


def local_model(
    name: str | Path | None, options: dict[str, Any]
) -> tuple[Path | str, dict[str, Any]]:
    """The folder of a model as `model_folder` finds it, and the options that are left.

    Of ``options``, those of `HUB_OPTIONS` say where and how to look on the Hub. With ``subfolder``
    name and options are as given, once the Hub has answered.
    """
    if name is not None and "subfolder" in options:
        if not Path(name).is_dir():
            checkpoint_file(name, f"{options['subfolder']}/{CONFIG_FILE}")
        return name, options
    hub = {key: options[key] for key in HUB_OPTIONS if key in options}
    rest = {key: value for key, value in options.items() if key not in hub}
    return checkpoint_folder(resolve_model(name), **hub), rest


def closed_labels(folder: Path) -> LabelSet | None:
    """The labels of a model that scores no others, as its folder tells; None if it scores any.

    Those that it was taught come last.
    """
    is_whole = (folder / CONFIG_FILE).is_file()
    told = _told(folder / (CONFIG_FILE if is_whole else MANIFEST_FILE))
    is_open = told.get("is_open", told.get("head", "group_wise") != "group_wise")
    return None if is_open else LabelSet(tuple(_with_taught(told["labels"], folder)))


def provenance_in(name: str | Path | None) -> dict[str, Any]:
    """What a model's folder tells of its training; empty where there is no such folder."""
    folder = Path(__file__).parent / SHIPPED_MODEL if name is None else Path(name)
    for place in (folder, folder / BEST_FOLDER):
        for file in (CONFIG_FILE, MANIFEST_FILE):
            if (place / file).is_file():
                found = _told(place / file).get("provenance")
                return found if isinstance(found, dict) else {}
    return {}


def thresholds_of(names: Iterable[str], known: Mapping[str, float]) -> list[float]:
    """Thresholds of labels; of those that are not known, the median of the others."""
    usual = sorted(known.values())[len(known) // 2]
    return [known.get(name, usual) for name in names]


def _told(settings: Path) -> dict[str, Any]:
    """What a model's settings tell without loading it, ``labels`` among them."""
    try:
        told: dict[str, Any] = json.loads(settings.read_text(encoding="utf-8"))
        return told | {"labels": tuple(str(name) for name in told["labels"])}
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"{settings}: found no list 'labels' ({error}); copy or install the model again"
        ) from error


def _with_taught(names: Iterable[str], folder: Path) -> Iterator[str]:
    """The labels of a model itself, then those that it was taught, which may replace some."""
    # It needs NumPy, which the server has no use for.
    from msqnet.models.taught import taught_names

    taught = taught_names(folder)
    yield from (name for name in names if name not in taught)
    yield from taught


def _describe(folder: Path) -> ModelInfo:
    card = folder / CARD_FILE
    names = tuple(_with_taught(_told(folder / CONFIG_FILE)["labels"], folder))
    # The card's front matter is the block between two lines of ``---``.
    parts = card.read_text(encoding="utf-8").split("---", maxsplit=2) if card.is_file() else []
    is_framed = len(parts) == 3 and not parts[0].strip()
    match = _LICENCE_LINE.search(parts[1]) if is_framed else None
    size_bytes = sum(item.stat().st_size for item in folder.rglob("*") if item.is_file())
    return ModelInfo(folder.name, folder, size_bytes, names, match.group(1) if match else "")


def check_target(source: Path, out: Path, *, overwrite: bool) -> None:
    """Refuse to replace a model without leave, or anything else, with a `ConfigError`."""
    check(
        source.resolve() not in out.resolve().parents,
        f"{out}: lies in the model's own folder, which would be copied into itself; name a "
        "folder beside it with --out",
    )
    if not out.exists():
        return
    is_same = out.resolve() == source.resolve()
    found = "the model itself" if is_same else "it exists"
    check(
        overwrite, f"{out}: {found}; name a new folder with --out, or replace it with --overwrite"
    )
    check(
        is_same or ((out / CONFIG_FILE).is_file() and (out / WEIGHTS_FILE).is_file()),
        f"{out}: found no {CONFIG_FILE} and {WEIGHTS_FILE}, so it is not a model's folder and "
        "is not replaced; name another one with --out",
    )


@contextmanager
def changed_model(
    source: Path, out: Path, *, overwrite: bool, keeps_graphs: bool = False
) -> Iterator[Path]:
    """A copy of a model's folder, to be changed; it takes its place when the block ends.

    Graphs, which are made of the model as it was, stay behind: `msqnet export` makes new ones. They
    come along where what they compute stays as it is (``keeps_graphs``).
    ``source`` may be ``out`` itself. Yields the copy, beside ``out``, whose parents are made. After
    an error in the block the copy is gone, and ``out`` is as it was. See `check_target` for the
    `ConfigError`; a folder that cannot be written is an `OSError`.
    """
    check_target(source, out, overwrite=overwrite)
    out.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    try:
        draft, earlier = work / "new", work / "earlier"
        left = () if keeps_graphs else (MANIFEST_FILE, "*.onnx")
        shutil.copytree(source, draft, ignore=shutil.ignore_patterns(*left))
        yield draft
        try:
            if out.exists():
                out.rename(earlier)
            draft.rename(out)
        except BaseException:
            # Also where somebody interrupts: the earlier model may be the only one.
            if earlier.exists() and not out.exists():
                earlier.rename(out)
            raise
    finally:
        if out.exists() or not (work / "earlier").exists():
            shutil.rmtree(work, ignore_errors=True)
