"""A Fourier mask as its free parameters: one value for each frequency that differs in real images.

Only the symmetric part of a mask changes a real image, ``Re F⁻¹(M · F x) = F⁻¹(M_sym · F x)``, and the gradient of
anything with respect to M is symmetric. A mask with one parameter for k and −k is therefore all there is, and a mask
learned on the full plane from ones, as published, is this one.
"""

import functools
from typing import TYPE_CHECKING

import numpy as np

from specprobe.arrays import Array, namespace, to_host
from specprobe.spectral.arguments import Shape, check_shape, placed
from specprobe.spectral.grid import centred_index, frequency_index, half_plane_index

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["apply_to_spectra", "centred", "densities", "frequency_counts", "mask_gradients", "spectra"]


@functools.lru_cache(maxsize=16)
def _spread(shape: Shape) -> "NDArray[np.int64]":
    """Parameter of each cell of the half plane, flat."""
    return frequency_index(shape).reshape(-1)[centred_index(shape).reshape(-1)]


@functools.lru_cache(maxsize=16)
def _picked(shape: Shape) -> "NDArray[np.int64]":
    """Cell of the half plane that each parameter's gradient is read at, flat: its conjugate has the same."""
    first = np.unique(frequency_index(shape), return_index=True)[1]
    return half_plane_index(shape).reshape(-1)[first]


@functools.lru_cache(maxsize=16)
def frequency_counts(shape: Shape, /) -> "NDArray[np.int64]":
    """Cells of the full plane that each parameter stands for.

    Parameters
    ----------
    shape : (int, int)
        Height and width.

    Returns
    -------
    numpy.ndarray of int64, shape (F,)
        1 or 2, in the order of :func:`~specprobe.spectral.grid.real_frequencies`; sums to H · W.
    """
    counts = np.bincount(frequency_index(check_shape(shape)).reshape(-1))
    counts.setflags(write=False)
    return counts


def densities(values: Array, /, *, shape: Shape) -> "NDArray[np.float64]":
    """Share of the full plane that masks keep: ``‖M‖₁ / (H · W)``.

    Parameters
    ----------
    values : array, shape (..., F)
        Parameters, not negative; of any library, on any device.
    shape : (int, int)
        Height and width.

    Returns
    -------
    numpy.ndarray of float64, shape (...)
        Each frequency counts as often as it occurs in the plane.
    """
    xp = namespace(values)
    weights = placed(frequency_counts(shape) / (shape[0] * shape[1]), values)
    return np.asarray(to_host(xp.sum(xp.astype(values, xp.float64) * weights, axis=-1)), np.float64)


def centred(values: "NDArray[np.floating]", /, *, shape: Shape) -> "NDArray[np.floating]":
    """Maps of masks.

    Parameters
    ----------
    values : numpy.ndarray, shape (..., F)
        Parameters.
    shape : (int, int)
        Height and width.

    Returns
    -------
    numpy.ndarray, shape (..., H, W)
        Centred, equal at k and −k to the bit.
    """
    return np.asarray(values[..., frequency_index(shape)])


def spectra(images: Array, /) -> Array:
    """Half planes of the images' Fourier transforms, not normalised.

    Parameters
    ----------
    images : array, shape (N, C, H, W)
        Any library and device.

    Returns
    -------
    array, shape (N, C, H, W // 2 + 1)
        Complex.
    """
    return namespace(images).fft.rfftn(images, axes=(-2, -1))


def apply_to_spectra(transformed: Array, values: Array, /, *, shape: Shape) -> Array:
    """Images under masks: ``F⁻¹(M · F x)``.

    Parameters
    ----------
    transformed : array, shape (N, C, H, W // 2 + 1)
        Of :func:`spectra`.
    values : array, shape (1 or N, 1 or C, F)
        Parameters; of the library and device of ``transformed``, of any real dtype.
    shape : (int, int)
        Height and width.

    Returns
    -------
    array, shape (N, C, H, W)
        Real, of the precision of ``transformed``.
    """
    xp = namespace(transformed)
    half = xp.take(values, placed(_spread(shape), values), axis=-1)
    half = xp.reshape(half, (*values.shape[:-1], shape[0], shape[1] // 2 + 1))
    real = xp.real(transformed).dtype
    return xp.fft.irfftn(transformed * xp.astype(half, real), s=shape, axes=(-2, -1))


def mask_gradients(transformed: Array, d_images: Array, /, *, shape: Shape, per_channel: bool) -> Array:
    """Derivative of each image's loss with respect to each cell of its mask.

    Parameters
    ----------
    transformed : array, shape (N, C, H, W // 2 + 1)
        Of :func:`spectra`, of the images without a mask.
    d_images : array, shape (N, C, H, W)
        Gradient of the losses with respect to the masked images.
    shape : (int, int)
        Height and width.
    per_channel : bool
        Whether channels have masks of their own, or their derivatives are added up.

    Returns
    -------
    array, shape (N, C, F) or (N, 1, F)
        ``Re(X(k) · conj(G(k))) / (H · W)``, float64: with respect to one cell of the full plane, as if k and −k were
        two parameters. That of a parameter is :func:`frequency_counts` times as large, as is that of its L1 norm.
    """
    xp = namespace(transformed, d_images)
    product = xp.real(transformed * xp.conj(spectra(d_images)))
    flat = xp.reshape(product, (*product.shape[:2], shape[0] * (shape[1] // 2 + 1)))
    picked = xp.astype(xp.take(flat, placed(_picked(shape), flat), axis=-1), xp.float64)
    by_channel = picked / (shape[0] * shape[1])
    return by_channel if per_channel else xp.sum(by_channel, axis=1, keepdims=True)
