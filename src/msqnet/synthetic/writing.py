"""Writes one clip as a video file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import av

from msqnet.synthetic.clips import FRAMES_PER_SECOND, draw_clip

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from msqnet.synthetic.clips import ClipPlan

_H264 = ("libx264", {"crf": "18", "preset": "fast"})
_MPEG4 = ("mpeg4", {"qscale": "3"})


def write_clip(plan: ClipPlan, path: Path, size: int) -> None:
    """Draw a clip and write it as MP4, with H.264 where the encoder is there, else with MPEG-4.

    The drawn pixels are repeatable. The file nearly is: x264 does not encode every clip to the same
    bytes in every run.

    Args:
        plan: what to draw.
        path: the file to write; its folder exists.
        size: width and height in pixels, even.
    """
    write_frames(draw_clip(plan, size), path)


def write_frames(frames: NDArray[np.uint8], path: Path) -> None:
    """Write (T, H, W, 3) uint8 RGB frames as MP4 at the clips' frame rate."""
    codec, options = _H264 if _H264[0] in av.codecs_available else _MPEG4
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream(codec, rate=FRAMES_PER_SECOND, options=options)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        # The encoder's decisions then do not depend on the machine's number of processors.
        stream.codec_context.thread_count = 1
        for pixels in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
