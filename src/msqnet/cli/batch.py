"""`msqnet batch`: many videos, resumable, in processes or on a Ray cluster."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from msqnet.config import InferenceOptions
from msqnet.errors import ConfigError
from msqnet.process import num_usable_cores

if TYPE_CHECKING:
    from msqnet.batch.one_video import JobSettings
    from msqnet.batch.run import Runner

_BYTES_OF_A_GIGABYTE = 10**9


def run(
    inputs: list[str],
    out: str,
    options: InferenceOptions = InferenceOptions(),  # noqa: B008 - frozen
    processes: int = 1,
    threads: int | None = None,
    ray: str | None = None,
    gpus_per_actor: float = 0.0,
    retries: int = 3,
    time_limit_seconds: float = 3600.0,
    max_gigabytes: float = 100.0,
    overwrite: bool = False,
) -> int:
    """Predict many videos, in processes or on a Ray cluster; go on after a stop.

    Works on every video of the inputs that is not done. The same command goes on after whatever
    stopped it: finished work is skipped.

    Args:
        out: Folder or URL (s3://, gs://, ...) of the results: for each video the files of
            `msqnet predict`, and for all `dataset/` (Parquet), index.csv and errors.csv.
        inputs: Folders (searched recursively), videos, patterns such as 'in/*.mp4', or manifests
            (.csv, .tsv, .parquet) with a column path and maybe a column name; local or by URL
            (s3://, gs://, http://, ...).
        options: Which model, and how it predicts.
        processes: Processes that work at the same time; each holds the model. 0 works in this
            process, where nothing can be stopped that hangs. With --ray the most actors.
        threads: Threads of each process on a CPU; by default the cores divided by the processes.
            Scores are the same to 1e-6 wherever a video is predicted with the same number.
        ray: Work on a Ray cluster: `auto` joins the one that this machine belongs to, an address
            such as `head:6379` that one, `local` starts one of this machine for the run.
        gpus_per_actor: GPUs that Ray reserves for each actor; a part such as 0.25 shares one.
        retries: How often a file that cannot be read or written is tried again, after waits that
            double. A file that is no video is never tried again.
        time_limit_seconds: For one video; after it, it is an error of status `timeout`.
        max_gigabytes: A remote file that is larger is not fetched.
        overwrite: Replace results of other videos, models or settings. Those of the same are kept
            in any case.

    Returns:
        0 if every video was predicted; 1 if any video failed or was only partly readable.
    """
    from msqnet.batch.one_video import JobSettings
    from msqnet.batch.work_list import find_jobs
    from msqnet.cli.batch_progress import show_run

    if processes < 0:
        raise ConfigError(f"--processes {processes}: expected 0 or more")
    if gpus_per_actor and ray is None:
        raise ConfigError("--gpus_per_actor is for --ray; processes take --device cuda:0, ...")
    num_threads = (
        threads if threads is not None else max(1, num_usable_cores() // max(1, processes))
    )
    settings = JobSettings(
        out,
        overwrite=overwrite,
        num_retries=retries,
        time_limit_seconds=time_limit_seconds,
        max_bytes=round(max_gigabytes * _BYTES_OF_A_GIGABYTE),
    )
    jobs = find_jobs(inputs)
    runner = _runner(settings, options, processes, num_threads, ray, gpus_per_actor)
    return show_run(jobs, runner, out)


def status(out: str) -> int:
    """Show how far a batch run is, and what failed.

    Args:
        out: Folder or URL of the results.

    Returns:
        0 if every video was predicted, else 1.
    """
    from msqnet.cli.batch_progress import show_status

    return show_status(out)


def _runner(
    settings: JobSettings,
    options: InferenceOptions,
    processes: int,
    num_threads: int,
    ray: str | None,
    gpus_per_actor: float,
) -> Runner:
    from msqnet.batch.runners import InlineRunner, ProcessesRunner, load_predictor

    load = partial(load_predictor, options, num_threads)
    if ray is not None:
        from msqnet.batch.ray_runner import RayRunner

        return RayRunner(settings, load, max(1, processes), ray, gpus_per_actor, num_threads)
    if processes == 0:
        return InlineRunner(load(), settings)
    return ProcessesRunner(settings, load, processes)
