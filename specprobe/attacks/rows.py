"""Batches that shrink: rows of arrays taken out, and put back."""

from typing import TYPE_CHECKING, Any

import numpy as np

from specprobe.arrays import Array, like, namespace

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["column", "put", "take"]


def take(values: Array, rows: "NDArray[np.integer[Any]]", /) -> Array:
    """Some rows of an array.

    Parameters
    ----------
    values : array, shape (N, ...)
        Left as it is.
    rows : numpy.ndarray of int, shape (n,)
        Which, in any order.

    Returns
    -------
    array, shape (n, ...)
        A copy; ``values`` itself where these are all rows in their order.
    """
    if len(rows) == values.shape[0] and np.array_equal(rows, np.arange(len(rows))):
        return values
    return namespace(values).take(values, like(np.asarray(rows, np.int64), values), axis=0)


def put(values: Array, rows: "NDArray[np.integer[Any]]", new: Array, /) -> Array:
    """An array with some rows replaced.

    Parameters
    ----------
    values : array, shape (N, ...)
        Left as it is.
    rows : numpy.ndarray of int, shape (n,)
        Which, no two alike.
    new : array, shape (n, ...)
        In their order.

    Returns
    -------
    array, shape (N, ...)
        A copy; ``values`` itself where there are no rows, ``new`` where these are all rows in their order.
    """
    count = values.shape[0]
    if len(rows) == 0:
        return values
    if len(rows) == count and np.array_equal(rows, np.arange(count)):
        return new
    # The standard takes from an array by index, but does not write into it so: old and new rows stand in one array.
    order = np.arange(count)
    order[rows] = count + np.arange(len(rows))
    xp = namespace(values, new)
    return xp.take(xp.concat([values, new], axis=0), like(order, values), axis=0)


def column(values: "NDArray[Any]", array: Array, /) -> Array:
    """Host values, one a row, that broadcast over an array's other axes.

    Parameters
    ----------
    values : numpy.ndarray, shape (N,)
        Numbers or flags.
    array : array, shape (N, ...)
        Names library, device, number of axes and, for numbers, the type.

    Returns
    -------
    array, shape (N, 1, ...)
        Flags stay flags.
    """
    xp = namespace(array)
    placed = like(values.reshape(-1, *(1,) * (array.ndim - 1)), array)
    return placed if values.dtype == np.bool_ else xp.astype(placed, array.dtype)
