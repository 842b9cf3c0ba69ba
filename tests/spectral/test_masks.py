"""Masks are orthogonal projections, and do what a full complex FFT does."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from specprobe.arrays import device, to_host
from specprobe.errors import InputMismatch
from specprobe.spectral import grid
from specprobe.spectral.masks import (
    apply_mask,
    apply_masks,
    band_pass,
    butterworth,
    checked_mask,
    disc,
    gaussian,
    high_pass,
    low_pass,
    notch,
    square,
    wedge,
)

shapes = st.tuples(st.integers(1, 14), st.integers(1, 14))
cutoffs = st.floats(0, 12)

HARD: dict[str, Callable[[tuple[int, int]], Any]] = {
    "low": lambda shape: low_pass(shape, cutoff=2.3),
    "high": lambda shape: high_pass(shape, cutoff=2.0),
    "band": lambda shape: band_pass(shape, low=1, high=3),
    "disc": lambda shape: disc(shape, cutoff=1.5, centre=(0, -(shape[1] // 2))),
    "notch": lambda shape: notch(shape, cutoff=1.5, centre=(-(shape[0] // 3), (shape[1] - 1) // 2)),
    "square": lambda shape: square(shape, cutoff=2, centre=((shape[0] - 1) // 3, 0)),
    "wedge": lambda shape: wedge(shape, low_degrees=-20, high_degrees=50),
}
SOFT: dict[str, Callable[[tuple[int, int]], Any]] = {
    "butterworth": lambda shape: butterworth(shape, cutoff=2, order=3),
    "gaussian": lambda shape: gaussian(shape, cutoff=2),
}


def noise(*shape: int, dtype: type = np.float64) -> Any:
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(dtype)


def reference(images: Any, mask: Any) -> Any:
    """Filtered with the full plane; the real part is kept."""
    spectrum = np.fft.fftshift(np.fft.fft2(images), axes=(-2, -1)) * mask
    return np.fft.ifft2(np.fft.ifftshift(spectrum, axes=(-2, -1))).real


@settings(deadline=None)
@given(shapes, st.sampled_from([*HARD, *SOFT]))
def test_masks_are_equal_at_k_and_minus_k(shape: tuple[int, int], name: str) -> None:
    mask = {**HARD, **SOFT}[name](shape)
    assert mask.shape == shape
    assert mask.dtype == (np.bool_ if name in HARD else np.float64)
    assert np.array_equal(mask, mask.ravel()[grid.mirror_index(shape)])
    assert checked_mask(mask, shape=shape) is mask


@settings(deadline=None)
@given(shapes, st.sampled_from([*HARD, *SOFT]))
def test_masks_do_what_the_full_fft_does(shape: tuple[int, int], name: str) -> None:
    mask = {**HARD, **SOFT}[name](shape)
    images = noise(2, 3, *shape)
    assert np.allclose(apply_mask(images, mask), reference(images, mask), atol=1e-12)


@settings(deadline=None)
@given(shapes, st.sampled_from(list(HARD)))
def test_masks_are_idempotent_and_self_adjoint(shape: tuple[int, int], name: str) -> None:
    mask = HARD[name](shape)
    x, y = noise(*shape), noise(1, *shape)[0]
    once = apply_mask(x, mask)
    assert np.allclose(apply_mask(once, mask), once, atol=1e-12)
    assert np.vdot(apply_mask(x, mask), y) == pytest.approx(np.vdot(x, apply_mask(y, mask)), abs=1e-10)


@settings(deadline=None)
@given(shapes, cutoffs)
def test_low_and_high_add_to_the_image(shape: tuple[int, int], cutoff: float) -> None:
    low, high = low_pass(shape, cutoff=cutoff), high_pass(shape, cutoff=cutoff)
    assert np.array_equal(low, ~high)
    x = noise(*shape)
    parts = apply_mask(x, low), apply_mask(x, high)
    assert np.allclose(sum(parts), x, atol=1e-12)
    assert sum((part**2).sum() for part in parts) == pytest.approx((x**2).sum())


@settings(deadline=None)
@given(shapes, cutoffs, cutoffs)
def test_bands_divide_the_plane(shape: tuple[int, int], one: float, other: float) -> None:
    low, high = sorted((one, other))
    if low == high:
        high = low + 1
    bands = low_pass(shape, cutoff=low), band_pass(shape, low=low, high=high), high_pass(shape, cutoff=high)
    assert np.array_equal(np.sum(bands, axis=0), np.ones(shape))


def test_coefficients_kept_of_a_side_of_32() -> None:
    kept = [int(low_pass((32, 32), cutoff=a).sum()) for a in (4, 8, 12, 16, 20, 24, 28)]
    assert kept == [45, 193, 437, 793, 995, 1024, 1024]


def test_edges_belong_to_the_high_side() -> None:
    assert not low_pass((28, 28), cutoff=5)[14 + 3, 14 + 4]
    assert high_pass((28, 28), cutoff=5)[14 + 3, 14 + 4]
    assert band_pass((28, 28), low=5, high=np.inf)[14 + 3, 14 + 4]
    assert not low_pass((28, 28), cutoff=0).any()


@given(shapes, cutoffs)
def test_centred_discs_are_low_passes(shape: tuple[int, int], cutoff: float) -> None:
    assert np.array_equal(disc(shape, cutoff=cutoff), low_pass(shape, cutoff=cutoff))
    assert not (disc(shape, cutoff=cutoff) & ~square(shape, cutoff=cutoff)).any()


def test_squares_discs_and_notches_cell_by_cell() -> None:
    y, x = np.mgrid[-8:8, -8:8]
    assert np.array_equal(square((16, 16), cutoff=3), np.maximum(abs(y), abs(x)) < 3)
    around = (np.hypot(y - 2, x - 5) < 2) | (np.hypot(y + 2, x + 5) < 2)
    assert np.array_equal(disc((16, 16), cutoff=2, centre=(2, 5)), around)
    assert np.array_equal(notch((16, 16), cutoff=2, centre=(-2, -5)), ~around)
    at_edge = disc((16, 16), cutoff=1.5, centre=(0, -8))
    assert np.argwhere(at_edge).tolist() == [
        [7, 0],
        [7, 1],
        [7, 15],
        [8, 0],
        [8, 1],
        [8, 15],
        [9, 0],
        [9, 1],
        [9, 15],
    ]


@given(shapes)
def test_wedges_divide_all_but_the_mean(shape: tuple[int, int]) -> None:
    parts = [wedge(shape, low_degrees=a - 20, high_degrees=a + 40) for a in (0, 60, 120)]
    wanted = np.ones(shape)
    wanted[shape[0] // 2, shape[1] // 2] = 0
    assert np.array_equal(np.sum(parts, axis=0), wanted)
    assert np.array_equal(wedge(shape, low_degrees=10, high_degrees=190), wanted)


def test_soft_edges_pass_through_their_cutoff() -> None:
    cell = (16 + 0, 16 + 6)
    assert butterworth((32, 32), cutoff=6, order=4)[cell] == 0.5
    assert gaussian((32, 32), cutoff=6)[cell] == pytest.approx(np.exp(-0.5))
    for mask in (butterworth((32, 32), cutoff=6, order=200), gaussian((32, 32), cutoff=1e-200)):
        assert mask[16, 16] == 1
        assert mask[0, 0] < 1e-200
    hard = butterworth((32, 32), cutoff=6.5, order=1e6)
    assert np.array_equal(hard > 0.5, low_pass((32, 32), cutoff=6.5))


@pytest.mark.parametrize("shape", [(8, 8), (7, 9), (8, 5), (5, 12)])
def test_libraries_agree(placed: Callable[[Any], Any], shape: tuple[int, int]) -> None:
    host = noise(2, 3, *shape, dtype=np.float32)
    images = placed(host)
    for mask in (low_pass(shape, cutoff=2), gaussian(shape, cutoff=2)):
        wanted = reference(host.astype(np.float64), mask)
        for given_mask in (mask, placed(mask)):
            found = apply_mask(images, given_mask)
            assert type(found) is type(images)
            assert found.dtype == images.dtype
            assert device(found) == device(images)
            assert np.allclose(to_host(found), wanted, atol=2e-6)
    restored = apply_mask(images, high_pass(shape, cutoff=0.01), restore_mean=True)
    assert np.allclose(to_host(restored), host, atol=2e-6)
    clipped = to_host(apply_mask(images, low_pass(shape, cutoff=99), clip=True))
    assert np.allclose(clipped, host.clip(0, 1), atol=2e-6)


def test_nothing_is_clipped_or_restored_unless_asked() -> None:
    images = noise(1, 1, 8, 8) * 3 + 5
    high = apply_mask(images, high_pass((8, 8), cutoff=1))
    assert abs(high.mean()) < 1e-12
    assert high.min() < 0
    assert apply_mask(images, high_pass((8, 8), cutoff=1), restore_mean=True).mean() == pytest.approx(
        images.mean()
    )


def test_several_masks_at_once_are_each_alone() -> None:
    images = noise(2, 3, 7, 8)
    masks = [low_pass((7, 8), cutoff=a) for a in (1, 2, 3)]
    for mask, found in zip(masks, apply_masks(images, masks), strict=True):
        assert np.array_equal(found, apply_mask(images, mask))


def test_masks_may_differ_by_channel_and_image() -> None:
    images = noise(2, 3, 7, 8)
    masks = np.stack([low_pass((7, 8), cutoff=a) for a in (1, 2, 3)])
    assert np.allclose(apply_mask(images, masks), reference(images, masks))
    each = np.stack([masks, ~masks])
    assert np.allclose(apply_mask(images, each), reference(images, each))


@given(shapes)
def test_only_the_symmetric_part_of_a_mask_counts(shape: tuple[int, int]) -> None:
    images, mask = noise(2, *shape), noise(*shape)
    symmetric = checked_mask(mask, shape=shape, symmetrize=True)
    assert np.array_equal(symmetric, symmetric.ravel()[grid.mirror_index(shape)])
    assert np.allclose(apply_mask(images, mask), reference(images, mask), atol=1e-11)
    assert np.allclose(apply_mask(images, symmetric), reference(images, mask), atol=1e-11)


def test_masks_of_the_user_are_checked() -> None:
    fine = np.eye(8, dtype=np.float32)[::-1] * 0 + low_pass((8, 8), cutoff=2)
    assert checked_mask(fine, shape=(8, 8)).dtype == np.float64
    assert checked_mask(np.stack([fine, fine]), shape=(8, 8)).shape == (2, 8, 8)
    with pytest.raises(
        InputMismatch, match=r"the mask has shape \(8, 8\); accepted is \(..., 8, 9\), the mean in"
    ):
        checked_mask(fine, shape=(8, 9))
    with pytest.raises(InputMismatch, match=r"the mask has shape \(8,\)"):
        checked_mask(fine[0], shape=(8, 8))
    with pytest.raises(InputMismatch, match="the mask is of complex128; accepted are bool and real numbers"):
        checked_mask(fine.astype(complex), shape=(8, 8))
    with pytest.raises(
        InputMismatch, match="8 values of the mask are NaN or infinite; accepted are finite numbers"
    ):
        checked_mask(np.where(np.eye(8), np.nan, fine), shape=(8, 8))
    one = np.zeros((8, 8), bool)
    one[4 + 1, 4 - 2] = True
    message = (
        r"differs at frequency \(f_y, f_x\) = \(-1, 2\) and its conjugate; accepted are .* is it centred\?"
    )
    with pytest.raises(InputMismatch, match=message):
        checked_mask(one, shape=(8, 8))
    assert checked_mask(one, shape=(8, 8), symmetrize=True).sum() == 1


def test_masks_of_other_images_are_refused() -> None:
    for mask in (np.ones((8, 7)), np.ones(8)):
        with pytest.raises(
            InputMismatch, match=r"the mask has shape .*; accepted for these images is \(..., 8, 8\)"
        ):
            apply_mask(np.ones((1, 3, 8, 8)), mask)


@pytest.mark.parametrize("cutoff", [-1, np.nan])
@pytest.mark.parametrize("mask", [low_pass, high_pass, disc, square, gaussian])
def test_cutoffs_are_not_negative(mask: Any, cutoff: float) -> None:
    with pytest.raises(InputMismatch, match=rf"cutoff is {cutoff}; accepted are numbers from "):
        mask((8, 8), cutoff=cutoff)


def test_other_settings_out_of_range_are_refused() -> None:
    with pytest.raises(InputMismatch, match="the band 3:3 is empty; accepted are radii low < high"):
        band_pass((8, 8), low=3, high=3)
    with pytest.raises(InputMismatch, match="low is -1; accepted are numbers from 0"):
        band_pass((8, 8), low=-1, high=3)
    with pytest.raises(InputMismatch, match="f_x of the centre is 4; accepted are numbers from -4 to 3"):
        disc((8, 8), cutoff=1, centre=(0, 4))
    with pytest.raises(
        InputMismatch, match="the wedge 20:20 degrees is out of range; accepted are low < high <= low"
    ):
        wedge((8, 8), low_degrees=20, high_degrees=20)
    with pytest.raises(InputMismatch, match="order is 0; accepted are numbers from"):
        butterworth((8, 8), cutoff=1, order=0)
