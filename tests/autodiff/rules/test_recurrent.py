"""Recurrent networks: central differences for every output, with respect to every input."""

import itertools
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import helper

from specprobe.autodiff import gradient_names, with_gradient
from specprobe.errors import UnsupportedOperator
from specprobe.testing.gradient_check import check_vjp, evaluate

if TYPE_CHECKING:
    from collections.abc import Callable

FLOAT32_TOLERANCE = 2e-5
FLOAT64_TOLERANCE = 1e-7
STEPS, BATCH, INPUT, HIDDEN = 4, 3, 2, 3
GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
INPUTS = ("x", "w", "r", "b", "lengths", "h", "c", "p")


def feeds_of(operator: str, directions: int, *names: str, layout: int = 0) -> dict[str, NDArray[Any]]:
    """Inputs of a small network: x, w, r and those named."""
    rng = np.random.default_rng(0)
    gates = GATES[operator] * HIDDEN
    state = (BATCH, directions, HIDDEN) if layout else (directions, BATCH, HIDDEN)
    shapes = {
        "x": (BATCH, STEPS, INPUT) if layout else (STEPS, BATCH, INPUT),
        "w": (directions, gates, INPUT),
        "r": (directions, gates, HIDDEN),
        "b": (directions, 2 * gates),
        "h": state,
        "c": state,
        "p": (directions, 3 * HIDDEN),
    }
    return {
        name: (0.7 * rng.standard_normal(shapes[name])).astype(np.float32) for name in ("x", "w", "r", *names)
    }


