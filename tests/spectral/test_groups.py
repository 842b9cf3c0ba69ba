"""Sums over groups of cells."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from specprobe.arrays import to_host
from specprobe.errors import InputMismatch
from specprobe.spectral.groups import Groups, group_sums

LABELS = np.asarray([[0, 2, -1], [2, 0, 3]])


def test_groups_are_added_up(placed: Callable[[Any], Any]) -> None:
    values = placed(np.arange(12, dtype=np.float32).reshape(2, 2, 3))
    sums = group_sums(values, Groups.of_labels(LABELS, count=5))
    assert sums.dtype == values.dtype
    assert to_host(sums).tolist() == [[4, 0, 4, 5, 0], [16, 0, 16, 11, 0]]
    weighted = group_sums(
        values, Groups.of_labels(LABELS, count=4, weights=np.asarray([[2, 1, 9], [3, 1, 5]]))
    )
    assert to_host(weighted).tolist() == [[4, 0, 10, 25], [22, 0, 34, 55]]


def test_sums_keep_more_digits_than_their_terms() -> None:
    """In float32, a million times 0.1 is off by a thousandth."""
    values = np.full((1, 1000, 1000), 0.1, np.float32)
    groups = Groups.of_labels(np.zeros((1000, 1000), np.int64), count=1)
    assert group_sums(values, groups)[0, 0] == np.float32(float(np.float32(0.1)) * 1e6)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_sums_do_not_depend_on_the_batch(dtype: type) -> None:
    rng = np.random.default_rng(0)
    values: Any = (rng.standard_normal((37, 61, 53)) * 10.0 ** rng.uniform(-9, 9, (37, 61, 53))).astype(dtype)
    groups = Groups.of_labels(rng.integers(0, 9, (61, 53)), count=9, weights=rng.integers(1, 3, (61, 53)))
    together = group_sums(values, groups)
    for size in (1, 2, 5, 36):
        parts = [group_sums(values[i : i + size], groups) for i in range(0, 37, size)]
        assert np.array_equal(np.concatenate(parts), together)


def test_leading_axes_are_kept() -> None:
    groups = Groups.of_labels(LABELS, count=4)
    assert group_sums(np.ones((2, 3)), groups).tolist() == [2, 0, 2, 1]
    assert group_sums(np.ones((0, 2, 3)), groups).shape == (0, 4)
    assert group_sums(np.ones((5, 4, 2, 3)), groups).shape == (5, 4, 4)


def test_other_planes_are_refused() -> None:
    with pytest.raises(
        InputMismatch, match=r"shape \(1, 3, 2\); accepted is \(..., 2, 3\): does `shape` name"
    ):
        group_sums(np.ones((1, 3, 2)), Groups.of_labels(LABELS, count=4))
