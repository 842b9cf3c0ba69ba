"""Folded graphs compute what they did; only what no input can change is folded."""

from typing import Any, NamedTuple, TypeAlias

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from numpy.typing import NDArray

from specprobe.autodiff import with_gradient
from specprobe.graph import folding
from specprobe.graph.folding import folded
from specprobe.graph.load import infer_shapes
from specprobe.testing.evaluation import Feeds, evaluate
from specprobe.testing.gradient_check import check_vjp

Shapes: TypeAlias = dict[str, tuple[int, ...]]


class Case(NamedTuple):
    """A graph, sizes that its inputs may have, and the operators that folding leaves."""

    id: str
    text: str
    shapes: tuple[Shapes, ...]
    left: set[str]


BRANCH = """then_branch = a () => (float[P,Q] t) <int64[2] flat = {-1, 3}> { t = Reshape (x, flat) },
    else_branch = b () => (float[R,S] t) { s = Tanh (x) t = Flatten (s) }"""
ROTARY = """
    v{o} = Shape <start = 2> (v{i})
    half{i} = Div (v{o}, two)
    rest{i} = Sub (v{o}, half{i})
    parts{i} = Concat <axis = 0> (half{i}, rest{i})
    a{i}, b{i} = Split <axis = 2> (v{i}, parts{i})
    s{i} = Sin (b{i})
    c{i} = Concat <axis = 2> (s{i}, a{i})"""


def rotary(layers: int) -> str:
    """Layers that each split by lengths computed from the shape of the one before."""
    body, name = "two = Constant <value_ints = [2]> ()", "x"
    for i in range(layers):
        text = ROTARY.format(i=i, o=f"_{i}").replace(f"(v{i})", f"({name})").replace(f"(v{i},", f"({name},")
        body, name = body + text, f"c{i}"
    return f"f (float[N,3,8] x) => (float[N,3,8] y) {{ {body} y = Identity ({name}) }}"


