"""Work on a Ray cluster, through Ray Data: a pool of actors that grows and shrinks.

The only module that imports Ray. An actor holds the same worker process as a run without Ray does,
so a video that kills or hangs it costs its own row here too. Jobs are small; videos are read where
they are worked on, one at a time by each actor, which is what bounds memory and disk. Ray Data
hands out a block of jobs when an actor has room for it.
"""

from __future__ import annotations

import logging
import os
import pickle
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from msqnet.batch.runners import VideoWorker
from msqnet.errors import ConfigError, MsqnetError, needs_extra

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from msqnet.batch.one_video import JobSettings
    from msqnet.inference.predictor import Predictor
    from msqnet.inference.results import Outcome, VideoJob

LOCAL = "local"
_REACH_SECONDS = 10.0
# What is known of a block's videos is known when all of them are done, so blocks are small.
_MAX_BLOCKS = 2000
# One block in work, and one that waits.
_BLOCKS_PER_ACTOR = 2


@dataclass
class RayRunner:
    """Actors on a cluster, each with one worker process.

    Attributes:
        load: returns the predictor; called in each worker process.
        max_actors: largest size of the pool.
        address: of the cluster; ``auto`` for the one that this machine belongs to, ``local`` for a
            new one of this machine alone that ends with the run.

    Raises:
        MissingExtra: Ray is not installed.
    """

    settings: JobSettings
    load: Callable[[], Predictor]
    max_actors: int
    address: str = LOCAL
    gpus_per_actor: float = 0.0
    cpus_per_actor: int = 1

    def __post_init__(self) -> None:
        # Ray tells its makers how it is used unless this is set before it is imported.
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        # What its own processes note otherwise on this terminal concerns none of its users.
        os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
        with needs_extra("--ray", extra="batch"):
            import ray
            import ray.data
        self._ray: Any = ray

    def outcomes(self, jobs: Sequence[VideoJob]) -> Generator[Outcome, None, None]:
        """The outcome of each job, in the order in which blocks of them are done.

        `ConfigError` without a cluster at the address; `MsqnetError` if the model cannot be
        loaded, or the cluster failed.
        """
        if not jobs:
            return
        self._connect()
        try:
            for row in self._data_set(jobs).iter_rows():
                found = pickle.loads(row["found"])
                if isinstance(found, MsqnetError):
                    raise found
                yield found
        except self._ray.exceptions.RayError as error:
            # The last line is the cause; those above it say where in Ray it was met.
            cause = (str(error).strip().splitlines() or [type(error).__name__])[-1].strip()
            raise MsqnetError(
                f"--ray {self.address}: the cluster gave up: {cause}; finished videos are kept, "
                "the same command goes on; `ray status` and Ray's logs say more"
            ) from error
        finally:
            self._ray.shutdown()

    def _connect(self) -> None:
        options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
        if self.address == LOCAL:
            options["include_dashboard"] = False
        check_reachable(self.address)
        try:
            self._ray.init(address=self.address, **options)
        except (ConnectionError, ValueError) as error:
            raise ConfigError(
                f"--ray {self.address}: cannot join a cluster: {error}; `ray status` says whether "
                f"one runs, RAY_AUTH_MODE=token is for one that asks for a token, --ray {LOCAL} "
                "starts one of this machine"
            ) from error

    def _data_set(self, jobs: Sequence[VideoJob]) -> Any:
        data = self._ray.data
        context = data.DataContext.get_current()
        context.enable_progress_bars = False
        logging.getLogger("ray.data").setLevel(logging.ERROR)
        rows = [{"job": pickle.dumps(job)} for job in jobs]
        num_blocks = min(len(rows), _MAX_BLOCKS)
        return data.from_items(rows, override_num_blocks=num_blocks).map(
            VideoActor,
            fn_constructor_args=(self.settings, self.load),
            compute=data.ActorPoolStrategy(
                min_size=1,
                max_size=min(self.max_actors, num_blocks),
                max_tasks_in_flight_per_actor=_BLOCKS_PER_ACTOR,
            ),
            num_cpus=self.cpus_per_actor,
            num_gpus=self.gpus_per_actor or None,
        )


class VideoActor:
    """Predicts the video of one row after the other; Ray Data makes actors of this class."""

    def __init__(self, settings: JobSettings, load: Callable[[], Predictor]) -> None:
        self._worker = VideoWorker(settings, load)

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """The pickled outcome, or the error that ends the run."""
        found: Outcome | MsqnetError
        try:
            found = self._worker.outcome(pickle.loads(row["job"]))
        except MsqnetError as error:
            found = error
        return {"found": pickle.dumps(found)}


def check_reachable(address: str) -> None:
    """Raise `ConfigError` if nobody answers at once; Ray itself would try for minutes.

    The address is ``host:port``, maybe after ``ray://``; one without a port is not tried.
    """
    host, _, port = address.rpartition("://")[2].rpartition(":")
    if not host or not port.isdecimal():
        return
    try:
        socket.create_connection((host, int(port)), _REACH_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise ConfigError(
            f"--ray {address}: nobody answers there ({error}); `ray status` on a machine of the "
            "cluster says its address"
        ) from error
