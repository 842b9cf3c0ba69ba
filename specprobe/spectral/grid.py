"""Which spatial frequency each cell of a spectrum stands for.

Everything here lives on the host, is computed once per shape, and is read-only. Maps are centred: frequency
``(f_y, f_x)`` lies at ``[f_y + H // 2, f_x + W // 2]``.
"""

import functools
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np

from specprobe.spectral.arguments import Shape, check_shape

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Result = TypeVar("Result", bound=NDArray[Any] | tuple[NDArray[Any], NDArray[Any]])

__all__ = [
    "Bands",
    "angle_degrees",
    "centred_index",
    "cycles_per_pixel",
    "frequencies",
    "frequency_index",
    "half_plane_index",
    "mirror_index",
    "multiplicities",
    "radius",
    "real_frequencies",
    "ring_bands",
    "ring_sizes",
    "rings",
    "rings_of_radius",
]

_SHAPES_KEPT = 16


def _per_shape(function: "Callable[[Shape], Result]") -> "Callable[[Shape], Result]":
    """Check the shape, compute once, and let nobody write into what all share."""

    @functools.lru_cache(maxsize=_SHAPES_KEPT)
    def once(height: int, width: int) -> "Result":
        result = function((height, width))
        for array in result if isinstance(result, tuple) else (result,):
            array.setflags(write=False)
        return result

    @functools.wraps(function)
    def checked(shape: Shape, /) -> "Result":
        return once(*check_shape(shape))

    return checked


@_per_shape
def frequencies(shape: Shape, /) -> "tuple[NDArray[np.int64], NDArray[np.int64]]":
    """Vertical and horizontal frequencies, ascending.

    Parameters
    ----------
    shape : (int, int)
        Height and width.

    Returns
    -------
    f_y : numpy.ndarray of int64, shape (H,)
        In cycles per image height, from ``-(H // 2)``.
    f_x : numpy.ndarray of int64, shape (W,)
        In cycles per image width, from ``-(W // 2)``.

    Raises
    ------
    InputMismatch
        If ``shape`` is not two whole numbers from 1; so everywhere in this module.

    Examples
    --------
    >>> frequencies((4, 5))
    (array([-2, -1,  0,  1]), array([-2, -1,  0,  1,  2]))
    """
    height, width = shape
    return np.arange(height) - height // 2, np.arange(width) - width // 2


@_per_shape
def cycles_per_pixel(shape: Shape, /) -> "tuple[NDArray[np.float64], NDArray[np.float64]]":
    """Vertical and horizontal frequencies in cycles per pixel, ascending.

    Parameters
    ----------
    shape : (int, int)
        Height and width.

    Returns
    -------
    vertical : numpy.ndarray of float64, shape (H,)
        ``f_y / H``, within [-0.5, 0.5).
    horizontal : numpy.ndarray of float64, shape (W,)
        ``f_x / W``, within [-0.5, 0.5).
    """
    f_y, f_x = frequencies(shape)
    return f_y / shape[0], f_x / shape[1]


@_per_shape
def radius(shape: Shape, /) -> "NDArray[np.float64]":
    """Radial frequency of each cell in cycles per shorter side.

    Parameters
    ----------
    shape : (int, int)
        Height and width.

    Returns
    -------
    numpy.ndarray of float64, shape (H, W)
        ``sqrt((f_y / H)² + (f_x / W)²) · min(H, W)``, centred; cycles per image for squares, where whole radii
        are exact.

    Examples
    --------
    >>> bool(radius((28, 28))[14 + 3, 14 + 4] == 5)
    True
    """
    f_y, f_x = frequencies(shape)
    shorter = min(shape)
    # Multiplied before divided: on squares nothing is rounded before the root, so `rho < 5` means what it says.
    y, x = f_y * shorter / shape[0], f_x * shorter / shape[1]
    return np.sqrt(y[:, None] ** 2 + x[None, :] ** 2)


def rings_of_radius(radius: "NDArray[np.float64]", /) -> "NDArray[np.int64]":
    """Nearest whole radius, where 0 is for the mean alone.

    Parameters
    ----------
    radius : numpy.ndarray of float64
        In cycles per shorter side; 0 at the mean and nowhere else.

    Returns
    -------
    numpy.ndarray of int64
        ``floor(radius + 0.5)``, at least 1 off the mean: on images more than twice as wide as high, or high as
        wide, the lowest frequencies lie nearer to 0.
    """
    return np.maximum(np.floor(radius + 0.5), radius > 0).astype(np.int64)


@_per_shape
def rings(shape: Shape, /) -> "NDArray[np.int64]":
    """Ring of each cell: its radius rounded to a whole number, up to the corner.

    Parameters
    ----------
    shape : (int, int)
        Height and width.

    Returns
    -------
    numpy.ndarray of int64, shape (H, W)
        Centred; 0 is the mean alone.
    """
    return rings_of_radius(radius(shape))


@_per_shape
def ring_sizes(shape: Shape, /) -> "NDArray[np.int64]":
    """How many cells of the full plane each ring holds.

    Parameters
    ----------
    shape : (int, int)
        Height and width.

    Returns
    -------
    numpy.ndarray of int64, shape (R + 1,)
        By ring, from 0; sums to H · W.

    Examples
    --------
    >>> ring_sizes((32, 32))[:6]
    array([ 1,  8, 12, 16, 32, 28])
    """
    return np.bincount(rings(shape).ravel())


class Bands(NamedTuple):
    """Thirds of the frequency range, as slices of arrays by ring.

    Attributes
    ----------
    low, mid, high : slice
        Rings ``1 … n // 6``, ``n // 6 + 1 … n // 3``, and all beyond, of n = min(H, W).
    """

    low: slice
    mid: slice
    high: slice


