"""How a mask lies in the plane of frequencies: by radius in a few numbers, and whether it prefers directions."""

from typing import TYPE_CHECKING, Any

import numpy as np

from specprobe.analysis.mask_energy import ENERGY_BANDS, angular_bands, angular_energy
from specprobe.errors import InputMismatch
from specprobe.spectral.grid import angle_degrees, radius, ring_bands, rings

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from specprobe.spectral.arguments import Shape

__all__ = ["NUMBERS", "mask_numbers"]

NUMBERS = (
    "density",
    "low_share",
    "mid_share",
    "high_share",
    "centroid_cycles_per_image",
    "angular_variation",
    "angular_variation_isotropic",
    "axis_diagonal_contrast",
)
"""What :func:`mask_numbers` returns, in this order."""


def mask_numbers(masks: "NDArray[np.floating[Any]]", /) -> "NDArray[np.float64]":
    """Numbers that say where masks lie.

    Parameters
    ----------
    masks : numpy.ndarray, shape (N, C, H, W)
        Centred, equal at k and -k; the C planes of a mask are taken together.

    Returns
    -------
    numpy.ndarray of float64, shape (N, 8)
        By mask, in the order of :data:`NUMBERS`; NaN where a mask has nothing off the mean, but for the density.

    Raises
    ------
    InputMismatch
        If an axis is missing.

    Notes
    -----
    ``density`` is the mean of the mask. All others are of its squares off the mean. ``low_share``, ``mid_share`` and
    ``high_share`` are the parts of their sum in the rings up to a sixth of the shorter side, up to a third, and beyond;
    ``centroid_cycles_per_image`` is the mean radius, weighted with them. ``angular_variation`` is the coefficient of
    variation (ddof 0) of the energies of 64 wedges; ``angular_variation_isotropic`` the same of the mask made isotropic,
    in which each cell holds the root mean square of its ring: a grid of cells alone varies that much. With A the squares
    within 22.5° of the two axes and D those within 22.5° of the diagonals, each divided by that of the isotropic mask,
    ``axis_diagonal_contrast`` is ``(A - D) / (A + D)``: 0 for masks that are rings, 1 for masks on the axes, -1 for masks
    on the diagonals. The ratio A / D itself, ``(1 + c) / (1 - c)``, has no mean over sparse masks, of which some have no
    diagonals at all.
    """
    if masks.ndim != 4:
        msg = f"the masks have shape {masks.shape}; accepted is (N, C, H, W)"
        raise InputMismatch(msg)
    shape = (masks.shape[2], masks.shape[3])
    squares = (masks.astype(np.float64) ** 2).sum(axis=1)
    ring = rings(shape)
    off_mean = np.where(ring > 0, squares, 0.0)
    total = off_mean.sum(axis=(1, 2))
    known = np.where(total > 0, total, np.nan)
    low, mid, high = ring_bands(shape)
    by_ring = _sums(off_mean, ring)
    isotropic = (by_ring / np.bincount(ring.ravel()))[:, ring]
    shares = [by_ring[:, part].sum(axis=1) / known for part in (low, mid, high)]
    centroid = (off_mean * radius(shape)).sum(axis=(1, 2)) / known
    variation = [_variation(np.sqrt(plane)) for plane in (off_mean, isotropic)]
    axis, diagonal = (_relative(off_mean, isotropic, near) for near in _directions(shape))
    contrast = (axis - diagonal) / (axis + diagonal)
    density = masks.mean(axis=(1, 2, 3), dtype=np.float64)
    return np.stack([density, *shares, centroid, *variation, contrast], axis=1)


def _sums(squares: "NDArray[np.float64]", ring: "NDArray[np.int64]") -> "NDArray[np.float64]":
    flat = ring.ravel()
    return np.stack([np.bincount(flat, weights=plane.ravel()) for plane in squares])


def _variation(planes: "NDArray[np.float64]") -> "NDArray[np.float64]":
    """Coefficient of variation of the wedges' energies, of wedges that hold a cell."""
    held = np.unique(angular_bands((planes.shape[1], planes.shape[2]), bands=ENERGY_BANDS))
    energy = angular_energy(planes, bands=ENERGY_BANDS)[:, held[held >= 0]]
    mean = energy.mean(axis=1)
    found: NDArray[np.float64] = energy.std(axis=1) / np.where(mean > 0, mean, np.nan)
    return found


def _directions(shape: "Shape") -> "tuple[NDArray[np.bool_], NDArray[np.bool_]]":
    """Cells nearer to an axis than to a diagonal, and the others."""
    axis = np.abs((angle_degrees(shape) + 45) % 90 - 45) < 22.5
    return axis, ~axis


def _relative(
    squares: "NDArray[np.float64]", isotropic: "NDArray[np.float64]", cells: "NDArray[np.bool_]"
) -> "NDArray[np.float64]":
    """What lies in some cells, in units of what would lie there without a preference; NaN where that is nothing."""
    there, expected = (np.where(cells, planes, 0).sum(axis=(1, 2)) for planes in (squares, isotropic))
    found: NDArray[np.float64] = there / np.where(expected > 0, expected, np.nan)
    return found
