"""The `msqnet` program: finds a command, parses its settings, turns errors into exit codes.

Exit codes: 0 done, 1 data or run failed, 2 wrong usage or settings, 130 interrupted. Only the
module of the chosen command is imported, so that help is fast and needs no torch.

The parameters of a command's function are its options, and its docstring is their help. Beyond
that: parameters ``options`` and ``reading`` hold dataclasses whose fields are options themselves; a
list of texts takes one or more values and may be repeated, and in a config file it may be one text;
those of the command line replace those of a file; a trailing underscore (``from_``) is not typed.
"""

from __future__ import annotations

import argparse
import inspect
import logging
import os
import pkgutil
import re
import sys
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, get_args, get_type_hints

from msqnet import __version__
from msqnet.errors import ConfigError, MsqnetError, VocabularyError, check, unexpected
from msqnet.process import keep_freed_memory, stop_spinning_soon

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from jsonargparse import ArgumentParser

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130
EXIT_BROKEN_PIPE = 141
FLAT_PARAMETERS = ("options", "reading")
_BOOLEANS = ("true", "false", "null")
_OPTION = re.compile(r"(?<![\w./-])--[a-z][\w.]*_[\w.]*")
_REQUIRED = re.compile(r"(?<=arguments are required: ).+")
_logger = logging.getLogger("msqnet")


@dataclass(frozen=True)
class Command:
    """One command of the program.

    Attributes:
        summary: One line for the list of commands.
        target: ``module:function``; the function returns the exit code. Empty if there are
            sub-commands.
        positional: A parameter that is given without its name.
        defaults: ``module:function`` that returns defaults by dotted option name, from the
            arguments; for commands whose defaults depend on one another.
        example: A command line that works, shown under the help.
        subcommands: By name.
        renamed: New names of options by those of the last release, still read with a note; of a
            switch that became a value, ``option=value``.
    """

    summary: str
    target: str = ""
    positional: str | None = None
    defaults: str | None = None
    example: str = ""
    subcommands: Mapping[str, Command] = field(default_factory=dict)
    renamed: Mapping[str, str] = field(default_factory=dict)

    def load(self) -> Callable[..., int]:
        """Import the module and return the function, its annotations evaluated.

        As text, they would make the settings parser import what the module imports for type
        checkers only, torch among it.
        """
        function: Callable[..., int] = pkgutil.resolve_name(self.target)
        function.__annotations__ = get_type_hints(function)
        return function

    def new_name(self, option: str) -> str:
        """The new name of an option that was renamed; says so."""
        print(f"msqnet: note: {option} is now called {self.renamed[option]}", file=sys.stderr)
        return self.renamed[option]


COMMANDS: Mapping[str, Command] = {
    "predict": Command(
        "recognise actions over time in videos and folders of videos",
        "msqnet.cli.predict:predict",
        positional="videos",
        example="msqnet predict videos/ --out results/",
    ),
    "batch": Command(
        "predict thousands of videos, in processes or on a Ray cluster, and go on after a stop",
        subcommands={
            "run": Command(
                "predict every video that is not done yet",
                "msqnet.cli.batch:run",
                example="msqnet batch run --inputs videos/ --out results/ --processes 4",
            ),
            "status": Command(
                "show how far a run is",
                "msqnet.cli.batch:status",
                example="msqnet batch status --out results/",
            ),
        },
    ),
    "train": Command(
        "train a model on a table of labelled clips",
        "msqnet.cli.train:train_command",
        defaults="msqnet.cli.train:defaults",
    ),
    "teach": Command(
        "teach a finished model one more label from a few examples",
        "msqnet.cli.teach:teach",
        example="msqnet teach --label digging --positive a.mp4@3-5 b.mp4 --negative c.mp4 --out M2",
    ),
    "evaluate": Command(
        "score a model against a table of labelled clips",
        "msqnet.cli.evaluate:evaluate",
        renamed={"timeline": "protocol=timeline"},
    ),
    "calibrate": Command(
        "fit a model's scores and thresholds to your own labelled clips",
        "msqnet.cli.calibrate:calibrate",
        example="msqnet calibrate --model runs/mine --data val.csv --out models/mine",
    ),
    "report": Command(
        "make one HTML file of a folder of results",
        "msqnet.cli.report:report",
        positional="results",
        example="msqnet report results/",
    ),
    "explain": Command(
        "show where a model looked for its labels",
        "msqnet.cli.explain:explain",
        positional="video",
        example='msqnet explain clip.mp4 --labels "walking|eating" --out heat/',
        renamed={"models": "model"},
    ),
    "check": Command(
        "list every missing, unreadable, empty, duplicate or mislabelled row of a table",
        "msqnet.cli.check:check",
        positional="table",
    ),
    "convert": Command(
        "turn annotations of data sets and annotation tools into a table of clips, and back",
        "msqnet.cli.convert:convert",
        example="msqnet convert --from charades --root Charades --out charades.csv",
        renamed={"source_format": "from", "target_format": "to", "options": "option"},
    ),
    "review": Command(
        "correct predictions and annotate videos in a page on this machine",
        "msqnet.cli.review:review",
        positional="source",
        example="msqnet review results/ --out labels.csv",
    ),
    "agree": Command(
        "say how well two annotations of the same videos agree, of people or of a model",
        "msqnet.cli.agree:agree",
        positional="annotations",
        example="msqnet agree first.csv second.csv --out agreement/",
    ),
    "zero-shot": Command(
        "train on some labels of a data set, ask for the others",
        "msqnet.cli.zero_shot:zero_shot",
        example="msqnet zero-shot --data clips.csv --settings train.yaml --out runs/zero",
    ),
    "serve": Command("offer a model as a web page and as an API", "msqnet.cli.serve:serve"),
    "embed": Command(
        "map embeddings of labelled clips before and after the decoder", "msqnet.cli.embed:embed"
    ),
    "export": Command(
        "write a model for ONNX Runtime or OpenVINO, checked against PyTorch",
        "msqnet.cli.export:export",
        example="msqnet export --format onnx --out exported/",
    ),
    "models": Command(
        "list the models that come with msqnet, and fetch one that scores any words",
        "msqnet.cli.models:models",
        example="msqnet models --fetch siglip2-base",
    ),
    "doctor": Command(
        "check this installation and suggest fixes",
        "msqnet.cli.doctor:doctor",
        example="msqnet doctor",
    ),
}

