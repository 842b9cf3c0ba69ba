"""A model file in, an inspection out."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import specprobe
from specprobe.errors import DataError, EmptyInput, ModelError
from specprobe.graph.limits import Limits
from specprobe.graph.load import open_model
from specprobe.images import ArraySource
from specprobe.results import document, dump_json, from_document
from specprobe.runtime.network import load
from specprobe.streaming import Checkpoint
from specprobe.workflow.inspection import inspect, inspect_model

Save = Callable[..., Path]


@pytest.fixture
def save_model(tmp_path: Path) -> Save:
    """Write a classifier of 8x8 images whose answer is the brightest of four corners."""

    def save(
        opset: int = 18, *, tail: str = "logits = Identity (l)", extra: str = "", name: str = "model.onnx"
    ) -> Path:
        weight = np.zeros((4, 1, 8, 8), np.float32)
        weight[[0, 1, 2, 3], 0, [0, 0, 7, 7], [0, 7, 0, 7]] = 1
        text = f'<ir_version: 8, opset_import: ["" : {opset}, "com.microsoft" : 1]> g (float[N, 1, 8, 8] images) => (float[N, 4] logits) '
        proto = onnx.parser.parse_model(text + f"{{ {extra} c = Conv (images, w) l = Flatten (c) {tail} }}")
        proto.graph.initializer.append(onnx.numpy_helper.from_array(weight, "w"))
        path = tmp_path / name
        onnx.save(proto, path)
        return path

    return save


def pictures(answers: Any, labels: Any = None) -> ArraySource:
    images = np.random.default_rng(0).random((len(answers), 1, 8, 8), dtype=np.float32) / 2
    rows, columns = np.array([0, 0, 7, 7])[answers], np.array([0, 7, 0, 7])[answers]
    images[np.arange(len(answers)), 0, rows, columns] = 1
    return ArraySource(images, labels)


def codes(result: Any) -> list[str]:
    return [finding.code for finding in result.findings]


def test_a_file_is_surveyed(save_model: Save) -> None:
    path = save_model()
    result = inspect(path)
    assert result == inspect(str(path))
    assert result.operators == {"Conv": 1, "Flatten": 1, "Identity": 1}
    assert (result.opset, result.ir_version, result.parameters, result.functions) == (18, 8, 256, 0)
    assert (result.bytes, result.multiply_adds) == (path.stat().st_size, 256)
    assert result.inputs == ({"name": "images", "dtype": "float", "shape": ["N", 1, 8, 8]},)
    assert [layer.kernel for layer in result.filters.layers] == [(8, 8)]
    assert result.accuracy is None
    assert result.gradient.supported is True


def test_a_network_is_surveyed_with_what_was_done_to_it(save_model: Save) -> None:
    network = load(save_model(13, tail="logits = Softmax (l)"))
    result = inspect(network)
    assert {"opset-raised", "trailing-activation"} <= set(codes(result))
    assert len(codes(result)) == len(set(codes(result)))
    assert result.trailing_activation == "Softmax"
    assert result.accuracy is None


def test_with_labelled_images_the_accuracy_is_measured(save_model: Save) -> None:
    answers = [0, 1, 2, 3] * 25
    labels = [0, 1, 2, 0] * 25
    seen: list[int] = []
    result = inspect(load(save_model()), pictures(answers, labels), batch_size=7, progress=seen.append)
    assert result.accuracy is not None
    assert (result.accuracy.images, result.accuracy.correct) == (100, 75)
    assert seen == [64, 100]
    assert "chance-level" not in codes(result)
    limited = inspect(load(save_model()), pictures(answers, labels), limit=8).accuracy
    assert limited is not None
    assert limited.images == 8


def test_an_accuracy_at_chance_is_a_finding(save_model: Save) -> None:
    result = inspect(load(save_model()), pictures([0, 1, 2, 3] * 25, [1, 2, 3, 0] * 25))
    (finding,) = (finding for finding in result.findings if finding.code == "chance-level")
    assert finding.level == "warning"
    assert finding.message.startswith(
        "accuracy 0.000 [0.000, 0.037] is not above chance (0.250): check --mean, --std"
    )


def test_images_without_labels_are_a_finding(save_model: Save) -> None:
    result = inspect(load(save_model()), pictures([0, 1]))
    assert "no-labels" in codes(result)
    assert result.accuracy is None


def test_with_data_there_is_sensitivity_and_band_accuracy(save_model: Save) -> None:
    network, images = load(save_model()), pictures([0, 1, 2, 3] * 25, [0, 1, 2, 3] * 25)
    result = inspect(network, images)
    assert result.sensitivity == specprobe.fourier_sensitivity(network, images)
    assert result.bands == specprobe.band_accuracy(network, images)
    content = json.loads(dump_json(document(result, model={})))["result"]
    assert content["sensitivity"]["low_share"] == result.sensitivity.low_share
    assert content["bands"]["low_pass"][0]["radius"] == 1
    again = from_document(json.loads(dump_json(document(result, model={}))))
    assert again.to_dict() == result.to_dict()
    arrays = result.arrays()
    assert arrays["correct"].shape == (100,)
    assert arrays["digest"].shape == (100, 16)
    assert arrays["sensitivity_power_map"].shape == (8, 8)
    assert not [name for name in arrays if name.endswith("_digest")]
    fewer = inspect(network, images, analyses=["accuracy"])
    assert (fewer.sensitivity, fewer.bands) == (None, None)
    assert fewer.accuracy == result.accuracy


def test_findings_of_several_analyses_are_told_once(save_model: Save) -> None:
    result = inspect(load(save_model()), pictures([0, 1, 2, 3] * 25, [1, 2, 3, 0] * 25))
    assert codes(result).count("chance-level") == 1


@pytest.mark.parametrize(
    ("tail", "reason"),
    [
        ("logits = Round (l)", "no gradient reaches the input"),
        (
            "k = Constant <value_float = 1e4> () logits = Mul (l, k)",
            "no image has a gradient (zero or not finite)",
        ),
        ("logits = com.microsoft.QuickGelu (l)", "an operator has no gradient rule"),
    ],
)
def test_a_model_without_gradient_is_inspected_without_sensitivity(
    save_model: Save, tail: str, reason: str
) -> None:
    result = inspect(load(save_model(tail=tail)), pictures([0, 1], [0, 1]))
    assert result.sensitivity is None
    assert result.bands is not None
    (finding,) = (finding for finding in result.findings if finding.code == "no-sensitivity")
    assert reason in finding.message


def test_images_need_a_network(save_model: Save) -> None:
    with pytest.raises(
        DataError, match=r"it has to be told how: pass specprobe.load\(path, ...\), not the path"
    ):
        inspect(save_model(), pictures([0], [0]))


def test_images_that_do_not_fit_are_refused(save_model: Save) -> None:
    network = load(save_model())
    with pytest.raises(DataError, match="label 4 of image 1 is no class of the model"):
        inspect(network, pictures([0, 1], [0, 4]))
    with pytest.raises(EmptyInput, match="no images"):
        inspect(network, pictures([0, 1], [0, 1]), limit=0)


def test_an_opset_that_cannot_be_raised_is_a_finding(
    save_model: Save, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save_model(5, extra="")
    module = inspect.__globals__

    def refuse(model: Any) -> Any:
        msg = "opset 5 cannot be raised to 18: no adapter"
        raise specprobe.errors.UnsupportedOperator(msg)

    monkeypatch.setitem(module, "raise_opset", refuse)
    result = inspect(path)
    assert "opset 5 cannot be raised to 18: no adapter" in [finding.message for finding in result.findings]
    assert result.opset == 5


def test_the_limits_of_the_network_count(save_model: Save) -> None:
    path = save_model()
    generous = load(path, limits=Limits(nodes=3))
    with pytest.raises(ModelError, match="the cap is 2"):
        inspect(path, limits=Limits(nodes=2))
    with pytest.raises(ModelError, match="the cap is 2"):
        inspect(generous, limits=Limits(nodes=2))
    strict = load(path, limits=Limits(file_bytes=path.stat().st_size))
    assert inspect(strict).opset == 18


def test_caps_that_were_raised_for_the_network_are_not_forgotten(
    save_model: Save, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []
    network = load(save_model(), limits=Limits(nodes=77))

    def remembering(path: Any, *, limits: Any) -> Any:
        asked.append(limits)
        return open_model(path, limits=limits)

    monkeypatch.setitem(inspect.__globals__, "open_model", remembering)
    inspect(network)
    assert asked == [Limits(nodes=77)]


def test_a_file_that_changed_after_loading_is_refused(save_model: Save) -> None:
    network = load(save_model())
    shutil.copy(save_model(17, name="other.onnx"), network.path)
    with pytest.raises(ModelError, match=r"model.onnx has changed since it was loaded; load it again"):
        inspect(network)


def test_an_interrupted_inspection_resumes(save_model: Save, tmp_path: Path) -> None:
    network, source = load(save_model()), pictures([0, 1, 2, 3] * 50, [0, 1, 2, 0] * 50)
    checkpoint = Checkpoint(path=tmp_path / "p.npz", fingerprint="f")

    def stop(images: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        inspect(network, source, checkpoint=checkpoint, progress=stop)
    resuming = Checkpoint(path=tmp_path / "p.npz", fingerprint="f", resume=True)
    seen: list[int] = []
    resumed = inspect(network, source, checkpoint=resuming, progress=seen.append)
    assert seen == [64, 128, 192, 200]
    assert resumed == inspect(network, source)


def test_an_inspection_survives_json(save_model: Save) -> None:
    result = inspect(load(save_model(13)), pictures([0, 1, 2, 3] * 25, [0, 1, 2, 0] * 25))
    content = json.loads(dump_json(document(result)))
    assert from_document(content).to_dict() == content["result"]


def test_the_kernels_are_kept_for_who_asks(save_model: Save) -> None:
    file = open_model(save_model())
    inspected = inspect_model(file)
    assert inspected.file is file
    assert inspected.survey.convolutions[0].weight.shape == (4, 1, 8, 8)
    assert inspected.result == inspect(file.path)
