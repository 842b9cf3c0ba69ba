"""Arithmetic: every operator under every broadcast, powers, ties and other kinks."""

import itertools
import math
from typing import Any, NamedTuple

import numpy as np
import onnx
import onnx.parser
import pytest
from numpy.typing import NDArray

from specprobe.autodiff import gradient_names, with_gradient
from specprobe.testing.gradient_check import check_vjp, evaluate

Arrays = dict[str, NDArray[Any]]
Shape = tuple[int, ...]

BINARY = {
    "Add": "Add (a, b)",
    "Sub": "Sub (a, b)",
    "Mul": "Mul (a, b)",
    "Div": "Div (a, b)",
    "Sum": "Sum (a, b, a)",
    "Mean": "Mean (a, b, a)",
    "Max": "Max (a, b)",
    "Min": "Min (a, b)",
    "Max-of-three": "Max (a, b, c)",
    "Min-of-three": "Min (a, b, c)",
    "Pow": "Pow (a, b)",
    "Mod": "Mod <fmod: int = 1> (a, b)",
    "Where": "Where (chosen, a, b)",
}
BROADCASTS: tuple[tuple[Shape, Shape], ...] = (
    ((2, 3, 4), (2, 3, 4)),
    ((2, 3, 4), (4,)),
    ((3, 1), (2, 3, 4)),
    ((2, 3, 4), ()),
    ((2, 1, 4), (1, 3, 1)),
    ((1,), (2, 3)),
)


class Unary(NamedTuple):
    """One node and where it has a derivative."""

    node: str
    low: float = -4
    high: float = 4


UNARY = {
    "Neg": Unary("Neg (x)"),
    "Identity": Unary("Identity (x)"),
    "Abs": Unary("Abs (x)"),
    "Reciprocal": Unary("Reciprocal (x)", 0.3, 4),
    "Sqrt": Unary("Sqrt (x)", 0.3, 4),
    "Sum": Unary("Sum (x)"),
    "Mean": Unary("Mean (x)"),
    "Max": Unary("Max (x)"),
    "Min": Unary("Min (x)"),
    "Mul-self": Unary("Mul (x, x)"),
    "Pow-self": Unary("Pow (x, x)", 0.3, 3),
}


def _dims(shape: Shape, *, symbolic: bool, stem: str) -> str:
    dims = [f"{stem}{i}" if symbolic else str(d) for i, d in enumerate(shape)]
    return f"[{','.join(dims)}]" if dims else ""


def _binary(node: str, shapes: dict[str, Shape], kind: str, *, symbolic: bool) -> onnx.ModelProto:
    inputs = ", ".join(f"{kind}{_dims(s, symbolic=symbolic, stem=n.upper())} {n}" for n, s in shapes.items())
    if "chosen" in node:
        inputs = f"bool[3,1] chosen, {inputs}"
    rank = max(len(shape) for shape in shapes.values())
    output = f"{kind}[{','.join(f'Y{i}' for i in range(rank))}]" if rank else kind
    return onnx.parser.parse_model(
        f'<ir_version: 10, opset_import: ["" : 18]> f ({inputs}) => ({output} y) {{ y = {node} }}'
    )


def _feeds(node: str, shapes: dict[str, Shape], dtype: type) -> Arrays:
    """Distinct positive numbers, so that there is no tie, no pole, and no quotient near an integer."""
    rng = np.random.default_rng(11)
    feeds: Arrays = {name: rng.uniform(0.6, 2.4, shape).astype(dtype) for name, shape in shapes.items()}
    if "fmod" in node:
        whole = rng.integers(1, 9, shapes["a"])
        feeds["a"] = np.asarray(whole + rng.uniform(0.3, 0.7, shapes["a"]), dtype)
        feeds["b"] = np.asarray(rng.uniform(0.99, 1.01, shapes["b"]), dtype)
    if "chosen" in node:
        feeds["chosen"] = np.asarray([[True], [False], [True]])
    return feeds


def _shapes(node: str, pair: tuple[Shape, Shape]) -> dict[str, Shape]:
    shapes = {"a": pair[0], "b": pair[1]}
    return shapes | {"c": (1,)} if ", c)" in node else shapes


def _vjp(
    node: str, feeds: Arrays, *, kind: str = "float", wrt: list[str] | None = None
) -> dict[str, list[float]]:
    """Gradients on the runtime for a cotangent of ones."""
    names = {np.dtype(np.float32): "float", np.dtype(np.int64): "int64", np.dtype(np.float64): "double"}
    inputs = ", ".join(f"{names[a.dtype]}[{name.upper()}] {name}" for name, a in feeds.items())
    text = f'<ir_version: 10, opset_import: ["" : 18]> f ({inputs}) => ({kind}[K] y) {{ y = {node} }}'
    gradient = with_gradient(onnx.parser.parse_model(text), wrt=wrt)
    given = gradient_names(gradient)["gradients"]
    length = np.broadcast_shapes(*(a.shape for a in feeds.values()))
    dtype = {"float": np.float32, "double": np.float64}[kind]
    values = evaluate(gradient, {**feeds, "cotangent": np.ones(length, dtype)}, list(given.values()))
    return {name: value.tolist() for name, value in zip(given, values, strict=True)}


