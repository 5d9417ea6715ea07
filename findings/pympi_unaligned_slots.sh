#!/usr/bin/env bash
# Package: pympi-ling 1.71.
# Behaviour: annotations that subdivide another one share time slots without a time, which ELAN places
# evenly between their neighbours. pympi gives None for these times, and `to_textgrid` leaves such
# annotations out without a word.
# Seen: [(1000, None, 'chase'), (None, 3000, 'bite')]; TextGrid: []
# Hurts: a tier with two coded behaviours becomes an empty one.
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
        '<TIME_SLOT TIME_SLOT_ID="ts1" TIME_VALUE="1000"/><TIME_SLOT TIME_SLOT_ID="ts2"/>'
        '<TIME_SLOT TIME_SLOT_ID="ts3" TIME_VALUE="3000"/></TIME_ORDER>'
        '<TIER LINGUISTIC_TYPE_REF="whole" TIER_ID="bout">'
        + annotation("a1", "ts1", "ts3", "play")
        + '</TIER><TIER LINGUISTIC_TYPE_REF="part" PARENT_REF="bout" TIER_ID="acts">'
        + annotation("a2", "ts1", "ts2", "chase")
        + annotation("a3", "ts2", "ts3", "bite")
        + '</TIER><LINGUISTIC_TYPE LINGUISTIC_TYPE_ID="whole" TIME_ALIGNABLE="true"/>'
        '<LINGUISTIC_TYPE CONSTRAINTS="Time_Subdivision" LINGUISTIC_TYPE_ID="part" '
        'TIME_ALIGNABLE="true"/></ANNOTATION_DOCUMENT>'
    )
read = pympi.Elan.Eaf("play.eaf")
listed = list(read.get_annotation_data_for_tier("acts"))
kept = [item[2] for item in read.to_textgrid().get_tier("acts").get_all_intervals() if item[2]]
print(f"{listed}; TextGrid: {kept}")
sys.exit(listed != [(1000, None, "chase"), (None, 3000, "bite")] or kept != [])
PYTHON
