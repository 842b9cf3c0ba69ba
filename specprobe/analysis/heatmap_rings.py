"""A heat map by ring and by band of frequencies: means over cells, and how far images let them be known."""

from typing import TYPE_CHECKING

import numpy as np

from specprobe.intervals import mean_interval, wilson_interval
from specprobe.spectral.grid import frequency_index, ring_bands, rings

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from specprobe.analysis.heatmap_result import FourierHeatmap
    from specprobe.spectral.arguments import Shape

__all__ = [
    "RING_MAPS",
    "band_means",
    "cells_by_ring",
    "estimate",
    "image_rings",
    "over_rings",
    "ring_interval",
    "ring_means",
    "spreads",
]

RING_MAPS = ("error_rate", "loss_increase")
"""Maps that have means by ring."""

_BOUNDS = {"error_rate": (0.0, 1.0), "loss_increase": (-np.inf, np.inf)}


def image_rings(
    values: "NDArray[np.bool_] | NDArray[np.float64]", places: "NDArray[np.int64]", shape: "Shape", /
) -> "NDArray[np.float32]":
    """Mean over the cells of each ring, image by image.

    Parameters
    ----------
    values : numpy.ndarray, shape (P, N)
        Of P frequencies and N images.
    places : numpy.ndarray of int64, shape (P,)
        Which of :func:`~specprobe.spectral.grid.real_frequencies`.
    shape : (int, int)
        Height and width.

    Returns
    -------
    numpy.ndarray of float32, shape (N, R + 1)
        By ring, from the mean alone; NaN where no cell was evaluated.
    """
    cells = np.bincount(frequency_index(shape).ravel())[places, None]
    of_frequency = np.empty(int(frequency_index(shape).max()) + 1, np.int64)
    of_frequency[frequency_index(shape)] = rings(shape)
    ring = of_frequency[places]
    found = np.full((values.shape[1], int(rings(shape).max()) + 1), np.nan, np.float32)
    for r in np.unique(ring):
        inside = ring == r
        found[:, r] = (cells[inside] * values[inside]).sum(axis=0) / cells[inside].sum()
    return found


def cells_by_ring(evaluated: "NDArray[np.bool_]", /) -> "NDArray[np.int64]":
    """How many cells of each ring were evaluated.

    Parameters
    ----------
    evaluated : numpy.ndarray of bool, shape (H, W)
        Centred.

    Returns
    -------
    numpy.ndarray of int64, shape (R + 1,)
        By ring.
    """
    ring = rings((evaluated.shape[0], evaluated.shape[1]))
    return np.bincount(ring[evaluated], minlength=int(ring.max()) + 1)


def ring_means(values: "NDArray[np.float64]", evaluated: "NDArray[np.bool_]", /) -> "NDArray[np.float64]":
    """Mean of a map over the cells of each ring that were evaluated.

    Parameters
    ----------
    values : numpy.ndarray of float64, shape (H, W)
        Centred.
    evaluated : numpy.ndarray of bool, shape (H, W)
        Which of them count.

    Returns
    -------
    numpy.ndarray of float64, shape (R + 1,)
        NaN where none was evaluated.
    """
    ring = rings((evaluated.shape[0], evaluated.shape[1]))
    cells = cells_by_ring(evaluated)
    sums = np.bincount(ring[evaluated], weights=values[evaluated], minlength=len(cells))
    means: NDArray[np.float64] = np.divide(sums, cells, out=np.full(len(cells), np.nan), where=cells > 0)
    return means


def over_rings(
    values: "NDArray[np.floating]", cells: "NDArray[np.int64]", start: int, stop: int, /
) -> "NDArray[np.float64]":
    """Mean over the cells of several rings.

    Parameters
    ----------
    values : numpy.ndarray, shape (..., R + 1)
        Means by ring.
    cells : numpy.ndarray of int64, shape (R + 1,)
        From :func:`cells_by_ring`.
    start, stop : int
        Rings ``start`` to ``stop - 1``.

    Returns
    -------
    numpy.ndarray of float64, shape (...)
        NaN where no cell was evaluated.
    """
    part = slice(start, stop)
    known = np.flatnonzero(cells[part])
    weights = cells[part][known]
    if len(known) == 0:
        return np.full(values.shape[:-1], np.nan)
    total = (values[..., part][..., known].astype(np.float64) * weights).sum(axis=-1)
    mean: NDArray[np.float64] = np.asarray(total / weights.sum())
    return mean


