"""Query encoders: what the decoder asks with (section 3.2 of the paper).

- ``clip``: the image query of a clip from a frozen CLIP image encoder, and label prompts through
  CLIP's text encoder;
- ``minilm``: label prompts through all-MiniLM-L6-v2, the text encoder of ``lite``.

Image encoders are modules, since every clip passes through them. Text encoders are functions from
prompts to a table: they run once, when a model is started, and a trained model does not need them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msqnet.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from torch import Tensor

_NUM_PROMPTS_AT_A_TIME = 64


def tokenize_prompts(
    tokenizer: Any, prompts: Sequence[str], max_num_tokens: int
) -> Iterator[dict[str, Tensor]]:
    """Token batches of all prompts, in order, padded to the longest of each batch.

    Args:
        tokenizer: a Hugging Face tokenizer.
        prompts: K texts; not empty.
        max_num_tokens: what the text encoder can read, special tokens included.

    Yields:
        ``input_ids`` and ``attention_mask``, (b, S) int64 each.

    Raises:
        ConfigError: no prompt, an empty prompt, or one that is too long: it is never cut silently.
    """
    if isinstance(prompts, str) or not prompts:
        raise ConfigError(f"prompts: found {prompts!r}, expected a list of at least one text")
    lengths = [len(ids) for ids in tokenizer(list(prompts))["input_ids"]]
    for prompt, length in zip(prompts, lengths, strict=True):
        if not prompt.strip():
            raise ConfigError(f"prompt {prompt!r} is empty; write what the label looks like")
        if length > max_num_tokens:
            raise ConfigError(
                f"prompt {prompt[:60]!r} has {length} tokens, the text encoder reads at most "
                f"{max_num_tokens}; shorten it"
            )
    for start in range(0, len(prompts), _NUM_PROMPTS_AT_A_TIME):
        batch = list(prompts[start : start + _NUM_PROMPTS_AT_A_TIME])
        tokens = tokenizer(batch, padding=True, return_tensors="pt")
        yield {name: tokens[name] for name in ("input_ids", "attention_mask")}
