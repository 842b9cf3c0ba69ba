"""Rules for element-wise arithmetic. Inputs broadcast; the engine sums what was repeated."""

import onnx_ir as ir

from specprobe.autodiff.operators import Operators
from specprobe.autodiff.registry import Cotangent, vjp

__all__: list[str] = []


@vjp("Add", broadcasts=True)
def add(_op: Operators, _node: ir.Node, dy: ir.Value) -> tuple[Cotangent, ...]:
    """Both inputs."""
    return dy, dy


@vjp("Sub", broadcasts=True)
def sub(op: Operators, _node: ir.Node, dy: ir.Value) -> tuple[Cotangent, ...]:
    """Minus for the second."""
    return dy, lambda: op.Neg(dy)


@vjp("Mul", broadcasts=True)
def mul(op: Operators, node: ir.Node, dy: ir.Value) -> tuple[Cotangent, ...]:
    """Each input times the other."""
    a, b = node.inputs
    return lambda: op.Mul(dy, b), lambda: op.Mul(dy, a)


@vjp("Div", broadcasts=True)
def div(op: Operators, node: ir.Node, dy: ir.Value) -> tuple[Cotangent, ...]:
    """``y = a / b``: ``da = dy / b``, ``db = −dy · y / b``."""
    _, b = node.inputs
    (y,) = node.outputs
    return lambda: op.Div(dy, b), lambda: op.Neg(op.Mul(dy, op.Div(y, b)))


@vjp("Neg")
def neg(op: Operators, _node: ir.Node, dy: ir.Value) -> tuple[Cotangent, ...]:
    """Linear."""
    return (op.Neg(dy),)


@vjp("Identity")
def identity(_op: Operators, _node: ir.Node, dy: ir.Value) -> tuple[Cotangent, ...]:
    """Linear."""
    return (dy,)


@vjp("Sum", broadcasts=True)
def sum_(_op: Operators, node: ir.Node, dy: ir.Value) -> tuple[Cotangent, ...]:
    """Every input."""
    return tuple(dy for _ in node.inputs)


@vjp("Where", broadcasts=True)
def where(op: Operators, node: ir.Node, dy: ir.Value) -> tuple[Cotangent, ...]:
    """To the branch that was taken. The condition has no gradient."""
    condition = node.inputs[0]
    zero = op.scalar(0, dy)
    return None, lambda: op.Where(condition, dy, zero), lambda: op.Where(condition, zero, dy)


@vjp("Mean", broadcasts=True)
def mean(op: Operators, node: ir.Node, dy: ir.Value) -> tuple[Cotangent, ...]:
    """An equal share to every input."""
    if len(node.inputs) == 1:
        return (dy,)
    share = op.Mul(dy, op.scalar(1 / len(node.inputs), dy))
    return tuple(share for _ in node.inputs)


@vjp("Max", "Min", broadcasts=True)
def extreme(op: Operators, node: ir.Node, dy: ir.Value) -> tuple[Cotangent, ...]:
    """To the input that was taken; a tie is split evenly, as in ``torch.maximum`` and JAX."""
    if len(node.inputs) == 1:
        return (dy,)
    zero = op.scalar(0, dy)
    (y,) = node.outputs
    if len(node.inputs) == 2:
        tied = op.Equal(*node.inputs)
        half = op.Mul(dy, op.scalar(0.5, dy))
        return tuple(
            lambda x=x: op.Where(tied, half, op.Where(op.Equal(x, y), dy, zero)) for x in node.inputs
        )
    taken = [op.Equal(x, y) for x in node.inputs]
    assert dy.dtype is not None
    count = op.Sum(*(op.Cast(hit, to=dy.dtype.value) for hit in taken))
    share = op.Div(dy, count)
    return tuple(lambda hit=hit: op.Where(hit, share, zero) for hit in taken)


@vjp("Pow", broadcasts=True)
def pow_(op: Operators, node: ir.Node, dy: ir.Value) -> tuple[Cotangent, ...]:
    """At base 0 as in PyTorch: 0 for exponent 0, infinite below exponent 1; the exponent's is 0 there.

    Below base 0 the exponent's is NaN, as in PyTorch and JAX: it has no derivative there.
    """
    base, exponent = node.inputs
    (y,) = node.outputs
    assert exponent is not None

    def dexponent() -> ir.Value:
        filled = op.Where(op.Equal(base, op.scalar(0, dy)), op.scalar(1, dy), base)
        return _cast(op, op.Mul(dy, op.Mul(y, op.Log(filled))), exponent)

    return lambda: _base_of_power(op, node, dy), dexponent


def _base_of_power(op: Operators, node: ir.Node, dy: ir.Value) -> ir.Value | None:
    """``exponent · base^(exponent − 1)``."""
    base, exponent = node.inputs
    assert exponent is not None
    known = op.known(exponent)
    if known is not None and known.size == 1:
        power = float(known.reshape(()))
        if power == 0:
            return None
        if power == 1:
            return dy
        factor = op.scalar(power, dy)
        if power == 2:
            return op.Mul(dy, op.Mul(base, factor))
        return op.Mul(dy, op.Mul(op.Pow(base, op.scalar(power - 1, dy)), factor))
    power_ = _cast(op, exponent, dy)
    zero = op.scalar(0, dy)
    # 0 · 0⁻¹ would be NaN.
    less = op.Where(op.Equal(power_, zero), zero, op.Sub(power_, op.scalar(1, dy)))
    return op.Mul(dy, op.Mul(power_, op.Pow(base, less)))


def _cast(op: Operators, value: ir.Value, like: ir.Value) -> ir.Value:
    """``value`` in the type of ``like``."""
    assert like.dtype is not None
    return value if value.dtype == like.dtype else op.Cast(value, to=like.dtype.value)


@vjp("Mod", broadcasts=True)
def mod(op: Operators, node: ir.Node, dy: ir.Value) -> tuple[Cotangent, ...]:
    """``y = a − q b`` with an integer q: ``da = dy``, ``db = −q dy``, also where q jumps."""
    a, b = node.inputs
    (y,) = node.outputs

    def db() -> ir.Value:
        return op.Neg(op.Mul(dy, op.Round(op.Div(op.Sub(a, y), b))))

    return dy, db


@vjp("Abs")
def abs_(op: Operators, node: ir.Node, dy: ir.Value) -> tuple[Cotangent, ...]:
    """At 0 the gradient is 0, as in PyTorch and JAX."""
    return (op.Mul(dy, op.Sign(node.inputs[0])),)


@vjp("Reciprocal")
def reciprocal(op: Operators, node: ir.Node, dy: ir.Value) -> tuple[Cotangent, ...]:
    """``−y²``: infinite at 0."""
    (y,) = node.outputs
    return (op.Neg(op.Mul(dy, op.Mul(y, y))),)


@vjp("Sqrt")
def sqrt(op: Operators, node: ir.Node, dy: ir.Value) -> tuple[Cotangent, ...]:
    """``1 / 2y``: infinite at 0, as in PyTorch and JAX, and NaN there where dy is 0."""
    return (op.Div(op.Mul(dy, op.scalar(0.5, dy)), node.outputs[0]),)


@vjp("Ceil", "Floor", "Round", "Sign")
def steps(_op: Operators, _node: ir.Node, _dy: ir.Value) -> tuple[Cotangent, ...]:
    """Steps: 0 wherever they have a derivative."""
    return (None,)