X: tuple[Shapes, ...] = ({"x": (2, 3, 4)},)
OPEN: tuple[Shapes, ...] = ({"x": (2, 3, 8)}, {"x": (5, 3, 8)})
CASES = [
    Case(
        "shape",
        "f (float[2,3,4] x) => (float[K,M] y) { s = Shape (x) n = ReduceProd <keepdims = 1> (s) "
        "i = Constant <value_ints = [1]> () c = Gather (s, i) r = Div (n, c) t = Concat <axis = 0> (c, r) "
        "y = Reshape (x, t) }",
        X,
        {"Reshape"},
    ),
    Case(
        "size",
        "f (float[2,3,4] x) => (float[K] y) { n = Size (x) i = Constant <value_ints = [0]> () "
        "t = Unsqueeze (n, i) y = Reshape (x, t) }",
        X,
        {"Reshape"},
    ),
    Case(
        "open-batch",
        "f (float[N,3,8] x) => (float[N,K] y) { s = Shape (x) one = Constant <value_ints = [1]> () "
        "end = Constant <value_ints = [3]> () tail = Slice (s, one, end) n = ReduceProd (tail) "
        "zero = Constant <value_ints = [0]> () first = Gather (s, zero) t = Concat <axis = 0> (first, n) "
        "y = Reshape (x, t) }",
        OPEN,
        {"Shape", "Gather", "Concat", "Reshape", "Constant"},
    ),
    Case("computed-split", rotary(3), OPEN, {"Split", "Sin", "Concat", "Identity"}),
    Case(
        "branch",
        f"f (float[2,3,4] x) => (float[K,M] y) {{ n = Size (x) m = Constant <value_int = 24> () "
        f"c = Equal (n, m) y = If <{BRANCH}> (c) }}",
        X,
        {"Reshape", "Identity"},
    ),
    Case(
        "other-branch",
        f"f (float[2,3,4] x) => (float[K,M] y) <int64 m = {{25}}> {{ n = Size (x) "
        f"c = LessOrEqual (m, n) w = If <{BRANCH}> (c) y = Exp (w) }}",
        X,
        {"Tanh", "Flatten", "Identity", "Exp"},
    ),
    Case(
        "branches-of-equal-names",
        f"f (float[2,3,4] x) => (float[K,M] y) <bool yes = {{1}}> {{ v = If <{BRANCH}> (yes) "
        f"w = If <{BRANCH}> (yes) y = Mul (v, w) }}",
        X,
        {"Reshape", "Identity", "Mul"},
    ),
    Case(
        "nested-branch",
        f"""f (float[2,3,4] x) => (float[K,M] y) <bool yes = {{1}}> {{ y = If <
            then_branch = outer () => (float[U,V] z) {{
                u = Shape (x) i = Constant <value_int = 2> () n = Gather (u, i) j = Constant <value_int = 4> ()
                c = Equal (n, j) z = If <{BRANCH}> (c)
            }}, else_branch = other () => (float[U,V] z) {{ z = Flatten (x) }}> (yes) }}""",
        X,
        {"Reshape", "Identity"},
    ),
    Case(
        "open-branch",
        f"f (float[N,3,8] x) => (float[K,M] y) {{ n = Size (x) m = Constant <value_int = 48> () "
        f"c = Equal (n, m) y = If <{BRANCH}> (c) }}",
        OPEN,
        {"Size", "Constant", "Equal", "If"},
    ),
    Case(
        "loop",
        """f (float[2,3,4] x) => (float[2,3,4] y) { s = Shape (x) i = Constant <value_int = 1> () n = Gather (s, i)
            y = Loop <body = b (int64 k, bool c, float[2,3,4] h) => (bool d, float[2,3,4] g) {
                d = Identity (c) f = CastLike (n, h) g = Mul (h, f)
            }> (n, "", x) }""",
        X,
        {"Loop"},
    ),
    Case(
        "few-reals",
        "f (float[2,3,4] x) => (float[2,3,4] y) { s = Shape (x) i = Constant <value_ints = [-1]> () "
        "n = Gather (s, i) f = Cast <to = 1> (n) half = Constant <value_float = 0.5> () g = Mul (f, half) "
        "y = Mul (x, g) }",
        X,
        {"Mul", "Constant"},
    ),
    Case(
        "stored-reals",
        "f (float[2,3,4] x) => (float[2,3,4] y) <float w = {3}, float v = {2}> { g = Mul (w, v) y = Mul (x, g) }",
        X,
        {"Mul"},
    ),
    Case(
        "many-reals",
        "f (float[2,3,4] x) => (float[13,5,3,4] y) { s = Constant <value_ints = [13, 5, 1, 1, 1]> () "
        "c = ConstantOfShape <value = float[1] {2}> (s) i = Constant <value_ints = [2]> () "
        "d = Squeeze (c, i) j = Constant <value_ints = [0]> () k = Constant <value_ints = [1]> () "
        "e = Slice (x, j, k, j) y = Mul (e, d) }",
        X,
        {"Constant", "ConstantOfShape", "Squeeze", "Slice", "Mul"},
    ),
    Case(
        "many-integers",
        "f (float[2,3,4] x) => (float[2,3,4] y) { z = Constant <value_int = 0> () n = Constant <value_int = 5000> () "
        "one = Constant <value_int = 1> () r = Range (z, n, one) m = ReduceMax <keepdims = 0> (r) "
        "f = CastLike (m, x) y = Mul (x, f) }",
        X,
        {"Constant", "Range", "ReduceMax", "CastLike", "Mul"},
    ),
    Case(
        "integer-output",
        "f (float[2,3,4] x) => (int64[3] s, float[4,6] y) { s = Shape (x) i = Constant <value_ints = [-1, 4]> () "
        "b = Constant <value_ints = [0]> () e = Constant <value_ints = [-3]> () back = Constant <value_ints = [-1]> () "
        "r = Slice (i, back, e, b, back) y = Reshape (x, r) }",
        X,
        {"Shape", "Reshape"},
    ),
    Case(
        "rounded-to-steps",
        "f (float[2,3,4] x) => (float[2,3,4] y) { c = Constant <value_float = 0.5> () s = Constant <value_float = 0.1> () "
        "q = QuantizeLinear (c, s) d = DequantizeLinear (q, s) y = Mul (x, d) }",
        X,
        {"Constant", "QuantizeLinear", "DequantizeLinear", "Mul"},
    ),
    Case("nothing", "f (float[N,3] x) => (float[N,3] y) { y = Tanh (x) }", ({"x": (2, 3)},), {"Tanh"}),
]
IDS = [case.id for case in CASES]


