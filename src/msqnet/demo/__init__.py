"""Four short videos that come with the package: a person, two rats, and a drawn worm.

`NOTICE.md`, beside them, names their sources, authors and licences.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class DemoClip:
    """A video of the package, how to call it, and whom to name beside it."""

    path: Path
    title: str
    credit: str


def demo_clips() -> list[DemoClip]:
    """The videos of the package, by name."""
    return [
        DemoClip(FOLDER / name, title, credit)
        for name, title, credit in (
            ("fall_at_home.mp4", "Fall at home", "GMDCSA24, Ekram Alam and others, MIT"),
            ("rat_rearing.mp4", "Rat rearing", "yolo_behavior, alllliceee, Apache-2.0"),
            ("rat_washing.mp4", "Rat washing", "yolo_behavior, alllliceee, Apache-2.0"),
            ("worm.mp4", "Drawn worm", "drawn by msqnet, Apache-2.0"),
        )
    ]
