"""Reductions: along which axes, with which sizes known, and who gets the gradient in a tie."""

import math
from typing import Any

import numpy as np
import onnx
import onnx.parser
import pytest
from numpy.typing import NDArray

from specprobe.autodiff import gradient_names, with_gradient
from specprobe.errors import UnsupportedOperator
from specprobe.testing.gradient_check import check_vjp, evaluate

OPERATORS = (
    "ReduceSum",
    "ReduceMean",
    "ReduceMax",
    "ReduceMin",
    "ReduceProd",
    "ReduceL1",
    "ReduceL2",
    "ReduceLogSum",
    "ReduceLogSumExp",
    "ReduceSumSquare",
)
AXES = {"last": [-1], "two": [0, 2], "middle": [1], "all": [0, 1, 2], "none": []}


def _model(
    operator: str,
    axes: list[int] | None,
    *,
    keepdims: int = 1,
    shape: str = "N,3,5",
    kind: str = "float",
    opset: int = 18,
    noop: int = 0,
) -> onnx.ModelProto:
    rank = len(shape.split(",")) if shape else 0
    gone = 0 if keepdims else len(axes) if axes else 0 if noop else rank
    out = ",".join("abcd"[: rank - gone])
    listed = ", axes" if axes is not None else ""
    init = f"<int64[{len(axes)}] axes = {{{', '.join(map(str, axes))}}}>" if axes is not None else ""
    return onnx.parser.parse_model(
        f'<ir_version: 10, opset_import: ["" : {opset}]> f ({kind}{f"[{shape}]" if shape else ""} x) => ({kind}[{out}] y) {init}'
        f"{{ y = {operator} <keepdims = {keepdims}, noop_with_empty_axes = {noop}> (x{listed}) }}"
    )


def _points(operator: str, shape: tuple[int, ...] = (2, 3, 5)) -> NDArray[np.float32]:
    points = np.random.default_rng(5).permutation(math.prod(shape)).reshape(shape) / 20 - 0.33
    return np.asarray(points + 1 if operator == "ReduceLogSum" else points, np.float32)


def _gradient(model: onnx.ModelProto, x: Any, dtype: Any = np.float32, dy: Any = None) -> NDArray[Any]:
    points = np.asarray(x, dtype)
    y = evaluate(model, {"x": points}, ["y"])[0]
    gradient = with_gradient(model)
    fed = {"x": points, "cotangent": np.ones_like(y) if dy is None else np.asarray(dy, dtype)}
    (found,) = evaluate(gradient, fed, [gradient_names(gradient)["gradients"]["x"]])
    assert found.dtype == dtype
    assert found.shape == points.shape
    return found


@pytest.mark.parametrize("shape", ["N,3,5", "N,H,W", "2,3,5"])
@pytest.mark.parametrize("keepdims", [0, 1])
@pytest.mark.parametrize("axes", AXES)
@pytest.mark.parametrize("operator", OPERATORS)
def test_gradient_equals_central_difference(operator: str, axes: str, keepdims: int, shape: str) -> None:
    model = _model(operator, AXES[axes], keepdims=keepdims, shape=shape)
    assert check_vjp(model, {"x": _points(operator)}, directions=1).error < 2e-5


@pytest.mark.parametrize("operator", OPERATORS)
def test_gradient_of_the_gradient(operator: str) -> None:
    first = with_gradient(_model(operator, [1], keepdims=0, kind="double"))
    dy = np.random.default_rng(1).standard_normal((2, 5))
    feeds = {"x": _points(operator).astype(np.float64), "cotangent": dy}
    assert check_vjp(first, feeds, of="d_x", engine="reference").error < 1e-7


@pytest.mark.parametrize("operator", OPERATORS)
def test_axes_that_are_left_out_are_all(operator: str) -> None:
    model = _model(operator, None, keepdims=0)
    assert check_vjp(model, {"x": _points(operator)}, engine="reference").error < 1e-7


@pytest.mark.parametrize("operator", [o for o in OPERATORS if o != "ReduceProd"])
@pytest.mark.parametrize("keepdims", [0, 1])
def test_computed_axes(operator: str, keepdims: int) -> None:
    out = "a,b,c" if keepdims else "a,b"
    model = onnx.parser.parse_model(
        f'<ir_version: 10, opset_import: ["" : 18]> f (float[N,H,W] x, int64[1] axes) => (float[{out}] y) '
        f"{{ y = {operator} <keepdims = {keepdims}> (x, axes) }}"
    )
    feeds = {"x": _points(operator), "axes": np.array([-2])}
    assert check_vjp(model, feeds, directions=1).error < 2e-5


@pytest.mark.parametrize("operator", ["ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd"])
@pytest.mark.parametrize("axes", [None, []])
def test_no_axes_and_noop_is_the_identity(operator: str, axes: list[int] | None) -> None:
    dy = np.arange(30).reshape(2, 3, 5)
    found = _gradient(_model(operator, axes, noop=1, keepdims=0), _points(operator), dy=dy)
    np.testing.assert_array_equal(found, dy)


@pytest.mark.parametrize("operator", OPERATORS)
@pytest.mark.parametrize("axes", [None, []])
def test_no_axes_and_noop_reduces_each_element_alone(operator: str, axes: list[int] | None) -> None:
    model = _model(operator, axes, noop=1, keepdims=0)
    assert check_vjp(model, {"x": _points(operator)}).error < 2e-5


