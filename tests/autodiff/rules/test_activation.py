"""Activations: derivatives by central differences, and what happens at each kink."""

import math
from typing import Any, NamedTuple

import numpy as np
import onnx
import onnx.parser
import pytest
from numpy.typing import NDArray

from specprobe.autodiff import gradient_names, with_gradient
from specprobe.testing.gradient_check import check_vjp, evaluate

FLOAT32_TOLERANCE = 2e-5
FLOAT64_TOLERANCE = 1e-7


class Case(NamedTuple):
    """One node; inputs stay ``margin`` away from the ``kinks``."""

    node: str
    kinks: tuple[float, ...] = ()
    opset: int = 18
    reference: bool = True
    runtime: bool = True


CASES = {
    "relu": Case("Relu (x)", kinks=(0,)),
    "leaky-relu": Case("LeakyRelu (x)", kinks=(0,)),
    "leaky-relu-alpha": Case("LeakyRelu <alpha: float = 0.3> (x)", kinks=(0,)),
    "leaky-relu-negative": Case("LeakyRelu <alpha: float = -0.3> (x)", kinks=(0,)),
    "leaky-relu-zero": Case("LeakyRelu <alpha: float = 0.0> (x)", kinks=(0,)),
    "elu": Case("Elu (x)", kinks=(0,)),
    "elu-alpha": Case("Elu <alpha: float = 2.5> (x)", kinks=(0,)),
    "elu-negative": Case("Elu <alpha: float = -1.5> (x)", kinks=(0,)),
    "selu": Case("Selu (x)", kinks=(0,)),
    "selu-attributes": Case("Selu <alpha: float = 2.0, gamma: float = 3.0> (x)", kinks=(0,)),
    "celu": Case("Celu (x)", kinks=(0,)),
    "celu-alpha": Case("Celu <alpha: float = 2.0> (x)", kinks=(0,)),
    "gelu-tanh": Case('Gelu <approximate: string = "tanh"> (x)', opset=20),
    "sigmoid": Case("Sigmoid (x)"),
    "hard-sigmoid": Case("HardSigmoid (x)", kinks=(-2.5, 2.5)),
    "hard-sigmoid-attributes": Case(
        "HardSigmoid <alpha: float = 0.5, beta: float = 0.6> (x)", kinks=(-1.2, 0.8)
    ),
    "hard-swish": Case("HardSwish (x)", kinks=(-3, 3)),
    "mish": Case("Mish (x)"),
    "softplus": Case("Softplus (x)"),
    "softsign": Case("Softsign (x)", kinks=(0,)),
    "swish": Case("Swish (x)", opset=24),
    "swish-alpha": Case("Swish <alpha: float = 1.7> (x)", opset=24),
    "thresholded-relu": Case("ThresholdedRelu (x)", kinks=(1,)),
    "thresholded-relu-alpha": Case("ThresholdedRelu <alpha: float = -0.5> (x)", kinks=(-0.5,)),
    "shrink": Case("Shrink (x)", kinks=(-0.5, 0.5)),
    "shrink-attributes": Case("Shrink <lambd: float = 1.2, bias: float = 0.7> (x)", kinks=(-1.2, 1.2)),
    "tanh": Case("Tanh (x)"),
    **{
        f"{name}-{axis}": Case(f"{operator} <axis: int = {axis}> (x)")
        for name, operator in (("softmax", "Softmax"), ("log-softmax", "LogSoftmax"))
        for axis in (-1, 0, 1, 2)
    },
    "softmax-default": Case("Softmax (x)"),
    "log-softmax-default": Case("LogSoftmax (x)"),
}
SMOOTH = (
    "gelu-tanh",
    "mish",
    "softplus",
    "swish-alpha",
    "sigmoid",
    "tanh",
    "softmax-1",
    "log-softmax-1",
    "elu",
)


