"""How far an estimate from a sample may lie from the truth."""

import math
from statistics import NormalDist
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike, NDArray

__all__ = ["CONFIDENCE", "check_confidence", "mean_interval", "wilson_interval"]

CONFIDENCE = 0.95
"""Confidence of every interval unless another one is asked for."""


def check_confidence(confidence: float, /) -> None:
    """Refuse what is no confidence.

    Parameters
    ----------
    confidence : float
        Coverage asked for.

    Raises
    ------
    ValueError
        If it is not in (0, 1).
    """
    if not 0 < confidence < 1:
        msg = f"confidence is {confidence}; accepted are numbers between 0 and 1, such as 0.95"
        raise ValueError(msg)


def wilson_interval(successes: int, trials: int, /, *, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Wilson's score interval for a proportion.

    Parameters
    ----------
    successes, trials : int
        ``0 <= successes <= trials`` and ``trials >= 1``.
    confidence : float
        Coverage asked for, in (0, 1).

    Returns
    -------
    (float, float)
        Within [0, 1], and around ``successes / trials``.

    Raises
    ------
    ValueError
        If the counts or the confidence are out of range.

    References
    ----------
    .. [1] E. B. Wilson, Probable inference, the law of succession, and statistical inference, Journal of the
       American Statistical Association 22 (1927), 209–212.

    Examples
    --------
    >>> low, high = wilson_interval(8, 10)
    >>> round(low, 4), round(high, 4)
    (0.4902, 0.9433)
    """
    if not (0 <= successes <= trials and trials >= 1):
        msg = f"{successes} successes of {trials} trials: accepted are 0 <= successes <= trials, trials >= 1"
        raise ValueError(msg)
    check_confidence(confidence)
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    share = successes / trials
    spread = z * math.sqrt(share * (1 - share) / trials + (z / (2 * trials)) ** 2)
    middle, scale = share + z * z / (2 * trials), 1 + z * z / trials
    # At 0 and at n the bound is exact; rounding must not push it past the estimate.
    low = 0.0 if successes == 0 else max(0.0, (middle - spread) / scale)
    high = 1.0 if successes == trials else min(1.0, (middle + spread) / scale)
    return low, high


def mean_interval(
    mean: "ArrayLike",
    std: "ArrayLike",
    count: int,
    /,
    *,
    confidence: float = CONFIDENCE,
    bounds: tuple[float, float] = (-math.inf, math.inf),
) -> "NDArray[np.float64]":
    """Normal interval for a mean.

    Parameters
    ----------
    mean, std : array_like
        Mean and standard deviation (ddof 0) of the sample.
    count : int
        Size of the sample.
    confidence : float
        Coverage asked for, in (0, 1).
    bounds : (float, float)
        Smallest and largest mean that is possible.

    Returns
    -------
    numpy.ndarray of float64, shape (..., 2)
        Low and high, around ``mean`` and within ``bounds``; NaN where one number alone says nothing of its spread.

    Raises
    ------
    ValueError
        If the confidence is out of range.

    Notes
    -----
    ``mean ± z · std / sqrt(count - 1)``, the standard error in terms of the population formula; too narrow for fewer
    than about thirty.

    Examples
    --------
    >>> mean_interval(0.5, 0.1, 101).round(4)
    array([0.4804, 0.5196])
    """
    import numpy as np

    check_confidence(confidence)
    middle = np.asarray(mean, np.float64)
    if count < 2:
        return np.full((*middle.shape, 2), np.nan)
    spread = NormalDist().inv_cdf((1 + confidence) / 2) / math.sqrt(count - 1) * np.asarray(std, np.float64)
    return np.clip(np.stack([middle - spread, middle + spread], axis=-1), *bounds)
