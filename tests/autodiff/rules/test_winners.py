"""Max pools of feature maps, without indices. Convolutions with one tap make them; ties are frequent."""

import itertools
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from specprobe.autodiff import with_gradient
from specprobe.testing.evaluation import evaluate


def pooled(channels: int, size: tuple[int, int], **attributes: Any) -> ir.Model:
    """A convolution that changes nothing, which makes a feature map of its input, and a pool."""
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"], group=channels),
        helper.make_node("MaxPool", ["a"], ["y"], **attributes),
    ]
    graph = helper.make_graph(
        nodes,
        "pool",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", channels, *size])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.ones((channels, 1, 1, 1), np.float32), "w")],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 22)], ir_version=10)
    return ir.from_proto(onnx.shape_inference.infer_shapes(made))


def first_of_largest(
    x: NDArray[np.float32], u: NDArray[np.float32], kernel: list[int], strides: list[int], begin: list[int]
) -> NDArray[np.float32]:
    """Window by window, row by row, as the definition goes."""
    dx = np.zeros_like(x)
    for n, c, *window in np.ndindex(*u.shape):
        taps = (
            tuple(w * s + t - p for w, s, t, p in zip(window, strides, tap, begin, strict=True))
            for tap in np.ndindex(*kernel)
        )
        inside = [(n, c, *at) for at in taps if all(0 <= a < m for a, m in zip(at, x.shape[2:], strict=True))]
        dx[max(inside, key=lambda place: x[place])] += u[n, c, *window]
    return dx


@pytest.mark.parametrize("kernel", [[1, 1], [2, 2], [3, 3], [3, 2], [1, 3]])
@pytest.mark.parametrize("strides", [[1, 1], [2, 2], [2, 1], [3, 3]])
def test_the_first_of_the_largest_gets_all(kernel: list[int], strides: list[int]) -> None:
    tried = 0
    for begin, end, size, ceil in itertools.product(
        ([0, 0], [1, 1], [1, 0]), ([0, 0], [1, 1]), ((7, 8), (6, 5)), (0, 1)
    ):
        if any(p >= k for p, k in zip((*begin, *end), (*kernel, *kernel), strict=True)):
            continue
        model = pooled(2, size, kernel_shape=kernel, strides=strides, pads=[*begin, *end], ceil_mode=ceil)
        rng = np.random.default_rng(tried)
        # Negative numbers, too: beside a padding that counted as 0 they would lose.
        x = np.round(rng.standard_normal((2, 2, *size)) - 0.5).astype(np.float32)
        (y,) = evaluate(model, {"x": x}, ["y"])
        u = np.round(4 * rng.standard_normal(y.shape)).astype(np.float32)
        gradient = with_gradient(model)
        assert not {"ScatterElements", "Where"} & {node.op_type for node in gradient.graph}
        (dx,) = evaluate(gradient, {"x": x, "cotangent": u}, ["d_x"])
        np.testing.assert_array_equal(dx, first_of_largest(x, u, kernel, strides, begin))
        tried += 1
    assert tried >= 4


def test_for_cuda_indices_are_used() -> None:
    model = pooled(2, (6, 6), kernel_shape=[3, 3], strides=[2, 2])
    gradient = with_gradient(model, device="cuda")
    assert "ScatterElements" in {node.op_type for node in gradient.graph}
    x = np.random.default_rng(0).standard_normal((2, 2, 6, 6)).astype(np.float32)
    u = np.ones((2, 2, 2, 2), np.float32)
    (expected,) = evaluate(gradient, {"x": x, "cotangent": u}, ["d_x"])
    (dx,) = evaluate(with_gradient(model), {"x": x, "cotangent": u}, ["d_x"])
    np.testing.assert_array_equal(dx, expected)


def test_dilated_pools_use_indices() -> None:
    model = pooled(2, (7, 7), kernel_shape=[2, 2], strides=[1, 1], dilations=[2, 2])
    assert "ScatterElements" in {node.op_type for node in with_gradient(model).graph}


@pytest.mark.parametrize(("kernel", "strides"), [([14, 14], [1, 1]), ([4, 4], [4, 4])])
def test_pools_that_would_take_many_nodes_use_indices(kernel: list[int], strides: list[int]) -> None:
    model = pooled(2, (16, 16), kernel_shape=kernel, strides=strides)
    gradient = with_gradient(model)
    assert "ScatterElements" in {node.op_type for node in gradient.graph}
    assert len(gradient.graph) < 20
