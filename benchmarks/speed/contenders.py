"""Everything that is measured against each other, and which ratios are drawn from it."""

from __future__ import annotations

import os
import shutil
import time
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import count, islice
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from transformers.initialization import no_init_weights

from benchmarks.speed import baseline
from benchmarks.speed.bench import BATCH_SIZE, Bench, CountingBackend, clips_of, flops_of
from benchmarks.speed.harness import Contender, Part, StageClock
from benchmarks.speed.limits import count_flops
from benchmarks.speed.machine import hand_back_memory
from benchmarks.speed.models import timesformer_config
from msqnet import Predictor
from msqnet.config import ModelOptions
from msqnet.inference.backends import clip_scores
from msqnet.inference.predictor import load_backend
from msqnet.inference.windows import PreprocessedWindow, SharedFrames, preprocessed_windows
from msqnet.model.computing import has_fast_bf16
from msqnet.model.video_encoders.timesformer import TimesformerVideoEncoder
from msqnet.video.reader import open_video

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from torch import Tensor

    from benchmarks.speed.settings import Settings
    from msqnet.inference.backends import Backend


BOTH = "baseline, both ways of reading"
FROM_KEYFRAME = "baseline (a), windows read from their keyframe"
FROM_START = "baseline (b), windows read from the start"
MODEL = "baseline, model only"
UNSHARED_KEYFRAME = "baseline (a), windows that do not overlap"
UNSHARED_START = "baseline (b), windows that do not overlap"
OURS = "msqnet"
OURS_UNSHARED = "msqnet, windows that do not overlap"
OURS_MODEL = "msqnet, model only"
OURS_WINDOW = "msqnet, one window"
COMPILED = "msqnet, one window, compiled"
BASELINE_IN_BF16 = "baseline (a) in bf16"
OURS_IN_BF16 = "msqnet in bf16"
HANDED_BACK = "TimeSformer, fused and folded, memory handed back"
LITE = "lite"
LITE_IN_BF16 = "lite in bf16"


@dataclass(frozen=True)
class Pair:
    """A ratio: how many times as much the one takes as the other.

    Attributes:
        name: of the ratio, in results and floors.
        slow: contender above the line.
        fast: contender below it.
        group: "headline", "ablation", "bf16" (scores differ), or "another model": what is computed
            differs too.
    """

    name: str
    slow: str
    fast: str
    group: str


@dataclass
class Field:
    """All that one run measures.

    Attributes:
        contenders: what runs.
        parts: what is contained in it.
        pairs: the ratios.
        flops: of a run, by contender; where it is known.
        in_bf16: contenders that compute in bf16, whose rate is another.
        video_seconds: length of the video that a run predicts, by contender; where it is one.
        notes: what a reader has to know: what was left out, and why.
    """

    contenders: list[Contender] = field(default_factory=list)
    parts: list[Part] = field(default_factory=list)
    pairs: list[Pair] = field(default_factory=list)
    flops: dict[str, float] = field(default_factory=dict)
    in_bf16: set[str] = field(default_factory=set)
    video_seconds: dict[str, float] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def build(bench: Bench) -> Field:
    """All contenders of these settings, ready to run."""
    found = Field()
    _add_end_to_end(found, bench)
    if bench.settings.with_ablations:
        _add_ablations(found, bench)
    if bench.settings.with_compiled:
        _add_compiled(found, bench)
    if bench.settings.with_lite:
        _add_lite(found, bench)
    if bench.settings.with_bf16:
        _add_bf16(found, bench)
    return found


def _number(stage: str) -> int:
    return int(stage.partition("/")[2])


def _has(stage: str, kinds: Sequence[str], every: int = 1, end: int | None = None) -> bool:
    """Whether a stage is of these kinds and of every so-manieth window before ``end``."""
    number = _number(stage)
    is_window = number % every == 0 and (end is None or number < end)
    return is_window and stage.partition("/")[0] in kinds


def _warm_up_baseline(bench: Bench) -> None:
    with torch.inference_mode():
        bench.parts.scores(bench.pixels[:1])


