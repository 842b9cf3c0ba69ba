"""Power by frequency, ring and wedge."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from specprobe.arrays import device, namespace, to_host
from specprobe.errors import InputMismatch
from specprobe.spectral import grid
from specprobe.spectral.power import (
    WEDGES,
    channel_mean,
    full_plane,
    image_power,
    power,
    power_shape,
    ring_means,
    ring_sums,
    wedge_means,
    wedge_sizes,
    wedge_sums,
)

shapes = st.tuples(st.integers(1, 17), st.integers(1, 17))


def noise(*shape: int, dtype: type = np.float64) -> Any:
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(dtype)


def reference(images: Any) -> Any:
    return np.fft.fftshift(np.abs(np.fft.fft2(images, norm="ortho")) ** 2, axes=(-2, -1))


@given(shapes)
def test_power_is_parsevals(shape: tuple[int, int]) -> None:
    images = noise(2, 3, *shape)
    total = (power(images) * grid.multiplicities(shape)).sum(axis=(-2, -1))
    assert np.allclose(total, (images**2).sum(axis=(-2, -1)))


@given(shapes)
def test_full_plane_is_the_full_fft(shape: tuple[int, int]) -> None:
    images = noise(2, 3, *shape)
    assert np.allclose(full_plane(power(images), shape=shape), reference(images))


@settings(deadline=None)
@given(shapes)
def test_rings_add_up_the_full_plane(shape: tuple[int, int]) -> None:
    images = noise(2, *shape)
    full, rings = reference(images), grid.rings(shape)
    sums = ring_sums(power(images), shape=shape)
    means = ring_means(power(images), shape=shape)
    assert sums.shape == means.shape == (2, rings.max() + 1)
    for ring in range(rings.max() + 1):
        assert (rings == ring).any(), "every ring has cells"
        assert np.allclose(sums[:, ring], full[:, rings == ring].sum(axis=1))
        assert np.allclose(means[:, ring], full[:, rings == ring].mean(axis=1))


@settings(deadline=None)
@given(shapes, st.integers(1, 20))
def test_wedges_add_up_all_but_the_mean(shape: tuple[int, int], wedges: int) -> None:
    images = noise(2, *shape)
    half = power(images)
    sums = wedge_sums(half, shape=shape, wedges=wedges)
    sizes = wedge_sizes(shape, wedges=wedges)
    assert sums.shape == (2, wedges)
    assert sizes.sum() == shape[0] * shape[1] - 1
    assert np.allclose(sums.sum(axis=1), ((images - images.mean((-2, -1), keepdims=True)) ** 2).sum((-2, -1)))
    assert np.allclose(wedge_means(half, shape=shape, wedges=wedges) * sizes, sums)


@pytest.mark.parametrize("shape", [(8, 8), (8, 7), (7, 8), (6, 10), (5, 9)])
def test_wedges_of_mirrored_images_are_mirrored(shape: tuple[int, int]) -> None:
    images = noise(4, *shape)
    there = np.arange(WEDGES)
    for mirrored in (images[..., ::-1], images[..., ::-1, :]):
        sums = wedge_sums(power(images), shape=shape)
        assert np.allclose(wedge_sums(power(mirrored.copy()), shape=shape), sums[:, -there % WEDGES])
    sizes = wedge_sizes(shape)
    assert np.array_equal(sizes, sizes[-there % WEDGES])


def test_waves_lie_in_the_wedge_of_their_direction() -> None:
    y, x = np.mgrid[:32, :32] * (2 * np.pi / 32)
    for wave, wedge in (
        (np.cos(5 * x), 0),
        (np.cos(4 * x - 4 * y), 3),
        (np.cos(7 * y), 6),
        (np.cos(4 * x + 4 * y), 9),
    ):
        sums = wedge_sums(power(wave), shape=(32, 32))
        assert sums[wedge] == pytest.approx(512)
        assert np.delete(sums, wedge) == pytest.approx(0, abs=1e-20)


def test_constant_images_have_power_at_the_mean_alone() -> None:
    sums = ring_sums(power(np.full((1, 6, 7), 3.0)), shape=(6, 7))
    assert sums[0, 0] == pytest.approx(9 * 42)
    assert sums[0, 1:] == pytest.approx(0, abs=1e-20)


@pytest.mark.parametrize("shape", [(8, 8), (7, 9), (8, 5), (5, 12)])
def test_libraries_agree(placed: Callable[[Any], Any], shape: tuple[int, int]) -> None:
    host = noise(3, 2, *shape, dtype=np.float32)
    images = placed(host)
    wide = reference(host.astype(np.float64))
    rings = grid.rings(shape)
    ring_totals = np.stack([wide[..., rings == r].sum(-1) for r in range(rings.max() + 1)], -1)
    half = power(images)
    for found, wanted in (
        (full_plane(half, shape=shape), wide),
        (ring_sums(half, shape=shape), ring_totals),
        (ring_means(half, shape=shape), ring_totals / grid.ring_sizes(shape)),
        (full_plane(image_power(images), shape=shape), wide.mean(axis=1)),
    ):
        assert type(found) is type(images)
        assert found.dtype == images.dtype == namespace(images).float32
        assert device(found) == device(images)
        assert np.allclose(to_host(found), wanted, rtol=2e-6, atol=2e-6)
    wedges = wedge_sums(half, shape=shape, wedges=5)
    assert np.allclose(to_host(wedges), wedge_sums(power(host), shape=shape, wedges=5), rtol=2e-6)
    assert np.allclose(
        to_host(wedge_means(half, shape=shape, wedges=5)), wedge_means(power(host), shape=shape, wedges=5)
    )
    before = image_power(images, channels="mean_before")
    assert type(before) is type(images)
    assert np.allclose(to_host(before), image_power(host, channels="mean_before"), rtol=2e-6, atol=1e-6)


@pytest.mark.parametrize("shape", [(6, 8), (7, 8), (6, 9), (7, 9)])
def test_mean_before_pads_odd_sides(shape: tuple[int, int]) -> None:
    images = noise(2, 3, *shape)
    padded = np.pad(images.mean(axis=1), ((0, 0), (0, shape[0] % 2), (0, shape[1] % 2)))
    even = power_shape(shape, channels="mean_before")
    assert even == padded.shape[1:]
    assert np.allclose(full_plane(image_power(images, channels="mean_before"), shape=even), reference(padded))
    assert power_shape(shape) == shape
    assert channel_mean(images, pad=False).shape == (2, 1, *shape)


def test_opposite_colours_cancel_only_if_averaged_first() -> None:
    red = noise(1, 1, 8, 8)
    images = np.concatenate([red, -red, 0 * red], axis=1)
    assert image_power(images, channels="mean_before").max() < 1e-30
    assert np.allclose(image_power(images), power(red[:, 0]) * 2 / 3)


@pytest.mark.parametrize("batch", [1, 3])
def test_power_does_not_depend_on_the_batch(batch: int) -> None:
    images = noise(7, 3, 20, 14, dtype=np.float32)
    parts = [ring_sums(image_power(images[i : i + batch]), shape=(20, 14)) for i in range(0, 7, batch)]
    assert np.array_equal(np.concatenate(parts), ring_sums(image_power(images), shape=(20, 14)))


def test_no_images_have_no_power() -> None:
    assert ring_sums(image_power(np.ones((0, 3, 8, 8))), shape=(8, 8)).shape == (0, 7)


@pytest.mark.parametrize("dtype", [np.float16, np.uint8, np.complex64])
def test_other_dtypes_are_refused(dtype: type) -> None:
    name = np.dtype(dtype).name
    with pytest.raises(
        InputMismatch, match=f"the images are of {name}; accepted are float32 and float64: convert"
    ):
        power(np.ones((4, 4), dtype))


@pytest.mark.parametrize("shape", [(4,), (3, 0, 4), (4, 0)])
def test_images_have_two_axes(shape: tuple[int, ...]) -> None:
    with pytest.raises(
        InputMismatch, match=r"the images have shape \(.*\); accepted is \(..., H, W\), with H and W"
    ):
        power(np.ones(shape))


@pytest.mark.parametrize("shape", [(4, 4), (3, 4, 4), (2, 0, 4, 4)])
def test_batches_have_four_axes(shape: tuple[int, ...]) -> None:
    with pytest.raises(
        InputMismatch, match=r"the images have shape \(.*\); accepted is \(N, C, H, W\), with C from 1"
    ):
        image_power(np.ones(shape))


def test_channels_are_treated_in_two_ways() -> None:
    with pytest.raises(ValueError, match=r"channels is 'mean'; accepted are 'power' .* and 'mean_before'"):
        image_power(np.ones((1, 3, 4, 4)), channels="mean")  # type: ignore[arg-type]


def test_half_planes_of_other_images_are_refused() -> None:
    half = power(np.ones((2, 8, 8)))
    with pytest.raises(
        InputMismatch,
        match=r"half plane has shape \(2, 8, 5\); accepted for images of height 8 and width 10 is \(..., 8, 6\)",
    ):
        full_plane(half, shape=(8, 10))
    with pytest.raises(
        InputMismatch, match=r"shape \(2, 8, 5\); accepted is \(..., 8, 6\): does `shape` name"
    ):
        ring_sums(half, shape=(8, 10))


@pytest.mark.parametrize("function", [wedge_sums, wedge_means])
def test_there_is_a_wedge_at_least(function: Any) -> None:
    with pytest.raises(ValueError, match="wedges is 0; accepted are whole numbers from 1, such as 12"):
        function(power(np.ones((4, 4))), shape=(4, 4), wedges=0)
    with pytest.raises(ValueError, match="wedges is -1"):
        wedge_sizes((4, 4), wedges=-1)
