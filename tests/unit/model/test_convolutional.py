"""What the 3-D convolutional encoders share: their files, their memory and its times."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from msqnet.errors import CheckpointError, ConfigError, ShapeError
from msqnet.model.registry import class_for_config
from msqnet.model.video_encoders.encoder import FrameSpan, time_positions
from tests.fixtures.convolutional import PUBLISHED, Published, published_tensors

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from msqnet.model.video_encoders.convolutional import ConvolutionalVideoEncoder

NUM_FRAMES = 16


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture(scope="module")
def encoder(published: Published, published_file: Path) -> ConvolutionalVideoEncoder:
    return published.encoder.from_pretrained(published_file, NUM_FRAMES, published.size_pixels)


def random_clips(published: Published, num_clips: int = 1, num_frames: int = NUM_FRAMES) -> Tensor:
    size = published.size_pixels
    return torch.randint(0, 256, (num_clips, num_frames, 3, size, size), dtype=torch.uint8)


def fresh_encoder(published: Published, num_frames: int = NUM_FRAMES) -> ConvolutionalVideoEncoder:
    return published.encoder(published.encoder.default_config(num_frames, published.size_pixels))


def save_zip(tensors: dict[str, Tensor], folder: Path) -> Path:
    torch.save(tensors, folder / "weights.pth")
    return folder / "weights.pth"


def save_safetensors(tensors: dict[str, Tensor], folder: Path) -> Path:
    whole = {name: value for name, value in tensors.items() if 0 not in value.stride()}
    save_file(whole, folder / "weights.safetensors")
    return folder / "weights.safetensors"


def save_nested_in_folder(tensors: dict[str, Tensor], folder: Path) -> Path:
    nested = {f"module.{name}": value for name, value in tensors.items()}
    torch.save({"epoch": 3, "state_dict": nested}, folder / "weights.pickle")
    (folder / "README.md").write_text("not weights")
    return folder


def test_tensors_are_those_published(published: Published) -> None:
    with torch.device("meta"):
        backbone = published.encoder.new_backbone()
    shapes = {name: tuple(value.shape) for name, value in backbone.state_dict().items()}
    shapes = {name: shape for name, shape in shapes.items() if "num_batches" not in name}
    assert shapes == published.shapes


def test_every_published_value_is_taken_over(
    published: Published, published_values: dict[str, Tensor], encoder: ConvolutionalVideoEncoder
) -> None:
    own = encoder.backbone.state_dict()
    for name, value in published_values.items():
        assert name in published.classifier or torch.equal(own[name], value), name
    assert all(parameter.requires_grad for parameter in encoder.parameters())


@pytest.mark.parametrize("save", [save_zip, save_safetensors, save_nested_in_folder])
def test_other_forms_of_the_file_give_the_same_memory(
    save: Callable[[dict[str, Tensor], Path], Path], tmp_path: Path
) -> None:
    i3d = PUBLISHED["i3d"]
    tensors = published_tensors(i3d)
    torch.save(tensors, tmp_path / "weights", _use_new_zipfile_serialization=False)
    places = (tmp_path / "weights", save(tensors, tmp_path))
    clips = random_clips(i3d)
    with torch.no_grad():
        memories = [
            i3d.encoder.from_pretrained(place, NUM_FRAMES, i3d.size_pixels)(clips)
            for place in places
        ]
    assert torch.equal(*memories)


def test_counters_of_newer_files_and_half_precision_are_taken(tmp_path: Path) -> None:
    i3d = PUBLISHED["i3d"]
    tensors = {name: value.half() for name, value in published_tensors(i3d).items()}
    for name in list(tensors):
        if name.endswith("running_mean"):
            counter = name.replace("running_mean", "num_batches_tracked")
            tensors[counter] = torch.tensor(7)
    torch.save(tensors, tmp_path / "weights.pt")
    found = i3d.encoder.from_pretrained(tmp_path, NUM_FRAMES, i3d.size_pixels)
    assert {parameter.dtype for parameter in found.parameters()} == {torch.float32}


def absent(tensors: dict[str, Any], name: str) -> None:
    del tensors[name]


def renamed(tensors: dict[str, Any], name: str) -> None:
    tensors[f"{name}s"] = tensors.pop(name)


def cut(tensors: dict[str, Any], name: str) -> None:
    tensors[name] = tensors[name][1:]


def not_a_number(tensors: dict[str, Any], name: str) -> None:
    tensors[name] = torch.full_like(tensors[name], torch.nan)


def not_a_tensor(tensors: dict[str, Any], name: str) -> None:
    tensors[name] = 3


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (absent, "missing: {name}"),
        (renamed, "missing: {name}"),
        (cut, "of another shape: {name}"),
        (not_a_number, "{name}.* NaN"),
        (not_a_tensor, "not tensors, '{name}'"),
    ],
)
def test_a_wrong_tensor_is_named(
    published: Published,
    change: Callable[[dict[str, Any], str], None],
    problem: str,
    tmp_path: Path,
) -> None:
    name = list(published.shapes)[-1]
    # The others need no values of their own here: the file stays small.
    shapes = {**published.shapes, **published.classifier}
    tensors: dict[str, Any] = {name: torch.zeros(1).expand(s) for name, s in shapes.items()}
    change(tensors, name)
    torch.save(tensors, tmp_path / "weights.pt")
    with pytest.raises(CheckpointError, match=problem.format(name=name)):
        published.encoder.from_pretrained(tmp_path, NUM_FRAMES, published.size_pixels)


def test_an_unexpected_tensor_is_named(published: Published, tmp_path: Path) -> None:
    shapes = {**published.shapes, "extra.weight": (3,)}
    tensors = {name: torch.zeros(1).expand(shape) for name, shape in shapes.items()}
    torch.save(tensors, tmp_path / "weights.pt")
    with pytest.raises(CheckpointError, match=r"1 tensors are unexpected: extra\.weight"):
        published.encoder.from_pretrained(tmp_path, NUM_FRAMES, published.size_pixels)


def test_a_hub_id_is_refused_with_where_the_weights_are(published: Published) -> None:
    with pytest.raises(CheckpointError, match=r"no such file or folder.*https://github\.com/"):
        published.encoder.from_pretrained("someone/something", NUM_FRAMES, published.size_pixels)


@pytest.mark.parametrize("names", [[], ["a.pt", "b.safetensors"]])
def test_a_folder_must_hold_one_file(
    published: Published, names: list[str], tmp_path: Path
) -> None:
    for name in names:
        (tmp_path / name).touch()
    with pytest.raises(CheckpointError, match=f"found {', '.join(names) or 'none'};"):
        published.encoder.from_pretrained(tmp_path, NUM_FRAMES, published.size_pixels)


class NotATensor:
    """What unpickling must not build."""


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
@pytest.mark.parametrize("content", [b"", b"<!DOCTYPE html>", b"PK\x03\x04 cut off"])
def test_a_damaged_file_is_refused(
    published: Published, suffix: str, content: bytes, tmp_path: Path
) -> None:
    path = tmp_path / f"weights{suffix}"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="cannot be read"):
        published.encoder.from_pretrained(path, NUM_FRAMES, published.size_pixels)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ({"weight": NotATensor()}, "holding more than tensors"),
        ([torch.zeros(1)], "found a list"),
        ({}, "found nothing"),
    ],
)
def test_a_file_of_something_else_is_refused(
    published: Published, content: object, problem: str, tmp_path: Path
) -> None:
    torch.save(content, tmp_path / "weights.pt")
    with pytest.raises(CheckpointError, match=problem):
        published.encoder.from_pretrained(tmp_path, NUM_FRAMES, published.size_pixels)


@pytest.mark.parametrize("num_frames", [8, 9, 15, 16, 21])
def test_one_item_for_each_block_of_eight_frames(
    published: Published, encoder: ConvolutionalVideoEncoder, num_frames: int
) -> None:
    spans = encoder.memory_spans(num_frames)
    with torch.no_grad():
        memory = encoder(random_clips(published, 2, num_frames))
    assert memory.shape == (2, -(-num_frames // 8), encoder.width)
    assert len(spans) == memory.shape[1]
    assert [index for span in spans if span for index in range(*span)] == list(range(num_frames))
    assert time_positions(spans) == tuple(range(len(spans)))


def test_the_last_span_is_cut_at_the_end_of_the_clip(encoder: ConvolutionalVideoEncoder) -> None:
    assert encoder.memory_spans(17) == (FrameSpan(0, 8), FrameSpan(8, 16), FrameSpan(16, 17))


def test_batched_equals_single(published: Published, encoder: ConvolutionalVideoEncoder) -> None:
    clips = random_clips(published, 3)
    with torch.no_grad():
        single = torch.cat([encoder(clip) for clip in clips.split(1)])
        torch.testing.assert_close(encoder(clips), single, rtol=1e-4, atol=1e-4)


def test_the_order_of_frames_matters(
    published: Published, encoder: ConvolutionalVideoEncoder
) -> None:
    clips = random_clips(published)
    with torch.no_grad():
        before, after = encoder(clips), encoder(clips.flip(1))
    # An encoder without a sense of time would give the same items in reverse order.
    assert (after.flip(1) - before).norm() > 0.05 * before.norm()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_stays_close(
    published: Published, encoder: ConvolutionalVideoEncoder, dtype: torch.dtype
) -> None:
    clips = random_clips(published, num_frames=8)
    with torch.no_grad():
        exact = encoder(clips)
        rough = copy.deepcopy(encoder).to(dtype)(clips)
    assert rough.dtype == dtype
    # Up to 20 layers of 8 or 11 significant bits; measured 0.008 and 0.0012.
    assert (rough.float() - exact).norm() < 0.02 * exact.norm()


def test_training_mode_changes_nothing_but_the_gradients(published: Published) -> None:
    encoder = fresh_encoder(published, num_frames=8).eval()
    clips = random_clips(published, num_frames=8)
    with torch.no_grad():
        expected = encoder(clips)
    buffers = {name: value.clone() for name, value in encoder.named_buffers()}
    encoder.train()
    memory = encoder(clips)
    memory.square().mean().backward()
    torch.testing.assert_close(memory, expected)
    assert all(torch.equal(value, buffers[name]) for name, value in encoder.named_buffers())
    for name, parameter in encoder.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


def test_fresh_weights_keep_the_scale_of_the_signal(published: Published) -> None:
    with torch.no_grad():
        memory = fresh_encoder(published)(random_clips(published))
    assert 0.1 < memory.std() < 10


def test_configuration_leads_back_to_the_encoder(published: Published) -> None:
    config = published.encoder.default_config(24, 96)
    again = type(config).from_dict(config.to_dict())
    assert (again.num_frames, again.image_size) == (24, 96)
    assert class_for_config(again) is published.encoder


def test_clips_that_leave_no_map_are_refused(published: Published) -> None:
    small = {"i3d": 31, "c3d": 15}[published.encoder.display_name.lower()]
    with pytest.raises(ConfigError, match=f"frames of {small} pixels, expected at least"):
        published.encoder(published.encoder.default_config(16, small))
    with pytest.raises(ConfigError, match="7 frames per clip, expected at least 8"):
        published.encoder(published.encoder.default_config(7, 64))


def test_wrong_clips_are_refused(published: Published, encoder: ConvolutionalVideoEncoder) -> None:
    clips = random_clips(published)
    for wrong in (clips.float(), clips[0], clips[..., 1:], clips[:, :, :2]):
        with pytest.raises(ShapeError, match=r"expected torch\.uint8"):
            encoder(wrong)
    with pytest.raises(ShapeError, match="clips of 7 frames, expected at least 8"):
        encoder(clips[:, :7])
