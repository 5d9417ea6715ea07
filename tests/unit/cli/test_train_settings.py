"""The settings of `msqnet train` that lie in groups of groups, from recipe, file and options."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import TYPE_CHECKING

import pytest
import yaml

from msqnet.cli import main as cli
from msqnet.config import LossConfig, TrainConfig
from msqnet.errors import ConfigError
from msqnet.model import registry

if TYPE_CHECKING:
    from pathlib import Path


def parse(*options: str) -> TrainConfig:
    _, settings = cli.parse_settings("train", ["--data", "a", "--out", "b", *options])
    train = settings["train"]
    assert isinstance(train, TrainConfig)
    return train


@pytest.fixture
def asymmetric_recipe(monkeypatch: pytest.MonkeyPatch) -> LossConfig:
    """The loss of a `lite` recipe that is not the default one."""
    loss = LossConfig("asymmetric", {"clip": 0.2})
    recipe = registry.encoder_spec("lite").recipe()
    train = replace(recipe.train, loss=loss, class_balance="none")
    changed = replace(recipe, train=train)
    spec = replace(registry.encoder_spec("lite"), recipe=lambda: changed)
    monkeypatch.setitem(registry.VIDEO_ENCODERS, "lite", spec)
    return loss


@pytest.mark.parametrize("encoder", ["lite", "timesformer"])
def test_what_is_not_said_comes_from_the_recipe(encoder: str) -> None:
    assert parse("--arch.video_encoder", encoder) == registry.encoder_spec(encoder).recipe().train


def test_recipe_settings_go_by_their_dotted_names() -> None:
    found = registry.recipe_defaults("lite")
    assert found["train.loss.name"] == "cross_entropy"
    assert found["train.loss.options"] == {}


def test_one_parameter_of_the_loss_leaves_the_rest_to_the_recipe(
    asymmetric_recipe: LossConfig,
) -> None:
    assert parse().loss == asymmetric_recipe
    found = parse("--train.loss.options.gamma_negative", "2").loss
    assert found == replace(asymmetric_recipe, options={"clip": 0.2, "gamma_negative": 2.0})


def test_loss_in_a_file_and_on_the_command_line(tmp_path: Path) -> None:
    path = tmp_path / "settings.yaml"
    path.write_text("train: {loss: {name: focal, options: {alpha: null}}, class_balance: none}\n")
    found = parse("--config", str(path), "--train.loss.options.gamma", "1")
    assert found.loss == LossConfig("focal", {"alpha": None, "gamma": 1.0})


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("train.loss.focal_gamma", "train.loss.options.gamma"),
        ("train.loss.asymmetric-gamma-negative", "train.loss.options.gamma-negative"),
        ("train.schedule", "train.restart-epochs, where 0"),
        ("augmentation.hue", "augmentation.colour-strength"),
    ],
)
def test_old_name_of_an_option_is_refused_by_the_new_one(
    old: str, new: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["train", "--data", "a", "--out", "b", f"--{old}", "1"]) == 2
    assert f"is now --{new}" in capsys.readouterr().err


def test_written_settings_read_back_as_the_same(tmp_path: Path) -> None:
    train = parse(
        *("--train.loss.name", "equalisation", "--train.class_balance", "none"),
        *("--train.sampling", "class_aware", "--train.loss.options.threshold", "0.01"),
    )
    path = tmp_path / "settings.yaml"
    path.write_text(yaml.safe_dump({"train": asdict(train)}, sort_keys=False))
    assert parse("--config", str(path)) == train


def test_loss_that_does_not_go_with_the_recipe_is_refused() -> None:
    with pytest.raises(ConfigError, match="weights cross_entropy, not focal: set class_balance"):
        parse("--train.loss.name", "focal")


@pytest.mark.parametrize(
    ("option", "value", "choices"),
    [
        ("train.finetune", "lora2", "full, lora, after_trunk, decoder"),
        ("arch.head", "cosin", "group_wise, shared, cosine"),
    ],
)
def test_choice_that_does_not_exist_is_refused_with_those_that_do(
    option: str, value: str, choices: str
) -> None:
    with pytest.raises(
        ConfigError, match=f"--{option}: found '{value}', expected one of {choices}"
    ):
        parse(f"--{option}", value)


@pytest.mark.parametrize("name", ["rank", "alpha"])
def test_adapters_without_a_rank_or_strength_are_refused_by_the_full_name(name: str) -> None:
    with pytest.raises(ConfigError, match=rf"lora\.{name} 0: expected at least 1"):
        parse("--train.finetune", "lora", f"--train.lora.{name}", "0")
