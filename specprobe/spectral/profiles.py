"""What a profile of power by ring says in few numbers.

A *share* is the part of the power off the mean: entry i of an array of ring shares belongs to ring i + 1.
"""

from typing import TYPE_CHECKING, Any

from specprobe.arrays import Array, device, namespace
from specprobe.errors import InputMismatch
from specprobe.spectral.arguments import Shape, check_shape
from specprobe.spectral.grid import ring_bands, ring_sizes

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = [
    "band_shares",
    "centroid_cycles_per_image",
    "cumulative_shares",
    "half_power_cycles_per_image",
    "ring_shares",
    "shares",
    "spectral_entropy_bits",
    "white_noise_shares",
]


def shares(sums: Array, /) -> Array:
    """Values divided by their total.

    Parameters
    ----------
    sums : array, shape (..., G), float32 or float64
        Not negative, such as wedge sums.

    Returns
    -------
    array, shape (..., G)
        Each row sums to 1; NaN where the total is 0 or not finite, since nothing has no shares.
    """
    xp = namespace(sums)
    wide = xp.astype(sums, xp.float64)
    total = xp.sum(wide, axis=-1, keepdims=True)
    known = (total > 0) & xp.isfinite(total)
    parts = xp.where(known, wide, xp.full_like(wide, xp.nan)) / xp.where(known, total, xp.ones_like(total))
    return xp.astype(parts, sums.dtype)


def ring_shares(ring_sums: Array, /) -> Array:
    """Share of each ring in the power off the mean.

    Parameters
    ----------
    ring_sums : array, shape (..., R + 1)
        From ring 0, as of :func:`~specprobe.spectral.power.ring_sums`.

    Returns
    -------
    array, shape (..., R)
        From ring 1; each row sums to 1, or is NaN where there is no power off the mean.
    """
    return shares(ring_sums[..., 1:])


def white_noise_shares(shape: Shape, /) -> "NDArray[np.float64]":
    """Ring shares that white noise has on average: what ring sums are to be read against.

    Parameters
    ----------
    shape : (int, int)
        Height and width.

    Returns
    -------
    numpy.ndarray of float64, shape (R,)
        Ring sizes from ring 1, divided by H · W - 1.

    Examples
    --------
    >>> white = white_noise_shares((32, 32))
    >>> white.size, int(white.argmax()) + 1, round(float(white.max()), 4)
    (23, 16, 0.0919)
    """
    height, width = check_shape(shape)
    return ring_sizes((height, width))[1:] / max(height * width - 1, 1)


def _rings(shares: Array) -> tuple[Any, Array, Array]:
    """Namespace, float64 shares, and the radii that they belong to."""
    xp = namespace(shares)
    radii = xp.arange(1, shares.shape[-1] + 1, dtype=xp.float64, device=device(shares))
    return xp, xp.astype(shares, xp.float64), radii


def band_shares(shares: Array, /, *, shape: Shape) -> Array:
    """Share of the low, middle and high rings.

    Parameters
    ----------
    shares : array, shape (..., R)
        Of the rings from 1.
    shape : (int, int)
        Height and width, which set the limits: see :func:`~specprobe.spectral.grid.ring_bands`.

    Returns
    -------
    array, shape (..., 3)
        Low, middle, high.

    Raises
    ------
    InputMismatch
        If images of that shape have fewer than R rings.
    """
    rings = ring_sizes(shape).size - 1
    if shares.shape[-1] > rings:
        msg = (
            f"there are shares of {shares.shape[-1]} rings; accepted for height {shape[0]} and width {shape[1]} are "
            f"up to {rings}, from ring 1: does `shape` name the images that they come from?"
        )
        raise InputMismatch(msg)
    xp, wide, radii = _rings(shares)
    bands = []
    for band in ring_bands(shape):
        inside = radii >= band.start
        if band.stop is not None:
            inside = inside & (radii < band.stop)
        bands.append(xp.sum(wide * xp.astype(inside, xp.float64), axis=-1))
    return xp.astype(xp.stack(bands, axis=-1), shares.dtype)


def centroid_cycles_per_image(shares: Array, /) -> Array:
    """Mean ring, weighted with its share.

    Parameters
    ----------
    shares : array, shape (..., R)
        Of the rings from 1; rows need not sum to 1.

    Returns
    -------
    array, shape (...)
        ``Σ r p(r) / Σ p(r)``, in cycles per image (per shorter side); NaN where all shares are 0.
    """
    xp, wide, radii = _rings(shares)
    total = xp.sum(wide, axis=-1)
    some = total > 0
    weighted = xp.where(some, xp.sum(wide * radii, axis=-1), xp.full_like(total, xp.nan))
    return xp.astype(weighted / xp.where(some, total, xp.ones_like(total)), shares.dtype)


def spectral_entropy_bits(shares: Array, /) -> Array:
    """Entropy of the shares, in bits.

    Parameters
    ----------
    shares : array, shape (..., R)
        Each row sums to 1.

    Returns
    -------
    array, shape (...)
        ``-Σ p log₂ p``: 0 where one ring holds all, at most ``log₂ R``.
    """
    xp, wide, _ = _rings(shares)
    logarithms = xp.log2(xp.where(wide > 0, wide, xp.ones_like(wide)))
    return xp.astype(xp.sum(-wide * logarithms, axis=-1), shares.dtype)


def cumulative_shares(shares: Array, /) -> Array:
    """Share of all rings up to each.

    Parameters
    ----------
    shares : array, shape (..., R)
        Of the rings from 1.

    Returns
    -------
    array, shape (..., R)
        ``C(r) = Σ_{1 ≤ q ≤ r} p(q)``.
    """
    xp, wide, _ = _rings(shares)
    return xp.astype(xp.cumulative_sum(wide, axis=-1), shares.dtype)


def half_power_cycles_per_image(shares: Array, /) -> Array:
    """Frequency below which half of the power off the mean lies.

    Parameters
    ----------
    shares : array, shape (..., R)
        Of the rings from 1; rows need not sum to 1.

    Returns
    -------
    array, shape (...)
        In cycles per image (per shorter side). The power of ring r is taken to be spread evenly over
        ``[r - 0.5, r + 0.5)``, so that power on one ring alone gives that ring. NaN where all shares are 0.
    """
    xp, wide, radii = _rings(shares)
    reached = xp.cumulative_sum(wide, axis=-1)
    half = reached[..., -1:] / 2
    # The first ring with C(r) >= half, which therefore has power, unless there is none at all.
    first = xp.argmax(xp.astype(reached >= half, xp.int8), axis=-1, keepdims=True)
    here = xp.astype(xp.arange(wide.shape[-1], device=device(wide)) == first, xp.float64)
    share, radius, upper = (xp.sum(here * x, axis=-1) for x in (wide, radii, reached))
    some = share > 0
    beyond = (upper - half[..., 0]) / xp.where(some, share, xp.ones_like(share))
    return xp.astype(xp.where(some, radius + 0.5 - beyond, xp.full_like(share, xp.nan)), shares.dtype)
