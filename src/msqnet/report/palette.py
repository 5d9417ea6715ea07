"""Colours of labels: told apart with any colour vision, and on white paper.

Okabe and Ito's set (2008) without its yellow, which is too light for marks on white. Colour is
never the only cue: marks have shapes, bars have names.
"""

from __future__ import annotations

LABEL_COLOURS = (
    "#0072b2",
    "#d55e00",
    "#009e73",
    "#cc79a7",
    "#56b4e9",
    "#e69f00",
    "#000000",
)
"""Of labels in the order in which they are shown; what goes beyond them is `OTHER_COLOUR`."""

OTHER_COLOUR = "#b4b8be"
"""Of all labels that have no colour of their own."""

INK = "#1b2027"
"""Of text and lines."""

MUTED_INK = "#58616e"
"""Of what explains: units, notes, lines that only guide the eye."""
