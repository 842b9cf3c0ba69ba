"""Rules are registered once, found by operator, and missed in one message."""

import onnx
import onnx_ir as ir
import pytest

from specprobe.autodiff import Operators, missing_rules, registry, supported_operators, vjp, with_gradient
from specprobe.errors import UnsupportedOperator


@pytest.fixture(autouse=True)
def _own_rules(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_RULES", dict(registry._RULES))


def model(body: str) -> ir.Model:
    head = '<ir_version: 10, opset_import: ["" : 18, "my.domain" : 1]>'
    return ir.from_onnx_text(f"{head} f (float[N] x) => (float[N] y) {{ {body} }}")


def test_all_missing_rules_stand_in_one_message() -> None:
    graph = model("a = my.domain.First(x) b = my.domain.Second(a) c = my.domain.First(b) y = Tanh(c)")
    for node, name in zip(graph.graph, ("one", "two", "three", "four"), strict=True):
        node.name = name
    with pytest.raises(UnsupportedOperator) as caught:
        with_gradient(graph)
    message = str(caught.value)
    assert "my.domain::First (node 'one' and 1 more); my.domain::Second (node 'two')" in message
    assert "Tanh" not in message
    assert "docs/operators.md" in message


def test_a_node_without_a_name_is_named_by_its_output() -> None:
    graph = model("first = my.domain.First(x) y = Tanh(first)")
    with pytest.raises(UnsupportedOperator, match=r"my\.domain::First"):
        with_gradient(graph)


def test_a_branch_of_unknown_type_is_refused_not_left_out() -> None:
    graph = model("a = my.domain.First(x) b = my.domain.Second(a) y = Add(b, x)")
    with pytest.raises(UnsupportedOperator, match=r"my\.domain::Second"):
        with_gradient(graph)


def test_a_missing_rule_beside_the_path_is_harmless() -> None:
    graph = ir.from_onnx_text(
        '<ir_version: 10, opset_import: ["" : 18, "my.domain" : 1]> '
        "f (float[N] x) => (float[N] y, float[N] z) { y = Tanh(x) z = my.domain.First(y) }"
    )
    assert [value.name for value in with_gradient(graph, of="y").graph.outputs] == ["y", "z", "d_x"]


def test_a_rule_of_ones_own_domain() -> None:
    @vjp("Twice", domain="my.domain")
    def twice(op: Operators, node: ir.Node, dy: ir.Value) -> tuple[ir.Value]:
        return (op.Add(dy, dy),)

    gradient = with_gradient(model("y = my.domain.Twice(x)"))
    assert [node.op_type for node in gradient.graph] == ["Twice", "Add", "Identity"]
    assert "my.domain::Twice" in supported_operators()


def test_a_second_rule_is_refused() -> None:
    with pytest.raises(ValueError, match=r"Tanh has two rules: tanh in .*activation and .*again in"):

        @vjp("Tanh")
        def again(op: Operators, node: ir.Node, dy: ir.Value) -> tuple[ir.Value]:
            return (dy,)


def test_a_rule_that_returns_too_few_cotangents_is_a_bug() -> None:
    @vjp("Few", domain="my.domain")
    def few(op: Operators, node: ir.Node, dy: ir.Value) -> tuple[ir.Value, ...]:
        return ()

    with pytest.raises(AssertionError, match="Few returned 0 cotangents for 1 inputs"):
        with_gradient(model("y = my.domain.Few(x)"))


def test_missing_rules_keeps_the_order() -> None:
    graph = model("a = my.domain.B(x) b = Tanh(a) y = my.domain.A(b)")
    assert [node.op_type for node in missing_rules(graph.graph)] == ["B", "A"]


def test_the_default_domain_has_two_names() -> None:
    graph = model("y = Tanh(x)")
    node = next(iter(graph.graph))
    node.domain = "ai.onnx"
    assert missing_rules([node]) == ()


@pytest.mark.parametrize("name", sorted(name for name in supported_operators() if "::" not in name))
def test_every_rule_is_of_an_operator_that_there_is(name: str) -> None:
    assert onnx.defs.has(name)
