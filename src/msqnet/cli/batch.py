"""`msqnet batch`: many videos, resumable, in processes or on a Ray cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from msqnet.config import SegmentConfig, WindowConfig
from msqnet.errors import ConfigError
from msqnet.labels import split_labels
from msqnet.process import num_usable_cores

if TYPE_CHECKING:
    from msqnet.batch.run import Runner
    from msqnet.batch.settings import BatchSettings

_BYTES_OF_A_GIGABYTE = 10**9


def run(
    inputs: list[str],
    out: str,
    model: str | None = None,
    labels: str | None = None,
    label_table: str | None = None,
    window_seconds: float | None = WindowConfig.window_seconds,
    stride_seconds: float | None = WindowConfig.stride_seconds,
    batch_size: int = WindowConfig.batch_size,
    threshold: float | None = SegmentConfig.threshold,
    min_duration_seconds: float = SegmentConfig.min_duration_seconds,
    max_gap_seconds: float = SegmentConfig.max_gap_seconds,
    device: str = "auto",
    runtime: Literal["auto", "torch", "onnxruntime", "openvino"] = "auto",
    precision: Literal["fp32", "bf16"] = "fp32",
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
        model: A finished model, as for `msqnet predict`. By default the model that comes with
            msqnet.
        labels: What to look for, `walking|eating`; by default all labels of the model.
        label_table: CSV with the columns name, description, synonyms of the labels asked for.
        window_seconds: Length of a window; by default the length the model was trained on.
        stride_seconds: Time from one window's start to the next one's; by default about half a
            window.
        batch_size: Windows scored at a time.
        threshold: Score from 0 to 1 from which an action counts as present; by default the model's
            own threshold of each label.
        min_duration_seconds: Shorter segments are dropped.
        max_gap_seconds: Gaps of one label up to this length are closed.
        device: auto, cpu, cuda, cuda:1, mps, ...
        runtime: What computes the scores, as for `msqnet predict`.
        precision: Numbers of matrix products, as for `msqnet predict`.
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
        0 if every video is answered; 1 if one could not be, or only in part.
    """
    from msqnet.batch.settings import BatchSettings, JobSettings, ModelSettings
    from msqnet.batch.work_list import find_jobs
    from msqnet.cli.batch_progress import show_run

    settings = BatchSettings(
        model=ModelSettings(
            model=model,
            labels=None if labels is None else split_labels(labels),
            label_table=label_table,
            window=WindowConfig(window_seconds, stride_seconds, batch_size),
            segments=SegmentConfig(threshold, min_duration_seconds, max_gap_seconds),
            device=device,
            runtime=runtime,
            precision=precision,
            num_threads=_num_threads(threads, processes),
        ),
        job=JobSettings(
            out=out,
            overwrite=overwrite,
            num_retries=retries,
            time_limit_seconds=time_limit_seconds,
            max_bytes=round(max_gigabytes * _BYTES_OF_A_GIGABYTE),
        ),
    )
    jobs = find_jobs(inputs)
    return show_run(jobs, _runner(settings, processes, ray, gpus_per_actor), out)


def status(out: str) -> int:
    """Show how far a batch run is, and what failed.

    Args:
        out: Folder or URL of the results.

    Returns:
        0 if every video was predicted, else 1.
    """
    from msqnet.cli.batch_progress import show_status

    return show_status(out)


def _num_threads(threads: int | None, processes: int) -> int:
    if processes < 0:
        raise ConfigError(f"--processes {processes}: expected 0 or more")
    if threads is not None:
        return threads
    return max(1, num_usable_cores() // max(1, processes))


def _runner(
    settings: BatchSettings, processes: int, ray: str | None, gpus_per_actor: float
) -> Runner:
    if ray is not None:
        from msqnet.batch.ray_runner import RayRunner

        return RayRunner(settings, settings.model.load, max(1, processes), ray, gpus_per_actor)
    if gpus_per_actor:
        raise ConfigError("--gpus_per_actor is for --ray; processes take --device cuda:0, ...")
    from msqnet.batch.runners import InlineRunner, ProcessesRunner

    if processes == 0:
        return InlineRunner(settings.model.load(), settings.job)
    return ProcessesRunner(settings, settings.model.load, processes)
