"""How far an estimate from a sample may lie from the truth."""

import math
from statistics import NormalDist

__all__ = ["CONFIDENCE", "wilson_interval"]

CONFIDENCE = 0.95
"""Confidence of every interval unless another one is asked for."""


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
    if not 0 < confidence < 1:
        msg = f"confidence is {confidence}; accepted are numbers between 0 and 1, such as 0.95"
        raise ValueError(msg)
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    share = successes / trials
    spread = z * math.sqrt(share * (1 - share) / trials + (z / (2 * trials)) ** 2)
    middle, scale = share + z * z / (2 * trials), 1 + z * z / trials
    # At 0 and at n the bound is exact; rounding must not push it past the estimate.
    low = 0.0 if successes == 0 else max(0.0, (middle - spread) / scale)
    high = 1.0 if successes == trials else min(1.0, (middle + spread) / scale)
    return low, high
