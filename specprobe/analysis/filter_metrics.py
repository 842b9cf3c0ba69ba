"""How sparse, diverse, orthogonal and centred the filters of one convolution are.

The measures are those of [1]_. A *filter* is one spatial kernel, so a layer has
``out_channels · in_channels / groups`` of them, the rows of its filter matrix of shape (filters, taps).

References
----------
.. [1] P. Gavrikov and J. Keuper, Adversarial Robustness Through the Lens of Convolutional Filters, CVPR
   Workshops 2022. arXiv:2204.02481
"""

import functools
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from specprobe.arrays import Array, namespace, to_host
from specprobe.errors import InputMismatch

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "centre_dominated",
    "centre_energy",
    "expected_random_entropy",
    "orthogonality",
    "sparse_mask",
    "sparsity",
    "variance_entropy",
]

_PRODUCTS_AT_ONCE = 2**22
"""Inner products of output channels held in memory at a time."""

_LARGEST_SIMULATED_ORDER = 512
_LARGEST_SIMULATED_MATRIX = 2**20
"""Largest smaller side, and number of weights, of the random filter matrices that are simulated."""


def _positive_or_one(norm: Array) -> Array:
    xp = namespace(norm)
    return xp.where(norm > 0, norm, xp.ones_like(norm))


def _relative_to_peak(weights: Array, *, axis: int | None = None) -> Array:
    """Return float64 weights divided by the largest magnitude, so that it becomes 1; zeros stay zero."""
    xp = namespace(weights)
    peak = xp.max(xp.abs(weights), axis=axis, keepdims=True)
    return xp.astype(weights, xp.float64) / xp.astype(_positive_or_one(peak), xp.float64)


def _squarable(weights: Array, *, axis: int | None = None) -> Array:
    """Return float64 weights, up to one factor (along ``axis``), whose squares neither overflow nor vanish."""
    xp = namespace(weights)
    if weights.dtype == xp.float64:
        return _relative_to_peak(weights, axis=axis)
    return xp.astype(weights, xp.float64)


def sparse_mask(filters: Array, /) -> Array:
    """Which filters are negligible: L∞ norm at most 1 % of the largest weight.

    Parameters
    ----------
    filters : array, shape (filters, taps), real floating
        All filters of one layer, finite.

    Returns
    -------
    array of bool, shape (filters,)
        All true where every weight is zero.
    """
    xp = namespace(filters)
    norm = xp.astype(xp.max(xp.abs(filters), axis=1), xp.float64)
    return norm <= xp.max(norm) / 100


def sparsity(filters: Array, /) -> float:
    """Share of filters that are negligible.

    Parameters
    ----------
    filters : array, shape (filters, taps), real floating
        All filters of one layer, finite.

    Returns
    -------
    float
        In [0, 1]; 1 where every weight is zero, never 1 otherwise.

    Examples
    --------
    >>> sparsity(np.array([[1.0, 0.5], [0.01, 0.0], [-0.02, 0.0], [0.0, 0.0]]))
    0.5
    """
    xp = namespace(filters)
    return float(xp.mean(xp.astype(sparse_mask(filters), xp.float64)))


def _entropy(variances: "NDArray[np.floating[Any]]") -> "NDArray[np.float64]":
    """Base-10 entropy of the variances' shares, over the last axis."""
    variances = np.maximum(variances, 0)
    share = variances / np.sum(variances, axis=-1, keepdims=True)
    # The entropy is continuous where a share vanishes, the logarithm is not.
    terms = share * np.log10(np.where(share > 0, share, 1))
    entropy: NDArray[np.float64] = -np.sum(terms, axis=-1)
    return np.clip(entropy, 0, math.log10(variances.shape[-1]))


