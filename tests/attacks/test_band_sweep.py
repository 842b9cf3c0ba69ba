"""Attacks within one band, on a classifier that looks at one known frequency."""

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from specprobe.arrays import namespace
from specprobe.attacks.band_sweep import AdversarialBandSweep, adversarial_band_sweep, equal_bands
from specprobe.attacks.band_sweep_result import coefficients
from specprobe.errors import InputMismatch
from specprobe.images import ArraySource
from specprobe.spectral.grid import radius

SIZE = 16
BANDS = ((0.0, 3.0), (3.0, 5.5), (5.5, 12.0))


class OneWave:
    """Class 1 where the product with the wave of ring 4 is above a threshold; the distance to it is known."""

    classes = 2

    def __init__(self, *, ring: int = 4) -> None:
        wave = np.cos(2 * np.pi * ring * np.arange(SIZE) / SIZE)
        self.weight = np.broadcast_to(wave / np.sqrt(SIZE**2 / 2), (SIZE, SIZE)).astype(np.float32)

    def logits(self, images: Any, /) -> Any:
        xp = namespace(images)
        score = 50 * (xp.sum(images * xp.asarray(self.weight.copy()), axis=(1, 2, 3)) - 0.1)
        return xp.stack([xp.zeros_like(score), score], axis=1)

    def gradient(
        self, images: Any, labels: Any, /, *, loss: str = "cross-entropy", targets: Any = None
    ) -> Any:
        assert (loss, targets) == ("cross-entropy", None)
        xp = namespace(images)
        score = self.logits(images)[:, 1]
        sign = 1 - 2 * xp.astype(labels, score.dtype)  # grows as the label becomes less likely
        slope = 50 * sign / (1 + xp.exp(-sign * score))
        return xp.log1p(xp.exp(sign * score)), slope[:, None, None, None] * xp.asarray(self.weight.copy())

    def vjp(self, images: Any, cotangent: Any, /) -> Any:
        xp = namespace(images)
        return 50 * cotangent[:, 1][:, None, None, None] * xp.asarray(self.weight.copy()) + xp.zeros_like(
            images
        )


