"""3-D convolutional networks as video encoders: what `i3d` and `c3d` share.

The memory is the last feature map averaged over space, one item for each step of time that the
network's strides leave. Weights are read from a file, as their authors publish them: a state dict.
"""

from __future__ import annotations

import struct
from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import TYPE_CHECKING, Any, ClassVar, Self

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers.initialization import no_init_weights

from msqnet.errors import CheckpointError, ShapeError
from msqnet.model.loading import check_loaded, check_report
from msqnet.model.video_encoders.encoder import (
    ClipForm,
    FrameFeatures,
    FrameSpan,
    MemorySpans,
    PixelStatistics,
    VideoEncoder,
    check_image_size,
    check_num_frames,
)

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

TIME_STRIDE = 8
"""Frames for each memory item, of both networks."""

STATE_FILE_SUFFIXES = (".safetensors", ".pt", ".pth", ".pickle")
"""What a folder is searched for."""

# What torch, its two file formats and safetensors raise for damaged or foreign files.
_READ_ERRORS = (
    OSError,
    ValueError,
    KeyError,
    IndexError,
    TypeError,
    AttributeError,
    RuntimeError,
    EOFError,
    AssertionError,
    struct.error,
    UnpicklingError,
    SafetensorError,
)
_NESTED_UNDER = "state_dict"
_DATA_PARALLEL_PREFIX = "module."
# Kept by batch norm for averaging it does not do here; files of the time have no such counters.
_UNUSED_SUFFIX = "num_batches_tracked"


class ConvolutionalVideoEncoder(VideoEncoder):
    """Feature maps of a 3-D convolutional network, averaged over space.

    v_i = mean over space of the map's i-th step of time, i = 0 .. ceil(T / 8) - 1. There is no
    item for the whole clip. The network is fully convolutional: any T from 8 on is taken.

    Args:
        config: with ``image_size`` and ``num_frames``.

    Attributes:
        backbone: (B, 3, T, H, W) float to (B, D', ceil(T / 8), h, w) float.

    Raises:
        ConfigError: fewer frames than one memory item covers, or frames smaller than one cell.
    """

    display_name: ClassVar[str]
    feature_width: ClassVar[int]
    space_stride: ClassVar[int]
    pixel_statistics: ClassVar[PixelStatistics]
    classifier_prefixes: ClassVar[tuple[str, ...]]
    published_as: ClassVar[str]

    def __init__(self, config: PreTrainedConfig):
        super().__init__(config, width=self.feature_width, pixel_statistics=self.pixel_statistics)
        check_num_frames(self.display_name, self.config.num_frames, at_least=TIME_STRIDE)
        check_image_size(self.display_name, self.config.image_size, at_least=self.space_stride)
        self.backbone = self.new_backbone()

    @staticmethod
    @abstractmethod
    def new_backbone() -> nn.Module:
        """The network up to the map that is averaged, with random weights."""

    @classmethod
    def from_pretrained(cls, name_or_folder: str | Path, num_frames: int, image_size: int) -> Self:
        """Start from a published state dict; its classifier is dropped.

        Args:
            name_or_folder: a file (``.safetensors``, or anything that ``torch.save`` wrote, also
                before PyTorch 1.6), or a folder that holds one. The tensors may lie under
                ``state_dict`` and their names start with ``module.``. There are no such weights
                on the Hugging Face hub, so a hub id is not understood.
            num_frames: T, at least 8.
            image_size: side of the square frames, in pixels.

        Raises:
            CheckpointError: no such file; damaged; holding more than tensors; or with tensors that
                are missing, unexpected, of another shape or not finite.
            ConfigError: a number of frames or a size that the network cannot take.
        """
        config = cls.default_config(num_frames, image_size)
        # Every value is replaced below; drawing random ones first takes longer than loading.
        with no_init_weights():
            encoder = cls(config)
        path = _state_file(Path(name_or_folder), cls.display_name, cls.published_as)
        _load_published(encoder.backbone, _read_state_file(path), path, cls.classifier_prefixes)
        check_loaded(encoder, path)
        return encoder.eval()

    def memory_spans(self, num_frames: int) -> MemorySpans:
        """Blocks of 8 frames, the last one cut at T.

        A block is where an item is centred. What it sees reaches further, as of any map of a
        convolutional network.
        """
        return tuple(
            FrameSpan(first, min(first + TIME_STRIDE, num_frames))
            for first in range(0, num_frames, TIME_STRIDE)
        )

    @property
    def clip_form(self) -> ClipForm:
        """Any number of frames from 8 on, of the size of the configuration."""
        return ClipForm(None, self.config.image_size)

    def _memory(self, features: FrameFeatures) -> Tensor:
        pixels = features["pixels"]  # (B, T, 3, H, W)
        if pixels.shape[1] < TIME_STRIDE:
            raise ShapeError(
                f"{self.display_name}: found clips of {pixels.shape[1]} frames, expected at least "
                f"{TIME_STRIDE}; sample more frames per clip"
            )
        maps: Tensor = self.backbone(pixels.transpose(1, 2))  # (B, D', T', h, w)
        return maps.mean(dim=(3, 4)).transpose(1, 2)  # (B, T', D')


