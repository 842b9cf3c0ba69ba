"""Numbers that sum a profile up."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from specprobe.arrays import to_host
from specprobe.errors import InputMismatch
from specprobe.spectral import grid
from specprobe.spectral.power import power, ring_sums
from specprobe.spectral.profiles import (
    band_shares,
    centroid_cycles_per_image,
    cumulative_shares,
    half_power_cycles_per_image,
    ring_shares,
    shares,
    spectral_entropy_bits,
    white_noise_shares,
)

profiles = arrays(np.float64, st.integers(1, 24), elements=st.floats(0, 1e3)).filter(lambda p: p.sum() > 1e-3)


def test_white_noise_of_a_side_of_32() -> None:
    white = white_noise_shares((32, 32))
    assert white.size == 23
    assert white.sum() == pytest.approx(1)
    assert white.argmax() + 1 == 16
    assert round(white.max(), 4) == 0.0919
    assert band_shares(white, shape=(32, 32)).round(3).tolist() == [0.094, 0.246, 0.660]
    assert round(float(centroid_cycles_per_image(white)), 1) == 12.2
    assert 12 < half_power_cycles_per_image(white) < 13
    first_half = white[:16] / white[:16].sum()
    assert round(float(spectral_entropy_bits(first_half)), 2) == 3.77


@pytest.mark.parametrize(("side", "beyond"), [(32, 0.177), (224, 0.208)])
def test_white_noise_beyond_the_inscribed_circle(side: int, beyond: float) -> None:
    sizes = grid.ring_sizes((side, side))
    assert round(sizes[side // 2 + 1 :].sum() / sizes.sum(), 3) == beyond


def test_noise_has_the_profile_of_white_noise() -> None:
    images = np.random.default_rng(0).standard_normal((4000, 16, 24))
    found = ring_shares(ring_sums(power(images), shape=(16, 24))).mean(axis=0)
    assert np.abs(found - white_noise_shares((16, 24))).max() < 0.002


@given(profiles)
def test_shares_sum_to_one(profile: Any) -> None:
    part = shares(profile)
    assert part.sum() == pytest.approx(1)
    assert np.allclose(part * profile.sum(), profile)
    assert np.array_equal(ring_shares(np.concatenate([[7.0], profile])), part)
    assert np.allclose(cumulative_shares(part), np.cumsum(part))
    assert band_shares(part, shape=(99, 99)).sum() == pytest.approx(1)


@given(profiles)
def test_summaries_stay_within_the_rings(profile: Any) -> None:
    part, rings = shares(profile), len(profile)
    held = np.flatnonzero(part) + 1
    assert held[0] - 1e-9 <= centroid_cycles_per_image(part) <= held[-1] + 1e-9
    assert held[0] - 0.5 <= half_power_cycles_per_image(part) <= held[-1] + 0.5
    assert -1e-12 <= spectral_entropy_bits(part) <= np.log2(rings) + 1e-12


@given(profiles)
def test_half_of_the_power_lies_below_the_half_power_frequency(profile: Any) -> None:
    edges = np.arange(len(profile) + 1) + 0.5
    below = np.interp(half_power_cycles_per_image(profile), edges, np.concatenate([[0], np.cumsum(profile)]))
    assert below == pytest.approx(profile.sum() / 2)


@pytest.mark.parametrize("ring", [1, 7, 23])
def test_power_on_one_ring_gives_that_ring(ring: int) -> None:
    one = np.zeros(23)
    one[ring - 1] = 1
    assert centroid_cycles_per_image(one) == ring
    assert half_power_cycles_per_image(one) == ring
    assert spectral_entropy_bits(one) == 0
    assert spectral_entropy_bits(np.full(16, 1 / 16)) == 4
    assert band_shares(one, shape=(32, 32)).tolist() == [ring <= 5, 5 < ring <= 10, ring > 10]


def test_nothing_has_no_shares(placed: Callable[[Any], Any]) -> None:
    sums = placed(np.asarray([[5.0, 0.0, 0.0], [5.0, 1.0, 3.0], [5.0, np.inf, 1.0]], np.float32))
    found = to_host(ring_shares(sums))
    assert found[1].tolist() == [0.25, 0.75]
    assert np.isnan(found[[0, 2]]).all()
    nothing = sums[:1, 1:]
    assert np.isnan(to_host(centroid_cycles_per_image(nothing))).all()
    assert np.isnan(to_host(half_power_cycles_per_image(nothing))).all()


def test_libraries_agree(placed: Callable[[Any], Any]) -> None:
    host = np.random.default_rng(0).random((5, 24), np.float32)
    array = placed(host)
    part = ring_shares(array)
    wide = host[:, 1:] / host[:, 1:].sum(axis=1, keepdims=True, dtype=np.float64)
    r = np.arange(1, 24)
    for found, wanted in (
        (part, wide),
        (centroid_cycles_per_image(part), wide @ r),
        (spectral_entropy_bits(part), -(wide * np.log2(wide)).sum(axis=1)),
        (cumulative_shares(part), np.cumsum(wide, axis=1)),
        (half_power_cycles_per_image(part), half_power_cycles_per_image(wide)),
        (
            band_shares(part, shape=(32, 32)),
            np.stack([wide[:, :5].sum(1), wide[:, 5:10].sum(1), wide[:, 10:].sum(1)], 1),
        ),
    ):
        assert type(found) is type(array)
        assert found.dtype == array.dtype
        assert np.allclose(to_host(found), wanted, rtol=1e-6)


def test_shares_of_other_images_are_refused() -> None:
    with pytest.raises(
        InputMismatch, match="shares of 24 rings; accepted for height 32 and width 32 are up to 23"
    ):
        band_shares(np.ones(24), shape=(32, 32))
