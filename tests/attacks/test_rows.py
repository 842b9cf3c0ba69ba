"""Rows taken out of arrays, and put back."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from specprobe.arrays import namespace, to_host
from specprobe.attacks.rows import column, put, take

VALUES = np.arange(24, dtype=np.float32).reshape(4, 2, 3)


@pytest.mark.parametrize("rows", [[2], [3, 0], [0, 1, 2, 3], [3, 2, 1, 0], []])
def test_what_is_put_is_taken_again(placed: Callable[[Any], Any], rows: list[int]) -> None:
    which = np.array(rows, np.int64)
    new = placed(-1 - VALUES[: len(rows)])
    made = put(placed(VALUES), which, new)
    np.testing.assert_array_equal(to_host(take(made, which)), to_host(new))
    rest = np.setdiff1d(np.arange(4), which)
    np.testing.assert_array_equal(to_host(take(made, rest)), VALUES[rest])
    assert namespace(made) is namespace(new)


def test_arrays_that_are_given_stay_as_they_are(placed: Callable[[Any], Any]) -> None:
    values, new = placed(VALUES), placed(VALUES[:2] + 100)
    put(values, np.array([1, 3]), new)
    np.testing.assert_array_equal(to_host(values), VALUES)
    np.testing.assert_array_equal(to_host(new), VALUES[:2] + 100)


@pytest.mark.parametrize("dtype", [np.bool_, np.int64, np.float32])
def test_put_keeps_the_type(placed: Callable[[Any], Any], dtype: Any) -> None:
    made = put(placed(np.zeros(3, dtype)), np.array([1]), placed(np.ones(1, dtype)))
    assert to_host(made).dtype == dtype
    assert to_host(made).tolist() == [0, 1, 0]


def test_all_rows_in_order_are_not_copied() -> None:
    assert take(VALUES, np.arange(4)) is VALUES
    assert put(VALUES, np.array([], np.int64), VALUES[:0]) is VALUES


def test_a_column_scales_rows(placed: Callable[[Any], Any]) -> None:
    made = placed(VALUES) * column(np.array([0.0, 1.0, 2.0, 0.5]), placed(VALUES))
    np.testing.assert_array_equal(to_host(made), VALUES * np.array([0, 1, 2, 0.5])[:, None, None])
    assert to_host(made).dtype == np.float32


def test_a_column_of_flags_chooses_rows(placed: Callable[[Any], Any]) -> None:
    values = placed(VALUES)
    xp = namespace(values)
    chosen = xp.where(column(np.array([True, False, True, False]), values), values, xp.zeros_like(values))
    np.testing.assert_array_equal(to_host(chosen)[[0, 2]], VALUES[[0, 2]])
    assert not to_host(chosen)[[1, 3]].any()
