"""Rules for activations. Where the output says it, it is used rather than the input: it is there already."""

import math

import onnx_ir as ir

from specprobe.autodiff.operators import Operators
from specprobe.autodiff.registry import Cotangent, vjp
from specprobe.autodiff.reverse import sum_to_shape
from specprobe.autodiff.rules.phases import step

__all__: list[str] = []


_STEEP_AT_ZERO = frozenset({"Div", "Log", "LpNormalization", "LpPool", "Pow", "Reciprocal", "Sqrt"})
"""Operators whose derivative may be infinite at 0, where a mask that is multiplied with makes NaN of it."""


@vjp("Relu")
def relu(op: Operators, node: ir.Node, dy: ir.Value) -> tuple[Cotangent, ...]:
    """At 0 the gradient is 0, as in PyTorch and JAX; also where ``dy`` is infinite, unless it overflowed."""
    (y,) = node.outputs
    users = {user.op_type for user in y.consumers()}
    if y.dtype == ir.DataType.FLOAT and users and not users & _STEEP_AT_ZERO:
        return (op.Mul(dy, step(op, y)),)  # Where takes the CPU ten times as long
    zero = op.scalar(0, dy)
    return (op.Where(op.Greater(y, zero), dy, zero),)


@vjp("LeakyRelu")
def leaky_relu(op: Operators, node: ir.Node, dy: ir.Value) -> tuple[Cotangent, ...]:
    """At 0 the gradient is alpha, as in PyTorch; JAX has 1."""
    (x,), (y,) = node.inputs, node.outputs
    alpha = node.attributes.get_float("alpha", 0.01)
    positive = op.Greater(y if alpha > 0 else x, op.scalar(0, dy))
    return (op.Where(positive, dy, op.Mul(dy, op.scalar(alpha, dy))),)


@vjp("PRelu")
def prelu(op: Operators, node: ir.Node, dy: ir.Value) -> tuple[Cotangent, ...]:
    """At 0 the gradient is the slope, as in PyTorch; the slope has gradient x where x < 0."""
    x, slope = node.inputs
    assert x is not None
    assert slope is not None
    zero = op.scalar(0, dy)
    positive = op.Greater(x, zero)

    def dslope() -> ir.Value:
        return sum_to_shape(op, op.Where(positive, zero, op.Mul(dy, x)), slope, node.outputs[0])

    return lambda: op.Where(positive, dy, op.Mul(dy, slope)), dslope


@vjp("Elu")
def elu(op: Operators, node: ir.Node, dy: ir.Value) -> tuple[Cotangent, ...]:
    """``y + alpha`` where x ≤ 0: at 0 the gradient is alpha, as in PyTorch and JAX."""
    alpha = node.attributes.get_float("alpha", 1.0)
    return (op.Mul(dy, _exponential_unit(op, node, dy, above=1.0, offset=alpha)),)


@vjp("Selu")
def selu(op: Operators, node: ir.Node, dy: ir.Value) -> tuple[Cotangent, ...]:
    """``y + gamma·alpha`` where x ≤ 0: at 0 the gradient is gamma·alpha, as in PyTorch and JAX."""
    alpha = node.attributes.get_float("alpha", 1.6732631921768188)
    gamma = node.attributes.get_float("gamma", 1.0507010221481323)
    return (op.Mul(dy, _exponential_unit(op, node, dy, above=gamma, offset=gamma * alpha)),)


def _exponential_unit(op: Operators, node: ir.Node, dy: ir.Value, *, above: float, offset: float) -> ir.Value:
    (x,), (y,) = node.inputs, node.outputs
    positive = op.Greater(x, op.scalar(0, dy))
    return op.Where(positive, op.scalar(above, dy), op.Add(y, op.scalar(offset, dy)))


@vjp("Celu")
def celu(op: Operators, node: ir.Node, dy: ir.Value) -> tuple[Cotangent, ...]:
    """``1 + min(y / alpha, 0)``: smooth, also at 0."""
    (x,), (y,) = node.inputs, node.outputs
    one = op.scalar(1, dy)
    below = op.Add(op.Div(y, op.scalar(node.attributes.get_float("alpha", 1.0), dy)), one)
    return (op.Mul(dy, op.Where(op.Greater(x, op.scalar(0, dy)), one, below)),)


