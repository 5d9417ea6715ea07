"""Metrics of a whole evaluation set: pure functions on numpy arrays. Nothing here imports torch.

`average_precision` and `classification` score windows, `timed_labels` seconds and segments;
`bootstrap` gives intervals, `calibration` fits calibrations and thresholds and measures them.
Import from these modules: some share their name with a function.
"""
