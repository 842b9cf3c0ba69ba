"""Pools that average or take a norm, and normalisation over channels."""

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper

from specprobe.autodiff import gradient_names, with_gradient
from specprobe.errors import UnsupportedOperator
from specprobe.testing.gradient_check import check_vjp, evaluate

PADS = ((0, 0, 0, 0), (1, 1, 1, 1), (1, 0, 0, 1))
STRIDES = ((1, 1), (2, 2), (3, 2))
SIZES = ((9, 10), (8, 8))


def pool(
    operator: str, shape: Sequence[int], *, symbolic: bool = False, opset: int = 18, **attributes: Any
) -> ir.Model:
    sizes = [size if i == 1 or not symbolic else f"d{i}" for i, size in enumerate(shape)]
    graph = helper.make_graph(
        [helper.make_node(operator, ["x"], ["y"], name="node", **attributes)],
        "one",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, sizes)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)
    return ir.from_proto(onnx.shape_inference.infer_shapes(made))


def away_from_zero(*shape: int) -> NDArray[np.float32]:
    x = np.random.default_rng(0).standard_normal(shape)
    return (np.sign(x) * (0.5 + np.abs(x))).astype(np.float32)


def gradient_of(made: ir.Model, x: NDArray[Any], u: NDArray[Any] | None = None) -> NDArray[Any]:
    (y,) = evaluate(made, {"x": x}, ["y"])
    gradient = with_gradient(made)
    fed = {"x": x, gradient_names(gradient)["cotangent"]: np.ones_like(y) if u is None else u}
    return evaluate(gradient, fed, ["d_x"])[0]


def gap(made: ir.Model, x: NDArray[Any]) -> float:
    """``⟨f(x), u⟩ − ⟨x, dx(u)⟩`` over the norms, for operators of degree one in x."""
    (y,) = evaluate(made, {"x": x}, ["y"])
    u = np.random.default_rng(1).standard_normal(y.shape).astype(np.float32)
    dx = gradient_of(made, x, u)
    assert dx.shape == x.shape
    difference = np.sum(y.astype(np.float64) * u) - np.sum(dx.astype(np.float64) * x)
    return abs(float(difference)) / float(np.linalg.norm(y) * np.linalg.norm(u))


@pytest.mark.parametrize("symbolic", [False, True])
@pytest.mark.parametrize("inside_only", [False, True])
@pytest.mark.parametrize("ceil", [0, 1])
def test_average_pool(symbolic: bool, inside_only: bool, ceil: int) -> None:
    for kernel, pads, strides, dilation, size in itertools.product(
        ((3, 2), (2, 2)), PADS, STRIDES, (1, 2), SIZES
    ):
        made = pool(
            "AveragePool",
            (2, 3, *size),
            symbolic=symbolic,
            opset=22,
            kernel_shape=kernel,
            pads=pads,
            strides=strides,
            dilations=[dilation, dilation],
            ceil_mode=ceil,
            count_include_pad=int(not inside_only),
        )
        assert gap(made, away_from_zero(2, 3, *size)) < 1e-6, (kernel, pads, strides, dilation, size)


@pytest.mark.parametrize("symbolic", [False, True])
@pytest.mark.parametrize("p", [1, 2, 3])
@pytest.mark.parametrize("ceil", [0, 1])
def test_lp_pool_by_eulers_identity(symbolic: bool, p: int, ceil: int) -> None:
    """A norm is homogeneous: ``⟨x, dy/dx⟩`` is the norm itself. Which pixel gets what, the next test tells."""
    for kernel, pads, strides, size in itertools.product(((3, 2), (2, 2)), PADS, STRIDES, SIZES):
        made = pool(
            "LpPool",
            (2, 2, *size),
            symbolic=symbolic,
            opset=22,
            kernel_shape=kernel,
            pads=pads,
            strides=strides,
            ceil_mode=ceil,
            p=p,
        )
        assert gap(made, away_from_zero(2, 2, *size)) < 1e-6, (kernel, pads, strides, size)


@pytest.mark.parametrize("symbolic", [False, True])
@pytest.mark.parametrize(
    ("operator", "attributes"),
    [
        ("LpPool", {"kernel_shape": [3, 2], "strides": [2, 2], "p": 1}),
        ("LpPool", {"kernel_shape": [3, 2], "pads": [1, 0, 1, 1]}),
        ("LpPool", {"kernel_shape": [3, 2], "dilations": [2, 3], "strides": [1, 2], "p": 3}),
        ("LpPool", {"kernel_shape": [2, 2], "strides": [2, 2], "p": 4}),
        ("GlobalLpPool", {"p": 1}),
        ("GlobalLpPool", {}),
        ("GlobalLpPool", {"p": 3}),
        ("LRN", {"size": 3, "alpha": 0.5, "beta": 0.6, "bias": 1.5}),
        ("LRN", {"size": 5, "alpha": 0.5}),
    ],
)
def test_nonlinear(operator: str, attributes: dict[str, Any], symbolic: bool) -> None:
    """Differences on the runtime: the reference knows no dilated LpPool and no GlobalLpPool."""
    made = pool(operator, (2, 4, 7, 6), symbolic=symbolic, **attributes)
    x = away_from_zero(2, 4, 7, 6)
    result = check_vjp(made, {"x": x}, difference_engine="runtime", steps=(2e-2, 1e-2, 5e-3))
    assert result.error < 5e-3


