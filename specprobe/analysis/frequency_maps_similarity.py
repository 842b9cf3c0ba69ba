"""How alike two sets of frequency maps are: image by image, and as representations of the same images."""

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from specprobe.errors import InputMismatch
from specprobe.randomness import generator

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = ["Alignment", "cosine_similarity", "linear_alignment"]


class Alignment(NamedTuple):
    """Centred kernel alignment of two representations of the same images.

    Attributes
    ----------
    alignment : float
        1 for equal representations up to rotation and scale, 0 on average for unrelated ones; NaN where one is constant.
    p_value : float or None
        Share of random pairings of the images that align as well, this one counted.
    """

    alignment: float
    p_value: float | None


def cosine_similarity(first: "ArrayLike", second: "ArrayLike", /) -> "NDArray[np.float64]":
    """Cosine of the angle between the maps of each image.

    Parameters
    ----------
    first, second : array_like, shape (N, ...)
        Such as essential and adversarial maps of the same images.

    Returns
    -------
    numpy.ndarray of float64, shape (N,)
        NaN where a map is 0 everywhere. Maps have no negative values, so that any two have a cosine above 0: compare it
        with that of maps of different images.

    Raises
    ------
    InputMismatch
        If the shapes differ.
    """
    a, b = _flat(first, second)
    size = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    found: NDArray[np.float64] = (a * b).sum(axis=1) / np.where(size > 0, size, np.nan)
    return found


def linear_alignment(
    first: "ArrayLike", second: "ArrayLike", /, *, shuffles: int = 99, seed: int = 0
) -> Alignment:
    """Linear centred kernel alignment, without its bias for few images.

    Parameters
    ----------
    first, second : array_like, shape (N, ...)
        Of the same N images, four or more; features may differ in number.
    shuffles : int
        Random pairings for the p-value; 0 for none.
    seed : int
        Of the pairings.

    Returns
    -------
    Alignment
        May be below 0.

    Raises
    ------
    InputMismatch
        If there are fewer than four images, or not as many of both.

    Notes
    -----
    Of the unbiased estimator of the Hilbert–Schmidt independence criterion [1]_: with more features than images, as maps
    have, the usual alignment [2]_ is near 1 whatever the maps.

    References
    ----------
    .. [1] L. Song, A. Smola, A. Gretton, J. Bedo, K. Borgwardt, Feature selection via dependence maximization, Journal of
       Machine Learning Research 13 (2012), 1393–1434.
    .. [2] S. Kornblith, M. Norouzi, H. Lee, G. Hinton, Similarity of neural network representations revisited, ICML 2019.
       arXiv:1905.00414
    """
    a, b = (np.asarray(x, np.float64) for x in (first, second))
    if a.ndim < 2 or b.ndim < 2 or len(a) != len(b) or len(a) < 4:
        msg = f"the maps have shapes {a.shape} and {b.shape}; accepted are maps of the same images, four or more"
        raise InputMismatch(msg)
    left, right = (_centred_kernel(x.reshape(len(x), -1)) for x in (a, b))
    scale = _product(left, left) * _product(right, right)
    if not scale > 0:
        return Alignment(float("nan"), None)
    observed = _product(left, right) / np.sqrt(scale)
    hits = 0
    for i in range(shuffles):
        order = generator(seed, "maps/alignment", i).permutation(len(a))
        hits += _product(left, right[np.ix_(order, order)]) / np.sqrt(scale) >= observed - 1e-12
    return Alignment(float(observed), (1 + hits) / (1 + shuffles) if shuffles else None)


def _flat(first: "ArrayLike", second: "ArrayLike") -> "tuple[NDArray[np.float64], NDArray[np.float64]]":
    a, b = np.asarray(first, np.float64), np.asarray(second, np.float64)
    if a.shape != b.shape or a.ndim < 2:
        msg = f"the maps have shapes {a.shape} and {b.shape}; accepted are two of one shape (N, ...)"
        raise InputMismatch(msg)
    return a.reshape(len(a), -1), b.reshape(len(b), -1)


def _centred_kernel(rows: "NDArray[np.float64]") -> "NDArray[np.float64]":
    """Inner products without those of images with themselves, centred so that rows sum to 0 without bias."""
    rows = rows - rows.mean(axis=0)  # a common offset cancels, and costs digits
    kernel = rows @ rows.T
    np.fill_diagonal(kernel, 0)
    count = len(kernel)
    sums = kernel.sum(axis=0)
    centred: NDArray[np.float64] = (
        kernel - (sums[:, None] + sums[None, :]) / (count - 2) + kernel.sum() / ((count - 1) * (count - 2))
    )
    np.fill_diagonal(centred, 0)
    return centred


def _product(left: "NDArray[np.float64]", right: "NDArray[np.float64]") -> float:
    count = len(left)
    return float((left * right).sum() / (count * (count - 3)))
