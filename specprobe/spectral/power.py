"""How much power images hold at each spatial frequency.

Ring *sums* and ring *means* are different things: white noise gives sums that grow with the ring up to the shorter
half side, and means that are flat.
"""

import functools
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

import numpy as np

from specprobe.arrays import Array, device, namespace
from specprobe.errors import InputMismatch
from specprobe.spectral.arguments import Shape, check_batch, check_images, check_shape, placed
from specprobe.spectral.grid import (
    angle_degrees,
    centred_index,
    frequencies,
    half_plane_index,
    multiplicities,
    ring_sizes,
    rings,
)
from specprobe.spectral.groups import Groups, group_sums

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "WEDGES",
    "Channels",
    "channel_mean",
    "check_channels",
    "full_plane",
    "image_power",
    "power",
    "power_shape",
    "ring_means",
    "ring_sums",
    "wedge_means",
    "wedge_sizes",
    "wedge_sums",
]

Channels: TypeAlias = Literal["power", "mean_before"]
"""``power``: the power of each channel, then their mean. ``mean_before``: the power of the channels' mean."""

WEDGES = 12
"""Wedges of an angular profile unless another number is asked for: each 15° wide, so that axes and diagonals lie in
the middle of theirs."""


def power(images: Array, /) -> Array:
    """Power of images at each spatial frequency.

    Parameters
    ----------
    images : array, shape (..., H, W), float32 or float64
        Any library and device.

    Returns
    -------
    array, shape (..., H, W // 2 + 1)
        ``|FFT|²`` of the unitary FFT over the last two axes, in squared units of the images, of their dtype; the
        half plane, not shifted. Weighted with :func:`~specprobe.spectral.grid.multiplicities` it sums to the sum of
        squared pixels.

    Raises
    ------
    InputMismatch
        If the images are no real floating planes.
    """
    xp = check_images(images)
    spectrum = xp.fft.rfftn(images, axes=(-2, -1), norm="ortho")
    return xp.real(spectrum) ** 2 + xp.imag(spectrum) ** 2


def check_channels(channels: str, /) -> None:
    """Refuse what is no way to treat channels.

    Parameters
    ----------
    channels : str
        ``"power"`` or ``"mean_before"``.

    Raises
    ------
    ValueError
        If it is neither.
    """
    if channels not in get_args(Channels):
        msg = (
            f"channels is {channels!r}; accepted are 'power' (mean of the channels' power) and 'mean_before'"
        )
        raise ValueError(msg)


def power_shape(shape: Shape, /, *, channels: Channels = "power") -> Shape:
    """Height and width of the plane whose power :func:`image_power` returns.

    Parameters
    ----------
    shape : (int, int)
        Height and width of the images.
    channels : {"power", "mean_before"}
        As there.

    Returns
    -------
    (int, int)
        ``shape``; under ``"mean_before"``, odd sides grow by one.
    """
    check_channels(channels)
    height, width = check_shape(shape)
    return (height, width) if channels == "power" else (height + height % 2, width + width % 2)


def channel_mean(images: Array, /, *, pad: bool) -> Array:
    """Mean of the channels, as one channel.

    Parameters
    ----------
    images : array, shape (N, C, H, W), float32 or float64
        Usually gradients.
    pad : bool
        Whether odd sides get a row or column of zeros at their end.

    Returns
    -------
    array, shape (N, 1, H, W)
        H and W even if ``pad``.
    """
    xp = check_batch(images)
    mean = xp.mean(images, axis=1, keepdims=True)
    for axis in (-2, -1):
        if pad and mean.shape[axis] % 2:
            edge = list(mean.shape)
            edge[axis] = 1
            zeros = xp.zeros(tuple(edge), dtype=mean.dtype, device=device(mean))
            mean = xp.concat([mean, zeros], axis=axis)
    return mean


