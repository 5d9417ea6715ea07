"""Pretrained parts from disk or the Hugging Face hub, refused unless every tensor is accounted for.

transformers fills what a checkpoint lacks with fresh values, which for parameters that a model does
not initialise itself is uninitialised memory, and only logs it. Here that is an error.
"""

from __future__ import annotations

import copy
import json
import logging
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from safetensors import SafetensorError
from transformers import AutoConfig, AutoTokenizer, PreTrainedModel
from transformers.initialization import no_init_weights
from transformers.utils import logging as transformers_logging

from msqnet.errors import CheckpointError, MissingExtra
from msqnet.models.hub import TOKENIZER_FILES, checkpoint_file, checkpoint_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping

    from torch import Tensor, nn

ModelT = TypeVar("ModelT", bound=PreTrainedModel)
ModuleT = TypeVar("ModuleT", bound="nn.Module")

# Errors of transformers, tokenizers, safetensors and torch for absent, damaged or foreign files.
_LOAD_ERRORS = (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError)


def check_loaded(module: nn.Module, origin: str | Path) -> None:
    """Refuse a module from ``origin`` with a tensor on the meta device, or with NaN or infinity."""
    for name, tensor in (*module.named_parameters(), *module.named_buffers()):
        if tensor.is_meta:
            raise CheckpointError(
                f"{origin}: tensor {name!r} {tuple(tensor.shape)} has no values after loading; "
                "the checkpoint is incomplete, fetch or save it again"
            )
        # NaN and infinity survive a sum, and a sum is the fastest pass over many millions.
        if torch.isfinite(tensor.sum()):
            continue
        num_bad = tensor.numel() - int(torch.isfinite(tensor).sum())
        if num_bad:
            raise CheckpointError(
                f"{origin}: tensor {name!r} holds {num_bad} of {tensor.numel()} values that "
                "are NaN or infinite, expected none; fetch or save the checkpoint again"
            )


def align(module: nn.Module) -> None:
    """Copy every tensor of a loaded module to an aligned place.

    A mapped file's tensors lie at any address; matrix products of copies give the same bits as
    before saving, and are faster.
    """
    for tensor in (*module.parameters(), *module.buffers()):
        tensor.data = tensor.data.clone()


def filled(
    build: Callable[[], ModuleT], parts: Mapping[str, Mapping[str, Tensor]], origin: str | Path
) -> ModuleT:
    """Build a module and let its parts take over loaded tensors; the result is in eval mode.

    ``parts`` holds the state dict of each part, by the attribute that holds the part. Incomplete
    tensors are a `CheckpointError` that names the ``origin``; see `check_loaded`.
    """
    # Every value is replaced below; drawing random ones first takes longer than loading.
    with no_init_weights():
        module = build()
    for name, weights in parts.items():
        module.get_submodule(name).load_state_dict(weights, strict=True, assign=True)
    check_loaded(module, origin)
    return module.eval()


def changed(config: Any, **values: Any) -> Any:
    """A copy of a configuration with some values set."""
    config = copy.deepcopy(config)
    for name, value in values.items():
        setattr(config, name, value)
    return config


def load_backbone(
    model_class: type[ModelT],
    name_or_folder: str | Path,
    *,
    model_types: Collection[str],
    ignored_prefixes: tuple[str, ...] = (),
) -> ModelT:
    """Load a Hugging Face model in float32 and eval mode, and check that nothing is missing.

    ``model_types`` are those of checkpoints that hold such weights, ``ignored_prefixes`` those of
    tensors that the class does not use, as ``classifier.``. A checkpoint that is not found, is
    damaged or of another type, or whose tensors are missing, unexpected, of another shape, not
    finite or without values, is a `CheckpointError`.
    """
    found_type = model_type_of(name_or_folder)
    if found_type not in model_types:
        raise CheckpointError(
            f"{name_or_folder}: found a model of type {found_type!r}, expected "
            f"{' or '.join(map(repr, sorted(model_types)))}; name a checkpoint of that kind"
        )
    folder = checkpoint_folder(name_or_folder)
    with loading_from(name_or_folder):
        # Without dtype a half-precision checkpoint would give a half-precision model.
        # Its annotation leaves out the pair that output_loading_info gives.
        loaded: Any = model_class.from_pretrained(
            folder, output_loading_info=True, dtype=torch.float32
        )
    model: ModelT = loaded[0]
    check_report(loaded[1], name_or_folder, ignored_prefixes)
    check_loaded(model, name_or_folder)
    align(model)
    return model


