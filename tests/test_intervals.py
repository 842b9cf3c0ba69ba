"""Intervals against their definitions and against SciPy."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest, norm

from specprobe.intervals import CONFIDENCE, mean_interval, wilson_interval

counts = st.integers(1, 10**9).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))
confidences = st.floats(0.01, 0.9999)


@settings(deadline=None)
@given(counts, confidences)
def test_interval_is_scipys(count: tuple[int, int], confidence: float) -> None:
    successes, trials = count
    wanted = binomtest(successes, trials).proportion_ci(confidence, method="wilson")
    low, high = wilson_interval(successes, trials, confidence=confidence)
    assert math.isclose(low, wanted.low, rel_tol=1e-6, abs_tol=1e-12)
    assert math.isclose(high, wanted.high, rel_tol=1e-6, abs_tol=1e-12)


@settings(deadline=None)
@given(st.integers(1, 10_000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))), confidences)
def test_bounds_solve_the_quadratic(count: tuple[int, int], confidence: float) -> None:
    """(p − share)² = z² p (1 − p) / n at both bounds."""
    successes, trials = count
    share, z = successes / trials, float(norm.ppf((1 + confidence) / 2))
    for bound in wilson_interval(successes, trials, confidence=confidence):
        assert math.isclose(
            (bound - share) ** 2, z * z * bound * (1 - bound) / trials, rel_tol=1e-6, abs_tol=1e-9
        )


@settings(deadline=None)
@given(counts, st.floats(1e-12, 1 - 1e-12))
def test_interval_holds_the_estimate_and_stays_in_the_unit_interval(
    count: tuple[int, int], confidence: float
) -> None:
    low, high = wilson_interval(*count, confidence=confidence)
    assert 0 <= low <= count[0] / count[1] <= high <= 1


@settings(deadline=None)
@given(counts)
def test_failures_mirror_successes(count: tuple[int, int]) -> None:
    successes, trials = count
    low, high = wilson_interval(successes, trials)
    mirrored_low, mirrored_high = wilson_interval(trials - successes, trials)
    assert math.isclose(low, 1 - mirrored_high, abs_tol=1e-12)
    assert math.isclose(high, 1 - mirrored_low, abs_tol=1e-12)


def test_confidence_widens_the_interval() -> None:
    narrow, wide = (wilson_interval(3, 10, confidence=c) for c in (0.5, 0.99))
    assert wide[0] < narrow[0] < narrow[1] < wide[1]
    assert wilson_interval(3, 10) == wilson_interval(3, 10, confidence=CONFIDENCE)


@pytest.mark.parametrize(("successes", "trials"), [(0, 0), (-1, 5), (6, 5), (1, -1)])
def test_impossible_counts_are_refused(successes: int, trials: int) -> None:
    with pytest.raises(
        ValueError, match=f"{successes} successes of {trials} trials: accepted are 0 <= successes"
    ):
        wilson_interval(successes, trials)


@pytest.mark.parametrize("confidence", [0.0, 1.0, 95.0, -0.5, math.nan])
def test_impossible_confidences_are_refused(confidence: float) -> None:
    with pytest.raises(ValueError, match=f"confidence is {confidence}; accepted are numbers between 0 and 1"):
        wilson_interval(1, 2, confidence=confidence)


@settings(deadline=None)
@given(st.lists(st.floats(0, 1), min_size=2, max_size=50), confidences)
def test_mean_interval_is_scipys(values: list[float], confidence: float) -> None:
    sample = np.array(values)
    found = mean_interval(sample.mean(), sample.std(), len(sample), confidence=confidence)
    if sample.std() > 0:
        wanted = norm.interval(confidence, sample.mean(), sample.std(ddof=1) / math.sqrt(len(sample)))
        np.testing.assert_allclose(found, wanted, rtol=1e-6, atol=1e-9)
    low, high = mean_interval(
        sample.mean(), sample.std(), len(sample), confidence=confidence, bounds=(0.0, 1.0)
    )
    assert 0 <= low <= sample.mean() <= high <= 1


def test_mean_interval_of_several_means_has_a_pair_for_each() -> None:
    found = mean_interval([0.2, 0.4], [0.0, 0.1], 26)
    assert found.shape == (2, 2)
    assert found[0].tolist() == [0.2, 0.2]
    assert found[1] == pytest.approx([0.4 - 1.959964 * 0.02, 0.4 + 1.959964 * 0.02])


def test_one_number_has_no_interval() -> None:
    assert np.isnan(mean_interval(0.5, 0.0, 1)).all()
    with pytest.raises(ValueError, match=r"confidence is 1\.5; accepted are numbers between 0 and 1"):
        mean_interval(0.5, 0.1, 9, confidence=1.5)