def variance_entropy(filters: Array, /, *, scaled: bool = False) -> float:
    """Entropy of the explained variances of the filters' principal components.

    Parameters
    ----------
    filters : array, shape (filters, taps), real floating
        Two filters or more of two taps or more, finite.
    scaled : bool, default False
        Divide each filter by its own L∞ norm first; zero filters stay zero.

    Returns
    -------
    float
        Between 0 (all filters on one line, or all equal) and ``log10(taps)`` (no direction preferred).

    Raises
    ------
    InputMismatch
        If there are fewer than two filters or taps.

    Notes
    -----
    The variances are eigenvalues of the Gram matrix of the centred filters, in float64, and not squared
    singular values: for 512 × 512 filters of 3 × 3 that is several times faster. Squaring costs accuracy only
    in variances below 1e-15 of the largest, which change the entropy by less than 1e-13.

    Filters whose variance is within the rounding of their own data type count as equal.

    Examples
    --------
    >>> corners = np.array([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
    >>> round(variance_entropy(corners), 12) == round(math.log10(2), 12)
    True
    """
    xp = namespace(filters)
    count, taps = filters.shape
    if count < 2 or taps < 2:
        msg = (
            f"{count} filters of {taps} taps have no variance entropy; it takes at least 2 filters of 2 taps. "
            f"Pass the filter matrix of a layer with a kernel larger than 1x1."
        )
        raise InputMismatch(msg)
    weights = _relative_to_peak(filters, axis=1) if scaled else _squarable(filters)
    mean = xp.mean(weights, axis=0, keepdims=True)
    centred = weights - mean
    gram = centred.mT @ centred if taps <= count else centred @ centred.mT
    variances = to_host(xp.linalg.eigvalsh(gram))
    variance = float(xp.linalg.trace(gram))
    energy = variance + count * float(xp.sum(mean * mean))
    # The second term bounds the rounding of the mean itself, a sum of `count` float64 numbers.
    rounding = float(xp.finfo(filters.dtype).eps) + count * float(xp.finfo(xp.float64).eps)
    if variance <= rounding**2 * energy:
        return 0.0
    return float(_entropy(variances))


