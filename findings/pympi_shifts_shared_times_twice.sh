#!/usr/bin/env bash
# Package: pympi-ling 1.71.
# Behaviour: in ELAN, the parts of an annotation share time slots with it and with each other. pympi's
# `shift_annotations` moves the slots of each annotation, and so a shared slot once for each.
# Seen: shifted by 500 ms, play at 1000 to 3000 ms, with the parts chase and bite, is at 2000 to 4000,
# and its parts have moved by 1000 ms too. Rest, which has no parts, has moved from 5000 to 5500.
# Hurts: whoever corrects an offset between cameras moves some behaviours too far, and others not.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check pympi-ling==1.71
venv/bin/python - <<'PYTHON'
import sys
import warnings

import pympi

warnings.simplefilter("ignore")
SCHEMA = 'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:noNamespaceSchemaLocation="x"'
SLOTS = {"ts1": 1000, "ts2": 2000, "ts3": 3000, "ts4": 5000, "ts5": 6000}


def annotation(name, start, end, value):
    return (
        f'<ANNOTATION><ALIGNABLE_ANNOTATION ANNOTATION_ID="{name}" TIME_SLOT_REF1="{start}" '
        f'TIME_SLOT_REF2="{end}"><ANNOTATION_VALUE>{value}</ANNOTATION_VALUE>'
        "</ALIGNABLE_ANNOTATION></ANNOTATION>"
    )


with open("play.eaf", "w") as file:
    file.write(
        f'<ANNOTATION_DOCUMENT AUTHOR="" DATE="" FORMAT="3.0" VERSION="3.0" {SCHEMA}>'
        '<HEADER MEDIA_FILE="" TIME_UNITS="milliseconds"/><TIME_ORDER>'
        + "".join(f'<TIME_SLOT TIME_SLOT_ID="{k}" TIME_VALUE="{v}"/>' for k, v in SLOTS.items())
        + '</TIME_ORDER><TIER LINGUISTIC_TYPE_REF="whole" TIER_ID="bout">'
        + annotation("a1", "ts1", "ts3", "play")
        + annotation("a2", "ts4", "ts5", "rest")
        + '</TIER><TIER LINGUISTIC_TYPE_REF="part" PARENT_REF="bout" TIER_ID="acts">'
        + annotation("a3", "ts1", "ts2", "chase")
        + annotation("a4", "ts2", "ts3", "bite")
        + '</TIER><LINGUISTIC_TYPE LINGUISTIC_TYPE_ID="whole" TIME_ALIGNABLE="true"/>'
        '<LINGUISTIC_TYPE CONSTRAINTS="Time_Subdivision" LINGUISTIC_TYPE_ID="part" '
        'TIME_ALIGNABLE="true"/></ANNOTATION_DOCUMENT>'
    )
read = pympi.Elan.Eaf("play.eaf")
squashed, removed = read.shift_annotations(500)
found = {tier: list(read.get_annotation_data_for_tier(tier)) for tier in ("bout", "acts")}
print(f"{found}\nsquashed: {squashed}; removed: {removed}")
expected = {
    "bout": [(2000, 4000, "play"), (5500, 6500, "rest")],
    "acts": [(2000, 3000, "chase"), (3000, 4000, "bite")],
}
sys.exit(found != expected)
PYTHON
