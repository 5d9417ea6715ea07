"""What a dry run counts, against published numbers and hand-made data."""

from __future__ import annotations

import socket
import threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest
import torch

import run
from experiments import data_sets, find_experiment, resolve
from msqnet.data.table import read_table, write_table
from msqnet.evaluation.zero_shot_protocol import LabelSplit
from msqnet.labels import LabelSet
from msqnet.model.builder import new_model
from msqnet.model.registry import encoder_spec
from requirements import Cost, cost_of, data_lines, empty_model, split_lines, weight_lines
from tests.fixtures.tables import write_split_table

if TYPE_CHECKING:
    from pathlib import Path

    from experiments import ExperimentSettings

LABELS = LabelSet(tuple(f"label {number}" for number in range(140)))
GIGA = 1e9


@pytest.fixture(autouse=True)
def _no_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nobody's downloads decide which sizes are counted."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))


def settings(name: str, **arch: Any) -> ExperimentSettings:
    found = resolve(find_experiment(name))
    return replace(found, arch=replace(found.arch, **arch))


def cost(chosen: ExperimentSettings) -> Cost:
    return cost_of(empty_model(chosen, LABELS, "multi_label"), chosen)


def test_flops_and_parameters_are_the_published_ones() -> None:
    text = cost(settings("table1/animal_kingdom_timesformer_text", num_frames=8))
    # TimeSformer of 8 frames: 590 GFLOPs for 3 views, counted as multiply-adds
    # (Bertasius et al. 2021, table 2); the decoder adds 1.5 %.
    assert text.flops == pytest.approx(2 * 590 / 3 * GIGA, rel=0.03)
    assert text.parameters["video_encoder"] == (121_258_752, 121_258_752)
    full = cost(settings("table1/animal_kingdom_timesformer_mmq", num_frames=8))
    # CLIP ViT-B/16 is a ViT-B/16: 17.6 giga multiply-adds for each of 8 frames; it is frozen. Its
    # last layer computes keys and values of all 197 tokens, and the rest of one of them.
    spared = 196 * (10 * 768**2 + 2 * 197 * 768)
    assert full.flops - text.flops == pytest.approx(8 * 2 * (17.56 * GIGA - spared), rel=0.01)
    assert full.parameters["image_encoder"] == (85_799_424, 0)
    # A frozen encoder keeps nothing for the backward pass.
    assert full.activation_bytes == pytest.approx(text.activation_bytes, rel=0.001)


def test_memory_is_weights_gradients_two_moments_and_activations() -> None:
    chosen = settings("table1/animal_kingdom_timesformer_mmq", num_frames=2, size_pixels=32)
    found = cost(chosen)
    total = sum(number for number, _ in found.parameters.values())
    trained = sum(number for _, number in found.parameters.values())
    expected = 4 * total + 3 * 4 * trained + chosen.train.batch_size * found.activation_bytes
    assert found.memory_bytes == expected


def test_frozen_encoder_needs_less_memory() -> None:
    whole = settings("table1/animal_kingdom_timesformer_text", num_frames=8)
    frozen = replace(whole, train=replace(whole.train, finetune="decoder"))
    assert cost(frozen).parameters["video_encoder"][1] == 0
    assert cost(frozen).memory_bytes < cost(whole).memory_bytes / 4


def test_adapters_need_the_memory_of_activations_but_not_of_trained_weights() -> None:
    whole = settings("table1/animal_kingdom_timesformer_text", num_frames=8)
    adapted = cost(replace(whole, train=replace(whole.train, finetune="lora")))
    total, trained = adapted.parameters["video_encoder"]
    assert 0 < trained < total / 50
    assert adapted.activation_bytes > cost(whole).activation_bytes / 2
    assert adapted.memory_bytes < cost(whole).memory_bytes


def test_empty_model_has_no_values_but_all_names_of_the_real_one() -> None:
    chosen = settings(
        "table1/animal_kingdom_i3d_text",
        video_weights="random",
        text_encoder="random",
        num_frames=16,
        size_pixels=32,
        width=16,
        decoder_layers=1,
    )
    labels = LabelSet(("sit", "walk"))
    real = new_model(chosen.arch, encoder_spec("i3d").recipe().clip, labels, task="multi_label")
    empty = empty_model(chosen, labels, "multi_label")
    assert {name: tensor.shape for name, tensor in empty.state_dict().items()} == {
        name: tensor.shape for name, tensor in real.state_dict().items()
    }
    assert all(tensor.device == torch.device("meta") for tensor in empty.state_dict().values())


@pytest.mark.parametrize(("text", "width"), [("minilm", 384), ("random", 512), ("bert:x/y", 768)])
def test_label_queries_are_as_wide_as_their_text(text: str, width: int) -> None:
    chosen = settings("table1/animal_kingdom_timesformer_text", text_encoder=text)
    model = empty_model(chosen, LABELS, "multi_label")
    assert model.query_encoder.label_embeddings.shape == (140, width)


def weights(chosen: ExperimentSettings) -> list[str]:
    return [line for _, line in weight_lines(chosen.trained_arch) if "weights of the" in line]