RUNNABLE_COMMANDS: Mapping[str, Command] = {
    f"{name} {word}".strip(): item
    for name, command in COMMANDS.items()
    for word, item in (command.subcommands or {"": command}).items()
}
"""Every command that can be run; sub-commands under their full names, as ``batch run``."""

_REMOVED: Mapping[str, str] = {
    "experiment": "the paper's tables are run by 'python paper/run.py' in msqnet's repository",
    "synthesize": "the benchmark is drawn by 'python paper/synthesize.py' in msqnet's repository",
    "suggest": "it chose no better than chance; correct predictions instead: 'msqnet review'",
}
"""Commands of earlier versions, with the way that replaces them."""

_OF_TRAINING = ("torch", "transformers", "accelerate", "kornia", "scipy", "pandas", "pyarrow")
"""Packages of the extra that models in PyTorch need; whatever imports them needs it too."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: Arguments after the program's name; by default those of the process.

    Returns:
        The exit code.

    Raises:
        SystemExit: help or a version was asked for, or the command's name is wrong.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    return exit_code_of(lambda: _run(arguments))


def exit_code_of(action: Callable[[], int | None]) -> int:
    """Do what a program does, and say what goes wrong in one line; no result stands for 0.

    Raises:
        SystemExit: as the action raises it.
    """
    try:
        exit_code = action() or 0
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader is gone; the interpreter's own flush at exit must not fail on it again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_BROKEN_PIPE
    except KeyboardInterrupt:
        print("msqnet: interrupted; what was finished is kept", file=sys.stderr)
        return EXIT_INTERRUPTED
    except (ConfigError, VocabularyError) as error:
        return _fail(error, EXIT_USAGE)
    except (MsqnetError, OSError) as error:
        return _fail(error, EXIT_FAILED)
    except ModuleNotFoundError as error:
        # All other optional packages are asked for by their extras (`MissingExtra`).
        if not error.name or "." in error.name or error.name == "msqnet":
            raise
        lacking = MsqnetError(
            f"the package {error.name} is not installed, and this command needs it: pip install "
            + ("'msqnet[train]'" if error.name in _OF_TRAINING else "--force-reinstall msqnet")
        )
        lacking.__cause__ = error
        return _fail(lacking, EXIT_FAILED)
    except Exception as error:
        failure = MsqnetError(unexpected(error, "msqnet"))
        failure.__cause__ = error
        return _fail(failure, EXIT_FAILED)
    return exit_code


def _run(argv: list[str]) -> int:
    stop_spinning_soon()
    first = next((arg for arg in argv if not arg.startswith("-")), "")
    if first in _REMOVED:
        raise ConfigError(f"the command {first} is gone: {_REMOVED[first]}")
    name, commands = "", COMMANDS
    while commands:
        num_leading = next((i for i, arg in enumerate(argv) if not arg.startswith("-")), len(argv))
        parser = _listing(name, commands)
        word = parser.parse_args(argv[: num_leading + 1]).command
        argv = argv[num_leading + 1 :]
        name, commands = f"{name} {word}".strip(), commands[word].subcommands
    function, settings = parse_settings(name, argv)
    _configure_logging(is_verbose=settings.pop("verbose"))
    keep_freed_memory()
    return function(**settings)


def _listing(name: str, commands: Mapping[str, Command]) -> argparse.ArgumentParser:
    """The parser of a command's name: of the program's commands or of one command's own."""
    width = max(map(len, commands))
    lines = "\n".join(f"  {word:<{width}}  {item.summary}" for word, item in commands.items())
    prog = f"msqnet {name}".strip()
    summary = COMMANDS[name].summary if name else "which actions happen when in a video, of people"
    about = f"{summary[0].upper()}{summary[1:]}{'' if name else ' and of animals'}."
    parser = argparse.ArgumentParser(
        prog=prog,
        usage=f"{prog} COMMAND [options]",
        description=about,
        epilog=f"commands:\n{lines}\n\n'{prog} COMMAND --help' lists the options of a command.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"msqnet {__version__}")
    parser.add_argument("command", choices=tuple(commands), metavar="COMMAND", help="see below")
    return parser


def command_parser(name: str) -> ArgumentParser:
    """The parser of a key of `RUNNABLE_COMMANDS`: its positional, options, and a config file."""
    from docstring_parser import DocstringStyle, parse
    from jsonargparse import ArgumentParser, set_parsing_settings

    from msqnet.cli.typed_values import ValueAsTyped

    class Parser(ArgumentParser):
        """Shows options as ``--kebab-case``; reads config files with renamed keys."""

        def format_help(self, *arguments: Any) -> str:
            return in_kebab_case(super().format_help(*arguments))

        def format_usage(self) -> str:
            return in_kebab_case(super().format_usage())

        def parse_string(self, content: str, *arguments: Any, **others: Any) -> Any:
            old = "|".join(command.renamed) or "(?!)"
            key = re.compile(rf"^(?:{old})(?=\s*:)", re.MULTILINE)
            content = key.sub(lambda found: command.new_name(found[0]), content)
            return super().parse_string(content, *arguments, **others)

    set_parsing_settings(docstring_parse_style=DocstringStyle.GOOGLE)  # or every style is tried
    command = RUNNABLE_COMMANDS[name]
    function = command.load()
    parser = Parser(
        prog=f"msqnet {name}",
        description=(function.__doc__ or "").strip().partition("\n")[0],
        epilog=f"example: {command.example}" if command.example else None,
        exit_on_error=False,
        allow_abbrev=False,
    )
    hints = get_type_hints(function)
    documented = parse(function.__doc__ or "", DocstringStyle.GOOGLE).params
    texts = {item.arg_name: item.description for item in documented}
    skip: set[str | int] = set()
    for parameter in inspect.signature(function).parameters.values():
        key, hint = parameter.name.rstrip("_"), hints[parameter.name]
        is_list = list[str] in (hint, *get_args(hint))
        shape: dict[str, Any] = {"type": str, "nargs": "+"} if is_list else {"type": hint}
        if parameter.name in FLAT_PARAMETERS:
            parser.add_class_arguments(hint, as_group=False, instantiate=False)
        elif parameter.name == command.positional:
            parser.add_argument(key, help=texts[key], **shape)
        elif is_list or key != parameter.name:
            is_required = parameter.default is parameter.empty
            shape |= {"required": True} if is_required else {"default": parameter.default}
            parser.add_argument(f"--{key}", help=texts[parameter.name], **shape)
        else:
            continue
        skip.add(parameter.name)
    parser.add_function_arguments(function, as_group=False, skip=skip)
    parser.add_argument("--config", action="config", help="A YAML file with these settings.")
    parser.add_argument("--verbose", action="store_true", help="Say what is being done.")
    for action in parser._actions:
        if hasattr(action, "_typehint"):
            action.__class__ = ValueAsTyped
    return parser


def parse_settings(name: str, argv: Sequence[str]) -> tuple[Callable[..., int], dict[str, Any]]:
    """The function of a command, and its arguments with ``verbose``.

    ``name`` is a key of `RUNNABLE_COMMANDS`, ``argv`` what stands after it.

    Raises:
        ConfigError: the command does not take these arguments; says where its options are listed.
        SystemExit: the arguments ask for help or for the settings to be printed.
    """
    from jsonargparse import ArgumentError

    from msqnet.cli.typed_values import check_texts

    command = RUNNABLE_COMMANDS[name]
    function, parser = command.load(), command_parser(name)
    hints = {f"--{item.dest}": getattr(item, "_typehint", item.type) for item in parser._actions}
    lists = [item for item in parser._actions if item.nargs == "+"]
    argv = _joined(_as_declared(argv, hints, command), {f"--{item.dest}" for item in lists})
    try:
        if command.defaults is not None:
            parser.set_defaults(pkgutil.resolve_name(command.defaults)(argv))
        found = parser.parse_args(argv)
        for item in lists:
            if isinstance(found.get(item.dest), str):
                found[item.dest] = [found[item.dest]]
        check_texts(parser, found)
        settings: dict[str, Any] = dict(vars(parser.instantiate(found)))
        settings.pop("config", None)
        for flat in FLAT_PARAMETERS:
            hint = get_type_hints(function).get(flat)
            if hint is not None:
                values = {item.name: settings.pop(item.name) for item in fields(hint)}
                settings[flat] = hint(**values)
    except (ArgumentError, ValueError) as error:
        message = " ".join(str(error).split())
        if (listed := _REQUIRED.search(message)) is not None:
            keys = listed[0].split(", ")
            keys = [key if key == command.positional else f"--{key}" for key in keys]
            message = message.replace(listed[0], ", ".join(keys))
        raise ConfigError(f"{message} (see: msqnet {name} --help)") from error
    names = {
        parameter.rstrip("_"): parameter for parameter in inspect.signature(function).parameters
    }
    return function, {names.get(key, key): item for key, item in settings.items()}


def in_kebab_case(text: str) -> str:
    """The text with its options as ``--kebab-case``."""
    return _OPTION.sub(lambda found: found[0].replace("_", "-"), text)


def _as_declared(argv: Sequence[str], hints: Mapping[str, Any], command: Command) -> list[str]:
    """Options with underscores, and ``--flag`` as ``--flag=true``, as the settings parser reads.

    A value that is blank is a `ConfigError`.
    """
    from msqnet.cli.typed_values import check_not_blank

    declared = []
    for argument, following in zip(argv, [*argv[1:], None], strict=False):
        if argument.startswith("--"):
            option, equals, value = argument.partition("=")
            name = option[2:].replace("-", "_")
            name = command.new_name(name) if name in command.renamed else name
            new, is_switch, _ = name.partition("=")
            if is_switch:  # that became a value of another option
                others = {item.partition("=")[0] for item in argv}
                is_alone = not equals and (following or "").lower() not in _BOOLEANS
                check(is_alone and f"--{new}" not in others, f"{option} is now --{name} alone")
            argument = f"--{name}{equals}{value}"
            check_not_blank(f"--{name}", value if equals else following, hints)
        is_bool = hints.get(argument) in (bool, bool | None)
        is_bare = is_bool and (following or "").lower() not in _BOOLEANS
        declared.append(f"{argument}=true" if is_bare else argument)
    return declared


def _joined(argv: Sequence[str], lists: Collection[str]) -> list[str]:
    """The arguments with all values of an option in one place, for options that take several."""
    parts: list[list[str]] = [[]]
    values_of: dict[str, list[str]] = {}
    taking: list[str] | None = None
    for argument in argv:
        option, equals, value = argument.partition("=")
        if option in lists:
            if option not in values_of:
                values_of[option] = [option]
                parts += [values_of[option], []]
            values_of[option] += [value] if equals else []
            taking = None if equals else values_of[option]
        elif taking is not None and not argument.startswith("-"):
            taking.append(argument)
        else:
            taking = None
            parts[-1].append(argument)
    return [argument for part in parts for argument in part]


def _configure_logging(*, is_verbose: bool) -> None:
    level = os.environ.get("MSQNET_LOG", "INFO" if is_verbose else "WARNING").upper()
    if level not in logging.getLevelNamesMapping():
        raise ConfigError(f"MSQNET_LOG is {level!r}; expected DEBUG, INFO, WARNING or ERROR")
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("msqnet: %(levelname)s: %(message)s"))
    handler.setLevel(level)
    _logger.handlers = [handler]
    _logger.setLevel(level)
    if not is_verbose:
        # Read by transformers when it is imported, which the command does later.
        os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
        if not sys.stderr.isatty():  # else a download shows how far it is
            os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")


def _fail(error: Exception, exit_code: int) -> int:
    _logger.info("where it happened:", exc_info=error)
    print(f"msqnet: error: {in_kebab_case(' '.join(str(error).split()))}", file=sys.stderr)
    for note in getattr(error, "__notes__", ()):
        print(f"msqnet: {' '.join(note.split())}", file=sys.stderr)
    return exit_code
