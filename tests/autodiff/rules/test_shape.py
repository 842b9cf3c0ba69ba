"""Tests for the rules that move, repeat and join. All are linear: the adjoint identity is exact in whole numbers."""

from typing import Any, NamedTuple

import numpy as np
import onnx_ir as ir
import pytest

from specprobe.autodiff import with_gradient
from specprobe.testing.adjoint import Arrays, adjoint_gap, one_node, whole
from specprobe.testing.gradient_check import check_vjp


class Case(NamedTuple):
    id: str
    operator: str
    arrays: Arrays
    attributes: dict[str, Any] | None = None
    outputs: int = 1


def ints(*values: int) -> "np.ndarray[Any, np.dtype[np.int64]]":
    return np.asarray(values, np.int64)


IMAGE = whole(2, 12, 4, 6)
CASES = [
    Case("flatten", "Flatten", {"x": IMAGE}, {"axis": 2}),
    Case("flatten-0", "Flatten", {"x": IMAGE}, {"axis": 0}),
    Case("reshape", "Reshape", {"x": IMAGE, "shape": ints(0, -1, 8)}),
    Case("squeeze", "Squeeze", {"x": whole(1, 3, 1), "axes": ints(0, -1)}),
    Case("unsqueeze", "Unsqueeze", {"x": whole(3, 2), "axes": ints(0, -1)}),
    Case("transpose", "Transpose", {"x": IMAGE}),
    Case("transpose-perm", "Transpose", {"x": IMAGE}, {"perm": [2, 0, 3, 1]}),
    Case("expand-leading", "Expand", {"x": whole(3, 1), "shape": ints(4, 1, 5)}),
    Case("expand-none", "Expand", {"x": whole(3, 2), "shape": ints(3, 1)}),
    Case("expand-scalar", "Expand", {"x": whole(), "shape": ints(2, 3)}),
    Case("tile", "Tile", {"x": whole(2, 3, 4), "repeats": ints(2, 1, 3)}),
    Case("tile-once", "Tile", {"x": whole(2, 3), "repeats": ints(1, 1)}),
    Case("tile-never", "Tile", {"x": whole(2, 3), "repeats": ints(0, 2)}),
    Case(
        "concat",
        "Concat",
        {"a": whole(2, 3), "b": whole(2, 1, seed=1), "c": whole(2, 4, seed=2)},
        {"axis": -1},
    ),
    Case("concat-empty", "Concat", {"a": whole(2, 3), "b": whole(2, 0)}, {"axis": 1}),
    Case("concat-one", "Concat", {"a": whole(2, 3)}, {"axis": 0}),
    Case("split", "Split", {"x": whole(2, 7), "split": ints(2, 1, 4)}, {"axis": 1}, 3),
    Case("split-uneven", "Split", {"x": whole(2, 7)}, {"axis": -1, "num_outputs": 3}, 3),
    Case("split-one", "Split", {"x": whole(2, 7)}, {"axis": -1, "num_outputs": 1}, 1),
    Case("depth-to-space", "DepthToSpace", {"x": IMAGE}, {"blocksize": 2}),
    Case("depth-to-space-crd", "DepthToSpace", {"x": IMAGE}, {"blocksize": 2, "mode": "CRD"}),
    Case("space-to-depth", "SpaceToDepth", {"x": IMAGE}, {"blocksize": 2}),
]


@pytest.mark.parametrize("symbolic", [False, True], ids=["static", "symbolic"])
@pytest.mark.parametrize("constant", [True, False], ids=["constant", "computed"])
@pytest.mark.parametrize("case", CASES, ids=[case.id for case in CASES])
def test_adjoint(case: Case, *, constant: bool, symbolic: bool) -> None:
    model = one_node(
        case.operator,
        case.arrays,
        constant=constant,
        symbolic=symbolic,
        outputs=case.outputs,
        **(case.attributes or {}),
    )
    for i in range(case.outputs):
        assert adjoint_gap(model, case.arrays, of=f"y{i}" if i else "y") == 0


