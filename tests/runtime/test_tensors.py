"""Tensors from inside a model, by name, in one run with its logits."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import array_api_strict
import numpy as np
import pytest

from specprobe.analysis.heatmap_layers import TensorClassifier
from specprobe.errors import InputMismatch, ModelError
from specprobe.runtime import network as network_module
from specprobe.runtime.network import Network, load
from specprobe.runtime.opened import Opened
from specprobe.runtime.session import OutOfMemory

Save = Callable[..., Path]
Expected = Callable[[Any], Any]
BODY = (
    "wide = Mul (images, images) near = Relu (wide) flat = Flatten (near) "
    "hidden = Gemm <transB = 1> (flat, weight, bias) logits = Identity (hidden)"
)


def close(actual: Any, wanted: Any) -> bool:
    return bool(np.allclose(actual, wanted, rtol=1e-5, atol=1e-5))


@pytest.fixture
def network(save_model: Save) -> Network:
    return load(save_model(BODY))


def test_tensors_come_with_the_logits_in_the_order_asked_for(network: Network, images: Any) -> None:
    assert isinstance(network, TensorClassifier)
    logits, flat, wide = network.tensors(images, ["flat", "wide"])
    assert close(logits, network.logits(images))
    assert {made.dtype for made in (logits, flat, wide)} == {np.dtype(np.float32)}
    assert close(wide, images**2)
    assert close(flat, (images**2).reshape(9, 60))


def test_the_logits_themselves_and_one_tensor_twice_may_be_asked_for(network: Network, images: Any) -> None:
    logits, same, again, wide, other = network.tensors(images, ("logits", "hidden", "wide", "wide"))
    assert close(same, logits)
    assert np.array_equal(again, same)
    assert np.array_equal(wide, other)


def test_no_images_have_tensors_of_no_rows(network: Network, images: Any) -> None:
    logits, wide = network.tensors(images[:0], ["wide"])
    assert (logits.shape, wide.shape) == ((0, 7), (0, 3, 4, 5))
    with pytest.raises(InputMismatch, match="images have shape"):
        network.tensors(images[..., :2], ["wide"])


def test_strict_in_strict_out(network: Network, images: Any) -> None:
    strict = array_api_strict.asarray(np.array(images))
    for made in network.tensors(strict, ["flat"]):
        assert isinstance(made, type(strict))


@pytest.mark.parametrize("batch", [2, 4])
def test_a_fixed_batch_size_is_run_in_turn(save_model: Save, images: Any, batch: int) -> None:
    path = save_model(
        f"wide = Mul (images, images) rows = Constant <value = int64[2] {{{batch}, 60}}> () "
        "flat = Reshape (wide, rows) first = ReduceMax <keepdims = 1> (flat) scaled = Div (flat, first) "
        "logits = Gemm <transB = 1> (scaled, weight, bias)",
        inputs=f"float[{batch}, 3, 4, 5] images",
        outputs=f"float[{batch}, 7] logits",
    )
    network = load(path)
    assert network.batch == batch  # the largest pixel of a batch stands in the way of opening it
    logits, wide = network.tensors(images[: 2 * batch + 1], ["wide"])
    assert close(logits, network.logits(images[: 2 * batch + 1]))
    assert close(wide, images[: 2 * batch + 1] ** 2)


def test_halves_are_run_where_there_is_no_room(
    network: Network, images: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_tensors = Opened.run_tensors

    def small(self: Opened, names: tuple[str, ...], batch: Any, /) -> Any:
        if len(batch) > 4:
            raise OutOfMemory
        return run_tensors(self, names, batch)

    wanted = network.tensors(images, ["wide"])
    monkeypatch.setattr(Opened, "run_tensors", small)
    for one, other in zip(network.tensors(images, ["wide"]), wanted, strict=True):
        assert close(one, other)


def test_tensors_of_other_types_come_as_float32(save_model: Save, images: Any) -> None:
    path = save_model(
        "half = Cast <to = 10> (images) wide = Cast <to = 1> (half) flat = Flatten (wide) "
        "place = ArgMax <axis = 1> (flat) logits = Gemm <transB = 1> (flat, weight, bias)",
        outputs="float[N, 7] logits, int64[N, 1] place",
    )
    network = load(path, output_name="logits")
    _, half = network.tensors(images, ["half"])
    assert half.dtype == np.float32
    assert np.array_equal(half, images.astype(np.float16).astype(np.float32))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("flatt", "there is no tensor 'flatt' on the way to the logits 'logits'; close to it are 'flat'"),
        (
            "qqqq",
            "'qqqq' on the way to the logits 'logits'; there are 'wide', 'near', 'flat', 'hidden', 'logits'",
        ),
        ("images", "there is no tensor 'images'"),
        ("weight", "there is no tensor 'weight'"),
        ("probabilities", "there is no tensor 'probabilities'"),
    ],
)
def test_a_name_that_does_not_exist_is_refused_with_names_close_to_it(
    save_model: Save, images: Any, name: str, message: str
) -> None:
    network = load(
        save_model(f"{BODY} probabilities = Softmax (logits)", outputs="float[N, 7] probabilities")
    )
    with pytest.raises(ModelError, match=message):
        network.tensors(images, [name])


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("turned", r"tensor 'turned' has shape \[3, N, 4, 5\]: its first axis is not that of the images"),
        ("rows", r"tensor 'rows' has shape \[.*\]: its first axis is not that of the images"),
        ("total", r"tensor 'total' has shape \[\]: its first axis is not that of the images"),
        ("scale", "tensor 'scale' is the same for every image"),
    ],
)
def test_a_tensor_without_an_axis_of_images_is_refused(
    save_model: Save, images: Any, name: str, message: str
) -> None:
    network = load(
        save_model(
            "turned = Transpose <perm = [1, 0, 2, 3]> (images) back = Transpose <perm = [1, 0, 2, 3]> (turned) "
            "size = Constant <value = int64[2] {-1, 20}> () rows = Reshape (back, size) "
            "whole = Constant <value = int64[2] {-1, 60}> () flat = Reshape (rows, whole) "
            "total = ReduceSum <keepdims = 0> (flat) none = Sub (total, total) "
            "one = Constant <value = float[1] {1.0}> () scale = Exp (one) scaled = Mul (flat, scale) "
            "same = Add (scaled, none) logits = Gemm <transB = 1> (same, weight, bias)"
        )
    )
    with pytest.raises(ModelError, match=message):
        network.tensors(images, [name])


def test_logits_that_change_with_the_outputs_are_refused(
    network: Network, images: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Opened.run
    monkeypatch.setattr(Opened, "run", lambda self, batch: run(self, batch) + 1)
    with pytest.raises(ModelError, match="the graph gives other logits where its tensors are outputs, too"):
        network.tensors(images, ["wide"])


def test_a_session_is_opened_once(network: Network, images: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    network.tensors(images, ["wide"])
    made: list[Any] = []
    monkeypatch.setattr("specprobe.runtime.opened.TensorSession", lambda *names, **_: made.append(names))
    network.tensors(images, ["wide"])
    assert not made
    assert network in network_module._adopted
