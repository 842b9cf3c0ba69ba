"""Perturbations of some frequencies only."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.fft import dctn

import specprobe
from specprobe.arrays import namespace, to_host
from specprobe.attacks.norms import L2, LInf, threat_of
from specprobe.attacks.streams import Streams
from specprobe.attacks.subspaces import LEAKAGE, BandLimited, DctBlock, FourierBand, subspace_of
from specprobe.errors import InputMismatch
from specprobe.spectral.grid import radius

SIDES = (16, 12)
EPSILONS = {"linf": 0.05, "l2": 0.8, "l1": 6.0}
BANDS = ("0:3", "2:5", "4:", "dct:0.3")
every_band = pytest.mark.parametrize("band", BANDS)


def pictures(seed: int, count: int = 6, *, sides: tuple[int, int] = SIDES, contrast: float = 1.5) -> Any:
    """Smooth images over the whole range; of high contrast, a fifth of the pixels are at 0 or 1."""
    random = np.random.default_rng(seed)
    y, x = np.meshgrid(*(np.linspace(0, 1, side) for side in sides), indexing="ij")
    made = np.zeros((count, 3, *sides))
    for _ in range(4):
        a, b, phase, size = (random.normal(size=(count, 3, 1, 1)) for _ in range(4))
        made += size * np.sin(2 * math.pi * (a * x + b * y + phase))
    return np.clip(0.5 + contrast * made / 4, 0, 1).astype(np.float32)


def drawn(seed: int, images: Any) -> Any:
    return np.random.default_rng(seed).normal(size=images.shape).astype(np.float32)


@every_band
def test_projections_are_orthogonal(band: str) -> None:
    space, images = subspace_of(band, SIDES), pictures(0)
    one, other = drawn(0, images), drawn(1, images)
    made = space.project(one)
    np.testing.assert_allclose(space.project(made), made, atol=2e-6)
    np.testing.assert_allclose((made * other).sum(), (one * space.project(other)).sum(), rtol=1e-4)


def test_a_ring_keeps_its_frequencies_alone() -> None:
    images = drawn(0, pictures(0))
    spectrum = np.fft.fftshift(np.abs(np.fft.fft2(FourierBand(SIDES, 2, 5).project(images))), axes=(-2, -1))
    rho = radius(SIDES)
    inside = (rho >= 2) & (rho < 5)
    assert spectrum[..., ~inside].max() < 1e-4
    expected = np.fft.fftshift(np.abs(np.fft.fft2(images)), axes=(-2, -1))
    np.testing.assert_allclose(spectrum[..., inside], expected[..., inside], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(("low", "kept"), [(0.0, 1.0), (0.5, 0.0)])
def test_the_mean_is_in_bands_from_zero_alone(low: float, kept: float) -> None:
    flat = np.ones((1, 1, *SIDES), np.float32)
    np.testing.assert_allclose(FourierBand(SIDES, low, 4).project(flat), kept, atol=1e-6)


def test_a_block_keeps_the_lower_corner_of_the_cosine_transform() -> None:
    images = drawn(0, pictures(0))
    expected = dctn(images.astype(np.float64), axes=(-2, -1), norm="ortho")
    expected[..., 4:, :] = 0
    expected[..., 3:] = 0  # 0.3 of 16 and of 12, rounded down
    made = dctn(DctBlock(SIDES, 0.3).project(images).astype(np.float64), axes=(-2, -1), norm="ortho")
    np.testing.assert_allclose(made, expected, atol=1e-5)


@every_band
@pytest.mark.parametrize("norm", EPSILONS)
def test_projections_end_in_ball_and_box_and_leak_little(norm: Any, band: str) -> None:
    images = pictures(2)
    assert np.mean((images == 0) | (images == 1)) > 0.1
    threat: Any = threat_of(norm, EPSILONS[norm], band=band, shape=(3, *SIDES))
    current = images
    for turn in range(5):
        current = threat.project(images, current + threat.epsilon / 2 * threat.steepest(drawn(turn, images)))
        assert current.min() >= 0
        assert current.max() <= 1
        slack = 1e-6 if norm == "linf" else 1e-5 * threat.epsilon
        assert (threat.size(current - images) <= threat.epsilon + slack).all()
    # A random direction, which is harder than the gradients of networks: nearly all rounds may be needed.
    assert (threat.leakage(current - images) < LEAKAGE).mean() >= 0.8
    assert threat.leakage(current - images).max() < 0.05


@every_band
@pytest.mark.parametrize("norm", EPSILONS)
def test_what_leaks_little_already_is_left_alone(norm: Any, band: str) -> None:
    images = pictures(3, contrast=0.3)
    threat: Any = threat_of(norm, EPSILONS[norm], band=band, shape=(3, *SIDES))
    made = threat.project(images, images + threat.epsilon * threat.steepest(drawn(0, images)))
    assert threat.leakage(made - images).max() < LEAKAGE
    np.testing.assert_allclose(threat.project(images, made), made, rtol=0, atol=3e-7)


@every_band
def test_l2_steps_lie_in_the_band_and_are_the_steepest_there(band: str) -> None:
    images = pictures(4)
    threat: Any = threat_of("l2", 1.0, band=band, shape=(3, *SIDES))
    gradients = drawn(5, images)
    step = threat.steepest(gradients)
    assert threat.leakage(step).max() < 1e-10
    np.testing.assert_allclose(threat.size(step), 1, rtol=1e-6)
    gained = (step * gradients).sum(axis=(1, 2, 3))
    for seed in range(20):
        other = threat.subspace.project(drawn(100 + seed, images))
        other /= threat.size(other)[:, None, None, None]
        assert ((other * gradients).sum(axis=(1, 2, 3)) <= gained * (1 + 1e-5)).all()


def test_linf_steps_are_signs_of_the_gradient_in_the_band() -> None:
    images = pictures(5)
    space = FourierBand(SIDES, 0, 3)
    gradients = drawn(6, images)
    step = BandLimited(LInf(0.1), space).steepest(gradients)
    np.testing.assert_array_equal(step, np.sign(space.project(gradients)))


@every_band
@pytest.mark.parametrize("norm", EPSILONS)
def test_an_image_is_projected_alike_in_any_batch(norm: Any, band: str) -> None:
    """Some images need more rounds than others."""
    images = np.concatenate([pictures(7, 3, contrast=0.1), pictures(8, 3, contrast=4.0)])
    threat = threat_of(norm, EPSILONS[norm], band=band, shape=(3, *SIDES))
    far = images + threat.epsilon * drawn(9, images)
    every = threat.project(images, far)
    for row in range(6):
        alone = threat.project(images[row : row + 1], far[row : row + 1])
        np.testing.assert_array_equal(every[row], alone[0])


@pytest.mark.parametrize("on_sphere", [False, True])
def test_random_starts_are_of_full_size_and_in_the_band(on_sphere: bool) -> None:
    images = np.full((50, 3, *SIDES), 0.5, np.float32)
    rows = np.arange(50)
    threat: Any = threat_of("l2", 0.5, band="0:3", shape=(3, *SIDES))
    streams = Streams(0, "start", rows, like=images)
    moved = threat.random_start(images, streams, rows, on_sphere=on_sphere) - images
    assert threat.leakage(moved).max() < 1e-6
    assert threat.size(moved).min() > 0.9 * 0.5
    assert threat.size(moved).max() <= 0.5 * (1 + 1e-5)


@every_band
@pytest.mark.parametrize("norm", EPSILONS)
def test_every_library_gives_the_same(placed: Callable[[Any], Any], norm: Any, band: str) -> None:
    images = pictures(10, 3)
    gradients, rows = drawn(11, images), np.arange(3)
    threat: Any = threat_of(norm, EPSILONS[norm], band=band, shape=(3, *SIDES))

    def everything(place: Callable[[Any], Any]) -> list[Any]:
        x, g = place(images), place(gradients)
        made = threat.project(x, x + threat.epsilon * g)
        start = threat.random_start(x, Streams(2, "start", rows, like=x), rows)
        return [threat.subspace.project(g), made, start, threat.leakage(g)]

    for made, expected in zip(everything(placed), everything(np.asarray), strict=True):
        assert namespace(made) is namespace(placed(images))
        assert to_host(made).dtype == expected.dtype
        np.testing.assert_allclose(to_host(made), expected, atol=2e-5)


def test_leakage_is_a_share_of_energy() -> None:
    threat = BandLimited(L2(1.0), FourierBand(SIDES, 0, 3))
    wave = np.cos(2 * math.pi * np.arange(12) / 12)  # one cycle per image
    fast = np.cos(2 * math.pi * 5 * np.arange(12) / 12)
    moved = np.stack([np.broadcast_to(x, (1, *SIDES)) for x in (wave, fast, wave + 2 * fast, 0 * wave)])
    np.testing.assert_allclose(threat.leakage(moved.astype(np.float32)), [0, 1, 0.8, 0], atol=1e-6)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0:8", FourierBand((32, 32), 0, 8)),
        ("2.5:", FourierBand((32, 32), 2.5, math.inf)),
        ("dct:0.25", DctBlock((32, 32), 0.25)),
    ],
)
def test_bands_are_read_and_written(text: str, expected: Any) -> None:
    read = subspace_of(text, (32, 32))
    assert read == expected
    assert read.name == text


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("low", "accepted are 'low:high'"),
        ("3:x", "accepted are 'low:high'"),
        ("5:2", "is empty"),
        ("30:", "holds no frequency"),
        ("-1:2", "low"),
        ("nan:2", "low"),
        ("dct:0.01", "keeps no coefficient"),
        ("dct:1.5", "accepted are ratios up to 1"),
        ("dct:nan", "accepted are ratios up to 1"),
    ],
)
def test_bands_without_frequencies_are_refused(text: str, told: str) -> None:
    with pytest.raises(InputMismatch, match=told):
        subspace_of(text, (32, 32))


@pytest.mark.assets
@pytest.mark.slow
@pytest.mark.parametrize("band", ["0:8", "4:8", "8:16", "dct:0.25"])
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_perturbations_of_photographs_leak_less_than_a_hundredth(assets: Path, norm: Any, band: str) -> None:
    images = specprobe.load_images(assets / "data" / "cifar10_lossless_test.npz").read(0, 50).images
    # Contrast is raised until a fifth of the pixels is at 0 or 1.
    images = np.clip(1.5 * (images - 0.5) + 0.5, 0, 1).astype(np.float32)
    pinned = np.mean((images == 0) | (images == 1), axis=(1, 2, 3))
    assert pinned.mean() > 0.15
    threat: Any = threat_of(norm, {"linf": 8 / 255, "l2": 0.5}[norm], band=band, shape=(3, 32, 32))
    current = images
    for turn in range(5):
        current = threat.project(images, current + threat.epsilon / 2 * threat.steepest(drawn(turn, images)))
    # One is white nearly everywhere, and hardly anything without a mean can be added to that.
    leaks = threat.leakage(current - images) >= LEAKAGE
    assert not leaks[pinned < 0.5].any()
    assert leaks.sum() <= 2
