#!/usr/bin/env bash
# Package: pyannote-core 6.1.0.
# Behaviour: `Annotation.discretize` marks, for an event, the frame whose centre is nearest to its start,
# the one whose centre is nearest to its end, and all between. That is one frame more, on average, than
# its length; the documentation of `discretize` does not say so.
# Seen: with frames of 1 s, bouts of 2, 3 and 2 s that follow each other have 3 frames each, and 2 of the
# 7 frames have two labels. 300 bouts at random times have 1.0 frames too many on average.
# Hurts: time budgets and scores of frames: short bouts grow most, and labels that exclude each other
# overlap.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check pyannote-core==6.1.0 numpy==2.4.6
venv/bin/python - <<'PYTHON'
import sys

import numpy as np
from pyannote.core import Annotation, Segment


def frames_of(bouts, length):
    """(F, K) zeros and ones, with frames of 1 s."""
    annotation = Annotation()
    for number, (label, start, end) in enumerate(bouts):
        annotation[Segment(start, end), number] = label
    return annotation.discretize(Segment(0, length), resolution=1.0).data


day = frames_of([("groom", 0, 2), ("rest", 2, 5), ("walk", 5, 7)], 10)
counts, doubles = day.sum(0).tolist(), int((day.sum(1) > 1).sum())
print(f"frames of bouts of 2, 3 and 2 s: {counts}; frames with two labels: {doubles}")

random, surplus = np.random.default_rng(0), []
for _ in range(300):
    start = random.uniform(1, 50)
    end = start + random.uniform(1, 9)
    surplus.append(int(frames_of([("walk", start, end)], 100).sum()) - (end - start))
print(f"frames too many: {np.mean(surplus):.1f}")
sys.exit(counts != [3, 3, 3] or doubles != 2 or round(float(np.mean(surplus)), 1) != 1)
PYTHON
