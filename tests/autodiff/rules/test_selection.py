"""Tests for the rules that pick elements. All are linear: the adjoint identity is exact in whole numbers."""

from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from specprobe.autodiff import with_gradient
from specprobe.errors import UnsupportedOperator
from specprobe.testing.adjoint import Arrays, adjoint_gap, one_node, whole
from specprobe.testing.gradient_check import check_vjp


def ints(*values: int) -> "np.ndarray[Any, np.dtype[np.int64]]":
    return np.asarray(values, np.int64)


@pytest.fixture(params=["static", "symbolic"])
def symbolic(request: pytest.FixtureRequest) -> bool:
    return bool(request.param == "symbolic")


@pytest.fixture(params=["constant", "computed"])
def constant(request: pytest.FixtureRequest) -> bool:
    return bool(request.param == "constant")


@given(
    sizes=st.lists(st.sampled_from([1, 2, 6, 7]), min_size=1, max_size=3),
    data=st.data(),
    constant=st.booleans(),
    symbolic=st.booleans(),
)
@pytest.mark.slow
@settings(max_examples=200, deadline=None, derandomize=True)
def test_slice_is_put_back(sizes: list[int], data: st.DataObject, *, constant: bool, symbolic: bool) -> None:
    axes = data.draw(st.permutations(range(len(sizes))))[: data.draw(st.integers(1, len(sizes)))]
    numbers = st.integers(-9, 9)
    steps = [data.draw(st.sampled_from([1, 1, 2, 3, 100, -1, -2, -3])) for _ in axes]
    arrays: Arrays = {
        "x": whole(*sizes),
        "starts": ints(*(data.draw(numbers) for _ in axes)),
        "ends": ints(
            *(
                data.draw(numbers) if data.draw(st.booleans()) else (2**63 - 1) * (1 if s > 0 else -1)
                for s in steps
            )
        ),
        "axes": ints(*(a - len(sizes) * data.draw(st.booleans()) for a in axes)),
        "steps": ints(*steps),
    }
    assert adjoint_gap(one_node("Slice", arrays, constant=constant, symbolic=symbolic), arrays) == 0


@pytest.mark.parametrize(
    ("start", "end", "step"), [(3, 3, 1), (6, 9, 1), (0, 5, -100), (5, 5, -2), (4, 1, 3)]
)
def test_slice_of_nothing(start: int, end: int, step: int, *, constant: bool, symbolic: bool) -> None:
    bounds = {"starts": start, "ends": end, "axes": 1, "steps": step}
    arrays: Arrays = {"x": whole(2, 6), **{name: ints(value) for name, value in bounds.items()}}
    model = one_node("Slice", arrays, constant=constant, symbolic=symbolic)
    assert adjoint_gap(model, arrays) == 0


@pytest.mark.parametrize("kind", [np.int32, np.int64])
def test_slice_without_axes(kind: type, *, constant: bool, symbolic: bool) -> None:
    arrays: Arrays = {
        "x": whole(5, 4, 3),
        "starts": np.asarray([1, -2], kind),
        "ends": np.asarray([4, 99], kind),
    }
    assert adjoint_gap(one_node("Slice", arrays, constant=constant, symbolic=symbolic), arrays) == 0


def test_slice_by_as_many_starts_as_an_input_has() -> None:
    text = """<ir_version: 10, opset_import: ["" : 18]>
    f (float[N, C, W] x, int64[K] starts, int64[K] ends) => (float[P, Q, R] y) { y = Slice(x, starts, ends) }"""
    arrays: Arrays = {"x": whole(5, 4, 3), "starts": ints(1, -2), "ends": ints(4, 99)}
    assert adjoint_gap(ir.from_onnx_text(text), arrays) == 0


def test_slice_at_a_size_that_another_node_computes() -> None:
    text = """<ir_version: 10, opset_import: ["" : 18]> f (float[N, C, W] x, float[M] like) => (float[P, Q, R] y)
    <int64[1] zero = {0}, int64[1] axis = {2}> { end = Shape(like) y = Slice(x, zero, end, axis) }"""
    arrays: Arrays = {"x": whole(2, 3, 5), "like": whole(4)}
    assert adjoint_gap(ir.from_onnx_text(text), arrays, wrt={"x": ""}) == 0


def test_slice_of_static_sizes_is_one_pad() -> None:
    arrays: Arrays = {"x": whole(2, 7), "starts": ints(-4), "ends": ints(6), "axes": ints(1)}
    gradient = with_gradient(one_node("Slice", arrays, constant=True, symbolic=False))
    assert [node.op_type for node in gradient.graph] == ["Slice", "Pad", "Identity"]


