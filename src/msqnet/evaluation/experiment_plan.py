"""What an experiment would need, without running it: weights, data, parameters, FLOPs, memory.

Models are built on PyTorch's meta device, where tensors have shapes but no values, so that a dry
run costs seconds whatever the size.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from huggingface_hub import constants, try_to_load_from_cache
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoConfig, CLIPVisionConfig, VJEPA2Config

from msqnet.data.table import read_table
from msqnet.errors import DatasetError
from msqnet.evaluation.zero_shot import check_labels, check_no_leakage, training_part
from msqnet.model.builder import RANDOM_LABEL_WIDTH, clip_settings, model_config
from msqnet.model.loading import loading_from
from msqnet.model.msqnet import MSQNet
from msqnet.model.query_encoders import TEXT_ENCODERS
from msqnet.model.query_encoders.minilm import WIDTH as MINILM_WIDTH
from msqnet.model.video_encoders import video_encoder_class
from msqnet.model.video_encoders.convolutional import ConvolutionalVideoEncoder
from msqnet.training.recipes import RECIPES
from msqnet.training.run import check_single_label
from msqnet.training.trainer import freeze

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from msqnet.config import ArchConfig
    from msqnet.data.records import ClipTable
    from msqnet.evaluation.experiments import ExperimentSettings, PaperDataSet
    from msqnet.evaluation.zero_shot import LabelSplit
    from msqnet.labels import LabelSet

MEMORY_FORMULA = (
    "4 bytes x (parameters + trained parameters x 3) + batch size x what autograd keeps of one "
    "clip: weights, gradients and Adam's two moments in float32, and activations in float32 (about "
    "half of these in bf16); without buffers of the device's libraries and without decoding"
)
_BYTES = 4
_COPIES_OF_TRAINED = 3
_BERT_WIDTH = 768
_HALF = 2
_WITHOUT_WEIGHTS = ("random", "minilm", "imagenet", "none")


@dataclass(frozen=True)
class Weights:
    """Pretrained weights that a run starts from.

    Attributes:
        part: which encoder.
        name: hub id, folder or file; empty where none is named.
        state: `folder`, `file`, `cached`, `on the hub`, `unnamed` or `absent`.
    """

    part: str
    name: str
    state: str

    @property
    def is_usable(self) -> bool:
        """Whether a run can start from them."""
        return self.state in ("folder", "file", "cached", "on the hub")


@dataclass(frozen=True)
class Finding:
    """One thing about the data that a run depends on.

    Attributes:
        is_error: whether a run could not start, or not mean anything.
        message: what was found, and what was expected.
    """

    is_error: bool
    message: str


@dataclass(frozen=True)
class Cost:
    """What one clip and one training step cost.

    Attributes:
        parameters: by part: all, and those that are trained.
        flops: of the forward pass of one clip; a multiplication and an addition count as two.
        activation_bytes: what autograd keeps of one clip for the backward pass, in float32.
        batch_size: clips in a step.
        precision: of training.
        is_checkpointed: whether activations are computed anew instead of kept.
    """

    parameters: dict[str, tuple[int, int]]
    flops: int
    activation_bytes: int
    batch_size: int
    precision: str = "auto"
    is_checkpointed: bool = False

    @property
    def num_parameters(self) -> int:
        """Of all parts."""
        return sum(number for number, _ in self.parameters.values())

    @property
    def num_trained(self) -> int:
        """Parameters that training changes."""
        return sum(trained for _, trained in self.parameters.values())

    @property
    def memory_bytes(self) -> int:
        """`MEMORY_FORMULA`."""
        return self._state_bytes + self.batch_size * self.activation_bytes

    @property
    def least_memory_bytes(self) -> int:
        """What a run cannot do without: bf16 where allowed, no activation that is not kept."""
        if self.is_checkpointed:
            return self._state_bytes
        activations = self.batch_size * self.activation_bytes
        share = 1 if self.precision == "fp32" else _HALF
        return self._state_bytes + activations // share

    @property
    def _state_bytes(self) -> int:
        return _BYTES * (self.num_parameters + _COPIES_OF_TRAINED * self.num_trained)


def weights_of(arch: ArchConfig) -> list[Weights]:
    """Where each part starts from, and whether it is at hand. Nothing is fetched.

    Args:
        arch: of the model that is trained.
    """
    named = [("video encoder", arch.video_weights, arch.video_weights)]
    if arch.video_query == "image":
        named.append(("image encoder", arch.image_encoder, arch.image_encoder))
    named.append(("text encoder", arch.text_encoder, _checkpoint_of_text(arch.text_encoder)))
    return [
        Weights(part, name, _state(checkpoint))
        for part, name, checkpoint in named
        if name not in _WITHOUT_WEIGHTS
    ]


def _checkpoint_of_text(name: str) -> str:
    """The hub id or folder of a text encoder, without its kind."""
    kind, _, checkpoint = name.partition(":")
    return checkpoint if kind in TEXT_ENCODERS and not Path(name).is_dir() else name


def _state(name: str) -> str:
    if not name:
        return "unnamed"
    if Path(name).is_dir():
        return "folder"
    if Path(name).is_file():
        return "file"
    if name.count("/") != 1 or name.startswith(("/", ".")) or Path(name).suffix:
        return "absent"
    if isinstance(try_to_load_from_cache(name, "config.json"), str):
        return "cached"
    return "absent" if constants.HF_HUB_OFFLINE else "on the hub"


def check_data(path: str | Path, data_set: PaperDataSet) -> tuple[ClipTable, list[Finding]]:
    """Whether a table is that of a data set; its videos are not opened.

    Args:
        path: the table.
        data_set: what it should hold.

    Returns:
        The table, and what does not fit.

    Raises:
        DatasetError: not a table, a column is missing, or malformed rows.
    """
    table = read_table(path)
    findings = []
    for split in ("train", "test"):
        num_rows = sum(record.split == split for record in table.records)
        expected = data_set.rows.get(split)
        if not num_rows:
            found = ", ".join(table.split_names()) or "none"
            message = f"no row of split {split} (splits found: {found}); {data_set.convert}"
            findings.append(Finding(True, message))
        elif expected is not None and num_rows != expected:
            message = f"{num_rows} rows of split {split}, the official lists give {expected}"
            findings.append(Finding(False, message))
    train = [record for record in table.records if record.split == "train"]
    num_labels = len({name for record in train for name in record.labels})
    if num_labels != data_set.num_labels:
        message = f"{num_labels} labels in split train, {data_set.title} has {data_set.num_labels}"
        findings.append(Finding(False, message))
    if train and data_set.task == "single_label":
        try:
            check_single_label(table.select("train"))
        except DatasetError as error:
            findings.append(Finding(True, str(error)))
    return table, findings


def count_videos(table: ClipTable) -> Finding:
    """How many of a table's videos exist; none is opened, and a missing one is no error here."""
    paths = list(dict.fromkeys(record.path for record in table.records))
    missing = [path for path in paths if not path.is_file()]
    example = f"; missing, for instance: {missing[0]}" if missing else ""
    return Finding(False, f"{len(paths) - len(missing)} of {len(paths)} videos exist{example}")


