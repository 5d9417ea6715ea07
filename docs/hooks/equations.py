"""Turns equations in TeX, between dollars, into MathML, which browsers set without any script."""

from __future__ import annotations

import html
import re
from typing import Any

from latex2mathml.converter import convert

# What `pymdownx.arithmatex` makes of $...$ and of $$...$$.
_EQUATION = re.compile(
    r'<(?P<tag>span|div) class="arithmatex">\\[(\[](?P<tex>.*?)\\[)\]]</(?P=tag)>', re.DOTALL
)


def on_page_content(content: str, **_: Any) -> str:
    """Replace every equation of a page; called by mkdocs for every page."""
    return _EQUATION.sub(_set, content)


def _set(match: re.Match[str]) -> str:
    is_display = match["tag"] == "div"
    tex = html.unescape(match["tex"]).strip()
    mathml = convert(tex, display="block" if is_display else "inline")
    if not is_display:
        return mathml
    return f'<div class="equation" tabindex="0" role="group" aria-label="equation">{mathml}</div>'
