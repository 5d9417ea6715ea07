"""Procedural clips of articulated actors whose actions are known by construction."""

VERSION = "1.0"
"""Names the generator, its actions and its splits; another version is another benchmark."""
