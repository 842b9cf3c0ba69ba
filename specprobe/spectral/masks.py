"""Which spatial frequencies of an image are kept.

Masks are centred maps of shape (H, W) on the host: bool where cells are kept or dropped, float64 where they are
scaled. They are equal at k and -k. The complement of a mask is ``~mask`` (bool) or ``1 - mask``. Radii are in cycles
per shorter side, as of :func:`specprobe.spectral.grid.radius`.
"""

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from specprobe.arrays import Array, is_numpy, namespace
from specprobe.errors import InputMismatch
from specprobe.spectral.arguments import Shape, check_images, check_number, check_shape, placed
from specprobe.spectral.grid import angle_degrees, centred_index, frequencies, mirror_index, radius

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray

__all__ = [
    "apply_mask",
    "apply_masks",
    "band_pass",
    "butterworth",
    "checked_mask",
    "disc",
    "gaussian",
    "high_pass",
    "low_pass",
    "notch",
    "square",
    "wedge",
]


def low_pass(shape: Shape, /, *, cutoff: float) -> "NDArray[np.bool_]":
    """Mask that keeps ``rho < cutoff``.

    Parameters
    ----------
    shape : (int, int)
        Height and width.
    cutoff : float
        Radius, from 0 (nothing is kept).

    Returns
    -------
    numpy.ndarray of bool, shape (H, W)
        Centred.

    Raises
    ------
    InputMismatch
        If the shape or the cutoff is out of range; so in every mask of this module.

    References
    ----------
    .. [1] H. Wang, X. Wu, Z. Huang, E. P. Xing, High-frequency component helps explain the generalization of
       convolutional neural networks, CVPR 2020. arXiv:1905.13545

    Examples
    --------
    >>> [int(low_pass((32, 32), cutoff=a).sum()) for a in (4, 8, 12, 16, 20, 24, 28)]
    [45, 193, 437, 793, 995, 1024, 1024]
    """
    return radius(shape) < check_number(cutoff, name="cutoff", low=0)


def high_pass(shape: Shape, /, *, cutoff: float) -> "NDArray[np.bool_]":
    """Mask that keeps ``rho >= cutoff``: the exact complement of :func:`low_pass`.

    Parameters
    ----------
    shape : (int, int)
        Height and width.
    cutoff : float
        Radius, from 0 (everything is kept).

    Returns
    -------
    numpy.ndarray of bool, shape (H, W)
        Centred.
    """
    return ~low_pass(shape, cutoff=cutoff)


def band_pass(shape: Shape, /, *, low: float, high: float) -> "NDArray[np.bool_]":
    """Mask that keeps ``low <= rho < high``.

    Parameters
    ----------
    shape : (int, int)
        Height and width.
    low, high : float
        Radii, ``0 <= low < high``; ``high`` may be infinite.

    Returns
    -------
    numpy.ndarray of bool, shape (H, W)
        Centred.
    """
    check_number(low, name="low", low=0)
    if not low < high:
        msg = f"the band {low}:{high} is empty; accepted are radii low < high"
        raise InputMismatch(msg)
    return low_pass(shape, cutoff=high) & ~low_pass(shape, cutoff=low)


def _distances(shape: Shape, centre: tuple[int, int]) -> "tuple[NDArray[np.float64], NDArray[np.float64]]":
    """Vertical (H, 1) and horizontal (1, W) distance from ``centre``, around the edges, per shorter side."""
    height, width = check_shape(shape)
    found = []
    for values, side, middle, name in zip(
        frequencies((height, width)), (height, width), centre, ("f_y", "f_x"), strict=True
    ):
        check_number(middle, name=f"{name} of the centre", low=float(values[0]), high=float(values[-1]))
        apart = np.abs(values - middle)
        found.append(np.minimum(apart, side - apart) * min(height, width) / side)
    return found[0][:, None], found[1][None, :]


def _with_mirror(mask: "NDArray[np.bool_]") -> "NDArray[np.bool_]":
    both: NDArray[np.bool_] = mask | mask.ravel()[mirror_index((mask.shape[0], mask.shape[1]))]
    return both


def disc(shape: Shape, /, *, cutoff: float, centre: tuple[int, int] = (0, 0)) -> "NDArray[np.bool_]":
    """Mask that keeps the frequencies closer than ``cutoff`` to one of them, and their conjugates.

    Parameters
    ----------
    shape : (int, int)
        Height and width.
    cutoff : float
        Radius of the disc, from 0.
    centre : (int, int)
        ``(f_y, f_x)`` in cycles per image; (0, 0) makes a low pass.

    Returns
    -------
    numpy.ndarray of bool, shape (H, W)
        Centred. Distances go around the edges of the map, as frequencies do.
    """
    y, x = _distances(shape, centre)
    return _with_mirror(np.sqrt(y**2 + x**2) < check_number(cutoff, name="cutoff", low=0))


