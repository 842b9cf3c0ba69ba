"""Paired statistics against SciPy, hand-made examples and simulated data."""

from typing import Any

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from specprobe.analysis.paired import (
    adjusted_p_values,
    mcnemar_p_value,
    paired_means,
    paired_proportions,
)
from specprobe.errors import InputMismatch


@given(st.integers(0, 60), st.integers(0, 60))
def test_mcnemar_is_the_exact_binomial_test(first: int, second: int) -> None:
    expected = scipy.stats.binomtest(first, first + second).pvalue if first + second else 1.0
    assert mcnemar_p_value(first, second) == pytest.approx(expected, rel=1e-10)
    assert mcnemar_p_value(first, second) == mcnemar_p_value(second, first)


def test_mcnemar_refuses_what_is_no_count() -> None:
    with pytest.raises(ValueError, match="-1 and 3 images count for one share alone"):
        mcnemar_p_value(-1, 3)


def flags(both: int, first: int, second: int, neither: int) -> tuple[Any, Any]:
    pairs = [(1, 1)] * both + [(1, 0)] * first + [(0, 1)] * second + [(0, 0)] * neither
    a, b = np.array(pairs).T
    return a, b


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        (
            (59, 6, 16, 80),
            (-0.1186, -0.0046),
        ),  # Fagerland et al., Statistical Analysis of Contingency Tables, ch. 8
        ((14, 5, 0, 22), (0.011, 0.226)),  # Altman et al., Statistics with Confidence, 2000, table 6.2
    ],
)
def test_interval_of_paired_proportions_is_newcombes(
    counts: tuple[int, int, int, int], expected: tuple[float, float]
) -> None:
    second, first = flags(*counts)
    found = paired_proportions(first, second)
    assert found.difference == pytest.approx((counts[1] - counts[2]) / sum(counts))
    assert found.interval == pytest.approx(expected, abs=5.1e-4 if counts[2] == 0 else 5.1e-5)
    assert found.p_value == pytest.approx(scipy.stats.binomtest(counts[1], counts[1] + counts[2]).pvalue)


@given(st.tuples(*[st.integers(0, 25)] * 4).filter(any))
def test_paired_proportions_are_antisymmetric_and_around_the_difference(counts: tuple[int, ...]) -> None:
    first, second = flags(*counts)
    found, turned = paired_proportions(first, second), paired_proportions(second, first)
    assert found.difference == pytest.approx(second.mean() - first.mean(), abs=1e-12)
    assert found.interval[0] <= found.difference <= found.interval[1]
    assert turned.difference == -found.difference
    assert turned.interval == pytest.approx((-found.interval[1], -found.interval[0]), abs=1e-12)
    assert turned.p_value == found.p_value


def test_equal_flags_differ_by_nothing() -> None:
    found = paired_proportions([1, 0, 1], [1, 0, 1])
    assert (found.difference, found.p_value) == (0.0, 1.0)
    assert found.interval[0] < 0 < found.interval[1], "three images that agree do not prove that all do"


def test_paired_proportions_refuse_what_is_not_paired() -> None:
    with pytest.raises(InputMismatch, match=r"flags have shapes \(2,\) and \(3,\)"):
        paired_proportions([0, 1], [0, 1, 1])
    with pytest.raises(InputMismatch, match=r"\(0,\) and \(0,\)"):
        paired_proportions([], [])


def test_benjamini_hochberg_by_hand() -> None:
    """Sorted 0.005, 0.009, 0.02, 0.04, 0.6 times 5/rank: 0.025, 0.0225, 0.0333, 0.05, 0.6; then the least from above."""
    given_ = [0.04, 0.005, None, 0.6, 0.009, 0.02]
    expected = [0.05, 0.0225, None, 0.6, 0.0225, 0.1 / 3]
    found = adjusted_p_values(given_)
    assert found[2] is None
    assert [p for p in found if p is not None] == pytest.approx([p for p in expected if p is not None])


@given(st.lists(st.floats(0, 1), max_size=30))
def test_benjamini_hochberg_is_scipys(p_values: list[float]) -> None:
    found = adjusted_p_values(p_values)
    expected = scipy.stats.false_discovery_control(p_values) if p_values else []
    assert found == pytest.approx(list(expected), rel=1e-12)


def test_p_values_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match="accepted are numbers from 0 to 1"):
        adjusted_p_values([0.5, 1.5])


def test_means_of_nothing_are_nothing() -> None:
    found = paired_means(np.zeros((20, 2)))
    np.testing.assert_array_equal(found.mean, 0)
    np.testing.assert_array_equal(found.interval, 0)
    np.testing.assert_array_equal(found.p_value, 1)


def test_a_constant_difference_has_an_interval_of_one_point() -> None:
    found = paired_means(np.full((40, 1), 0.1))
    assert found.interval[0] == pytest.approx([0.1, 0.1], rel=1e-12)
    assert found.p_value[0] == pytest.approx(1 / 10_000)


