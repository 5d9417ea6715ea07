"""Everything that is measured against each other, and which ratios are drawn from it."""

from __future__ import annotations

import os
import shutil
import time
from collections import Counter
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from itertools import count, islice
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from transformers.initialization import no_init_weights

from benchmarks.speed import baseline
from benchmarks.speed.harness import Contender, Part, StageClock
from benchmarks.speed.limits import count_flops
from benchmarks.speed.models import HuggingFaceParts, paper_model, timesformer_config
from benchmarks.speed.videos import looped
from msqnet import Predictor, WindowConfig
from msqnet.clips import ClipBatch
from msqnet.inference.backends import TorchBackend, clip_scores
from msqnet.inference.loading import load_backend
from msqnet.inference.shared_frames import SeenWindow, SharedFrames, seen_windows
from msqnet.model.video_encoders.timesformer import TimesformerVideoEncoder
from msqnet.video.reader import open_video

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from torch import Tensor

    from benchmarks.speed.settings import Settings
    from msqnet.inference.backends import Backend
    from msqnet.model.msqnet import MSQNet
    from msqnet.predictions import FloatArray, VideoPredictions

SCORES_AGREE = 1e-4
_BATCH_SIZE = 8
_LESS_SECONDS = 0.1

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
LITE = "lite"


@dataclass(frozen=True)
class Pair:
    """A ratio: how many times as much the one takes as the other.

    Attributes:
        name: of the ratio, in results and floors.
        slow: contender above the line.
        fast: contender below it.
        group: "headline" or "ablation".
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
        video_seconds: length of the video that a run predicts, by contender; where it is one.
        notes: what a reader has to know: what was left out, and why.
    """

    contenders: list[Contender] = field(default_factory=list)
    parts: list[Part] = field(default_factory=list)
    pairs: list[Pair] = field(default_factory=list)
    flops: dict[str, float] = field(default_factory=dict)
    video_seconds: dict[str, float] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


class CountingBackend:
    """A backend that counts what it is given, so that its floating-point operations are known."""

    def __init__(self, backend: Backend) -> None:
        self._backend: Any = backend
        self.counts: Counter[str] = Counter()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backend, name)

    def frame_features(self, frames: Tensor, *, is_closeup: bool = False) -> dict[str, Tensor]:
        """See `Backend.frame_features`."""
        self.counts["closeup" if is_closeup else "frame"] += len(frames)
        features: dict[str, Tensor] = self._backend.frame_features(frames, is_closeup=is_closeup)
        return features

    def score_frames(
        self, frames: dict[str, Tensor], closeups: dict[str, Tensor] | None
    ) -> FloatArray:
        """See `Backend.score_frames`."""
        scores: FloatArray = self._backend.score_frames(frames, closeups)
        self.counts["window"] += len(scores)
        return scores


def flops_of(backend: Backend) -> dict[str, float]:
    """Floating-point operations of one frame, one close-up and one window of a torch backend."""
    clip = backend.clip_config
    shape = (clip.num_frames, 3, clip.size_pixels, clip.size_pixels)
    pixels = torch.randint(0, 256, shape, dtype=torch.uint8)
    found: dict[str, float] = {}
    features: dict[str, dict[str, Tensor]] = {}
    for name, is_closeup in (("frame", False), ("closeup", True))[: 1 + clip.closeup]:

        def see(name: str = name, is_closeup: bool = is_closeup) -> None:
            made = backend.frame_features(pixels, is_closeup=is_closeup)
            features[name] = {key: values[None] for key, values in made.items()}

        found[name] = count_flops(see) / clip.num_frames
    found["window"] = count_flops(
        lambda: backend.score_frames(features["frame"], features.get("closeup"))
    )
    return found


