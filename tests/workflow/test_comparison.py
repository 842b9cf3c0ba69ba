"""Model files in, a comparison out: on the same images, whoever computes, however often it is interrupted."""

import shutil
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

import specprobe
from specprobe.analysis.comparison_result import Comparison
from specprobe.errors import DataError, InputMismatch, ModelError
from specprobe.images import ArraySource
from specprobe.recipe import Preprocessing
from specprobe.runtime.network import Network, load
from specprobe.streaming import Checkpoint
from specprobe.workflow.comparison import distinct_names

MODELS = Path(specprobe.__file__).parent.parent / "models"
DIGITS = MODELS / "digits"
IMAGES = 150  # more than two shards


@pytest.fixture(scope="module")
def source() -> ArraySource:
    batch = specprobe.load_images(DIGITS / "test.npz").read(0, IMAGES)
    return ArraySource(batch.images, batch.labels)


@pytest.fixture(scope="module")
def networks() -> list[Network]:
    return [load(DIGITS / "normal.onnx"), load(DIGITS / "robust.onnx")]


@pytest.fixture(scope="module")
def whole(networks: list[Network], source: ArraySource) -> Comparison:
    return specprobe.compare(networks, source)


def scaled(path: Path, out: Path, change: Callable[[np.ndarray[Any, Any]], np.ndarray[Any, Any]]) -> Path:
    """The model with other weights, as a checkpoint of a training has them."""
    model = onnx.load(path)
    for tensor in model.graph.initializer:
        values = onnx.numpy_helper.to_array(tensor)
        if values.ndim > 1 and values.dtype == np.float32:
            tensor.CopyFrom(onnx.numpy_helper.from_array(change(values).astype(np.float32), tensor.name))
    onnx.save(model, out)
    return out


def test_models_are_inspected_as_they_are_alone(
    whole: Comparison, networks: list[Network], source: ArraySource
) -> None:
    assert whole.models == ("normal.onnx", "robust.onnx")
    for result, network in zip(whole.results, networks, strict=True):
        assert result == specprobe.inspect(network, source)
    assert whole.image_prediction is not None
    for column, network in zip(whole.image_prediction.T, networks, strict=True):
        logits = network.logits(source.read(0, IMAGES).images)
        np.testing.assert_array_equal(column, np.argmax(logits, axis=1))
    assert whole["agreement_with_first"].values[1] == np.mean(
        whole.image_prediction[:, 0] == whole.image_prediction[:, 1]
    )


def test_the_robust_twin_is_sensitive_elsewhere(whole: Comparison) -> None:
    metric = whole["sensitivity.high_share"]
    assert metric.differences[1] == pytest.approx(0.025, abs=0.01)
    assert (metric.p_values_adjusted[1] or 1) < 0.01
    assert (whole["accuracy"].p_values_adjusted[1] or 0) > 0.05, "150 images do not tell 0.99 from 0.98"


@pytest.mark.slow
def test_results_follow_the_seed_alone(
    whole: Comparison, networks: list[Network], source: ArraySource
) -> None:
    with ThreadPoolExecutor(2) as executor:
        assert specprobe.compare(networks, source, executor=executor) == whole
    other = specprobe.compare(networks, source, seed=1)
    assert other["accuracy"] == whole["accuracy"]
    name = "sensitivity.high_share"
    assert other[name].differences == whole[name].differences
    assert other[name].differences_interval != whole[name].differences_interval


@pytest.mark.slow
def test_processes_give_the_same_bits(
    whole: Comparison, networks: list[Network], source: ArraySource
) -> None:
    with ProcessPoolExecutor(1) as executor:
        assert specprobe.compare(networks, source, executor=executor) == whole


def test_one_model_twice_differs_by_exactly_nothing(networks: list[Network], source: ArraySource) -> None:
    result = specprobe.compare([networks[0]] * 2, source, limit=70)
    assert result.models == ("normal.onnx", "normal.onnx (2)")
    assert result.images == 70
    for metric in result.metrics:
        assert metric.differences[1] in {0.0, None}
        assert metric.p_values[1] in {1.0, None}
    assert [finding.code for finding in result.findings] == ["identical-files"]