def _add_end_to_end(found: Field, bench: Bench) -> None:
    settings = bench.settings
    found.contenders.append(
        Contender(
            BOTH,
            partial(bench.baseline_run, from_start=True),
            partial(_warm_up_baseline, bench),
            hand_back_memory,
        )
    )
    overlapping = _Excerpt(bench.paper_video, settings.paper_seconds, settings.stride_seconds)
    apart = _Excerpt(bench.unshared_video, bench.unshared_seconds, settings.window_seconds)
    ends = {OURS: None, OURS_UNSHARED: round(settings.unshared_seconds / settings.stride_seconds)}
    with torch.inference_mode():
        of_window = count_flops(lambda: bench.parts.scores(bench.pixels[:1]))
    per_stride = round(settings.window_seconds / settings.stride_seconds)
    ways = [
        (FROM_KEYFRAME, "keyframe", 1, OURS),
        (FROM_START, "start", 1, OURS),
        (MODEL, "", 1, OURS_MODEL),
    ]
    if settings.with_unshared:
        ways += [
            (UNSHARED_KEYFRAME, "keyframe", per_stride, OURS_UNSHARED),
            (UNSHARED_START, "start", per_stride, OURS_UNSHARED),
        ]
    for name, reading, every, ours in ways:
        kinds = (reading, "resize", "model") if reading else ("model",)
        end = ends.get(ours)
        found.parts.append(Part(name, BOTH, partial(_has, kinds=kinds, every=every, end=end)))
        excerpt = apart if ours == OURS_UNSHARED else overlapping
        found.flops[name] = of_window * len(
            baseline.window_times(
                excerpt.video, replace(settings, stride_seconds=excerpt.stride_seconds)
            )
        )
        if reading:
            found.video_seconds[name] = excerpt.seconds
        label = f"end to end, {name.removeprefix('baseline ')}" if reading else "model only"
        found.pairs.append(Pair(label, name, ours, "headline"))
    of_each = flops_of(bench.backend)
    for name, excerpt in ((OURS, overlapping), (OURS_UNSHARED, apart)):
        if name == OURS_UNSHARED and not settings.with_unshared:
            continue
        found.contenders.append(
            Contender(
                name,
                partial(_in_turn, bench, bench.backend, excerpt),
                partial(_warm_up, bench, bench.backend),
            )
        )
        num_frames, num_windows = _num_seen(excerpt.video, settings, excerpt.stride_seconds)
        found.flops[name] = of_each["frame"] * num_frames + of_each["window"] * num_windows
        found.video_seconds[name] = excerpt.seconds
    found.parts.append(Part(OURS_MODEL, OURS, partial(_has, kinds=("model",))))
    found.flops[OURS_MODEL] = found.flops[OURS]


@dataclass(frozen=True)
class _Excerpt:
    """A video, and how it is cut into windows."""

    video: Path
    seconds: float
    stride_seconds: float


def _in_turn(bench: Bench, backend: Backend, excerpt: _Excerpt, clock: StageClock) -> None:
    """What `Predictor` does, read in the same thread, so that the stages can be told apart."""
    settings, config = bench.settings, backend.clip_config
    shared = SharedFrames(backend)
    with open_video(excerpt.video, short_side_pixels=config.decode_short_side_pixels) as video:
        windows = preprocessed_windows(
            video, config, settings.window_seconds, excerpt.stride_seconds
        )
        num_windows = 0
        for number in count():
            with clock.stage(f"read/{number}"):
                batch = list(islice(windows, BATCH_SIZE))
            if not batch:
                break
            num_windows += len(batch)
            with clock.stage(f"model/{number}"):
                shared.outputs(batch)
    _, expected = _num_seen(excerpt.video, settings, excerpt.stride_seconds)
    if num_windows != expected:
        raise RuntimeError(
            f"msqnet scored {num_windows} windows, the baseline {expected}: not the same work"
        )


def _warm_up(bench: Bench, backend: Backend) -> None:
    bench.predict(backend, bench.short_video, None, bench.settings.window_seconds)


def _num_seen(path: Path, settings: Settings, stride_seconds: float) -> tuple[int, int]:
    """Different frame times, and windows, of a video that is cut with this stride."""
    times = baseline.window_times(path, replace(settings, stride_seconds=stride_seconds))
    return len({time for window in times for time in window}), len(times)