def _model(case: Case, kind: str) -> onnx.ModelProto:
    node = case.node
    return onnx.parser.parse_model(
        f'<ir_version: 10, opset_import: ["" : {case.opset}]> f ({kind}[N,3,5] x) => ({kind}[N,3,5] y) {{ y = {node} }}'
    )


def _points(case: Case, dtype: type = np.float32) -> NDArray[Any]:
    x = np.random.default_rng(7).uniform(-5, 5, (2, 3, 5))
    for kink in case.kinks:
        near = np.abs(x - kink) < 0.05
        x[near] = kink + 0.1 * np.sign(x[near] - kink)
    return x.astype(dtype)


def _vjp(
    nodes: str, inputs: str, feeds: dict[str, NDArray[Any]], dy: list[float], *, opset: int = 18
) -> dict[str, list[float]]:
    """Gradients of ``y`` from onnxruntime, by input."""
    kind = (
        "double"
        if feeds["x"].dtype == np.float64
        else "float16"
        if feeds["x"].dtype == np.float16
        else "float"
    )
    text = f'<ir_version: 10, opset_import: ["" : {opset}]> f ({inputs}) => ({kind}[K] y) {{ {nodes} }}'
    gradient = with_gradient(onnx.parser.parse_model(text))
    names = gradient_names(gradient)
    fed = {**feeds, names["cotangent"]: np.asarray(dy, feeds["x"].dtype)}
    values = evaluate(gradient, fed, list(names["gradients"].values()))
    return {name: value.tolist() for name, value in zip(names["gradients"], values, strict=True)}


def _of_x(node: str, x: list[float], dy: list[float] | None = None, *, opset: int = 18) -> list[float]:
    feeds: dict[str, NDArray[Any]] = {"x": np.asarray(x, np.float32)}
    return _vjp(f"y = {node}", "float[K] x", feeds, dy or [1.0] * len(x), opset=opset)["x"]


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_float64_gradient_equals_central_difference(case: Case) -> None:
    check = check_vjp(_model(case, "double"), {"x": _points(case, np.float64)}, engine="reference")
    assert check.error < FLOAT64_TOLERANCE


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_float32_gradient_on_the_runtime(case: Case) -> None:
    check = check_vjp(_model(case, "float"), {"x": _points(case)})
    assert check.error < FLOAT32_TOLERANCE


@pytest.mark.parametrize("name", SMOOTH)
def test_gradient_of_the_gradient(name: str) -> None:
    case = CASES[name]
    first = with_gradient(_model(case, "double"))
    feeds = {"x": _points(case, np.float64), "cotangent": np.random.default_rng(1).standard_normal((2, 3, 5))}
    assert check_vjp(first, feeds, of="d_x", engine="reference").error < FLOAT64_TOLERANCE


@pytest.mark.parametrize("slope", [(1,), (3, 1), (5,), (1, 1, 1), (2, 3, 5), ()], ids=str)
def test_prelu_slope_of_any_shape(slope: tuple[int, ...]) -> None:
    text = f"double[N,3,5] x, double{list(slope) if slope else ''} s"
    model = onnx.parser.parse_model(
        f'<ir_version: 10, opset_import: ["" : 18]> f ({text}) => (double[N,3,5] y) {{ y = PRelu (x, s) }}'
    )
    feeds = {
        "x": _points(Case("", kinks=(0,)), np.float64),
        "s": np.random.default_rng(2).uniform(0.1, 0.5, slope),
    }
    assert check_vjp(model, feeds, engine="reference").error < FLOAT64_TOLERANCE


@pytest.mark.parametrize("alpha", [1.0, 1.5])
def test_swiglu_both_inputs(alpha: float) -> None:
    """By the reference evaluator alone: onnxruntime 1.31 does not read opset 28."""
    model = onnx.parser.parse_model(
        '<ir_version: 10, opset_import: ["" : 28]> f (double[N,3,5] a, double[N,3,5] b) => (double[N,3,5] y) '
        f"{{ y = SwiGLU <alpha: float = {alpha}> (a, b) }}"
    )
    a, b = np.random.default_rng(3).standard_normal((2, 2, 3, 5))
    for wrt in (["a"], ["b"], ["a", "b"]):
        assert check_vjp(model, {"a": a, "b": b}, wrt=wrt, engine="reference").error < FLOAT64_TOLERANCE


