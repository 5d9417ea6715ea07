"""A finished model's folder with something changed: whole under its name, or not there at all."""

from __future__ import annotations

import json
import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msqnet.errors import ConfigError
from msqnet.models import CONFIG_FILE, WEIGHTS_FILE

if TYPE_CHECKING:
    from collections.abc import Iterator


def check_target(source: Path, out: Path, *, overwrite: bool) -> None:
    """Refuse a place for a changed model before any work is done.

    Args:
        source: folder of the model.
        out: where the changed one would be written.
        overwrite: whether it may replace what is there.

    Raises:
        ConfigError: something is there that may not be replaced, or that is no model.
    """
    if source.resolve() in out.resolve().parents:
        raise ConfigError(
            f"{out}: lies in the model's own folder, which would be copied into itself; name a "
            "folder beside it with --out"
        )
    if not out.exists():
        return
    if not overwrite:
        same = "the model itself" if out.resolve() == source.resolve() else "it exists"
        raise ConfigError(
            f"{out}: {same}; name a new folder with --out, or replace it with --overwrite"
        )
    if not (out / CONFIG_FILE).is_file() or not (out / WEIGHTS_FILE).is_file():
        raise ConfigError(
            f"{out}: found no {CONFIG_FILE} and {WEIGHTS_FILE}, so it is not a model's folder and "
            "is not replaced; name another one with --out"
        )


@contextmanager
def changed_model(source: Path, out: Path, *, overwrite: bool) -> Iterator[Path]:
    """A copy of a model's folder, to be changed; it takes its place when the block ends.

    Args:
        source: folder of the model; may be ``out`` itself.
        out: where the changed model goes; its parents are made.
        overwrite: whether it may replace a model that is there.

    Yields:
        The copy, beside ``out``. After an error in the block it is gone, and ``out`` as it was.

    Raises:
        ConfigError: see `check_target`.
        OSError: the folder cannot be written.
    """
    check_target(source, out, overwrite=overwrite)
    out.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    try:
        draft, earlier = work / "new", work / "earlier"
        shutil.copytree(source, draft)
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


def change_config(folder: Path, values: dict[str, Any]) -> None:
    """Set some settings of a model's configuration; all others stay as they are written.

    Args:
        folder: of the model, not in use.
        values: JSON values by name.
    """
    path = folder / CONFIG_FILE
    settings = json.loads(path.read_text(encoding="utf-8"))
    text = json.dumps({**settings, **values}, indent=2, sort_keys=True) + "\n"
    path.write_text(text, encoding="utf-8")
