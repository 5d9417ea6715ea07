from __future__ import annotations

import json
from pathlib import Path

import pytest

from msqnet import models
from msqnet.errors import CheckpointError


def write_model(folder: Path, *, card: str = "", config: str = '{"labels": ["a", "b"]}') -> Path:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(config)
    (folder / "model.safetensors").write_bytes(b"12345")
    if card:
        (folder / "README.md").write_text(card)
    return folder


@pytest.fixture
def shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stand-in for the package's folder, holding one model under the shipped model's name."""
    folder = write_model(tmp_path / "package" / models.SHIPPED_MODEL)
    monkeypatch.setattr(models, "__file__", str(folder.parent / "__init__.py"))
    return folder


def test_only_complete_models_are_listed_by_name(tmp_path: Path) -> None:
    write_model(tmp_path / "b")
    write_model(tmp_path / "a")
    write_model(tmp_path / "no-weights").joinpath("model.safetensors").unlink()
    (tmp_path / "__pycache__").mkdir()

    assert [item.name for item in models.available_models(tmp_path)] == ["a", "b"]


@pytest.mark.parametrize(
    ("card", "licence"),
    [
        ("---\ntags: [video]\nlicense: apache-2.0\n---\n# Card\n", "apache-2.0"),
        ("# Card\nlicense: not in the front matter\n", ""),
        ("---\ntags: [video]\n---\nlicense: not in the front matter\n", ""),
        ("", ""),
    ],
)
def test_licence_is_what_the_front_matter_states(tmp_path: Path, card: str, licence: str) -> None:
    folder = write_model(tmp_path / "m", card=card)
    (info,) = models.available_models(tmp_path)

    assert info.licence == licence
    assert info.labels == ("a", "b")
    assert info.size_bytes == sum(item.stat().st_size for item in folder.iterdir())


@pytest.mark.parametrize("config", ["{", "[]", json.dumps({"names": []})])
def test_damaged_config_is_an_error_that_names_the_file(tmp_path: Path, config: str) -> None:
    write_model(tmp_path / "m", config=config)

    with pytest.raises(CheckpointError, match=r"config\.json: found no list 'labels'"):
        models.available_models(tmp_path)


def test_no_name_is_the_shipped_model(shipped: Path) -> None:
    assert models.resolve_model(None) == shipped
    assert models.resolve_model(models.SHIPPED_MODEL) == shipped


def test_folder_stands_for_itself_and_a_run_for_its_best_checkpoint(tmp_path: Path) -> None:
    model = write_model(tmp_path / "model")
    best = write_model(tmp_path / "run" / "best")

    assert models.resolve_model(model) == model
    assert models.resolve_model(str(tmp_path / "run")) == best


def test_folder_on_disk_comes_before_a_hub_id_of_the_same_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_model(tmp_path / "runs" / "mine" / "best")
    monkeypatch.chdir(tmp_path)

    assert models.resolve_model("runs/mine") == Path("runs/mine/best")
    assert models.resolve_model("runs/other") == "runs/other"


def test_folder_without_a_model_is_an_error_that_says_what_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(
        CheckpointError, match=r"without config\.json and without best/config\.json"
    ):
        models.resolve_model(tmp_path)


def test_exported_model_is_told_from_a_folder_without_a_model(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").touch()
    with pytest.raises(CheckpointError, match="an exported model, which predicts"):
        models.resolve_model(tmp_path)


@pytest.mark.parametrize("name", ["nonsense", "a/b/c", "../x", "/no/such", "a/"])
def test_unknown_name_is_an_error_that_lists_the_known_ones(
    shipped: Path, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    with pytest.raises(CheckpointError, match=shipped.name):
        models.resolve_model(name)


def test_hub_model_that_cannot_be_fetched_names_both_places() -> None:
    with pytest.raises(
        CheckpointError, match=r"nothing-here: cannot be loaded: no such folder here, the c"
    ):
        models.model_folder("nobody/nothing-here")


@pytest.mark.parametrize("name", ["siglip2-base", "clip-zero-shot:owner/name"])
def test_open_model_is_no_model_of_msqnet(name: str) -> None:
    with pytest.raises(CheckpointError, match="and no model of msqnet, as expected here"):
        models.resolve_model(name)


def test_model_folder_of_a_local_model_needs_no_fetching(tmp_path: Path) -> None:
    model = write_model(tmp_path / "model")

    assert models.model_folder(model) == model
