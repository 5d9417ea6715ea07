#!/usr/bin/env bash
# Package: pympi-ling 1.71.
# Behaviour: `get_annotation_data_between_times` gives the annotations between two times. For a dependent
# tier, whose annotations have the times of those that they belong to, it gives all of the tier.
# Seen: between 0 and 4 s: play of the tier itself; Bo, Cy and Di of the dependent tier, though only Bo
# belongs to it, and the same three between 100 and 200 s.
# Hurts: details (partners, modifiers) of other bouts are counted for every part of a video.
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
written = pympi.Elan.Eaf()
written.add_linguistic_type("detail", "Symbolic_Association", timealignable=False)
written.add_tier("bout")
written.add_tier("partner", "detail", parent="bout")
for start, label, partner in ((1000, "play", "Bo"), (5000, "rest", "Cy"), (8000, "groom", "Di")):
    written.add_annotation("bout", start, start + 1000, label)
    written.add_ref_annotation("partner", "bout", start + 500, partner)
written.to_file("play.eaf")

read = pympi.Elan.Eaf("play.eaf")
found = [
    [item[2] for item in read.get_annotation_data_between_times(tier, start, end)]
    for tier, start, end in (("bout", 0, 4000), ("partner", 0, 4000), ("partner", 100_000, 200_000))
]
print("0 to 4 s: bout {}, partner {}\n100 to 200 s: partner {}".format(*found))
sys.exit(found != [["play"], ["Bo", "Cy", "Di"], ["Bo", "Cy", "Di"]])
PYTHON
