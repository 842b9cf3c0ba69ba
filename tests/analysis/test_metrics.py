"""Each number of a result has one name, and is the mean of its values by image."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import specprobe
from specprobe.analysis.metrics import Metric, metrics
from specprobe.results import document, from_document

DIGITS = Path(specprobe.__file__).parent.parent / "models" / "digits"


@pytest.fixture(scope="module")
def results() -> dict[str, Any]:
    images = specprobe.load_images(DIGITS / "test.npz", limit=70)
    network = specprobe.load(DIGITS / "normal.onnx")
    return {
        "inspection": specprobe.inspect(network, images),
        "accuracy": specprobe.accuracy(network, images),
        "sensitivity": specprobe.fourier_sensitivity(network, images),
        "bands": specprobe.band_accuracy(
            network, images, radii=(2, 4.5), bands=[(2, 4)], wedges=[(0, 45)], limit=50
        ),
        "heatmap": specprobe.fourier_heatmap(network, images, limit=8),
    }


def by_name(result: Any) -> dict[str, Metric]:
    found = metrics(result)
    named = {metric.name: metric for metric in found}
    assert len(named) == len(found)
    return named


@pytest.mark.parametrize("name", ["inspection", "accuracy", "sensitivity", "bands", "heatmap"])
def test_a_value_is_the_mean_over_images_and_lies_in_its_interval(results: dict[str, Any], name: str) -> None:
    paired = 0
    for metric in by_name(results[name]).values():
        assert metric.label
        if metric.value is None:
            continue
        if metric.image_values is not None:
            paired += 1
            assert metric.image_digest is not None
            assert len(metric.image_digest) == len(metric.image_values)
            assert metric.value == pytest.approx(np.nanmean(metric.image_values), rel=1e-12)
        if metric.interval is not None:
            assert metric.interval[0] <= metric.value <= metric.interval[1]
    assert paired


def test_values_are_those_of_the_result(results: dict[str, Any]) -> None:
    bands, sensitivity = results["bands"], results["sensitivity"]
    named = by_name(bands)
    content = bands.to_dict()
    assert named["bands.low_pass.4.5.accuracy"].value == content["low_pass"][1]["accuracy"]
    assert named["bands.high_pass.2.agreement"].value == content["high_pass"][0]["agreement"]
    assert named["bands.band_pass.2:4.accuracy"].value == content["band_pass"][0]["accuracy"]
    assert named["bands.wedge_stop.0:45.accuracy"].value == content["wedge_stop"][0]["accuracy"]
    assert by_name(sensitivity)["sensitivity.high_share"].value == sensitivity.high_share
    assert by_name(results["heatmap"])["heatmap.error_rate.max"].value == pytest.approx(
        np.nanmax(results["heatmap"].error_rate), rel=1e-12
    )


def test_an_inspection_has_those_of_all_its_parts(results: dict[str, Any]) -> None:
    inspection = results["inspection"]
    named = by_name(inspection)
    for part in ("accuracy", "sensitivity", "bands"):
        for name, metric in by_name(getattr(inspection, part)).items():
            assert named[name].value == metric.value
    assert named["model.parameters"].value == inspection.parameters
    assert named["filters.orthogonality"].value == inspection.filters.overall.orthogonality
    assert named["model.gradient_supported"].value == 1


@pytest.mark.parametrize("name", ["inspection", "sensitivity", "bands"])
def test_results_read_from_json_have_the_same_numbers_without_images(
    results: dict[str, Any], name: str
) -> None:
    again = from_document(document(results[name], model={}))
    for metric, read in zip(metrics(results[name]), metrics(again), strict=True):
        assert (read.name, read.value) == (metric.name, metric.value)
        assert read.image_values is None


def test_what_has_none_is_said() -> None:
    with pytest.raises(TypeError, match="int has no metrics"):
        metrics(3)
