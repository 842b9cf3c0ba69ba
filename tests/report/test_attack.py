"""Figure of an attack: the images that fell, what was added, and the spectrum."""

import io
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import specprobe
from specprobe.attacks.outcome import EXAMPLES, AttackOutcome
from specprobe.report.attack import amplification
from specprobe.report.figures import draw, save


class Ball:
    epsilon, norm, band = 8 / 255, "linf", None

    def size(self, perturbations: Any, /) -> Any:
        return np.abs(perturbations).max(axis=(1, 2, 3)).astype(np.float64)


class Brightness:
    """Class 1 where the first channel is brighter than a half."""

    classes = 2

    def logits(self, images: Any, /) -> Any:
        mean = images[:, 0].mean(axis=(1, 2))
        return np.stack([0.5 - mean, mean - 0.5], axis=1)


def brighter(oracle: Any, threat: Any, streams: Any, /) -> Any:
    up = np.where(oracle.labels == 0, 1, -1)[:, None, None, None]
    noise = streams.uniform(np.arange(len(oracle)), tuple(oracle.images.shape[1:]))
    return np.clip(oracle.images + np.float32(threat.epsilon) * up * noise, 0, 1).astype(np.float32)


def outcome(count: int, channels: int = 3, size: tuple[int, int] = (12, 12), **options: Any) -> Any:
    images = np.random.default_rng(0).uniform(0.3, 0.69, (count, channels, *size)).astype(np.float32)
    options = {"attack": brighter, "threat": Ball(), **options}
    run: Any = specprobe.attack
    return run(Brightness(), images, np.zeros(count, int), **options)


def test_rows_are_labelled_and_columns_are_the_examples() -> None:
    result = outcome(12)
    shown = len(result.example_clean)
    assert 4 < shown <= 8
    figure = draw(result, title="$model.onnx$")
    axes = figure.axes
    labels = [axes[row * EXAMPLES].get_ylabel().replace("\n", " ") for row in range(4)]
    factor = amplification(result.example_adversarial - result.example_clean)
    assert labels == [
        "clean",
        "adversarial",
        f"perturbation × {factor} (grey: none)",
        "spectrum vertical (cycles/image)",
    ]
    assert any(axis.get_xlabel() == "horizontal (cycles/image)" for axis in axes[3 * EXAMPLES :])
    for place, axis in enumerate(axes[:shown]):
        assert axis.get_title() == f"image {result.example_index[place]}\nclass 0 → 1"
        assert np.allclose(
            np.asarray(axis.images[0].get_array()), np.moveaxis(result.example_clean[place], 0, -1)
        )
        grey = np.asarray(axes[2 * EXAMPLES + place].images[0].get_array())
        added = (result.example_adversarial - result.example_clean)[place]
        assert np.allclose(grey, 0.5 + factor * np.moveaxis(added, 0, -1), atol=1e-6)
    assert "robust accuracy" in figure.get_suptitle()
    profile = next(axis for axis in figure.axes if axis.get_ylabel() == "share of power, sum over the ring")
    assert profile.get_xlabel() == "spatial frequency (cycles per image)"


def test_spectra_are_those_of_the_perturbations() -> None:
    result = outcome(6)
    drawn = np.asarray(draw(result).axes[3 * EXAMPLES].images[0].get_array())
    added = (result.example_adversarial - result.example_clean)[0].astype(float)
    expected = np.mean(np.abs(np.fft.fftshift(np.fft.fft2(added), axes=(-2, -1))) ** 2, axis=0)
    expected /= expected.sum()
    strong = expected > 1e-3 * expected.max()
    assert drawn[strong] == pytest.approx(expected[strong], rel=1e-5)


@pytest.mark.parametrize(("channels", "size"), [(1, (12, 12)), (4, (9, 14)), (3, (16, 8))])
def test_any_images_are_drawn(channels: int, size: tuple[int, int]) -> None:
    save(draw(outcome(2, channels, size)), io.BytesIO(), suffix=".png", dpi=40)


def test_without_images_the_spectrum_is_drawn() -> None:
    figure = draw(AttackOutcome.from_dict(outcome(6).to_dict()))
    assert figure.axes[0].get_ylabel() == "share of power, sum over the ring"
    still = draw(outcome(3, attack=lambda oracle, threat, streams: oracle.images))
    assert [text.get_text() for text in still.axes[0].texts] == ["no image was moved"]


def test_equal_results_give_equal_bytes(rendered: Any) -> None:
    assert rendered(outcome(5)) == rendered(replace(outcome(5)))


@pytest.mark.parametrize(
    ("largest", "factor"), [(8 / 255, 10), (0.5, 1), (0.9, 1), (0.0009, 500), (0.0, 50000)]
)
def test_perturbations_are_amplified_to_half_the_range(largest: float, factor: int) -> None:
    assert amplification(np.array([0.0, -largest, largest / 3], np.float32)) == factor
