"""What one GPU gains: a training step and inference, plain fp32 beside the best form.

    python -m benchmarks.gpu             # needs CUDA; writes benchmarks/results/DATE-gpu-NAME.json
    python -m benchmarks.gpu --smoke     # tiny sizes on the CPU: checks that all of it runs

TimeSformer-B/16 of 16 frames with a CLIP B/16 image query and the paper's decoder, random weights,
random uint8 clips that are on the device already: no video is read, and neither PyAV nor kornia is
needed. "Plain" is what `transformers` gives as it comes: eager attention in TimeSformer, fp32, TF32
off. "Best" is our model with fused attention, bf16, `torch.compile`, and CLIP (frozen, as in the
paper) without gradients on all frames at once. Rounds are paired and interleaved.
"""

from __future__ import annotations

import argparse
import gc
import json
import platform
import re
import sys
import time
from contextlib import nullcontext
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional as F

from benchmarks.speed.harness import MIN_ROUNDS, Contender, StageClock, Summary, ratios, run_rounds
from benchmarks.speed.limits import count_flops
from benchmarks.speed.models import HuggingFaceParts, paper_model
from benchmarks.speed.settings import PAPER, TINY, Settings
from msqnet.cli.main import exit_code_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from msqnet.model.pretrained import MSQNet

RESULTS = Path(__file__).with_name("results")
_MATRIX_SIDE = 8192
_LEARNING_RATE = 1e-5


@dataclass(frozen=True)
class GpuSettings:
    """What is measured.

    Attributes:
        training_batch: clips of a training step.
        inference_batch: clips that are scored at a time.
        num_rounds: of each contender.
        steps: in each round.
        matrix_side: of the square matrices that the device's rate is measured with.
        of_model: sizes of the model, as the CPU benchmark has them.
    """

    training_batch: int
    inference_batch: int
    num_rounds: int
    steps: int
    matrix_side: int
    of_model: Settings


def settings_of(smoke: bool) -> GpuSettings:
    """Full sizes, or such that take seconds on a CPU."""
    sizes = TINY if smoke else replace(PAPER, num_frames=16)
    of_model = Settings("gpu", 0, 0.0, 0.0, 0, sizes=sizes)
    return (
        GpuSettings(2, 2, 2, 1, 128, of_model)
        if smoke
        else GpuSettings(8, 16, MIN_ROUNDS, 5, _MATRIX_SIDE, of_model)
    )