def test_gelu_equals_its_derivative() -> None:
    """The reference evaluator has Erf in float32 only, so that its differences are of no use."""
    x = np.linspace(-6, 6, 49)
    exact = [
        0.5 * math.erfc(-v / math.sqrt(2)) + v * math.exp(-v * v / 2) / math.sqrt(2 * math.pi) for v in x
    ]
    np.testing.assert_allclose(_of_x("Gelu (x)", list(x), opset=20), exact, atol=3e-7)


def test_gelu_of_the_gradient() -> None:
    first = with_gradient(_model(Case("Gelu (x)", opset=20), "float"))
    second = with_gradient(first, of="d_x", wrt="x")
    x = np.linspace(-4, 4, 30, dtype=np.float32).reshape(2, 3, 5)
    ones = np.ones_like(x)
    names = gradient_names(second)
    feeds = {"x": x, "cotangent": ones, names["cotangent"]: ones}
    (found,) = evaluate(second, feeds, [names["gradients"]["x"]], engine="reference")
    exact = (2 - x.astype(float) ** 2) * np.exp(-(x.astype(float) ** 2) / 2) / math.sqrt(2 * math.pi)
    np.testing.assert_allclose(found, exact, atol=1e-6)


def test_hardmax_has_no_gradient() -> None:
    nodes = "h = Hardmax (x) y = Add (x, h)".replace(") y", ")\n y")
    assert _vjp(nodes, "float[K] x", {"x": np.asarray([1, 3, 2], np.float32)}, [1, 2, 3])["x"] == [1, 2, 3]


def test_relu_at_zero_is_zero_even_for_infinite_cotangents() -> None:
    assert _of_x("Relu (x)", [-1, 0, 2], [math.inf, math.nan, 3]) == [0, 0, 3]


def test_leaky_relu_at_zero_is_alpha() -> None:
    assert _of_x("LeakyRelu <alpha: float = 0.25> (x)", [-1, 0, 1]) == [0.25, 0.25, 1]


def test_prelu_at_zero_is_the_slope() -> None:
    feeds: dict[str, NDArray[Any]] = {
        "x": np.asarray([-2, 0, 2], np.float32),
        "s": np.asarray([0.5], np.float32),
    }
    found = _vjp("y = PRelu (x, s)", "float[K] x, float[1] s", feeds, [1, 1, 1])
    assert found == {"x": [0.5, 0.5, 1], "s": [-2]}


def test_elu_at_zero_is_alpha() -> None:
    assert _of_x("Elu <alpha: float = 2.0> (x)", [0]) == [2]
    assert _of_x("Celu <alpha: float = 2.0> (x)", [0]) == [1]
    assert _of_x("Selu (x)", [0]) == pytest.approx([1.7580993])


def test_hard_sigmoid_at_the_ends_is_zero() -> None:
    assert _of_x("HardSigmoid <alpha: float = 0.5, beta: float = 0.5> (x)", [-2, -1, 0, 1, 2]) == [
        0,
        0,
        0.5,
        0,
        0,
    ]


def test_hard_swish_at_minus_three_is_zero_and_at_three_is_one() -> None:
    assert _of_x("HardSwish (x)", [-4, -3, 0, 3, 4]) == [0, 0, 0.5, 1, 1]


def test_thresholded_relu_at_alpha_is_zero() -> None:
    assert _of_x("ThresholdedRelu (x)", [0, 1, 2]) == [0, 0, 1]


def test_shrink_at_lambd_is_zero() -> None:
    assert _of_x("Shrink (x)", [-1, -0.5, 0, 0.5, 1]) == [1, 0, 0, 0, 1]


