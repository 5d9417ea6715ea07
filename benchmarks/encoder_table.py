"""What each video encoder is: parameters, memory of a clip, licence of its published weights.

    python benchmarks/encoder_table.py

Built on the meta device: nothing is downloaded, no weight exists.
"""

from __future__ import annotations

import sys
from typing import Any

import torch

from msqnet.cli.main import exit_code_of
from msqnet.model.registry import VIDEO_ENCODERS, encoder_spec
from msqnet.model.video_encoders.encoder import time_positions


def main() -> None:
    """Print one row for each encoder."""
    print("| encoder | frames, pixels | parameters | memory of a clip | weights, licence |")
    print("|---|---|---|---|---|")
    for name in VIDEO_ENCODERS:
        arch = encoder_spec(name).recipe().arch
        kind: Any = encoder_spec(name).load()
        with torch.device("meta"):
            encoder = kind(kind.default_config(arch.num_frames, arch.size_pixels))
        num_parameters = sum(parameter.numel() for parameter in encoder.parameters())
        spans = encoder.memory_spans(arch.num_frames)
        num_steps = max(time_positions(spans)) + 1
        whole = " and one for the clip" if None in spans else ""
        print(
            f"| `{name}` | {arch.num_frames}, {arch.size_pixels} | {num_parameters / 1e6:.1f} M "
            f"| {num_steps} time steps{whole}, {encoder.width} wide | {kind.licence} |"
        )


if __name__ == "__main__":
    sys.exit(exit_code_of(main))
