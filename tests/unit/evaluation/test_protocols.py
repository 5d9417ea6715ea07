from __future__ import annotations

from typing import get_args

import pytest

from msqnet.config import ViewChoice, ViewConfig
from msqnet.errors import ConfigError
from msqnet.evaluation.by_protocol import PROTOCOL_METRICS
from msqnet.evaluation.protocols import PROTOCOLS, ProtocolName
from msqnet.evaluation.row_metrics import DEFINITIONS


def test_every_name_is_a_protocol_that_says_what_it_is():
    assert set(PROTOCOLS) == set(get_args(ProtocolName))
    for name, protocol in PROTOCOLS.items():
        assert protocol.name == name
        assert protocol.what.endswith(".")


def test_headlines_and_figures_beside_them_are_defined():
    defined = {*DEFINITIONS, *PROTOCOL_METRICS}
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