class _Calibration(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime has no types
    def __init__(self, name: str, images: Any) -> None:
        self._left = iter([{name: image[None]} for image in images])

    def get_next(self) -> Any:
        return next(self._left, None)


@pytest.mark.slow
def test_a_quantised_export_is_compared_with_its_original(
    networks: list[Network], source: ArraySource, tmp_path: Path
) -> None:
    shutil.copy(DIGITS / "normal.onnx", tmp_path / "float.onnx")
    quantize_static(
        tmp_path / "float.onnx",
        tmp_path / "int8.onnx",
        _Calibration("image", np.asarray(source.read(0, 50).images)),
        quant_format=QuantFormat.QDQ,
        activation_type=QuantType.QInt8,
        weight_type=QuantType.QInt8,
    )
    result = specprobe.compare([networks[0], load(tmp_path / "int8.onnx")], source)
    assert (result["agreement_with_first"].values[1] or 0) > 0.95
    assert (result["model.bytes"].differences[1] or 0) < -50_000
    (finding,) = (finding for finding in result.findings if finding.code == "quantised-model")
    assert finding.message.startswith("int8.onnx is quantised (qdq), normal.onnx is not: their predictions")
    assert result["sensitivity.low_share"].p_values[1] is not None, (
        "its gradient passes rounding straight through"
    )


@pytest.mark.slow
def test_checkpoints_stand_in_the_order_of_the_training(source: ArraySource, tmp_path: Path) -> None:
    noise = np.random.default_rng(0)

    def earlier(share: float) -> Callable[[Any], Any]:
        return lambda values: share * values + (1 - share) * values.std() * noise.normal(size=values.shape)

    paths = [scaled(DIGITS / "normal.onnx", tmp_path / f"{s}.onnx", earlier(s)) for s in (0.3, 0.8, 1.0)]
    names = ["start", "middle", "end"]
    result = specprobe.compare([load(path) for path in paths], source, names=names)
    assert result.models == tuple(names)
    start, middle, end = (value or 0 for value in result["accuracy"].values)
    assert start < middle < end
    assert all(len(metric.values) == 3 for metric in result.metrics)
    assert result["accuracy"].differences[2] == end - start
    for i in (1, 2):
        assert (result["accuracy"].p_values_adjusted[i] or 1) < 0.01
    assert result.power_map is not None
    assert result.power_map.shape == (3, 16, 16)


def test_without_images_weights_are_compared() -> None:
    result = specprobe.compare([DIGITS / "normal.onnx", str(MODELS / "bands" / "low.onnx")])
    assert result.images is None
    assert result["filters.orthogonality"].differences[1] is not None
    assert all(metric.p_values == (None, None) for metric in result.metrics)
    assert {metric.name.split(".")[0] for metric in result.metrics} == {"filters", "model"}
    assert result.arrays() == {}


def test_a_model_without_a_gradient_is_none_there(
    networks: list[Network], source: ArraySource, tmp_path: Path
) -> None:
    model = onnx.load(DIGITS / "normal.onnx")
    model.graph.node[-1].output[0] = "before"
    model.graph.node.append(onnx.helper.make_node("Round", ["before"], [model.graph.output[0].name]))
    onnx.save(model, tmp_path / "rounded.onnx")
    result = specprobe.compare([networks[0], load(tmp_path / "rounded.onnx")], source)
    assert result["sensitivity.low_share"].values[1] is None
    assert result["sensitivity.low_share"].differences == (None, None)
    assert result["bands.low_pass.2.accuracy"].p_values[1] is not None
    (finding,) = (finding for finding in result.findings if finding.code == "no-sensitivity")
    assert finding.message.startswith("rounded.onnx: sensitivity is left out: no gradient reaches the input")


def test_chance_and_missing_labels_are_told(networks: list[Network], source: ArraySource) -> None:
    batch = source.read(0, 60)
    wrong = ArraySource(batch.images, (np.asarray(batch.labels) + 1) % 10)
    found = specprobe.compare(networks, wrong, analyses=["accuracy"]).findings
    told = [finding.message for finding in found if finding.code == "chance-level"]
    assert [message.split(":")[0] for message in told] == ["normal.onnx", "robust.onnx"]
    unlabelled = specprobe.compare(networks, ArraySource(batch.images, None))
    assert [finding.code for finding in unlabelled.findings] == ["no-labels"]
    assert "accuracy" not in {metric.name for metric in unlabelled.metrics}
    assert unlabelled["bands.low_pass.2.agreement"].p_values[1] is not None
    assert unlabelled["agreement_with_first"].values[1] is not None


@pytest.mark.slow
def test_models_may_have_different_preprocessing(source: ArraySource, tmp_path: Path) -> None:
    """One takes pixels up to 255: the same function of the images, so that nothing differs but by rounding."""
    model = onnx.load(DIGITS / "normal.onnx")
    name = model.graph.input[0].name
    for node in model.graph.node:
        node.input[:] = ["scaled" if x == name else x for x in node.input]
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array(255, np.float32), "full"))
    model.graph.node.insert(0, onnx.helper.make_node("Div", [name, "full"], ["scaled"]))
    onnx.save(model, tmp_path / "bytes.onnx")
    networks = [
        load(DIGITS / "normal.onnx"),
        load(tmp_path / "bytes.onnx", preprocessing=Preprocessing(range=(0.0, 255.0))),
    ]
    result = specprobe.compare(networks, source)
    assert result["agreement_with_first"].values == (1.0, 1.0)
    assert result["sensitivity.high_share"].differences[1] == pytest.approx(0, abs=1e-5)
    (finding,) = (finding for finding in result.findings if finding.code == "preprocessing-differs")
    assert finding.message.startswith("bytes.onnx: the preprocessing is not that of normal.onnx")


