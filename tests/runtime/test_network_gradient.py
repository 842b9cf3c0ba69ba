"""Gradients of a network: with respect to pixels, per example, whatever the batch size and the recipe."""

import pickle
from pathlib import Path
from typing import Any

import array_api_strict as strict
import numpy as np
import onnx
import onnx.parser
import pytest

import specprobe
from specprobe.errors import InputMismatch
from specprobe.protocols import DifferentiableClassifier, JointClassifier
from specprobe.recipe import Preprocessing
from specprobe.runtime.network import Network

WEIGHTS = np.random.default_rng(0).standard_normal((12, 4)).astype(np.float32)
RECIPE = Preprocessing(mean=(0.5, 0.4, 0.3), std=(0.25, 0.5, 0.125), range=(0.0, 255.0), channel_order="BGR")


def linear(folder: Path, batch: str = "N", recipe: Preprocessing | None = None) -> Network:
    """``logits = flatten(x) · WEIGHTS``."""
    text = f"""<ir_version: 8, opset_import: ["" : 18]>
    linear (float[{batch}, 3, 2, 2] x) => (float[{batch}, 4] logits) {{ flat = Flatten(x)  logits = MatMul(flat, w) }}"""
    model = onnx.parser.parse_model(text)
    model.graph.initializer.append(onnx.numpy_helper.from_array(WEIGHTS, "w"))
    path = folder / "linear.onnx"
    onnx.save(model, path)
    return specprobe.load(path, preprocessing=recipe)


def images(count: int = 5) -> "np.ndarray[tuple[int, ...], np.dtype[np.float32]]":
    return np.random.default_rng(1).random((count, 3, 2, 2), dtype=np.float32)


def softmax(logits: Any) -> Any:
    raised = np.exp(logits - logits.max(axis=1, keepdims=True))
    return raised / raised.sum(axis=1, keepdims=True)


def test_a_network_is_a_differentiable_classifier(tmp_path: Path) -> None:
    assert isinstance(linear(tmp_path), DifferentiableClassifier)
    assert isinstance(linear(tmp_path), JointClassifier)