@pytest.mark.parametrize("operator", [o for o in OPERATORS if o != "ReduceProd"])
@pytest.mark.parametrize("noop", [0, 1])
def test_axes_that_turn_out_empty(operator: str, noop: int) -> None:
    model = onnx.parser.parse_model(
        f'<ir_version: 10, opset_import: ["" : 18]> f (float[N,H,W] x, int64[K] axes) => (float[a,b,c] y) '
        f"{{ y = {operator} <keepdims = 1, noop_with_empty_axes = {noop}> (x, axes) }}"
    )
    feeds: dict[str, NDArray[Any]] = {"x": _points(operator), "axes": np.zeros(0, np.int64)}
    assert check_vjp(model, feeds, directions=1).error < 2e-5


def test_reduceprod_with_computed_axes_is_refused() -> None:
    model = onnx.parser.parse_model(
        '<ir_version: 10, opset_import: ["" : 18]> f (float[N,H] x, int64[1] axes) => (float[a,b] y) '
        "{ y = ReduceProd (x, axes) }"
    )
    with pytest.raises(UnsupportedOperator, match=r"ReduceProd '.*' computes its axes"):
        with_gradient(model)


@pytest.mark.parametrize("operator", ["ReduceMax", "ReduceMin"])
def test_ties_share_evenly(operator: str) -> None:
    sign = 1 if operator == "ReduceMax" else -1
    found = _gradient(_model(operator, [1], shape="2,4"), sign * np.array([[1, 3, 3, 0], [7, 7, 7, 7]]))
    assert found.tolist() == [[0, 0.5, 0.5, 0], [0.25] * 4]


@pytest.mark.parametrize("shape", ["2,4", "N,K"])
def test_the_product_of_the_others_is_exact_at_zero(shape: str) -> None:
    x = [[0, 2, 3, 5], [0, 0, 3, 5]]
    assert _gradient(_model("ReduceProd", [1], shape=shape), x).tolist() == [[30, 0, 0, 0], [0, 0, 0, 0]]


@pytest.mark.parametrize("shape", ["2,4", "N,K"])
def test_second_derivatives_of_a_product_are_exact_at_zero(shape: str) -> None:
    x = np.array([[0, 2, 3, 5], [0, 0, 3, 5]], np.float64)
    feeds = {"x": x, "cotangent": np.array([[1.5], [0.5]])}
    first = with_gradient(_model("ReduceProd", [1], shape=shape, kind="double"))
    assert check_vjp(first, feeds, of="d_x", engine="reference").error < 1e-7


def test_the_product_of_others_needs_no_division() -> None:
    """The whole product is below the least float32; the others' is not."""
    found = _gradient(_model("ReduceProd", [0], shape="3"), [1e-30, 1e-20, 1])
    np.testing.assert_allclose(found, [1e-20, 1e-30, 0], rtol=1e-5, atol=1e-45)


def test_norms_have_no_gradient_at_zero() -> None:
    for operator in ("ReduceL1", "ReduceL2"):
        assert _gradient(_model(operator, [0], shape="3"), [0, 0, 0]).tolist() == [0, 0, 0]
    assert _gradient(_model("ReduceL1", [0], shape="3"), [-2, 0, 2]).tolist() == [-1, 0, 1]


def test_log_sum_exp_of_large_numbers_does_not_overflow() -> None:
    found = _gradient(_model("ReduceLogSumExp", [0], shape="3"), [1000, 1000, 990])
    np.testing.assert_allclose(found, [0.49998864, 0.49998864, 2.2698935e-05], rtol=5e-5)


@pytest.mark.parametrize("shape", ["70000", "N"])
def test_a_mean_of_more_elements_than_float16_can_count(shape: str) -> None:
    model = _model("ReduceMean", [0], shape=shape, kind="float16")
    gradient = with_gradient(model)
    fed = {"x": np.zeros(70000, np.float16), "cotangent": np.array([1000], np.float16)}
    (found,) = evaluate(gradient, fed, ["d_x"])
    np.testing.assert_allclose(found, 1000 / 70000, rtol=1e-3)


def test_reductions_of_a_scalar() -> None:
    for operator in (o for o in OPERATORS if o != "ReduceLogSumExp"):  # the reference evaluator cannot
        model = _model(operator, None, shape="", keepdims=0)
        assert check_vjp(model, {"x": np.array(0.7, np.float32)}, engine="reference").error < 1e-7


def test_an_empty_batch() -> None:
    for operator in ("ReduceSum", "ReduceMean", "ReduceMax", "ReduceProd", "ReduceL2"):
        assert _gradient(_model(operator, [2]), np.zeros((0, 3, 5))).shape == (0, 3, 5)


@pytest.mark.parametrize("operator", ["ReduceSum", "ReduceMean", "ReduceLogSum"])
def test_an_axis_without_elements(operator: str) -> None:
    """Behind other operators, where the runtime has something to optimize."""
    text = f"""<ir_version: 10, opset_import: ["" : 18]> f (float[2,0,4] x) => (float[2,1,4] y) <int64[1] axes = {{1}}> {{
        s = {operator} <keepdims = 1> (x, axes)  e = Sigmoid (s)  y = Mul (e, e) }}"""
    gradient = with_gradient(onnx.parser.parse_model(text))
    feeds = {"x": np.zeros((2, 0, 4), np.float32), "cotangent": np.ones((2, 1, 4), np.float32)}
    (dx,) = evaluate(gradient, feeds, ["d_x"])
    assert dx.shape == (2, 0, 4)