def test_models_that_answer_other_questions_are_refused(networks: list[Network], source: ArraySource) -> None:
    other = load(MODELS / "bands" / "low.onnx")
    with pytest.raises(InputMismatch, match=r"differ in classes: 10 for normal.onnx, 4 for low.onnx"):
        specprobe.compare([networks[0], other], source)


def test_models_of_other_shapes_are_refused(networks: list[Network], source: ArraySource) -> None:
    other = replace(networks[1], image_shape=(1, 8, 8))
    with pytest.raises(
        InputMismatch, match=r"in image shape: 1×16×16 for normal.onnx, 1×8×8 for robust.onnx"
    ):
        specprobe.compare([networks[0], other], source)


@pytest.mark.parametrize(
    ("given", "names"), [(1, None), (2, ["a"]), (2, ["a", "a"])], ids=["one", "few names", "one name"]
)
def test_two_models_with_names_are_asked_for(
    networks: list[Network], given: int, names: list[str] | None
) -> None:
    with pytest.raises(InputMismatch, match="accepted are two models or more"):
        specprobe.compare(networks[:given], names=names)


def test_what_cannot_be_run_is_refused(networks: list[Network], source: ArraySource, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"pass specprobe.load\(path, ...\), not the path"):
        specprobe.compare([networks[0], DIGITS / "robust.onnx"], source)
    with pytest.raises(ValueError, match="analyses hold heatmap; accepted are accuracy, sensitivity, bands"):
        specprobe.compare(networks, source, analyses=["heatmap"])
    shutil.copy(DIGITS / "normal.onnx", tmp_path / "model.onnx")
    network = load(tmp_path / "model.onnx")
    shutil.copy(DIGITS / "robust.onnx", tmp_path / "model.onnx")
    with pytest.raises(ModelError, match=r"model.onnx has changed since it was loaded"):
        specprobe.compare([networks[0], network], source)


def test_names_are_distinct() -> None:
    assert distinct_names(["a", "a", "a (2)", "a"]) == ["a", "a (2)", "a (2) (2)", "a (3)"]


@pytest.mark.slow
@pytest.mark.parametrize("stop_at", [64, 214], ids=["in the first model", "in the second model"])
def test_an_interrupted_comparison_ends_in_the_same_bits(
    whole: Comparison, networks: list[Network], source: ArraySource, tmp_path: Path, stop_at: int
) -> None:
    def stop(done: int) -> None:
        if done >= stop_at:
            raise KeyboardInterrupt

    checkpoint = Checkpoint(path=tmp_path / "part.npz", fingerprint="it")
    with pytest.raises(KeyboardInterrupt):
        specprobe.compare(networks, source, checkpoint=checkpoint, progress=stop)
    assert list(tmp_path.iterdir())
    resuming = Checkpoint(path=tmp_path / "part.npz", fingerprint="it", resume=True)
    seen: list[int] = []
    assert specprobe.compare(networks, source, checkpoint=resuming, progress=seen.append) == whole
    if stop_at == 64:
        assert seen == [64, 128, 150, 214, 278, 300]
    else:
        assert seen == [150, 214, 278, 300], "the first model is not run again"
    assert list(tmp_path.iterdir()) == []
