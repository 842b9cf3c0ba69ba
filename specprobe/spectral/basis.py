"""Real images of one spatial frequency."""

import functools
from typing import TYPE_CHECKING, Any

import numpy as np

from specprobe.arrays import Array, namespace
from specprobe.errors import InputMismatch
from specprobe.spectral.arguments import Shape, check_images, check_shape, placed
from specprobe.spectral.grid import half_plane_index, real_frequencies

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = ["basis_coefficients", "basis_images", "quadrature_pairs", "self_conjugate"]


def self_conjugate(frequencies: "NDArray[np.integer[Any]]", /, *, shape: Shape) -> "NDArray[np.bool_]":
    """Which frequencies equal their own conjugate: k = -k.

    Parameters
    ----------
    frequencies : numpy.ndarray of int, shape (K, 2)
        ``(f_y, f_x)`` in cycles per image.
    shape : (int, int)
        Height and width.

    Returns
    -------
    numpy.ndarray of bool, shape (K,)
        True at the mean and where each component is 0 or at the Nyquist frequency: for four cells if both sides are
        even, two if one is, one if none is.
    """
    found: NDArray[np.bool_] = np.all(2 * frequencies % np.asarray(check_shape(shape)) == 0, axis=1)
    return found


def basis_images(
    frequencies: "NDArray[np.integer[Any]]", /, *, shape: Shape, like: Array, phase_degrees: "ArrayLike" = 0.0
) -> Array:
    """Real Fourier basis images of unit L2 norm.

    Parameters
    ----------
    frequencies : numpy.ndarray of int, shape (K, 2)
        ``(f_y, f_x)`` in cycles per image, such as rows of :func:`~specprobe.spectral.grid.real_frequencies`.
    shape : (int, int)
        Height and width.
    like : array, float32 or float64
        Names library, device and dtype.
    phase_degrees : float or array_like, shape (K,)
        Phase φ: 0 is the cosine of [1]_'s unofficial code, 45 the image of its official code.

    Returns
    -------
    array, shape (K, H, W)
        ``sqrt(2 / (H W)) · cos(2π (f_y y / H + f_x x / W) + φ)``, in pixels. Its spectrum is zero but at k
        and -k. Self-conjugate frequencies have one image at every phase, ``cos(…) / sqrt(H W)`` at φ = 0.

    Raises
    ------
    InputMismatch
        If a frequency lies outside the grid of ``shape``, or shapes do not fit.

    Notes
    -----
    The images of k and -k are the same at phase 0, and orthogonal at 45°, where the published map shows that of the
    raster-first cell for both. K · H · W numbers are made on the device from K · (H + W) on the host.

    References
    ----------
    .. [1] D. Yin, R. Gontijo Lopes, J. Shlens, E. D. Cubuk, J. Gilmer, A Fourier perspective on model robustness in
       computer vision, NeurIPS 2019. arXiv:1906.08988
    """
    height, width = check_shape(shape)
    pairs = _checked(frequencies, (height, width))
    try:
        phase = np.radians(np.broadcast_to(np.asarray(phase_degrees, np.float64), (len(pairs),)))[:, None]
    except ValueError as error:
        msg = (
            f"there are phases of shape {np.shape(phase_degrees)} for {len(pairs)} frequencies; "
            "accepted are one number, or one for each frequency"
        )
        raise InputMismatch(msg) from error
    alone = self_conjugate(pairs, shape=(height, width))[:, None]
    phase = np.where(alone, 0.0, phase)
    amplitude = np.sqrt(np.where(alone, 1.0, 2.0) / (height * width))
    y, x = _turns(pairs[:, 0], height), _turns(pairs[:, 1], width) + phase
    xp = namespace(like)
    cos_y, sin_y, cos_x, sin_x = (
        xp.astype(placed(table, like), like.dtype)
        for table in (amplitude * np.cos(y), amplitude * np.sin(y), np.cos(x), np.sin(x))
    )
    return cos_y[:, :, None] * cos_x[:, None, :] - sin_y[:, :, None] * sin_x[:, None, :]


def _turns(frequency: "NDArray[np.int64]", side: int) -> "NDArray[np.float64]":
    """Phase at each pixel (K, side), reduced to one turn while it is a whole number, so that no digits are lost."""
    turns: NDArray[np.int64] = frequency[:, None] * np.arange(side)[None, :] % side
    return turns.astype(np.float64) * (2 * np.pi / side)


