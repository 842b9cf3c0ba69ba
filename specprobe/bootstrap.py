"""How far a number computed from means over images may lie from the truth: resampling of the images."""

import math
from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

import numpy as np

from specprobe.errors import InputMismatch
from specprobe.intervals import CONFIDENCE, check_confidence
from specprobe.randomness import generator

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import ArrayLike, NDArray

    Statistic: TypeAlias = Callable[[NDArray[np.float64]], NDArray[np.float64]]

__all__ = ["RESAMPLES", "BootstrapMethod", "bootstrap_interval", "resampled_means"]

BootstrapMethod: TypeAlias = Literal["bca", "percentile"]

RESAMPLES = 9999
"""Samples unless another number is asked for."""

_CELLS = 2**22
"""Random numbers in memory at once."""


def bootstrap_interval(
    values: "ArrayLike",
    /,
    *,
    statistic: "Statistic | None" = None,
    method: BootstrapMethod = "bca",
    confidence: float = CONFIDENCE,
    seed: int = 0,
    purpose: str = "bootstrap",
    resamples: int = RESAMPLES,
) -> "NDArray[np.float64]":
    """Interval of numbers that are computed from the means of a sample.

    Parameters
    ----------
    values : array_like of float, shape (N, M)
        A row an image, a column a number; NaN where an image lacks one. Rows are drawn whole, so that numbers of one
        image stay together.
    statistic : callable, optional
        From means, shape (..., M), to the numbers asked for, shape (..., S), each row by itself; the means themselves if
        not given.
    method : {"bca", "percentile"}
        Bias-corrected and accelerated [1]_, or quantiles of the resampled numbers as they are.
    confidence : float
        Coverage asked for, in (0, 1).
    seed : int
        Of the draws.
    purpose : str
        What the draws are for: equal seeds and purposes draw the same samples of N rows.
    resamples : int
        How many samples.

    Returns
    -------
    numpy.ndarray of float64, shape (S, 2)
        Low and high, around the number itself. NaN where the number is, or hangs on one row, without which it is not
        known.

    Raises
    ------
    InputMismatch
        If the shape is another one.
    ValueError
        If a setting is out of range.

    Notes
    -----
    Resampling images says how the number varies from one set of images to another, for the same model. Intervals are too
    narrow for fewer than about thirty images. The acceleration comes from leaving out one image at a time.

    References
    ----------
    .. [1] B. Efron, Better bootstrap confidence intervals, Journal of the American Statistical Association 82 (1987),
       171–185.

    Examples
    --------
    >>> import numpy as np
    >>> bootstrap_interval(np.arange(50.0)[:, None]).round(1)
    array([[20.6, 28.5]])
    """
    check_confidence(confidence)
    if method not in get_args(BootstrapMethod):
        msg = f"method is {method!r}; accepted are 'bca' and 'percentile'"
        raise ValueError(msg)
    rows = _checked(values)
    held = ~np.isnan(rows)
    count = held.sum(axis=0)
    total = np.where(held, rows, 0.0).sum(axis=0)
    compute = statistic or _same
    with np.errstate(invalid="ignore", divide="ignore"):
        observed = compute(total / count)
        sampled = compute(resampled_means(rows, seed=seed, purpose=purpose, resamples=resamples))
        left_out = compute((total - np.where(held, rows, 0.0)) / (count - held))
    intervals = np.full((len(observed), 2), np.nan)
    for i in np.flatnonzero(~np.isnan(observed)):
        draws = sampled[~np.isnan(sampled[:, i]), i]
        if draws.size and not np.isnan(left_out[:, i]).any():  # else it hangs on one image
            intervals[i] = _interval(draws, float(observed[i]), left_out[:, i], confidence, method)
    return intervals


def resampled_means(
    values: "ArrayLike", /, *, seed: int = 0, purpose: str = "bootstrap", resamples: int = RESAMPLES
) -> "NDArray[np.float64]":
    """Means of samples of the rows, drawn with replacement.

    Parameters
    ----------
    values : array_like of float, shape (N, M)
        NaN where a row lacks a number.
    seed, purpose, resamples
        As of :func:`bootstrap_interval`.

    Returns
    -------
    numpy.ndarray of float64, shape (resamples, M)
        NaN where a sample holds no row that has the number.

    Raises
    ------
    InputMismatch
        If the shape is another one.
    ValueError
        If ``resamples`` is below 1.

    Notes
    -----
    Memory does not grow with N times the number of samples: counts are drawn a block at a time.
    """
    if resamples < 1:
        msg = f"resamples is {resamples}; accepted are whole numbers from 1"
        raise ValueError(msg)
    rows = _checked(values)
    held = ~np.isnan(rows)
    filled = np.where(held, rows, 0.0)
    whole, weights, images = bool(held.all()), held.astype(np.float64), len(rows)
    random = generator(seed, purpose)
    means = np.empty((resamples, rows.shape[1]))
    block = max(1, _CELLS // images)
    for start in range(0, resamples, block):
        some = min(block, resamples - start)
        drawn = random.integers(0, images, size=(some, images))
        drawn += images * np.arange(some)[:, None]
        times = np.bincount(drawn.ravel(), minlength=some * images).reshape(some, images).astype(np.float64)
        total = times @ filled
        with np.errstate(invalid="ignore", divide="ignore"):
            means[start : start + some] = total / (images if whole else times @ weights)
    return means


def _checked(values: "ArrayLike") -> "NDArray[np.float64]":
    rows = np.asarray(values, np.float64)
    if rows.ndim != 2 or not rows.shape[0]:
        msg = f"the values have shape {rows.shape}; accepted is (N, M), of one image or more"
        raise InputMismatch(msg)
    return rows


def _same(means: "NDArray[np.float64]") -> "NDArray[np.float64]":
    return means


def _interval(
    draws: "NDArray[np.float64]",
    observed: float,
    jackknife: "NDArray[np.float64]",
    confidence: float,
    method: BootstrapMethod,
) -> tuple[float, float]:
    from scipy.special import ndtr, ndtri

    levels = np.array([(1 - confidence) / 2, (1 + confidence) / 2])
    if method == "bca":
        centred = jackknife.mean() - jackknife
        squares = float((centred**2).sum())
        size = max(abs(observed), float(np.abs(jackknife).max()))
        if squares <= (1e-12 * size) ** 2 * len(jackknife):
            return observed, observed  # whatever is left out, the number is the same
        # The spread of the draws is (N - 1) times that of the jackknife's estimates.
        tie = 1e-12 * max(abs(observed), len(jackknife) * math.sqrt(squares / len(jackknife)))
        below = ((draws < observed - tie).sum() + (np.abs(draws - observed) <= tie).sum() / 2) / len(draws)
        bias = float(ndtri(np.clip(below, 1 / (len(draws) + 1), len(draws) / (len(draws) + 1))))
        acceleration = float((centred**3).sum()) / (6 * squares**1.5)
        tails = bias + ndtri(levels)
        levels = ndtr(bias + tails / (1 - acceleration * tails))
    low, high = np.quantile(draws, levels)
    return min(float(low), observed), max(float(high), observed)
