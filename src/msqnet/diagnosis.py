"""Checks of this installation and machine, with advice for those that fail: `msqnet doctor`.

Every function imports what it needs itself, so that a missing package is reported, not raised.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import sys
import tempfile
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from packaging.requirements import Requirement

from msqnet import __version__
from msqnet.process import multiplies_int8, num_threads, num_usable_cores

if TYPE_CHECKING:
    from collections.abc import Iterator

_UNWANTED = {
    "torchvision": "beside torch's CPU build it breaks `import transformers`",
    "decord": "msqnet does not use it, and its FFmpeg libraries can clash with PyAV's",
}
_VARIABLES = ("MSQNET_LOG", "HF_HOME", "HF_HUB_OFFLINE", "OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES")
_DECODERS = ("h264", "hevc", "vp9", "av1", "mpeg4", "mjpeg", "mpeg2video", "wmv2", "gif", "png")
_GIB = 2**30
_LEAST_DISK_BYTES = _GIB
_TEST_NUM_FRAMES = 50


@dataclass(frozen=True)
class CheckResult:
    """One line of the output; the advice is empty if all is well.

    The status is ``problem`` if msqnet does not work without it, ``note`` if only an optional part
    does not work, or runs slowly.
    """

    name: str
    value: str
    status: Literal["ok", "note", "problem"] = "ok"
    advice: str = ""


def _note_if(condition: bool, name: str, value: str, advice: str) -> CheckResult:
    """A note with advice if the condition holds, else a result without."""
    return CheckResult(name, value, "note", advice) if condition else CheckResult(name, value)


def check_packages() -> Iterator[CheckResult]:
    """Python, the system, dependencies with versions, optional parts, environment variables."""
    yield _note_if(
        sys.version_info[:2] != (3, 11),
        "Python",
        f"{platform.python_version()}, {platform.platform()}",
        "msqnet is tested on Python 3.11",
    )
    yield CheckResult("msqnet", __version__)
    requirements = [Requirement(text) for text in requires("msqnet") or ()]
    for requirement in requirements:
        if requirement.marker is None:
            yield check_dependency(requirement)
    yield from check_extras([item for item in requirements if item.marker is not None])
    for name, why in _UNWANTED.items():
        if find_spec(name) is not None:
            advice = f"{why}: pip uninstall {name}"
            yield CheckResult(name, _installed(name) or "there", "note", advice)
    found = [f"{name}={os.environ[name]}" for name in _VARIABLES if name in os.environ]
    value = ", ".join(found) or "no variable of msqnet is set"
    yield CheckResult("environment", value)


def check_dependency(requirement: Requirement) -> CheckResult:
    """Whether a required package is installed in a version that fits."""
    found = _installed(requirement.name) or "not installed"
    if _is_met(requirement):
        return CheckResult(requirement.name, found)
    advice = f"pip install '{requirement.name}{requirement.specifier}'"
    return CheckResult(requirement.name, found, "problem", advice)


def check_extras(requirements: list[Requirement]) -> Iterator[CheckResult]:
    """One line for each optional part that the markers name: installed, or what is missing."""
    missing: dict[str, list[str]] = {}
    for requirement in requirements:
        marker = requirement.marker
        # The extras in a marker such as ``extra == 'serve'``, where the rest of it holds.
        for extra in re.findall(r"""extra == ["']([^"']+)""", str(marker)):
            if marker is not None and marker.evaluate({"extra": extra}):
                names = missing.setdefault(extra, [])
                if requirement.name != "msqnet" and not _is_met(requirement):
                    names.append(requirement.name)
    missing.pop("all", None)
    for extra, names in sorted(missing.items()):
        value = f"missing: {', '.join(names)}" if names else "installed"
        yield _note_if(bool(names), f"msqnet[{extra}]", value, f"pip install 'msqnet[{extra}]'")


def _is_met(requirement: Requirement) -> bool:
    found = _installed(requirement.name)
    # A local version such as 2.13.0+cpu is the same release.
    return found is not None and requirement.specifier.contains(found, prereleases=True)


def _installed(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def check_codecs() -> Iterator[CheckResult]:
    """What PyAV can decode, and whether annotated videos can be written."""
    import av

    libraries = ", ".join(
        f"{name} {'.'.join(map(str, found))}"
        for name, found in sorted(av.library_versions.items())
        if name in ("libavcodec", "libavformat")
    )
    yield CheckResult("FFmpeg", f"PyAV {av.__version__} with {libraries}")
    missing = [name for name in _DECODERS if not has_codec(name, "r")]
    yield _note_if(
        bool(missing),
        "decoders",
        f"of {', '.join(_DECODERS)}: {'not ' + ', '.join(missing) if missing else 'all'}",
        "videos of these codecs cannot be read: pip install --upgrade --force-reinstall av",
    )
    encoder = next((name for name in ("libx264", "h264") if has_codec(name, "w")), None)
    yield _note_if(
        encoder is None,
        "encoder for annotated videos",
        encoder or "no H.264 encoder",
        "`predict --overlay` cannot write .mp4: install PyAV's wheel (pip)",
    )


def has_codec(name: str, mode: Literal["r", "w"]) -> bool:
    """Whether FFmpeg has a decoder (``r``) or encoder (``w``) of this name."""
    from av.codec import Codec
    from av.codec.codec import UnknownCodecError

    try:
        Codec(name, mode)
    except UnknownCodecError:
        return False
    return True


def check_devices() -> Iterator[CheckResult]:
    """The CPU and its threads, and the GPUs."""
    cores, threads = num_usable_cores(), num_threads()
    int8 = f"int8 {'yes' if multiplies_int8() else 'no'}"
    if find_spec("torch") is None:
        yield CheckResult("CPU", f"cores: {cores}, threads: {threads}, {int8}")
        yield CheckResult("GPU", "not looked for: that needs 'msqnet[train]'")
        return
    import torch

    from msqnet.model.computing import has_fast_bf16

    def bf16(*device: str | int) -> str:
        return f"bf16 {'yes' if has_fast_bf16(torch.device(*device)) else 'no'}"

    threads = torch.get_num_threads()
    capability = torch.backends.cpu.get_cpu_capability()
    yield _note_if(
        capability.upper() in ("DEFAULT", "NO AVX"),
        "CPU",
        f"cores: {cores}, threads: {threads}, instructions: {capability}, {int8}, {bf16('cpu')}",
        "torch finds neither AVX2 nor better: several times slower",
    )
    if threads < cores and "OMP_NUM_THREADS" not in os.environ:
        value = f"{threads} of {cores} cores"
        yield CheckResult("threads", value, "note", "set OMP_NUM_THREADS")
    if torch.cuda.is_available():
        for number in range(torch.cuda.device_count()):
            about = torch.cuda.get_device_properties(number)
            value = f"{about.name}, {about.total_memory / _GIB:.0f} GiB, {bf16('cuda', number)}"
            yield CheckResult(f"GPU {number}", value)
        return
    has_mps = torch.backends.mps.is_available()
    yield CheckResult("GPU", "Apple's (mps)" if has_mps else "none that torch can use")
    if Path("/proc/driver/nvidia/version").exists():
        why = "cannot use it" if torch.version.cuda else "is a build without CUDA"
        advice = "install torch's CUDA build that fits the driver (pytorch.org, Get Started)"
        yield CheckResult("NVIDIA driver", f"there, but torch {why}", "note", advice)


def check_resources(folder: Path) -> Iterator[CheckResult]:
    """Memory, disk space in the folder for results, and limits of the system."""
    available, total = memory_bytes()
    yield _note_if(
        available < 2 * _GIB,
        "memory",
        f"{available / _GIB:.1f} of {total / _GIB:.1f} GiB free",
        "close other programs, or use a smaller --batch-size",
    )
    yield check_disk("disk here", folder)
    yield check_disk("disk for temporary files", Path(tempfile.gettempdir()))
    if sys.platform != "win32":
        yield check_open_files()
    shared = Path("/dev/shm")
    if shared.is_dir():
        room = shutil.disk_usage(shared).free
        yield _note_if(
            room < _LEAST_DISK_BYTES // 4,
            "shared memory",
            f"{room / _GIB:.2f} GiB free",
            "training with --train.num-workers above 0 can fail: docker run --shm-size=1g",
        )


def check_disk(name: str, folder: Path) -> CheckResult:
    """Whether a folder can be written to, and the free space."""
    try:
        room = shutil.disk_usage(folder).free
    except OSError as error:
        value = f"{folder}: {error}"
        return CheckResult(name, value, "problem", "choose another folder")
    if not os.access(folder, os.W_OK):
        value = f"{folder}: not writable"
        return CheckResult(name, value, "note", "write results elsewhere: --out")
    value = f"{folder}: {room / _GIB:.1f} GiB free"
    is_short = room < _LEAST_DISK_BYTES
    return _note_if(is_short, name, value, "free some space before a long run")


def check_open_files() -> CheckResult:
    """How many files a process may have open; not on Windows, which has no such limit."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    value = str(soft) if soft >= 0 else "any number"
    advice = f"ulimit -n {hard if hard > 0 else 1024}"
    return _note_if(0 <= soft < 256, "open files allowed", value, advice)


def memory_bytes() -> tuple[int, int]:
    """Free and total memory that this process may use."""
    import psutil

    memory = psutil.virtual_memory()
    available, total = memory.available, memory.total
    # A container may use less than its machine has, which psutil does not know.
    group = Path("/sys/fs/cgroup")
    limit, used = group / "memory.max", group / "memory.current"
    if limit.exists() and used.exists() and (text := limit.read_text().strip()).isdigit():
        # Cached files are given up when memory is needed.
        statistics = group / "memory.stat"
        rows = statistics.read_text().splitlines() if statistics.exists() else []
        cached = int(dict(row.split() for row in rows).get("inactive_file", 0))
        total = min(total, int(text))
        available = min(available, max(0, int(text) - int(used.read_text()) + cached))
    return available, total


def check_hub(*, offline: bool = False) -> Iterator[CheckResult]:
    """Whether the Hugging Face Hub can be reached, and the size of the models fetched so far."""
    if find_spec("huggingface_hub") is None:
        yield CheckResult("Hub", "models of it need 'msqnet[train]'")
        return
    from huggingface_hub import constants, scan_cache_dir
    from huggingface_hub.errors import CacheNotFound

    if offline or constants.HF_HUB_OFFLINE:
        why = "HF_HUB_OFFLINE is set" if constants.HF_HUB_OFFLINE else "not tried: --offline"
        yield CheckResult("Hub", why)
    else:
        yield check_address(constants.ENDPOINT)
    try:
        cache = scan_cache_dir()
    except CacheNotFound as error:
        yield CheckResult("fetched models", f"none ({error.cache_dir} does not exist)")
        return
    damaged = cache.warnings
    yield _note_if(
        bool(damaged),
        "fetched models",
        f"{len(cache.repos)}, {cache.size_on_disk / 1e9:.2f} GB",
        f"{len(damaged)} damaged entries: check with hf cache verify, remove with hf cache rm",
    )


def check_address(endpoint: str) -> CheckResult:
    """Whether the Hub at this URL responds."""
    request = urllib.request.Request(endpoint, method="HEAD")
    try:
        with urllib.request.urlopen(request, timeout=5.0) as response:
            return CheckResult("Hub", f"{endpoint} responds ({response.status})")
    except urllib.error.HTTPError as error:
        # It responded: a HEAD of the front page may be rejected where files are not.
        return CheckResult("Hub", f"{endpoint} responds ({error.code})")
    except (OSError, ValueError) as error:
        return CheckResult(
            "Hub",
            f"{endpoint} cannot be reached: {getattr(error, 'reason', error)}",
            "note",
            "models named by a Hub id cannot be fetched; the shipped model and local folders "
            "work. Behind a proxy set HTTPS_PROXY; without a network set HF_HUB_OFFLINE=1",
        )


def self_test(model: str | None = None, device: str = "auto") -> Iterator[CheckResult]:
    """Write a video of 2 s, read its frames back, load the model and predict."""
    start = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="msqnet-") as folder:
        path = Path(folder) / "self-test.mkv"
        try:
            yield _test_video(path)
            yield _test_model(path, model, device)
        except Exception as error:  # any error belongs in the output
            value = f"{type(error).__name__}: {error}"
            advice = "put this whole output into a report of the problem"
            yield CheckResult("failed", value, "problem", advice)
    yield CheckResult("took", f"{time.perf_counter() - start:.1f} s")


def _test_video(path: Path) -> CheckResult:
    """Write a video losslessly, and read it: exactly what was drawn must come back."""
    import av
    import numpy as np

    from msqnet.video.reader import open_video

    drawn = np.full((_TEST_NUM_FRAMES, 64, 64, 3), 60, dtype=np.uint8)  # (T, H, W, 3)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.height, stream.width = drawn.shape[1:3]
        stream.pix_fmt = "bgr0"
        for number, image in enumerate(drawn):
            left = number % 48
            image[24:40, left : left + 16] = 230  # a bright square that moves to the right
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode(None))
    with open_video(path) as video:
        pixels = video.frames_by_index(range(_TEST_NUM_FRAMES)).pixels  # (T, 3, H, W)
        differing = (pixels.transpose(0, 2, 3, 1) != drawn).any(axis=(1, 2, 3)).nonzero()[0]
        if video.num_frames != _TEST_NUM_FRAMES or len(differing):
            value = f"{video.num_frames} of {_TEST_NUM_FRAMES} frames read, {differing} differ"
            advice = "videos are not read correctly: pip install --force-reinstall av"
            return CheckResult("video", value, "problem", advice)
    return CheckResult("video", f"{_TEST_NUM_FRAMES} frames read back exactly")


def _test_model(path: Path, model: str | None, device: str) -> CheckResult:
    from msqnet.inference.predictor import Predictor

    predictor = Predictor.from_pretrained(model, device=device)
    start = time.perf_counter()
    result = predictor(path)
    seconds = time.perf_counter() - start
    if predictor(path) != result:
        value = "two predictions of the same video differ"
        advice = "the device computes incorrectly; try --device cpu"
        return CheckResult("model", value, "problem", advice)
    value = (
        f"{len(result.labels)} labels, {len(result.windows)} windows scored in {seconds:.2f} s "
        f"({result.duration_seconds / seconds:.1f} s of video per second), twice the same result"
    )
    return CheckResult("model", value)
