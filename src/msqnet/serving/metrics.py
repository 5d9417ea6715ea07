"""Metrics for Prometheus."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import psutil
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prometheus_client.metrics_core import Metric

    from msqnet.serving.service import Service

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class ServiceMetrics(Collector):
    """Reads all metrics of a service when they are requested."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def collect(self) -> Iterator[Metric]:
        """All metrics of this moment."""
        service = self._service
        jobs, worker = service.jobs, service.worker
        counts = jobs.counts()
        for name, text, labels, values in (
            ("requests", "HTTP requests.", ["method", "route", "status"], service.requests),
            ("refusals", "Error responses, by code.", ["code"], service.errors),
            ("tasks", "Tasks of the worker that ended.", ["kind", "state"], jobs.num_finished),
            ("task_seconds", "Time the worker was busy.", ["kind"], jobs.busy_seconds),
        ):
            family = CounterMetricFamily(f"msqnet_{name}", text, labels=labels)
            # A copy, because other threads go on counting.
            for key, count in sorted(values.copy().items()):
                family.add_metric(key, count)
            yield family
        restarts = float(max(0, worker.child.num_starts - 1))
        yield CounterMetricFamily("msqnet_worker_restarts", "Workers lost.", value=restarts)
        memory = GaugeMetricFamily(
            "msqnet_resident_memory_bytes", "Memory by process.", labels=["process"]
        )
        pids = {
            "server": os.getpid(),
            "worker": worker.child.pid,
            "checker": service.checker.child.pid,
        }
        for name, pid in pids.items():
            if pid is not None:
                with suppress(psutil.Error):  # it has just ended
                    memory.add_metric([name], psutil.Process(pid).memory_info().rss)
        yield memory
        for name, text, value in (
            ("uploads_arriving", "Uploads being sent or checked.", counts["arriving"]),
            ("tasks_waiting", "Tasks in the queue.", counts["waiting"]),
            ("tasks_running", "Tasks the worker is at.", counts["running"]),
            ("jobs_kept", "Videos known to the server.", counts["kept"]),
            ("stored_bytes", "Files that are kept.", service.storage.num_bytes()),
            ("worker_ready", "Whether the model is loaded.", worker.is_ready),
            ("up_seconds", "Time since the start.", time.monotonic() - service.started_at),
        ):
            yield GaugeMetricFamily(f"msqnet_{name}", text, value=float(value))
