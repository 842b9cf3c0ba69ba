"""What is done to the training images of twins does what its name says, draws for every image, and changes no argument."""

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from specprobe.spectral.grid import angle_degrees, radius

pytestmark = pytest.mark.torch

SHIPPED: dict[str, dict[str, Any]] = {
    "noise": {"largest": 0.2},
    "low_pass": {"cutoff": 4.0},
    "scale": {"factors": (0.7, 1.3), "around": "circular"},
    "rotation": {"degrees": 15.0, "around": "circular"},
}


@pytest.fixture(scope="module")
def augmentations() -> Any:
    pytest.importorskip("torch", reason="torch is not installed")
    path = Path(__file__).resolve().parents[2] / "models" / "augmentations.py"
    spec = importlib.util.spec_from_file_location("augmentations", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def images(count: int = 40) -> Any:
    torch = pytest.importorskip("torch")
    return torch.rand((count, 2, 32, 32), generator=torch.Generator().manual_seed(7))


def waves(frequency: int, count: int = 200) -> Any:
    """Upright stripes that repeat beyond the edges."""
    torch = pytest.importorskip("torch")
    wave = 0.5 + 0.4 * torch.cos(2 * torch.pi * frequency * torch.arange(32) / 32)
    return wave.expand(count, 1, 32, 32).clone()


def seeded(seed: int = 3) -> Any:
    torch = pytest.importorskip("torch")
    return torch.Generator().manual_seed(seed)


def power(values: Any) -> Any:
    """Centred, without the mean, of each image; sums to 1."""
    spectrum = np.abs(np.fft.fftshift(np.fft.fft2(values.numpy().astype(np.float64)), axes=(-2, -1))) ** 2
    spectrum[..., 16, 16] = 0
    return spectrum.mean(axis=1) / spectrum.mean(axis=1).sum(axis=(1, 2), keepdims=True)


@pytest.mark.parametrize("name", SHIPPED)
def test_images_differ_and_arguments_stay(augmentations: Any, name: str) -> None:
    given = images()
    before = given.clone()
    augment = getattr(augmentations, name)
    made = augment(given, seeded(), **SHIPPED[name])
    assert bool((given == before).all())
    assert made.shape == given.shape
    assert made.dtype == given.dtype
    assert bool((made == augment(given, seeded(), **SHIPPED[name])).all())
    assert not bool((made == augment(given, seeded(4), **SHIPPED[name])).all())


def test_noise_is_white_and_of_a_level_an_image(augmentations: Any) -> None:
    grey = 0.5 + 0 * images(300)
    change = (augmentations.noise(grey, seeded(), largest=0.1) - grey).numpy()
    levels = change.std(axis=(1, 2, 3))
    assert 0.045 < levels.mean() < 0.055
    assert levels.min() < 0.01
    assert levels.max() > 0.09
    made = augmentations.noise(images(), seeded(), largest=0.5)
    assert 0 <= float(made.min()) < float(made.max()) <= 1
    spectrum = power(augmentations.noise(grey, seeded(), largest=0.1)).mean(axis=0)
    assert spectrum[radius((32, 32)) > 10].mean() == pytest.approx(1 / 1023, rel=0.05)


def test_low_pass_cuts_half_of_the_images(augmentations: Any) -> None:
    given = images(400)
    made = augmentations.low_pass(given, seeded(), cutoff=4.0)
    kept = (made == given).numpy().all(axis=(1, 2, 3))
    assert 0.42 < kept.mean() < 0.58
    beyond = radius((32, 32)) >= 4
    assert power(made[~kept])[:, beyond].max() < 1e-10
    assert np.abs((made - given).numpy().mean(axis=(2, 3))).max() < 1e-6, "the mean stays"


def test_scale_moves_frequencies_by_its_factor(augmentations: Any) -> None:
    rho = radius((32, 32))
    for factor in (0.8, 1.0, 1.25):
        made = augmentations.scale(waves(8, 3), seeded(), factors=(factor, factor), around="circular")
        assert (power(made) * rho).sum(axis=(1, 2)) == pytest.approx(8 / factor, rel=0.12)
    centroids = (
        power(augmentations.scale(waves(4), seeded(), factors=(0.7, 1.3), around="circular")) * rho
    ).sum(axis=(1, 2))
    assert centroids.min() < 3.6
    assert centroids.max() > 5


def test_rotation_turns_by_up_to_its_angle_either_way(augmentations: Any) -> None:
    made = augmentations.rotation(waves(8), seeded(), degrees=30.0, around="circular")
    spectrum = power(made)
    peak = spectrum.reshape(len(spectrum), -1).argmax(axis=1)
    angle = angle_degrees((32, 32)).ravel()[peak]
    angle = (angle + 90) % 180 - 90
    assert -33 < angle.min() < -20
    assert 20 < angle.max() < 33
    assert radius((32, 32)).ravel()[peak] == pytest.approx(8, abs=1)


def test_no_scale_and_no_rotation_change_nothing(augmentations: Any) -> None:
    given = images(4)
    for around in ("constant", "circular"):
        still = augmentations.rotation(given, seeded(), degrees=0.0, around=around)
        same = augmentations.scale(given, seeded(), factors=(1.0, 1.0), around=around)
        assert np.abs((still - given).numpy()).max() < 1e-4
        assert np.abs((same - given).numpy()).max() < 1e-4


def test_what_lies_around_is_black_or_the_image_again(augmentations: Any) -> None:
    white = 1 + 0 * images(2)
    black, again = (
        augmentations.scale(white, seeded(), factors=(0.5, 0.5), around=around)
        for around in ("constant", "circular")
    )
    assert float(black[..., :7, :].max()) == 0
    assert float(black[..., 10:22, 10:22].min()) == pytest.approx(1)
    assert float(again.min()) == pytest.approx(1)
