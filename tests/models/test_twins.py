"""What was done to a twin shows where its page says so: in robustness, in its gradient, in the bands that it reads."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import specprobe

MODELS = Path(__file__).resolve().parents[2] / "models"
CENTROID = "sensitivity.centroid_cycles_per_image"


def compared(folder: str, data: str, *names: str, limit: int) -> Any:
    networks = [specprobe.load(MODELS / folder / f"{name}.onnx", threads=1) for name in names]
    images = specprobe.load_images(MODELS / folder / data)
    return specprobe.compare(networks, images, names=names, analyses=("sensitivity", "bands"), limit=limit)


@pytest.mark.parametrize("name", ["wide", "mlp", "attention"])
def test_architectures_have_the_gradient_of_their_loss(name: str) -> None:
    network = specprobe.load(MODELS / "digits" / f"{name}.onnx", threads=1)
    batch = specprobe.load_images(MODELS / "digits" / "test.npz").read(0, 20)
    direction = np.random.default_rng(1).standard_normal(batch.images.shape).astype(np.float32)
    direction /= np.sqrt((direction**2).sum(axis=(1, 2, 3), keepdims=True))
    _, gradients = network.gradient(batch.images, batch.labels, loss="cross-entropy")
    ends = [
        network.gradient(batch.images + step * direction, batch.labels, loss="cross-entropy")[0]
        for step in (-0.01, 0.01)
    ]
    expected = (np.asarray(ends[1], np.float64) - ends[0]) / 0.02
    found = (np.asarray(gradients, np.float64) * direction).sum(axis=(1, 2, 3))
    assert np.abs(expected).max() > 1e-3
    assert found == pytest.approx(expected, rel=0.05, abs=1e-3)


@pytest.mark.slow
def test_noise_makes_digits_robust_and_moves_the_gradient_down() -> None:
    found = compared("digits", "test.npz", "normal", "noise", "low_pass", limit=200)
    for place in (1, 2):
        assert found[CENTROID].differences_interval[place][1] < -0.1
    assert found["bands.high_pass.2.accuracy"].differences_interval[1][1] < -0.1
    images = specprobe.load_images(MODELS / "digits" / "test.npz")
    robust = [
        specprobe.attack(
            specprobe.load(MODELS / "digits" / f"{name}.onnx", threads=1),
            images,
            attack="pgd",
            epsilon=0.05,
            steps=40,
            limit=200,
        ).robust_accuracy
        for name in ("normal", "noise")
    ]
    assert robust[1] > robust[0] + 0.1


@pytest.mark.slow
def test_attention_is_sensitive_at_high_frequencies_and_dense_layers_at_low_ones() -> None:
    found = compared("digits", "test.npz", "normal", "mlp", "attention", limit=200)
    assert found[CENTROID].differences_interval[1][1] < -0.4
    assert found[CENTROID].differences_interval[2][0] > 2.5


@pytest.mark.slow
def test_augmentations_move_what_is_read_where_three_bands_would_do() -> None:
    names = ("any", "any_low_pass", "any_scale", "any_rotation")
    found = compared("bands", "any.npz", *names, limit=200)
    assert all(value >= 0.99 for value in found["bands.low_pass.10.accuracy"].values)
    low = found["sensitivity.low_share"].differences_interval
    assert low[1][0] > 0.3
    assert low[2][0] > 0.15
    assert low[3][1] < 0, "not every augmentation leads to low frequencies"
    high = found["bands.high_pass.10.accuracy"]
    assert all(bounds[1] < -0.1 for bounds in high.differences_interval[1:])


@pytest.mark.slow
def test_small_kernels_are_sensitive_at_higher_frequencies() -> None:
    found = compared("bands", "any.npz", "any", "any_small_kernels", limit=200)
    assert found[CENTROID].differences_interval[1][0] > 0.5
