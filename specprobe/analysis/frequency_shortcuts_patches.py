"""Patches of frequencies that are taken out together, each with its mirror."""

import functools
import operator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from specprobe.errors import InputMismatch
from specprobe.spectral.arguments import Shape, check_shape
from specprobe.spectral.grid import centred_index, frequencies, mirror_index, multiplicities
from specprobe.spectral.groups import Groups

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Patches"]


@dataclass(frozen=True, slots=True, eq=False)
class Patches:
    """A division of all frequencies but the mean into squares, each together with its conjugates.

    Attributes
    ----------
    shape : (int, int)
        Height and width of the images.
    side : int
        Frequencies along a patch.
    index : numpy.ndarray of int64, shape (H, W)
        Patch of each frequency; centred, equal at k and -k, -1 at the mean. Read-only.
    count : int
        How many patches.
    """

    shape: Shape
    side: int
    index: "NDArray[np.int64]"
    count: int

    @staticmethod
    def of(shape: Shape, /, *, side: int) -> "Patches":
        """Patches of images of one size.

        Parameters
        ----------
        shape : (int, int)
            Height and width.
        side : int
            From 1, where a patch is one frequency with its conjugate. Component f lies in column or row
            ``sign(f) · ((|f| + side // 2) // side)``, so that patches mirror each other.

        Returns
        -------
        Patches
            In raster order of the squares; the same object for equal arguments.

        Raises
        ------
        InputMismatch
            If the shape is none, or has no frequency but the mean, or ``side`` is no whole number from 1.
        """
        try:
            whole = operator.index(side)
        except TypeError:
            whole = 0
        if whole < 1:
            msg = f"patch is {side!r}; accepted are whole numbers from 1, frequencies along a side"
            raise InputMismatch(msg)
        height, width = check_shape(shape)
        if height * width == 1:
            msg = "images of one pixel have no frequency but their mean; accepted are larger ones"
            raise InputMismatch(msg)
        return _patches((height, width), whole)

    def masks(self, start: int, stop: int, /) -> "NDArray[np.bool_]":
        """Masks that take patches out, one each.

        Parameters
        ----------
        start, stop : int
            Patches ``start`` to ``stop - 1``.

        Returns
        -------
        numpy.ndarray of bool, shape (stop - start, H, W)
            False on the patch alone.
        """
        which = np.arange(start, min(stop, self.count))
        kept: NDArray[np.bool_] = self.index[None, :, :] != which[:, None, None]
        return kept

    def spread(self, values: "NDArray[np.float64]", /) -> "NDArray[np.float64]":
        """Values by patch as maps.

        Parameters
        ----------
        values : numpy.ndarray of float64, shape (..., P)
            One for each patch.

        Returns
        -------
        numpy.ndarray of float64, shape (..., H, W)
            Centred; NaN at the mean.
        """
        absent = np.full((*values.shape[:-1], 1), np.nan)
        made: NDArray[np.float64] = np.concatenate([values, absent], axis=-1)[..., self.index]
        return made

    def groups(self) -> Groups:
        """Patches as groups of the half plane, each frequency counted with its conjugate.

        Returns
        -------
        Groups
            For :func:`~specprobe.spectral.groups.group_sums`.
        """
        return _groups(self.shape, self.side)


@functools.lru_cache(maxsize=16)
def _patches(shape: Shape, side: int) -> Patches:
    height, width = shape
    row, column = (np.sign(f) * ((np.abs(f) + side // 2) // side) for f in frequencies(shape))
    code = (row[:, None] + height) * (2 * width + 1) + column[None, :] + width
    code = np.minimum(code, code.ravel()[mirror_index(shape)])
    mean = (height // 2, width // 2)
    code[mean] = -1
    index = np.unique(code, return_inverse=True)[1].reshape(shape) - 1
    index.setflags(write=False)
    return Patches(shape, side, index, int(index.max()) + 1)


@functools.lru_cache(maxsize=16)
def _groups(shape: Shape, side: int) -> Groups:
    patches = _patches(shape, side)
    labels = patches.index.ravel()[centred_index(shape)]
    return Groups.of_labels(labels, count=patches.count, weights=multiplicities(shape))
