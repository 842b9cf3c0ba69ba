"""Orthonormal bases in which the power of images can be asked for: one interface.

For a unitary transform U, the gradient with respect to the coefficients of an image is U applied to the gradient with
respect to its pixels. A sensitivity in any of these bases is therefore the power of the input gradient in it.
"""

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from specprobe.arrays import Array, namespace
from specprobe.errors import InputMismatch
from specprobe.spectral import power as fourier
from specprobe.spectral.arguments import Shape, check_batch, check_images, check_shape, placed
from specprobe.spectral.grid import radius, rings_of_radius
from specprobe.spectral.groups import Groups, group_sums

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from specprobe.spectral.power import Channels

__all__ = ["DCT", "FOURIER", "HAAR", "HADAMARD", "TRANSFORMS", "Transform"]


@dataclass(frozen=True, slots=True)
class Transform:
    """A unitary transform of the last two axes, and the frequency of each of its coefficients.

    Attributes
    ----------
    name : str
        As of ``--basis``.
    forward : callable
        Images, shape (..., H, W), to coefficients of the same shape; its adjoint is its inverse.
    inverse : callable
        Coefficients to images.
    radius : callable
        Shape (H, W) to the radial frequency of each coefficient, in cycles per shorter side: float64, shape (H, W),
        read-only, 0 at the mean and nowhere else.
    """

    name: str
    forward: "Callable[[Array], Array]"
    inverse: "Callable[[Array], Array]"
    radius: "Callable[[Shape], NDArray[np.float64]]"

    def power(self, images: Array, /) -> Array:
        """Squared magnitude of the coefficients, as the transform stores it.

        Parameters
        ----------
        images : array, shape (..., H, W), float32 or float64
            Any library and device.

        Returns
        -------
        array, shape (..., H, S)
            For :meth:`ring_sums` and :meth:`power_map`. S is W; for the Fourier basis W // 2 + 1, the half plane.
        """
        coefficients = self.forward(images)
        return coefficients * coefficients

    def image_power(self, images: Array, /, *, channels: "Channels" = "power") -> Array:
        """Power of each image, its channels taken together.

        Parameters
        ----------
        images : array, shape (N, C, H, W), float32 or float64
            Usually gradients.
        channels : {"power", "mean_before"}
            Mean of the channels' power, or power of the channels' mean.

        Returns
        -------
        array, shape (N, H', S)
            As of :meth:`power`, of images of height and width ``power_shape((H, W), channels=channels)``.
        """
        fourier.check_channels(channels)
        xp = check_batch(images)
        planes = fourier.channel_mean(images, pad=False) if channels == "mean_before" else images
        return xp.mean(self.power(planes), axis=1)

    def power_shape(self, shape: Shape, /, *, channels: "Channels" = "power") -> Shape:
        """Height and width that :meth:`ring_sums` and :meth:`power_map` are to be told.

        Parameters
        ----------
        shape : (int, int)
            Of the images.
        channels : {"power", "mean_before"}
            As of :meth:`image_power`.

        Returns
        -------
        (int, int)
            ``shape``, but for the Fourier basis under ``"mean_before"``, where odd sides grow by one.
        """
        fourier.check_channels(channels)
        return check_shape(shape)

    def power_map(self, power: Array, /, *, shape: Shape) -> Array:
        """Map of power, in the layout of :attr:`radius`.

        Parameters
        ----------
        power : array, shape (..., H, S)
            As of :meth:`power`.
        shape : (int, int)
            H and W.

        Returns
        -------
        array, shape (..., H, W)
            Centred for the Fourier basis; otherwise the mean is at [0, 0].
        """
        if tuple(power.shape[-2:]) != check_shape(shape):
            msg = f"the power has shape {tuple(power.shape)}; accepted is (..., {shape[0]}, {shape[1]})"
            raise InputMismatch(msg)
        return power

    def ring_sums(self, power: Array, /, *, shape: Shape) -> Array:
        """Total power on each ring of :meth:`rings`.

        Parameters
        ----------
        power : array, shape (..., H, S)
            As of :meth:`power`.
        shape : (int, int)
            H and W.

        Returns
        -------
        array, shape (..., R + 1)
            From ring 0, the mean. Added up in float64, of the dtype of ``power``.
        """
        return group_sums(power, _ring_groups(self, check_shape(shape)))

    def rings(self, shape: Shape, /) -> "NDArray[np.int64]":
        """Ring of each coefficient: its radius rounded to a whole number.

        Parameters
        ----------
        shape : (int, int)
            H and W.

        Returns
        -------
        numpy.ndarray of int64, shape (H, W)
            0 is the mean alone.
        """
        return rings_of_radius(self.radius(check_shape(shape)))

    def ring_sizes(self, shape: Shape, /) -> "NDArray[np.int64]":
        """How many coefficients each ring holds.

        Parameters
        ----------
        shape : (int, int)
            H and W.

        Returns
        -------
        numpy.ndarray of int64, shape (R + 1,)
            Sums to H · W; rings may be empty for Haar's basis.
        """
        return np.bincount(self.rings(shape).ravel())

    def white_noise_shares(self, shape: Shape, /) -> "NDArray[np.float64]":
        """Ring shares that white noise has on average.

        Parameters
        ----------
        shape : (int, int)
            H and W.

        Returns
        -------
        numpy.ndarray of float64, shape (R,)
            Ring sizes from ring 1, divided by H · W - 1.
        """
        sizes = self.ring_sizes(shape)
        shares: NDArray[np.float64] = sizes[1:] / max(int(sizes.sum()) - 1, 1)
        return shares


