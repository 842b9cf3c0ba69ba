"""Masks learned on the shipped band models lie in the bands that these were trained to read."""

from itertools import product
from pathlib import Path

import numpy as np
import pytest

import specprobe
from specprobe.spectral.grid import radius
from specprobe.spectral.masks import band_pass

BANDS = Path(__file__).resolve().parents[2] / "models" / "bands"
CANDIDATES = ((3, 5), (7, 9), (10, 12), (13, 15))
PLANTED = {"low": {(3, 5)}, "mid": {(7, 9)}, "high": {(13, 15)}, "low_high": {(3, 5), (13, 15)}}


@pytest.mark.slow
@pytest.mark.parametrize("variant", PLANTED)
def test_the_mask_lies_in_the_planted_bands(variant: str) -> None:
    network = specprobe.load(BANDS / f"{variant}.onnx", threads=1)  # steps are small: threads only wait
    result = specprobe.fourier_mask(network, specprobe.load_images(BANDS / f"{variant}.npz"), limit=200)
    mask = result.mask
    assert mask is not None
    assert result.accuracy is not None
    assert result.masked_accuracy is not None
    assert result.masked_accuracy >= 0.99 * result.accuracy
    assert result.held_out_agreement is not None
    assert result.held_out_agreement >= 0.95
    kept = {band: float(mask[band_pass((32, 32), low=band[0], high=band[1])].mean()) for band in CANDIDATES}
    for planted, other in product(PLANTED[variant], set(CANDIDATES) - PLANTED[variant]):
        assert kept[planted] > 10 * kept[other]
    inside = np.any([band_pass((32, 32), low=low, high=high) for low, high in PLANTED[variant]], axis=0)
    squares = mask.astype(np.float64) ** 2
    assert squares[inside].sum() / squares.sum() >= 0.95, "the mean, which they keep, is outside"
    assert not mask[(radius((32, 32)) > 17)].any()
