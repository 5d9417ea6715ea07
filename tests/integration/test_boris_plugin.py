"""The plug-in for BORIS in examples/ compares what was coded with a model's segments."""

from __future__ import annotations

import importlib.util
import inspect
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest

if TYPE_CHECKING:
    from types import ModuleType

PLUGIN = Path(__file__).parents[2] / "examples" / "boris_compare_with_msqnet.py"


@pytest.fixture(scope="module")
def plugin() -> ModuleType:
    """Loaded as BORIS loads it."""
    spec = importlib.util.spec_from_file_location("boris_compare_with_msqnet", PLUGIN)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def events(*rows: tuple[str, str, float, float]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["Observation id", "Behavior", "Start (s)", "Stop (s)"])


def project(**observations: Any) -> dict[str, Any]:
    return {"observations": observations}


def test_boris_finds_what_it_looks_for(plugin: ModuleType) -> None:
    annotations = inspect.getfullargspec(plugin.run).annotations
    assert (annotations["df"], annotations["project"]) == (pd.DataFrame, dict)
    assert '__plugin_name__ = "Compare with msqnet"' in PLUGIN.read_text().splitlines()
    assert all((plugin.__version__, plugin.__version_date__, plugin.__author__))


def test_seconds_are_compared(plugin: ModuleType, predicted: Path) -> None:
    """In `event.mov`, `bright` holds from 2 to 4 s, and `dark` is none of the segments there."""
    segments = pd.read_csv(predicted / "event.mov.csv")
    [bright] = segments[segments["label"] == "bright"].itertuples()
    first, last = bright.start_seconds, bright.end_seconds
    df = events(
        ("one", "bright", first + 100.0, first + 100.5),
        ("one", "bright", first + 100.25, first + 101.0),
        ("one", "bright", last + 100.0, last + 101.0),
        ("one", "jump", 103.0, 103.0),
        ("two", "bright", 0.0, 1.0),
    )
    observations = project(
        one={"file": {"1": ["C:\\videos\\event.mov"]}, "time offset": 100},
        two={"file": {"1": ["event.mov", "long.mov"]}},
        live={"file": []},
    )

    table = plugin.compare(df, observations, predicted)

    assert list(table.columns) == plugin.COLUMNS
    rows = {row[1]: row for row in table.itertuples(index=False)}
    assert list(rows["bright"])[:5] == ["one", "bright", 2.0, last - first, 1.0]
    assert list(rows["bright"])[5:] == [round(1 / (last - first), 3), 0.5]
    assert list(rows["jump"])[2:5] == [0.0, 0.0, 0.0]
    assert pd.isna(rows["jump"][5])
    assert set(table["Observation id"]) == {"one"}


def test_folder_without_results_is_said(plugin: ModuleType, tmp_path: Path) -> None:
    observations = project(one={"file": {"1": ["event.mov"]}})
    assert "No result in" in plugin.compare(events(), observations, tmp_path)
