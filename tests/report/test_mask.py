"""Figures of Fourier masks."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from specprobe.analysis.mask import FourierMask, fourier_mask
from specprobe.report.figures import draw
from specprobe.spectral.masks import apply_mask, low_pass


class Means:
    """Logits are the channels' means, and their negative."""

    classes = 2

    def logits(self, images: Any, /) -> Any:
        mean = images.mean(axis=(1, 2, 3))
        return np.stack([4 * mean, 2 - 4 * mean], axis=1)

    def vjp(self, images: Any, cotangent: Any, /) -> Any:
        slope = 4 * (cotangent[:, 0] - cotangent[:, 1]) / images[0].size
        return np.broadcast_to(slope[:, None, None, None], images.shape).astype(np.float32)

    def gradient(
        self, images: Any, labels: Any, /, *, loss: str = "cross-entropy", targets: Any = None
    ) -> Any:
        logits = self.logits(images)
        odds = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        losses = -np.log(odds[np.arange(len(labels)), labels])
        return losses, self.vjp(images, odds - np.eye(2)[labels])


def learned(*, channels: int = 3, **options: Any) -> FourierMask:
    images = np.random.default_rng(0).uniform(0, 1, (12, channels, 8, 8)).astype(np.float32)
    return fourier_mask(Means(), images, max_epochs=3, **options)


def test_mask_energy_and_image_are_those_of_the_result() -> None:
    result = learned()
    figure = draw(result, title="$model.onnx$")
    plane, energy, bar, *pictures = figure.axes
    assert result.mask is not None
    assert result.example_image is not None
    shown = np.asarray(plane.images[0].get_array())
    assert np.allclose(shown, result.mask)
    assert plane.images[0].get_extent() == pytest.approx((-4.5, 3.5, 3.5, -4.5))
    assert plane.get_xlabel() == "horizontal frequency (cycles per image)"
    assert bar.get_ylabel() == "mask"
    line = energy.lines[0]
    assert np.asarray(line.get_ydata()).max() == result.radial_energy.max()
    assert [axis.get_title().split("\n")[0] for axis in pictures] == [
        "first image",
        "under the mask",
        "under its complement",
    ]
    first = np.asarray(pictures[0].images[0].get_array())
    assert np.allclose(first, np.moveaxis(result.example_image, 0, -1))
    masked = apply_mask(result.example_image[None], result.mask)[0]
    if masked.min() >= 0 and masked.max() <= 1:
        assert np.allclose(np.asarray(pictures[1].images[0].get_array()), np.moveaxis(masked, 0, -1))


def test_the_complement_is_seen_though_it_has_no_mean() -> None:
    result = learned()
    side = result.image_shape[1]
    kept = low_pass((side, side), cutoff=1.5).astype(np.float32)
    picture = draw(replace(result, mask=kept)).axes[-1]
    seen = np.asarray(picture.images[0].get_array())
    assert (seen.min(), seen.max()) == pytest.approx((0, 1)), "on a scale of its own"
    assert "shown from -" in picture.get_title()


@pytest.mark.parametrize("options", [{"per_image": True}, {"per_channel": True}, {"channels": 1}])
def test_every_kind_of_mask_is_drawn(options: dict[str, Any]) -> None:
    result = learned(**options)
    assert len(draw(result).axes) == 6
    bands = draw(result).axes[1].collections
    assert len(bands) == (1 if options.get("per_image") else 0), "intervals are over images"


def test_without_the_mask_the_energies_are_drawn() -> None:
    assert len(draw(FourierMask.from_dict(learned().to_dict())).axes) == 1


def test_equal_results_give_equal_bytes(rendered: Any) -> None:
    assert rendered(learned()) == rendered(learned())
