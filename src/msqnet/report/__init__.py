"""Figures, annotated videos and pages about results. Nothing new is computed here."""
