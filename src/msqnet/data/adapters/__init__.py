"""Data sets as their authors distribute them, read into the standard table.

One file each. An adapter reads annotation files only: videos need not be there yet.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from msqnet.errors import ConfigError

if TYPE_CHECKING:
    from msqnet.data.adapters.adapter import Adapter

ADAPTERS: dict[str, str] = {
    "animal_kingdom": "msqnet.data.adapters.animal_kingdom",
    "charades": "msqnet.data.adapters.charades",
    "hmdb51": "msqnet.data.adapters.hmdb51",
    "hockey": "msqnet.data.adapters.hockey",
    "kinetics": "msqnet.data.adapters.kinetics",
    "mammalnet": "msqnet.data.adapters.mammalnet",
    "thumos14": "msqnet.data.adapters.thumos14",
    "ucf101": "msqnet.data.adapters.ucf101",
    "volleyball": "msqnet.data.adapters.volleyball",
}
"""Modules by the name after ``--from``; each has a constant ``ADAPTER``."""


def load_adapter(name: str) -> Adapter:
    """The adapter of a data set.

    Raises:
        ConfigError: there is none of that name.
    """
    if name not in ADAPTERS:
        raise ConfigError(
            f"--from {name}: no such data set; known are {', '.join(ADAPTERS)} "
            "('msqnet convert --from list' says more)"
        )
    found: Adapter = importlib.import_module(ADAPTERS[name]).ADAPTER
    return found