@pytest.mark.parametrize("symbolic", [False, True], ids=["static", "symbolic"])
@pytest.mark.parametrize("name", ["a", "b", "c"])
def test_concat_for_one_of_its_inputs(name: str, *, symbolic: bool) -> None:
    arrays: Arrays = {"a": whole(2, 3), "b": whole(2, 1, seed=1), "c": whole(2, 4, seed=2)}
    model = one_node("Concat", arrays, constant=True, symbolic=symbolic, axis=1)
    others = {other: np.zeros_like(array) for other, array in arrays.items() if other != name}
    assert adjoint_gap(model, {**arrays, **others}, wrt={name: ""}) == 0


def test_concat_of_a_value_with_itself() -> None:
    text = '<ir_version: 10, opset_import: ["" : 18]> f (float[N] x) => (float[M] y) { y = Concat<axis=0>(x, x) }'
    assert adjoint_gap(ir.from_onnx_text(text), {"x": whole(5)}) == 0


@pytest.mark.parametrize("used", ["a, a, c", "a, c, c", "b, b, b", "c, b, a"])
@pytest.mark.parametrize("size", ["6", "N"])
def test_split_whose_outputs_are_not_all_used(used: str, size: str) -> None:
    text = f"""<ir_version: 10, opset_import: ["" : 18]> f (float[{size}] x) => (float[M] y) {{
        a, b, c = Split<axis=0, num_outputs=3>(x)
        y = Concat<axis=0>({used})
    }}"""
    assert adjoint_gap(ir.from_onnx_text(text), {"x": whole(6)}) == 0


@pytest.mark.parametrize("operator", ["DepthToSpace", "SpaceToDepth"])
def test_half_precision(operator: str) -> None:
    text = f"""<ir_version: 10, opset_import: ["" : 18]> f (float16[N, C, H, W] x) => (float16[N, D, P, Q] y) {{
        y = {operator}<blocksize=2>(x)
    }}"""
    assert adjoint_gap(ir.from_onnx_text(text), {"x": whole(1, 4, 2, 2).astype(np.float16)}) == 0


def test_static_shapes_need_no_shape_arithmetic() -> None:
    arrays: Arrays = {"x": whole(2, 3, 4), "repeats": ints(2, 1, 3)}
    gradient = with_gradient(one_node("Tile", arrays, constant=True, symbolic=False))
    assert [node.op_type for node in gradient.graph] == ["Tile", "Reshape", "ReduceSum", "Identity"]


def test_range_is_differentiable_in_start_and_step() -> None:
    text = """<ir_version: 10, opset_import: ["" : 18]> f (float start, float limit, float delta) => (float[N] y) {
        y = Range(start, limit, delta)
    }"""
    feeds = {name: np.asarray(v, np.float32) for name, v in (("start", 1.0), ("limit", 5.5), ("delta", 2.0))}
    assert check_vjp(ir.from_onnx_text(text), feeds, wrt=["start", "delta"]).error < 2e-5


def between_transposes(middle: str, dims: str) -> ir.Model:
    """Where the optimizer of onnxruntime 1.31 breaks every ``Pad`` with the input ``axes``."""
    return ir.from_onnx_text(f"""<ir_version: 10, opset_import: ["" : 18]>
    f (float[{dims}] x) => (float[P, Q, R, S] y) {{
        a = Transpose<perm=[0, 2, 3, 1]>(x)
        {middle}
        y = Transpose<perm=[0, 3, 1, 2]>(b)
    }}""")


@pytest.mark.parametrize("dims", ["2, 4, 5, 6", "N, C, H, W"], ids=["static", "symbolic"])
@pytest.mark.parametrize(
    "middle",
    [
        "s, t, u = Split<axis=1, num_outputs=3>(a) b = Concat<axis=1>(t, t)",
        "s, t = Split<axis=1, num_outputs=2>(a) b = Concat<axis=3>(s, s)",
        "b = Concat<axis=1>(a, a)",
    ],
    ids=["split-middle", "split-first", "concat"],
)
def test_between_transposes(middle: str, dims: str) -> None:
    model, arrays = between_transposes(middle, dims), {"x": whole(2, 4, 5, 6)}
    assert adjoint_gap(model, arrays) == 0
    assert check_vjp(model, arrays).error < 2e-5