def typed(text: str) -> ir.Model:
    return infer_shapes(ir.from_onnx_text(f'<ir_version: 10, opset_import: ["" : 21]> {text}'))


def feeds(shapes: Shapes) -> Feeds:
    rng = np.random.default_rng(0)
    return {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}


def every_value(model: ir.Model, given: Feeds) -> dict[str, NDArray[Any]]:
    """Numbers of every tensor outside branches and bodies."""
    copy = model.clone()
    outputs = [y for node in copy.graph for y in node.outputs if not y.is_graph_output()]
    copy.graph.outputs.extend(outputs)
    names = [str(value.name) for value in copy.graph.outputs]
    return dict(zip(names, evaluate(copy, given, names), strict=True))


@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_a_folded_graph_computes_the_same(case: Case) -> None:
    model = typed(case.text)
    names = [str(value.name) for value in model.graph.outputs]
    simpler = folded(model)
    onnx.checker.check_model(ir.to_proto(simpler), full_check=True)
    assert [str(value.name) for value in simpler.graph.outputs] == names
    for shapes in case.shapes:
        given = feeds(shapes)
        for before, after in zip(evaluate(model, given, names), evaluate(simpler, given, names), strict=True):
            np.testing.assert_array_equal(after, before)


@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_what_is_folded_is_what_no_input_can_change(case: Case) -> None:
    model = typed(case.text)
    kept = {str(y.name) for node in model.graph for y in node.outputs}
    made = [v for name, v in folded(model).graph.initializers.items() if name in kept]
    for shapes in case.shapes:
        found = every_value(model, feeds(shapes))
        for value in made:
            assert value.const_value is not None
            assert value.const_value.dtype == value.dtype
            np.testing.assert_array_equal(found[str(value.name)], value.const_value.numpy(), strict=True)


@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_these_operators_are_left(case: Case) -> None:
    assert {node.op_type for node in folded(typed(case.text)).graph} == case.left


@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_the_model_given_stays_as_it_is(case: Case) -> None:
    model = typed(case.text)
    before = ir.to_proto(model).SerializeToString(deterministic=True)
    folded(model)
    assert ir.to_proto(model).SerializeToString(deterministic=True) == before


@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_a_folded_graph_is_not_folded_again(case: Case) -> None:
    once = folded(typed(case.text))
    assert folded(once) is once


@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_folding_in_place_comes_to_the_same(case: Case) -> None:
    model = typed(case.text)
    separate = folded(model)
    assert ir.to_proto(folded(model, in_place=True)) == ir.to_proto(separate)


def test_ranks_behind_computed_lengths_are_known() -> None:
    model = typed(rotary(4))
    assert any(y.shape is None for node in model.graph for y in node.outputs)
    shapes = [y.shape for node in folded(model).graph for y in node.outputs]
    assert all(shape is not None and list(shape)[1:] in ([3, 8], [3, 4]) for shape in shapes)


def test_shapes_are_inferred_once_however_many_layers_wait_for_one_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls = []

    def counted(model: ir.Model) -> ir.Model:
        calls.append(model)
        return infer_shapes(model)

    monkeypatch.setattr(folding, "infer_shapes", counted)
    folded(typed(rotary(20)))
    assert len(calls) == 1


