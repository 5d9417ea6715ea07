"""The dry run: data, weights, parameters, FLOPs and memory that a run would need.

The model is built on PyTorch's meta device, where tensors have shapes but no values, so that a dry
run takes seconds whatever the size. Encoders count with the sizes of their published checkpoints.
"""

from __future__ import annotations

import http.client
import os
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from huggingface_hub import constants, get_token, hf_hub_url, try_to_load_from_cache
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.flop_counter import FlopCounterMode
from transformers import CLIPVisionConfig

from experiments import preset_title
from msqnet.data.table import read_table
from msqnet.errors import DatasetError
from msqnet.evaluation.zero_shot_protocol import check_labels, check_no_leakage, training_part
from msqnet.labels import LabelSet
from msqnet.model.builder import RANDOM_LABEL_WIDTH, clip_settings, licences_of, model_config
from msqnet.model.pretrained import MSQNet
from msqnet.model.registry import encoder_spec
from msqnet.model.text_encoders import TEXT_ENCODERS
from msqnet.training.finetuning import add_adapters, freeze
from msqnet.training.training_run import check_single_label

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from torch import Tensor

    from experiments import Experiment, ExperimentSettings, PaperDataSet
    from msqnet.config import ArchConfig
    from msqnet.data.records import ClipTable
    from msqnet.evaluation.zero_shot_protocol import LabelSplit
    from run import Job

MEMORY_FORMULA = (
    "4 bytes x (parameters + trained parameters x 3) + batch size x what autograd keeps of one "
    "clip: weights, gradients and Adam's two moments in float32, and activations in float32 (about "
    "half of these in bf16); without buffers of the device's libraries and without decoding"
)
NO_TIMES = "needs --times, a table of the test videos whose rows have start and end"
_TEXT_WIDTHS = {"minilm": 384, "bert": 768}
_GIB = 2**30
_HUB_SECONDS = 10
_WEIGHT_FILES = tuple(
    f"{stem}{suffix}"
    for stem in ("model.safetensors", "pytorch_model.bin")
    for suffix in ("", ".index.json")
)

Line = tuple[bool, str]
"""Whether a run could start in spite of it, and the text to print."""


@dataclass(frozen=True)
class Cost:
    """The cost of one clip and of one training step.

    Attributes:
        parameters: by part: all, and those that are trained.
        flops: of the forward pass of one clip; a multiplication and an addition count as two.
        activation_bytes: what autograd keeps of one clip for the backward pass, in float32.
        memory_bytes: of training; see `MEMORY_FORMULA`.
    """

    parameters: dict[str, tuple[int, int]]
    flops: int
    activation_bytes: int
    memory_bytes: int


def plan(job: Job) -> Iterator[Line]:
    """The dry run, line by line.

    Raises:
        DatasetError: a table that cannot be read.
        ConfigError: settings that do not fit each other.
    """
    experiment, settings = job.experiment, job.settings
    yield True, f"{experiment.name}: {experiment.description}"
    yield True, paper_line(experiment)
    if experiment.note:
        yield True, f"note: {experiment.note}"
    yield True, f"preset {job.preset}: {preset_title(job.preset)}"
    for measure in experiment.measures:
        is_paper = ", the paper's metric" if measure.of_paper else ""
        yield True, f"measured by protocol {measure.protocol}: {measure.metric}{is_paper}"
    yield from ((True, f"modified: {change}") for change in job.modified)
    labels = read_table(job.data[0]).select("train").label_names() if job.data else ()
    yield from _plan_of_data(job, labels)
    yield from weight_lines(settings.trained_arch)
    num_labels = len(labels) or experiment.data_set.num_labels
    yield from cost_lines(settings, num_labels, experiment.data_set.task)
    yield True, f"settings (digest {settings.digest}):"
    for name, value in settings.trained().items():
        if name != "variant" or value:
            yield True, f"  {name}: {value}"


def _plan_of_data(job: Job, labels: Sequence[str]) -> Iterator[Line]:
    data_set = job.experiment.data_set
    if not job.data:
        yield True, f"data: not given, not checked; {data_set.convert}"
    for path in job.data:
        yield from data_lines(path, data_set, skip_errors=job.skip_errors)
    if job.experiment.is_zero_shot:
        if job.data:
            yield from split_lines(read_table(job.data[0]), job.label_splits(labels))
    elif job.times is None:
        for measure in data_set.measures:
            if measure.needs_times:
                yield True, f"not measured: {measure.protocol} {NO_TIMES}"
                yield True, f"  {data_set.convert_with_times}"