class Bench:
    """What contenders are made of; everything is made when it is first needed.

    Args:
        settings: what is measured.
        source: the clip that videos are made from.
        exported: folders of exported models, of the shipped model's clips.
    """

    def __init__(self, settings: Settings, source: Path, exported: Sequence[Path] = ()) -> None:
        self.settings = settings
        self.source = source
        self.exported = list(exported)

    @cached_property
    def paper_video(self) -> Path:
        """For the paper's model."""
        return looped(self.source, self.settings.paper_seconds)

    @cached_property
    def unshared_video(self) -> Path:
        """For the paper's model and windows that do not overlap."""
        # A little less, so that rounding of the file's length adds no window.
        return looped(self.source, self.settings.unshared_seconds - _LESS_SECONDS)

    @cached_property
    def lite_video(self) -> Path:
        """For the shipped model."""
        return looped(self.source, self.settings.lite_seconds)

    @cached_property
    def short_video(self) -> Path:
        """Of one window, for warming up."""
        return looped(self.source, self.settings.window_seconds)

    @cached_property
    def model(self) -> MSQNet:
        """The paper's model."""
        # Even where it is first asked for in inference mode, it is a model as every other.
        with torch.inference_mode(False):
            return paper_model(self.settings)

    @cached_property
    def backend(self) -> TorchBackend:
        """The paper's model, prepared for inference."""
        with torch.inference_mode(False):
            return TorchBackend(self.model, "cpu")

    @cached_property
    def parts(self) -> HuggingFaceParts:
        """The same weights in transformers' modules."""
        with torch.inference_mode(False):
            return HuggingFaceParts.of(self.model, self.settings.sizes)

    @cached_property
    def windows(self) -> list[SeenWindow]:
        """Those of the rows without decoding."""
        settings = self.settings
        config = self.model.config.clip_config
        with open_video(
            self.paper_video, short_side_pixels=config.decode_short_side_pixels
        ) as video:
            seen = seen_windows(video, config, settings.window_seconds, settings.stride_seconds)
            return [window for window, _ in zip(seen, range(settings.model_windows), strict=False)]

    @cached_property
    def pixels(self) -> Tensor:
        """Their clips, (W, T, 3, S, S) uint8."""
        return torch.stack([_pixels(window) for window in self.windows])

    @cached_property
    def lite(self) -> Backend:
        """The shipped model."""
        return load_backend(None, device="cpu")

    def check_agreement(self) -> dict[str, float]:
        """Largest difference of scores between baseline and ours on the same pixels.

        Raises:
            RuntimeError: above `SCORES_AGREE`, so that the two are not the same work.
        """
        with torch.inference_mode():
            theirs = torch.cat([self.parts.scores(clip[None]) for clip in self.pixels]).numpy()
        ours = SharedFrames(self.backend).scores(self.windows)
        difference = float(np.abs(theirs - ours).max())
        if not difference <= SCORES_AGREE:
            raise RuntimeError(
                f"baseline and msqnet differ by {difference:.2e} in their scores, expected at most "
                f"{SCORES_AGREE:.0e}: they do not do the same work, mend that first"
            )
        between_windows = float(np.abs(ours[0] - ours[-1]).max())
        return {"largest_difference": difference, "between_windows": between_windows}

    def baseline_run(self, clock: StageClock, *, from_start: bool) -> Tensor:
        """The baseline on the paper's video."""
        return baseline.predict(
            self.paper_video, self.parts, self.settings, clock, from_start=from_start
        )

    def predict(
        self,
        backend: Any,
        video: Path,
        stride_seconds: float | None = None,
        window_seconds: float | None = None,
    ) -> VideoPredictions:
        """Ours on a video."""
        chosen = WindowConfig(window_seconds, stride_seconds, _BATCH_SIZE)
        return Predictor(backend, chosen)(video)


def _pixels(window: SeenWindow) -> Tensor:
    return torch.stack([frame.pixels for frame in window.frames])


def clips_of(windows: Sequence[SeenWindow]) -> ClipBatch:
    """Windows as clips that share nothing."""
    closeups = [window.closeups for window in windows if window.closeups is not None]
    return ClipBatch(
        torch.stack([_pixels(window) for window in windows]),
        torch.stack(closeups) if closeups else None,
    )


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
        )
    )
    overlapping = _Excerpt(bench.paper_video, settings.paper_seconds, settings.stride_seconds)
    apart = _Excerpt(bench.unshared_video, settings.unshared_seconds, settings.window_seconds)
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
            Contender(name, partial(_in_turn, bench, excerpt), partial(_warm_up, bench))
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


def _in_turn(bench: Bench, excerpt: _Excerpt, clock: StageClock) -> None:
    """What `Predictor` does, read in the same thread, so that the stages can be told apart."""
    settings, config = bench.settings, bench.backend.clip_config
    shared = SharedFrames(bench.backend)
    with open_video(excerpt.video, short_side_pixels=config.decode_short_side_pixels) as video:
        windows = seen_windows(video, config, settings.window_seconds, excerpt.stride_seconds)
        for number in count():
            with clock.stage(f"read/{number}"):
                batch = list(islice(windows, _BATCH_SIZE))
            if not batch:
                return
            with clock.stage(f"model/{number}"):
                shared.scores(batch)


def _warm_up(bench: Bench) -> None:
    bench.predict(bench.backend, bench.short_video, None, bench.settings.window_seconds)


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
    found.pairs += [
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


def _lite_windows(backend: Backend, video: Path) -> Iterator[SeenWindow]:
    """The windows that `Predictor` would score, read in this thread."""
    predictor = Predictor(backend)
    side = backend.clip_config.decode_short_side_pixels
    with open_video(video, short_side_pixels=side) as opened:
        yield from seen_windows(
            opened, backend.clip_config, predictor.window_seconds, predictor.stride_seconds
        )


def _batches(windows: Iterator[SeenWindow]) -> Iterator[list[SeenWindow]]:
    while batch := list(islice(windows, _BATCH_SIZE)):
        yield batch


def _add_lite(found: Field, bench: Bench) -> None:
    """The shipped model: as it is, with single changes undone, and exported."""
    backend, video = bench.lite, bench.lite_video
    _add_prediction(found, bench, LITE, backend, video)

    def in_turn(clock: StageClock) -> None:
        shared = SharedFrames(backend)
        for batch in _batches(_lite_windows(backend, video)):
            shared.scores(batch)

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
        _add_prediction(found, bench, name, load_backend(folder, device="cpu"), video)
        found.pairs.append(Pair(f"lite: torch / {folder.name}", LITE, name, "ablation"))