def config_of(name_or_folder: str | Path) -> Any:
    """The configuration in a checkpoint's ``config.json``; a `CheckpointError` if unreadable."""
    path = checkpoint_file(name_or_folder, "config.json")
    with loading_from(name_or_folder):
        return AutoConfig.from_pretrained(name_or_folder if path is None else path.parent)


def model_type_of(name_or_folder: str | Path) -> str:
    """The ``model_type`` of a checkpoint's ``config.json``; a `CheckpointError` if unreadable."""
    found: str = config_of(name_or_folder).model_type
    return found


def package_folder(package: str, purpose: str) -> Path:
    """Folder of an installed package of the extra ``lite``; else a `MissingExtra`."""
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise MissingExtra(purpose, extra="lite")
    return Path(spec.submodule_search_locations[0])


def read_json_file(path: Path) -> Any:
    """The content of a JSON file; a `CheckpointError` if it is damaged."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"{path}: cannot be read as JSON ({error}); fetch the checkpoint again"
        ) from error


def load_tokenizer(name_or_folder: str | Path) -> Any:
    """The tokenizer stored beside a text encoder; a `CheckpointError` without one."""
    folder = checkpoint_folder(name_or_folder, TOKENIZER_FILES)
    with loading_from(name_or_folder):
        tokenizer = AutoTokenizer.from_pretrained(folder)
    # Where its files are absent transformers builds one that knows no word, without an error.
    if set(tokenizer.get_vocab()) <= set(tokenizer.all_special_tokens):
        raise CheckpointError(
            f"{name_or_folder}: found no tokenizer files, expected tokenizer.json or a vocabulary "
            "beside the weights; save the tokenizer there too"
        )
    return tokenizer


@contextmanager
def loading_from(origin: str | Path) -> Iterator[None]:
    """Turn load errors into ours; silence transformers' log, whose content is checked here."""
    verbosity = transformers_logging.get_verbosity()
    shows_progress = transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity(logging.ERROR)
    transformers_logging.disable_progress_bar()
    try:
        yield
    except _LOAD_ERRORS as error:
        first_line = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise CheckpointError(
            f"{origin}: cannot be loaded ({first_line}); expected a hub id that this machine can "
            "reach, or a folder with config.json, weights and, for text, a tokenizer"
        ) from error
    finally:
        transformers_logging.set_verbosity(verbosity)
        if shows_progress:
            transformers_logging.enable_progress_bar()


def check_report(
    report: dict[str, Any], origin: str | Path, ignored_prefixes: tuple[str, ...] = ()
) -> None:
    """Refuse a load that did not account for every tensor with a `CheckpointError`.

    ``report`` is the ``output_loading_info`` of transformers; see `load_backbone` for prefixes.
    """
    problems = {
        "missing": set(report["missing_keys"]),
        "of another shape": {str(entry) for entry in report["mismatched_keys"]},
        "unexpected": {
            name for name in report["unexpected_keys"] if not name.startswith(ignored_prefixes)
        },
    }
    for problem, names in problems.items():
        if names:
            shown = ", ".join(sorted(names)[:8])
            rest = f" and {len(names) - 8} more" if len(names) > 8 else ""
            raise CheckpointError(
                f"{origin}: {len(names)} tensors are {problem}: {shown}{rest}; "
                "expected exactly those of the model, name a complete checkpoint of it"
            )