def image_power(images: Array, /, *, channels: Channels = "power") -> Array:
    """Power of each image at each spatial frequency, its channels taken together.

    Parameters
    ----------
    images : array, shape (N, C, H, W), float32 or float64
        Usually gradients or perturbations.
    channels : {"power", "mean_before"}
        Mean of the channels' power; or power of the channels' mean, in which opposite colours cancel, and for which
        odd sides are padded with zeros to even ones, as in the code of [1]_.

    Returns
    -------
    array, shape (N, H', W' // 2 + 1)
        Half plane as of :func:`power`; ``(H', W')`` is ``power_shape((H, W), channels=channels)``.

    Raises
    ------
    InputMismatch
        If the images are no real floating (N, C, H, W).
    ValueError
        If ``channels`` is neither.

    References
    ----------
    .. [1] K. Krishnamachari, S.-K. Ng, C.-S. Foo, Fourier sensitivity and regularization of computer vision
       models, TMLR 2023. arXiv:2301.13514
    """
    check_channels(channels)
    xp = check_batch(images)
    return xp.mean(power(channel_mean(images, pad=True) if channels == "mean_before" else images), axis=1)


def full_plane(half: Array, /, *, shape: Shape) -> Array:
    """Centred map of power that is given by its half plane.

    Parameters
    ----------
    half : array, shape (..., H, W // 2 + 1)
        As of :func:`power`, or anything else that is equal at k and -k.
    shape : (int, int)
        H and W.

    Returns
    -------
    array, shape (..., H, W)
        Frequency ``(f_y, f_x)`` at ``[f_y + H // 2, f_x + W // 2]``.

    Raises
    ------
    InputMismatch
        If ``half`` is no half plane of ``shape``.
    """
    height, width = check_shape(shape)
    if tuple(half.shape[-2:]) != (height, width // 2 + 1):
        msg = (
            f"the half plane has shape {tuple(half.shape)}; accepted for images of height {height} and width {width} "
            f"is (..., {height}, {width // 2 + 1})"
        )
        raise InputMismatch(msg)
    xp = namespace(half)
    leading = tuple(half.shape[:-2])
    flat = xp.reshape(half, (*leading, height * (width // 2 + 1)))
    index = placed(half_plane_index((height, width)).reshape(-1), half)
    return xp.reshape(xp.take(flat, index, axis=-1), (*leading, height, width))


@functools.lru_cache(maxsize=16)
def _ring_groups(shape: Shape) -> Groups:
    labels = rings(shape).ravel()[centred_index(shape)]
    return Groups.of_labels(labels, count=ring_sizes(shape).size, weights=multiplicities(shape))


def _wedge_labels(shape: Shape, wedges: int) -> "tuple[NDArray[np.int64], NDArray[np.int64]]":
    """The two wedges of each cell of the centred map, equal but at the Nyquist frequency; -1 at the mean."""
    angle, (f_y, f_x) = angle_degrees(shape), frequencies(shape)
    # There f and -f are one cell, whose wave varies in the direction θ as much as in -θ.
    nyquist = (2 * f_y == -shape[0])[:, None] | (2 * f_x == -shape[1])[None, :]
    either = (angle, np.where(nyquist, -angle % 180, angle))
    first, second = (np.floor(degrees * wedges / 180 + 0.5).astype(np.int64) % wedges for degrees in either)
    for labels in (first, second):
        labels[shape[0] // 2, shape[1] // 2] = -1
    return first, second


def _check_wedges(wedges: int) -> None:
    if wedges < 1:
        msg = f"wedges is {wedges}; accepted are whole numbers from 1, such as {WEDGES}"
        raise ValueError(msg)


@functools.lru_cache(maxsize=16)
def _wedge_groups(shape: Shape, wedges: int) -> Groups:
    first, second = (labels.ravel()[centred_index(shape)] for labels in _wedge_labels(shape, wedges))
    return Groups.halved(first, second, count=wedges, weights=multiplicities(shape))


def ring_sums(half: Array, /, *, shape: Shape) -> Array:
    """Total power on each ring.

    Parameters
    ----------
    half : array, shape (..., H, W // 2 + 1)
        As of :func:`power`.
    shape : (int, int)
        H and W.

    Returns
    -------
    array, shape (..., R + 1)
        By ring from 0, the mean, to the corner; all cells of the full plane counted. Added up in float64, of the
        dtype of ``half``.

    Raises
    ------
    InputMismatch
        If ``half`` is no half plane of ``shape``.
    """
    return group_sums(half, _ring_groups(check_shape(shape)))


def ring_means(half: Array, /, *, shape: Shape) -> Array:
    """Mean power on each ring: the azimuthal average, or radial power spectral density.

    Parameters
    ----------
    half : array, shape (..., H, W // 2 + 1)
        As of :func:`power`.
    shape : (int, int)
        H and W.

    Returns
    -------
    array, shape (..., R + 1)
        :func:`ring_sums` divided by :func:`~specprobe.spectral.grid.ring_sizes`.

    Raises
    ------
    InputMismatch
        If ``half`` is no half plane of ``shape``.
    """
    return _divided(ring_sums(half, shape=shape), ring_sizes(shape))


def wedge_sizes(shape: Shape, /, *, wedges: int = WEDGES) -> "NDArray[np.float64]":
    """How many cells of the full plane each wedge holds.

    Parameters
    ----------
    shape : (int, int)
        Height and width.
    wedges : int
        As of :func:`wedge_sums`.

    Returns
    -------
    numpy.ndarray of float64, shape (wedges,)
        Cells at the Nyquist frequency count half in each of their two wedges. Sums to H · W - 1.
    """
    _check_wedges(wedges)
    either = [labels.ravel() + 1 for labels in _wedge_labels(check_shape(shape), wedges)]
    counts = [np.bincount(labels, minlength=wedges + 1)[1:] for labels in either]
    return (counts[0] + counts[1]) / 2


def wedge_sums(half: Array, /, *, shape: Shape, wedges: int = WEDGES) -> Array:
    """Total power in each wedge of directions.

    Parameters
    ----------
    half : array, shape (..., H, W // 2 + 1)
        As of :func:`power`.
    shape : (int, int)
        H and W.
    wedges : int
        How many share the half circle.

    Returns
    -------
    array, shape (..., wedges)
        Wedge i is centred on ``i · 180 / wedges`` degrees, of :func:`~specprobe.spectral.grid.angle_degrees`. The
        mean is in none. A cell at the Nyquist frequency lies half in the wedge of its angle θ, half in that of -θ,
        since its wave varies in both directions. Added up in float64, of the dtype of ``half``.

    Raises
    ------
    InputMismatch
        If ``half`` is no half plane of ``shape``.
    ValueError
        If ``wedges`` is below 1.
    """
    _check_wedges(wedges)
    return group_sums(half, _wedge_groups(check_shape(shape), wedges))


def wedge_means(half: Array, /, *, shape: Shape, wedges: int = WEDGES) -> Array:
    """Mean power in each wedge of directions.

    Parameters
    ----------
    half : array, shape (..., H, W // 2 + 1)
        As of :func:`power`.
    shape : (int, int)
        H and W.
    wedges : int
        How many share the half circle.

    Returns
    -------
    array, shape (..., wedges)
        :func:`wedge_sums` divided by :func:`wedge_sizes`; 0 where a wedge holds no cell.

    Raises
    ------
    InputMismatch
        If ``half`` is no half plane of ``shape``.
    ValueError
        If ``wedges`` is below 1.
    """
    return _divided(wedge_sums(half, shape=shape, wedges=wedges), wedge_sizes(shape, wedges=wedges))


def _divided(sums: Array, sizes: "NDArray[Any]") -> Array:
    held = np.where(sizes > 0, sizes, 1)
    return sums / namespace(sums).astype(placed(held, sums), sums.dtype)
