"""Every transform is unitary and knows its frequencies."""

import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.fft
import scipy.linalg
from hypothesis import given, settings
from hypothesis import strategies as st

from specprobe.arrays import device, to_host
from specprobe.errors import InputMismatch
from specprobe.spectral import grid
from specprobe.spectral.power import image_power, power
from specprobe.spectral.profiles import ring_shares
from specprobe.spectral.transforms import DCT, FOURIER, HAAR, HADAMARD, TRANSFORMS, Transform

every = pytest.mark.parametrize("transform", TRANSFORMS.values(), ids=TRANSFORMS)
POWERS = st.sampled_from([1, 2, 4, 8, 16])
SHAPES: dict[str, st.SearchStrategy[tuple[int, int]]] = {
    "fourier": st.tuples(st.integers(1, 13), st.integers(1, 13)),
    "dct": st.tuples(st.integers(1, 13), st.integers(1, 13)),
    "hadamard": st.tuples(POWERS, POWERS),
    "haar": st.tuples(st.integers(1, 12).map(lambda n: 2 * n), st.integers(1, 12).map(lambda n: 2 * n)),
}
cases = st.sampled_from(list(TRANSFORMS)).flatmap(
    lambda name: st.tuples(st.just(TRANSFORMS[name]), SHAPES[name])
)


def noise(*shape: int, dtype: type = np.float64) -> Any:
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(dtype)


@settings(deadline=None)
@given(cases)
def test_power_is_parsevals(case: tuple[Transform, tuple[int, int]]) -> None:
    transform, shape = case
    images = noise(2, 3, *shape)
    total = (images**2).sum(axis=(-2, -1))
    found = transform.power(images)
    assert np.allclose((np.abs(transform.forward(images)) ** 2).sum(axis=(-2, -1)), total)
    assert np.allclose(transform.ring_sums(found, shape=shape).sum(axis=-1), total)
    assert np.allclose(transform.power_map(found, shape=shape), np.abs(transform.forward(images)) ** 2)


@settings(deadline=None)
@given(cases)
def test_the_adjoint_is_the_inverse(case: tuple[Transform, tuple[int, int]]) -> None:
    transform, shape = case
    x, y = noise(*shape), noise(1, *shape)[0]
    coefficients = transform.forward(y)
    assert np.allclose(transform.inverse(transform.forward(x)), x, atol=1e-12)
    assert np.vdot(transform.forward(x), coefficients).real == pytest.approx(
        np.vdot(x, transform.inverse(coefficients)), abs=1e-10
    )


@settings(deadline=None)
@given(cases)
def test_the_mean_is_where_the_radius_is_0(case: tuple[Transform, tuple[int, int]]) -> None:
    transform, shape = case
    rho = transform.radius(shape)
    assert (rho == 0).sum() == 1
    constant = np.abs(transform.forward(np.ones(shape)))
    assert constant[rho == 0] == pytest.approx(np.sqrt(shape[0] * shape[1]))
    assert np.allclose(constant[rho > 0], 0, atol=1e-12)
    assert transform.ring_sizes(shape)[0] == 1
    assert transform.ring_sizes(shape).sum() == rho.size
    if rho.size > 1:
        assert transform.white_noise_shares(shape).sum() == pytest.approx(1)


@every
def test_noise_has_the_profile_of_white_noise(transform: Transform) -> None:
    images = noise(4000, 16, 8)
    found = ring_shares(transform.ring_sums(transform.power(images), shape=(16, 8))).mean(axis=0)
    assert np.abs(found - transform.white_noise_shares((16, 8))).max() < 0.003


@settings(deadline=None)
@given(SHAPES["dct"])
def test_dct_is_scipys(shape: tuple[int, int]) -> None:
    images = noise(2, *shape)
    assert np.allclose(DCT.forward(images), scipy.fft.dctn(images, axes=(1, 2), norm="ortho"), atol=1e-12)


@given(SHAPES["hadamard"])
def test_hadamard_is_scipys_by_changes_of_sign(shape: tuple[int, int]) -> None:
    matrices = []
    for side in shape:
        matrix = scipy.linalg.hadamard(side)
        changes = (np.diff(matrix, axis=1) != 0).sum(axis=1)
        assert sorted(changes) == list(range(side))
        matrices.append(matrix[np.argsort(changes)] / np.sqrt(side))
    x = noise(*shape)
    assert np.allclose(HADAMARD.forward(x), matrices[0] @ x @ matrices[1].T, atol=1e-12)


def test_haar_of_two_by_two() -> None:
    assert HAAR.forward(np.asarray([[1.0, 2.0], [3.0, 6.0]])).tolist() == [[6, -2], [-3, 1]]


def test_haar_wavelets_are_local_and_have_their_level() -> None:
    """The inverse of one coefficient is one wavelet: of mean 0, on one block, in one of three directions."""
    rho = HAAR.radius((8, 8))
    assert sorted(set(rho.ravel())) == [0, 1, 2, 4]
    for row, column in np.argwhere(rho > 0):
        one = np.zeros((8, 8))
        one[row, column] = 1
        wavelet = HAAR.inverse(one)
        block = round(8 / rho[row, column])
        support = np.argwhere(np.abs(wavelet) > 1e-12)
        assert len(support) == block**2
        assert np.ptp(support, axis=0).tolist() == [block - 1, block - 1]
        assert abs(wavelet.sum()) < 1e-12
        assert np.allclose(np.abs(wavelet[np.abs(wavelet) > 1e-12]), 1 / block)


