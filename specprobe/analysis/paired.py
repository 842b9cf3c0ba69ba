"""Whether two models differ, from values of the same images: intervals, tests, and many tests at once."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from specprobe.analysis.saturation import difference_interval
from specprobe.bootstrap import RESAMPLES, bootstrap_interval
from specprobe.errors import InputMismatch
from specprobe.intervals import CONFIDENCE, check_confidence
from specprobe.randomness import generator

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

__all__ = [
    "PairedDifference",
    "PairedMeans",
    "adjusted_p_values",
    "mcnemar_p_value",
    "paired_means",
    "paired_proportions",
]

_ENUMERATED = 13
"""Up to so many images that differ, all sign flips are tried: 2**13 of them, fewer than are drawn."""
_CELLS = 2**22
"""Random numbers in memory at once."""


class PairedDifference(NamedTuple):
    """A difference of two shares of the same images.

    Attributes
    ----------
    difference : float
        Second share minus first.
    interval : (float, float)
        Around it.
    p_value : float
        Of no difference.
    """

    difference: float
    interval: tuple[float, float]
    p_value: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PairedMeans:
    """Means of differences by image.

    Attributes
    ----------
    mean : numpy.ndarray of float64, shape (M,)
        NaN where no image has a value.
    interval : numpy.ndarray of float64, shape (M, 2)
        NaN for fewer than two images.
    p_value : numpy.ndarray of float64, shape (M,)
        Of no difference; NaN likewise.
    """

    mean: "NDArray[np.float64]"
    interval: "NDArray[np.float64]"
    p_value: "NDArray[np.float64]"


def mcnemar_p_value(first_only: int, second_only: int, /) -> float:
    """McNemar's exact test of two shares of the same images.

    Parameters
    ----------
    first_only, second_only : int
        Images that count for the first share alone, and for the second alone.

    Returns
    -------
    float
        Two-sided: the probability that a fair coin, tossed once for each of these images, is as one-sided or more.
        1 where there are none.

    Raises
    ------
    ValueError
        If a count is below 0.

    Examples
    --------
    >>> mcnemar_p_value(1, 9)
    0.021484375
    """
    if min(first_only, second_only) < 0:
        msg = f"{first_only} and {second_only} images count for one share alone; accepted are counts from 0"
        raise ValueError(msg)
    from scipy.special import bdtr

    tail = bdtr(min(first_only, second_only), first_only + second_only, 0.5)
    return min(1.0, 2 * float(tail))


def paired_proportions(
    first: "ArrayLike", second: "ArrayLike", /, *, confidence: float = CONFIDENCE
) -> PairedDifference:
    """Difference of two shares of the same images.

    Parameters
    ----------
    first, second : array_like of bool, shape (N,)
        Whether each image counts for the share.
    confidence : float
        Of the interval.

    Returns
    -------
    PairedDifference
        Second minus first, with Newcombe's interval and the p-value of McNemar's exact test.

    Raises
    ------
    InputMismatch
        If there are not as many of both, or none.

    Notes
    -----
    The interval is method 10 of [1]_: Wilson's intervals of the two shares, put together with their correlation. It does
    not shrink to a point where all images agree. It is no inversion of the test [2]_: where the p-value lies near
    ``1 - confidence``, one of the two may speak of a difference and the other not.

    References
    ----------
    .. [1] R. G. Newcombe, Improved confidence intervals for the difference between binomial proportions based on paired
       data, Statistics in Medicine 17 (1998), 2635–2650.
    .. [2] Q. McNemar, Note on the sampling error of the difference between correlated proportions or percentages,
       Psychometrika 12 (1947), 153–157.

    Examples
    --------
    >>> found = paired_proportions([1, 1, 1, 1, 0, 0, 1, 1], [1, 0, 0, 0, 0, 0, 1, 0])
    >>> found.difference, found.p_value
    (-0.5, 0.125)
    """
    check_confidence(confidence)
    a, b = np.asarray(first, bool), np.asarray(second, bool)
    if a.shape != b.shape or a.ndim != 1 or not a.size:
        msg = f"flags have shapes {a.shape} and {b.shape}; accepted are two of one shape (N,), of one image or more"
        raise InputMismatch(msg)
    both, of_first, of_second = int((a & b).sum()), int(a.sum()), int(b.sum())
    low, high = difference_interval(both, of_second, of_first, a.size, weight=1.0, confidence=confidence)
    difference = (of_second - of_first) / a.size
    return PairedDifference(
        difference=difference,
        interval=(max(-1.0, min(low, difference)), min(1.0, max(high, difference))),
        p_value=mcnemar_p_value(of_first - both, of_second - both),
    )


def paired_means(
    differences: "ArrayLike",
    /,
    *,
    confidence: float = CONFIDENCE,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> PairedMeans:
    """Mean differences between two models, over the same images.

    Parameters
    ----------
    differences : array_like of float, shape (N, M)
        Second minus first, a row an image, a column a number; NaN where an image lacks one.
    confidence : float
        Of the intervals.
    seed : int
        Of the draws. Every column has the same ones.
    resamples : int
        Bootstrap samples of the images, and sign flips.

    Returns
    -------
    PairedMeans
        Interval by the bootstrap, bias-corrected and accelerated [1]_, and the p-value of a sign-flip test [2]_: the
        share of sign patterns under which the mean is as large or larger, all of them where 13 images or fewer differ,
        otherwise ``(1 + hits) / (1 + resamples)``.

    Raises
    ------
    InputMismatch
        If the shape is another one.
    ValueError
        If ``resamples`` is below 1 or the confidence out of range.

    Notes
    -----
    The test is exact where differences are symmetric about 0 if the models do not differ; the interval is too narrow for
    fewer than about thirty images.

    References
    ----------
    .. [1] B. Efron, Better bootstrap confidence intervals, Journal of the American Statistical Association 82 (1987),
       171–185.
    .. [2] R. A. Fisher, The Design of Experiments, 1935, section 21.

    Examples
    --------
    >>> found = paired_means([[0.25], [0.5], [0.25], [1.0]])
    >>> found.mean, found.p_value
    (array([0.5]), array([0.125]))
    """
    check_confidence(confidence)
    if resamples < 1:
        msg = f"resamples is {resamples}; accepted are whole numbers from 1"
        raise ValueError(msg)
    values = np.asarray(differences, np.float64)
    if values.ndim != 2 or not values.shape[0]:
        msg = f"differences have shape {values.shape}; accepted is (N, M), of one image or more"
        raise InputMismatch(msg)
    held = ~np.isnan(values)
    filled = np.where(held, values, 0.0)
    count = held.sum(axis=0)
    enough = count >= 2
    p_value = np.full(values.shape[1], np.nan)
    p_value[enough] = _sign_flip_p_values(filled[:, enough], seed, resamples)
    return PairedMeans(
        mean=filled.sum(axis=0) / np.where(count > 0, count, np.nan),
        interval=bootstrap_interval(
            values, confidence=confidence, seed=seed, purpose="comparison/bootstrap", resamples=resamples
        ),
        p_value=p_value,
    )


def adjusted_p_values(p_values: "Sequence[float | None]", /) -> list[float | None]:
    """P-values of many tests, adjusted for their number by Benjamini and Hochberg.

    Parameters
    ----------
    p_values : sequence of float or None
        None where nothing was tested; that counts for no test.

    Returns
    -------
    list of float or None
        Rejecting those below q holds the expected share of false rejections under q, for tests that are independent or
        positively dependent.

    Raises
    ------
    ValueError
        If one is outside [0, 1].

    References
    ----------
    .. [1] Y. Benjamini and Y. Hochberg, Controlling the false discovery rate: a practical and powerful approach to
       multiple testing, Journal of the Royal Statistical Society B 57 (1995), 289–300.

    Examples
    --------
    >>> adjusted_p_values([0.25, None, 0.125, 0.5])
    [0.375, None, 0.375, 0.5]
    """
    tested = [(i, p) for i, p in enumerate(p_values) if p is not None]
    if not all(0 <= p <= 1 for _, p in tested):
        msg = f"p-values are {[p for _, p in tested]}; accepted are numbers from 0 to 1"
        raise ValueError(msg)
    adjusted: list[float | None] = [None] * len(p_values)
    least = 1.0
    for rank, (i, p) in sorted(enumerate(sorted(tested, key=lambda pair: pair[1]), 1), reverse=True):
        least = min(least, p * len(tested) / rank)
        adjusted[i] = least
    return adjusted


def _sign_flip_p_values(filled: "NDArray[np.float64]", seed: int, resamples: int) -> "NDArray[np.float64]":
    """P-value of every column; a difference of 0 is the same under every sign."""
    total = np.abs(filled.sum(axis=0))
    # Rounding must not decide whether a pattern reaches what was observed.
    reached = total - 1e-12 * np.abs(filled).sum(axis=0)
    differing = (filled != 0).sum(axis=0)
    found = np.ones(filled.shape[1])
    many = np.flatnonzero(differing > _ENUMERATED)
    for i in np.flatnonzero((differing > 0) & (differing <= _ENUMERATED)):
        steps = filled[filled[:, i] != 0, i]
        signs = 1 - 2 * ((np.arange(2 ** len(steps))[:, None] >> np.arange(len(steps))) & 1)
        found[i] = float((np.abs(signs @ steps) >= reached[i]).mean())
    if many.size:
        images = len(filled)
        random = generator(seed, "comparison/signs")
        hits = np.zeros(many.size, np.int64)
        rows = max(1, _CELLS // images)
        for start in range(0, resamples, rows):
            some = min(rows, resamples - start)
            flips = 1.0 - 2.0 * random.integers(0, 2, size=(some, images), dtype=np.int8)
            hits += (np.abs(flips @ filled[:, many]) >= reached[many]).sum(axis=0)
        found[many] = (1 + hits) / (1 + resamples)
    return found
