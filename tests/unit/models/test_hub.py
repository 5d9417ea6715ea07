"""What is fetched from the Hub, what is not, and how fast one that does not answer is given up."""

from __future__ import annotations

import json
import shutil
import time
from typing import TYPE_CHECKING

import pytest
import torch

from msqnet.config import ClipConfig
from msqnet.errors import CheckpointError
from msqnet.model.builder import model_from_encoders
from msqnet.model.dual_encoders import load_dual_encoder
from msqnet.model.image_encoders import load_image_encoder
from msqnet.model.pretrained import MSQNet
from msqnet.model.processing import MSQNetVideoProcessor
from msqnet.model.registry import VIDEO_ENCODERS
from msqnet.model.text_encoders import load_text_encoder
from msqnet.models import model_folder
from msqnet.models.hub import TOKENIZER_FILES, cached_folder, checkpoint_file, checkpoint_folder
from msqnet.models.open_models import OPEN_MODELS, RECOMMENDED, open_model_source
from tests.fixtures.hubs import go_online
from tests.fixtures.models import random_inputs, tiny_model, write_clip_folder
from tests.fixtures.text_checkpoints import write_siglip_folder

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from typing import Any

    from tests.fixtures.hubs import LocalHub

_CLIP = "openai/clip-vit-base-patch16"
_FASTEST_SECONDS = 1.0

LOADERS: dict[str, Callable[[], Any]] = {
    "any checkpoint": lambda: checkpoint_folder("owner/name"),
    "one file": lambda: checkpoint_file("owner/name", "config.json"),
    "model": lambda: model_folder("owner/name"),
    "model in transformers": lambda: MSQNet.from_pretrained("owner/name"),
    "model in a subfolder": lambda: MSQNet.from_pretrained("owner/name", subfolder="best"),
    "model of a revision": lambda: MSQNet.from_pretrained("owner/name", revision="v2"),
    "processor": lambda: MSQNetVideoProcessor.from_pretrained("owner/name"),
    "both encoders": lambda: load_dual_encoder(_CLIP),
    "image encoder": lambda: load_image_encoder(_CLIP, projected=True),
    "text encoder": lambda: load_text_encoder(_CLIP),
    **{
        f"text encoder {kind}": lambda kind=kind: load_text_encoder(f"{kind}:owner/name")
        for kind in ("clip", "siglip", "bert", "sentence")
    },
    "misspelt text encoder": lambda: load_text_encoder("bert-base-uncasd"),
    **{
        f"video encoder {name}": lambda spec=spec: spec.load().from_pretrained("owner/name", 4, 32)
        for name, spec in VIDEO_ENCODERS.items()
        if name not in ("lite", "i3d", "c3d")  # their weights are no models of the Hub
    },
    "video encoder of any kind": lambda: model_from_encoders(
        "owner/name",
        None,
        None,
        labels=["a"],
        clip=ClipConfig(),
        embedding="pooled",
        settings={},
    ),
}


