"""Einstein sums: products, sums, diagonals, ellipses."""

import numpy as np
import onnx
import onnx.helper as oh
import pytest

from specprobe.autodiff import with_gradient
from specprobe.errors import UnsupportedOperator
from specprobe.testing.gradient_check import check_vjp, evaluate

CASES: dict[str, list[tuple[int, ...]]] = {
    "ij,jk->ik": [(2, 3), (3, 4)],
    "ij,jk": [(2, 3), (3, 4)],
    "ba,cb": [(2, 3), (4, 2)],
    "bhqd,bhkd->bhqk": [(2, 3, 4, 5), (2, 3, 6, 5)],
    "bij,bjk->bik": [(2, 3, 4), (2, 4, 5)],
    "i,i->": [(4,), (4,)],
    "i,j->ij": [(4,), (3,)],
    "ij->ji": [(2, 3)],
    "ij->": [(2, 3)],
    "ij->i": [(2, 3)],
    "ij->j": [(2, 3)],
    "ii->i": [(3, 3)],
    "ii->": [(3, 3)],
    "ii": [(3, 3)],
    "bii->bi": [(2, 3, 3)],
    "iji->j": [(3, 2, 3)],
    "iii->i": [(3, 3, 3)],
    "ij,k->k": [(2, 3), (4,)],
    "ij,ij,jk->k": [(2, 3), (2, 3), (3, 4)],
    "...ij,...jk->...ik": [(2, 3, 4), (2, 4, 5)],
    "...ij,jk->...ik": [(2, 5, 3, 4), (4, 2)],
    "...d,d": [(2, 3, 4), (4,)],
    "...ii->...i": [(2, 3, 3)],
    "...->...": [(2, 3)],
    "i...->...": [(2, 3, 4)],
    "... i , i -> ...": [(2, 3), (3,)],
}


def _model(equation: str, shapes: list[tuple[int, ...]], *, named: bool = False) -> onnx.ModelProto:
    names = [f"x{i}" for i in range(len(shapes))]
    node = oh.make_node("Einsum", names, ["y"], equation=equation)
    inputs = [
        oh.make_tensor_value_info(name, 1, [f"{name}_{k}" for k in range(len(s))] if named else s)
        for name, s in zip(names, shapes, strict=True)
    ]
    rank = np.einsum(equation, *(np.zeros(s) for s in shapes)).ndim
    output = oh.make_tensor_value_info("y", 1, [f"y{k}" for k in range(rank)])
    graph = oh.make_graph([node], "f", inputs, [output])
    return oh.make_model(graph, opset_imports=[oh.make_opsetid("", 18)], ir_version=10)


def _feeds(shapes: list[tuple[int, ...]]) -> dict[str, np.ndarray[tuple[int, ...], np.dtype[np.float32]]]:
    rng = np.random.default_rng(7)
    return {f"x{i}": rng.standard_normal(s).astype(np.float32) for i, s in enumerate(shapes)}


def _gradient_shapes(
    model: onnx.ModelProto, equation: str, shapes: list[tuple[int, ...]]
) -> list[tuple[int, ...]]:
    feeds = _feeds(shapes)
    feeds["cotangent"] = np.ones(np.einsum(equation, *feeds.values()).shape, np.float32)
    names = [f"d_x{i}" for i in range(len(shapes))]
    return [array.shape for array in evaluate(with_gradient(model), feeds, names)]


@pytest.mark.parametrize("named", [False, True])
@pytest.mark.parametrize("equation", CASES)
def test_gradient_on_the_runtime(equation: str, named: bool) -> None:
    shapes = CASES[equation]
    model = _model(equation, shapes, named=named)
    assert check_vjp(model, _feeds(shapes)).error < 2e-5
    assert _gradient_shapes(model, equation, shapes) == shapes


@pytest.mark.parametrize("equation", CASES)
def test_gradient_of_the_gradient(equation: str) -> None:
    shapes = CASES[equation]
    first = with_gradient(_model(equation, shapes))
    feeds = _feeds(shapes)
    shape = np.einsum(equation, *feeds.values()).shape
    feeds["cotangent"] = np.random.default_rng(8).standard_normal(shape).astype(np.float32)
    assert check_vjp(first, feeds, of="d_x0", engine="reference").error < 1e-7


@pytest.mark.parametrize(
    ("equation", "shapes"),
    [
        ("...ij,...jk->...ik", [(1, 3, 4), (5, 4, 2)]),
        ("...i,...i->...", [(2, 1, 3), (1, 4, 3)]),
    ],
)
@pytest.mark.parametrize("named", [False, True])
def test_an_axis_of_one_element_that_is_repeated(
    equation: str, shapes: list[tuple[int, ...]], named: bool
) -> None:
    model = _model(equation, shapes, named=named)
    assert check_vjp(model, _feeds(shapes)).error < 2e-5
    assert _gradient_shapes(model, equation, shapes) == shapes


def test_an_equation_that_does_not_fit_is_refused() -> None:
    model = _model("ij->ji", [(2, 3)])
    model.graph.node[0].attribute[0].s = b"ij->jj"
    with pytest.raises(UnsupportedOperator, match=r"Einsum '.*' has the equation 'ij->jj'"):
        with_gradient(model)
