"""Rules for changes of number type, and for what is the identity at inference."""

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir as ir

from specprobe.autodiff.operators import Operators, is_real
from specprobe.autodiff.registry import Cotangent, vjp
from specprobe.errors import UnsupportedOperator
from specprobe.graph.limits import printable

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__: list[str] = []

_RANGES = {
    ir.DataType.INT2: (-2, 1),
    ir.DataType.UINT2: (0, 3),
    ir.DataType.INT4: (-8, 7),
    ir.DataType.UINT4: (0, 15),
    ir.DataType.INT8: (-128, 127),
    ir.DataType.UINT8: (0, 255),
    ir.DataType.INT16: (-32768, 32767),
    ir.DataType.UINT16: (0, 65535),
}


@vjp("Cast")
def cast(op: Operators, node: ir.Node, dy: ir.Value) -> tuple[Cotangent, ...]:
    """Between floating-point types the rounding counts for nothing: dy in the type of x."""
    return (lambda: _as_type_of(op, dy, node.inputs[0]),)


@vjp("CastLike")
def cast_like(op: Operators, node: ir.Node, dy: ir.Value) -> tuple[Cotangent, ...]:
    """Like Cast; the second input gives its type alone."""
    return lambda: _as_type_of(op, dy, node.inputs[0]), None


def _as_type_of(op: Operators, dy: ir.Value, x: ir.Value | None) -> ir.Value:
    """``dy`` in the type of ``x``; as it is where ``x`` holds integers that stand for real numbers."""
    assert x is not None
    if not is_real(x) or x.dtype == dy.dtype:
        return dy
    assert x.dtype is not None
    return op.Cast(dy, to=x.dtype.value)


@vjp("Dropout")
def dropout(op: Operators, node: ir.Node, dy: ir.Value, *_: ir.Value | None) -> tuple[Cotangent, ...]:
    """The identity at inference; refused where the mode is training, or not known."""
    training = node.inputs[2] if len(node.inputs) > 2 else None
    if training is not None:
        known = op.known(training)
        if known is None or bool(known.reshape(-1)[0]):
            state = "is computed in the graph" if known is None else "is true"
            msg = (
                f"Dropout (node '{_label(node)}'): training_mode '{printable(str(training.name))}' {state}; gradients "
                "are taken of models in inference mode: export the model with training_mode absent or false"
            )
            raise UnsupportedOperator(msg)
    return dy, *(None for _ in node.inputs[1:])


@vjp("QuantizeLinear", estimate="straight-through")
def quantize_linear(op: Operators, node: ir.Node, dy: ir.Value) -> tuple[Cotangent, ...]:
    """As if nothing were rounded: ``dy / scale`` where x is representable, 0 where it saturates.

    Representable is what rounds into the range, so up to half a step beyond its ends, as in PyTorch; not at exactly
    half a step.
    """
    x, scale, *rest = node.inputs
    assert x is not None
    (q,) = node.outputs
    if q.dtype not in _RANGES:
        msg = (
            f"QuantizeLinear (node '{_label(node)}') to {q.dtype}: its steps are not of one size; accepted are "
            "integer types"
        )
        raise UnsupportedOperator(msg)
    _refuse_scale_gradient(op, node)
    steps = _along_axis(op, node, scale, x)
    zero_point = _along_axis(op, node, rest[0], x) if rest and rest[0] is not None else np.zeros(())
    least, most = _RANGES[q.dtype]
    low, high = ((end - zero_point) * steps for end in (least - 0.5, most + 0.5))
    inside = op.And(
        op.Greater(x, op.constant(low, x.dtype)),
        op.Less(x, op.constant(high, x.dtype)),
    )
    dy = _as_type_of(op, dy, x)
    passed = op.Where(inside, dy, op.scalar(0, dy))
    if not _is_round_trip(op, q):
        passed = op.Div(passed, op.constant(steps, x.dtype))
    return passed, *(None for _ in node.inputs[1:])


@vjp("DequantizeLinear", estimate="straight-through")
def dequantize_linear(op: Operators, node: ir.Node, dy: ir.Value) -> tuple[Cotangent, ...]:
    """Linear: ``dy · scale`` is the cotangent of the integers, taken as real numbers."""
    q, scale, *_ = node.inputs
    assert q is not None
    _refuse_scale_gradient(op, node)
    rest = tuple(None for _ in node.inputs[1:])
    if _is_round_trip(op, q):
        return dy, *rest
    return lambda: op.Mul(dy, op.constant(_along_axis(op, node, scale, q), dy.dtype)), *rest


def _is_round_trip(op: Operators, q: ir.Value) -> bool:
    """Whether all that becomes of ``q`` is the number it was made from: then both scales cancel, and are left out."""
    maker = q.producer()
    if maker is None or maker.op_type != "QuantizeLinear":
        return False
    return all(
        user.op_type == "DequantizeLinear" and _same_settings(op, maker, user) for user in q.consumers()
    )


def _same_settings(op: Operators, maker: ir.Node, user: ir.Node) -> bool:
    settings = [
        (node.attributes.get_int("axis", 1), node.attributes.get_int("block_size", 0))
        for node in (maker, user)
    ]
    ours, theirs = maker.inputs[1], user.inputs[1]
    if ours is theirs:
        return settings[0] == settings[1]
    one, other = op.known(ours), op.known(theirs)
    same = one is not None and other is not None and np.array_equal(one, other)
    return same and settings[0] == settings[1]


def _along_axis(op: Operators, node: ir.Node, value: ir.Value | None, x: ir.Value) -> "NDArray[Any]":
    """Scale or zero point, broadcastable against ``x``."""
    known = op.known(value)
    where = f"{node.op_type} (node '{_label(node)}')"
    if known is None:
        name = printable(str(value.name)) if value is not None else ""
        msg = f"{where}: '{name}' is computed in the graph; accepted are constant scales and zero points"
        raise UnsupportedOperator(msg)
    wide = known.astype(np.float64)
    if wide.size == 1:
        return wide.reshape(())
    if wide.ndim != 1 or x.shape is None:
        msg = f"{where}: scales in blocks, of shape {list(wide.shape)}; accepted are one scale, or one along an axis"
        raise UnsupportedOperator(msg)
    axis, rank = node.attributes.get_int("axis", 1), len(x.shape)
    return wide.reshape([-1 if i == axis % rank else 1 for i in range(rank)])


def _refuse_scale_gradient(op: Operators, node: ir.Node) -> None:
    scale = node.inputs[1]
    if op.wants(scale):
        name = printable(str(scale.name)) if scale is not None else ""
        msg = (
            f"{node.op_type} (node '{_label(node)}'): no gradient with respect to its scale '{name}'; accepted are "
            "scales that do not depend on what is differentiated with respect to"
        )
        raise UnsupportedOperator(msg)


def _label(node: ir.Node) -> str:
    return printable(str(node.name or node.outputs[0].name))