def orthogonality(weight: Array, /, *, groups: int = 1) -> float:
    """How close to mutually orthogonal the output channels of a layer are.

    Parameters
    ----------
    weight : array, shape (out_channels, in_channels / groups, *kernel), real floating
        Finite, two output channels or more in a group.
    groups : int, default 1
        Output channels come in this many equal consecutive groups.

    Returns
    -------
    float
        Mean over groups, in [0, 1]: 1 where the channels are orthogonal, 0 where they are parallel.

    Raises
    ------
    InputMismatch
        If a group has fewer than two output channels, or the groups are not equal.

    Notes
    -----
    With W the rows of one group, each one channel divided by its L2 norm, and n its number of rows, this is
    ``1 − Σ|W Wᵀ − I| / (n (n − 1))``. A channel of zeros costs 1 on the diagonal. Channels of different
    groups see different inputs, so their products are left out; groups are of one size, so the mean over
    them is also the mean weighted by output channels.

    Rows are normalised and products summed in float64. The products themselves are in float32 for weights of
    at most 32 bits, which takes half the time and moves the result by less than 1e-6.

    Examples
    --------
    >>> orthogonality(np.eye(4).reshape(4, 4, 1, 1))
    1.0
    """
    xp = namespace(weight)
    out_channels: int = weight.shape[0]
    if out_channels % groups or out_channels // groups < 2:
        msg = (
            f"{out_channels} output channels in {groups} groups have no orthogonality; accepted are equal "
            f"groups of at least 2 output channels. Check the group count of the layer."
        )
        raise InputMismatch(msg)
    rows = _squarable(xp.reshape(weight, (out_channels, -1)), axis=1)
    norm = xp.sqrt(xp.sum(rows * rows, axis=1, keepdims=True))
    zero_channels = int(xp.count_nonzero(norm == 0))
    precision = xp.float64 if weight.dtype == xp.float64 else xp.float32
    rows = xp.astype(rows / _positive_or_one(norm), precision)
    size = out_channels // groups
    rows = xp.reshape(rows, (groups, size, -1))

    absolute = 0.0
    step = max(1, _PRODUCTS_AT_ONCE // out_channels)
    for start in range(0, size, step):
        products = rows[:, start : min(start + step, size), :] @ rows.mT
        absolute += float(xp.sum(xp.abs(products), dtype=xp.float64))
    # Less the identity: a channel of zeros lacks the 1 that it takes off the diagonal, and costs it instead.
    deviation = absolute - (out_channels - zero_channels) + zero_channels
    return min(max(1.0 - deviation / (out_channels * (size - 1)), 0.0), 1.0)


def _channel_energy(weight: Array) -> tuple[Array, Array]:
    """Squared weight of every output channel: in the centre tap, and in all."""
    xp = namespace(weight)
    kernel = weight.shape[2:]
    if not all(size % 2 for size in kernel):
        msg = (
            f"a kernel of {'x'.join(map(str, kernel))} has no centre tap; accepted are odd sizes. "
            f"Leave this layer out."
        )
        raise InputMismatch(msg)
    weights = _squarable(weight)
    centre = weights[(slice(None), slice(None), *(size // 2 for size in kernel))]
    everything = xp.reshape(weights, (weights.shape[0], -1))
    return xp.sum(centre * centre, axis=1), xp.sum(everything * everything, axis=1)


def centre_energy(weight: Array, /) -> float:
    """Share of a layer's squared weight that lies in the centre taps.

    Parameters
    ----------
    weight : array, shape (out_channels, in_channels / groups, *kernel), real floating
        Finite, not all zero; odd kernel sizes.

    Returns
    -------
    float
        In [0, 1]; about ``1 / taps`` for random filters, 1 for a convolution that acts on single pixels.

    Raises
    ------
    InputMismatch
        If a kernel size is even, or all weights are zero.
    """
    xp = namespace(weight)
    centre, everything = _channel_energy(weight)
    total = float(xp.sum(everything))
    if total == 0:
        msg = "all weights are zero, so no share of them lies in the centre tap. Leave this layer out."
        raise InputMismatch(msg)
    return float(xp.sum(centre)) / total


def centre_dominated(weight: Array, /) -> float:
    """Share of output channels with over 0.9 of their squared weight in the centre taps.

    Parameters
    ----------
    weight : array, shape (out_channels, in_channels / groups, *kernel), real floating
        Finite; odd kernel sizes.

    Returns
    -------
    float
        In [0, 1]. A channel of zeros is not dominated by its centre.

    Raises
    ------
    InputMismatch
        If a kernel size is even.

    Notes
    -----
    In the first layer of a robust model many channels are of this kind: they threshold the colour of single
    pixels.
    """
    xp = namespace(weight)
    centre, everything = _channel_energy(weight)
    return float(xp.mean(xp.astype(centre > 0.9 * everything, xp.float64)))


def expected_random_entropy(filters: int, taps: int) -> float:
    """Variance entropy to expect of independent Gaussian filters, each scaled by its L∞ norm.

    Parameters
    ----------
    filters : int
        Number of filters, at least 2.
    taps : int
        Weights of each, at least 2.

    Returns
    -------
    float
        Mean of simulations with a fixed seed; depends on the two counts alone.

    Raises
    ------
    InputMismatch
        If there are fewer than two filters or taps.

    Notes
    -----
    Few filters never look fully diverse: with n filters the entropy falls short of ``log10(taps)`` by
    c / (n − 1), up to terms of order 1/n². Beyond 64 filters a tap c is therefore taken from the simulation
    at that number. Where both counts exceed 512, the shortfall is that of a proportionally smaller matrix,
    since in the limit it depends on their ratio alone. So no call draws more than four million numbers.

    Examples
    --------
    >>> round(expected_random_entropy(10**9, 9), 6) == round(math.log10(9), 6)
    True
    """
    if filters < 2 or taps < 2:
        msg = (
            f"no entropy is expected of {filters} filters of {taps} taps; it takes at least 2 filters of 2 taps."
            f" Ask only for kernels larger than 1x1."
        )
        raise InputMismatch(msg)
    if filters == 2:
        # Two points span one line.
        return 0.0
    order = min(filters, taps)
    if order > _LARGEST_SIMULATED_ORDER:
        shrink = order / _LARGEST_SIMULATED_ORDER
        return math.log10(shrink) + expected_random_entropy(round(filters / shrink), round(taps / shrink))
    simulated = max(2 * taps, min(64 * taps, _LARGEST_SIMULATED_MATRIX // taps))
    if filters > simulated:
        shortfall = math.log10(taps) - _simulated_entropy(simulated, taps)
        return math.log10(taps) - shortfall * (simulated - 1) / (filters - 1)
    # Where the filters are far fewer than the taps, the shortfall from log10(filters − 1) falls as 1/taps.
    fewer = min(taps, _LARGEST_SIMULATED_MATRIX // filters)
    return _simulated_entropy(filters, fewer) + (filters - 1) / math.log(100) * (1 / fewer - 1 / taps)


@functools.cache
def _simulated_entropy(filters: int, taps: int) -> float:
    rng = np.random.Generator(np.random.Philox((filters, taps)))
    matrix = filters * taps
    draws = min(max(2**20 // matrix, 4), 2**13)
    at_once = max(2**18 // matrix, 1)
    total = 0.0
    for start in range(0, draws, at_once):
        sample = rng.standard_normal((min(at_once, draws - start), filters, taps))
        sample /= np.max(np.abs(sample), axis=-1, keepdims=True)
        sample -= np.mean(sample, axis=-2, keepdims=True)
        gram = sample.mT @ sample if taps <= filters else sample @ sample.mT
        total += float(np.sum(_entropy(np.linalg.eigvalsh(gram))))
    return total / draws