def flat(images: int) -> ArraySource:
    """Grey images of class 0; the last one is labelled 1, and so wrong."""
    rng = np.random.default_rng(0)
    pixels = (0.5 + 0.001 * rng.normal(size=(images, 1, SIZE, SIZE))).astype(np.float32)
    return ArraySource(pixels, np.arange(images) // (images - 1))


def swept(images: Any, labels: Any = None, /, **options: Any) -> AdversarialBandSweep:
    chosen: dict[str, Any] = {"epsilon": 0.2, "bands": BANDS, "steps": 10}
    return adversarial_band_sweep(OneWave(), images, labels, **chosen | options)


def test_only_the_band_that_the_classifier_looks_at_breaks_it() -> None:
    result: Any = swept(flat(20))
    assert (result.images, result.attacked, result.unconfined_standing) == (20, 19, 0)
    assert result.standing.tolist() == [19, 0, 19]
    np.testing.assert_array_equal(result.robust_accuracy, [0.95, 0, 0.95])
    assert result.clean_accuracy == 0.95
    np.testing.assert_array_equal(result.image_standing[:, 0], result.image_attacked)
    assert not result.image_standing[:, 1].any()
    assert result.image_attacked.tolist() == [True] * 19 + [False]
    low, high = result.robust_accuracy_interval.T
    assert (low <= result.robust_accuracy).all()
    assert (result.robust_accuracy <= high).all()
    assert result.mean_leakage[1] < 0.01


def test_a_budget_below_the_distance_breaks_nothing() -> None:
    """The classifier is 0.1 away by L2 norm."""
    assert swept(flat(6), epsilon=0.07).standing.tolist() == [5, 5, 5]
    assert swept(flat(6), epsilon=0.13).standing.tolist() == [5, 0, 5]


def test_coefficients_tell_how_many_directions_a_band_has() -> None:
    result = swept(flat(4))
    rho = radius((SIZE, SIZE))
    assert result.coefficients.tolist() == [int(((rho >= a) & (rho < b)).sum()) for a, b in BANDS]
    assert result.coefficients.sum() == SIZE**2
    assert "unequal-bands" in [finding.code for finding in result.findings]


@pytest.mark.parametrize("shape", [(32, 32), (28, 28), (224, 224), (9, 20), (2, 3), (1, 1)])
def test_equal_bands_cover_the_spectrum(shape: tuple[int, int]) -> None:
    bands = equal_bands(shape)
    assert bands[0][0] == 0
    assert bands[-1][1] > radius(shape).max()
    sizes = coefficients(shape, bands)
    assert sizes.sum() == shape[0] * shape[1]
    assert (sizes > 0).all()
    assert [high for _, high in bands[:-1]] == [low for low, _ in bands[1:]]
    if min(shape) >= 28:
        assert len(bands) == 6
        assert sizes.max() < 1.3 * sizes.min()
        assert len(equal_bands(shape, count=3)) == 3
    with pytest.raises(ValueError, match="count is 0"):
        equal_bands(shape, count=0)


def test_bands_default_to_equal_ones() -> None:
    result = swept(flat(3), bands=None, steps=2)
    assert result.bands == equal_bands((SIZE, SIZE))


def test_parts_merge_to_the_whole_and_threads_do_not_matter() -> None:
    source = flat(100)
    whole = swept(source)
    with ThreadPoolExecutor(2) as pool:
        assert swept(source, executor=pool) == whole
    batches = [source.read(0, 64), source.read(64, 100)]
    first, second = (swept(ArraySource(batch.images, batch.labels)) for batch in batches)
    both: Any = first.merge(second)
    assert both.standing.tolist() == whole.standing.tolist()
    assert (both.images, both.attacked) == (100, 99)
    np.testing.assert_array_equal(both.image_digest, whole.image_digest)
    assert both.image_standing.shape == (100, 3)
    with pytest.raises(InputMismatch, match=r"epsilon is 0\.2 here and 0\.1 there"):
        first.merge(replace(second, epsilon=0.1))


def test_mean_leakage_of_merged_parts_is_weighted() -> None:
    result = swept(flat(3), steps=1)
    left = replace(result, moved=np.array([2, 0, 0]), mean_leakage=np.array([0.1, np.nan, np.nan]))
    right = replace(result, moved=np.array([1, 2, 0]), mean_leakage=np.array([0.4, 0.3, np.nan]))
    merged = left.merge(right)
    np.testing.assert_allclose(merged.mean_leakage, [0.2, 0.3, np.nan])
    assert merged.moved.tolist() == [3, 2, 0]


def test_survives_documents() -> None:
    result = swept(flat(5))
    content = json.loads(json.dumps(result.to_dict(), allow_nan=False))
    read = AdversarialBandSweep.from_dict(content)
    assert read.to_dict() == result.to_dict()
    assert read.arrays() == {}
    assert result.arrays().keys() == {"attacked", "standing", "unconfined_standing", "digest"}
    assert [entry["coefficients"] for entry in content["bands"]] == result.coefficients.tolist()
    assert result != 3


def test_predictions_have_no_clean_accuracy() -> None:
    result = swept(flat(4), target="predicted")
    assert result.attacked == 4
    assert result.clean_accuracy is None
    assert result.to_dict()["clean_accuracy_interval"] is None


@pytest.mark.parametrize("band", [(3, 3), (5, 3), (-1, 2), (2, np.inf), (2.1, 2.2)])
def test_bands_without_frequencies_are_refused(band: tuple[float, float]) -> None:
    with pytest.raises(InputMismatch, match="empty, below 0 or open"):
        swept(flat(3), bands=(band,))


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(InputMismatch, match="no band"):
        swept(flat(3), bands=())
    result = swept(flat(3), steps=1)
    with pytest.raises(ValueError, match="0 <= count <= attacked"):
        replace(result, unconfined_standing=3)
    with pytest.raises(ValueError, match="one for each of 3 bands"):
        replace(result, moved=np.zeros(2, np.int64))