def test_softsign_at_zero_is_one() -> None:
    assert _of_x("Softsign (x)", [0, 1e20]) == pytest.approx([1, 0])


@pytest.mark.parametrize(
    ("node", "expected"),
    [
        ("Softplus (x)", [0, 1]),
        ("Mish (x)", [0, 1]),
        ('Gelu <approximate: string = "tanh"> (x)', [0, 1]),
        ("Gelu (x)", [0, 1]),
        ("Swish (x)", [0, 1]),
        ("Elu (x)", [0, 1]),
        ("Sigmoid (x)", [0, 0]),
    ],
)
def test_large_inputs_overflow_nowhere(node: str, expected: list[float]) -> None:
    for size in (90, 1e4, 1e20):
        assert _of_x(node, [-size, size], opset=24) == pytest.approx(expected, abs=2e-7)


def test_softmax_of_large_logits() -> None:
    assert _of_x("Softmax (x)", [1000, 0, -1000], [1, 2, 3]) == [0, 0, 0]
    assert _of_x("LogSoftmax (x)", [1000, 0, -1000], [1, 2, 3]) == [-5, 2, 3]


CLIP = "float[K] x, float low, float high"


def _clip(low: float, high: float) -> dict[str, list[float]]:
    feeds: dict[str, NDArray[Any]] = {
        "x": np.asarray([-2, 0, 0.5, 1, 3], np.float32),
        "low": np.asarray(low, np.float32),
        "high": np.asarray(high, np.float32),
    }
    return _vjp("y = Clip (x, low, high)", CLIP, feeds, [1, 2, 4, 8, 16])


def test_clip_at_the_bounds_passes_to_x() -> None:
    assert _clip(0, 1) == {"x": [0, 2, 4, 8, 0], "low": 1, "high": 16}


def test_clip_with_crossed_bounds_is_the_upper_one() -> None:
    assert _clip(2.5, 2) == {"x": [0, 0, 0, 0, 0], "low": 0, "high": 31}


@pytest.mark.parametrize(
    ("inputs", "arguments"),
    [
        ("", "x"),
        (", double low", "x, low"),
        (", double high", 'x, "", high'),
        (", double low, double high", "x, low, high"),
        (", double[1] low, double[1] high", "x, low, high"),
    ],
)
def test_clip_with_any_of_its_bounds(inputs: str, arguments: str) -> None:
    arguments = arguments.replace('""', "")
    model = onnx.parser.parse_model(
        f'<ir_version: 10, opset_import: ["" : 18]> f (double[N,3,5] x{inputs}) => (double[N,3,5] y) '
        f"{{ y = Clip ({arguments}) }}"
    )
    shape = (1,) if "[1] low" in inputs else ()
    feeds = {"x": _points(Case("", kinks=(-1.5, 2.0)), np.float64)}
    feeds |= {k: np.full(shape, v) for k, v in (("low", -1.5), ("high", 2.0)) if k in inputs}
    assert check_vjp(model, feeds, engine="reference").error < FLOAT64_TOLERANCE


def test_clip_to_constant_bounds_takes_two_nodes() -> None:
    model = onnx.parser.parse_model(
        '<ir_version: 10, opset_import: ["" : 18]> f (float[N,3] x) => (float[N,3] y) '
        "<float low = {0}, float high = {6}> { y = Clip (x, low, high) }"
    )
    added = [node.op_type for node in with_gradient(model).graph][1:]
    assert added == ["Equal", "Where", "Identity"]


def test_float16_activations_stay_float16() -> None:
    feeds: dict[str, NDArray[Any]] = {"x": np.asarray([-300, -1, 1, 300], np.float16)}
    node = 'y = Gelu <approximate: string = "tanh"> (x)'
    found = _vjp(node, "float16[K] x", feeds, [1, 1, 1, 1], opset=20)["x"]
    assert found == pytest.approx([0, -0.083, 1.083, 1], abs=1e-3)
