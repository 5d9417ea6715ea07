"""The Hugging Face Hub: whether it can be reached, and what of it lies on this machine."""

from __future__ import annotations

import urllib.error
import urllib.request
from typing import TYPE_CHECKING

from msqnet.diagnosis.findings import Finding

if TYPE_CHECKING:
    from collections.abc import Iterator

_TOPIC = "models"
_SECONDS = 5.0


def hub_findings(*, offline: bool = False) -> Iterator[Finding]:
    """Whether models can be fetched, and the size of what was.

    Args:
        offline: do not try to reach the Hub.
    """
    from huggingface_hub import constants

    if offline or constants.HF_HUB_OFFLINE:
        why = "HF_HUB_OFFLINE is set" if constants.HF_HUB_OFFLINE else "not tried: --offline"
        yield Finding(_TOPIC, "Hub", why)
    else:
        yield _reach(constants.ENDPOINT)
    yield _cache()


def _reach(endpoint: str) -> Finding:
    request = urllib.request.Request(endpoint, method="HEAD")
    try:
        with urllib.request.urlopen(request, timeout=_SECONDS) as answer:
            return Finding(_TOPIC, "Hub", f"{endpoint} answers ({answer.status})")
    except urllib.error.HTTPError as error:
        # It answered: a HEAD of the front page may be refused where files are not.
        return Finding(_TOPIC, "Hub", f"{endpoint} answers ({error.code})")
    except (OSError, ValueError) as error:
        return Finding(
            _TOPIC,
            "Hub",
            f"{endpoint} cannot be reached: {getattr(error, 'reason', error)}",
            "note",
            "models that are named by a Hub id cannot be fetched; the shipped model and folders "
            "work. Behind a proxy set HTTPS_PROXY; without a network HF_HUB_OFFLINE=1",
        )


def _cache() -> Finding:
    from huggingface_hub import scan_cache_dir
    from huggingface_hub.errors import CacheNotFound

    try:
        found = scan_cache_dir()
    except CacheNotFound as error:
        return Finding(_TOPIC, "fetched models", f"none ({error.cache_dir} does not exist)")
    damaged = len(found.warnings)
    return Finding(
        _TOPIC,
        "fetched models",
        f"{len(found.repos)}, {found.size_on_disk / 1e9:.2f} GB",
        "note" if damaged else "ok",
        f"{damaged} damaged entries: hf cache verify; hf cache rm removes them" if damaged else "",
    )
