#!/usr/bin/env bash
# Package: tgt 1.5 (TextGridTools) and praat-textgrids 1.4.0; textgrid 1.6.1 for comparison.
# Behaviour: in a TextGrid in Praat's long form, as Praat saves it, a label ends at an equals sign with
# spaces around it. tgt takes a letter more off, and so leaves nothing of "d = 1".
# Seen: "distance = 1" and "distance = 2" are "distanc" twice for tgt, "distance" twice for
# praat-textgrids, and themselves for textgrid. From the short form, tgt reads all of them.
# Hurts: labels with a value (modifiers, scores) become one label, and times are added up.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check tgt==1.5 numpy==2.4.6 \
    praat-textgrids==1.4.0 textgrid==1.6.1
venv/bin/python - <<'PYTHON'
import sys

import textgrid
import textgrids
import tgt

HEAD = 'File type = "ooTextFile"\nObject class = "TextGrid"\n\n'
LABELS = ("distance = 1", "distance = 2")
long = (
    f"{HEAD}xmin = 0 \nxmax = 4 \ntiers? <exists> \nsize = 1 \nitem []: \n    item [1]:\n"
    '        class = "IntervalTier" \n        name = "Ada" \n        xmin = 0 \n        xmax = 4 \n'
    "        intervals: size = 2 \n"
)
short = f'{HEAD}0\n4\n<exists>\n1\n"IntervalTier"\n"Ada"\n0\n4\n2\n'
for number, label in enumerate(LABELS):
    start, end = 2 * number, 2 * number + 2
    long += (
        f"        intervals [{number + 1}]:\n            xmin = {start} \n            xmax = {end} \n"
        f'            text = "{label}" \n'
    )
    short += f'{start}\n{end}\n"{label}"\n'
for name, content in (("long", long), ("short", short)):
    with open(f"{name}.TextGrid", "w") as file:
        file.write(content)
found = {
    f"tgt, {name}": tuple(
        item.text for item in tgt.io.read_textgrid(f"{name}.TextGrid").get_tier_by_name("Ada")
    )
    for name in ("long", "short")
}
found["praat-textgrids"] = tuple(item.text for item in textgrids.TextGrid("long.TextGrid")["Ada"])
found["textgrid"] = tuple(item.mark for item in textgrid.TextGrid.fromFile("long.TextGrid")[0])
for name, labels in found.items():
    print(name, labels)
expected = {
    "tgt, long": ("distanc",) * 2,
    "tgt, short": LABELS,
    "praat-textgrids": ("distance",) * 2,
    "textgrid": LABELS,
}
sys.exit(found != expected)
PYTHON