def _arrays(**lists: list[float]) -> Arrays:
    return {name: np.asarray(numbers, np.float32) for name, numbers in lists.items()}


@pytest.mark.parametrize("symbolic", [False, True], ids=["static", "symbolic"])
@pytest.mark.parametrize(("name", "pair"), [*itertools.product(BINARY, BROADCASTS)], ids=str)
def test_float64_gradient_equals_central_difference(
    name: str, pair: tuple[Shape, Shape], symbolic: bool
) -> None:
    node = BINARY[name]
    if name == "Where" and len(pair[0]) < 2 and len(pair[1]) < 3:
        pair = ((1,), (3, 2))
    shapes = _shapes(node, pair)
    model = _binary(node, shapes, "double", symbolic=symbolic)
    wrt = list(shapes)
    if name == "Mean":  # linear; the reference evaluator sums into its first input, whatever its shape
        model = _binary(node, shapes, "float", symbolic=symbolic)
        feeds = _feeds(node, shapes, np.float32)
        check = check_vjp(model, feeds, wrt=wrt, steps=(1.0,), difference_engine="runtime")
        assert check.error < 2e-5
        return
    feeds = _feeds(node, shapes, np.float64)
    assert check_vjp(model, feeds, wrt=wrt, directions=1, engine="reference").error < 1e-7


@pytest.mark.parametrize("name", BINARY)
def test_float32_gradient_on_the_runtime(name: str) -> None:
    node = BINARY[name]
    shapes = _shapes(node, ((2, 3, 4), (3, 1)))
    check = check_vjp(
        _binary(node, shapes, "float", symbolic=True), _feeds(node, shapes, np.float32), wrt=list(shapes)
    )
    assert check.error < 2e-5


@pytest.mark.parametrize("case", UNARY.values(), ids=UNARY)
def test_gradient_of_one_input(case: Unary) -> None:
    for kind, dtype, engine, tolerance in (
        ("double", np.float64, "reference", 1e-7),
        ("float", np.float32, "runtime", 2e-5),
    ):
        model = onnx.parser.parse_model(
            f'<ir_version: 10, opset_import: ["" : 18]> f ({kind}[N,5] x) => ({kind}[N,5] y) {{ y = {case.node} }}'
        )
        x = np.random.default_rng(3).uniform(case.low, case.high, (4, 5)).astype(dtype)
        assert check_vjp(model, {"x": x}, engine=engine).error < tolerance


@pytest.mark.parametrize("node", ["Div (a, b)", "Pow (a, b)", "Mul (a, b)", "Max (a, b, c)"])
def test_gradient_of_the_gradient(node: str) -> None:
    shapes = _shapes(node, ((2, 3), (2, 3)))
    first = with_gradient(_binary(node, shapes, "double", symbolic=False))
    feeds = _feeds(node, shapes, np.float64) | {"cotangent": np.random.default_rng(1).standard_normal((2, 3))}
    if node.startswith("Max"):  # linear but for the choice: the cotangent alone has a gradient
        assert check_vjp(first, feeds, of="d_a", wrt=["cotangent"], engine="reference").error < 1e-7
    else:
        assert check_vjp(first, feeds, of="d_a", engine="reference").error < 1e-7


@pytest.mark.parametrize(
    ("power", "dtype"),
    [
        *((power, "float") for power in (-2, -1, 0.5, 1, 1.5, 2, 3, 4)),
        *((power, "int64") for power in (-2, 1, 2, 3)),
    ],
)
def test_pow_to_a_constant(power: float, dtype: str) -> None:
    number = str(power) if dtype == "int64" else str(float(power))
    for kind, real, engine, tolerance in (
        ("double", np.float64, "reference", 1e-7),
        ("float", np.float32, "runtime", 2e-5),
    ):
        model = onnx.parser.parse_model(
            f'<ir_version: 10, opset_import: ["" : 18]> f ({kind}[N,5] x) => ({kind}[N,5] y) '
            f"<{dtype} p = {{{number}}}> {{ y = Pow (x, p) }}"
        )
        signs = np.resize([-1, 1], (4, 5)) if float(power).is_integer() else 1
        x = np.asarray(signs * np.random.default_rng(3).uniform(0.4, 3, (4, 5)), real)
        assert check_vjp(model, {"x": x}, engine=engine).error < tolerance


def test_pow_to_integers_that_are_computed() -> None:
    feeds: Arrays = _arrays(a=[-2, 0, 0, 0, 3]) | {"b": np.asarray([3, 0, 1, 2, -1])}
    assert _vjp("Pow (a, b)", feeds)["a"] == pytest.approx([12, 0, 1, 0, -1 / 9])