@given(st.lists(st.integers(-4, 4), min_size=2, max_size=9))
def test_few_images_are_permuted_exactly(steps: list[int]) -> None:
    values = np.array(steps, np.float64)
    expected = scipy.stats.permutation_test(
        (values, np.zeros_like(values)),
        lambda a, b, axis: np.abs(np.mean(a - b, axis=axis)),
        permutation_type="samples",
        alternative="greater",
        n_resamples=np.inf,
        vectorized=True,
    ).pvalue
    assert paired_means(values[:, None], resamples=20).p_value[0] == pytest.approx(expected)


def test_bootstrap_interval_is_that_of_scipy() -> None:
    values = np.random.default_rng(3).exponential(size=80) - 0.5
    expected = scipy.stats.bootstrap(
        (values,), np.mean, n_resamples=9999, method="BCa", rng=np.random.default_rng(0)
    ).confidence_interval
    found = paired_means(values[:, None]).interval[0]
    assert found == pytest.approx([expected.low, expected.high], abs=0.015)


def test_sign_flips_agree_with_the_t_test() -> None:
    values = np.random.default_rng(5).normal(0.15, 1, size=200)
    expected = scipy.stats.ttest_1samp(values, 0).pvalue
    assert 0.01 < expected < 0.5
    assert paired_means(values[:, None]).p_value[0] == pytest.approx(expected, abs=0.02)


def test_results_follow_the_seed_and_nothing_else() -> None:
    values = np.random.default_rng(1).normal(size=(60, 3))
    found, again = paired_means(values), paired_means(values)
    other = paired_means(values, seed=1)
    for name in ("mean", "interval", "p_value"):
        np.testing.assert_array_equal(getattr(found, name), getattr(again, name))
    assert not np.array_equal(found.interval, other.interval)
    alone = paired_means(values[:, 1:2])
    assert found.interval[1] == pytest.approx(alone.interval[0], rel=1e-12)
    assert found.p_value[1] == alone.p_value[0]


def test_images_without_a_value_are_left_out() -> None:
    values = np.random.default_rng(2).normal(size=30)
    holes = np.where(np.arange(30) < 10, np.nan, values)
    found = paired_means(np.stack([values, holes, np.full(30, np.nan)], axis=1))
    assert found.mean[1] == pytest.approx(values[10:].mean())
    assert found.interval[1, 0] < found.mean[1] < found.interval[1, 1]
    assert np.isnan([found.mean[2], *found.interval[2], found.p_value[2]]).all()
    assert found.p_value[1] == pytest.approx(paired_means(values[10:, None]).p_value[0], abs=0.02)


def test_one_image_has_no_interval() -> None:
    found = paired_means([[0.5]])
    assert found.mean[0] == 0.5
    assert np.isnan([*found.interval[0], found.p_value[0]]).all()


@pytest.mark.parametrize(
    ("values", "message"), [(np.zeros(3), r"shape \(3,\)"), (np.zeros((0, 2)), r"shape \(0, 2\)")]
)
def test_other_shapes_are_refused(values: Any, message: str) -> None:
    with pytest.raises(InputMismatch, match=message):
        paired_means(values)


def test_settings_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match="resamples is 0"):
        paired_means([[1.0]], resamples=0)
    with pytest.raises(ValueError, match="confidence is 2"):
        paired_means([[1.0]], confidence=2)


@pytest.mark.slow
def test_bootstrap_interval_covers_the_truth_as_often_as_it_says() -> None:
    """2000 samples of 60 skewed differences: 0.95 less what any interval of such a mean is short of, seen at 60."""
    samples = np.random.default_rng(0).gamma(2.0, size=(60, 2000)) - 2.0
    bounds = paired_means(samples, resamples=2000).interval
    covered = float(((bounds[:, 0] <= 0) & (bounds[:, 1] >= 0)).mean())
    assert 0.925 <= covered <= 0.965


@pytest.mark.slow
def test_newcombes_interval_covers_the_truth_as_often_as_it_says() -> None:
    random = np.random.default_rng(0)
    shares = [0.85, 0.03, 0.07, 0.05]  # both, first alone, second alone, neither
    hits = []
    for counts in random.multinomial(200, shares, size=2000):
        low, high = paired_proportions(*flags(*counts.tolist())).interval
        hits.append(low <= 0.07 - 0.03 <= high)
    assert 0.94 <= np.mean(hits) <= 0.98


@pytest.mark.slow
def test_p_values_without_a_difference_are_as_rare_as_they_say() -> None:
    samples = np.random.default_rng(1).normal(size=(50, 2000))
    p_values = paired_means(samples, resamples=999).p_value
    assert 0.035 <= (p_values <= 0.05).mean() <= 0.065
