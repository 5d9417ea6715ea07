"""What is compared with msqnet, and what its authors say that it costs.

Published are, for one view of a clip in the size named here:

- X3D: Table 4 of arXiv:2004.04730 and the model zoo of its repository (facebookresearch/SlowFast),
  which count a multiplication with its addition as one. XS and S are 160 pixels high and wide, M is
  224; larger sizes belong to evaluations with three crops, and the published cost does not.
- MoViNet-A0 (base): arXiv:2103.11511 and its model zoo (tensorflow/models), 50 frames of 172 x 172.
- MobileNetV3-Small: Table 3 of arXiv:1905.02244, 56 M multiply-adds a frame of 224 x 224; TSM (8
  frames, arXiv:1811.08383) adds none.
- VideoMAE-S: arXiv:2203.12602, tables of results: 22 M parameters and 57 G.

This module imports nothing else: the measured processes read it.
"""

from __future__ import annotations

from typing import NamedTuple

WINDOW_SECONDS = 2
STRIDE_SECONDS = 1
RUNTIMES = ("torch", "openvino")
TITLES = {"torch": "PyTorch", "openvino": "OpenVINO"}

TOLERANCE = 0.03
"""How far, relatively, a network here may be from its published size and cost."""


class Peer(NamedTuple):
    """A small video network.

    Attributes:
        network: its class in `benchmarks.peers.networks`.
        num_frames: of one window.
        size: height and width of a frame, pixels.
        parameters: published, millions.
        gmacs: published, 1e9 multiply-adds of one window.
    """

    network: str
    num_frames: int
    size: int
    parameters: float
    gmacs: float


PEERS = {
    "X3D-XS": Peer("X3D", 4, 160, 3.8, 0.60),
    "X3D-S": Peer("X3D", 13, 160, 3.8, 1.96),
    "X3D-M": Peer("X3D", 16, 224, 3.8, 4.73),
    "MoViNet-A0": Peer("MoViNetA0", 50, 172, 3.1, 2.7),
    "MobileNetV3-Small-TSM": Peer("MobileNetV3TSM", 8, 224, 2.5, 8 * 0.056),
    "VideoMAE-S": Peer("VideoMAE", 16, 224, 22, 57),
}
