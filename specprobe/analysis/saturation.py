"""From which radius on a classifier does as well as on the whole image."""

import math
from dataclasses import dataclass

from specprobe.intervals import wilson_interval

__all__ = ["Saturation", "difference_interval", "saturation"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Saturation:
    """Smallest radius that is enough.

    Attributes
    ----------
    radius : float or None
        In cycles per shorter side; None where there is none.
    interval : (float, float or None) or None
        Radii below the first are ruled out by the sample; from the second on, it is established that one is enough,
        and None says that this is so for no radius of the sweep.
    reason : str or None
        Why there is no radius.
    """

    radius: float | None = None
    interval: tuple[float, float | None] | None = None
    reason: str | None = None


def difference_interval(
    both: int, first: int, second: int, images: int, /, *, weight: float, confidence: float
) -> tuple[float, float]:
    """Interval of ``first / images - weight * second / images``, two shares of the same images.

    Parameters
    ----------
    both, first, second : int
        Images that count for both shares, for the first and for the second.
    images : int
        How many.
    weight : float
        Of the second share; above 0.
    confidence : float
        Coverage asked for.

    Returns
    -------
    (float, float)
        Around the estimate.

    Notes
    -----
    Newcombe's interval for paired proportions: Wilson's intervals of the two, squared and added, with their
    correlation, continuity-corrected. It does not shrink to a point where all images agree.
    """
    p, q = first / images, second / images
    (p_low, p_high), (q_low, q_high) = (
        wilson_interval(count, images, confidence=confidence) for count in (first, second)
    )
    excess: float = both * (images - first - second + both) - (first - both) * (second - both)
    excess = min(excess, max(0.0, excess - images / 2))
    scale = math.sqrt(first * (images - first) * second * (images - second))
    correlation = excess / scale if scale else 0.0

    def reach(a: float, b: float) -> float:
        return math.sqrt(max(0.0, a * a - 2 * correlation * a * b + b * b))

    estimate = p - weight * q
    low = estimate - reach(p - p_low, weight * (q_high - q))
    high = estimate + reach(p_high - p, weight * (q - q_low))
    return low, high


def saturation(
    radii: tuple[float, ...],
    correct: list[int],
    still_correct: list[int],
    /,
    *,
    clean_correct: int,
    images: int,
    confidence: float,
    percent: int = 95,
) -> Saturation:
    """Smallest radius whose low-pass keeps so many percent of the clean accuracy.

    Parameters
    ----------
    radii : tuple of float
        Ascending.
    correct, still_correct : list of int
        By radius: images that are right; those of them that are right unfiltered, too.
    clean_correct : int
        Images that are right unfiltered.
    images : int
        How many.
    confidence : float
        Of the interval, radius by radius.
    percent : int
        Of the clean accuracy.

    Returns
    -------
    Saturation
        With the interval, or the reason.
    """
    enough = [r for r, right in zip(radii, correct, strict=True) if 100 * right >= percent * clean_correct]
    if not enough:
        best = max(zip(correct, radii, strict=True))
        reason = (
            f"no radius of the sweep reaches {percent} % of the clean accuracy; the best is {best[1]:g} with "
            f"{best[0] / images:.3f}"
        )
        return Saturation(reason=reason)
    bounds = [
        difference_interval(both, right, clean_correct, images, weight=percent / 100, confidence=confidence)
        for right, both in zip(correct, still_correct, strict=True)
    ]
    possible = (r for r, (_, high) in zip(radii, bounds, strict=True) if high >= 0)
    established = (r for r, (low, _) in zip(radii, bounds, strict=True) if low >= 0)
    # Rounding must not push a bound past the estimate.
    return Saturation(
        radius=enough[0], interval=(min(enough[0], *possible, math.inf), next(established, None))
    )
