"""Means of a heat map by ring and band, and what images let be known of them."""

import json
from typing import Any

import numpy as np
import pytest

from specprobe.analysis.heatmap import FourierHeatmap, fourier_heatmap
from specprobe.analysis.heatmap_rings import (
    band_means,
    cells_by_ring,
    estimate,
    image_rings,
    over_rings,
    ring_interval,
    ring_means,
)
from specprobe.intervals import mean_interval, wilson_interval
from specprobe.results import document, dump_json, from_document
from specprobe.spectral.grid import frequency_index, ring_sizes, rings


class Projections:
    """Random projections: errs on some images under some frequencies."""

    classes = 4

    def __init__(self, pixels: int) -> None:
        self.weight = np.random.default_rng(3).normal(size=(pixels, self.classes)) / np.sqrt(pixels)

    def logits(self, images: Any, /) -> Any:
        flat = images.reshape(len(images), -1).astype(np.float64)
        return np.stack([8 * row @ self.weight for row in flat])


def measured(shape: tuple[int, int] = (12, 16), count: int = 40, **settings: Any) -> FourierHeatmap:
    images = np.random.default_rng(1).random((count, 1, *shape), dtype=np.float32)
    classifier = Projections(shape[0] * shape[1])
    labels = classifier.logits(images).argmax(axis=1)
    return fourier_heatmap(classifier, images, labels, **settings)


@pytest.mark.parametrize("shape", [(8, 8), (7, 9), (6, 11)])
def test_image_means_by_ring_are_those_over_all_cells(shape: tuple[int, int]) -> None:
    index = frequency_index(shape)
    places = np.arange(index.max() + 1)
    values = np.random.default_rng(0).normal(size=(len(places), 5))
    found = image_rings(values, places, shape)
    cells = values[index]
    for r in range(found.shape[1]):
        assert np.allclose(found[:, r], cells[rings(shape) == r].mean(axis=0), rtol=1e-6)
    some = places[1::3]
    part = image_rings(values[1::3], some, shape)
    for r in range(part.shape[1]):
        inside = (rings(shape) == r) & np.isin(index, some)
        wanted = cells[inside].mean(axis=0) if inside.any() else np.full(5, np.nan)
        assert np.allclose(part[:, r], wanted, rtol=1e-6, equal_nan=True)


@pytest.mark.parametrize("settings", [{}, {"frequencies": 5}, {"frequencies": [[0, 0], [3, 2]]}])
def test_means_are_those_of_the_map(settings: dict[str, Any]) -> None:
    result = measured(**settings)
    ring = rings((12, 16))
    bands = [(1, 3), (3, 5), (5, 99)]
    for name in ("error_rate", "loss_increase"):
        values = getattr(result, name)
        for r, mean in enumerate(getattr(result, f"ring_{name}")):
            cells = (ring == r) & result.evaluated_cells
            assert np.isclose(mean, values[cells].mean() if cells.any() else np.nan, equal_nan=True)
        for (low, high), mean in zip(bands, getattr(result, f"band_{name}"), strict=True):
            cells = (ring >= low) & (ring < high) & result.evaluated_cells
            assert np.isclose(mean, values[cells].mean() if cells.any() else np.nan, equal_nan=True)
    assert cells_by_ring(np.ones((12, 16), bool)).tolist() == ring_sizes((12, 16)).tolist()


