"""Settings of the process itself."""

import os

import pytest

from msqnet.process import stop_spinning_soon


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, "20000"),
        ({"GOMP_SPINCOUNT": "7"}, "7"),
        ({"OMP_WAIT_POLICY": "active"}, None),
    ],
)
def test_waiting_threads_sleep_soon_unless_the_user_says_otherwise(
    monkeypatch: pytest.MonkeyPatch, given: dict[str, str], expected: str | None
) -> None:
    for name in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY"):
        monkeypatch.setenv(name, "")  # so that it is restored
        del os.environ[name]
    os.environ.update(given)
    stop_spinning_soon()
    assert os.environ.get("GOMP_SPINCOUNT") == expected