def ring_bands(shape: Shape, /) -> Bands:
    """Low, middle and high rings.

    Parameters
    ----------
    shape : (int, int)
        Height and width.

    Returns
    -------
    Bands
        Slices of an array by ring that starts at ring 0; ring 0 is in none.

    References
    ----------
    .. [1] K. Krishnamachari, S.-K. Ng, C.-S. Foo, Fourier sensitivity and regularization of computer vision
       models, TMLR 2023. arXiv:2301.13514

    Examples
    --------
    >>> ring_bands((32, 32))
    Bands(low=slice(1, 6, None), mid=slice(6, 11, None), high=slice(11, None, None))
    """
    shorter = min(check_shape(shape))
    low, mid = shorter // 6 + 1, shorter // 3 + 1
    return Bands(slice(1, low), slice(low, mid), slice(mid, None))


@_per_shape
def angle_degrees(shape: Shape, /) -> "NDArray[np.float64]":
    """Direction in which the wave of each cell varies, in degrees.

    Parameters
    ----------
    shape : (int, int)
        Height and width.

    Returns
    -------
    numpy.ndarray of float64, shape (H, W)
        Centred, within [0, 180): 0 varies along the rows (upright stripes), and the angle grows counter-clockwise
        as the map is shown, first row on top. Equal at k and -k: a pair takes the angle of its raster-first cell. Where
        a component is at the Nyquist frequency, θ and -θ are as true of its wave; wedges halve it
        (:func:`~specprobe.spectral.power.wedge_sums`). 0 at the mean.
    """
    pair = real_frequencies(shape)
    angle = np.degrees(np.arctan2(-pair[:, 0] / shape[0], pair[:, 1] / shape[1])) % 180
    return angle[frequency_index(shape)]


@_per_shape
def mirror_index(shape: Shape, /) -> "NDArray[np.int64]":
    """Where the conjugate of each cell lies.

    Parameters
    ----------
    shape : (int, int)
        Height and width.

    Returns
    -------
    numpy.ndarray of int64, shape (H, W)
        Flat index of -k in the centred map, for each k of it.
    """
    (f_y, f_x), (height, width) = frequencies(shape), shape
    rows = (height // 2 - f_y) % height
    columns = (width // 2 - f_x) % width
    return rows[:, None] * width + columns[None, :]


def _first_of_pair(shape: Shape) -> "NDArray[np.int64]":
    mirror = mirror_index(shape)
    return np.minimum(np.arange(mirror.size).reshape(mirror.shape), mirror)


@_per_shape
def real_frequencies(shape: Shape, /) -> "NDArray[np.int64]":
    """Frequencies that differ in real images: one of each pair k, -k.

    Parameters
    ----------
    shape : (int, int)
        Height and width.

    Returns
    -------
    numpy.ndarray of int64, shape (K, 2)
        ``(f_y, f_x)`` in cycles per image: the raster-first cell of each pair in the centred map, in raster order.

    Examples
    --------
    >>> real_frequencies((32, 32)).shape
    (514, 2)
    """
    f_y, f_x = frequencies(shape)
    row, column = np.divmod(np.unique(_first_of_pair(shape)), shape[1])
    return np.stack([f_y[row], f_x[column]], axis=1)


@_per_shape
def frequency_index(shape: Shape, /) -> "NDArray[np.int64]":
    """Which of :func:`real_frequencies` each cell shows.

    Parameters
    ----------
    shape : (int, int)
        Height and width.

    Returns
    -------
    numpy.ndarray of int64, shape (H, W)
        Centred: ``values[frequency_index(shape)]`` spreads K values over the map, equal at k and -k.
    """
    return np.unique(_first_of_pair(shape), return_inverse=True)[1].reshape(shape)


@_per_shape
def multiplicities(shape: Shape, /) -> "NDArray[np.int64]":
    """How many cells of the full plane each cell of the half plane stands for.

    Parameters
    ----------
    shape : (int, int)
        Height and width.

    Returns
    -------
    numpy.ndarray of int64, shape (H, W // 2 + 1)
        2, but 1 in the columns ``f_x = 0`` and ``f_x = W / 2``; sums to H · W.
    """
    height, width = shape
    f_x = np.arange(width // 2 + 1)
    return np.broadcast_to(1 + ((f_x > 0) & (2 * f_x < width)), (height, f_x.size)).astype(np.int64)


@_per_shape
def centred_index(shape: Shape, /) -> "NDArray[np.int64]":
    """Where each cell of the half plane lies in the centred map.

    Parameters
    ----------
    shape : (int, int)
        Height and width.

    Returns
    -------
    numpy.ndarray of int64, shape (H, W // 2 + 1)
        Flat index: ``full.reshape(-1)[centred_index(shape)]`` is the half plane of a centred map.
    """
    height, width = shape
    rows = (np.arange(height) + height // 2) % height
    columns = (np.arange(width // 2 + 1) + width // 2) % width
    return rows[:, None] * width + columns[None, :]


@_per_shape
def half_plane_index(shape: Shape, /) -> "NDArray[np.int64]":
    """Where the half plane holds each cell of the centred map, or its conjugate.

    Parameters
    ----------
    shape : (int, int)
        Height and width.

    Returns
    -------
    numpy.ndarray of int64, shape (H, W)
        Flat index: ``half.reshape(-1)[half_plane_index(shape)]`` is the centred map of the half plane of a power.
    """
    centred = centred_index(shape).ravel()
    index = np.empty(shape, np.int64)
    index.ravel()[mirror_index(shape).ravel()[centred]] = np.arange(centred.size)
    index.ravel()[centred] = np.arange(centred.size)  # a cell that is there itself needs no conjugate
    return index
