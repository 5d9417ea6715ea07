"""Picture of attribution maps: `python docs/make_pictures/attribution_maps.py docs/pictures`.

The clip is a demo clip, the man who falls.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

from msqnet.demo import FOLDER

WIDTH = 1600


def main() -> None:
    """Make the picture in the folder that the command line names."""
    out = Path(sys.argv[1])
    out.mkdir(parents=True, exist_ok=True)
    clip = FOLDER / "fall_at_home.mp4"
    with tempfile.TemporaryDirectory() as folder:
        command = ["explain", str(clip), "--labels", "walking|falling", "--heat_video", "false"]
        subprocess.run([sys.executable, "-m", "msqnet", *command, "--out", folder], check=True)
        with Image.open(Path(folder) / f"{clip.name}.heat.png") as sheet:
            height = round(sheet.height * WIDTH / sheet.width)
            small = sheet.convert("RGB").resize((WIDTH, height), Image.Resampling.LANCZOS)
        # The glow of the maps would show steps in a palette of 256 colours.
        small.save(out / "heat-maps.jpg", quality=88, optimize=True)


if __name__ == "__main__":
    main()
