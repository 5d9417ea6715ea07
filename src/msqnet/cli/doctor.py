"""`msqnet doctor`: what this installation can do, and what to do where it cannot."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from msqnet.diagnosis.findings import Finding

_MARKS = {"ok": "ok", "note": "note", "problem": "PROBLEM"}


def doctor(
    model: str | None = None,
    device: str = "auto",
    offline: bool = False,
    as_json: bool = False,
) -> int:
    """Look at this installation and this machine, test both, and say what to do.

    Put the whole output into a report of a problem.

    Args:
        model: Model of the self-test, as of `msqnet predict`; by default the one that comes with
            msqnet.
        device: auto, cpu, cuda, cuda:1, mps, ...
        offline: Do not try to reach the Hugging Face Hub.
        as_json: Print JSON instead, one object a line.

    Returns:
        0 if msqnet works here, 1 if something that it needs does not.
    """
    num_problems = num_notes = 0
    topic = ""
    for finding in _findings(model, device, offline=offline):
        num_problems += finding.status == "problem"
        num_notes += finding.status == "note"
        if as_json:
            print(json.dumps(asdict(finding)), flush=True)
            continue
        if finding.topic != topic:
            topic = finding.topic
            print(f"\n{topic}", flush=True)
        print(_line(finding), flush=True)
    if not as_json:
        print(f"\nproblems: {num_problems}, notes: {num_notes}")
    return 1 if num_problems else 0


def _findings(model: str | None, device: str, *, offline: bool) -> Iterator[Finding]:
    """Cheap checks first; where a package is missing, what needs it is left out."""
    from msqnet.diagnosis.packages import package_findings

    found = list(package_findings())
    yield from found
    if any(finding.status == "problem" for finding in found):
        return
    from msqnet.diagnosis.hub import hub_findings
    from msqnet.diagnosis.machine import codec_findings, device_findings, resource_findings
    from msqnet.diagnosis.self_test import self_test_findings

    yield from codec_findings()
    yield from device_findings()
    yield from resource_findings(Path.cwd())
    yield from hub_findings(offline=offline)
    yield from self_test_findings(model, device)


def _line(finding: Finding) -> str:
    advice = f"\n{'':12}-> {finding.advice}" if finding.advice else ""
    return f"  {_MARKS[finding.status]:<8}{finding.name}: {finding.value}{advice}"
