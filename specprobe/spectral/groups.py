"""Sums over groups of cells, such as the rings of a spectrum."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from specprobe.arrays import Array, namespace
from specprobe.errors import InputMismatch
from specprobe.spectral.arguments import placed

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Groups", "group_sums"]


@dataclass(frozen=True, slots=True, eq=False)
class Groups:
    """A division of the cells of a plane.

    Attributes
    ----------
    shape : (int, int)
        Of the plane.
    order : numpy.ndarray of int64, shape (cells,)
        Flat indices of the cells, group after group.
    bounds : tuple of int
        Where in ``order`` the groups start; then where the last one ends.
    weights : numpy.ndarray of float64, shape (cells,), or None
        How often each cell counts, in this order; None for once.
    """

    shape: tuple[int, ...]
    order: "NDArray[np.int64]"
    bounds: tuple[int, ...]
    weights: "NDArray[np.float64] | None"

    @classmethod
    def of_labels(
        cls, labels: "NDArray[np.int64]", /, *, count: int, weights: "NDArray[Any] | None" = None
    ) -> "Groups":
        """Groups of the cells that carry the same label.

        Parameters
        ----------
        labels : numpy.ndarray of int64, shape of the plane
            From 0 to ``count - 1``; cells with a negative label are in no group.
        count : int
            How many groups; those that no cell names are empty.
        weights : numpy.ndarray, shape of the plane, optional
            How often each cell counts.

        Returns
        -------
        Groups
            In the order of the labels.
        """
        held = None if weights is None else weights.ravel()
        return cls._of_cells(labels.shape, np.arange(labels.size), labels.ravel(), count, held)

    @classmethod
    def halved(
        cls,
        first: "NDArray[np.int64]",
        second: "NDArray[np.int64]",
        /,
        *,
        count: int,
        weights: "NDArray[Any]",
    ) -> "Groups":
        """Groups of which a cell lies half in one and half in another.

        Parameters
        ----------
        first, second : numpy.ndarray of int64, shape of the plane
            As of :meth:`of_labels`; a cell with two equal labels is whole.
        count : int
            How many groups.
        weights : numpy.ndarray, shape of the plane
            How often each cell counts.

        Returns
        -------
        Groups
            In the order of the labels.
        """
        apart = np.flatnonzero(first.ravel() != second.ravel())
        share = np.ones(first.size)
        share[apart] = 0.5
        cells = np.concatenate([np.arange(first.size), apart])
        labels = np.concatenate([first.ravel(), second.ravel()[apart]])
        return cls._of_cells(first.shape, cells, labels, count, (weights.ravel() * share)[cells])

    @classmethod
    def _of_cells(
        cls,
        shape: tuple[int, ...],
        cells: "NDArray[np.int64]",
        labels: "NDArray[np.int64]",
        count: int,
        weights: "NDArray[Any] | None",
    ) -> "Groups":
        order = np.argsort(labels, kind="stable")
        order = order[np.searchsorted(labels[order], 0) :]
        bounds = np.searchsorted(labels[order], np.arange(count + 1))
        ordered = None if weights is None else weights[order].astype(np.float64)
        return cls(shape, cells[order], tuple(bounds.tolist()), ordered)


def group_sums(values: Array, groups: Groups, /) -> Array:
    """Sum of the cells of each group.

    Parameters
    ----------
    values : array, shape (..., H', W')
        Real floating; the last two axes are the plane that ``groups`` divide.
    groups : Groups
        G of them.

    Returns
    -------
    array, shape (..., G)
        Of the dtype of ``values``, added up in float64; 0 for empty groups. The sums of one plane do not depend on
        how many others are computed with it.

    Raises
    ------
    InputMismatch
        If the plane has another shape.
    """
    xp = namespace(values)
    if tuple(values.shape[-2:]) != groups.shape:
        msg = (
            f"the values have shape {tuple(values.shape)}; accepted is (..., {groups.shape[0]}, {groups.shape[1]}): "
            "does `shape` name the height and width of the images that they come from?"
        )
        raise InputMismatch(msg)
    leading = tuple(values.shape[:-2])
    planes = xp.reshape(values, (math.prod(leading), math.prod(groups.shape)))
    ordered = xp.take(planes, placed(groups.order, values), axis=1)
    weights = None if groups.weights is None else placed(groups.weights, values)
    sums = []
    for start, stop in zip(groups.bounds[:-1], groups.bounds[1:], strict=True):
        # Converted before they are added: NumPy would convert within the sum in blocks that span several planes.
        cells = xp.astype(ordered[:, start:stop], xp.float64)
        sums.append(xp.sum(cells if weights is None else cells * weights[start:stop], axis=1))
    return xp.reshape(xp.astype(xp.stack(sums, axis=1), values.dtype), (*leading, len(sums)))