def test_weights_are_found_where_they_are(tmp_path: Path) -> None:
    (tmp_path / "weights.pt").touch()
    bert = settings(
        "table6/charades_bert",
        video_weights=str(tmp_path / "weights.pt"),
        text_encoder=f"bert:{tmp_path}",
    )
    assert weights(bert) == [
        f"weights of the video encoder: {tmp_path / 'weights.pt'}: at hand",
        f"weights of the text encoder: {tmp_path}: at hand",
    ]
    # Tests are offline, and the cache is empty.
    full = settings("table1/charades_timesformer_mmq", video_weights=str(tmp_path / "none"))
    assert [line.split(": ")[2][:11] for line in weights(full)] == ["NOT AT HAND"] * 3
    c3d = list(weight_lines(settings("table1/thumos14_c3d_text").arch))
    assert c3d[0][0] is False
    assert "NOT NAMED" in c3d[0][1]
    assert len(weights(settings("table3/thumos14_50_vanilla"))) == 1


class Hub(BaseHTTPRequestHandler):
    """Has settings of every model of ``openai``, and no others."""

    def do_HEAD(self) -> None:
        self.send_response(200 if self.path.startswith("/openai/") else 404)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


def ask_hub_at(patch: pytest.MonkeyPatch, port: int) -> str:
    """Let this process be online, with a hub of its own; returns the hub's address."""
    address = f"http://127.0.0.1:{port}"
    template = f"{address}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    patch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    patch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", template)
    return address


def test_hub_is_asked_for_weights_that_are_not_at_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    full = settings("table1/charades_timesformer_mmq")
    with ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = ask_hub_at(monkeypatch, server.server_port)
        lines = [item for item in weight_lines(full.trained_arch) if "weights of the" in item[1]]
        server.shutdown()
    assert [is_fine for is_fine, _ in lines] == [False, True, True]
    assert "NOT AT HAND; not in the hub's cache, and the hub does not give it" in lines[0][1]
    assert f"{address}/facebook/timesformer" in lines[0][1]
    assert "404" in lines[0][1]
    assert lines[1][1].endswith(
        "not at hand; the hub has it, and it is fetched when the run starts"
    )


def test_run_whose_hub_is_out_of_reach_could_not_start(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.socket() as closed:  # a port that nothing listens on
        closed.bind(("127.0.0.1", 0))
        ask_hub_at(monkeypatch, closed.getsockname()[1])
        assert run.main(["table1/charades_timesformer_mmq", "--dry-run"]) == 2
    shown = capsys.readouterr().out
    assert shown.count("NOT AT HAND") == 3
    assert "Connection refused" in shown
    assert shown.endswith("this run could NOT start, see above\n")


def test_settings_without_weights_in_the_cache_are_not_at_hand(tmp_path: Path) -> None:
    folder = tmp_path / "models--openai--clip-vit-base-patch16"
    snapshot = folder / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text("0" * 40)
    (snapshot / "config.json").write_text("{}")
    full = settings("table1/charades_timesformer_mmq")
    assert "NOT AT HAND" in weights(full)[1]
    (snapshot / "model.safetensors").touch()
    assert weights(full)[1].endswith("in the hub's cache, at hand")


def test_data_that_are_not_the_official_ones_are_warned_of(tmp_path: Path) -> None:
    path = write_split_table(tmp_path / "clips.csv", num_train=4, num_test=2)
    lines = list(data_lines(path, data_sets()["animal_kingdom"]))
    assert all(is_fine for is_fine, _ in lines)
    text = "; ".join(line for _, line in lines)
    assert "4 rows of split train, the official lists give 24004" in text
    assert "2 rows of split test, the official lists give 6096" in text
    assert "4 labels in split train, Animal Kingdom has 140" in text


def test_videos_are_counted_once_each_and_a_missing_one_is_named(tmp_path: Path) -> None:
    path = write_split_table(tmp_path / "clips.csv", num_train=4, num_test=2)
    records = list(read_table(path).records)
    write_table(records * 2, path)
    (tmp_path / "grey3.mov").unlink()
    data_set = data_sets()["animal_kingdom"]
    *_, (is_fine, line) = data_lines(path, data_set)
    assert not is_fine
    assert line.startswith("  5 of 6 videos exist; MISSING")
    assert line.endswith("grey3.mov")
    assert all(is_fine for is_fine, _ in data_lines(path, data_set, skip_errors=True))


def test_data_that_cannot_be_used_are_errors(tmp_path: Path) -> None:
    path = write_split_table(tmp_path / "clips.csv", num_train=4, num_test=2)
    train_only = [replace(record, split="train") for record in read_table(path).records]
    several = [replace(r, labels=("black", "white")) for r in train_only[:1]] + train_only[1:]
    write_table(several, path)
    errors = [line for is_fine, line in data_lines(path, data_sets()["hmdb51"]) if not is_fine]
    assert len(errors) == 2
    assert "no row of split test (splits found: train)" in errors[0]
    assert "single_label needs exactly one" in errors[1]


def test_splits_of_the_labels_that_cannot_be_run_are_errors(tmp_path: Path) -> None:
    table = read_table(write_split_table(tmp_path / "clips.csv", num_train=8, num_test=4))
    usual = LabelSplit(("black", "dark"), ("light", "white"), "usual", "by hand")
    unknown = LabelSplit(("black", "pink"), ("light", "white"), "unknown", "by hand")
    first, second = split_lines(table, [usual, unknown])
    assert first == (True, "  usual: 2 seen and 2 unseen labels, 4 of 8 training rows")
    assert second[0] is False
    assert "shows no pink" in second[1]