def test_intervals_are_those_of_the_means_of_images() -> None:
    result = measured(confidence=0.9)
    by_image = result.image_ring_error_rate
    assert by_image is not None
    assert by_image.dtype == np.float32
    assert by_image.shape == (40, len(ring_sizes((12, 16))))
    assert np.allclose(by_image.mean(axis=0), result.ring_error_rate, atol=1e-6)
    bounds = result.ring_error_rate_interval
    assert bounds is not None
    wide = mean_interval(by_image.mean(axis=0), by_image.std(axis=0), 40, confidence=0.9, bounds=(0, 1))
    varied = (result.ring_error_rate > 0) & (result.ring_error_rate < 1)
    assert varied.any()
    assert np.allclose(bounds[varied], wide[varied], atol=1e-5)
    losses = result.image_ring_loss_increase
    assert losses is not None
    assert np.allclose(losses.mean(axis=0), result.ring_loss_increase, atol=1e-5)
    assert result.ring_loss_increase_interval is not None
    wanted = mean_interval(losses.mean(axis=0), losses.std(axis=0), 40, confidence=0.9)
    assert np.allclose(result.ring_loss_increase_interval, wanted, atol=1e-4)
    cells = ring_sizes((12, 16))
    for n, band in enumerate((slice(1, 3), slice(3, 5), slice(5, None))):
        means = (by_image[:, band] * cells[band]).sum(axis=1) / cells[band].sum()
        wanted = mean_interval(means.mean(), means.std(), 40, confidence=0.9, bounds=(0, 1))
        assert result.band_error_rate_interval is not None
        assert np.allclose(result.band_error_rate_interval[n], wanted, atol=1e-5)


def test_intervals_hold_the_truth_about_as_often_as_they_say() -> None:
    rng = np.random.default_rng(0)
    held = 0
    for _ in range(300):
        rates = rng.beta(0.6, 1.4, size=60)  # mean 0.3
        bounds = ring_interval(
            "error_rate", rates.mean(keepdims=True), rates.std(keepdims=True), 60, confidence=0.9
        )
        held += bounds[0, 0] <= 0.3 <= bounds[0, 1]
    assert 0.85 <= held / 300 <= 0.95


def test_what_no_image_or_every_image_does_is_not_certain() -> None:
    found = ring_interval("error_rate", np.array([0.0, 1.0, 0.5]), np.zeros(3), 30, confidence=0.95)
    assert tuple(found[0]) == wilson_interval(0, 30)
    assert tuple(found[1]) == wilson_interval(30, 30)
    assert found[2].tolist() == [0.5, 0.5]
    assert ring_interval("loss_increase", np.zeros(1), np.zeros(1), 30, confidence=0.95).tolist() == [[0, 0]]


def test_several_rings_share_an_estimate() -> None:
    result = measured()
    for name in ("error_rate", "loss_increase"):
        found = estimate(result, name, 3, 5)
        assert found is not None
        assert np.isclose(found[0], getattr(result, f"band_{name}")[1])
        assert np.allclose(found[1], getattr(result, f"band_{name}_interval")[1], atol=1e-6)
    assert estimate(from_document(document(result)), "error_rate", 3, 5) is None


def test_rings_without_a_cell_have_no_mean() -> None:
    evaluated = np.zeros((8, 8), bool)
    evaluated[4, 4] = True
    means = ring_means(np.full((8, 8), 0.25), evaluated)
    cells = cells_by_ring(evaluated)
    assert means[0] == 0.25
    assert np.isnan(means[1:]).all()
    assert np.isnan(over_rings(means, cells, 1, 4))
    assert np.isnan(band_means(means, cells, (8, 8))).all()


def test_shards_merge_to_the_spread_of_all_images() -> None:
    result = measured(count=40)
    by_image = result.image_ring_error_rate
    assert by_image is not None
    assert result.ring_error_rate_std is not None
    assert np.allclose(result.ring_error_rate_std, by_image.std(axis=0), atol=1e-6)


def test_documents_hold_means_with_their_intervals() -> None:
    content = json.loads(dump_json(document(measured(frequencies=3))))["result"]
    for part, count in (("ring", len(ring_sizes((12, 16)))), ("band", 3)):
        for name in ("error_rate", "loss_increase"):
            assert np.shape(content[f"{part}_{name}"]) == (count,)
            assert np.shape(content[f"{part}_{name}_interval"]) == (count, 2)
    assert content["band_error_rate"][2] is None
    assert content["band_error_rate_interval"][2] == [None, None]


def test_results_of_one_image_and_older_documents_are_read() -> None:
    result = measured(count=1)
    assert from_document(document(result)).to_dict() == result.to_dict()
    content = document(result)
    new = ("ring_", "band_", "evaluated", "refine", "layers")
    old = {name: value for name, value in content["result"].items() if not name.startswith(new)}
    found = from_document({**content, "result": old})
    assert found.ring_error_rate_interval is None
    assert np.array_equal(found.errors, result.errors)
