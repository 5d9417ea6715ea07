"""Checks a package against the table schemas of Camtrap DP, where frictionless is installed."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from msqnet.errors import DatasetError
from msqnet.formats.camtrap_schema import TABLES, VERSION, table_schema

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from pathlib import Path

_NUM_NAMED = 3
_WHAT = f"the table schemas of Camtrap DP {VERSION}"


def validate_package(
    descriptor: Mapping[str, Any], tables: Mapping[str, Path], given: Collection[str]
) -> tuple[str, ...]:
    """Check tables and the relations between them.

    Args:
        descriptor: of the package.
        tables: where each file lies, by its name in the package.
        given: names of tables that are as somebody gave them: what is wrong there is a note.

    Returns:
        Notes that it is valid, that this could not be checked, or what is wrong in given tables.

    Raises:
        DatasetError: something is not valid that is written here.
    """
    if find_spec("frictionless") is None:
        return (f"not checked against {_WHAT}: that needs pip install 'msqnet[formats]'",)
    problems = _problems(descriptor, tables)
    own = [text for name, text in problems if name not in given]
    if own:
        raise DatasetError(
            f"not valid by {_WHAT}: {_listed(own)}; nothing is written: correct the options or "
            "the annotations"
        )
    if problems:
        texts = [text for _, text in problems]
        return (f"the package's own tables are not valid by {_WHAT}: {_listed(texts)}",)
    return (f"valid by {_WHAT}, as frictionless checks it",)


def _listed(problems: Sequence[str]) -> str:
    more = f" and {len(problems) - _NUM_NAMED} more" if len(problems) > _NUM_NAMED else ""
    return "; ".join(problems[:_NUM_NAMED]) + more


def _problems(descriptor: Mapping[str, Any], tables: Mapping[str, Path]) -> list[tuple[str, str]]:
    """Names of tables and what is wrong in them."""
    from frictionless import FrictionlessException, Package, system

    resources = [
        resource
        if resource["name"] not in TABLES
        else resource
        | {
            "path": tables[f"{resource['name']}.csv"].name,
            "schema": table_schema(resource["name"]),
        }
        for resource in descriptor["resources"]
    ]
    folder = tables["media.csv"].parent
    try:
        # Names of unfinished files begin with a dot, which is refused in a package from elsewhere.
        with system.use_context(trusted=True):
            package = Package.from_descriptor({"resources": resources}, basepath=str(folder))
            report = package.validate()
    except FrictionlessException as error:
        texts = [reason.message for reason in error.reasons] or [str(error)]
        return [("", text) for text in texts]
    found = [("", error.message) for error in report.errors]
    return found + [
        (str(task.name), f"{task.name}: {error.message}")
        for task in report.tasks
        for error in task.errors
    ]