def band_means(
    values: "NDArray[np.floating]", cells: "NDArray[np.int64]", shape: "Shape", /
) -> "NDArray[np.float64]":
    """Means over the low, middle and high rings.

    Parameters
    ----------
    values : numpy.ndarray, shape (..., R + 1)
        Means by ring.
    cells : numpy.ndarray of int64, shape (R + 1,)
        From :func:`cells_by_ring`.
    shape : (int, int)
        Height and width.

    Returns
    -------
    numpy.ndarray of float64, shape (..., 3)
        NaN where no cell was evaluated.
    """
    stops = [(band.start, len(cells) if band.stop is None else band.stop) for band in ring_bands(shape)]
    return np.stack([over_rings(values, cells, start, stop) for start, stop in stops], axis=-1)


def spreads(
    by_image: "NDArray[np.float32]", cells: "NDArray[np.int64]", shape: "Shape", /
) -> "tuple[NDArray[np.float64], NDArray[np.float64]]":
    """Standard deviations over images (ddof 0).

    Parameters
    ----------
    by_image : numpy.ndarray of float32, shape (N, R + 1)
        From :func:`image_rings`.
    cells : numpy.ndarray of int64, shape (R + 1,)
        From :func:`cells_by_ring`.
    shape : (int, int)
        Height and width.

    Returns
    -------
    rings : numpy.ndarray of float64, shape (R + 1,)
        Of the mean of each ring.
    bands : numpy.ndarray of float64, shape (3,)
        Of the mean of each band.
    """
    values = by_image.astype(np.float64)
    return np.std(values, axis=0), np.std(band_means(values, cells, shape), axis=0)


def ring_interval(
    name: str,
    mean: "NDArray[np.float64]",
    std: "NDArray[np.float64]",
    images: int,
    /,
    *,
    confidence: float,
) -> "NDArray[np.float64]":
    """Interval, for the images, of means over cells.

    Parameters
    ----------
    name : {"error_rate", "loss_increase"}
        Map that the means are of.
    mean, std : numpy.ndarray of float64, shape (G,)
        Over images.
    images : int
        How many.
    confidence : float
        Coverage asked for.

    Returns
    -------
    numpy.ndarray of float64, shape (G, 2)
        Normal; Wilson's of as many trials as images where every image has the error rate 0, or every one 1, and has
        no spread.
    """
    bounds = mean_interval(mean, std, images, confidence=confidence, bounds=_BOUNDS[name])
    if name == "error_rate":
        for extreme, successes in ((0.0, 0), (1.0, images)):
            bounds[mean == extreme] = wilson_interval(successes, images, confidence=confidence)
    return bounds


def estimate(
    result: "FourierHeatmap", name: str, start: int, stop: int, /
) -> "tuple[float, tuple[float, float]] | None":
    """Mean of a map over some rings, with its interval.

    Parameters
    ----------
    result : FourierHeatmap
        With per-image arrays.
    name : {"error_rate", "loss_increase"}
        The map.
    start, stop : int
        Rings ``start`` to ``stop - 1``.

    Returns
    -------
    (float, (float, float)) or None
        None for results read from JSON.
    """
    by_image = getattr(result, f"image_ring_{name}")
    if by_image is None:
        return None
    cells = cells_by_ring(result.evaluated_cells)
    mean = over_rings(getattr(result, f"ring_{name}"), cells, start, stop)
    std = np.std(over_rings(by_image, cells, start, stop))
    bounds = ring_interval(
        name, np.atleast_1d(mean), np.atleast_1d(std), result.images, confidence=result.confidence
    )
    return float(mean), (float(bounds[0, 0]), float(bounds[0, 1]))
