"""What differs between two runs is named, with both values."""

from __future__ import annotations

from msqnet.config.differences import differences


def test_every_setting_that_differs_is_named_with_both_values() -> None:
    there = {"fps": 25, "train": {"seed": 0, "epochs": 5}, "gone": True, "limits": [0.5, 0.1]}
    here = {"fps": 30, "train": {"seed": 1, "epochs": 5}, "limits": [0.5, 0.2]}
    assert differences(there, here) == (
        "fps: 25 there, 30 here; train.seed: 0 there, 1 here; limits: 1 of 2 values; "
        "gone: True there, nothing here"
    )


def test_what_is_the_same_or_ignored_is_not_named() -> None:
    assert differences({"a": {"b": [1]}}, {"a": {"b": [1]}}) == ""
    assert differences({"a": 1, "b": 2}, {"a": 2, "b": 2}, frozenset({"a"})) == ""


def test_long_lists_and_values_are_cut() -> None:
    found = differences({}, {f"name{n}": n for n in range(9)})
    assert found.endswith("; name5: nothing there, 5 here; and 3 more")
    assert differences({"a": "x" * 200}, {"a": ["y"] * 200}).count(" there, ") == 1
    assert len(differences({"a": "x" * 200}, {"a": ["y"] * 200})) < 150
