"""Picture of embedding maps: `python docs/make_pictures/embedding_map.py docs/pictures`.

It shows the test rows of the mixed-actor benchmark, whose folder MSQNET_DATA must name, and needs
`msqnet[lite,explain]` for two small models, one with text queries and one with multi-modal ones.
They are trained once, into runs/embedding-map (an hour or so on two cores), and found there later.
The maps hold marks only, no frame of a clip.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).parents[2]
EPOCHS = 4
MAX_COLOURS = 128


def run(*command: str) -> None:
    """One Python command; stops where it fails."""
    subprocess.run([sys.executable, *command], check=True, cwd=ROOT)


def main() -> None:
    """Make the picture in the folder that the command line names."""
    out = Path(sys.argv[1])
    data = os.environ.get("MSQNET_DATA", "")
    table = Path(data, "mixed_actors.csv").resolve()
    if not data or not table.is_file():
        print(f"left out: MSQNET_DATA is {data!r}, not the folder of the mixed-actor benchmark")
        return
    models = ROOT / "runs" / "embedding-map"
    benchmark = ["benchmarks/embedding_summaries.py", "--epochs", str(EPOCHS)]
    run(*benchmark, "--data", str(table), "--out", str(models))
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        command = ["-m", "msqnet", "embed", "--data", str(table), "--split", "test"]
        pair = ["--model", str(models / "full"), "--text_model", str(models / "text_init")]
        run(*command, *pair, "--out", folder)
        with Image.open(Path(folder) / "embedding_map.png") as picture:
            small = picture.convert("RGB").quantize(MAX_COLOURS)
        small.save(out / "embedding-map.png", optimize=True)


if __name__ == "__main__":
    main()
