"""Figures of a whole evaluation set: pure functions on numpy arrays. Nothing here imports torch.

`average_precision` and `classification` score windows, `timeline` seconds, `segments` what was
predicted from a start to an end; `bootstrap` says how sure a figure is, `calibration` fits
thresholds and scales. Import from these modules: some share their name with a function.
"""
