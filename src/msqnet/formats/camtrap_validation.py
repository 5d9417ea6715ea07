"""Checks a package against the table schemas of Camtrap DP, where frictionless is installed."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from msqnet.errors import DatasetError
from msqnet.formats.camtrap_schema import TABLES, VERSION, table_schema

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_NUM_NAMED = 3
_WHAT = f"the table schemas of Camtrap DP {VERSION}"


def validate_package(descriptor: Mapping[str, Any], tables: Mapping[str, Path]) -> str:
    """Check tables and the relations between them.

    Args:
        descriptor: of the package.
        tables: where each file lies, by its name in the package.

    Returns:
        A note that it is valid, or that this could not be checked.

    Raises:
        DatasetError: it is not valid.
    """
    if find_spec("frictionless") is None:
        return f"not checked against {_WHAT}: that needs pip install 'msqnet[formats]'"
    problems = _problems(descriptor, tables)
    if problems:
        more = f" and {len(problems) - _NUM_NAMED} more" if len(problems) > _NUM_NAMED else ""
        raise DatasetError(
            f"not valid by {_WHAT}: {'; '.join(problems[:_NUM_NAMED])}{more}; nothing is written: "
            "correct the options or the annotations"
        )
    return f"valid by {_WHAT}, as frictionless checks it"


def _problems(descriptor: Mapping[str, Any], tables: Mapping[str, Path]) -> list[str]:
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
        return [reason.message for reason in error.reasons] or [str(error)]
    found = [error.message for error in report.errors]
    return found + [
        f"{task.name}: {error.message}" for task in report.tasks for error in task.errors
    ]
