"""Whether two graphs compute the same."""

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["TOLERANCE", "relative_difference"]

TOLERANCE = 1e-4
"""Largest difference, over the largest output, that two orders of float32 rounding are granted."""


def relative_difference(expected: "NDArray[Any]", actual: "NDArray[Any]", /) -> float:
    """Largest difference over the largest expected magnitude.

    Parameters
    ----------
    expected, actual : numpy.ndarray
        Outputs of two graphs.

    Returns
    -------
    float
        Infinite where shapes, NaNs, infinities or integers disagree.
    """
    if expected.dtype.kind != "f":
        return 0.0 if np.array_equal(expected, actual) else float("inf")
    fine = np.isfinite(expected)
    if expected.shape != actual.shape or not np.array_equal(fine, np.isfinite(actual)):
        return float("inf")
    if not np.array_equal(expected[~fine], actual[~fine], equal_nan=True):
        return float("inf")
    expected, actual = expected[fine].astype(np.float64), actual[fine].astype(np.float64)
    scale = float(np.max(np.abs(expected), initial=0.0)) or 1.0
    return float(np.max(np.abs(expected - actual), initial=0.0)) / scale