def synchronise(device: torch.device) -> None:
    """Wait until the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def matrix_rate(device: torch.device, side: int, dtype: torch.dtype) -> float:
    """Floating-point operations a second of the product of two square matrices, at most."""
    left, right = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    rates = []
    for _ in range(2 + MIN_ROUNDS):
        synchronise(device)
        start = time.perf_counter()
        for _ in range(5):
            left @ right
        synchronise(device)
        rates.append(5 * 2 * side**3 / (time.perf_counter() - start))
    return max(rates[2:])


class Plain:
    """`transformers` as it comes, in fp32, with our decoder behind it."""

    def __init__(self, settings: GpuSettings, device: torch.device) -> None:
        model = paper_model(settings.of_model)
        self.parts = HuggingFaceParts.of(model, settings.of_model.sizes).to(device)
        self.trained = [self.parts.timesformer, self.parts.head]

    def logits(self, clips: Tensor) -> Tensor:
        """(B, T, 3, S, S) uint8 -> (B, K) float32."""
        with torch.no_grad():  # CLIP is frozen, which a user would know too
            query = self.parts.video_query(clips)
        memory = self.parts.frame_memory(clips)
        answer = self.parts.head(frame_memory=memory, video_query=query)
        return answer.logits  # type: ignore[no-any-return]


class Best:
    """Our model in bf16 with fused attention, compiled.

    Training keeps fp32 weights and computes in bf16 by autocast; for inference `to_bf16` makes the
    weights bf16 too.
    """

    def __init__(self, settings: GpuSettings, device: torch.device, *, compiled: bool) -> None:
        self.model: MSQNet = paper_model(settings.of_model).to(device)  # type: ignore[arg-type]
        self.trained = [self.model]
        self._device = device
        self._is_autocast = True
        image, rest = self._image, self._rest
        self.image: Callable[[Tensor], Tensor] = torch.compile(image) if compiled else image
        self.rest: Callable[..., Tensor] = torch.compile(rest) if compiled else rest

    def to_bf16(self) -> None:
        """Fold weights in fp32, then keep all of them in bf16: nothing is cast at every call."""
        self.model.prepare_for_inference().to(torch.bfloat16)
        self._is_autocast = False

    def _image(self, clips: Tensor) -> Tensor:
        return self.model.image_encoder(clips).mean(dim=1)  # type: ignore[no-any-return]

    def _rest(self, clips: Tensor, query: Tensor) -> Tensor:
        memory = self.model.video_encoder(clips)
        logits: Any = self.model(frame_memory=memory, video_query=query).logits
        return logits  # type: ignore[no-any-return]

    def logits(self, clips: Tensor) -> Tensor:
        """(B, T, 3, S, S) uint8 -> (B, K) float32."""
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self._is_autocast):
            with torch.no_grad():
                query = self.image(clips)
            return self.rest(clips, query).float()


def _trainable(way: Plain | Best) -> list[torch.nn.Parameter]:
    found = []
    for module in way.trained:
        for name, parameter in module.named_parameters():
            if not name.startswith("image_encoder.") and parameter.requires_grad:
                found.append(parameter)
    return found


def training_step(way: Plain | Best, clips: Tensor, targets: Tensor, *, fused: bool) -> Any:
    """A function that does one step: forward, loss, backward, AdamW."""
    for module in way.trained:
        module.train()
    optimizer = torch.optim.AdamW(_trainable(way), lr=_LEARNING_RATE, fused=fused)

    def step() -> float:
        optimizer.zero_grad(set_to_none=True)
        loss = F.binary_cross_entropy_with_logits(way.logits(clips), targets)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        return float(loss.detach())

    return step


def inference(way: Plain | Best, clips: Tensor) -> Any:
    """A function that scores one batch."""
    for module in way.trained:
        module.eval()
    if isinstance(way, Best):
        way.to_bf16()

    def score() -> Tensor:
        with torch.no_grad():
            return way.logits(clips)

    return score


def _contender(name: str, work: Any, steps: int, device: torch.device) -> Contender:
    def run(clock: StageClock) -> None:
        del clock
        for _ in range(steps):
            work()
        synchronise(device)

    return Contender(name, run)


def _peak(work: Any, device: torch.device) -> int | None:
    """Bytes on the device at most while this runs, what lies there before included."""
    if device.type != "cuda":
        return None
    work()  # makes the optimiser's moments, and compiles
    gc.collect()  # a compiled way holds itself
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(device)
    work()
    synchronise(device)
    return torch.cuda.max_memory_allocated(device)


def _measure_kind(
    kind: str, settings: GpuSettings, device: torch.device, *, compiled: bool
) -> dict[str, Any]:
    """One of "training" and "inference": plain and best in interleaved rounds."""
    is_training = kind == "training"
    batch = settings.training_batch if is_training else settings.inference_batch
    sizes = settings.of_model.sizes
    side = sizes.size_pixels
    shape = (batch, sizes.num_frames, 3, side, side)
    clips = torch.randint(0, 256, shape, dtype=torch.uint8, device=device)
    targets = torch.randint(0, 2, (batch, settings.of_model.num_labels), device=device).float()

    def made(name: str, *, compiled: bool) -> Any:
        way = (
            Plain(settings, device)
            if name == "plain"
            else Best(settings, device, compiled=compiled)
        )
        if not is_training:
            return inference(way, clips)
        fused = name == "best" and device.type == "cuda"
        return training_step(way, clips, targets, fused=fused)

    # Each way's own products: what it folds or spares does not count for its share.
    flops = {name: count_flops(made(name, compiled=False)) for name in ("plain", "best")}
    # Peaks are of one way alone: the other one's weights and moments are not there yet, or no more.
    works = {"plain": made("plain", compiled=compiled)}
    peaks = {"plain": _peak(works["plain"], device)}
    works["best"] = made("best", compiled=compiled)
    agreement = None
    if not is_training:
        difference = (works["plain"]().sigmoid() - works["best"]().sigmoid()).abs().max()
        agreement = float(difference)
    contenders = [_contender(name, work, settings.steps, device) for name, work in works.items()]
    costs = run_rounds(contenders, num_rounds=settings.num_rounds)
    contenders.clear()
    del works["plain"]
    peaks["best"] = _peak(works["best"], device)
    clips_a_round = batch * settings.steps
    found: dict[str, Any] = {"batch": batch, "scores_differ_by": agreement}
    for name, rounds in costs.items():
        rate = Summary.of([clips_a_round / cost.wall_seconds for cost in rounds])
        found[name] = {
            "clips_per_second": rate.to_dict(),
            "flops_a_batch": flops[name],
            "flops_per_second": flops[name] * rate.median / batch,
            "peak_memory_bytes": peaks[name],
        }
    found["ratio"] = ratios(costs["plain"], costs["best"])["wall"].to_dict()
    return found


def measured(settings: GpuSettings, device: torch.device, *, compiled: bool) -> dict[str, Any]:
    """Everything: JSON values only."""
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False
    torch.manual_seed(0)
    rates = {
        "bf16": matrix_rate(device, settings.matrix_side, torch.bfloat16),
        "fp32": matrix_rate(device, settings.matrix_side, torch.float32),
    }
    results: dict[str, Any] = {
        "kind": "gpu",
        "date": datetime.now(UTC).date().isoformat(),
        "device": _name(device),
        "torch": torch.__version__,
        "num_frames": settings.of_model.sizes.num_frames,
        "compiled": compiled,
        "matrix_flops_per_second": rates,
    }
    for kind in ("inference", "training"):
        results[kind] = _measure_kind(kind, settings, device, compiled=compiled)
        for name in ("plain", "best"):
            of_way = results[kind][name]
            of_way["share_of_bf16_rate"] = of_way["flops_per_second"] / rates["bf16"]
        if device.type == "cuda":
            torch.cuda.empty_cache()
    return results


def _name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return platform.processor() or platform.machine()


def printed(results: dict[str, Any]) -> str:
    """What a run ends with."""
    lines = [f"{results['device']}, {results['num_frames']} frames, torch {results['torch']}"]
    for kind in ("inference", "training"):
        for name in ("plain", "best"):
            found = results[kind][name]
            peak = found["peak_memory_bytes"]
            memory = "" if peak is None else f", peak {peak / 2**30:.1f} GiB"
            lines.append(
                f"{kind}, {name}: {found['clips_per_second']['median']:.1f} clips/s, "
                f"{100 * found['share_of_bf16_rate']:.0f} % of the bf16 matrix rate{memory}"
            )
        lines.append(f"{kind}: best is {Summary(**results[kind]['ratio'])} times as fast")
    return "\n".join(lines)


def main() -> None:
    """Measure, print, and write where it is a real measurement."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--smoke", action="store_true", help="tiny sizes on the CPU, nothing kept")
    parser.add_argument("--out", type=Path, help="JSON file in place of the dated one")
    arguments = parser.parse_args()
    if not arguments.smoke and not torch.cuda.is_available():
        print("no CUDA device here: GPU figures are missing", file=sys.stderr)
        raise SystemExit(1)
    device = torch.device("cpu" if arguments.smoke else "cuda")
    with nullcontext() if arguments.smoke else torch.cuda.device(0):
        results = measured(settings_of(arguments.smoke), device, compiled=not arguments.smoke)
    print(printed(results))
    path = arguments.out
    if path is None and not arguments.smoke:
        name = re.sub(r"[^a-z0-9]+", "-", results["device"].lower()).strip("-")
        path = RESULTS / f"{results['date']}-gpu-{name}.json"
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
        print(f"written to {path}")


if __name__ == "__main__":
    sys.exit(exit_code_of(main))
