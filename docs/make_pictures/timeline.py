"""The first picture of the README: `python docs/make_pictures/timeline.py docs/pictures`.

The shipped model on a test video of GMDCSA24 (Ekram Alam, MIT), with the times that its authors
state. It is made where MSQNET_DATA names the folder of that video; no frame is in the picture.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from msqnet import Predictor
from msqnet.report.figures import save_figure, timeline_figure

VIDEO = "gmdcsa24/Subject_2/Fall/12.mp4"
ANNOTATED = {"walking": [(0.0, 3.6)], "standing": [(3.6, 6.9)], "falling": [(6.9, 12.0)]}


def main() -> int:
    """Make the picture in the folder that the command line names."""
    out = Path(sys.argv[1])
    out.mkdir(parents=True, exist_ok=True)
    video = Path(os.environ.get("MSQNET_DATA", "")) / VIDEO
    if not video.is_file():
        print(f"timeline.png is left as it is: MSQNET_DATA has no {VIDEO}")
        return 0
    predictions = Predictor.from_pretrained()(video)
    figure = timeline_figure(predictions, ANNOTATED, num_labels=len(ANNOTATED))
    save_figure(figure, out / "timeline.png")
    return 0


if __name__ == "__main__":
    sys.exit(main())