def _state_file(path: Path, display_name: str, published_as: str) -> Path:
    """The file to read: ``path`` itself or the only state dict in it."""
    if path.is_file():
        return path
    expected = (
        f"expected the {display_name} state dict, a file as published ({published_as}) or a "
        f"folder with one {', '.join(STATE_FILE_SUFFIXES)} file"
    )
    if not path.is_dir():
        raise CheckpointError(
            f"{path}: no such file or folder; {expected}. These weights have no hub id: fetch "
            "them and name the file"
        )
    found = sorted(file for file in path.iterdir() if file.suffix in STATE_FILE_SUFFIXES)
    if len(found) != 1:
        names = ", ".join(file.name for file in found) or "none"
        raise CheckpointError(f"{path}: found {names}; {expected}. Name the file itself")
    return found[0]


def _read_state_file(path: Path) -> dict[str, Tensor]:
    """Tensors by published name, nesting and prefix taken off."""
    try:
        if path.suffix == ".safetensors":
            content: Any = load_file(path)
        else:
            content = torch.load(path, map_location="cpu", weights_only=True)
    except _READ_ERRORS as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        if isinstance(error, UnpicklingError):  # torch's own words tell how to run what it holds
            reason = "damaged, or holding more than tensors"
        raise CheckpointError(
            f"{path}: cannot be read ({reason}); expected a state dict saved by torch or "
            "safetensors; fetch it again, or save its tensors alone"
        ) from error
    if isinstance(content, Mapping) and isinstance(content.get(_NESTED_UNDER), Mapping):
        content = content[_NESTED_UNDER]
    if not isinstance(content, Mapping) or not content:
        raise CheckpointError(
            f"{path}: found {_described(content)}, expected a state dict, tensors by name; name "
            "the file that holds the weights"
        )
    foreign = [str(name) for name, value in content.items() if not isinstance(value, Tensor)]
    if foreign:
        raise CheckpointError(
            f"{path}: {len(foreign)} entries are not tensors, {foreign[0]!r} for one; expected a "
            f"state dict, or one under {_NESTED_UNDER!r}; save the tensors alone"
        )
    names = [str(name) for name in content]
    if all(name.startswith(_DATA_PARALLEL_PREFIX) for name in names):
        names = [name.removeprefix(_DATA_PARALLEL_PREFIX) for name in names]
    return dict(zip(names, content.values(), strict=True))


def _described(content: object) -> str:
    return "nothing in it" if content == {} else f"a {type(content).__name__}"


def _load_published(
    backbone: nn.Module, published: dict[str, Tensor], origin: Path, dropped: tuple[str, ...]
) -> None:
    """Put every tensor in its place, or refuse the file.

    Args:
        backbone: takes the tensors over.
        published: by name.
        origin: for messages.
        dropped: what names of tensors start with that the file may have and we do not use.
    """
    own = backbone.state_dict()
    counters = {name: value for name, value in own.items() if name.endswith(_UNUSED_SUFFIX)}
    expected = own.keys() - counters
    weights = {
        name: value
        for name, value in published.items()
        if not name.startswith(dropped) and not name.endswith(_UNUSED_SUFFIX)
    }
    mismatched = [
        f"{name} {tuple(weights[name].shape)} instead of {tuple(own[name].shape)}"
        for name in expected & weights.keys()
        if weights[name].shape != own[name].shape
    ]
    report = {
        "missing_keys": expected - weights.keys(),
        "mismatched_keys": mismatched,
        "unexpected_keys": weights.keys() - expected,
    }
    check_report(report, origin)
    weights = {name: value.to(torch.float32) for name, value in weights.items()}
    backbone.load_state_dict({**counters, **weights}, strict=True, assign=True)
