"""Energies of masks by band."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from specprobe.analysis.mask_energy import (
    ENERGY_BANDS,
    angular_bands,
    angular_energy,
    radial_bands,
    radial_centres,
    radial_energy,
)
from specprobe.errors import InputMismatch
from specprobe.spectral.grid import mirror_index, radius
from specprobe.spectral.masks import band_pass, low_pass, wedge


@given(
    st.tuples(st.integers(1, 20), st.integers(1, 20)),
    st.integers(1, 70),
    st.integers(0, 2**32 - 1),
)
@settings(deadline=None, max_examples=60)
def test_squares_sum_to_one(shape: tuple[int, int], bands: int, seed: int) -> None:
    mask = np.random.default_rng(seed).uniform(0.01, 1, shape)
    assert np.sum(radial_energy(mask, bands=bands) ** 2) == pytest.approx(1)
    mean = mask[shape[0] // 2, shape[1] // 2] ** 2 / np.sum(mask**2)
    assert np.sum(angular_energy(mask, bands=bands) ** 2) == pytest.approx(1 - mean)


def test_published_edges() -> None:
    """64 bands from 0 to √(2 · 64²) on 128 × 128, by Euclidean distance from the middle."""
    edges = np.linspace(0, np.sqrt(2 * 64**2), 65)
    rows, columns = np.ogrid[-64:64, -64:64]
    distance = np.sqrt(rows**2 + columns**2)
    expected = np.clip(np.digitize(distance + 1e-9, edges) - 1, 0, 63)  # diagonal cells lie on edges
    assert np.array_equal(radial_bands((128, 128)), expected)
    assert np.allclose(radial_centres((128, 128)), (edges[:-1] + edges[1:]) / 2)


def test_energy_lies_where_the_mask_does() -> None:
    centres = radial_centres((64, 64))
    inside = radial_energy(low_pass((64, 64), cutoff=10).astype(float))
    width = centres[1] - centres[0]
    assert (inside[centres > 10 + width] == 0).all()
    ring = radial_energy(band_pass((64, 64), low=12, high=20).astype(float))
    assert np.sum(ring[(centres > 12 - width) & (centres < 20 + width)] ** 2) == pytest.approx(1)
    upright = angular_energy(wedge((64, 64), low_degrees=80, high_degrees=100).astype(float))
    loudest = np.argsort(upright)[-8:]
    angles = (loudest + 0.5) * 360 / ENERGY_BANDS
    assert (np.abs(angles % 180 - 90) < 15).all()
    assert {bool(angle < 180) for angle in angles} == {False, True}, "both of a pair"


def test_conjugates_lie_in_opposite_wedges() -> None:
    labels = angular_bands((9, 9))
    assert labels[4, 4] == -1
    mirrored = labels.reshape(-1)[mirror_index((9, 9))]
    off = labels >= 0
    assert np.array_equal((labels[off] + 32) % 64, mirrored[off])
    right, up = labels[4, 7], labels[1, 4]
    assert (right, up) == (0, 16), "counter-clockwise from the right, rows counted downwards"


def test_channels_are_one_mask() -> None:
    masks = np.random.default_rng(0).uniform(size=(5, 3, 8, 8))
    for energy in (radial_energy, angular_energy):
        apart, together = energy(masks), energy(masks, channels=True)
        assert apart.shape == (5, 3, 64)
        weights = (masks**2).sum(axis=(2, 3)) / (masks**2).sum(axis=(1, 2, 3))[:, None]
        assert np.allclose(together**2, (weights[..., None] * apart**2).sum(axis=1))


def test_nothing_has_no_energy_and_scale_does_not_matter() -> None:
    assert not radial_energy(np.zeros((2, 6, 6))).any()
    mask = (radius((6, 6)) < 2).astype(float)
    assert np.allclose(radial_energy(mask), radial_energy(0.01 * mask))


def test_what_is_no_mask_is_refused() -> None:
    with pytest.raises(InputMismatch, match=r"the masks have shape \(6,\); accepted is \(\.\.\., H, W\)"):
        radial_energy(np.ones(6))
    with pytest.raises(InputMismatch, match=r"accepted is \(\.\.\., C, H, W\)"):
        angular_energy(np.ones((6, 6)), channels=True)
    with pytest.raises(ValueError, match="bands is 0; accepted are whole numbers from 1, such as 64"):
        radial_energy(np.ones((6, 6)), bands=0)
