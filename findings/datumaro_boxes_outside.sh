#!/usr/bin/env bash
# Package: datumaro 1.13.1.
# Behaviour: of a track in CVAT's XML for videos, the box with outside="1" says from which frame on the
# object is gone. Datumaro gives it as one more box with the label, and an attribute `outside`.
# Between the boxes that the file names, frames have no item.
# Seen: frame 2: fox walk; frame 10: fox rest; frame 15: fox rest (outside)
# Hurts: who counts frames with a label counts one in which nothing is there, and none of those
# between keyframes.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check datumaro==1.13.1
venv/bin/python - <<'PYTHON'
import sys
import warnings
from pathlib import Path

warnings.simplefilter("ignore")
import datumaro

BOX = (
    '<box frame="{}" keyframe="1" outside="{}" occluded="0" xtl="1" ytl="1" xbr="9" ybr="9" '
    'z_order="0"><attribute name="act">{}</attribute></box>'
)
boxes = [(2, 0, "walk"), (10, 0, "rest"), (15, 1, "rest")]
Path("task").mkdir()
Path("task/annotations.xml").write_text(
    "<annotations><version>1.1</version><meta><task><id>1</id><name>fox</name><size>20</size>"
    "<mode>interpolation</mode><start_frame>0</start_frame><stop_frame>19</stop_frame><labels>"
    "<label><name>fox</name><attributes><attribute><name>act</name><mutable>True</mutable>"
    "<input_type>select</input_type><default_value>walk</default_value>"
    "<values>walk\nrest</values></attribute></attributes></label></labels>"
    "<original_size><width>64</width><height>48</height></original_size><source>fox.mp4</source>"
    '</task></meta><track id="0" label="fox" source="manual">'
    + "".join(BOX.format(*box) for box in boxes)
    + "</track></annotations>"
)
found = [
    (item.attributes["frame"], int(note.attributes["outside"]), note.attributes["act"])
    for item in datumaro.Dataset.import_from("task", "cvat")
    for note in item.annotations
]
for frame, outside, act in sorted(found):
    print(f"frame {frame}: fox {act}{' (outside)' if outside else ''}")
sys.exit(sorted(found) != boxes)
PYTHON
