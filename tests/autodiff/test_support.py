"""What stands in the way of a gradient is told without building it, and in agreement with building it."""

import onnx_ir as ir
import pytest

from specprobe.autodiff import with_gradient
from specprobe.autodiff.support import unsupported_nodes
from specprobe.errors import UnsupportedOperator
from specprobe.graph.load import infer_shapes

HEAD = '<ir_version: 10, opset_import: ["" : 18, "acme" : 1]>'
CHOICE = """f (float[2,3] x) => (float[2,3] y) {{ n = Size (x) m = Constant <value_int = {size}> () c = Equal (n, m)
    y = If <then_branch = a () => (float[2,3] z) {{ z = Tanh (x) }},
            else_branch = b () => (float[2,3] w) {{ w = acme.Odd (x) }}> (c) }}"""


def model(text: str) -> ir.Model:
    return infer_shapes(ir.from_onnx_text(f"{HEAD} {text}"))


def test_a_branch_that_is_never_taken_does_not_count() -> None:
    choice = model(CHOICE.format(size=6))
    assert unsupported_nodes(choice) == ()
    assert "If" not in {node.op_type for node in with_gradient(choice).graph}


def test_a_branch_that_is_always_taken_counts() -> None:
    choice = model(CHOICE.format(size=7))
    nodes = unsupported_nodes(choice)
    assert nodes is not None
    assert [node.op_type for node in nodes] == ["Odd"]
    with pytest.raises(UnsupportedOperator, match="acme::Odd"):
        with_gradient(choice)


def test_a_loop_whose_length_follows_from_a_shape_counts_as_its_body() -> None:
    text = """f (float[2,4] x) => (float[2,4] y) { s = Shape (x) i = Constant <value_int = 1> () n = Gather (s, i)
        two = Constant <value_int = 2> () count = Div (n, two)
        y = Loop <body = b (int64 k, bool c, float[2,4] v) => (bool d, float[2,4] w) {
            d = Identity (c) w = Tanh (v) }> (count, "", x) }"""
    assert unsupported_nodes(model(text)) == ()
    nodes = unsupported_nodes(model(text.replace("[2,4]", "[N,K]")))
    assert nodes is not None
    assert [node.op_type for node in nodes] == ["Loop"]


def test_no_way_is_not_a_way_without_hindrance() -> None:
    assert unsupported_nodes(model("f (float[2] x) => (int64[1] y) { y = Shape (x) }")) is None
