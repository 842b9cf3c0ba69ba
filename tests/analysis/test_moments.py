"""Mean and spread, however the numbers are cut."""

from functools import reduce

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from specprobe.analysis.moments import Moments, moments

values = hnp.arrays(np.float64, st.tuples(st.integers(1, 30), st.just(3)), elements=st.floats(-1e3, 1e3))


@settings(deadline=None)
@given(values, st.lists(st.integers(0, 30), max_size=4))
def test_merging_does_not_depend_on_where_the_data_is_cut(whole: np.ndarray, cuts: list[int]) -> None:
    merged = reduce(Moments.merge, [moments(part) for part in np.split(whole, sorted(cuts))])
    assert merged.images == len(whole)
    np.testing.assert_allclose(merged.mean, whole.mean(axis=0), rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(merged.std, whole.std(axis=0), rtol=1e-6, atol=1e-6)


def test_equal_numbers_have_no_spread() -> None:
    part = moments(np.full((7, 2), 0.1))
    assert np.all(part.merge(part).std < 1e-15)


def test_nothing_changes_nothing_and_has_no_mean() -> None:
    nothing, some = moments(np.empty((0, 2))), moments(np.arange(6.0).reshape(3, 2))
    assert nothing.merge(some) is some
    assert some.merge(nothing) is some
    assert np.isnan(nothing.mean).all()
    assert np.isnan(nothing.merge(nothing).std).all()
