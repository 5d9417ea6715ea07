"""A test whose browser had to be killed runs once more; every other failure counts at once."""

from __future__ import annotations

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(__file__.rpartition("/")[0]):
            item.add_marker(
                pytest.mark.flaky(reruns=1, only_rerun=["TargetClosedError", "Connection closed"])
            )