def model(operator: str, feeds: dict[str, NDArray[Any]], **attributes: Any) -> onnx.ModelProto:
    """One node with all of its outputs."""
    outputs = ["y", "y_h", "y_c"][: 3 if operator == "LSTM" else 2]
    last = max(INPUTS.index(name) for name in feeds) + 1
    slots = [name if name in feeds else "" for name in INPUTS[:last]]
    node = helper.make_node(operator, slots, outputs, name="net", hidden_size=HIDDEN, **attributes)
    batch = 0 if attributes.get("layout") else 1
    inputs = [
        helper.make_tensor_value_info(
            name,
            helper.np_dtype_to_tensor_dtype(array.dtype),
            ["N" if name == "x" and i == batch else size for i, size in enumerate(array.shape)],
        )
        for name, array in feeds.items()
    ]
    graph = helper.make_graph(
        [node],
        "recurrent",
        inputs,
        [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in outputs],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


@pytest.mark.parametrize(
    ("operator", "direction", "names"),
    [
        (operator, direction, names)
        for operator, choices in (
            ("LSTM", [(), ("b", "h", "c"), ("b", "h", "c", "p")]),
            ("GRU", [(), ("b", "h")]),
            ("RNN", [(), ("b", "h")]),
        )
        for direction, names in itertools.product(("forward", "reverse", "bidirectional"), choices)
    ],
)
def test_recurrent(operator: str, direction: str, names: tuple[str, ...]) -> None:
    feeds = feeds_of(operator, 2 if direction == "bidirectional" else 1, *names)
    settings = [{}] if operator != "GRU" else [{"linear_before_reset": 0}, {"linear_before_reset": 1}]
    for setting in settings:
        proto = model(operator, feeds, direction=direction, **setting)
        for output in proto.graph.output:
            check = check_vjp(proto, feeds, of=output.name, directions=1)
            assert check.error < FLOAT32_TOLERANCE, (output.name, setting)


@pytest.mark.parametrize("operator", ["LSTM", "GRU", "RNN"])
def test_recurrent_in_float64(operator: str) -> None:
    feeds = feeds_of(operator, 1, "b")
    assert check_vjp(model(operator, feeds), feeds, engine="reference").error < FLOAT64_TOLERANCE


@pytest.mark.parametrize("operator", ["LSTM", "GRU", "RNN"])
def test_recurrent_batch_first(operator: str) -> None:
    feeds = feeds_of(operator, 1, "b", "h", layout=1)
    proto = model(operator, feeds, layout=1)
    for output in proto.graph.output:
        check = check_vjp(proto, feeds, of=output.name, engine="reference", directions=1)
        assert check.error < FLOAT64_TOLERANCE


@pytest.mark.parametrize("operator", ["LSTM", "GRU", "RNN"])
@pytest.mark.parametrize("direction", ["forward", "bidirectional"])
def test_recurrent_over_sequences_of_several_lengths(operator: str, direction: str) -> None:
    """Differences quarter with the square of the step, up to the rounding of float32."""
    feeds = feeds_of(operator, 2 if direction == "bidirectional" else 1, "b")
    feeds["lengths"] = np.array([4, 2, 1], np.int32)
    proto = model(operator, feeds, direction=direction)
    for output in proto.graph.output:
        coarse, fine = (
            check_vjp(
                proto,
                feeds,
                of=output.name,
                difference_engine="runtime",
                steps=(3 * step, step, step / 2),
                directions=1,
            )
            for step in (4e-2, 1e-2)
        )
        assert fine.error < max(coarse.error / 8, 5e-4)


def test_recurrent_past_the_end_of_a_sequence_has_no_gradient() -> None:
    feeds = feeds_of("LSTM", 1)
    feeds["lengths"] = np.array([4, 2, 1], np.int32)
    gradient = with_gradient(model("LSTM", feeds), of="y", wrt="x")
    names = gradient_names(gradient)
    dy = np.ones((STEPS, 1, BATCH, HIDDEN), np.float32)
    (dx,) = evaluate(gradient, {**feeds, names["cotangent"]: dy}, [names["gradients"]["x"]])
    for image, length in enumerate(feeds["lengths"]):
        assert dx[:length, image].all()
        assert not dx[length:, image].any()


@pytest.mark.parametrize("activation", ["Relu", "Sigmoid", "Softplus", "Softsign"])
def test_recurrent_with_other_activations(activation: str) -> None:
    """Against differences of the definition: the reference evaluator knows only the default."""
    functions: dict[str, Callable[[NDArray[Any]], NDArray[Any]]] = {
        "Relu": lambda v: np.maximum(v, 0),
        "Sigmoid": lambda v: 1 / (1 + np.exp(-v)),
        "Softplus": lambda v: np.log1p(np.exp(v)),
        "Softsign": lambda v: v / (1 + np.abs(v)),
    }
    feeds = feeds_of("RNN", 1)

    def last_state(x: NDArray[Any]) -> NDArray[Any]:
        h = np.zeros((BATCH, HIDDEN))
        for moment in x:
            h = functions[activation](moment @ feeds["w"][0].T + h @ feeds["r"][0].T)
        return h

    gradient = with_gradient(model("RNN", feeds, activations=[activation]), of="y_h", wrt="x")
    names = gradient_names(gradient)
    dy = np.ones((1, BATCH, HIDDEN), np.float32)
    y, dx = evaluate(gradient, {**feeds, names["cotangent"]: dy}, ["y_h", names["gradients"]["x"]])
    np.testing.assert_allclose(y[0], last_state(feeds["x"]), atol=1e-5)
    direction = np.random.default_rng(1).standard_normal(dx.shape)
    wide, step = feeds["x"].astype(np.float64), 1e-6
    slope = np.sum(last_state(wide + step * direction) - last_state(wide - step * direction)) / (2 * step)
    assert np.sum(dx * direction) == pytest.approx(slope, rel=1e-4)


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"clip": 3.0}, "LSTM 'net' has clip"),
        ({"input_forget": 1}, "LSTM 'net' has input_forget"),
        ({"activations": ["Sigmoid", "Tanh", "Elu"]}, "the activation 'Elu', accepted are Relu, Sigmoid"),
    ],
)
def test_recurrent_refuses_what_it_does_not_cover(attributes: dict[str, Any], message: str) -> None:
    with pytest.raises(UnsupportedOperator, match=message):
        with_gradient(model("LSTM", feeds_of("LSTM", 1), **attributes), of="y", wrt="x")


def test_recurrent_of_open_length_is_refused() -> None:
    proto = model("GRU", feeds_of("GRU", 1))
    proto.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "T"
    with pytest.raises(UnsupportedOperator, match="GRU 'net' has an open sequence length"):
        with_gradient(proto, of="y", wrt="x")


def test_recurrent_twice() -> None:
    feeds = feeds_of("GRU", 1)
    first = with_gradient(model("GRU", feeds), of="y", wrt="x")
    names = gradient_names(first)
    fed = {**feeds, names["cotangent"]: np.ones((STEPS, 1, BATCH, HIDDEN), np.float32)}
    check = check_vjp(
        first, fed, of=names["gradients"]["x"], wrt=["x", "r"], engine="reference", directions=1
    )
    assert check.error < FLOAT64_TOLERANCE
