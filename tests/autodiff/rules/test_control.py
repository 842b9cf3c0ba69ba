"""Tests for the rules for control flow."""

from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from specprobe.autodiff import with_gradient
from specprobe.errors import UnsupportedOperator
from specprobe.testing.gradient_check import check_vjp

IF = """<ir_version: 10, opset_import: ["" : 18]> f (bool c, float[N] x, float[N] w) => (float[N] y) {
    s = Tanh(x)
    z, q = If (c) <
        then_branch = g () => (float[N] a, float[N] b) { t = Mul(s, s) a = Mul(t, w) b = Exp(x) },
        else_branch = h () => (float[N] d, float[N] e) { d = Neg(x) e = Mul(d, d) }
    >
    y = OUTPUT
}"""
NESTED = """<ir_version: 10, opset_import: ["" : 18]> f (bool c, bool d, float[N] x) => (float[N] y) {
    y = If (c) <
        then_branch = g () => (float[N] a) {
            t = Mul(x, x)
            a = If (d) <
                then_branch = g2 () => (float[N] k) { u = Mul(t, x) v = Mul(u, x) k = Mul(v, t) },
                else_branch = h2 () => (float[N] m) { m = Tanh(t) }
            >
        },
        else_branch = h () => (float[N] b) { b = Neg(x) }
    >
}"""


def feeds(*, taken: bool) -> dict[str, "np.ndarray[Any, Any]"]:
    rng = np.random.default_rng(0)
    return {"c": np.asarray(taken), **{name: rng.standard_normal(4).astype(np.float32) for name in "xw"}}


@pytest.mark.parametrize("taken", [True, False])
@pytest.mark.parametrize("output", ["Mul(z, q)", "Mul(z, x)", "Mul(q, w)", "Identity(z)", "Mul(z, z)"])
def test_if_against_differences(output: str, *, taken: bool) -> None:
    model = ir.from_onnx_text(IF.replace("OUTPUT", output))
    assert check_vjp(model, feeds(taken=taken)).error < 2e-5
    assert check_vjp(model, feeds(taken=taken), wrt=["w"]).error < 2e-5


@pytest.mark.parametrize("taken", [True, False])
def test_if_has_a_second_derivative(*, taken: bool) -> None:
    gradient = with_gradient(ir.from_onnx_text(IF.replace("OUTPUT", "Mul(z, q)")), wrt="x")
    for node in gradient.graph.all_nodes():
        node.name = None
    arrays = {**feeds(taken=taken), "cotangent": np.asarray([1, -2, 3, 0.5], np.float32)}
    assert check_vjp(gradient, arrays, of="d_x").error < 2e-5


@pytest.mark.parametrize("outer", [True, False])
@pytest.mark.parametrize("inner", [True, False])
def test_if_within_if(*, outer: bool, inner: bool) -> None:
    arrays = {"c": np.asarray(outer), "d": np.asarray(inner), "x": feeds(taken=True)["x"]}
    assert check_vjp(ir.from_onnx_text(NESTED), arrays).error < 2e-5


def test_if_that_hands_on_what_it_reads() -> None:
    text = """<ir_version: 10, opset_import: ["" : 18]> f (bool c, float[N] x) => (float[N] y) {
        y = If (c) <
            then_branch = g () => (float[N] a) { a = Identity(x) },
            else_branch = h () => (float[N] b) <float[1] b = {7.0}> {}
        >
    }"""
    arrays = {name: array for name, array in feeds(taken=True).items() if name != "w"}
    assert check_vjp(ir.from_onnx_text(text), arrays).error < 2e-5


def test_operators_without_rule_inside_a_branch_are_named() -> None:
    text = (
        IF.replace("OUTPUT", "Mul(z, q)")
        .replace("Neg(x)", "mine.Foo(x)")
        .replace('"" : 18', '"" : 18, "mine" : 1')
    )
    with pytest.raises(UnsupportedOperator, match="mine::Foo"):
        with_gradient(ir.from_onnx_text(text))
