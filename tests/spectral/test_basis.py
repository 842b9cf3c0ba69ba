"""Basis images: unit norm, one pair of frequencies, and the published images."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from specprobe.arrays import device, to_host
from specprobe.errors import InputMismatch
from specprobe.spectral import grid
from specprobe.spectral.basis import basis_coefficients, basis_images, quadrature_pairs, self_conjugate
from specprobe.spectral.power import power

shapes = st.tuples(st.integers(1, 11), st.integers(1, 11))
phases = st.sampled_from([0.0, 45.0, 90.0, -30.0, 217.0])
SIZES = [(8, 8), (7, 9), (8, 5), (5, 12)]
WIDE = np.zeros(1)


@settings(deadline=None)
@given(shapes, phases)
def test_images_have_unit_norm_and_two_point_support(shape: tuple[int, int], phase: float) -> None:
    height, width = shape
    frequencies = grid.real_frequencies(shape)
    images = basis_images(frequencies, shape=shape, like=WIDE, phase_degrees=phase)
    assert images.shape == (len(frequencies), *shape)
    assert np.allclose((images**2).sum(axis=(1, 2)), 1, atol=1e-12)
    spectrum = np.abs(np.fft.fft2(images, norm="ortho")) ** 2
    for k, (f_y, f_x) in enumerate(frequencies):
        cells = {(f_y % height, f_x % width), (-f_y % height, -f_x % width)}
        for cell in cells:
            assert spectrum[k][cell] == pytest.approx(1 / len(cells))
            spectrum[k][cell] = 0
    assert spectrum.max() < 1e-20


@settings(deadline=None)
@given(shapes, phases)
def test_quadrature_pairs_are_an_orthonormal_basis(shape: tuple[int, int], phase: float) -> None:
    frequencies = grid.real_frequencies(shape)
    pairs = quadrature_pairs(frequencies, shape=shape, like=WIDE, phase_degrees=phase)
    flat = pairs.reshape(2 * len(frequencies), -1)
    flat = flat[np.abs(flat).max(axis=1) > 0]
    assert len(flat) == shape[0] * shape[1]
    assert np.allclose(flat @ flat.T, np.eye(len(flat)), atol=1e-12)
    assert np.array_equal((pairs[:, 1] == 0).all(axis=(1, 2)), self_conjugate(frequencies, shape=shape))


def official(shape: tuple[int, int], row: int, column: int) -> Any:
    """By the formula of the paper's official code, of one cell of the centred map, with the mirror written last."""
    height, width = shape
    spectrum = np.zeros(shape, complex)
    mirror = int(grid.mirror_index(shape)[row, column])
    spectrum[row, column] = 0.5 + 0.5j
    spectrum.ravel()[mirror] = 0.5 - 0.5j
    return np.sqrt(height * width) * np.fft.ifft2(np.fft.ifftshift(spectrum)).real


