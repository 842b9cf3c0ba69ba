"""In which bands a mask lies: by radius, and by direction.

The energy of a band is the L2 norm of its part of ``M / ‖M‖₂`` [1]_, so that the squares of disjoint bands which cover
the plane sum to 1.

References
----------
.. [1] N. Karantzas, E. Besier, J. Ortega Caro, X. Pitkow, A. S. Tolias, A. B. Patel, F. Anselmi, Understanding
   robustness and generalization of artificial neural networks through Fourier masks, Frontiers in Artificial
   Intelligence 5 (2022), 890016. arXiv:2203.08822
"""

import math
from typing import TYPE_CHECKING

import numpy as np

from specprobe.errors import InputMismatch
from specprobe.spectral.arguments import Shape, check_shape
from specprobe.spectral.grid import frequencies, radius

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "ENERGY_BANDS",
    "angular_bands",
    "angular_energy",
    "radial_bands",
    "radial_centres",
    "radial_energy",
]

ENERGY_BANDS = 64
"""Bands unless another number is asked for, as published."""


def _checked_bands(bands: int) -> int:
    if bands < 1:
        msg = f"bands is {bands}; accepted are whole numbers from 1, such as {ENERGY_BANDS}"
        raise ValueError(msg)
    return bands


def radial_bands(shape: Shape, /, *, bands: int = ENERGY_BANDS) -> "NDArray[np.int64]":
    """Radial band of each cell.

    Parameters
    ----------
    shape : (int, int)
        Height and width.
    bands : int
        Equally wide, from radius 0 to that of the corner, ``min(H, W) / √2`` cycles per shorter side.

    Returns
    -------
    numpy.ndarray of int64, shape (H, W)
        Centred; the mean is in band 0, the corner in the last.

    Raises
    ------
    ValueError
        If ``bands`` is below 1.
    """
    height, width = check_shape(shape)
    found = radius((height, width)) * math.sqrt(2) * _checked_bands(bands) / min(height, width)
    # On squares, diagonal cells lie exactly on edges: rounding must not push them below.
    return np.minimum(np.floor(found + 1e-9), bands - 1).astype(np.int64)


def radial_centres(shape: Shape, /, *, bands: int = ENERGY_BANDS) -> "NDArray[np.float64]":
    """Middle of each radial band.

    Parameters
    ----------
    shape : (int, int)
        Height and width.
    bands : int
        As of :func:`radial_bands`.

    Returns
    -------
    numpy.ndarray of float64, shape (bands,)
        In cycles per shorter side.
    """
    height, width = check_shape(shape)
    middles = np.arange(_checked_bands(bands), dtype=np.float64) + 0.5
    return middles * (min(height, width) / (math.sqrt(2) * bands))


def angular_bands(shape: Shape, /, *, bands: int = ENERGY_BANDS) -> "NDArray[np.int64]":
    """Wedge of the full circle that each cell lies in.

    Parameters
    ----------
    shape : (int, int)
        Height and width.
    bands : int
        Wedge i holds the angles from ``i · 360 / bands`` up to the next, counter-clockwise from the right as the map is
        shown, first row on top.

    Returns
    -------
    numpy.ndarray of int64, shape (H, W)
        Centred; −1 at the mean. By the cell's place in the map, as published: k and −k lie in opposite wedges, but for
        cells at the Nyquist frequency, which the map shows once.

    Raises
    ------
    ValueError
        If ``bands`` is below 1.
    """
    height, width = check_shape(shape)
    f_y, f_x = frequencies((height, width))
    degrees = np.degrees(np.arctan2(-f_y[:, None] / height, f_x[None, :] / width)) % 360
    found = np.floor(degrees * _checked_bands(bands) / 360).astype(np.int64) % bands
    found[height // 2, width // 2] = -1
    return found


def radial_energy(
    masks: "NDArray[np.floating]", /, *, bands: int = ENERGY_BANDS, channels: bool = False
) -> "NDArray[np.float64]":
    """Energy of masks by radius.

    Parameters
    ----------
    masks : numpy.ndarray, shape (..., H, W)
        Centred.
    bands : int
        As of :func:`radial_bands`.
    channels : bool
        Whether the last axis but two holds the channels of one mask.

    Returns
    -------
    numpy.ndarray of float64, shape (..., bands)
        0 where a mask is 0 everywhere.

    Raises
    ------
    InputMismatch
        If an axis is missing.
    ValueError
        If ``bands`` is below 1.
    """
    return _energies(masks, radial_bands(_plane(masks, channels), bands=bands), bands, channels)


def angular_energy(
    masks: "NDArray[np.floating]", /, *, bands: int = ENERGY_BANDS, channels: bool = False
) -> "NDArray[np.float64]":
    """Energy of masks by direction.

    Parameters
    ----------
    masks : numpy.ndarray, shape (..., H, W)
        Centred.
    bands : int
        As of :func:`angular_bands`.
    channels : bool
        Whether the last axis but two holds the channels of one mask.

    Returns
    -------
    numpy.ndarray of float64, shape (..., bands)
        0 where a mask is 0 everywhere. The mean counts in ``‖M‖₂`` and in no wedge.

    Raises
    ------
    InputMismatch
        If an axis is missing.
    ValueError
        If ``bands`` is below 1.
    """
    return _energies(masks, angular_bands(_plane(masks, channels), bands=bands), bands, channels)


def _plane(masks: "NDArray[np.floating]", channels: bool) -> Shape:
    if masks.ndim < 2 + channels:
        accepted = "(..., C, H, W)" if channels else "(..., H, W)"
        msg = f"the masks have shape {masks.shape}; accepted is {accepted}"
        raise InputMismatch(msg)
    return masks.shape[-2], masks.shape[-1]


def _energies(
    masks: "NDArray[np.floating]", labels: "NDArray[np.int64]", bands: int, channels: bool
) -> "NDArray[np.float64]":
    squares = masks.astype(np.float64) ** 2
    if channels:
        squares = squares.sum(axis=-3)
    flat = squares.reshape(-1, labels.size)
    # One more bin in front takes the cells that are in no band.
    rows = labels.reshape(-1) + 1 + (bands + 1) * np.arange(len(flat))[:, None]
    sums = np.bincount(rows.reshape(-1), flat.reshape(-1), minlength=len(flat) * (bands + 1))
    totals = flat.sum(axis=1, keepdims=True)
    parts = sums.reshape(-1, bands + 1)[:, 1:] / np.where(totals > 0, totals, 1)
    return np.sqrt(parts).reshape(*squares.shape[:-2], bands)
