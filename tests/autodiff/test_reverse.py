"""The engine: sums over uses, undoes broadcasting, leaves out what nobody asked for."""

import time

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper

from specprobe.autodiff import with_gradient
from specprobe.autodiff.reverse import nodes_between
from specprobe.errors import UnsupportedOperator
from specprobe.testing.evaluation import evaluate
from specprobe.testing.gradient_check import check_vjp

HEAD = '<ir_version: 10, opset_import: ["" : 18]>'


def model(text: str) -> ir.Model:
    return ir.from_onnx_text(f"{HEAD} f {text}")


def normal(*shape: int, seed: int = 0) -> "np.ndarray[tuple[int, ...], np.dtype[np.float32]]":
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def operators(graph: ir.Model) -> list[str]:
    return [node.op_type for node in graph.graph]


@st.composite
def broadcast_pairs(draw: st.DrawFn) -> tuple[list[list[int]], list[list[int | str | None]]]:
    """Sizes of two inputs that broadcast, and how the model states them: numbers, names, or not at all."""
    outer = draw(st.lists(st.integers(1, 4), max_size=4))
    sizes: list[list[int]] = []
    stated: list[list[int | str | None]] = []
    for which in "ab":
        inner = outer[draw(st.integers(0, len(outer))) :] if which == "b" else outer
        inner = [draw(st.sampled_from([size, 1])) for size in inner]
        sizes.append(inner)
        stated.append(
            [draw(st.sampled_from([size, f"S{size}", f"{which}{i}", None])) for i, size in enumerate(inner)]
        )
    return (sizes, stated) if draw(st.booleans()) else (sizes[::-1], stated[::-1])


@settings(deadline=None, max_examples=120)
@given(broadcast_pairs(), st.sampled_from(["Add", "Sub", "Mul", "Sum"]))
def test_broadcasting_is_undone(
    pair: tuple[list[list[int]], list[list[int | str | None]]], operator: str
) -> None:
    sizes, stated = pair
    proto = helper.make_model(
        helper.make_graph(
            [helper.make_node(operator, ["a", "b"], ["y"])],
            "f",
            [helper.make_tensor_value_info(name, 1, dims) for name, dims in zip("ab", stated, strict=True)],
            [helper.make_tensor_value_info("y", 1, None)],
        ),
        opset_imports=[helper.make_opsetid("", 18)],
        ir_version=10,
    )
    feeds = {name: normal(*size, seed=i) for i, (name, size) in enumerate(zip("ab", sizes, strict=True))}
    for name in "ab":
        assert check_vjp(proto, feeds, wrt=[name], directions=1).error < 2e-5


def test_equal_static_shapes_need_no_sum() -> None:
    gradient = with_gradient(model("(float[2,3] a, float[2,3] b) => (float[2,3] y) { y = Add(a, b) }"))
    assert "ReduceSum" not in operators(gradient)


def test_the_same_symbolic_name_needs_no_sum() -> None:
    gradient = with_gradient(model("(float[N,3] a, float[N,3] b) => (float[N,3] y) { y = Add(a, b) }"))
    assert "ReduceSum" not in operators(gradient)


def test_uses_are_summed() -> None:
    graph = model(
        "(float[N] x) => (float[N] y) { a = Tanh(x) b = Sigmoid(x) c = Mul(a, b) y = Sum(a, c, x) }"
    )
    assert check_vjp(graph, {"x": normal(5)}).error < 2e-5


def test_one_value_in_both_inputs_counts_twice() -> None:
    graph = with_gradient(model("(float[N] x) => (float[N] y) { y = Mul(x, x) }"))
    (dx,) = evaluate(graph, {"x": normal(3), "cotangent": np.ones(3, np.float32)}, ["d_x"])
    assert np.allclose(dx, 2 * normal(3))


def test_several_inputs_at_once() -> None:
    graph = model(
        "(float[N,3] x, float[3,4] w, float[4] b) => (float[N,4] y) { z = MatMul(x, w) y = Add(z, b) }"
    )
    feeds = {"x": normal(2, 3), "w": normal(3, 4, seed=1), "b": normal(4, seed=2)}
    for wrt in (["x"], ["w"], ["b"], ["x", "w", "b"]):
        assert check_vjp(graph, feeds, wrt=wrt).error < 2e-5


def test_initializers_have_gradients() -> None:
    graph = model(
        "(float[N,2] x) => (float[N,3] y) <float[2,3] w = {1, 2, 3, 4, 5, 6}> { z = MatMul(x, w) y = Tanh(z) }"
    )
    assert check_vjp(graph, {"x": normal(4, 2) / 9}, wrt=["w"]).error < 2e-5


