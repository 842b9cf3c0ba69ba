"""Pools that take the largest pixel. The oracle goes from window to window, as the definition does."""

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


def pool(
    operator: str,
    shape: Sequence[int],
    *,
    symbolic: bool = False,
    outputs: Sequence[str] = ("y",),
    dtype: int = TensorProto.FLOAT,
    opset: int = 18,
    **attributes: Any,
) -> ir.Model:
    sizes = [size if i == 1 or not symbolic else f"d{i}" for i, size in enumerate(shape)]
    types = {"y": dtype, "indices": TensorProto.INT64}
    graph = helper.make_graph(
        [helper.make_node(operator, ["x"], list(outputs), name="node", **attributes)],
        "one",
        [helper.make_tensor_value_info("x", dtype, sizes)],
        [helper.make_tensor_value_info(name, types[name], None) for name in outputs],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)
    return ir.from_proto(onnx.shape_inference.infer_shapes(made))


def first_of_largest(
    x: NDArray[Any],
    u: NDArray[Any],
    kernel: Sequence[int],
    strides: Sequence[int],
    dilations: Sequence[int],
    begin: Sequence[int],
) -> NDArray[Any]:
    dx = np.zeros_like(x)
    for n, c, *window in np.ndindex(*u.shape):
        places = []
        for tap in np.ndindex(*kernel):
            at = tuple(
                w * s + t * d - p
                for w, s, t, d, p in zip(window, strides, tap, dilations, begin, strict=True)
            )
            if all(0 <= a < size for a, size in zip(at, x.shape[2:], strict=True)):
                places.append((n, c, *at))
        winner = max(places, key=lambda place: x[place])
        dx[winner] += u[n, c, *window]
    return dx


def gradients(
    made: ir.Model, x: NDArray[Any], outputs: Sequence[str] = ("y",)
) -> tuple[NDArray[Any], NDArray[Any], list[NDArray[Any]]]:
    """The cotangent, its dx, and what the gradient model says of ``outputs``."""
    (y,) = evaluate(made, {"x": x}, ["y"])
    u = np.random.default_rng(1).integers(1, 9, y.shape).astype(x.dtype)
    gradient = with_gradient(made, of="y")
    fed = {"x": x, gradient_names(gradient)["cotangent"]: u}
    dx, *rest = evaluate(gradient, fed, ["d_x", *outputs])
    return u, dx, rest


@pytest.mark.parametrize("symbolic", [False, True])
@pytest.mark.parametrize("ceil", [0, 1])
def test_max_pool_with_ties(symbolic: bool, ceil: int) -> None:
    pads = ((0, 0, 0, 0), (1, 1, 1, 1), (1, 0, 0, 1))
    for kernel, pad, stride, dilation, size in itertools.product(
        ((3, 2), (2, 2)), pads, ((1, 1), (2, 2), (3, 2)), (1, 2), ((9, 10), (8, 8))
    ):
        x = np.random.default_rng(0).integers(0, 3, (2, 2, *size)).astype(np.float32)
        made = pool(
            "MaxPool",
            x.shape,
            symbolic=symbolic,
            opset=22,
            kernel_shape=kernel,
            pads=pad,
            strides=stride,
            dilations=[dilation, dilation],
            ceil_mode=ceil,
        )
        u, dx, _ = gradients(made, x)
        expected = first_of_largest(x, u, kernel, stride, [dilation] * 2, pad[:2])
        np.testing.assert_array_equal(dx, expected, err_msg=str((kernel, pad, stride, dilation, size)))


@pytest.mark.parametrize("symbolic", [False, True])
@pytest.mark.parametrize("shape", [(2, 2, 8), (2, 2, 4, 6), (1, 2, 4, 4, 6)])
def test_max_pool_of_all_ranks(shape: tuple[int, ...], symbolic: bool) -> None:
    rank = len(shape) - 2
    x = np.random.default_rng(0).integers(0, 3, shape).astype(np.float32)
    for size, stride in ((2, 2), (3, 2)):
        made = pool("MaxPool", shape, symbolic=symbolic, kernel_shape=[size] * rank, strides=[stride] * rank)
        u, dx, _ = gradients(made, x)
        expected = first_of_largest(x, u, [size] * rank, [stride] * rank, [1] * rank, [0] * rank)
        np.testing.assert_array_equal(dx, expected)


@pytest.mark.parametrize("stride", [1, 2])
def test_max_pool_tie_goes_to_the_first(stride: int) -> None:
    x = np.zeros((1, 1, 4, 4), np.float32)
    _, dx, _ = gradients(pool("MaxPool", x.shape, kernel_shape=[2, 2], strides=[stride, stride]), x)
    rows, columns = np.nonzero(dx[0, 0])
    expected = {(i, j) for i in range(0, 3, stride) for j in range(0, 3, stride)}
    assert set(zip(rows.tolist(), columns.tolist(), strict=True)) == expected


@pytest.mark.parametrize("storage_order", [0, 1])
def test_max_pool_whose_indices_are_an_output_keeps_them(storage_order: int) -> None:
    x = np.random.default_rng(0).integers(0, 3, (2, 2, 6, 7)).astype(np.float32)
    made = pool(
        "MaxPool",
        x.shape,
        outputs=["y", "indices"],
        kernel_shape=[3, 3],
        strides=[2, 2],
        storage_order=storage_order,
    )
    (before,) = evaluate(made, {"x": x}, ["indices"])
    u, dx, (after,) = gradients(made, x, ["indices"])
    np.testing.assert_array_equal(after, before)
    np.testing.assert_array_equal(dx, first_of_largest(x, u, [3, 3], [2, 2], [1, 1], [0, 0]))


