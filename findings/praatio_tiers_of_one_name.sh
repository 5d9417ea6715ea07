#!/usr/bin/env bash
# Package: praatio 6.2.2.
# Behaviour: Praat allows tiers of the same name, and BORIS writes a subject's states and points as two
# tiers with its name. praatio refuses such a TextGrid; `duplicateNamesMode="rename"` reads it and
# names the second tier otherwise.
# Seen: DuplicateTierName; with rename: Ada, Ada_2
# Hurts: with names as subjects there is an animal more than there was.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check praatio==6.2.2
venv/bin/python - <<'PYTHON'
import sys

from praatio import textgrid
from praatio.utilities.errors import DuplicateTierName

HEAD = 'File type = "ooTextFile"\nObject class = "TextGrid"\n\n0\n4\n<exists>\n2\n'
STATES = '"IntervalTier"\n"Ada"\n0\n4\n2\n0\n1\n""\n1\n4\n"rest"\n'
POINTS = '"TextTier"\n"Ada"\n0\n4\n1\n2\n"yawn"\n'
with open("monday.TextGrid", "w") as file:
    file.write(HEAD + STATES + POINTS)
try:
    textgrid.openTextgrid("monday.TextGrid", includeEmptyIntervals=True)
    sys.exit(1)
except DuplicateTierName:
    found = textgrid.openTextgrid("monday.TextGrid", True, duplicateNamesMode="rename")
print(f"DuplicateTierName; with rename: {', '.join(found.tierNames)}")
sys.exit(found.tierNames != ("Ada", "Ada_2"))
PYTHON