@pytest.mark.parametrize("load", LOADERS.values(), ids=LOADERS)
def test_refused_connection_is_an_error_in_less_than_a_second(
    load: Callable[[], Any], closed_port: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_online(monkeypatch, closed_port, tmp_path)
    started = time.perf_counter()
    with pytest.raises(CheckpointError, match=r"was not reached \(.*refused.*; connect to a"):
        load()
    assert time.perf_counter() - started < _FASTEST_SECONDS


@pytest.mark.parametrize("load", list(LOADERS.values())[:4], ids=list(LOADERS)[:4])
def test_hub_that_never_answers_is_given_up_soon(
    load: Callable[[], Any], silent_port: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_online(monkeypatch, silent_port, tmp_path)
    monkeypatch.setenv("HF_HUB_ETAG_TIMEOUT", "0.3")
    started = time.perf_counter()
    with pytest.raises(CheckpointError, match=r"no answer in 0\.3 s; HF_HUB_ETAG_TIMEOUT allows"):
        load()
    assert time.perf_counter() - started < _FASTEST_SECONDS + 0.3


def test_name_that_is_resolved_for_ever_is_given_up_soon(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_online(monkeypatch, "http://hub.invalid", tmp_path)
    monkeypatch.setattr("socket.getaddrinfo", lambda *_args, **_others: time.sleep(5))
    monkeypatch.setenv("HF_HUB_ETAG_TIMEOUT", "0.2")
    started = time.perf_counter()
    with pytest.raises(CheckpointError, match=r"not reached \(no answer in 0\.2 s; HF_"):
        checkpoint_folder("owner/name")
    assert time.perf_counter() - started < _FASTEST_SECONDS + 0.7


def test_model_is_fetched_once_and_then_never_asked_for(
    hub: LocalHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_siglip_folder(hub.folder / RECOMMENDED.hub_id, version=2)
    for name in ("README.md", "flax_model.msgpack", "code.py", "manifest.json", "old.bin"):
        (folder / name).write_text("{}")
    go_online(monkeypatch, hub.address, tmp_path / "cache")

    first = load_dual_encoder(RECOMMENDED.hub_id)
    sent, num_requests = hub.fetched(), len(hub.requests)
    again = load_dual_encoder(RECOMMENDED.hub_id)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    offline = load_dual_encoder(RECOMMENDED.hub_id)

    expected = {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"}
    assert {*sent} == expected | {"README.md"}
    assert sent.count("model.safetensors") == 1
    assert len(hub.requests) == num_requests
    texts = [encoder.text_encoder.embed(["a dog"]) for encoder in (first, again, offline)]
    torch.testing.assert_close(texts[0], load_dual_encoder(folder).text_encoder.embed(["a dog"]))
    assert torch.equal(texts[0], texts[1])
    assert torch.equal(texts[0], texts[2])


def test_own_model_of_the_hub_scores_as_its_folder_does(
    hub: LocalHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny_model("timesformer")
    model.save_pretrained(hub.folder / "owner" / "mine")
    go_online(monkeypatch, hub.address, tmp_path / "cache")
    loaded = MSQNet.from_pretrained("owner/mine", revision="main")
    pixels = random_inputs("timesformer", 1)
    with torch.inference_mode():
        torch.testing.assert_close(loaded(**pixels).logits, model(**pixels).logits)
    assert MSQNetVideoProcessor.from_pretrained("owner/mine").clip_config.num_frames == 4


def test_clip_without_its_prefix_is_named_before_its_weights_are_fetched(
    hub: LocalHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_clip_folder(hub.folder / "owner" / "pictures")
    go_online(monkeypatch, hub.address, tmp_path / "cache")
    with pytest.raises(CheckpointError, match="--model clip-zero-shot:owner/pictures --labels"):
        model_folder("owner/pictures")
    assert hub.fetched() == ["config.json"]


def test_older_weights_are_fetched_where_there_are_no_others(
    hub: LocalHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_clip_folder(hub.folder / "owner" / "clip")
    weights = load_dual_encoder(folder)
    state = weights.image_encoder.backbone.state_dict()
    torch.save(state, folder / "pytorch_model.bin")
    go_online(monkeypatch, hub.address, tmp_path / "cache")
    checkpoint_folder("owner/clip")
    assert "pytorch_model.bin" not in hub.fetched()

    (folder / "model.safetensors").unlink()
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "other"))
    assert (checkpoint_folder("owner/clip") / "pytorch_model.bin").is_file()


def test_cache_that_lacks_weights_or_words_is_completed(
    hub: LocalHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_clip_folder(hub.folder / "owner" / "clip")
    go_online(monkeypatch, hub.address, tmp_path / "cache")
    assert cached_folder("owner/clip") is None
    assert checkpoint_file("owner/clip", "config.json") is not None
    assert checkpoint_file("owner/clip", "modules.json") is None
    assert cached_folder("owner/clip") is None  # settings alone are no model

    found = checkpoint_folder("owner/clip")
    (found / "vocab.json").unlink()
    assert cached_folder("owner/clip") == checkpoint_folder("owner/clip") == found
    assert (checkpoint_folder("owner/clip", TOKENIZER_FILES) / "vocab.json").is_file()

    index = {"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}
    (found / "model.safetensors.index.json").write_text(json.dumps(index))
    (found / "model.safetensors").rename(found / "model-1.safetensors")
    assert cached_folder("owner/clip") is None
    shutil.copy(found / "model-1.safetensors", found / "model-2.safetensors")
    assert cached_folder("owner/clip") == found


def test_unknown_id_names_the_one_that_was_meant(
    hub: LocalHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_online(monkeypatch, hub.address, tmp_path / "cache")
    with pytest.raises(CheckpointError, match=f"no such model.*did you mean {_CLIP}"):
        checkpoint_folder("openai/clip-vit-bse-patch16")
    with pytest.raises(CheckpointError, match=r"no such model.*check the spelling"):
        checkpoint_folder("nobody/nothing")
    with pytest.raises(CheckpointError, match="no id of the Hugging Face Hub"):
        checkpoint_folder("runs/mine/of today")


def test_model_that_asks_for_consent_says_where_to_give_it(
    hub: LocalHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_clip_folder(hub.folder / "owner" / "clip")
    hub.gated = ("owner/clip",)
    go_online(monkeypatch, hub.address, tmp_path / "cache")
    with pytest.raises(CheckpointError, match=f"consent; give it on {hub.address}/owner/clip,"):
        checkpoint_folder("owner/clip")
    with pytest.raises(CheckpointError, match="hf auth login"):
        checkpoint_file("owner/clip", "config.json")


@pytest.mark.parametrize("status", [500, 503, 403])
def test_hub_that_answers_with_an_error_is_not_tried_again(
    status: int, hub: LocalHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.status = status
    go_online(monkeypatch, hub.address, tmp_path / "cache")
    with pytest.raises(CheckpointError, match=f"was not reached.*{status}"):
        checkpoint_folder("owner/name")
    assert len(hub.requests) == 1


def test_repository_without_a_model_is_refused(
    hub: LocalHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (hub.folder / "owner" / "data").mkdir(parents=True)
    (hub.folder / "owner" / "data" / "README.md").write_text("Data.")
    go_online(monkeypatch, hub.address, tmp_path / "cache")
    with pytest.raises(CheckpointError, match=r"holds no config.json with model.safetensors"):
        checkpoint_folder("owner/data")


def test_local_files_only_asks_nobody(hub: LocalHub, monkeypatch: pytest.MonkeyPatch) -> None:
    go_online(monkeypatch, hub.address, hub.folder / "cache")
    with pytest.raises(CheckpointError, match="only local files were asked for"):
        MSQNet.from_pretrained("owner/name", local_files_only=True)
    assert hub.requests == []


def test_no_name_is_the_shipped_model(monkeypatch: pytest.MonkeyPatch, closed_port: str) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", closed_port)
    assert "grooming" in MSQNet.from_pretrained(None).config.labels


def test_open_models_are_found_by_name_id_prefix_and_folder(tmp_path: Path) -> None:
    for item in OPEN_MODELS:
        names = (item.name, item.hub_id, f"clip-zero-shot:{item.name}")
        assert {open_model_source(name) for name in names} == {item.hub_id}
        assert not item.is_checked
    clip = write_clip_folder(tmp_path / "clip")
    assert open_model_source(clip) == open_model_source(f"clip-zero-shot:{clip}") == str(clip)
    tiny_model("timesformer").save_pretrained(tmp_path / "own")
    for name in (None, "mixed-actors-lite", "owner/name", tmp_path / "own", tmp_path):
        assert open_model_source(name) is None
    with pytest.raises(CheckpointError, match="no model named"):
        open_model_source("clip-zero-shot:")
