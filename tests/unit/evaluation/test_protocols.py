from __future__ import annotations

from typing import get_args

import pytest

from msqnet.config import ViewChoice, ViewConfig
from msqnet.errors import ConfigError
from msqnet.evaluation.protocol_figures import PROTOCOL_FIGURES
from msqnet.evaluation.protocols import PROTOCOLS, ProtocolName, mean_of_splits
from msqnet.evaluation.result import DEFINITIONS


def test_every_name_is_a_protocol_that_says_what_it_is():
    assert set(PROTOCOLS) == set(get_args(ProtocolName))
    for name, protocol in PROTOCOLS.items():
        assert protocol.name == name
        assert protocol.what.endswith(".")


def test_headlines_and_figures_beside_them_are_defined():
    defined = {*DEFINITIONS, *PROTOCOL_FIGURES}
    for protocol in PROTOCOLS.values():
        if protocol.unit != "timeline":
            assert {protocol.headline, *protocol.beside} <= defined


def test_released_codes_protocols_say_so_in_plain_words():
    reference = {name for name, protocol in PROTOCOLS.items() if protocol.is_reference}
    assert reference == {"reference_micro_ap", "reference_charades_oracle"}
    for name in reference:
        about = PROTOCOLS[name].describe(None)
        assert "the paper's released code's protocol, not comparable with" in about["definition"]
        assert about["is_reference"] is True
    assert "ORACLE" in PROTOCOLS["reference_charades_oracle"].definition


def test_views_asked_for_stand_above_the_protocols_one_by_one():
    charades = PROTOCOLS["charades_video"]
    assert charades.views_with(None) == ViewConfig(10, 1, "max")
    assert charades.views_with(ViewChoice(merge="mean")) == ViewConfig(10, 1, "mean")
    assert charades.views_with(ViewChoice(crops=3)) == ViewConfig(10, 3, "max")
    assert charades.describe(ViewConfig(10, 1, "max"))["views_changed"] is False
    about = charades.describe(ViewConfig(3, 1, "max"))
    assert about["views"] == {"num_clips": 3, "crops": 1, "merge": "max"}
    assert about["views_changed"] is True


@pytest.mark.parametrize(
    ("name", "choice"),
    [
        ("charades_localisation", ViewChoice(merge="max")),
        ("reference_charades_oracle", ViewChoice(num_clips=3)),
        ("thumos14_untrimmed", ViewChoice(crops=3)),
        ("timeline", ViewChoice(num_clips=2)),
    ],
)
def test_views_without_a_meaning_are_refused(name: ProtocolName, choice: ViewChoice) -> None:
    with pytest.raises(ConfigError, match=f"protocol {name}"):
        PROTOCOLS[name].views_with(choice)


def test_windows_may_be_merged_otherwise():
    untrimmed = PROTOCOLS["thumos14_untrimmed"]
    assert untrimmed.views_with(ViewChoice(merge="max")) == ViewConfig(merge="max")


def split_of(top_1: float, macro: float | None = 0.5, **settings):
    return {
        "protocol": PROTOCOLS["hmdb51"].describe(ViewConfig()),
        "labels_digest": "x",
        "top_1_accuracy": top_1,
        "macro_map": macro,
        "num_windows": 1530,
        "definitions": {"top_1_accuracy": "", "macro_map": "", "intervals": ""},
        "intervals": {},
        **settings,
    }


def test_mean_and_deviation_over_three_splits():
    result = mean_of_splits([split_of(0.60), split_of(0.66), split_of(0.63)])
    assert result["mean"]["top_1_accuracy"] == pytest.approx(0.63)
    assert result["sd"]["top_1_accuracy"] == pytest.approx(0.03)
    assert result["values"]["top_1_accuracy"] == [0.60, 0.66, 0.63]
    assert result["sd"]["macro_map"] == 0
    assert set(result["mean"]) == {"top_1_accuracy", "macro_map"}
    assert (result["num_splits"], result["protocol"]["name"]) == (3, "hmdb51")


def test_figure_that_one_split_lacks_has_no_mean():
    result = mean_of_splits([split_of(0.6), split_of(0.7, macro=None)])
    assert set(result["mean"]) == {"top_1_accuracy"}


@pytest.mark.parametrize(
    ("second", "message"),
    [
        (split_of(0.5, labels_digest="y"), "different label sets"),
        (split_of(0.5, protocol=PROTOCOLS["standard"].describe(None)), "different protocols"),
        ({**split_of(0.5), "top_1_accuracy": None}, "headline of hmdb51"),
    ],
)
def test_evaluations_that_do_not_belong_together_are_refused(second, message):
    with pytest.raises(ConfigError, match=message):
        mean_of_splits([split_of(0.6), second])


def test_one_split_has_no_mean():
    with pytest.raises(ConfigError, match="found 1 evaluations"):
        mean_of_splits([split_of(0.6)])


def test_evaluations_without_a_protocol_are_refused():
    old = {key: value for key, value in split_of(0.6).items() if key != "protocol"}
    with pytest.raises(ConfigError, match="evaluate them again"):
        mean_of_splits([old, old])
