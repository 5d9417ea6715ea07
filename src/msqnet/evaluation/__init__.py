"""Figures of a model on labelled clips and timelines."""