def test_local_response_in_double() -> None:
    x = away_from_zero(5, 5, 3, 4)  # the reference normalises as many channels as there are images
    for size in (2, 3, 4, 5):  # the runtime takes odd ones only
        made = pool("LRN", x.shape, size=size, alpha=0.5)
        assert check_vjp(made, {"x": x}, engine="reference").error < 1e-7


@pytest.mark.parametrize("symbolic", [False, True])
@pytest.mark.parametrize("shape", [(2, 3, 9), (2, 3, 8, 6), (2, 3, 5, 4, 6)])
def test_all_ranks(shape: tuple[int, ...], symbolic: bool) -> None:
    rank = len(shape) - 2
    x = away_from_zero(*shape)
    assert gap(pool("GlobalAveragePool", shape, symbolic=symbolic), x) < 1e-6
    assert gap(pool("GlobalLpPool", shape, symbolic=symbolic), x) < 1e-6
    for size, stride, pad in ((3, 2, 1), (2, 2, 0), (3, 1, 1), (4, 3, 2)):
        window: dict[str, Any] = {
            "kernel_shape": [size] * rank,
            "strides": [stride] * rank,
            "pads": [pad] * 2 * rank,
        }
        for operator in ("AveragePool", "LpPool"):
            assert gap(pool(operator, shape, symbolic=symbolic, **window), x) < 1e-6


@pytest.mark.parametrize("operator", ["AveragePool", "LpPool", "MaxPool"])
def test_window_behind_the_image_that_shape_inference_counts_is_refused(operator: str) -> None:
    attributes: dict[str, Any] = {"kernel_shape": [2], "strides": [3], "pads": [1, 1], "ceil_mode": 1}
    made = pool(operator, (1, 1, 8), opset=18, **attributes)
    with pytest.raises(UnsupportedOperator, match="convert the model to opset 22"):
        with_gradient(made)
    made = pool(operator, (1, 1, 8), opset=22, **attributes)
    assert gap(made, away_from_zero(1, 1, 8)) < 1e-6


@pytest.mark.parametrize(
    ("operator", "attributes"),
    [
        *(("LpPool", {"kernel_shape": [2, 2], "strides": [2, 2], "p": p}) for p in (1, 2, 3)),
        *(("GlobalLpPool", {"p": p}) for p in (1, 2, 3)),
    ],
)
def test_norm_of_zeros_has_gradient_zero(operator: str, attributes: dict[str, Any]) -> None:
    x = np.zeros((1, 2, 4, 4), np.float32)
    x[0, 1] = 1
    dx = gradient_of(pool(operator, x.shape, **attributes), x)
    assert np.all(dx[0, 0] == 0)
    assert np.all(dx[0, 1] > 0)


@pytest.mark.parametrize("symbolic", [False, True])
@pytest.mark.parametrize(
    ("operator", "attributes"),
    [
        ("AveragePool", {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}),
        ("AveragePool", {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}),
        ("AveragePool", {"kernel_shape": [2, 2], "strides": [2, 2]}),
        ("GlobalAveragePool", {}),
        ("LpPool", {"kernel_shape": [3, 3], "strides": [2, 2]}),
        ("LpPool", {"kernel_shape": [2, 2], "p": 3}),
        ("GlobalLpPool", {"p": 3}),
        ("LRN", {"size": 3, "alpha": 0.5}),
    ],
)
def test_second_gradient(operator: str, attributes: dict[str, Any], symbolic: bool) -> None:
    x = away_from_zero(1, 3, 6, 6)
    made = pool(operator, x.shape, symbolic=symbolic, **attributes)
    first = with_gradient(made)
    (y,) = evaluate(made, {"x": x}, ["y"])
    u = np.random.default_rng(2).standard_normal(y.shape).astype(np.float32)
    feeds = {"x": x, gradient_names(first)["cotangent"]: u}
    result = check_vjp(first, feeds, of="d_x", difference_engine="runtime", steps=(2e-2, 1e-2, 5e-3))
    assert result.error < 2e-3


def test_few_nodes_where_sizes_are_known() -> None:
    for operator, attributes, expected in (
        ("GlobalAveragePool", {}, ["Mul", "Expand"]),
        ("AveragePool", {"kernel_shape": [2, 2], "strides": [2, 2]}, ["Mul", "Resize"]),
        ("AveragePool", {"kernel_shape": [3, 3], "pads": [1] * 4, "count_include_pad": 1}, ["AveragePool"]),
    ):
        made = with_gradient(pool(operator, (2, 3, 8, 8), **attributes))
        assert [node.op_type for node in made.graph] == [operator, *expected, "Identity"]