@functools.lru_cache(maxsize=16)
def _ring_groups(transform: Transform, shape: Shape) -> Groups:
    rings = transform.rings(shape)
    return Groups.of_labels(rings, count=int(rings.max()) + 1)


class _Fourier(Transform):
    """Keeps the half plane, since that of a real image says all."""

    __slots__ = ()

    def power(self, images: Array, /) -> Array:
        return fourier.power(images)

    def image_power(self, images: Array, /, *, channels: "Channels" = "power") -> Array:
        return fourier.image_power(images, channels=channels)

    def power_shape(self, shape: Shape, /, *, channels: "Channels" = "power") -> Shape:
        return fourier.power_shape(shape, channels=channels)

    def power_map(self, power: Array, /, *, shape: Shape) -> Array:
        return fourier.full_plane(power, shape=shape)

    def ring_sums(self, power: Array, /, *, shape: Shape) -> Array:
        return fourier.ring_sums(power, shape=shape)


def _dft(images: Array) -> Array:
    xp = check_images(images)
    complex_dtype = xp.complex64 if images.dtype == xp.float32 else xp.complex128
    spectrum = xp.fft.fftn(xp.astype(images, complex_dtype), axes=(-2, -1), norm="ortho")
    return xp.fft.fftshift(spectrum, axes=(-2, -1))


def _inverse_dft(coefficients: Array) -> Array:
    xp = namespace(coefficients)
    spectrum = xp.fft.ifftshift(coefficients, axes=(-2, -1))
    return xp.real(xp.fft.ifftn(spectrum, axes=(-2, -1), norm="ortho"))


def _products(matrix: "Callable[[int], NDArray[np.float64]]", images: Array, *, transposed: bool) -> Array:
    """``A x Bᵀ`` of the matrices for the height and width of the images; or ``Aᵀ x B``."""
    xp = check_images(images)
    left, right = (
        xp.astype(placed(matrix(side).T if transposed else matrix(side), images), images.dtype)
        for side in images.shape[-2:]
    )
    return xp.matmul(xp.matmul(left, images), xp.matrix_transpose(right))


@functools.lru_cache(maxsize=16)
def _dct_matrix(side: int) -> "NDArray[np.float64]":
    order = np.arange(side)
    turns = order[:, None] * (2 * order[None, :] + 1) % (4 * side)  # whole numbers: no digits are lost
    matrix: NDArray[np.float64] = np.sqrt(np.where(order == 0, 1, 2) / side)[:, None] * np.cos(
        np.pi / (2 * side) * turns
    )
    matrix.setflags(write=False)
    return matrix


def _dct(images: Array) -> Array:
    return _products(_dct_matrix, images, transposed=False)


def _inverse_dct(coefficients: Array) -> Array:
    return _products(_dct_matrix, coefficients, transposed=True)


@functools.lru_cache(maxsize=16)
def _half_cycles(shape: Shape) -> "NDArray[np.float64]":
    """Radius where coefficient k along a side oscillates k / 2 times: the DCT, and Walsh functions by sequency."""
    (height, width), shorter = shape, min(shape)
    y, x = np.arange(height) * shorter / height, np.arange(width) * shorter / width
    rho: NDArray[np.float64] = np.sqrt(y[:, None] ** 2 + x[None, :] ** 2) / 2
    rho.setflags(write=False)
    return rho


def _power_of_two(side: int) -> bool:
    return side & (side - 1) == 0


