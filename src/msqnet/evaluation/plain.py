"""NumPy values as plain ones, for strict JSON."""

from __future__ import annotations

from typing import Any

import numpy as np


def plain(value: Any) -> Any:
    """The same with NaN as None, and numpy's arrays and numbers as Python's lists and numbers.

    Args:
        value: dicts, lists, tuples, arrays and single values, nested in any way.
    """
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, np.ndarray)):
        return [plain(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and np.isnan(value) else value