@pytest.mark.parametrize("batch", ["N", "1", "2"])
def test_cross_entropy_of_a_linear_model_is_known(tmp_path: Path, batch: str) -> None:
    network, x, labels = linear(tmp_path, batch), images(), np.array([0, 1, 2, 3, 0])
    probabilities = softmax(network.logits(x))
    losses, gradient = network.gradient(x, labels)
    np.testing.assert_allclose(losses, -np.log(probabilities[np.arange(5), labels]), rtol=1e-5)
    expected = (probabilities - np.eye(4)[labels]) @ WEIGHTS.T
    np.testing.assert_allclose(gradient, expected.reshape(x.shape), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("batch", ["N", "2"])
def test_logits_come_with_the_gradient(tmp_path: Path, batch: str) -> None:
    network, x, y = linear(tmp_path, batch), images(), np.array([0, 1, 2, 0, 1])
    logits, losses, gradients = network.logits_and_gradient(x, y)
    assert np.allclose(logits, network.logits(x), rtol=1e-6)
    assert np.array_equal(losses, network.gradient(x, y)[0])
    assert np.array_equal(gradients, network.gradient(x, y)[1])
    cotangent = np.random.default_rng(1).normal(size=logits.shape).astype(np.float32)
    logits, product = network.logits_and_vjp(x, cotangent)
    assert np.allclose(logits, network.logits(x), rtol=1e-6)
    assert np.array_equal(product, network.vjp(x, cotangent))


def test_gradients_are_with_respect_to_pixels(tmp_path: Path) -> None:
    plain, scaled = linear(tmp_path), linear(tmp_path, recipe=RECIPE)
    cotangent = np.eye(4, dtype=np.float32)[[2] * 5]
    expected = plain.vjp(images(), cotangent)[:, ::-1] * (255 / np.array(RECIPE.std).reshape(1, 3, 1, 1))
    np.testing.assert_allclose(scaled.vjp(images(), cotangent), expected, rtol=1e-5)


def test_an_example_does_not_feel_the_others(tmp_path: Path) -> None:
    network, x, labels = linear(tmp_path), images(), np.array([0, 1, 2, 3, 0])
    losses, gradient = network.gradient(x, labels, loss="margin")
    for i in range(5):
        loss, own = network.gradient(x[i : i + 1], labels[i : i + 1], loss="margin")
        np.testing.assert_allclose(loss[0], losses[i], rtol=1e-6)
        np.testing.assert_allclose(own[0], gradient[i], rtol=1e-6)


def test_targeted_loss_takes_targets_and_others_do_not(tmp_path: Path) -> None:
    network, x, labels = linear(tmp_path), images(), np.zeros(5, int)
    losses, _ = network.gradient(x, labels, loss="targeted-dlr", targets=np.full(5, 3))
    assert losses.shape == (5,)
    with pytest.raises(InputMismatch, match="loss 'targeted-dlr' without targets"):
        network.gradient(x, labels, loss="targeted-dlr")
    with pytest.raises(InputMismatch, match="loss 'dlr' with targets"):
        network.gradient(x, labels, loss="dlr", targets=labels)
    with pytest.raises(InputMismatch, match="accepted are cross-entropy"):
        network.gradient(x, labels, loss="hinge")


@pytest.mark.parametrize("label", [-1, 4])
def test_a_label_that_is_no_class_gives_nan_for_that_image_alone(tmp_path: Path, label: int) -> None:
    losses, gradient = linear(tmp_path).gradient(images(), np.array([0, label, 1, 2, 3]))
    assert np.isnan(losses).tolist() == [False, True, False, False, False]
    assert np.isnan(gradient).all(axis=(1, 2, 3)).tolist() == [False, True, False, False, False]


def test_wrong_shapes_and_dtypes_are_refused(tmp_path: Path) -> None:
    network = linear(tmp_path)
    with pytest.raises(InputMismatch, match=r"labels are float64 of shape \(5,\)"):
        network.gradient(images(), np.zeros(5))
    with pytest.raises(InputMismatch, match=r"labels are int64 of shape \(4,\)"):
        network.gradient(images(), np.zeros(4, int))
    with pytest.raises(InputMismatch, match=r"cotangent has shape \(5, 3\)"):
        network.vjp(images(), np.zeros((5, 3), np.float32))


def test_no_images_give_empty_parts(tmp_path: Path) -> None:
    network, none = linear(tmp_path), images(0)
    shapes = [part.shape for part in network.logits_and_gradient(none, np.zeros(0, np.int64))]
    assert shapes == [(0, network.classes), (0,), none.shape]
    made = network.logits_and_vjp(none, np.zeros((0, network.classes), np.float32))
    assert [part.shape for part in made] == [(0, network.classes), none.shape]


def test_no_images_give_no_gradient(tmp_path: Path) -> None:
    losses, gradient = linear(tmp_path).gradient(images(0), np.zeros(0, int))
    assert losses.shape == (0,)
    assert gradient.shape == (0, 3, 2, 2)


def test_other_libraries_get_their_own_arrays_back(tmp_path: Path) -> None:
    network, x, labels = linear(tmp_path), images(), np.array([0, 1, 2, 3, 0])
    expected = network.gradient(x, labels)
    for given in (strict.asarray(labels), labels):
        made = network.gradient(strict.asarray(x), given)
        for ours, theirs in zip(made, expected, strict=True):
            assert isinstance(ours, type(strict.asarray(x)))
            np.testing.assert_array_equal(np.from_dlpack(ours), theirs)


def test_gradients_survive_pickling(tmp_path: Path) -> None:
    network, x, labels = linear(tmp_path), images(), np.zeros(5, int)
    again = pickle.loads(pickle.dumps(network))
    np.testing.assert_array_equal(again.gradient(x, labels)[1], network.gradient(x, labels)[1])
