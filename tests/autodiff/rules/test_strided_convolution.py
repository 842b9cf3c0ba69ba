"""Adjoints of strided convolutions by phases, against a transposed convolution's: what they compute for CUDA."""

import itertools
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

from specprobe.autodiff import with_gradient
from specprobe.testing.evaluation import evaluate
from specprobe.testing.gradient_check import check_vjp


def convolution(into: int, out: int, size: tuple[int, int], *, group: int = 1, **attributes: Any) -> ir.Model:
    kernel = attributes["kernel_shape"]
    w = np.random.default_rng(1).standard_normal((out, into // group, *kernel)).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("Conv", ["x", "w"], ["y"], group=group, **attributes)],
        "convolution",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", into, *size])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(w, "w")],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    return ir.from_proto(onnx.shape_inference.infer_shapes(made))


@pytest.mark.parametrize(("into", "out", "group"), [(3, 4, 1), (16, 4, 1), (16, 16, 16), (16, 8, 4)])
@pytest.mark.parametrize("kernel", [[1, 1], [2, 2], [3, 3], [7, 7], [1, 3], [2, 5]])
@pytest.mark.parametrize("strides", [[2, 2], [1, 2], [3, 3], [4, 2]])
def test_phases_are_the_transposed_convolution(
    into: int, out: int, group: int, kernel: list[int], strides: list[int]
) -> None:
    for size, begin, end in itertools.product(((8, 8), (9, 7)), (0, 1), (0, 2)):
        pads = [min(begin, k - 1) for k in kernel] + [min(end, k - 1) for k in kernel]
        if any(n + p + q < k for n, p, q, k in zip(size, pads[:2], pads[2:], kernel, strict=True)):
            continue
        model = convolution(into, out, size, group=group, kernel_shape=kernel, strides=strides, pads=pads)
        x = np.zeros((2, into, *size), np.float32)
        (y,) = evaluate(model, {"x": x}, ["y"])
        u = np.random.default_rng(0).standard_normal(y.shape).astype(np.float32)
        feeds = {"x": x, "cotangent": u}
        gradients = [with_gradient(model, device=device) for device in ("cpu", "cuda")]
        used = [{node.op_type for node in gradient.graph} for gradient in gradients]
        assert "ConvTranspose" not in used[0]
        assert "Resize" not in used[1]
        dx, expected = (evaluate(gradient, feeds, ["d_x"])[0] for gradient in gradients)
        np.testing.assert_allclose(dx, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("into", "group"), [(3, 1), (32, 1), (32, 32)])
def test_patches_take_few_nodes(into: int, group: int) -> None:
    """What vision transformers begin with has as many phases as a patch has pixels."""
    model = convolution(into, 32, (24, 24), group=group, kernel_shape=[8, 8], strides=[8, 8])
    gradients = [with_gradient(model, device=device) for device in ("cpu", "cuda")]
    assert max(len(gradient.graph) for gradient in gradients) < 20
    feeds = {
        "x": np.zeros((2, into, 24, 24), np.float32),
        "cotangent": np.random.default_rng(0).standard_normal((2, 32, 3, 3)).astype(np.float32),
    }
    dx, expected = (evaluate(gradient, feeds, ["d_x"])[0] for gradient in gradients)
    np.testing.assert_allclose(dx, expected, rtol=1e-5, atol=1e-5)


def test_second_gradient_with_respect_to_the_kernel() -> None:
    model = convolution(3, 4, (7, 6), kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4)
    first = with_gradient(model)
    feeds = {
        "x": np.zeros((2, 3, 7, 6), np.float32),
        "cotangent": np.random.default_rng(0).standard_normal((2, 4, 4, 3)).astype(np.float32),
    }
    weights = {name: v.const_value.numpy() for name, v in first.graph.initializers.items() if v.const_value}
    assert weights["w"].shape == (4, 3, 3, 3)
    second = with_gradient(first, of="d_x", wrt="w")
    (product,) = evaluate(second, {**feeds, "cotangent_1": np.ones((2, 3, 7, 6), np.float32)}, ["d_w"])
    # d_x is linear in w, so its derivative along w is d_x itself.
    (dx,) = evaluate(first, feeds, ["d_x"])
    np.testing.assert_allclose(np.sum(product * weights["w"]), np.sum(dx), rtol=1e-4)


def test_open_sizes_are_left_to_a_transposed_convolution() -> None:
    model = convolution(3, 4, (7, 6), kernel_shape=[3, 3], strides=[2, 2])
    model.graph.inputs[0].shape = ir.Shape(["N", 3, "H", "W"])
    for node in model.graph:
        node.outputs[0].shape = None
    gradient = with_gradient(model)
    assert "ConvTranspose" in {node.op_type for node in gradient.graph}
    x = np.random.default_rng(0).standard_normal((2, 3, 7, 6)).astype(np.float32)
    assert check_vjp(model, {"x": x}).error < 1e-5
