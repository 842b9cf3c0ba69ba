"""Matrix products and determinants."""

import itertools

import numpy as np
import onnx
import onnx.parser
import pytest

from specprobe.autodiff import with_gradient
from specprobe.errors import UnsupportedOperator
from specprobe.testing.gradient_check import check_vjp, evaluate

PAIRS = {
    "vectors": ([4], [4]),
    "vector and matrix": ([4], [4, 3]),
    "vector and stack": ([4], [2, 5, 4, 3]),
    "matrix and vector": ([3, 4], [4]),
    "stack and vector": ([2, 5, 3, 4], [4]),
    "matrices": ([3, 4], [4, 2]),
    "square matrices": ([4, 4], [4, 4]),
    "stack and matrix": ([2, 5, 3, 4], [4, 2]),
    "matrix and stack": ([3, 4], [5, 4, 2]),
    "stacks": ([2, 5, 3, 4], [2, 5, 4, 2]),
    "stacks that broadcast": ([2, 1, 3, 4], [5, 4, 2]),
    "stacks that broadcast both ways": ([1, 5, 3, 4], [2, 1, 4, 2]),
    "one row, one column": ([2, 1, 4], [2, 4, 1]),
    "inner size one": ([2, 3, 1], [1, 2]),
}


def _product(a: list[int], b: list[int], *, named: bool, kind: str = "float") -> onnx.ModelProto:
    def dims(shape: list[int], letter: str) -> str:
        return ",".join(f"{letter}{i}" if named else str(d) for i, d in enumerate(shape))

    rank = np.matmul(np.zeros(a), np.zeros(b)).ndim
    out = ",".join("uvwx"[:rank])
    return onnx.parser.parse_model(
        f'<ir_version: 10, opset_import: ["" : 18]> f ({kind}[{dims(a, "a")}] a, {kind}[{dims(b, "b")}] b) '
        f"=> ({kind}[{out}] y) {{ y = MatMul (a, b) }}"
    )


@pytest.mark.parametrize("named", [False, True])
@pytest.mark.parametrize("pair", PAIRS)
def test_matmul(pair: str, named: bool) -> None:
    a, b = PAIRS[pair]
    rng = np.random.default_rng(3)
    feeds = {"a": rng.standard_normal(a).astype(np.float32), "b": rng.standard_normal(b).astype(np.float32)}
    model = _product(a, b, named=named)
    assert check_vjp(model, feeds).error < 2e-5
    feeds["cotangent"] = np.ones(np.matmul(np.zeros(a), np.zeros(b)).shape, np.float32)
    shapes = [array.shape for array in evaluate(with_gradient(model), feeds, ["d_a", "d_b"])]
    assert shapes == [tuple(a), tuple(b)]


@pytest.mark.parametrize("pair", PAIRS)
def test_gradient_of_the_gradient_of_matmul(pair: str) -> None:
    a, b = PAIRS[pair]
    rng = np.random.default_rng(3)
    first = with_gradient(_product(a, b, named=False, kind="double"))
    shape = np.matmul(np.zeros(a), np.zeros(b)).shape
    feeds = {
        "a": rng.standard_normal(a),
        "b": rng.standard_normal(b),
        "cotangent": rng.standard_normal(shape),
    }
    assert check_vjp(first, feeds, of="d_a", engine="reference").error < 1e-7


def _tokens() -> onnx.ModelProto:
    model = onnx.parser.parse_model(
        '<ir_version: 10, opset_import: ["" : 18]> f (float[N,5,4] x) => (float[N,5,3] y) { y = MatMul (x, w) }'
    )
    weight = np.random.default_rng(4).standard_normal((4, 3)).astype(np.float32)
    model.graph.initializer.append(onnx.numpy_helper.from_array(weight, "w"))
    return model


def test_a_weight_costs_one_product_and_its_transpose_and_is_not_stored_twice() -> None:
    gradient = with_gradient(_tokens())
    made = [node.op_type for node in gradient.graph if node.op_type != "Identity"]
    assert made == ["MatMul", "Transpose", "MatMul"]
    assert list(gradient.graph.initializers) == ["w"]