def test_pixel_unshuffle_by_slices(*, symbolic: bool) -> None:
    text = f"""<ir_version: 10, opset_import: ["" : 18]> f (float[N, 2, {"H, W" if symbolic else "6, 4"}] x) => (float[N, 4, P, Q] y)
    <int64[2] zero = {{0, 0}}, int64[2] odd = {{1, 0}}, int64[2] far = {{9999, 9999}}, int64[2] axes = {{2, 3}}, int64[2] two = {{2, 2}}> {{
        a = Slice(x, zero, far, axes, two)
        b = Slice(x, odd, far, axes, two)
        y = Concat<axis=1>(a, b)
    }}"""
    assert adjoint_gap(ir.from_onnx_text(text), {"x": whole(1, 2, 6, 4)}) == 0


@given(
    sizes=st.lists(st.integers(1, 4), min_size=1, max_size=3),
    shape=st.lists(st.integers(1, 3), max_size=2),
    data=st.data(),
    constant=st.booleans(),
    symbolic=st.booleans(),
)
@pytest.mark.slow
@settings(max_examples=150, deadline=None, derandomize=True)
def test_gather_is_summed_back(
    sizes: list[int], shape: list[int], data: st.DataObject, *, constant: bool, symbolic: bool
) -> None:
    axis = data.draw(st.integers(-len(sizes), len(sizes) - 1))
    size, count = sizes[axis], int(np.prod(shape))
    index = data.draw(st.lists(st.integers(-size, size - 1), min_size=count, max_size=count))
    arrays: Arrays = {"x": whole(*sizes), "index": np.asarray(index, np.int64).reshape(shape)}
    assert (
        adjoint_gap(one_node("Gather", arrays, constant=constant, symbolic=symbolic, axis=axis), arrays) == 0
    )


@pytest.mark.parametrize(
    "index",
    [[1, 2, 3], [-3, -2, -1], [-1, 0], [3, 2, 1, 0], [0, 0, 0, 0, 0, 1], [2, 2, 1], [0, 1, 2, 3], []],
    ids=str,
)
def test_gather_with_an_index_of_a_certain_kind(index: list[int], *, constant: bool, symbolic: bool) -> None:
    arrays: Arrays = {"x": whole(2, 4, 3), "index": ints(*index)}
    assert adjoint_gap(one_node("Gather", arrays, constant=constant, symbolic=symbolic, axis=1), arrays) == 0


def test_gather_of_the_class_token_is_one_pad() -> None:
    arrays: Arrays = {"x": whole(2, 5, 3), "index": np.asarray(0)}
    gradient = with_gradient(one_node("Gather", arrays, constant=True, symbolic=False, axis=1))
    assert [node.op_type for node in gradient.graph] == ["Gather", "Unsqueeze", "Pad", "Identity"]


def test_gather_by_a_permutation_is_a_gather() -> None:
    arrays: Arrays = {"x": whole(2, 4, 3), "index": ints(2, 0, 3, 1)}
    gradient = with_gradient(one_node("Gather", arrays, constant=True, symbolic=False, axis=1))
    assert [node.op_type for node in gradient.graph] == ["Gather", "Gather", "Identity"]


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_gather_elements(axis: int, *, constant: bool, symbolic: bool) -> None:
    index = np.random.default_rng(0).integers(-3, 3, (2, 3, 3))
    arrays: Arrays = {"x": whole(3, 4, 5), "index": index}
    model = one_node("GatherElements", arrays, constant=constant, symbolic=symbolic, axis=axis)
    assert adjoint_gap(model, arrays) == 0


@pytest.mark.parametrize("half", [False, True], ids=["single", "half"])
def test_gather_elements_adds_what_was_picked_twice(*, half: bool) -> None:
    kind = "float16" if half else "float"
    text = f"""<ir_version: 10, opset_import: ["" : 18]> f ({kind}[3] x, int64[5] i) => ({kind}[5] y) {{
        y = GatherElements(x, i)
    }}"""
    arrays: Arrays = {"x": whole(3).astype(np.float16 if half else np.float32), "i": ints(0, 2, 0, -1, 0)}
    assert adjoint_gap(ir.from_onnx_text(text), arrays) == 0