def test_pow_to_double_exponents_gives_double_gradients() -> None:
    feeds: Arrays = _arrays(a=[2, 3]) | {"b": np.asarray([3.0, 2.0])}
    found = _vjp("Pow (a, b)", feeds)
    assert found["a"] == pytest.approx([12, 6])
    assert found["b"] == pytest.approx([8 * math.log(2), 9 * math.log(3)])


def test_pow_at_base_zero() -> None:
    found = _vjp("Pow (a, b)", _arrays(a=[0, 0, 0, 0], b=[0, 0.5, 1, 2]))
    assert found == {"a": [0, math.inf, 1, 0], "b": [0, 0, 0, 0]}


def test_pow_of_negative_bases() -> None:
    found = _vjp("Pow (a, b)", _arrays(a=[-2, -2, -2], b=[2, 3, 0]))
    assert found["a"] == [-4, 12, 0]
    assert np.isnan(found["b"]).all()


def test_pow_to_the_constant_zero_has_no_gradient() -> None:
    model = onnx.parser.parse_model(
        '<ir_version: 10, opset_import: ["" : 18]> f (float[N] x) => (float[N] y) <float p = {0}> '
        "{ z = Pow (x, p)\n y = Add (x, z) }"
    )
    assert [node.op_type for node in with_gradient(model).graph] == ["Pow", "Add", "Identity"]


def test_max_and_min_split_ties_evenly() -> None:
    feeds = _arrays(a=[1, 2, 5], b=[1, 3, 4])
    assert _vjp("Max (a, b)", feeds) == {"a": [0.5, 0, 1], "b": [0.5, 1, 0]}
    assert _vjp("Min (a, b)", feeds) == {"a": [0.5, 1, 0], "b": [0.5, 0, 1]}
    assert _vjp("Max (a, a)", _arrays(a=[1, 2])) == {"a": [1, 1]}


def test_max_of_three_splits_ties_among_those_that_tie() -> None:
    found = _vjp("Max (a, b, c)", _arrays(a=[2, 2, 1], b=[2, 2, 3], c=[2, 1, 2]))
    third = pytest.approx(1 / 3)
    assert found == {"a": [third, 0.5, 0], "b": [third, 0.5, 1], "c": [third, 0, 0]}


def test_max_of_infinities_is_no_nan() -> None:
    low = -math.inf
    assert _vjp("Max (a, b)", _arrays(a=[low, low], b=[low, 0])) == {"a": [0.5, 0], "b": [0.5, 1]}


def test_mod_takes_the_sign_of_the_dividend() -> None:
    found = _vjp("Mod <fmod: int = 1> (a, b)", _arrays(a=[5.3, -5.3], b=[2, 2]))
    assert found == {"a": [1, 1], "b": [-2, 2]}


def test_mod_by_floor_on_the_reference_evaluator() -> None:
    """Of floats from opset 28 on, which onnxruntime 1.31 does not read."""
    model = onnx.parser.parse_model(
        '<ir_version: 10, opset_import: ["" : 28]> f (double[N] a, double[N] b) => (double[N] y) { y = Mod (a, b) }'
    )
    feeds = {"a": np.asarray([5.3, -5.3, 5.3, -5.3]), "b": np.asarray([2.0, 2.0, -2.0, -2.0])}
    assert check_vjp(model, feeds, engine="reference").error < 1e-7


def test_abs_at_zero_is_zero() -> None:
    assert _vjp("Abs (x)", _arrays(x=[-2, 0, 3])) == {"x": [-1, 0, 1]}


def test_sqrt_and_reciprocal_at_zero_are_infinite() -> None:
    assert _vjp("Sqrt (x)", _arrays(x=[0])) == {"x": [math.inf]}
    assert _vjp("Reciprocal (x)", _arrays(x=[0])) == {"x": [-math.inf]}


@pytest.mark.parametrize("operator", ["Sign", "Round", "Floor", "Ceil"])
def test_steps_have_no_gradient(operator: str) -> None:
    model = onnx.parser.parse_model(
        '<ir_version: 10, opset_import: ["" : 18]> f (float[N] x) => (float[N] y) '
        f"{{ z = {operator} (x)\n y = Mul (x, z) }}"
    )
    gradient = with_gradient(model)
    x = np.asarray([-1.5, 0.3, 2.7], np.float32)
    found, z = evaluate(gradient, {"x": x, "cotangent": x}, ["d_x", "y"])
    np.testing.assert_allclose(found, z)


def test_where_ignores_what_is_not_chosen() -> None:
    model = onnx.parser.parse_model(
        '<ir_version: 10, opset_import: ["" : 18]> f (float[N] x) => (float[N] y) <float zero = {0}> '
        "{ c = Greater (x, zero)\n y = Where (c, x, zero) }"
    )
    feeds = _arrays(x=[-1, 2], cotangent=[math.nan, 3])
    assert evaluate(with_gradient(model), feeds, ["d_x"])[0].tolist() == [0, 3]