def check_splits(table: ClipTable, splits: Sequence[LabelSplit]) -> list[Finding]:
    """Whether each split of the labels leaves something to train on, and no leakage.

    Args:
        table: with splits train and test.
        splits: of its labels.
    """
    train, test = table.select("train"), table.select("test")
    findings = []
    for split in splits:
        try:
            named = check_labels(split, train)
            part = training_part(train, named, test)
            check_no_leakage(part, test, named)
        except DatasetError as error:
            findings.append(Finding(True, str(error)))
            continue
        message = (
            f"{split.name}: {len(named.seen)} seen and {len(named.unseen)} unseen labels, "
            f"{len(part)} of {len(train)} training rows"
        )
        findings.append(Finding(False, message))
    return findings


def _encoder_config(arch: ArchConfig, *, is_usable: bool) -> Any:
    """Of the video encoder: that of its weights where they are at hand, else the published one."""
    kind = video_encoder_class(arch.video_encoder)
    if not is_usable or issubclass(kind, ConvolutionalVideoEncoder):
        return kind.default_config(arch.num_frames, arch.size_pixels)
    config = _config_of(arch.video_weights)
    if isinstance(config, VJEPA2Config):
        config.frames_per_clip, config.crop_size = arch.num_frames, arch.size_pixels
    else:
        config.num_frames, config.image_size = arch.num_frames, arch.size_pixels
    return config


