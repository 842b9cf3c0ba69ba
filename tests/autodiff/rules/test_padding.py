"""Tests for the rules for padding. All are linear: the adjoint identity is exact in whole numbers."""

from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from specprobe.autodiff import with_gradient
from specprobe.errors import ModelError, UnsupportedOperator
from specprobe.testing.adjoint import Arrays, adjoint_gap, one_node, whole


def ints(*values: int) -> "np.ndarray[Any, np.dtype[np.int64]]":
    return np.asarray(values, np.int64)


def padded(
    x: "np.ndarray[Any, Any]",
    pads: list[int],
    axes: list[int] | None = None,
    *,
    mode: str = "constant",
    constant: bool = True,
    symbolic: bool = False,
) -> float:
    """Gap of ``Pad`` at opset 19, the first that wraps."""
    if axes is not None and mode != "constant" and not constant:  # computed axes are refused there
        full = np.zeros((2, x.ndim), np.int64)
        full[:, axes] = np.reshape(pads, (2, -1))
        pads, axes = full.reshape(-1).tolist(), None
    arrays: Arrays = {"x": x, "pads": ints(*pads)}
    if axes is not None:
        arrays |= {"fill": np.zeros((), np.float32), "axes": ints(*axes)}
    model = one_node("Pad", arrays, constant=constant, symbolic=symbolic, mode=mode)
    model.opset_imports[""] = 19
    model.graph.outputs[0].shape = ir.Shape([f"y_{i}" for i in range(x.ndim)])
    return adjoint_gap(model, arrays, wrt={"x": ""})


@given(
    sizes=st.lists(st.integers(1, 4), min_size=1, max_size=3),
    data=st.data(),
    constant=st.booleans(),
    symbolic=st.booleans(),
)
@pytest.mark.slow
@settings(max_examples=150, deadline=None, derandomize=True)
def test_constant_padding_is_cut_off(
    sizes: list[int], data: st.DataObject, *, constant: bool, symbolic: bool
) -> None:
    axes = data.draw(st.permutations(range(len(sizes))))[: data.draw(st.integers(1, len(sizes)))]
    before = [data.draw(st.integers(-sizes[axis], 3)) for axis in axes]
    after = [
        data.draw(st.integers(-sizes[axis] - min(0, b), 3)) for axis, b in zip(axes, before, strict=True)
    ]
    signed = [axis - len(sizes) * data.draw(st.booleans()) for axis in axes]
    assert padded(whole(*sizes), [*before, *after], signed, constant=constant, symbolic=symbolic) == 0


@given(
    sizes=st.lists(st.integers(1, 5), min_size=1, max_size=3),
    mode=st.sampled_from(["reflect", "edge", "wrap"]),
    data=st.data(),
    constant=st.booleans(),
    symbolic=st.booleans(),
)
@pytest.mark.slow
@settings(max_examples=200, deadline=None, derandomize=True)
def test_copies_are_folded_back(
    sizes: list[int], mode: str, data: st.DataObject, *, constant: bool, symbolic: bool
) -> None:
    axes = data.draw(st.permutations(range(len(sizes))))[: data.draw(st.integers(1, len(sizes)))]
    before: list[int] = []
    after: list[int] = []
    for axis in axes:
        cut = [data.draw(st.integers(0, 1)) if sizes[axis] > 2 else 0 for _ in range(2)]
        left = sizes[axis] - sum(cut)
        most = left - 1 if mode == "reflect" else 2 * left + 1
        for side, crop in zip((before, after), cut, strict=True):
            side.append(-crop if crop else data.draw(st.integers(0, most)))
    pads = [*before, *after]
    assert padded(whole(*sizes), pads, list(axes), mode=mode, constant=constant, symbolic=symbolic) == 0


@pytest.mark.parametrize("symbolic", [False, True], ids=["static", "symbolic"])
@pytest.mark.parametrize("constant", [False, True], ids=["computed", "constant"])
@pytest.mark.parametrize("mode", ["constant", "reflect", "edge", "wrap"])
def test_an_image_is_padded_on_all_sides(mode: str, *, constant: bool, symbolic: bool) -> None:
    pads = [0, 0, 2, 3, 0, 0, 1, 2]
    assert padded(whole(2, 3, 4, 5), pads, mode=mode, constant=constant, symbolic=symbolic) == 0


def test_constant_padding_is_one_slice() -> None:
    arrays: Arrays = {"x": whole(1, 2, 4, 4), "pads": ints(0, 0, 1, 1, 0, 0, 1, 1)}
    gradient = with_gradient(one_node("Pad", arrays, constant=True, symbolic=True))
    assert [node.op_type for node in gradient.graph] == ["Pad", "Slice", "Identity"]


