"""Random numbers of an attack: a stream an image, so that no image's fate depends on which others are left."""

import copy
from typing import TYPE_CHECKING, Any

import numpy as np

from specprobe.arrays import Array, like
from specprobe.randomness import generator

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

__all__ = ["Streams"]


class Streams:
    """One stream of random numbers for each image of an oracle.

    Parameters
    ----------
    seed : int
        The user's seed.
    purpose : str
        Attack and restart, such as ``"pgd/0"``.
    index : numpy.ndarray of int64, shape (N,)
        Place of each image in its source.
    like : array
        Names library and device of what is drawn.

    Notes
    -----
    Streams move on as they are drawn from: an image draws the same numbers whichever other rows are drawn for.
    """

    def __init__(self, seed: int, purpose: str, index: "NDArray[np.int64]", /, *, like: Array) -> None:
        self._generators = [generator(seed, f"attack/{purpose}", int(i)) for i in index]
        self._like = like

    def take(self, rows: "NDArray[np.integer[Any]]", /) -> "Streams":
        """Streams of some of the images, numbered anew; drawing from either moves both on.

        Parameters
        ----------
        rows : numpy.ndarray of int, shape (n,)
            Which.

        Returns
        -------
        Streams
            Row 0 is the first of ``rows``.
        """
        part = copy.copy(self)
        part._generators = [self._generators[row] for row in rows]
        return part

    def uniform(
        self, rows: "NDArray[np.integer[Any]]", shape: tuple[int, ...], /, *, low: float = 0, high: float = 1
    ) -> Array:
        """Uniform numbers.

        Parameters
        ----------
        rows : numpy.ndarray of int, shape (n,)
            For which images.
        shape : tuple of int
            Of each one's numbers.
        low, high : float
            Bounds.

        Returns
        -------
        array, shape (n, *shape), float32
            In [low, high).
        """
        return self._drawn(lambda random: random.uniform(low, high, shape), rows, shape)

    def normal(self, rows: "NDArray[np.integer[Any]]", shape: tuple[int, ...], /) -> Array:
        """Standard normal numbers.

        Parameters
        ----------
        rows : numpy.ndarray of int, shape (n,)
            For which images.
        shape : tuple of int
            Of each one's numbers.

        Returns
        -------
        array, shape (n, *shape), float32
            Independent.
        """
        return self._drawn(lambda random: random.standard_normal(shape), rows, shape)

    def host(
        self,
        rows: "NDArray[np.integer[Any]]",
        draw: "Callable[[np.random.Generator], NDArray[Any]]",
        /,
    ) -> "NDArray[Any]":
        """Whatever ``draw`` draws, for each row, on the host.

        Parameters
        ----------
        rows : numpy.ndarray of int, shape (n,)
            For which images; at least one.
        draw : callable
            From a generator to an array of fixed shape.

        Returns
        -------
        numpy.ndarray, shape (n, ...)
            One array a row.
        """
        return np.stack([draw(self._generators[row]) for row in rows])

    def _drawn(
        self,
        draw: "Callable[[np.random.Generator], Any]",
        rows: "NDArray[np.integer[Any]]",
        shape: tuple[int, ...],
    ) -> Array:
        values = np.empty((len(rows), *shape), np.float32)
        for place, row in enumerate(rows):
            values[place] = draw(self._generators[row])
        return like(values, self._like)
