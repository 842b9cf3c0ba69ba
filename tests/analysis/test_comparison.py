"""Results side by side: differences, statistics and findings, from results with known answers."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.stats

import specprobe
from specprobe.analysis.accuracy import Accuracy, counted
from specprobe.analysis.comparison import AGREEMENT, compare_results
from specprobe.analysis.comparison_predictions import Predictions, predictions
from specprobe.analysis.comparison_result import Comparison
from specprobe.analysis.metrics import metrics
from specprobe.errors import InputMismatch
from specprobe.images import ArraySource
from specprobe.results import document, dump_json, from_document, read_document, read_results, write_npz

DIGITS = Path(specprobe.__file__).parent.parent / "models" / "digits"
IMAGES = 100
LABELS = np.arange(IMAGES) % 4
DIGESTS = np.random.default_rng(0).integers(0, 256, size=(IMAGES, 16), dtype=np.uint8)


def right_on(wrong: int, *, start: int = 0, digests: Any = DIGESTS) -> Accuracy:
    """Accuracy of a model that is wrong on so many images from ``start`` on."""
    predicted = LABELS.copy()
    predicted[start : start + wrong] = (predicted[start : start + wrong] + 1) % 4
    return counted(LABELS, predicted, digests=digests)


@pytest.fixture(scope="module")
def inspections() -> list[Any]:
    images = specprobe.load_images(DIGITS / "test.npz", limit=40)
    networks = [specprobe.load(DIGITS / f"{name}.onnx") for name in ("normal", "robust")]
    return [specprobe.inspect(network, images) for network in networks]


def test_an_accuracy_is_compared_by_mcnemar() -> None:
    result = compare_results([right_on(5), right_on(12, start=3), right_on(5)], names=["a", "b", "c"])
    metric = result["accuracy"]
    assert metric.values == (0.95, 0.88, 0.95)
    assert metric.differences[::2] == (None, 0.0)
    assert metric.differences[1] == pytest.approx(-0.07)
    assert metric.p_values[::2] == (None, 1.0)
    assert metric.p_values[1] == pytest.approx(scipy.stats.binomtest(3, 13).pvalue)
    assert metric.p_values_adjusted == metric.p_values, "one test a model"
    assert metric.test == "mcnemar"
    assert metric.differences_interval[0] is None
    for difference, bounds in zip(metric.differences[1:], metric.differences_interval[1:], strict=True):
        assert bounds is not None
        assert difference is not None
        assert bounds[0] < difference < bounds[1]
    assert result.images == IMAGES
    np.testing.assert_array_equal(result.image_digest, DIGESTS)


def test_predictions_agree_as_often_as_they_do() -> None:
    answers = [
        Predictions(image_prediction=LABELS + (np.arange(IMAGES) < k), image_digest=DIGESTS) for k in (0, 7)
    ]
    result = compare_results([right_on(0), right_on(7)], names=["a", "b"], predictions=answers)
    metric = result[AGREEMENT]
    assert [m.name for m in result.metrics] == ["accuracy", AGREEMENT]
    assert metric.values == (1.0, 0.93)
    low, high = metric.values_interval[1] or (1, 0)
    assert low < 0.93 < high
    assert metric.differences == metric.p_values == (None, None)
    assert result.image_prediction is not None
    assert result.image_prediction.shape == (IMAGES, 2)


def test_every_metric_of_an_inspection_is_compared_once(inspections: list[Any]) -> None:
    result = compare_results(inspections, names=["normal", "robust"])
    own = {metric.name: metric for metric in metrics(inspections[1])}
    assert {metric.name for metric in result.metrics} == own.keys() - {"bands.clean_accuracy"}
    assert [m.name for m in result.metrics] == [name for name in own if name != "bands.clean_accuracy"]
    tested = [metric.p_values[1] for metric in result.metrics if metric.p_values[1] is not None]
    adjusted = [m.p_values_adjusted[1] for m in result.metrics if m.p_values_adjusted[1] is not None]
    assert adjusted == pytest.approx(list(scipy.stats.false_discovery_control(tested)))
    for metric in result.metrics:
        paired = own[metric.name].image_values is not None
        assert (metric.p_values[1] is not None) == paired
        assert (metric.differences_interval[1] is not None) == paired
        assert (metric.test is not None) == paired
        if metric.values[1] is None or metric.values[0] is None:
            assert metric.differences[1] is None
        else:
            assert metric.differences[1] == metric.values[1] - metric.values[0]
    assert result["sensitivity.high_share"].test == "sign-flip"
    assert result["bands.low_pass.2.accuracy"].test == "mcnemar"
    assert result["model.parameters"].differences == (None, 0.0)


def test_equal_results_differ_by_exactly_nothing(inspections: list[Any]) -> None:
    result = compare_results([inspections[0]] * 2, names=["a", "b"], checksums=["x", "x"])
    for metric in result.metrics:
        assert metric.differences[1] in {0.0, None}
        if metric.test is not None:
            assert (metric.p_values[1], metric.p_values_adjusted[1]) == (1.0, 1.0)
    assert [f.message for f in result.findings if f.code == "identical-files"] == ["b is the same file as a"]


def test_a_result_survives_json_and_npz(inspections: list[Any], tmp_path: Path) -> None:
    result = compare_results(inspections, names=["normal", "robust"], seed=3)
    content = document(result)
    write_npz(tmp_path / "it.npz", content, result.arrays())
    assert from_document(read_document(tmp_path / "it.npz")).to_dict() == result.to_dict()
    ((_, again),) = read_results(tmp_path / "it.npz")
    assert isinstance(again, Comparison)
    np.testing.assert_array_equal(again.power_map, result.power_map)
    np.testing.assert_array_equal(again.image_digest, result.image_digest)
    arrays = result.arrays()
    assert arrays["power_map"].shape == (2, 16, 16)
    assert arrays["model_1_bands_low_pass_correct"].shape[0] == 40
    assert not [name for name in arrays if name != "digest" and "digest" in name]
    assert "NaN" not in dump_json(content)


def test_results_read_from_json_have_differences_without_intervals(inspections: list[Any]) -> None:
    read = [from_document(document(part)) for part in inspections]
    result = compare_results(read, names=["normal", "robust"])
    whole = compare_results(inspections, names=["normal", "robust"])
    assert [m.values for m in result.metrics] == [m.values for m in whole.metrics]
    assert {bounds for m in result.metrics for bounds in (*m.differences_interval, *m.p_values)} == {None}
    assert "no-pairs" in {finding.code for finding in result.findings}


def test_what_a_model_lacks_is_none(inspections: list[Any]) -> None:
    lacking = replace(inspections[1], sensitivity=None)
    for order in (0, 1):
        pair = [inspections[0], lacking][:: 1 - 2 * order]
        result = compare_results(pair, names=["a", "b"])
        metric = result["sensitivity.low_share"]
        assert metric.values[1 - order] is None
        assert metric.values[order] is not None
        assert metric.differences == metric.p_values == (None, None)
        assert [m.name for m in result.metrics][:2] == ["accuracy", "sensitivity.low_share"]
        assert result.power_map is not None
        assert np.isnan(result.power_map[1 - order]).all()
        assert not np.isnan(result.power_map[order]).any()


def test_images_without_a_gradient_leave_pairs_out(inspections: list[Any]) -> None:
    sensitivity = inspections[1].sensitivity
    holes = sensitivity.image_low_share.copy()
    holes[:10] = np.nan
    other = replace(inspections[1], sensitivity=replace(sensitivity, image_low_share=holes, dropped=10))
    result = compare_results([inspections[0], other], names=["a", "b"])
    first = inspections[0].sensitivity.image_low_share
    assert result["sensitivity.low_share"].differences[1] == pytest.approx(np.mean((holes - first)[10:]))
    (finding,) = (finding for finding in result.findings if finding.code == "unpaired-images")
    assert finding.message.startswith("30 of 40 images have a gradient in all of a, b")


def test_findings_of_the_models_are_told_with_their_names() -> None:
    unlike = counted(LABELS, (LABELS + 1) % 4, digests=DIGESTS)
    (finding,) = compare_results([right_on(0), unlike], names=["a", "b"]).findings
    assert (finding.level, finding.code) == ("warning", "chance-level")
    assert finding.message.startswith("b: accuracy 0.000 [0.000, 0.037] is not above chance (0.250)")


def test_a_quantised_model_is_told(inspections: list[Any]) -> None:
    quantised = replace(inspections[1], quantisation="qdq")
    (finding,) = (
        finding
        for finding in compare_results([inspections[0], quantised], names=["a", "b"]).findings
        if finding.code == "quantised-model"
    )
    assert finding.message == "b is quantised (qdq), a is not; with --data SRC their predictions are compared"


def test_folded_batch_norm_is_told(inspections: list[Any]) -> None:
    filters = inspections[1].filters
    made = [
        replace(
            part,
            filters=replace(filters, layers=tuple(replace(x, batch_norm=how) for x in filters.layers)),
        )
        for part, how in zip(inspections, ("folded", "separate"), strict=True)
    ]
    (finding,) = (
        finding
        for finding in compare_results(made, names=["a", "b"]).findings
        if finding.code == "batch-norm-differs"
    )
    assert "folded in a, kept as nodes in b" in finding.message


def test_few_images_are_told() -> None:
    few = [counted(LABELS[:20], LABELS[:20], digests=DIGESTS[:20])] * 2
    assert [f.code for f in compare_results(few, names=["a", "b"]).findings] == ["few-images"]


def test_other_images_are_refused() -> None:
    turned = right_on(5, digests=DIGESTS[::-1])
    with pytest.raises(
        InputMismatch,
        match="a and b were measured on different images: 100 and 100, of which 100 are the same to the last bit",
    ):
        compare_results([right_on(5), turned], names=["a", "b"])
    with pytest.raises(InputMismatch, match="100 and 40, of which 0 are the same"):
        compare_results(
            [right_on(5), counted(LABELS[:40], LABELS[:40], digests=DIGESTS[:40] ^ np.uint8(1))],
            names=["a", "b"],
        )


def test_other_settings_and_kinds_are_refused(inspections: list[Any]) -> None:
    bands = inspections[0].bands
    with pytest.raises(InputMismatch, match="clip is False for a, True for b; accepted are results of the"):
        compare_results([bands, replace(bands, clip=True)], names=["a", "b"])
    inner = replace(inspections[0], bands=replace(bands, mean_restored=True))
    with pytest.raises(InputMismatch, match="mean_restored is False for a, True for b"):
        compare_results([inspections[0], inner], names=["a", "b"])
    with pytest.raises(InputMismatch, match="of kinds band_accuracy, inspection"):
        compare_results([bands, inspections[0]], names=["a", "b"])


@pytest.mark.parametrize("names", [["a"], ["a", "a"], ["a", "b", "c"]])
def test_names_are_one_a_model(names: list[str]) -> None:
    results = [right_on(1)] * min(2, len(names))
    with pytest.raises(InputMismatch, match="accepted are two or more, each with a name of its own"):
        compare_results(results, names=names)


def test_a_comparison_has_metrics_of_its_own() -> None:
    result = compare_results([right_on(5), right_on(12)], names=["a", "b"])
    (metric,) = metrics(result)
    assert (metric.name, metric.value) == ("accuracy.b", result["accuracy"].differences[1])
    assert metric.label == "accuracy: b − a"
    with pytest.raises(KeyError, match="there is no metric 'loss'; known are accuracy"):
        result["loss"]


def test_entries_are_one_a_model() -> None:
    result = compare_results([right_on(5), right_on(12)], names=["a", "b"])
    with pytest.raises(ValueError, match="3 models and 2 results"):
        replace(result, models=("a", "b", "c"))
    with pytest.raises(ValueError, match="accuracy has"):
        replace(result, metrics=(replace(result["accuracy"], values=(0.5,)),))


def test_predictions_are_the_largest_logits(inspections: list[Any]) -> None:
    batch = specprobe.load_images(DIGITS / "test.npz").read(0, 90)
    network = specprobe.load(DIGITS / "normal.onnx")
    found = predictions(network, ArraySource(batch.images, None), batch_size=7)
    assert found.image_prediction.tolist() == np.argmax(network.logits(batch.images), axis=1).tolist()
    np.testing.assert_array_equal(found.image_digest, batch.digests)
    assert found.to_dict()["images"] == 90
    with pytest.raises(ValueError, match="batch_size is 0"):
        predictions(network, ArraySource(batch.images, None), batch_size=0)