def test_mixed_derivatives_with_respect_to_input_and_weight() -> None:
    """A transposed copy of the weight would have cut this path."""
    first = with_gradient(_tokens(), wrt="x")
    rng = np.random.default_rng(5)
    feeds = {
        "x": rng.standard_normal((2, 5, 4)).astype(np.float32),
        "cotangent": rng.standard_normal((2, 5, 3)).astype(np.float32),
    }
    assert check_vjp(first, feeds, of="d_x", wrt=["w"], engine="reference").error < 1e-7
    assert check_vjp(first, feeds, of="d_x", wrt=["w"]).error < 2e-5


@pytest.mark.parametrize("c", [None, "3,2", "1,2", "3,1", "2", "1", ""])
@pytest.mark.parametrize(("left", "right"), list(itertools.product((0, 1), (0, 1))))
def test_gemm(left: int, right: int, c: str | None) -> None:
    a, b = [3, 4][:: -1 if left else 1], [4, 2][:: -1 if right else 1]
    third = "" if c is None else f", float[{c}] c"
    model = onnx.parser.parse_model(
        f'<ir_version: 10, opset_import: ["" : 18]> f (float[{a[0]},{a[1]}] a, float[{b[0]},{b[1]}] b{third}) '
        f"=> (float[3,2] y) {{ y = Gemm <transA = {left}, transB = {right}, alpha = 0.5, beta = 1.5> "
        f"(a, b{'' if c is None else ', c'}) }}"
    )
    rng = np.random.default_rng(3)
    feeds = {"a": rng.standard_normal(a).astype(np.float32), "b": rng.standard_normal(b).astype(np.float32)}
    if c is not None:
        shape = [int(d) for d in c.split(",") if d]
        feeds["c"] = rng.standard_normal(shape).astype(np.float32)
    assert check_vjp(model, feeds).error < 2e-5
    first = with_gradient(model)
    dy = rng.standard_normal((3, 2)).astype(np.float32)
    assert check_vjp(first, {**feeds, "cotangent": dy}, of="d_a", engine="reference").error < 1e-7


@pytest.mark.parametrize("stack", [(), (2,), (2, 3)])
@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_determinant(size: int, stack: tuple[int, ...]) -> None:
    model = _determinant(",".join(map(str, (*stack, size, size))), len(stack))
    x = np.random.default_rng(1).standard_normal((*stack, size, size)).astype(np.float32)
    assert check_vjp(model, {"x": x}).error < 2e-5
    assert check_vjp(model, {"x": x}, engine="reference").error < 1e-7


def test_determinant_of_a_singular_matrix() -> None:
    x = np.outer([1, 2, 3], [4, 5, 6]).astype(np.float32) + np.diag([1, 0, 0]).astype(np.float32)
    assert check_vjp(_determinant("3,3", 0), {"x": x}, engine="reference").error < 1e-7


def test_gradient_of_the_gradient_of_a_determinant() -> None:
    x = np.random.default_rng(1).standard_normal((2, 3, 3)).astype(np.float32)
    feeds = {"x": x, "cotangent": np.array([1.5, -0.5], np.float32)}
    assert (
        check_vjp(with_gradient(_determinant("2,3,3", 1)), feeds, of="d_x", engine="reference").error < 1e-7
    )


def test_determinants_of_open_or_large_matrices_are_refused() -> None:
    for shape, rows in (("N,N", "an open number of"), ("33,33", "33")):
        with pytest.raises(UnsupportedOperator, match=rf"Det '.*' has matrices of {rows} rows.*up to 32"):
            with_gradient(_determinant(shape, 0))


def _determinant(shape: str, stacked: int) -> onnx.ModelProto:
    return onnx.parser.parse_model(
        f'<ir_version: 10, opset_import: ["" : 18]> f (float[{shape}] x) => (float[{",".join("uv"[:stacked])}] y) '
        "{ y = Det (x) }"
    )