@vjp("Gelu")
def gelu(op: Operators, node: ir.Node, dy: ir.Value) -> tuple[Cotangent, ...]:
    """``Φ(x) + x φ(x)``, or the derivative of the tanh form where the node has that."""
    (x,) = node.inputs
    assert x is not None
    half, one = op.scalar(0.5, dy), op.scalar(1, dy)
    if node.attributes.get_string("approximate", "none") == "tanh":
        # Beyond ±10 tanh is ±1 in every type; the powers of x would overflow there, in float16 from 256 on.
        x = op.Clip(x, op.scalar(-10, dy), op.scalar(10, dy))
        root = math.sqrt(2 / math.pi)
        square = op.Mul(x, x)
        bracket = op.Add(op.Mul(square, op.scalar(0.044715 * root, dy)), op.scalar(root, dy))
        t = op.Tanh(op.Mul(x, bracket))
        slope = op.Add(op.Mul(square, op.scalar(3 * 0.044715 * root, dy)), op.scalar(root, dy))
        rise = op.Mul(op.Mul(x, slope), op.Sub(one, op.Mul(t, t)))
        return (op.Mul(dy, op.Mul(half, op.Add(op.Add(t, one), rise))),)
    below = op.Mul(half, op.Add(op.Erf(op.Mul(x, op.scalar(math.sqrt(0.5), dy))), one))
    density = op.Exp(op.Mul(op.Mul(x, x), op.scalar(-0.5, dy)))
    scaled = op.Mul(op.Mul(x, op.scalar(1 / math.sqrt(2 * math.pi), dy)), density)
    return (op.Mul(dy, op.Add(below, scaled)),)


@vjp("Sigmoid")
def sigmoid(op: Operators, node: ir.Node, dy: ir.Value) -> tuple[Cotangent, ...]:
    """``y (1 − y)``."""
    (y,) = node.outputs
    return (op.Mul(dy, op.Mul(y, op.Sub(op.scalar(1, dy), y))),)


@vjp("HardSigmoid")
def hard_sigmoid(op: Operators, node: ir.Node, dy: ir.Value) -> tuple[Cotangent, ...]:
    """At both ends of the slope the gradient is 0, as in PyTorch and JAX."""
    (y,) = node.outputs
    zero, alpha = op.scalar(0, dy), op.scalar(node.attributes.get_float("alpha", 0.2), dy)
    inside = op.And(op.Greater(y, zero), op.Less(y, op.scalar(1, dy)))
    return (op.Where(inside, op.Mul(dy, alpha), zero),)


@vjp("HardSwish")
def hard_swish(op: Operators, node: ir.Node, dy: ir.Value) -> tuple[Cotangent, ...]:
    """``x / 3 + 1/2`` inside (−3, 3); 0 at −3 and 1 at 3, as in PyTorch and JAX."""
    (x,) = node.inputs
    zero, one = op.scalar(0, dy), op.scalar(1, dy)
    middle = op.Add(op.Mul(x, op.scalar(1 / 3, dy)), op.scalar(0.5, dy))
    upper = op.Where(op.Less(x, op.scalar(3, dy)), middle, one)
    return (op.Mul(dy, op.Where(op.Greater(x, op.scalar(-3, dy)), upper, zero)),)


@vjp("Mish")
def mish(op: Operators, node: ir.Node, dy: ir.Value) -> tuple[Cotangent, ...]:
    """With ``t = tanh(softplus(x))``: ``t + x σ(x) (1 − t²)``."""
    (x,) = node.inputs
    t = op.Tanh(op.Softplus(x))
    gate = op.Mul(op.Mul(x, op.Sigmoid(x)), op.Sub(op.scalar(1, dy), op.Mul(t, t)))
    return (op.Mul(dy, op.Add(t, gate)),)


@vjp("Softplus")
def softplus(op: Operators, node: ir.Node, dy: ir.Value) -> tuple[Cotangent, ...]:
    """``σ(x)``: no overflow anywhere."""
    (x,) = node.inputs
    return (op.Mul(dy, op.Sigmoid(x)),)


@vjp("Softsign")
def softsign(op: Operators, node: ir.Node, dy: ir.Value) -> tuple[Cotangent, ...]:
    """``1 / (1 + |x|)²``; from the output it would lose its digits where ``|y|`` nears 1."""
    (x,) = node.inputs
    span = op.Add(op.Abs(x), op.scalar(1, dy))
    return (op.Div(op.Div(dy, span), span),)


@vjp("Swish")
def swish(op: Operators, node: ir.Node, dy: ir.Value) -> tuple[Cotangent, ...]:
    """With ``s = σ(alpha·x)``: ``s + alpha·y (1 − s)``."""
    (x,), (y,) = node.inputs, node.outputs
    assert x is not None
    gate = _gate(op, node, x)
    return (op.Mul(dy, _swish_slope(op, node, y, gate)),)


