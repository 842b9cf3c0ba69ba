"""Frequencies, rings and multiplicities against NumPy's FFT, counted cell by cell."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from specprobe.errors import InputMismatch
from specprobe.spectral import grid

shapes = st.tuples(st.integers(1, 19), st.integers(1, 19))


def fft_frequencies(side: int) -> list[int]:
    return [round(f * side) for f in np.fft.fftfreq(side)]


@given(shapes)
def test_frequencies_are_those_of_the_fft_shifted(shape: tuple[int, int]) -> None:
    for found, per_pixel, side in zip(
        grid.frequencies(shape), grid.cycles_per_pixel(shape), shape, strict=True
    ):
        assert found.tolist() == np.fft.fftshift(fft_frequencies(side)).tolist()
        assert np.allclose(per_pixel, np.fft.fftshift(np.fft.fftfreq(side)), atol=1e-15)


@given(shapes)
def test_each_frequency_has_its_place_in_the_map(shape: tuple[int, int]) -> None:
    height, width = shape
    rho, shorter = grid.radius(shape), min(shape)
    for f_y in fft_frequencies(height):
        for f_x in fft_frequencies(width):
            cell = f_y + height // 2, f_x + width // 2
            assert math.isclose(rho[cell], math.hypot(f_y / height, f_x / width) * shorter, rel_tol=1e-14)
            row, column = divmod(int(grid.mirror_index(shape)[cell]), width)
            assert (row - height // 2 + f_y) % height == 0
            assert (column - width // 2 + f_x) % width == 0


@pytest.mark.parametrize("side", [7, 28, 30, 32, 224])
def test_radii_of_squares_are_exact(side: int) -> None:
    """A whole radius is no rounding error away from itself, or `rho < a` would be a matter of luck."""
    rho, (f_y, f_x) = grid.radius((side, side)), grid.frequencies((side, side))
    squared = f_y[:, None] ** 2 + f_x[None, :] ** 2
    assert np.array_equal(rho, np.sqrt(squared))
    assert np.array_equal(grid.rings((side, side)), np.round(np.sqrt(squared)))


@settings(deadline=None)
@given(shapes)
def test_ring_sizes_equal_a_count_over_the_fft(shape: tuple[int, int]) -> None:
    height, width = shape
    count: dict[int, int] = {}
    for y in fft_frequencies(height):
        for x in fft_frequencies(width):
            ring = int(math.hypot(y * min(shape) / height, x * min(shape) / width) + 0.5)
            ring = max(ring, int((y, x) != (0, 0)))
            count[ring] = count.get(ring, 0) + 1
    sizes = grid.ring_sizes(shape)
    assert {r: int(n) for r, n in enumerate(sizes)} == count
    assert sizes[0] == 1
    assert sizes.sum() == height * width


@given(shapes)
def test_multiplicities_count_the_full_plane(shape: tuple[int, int]) -> None:
    """The half plane's cells, each so often, are the full plane's."""
    height, width = shape
    noise = np.random.default_rng(0).standard_normal(shape)
    half = np.abs(np.fft.rfftn(noise))
    full = np.abs(np.fft.fftn(noise))
    times = grid.multiplicities(shape)
    assert times.shape == half.shape
    assert times.sum() == height * width
    assert np.allclose(np.sort(np.repeat(half.ravel(), times.ravel())), np.sort(full.ravel()), atol=1e-9)


@given(shapes)
def test_indices_lead_from_half_plane_to_map_and_back(shape: tuple[int, int]) -> None:
    noise = np.random.default_rng(0).standard_normal(shape)
    half = np.abs(np.fft.rfftn(noise)).ravel()
    centred = np.fft.fftshift(np.abs(np.fft.fftn(noise)))
    assert np.allclose(half[grid.half_plane_index(shape)], centred, atol=1e-9)
    assert np.allclose(centred.ravel()[grid.centred_index(shape)].ravel(), half, atol=1e-9)


@given(shapes)
def test_real_frequencies_are_the_raster_first_of_each_pair(shape: tuple[int, int]) -> None:
    height, width = shape
    seen: set[tuple[int, int]] = set()
    wanted = []
    for f_y in sorted(fft_frequencies(height)):
        for f_x in sorted(fft_frequencies(width)):
            if (f_y % height, f_x % width) not in seen:
                wanted.append([f_y, f_x])
            seen |= {(f_y % height, f_x % width), (-f_y % height, -f_x % width)}
    found = grid.real_frequencies(shape)
    assert found.tolist() == wanted
    index = grid.frequency_index(shape)
    assert [int(index[y + height // 2, x + width // 2]) for y, x in wanted] == list(range(len(wanted)))
    assert np.array_equal(index.ravel()[grid.mirror_index(shape)], index)


def test_numbers_of_a_side_of_32() -> None:
    shape = (32, 32)
    assert len(grid.real_frequencies(shape)) == 514
    assert grid.ring_sizes(shape).size == 23 + 1
    assert grid.ring_sizes(shape)[:6].tolist() == [1, 8, 12, 16, 32, 28]
    assert [grid.ring_sizes((n, n)).size - 1 for n in (32, 64, 224)] == [23, 45, 158]
    assert grid.multiplicities(shape).sum(axis=0).tolist() == [32, *[64] * 15, 32]


@pytest.mark.parametrize(("side", "low", "mid"), [(32, 5, 10), (224, 37, 74)])
def test_bands_are_thirds(side: int, low: int, mid: int) -> None:
    rings = np.arange(grid.ring_sizes((side, side + 3)).size)
    bands = [rings[band].tolist() for band in grid.ring_bands((side, side + 3))]
    assert bands == [list(range(1, low + 1)), list(range(low + 1, mid + 1)), list(range(mid + 1, rings.size))]


def test_angles_grow_counter_clockwise_as_shown() -> None:
    angle = grid.angle_degrees((9, 9))
    assert angle[4, 4:].tolist() == [0] * 5
    assert angle[:4, 4].tolist() == [90] * 4
    assert np.allclose([angle[4 - i, 4 + i] for i in range(1, 5)], 45)
    assert np.allclose([angle[4 - i, 4 - i] for i in range(1, 5)], 135)
    assert np.allclose(grid.angle_degrees((9, 18))[:, 9:][4 - 2, 4], 45), "in cycles per pixel"


@given(shapes)
def test_angles_are_equal_in_a_pair(shape: tuple[int, int]) -> None:
    angle = grid.angle_degrees(shape)
    assert np.array_equal(angle.ravel()[grid.mirror_index(shape)], angle)
    assert ((angle >= 0) & (angle < 180)).all()


def test_lowest_frequencies_of_long_images_are_not_the_mean() -> None:
    assert grid.radius((4, 32))[2, 17] == 0.125
    assert grid.rings((4, 32))[2, 14:19].tolist() == [1, 1, 0, 1, 1]


def test_what_all_share_cannot_be_written() -> None:
    assert grid.radius((4, 4)) is grid.radius((4, 4))
    with pytest.raises(ValueError, match="read-only"):
        grid.radius((4, 4))[0, 0] = 1
    with pytest.raises(ValueError, match="read-only"):
        grid.frequencies((4, 4))[0][0] = 1


@pytest.mark.parametrize("shape", [(0, 4), (4, -1)])
def test_shapes_need_pixels(shape: tuple[int, int]) -> None:
    with pytest.raises(
        InputMismatch, match=rf"the shape is \({shape[0]}, {shape[1]}\); accepted are .* from 1"
    ):
        grid.radius(shape)


@pytest.mark.parametrize("shape", [(4,), (4, 4, 4), (4, 1.5), 4])
def test_shapes_are_two_whole_numbers(shape: tuple[int, int]) -> None:
    with pytest.raises(
        InputMismatch, match=r"the shape is .*; accepted are two whole numbers \(height, width\)"
    ):
        grid.ring_bands(shape)