def square(shape: Shape, /, *, cutoff: float, centre: tuple[int, int] = (0, 0)) -> "NDArray[np.bool_]":
    """Mask that keeps the frequencies both of whose components are closer than ``cutoff`` to those of one of them.

    Parameters
    ----------
    shape : (int, int)
        Height and width.
    cutoff : float
        Half side of the square, from 0: ``max(|f_y|, |f_x|) < cutoff`` on square images.
    centre : (int, int)
        ``(f_y, f_x)`` in cycles per image; (0, 0) makes a low pass.

    Returns
    -------
    numpy.ndarray of bool, shape (H, W)
        Centred; with the conjugates.
    """
    y, x = _distances(shape, centre)
    return _with_mirror(np.maximum(y, x) < check_number(cutoff, name="cutoff", low=0))


def notch(shape: Shape, /, *, cutoff: float, centre: tuple[int, int]) -> "NDArray[np.bool_]":
    """Mask that drops what :func:`disc` keeps.

    Parameters
    ----------
    shape : (int, int)
        Height and width.
    cutoff : float
        Radius of the disc, from 0.
    centre : (int, int)
        ``(f_y, f_x)`` in cycles per image.

    Returns
    -------
    numpy.ndarray of bool, shape (H, W)
        Centred.
    """
    return ~disc(shape, cutoff=cutoff, centre=centre)


