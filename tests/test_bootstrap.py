"""Bootstrap intervals against SciPy's, and against samples whose truth is known."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import bootstrap

from specprobe.bootstrap import BootstrapMethod, bootstrap_interval, resampled_means
from specprobe.errors import InputMismatch
from specprobe.intervals import mean_interval


def skewed(images: int, *, columns: int = 3, seed: int = 0) -> NDArray[np.float64]:
    return np.random.default_rng(seed).exponential(size=(images, columns)) * np.arange(1, columns + 1)


@pytest.mark.parametrize(("method", "scipys"), [("bca", "BCa"), ("percentile", "percentile")])
def test_interval_is_scipys_up_to_the_draws(method: BootstrapMethod, scipys: str) -> None:
    values = skewed(40)
    found = bootstrap_interval(values, method=method, resamples=20_000)
    wanted = bootstrap(
        (values,), np.mean, axis=0, method=scipys, n_resamples=20_000, rng=np.random.default_rng(1)
    ).confidence_interval
    spread = values.std(axis=0) / np.sqrt(len(values))
    assert (np.abs(found[:, 0] - wanted.low) < 0.08 * spread).all()
    assert (np.abs(found[:, 1] - wanted.high) < 0.08 * spread).all()


def test_interval_of_a_function_of_means_is_scipys() -> None:
    values = skewed(60, columns=2)

    def ratio(a: NDArray[np.float64], b: NDArray[np.float64], axis: int = -1) -> NDArray[np.float64]:
        made: NDArray[np.float64] = a.mean(axis=axis) / b.mean(axis=axis)
        return made

    found = bootstrap_interval(values, statistic=lambda m: m[..., :1] / m[..., 1:], resamples=20_000)
    wanted = bootstrap(
        (values[:, 0], values[:, 1]),
        ratio,
        paired=True,
        n_resamples=20_000,
        rng=np.random.default_rng(1),
    ).confidence_interval
    width = float(wanted.high - wanted.low)
    assert found.shape == (1, 2)
    assert np.abs(found[0] - [wanted.low, wanted.high]).max() < 0.03 * width


def test_interval_of_many_images_is_the_normal_one() -> None:
    values = np.random.default_rng(3).normal(2.0, 1.0, (2000, 1))
    wanted = mean_interval(values.mean(axis=0), values.std(axis=0), 2000)
    np.testing.assert_allclose(bootstrap_interval(values, resamples=4000), wanted, atol=0.004)


def test_intervals_cover_the_truth_about_as_often_as_they_say() -> None:
    hits = 0
    for seed in range(400):
        ((low, high),) = bootstrap_interval(skewed(40, columns=1, seed=seed), resamples=500, seed=seed)
        hits += low <= 1 <= high
    assert 0.89 < hits / 400 < 0.98


@pytest.mark.parametrize("method", ["bca", "percentile"])
def test_intervals_hold_the_number_and_move_with_it(method: BootstrapMethod) -> None:
    values = skewed(30)
    found = bootstrap_interval(values, method=method, resamples=500)
    mean = values.mean(axis=0)
    assert (found[:, 0] <= mean).all()
    assert (mean <= found[:, 1]).all()
    np.testing.assert_allclose(
        bootstrap_interval(2 * values + 5, method=method, resamples=500), 2 * found + 5, rtol=1e-9
    )


def test_draws_depend_on_seed_and_purpose_alone() -> None:
    values = skewed(20)
    again = bootstrap_interval(values, resamples=200)
    assert np.array_equal(bootstrap_interval(values, resamples=200), again)
    assert not np.array_equal(bootstrap_interval(values, resamples=200, seed=1), again)
    assert not np.array_equal(bootstrap_interval(values, resamples=200, purpose="other"), again)
    # A column's interval is its own, whatever stands beside it.
    np.testing.assert_allclose(bootstrap_interval(values[:, 1:2], resamples=200), again[1:2], rtol=1e-12)


def test_blocks_of_draws_give_what_one_block_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    values = skewed(20)
    whole = resampled_means(values, resamples=301)
    monkeypatch.setattr("specprobe.bootstrap._CELLS", 7 * 20)
    np.testing.assert_allclose(resampled_means(values, resamples=301), whole, rtol=1e-12)


def test_what_an_image_lacks_is_left_out_of_its_means() -> None:
    values = skewed(30)
    values[:10, 1] = np.nan
    found = bootstrap_interval(values, resamples=400)
    assert np.isfinite(found).all()
    assert found[1, 0] <= np.nanmean(values[:, 1]) <= found[1, 1]
    values[:, 2] = np.nan
    values[0, 2] = 1
    found = bootstrap_interval(values, resamples=400)
    assert np.isnan(found[2]).all()
    values[0, 2] = np.nan
    assert np.isnan(bootstrap_interval(values, resamples=50)[2]).all()


def test_numbers_without_spread_have_intervals_without_width() -> None:
    assert bootstrap_interval(np.full((9, 1), 0.1), resamples=100).tolist() == [[0.1, 0.1]]
    assert np.isnan(bootstrap_interval([[0.3]], resamples=10)).all()


def test_what_is_no_sample_is_refused() -> None:
    with pytest.raises(InputMismatch, match=r"shape \(3,\); accepted is \(N, M\)"):
        bootstrap_interval([1.0, 2.0, 3.0])
    with pytest.raises(InputMismatch, match="of one image or more"):
        resampled_means(np.empty((0, 2)))
    with pytest.raises(ValueError, match="resamples is 0"):
        bootstrap_interval([[1.0], [2.0]], resamples=0)
    with pytest.raises(ValueError, match="method is 'basic'; accepted are 'bca' and 'percentile'"):
        bootstrap_interval([[1.0], [2.0]], method="basic")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="confidence is 95"):
        bootstrap_interval([[1.0], [2.0]], confidence=95)
