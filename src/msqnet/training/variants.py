"""The ablations of the paper's Table 3, and their open-vocabulary counterparts, as settings."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from msqnet.errors import ConfigError

if TYPE_CHECKING:
    from msqnet.config import ArchConfig

_PAPER: dict[str, Any] = {"head": "group_wise", "direct_path": False}
_TEXT_ONLY: dict[str, Any] = {"video_query": "none", "image_encoder": "none"}
_OPEN: dict[str, Any] = {
    "head": "cosine",
    "direct_path": False,
    "learn_label_queries": False,
    "query_attention": False,
    "query_positions": "none",
}

VARIANTS: dict[str, dict[str, Any]] = {
    "vanilla": {**_PAPER, **_TEXT_ONLY, "text_encoder": "random"},
    "text_init": {**_PAPER, **_TEXT_ONLY},
    "full": _PAPER,
    "open_text": {**_OPEN, **_TEXT_ONLY},
    "open_full": _OPEN,
}
"""What each variant changes.

- ``vanilla``: random label queries, no video query;
- ``text_init``: label queries start from text, no video query;
- ``full``: text and video query, as the paper's MSQNet;
- ``open_text``, ``open_full``: the latter two with a head and queries that are functions of text.
"""


def variant(arch: ArchConfig, name: str) -> ArchConfig:
    """The settings of one variant.

    Args:
        arch: settings of the full model, with a text encoder and a video query.
        name: of `VARIANTS`.

    Raises:
        ConfigError: no such variant, or settings that lack what a variant takes away.
    """
    if name not in VARIANTS:
        raise ConfigError(f"no variant {name!r}; known are: {', '.join(VARIANTS)}")
    if arch.video_query == "none" or arch.text_encoder == "random":
        raise ConfigError(
            "variants start from the full model: set video_query to image or trunk, and "
            "text_encoder to one that reads text"
        )
    changes = VARIANTS[name]
    if changes["head"] == _OPEN["head"] and arch.head != "group_wise":
        changes = {**changes, "head": arch.head}  # another open head that was asked for
    return replace(arch, **changes)