@vjp("SwiGLU")
def swiglu(op: Operators, node: ir.Node, dy: ir.Value) -> tuple[Cotangent, ...]:
    """``swish(a)·b``: ``b`` times the slope of swish, and swish itself. No broadcasting."""
    a, b = node.inputs
    assert a is not None
    gate = _gate(op, node, a)
    gated = op.Mul(a, gate)

    def da() -> ir.Value:
        return op.Mul(op.Mul(dy, b), _swish_slope(op, node, gated, gate))

    return da, lambda: op.Mul(dy, gated)


def _gate(op: Operators, node: ir.Node, x: ir.Value) -> ir.Value:
    """``σ(alpha·x)``."""
    alpha = node.attributes.get_float("alpha", 1.0)
    return op.Sigmoid(x if alpha == 1 else op.Mul(x, op.scalar(alpha, x)))


def _swish_slope(op: Operators, node: ir.Node, y: ir.Value, gate: ir.Value) -> ir.Value:
    """Derivative of ``y = x·gate``: ``gate + alpha·y (1 − gate)``."""
    alpha = node.attributes.get_float("alpha", 1.0)
    rest = op.Mul(y, op.Sub(op.scalar(1, gate), gate))
    return op.Add(gate, rest if alpha == 1 else op.Mul(rest, op.scalar(alpha, gate)))


@vjp("ThresholdedRelu")
def thresholded_relu(op: Operators, node: ir.Node, dy: ir.Value) -> tuple[Cotangent, ...]:
    """At alpha, where it jumps, the gradient is 0, as in PyTorch."""
    (x,) = node.inputs
    alpha = op.scalar(node.attributes.get_float("alpha", 1.0), dy)
    return (op.Where(op.Greater(x, alpha), dy, op.scalar(0, dy)),)


@vjp("Shrink")
def shrink(op: Operators, node: ir.Node, dy: ir.Value) -> tuple[Cotangent, ...]:
    """At ±lambd the gradient is 0, as in PyTorch."""
    (x,) = node.inputs
    lambd = op.scalar(node.attributes.get_float("lambd", 0.5), dy)
    return (op.Where(op.Greater(op.Abs(x), lambd), dy, op.scalar(0, dy)),)


@vjp("Clip")
def clip(op: Operators, node: ir.Node, dy: ir.Value) -> tuple[Cotangent, ...]:
    """At the bounds the gradient goes to x, as in ``torch.clamp``; beyond them, to the bound."""
    x, low, high = (*node.inputs, None, None)[:3]
    (y,) = node.outputs
    zero = op.scalar(0, dy)

    def total(reached: ir.Value, bound: ir.Value) -> ir.Value:
        return sum_to_shape(op, op.Where(reached, dy, zero), bound, y)

    def dlow() -> ir.Value:
        assert low is not None
        below = op.Less(x, low)
        # Where the bounds cross, the upper one holds.
        return total(below if high is None else op.And(below, op.LessOrEqual(low, high)), low)

    def dhigh() -> ir.Value:
        assert high is not None
        return total(op.Greater(x if low is None else op.Max(x, low), high), high)

    # x is inside, ends included, exactly where clipping did not change it.
    found = lambda: op.Where(op.Equal(x, y), dy, zero), dlow, dhigh
    return found[: len(node.inputs)]


@vjp("Hardmax")
def hardmax(_op: Operators, _node: ir.Node, _dy: ir.Value) -> tuple[Cotangent, ...]:
    """A step: 0 wherever it has a derivative."""
    return (None,)


@vjp("Tanh")
def tanh(op: Operators, node: ir.Node, dy: ir.Value) -> tuple[Cotangent, ...]:
    """``1 − y²``."""
    (y,) = node.outputs
    return (op.Mul(dy, op.Sub(op.scalar(1, dy), op.Mul(y, y))),)


@vjp("Softmax")
def softmax(op: Operators, node: ir.Node, dy: ir.Value) -> tuple[Cotangent, ...]:
    """``y (dy − Σ dy·y)``."""
    (y,) = node.outputs
    axis = op.ints([node.attributes.get_int("axis", -1)])
    weighted = op.Mul(dy, y)
    return (op.Sub(weighted, op.Mul(y, op.ReduceSum(weighted, axis, keepdims=1))),)


@vjp("LogSoftmax")
def log_softmax(op: Operators, node: ir.Node, dy: ir.Value) -> tuple[Cotangent, ...]:
    """``dy − exp(y) Σ dy``."""
    (y,) = node.outputs
    axis = op.ints([node.attributes.get_int("axis", -1)])
    return (op.Sub(dy, op.Mul(op.Exp(y), op.ReduceSum(dy, axis, keepdims=1))),)
