"""`msqnet doctor`: check this installation and suggest fixes."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from msqnet.diagnosis import CheckResult


def doctor(
    model: str | None = None,
    device: str = "auto",
    offline: bool = False,
    as_json: bool = False,
) -> int:
    """Check this installation and machine, run a short test and suggest fixes.

    Attach the whole output when you report a problem.

    Args:
        model: Model of the self-test, as for `msqnet predict`; by default the one that comes with
            msqnet.
        device: auto, cpu, cuda, cuda:1, mps, ...
        offline: Do not contact the Hugging Face Hub.
        as_json: Print JSON, one object per line.

    Returns:
        0 if msqnet works here, 1 if anything it needs does not.
    """
    num_problems = num_notes = 0
    shown_topic = ""
    for topic, result in _results(model, device, offline=offline):
        num_problems += result.status == "problem"
        num_notes += result.status == "note"
        if as_json:
            print(json.dumps({"topic": topic, **asdict(result)}), flush=True)
            continue
        if topic != shown_topic:
            shown_topic = topic
            print(f"\n{topic}", flush=True)
        mark = "PROBLEM" if result.status == "problem" else result.status
        print(f"  {mark:<8}{result.name}: {result.value}", flush=True)
        if result.advice:
            print(f"{'':12}-> {result.advice}", flush=True)
    if not as_json:
        print(f"\nproblems: {num_problems}, notes: {num_notes}")
    return 1 if num_problems else 0


def _results(model: str | None, device: str, *, offline: bool) -> Iterator[tuple[str, CheckResult]]:
    """Topics and checks, the cheap ones first; if a package is missing, only those of packages."""
    from msqnet import diagnosis

    packages = list(diagnosis.check_packages())
    yield from (("packages", result) for result in packages)
    if any(result.status == "problem" for result in packages):
        return
    for topic, results in (
        ("video", diagnosis.check_codecs()),
        ("devices", diagnosis.check_devices()),
        ("resources", diagnosis.check_resources(Path.cwd())),
        ("models", diagnosis.check_hub(offline=offline)),
        ("self-test", diagnosis.self_test(model, device)),
    ):
        yield from ((topic, result) for result in results)
