"""Versions of Python, msqnet and its dependencies; which optional parts are there."""

from __future__ import annotations

import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, requires, version
from importlib.util import find_spec
from typing import TYPE_CHECKING

from packaging.requirements import Requirement

from msqnet import __version__
from msqnet.diagnosis.findings import Finding

if TYPE_CHECKING:
    from collections.abc import Iterator

_TOPIC = "packages"
_TESTED_PYTHON = (3, 11)
_BREAKING = {
    "torchvision": "beside torch's CPU build it breaks `import transformers`",
    "decord": "msqnet does not use it, and its FFmpeg libraries can clash with PyAV's",
}


def package_findings() -> Iterator[Finding]:
    """Python, the system, every dependency beside what it has to be, and the optional parts."""
    python = platform.python_version()
    is_tested = sys.version_info[:2] == _TESTED_PYTHON
    yield Finding(
        _TOPIC,
        "Python",
        f"{python}, {platform.platform()}",
        "ok" if is_tested else "note",
        "" if is_tested else "msqnet is tested on Python 3.11",
    )
    yield Finding(_TOPIC, "msqnet", __version__)
    requirements = [Requirement(text) for text in requires("msqnet") or ()]
    for requirement in requirements:
        if requirement.marker is None:
            yield _dependency(requirement)
    yield from _extras([item for item in requirements if item.marker is not None])
    for name, why in _BREAKING.items():
        if find_spec(name) is not None:
            yield Finding(
                _TOPIC, name, _installed(name) or "there", "note", f"{why}: pip uninstall {name}"
            )
    yield from _variables()


def _dependency(requirement: Requirement) -> Finding:
    found = _installed(requirement.name)
    expected = f"{requirement.name}{requirement.specifier}"
    if found is None:
        return Finding(
            _TOPIC, requirement.name, "not installed", "problem", f"pip install '{expected}'"
        )
    # A local version such as 2.13.0+cpu is the same release.
    if not requirement.specifier.contains(found, prereleases=True):
        return Finding(_TOPIC, requirement.name, found, "problem", f"pip install '{expected}'")
    return Finding(_TOPIC, requirement.name, found)


def _extras(requirements: list[Requirement]) -> Iterator[Finding]:
    """One line an optional part: there, or what is missing of it."""
    missing: dict[str, list[str]] = {}
    for requirement in requirements:
        for extra in _names_of_extras(requirement):
            missing.setdefault(extra, [])
            if requirement.name != "msqnet" and not _is_there(requirement):
                missing[extra].append(requirement.name)
    for extra, names in sorted(missing.items()):
        if extra == "all":
            continue
        yield Finding(
            _TOPIC,
            f"msqnet[{extra}]",
            f"missing: {', '.join(names)}" if names else "installed",
            "note" if names else "ok",
            f"pip install 'msqnet[{extra}]'" if names else "",
        )


def _names_of_extras(requirement: Requirement) -> list[str]:
    marker = str(requirement.marker)
    parts = marker.replace('"', "'").split("'")
    names = [parts[i + 1] for i in range(0, len(parts) - 1, 2) if "extra ==" in parts[i]]
    return [name for name in names if requirement.marker.evaluate({"extra": name})]  # type: ignore[union-attr]


def _is_there(requirement: Requirement) -> bool:
    found = _installed(requirement.name)
    return found is not None and requirement.specifier.contains(found, prereleases=True)


def _installed(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _variables() -> Iterator[Finding]:
    """Variables of the environment that change what msqnet does, where they are set."""
    names = ("MSQNET_LOG", "HF_HOME", "HF_HUB_OFFLINE", "OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES")
    is_set = [f"{name}={os.environ[name]}" for name in names if name in os.environ]
    yield Finding(_TOPIC, "environment", ", ".join(is_set) or "no variable of msqnet is set")
