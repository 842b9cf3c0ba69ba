"""A heat map from coarse to fine: frequencies are added where the map changes."""

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from specprobe.analysis.heatmap_frequencies import lattice
from specprobe.analysis.heatmap_merge import joined
from specprobe.spectral.grid import frequency_index, real_frequencies
from specprobe.streaming import Checkpoint

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from specprobe.analysis.heatmap_result import FourierHeatmap
    from specprobe.spectral.arguments import Shape

__all__ = ["LOSS_GAP", "check_refine", "further_frequencies", "refined"]

LOSS_GAP = 0.1
"""Share of the largest loss increase by which intervals of loss increases must lie apart to count."""

_PAIRS = ((0, 1), (1, 0), (1, 1), (1, -1))
"""From each point to half of its eight neighbours."""


def check_refine(refine: int, /) -> None:
    """Refuse what is no stride.

    Parameters
    ----------
    refine : int
        Of the coarsest grid.

    Raises
    ------
    ValueError
        If it is no power of two from 2.
    """
    if refine < 2 or refine & (refine - 1):
        msg = f"refine is {refine}; accepted are powers of two from 2, such as 4"
        raise ValueError(msg)


def refined(
    measure: "Callable[[NDArray[np.bool_], Checkpoint | None], FourierHeatmap]",
    shape: "Shape",
    /,
    *,
    side: int | None,
    stride: int,
    checkpoint: Checkpoint | None,
) -> "FourierHeatmap":
    """Evaluate a coarse grid, then what :func:`further_frequencies` asks for until that is nothing.

    Parameters
    ----------
    measure : callable
        From frequencies (K,) and a checkpoint to their heat map; always of the same images and settings.
    shape : (int, int)
        Height and width.
    side : int or None
        Of the central square that is looked at.
    stride : int
        Of the coarse grid.
    checkpoint : Checkpoint, optional
        Where the frequencies done are kept. Each further pass over the images has a file of its own beside it.

    Returns
    -------
    FourierHeatmap
        Of all frequencies that were evaluated.
    """
    held = None if checkpoint is None else checkpoint.read()
    if held is not None:
        result: FourierHeatmap = held[1]
    else:
        rows, columns = lattice(shape, side, stride)
        first = np.zeros(len(real_frequencies(shape)), np.bool_)
        first[frequency_index(shape)[np.ix_(rows, columns)]] = True
        part = measure(first, _of_pass(checkpoint, stride, first))
        result = replace(part, refine=stride, refinement_levels=((stride, int(first.sum())),))
    while (found := further_frequencies(result, side)) is not None:
        if checkpoint is not None:
            checkpoint.write(len(result.refinement_levels), result)
        finer, wanted = found
        part = measure(wanted, _of_pass(checkpoint, finer, wanted))
        levels = (*result.refinement_levels, (finer, int(wanted.sum())))
        result = replace(joined(result, part), refinement_levels=levels)
    if checkpoint is not None:
        checkpoint.clear()
    return result


