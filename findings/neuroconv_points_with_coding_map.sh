#!/usr/bin/env bash
# Package: neuroconv 0.10.2 with its part boris.
# Behaviour: a behaviour of BORIS is a "Point event", a "State event", or one of these "with coding map".
# neuroconv takes all but "Point event" for states, and so every two points with a coding map for the
# start and the end of a bout.
# Seen: pecks at 1, 5, 6 and 9 s are two bouts, of 4 s from 1 s on and of 3 s from 6 s on; jumps, points
# without a coding map, stay points.
# Hurts: in the NWB file are half as many events, and they last.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check "neuroconv[boris]==0.10.2"
venv/bin/python - <<'PYTHON'
import datetime
import json
import sys

from neuroconv.datainterfaces import BORISInterface
from pynwb import NWBFile


def behaviour(code, kind, coding_map=""):
    return {
        "type": kind, "key": code[0], "code": code, "description": "", "color": "", "category": "",
        "modifiers": {}, "excluded": "", "coding map": coding_map,
    }  # fmt: skip


events = [[float(time), "Ada", "peck", "", ""] for time in (1, 5, 6, 9)]
events += [[float(time), "Ada", "jump", "", ""] for time in (2, 3)]
project = {
    "project_format_version": "7.0",
    "subjects_conf": {"0": {"key": "1", "name": "Ada", "description": ""}},
    "behaviors_conf": {
        "0": behaviour("peck", "Point event with coding map", "cage"),
        "1": behaviour("jump", "Point event"),
    },
    "observations": {
        "monday": {
            "type": "MEDIA",
            "date": "2026-01-05T10:00:00",
            "file": {"1": ["clip.mp4"]},
            "time offset": 0.0,
            "media_info": {"length": {"clip.mp4": 10.0}, "fps": {"clip.mp4": 25.0}},
            "events": sorted(events),
        }
    },
}
with open("project.boris", "w") as file:
    json.dump(project, file)
session = NWBFile("cage", "1", datetime.datetime(2026, 1, 5, tzinfo=datetime.timezone.utc))
interface = BORISInterface(file_path="project.boris", observation_name="monday")
interface.add_to_nwbfile(session)
(table,) = session.events.values()
rows = table.to_dataframe()
found = {}
for label in ("peck", "jump"):
    of_label = rows[rows["event_type"].astype(str) == label]
    found[label] = list(zip(of_label["timestamp"].tolist(), of_label["duration"].fillna(0).tolist()))
    print(label, ", ".join(f"at {time:g} s for {length:g} s" for time, length in found[label]))
sys.exit(found != {"peck": [(1, 4), (6, 3)], "jump": [(2, 0), (3, 0)]})
PYTHON
