"""Counters in Prometheus' text format (version 0.0.4), written without a dependency."""

from __future__ import annotations

import os
import threading
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from msqnet.serving.service import Service

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

Sample = tuple[dict[str, str], float]


class RequestCounts:
    """How many requests were answered, by route and status, and how many refused, by reason."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._requests: Counter[tuple[str, str, int]] = Counter()
        self._refusals: Counter[str] = Counter()

    def note_request(self, method: str, route: str, status: int) -> None:
        """One answer; ``route`` is the pattern, so that there are few of them."""
        with self._lock:
            self._requests[method, route, status] += 1

    def note_refusal(self, code: str) -> None:
        """One refused request."""
        with self._lock:
            self._refusals[code] += 1

    def samples(self) -> tuple[list[Sample], list[Sample]]:
        """Requests and refusals so far."""
        with self._lock:
            requests = [
                ({"method": method, "route": route, "status": str(status)}, float(count))
                for (method, route, status), count in sorted(self._requests.items())
            ]
            refusals: list[Sample] = [
                ({"code": code}, float(count)) for code, count in sorted(self._refusals.items())
            ]
        return requests, refusals


def metrics_text(service: Service) -> str:
    """All metrics of a server."""
    requests, refusals = service.requests.samples()
    counts = service.jobs.counts()
    host = service.worker
    finished: list[Sample] = [
        ({"kind": kind.value, "state": state.value}, float(count))
        for (kind, state), count in sorted(service.jobs.num_finished.items())
    ]
    busy: list[Sample] = [
        ({"kind": kind.value}, float(seconds))
        for kind, seconds in sorted(service.jobs.busy_seconds.items())
    ]
    memory: list[Sample] = [
        ({"process": name}, float(resident_bytes(pid)))
        for name, pid in (
            ("server", os.getpid()),
            ("worker", host.pid),
            ("checker", service.checks.pid),
        )
        if pid is not None
    ]
    up_seconds = time.monotonic() - service.started_at
    families = (
        _family("requests_total", "counter", "Requests answered.", requests),
        _family("refusals_total", "counter", "Requests refused, by reason.", refusals),
        _family("tasks_total", "counter", "Tasks of the worker that ended.", finished),
        _family("task_seconds_total", "counter", "Time the worker was busy.", busy),
        _family("uploads_arriving", "gauge", "Uploads being sent or checked.", counts["arriving"]),
        _family("tasks_waiting", "gauge", "Tasks in the queue.", counts["waiting"]),
        _family("tasks_running", "gauge", "Tasks the worker is at.", counts["running"]),
        _family("jobs_kept", "gauge", "Videos known to the server.", counts["kept"]),
        _family("stored_bytes", "gauge", "Files that are kept.", service.storage.num_bytes()),
        _family("worker_ready", "gauge", "Whether the model is loaded.", float(host.is_ready)),
        _family("worker_restarts_total", "counter", "Workers lost.", host.num_restarts),
        _family("resident_memory_bytes", "gauge", "Memory by process.", memory),
        _family("up_seconds", "gauge", "Time since the start.", round(up_seconds, 3)),
    )
    return "".join(families)


def resident_bytes(pid: int) -> int:
    """Memory of a process that is not swapped out; 0 where that cannot be told."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
    except (OSError, ValueError, IndexError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def _family(name: str, kind: str, help_text: str, samples: float | Iterable[Sample]) -> str:
    rows = [({}, float(samples))] if isinstance(samples, int | float) else samples
    lines = [f"# HELP msqnet_{name} {help_text}", f"# TYPE msqnet_{name} {kind}"]
    lines += [f"msqnet_{name}{_labels(labels)} {value:.15g}" for labels, value in rows]
    return "\n".join(lines) + "\n"


def _labels(labels: Mapping[str, str]) -> str:
    if not labels:
        return ""
    pairs = (f'{key}="{_escaped(value)}"' for key, value in labels.items())
    return "{" + ",".join(pairs) + "}"


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
