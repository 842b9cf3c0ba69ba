"""Rules for elementary functions of one variable. Each derivative is that of any table; forms are chosen for accuracy."""

import math

import onnx_ir as ir

from specprobe.autodiff.operators import Operators
from specprobe.autodiff.registry import Cotangent, vjp

__all__: list[str] = []


@vjp("Exp")
def exp(op: Operators, node: ir.Node, dy: ir.Value) -> tuple[Cotangent, ...]:
    """``y``."""
    return (op.Mul(dy, node.outputs[0]),)


@vjp("Log")
def log(op: Operators, node: ir.Node, dy: ir.Value) -> tuple[Cotangent, ...]:
    """``1 / x``: infinite at 0."""
    return (op.Div(dy, node.inputs[0]),)


@vjp("Sin")
def sin(op: Operators, node: ir.Node, dy: ir.Value) -> tuple[Cotangent, ...]:
    """``cos x``."""
    return (op.Mul(dy, op.Cos(node.inputs[0])),)


@vjp("Cos")
def cos(op: Operators, node: ir.Node, dy: ir.Value) -> tuple[Cotangent, ...]:
    """``−sin x``."""
    return (op.Neg(op.Mul(dy, op.Sin(node.inputs[0]))),)


@vjp("Tan")
def tan(op: Operators, node: ir.Node, dy: ir.Value) -> tuple[Cotangent, ...]:
    """``1 + y²``."""
    (y,) = node.outputs
    return (op.Mul(dy, op.Add(op.Mul(y, y), op.scalar(1, dy))),)


@vjp("Asin")
def asin(op: Operators, node: ir.Node, dy: ir.Value) -> tuple[Cotangent, ...]:
    """``1 / √(1 − x²)``: infinite at ±1."""
    return (op.Div(dy, op.Sqrt(_one_minus_square(op, node.inputs[0], dy))),)


@vjp("Acos")
def acos(op: Operators, node: ir.Node, dy: ir.Value) -> tuple[Cotangent, ...]:
    """``−1 / √(1 − x²)``: infinite at ±1."""
    return (op.Neg(op.Div(dy, op.Sqrt(_one_minus_square(op, node.inputs[0], dy)))),)


@vjp("Atan")
def atan(op: Operators, node: ir.Node, dy: ir.Value) -> tuple[Cotangent, ...]:
    """``1 / (1 + x²)``."""
    (x,) = node.inputs
    return (op.Div(dy, op.Add(op.Mul(x, x), op.scalar(1, dy))),)


@vjp("Sinh")
def sinh(op: Operators, node: ir.Node, dy: ir.Value) -> tuple[Cotangent, ...]:
    """``cosh x``."""
    return (op.Mul(dy, op.Cosh(node.inputs[0])),)


@vjp("Cosh")
def cosh(op: Operators, node: ir.Node, dy: ir.Value) -> tuple[Cotangent, ...]:
    """``sinh x``."""
    return (op.Mul(dy, op.Sinh(node.inputs[0])),)


@vjp("Asinh")
def asinh(op: Operators, node: ir.Node, dy: ir.Value) -> tuple[Cotangent, ...]:
    """``1 / √(1 + x²)``, as ``1 / cosh y``, which does not overflow."""
    return (op.Div(dy, op.Cosh(node.outputs[0])),)


@vjp("Acosh")
def acosh(op: Operators, node: ir.Node, dy: ir.Value) -> tuple[Cotangent, ...]:
    """``1 / √(x² − 1)``, as ``1 / sinh y``: infinite at 1."""
    return (op.Div(dy, op.Sinh(node.outputs[0])),)


@vjp("Atanh")
def atanh(op: Operators, node: ir.Node, dy: ir.Value) -> tuple[Cotangent, ...]:
    """``1 / (1 − x²)``: infinite at ±1."""
    return (op.Div(dy, _one_minus_square(op, node.inputs[0], dy)),)


@vjp("Erf")
def erf(op: Operators, node: ir.Node, dy: ir.Value) -> tuple[Cotangent, ...]:
    """``2/√π exp(−x²)``."""
    (x,) = node.inputs
    bell = op.Exp(op.Neg(op.Mul(x, x)))
    return (op.Mul(dy, op.Mul(bell, op.scalar(2 / math.sqrt(math.pi), dy))),)


def _one_minus_square(op: Operators, x: ir.Value | None, like: ir.Value) -> ir.Value:
    """``(1 − x)(1 + x)``, which keeps its digits near ±1."""
    one = op.scalar(1, like)
    return op.Mul(op.Sub(one, x), op.Add(one, x))
