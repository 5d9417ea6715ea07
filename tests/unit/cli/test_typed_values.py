from __future__ import annotations

from typing import TYPE_CHECKING, Any, get_args, get_origin

import pytest
import yaml

from msqnet.cli.main import RUNNABLE_COMMANDS, command_parser, parse_settings
from msqnet.cli.typed_values import check_texts
from msqnet.errors import ConfigError

if TYPE_CHECKING:
    from argparse import Action
    from pathlib import Path

    from jsonargparse import ArgumentParser

TEXTS = ("null", "~", "#1", "&a", "true", "1e3", "[a", "{a", "[a, b]", "- a", "a: b", "None", "*a")
COMMANDS = [name for name in RUNNABLE_COMMANDS if name != "models"]  # which has no such option


def text_options(parser: ArgumentParser) -> list[Action]:
    hints = ((item, getattr(item, "_typehint", item.type)) for item in parser._actions)
    return [
        item
        for item, hint in hints
        if hint is str or (str in get_args(hint) and get_origin(hint) is not dict)
    ]


def given(options: list[Action], chosen: Action, text: str) -> tuple[list[str], dict[str, Any]]:
    """A command line with a text for one option, and one for each that is needed, and as YAML."""
    argv: list[str] = []
    document: dict[str, Any] = {}
    for item in options:
        if item is not chosen and not item.required:
            continue
        value = text if item is chosen else "x"
        argv += [f"--{item.dest}={value}"] if item.option_strings else [value]
        *groups, key = item.dest.split(".")
        inner = document
        for group in groups:
            inner = inner.setdefault(group, {})
        inner[key] = [value] if item.nargs else value
    return argv, document


@pytest.mark.parametrize("name", COMMANDS)
def test_text_is_text_in_every_option_of_every_command(name: str, tmp_path: Path) -> None:
    parser, config = command_parser(name), tmp_path / "c.yaml"
    options = text_options(parser)
    assert options
    for option in options:
        for text in TEXTS:
            argv, document = given(options, option, text)
            config.write_text(yaml.safe_dump(document, default_style='"'))
            for words in (argv, ["--config", str(config)]):
                found = parser.parse_args(words)
                check_texts(parser, found)
                value = found[option.dest]
                assert value == ([text] if option.nargs else text), (option.dest, words)


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize("empty", ["", " "])
def test_empty_text_is_an_error_that_names_its_option(name: str, empty: str) -> None:
    options = text_options(command_parser(name))
    for option in options:
        argv, _ = given(options, option, empty)
        with pytest.raises(
            ConfigError, match=rf"{option.dest}: found '\s*', expected text"
        ) as info:
            parse_settings(name, argv)
        assert "shell variable" in str(info.value)


def test_texts_reach_the_command(tmp_path: Path) -> None:
    argv = ["--data", "d", "--split", "null", "--labels", "#1"]
    _, settings = parse_settings("evaluate", argv)
    assert (settings["split"], settings["options"].labels) == ("null", "#1")

    config = tmp_path / "c.yaml"
    config.write_text("data: d\nsplit: null\nmodel: '~'\nlabels: [walking, 'null']\n")
    _, settings = parse_settings("evaluate", ["--config", str(config)])
    options = settings["options"]
    assert (settings["split"], options.model, options.labels) == (None, "~", ("walking", "null"))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("split: 5", "--split: found 5, expected text"),
        ("split: true", "--split: found True"),
        ("split: [a]", r"--split: found \['a'\]"),
        ("labels: [walking, null]", "--labels: found None"),
        ("labels: []", "--labels: found ''"),
    ],
)
def test_what_is_no_text_in_a_config_file_is_an_error(
    content: str, words: str, tmp_path: Path
) -> None:
    config = tmp_path / "c.yaml"
    config.write_text(f"data: d\n{content}\n")

    with pytest.raises(ConfigError, match=words):
        parse_settings("evaluate", ["--config", str(config)])


def test_list_of_texts_may_be_one_text_in_a_config_file(tmp_path: Path) -> None:
    config = tmp_path / "c.yaml"
    config.write_text("videos: a.mp4")
    _, found = parse_settings("predict", ["--config", str(config)])
    assert found["videos"] == ["a.mp4"]

    config.write_text("videos: [null]")
    with pytest.raises(ConfigError, match="found None"):
        parse_settings("predict", ["--config", str(config)])


def test_list_of_the_command_line_replaces_that_of_a_config_file(tmp_path: Path) -> None:
    config = tmp_path / "c.yaml"
    config.write_text("data: [a.csv, b.csv]\nout: o\n")
    for argv, expected in (
        ([], ["a.csv", "b.csv"]),
        (["--data", "c.csv", "--split", "x", "--data=d.csv"], ["c.csv", "d.csv"]),
    ):
        _, found = parse_settings("evaluate", ["--config", str(config), *argv])
        assert found["data"] == expected


@pytest.mark.parametrize("argv", [["--threshold", "#1"], ["--fps", "~"], ["--ood", "&a"]])
def test_number_or_choice_is_not_lost(argv: list[str]) -> None:
    with pytest.raises(ConfigError, match=argv[0][2:]):
        parse_settings("predict", ["a.mp4", *argv])


@pytest.mark.parametrize("blank", ["", " "])
@pytest.mark.parametrize(
    ("name", "option", "expected"),
    [
        ("train", "--config", "the name of a YAML file"),
        ("predict", "--config", "the name of a YAML file"),
        ("train", "--resume", "a value"),
        ("predict", "--verbose", "a value"),
        ("predict", "--threshold", "a value"),
        ("predict", "--runtime", "a value"),
        ("train", "--train.epochs", "a value"),
    ],
)
def test_blank_value_is_an_error_that_names_its_option(
    name: str, option: str, expected: str, blank: str
) -> None:
    rest = ["--data", "d", "--out", "o"] if name == "train" else ["a.mp4"]
    for words in ([option, blank], [f"{option}={blank}"]):
        with pytest.raises(ConfigError, match="shell variable") as info:
            parse_settings(name, [*rest, *words])
        assert f"{option}: found {blank!r}, expected {expected}; leave" in str(info.value)


def test_config_file_that_is_not_named_is_an_error() -> None:
    with pytest.raises(ConfigError, match="--config: found nothing, expected the name of a YAML"):
        parse_settings("train", ["--data", "d", "--out", "o", "--config"])


def test_number_is_none_where_null_is_typed() -> None:
    _, settings = parse_settings("predict", ["a.mp4", "--threshold", "null"])
    assert settings["options"].threshold is None


def test_abbreviated_option_is_refused() -> None:
    with pytest.raises(ConfigError, match="unrecognized arguments: --label_tab"):
        parse_settings("predict", ["a.mp4", "--label_tab", "x.csv"])