def wedge(shape: Shape, /, *, low_degrees: float, high_degrees: float) -> "NDArray[np.bool_]":
    """Mask that keeps the directions ``low_degrees <= angle < high_degrees``, modulo 180°.

    Parameters
    ----------
    shape : (int, int)
        Height and width.
    low_degrees, high_degrees : float
        ``low < high <= low + 180``; angles as of :func:`~specprobe.spectral.grid.angle_degrees`, also at the Nyquist
        frequency, where a mask cannot keep a half.

    Returns
    -------
    numpy.ndarray of bool, shape (H, W)
        Centred. The mean has no direction and is dropped.
    """
    if not 0 < high_degrees - low_degrees <= 180:
        msg = f"the wedge {low_degrees}:{high_degrees} degrees is out of range; accepted are low < high <= low + 180"
        raise InputMismatch(msg)
    kept = (angle_degrees(shape) - low_degrees) % 180 < high_degrees - low_degrees
    kept[shape[0] // 2, shape[1] // 2] = False
    return kept


def butterworth(shape: Shape, /, *, cutoff: float, order: float) -> "NDArray[np.float64]":
    """Low pass with Butterworth's edge: ``1 / (1 + (rho / cutoff)^(2 order))``.

    Parameters
    ----------
    shape : (int, int)
        Height and width.
    cutoff : float
        Radius at which the mask is one half; above 0.
    order : float
        Steepness; above 0.

    Returns
    -------
    numpy.ndarray of float64, shape (H, W)
        Centred, within [0, 1].
    """
    check_number(cutoff, name="cutoff", low=math.ulp(0))
    check_number(order, name="order", low=math.ulp(0))
    with np.errstate(over="ignore"):  # infinity gives the 0 that it stands for
        return 1 / (1 + (radius(shape) / cutoff) ** (2 * order))


def gaussian(shape: Shape, /, *, cutoff: float) -> "NDArray[np.float64]":
    """Low pass with a Gaussian edge: ``exp(-rho² / (2 cutoff²))``.

    Parameters
    ----------
    shape : (int, int)
        Height and width.
    cutoff : float
        Standard deviation, at which the mask is 0.61; above 0.

    Returns
    -------
    numpy.ndarray of float64, shape (H, W)
        Centred, within [0, 1].
    """
    check_number(cutoff, name="cutoff", low=math.ulp(0))
    with np.errstate(over="ignore"):
        return np.exp(-((radius(shape) / cutoff) ** 2) / 2)


def checked_mask(mask: "NDArray[Any]", /, *, shape: Shape, symmetrize: bool = False) -> "NDArray[Any]":
    """A mask of the user's, fit for :func:`apply_mask`.

    Parameters
    ----------
    mask : numpy.ndarray, shape (..., H, W)
        Bool or real, centred.
    shape : (int, int)
        Height and width that it must have.
    symmetrize : bool
        Whether to take the mean of k and -k, which is all that a mask does to the real part, where they differ.

    Returns
    -------
    numpy.ndarray, shape (..., H, W)
        Bool or float64, equal at k and -k.

    Raises
    ------
    InputMismatch
        If the shape is another one, values are not finite or not real, or k and -k differ and ``symmetrize`` is false.
    """
    height, width = check_shape(shape)
    values = np.asarray(mask)
    if values.ndim < 2 or values.shape[-2:] != (height, width):
        msg = (
            f"the mask has shape {values.shape}; accepted is (..., {height}, {width}), the mean in the middle"
        )
        raise InputMismatch(msg)
    if values.dtype.kind not in "biuf":
        msg = f"the mask is of {values.dtype}; accepted are bool and real numbers"
        raise InputMismatch(msg)
    if values.dtype != np.bool_:
        values = values.astype(np.float64, copy=False)
        if not np.isfinite(values).all():
            bad = int((~np.isfinite(values)).sum())
            msg = f"{bad} values of the mask are NaN or infinite; accepted are finite numbers"
            raise InputMismatch(msg)
    mirrored = values.reshape(*values.shape[:-2], -1)[..., mirror_index((height, width))]
    if np.array_equal(values, mirrored):
        return values
    if not symmetrize:
        *_, row, column = np.argwhere(values != mirrored)[0]
        msg = (
            f"the mask differs at frequency (f_y, f_x) = ({row - height // 2}, {column - width // 2}) and its "
            "conjugate; accepted are masks that are equal at k and -k: is it centred? Otherwise have it symmetrised"
        )
        raise InputMismatch(msg)
    mean: NDArray[np.float64] = (values.astype(np.float64) + mirrored) / 2
    return mean


def apply_masks(
    images: Array, masks: "Iterable[Array]", /, *, restore_mean: bool = False, clip: bool = False
) -> "Iterator[Array]":
    """Images filtered by one mask after the other, at the cost of one forward FFT.

    Parameters
    ----------
    images : array, shape (..., H, W), float32 or float64
        Any library and device.
    masks : iterable of array, shape (..., H, W)
        Centred; of the host, or of the library and device of ``images``. Leading axes are broadcast, such as (C, H, W).
    restore_mean : bool
        Whether each plane keeps its mean, whatever the mask does to it.
    clip : bool
        Whether the result is clipped to [0, 1].

    Yields
    ------
    array, shape (..., H, W)
        ``Re F⁻¹(mask · F(images))``, of the dtype of ``images``.

    Raises
    ------
    InputMismatch
        If the images are no real floating planes, or a mask has another height or width.
    """
    xp = check_images(images)
    shape: Shape = (images.shape[-2], images.shape[-1])
    return _filtered(images, xp.fft.rfftn(images, axes=(-2, -1)), shape, masks, restore_mean, clip)


def _filtered(
    images: Array, spectrum: Array, shape: Shape, masks: "Iterable[Array]", restore_mean: bool, clip: bool
) -> "Iterator[Array]":
    xp = namespace(images)
    for mask in masks:
        if mask.ndim < 2 or tuple(mask.shape[-2:]) != shape:
            msg = f"the mask has shape {tuple(mask.shape)}; accepted for these images is (..., {shape[0]}, {shape[1]})"
            raise InputMismatch(msg)
        kept = xp.astype(placed(mask, images) if is_numpy(mask) else mask, images.dtype)
        half = _half_plane(kept, shape)
        if restore_mean:
            mean = np.zeros(half.shape[-2:], np.bool_)
            mean[0, 0] = True
            half = xp.where(placed(mean, images), xp.ones_like(half), half)
        result = xp.fft.irfftn(spectrum * half, s=shape, axes=(-2, -1))
        yield xp.clip(result, 0, 1) if clip else result


def _half_plane(mask: Array, shape: Shape) -> Array:
    """Half plane of the symmetric part: the other part only makes an imaginary part, which is not kept."""
    xp = namespace(mask)
    flat = xp.reshape(mask, (*mask.shape[:-2], shape[0] * shape[1]))
    centred = centred_index(shape).reshape(-1)
    there, mirrored = (
        xp.take(flat, placed(index, mask), axis=-1)
        for index in (centred, mirror_index(shape).reshape(-1)[centred])
    )
    return xp.reshape((there + mirrored) / 2, (*mask.shape[:-2], shape[0], shape[1] // 2 + 1))


def apply_mask(images: Array, mask: Array, /, *, restore_mean: bool = False, clip: bool = False) -> Array:
    """Images of which the mask keeps some frequencies.

    Parameters
    ----------
    images : array, shape (..., H, W), float32 or float64
        Any library and device.
    mask : array, shape (..., H, W)
        Centred; of the host, or of the library and device of ``images``. Leading axes are broadcast, such as (C, H, W).
    restore_mean : bool
        Whether each plane keeps its mean, whatever the mask does to it.
    clip : bool
        Whether the result is clipped to [0, 1].

    Returns
    -------
    array, shape (..., H, W)
        ``Re F⁻¹(mask · F(images))``, of the dtype of ``images``.

    Raises
    ------
    InputMismatch
        If the images are no real floating planes, or the mask has another height or width.
    """
    return next(apply_masks(images, (mask,), restore_mean=restore_mean, clip=clip))