@pytest.mark.parametrize(
    ("batch", "shape"),
    [(0, (2,)), (0, (3, 1)), (0, (2, 3, 3)), (1, (2, 1)), (1, (2, 4, 2)), (2, (2, 3, 2, 1))],
)
def test_gather_nd(batch: int, shape: tuple[int, ...], *, constant: bool, symbolic: bool) -> None:
    index = np.random.default_rng(0).integers(-2, 2, shape)
    arrays: Arrays = {"x": whole(2, 3, 4), "index": index}
    model = one_node("GatherND", arrays, constant=constant, symbolic=symbolic, batch_dims=batch)
    assert adjoint_gap(model, arrays) == 0


def test_gather_nd_with_an_open_depth_is_refused() -> None:
    text = """<ir_version: 10, opset_import: ["" : 18]> f (float[N, M] x, int64[K, D] i) => (float[K] y) {
        y = GatherND(x, i)
    }"""
    with pytest.raises(UnsupportedOperator, match="last axis is open"):
        with_gradient(ir.from_onnx_text(text))


@pytest.mark.parametrize("upper", [0, 1])
@pytest.mark.parametrize("k", [-1, 0, 2])
def test_trilu(upper: int, k: int, *, constant: bool, symbolic: bool) -> None:
    arrays: Arrays = {"x": whole(2, 3, 4), "k": np.asarray(k)}
    model = one_node("Trilu", arrays, constant=constant, symbolic=symbolic, upper=upper)
    assert adjoint_gap(model, arrays) == 0


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_one_hot_is_differentiable_in_its_values(axis: int, *, constant: bool) -> None:
    arrays: Arrays = {"index": ints(0, 2, -1, 7), "depth": np.asarray(3), "values": whole(2)}
    model = one_node("OneHot", arrays, constant=constant, symbolic=False, axis=axis)
    assert adjoint_gap(model, arrays) == 0


def between_transposes(middle: str, dims: str) -> ir.Model:
    """Where the optimizer of onnxruntime 1.31 breaks every ``Pad`` with the input ``axes``."""
    return ir.from_onnx_text(f"""<ir_version: 10, opset_import: ["" : 18]>
    f (float[{dims}] x) => (float[P, Q, R, S] y)
    <int64[1] axis = {{1}}, int64[1] one = {{1}}, int64[1] two = {{2}}, int64[1] three = {{3}}, int64[1] far = {{99}}> {{
        a = Transpose<perm=[0, 2, 3, 1]>(x)
        {middle}
        y = Transpose<perm=[0, 3, 1, 2]>(b)
    }}""")


@pytest.mark.parametrize("dims", ["2, 4, 5, 6", "N, C, H, W"], ids=["static", "symbolic"])
@pytest.mark.parametrize(
    "middle",
    [
        "b = Slice(a, one, three, axis)",
        "minus = Constant<value_ints=[-1]>() b = Slice(a, minus, far, axis)",
        "shape = Shape<start=1, end=2>(a) start = Sub(shape, two) b = Slice(a, start, far, axis)",
        "b = Slice(a, one, far, axis, two)",
        "back = Constant<value_ints=[-2]>() zero = Constant<value_ints=[0]>() b = Slice(a, three, zero, axis, back)",
        "i = Constant<value_ints=[1, 2]>() b = Gather<axis=1>(a, i)",
        "i = Constant<value_ints=[3, 0]>() b = Gather<axis=1>(a, i)",
        "i = Constant<value_int=-2>() g = Gather<axis=1>(a, i) b = Unsqueeze(g, axis)",
    ],
    ids=[
        "slice",
        "slice-last",
        "slice-computed",
        "slice-step",
        "slice-back",
        "gather-run",
        "gather",
        "gather-one",
    ],
)
def test_between_transposes(middle: str, dims: str) -> None:
    model, arrays = between_transposes(middle, dims), {"x": whole(2, 4, 5, 6)}
    assert adjoint_gap(model, arrays) == 0
    assert check_vjp(model, arrays).error < 2e-5


@pytest.mark.parametrize("axes", ["3, 1", "-1, 0", "2"])
def test_slice_at_computed_places_along_some_axes(axes: str) -> None:
    count = axes.count(",") + 1
    text = f"""<ir_version: 10, opset_import: ["" : 18]>
    f (float[N, C, H, W] x, int64[{count}] starts, int64[{count}] ends) => (float[P, Q, R, S] y)
    <int64[{count}] axes = {{{axes}}}> {{ y = Slice(x, starts, ends, axes) }}"""
    arrays: Arrays = {"x": whole(3, 4, 5, 6), "starts": ints(1, -2)[:count], "ends": ints(3, 99)[:count]}
    assert adjoint_gap(ir.from_onnx_text(text), arrays) == 0
