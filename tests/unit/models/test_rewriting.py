from __future__ import annotations

import json
from pathlib import Path

import pytest

from msqnet.errors import ConfigError
from msqnet.models import changed_model
from msqnet.models.card import change_config


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text('{"labels": ["a"], "thresholds": [0.5]}')
    (folder / "model.safetensors").write_bytes(b"12345")
    return folder


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_changed_copy_appears_beside_the_model_that_stays(model: Path, tmp_path: Path) -> None:
    out = tmp_path / "deep" / "new"

    with changed_model(model, out, overwrite=False) as draft:
        change_config(draft, {"thresholds": [0.7]})
        assert not out.exists()

    assert json.loads((out / "config.json").read_text()) == {"labels": ["a"], "thresholds": [0.7]}
    assert json.loads((model / "config.json").read_text())["thresholds"] == [0.5]
    assert (out / "model.safetensors").read_bytes() == b"12345"
    assert names(out.parent) == {"new"}


def test_model_is_changed_in_its_own_place_where_that_is_allowed(
    model: Path, tmp_path: Path
) -> None:
    with changed_model(model, model, overwrite=True) as draft:
        change_config(draft, {"thresholds": [0.7]})

    assert json.loads((model / "config.json").read_text())["thresholds"] == [0.7]
    assert names(tmp_path) == {"model"}


def test_error_on_the_way_leaves_everything_as_it_was(model: Path, tmp_path: Path) -> None:
    def fail() -> None:
        with changed_model(model, model, overwrite=True) as draft:
            (draft / "model.safetensors").unlink()
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        fail()

    assert (model / "model.safetensors").read_bytes() == b"12345"
    assert names(tmp_path) == {"model"}


def test_what_exists_is_refused_and_named(model: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "diary.txt").write_text("mine")

    with (
        pytest.raises(ConfigError, match="the model itself; name a new folder with --out"),
        changed_model(model, model, overwrite=False),
    ):
        pass
    with (
        pytest.raises(ConfigError, match="it exists; name a new folder"),
        changed_model(model, other, overwrite=False),
    ):
        pass
    with (
        pytest.raises(ConfigError, match="not a model's folder and is not replaced"),
        changed_model(model, other, overwrite=True),
    ):
        pass
    assert names(other) == {"diary.txt"}


def test_target_inside_the_model_is_refused(model: Path) -> None:
    with (
        pytest.raises(ConfigError, match="would be copied into itself"),
        changed_model(model, model / "calibrated", overwrite=True),
    ):
        pass
    assert names(model) == {"config.json", "model.safetensors"}


def test_interruption_between_the_two_renames_leaves_the_model(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rename = Path.rename

    def interrupted(self: Path, target: Path) -> Path:
        if self.name == "new":
            raise KeyboardInterrupt
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", interrupted)
    with (
        pytest.raises(KeyboardInterrupt),
        changed_model(model, model, overwrite=True) as draft,
    ):
        change_config(draft, {"thresholds": [0.7]})
    assert json.loads((model / "config.json").read_text())["thresholds"] == [0.5]
    assert names(tmp_path) == {"model"}
