"""Arrays with a row for each image, which results may hold or lack."""

from typing import Any

import numpy as np

__all__ = ["join", "same"]


def join(left: Any, right: Any, /) -> Any:
    """Rows of both.

    Parameters
    ----------
    left, right : numpy.ndarray or None
        Of two results.

    Returns
    -------
    numpy.ndarray or None
        None where either lacks them.
    """
    return None if left is None or right is None else np.concatenate([left, right])


def same(left: Any, right: Any, /) -> bool:
    """Whether two fields are equal to the bit, NaN to NaN.

    Parameters
    ----------
    left, right : object
        Arrays, numbers or None.

    Returns
    -------
    bool
        Arrays of different types are different.
    """
    if isinstance(left, np.ndarray) != isinstance(right, np.ndarray):
        return False
    if not isinstance(left, np.ndarray):
        return bool(left is right or left == right or (left != left and right != right))  # noqa: PLR0124 - NaN
    return left.dtype == right.dtype and np.array_equal(left, right, equal_nan=left.dtype.kind == "f")
