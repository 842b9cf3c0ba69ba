"""Tests for the rules that order elements."""

from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from specprobe.autodiff import with_gradient
from specprobe.testing.adjoint import Arrays, adjoint_gap, one_node, whole
from specprobe.testing.gradient_check import evaluate


def ints(*values: int) -> "np.ndarray[Any, np.dtype[np.int64]]":
    return np.asarray(values, np.int64)


@pytest.mark.parametrize("symbolic", [False, True], ids=["static", "symbolic"])
@pytest.mark.parametrize("axis", [None, 0, 1, -1])
def test_compress(axis: int | None, *, symbolic: bool) -> None:
    attributes = {} if axis is None else {"axis": axis}
    arrays: Arrays = {"x": whole(3, 4, 5), "condition": np.asarray([False, True, True])}
    model = one_node("Compress", arrays, constant=True, symbolic=symbolic, **attributes)
    assert adjoint_gap(model, arrays) == 0


def test_compress_that_keeps_nothing() -> None:
    arrays: Arrays = {"x": whole(3, 4), "condition": np.asarray([False, False, False])}
    assert adjoint_gap(one_node("Compress", arrays, constant=False, symbolic=True, axis=0), arrays) == 0


def top(k: int, shape: str, *, largest: int = 1, axis: int = -1) -> ir.Model:
    text = f"""<ir_version: 10, opset_import: ["" : 18]> f (float[{shape}] x) => (y, index) <int64[1] k = {{{k}}}> {{
        y, index = TopK<axis={axis}, largest={largest}>(x, k)
    }}"""
    return ir.from_onnx_text(text)


@pytest.mark.parametrize("shape", ["3, 4, 5", "N, C, W"])
@pytest.mark.parametrize("largest", [0, 1])
@pytest.mark.parametrize(("axis", "k"), [(0, 1), (1, 3), (-1, 5), (-1, 0)])
def test_top_k(axis: int, k: int, largest: int, shape: str) -> None:
    x = np.random.default_rng(0).permutation(60).reshape(3, 4, 5).astype(np.float32)
    assert adjoint_gap(top(k, shape, largest=largest, axis=axis), {"x": x}) == 0


def test_top_k_tie_goes_to_the_first() -> None:
    feeds = {"x": np.asarray([1, 3, 3, 3], np.float32), "cotangent": np.asarray([5, 7], np.float32)}
    assert evaluate(with_gradient(top(2, "N"), of="y"), feeds, ["d_x"])[0].tolist() == [0, 5, 7, 0]


@pytest.mark.parametrize("ordered", [0, 1])
@pytest.mark.parametrize("axis", [None, 0, 1, -1])
def test_unique(axis: int | None, ordered: int) -> None:
    attributes: dict[str, Any] = {"sorted": ordered} | ({} if axis is None else {"axis": axis})
    arrays: Arrays = {"x": np.random.default_rng(0).permutation(24).reshape(2, 3, 4).astype(np.float32)}
    model = one_node("Unique", arrays, constant=True, symbolic=True, **attributes)
    assert adjoint_gap(model, arrays) == 0


@pytest.mark.parametrize("named", ["y", "y, , inverse", "y, first"])
def test_unique_of_equal_elements_goes_to_the_first(named: str) -> None:
    text = (
        f'<ir_version: 10, opset_import: ["" : 18]> f (float[4] x) => (float[M] y) {{ {named} = Unique(x) }}'
    )
    gradient = with_gradient(ir.from_onnx_text(text))
    feeds = {"x": np.asarray([3, 1, 3, 1], np.float32), "cotangent": np.asarray([5, 7], np.float32)}
    assert evaluate(gradient, feeds, ["d_x"])[0].tolist() == [7, 5, 0, 0]


@pytest.mark.parametrize("time", [0, 1, None])
def test_reverse_sequence(time: int | None) -> None:
    arrays: Arrays = {"x": whole(4, 4, 3), "lengths": ints(1, 4, 2, 3)}
    attributes = {} if time is None else {"time_axis": time, "batch_axis": 1 - time}
    model = one_node("ReverseSequence", arrays, constant=False, symbolic=True, **attributes)
    assert adjoint_gap(model, arrays) == 0