def _add_prediction(
    found: Field,
    bench: Bench,
    name: str,
    backend: Backend,
    video: Path,
    stride: float | None = None,
    window: float | None = None,
) -> None:
    """Ours on a video; None for the model's own stride and window."""

    def run(clock: StageClock) -> None:
        del clock
        bench.predict(backend, video, stride, window)

    def warm_up() -> None:
        bench.predict(backend, bench.short_video, stride, window)

    found.contenders.append(Contender(name, run, warm_up))
    with open_video(video) as opened:
        found.video_seconds[name] = opened.duration_seconds


def _add_ablations(found: Field, bench: Bench) -> None:
    """Single changes, on one window."""
    sizes, clip, model = bench.settings.sizes, bench.pixels[:1], bench.backend._model
    with no_init_weights():
        plain = TimesformerVideoEncoder(timesformer_config(sizes)).eval()
    plain.load_state_dict(model.video_encoder.state_dict(), assign=True)
    works = {
        "TimeSformer, transformers": lambda: bench.parts.frame_memory(clip),
        "TimeSformer, fused attention": lambda: plain(clip),
        "TimeSformer, fused and folded": lambda: model.video_encoder(clip),
        "CLIP, transformers": lambda: bench.parts.video_query(clip),
        "CLIP, class token only": lambda: model.image_encoder(clip).mean(dim=1),
    }
    for name, work in works.items():

        @torch.inference_mode()
        def run(clock: StageClock, work: Any = work) -> None:
            work()

        found.contenders.append(Contender(name, run))
        found.flops[name] = count_flops(partial(run, StageClock()))
    names = list(works)
    folded = works[names[2]]

    @torch.inference_mode()
    def hand_back(clock: StageClock) -> None:
        folded()

    found.contenders.append(Contender(HANDED_BACK, hand_back, None, hand_back_memory))
    found.flops[HANDED_BACK] = found.flops[names[2]]
    found.pairs += [
        Pair("TimeSformer: freed memory handed back / kept", HANDED_BACK, names[2], "ablation"),
        Pair("TimeSformer: transformers / fused attention", names[0], names[1], "ablation"),
        Pair("TimeSformer: fused attention / folded too", names[1], names[2], "ablation"),
        Pair("CLIP: transformers / class token only", names[3], names[4], "ablation"),
    ]


def _compiler() -> str | None:
    """The C++ compiler that torch would use, if there is one."""
    return next(
        (found for name in (os.environ.get("CXX"), "g++", "clang++", "c++") if name
         and (found := shutil.which(name))),
        None,
    )  # fmt: skip


def _add_compiled(found: Field, bench: Bench) -> None:
    """`torch.compile` beside the same without it, on one window."""
    if _compiler() is None:
        found.notes.append("torch.compile: left out, this machine has no C++ compiler")
        return
    model, frames = bench.backend._model, bench.pixels[0]

    def score(frames: Tensor) -> Tensor:
        features = {key: values[None] for key, values in model.frame_features(frames).items()}
        logits: Tensor = model.score_frames(features).logits
        return logits

    compiled = torch.compile(score)
    start = time.perf_counter()
    with torch.inference_mode():
        logits = compiled(frames)
        seconds = time.perf_counter() - start
        difference = (logits - score(frames)).abs().max().item()
    found.notes.append(
        f"torch.compile: the first window took {seconds:.0f} s; logits differ by {difference:.1e} "
        "at most"
    )
    each = flops_of(bench.backend)
    for name, work in ((OURS_WINDOW, score), (COMPILED, compiled)):

        @torch.inference_mode()
        def run(clock: StageClock, work: Any = work) -> None:
            work(frames)

        found.contenders.append(Contender(name, run))
        found.flops[name] = each["frame"] * len(frames) + each["window"]
    found.pairs.append(Pair("torch.compile", OURS_WINDOW, COMPILED, "ablation"))


def _lite_windows(backend: Backend, video: Path) -> Iterator[PreprocessedWindow]:
    """The windows that `Predictor` would score, read in this thread."""
    predictor = Predictor(backend)
    side = backend.clip_config.decode_short_side_pixels
    with open_video(video, short_side_pixels=side) as opened:
        yield from preprocessed_windows(
            opened, backend.clip_config, predictor.window_seconds, predictor.stride_seconds
        )


def _batches(windows: Iterator[PreprocessedWindow]) -> Iterator[list[PreprocessedWindow]]:
    while batch := list(islice(windows, BATCH_SIZE)):
        yield batch