@pytest.mark.parametrize("shape", SIZES)
def test_45_degrees_are_the_official_images(shape: tuple[int, int]) -> None:
    frequencies = grid.real_frequencies(shape)
    images = basis_images(frequencies, shape=shape, like=WIDE, phase_degrees=45)
    for (f_y, f_x), alone, image in zip(
        frequencies, self_conjugate(frequencies, shape=shape), images, strict=True
    ):
        wanted = official(shape, f_y + shape[0] // 2, f_x + shape[1] // 2)
        assert np.allclose(image, 2 * wanted if alone else wanted), (
            "amplitude 1 where the formula gives a half"
        )


@pytest.mark.parametrize("shape", SIZES)
def test_0_degrees_are_the_unofficial_images(shape: tuple[int, int]) -> None:
    height, width = shape
    for f_y, f_x in grid.real_frequencies(shape):
        y, x = (f_y, f_x) if f_x >= 0 or 2 * f_x == -width else (-f_y, -f_x)
        one_hot = np.zeros((height, width // 2 + 1), complex)
        one_hot[y % height, abs(x)] = 1
        wanted = np.fft.irfftn(one_hot, s=shape, axes=(0, 1))
        found = basis_images(np.asarray([[f_y, f_x]]), shape=shape, like=WIDE)[0]
        assert np.allclose(found, wanted / np.linalg.norm(wanted), atol=1e-12)


def test_images_of_a_pair_are_one_at_0_and_orthogonal_at_45_degrees() -> None:
    pair = np.asarray([[2, 3], [-2, -3]])
    cosine = basis_images(pair, shape=(8, 9), like=WIDE)
    assert np.allclose(cosine[0], cosine[1])
    slanted = basis_images(pair, shape=(8, 9), like=WIDE, phase_degrees=45)
    assert abs((slanted[0] * slanted[1]).sum()) < 1e-12


def test_each_frequency_may_have_its_phase() -> None:
    frequencies = grid.real_frequencies((6, 7))
    each = np.linspace(0, 360, len(frequencies))
    together = basis_images(frequencies, shape=(6, 7), like=WIDE, phase_degrees=each)
    for k, phase in enumerate(each):
        alone = basis_images(frequencies[k : k + 1], shape=(6, 7), like=WIDE, phase_degrees=phase)
        assert np.array_equal(alone[0], together[k])


def test_high_frequencies_of_large_images_lose_no_digits() -> None:
    image = basis_images(np.asarray([[-511, 510]]), shape=(1024, 1024), like=np.zeros(1, np.float32))
    spectrum = power(image[0].astype(np.float64))
    assert spectrum[511, 510] + spectrum[513, 510] == pytest.approx(0.5, abs=1e-6)
    assert np.sort(spectrum.ravel())[-2] < 1e-12


@pytest.mark.parametrize("shape", SIZES)
@pytest.mark.parametrize("phase", [0.0, 45.0, 130.0])
def test_coefficients_are_inner_products(shape: tuple[int, int], phase: float) -> None:
    images = np.random.default_rng(0).standard_normal((2, 3, *shape))
    basis = basis_images(grid.real_frequencies(shape), shape=shape, like=images, phase_degrees=phase)
    found = basis_coefficients(images, phase_degrees=phase)
    assert np.allclose(found, np.einsum("nchw,khw->nck", images, basis), atol=1e-12)


@given(shapes)
def test_coefficients_of_a_quadrature_pair_hold_the_power(shape: tuple[int, int]) -> None:
    image = np.random.default_rng(0).standard_normal(shape)
    first, second = (basis_coefficients(image, phase_degrees=phase) for phase in (20, -70))
    alone = self_conjugate(grid.real_frequencies(shape), shape=shape)
    both = np.where(alone, first**2, (first**2 + second**2) / 2)
    full = np.fft.fftshift(np.abs(np.fft.fft2(image, norm="ortho")) ** 2)
    assert np.allclose(both[grid.frequency_index(shape)], full, atol=1e-12)


@pytest.mark.parametrize("shape", SIZES)
def test_libraries_agree(placed: Callable[[Any], Any], shape: tuple[int, int]) -> None:
    host = np.random.default_rng(0).standard_normal((2, *shape)).astype(np.float32)
    images, frequencies = placed(host), grid.real_frequencies(shape)
    wide = host.astype(np.float64)
    for found, wanted in (
        (
            basis_images(frequencies, shape=shape, like=images, phase_degrees=45),
            basis_images(frequencies, shape=shape, like=WIDE, phase_degrees=45),
        ),
        (
            quadrature_pairs(frequencies, shape=shape, like=images),
            quadrature_pairs(frequencies, shape=shape, like=WIDE),
        ),
        (basis_coefficients(images, phase_degrees=45), basis_coefficients(wide, phase_degrees=45)),
    ):
        assert type(found) is type(images)
        assert found.dtype == images.dtype
        assert device(found) == device(images)
        assert np.allclose(to_host(found), wanted, atol=2e-6)


@pytest.mark.parametrize("wrong", [[[4, 0]], [[0, 0], [0, -5]]])
def test_frequencies_outside_the_grid_are_refused(wrong: list[list[int]]) -> None:
    f_y, f_x = wrong[-1]
    with pytest.raises(
        InputMismatch,
        match=rf"frequency \(f_y, f_x\) = \({f_y}, {f_x}\) lies outside images of height 8 and width 9; "
        "accepted are f_y from -4 to 3 and f_x from -4 to 4",
    ):
        basis_images(np.asarray(wrong), shape=(8, 9), like=WIDE)


@pytest.mark.parametrize("wrong", [np.zeros(2, int), np.zeros((3, 3), int), np.zeros((3, 2))])
def test_frequencies_are_pairs_of_whole_numbers(wrong: Any) -> None:
    with pytest.raises(
        InputMismatch, match=r"the frequencies are of .* and shape .*; accepted are whole numbers"
    ):
        basis_images(wrong, shape=(8, 9), like=WIDE)


def test_phases_are_one_or_one_each() -> None:
    with pytest.raises(
        InputMismatch, match=r"phases of shape \(2,\) for 3 frequencies; accepted are one number, or one"
    ):
        basis_images(np.zeros((3, 2), int), shape=(8, 9), like=WIDE, phase_degrees=[0, 45])