@functools.lru_cache(maxsize=16)
def _walsh_matrix(side: int) -> "NDArray[np.float64]":
    """Walsh functions, row k with k changes of sign."""
    if not _power_of_two(side):
        msg = (
            f"the images have a side of {side} pixels; accepted in the Hadamard basis are powers of two: "
            "crop or resize them, or take the basis dct"
        )
        raise InputMismatch(msg)
    index = np.arange(side)
    signs = 1 - 2 * (np.bitwise_count(index[:, None] & index[None, :]).astype(np.int64) % 2)
    changes = np.count_nonzero(np.diff(signs, axis=1), axis=1)
    matrix: NDArray[np.float64] = signs[np.argsort(changes)] / np.sqrt(side)
    matrix.setflags(write=False)
    return matrix


def _hadamard(images: Array) -> Array:
    return _products(_walsh_matrix, images, transposed=False)


def _inverse_hadamard(coefficients: Array) -> Array:
    return _products(_walsh_matrix, coefficients, transposed=True)


def _sequency(shape: Shape) -> "NDArray[np.float64]":
    for side in shape:
        _walsh_matrix(side)
    return _half_cycles(shape)


def _haar_levels(shape: Shape) -> int:
    """How often both sides can be halved."""
    height, width = check_shape(shape)
    common = np.gcd(height, width)
    levels = int(common & -common).bit_length() - 1
    if levels == 0:
        msg = (
            f"the images have height {height} and width {width}; accepted in the Haar basis are even ones: "
            "crop or resize them, or take the basis dct"
        )
        raise InputMismatch(msg)
    return levels


def _haar(images: Array) -> Array:
    xp = check_images(images)
    coarse, details = images, []
    for _ in range(_haar_levels((images.shape[-2], images.shape[-1]))):
        top, bottom = coarse[..., ::2, :], coarse[..., 1::2, :]
        (a, b), (c, d) = (
            (x[..., ::2] + x[..., 1::2], x[..., ::2] - x[..., 1::2]) for x in (top + bottom, top - bottom)
        )
        coarse = a / 2
        details.append((b / 2, c / 2, d / 2))
    coarse = _dct(coarse)
    for b, c, d in reversed(details):
        coarse = xp.concat([xp.concat([coarse, b], axis=-1), xp.concat([c, d], axis=-1)], axis=-2)
    return coarse


def _inverse_haar(coefficients: Array) -> Array:
    xp = check_images(coefficients)
    height, width = coefficients.shape[-2:]
    leading = tuple(coefficients.shape[:-2])
    levels = _haar_levels((height, width))
    coarse = _inverse_dct(coefficients[..., : height >> levels, : width >> levels])
    for level in range(levels, 0, -1):
        h, w = height >> level, width >> level
        b = coefficients[..., :h, w : 2 * w]
        c, d = coefficients[..., h : 2 * h, :w], coefficients[..., h : 2 * h, w : 2 * w]
        rows = [
            xp.reshape(xp.stack([(x + y) / 2, (x - y) / 2], axis=-1), (*leading, h, 2 * w))
            for x, y in ((coarse + c, b + d), (coarse - c, b - d))
        ]
        coarse = xp.reshape(xp.stack(rows, axis=-2), (*leading, 2 * h, 2 * w))
    return coarse


@functools.lru_cache(maxsize=16)
def _haar_radius(shape: Shape) -> "NDArray[np.float64]":
    """One cycle is the width of the wavelet: min(H, W) / 2^level; the averages that are left are cosines."""
    height, width = shape
    levels = _haar_levels(shape)
    rho = np.empty(shape)
    for level in range(1, levels + 1):
        rho[: height >> (level - 1), : width >> (level - 1)] = min(shape) / 2**level
    h, w = height >> levels, width >> levels
    rho[:h, :w] = _half_cycles((h, w)) * (min(shape) / 2**levels / min(h, w))
    rho.setflags(write=False)
    return rho


FOURIER = _Fourier("fourier", _dft, _inverse_dft, radius)
"""The unitary DFT; coefficients are complex and centred."""

DCT = Transform("dct", _dct, _inverse_dct, _half_cycles)
"""The orthonormal DCT-II; coefficient k of a side of n pixels has k / 2 cycles."""

HADAMARD = Transform("hadamard", _hadamard, _inverse_hadamard, _sequency)
"""The orthonormal Walsh–Hadamard transform by sequency, k changes of sign being k / 2 cycles; for powers of two."""

HAAR = Transform("haar", _haar, _inverse_haar, _haar_radius)
"""The orthonormal Haar wavelets in the usual pyramid: each level has one horizontal, vertical and diagonal detail, and
one ring. Sides must be even; averages that cannot be halved any more are given by their DCT, the mean first."""

TRANSFORMS = {transform.name: transform for transform in (FOURIER, DCT, HADAMARD, HAAR)}
"""Every transform by its name."""