def test_what_nobody_asks_for_is_not_emitted() -> None:
    graph = model("(float[N,3] x, float[3,4] w) => (float[N,4] y) { y = MatMul(x, w) }")
    assert operators(with_gradient(graph, wrt="x")).count("MatMul") == 2
    assert operators(with_gradient(graph)).count("MatMul") == 3


def test_branches_that_do_not_reach_the_output_are_left_out() -> None:
    graph = model("(float[N] x) => (float[N] y, float[N] z) { y = Tanh(x) z = Sigmoid(x) }")
    gradient = with_gradient(graph, of="y")
    assert operators(gradient).count("Sigmoid") == 1
    assert [value.name for value in gradient.graph.outputs] == ["y", "z", "d_x"]
    assert check_vjp(graph, {"x": normal(4)}, of="z").error < 2e-5


def test_an_output_used_inside_gets_both_cotangents() -> None:
    graph = model("(float[N] x) => (float[N] y, float[N] z) { y = Tanh(x) z = Mul(y, x) }")
    assert check_vjp(graph, {"x": normal(4)}, of="y").error < 2e-5
    assert check_vjp(graph, {"x": normal(4)}, of="z").error < 2e-5


def test_integers_cut_the_path() -> None:
    graph = model("(float[N] x) => (float[N] y) { i = Cast<to = 7>(x) f = Cast<to = 1>(i) y = Mul(f, x) }")
    gradient = with_gradient(graph)
    x = np.array([1.5, -2.25, 3.75], np.float32)
    (dx,) = evaluate(gradient, {"x": x, "cotangent": np.ones(3, np.float32)}, ["d_x"])
    assert dx.tolist() == [1, -2, 3]


def test_nodes_between_leaves_out_what_lies_beside() -> None:
    graph = model(
        "(float[N] x, float[N] w) => (float[N] y) { a = Tanh(x) b = Sigmoid(w) c = Neg(x) y = Mul(a, b) }"
    )
    x, y = graph.graph.inputs[0], graph.graph.outputs[0]
    nodes, values = nodes_between(graph.graph, [x], [y])
    assert [node.op_type for node in nodes] == ["Tanh", "Mul"]
    assert sorted(str(value.name) for value in values) == ["a", "x", "y"]


def test_a_subgraph_that_reads_from_outside_lies_between() -> None:
    graph = model(
        """(float[N] x, bool c) => (float[N] y) {
            y = If(c) <then_branch = t () => (float[N] p) { p = Tanh(x) },
                       else_branch = e () => (float[N] q) { q = Neg(x) }>
        }"""
    )
    nodes, _ = nodes_between(graph.graph, [graph.graph.inputs[0]], graph.graph.outputs)
    assert [node.op_type for node in nodes] == ["If"]


@given(st.integers(0, 99), st.floats(-3, 3, width=32), st.floats(-3, 3, width=32))
@settings(deadline=None, max_examples=20)
def test_products_are_linear_in_the_cotangent(seed: int, a: float, b: float) -> None:
    graph = with_gradient(
        model("(float[N,4] x) => (float[N,4] y) { a = Tanh(x) b = Softmax(x) y = Mul(a, b) }")
    )
    x, u, v = normal(3, 4, seed=seed), normal(3, 4, seed=seed + 1), normal(3, 4, seed=seed + 2)
    first, second, both = (
        evaluate(graph, {"x": x, "cotangent": c.astype(np.float32)}, ["d_x"])[0]
        for c in (u, v, a * u + b * v)
    )
    assert np.allclose(both, a * first + b * second, atol=1e-5)


def test_a_batch_of_two_is_two_batches_of_one() -> None:
    graph = with_gradient(
        model("(float[N,4] x) => (float[N,4] y) { a = Tanh(x) b = Softmax(x) y = Mul(a, b) }")
    )
    x, u = normal(2, 4), normal(2, 4, seed=1)
    (together,) = evaluate(graph, {"x": x, "cotangent": u}, ["d_x"])
    apart = [evaluate(graph, {"x": x[i : i + 1], "cotangent": u[i : i + 1]}, ["d_x"])[0] for i in range(2)]
    assert np.array_equal(together, np.concatenate(apart))


def ladder(rungs: int) -> onnx.ModelProto:
    """Chain of ``4 · rungs`` nodes in which every value is used twice or more."""
    nodes, x = [], "x"
    for i in range(rungs):
        nodes += [
            helper.make_node("Tanh", [x], [f"a{i}"]),
            helper.make_node("Sigmoid", [x], [f"b{i}"]),
            helper.make_node("Mul", [f"a{i}", f"b{i}"], [f"c{i}"]),
            helper.make_node("Add", [f"c{i}", x], [f"d{i}"]),
        ]
        x = f"d{i}"
    ends = [helper.make_tensor_value_info(name, 1, ["N", 8]) for name in ("x", x)]
    return helper.make_model(
        helper.make_graph(nodes, "ladder", ends[:1], ends[1:]),
        opset_imports=[helper.make_opsetid("", 18)],
        ir_version=10,
    )


