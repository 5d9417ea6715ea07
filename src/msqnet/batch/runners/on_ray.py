"""Work on a Ray cluster, through Ray Data: a pool of actors that grows and shrinks.

The only module that imports Ray. An actor holds the same worker process as a run without Ray does,
so a video that kills or hangs it costs its own row here too. Jobs are small; videos are read where
they are worked on, one at a time by each actor, which is what bounds memory and disk. Ray Data hands
out a block of jobs when an actor has room, and no more of them than there are actors.
"""

from __future__ import annotations

_MAX_BLOCKS = 2000
_START_ATTEMPTS = 1


class RayRunner:
    """Actors on a cluster, each with one worker process.

    Args:
        settings: what they do.
        load: gives the predictor; called in each worker process.
        max_actors: as far as the pool grows.
        address: ``auto`` for the cluster that this machine belongs to, or a new one of this
            machine alone; else that of a cluster.
        gpus_per_actor: reserved for each.

    Raises:
        MissingExtra: Ray is not installed.
    """