def paper_line(experiment: Experiment) -> str:
    """The result that the paper gives for a row, as a sentence."""
    return f"the paper: {experiment.paper:.2f} ({experiment.paper_metric}: {experiment.means})"


def data_lines(path: Path, data_set: PaperDataSet, *, skip_errors: bool = False) -> Iterator[Line]:
    """Whether a table is that of a data set; its videos are not opened.

    A missing one stops a run, unless rows with errors are skipped and others are left.

    Raises:
        DatasetError: not a table, a column is missing, or malformed rows.
    """
    table = read_table(path)
    rows = {name: table.select(name) for name in table.split_names()}
    counts = ", ".join(f"{len(part)} {name}" for name, part in rows.items()) or "no split"
    yield True, f"data {path}: {len(table)} rows ({counts}), {len(table.label_names())} labels"
    for split in ("train", "test"):
        num_rows, expected = len(rows.get(split, ())), data_set.rows.get(split)
        if not num_rows:
            found = ", ".join(rows) or "none"
            message = f"no row of split {split} (splits found: {found}); {data_set.convert}"
            yield False, f"  ERROR: {message}"
        elif expected is not None and num_rows != expected:
            message = f"{num_rows} rows of split {split}, the official lists give {expected}"
            yield True, f"  warning: {message}"
    num_labels = len(rows["train"].label_names()) if "train" in rows else 0
    if num_labels != data_set.num_labels:
        yield (
            True,
            (
                f"  warning: {num_labels} labels in split train, {data_set.title} has "
                f"{data_set.num_labels}"
            ),
        )
    if "train" in rows and data_set.task == "single_label":
        try:
            check_single_label(rows["train"])
        except DatasetError as error:
            yield False, f"  ERROR: {error}"
    videos = list(dict.fromkeys(record.path for record in table.records))
    missing = [video for video in videos if not video.is_file()]
    example = f"; MISSING, for instance: {missing[0]}" if missing else ""
    is_fine = not missing or (skip_errors and len(missing) < len(videos))
    yield is_fine, f"  {len(videos) - len(missing)} of {len(videos)} videos exist{example}"


def split_lines(table: ClipTable, splits: Sequence[LabelSplit]) -> Iterator[Line]:
    """Whether each split of the labels leaves something to train on, and no leakage.

    Args:
        table: with splits train and test.
        splits: of its labels.
    """
    train, test = table.select("train"), table.select("test")
    for split in splits:
        try:
            named = check_labels(split, train)
            part = training_part(train, named, test)
            check_no_leakage(part, test, named)
        except DatasetError as error:
            yield False, f"  ERROR: {error}"
            continue
        yield (
            True,
            (
                f"  {split.name}: {len(named.seen)} seen and {len(named.unseen)} unseen labels, "
                f"{len(part)} of {len(train)} training rows"
            ),
        )


def weight_lines(arch: ArchConfig) -> Iterator[Line]:
    """Pretrained weights that a model starts from, and whether they are at hand; none is fetched.

    The hub is asked for those that are not, unless HF_HUB_OFFLINE says not to.

    Args:
        arch: of the model that is trained.
    """
    kind, _, checkpoint = arch.text_encoder.partition(":")
    is_kind = kind in TEXT_ENCODERS and not Path(arch.text_encoder).is_dir()
    names = {"video encoder": arch.video_weights}
    if arch.video_query == "image":
        names["image encoder"] = arch.image_encoder
    names["text encoder"] = checkpoint if is_kind and checkpoint else arch.text_encoder
    for part, name in names.items():
        if name not in ("random", "minilm", "imagenet", "none"):
            is_usable, state = _state(name)
            yield is_usable, f"weights of the {part}: {name or '-'}: {state}"
    for licence in licences_of(arch):
        yield True, f"licence: {licence}"


def _state(name: str) -> Line:
    if not name:
        return False, "NOT NAMED; no hub holds official weights, give a file or folder"
    if Path(name).exists():
        return True, "at hand"
    is_hub_id = name.count("/") == 1 and not name.startswith(("/", ".")) and not Path(name).suffix
    if not is_hub_id or constants.HF_HUB_OFFLINE:
        is_cached = is_hub_id and _is_cached(name)
        missing = "NOT AT HAND; no such file or folder, and not in the hub's cache"
        return is_cached, "in the hub's cache, at hand" if is_cached else missing
    if _is_cached(name):
        return True, "in the hub's cache, at hand"
    reason = _hub_refusal(name)
    if reason:
        return False, f"NOT AT HAND; not in the hub's cache, and the hub does not give it: {reason}"
    return True, "not at hand; the hub has it, and it is fetched when the run starts"


