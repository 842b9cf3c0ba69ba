"""Tests for the rules that write into a tensor."""

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from specprobe.autodiff import with_gradient
from specprobe.testing.adjoint import Arrays, adjoint_gap, one_node, whole
from specprobe.testing.gradient_check import check_vjp, evaluate


def ints(*values: int) -> "np.ndarray[Any, np.dtype[np.int64]]":
    return np.asarray(values, np.int64)


def uneven(*shape: int, seed: int = 0) -> "np.ndarray[Any, np.dtype[np.float32]]":
    """All different in size, none near 0."""
    count = int(np.prod(shape))
    return (0.5 + np.random.default_rng(seed).permutation(count) / count).reshape(shape).astype(np.float32)


def elements(reduction: str, *, symbolic: bool, axis: int = 1) -> tuple[ir.Model, Arrays]:
    index = np.asarray([[0, 1, 3], [2, -1, 0]])
    if reduction != "none":
        index = np.asarray([[0, 0, -1], [2, 2, 2]])
    updates = uneven(2, 3, seed=1) + np.float32(0.013)
    arrays: Arrays = {"data": uneven(2, 4), "index": index, "updates": updates}
    made = one_node(
        "ScatterElements", arrays, constant=True, symbolic=symbolic, axis=axis, reduction=reduction
    )
    return made, arrays


def rows(reduction: str, *, symbolic: bool) -> tuple[ir.Model, Arrays]:
    index = np.asarray([[[0, 1]], [[1, -1]]]) if reduction == "none" else np.asarray([[[0, 1]], [[0, -2]]])
    arrays: Arrays = {
        "data": uneven(2, 3, 4),
        "index": index,
        "updates": uneven(2, 1, 4, seed=1) + np.float32(0.013),
    }
    return one_node("ScatterND", arrays, constant=True, symbolic=symbolic, reduction=reduction), arrays


@pytest.mark.parametrize("symbolic", [False, True], ids=["static", "symbolic"])
@pytest.mark.parametrize("reduction", ["none", "add", "mul", "max", "min"])
@pytest.mark.parametrize("make", [elements, rows])
def test_against_differences(
    make: Callable[..., tuple[ir.Model, Arrays]], reduction: str, *, symbolic: bool
) -> None:
    model, arrays = make(reduction, symbolic=symbolic)
    arrays.pop("index")
    for wrt in (["data"], ["updates"], ["data", "updates"]):
        assert check_vjp(model, arrays, wrt=wrt).error < 2e-5
    assert check_vjp(model, arrays, engine="reference").error < 1e-7


@pytest.mark.parametrize("reduction", ["mul", "max"])
@pytest.mark.parametrize("make", [elements, rows])
def test_second_derivative(make: Callable[..., tuple[ir.Model, Arrays]], reduction: str) -> None:
    model, arrays = make(reduction, symbolic=True)
    arrays.pop("index")
    gradient = with_gradient(model)
    for node in gradient.graph:
        node.name = None
    (y,) = evaluate(model, arrays, ["y"])
    feeds = {**arrays, "cotangent": uneven(*y.shape, seed=2)}
    for of in ("d_data", "d_updates"):
        wrt = ["updates", "cotangent"] if reduction == "mul" else ["cotangent"]
        assert check_vjp(gradient, feeds, of=of, wrt=wrt).error < 2e-5


@pytest.mark.parametrize("axis", [0, 1, -2])
def test_scatter_elements_along_each_axis(axis: int) -> None:
    index = np.asarray([[0, 1, 1], [1, 0, 0]])
    arrays: Arrays = {"data": whole(2, 3), "index": index, "updates": whole(2, 3, seed=1)}
    if axis == 1:
        arrays["index"] = np.asarray([[0, 1, 2], [1, 2, 0]])
    model = one_node("ScatterElements", arrays, constant=False, symbolic=True, axis=axis)
    assert adjoint_gap(model, arrays) == 0


@pytest.mark.parametrize("factors", [[2, 0, 3], [0, 0, 3], [2, 5, 3]], ids=str)
def test_product_with_zeros_is_exact(factors: list[int]) -> None:
    arrays: Arrays = {
        "data": np.asarray([7, 1], np.float32),
        "index": ints(0, 0, 0),
        "updates": np.asarray(factors, np.float32),
    }
    model = one_node("ScatterElements", arrays, constant=True, symbolic=False, reduction="mul")
    feeds = {**arrays, "cotangent": np.ones(2, np.float32)}
    data, updates = evaluate(
        with_gradient(model), {k: v for k, v in feeds.items() if k != "index"}, ["d_data", "d_updates"]
    )
    assert data.tolist() == [np.prod(factors), 1]
    assert updates.tolist() == [7 * np.prod(factors[:i] + factors[i + 1 :]) for i in range(3)]


def test_equal_maxima_share() -> None:
    arrays: Arrays = {
        "data": np.asarray([3, 1, 2], np.float32),
        "index": ints(0, 1, 1, 1),
        "updates": np.asarray([3, 5, 5, 4], np.float32),
    }
    model = one_node("ScatterElements", arrays, constant=True, symbolic=False, reduction="max")
    feeds = {
        "data": arrays["data"],
        "updates": arrays["updates"],
        "cotangent": np.asarray([8, 6, 4], np.float32),
    }
    data, updates = evaluate(with_gradient(model), feeds, ["d_data", "d_updates"])
    assert data.tolist() == [4, 0, 4]
    assert updates.tolist() == [4, 3, 3, 0]


@pytest.mark.parametrize("mode", ["linear", "circular"])
@pytest.mark.parametrize("starts", [None, [1, 2]], ids=str)
@pytest.mark.parametrize("axis", [1, -2])
def test_tensor_scatter(mode: str, starts: list[int] | None, axis: int) -> None:
    arrays: Arrays = {
        "cache": whole(2, 3, 5, 4),
        "update": whole(2, *((2, 5) if axis == 1 else (3, 2)), 4, seed=1),
    }
    if starts is not None:
        arrays["starts"] = ints(*(s if mode == "circular" or axis == -2 else min(s, 1) for s in starts))
    model = one_node("TensorScatter", arrays, constant=False, symbolic=True, axis=axis, mode=mode)
    model.opset_imports[""] = 24
    assert adjoint_gap(model, arrays) == 0
