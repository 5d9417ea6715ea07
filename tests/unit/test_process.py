"""Settings of the process itself."""

import os

import pytest

from msqnet.process import stop_spinning_soon


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, ("20000", "1")),
        ({"GOMP_SPINCOUNT": "7"}, ("7", "1")),
        ({"OMP_WAIT_POLICY": "active", "OPENBLAS_NUM_THREADS": "2"}, (None, "2")),
    ],
)
def test_waiting_threads_sleep_soon_unless_the_user_says_otherwise(
    monkeypatch: pytest.MonkeyPatch, given: dict[str, str], expected: tuple[str | None, str]
) -> None:
    for name in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY", "OPENBLAS_NUM_THREADS"):
        monkeypatch.setenv(name, "")  # so that it is restored
        del os.environ[name]
    os.environ.update(given)
    stop_spinning_soon()
    found = os.environ.get("GOMP_SPINCOUNT"), os.environ["OPENBLAS_NUM_THREADS"]
    assert found == expected
