"""Band accuracy of models made by others: a robust network needs fewer frequencies than its ordinary twin."""

from pathlib import Path

import pytest

import specprobe
from specprobe.analysis.bands import BandAccuracy

TRIPLE = {"standard": (0.7667, 12, (11, 17)), "fgsm": (0.4433, 3, (3, 4)), "pgd": (0.4900, 5, (4, 8))}


def measured(assets: Path, training: str) -> BandAccuracy:
    images = specprobe.load_images(assets / "data" / "cifar10_lossless_test.npz", limit=300)
    network = specprobe.load(assets / "models" / f"cifar10_ada_resnet4b_{training}.onnx")
    return specprobe.band_accuracy(network, images, radii=range(1, 24))


@pytest.mark.assets
@pytest.mark.slow
def test_robust_twins_saturate_at_a_smaller_radius(assets: Path) -> None:
    """The figures of docs/bands.md."""
    for training, (clean, radius, bounds) in TRIPLE.items():
        result = measured(assets, training)
        assert result.clean is not None
        assert result.clean.accuracy == pytest.approx(clean, abs=0.0005)
        assert abs((result.radius_95 or 0) - radius) <= 1
        assert result.saturation.interval is not None
        low, high = result.saturation.interval
        assert abs(low - bounds[0]) <= 1
        assert high is not None
        assert abs(high - bounds[1]) <= 1
        from_three = result.to_dict()["high_pass"][2]
        assert (from_three["accuracy"] > 0.4) == (training == "standard")
