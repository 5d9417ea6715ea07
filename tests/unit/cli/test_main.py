from __future__ import annotations

import logging
import re
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from msqnet.cli import main as cli
from msqnet.config import SegmentConfig, WindowConfig
from msqnet.errors import CheckpointError, ConfigError, UnreadableVideo, VocabularyError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Exit = Callable[..., int]

COMMANDS = cli.COMMANDS


@dataclass(frozen=True)
class Look:
    """Settings with a switch inside.

    Attributes:
        closeup: Whether to look twice.
        flip: Whether to mirror; by default as the recipe says.
        window: A group inside of a group.
    """

    closeup: bool = False
    flip: bool | None = None
    window: WindowConfig = field(default_factory=WindowConfig)


received: dict[str, object] = {}


def recognise(
    videos: list[str],
    out: Path,
    window: WindowConfig = WindowConfig(),  # noqa: B008
    look: Look = Look(),
    overwrite: bool = False,
    model: str | None = None,
) -> int:
    """Recognise actions.

    More text.

    Args:
        videos: Files.
        out: Where to write.
        window: How windows are cut.
        look: How to look.
        overwrite: Replace what is there.
        model: A finished model.
    """
    received.clear()
    received.update(
        videos=videos, out=out, window=window, look=look, overwrite=overwrite, model=model
    )
    return 3


def raise_error(kind: str) -> int:
    """Raise an error of a kind.

    Args:
        kind: Which.
    """
    errors: dict[str, BaseException] = {
        "config": ConfigError("a\nb"),
        "vocabulary": VocabularyError("no such label"),
        "video": UnreadableVideo("clip.mp4: not a video"),
        "checkpoint": CheckpointError("no model"),
        "system": PermissionError(13, "Permission denied", "/out"),
        "interrupt": KeyboardInterrupt(),
        "bug": RuntimeError("a bug"),
        "pipe": BrokenPipeError(),
    }
    raise errors[kind]


def segments(settings: SegmentConfig = SegmentConfig()) -> int:  # noqa: B008
    """Cut segments.

    Args:
        settings: How.
    """
    return 0 if settings.threshold is None else 4


def translate(to: str, in_: str | None = None, pair: list[str] | None = None) -> int:
    """Translate.

    Args:
        to: Into what.
        in_: From what.
        pair: How, as `--pair KEY=VALUE`; see `--max_words`.
    """
    received.clear()
    received.update(to=to, in_=in_, pair=pair)
    return 5


@dataclass(frozen=True)
class Reading:
    """How to read.

    Attributes:
        max_words: How many words at most.
        aloud: Whether to speak.
    """

    max_words: int = 10
    aloud: bool = False

    def __post_init__(self) -> None:
        if self.max_words < 1:
            raise ConfigError(f"max_words {self.max_words}: expected at least 1")


def read(books: list[str], options: Reading = Reading()) -> int:
    """Read.

    Args:
        books: Which.
        options: How.
    """
    received.clear()
    received.update(books=books, options=options)
    return 6


