"""Corruptions keep pixels in their range, grow with their severity, and depend on the image's index alone."""

from typing import Any

import numpy as np
import pytest

from specprobe.errors import InputMismatch
from specprobe.images.corruptions import CORRUPTIONS, SEVERITIES, corrupt


def pictures(channels: int = 3, side: int = 32) -> Any:
    """Smooth and in colour, with an edge."""
    rows, columns = np.mgrid[:side, :side] / side
    plane = 0.5 + 0.3 * np.sin(5 * rows) * np.cos(7 * columns) + 0.15 * (columns > 0.5)
    shifts = np.linspace(0, 0.2, 4 * channels).reshape(4, channels, 1, 1)
    return np.clip(plane - shifts, 0, 1).astype(np.float32)


@pytest.mark.parametrize("kind", CORRUPTIONS)
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("side", [17, 32, 70])
def test_pixels_stay_in_range_and_the_change_grows(kind: str, channels: int, side: int) -> None:
    images = pictures(channels, side)
    before = images.copy()
    lengths = []
    for severity in SEVERITIES:
        made = corrupt(images, kind, severity=severity)
        assert made.shape == images.shape
        assert made.dtype == np.float32
        assert made.min() >= 0
        assert made.max() <= 1
        lengths.append(float(np.sqrt(((made - images) ** 2).sum())))
    assert lengths[-1] > lengths[0] > 0 or kind == "pixelate"
    assert lengths[-1] > 0
    assert np.array_equal(images, before)


@pytest.mark.parametrize("kind", CORRUPTIONS)
def test_what_an_image_gets_depends_on_its_index_and_the_seed(kind: str) -> None:
    images = pictures()
    whole = corrupt(images, kind, severity=3, seed=7)
    assert np.array_equal(corrupt(images[2:], kind, severity=3, seed=7, start=2), whole[2:])
    random = kind in {"gaussian-noise", "shot-noise", "fog"}
    assert np.array_equal(corrupt(images, kind, severity=3, seed=8), whole) != random


def test_noise_has_the_deviation_that_is_stated() -> None:
    images = np.full((2, 3, 32, 32), 0.5, np.float32)
    made = corrupt(images, "gaussian-noise", severity=4)
    assert (made - images).std() == pytest.approx(0.09, rel=0.05)


def test_contrast_shrinks_what_differs_from_the_mean() -> None:
    images = pictures()
    mean = images.mean(axis=(2, 3), keepdims=True)
    made = corrupt(images, "contrast", severity=2)
    assert np.allclose(made - mean, 0.5 * (images - mean), atol=1e-6)


def test_a_constant_picture_is_changed_by_noise_and_fog_alone() -> None:
    images = np.full((1, 3, 32, 32), 0.5, np.float32)
    changed = {kind for kind in CORRUPTIONS if np.ptp(corrupt(images, kind, severity=5)) > 1e-3}
    assert changed == {"gaussian-noise", "shot-noise", "fog"}


def test_what_cannot_be_is_refused() -> None:
    images = pictures()
    for kind, severity in (("rain", 1), ("fog", 0), ("fog", 6)):
        with pytest.raises(InputMismatch, match=r"accepted are gaussian-noise, .* of severity 1 to 5"):
            corrupt(images, kind, severity=severity)
    with pytest.raises(InputMismatch, match="accepted are grey and RGB ones"):
        corrupt(images[:, :2], "fog", severity=1)