def _checked(frequencies: "NDArray[np.integer[Any]]", shape: Shape) -> "NDArray[np.int64]":
    pairs = np.asarray(frequencies)
    if pairs.ndim != 2 or pairs.shape[1] != 2 or pairs.dtype.kind not in "iu":
        msg = f"the frequencies are of {pairs.dtype} and shape {pairs.shape}; accepted are whole numbers, shape (K, 2)"
        raise InputMismatch(msg)
    pairs = pairs.astype(np.int64)
    low = -(np.asarray(shape) // 2)
    high = low + np.asarray(shape) - 1
    outside = ((pairs < low) | (pairs > high)).any(axis=1)
    if outside.any():
        f_y, f_x = pairs[outside.argmax()].tolist()
        msg = (
            f"frequency (f_y, f_x) = ({f_y}, {f_x}) lies outside images of height {shape[0]} and width {shape[1]}; "
            f"accepted are f_y from {low[0]} to {high[0]} and f_x from {low[1]} to {high[1]}"
        )
        raise InputMismatch(msg)
    return pairs


def quadrature_pairs(
    frequencies: "NDArray[np.integer[Any]]", /, *, shape: Shape, like: Array, phase_degrees: "ArrayLike" = 0.0
) -> Array:
    """Two orthogonal basis images of each frequency, a quarter turn apart.

    Parameters
    ----------
    frequencies : numpy.ndarray of int, shape (K, 2)
        As of :func:`basis_images`.
    shape : (int, int)
        Height and width.
    like : array, float32 or float64
        Names library, device and dtype.
    phase_degrees : float or array_like, shape (K,)
        Phase φ of the first image; the second has φ - 90°: cosine and sine for φ = 0.

    Returns
    -------
    array, shape (K, 2, H, W)
        Of all frequencies of :func:`~specprobe.spectral.grid.real_frequencies`, an orthonormal basis of real images,
        but for the second images of self-conjugate frequencies: they have none, and zeros stand for it.

    Raises
    ------
    InputMismatch
        As :func:`basis_images`.
    """
    first = basis_images(frequencies, shape=shape, like=like, phase_degrees=phase_degrees)
    quarter = np.asarray(phase_degrees, np.float64) - 90
    second = basis_images(frequencies, shape=shape, like=like, phase_degrees=quarter)
    xp = namespace(like)
    paired = ~self_conjugate(np.asarray(frequencies), shape=shape)
    kept = xp.astype(placed(paired, like), like.dtype)
    return xp.stack([first, second * kept[:, None, None]], axis=1)


@functools.lru_cache(maxsize=16)
def _coefficient_cells(shape: Shape) -> "tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.bool_]]":
    """Where the half plane holds each real frequency, the sign of its sine part, and whether it is self-conjugate."""
    pairs = real_frequencies(shape)
    (height, width), (f_y, f_x) = shape, pairs.T
    cells = half_plane_index(shape)[f_y + height // 2, f_x + width // 2]
    sign = np.where((f_x < 0) & (2 * f_x != -width), -1.0, 1.0)  # there the half plane holds the conjugate
    return cells, sign, self_conjugate(pairs, shape=shape)


def basis_coefficients(images: Array, /, *, phase_degrees: float = 0.0) -> Array:
    """Inner products of images with the basis images of all frequencies, from one FFT.

    Parameters
    ----------
    images : array, shape (..., H, W), float32 or float64
        Usually input gradients: the products are then directional derivatives.
    phase_degrees : float
        Phase of the basis images.

    Returns
    -------
    array, shape (..., K)
        ``Σ images · basis_images(real_frequencies((H, W)), …)``, of the dtype of ``images``. With φ and φ - 90° the
        squares of a pair sum to twice the power at k, off the self-conjugate frequencies.

    Raises
    ------
    InputMismatch
        If the images are no real floating planes.
    """
    xp = check_images(images)
    shape: Shape = (images.shape[-2], images.shape[-1])
    cells, sign, alone = _coefficient_cells(shape)
    spectrum = xp.fft.rfftn(images, axes=(-2, -1), norm="ortho")
    leading = tuple(images.shape[:-2])
    flat = xp.reshape(spectrum, (*leading, shape[0] * (shape[1] // 2 + 1)))
    found = xp.take(flat, placed(cells, images), axis=-1)
    phase = np.radians(phase_degrees)
    # ⟨g, sqrt(2) cos(θ + φ)⟩ = sqrt(2) Re(G e^{-iφ}) = sqrt(2) (Re G cos φ + Im G sin φ)
    real = np.where(alone, 1.0, np.sqrt(2) * np.cos(phase))
    imaginary = np.where(alone, 0.0, np.sqrt(2) * np.sin(phase) * sign)
    in_phase, across = (xp.astype(placed(part, images), images.dtype) for part in (real, imaginary))
    return xp.real(found) * in_phase + xp.imag(found) * across