def test_a_rank_that_a_branch_hides_is_no_longer_hidden() -> None:
    text = """f (float[2,3,4] x) => (float[K,L] y) <bool yes = {0}> { t = If <
        then_branch = a () => (float z) <float z = {1}> { }, else_branch = b () => (float[2,3,4] z) { z = Tanh (x) }
    > (yes) s = Shape (t) i = Constant <value_ints = [1]> () n = Gather (s, i) m = Constant <value_ints = [-1]> ()
    r = Concat <axis = 0> (n, m) y = Reshape (t, r) }"""
    (output,) = folded(typed(text)).graph.outputs
    assert output.shape == ir.Shape([3, 8])


def test_an_initializer_that_is_an_input_may_be_overridden() -> None:
    text = "f (float[2,3] x) => (float[K,L] y) <int64[2] s = {3, 2}> { i = Identity (s) y = Reshape (x, i) }"
    model = typed(text)
    assert folded(model) is not model
    model.graph.inputs.append(model.graph.initializers["s"])
    assert folded(model) is model


def test_what_a_file_says_of_its_outputs_is_not_believed() -> None:
    text = """f (float[N,3] x) => (float[1,3] y, float[1,3] z) { y = Tanh (x) s = Shape (y) one = Constant <value = float[1] {1}> ()
        z = Expand (one, s) }"""
    model = typed(text)
    assert model.graph.outputs[0].shape == ir.Shape([1, 3])
    assert folded(model) is model


def test_constants_that_were_read_by_folded_nodes_alone_go() -> None:
    text = """f (float[2,3] x) => (float[K,L] y) <int64[1] two = {2}, int64[1] minus = {-1}, int64[1] idle = {5}>
        { n = Mul (two, two) m = Div (n, two) s = Concat <axis = 0> (m, minus) y = Reshape (x, s) }"""
    assert set(folded(typed(text)).graph.initializers) == {"s", "idle"}


@pytest.mark.parametrize("again", [False, True])
def test_gradients_of_stored_scalars_survive(again: bool) -> None:
    text = """f (float[2,3] x) => (float[2,3] y) <float w = {3}, float v = {2}>
        { s = Mul (w, v) c = Exp (s) y = Mul (x, c) }"""
    model, given, of = typed(text), dict(feeds({"x": (2, 3)})), "y"
    if again:
        model, of = with_gradient(model, wrt="x"), "d_x"
        given["cotangent"] = np.ones((2, 3), np.float32)
    assert check_vjp(model, given, of=of, wrt=["w", "v"]).error < 1e-6


def test_a_gradient_through_a_known_branch_needs_no_branch() -> None:
    case = next(case for case in CASES if case.id == "nested-branch")
    gradient = with_gradient(typed(case.text))
    assert "If" not in {node.op_type for node in gradient.graph}
    assert check_vjp(typed(case.text), feeds(case.shapes[0])).error < 1e-6


@pytest.mark.parametrize("shapes", OPEN, ids=["two", "five"])
def test_a_gradient_through_computed_lengths(shapes: Shapes) -> None:
    assert check_vjp(typed(rotary(3)), feeds(shapes)).error < 1e-6


def test_what_the_runtime_refuses_is_left_to_it() -> None:
    text = "f (float[2,3] x) => (float[K,L] y) <int64 five = {5}> { s = Shape (x) n = Gather (s, five) y = Expand (x, s) }"
    model = typed(text.replace("n = Gather (s, five)", "n = Gather (s, five) m = Div (five, n)"))
    assert {"Gather", "Div"} <= {node.op_type for node in folded(model).graph}


@pytest.mark.parametrize("missing", ["acme.Shape (x)", "acme.If (x)"])
def test_operators_of_other_domains_are_not_taken_for_ours(missing: str) -> None:
    text = (
        f'<ir_version: 10, opset_import: ["" : 21, "acme" : 1]> f (float[2,3] x) => (y) {{ y = {missing} }}'
    )
    model = ir.from_onnx_text(text)
    assert folded(model) is model