@pytest.mark.parametrize("dtype", [TensorProto.FLOAT16, TensorProto.DOUBLE])
@pytest.mark.parametrize("size", [2, 3])
def test_max_pool_of_other_types(dtype: int, size: int) -> None:
    x = np.random.default_rng(0).integers(0, 3, (2, 2, 6, 6)).astype(helper.tensor_dtype_to_np_dtype(dtype))
    made = pool("MaxPool", x.shape, dtype=dtype, kernel_shape=[size] * 2, strides=[2, 2])
    u, dx, _ = gradients(made, x)
    assert dx.dtype == x.dtype
    np.testing.assert_array_equal(dx, first_of_largest(x, u, [size] * 2, [2, 2], [1, 1], [0, 0]))


@pytest.mark.parametrize("symbolic", [False, True])
@pytest.mark.parametrize("shape", [(2, 3, 9), (2, 3, 4, 5), (2, 3, 3, 2, 4)])
def test_global_max_pool_tie_goes_to_the_first(shape: tuple[int, ...], symbolic: bool) -> None:
    x = np.random.default_rng(0).integers(0, 3, shape).astype(np.float32)
    u, dx, _ = gradients(pool("GlobalMaxPool", shape, symbolic=symbolic), x)
    rank = len(shape) - 2
    np.testing.assert_array_equal(dx, first_of_largest(x, u, shape[2:], [1] * rank, [1] * rank, [0] * rank))


@pytest.mark.parametrize("symbolic", [False, True])
@pytest.mark.parametrize(
    ("operator", "attributes"),
    [
        ("MaxPool", {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}),
        ("MaxPool", {"kernel_shape": [2, 2], "strides": [2, 2]}),
        ("GlobalMaxPool", {}),
    ],
)
def test_second_gradient_gathers(operator: str, attributes: dict[str, Any], symbolic: bool) -> None:
    x = np.random.default_rng(0).permutation(72).reshape(1, 2, 6, 6).astype(np.float32)
    made = pool(operator, x.shape, symbolic=symbolic, **attributes)
    first = with_gradient(made)
    seed = gradient_names(first)["cotangent"]
    (y,) = evaluate(made, {"x": x}, ["y"])
    second = with_gradient(first, of="d_x", wrt=[seed])
    named = gradient_names(second)
    (du,) = evaluate(
        second, {"x": x, seed: np.ones_like(y), named["cotangent"]: x}, [named["gradients"][seed]]
    )
    np.testing.assert_array_equal(
        du, y
    )  # of the cotangent that is x itself, each window asks for its largest


def unpool(shape: Sequence[int], *, stated: Sequence[int] | None = None, **attributes: Any) -> ir.Model:
    inputs = [
        helper.make_tensor_value_info("x", TensorProto.FLOAT, shape),
        helper.make_tensor_value_info("indices", TensorProto.INT64, shape),
    ]
    weights = (
        [] if stated is None else [helper.make_tensor("shape", TensorProto.INT64, [len(stated)], stated)]
    )
    names = ["x", "indices", *(weight.name for weight in weights)]
    graph = helper.make_graph(
        [helper.make_node("MaxUnpool", names, ["y"], name="node", **attributes)],
        "one",
        inputs,
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, stated)],
        weights,
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    return ir.from_proto(onnx.shape_inference.infer_shapes(made))


@pytest.mark.parametrize("stated", [None, (1, 2, 6, 8)])
def test_max_unpool(stated: Sequence[int] | None) -> None:
    rng = np.random.default_rng(0)
    made = unpool((1, 2, 3, 4), stated=stated, kernel_shape=[2, 2], strides=[2, 2])
    feeds: dict[str, NDArray[Any]] = {
        "x": rng.standard_normal((1, 2, 3, 4)).astype(np.float32),
        "indices": rng.permutation(96)[:24].reshape(1, 2, 3, 4),
    }
    assert check_vjp(made, feeds, difference_engine="runtime", steps=(2, 1, 0.5)).error < 2e-5


def test_max_unpool_of_two_pixels_to_one_place_asks_the_last() -> None:
    made = unpool((1, 1, 2, 2), kernel_shape=[2, 2])
    feeds = {
        "x": np.arange(4, dtype=np.float32).reshape(1, 1, 2, 2),
        "indices": np.array([[[[4, 4], [1, 4]]]]),
    }
    gradient = with_gradient(made)
    u = np.arange(9, dtype=np.float32).reshape(1, 1, 3, 3)
    y, dx = evaluate(gradient, {**feeds, gradient_names(gradient)["cotangent"]: u}, ["y", "d_x"])
    assert y[0, 0, 1, 1] == 3
    assert dx.ravel().tolist() == [0, 0, 1, 4]


def test_max_unpool_to_another_size_is_refused() -> None:
    made = unpool((1, 1, 2, 2), stated=(1, 1, 5, 5), kernel_shape=[2, 2], strides=[2, 2])
    with pytest.raises(UnsupportedOperator, match="output_shape differs from the size that its window gives"):
        with_gradient(made)