def test_repeated_edges_are_joined_rather_than_added() -> None:
    arrays: Arrays = {"x": whole(1, 2, 4), "pads": ints(0, 0, 2, 0, 0, 1)}
    gradient = with_gradient(one_node("Pad", arrays, constant=True, symbolic=False, mode="edge"))
    expected = ["Pad", "Slice", "ReduceSum", "Slice", "Slice", "ReduceSum", "Concat", "Identity"]
    assert [node.op_type for node in gradient.graph] == expected


@pytest.mark.parametrize("fill", [whole(), whole(1)], ids=["0-D", "1-D"])
def test_the_fill_value_gets_the_sum_over_what_it_filled(fill: "np.ndarray[Any, Any]") -> None:
    arrays: Arrays = {"x": whole(2, 3), "pads": ints(1, -1, 0, 2), "fill": fill}
    assert adjoint_gap(one_node("Pad", arrays, constant=True, symbolic=True), arrays) == 0


@pytest.mark.parametrize("axes", [None, [1], [-1, 0]], ids=str)
@pytest.mark.parametrize("sizes", [(4, 7), (7, 4), (5, 5)])
@pytest.mark.parametrize("symbolic", [False, True], ids=["static", "symbolic"])
@pytest.mark.parametrize("target", [(7, 4), (4, 5), (6, 6)])
def test_center_crop_pad(
    axes: list[int] | None, sizes: tuple[int, int], target: tuple[int, int], *, symbolic: bool
) -> None:
    attributes: dict[str, Any] = {} if axes is None else {"axes": axes}
    arrays: Arrays = {"x": whole(*sizes), "shape": ints(*target[: 2 if axes is None else len(axes)])}
    assert (
        adjoint_gap(one_node("CenterCropPad", arrays, constant=True, symbolic=symbolic, **attributes), arrays)
        == 0
    )


@pytest.mark.parametrize("constant", [False, True], ids=["computed", "constant"])
def test_more_cut_than_there_is_fails_rather_than_guesses(*, constant: bool) -> None:
    with pytest.raises(ModelError, match="reshape"):
        padded(whole(4), [-5, 5], constant=constant, symbolic=True)


def test_computed_axes_are_refused_where_copies_are_made() -> None:
    arrays: Arrays = {"x": whole(3, 3), "pads": ints(1, 1), "fill": np.zeros((), np.float32), "axes": ints(1)}
    model = one_node("Pad", arrays, constant=False, symbolic=False, mode="edge")
    with pytest.raises(UnsupportedOperator, match="mode edge has computed axes"):
        with_gradient(model, wrt="x")


def between_transposes(middle: str, dims: str) -> ir.Model:
    """Where the optimizer of onnxruntime 1.31 breaks every ``Pad`` with the input ``axes``."""
    return ir.from_onnx_text(f"""<ir_version: 10, opset_import: ["" : 18]>
    f (float[{dims}] x) => (float[P, Q, R, S] y) {{
        a = Transpose<perm=[0, 2, 3, 1]>(x)
        {middle}
        y = Transpose<perm=[0, 3, 1, 2]>(b)
    }}""")


@pytest.mark.parametrize("dims", ["2, 4, 5, 6", "N, C, H, W"], ids=["static", "symbolic"])
@pytest.mark.parametrize("mode", ["constant", "edge", "reflect"])
@pytest.mark.parametrize("pads", [(2, 1), (-1, 2), (0, -2)], ids=str)
def test_between_transposes(pads: tuple[int, int], mode: str, dims: str) -> None:
    before, after = pads
    every = f"p = Constant<value_ints=[0, {before}, 0, 0, 0, {after}, 0, 0]>()"
    model = between_transposes(f'{every} b = Pad<mode="{mode}">(a, p)', dims)
    assert adjoint_gap(model, {"x": whole(2, 4, 5, 6)}) == 0


@pytest.mark.parametrize("pads", ["", ", int64[2] pads"], ids=["constant", "computed"])
def test_the_fill_value_where_axes_are_listed(pads: str) -> None:
    text = f"""<ir_version: 10, opset_import: ["" : 18]>
    f (float[N, C, H] x, float fill{pads}) => (float[P, Q, R] y)
    <int64[1] axes = {{-2}}{"" if pads else ", int64[2] pads = {2, -1}"}> {{ y = Pad(x, pads, fill, axes) }}"""
    arrays: Arrays = {"x": whole(2, 4, 3), "fill": whole()} | ({"pads": ints(2, -1)} if pads else {})
    assert adjoint_gap(ir.from_onnx_text(text), arrays) == 0