def further_frequencies(
    result: "FourierHeatmap", side: int | None, /
) -> "tuple[int, NDArray[np.bool_]] | None":
    """Frequencies that the next pass evaluates.

    Parameters
    ----------
    result : FourierHeatmap
        With its levels so far.
    side : int or None
        Of the central square that is looked at.

    Returns
    -------
    (int, numpy.ndarray of bool, shape (K,)) or None
        Stride of the grid, and frequencies of it that were not evaluated; None if the map is done.

    Notes
    -----
    Grid s holds the frequencies whose components are multiples of s, and both ends of either axis. Two evaluated points
    of grid s that are neighbours in it, along a row, a column or a diagonal, *differ* if their intervals of the error
    rate do not overlap, or if those of the loss increase lie apart by more than ``LOSS_GAP`` of the largest magnitude of
    a loss increase evaluated so far: where every image is classified with ease, losses differ surely, and by nothing.
    Of points that differ, all eight neighbours in grid s are evaluated, and again, until there is nothing new. Then the
    points of grid s / 2 that are neighbours there of both points of such a pair, and the same goes on in that grid, down
    to s = 1. What lies between points of the coarse grid that do not differ stays unseen.
    """
    shape, stride = result.image_size, result.refinement_levels[-1][0]
    while True:
        grid = lattice(shape, side, stride)
        pairs = _differing(result, *grid)
        for finer in (stride, stride // 2) if stride > 1 else (1,):
            wanted = _near(result, pairs, grid, lattice(shape, side, finer), both=finer < stride)
            if wanted.any():
                return finer, wanted
        if stride == 1:
            return None
        stride //= 2


def _differing(
    result: "FourierHeatmap", rows: "NDArray[np.int64]", columns: "NDArray[np.int64]"
) -> "NDArray[np.int64]":
    """Pairs of neighbours of a grid that differ, (D, 2, 2): of each, row and column of either point in the grid.

    NaN, where nothing was evaluated, differs from nothing.
    """
    gap = LOSS_GAP * float(np.nanmax(np.abs(result.mean_loss_increase)))
    places = np.moveaxis(np.indices((len(rows), len(columns))), 0, -1)
    found = []
    for step in _PAIRS:
        one, other = _pair(step)
        apart = np.zeros(places[one].shape[:2], np.bool_)
        for bounds, least in ((result.error_rate_interval, 0.0), (result.loss_increase_interval, gap)):
            low, high = (bounds[np.ix_(rows, columns)][..., end] for end in (0, 1))
            apart |= (low[one] - high[other] > least) | (low[other] - high[one] > least)
        found.append(np.stack([places[one][apart], places[other][apart]], axis=1))
    return np.concatenate(found)


def _pair(step: tuple[int, int]) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Slices of all points, and of their neighbours a step away."""
    parts = [(slice(None), slice(None)), (slice(None, -1), slice(1, None)), (slice(1, None), slice(None, -1))]
    (rows, below), (columns, beside) = (parts[n] for n in step)
    return (rows, columns), (below, beside)


def _near(
    result: "FourierHeatmap",
    pairs: "NDArray[np.int64]",
    grid: "tuple[NDArray[np.int64], NDArray[np.int64]]",
    finer: "tuple[NDArray[np.int64], NDArray[np.int64]]",
    *,
    both: bool,
) -> "NDArray[np.bool_]":
    """Frequencies (K,) of a grid as fine or finer, next to either point of a pair, or to both; not evaluated yet."""
    wanted = np.zeros_like(result.evaluated)
    axes = zip(grid, finer, strict=True)
    places = np.stack(
        [np.searchsorted(fine, axis[pairs[..., n]]) for n, (axis, fine) in enumerate(axes)], axis=-1
    )
    sizes = [len(axis) for axis in finer]
    for step in np.ndindex(3, 3):
        near = places + np.array(step) - 1
        kept = ((near >= 0) & (near < sizes)).all(axis=-1)
        if both:  # from the one point, what is no further than a step from the other
            kept &= np.abs(near - places[:, ::-1]).max(axis=-1) <= 1
        rows, columns = near[kept].T
        wanted[frequency_index(result.image_size)[finer[0][rows], finer[1][columns]]] = True
    return wanted & ~result.evaluated


def _of_pass(
    checkpoint: Checkpoint | None, stride: int, frequencies: "NDArray[np.bool_]"
) -> Checkpoint | None:
    """Checkpoint of one pass over the images: its fingerprint is of the frequencies, too."""
    if checkpoint is None:
        return None
    text = f"{checkpoint.fingerprint} {stride} {np.flatnonzero(frequencies).tolist()}"
    fingerprint = hashlib.sha256(text.encode()).hexdigest()
    path = checkpoint.path.with_name(f"{checkpoint.path.stem}-{fingerprint[:16]}{checkpoint.path.suffix}")
    return replace(checkpoint, path=path, fingerprint=fingerprint)
