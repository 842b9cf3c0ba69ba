"""Medians of a sample, and how far they may lie from the truth."""

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from specprobe.intervals import check_confidence

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Median", "median"]


class Median(NamedTuple):
    """Of a sample.

    Attributes
    ----------
    value : float
        Mean of the two middle ones of an even number.
    interval : (float, float) or None
        Two of the sample's own values; None where there are too few for any.
    """

    value: float
    interval: tuple[float, float] | None


def median(values: "NDArray[np.float64]", /, *, confidence: float) -> Median | None:
    """Median, with the interval that order statistics give.

    Parameters
    ----------
    values : numpy.ndarray of float64, shape (n,)
        May be infinite, not NaN.
    confidence : float
        At least this coverage, whatever the values are distributed like.

    Returns
    -------
    Median or None
        None of nothing.

    Notes
    -----
    The number of values below the median is binomial: the interval reaches from the r-th smallest to the r-th largest,
    r being the largest for which fewer than r lie below with probability at most ``(1 - confidence) / 2``.

    Examples
    --------
    >>> median(np.arange(1.0, 12.0), confidence=0.95)
    Median(value=6.0, interval=(2.0, 10.0))
    >>> median(np.array([1.0, 2.0]), confidence=0.95)
    Median(value=1.5, interval=None)
    """
    from scipy.special import bdtr

    check_confidence(confidence)
    count = len(values)
    if not count:
        return None
    ordered = np.sort(values)
    low, high = float(ordered[(count - 1) // 2]), float(ordered[count // 2])
    value = low if low == high else (low + high) / 2
    below = bdtr(np.arange(count), count, 0.5)  # at most so many lie below
    rank = int(np.searchsorted(below, (1 - confidence) / 2, side="right"))
    if not rank:
        return Median(value, None)
    return Median(value, (float(ordered[rank - 1]), float(ordered[count - rank])))