@pytest.mark.slow
def test_building_costs_as_much_as_there_are_nodes() -> None:
    sizes = [len(with_gradient(ladder(rungs)).graph) for rungs in (125, 250, 500)]
    assert sizes[2] - sizes[1] == 2 * (sizes[1] - sizes[0])
    small, large = (min(_seconds(ladder(rungs)) for _ in range(2)) for rungs in (125, 1000))
    assert large < 24 * small  # eight times the nodes; a quadratic step would show as 64


def _seconds(graph: onnx.ModelProto) -> float:
    start = time.process_time()
    with_gradient(graph)
    return time.process_time() - start


def test_an_unknown_rank_that_a_rule_needs_is_refused_by_name() -> None:
    model = ir.from_onnx_text(
        '<ir_version: 10, opset_import: ["" : 18]> net (float[N, 4] x, int64[K] s) => (float y) '
        "{ r = Reshape(x, s)  y = MatMul(r, r) }"
    )
    with pytest.raises(UnsupportedOperator, match=r"MatMul .* where 'r' is of unknown rank"):
        with_gradient(model)


def joined(consumers: str, channels: int = 16) -> ir.Model:
    """Two convolutions side by side, one image of their channels, and what reads it."""
    whole = 2 * channels
    rng = np.random.default_rng(3)
    weights = "".join(
        f"float[{','.join(map(str, shape))}] {name} = "
        f"{{{','.join(f'{v:.3f}' for v in rng.standard_normal(int(np.prod(shape))) / 4)}}}, "
        for name, shape in {"u": (channels, 2, 1, 1), "v": (channels, 2, 1, 1), "w": (3, whole, 3, 3)}.items()
    ).removesuffix(", ")
    return onnx_text(
        f"(float[N,2,4,4] x) => (float[N,3,2,2] y) <{weights}> {{ a = Conv(x, u) b = Conv(x, v) "
        f"c = Concat<axis=1>(a, b) {consumers} }}"
    )


def onnx_text(text: str) -> ir.Model:
    proto = onnx.parser.parse_model(f"{HEAD} f {text}")
    return ir.from_proto(onnx.shape_inference.infer_shapes(proto))


@pytest.mark.parametrize(
    ("consumers", "parts"),
    [
        ("y = Conv(c, w)", True),
        ("d = Conv(c, w) e = Conv(c, w) y = Add(d, e)", True),
        (
            "d = AveragePool<kernel_shape=[3, 3], pads=[1, 1, 1, 1]>(c) e = Conv(d, w) f = Conv(c, w) y = Add(e, f)",
            True,
        ),
        ("d = Tanh(c) y = Conv(d, w)", False),
        ("d = Conv(c, w) e = Tanh(c) f = Conv(e, w) y = Add(d, f)", False),
    ],
)
def test_what_convolutions_ask_of_a_join_is_computed_in_its_parts(consumers: str, parts: bool) -> None:
    graph = joined(consumers)
    used = operators(with_gradient(graph))
    assert ("Split" not in used) is parts
    assert check_vjp(graph, {"x": normal(2, 2, 4, 4)}).error < 2e-4


def test_parts_that_fill_no_block_of_channels_are_cut_instead() -> None:
    graph = joined("y = Conv(c, w)", channels=6)
    assert "Split" in operators(with_gradient(graph))
    assert check_vjp(graph, {"x": normal(2, 2, 4, 4)}).error < 2e-4


def test_a_join_whose_own_gradient_is_asked_for_is_whole() -> None:
    graph = with_gradient(joined("y = Conv(c, w)"), of="c")
    assert check_vjp(joined("y = Conv(c, w)"), {"x": normal(2, 2, 4, 4)}, of="c").error < 2e-4
    assert "Split" in operators(graph)


def test_cotangents_have_the_shape_of_what_they_belong_to() -> None:
    graph = with_gradient(joined("d = Relu(c) y = Conv(d, w)"))
    shapes = {str(v.name): v.shape for node in graph.graph for v in node.outputs}
    assert shapes["d_x"] == ["N", 2, 4, 4]
    masked = [node.outputs[0] for node in graph.graph if node.op_type == "Mul"]
    assert masked
    assert all(v.shape is not None and v.shape[0] == "N" for v in masked)
