"""Which frequencies of a heat map are evaluated, and how many model runs that takes."""

import operator
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from specprobe.errors import InputMismatch
from specprobe.randomness import generator
from specprobe.spectral.basis import self_conjugate
from specprobe.spectral.grid import frequency_index, real_frequencies

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from specprobe.spectral.arguments import Shape

__all__ = ["Plan", "central_square", "chosen_frequencies", "lattice", "paired", "plan", "sampled_frequencies"]


def central_square(shape: "Shape", side: int | None, /) -> tuple[slice, slice]:
    """Rows and columns of the centred map that a sub-grid keeps.

    Parameters
    ----------
    shape : (int, int)
        Height and width.
    side : int or None
        Of the square; an axis that is shorter is kept whole, as both are for None.

    Returns
    -------
    (slice, slice)
        Around the mean.

    Raises
    ------
    InputMismatch
        If the side is below 1 or above that of the images.
    """
    side = max(shape) if side is None else operator.index(side)
    if not 1 <= side <= max(shape):
        msg = f"the side of the sub-grid is {side}; accepted are whole numbers from 1 to {max(shape)}"
        raise InputMismatch(msg)
    starts = [n // 2 - min(side, n) // 2 for n in shape]
    rows, columns = (slice(start, start + min(side, n)) for start, n in zip(starts, shape, strict=True))
    return rows, columns


def chosen_frequencies(frequencies: "int | ArrayLike | None", shape: "Shape", /) -> "NDArray[np.bool_]":
    """Which of the real frequencies are asked for.

    Parameters
    ----------
    frequencies : int or array_like of int, shape (M, 2), optional
        Side of the central square, or ``(f_y, f_x)``; all if not given.
    shape : (int, int)
        Height and width.

    Returns
    -------
    numpy.ndarray of bool, shape (K,)
        For each of :func:`~specprobe.spectral.grid.real_frequencies`.

    Raises
    ------
    InputMismatch
        If a frequency lies outside the grid.
    """
    index = frequency_index(shape)
    chosen = np.zeros(len(real_frequencies(shape)), np.bool_)
    if frequencies is None or np.ndim(frequencies) == 0:
        side: Any = frequencies
        rows, columns = central_square(shape, side)
        wanted = index[rows, columns]
    else:
        pairs = np.asarray(frequencies)
        if pairs.ndim != 2 or pairs.shape[1] != 2 or len(pairs) == 0 or pairs.dtype.kind not in "iu":
            msg = (
                f"the frequencies are of {pairs.dtype} and shape {pairs.shape}; "
                "accepted are one whole number, or whole numbers of shape (M, 2)"
            )
            raise InputMismatch(msg)
        cells = pairs.astype(np.int64) + np.asarray(shape) // 2
        outside = ((cells < 0) | (cells >= np.asarray(shape))).any(axis=1)
        if outside.any():
            f_y, f_x = pairs[outside.argmax()].tolist()
            msg = f"frequency (f_y, f_x) = ({f_y}, {f_x}) lies outside images of height {shape[0]} and width {shape[1]}"
            raise InputMismatch(msg)
        wanted = index[cells[:, 0], cells[:, 1]]
    chosen[wanted] = True
    return chosen


def sampled_frequencies(chosen: "NDArray[np.bool_]", size: int, seed: int, /) -> "NDArray[np.bool_]":
    """Some of the frequencies.

    Parameters
    ----------
    chosen : numpy.ndarray of bool, shape (K,)
        To draw from.
    size : int
        How many; all if there are no more.
    seed : int
        Of the draw.

    Returns
    -------
    numpy.ndarray of bool, shape (K,)
        Within ``chosen``.
    """
    among = np.flatnonzero(chosen)
    if size >= len(among):
        return chosen
    kept = np.zeros_like(chosen)
    kept[generator(seed, "heatmap/sample").choice(among, size, replace=False)] = True
    return kept


def lattice(
    shape: "Shape", side: int | None, stride: int, /
) -> "tuple[NDArray[np.int64], NDArray[np.int64]]":
    """Rows and columns of a coarse grid in the centred map.

    Parameters
    ----------
    shape : (int, int)
        Height and width.
    side : int or None
        As of :func:`central_square`.
    stride : int
        In cycles per image.

    Returns
    -------
    rows, columns : numpy.ndarray of int64
        Where the frequency is a multiple of the stride; and both ends of either axis. The grid of half the stride
        holds all of them.

    Examples
    --------
    >>> lattice((10, 6), None, 4)
    (array([0, 1, 5, 9]), array([0, 3, 5]))
    """
    kept = []
    for part, n in zip(central_square(shape, side), shape, strict=True):
        places = np.arange(part.start, part.stop)
        ends = (places == places[0]) | (places == places[-1])
        kept.append(places[ends | ((places - n // 2) % stride == 0)])
    return kept[0], kept[1]


def paired(places: "NDArray[np.int64]", shape: "Shape", /) -> "NDArray[np.bool_]":
    """Which frequencies have a sine beside their cosine.

    Parameters
    ----------
    places : numpy.ndarray of int64, shape (P,)
        In :func:`~specprobe.spectral.grid.real_frequencies`.
    shape : (int, int)
        Height and width.

    Returns
    -------
    numpy.ndarray of bool, shape (P,)
        All but those that are their own conjugate.
    """
    return ~self_conjugate(real_frequencies(shape)[places], shape=shape)


class Plan(NamedTuple):
    """What a heat map costs.

    Attributes
    ----------
    frequencies : int
        That are evaluated; with refinement, at first.
    chosen : int
        That are asked for: with refinement, the most that may be evaluated.
    waves : int
        Images classified for each image, beside itself; with refinement, at first.
    exact : bool
        Whether there are not fewer: a sample may hold frequencies that have no sine.
    """

    frequencies: int
    chosen: int
    waves: int
    exact: bool


def plan(
    shape: "Shape",
    /,
    *,
    frequencies: "int | ArrayLike | None",
    phase: str,
    sample: int | None = None,
    refine: int | None = None,
) -> Plan:
    """How many evaluations there will be.

    Parameters
    ----------
    shape : (int, int)
        Height and width.
    frequencies, phase, refine
        As of :func:`~specprobe.analysis.heatmap.fourier_heatmap`.
    sample : int, optional
        Size of the sample, with first-order maps.

    Returns
    -------
    Plan
        An upper bound where it is not exact.
    """
    among = np.flatnonzero(chosen_frequencies(frequencies, shape))
    every = len(among)
    if refine is not None:
        rows, columns = lattice(shape, frequencies, refine)  # type: ignore[arg-type]
        among = np.unique(frequency_index(shape)[np.ix_(rows, columns)])
    count = len(among) if sample is None else min(sample, len(among))
    if phase != "worst-of-two":
        return Plan(count, every, count, exact=True)
    alone = len(among) - int(paired(among, shape).sum())
    exact = count == len(among) or alone == 0
    return Plan(count, every, 2 * count - (alone if exact else 0), exact)