def _add_lite(found: Field, bench: Bench) -> None:
    """The shipped model: as it is, with single changes undone, and exported."""
    backend, video = bench.lite, bench.lite_video
    _add_prediction(found, bench, LITE, backend, video)

    def in_turn(clock: StageClock) -> None:
        shared = SharedFrames(backend)
        for batch in _batches(_lite_windows(backend, video)):
            shared.outputs(batch)

    def not_shared(clock: StageClock) -> None:
        for batch in _batches(_lite_windows(backend, video)):
            clip_scores(backend, clips_of(batch))

    if bench.settings.with_lite_ablations:
        found.contenders += [
            Contender("lite, read and scored in turn", in_turn),
            Contender("lite, in turn, frames not shared", not_shared),
        ]
        found.pairs += [
            Pair(
                "lite: in turn / a thread reads", "lite, read and scored in turn", LITE, "ablation"
            ),
            Pair(
                "lite: frames not shared / shared, in turn",
                "lite, in turn, frames not shared",
                "lite, read and scored in turn",
                "ablation",
            ),
        ]
    counting = CountingBackend(backend)
    bench.predict(counting, video)
    each = flops_of(backend)
    found.flops[LITE] = sum(each[name] * count for name, count in counting.counts.items())
    for folder in bench.exported:
        name = f"lite, exported as {folder.name}"
        _add_prediction(
            found, bench, name, load_backend(ModelOptions(str(folder), device="cpu")), video
        )
        found.pairs.append(Pair(f"lite: torch / {folder.name}", LITE, name, "ablation"))
    if bench.settings.lite_seconds == bench.settings.paper_seconds:
        names = [LITE, *(f"lite, exported as {folder.name}" for folder in bench.exported)]
        found.pairs += [
            Pair(f"{FROM_KEYFRAME} / {name}", FROM_KEYFRAME, name, "another model")
            for name in names
        ]


def _add_bf16(found: Field, bench: Bench) -> None:
    """The same in bf16: the baseline under autocast, ours as `--precision bf16` has it."""
    if not has_fast_bf16(torch.device("cpu")):
        found.notes.append("bf16: left out, this CPU has no instructions for it")
        return
    settings, ours = bench.settings, bench.backend_in_bf16
    exact, rounded = (
        SharedFrames(backend).outputs(bench.windows).scores for backend in (bench.backend, ours)
    )
    difference = float(np.abs(exact - rounded).max())
    found.notes.append(f"bf16: msqnet's scores differ from those in fp32 by {difference:.1e}")

    def baseline_run(clock: StageClock) -> None:
        with torch.autocast("cpu", torch.bfloat16):
            bench.baseline_run(clock, from_start=False)

    def baseline_warm_up() -> None:
        with torch.autocast("cpu", torch.bfloat16):
            _warm_up_baseline(bench)

    excerpt = _Excerpt(bench.paper_video, settings.paper_seconds, settings.stride_seconds)
    found.contenders += [
        Contender(BASELINE_IN_BF16, baseline_run, baseline_warm_up, hand_back_memory),
        Contender(
            OURS_IN_BF16, partial(_in_turn, bench, ours, excerpt), partial(_warm_up, bench, ours)
        ),
    ]
    for name, same_work in ((BASELINE_IN_BF16, FROM_KEYFRAME), (OURS_IN_BF16, OURS)):
        found.in_bf16.add(name)
        found.flops[name] = found.flops[same_work]
        found.video_seconds[name] = found.video_seconds[same_work]
    pairs = [
        (FROM_KEYFRAME, OURS_IN_BF16),
        (BASELINE_IN_BF16, OURS_IN_BF16),
        (OURS, OURS_IN_BF16),
    ]
    if settings.with_lite:
        lite = load_backend(ModelOptions(device="cpu", precision="bf16"))
        _add_prediction(found, bench, LITE_IN_BF16, lite, bench.lite_video)
        found.in_bf16.add(LITE_IN_BF16)
        found.flops[LITE_IN_BF16] = found.flops[LITE]
        pairs.append((LITE, LITE_IN_BF16))
    found.pairs += [Pair(f"{slow} / {fast}", slow, fast, "bf16") for slow, fast in pairs]