def _is_cached(name: str) -> bool:
    """Whether settings and weights of a model of the hub were fetched before."""
    files = [try_to_load_from_cache(name, file) for file in ("config.json", *_WEIGHT_FILES)]
    is_there = [isinstance(path, str) for path in files]
    return is_there[0] and any(is_there[1:])


def _hub_refusal(name: str) -> str:
    """Why the hub does not give a model's settings; empty if it does. They are not fetched."""
    token = get_token()
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    url = hf_hub_url(name, "config.json")
    request = urllib.request.Request(url, headers=headers, method="HEAD")
    try:
        with urllib.request.urlopen(request, timeout=_HUB_SECONDS):
            return ""
    except (OSError, http.client.HTTPException) as error:
        return f"{url}: {str(error) or type(error).__name__}"


def empty_model(settings: ExperimentSettings, labels: LabelSet, task: str) -> MSQNet:
    """The model that would be trained, on the meta device: with shapes and without values.

    Args:
        settings: of the experiment.
        labels: the K labels.
        task: "multi_label" or "single_label".

    Raises:
        ConfigError: settings that do not fit each other.
    """
    arch = settings.trained_arch
    text = arch.text_encoder.partition(":")[0]
    config = model_config(
        arch,
        clip_settings(arch, encoder_spec(arch.video_encoder).recipe().clip),
        labels,
        task=task,
        video_encoder=encoder_spec(arch.video_encoder)
        .load()
        .default_config(arch.num_frames, arch.size_pixels),
        image_encoder=CLIPVisionConfig(patch_size=16) if arch.video_query == "image" else None,
        label_width=_TEXT_WIDTHS.get(text, RANDOM_LABEL_WIDTH),
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
    if settings.train.finetune == "lora":
        add_adapters(model, settings.train.lora)
    model.train()
    clip = model.config.clip_config
    shape = (1, clip.num_frames, 3, clip.size_pixels, clip.size_pixels)
    own = {parameter.untyped_storage()._cdata for parameter in model.parameters()}
    kept = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in own:
            kept[storage._cdata] = storage  # held, so that its number is not given out again
        return tensor

    counter = FlopCounterMode(display=False)
    with counter, saved_tensors_hooks(keep, lambda tensor: tensor):
        pixels = torch.empty(shape, dtype=torch.uint8, device="meta")
        model(pixels=pixels, motion_crops=pixels if clip.closeup else None)
    counts: dict[str, tuple[int, int]] = {}
    for name, parameter in model.named_parameters():
        part, size = name.partition(".")[0], parameter.numel()
        total, trained = counts.get(part, (0, 0))
        counts[part] = (total + size, trained + size * parameter.requires_grad)
    activations = sum(storage.nbytes() for storage in kept.values())
    weights = sum(total + 3 * trained for total, trained in counts.values())
    return Cost(
        parameters=counts,
        flops=counter.get_total_flops(),
        activation_bytes=activations,
        memory_bytes=4 * weights + settings.train.batch_size * activations,
    )


def cost_lines(settings: ExperimentSettings, num_labels: int, task: str) -> Iterator[Line]:
    """Parameters, FLOPs and memory of training, beside the memory of this machine's device."""
    labels = LabelSet(tuple(f"label {number}" for number in range(num_labels)))
    cost = cost_of(empty_model(settings, labels, task), settings)
    yield True, f"parameters, of published encoders ({num_labels} labels):"
    for part, (number, trained) in cost.parameters.items():
        yield True, f"  {part}: {number:,}, trained {trained:,}"
    yield True, f"one clip: {cost.flops / 1e9:,.1f} GFLOPs forward (2 for a multiply-add)"
    yield (
        True,
        f"memory of training: about {cost.memory_bytes / _GIB:.1f} GiB, "
        f"{cost.activation_bytes / 2**20:,.0f} MiB of it for each of "
        f"{settings.train.batch_size} clips",
    )
    yield True, f"  = {MEMORY_FORMULA}"
    if torch.cuda.is_available():
        device, total = torch.cuda.get_device_name(), torch.cuda.mem_get_info()[1]
    else:
        device, total = "this machine", os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    has = f"{device} has {total / _GIB:.1f} GiB"
    advice = "use a smaller --train.batch_size or --train.gradient_checkpointing true"
    fits = "fits" if cost.memory_bytes <= total else f"may not fit ({advice})"
    yield True, f"  {fits}: {has}"