@pytest.fixture(autouse=True)
def _commands(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    functions = {
        "recognise": recognise,
        "raise": raise_error,
        "segments": segments,
        "translate": translate,
        "books read": read,
    }
    positionals = {"recognise": "videos", "raise": "kind", "books read": "books"}
    commands = {
        name: cli.Command(name, positional=positionals.get(name), example=f"msqnet {name} now")
        for name in functions
    }
    renamed = {"source": "in", "pairs": "pair"}
    commands["translate"] = replace(commands["translate"], renamed=renamed)
    books = {"read": commands.pop("books read")}
    commands["books"] = cli.Command("do something with books", subcommands=books)
    monkeypatch.setattr(cli, "COMMANDS", commands)
    runnable = commands | {"books read": books["read"]}
    monkeypatch.setattr(cli, "RUNNABLE_COMMANDS", runnable)
    monkeypatch.setattr(cli.Command, "load", lambda self: functions[self.summary])
    monkeypatch.delenv("MSQNET_LOG", raising=False)
    monkeypatch.setenv("TRANSFORMERS_VERBOSITY", "error")
    monkeypatch.setenv("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    logger = logging.getLogger("msqnet")
    handlers, level = list(logger.handlers), logger.level
    yield
    logger.handlers, logger.level = handlers, level


def test_settings_reach_the_function_with_their_types() -> None:
    code = cli.main(["recognise", "a.mp4", "b", "--out", "results", "--window.stride_seconds", "2"])

    assert code == 3
    assert received["videos"] == ["a.mp4", "b"]
    assert received["out"] == Path("results")
    assert received["window"] == WindowConfig(stride_seconds=2.0)
    assert received["overwrite"] is False


@pytest.mark.parametrize(
    ("flags", "overwrite", "closeup"),
    [
        (["--overwrite"], True, False),
        (["--overwrite", "--look.closeup"], True, True),
        (["--overwrite", "true"], True, False),
        (["--overwrite", "false", "--look.closeup=true"], False, True),
    ],
)
def test_switch_needs_no_value_and_takes_one(
    flags: list[str], overwrite: bool, closeup: bool
) -> None:
    cli.main(["recognise", "a.mp4", *flags, "--out", "o"])

    assert received["overwrite"] is overwrite
    assert received["look"] == Look(closeup=closeup)


@pytest.mark.parametrize(
    ("flags", "flip"),
    [
        ([], None),
        (["--look.flip"], True),
        (["--look.flip", "false"], False),
        (["--look.flip", "null"], None),
    ],
)
def test_switch_that_may_be_left_open_is_a_switch_too(flags: list[str], flip: bool | None) -> None:
    cli.main(["recognise", "a.mp4", *flags, "--out", "o"])

    assert received["look"] == Look(flip=flip)


def test_switch_does_not_swallow_the_argument_after_it() -> None:
    cli.main(["recognise", "--out", "o", "--overwrite", "a.mp4"])

    assert received["videos"] == ["a.mp4"]


def test_command_line_overrides_config_file(tmp_path: Path) -> None:
    config = tmp_path / "c.yaml"
    config.write_text("videos: [x.mp4]\nout: o\nwindow:\n  stride_seconds: 2\n  batch_size: 3\n")

    cli.main(["recognise", "--config", str(config), "--window.batch_size", "5"])

    assert received["videos"] == ["x.mp4"]
    assert received["window"] == WindowConfig(stride_seconds=2.0, batch_size=5)


def test_unknown_key_of_a_config_file_is_refused_by_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "c.yaml"
    config.write_text("videos: [x.mp4]\nout: o\nstrude: 2\n")

    assert cli.main(["recognise", "--config", str(config)]) == 2
    assert "strude" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        ["--to", "latin", "--pair", "a=1", "b=2"],
        ["--to=latin", "--pair", "a=1", "--pair", "b=2"],
        ["--pair=a=1", "--pair=b=2", "--to", "latin"],
    ],
)
def test_list_takes_several_values_and_may_be_repeated(arguments: list[str]) -> None:
    assert cli.main(["translate", *arguments]) == 5
    assert received == {"to": "latin", "in_": None, "pair": ["a=1", "b=2"]}