def test_haar_ends_with_the_cosines_of_what_is_left() -> None:
    rho = HAAR.radius((28, 56))
    assert np.allclose(rho[:7, :14], DCT.radius((28, 56))[:7, :14])
    assert set(np.unique(rho[7:14, :14])) == {7}
    assert set(np.unique(rho[14:])) == {14}


def test_half_cycles_are_the_unit_of_dct_and_sequency() -> None:
    for transform in (DCT, HADAMARD):
        rho = transform.radius((8, 16))
        assert rho[:, 0].tolist() == [0, 0.5, 1, 1.5, 2, 2.5, 3, 3.5]
        assert rho[0, :4].tolist() == [0, 0.25, 0.5, 0.75]
        assert transform.rings((8, 16))[0, :4].tolist() == [0, 1, 1, 1]


def test_fourier_is_centred_and_kept_as_half_plane() -> None:
    x = noise(2, 7, 8)
    assert np.allclose(FOURIER.forward(x), np.fft.fftshift(np.fft.fft2(x, norm="ortho"), axes=(1, 2)))
    assert np.array_equal(FOURIER.power(x), power(x))
    assert FOURIER.radius is grid.radius
    assert np.array_equal(FOURIER.rings((7, 8)), grid.rings((7, 8)))
    assert np.array_equal(FOURIER.ring_sizes((7, 8)), grid.ring_sizes((7, 8)))


def test_channels_are_averaged_before_or_after() -> None:
    images = noise(2, 3, 6, 7)
    assert np.array_equal(FOURIER.image_power(images), image_power(images))
    before = FOURIER.image_power(images, channels="mean_before")
    assert np.array_equal(before, image_power(images, channels="mean_before"))
    assert FOURIER.power_shape((6, 7), channels="mean_before") == (6, 8)
    assert np.allclose(DCT.image_power(images), (DCT.forward(images) ** 2).mean(axis=1))
    assert np.allclose(DCT.image_power(images, channels="mean_before"), DCT.forward(images.mean(axis=1)) ** 2)
    assert DCT.power_shape((6, 7), channels="mean_before") == (6, 7)


@every
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_libraries_agree(placed: Callable[[Any], Any], transform: Transform, dtype: type) -> None:
    shape = (8, 16)
    host = noise(3, 2, *shape, dtype=dtype)
    images, wide = placed(host), host.astype(np.float64)
    found = transform.power(images)
    tolerance = 4e-6 if dtype is np.float32 else 1e-12
    for here, wanted in (
        (transform.power_map(found, shape=shape), np.abs(transform.forward(wide)) ** 2),
        (transform.ring_sums(found, shape=shape), transform.ring_sums(transform.power(wide), shape=shape)),
        (transform.image_power(images), transform.power(wide).mean(axis=1)),
        (transform.image_power(images, channels="mean_before"), transform.power(wide.mean(axis=1))),
        (transform.inverse(transform.forward(images)), wide),
    ):
        assert type(here) is type(images)
        assert here.dtype == images.dtype
        assert device(here) == device(images)
        assert np.allclose(to_host(here), wanted, rtol=tolerance, atol=tolerance)
    coefficients = to_host(transform.forward(images))
    assert coefficients.itemsize == host.itemsize * (2 if transform is FOURIER else 1)
    assert np.allclose(coefficients, transform.forward(wide), atol=tolerance)


@every
def test_power_does_not_depend_on_the_batch(transform: Transform) -> None:
    images = noise(5, 3, 32, 16, dtype=np.float32)
    together = transform.ring_sums(transform.image_power(images), shape=(32, 16))
    alone = [transform.ring_sums(transform.image_power(images[i : i + 1]), shape=(32, 16)) for i in range(5)]
    assert np.array_equal(np.concatenate(alone), together)


@every
def test_transforms_reach_other_processes(transform: Transform) -> None:
    assert pickle.loads(pickle.dumps(transform)) == transform
    assert TRANSFORMS[transform.name] is transform


def test_sides_that_a_basis_does_not_have_are_refused() -> None:
    message = (
        "a side of 12 pixels; accepted in the Hadamard basis are powers of two: crop or resize .* basis dct"
    )
    for call in (HADAMARD.power, HADAMARD.forward, HADAMARD.inverse):
        with pytest.raises(InputMismatch, match=message):
            call(np.ones((8, 12)))
    with pytest.raises(InputMismatch, match=message):
        HADAMARD.white_noise_shares((12, 8))
    message = "height 8 and width 7; accepted in the Haar basis are even ones: crop or resize .* basis dct"
    for call in (HAAR.power, HAAR.inverse):
        with pytest.raises(InputMismatch, match=message):
            call(np.ones((8, 7)))
    with pytest.raises(InputMismatch, match=message):
        HAAR.rings((8, 7))


@every
def test_bad_arguments_are_refused(transform: Transform) -> None:
    with pytest.raises(InputMismatch, match="the images are of int64; accepted are float32 and float64"):
        transform.power(np.ones((8, 8), np.int64))
    with pytest.raises(InputMismatch, match=r"the images have shape \(8, 8\); accepted is \(N, C, H, W\)"):
        transform.image_power(np.ones((8, 8)))
    with pytest.raises(ValueError, match="channels is 'sum'"):
        transform.image_power(np.ones((1, 3, 8, 8)), channels="sum")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="channels is 'sum'"):
        transform.power_shape((8, 8), channels="sum")  # type: ignore[arg-type]
    stored = transform.power(np.ones((2, 8, 8)))
    for call in (transform.power_map, transform.ring_sums):
        with pytest.raises(InputMismatch, match=r"shape \(2, 8, .\).*; accepted .*\(..., 8, (9|16)\)"):
            call(stored, shape=(8, 16))