def _config_of(name: str) -> Any:
    """The configuration of a checkpoint, or of its image part."""
    with loading_from(name):
        config = AutoConfig.from_pretrained(name)
    return getattr(config, "vision_config", config)


def _label_width(arch: ArchConfig, weights: Weights | None) -> int:
    if weights is None:
        return MINILM_WIDTH if arch.text_encoder == "minilm" else RANDOM_LABEL_WIDTH
    if weights.state not in ("folder", "cached"):
        return _BERT_WIDTH if weights.name.startswith("bert") else RANDOM_LABEL_WIDTH
    checkpoint = _checkpoint_of_text(weights.name)
    with loading_from(checkpoint):
        config: Any = AutoConfig.from_pretrained(checkpoint)
    is_projected = arch.embedding == "projected" and hasattr(config, "projection_dim")
    width: int = (
        config.projection_dim
        if is_projected
        else getattr(config, "text_config", config).hidden_size
    )
    return width


def empty_model(settings: ExperimentSettings, labels: LabelSet, task: str) -> MSQNet:
    """The model that would be trained, with shapes and without values.

    Weights that are not at hand count with the sizes of the published architecture.

    Args:
        settings: of the experiment.
        labels: the K labels.
        task: "multi_label" or "single_label".

    Returns:
        A model on the meta device.

    Raises:
        ConfigError: settings that do not fit each other.
        CheckpointError: the settings file of weights that are at hand is damaged.
    """
    arch = settings.trained_arch
    at_hand = {w.part: w for w in weights_of(arch)}
    is_there = {part: w.state in ("folder", "cached") for part, w in at_hand.items()}
    image = None
    if arch.video_query == "image":
        is_image_there = is_there["image encoder"]
        image = (
            _config_of(arch.image_encoder) if is_image_there else CLIPVisionConfig(patch_size=16)
        )
    config = model_config(
        arch,
        clip_settings(arch, RECIPES[arch.video_encoder].clip),
        labels,
        task=task,
        video_encoder=_encoder_config(arch, is_usable=is_there.get("video encoder", False)),
        image_encoder=image,
        label_width=_label_width(arch, at_hand.get("text encoder")),
    )
    with torch.device("meta"):
        model = MSQNet(config)
    # Some parts of transformers make tables of their own, with values.
    empty: MSQNet = model.to("meta")  # type: ignore[arg-type]
    return empty


def cost_of(model: MSQNet, settings: ExperimentSettings) -> Cost:
    """Count parameters, FLOPs and what autograd keeps.

    Args:
        model: on the meta device; brought into the mode of training.
        settings: say what is trained, and the batch size.
    """
    freeze(model, settings.train.finetune)
    model.train()
    clip = model.config.clip_config
    shape = (1, clip.num_frames, 3, clip.size_pixels, clip.size_pixels)
    own = {parameter.untyped_storage()._cdata for parameter in model.parameters()}
    kept: dict[int, Any] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in own:
            kept[storage._cdata] = storage  # held, so that its number is not given out again
        return tensor

    counter = FlopCounterMode(display=False)
    with counter, saved_tensors_hooks(keep, lambda tensor: tensor):
        pixels = torch.empty(shape, dtype=torch.uint8, device="meta")
        model(pixels=pixels, closeups=pixels if clip.closeup else None)
    return Cost(
        parameters=_parameters_by_part(model),
        flops=counter.get_total_flops(),
        activation_bytes=sum(storage.nbytes() for storage in kept.values()),
        batch_size=settings.train.batch_size,
        precision=settings.train.precision,
        is_checkpointed=settings.train.gradient_checkpointing,
    )


def _parameters_by_part(model: MSQNet) -> dict[str, tuple[int, int]]:
    counts: dict[str, tuple[int, int]] = {}
    for name, parameter in model.named_parameters():
        part = name.partition(".")[0]
        number, trained = counts.get(part, (0, 0))
        size = parameter.numel()
        counts[part] = (number + size, trained + size * parameter.requires_grad)
    return counts
