"""Means and spread of numbers that come in parts, class by class, where a part may lack classes."""

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["merged_moments"]


def merged_moments(
    labels: "NDArray[np.int64]",
    parts: "list[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]]",
    /,
) -> "tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]":
    """Counts, means and population standard deviations of the classes of two sets together.

    Parameters
    ----------
    labels : numpy.ndarray of int64, shape (L,)
        Of both, ascending.
    parts : list of tuple
        Of each set: labels and counts, shape (L',), and means and deviations, shape (L', ...).

    Returns
    -------
    count : numpy.ndarray of int64, shape (L,)
        By class.
    mean, std : numpy.ndarray of float64, shape (L, ...)
        By class.

    References
    ----------
    .. [1] T. F. Chan, G. H. Golub, R. J. LeVeque, Updating formulae and a pairwise algorithm for computing sample
       variances, Stanford report STAN-CS-79-773, 1979.
    """
    trailing = parts[0][2].shape[1:]
    spread = []
    for own, count, mean, std in parts:
        rows = np.searchsorted(labels, own)
        n = np.zeros(len(labels), np.int64)
        m, s = np.zeros((len(labels), *trailing)), np.zeros((len(labels), *trailing))
        n[rows], m[rows], s[rows] = count, mean, std
        spread.append((n, m, s))
    (n, m, s), (k, other, t) = spread
    total = n + k
    own_share = (n / total).reshape(-1, *(1,) * len(trailing))
    its_share = (k / total).reshape(-1, *(1,) * len(trailing))
    step = other - m
    mean = np.where(own_share == 0, other, m + its_share * step)
    variance = own_share * s**2 + its_share * t**2 + own_share * its_share * step**2
    return total, mean, np.where(its_share == 0, s, np.where(own_share == 0, t, np.sqrt(variance)))
