"""Codecs, devices, memory, disk and limits of the machine."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from msqnet.diagnosis.findings import Finding
from msqnet.process import num_usable_cores

if TYPE_CHECKING:
    from collections.abc import Iterator

_DECODERS = ("h264", "hevc", "vp9", "av1", "mpeg4", "mjpeg", "mpeg2video", "wmv2", "gif", "png")
_GIB = 2**30
_LEAST_MEMORY_BYTES = 2 * _GIB
_LEAST_DISK_BYTES = _GIB
_LEAST_FILES = 256


def codec_findings() -> Iterator[Finding]:
    """What PyAV can decode, and whether annotated videos can be written."""
    import av

    libraries = ", ".join(
        f"{name} {'.'.join(map(str, found))}"
        for name, found in sorted(av.library_versions.items())
        if name in ("libavcodec", "libavformat")
    )
    yield Finding("video", "FFmpeg", f"PyAV {av.__version__} with {libraries}")
    lacking = [name for name in _DECODERS if not _can(name, "r")]
    yield Finding(
        "video",
        "decoders",
        f"of {', '.join(_DECODERS)}: {'all' if not lacking else 'not ' + ', '.join(lacking)}",
        "note" if lacking else "ok",
        "videos of these codecs cannot be read: pip install --upgrade --force-reinstall av"
        if lacking
        else "",
    )
    encoder = next((name for name in ("libx264", "h264") if _can(name, "w")), None)
    yield Finding(
        "video",
        "encoder for annotated videos",
        encoder or "no H.264 encoder",
        "ok" if encoder else "note",
        "" if encoder else "`predict --overlay` cannot write .mp4: take PyAV's wheel (pip)",
    )


def _can(codec: str, mode: str) -> bool:
    from av.codec import Codec
    from av.codec.codec import UnknownCodecError

    try:
        Codec(codec, mode)  # type: ignore[arg-type]
    except UnknownCodecError:
        return False
    return True


def device_findings() -> Iterator[Finding]:
    """What computes, and with how many threads."""
    import torch

    from msqnet.model.computing import has_fast_bf16

    cores = num_usable_cores()
    threads = torch.get_num_threads()
    capability = torch.backends.cpu.get_cpu_capability()
    is_slow = capability.upper() in ("DEFAULT", "NO AVX")
    yield Finding(
        "devices",
        "CPU",
        f"cores: {cores}, threads: {threads}, instructions: {capability}, "
        f"bf16 {'yes' if has_fast_bf16(torch.device('cpu')) else 'no'}",
        "note" if is_slow else "ok",
        "torch finds neither AVX2 nor better: several times slower" if is_slow else "",
    )
    if threads < cores and "OMP_NUM_THREADS" not in os.environ:
        yield Finding(
            "devices", "threads", f"{threads} of {cores} cores", "note", "set OMP_NUM_THREADS"
        )
    yield from _gpus()


def _gpus() -> Iterator[Finding]:
    import torch

    from msqnet.model.computing import has_fast_bf16

    if not torch.cuda.is_available():
        built = torch.version.cuda
        mps = torch.backends.mps.is_available()
        yield Finding("devices", "GPU", "Apple's (mps)" if mps else "none that torch can use")
        if Path("/proc/driver/nvidia/version").exists():
            yield Finding(
                "devices",
                "NVIDIA driver",
                "there, but torch " + ("cannot use it" if built else "is a build without CUDA"),
                "note",
                "install torch's CUDA build that fits the driver (pytorch.org, Get Started)",
            )
        return
    for number in range(torch.cuda.device_count()):
        about = torch.cuda.get_device_properties(number)
        yield Finding(
            "devices",
            f"GPU {number}",
            f"{about.name}, {about.total_memory / _GIB:.0f} GiB, "
            f"bf16 {'yes' if has_fast_bf16(torch.device('cuda', number)) else 'no'}",
        )


def resource_findings(folder: Path) -> Iterator[Finding]:
    """Memory, room on disks, and limits.

    Args:
        folder: where results would be written.
    """
    available, total = _memory_bytes()
    if total:
        is_short = available < _LEAST_MEMORY_BYTES
        yield Finding(
            "resources",
            "memory",
            f"{available / _GIB:.1f} of {total / _GIB:.1f} GiB free",
            "note" if is_short else "ok",
            "close other programs, or take a smaller --batch_size" if is_short else "",
        )
    for name, place in (("disk here", folder), ("disk for temporary files", tempfile.gettempdir())):
        yield _disk(name, Path(place))
    if sys.platform != "win32":
        yield _open_files()
    shared = Path("/dev/shm")
    if shared.is_dir():
        room = shutil.disk_usage(shared).free
        is_short = room < _LEAST_DISK_BYTES // 4
        yield Finding(
            "resources",
            "shared memory",
            f"{room / _GIB:.2f} GiB free",
            "note" if is_short else "ok",
            "training with --train.num_workers above 0 can fail: docker run --shm-size=1g"
            if is_short
            else "",
        )


def _disk(name: str, place: Path) -> Finding:
    try:
        room = shutil.disk_usage(place).free
        is_writable = os.access(place, os.W_OK)
    except OSError as error:
        return Finding("resources", name, f"{place}: {error}", "problem", "choose another folder")
    value = f"{place}: {room / _GIB:.1f} GiB free"
    if not is_writable:
        return Finding(
            "resources", name, f"{place}: not writable", "note", "write results elsewhere: --out"
        )
    if room < _LEAST_DISK_BYTES:
        return Finding("resources", name, value, "note", "make room before a long run")
    return Finding("resources", name, value)


def _open_files() -> Finding:
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    is_short = 0 <= soft < _LEAST_FILES
    return Finding(
        "resources",
        "open files allowed",
        str(soft) if soft >= 0 else "any number",
        "note" if is_short else "ok",
        f"ulimit -n {hard if hard > 0 else 1024}" if is_short else "",
    )


def _memory_bytes() -> tuple[int, int]:
    """Free and all memory that this process may use; zeros where the system does not say."""
    found: dict[str, int] = {}
    info = Path("/proc/meminfo")
    if info.exists():
        for line in info.read_text().splitlines():
            name, _, rest = line.partition(":")
            found[name] = int(rest.split()[0]) * 1024
    elif hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        return total, total
    available, total = found.get("MemAvailable", 0), found.get("MemTotal", 0)
    # A container may use less than its machine has.
    limit, used = Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")
    if limit.exists() and used.exists() and (text := limit.read_text().strip()).isdigit():
        total = min(total, int(text))
        in_use = int(used.read_text()) - _cached_bytes()
        available = min(available, max(0, int(text) - in_use))
    return available, total


def _cached_bytes() -> int:
    """Memory of a container that holds files and is given up when somebody needs it."""
    statistics = Path("/sys/fs/cgroup/memory.stat")
    if not statistics.exists():
        return 0
    found = dict(line.split() for line in statistics.read_text().splitlines())
    return int(found.get("inactive_file", 0))
