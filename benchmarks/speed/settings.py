"""How much is measured: one preset for each `make bench...`."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.speed.harness import MIN_ROUNDS


@dataclass(frozen=True)
class Sizes:
    """Of TimeSformer, CLIP's image encoder (equally deep and wide) and the decoder.

    Attributes:
        num_frames: T of a window.
        size_pixels: side of the square frames.
        short_side_pixels: of frames before the centre is cut out.
        patch_pixels: side of a patch.
        width: of tokens.
        layers: of each encoder.
        heads: of each encoder.
        intermediate: width within feed-forward parts.
        decoder_width: D.
        decoder_layers: of the decoder.
        decoder_intermediate: width within its feed-forward parts.
    """

    num_frames: int
    size_pixels: int
    short_side_pixels: int
    patch_pixels: int
    width: int
    layers: int
    heads: int
    intermediate: int
    decoder_width: int
    decoder_layers: int
    decoder_intermediate: int

    @property
    def num_patches(self) -> int:
        """Of a frame."""
        return (self.size_pixels // self.patch_pixels) ** 2


PAPER = Sizes(8, 224, 256, 16, 768, 12, 12, 3072, 512, 6, 2048)
"""TimeSformer-B/16 of 8 frames, CLIP B/16, and the paper's decoder."""

TINY = Sizes(4, 32, 36, 8, 32, 2, 4, 64, 32, 2, 64)
"""For checks that everything runs."""


@dataclass(frozen=True)
class Settings:
    """What one run measures.

    Attributes:
        preset: name of these settings.
        num_rounds: every contender runs that often.
        paper_seconds: length of the video for the paper's model; windows are cut from it.
        lite_seconds: likewise for the shipped model.
        model_windows: windows by which scores are compared and single changes measured.
        sizes: of the paper's model.
        with_unshared: the rows whose windows do not overlap.
        with_ablations: the rows of single changes.
        with_lite: the shipped model.
        with_compiled: `torch.compile`.
        with_bf16: both ways, and the shipped model, in bf16; where the CPU has instructions for it.
        with_memory: peak memory, each contender in a process of its own.
        window_seconds: length of a window.
        stride_seconds: from one start to the next.
        num_labels: K of the paper's model.
        unshared_seconds: length of the video whose windows do not overlap.
        with_lite_ablations: the shipped model with single changes undone.
    """

    preset: str
    num_rounds: int
    paper_seconds: float
    lite_seconds: float
    model_windows: int
    sizes: Sizes = PAPER
    with_unshared: bool = True
    with_ablations: bool = True
    with_lite: bool = True
    with_compiled: bool = True
    with_bf16: bool = True
    with_memory: bool = True
    window_seconds: float = 2.0
    stride_seconds: float = 1.0
    num_labels: int = 10
    unshared_seconds: float = 4.0
    with_lite_ablations: bool = True


# A window of the paper's model takes about 6 s of both of two cores the usual way: the lengths are
# such that `make bench` ends within 15 minutes there, and `make bench-quick` within 8.
PRESETS = {
    "smoke": Settings("smoke", 2, 4.0, 4.0, 2, sizes=TINY, with_lite=False, with_compiled=False),
    "quick": Settings(
        "quick",
        MIN_ROUNDS,
        paper_seconds=3.0,
        lite_seconds=10.0,
        model_windows=2,
        with_unshared=False,
        with_compiled=False,
        with_bf16=False,
        with_memory=False,
    ),
    # Compiling takes as long as all rounds together on two cores: it is part of the full run.
    "bench": Settings(
        "bench",
        MIN_ROUNDS,
        paper_seconds=10.0,
        lite_seconds=10.0,
        model_windows=2,
        with_compiled=False,
    ),
    "full": Settings("full", MIN_ROUNDS, paper_seconds=60.0, lite_seconds=60.0, model_windows=8),
}