def test_option_may_be_a_word_of_the_language(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["translate", "--to", "latin", "--in", "greek", "--pair", "a=1"]
    with pytest.raises(SystemExit):
        cli.main([*arguments, "--print_config"])
    config = tmp_path / "c.yaml"
    config.write_text(capsys.readouterr().out)

    assert "in: greek" in config.read_text()
    assert cli.main(["translate", "--config", str(config)]) == 5
    assert received == {"to": "latin", "in_": "greek", "pair": ["a=1"]}


def test_keys_and_options_that_were_renamed_are_read_with_a_note(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "c.yaml"
    config.write_text("to: latin\nsource: greek\npairs:\n- a=1\n- 'source: b=2'\n")
    expected = {"to": "latin", "in_": "greek", "pair": ["a=1", "source: b=2"]}

    assert cli.main(["translate", "--config", str(config)]) == 5
    assert received == expected
    notes = "msqnet: note: source is now called in\nmsqnet: note: pairs is now called pair\n"
    assert capsys.readouterr().err == notes

    typed = ["--to", "latin", "--source=greek", "--pairs", "a=1", "source: b=2"]
    assert cli.main(["translate", *typed]) == 5
    assert received == expected
    assert capsys.readouterr().err == notes


def test_options_of_the_last_release_are_known_by_their_new_names() -> None:
    assert cli.COMMANDS is not COMMANDS  # the fixture stands in for the real ones
    for name, old in (("convert", "source_format"), ("convert", "options"), ("explain", "models")):
        assert COMMANDS[name].renamed[old] in {"from", "option", "model"}


@pytest.mark.parametrize("option", ["--max-words", "--max_words"])
def test_both_spellings_of_an_option_are_read(option: str) -> None:
    assert cli.main(["books", "read", "a", "b", option, "3", "--aloud"]) == 6
    assert received == {"books": ["a", "b"], "options": Reading(3, aloud=True)}

    nested = option.replace("max", "window.batch").replace("words", "size")
    cli.main(["recognise", "a.mp4", "--out", "o", f"{nested}=5"])
    assert received["window"] == WindowConfig(batch_size=5)


def test_help_shows_one_spelling(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["translate", "--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert "--to TO Into what. (required" in text
    assert "--pair PAIR [PAIR ...] How, as `--pair KEY=VALUE`; see `--max-words`." in text
    assert text.endswith("example: msqnet translate now")
    with pytest.raises(SystemExit):
        cli.main(["books", "read", "--help"])
    assert "--max-words MAX_WORDS" in capsys.readouterr().out


def test_subcommands_are_listed_and_wrong_ones_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main(["books", "--help"])
    assert stop.value.code == 0
    assert "read  books read" in capsys.readouterr().out
    for wrong in (["books"], ["books", "burn"]):
        with pytest.raises(SystemExit) as stop:
            cli.main(wrong)
        assert stop.value.code == 2


def test_printed_config_can_be_read_back(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main(["recognise", "a.mp4", "--out", "o", "--window.batch_size", "7", "--print_config"])
    config = tmp_path / "c.yaml"
    config.write_text(capsys.readouterr().out)

    assert stop.value.code == 0
    assert cli.main(["recognise", "--config", str(config)]) == 3
    assert received["window"] == WindowConfig(batch_size=7)


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["recognise", "--out", "o"], "videos"),
        (["recognise", "a.mp4"], "required: --out"),
        (["recognise", "a.mp4", "--out", "o", "--nonsense", "1"], "--nonsense"),
        (["recognise", "a.mp4", "--out", "o", "--window.batch_size", "x"], "window.batch_size"),
        (["recognise", "a.mp4", "--out", "o", "--window.batch_size", "0"], "batch_size 0"),
        (["segments", "--settings.threshold", "2"], "threshold 2"),
        (["recognise", "--config", "no-such-file.yaml"], "no-such-file.yaml"),
        (["books", "read", "a", "--max-words", "0"], "max_words 0"),
        (["translate"], "required: --to"),
    ],
)
def test_wrong_usage_is_one_line_that_says_what_and_where_to_look(
    argv: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(argv) == 2
    printed = capsys.readouterr()

    assert printed.out == ""
    assert printed.err.startswith("msqnet: error: ")
    assert printed.err.count("\n") == 1
    assert words in printed.err
    assert f"(see: msqnet {argv[0]}" in printed.err
    assert printed.err.endswith(" --help)\n")


@pytest.mark.parametrize(
    ("kind", "code", "line"),
    [
        ("config", 2, "msqnet: error: a b\n"),
        ("vocabulary", 2, "msqnet: error: no such label\n"),
        ("video", 1, "msqnet: error: clip.mp4: not a video\n"),
        ("checkpoint", 1, "msqnet: error: no model\n"),
        ("system", 1, "msqnet: error: [Errno 13] Permission denied: '/out'\n"),
        ("interrupt", 130, "msqnet: interrupted; what was finished is kept\n"),
    ],
)
def test_error_is_one_line_and_an_exit_code(
    kind: str, code: int, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["raise", kind]) == code
    assert capsys.readouterr().err == line


def test_verbose_shows_where_an_error_happened(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", logger="msqnet"):
        cli.main(["raise", "video", "--verbose"])

    assert "raise_error" in caplog.text


def test_bug_is_one_line_that_names_a_log_file(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["raise", "bug"]) == 1
    line = capsys.readouterr().err
    assert "unexpected RuntimeError: a bug (msqnet" in line
    (log,) = re.findall(r"traceback is in (\S+\.log)", line)
    assert "raise_error" in Path(log).read_text(encoding="utf-8")


def test_package_that_is_missing_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "jsonargparse", None)

    assert cli.main(["segments"]) == 1
    assert "the package jsonargparse is not installed" in capsys.readouterr().err


def test_wrong_log_level_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MSQNET_LOG", "loud")

    assert cli.main(["segments"]) == 2
    assert "expected DEBUG" in capsys.readouterr().err


@pytest.mark.parametrize("argv", [[], ["nonsense"], ["--nonsense"]])
def test_unknown_command_exits_2(argv: list[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main(argv)

    assert stop.value.code == 2


def test_help_of_a_command_shows_its_docstring_and_defaults(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main(["recognise", "--help"])
    text = capsys.readouterr().out

    assert stop.value.code == 0
    for words in ("Recognise actions.", "Where to write.", "Windows scored at a time.", "Files."):
        assert words in text
    assert "More text" not in text


@pytest.mark.parametrize(
    ("name", "new_way"),
    [
        ("experiment", "python paper/run.py"),
        ("synthesize", "python paper/synthesize.py"),
        ("suggest", "msqnet review"),
    ],
)
def test_removed_commands_name_what_replaces_them(
    name: str, new_way: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main([name, "--out", "x"]) == 2
    assert new_way in capsys.readouterr().err
