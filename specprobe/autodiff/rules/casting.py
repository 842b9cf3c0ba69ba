"""Rules for changes of number type, and for what is the identity at inference."""

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import onnx_ir as ir

from specprobe.autodiff.expansion import through_expansion
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


@vjp("OptionalGetElement")
def optional_get_element(_op: Operators, node: ir.Node, dy: ir.Value) -> tuple[Cotangent, ...]:
    """The identity of a tensor; refused of what may be empty, or a sequence."""
    (x,) = node.inputs
    if x is None or not isinstance(x.type, ir.TensorType):
        kind = "of unknown type" if x is None or x.type is None else f"of type {x.type}"
        msg = (
            f"OptionalGetElement (node '{_label(node)}') takes what is {kind}; its gradient is that of a tensor: "
            "export the model without optional values"
        )
        raise UnsupportedOperator(msg)
    return (dy,)


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
        # The scale itself, not a copy of its numbers: a second derivative may be with respect to it.
        assert scale is not None
        live = scale if steps.ndim == 0 else op.Reshape(scale, op.ints(steps.shape))
        passed = op.Div(passed, _as_type_of(op, live, x))
    return passed, *(None for _ in node.inputs[1:])


@vjp("DynamicQuantizeLinear")
def dynamic_quantize_linear(op: Operators, node: ir.Node, *dys: ir.Value | None) -> tuple[Cotangent, ...]:
    """Its scale follows the largest and the smallest number; refused where something reads its integers."""
    if any(output.uses() for output in (node.outputs[0], *node.outputs[2:])):
        msg = (
            f"DynamicQuantizeLinear (node '{_label(node)}'): its integers have no gradient, and the scale alone would "
            "give a part of it; quantize with QuantizeLinear and constant scales, or name an output before it"
        )
        raise UnsupportedOperator(msg)

    def expansion(inner: Operators, *inputs: ir.Value | None) -> list[ir.Value | None]:
        (x,) = inputs
        assert x is not None
        zero = inner.scalar(0, x)
        top, bottom = (reduce(x, keepdims=0) for reduce in (inner.ReduceMax, inner.ReduceMin))
        width = inner.Sub(inner.Max(zero, top), inner.Min(zero, bottom))
        wide = inner.Where(inner.Equal(width, zero), inner.scalar(1, x), width)
        return [None, inner.Div(wide, inner.scalar(255, x)), None]

    return through_expansion(op, node, [None, dys[1], None], expansion)


@vjp("DequantizeLinear", estimate="straight-through")
def dequantize_linear(op: Operators, node: ir.Node, dy: ir.Value) -> tuple[Cotangent, ...]:
    """Linear: ``dy · scale`` for the integers, taken as real numbers; for a scale, the sum over what it scales."""
    q, scale, *rest = node.inputs
    assert q is not None
    assert scale is not None
    if rest and op.wants(rest[0]):
        assert rest[0] is not None
        msg = (
            f"DequantizeLinear (node '{_label(node)}'): no gradient with respect to its zero point "
            f"'{printable(str(rest[0].name))}'; accepted are zero points that depend on nothing differentiated"
        )
        raise UnsupportedOperator(msg)

    def of_integers() -> ir.Value:
        if _is_round_trip(op, q):
            return dy
        if not is_real(scale):
            return op.Mul(dy, op.constant(_along_axis(op, node, scale, q), dy.dtype))
        return op.Mul(dy, _spread(op, node, _as_type_of(op, scale, dy), scale, q))

    return of_integers, lambda: _of_scale(op, node, dy), *(None for _ in rest)


def _of_scale(op: Operators, node: ir.Node, dy: ir.Value) -> ir.Value:
    """Sum of ``dy · (q - zero point)`` over the elements that share a scale; in float32 for shorter types."""
    q, scale, zero_point = [*node.inputs, None][:3]
    assert q is not None
    assert scale is not None
    assert q.shape is not None
    assert scale.dtype is not None
    kind = scale.dtype if scale.dtype == ir.DataType.DOUBLE else ir.DataType.FLOAT
    steps = op.Cast(q, to=kind.value)
    if zero_point is not None:
        origin = op.Cast(zero_point, to=kind.value)
        steps = op.Sub(steps, _spread(op, node, origin, zero_point, q))
    product = op.Mul(dy if dy.dtype == kind else op.Cast(dy, to=kind.value), steps)
    shared, axis, rank = _sharing(node, scale, q), _axis(node, q), len(q.shape)
    if shared == "all":
        total = op.reshape_like(op.ReduceSum(product, keepdims=0), scale)
    elif shared == "axis":
        others = [i for i in range(rank) if i != axis]
        total = op.ReduceSum(product, op.ints(others), keepdims=0) if others else product
    else:
        total = _sum_of_blocks(op, node, product, scale, q)
    return total if kind == scale.dtype else op.Cast(total, to=scale.dtype.value)


def _sum_of_blocks(op: Operators, node: ir.Node, product: ir.Value, scale: ir.Value, q: ir.Value) -> ir.Value:
    """Sum over each block; the last one may be cut short."""
    assert q.shape is not None
    assert scale.shape is not None
    axis, size, rank = _axis(node, q), node.attributes.get_int("block_size", 0), len(q.shape)
    length, blocks = q.shape[axis], scale.shape[axis]
    if not (isinstance(length, int) and isinstance(blocks, int) and length == size * blocks):
        lacking = op.Sub(op.Mul(op.dim(scale, axis), op.ints([size])), op.dim(q, axis))
        pads = op.Concat(op.ints([0]), lacking, axis=0)
        product = op.Pad(product, pads, op.scalar(0, product), op.ints([axis]))
    before, behind = op.ints(range(axis + 1)), op.ints(range(axis + 1, rank))
    shape = op.Concat(
        op.Gather(op.shape_of(scale), before, axis=0),
        op.ints([size]),
        op.Gather(op.shape_of(scale), behind, axis=0),
        axis=0,
    )
    return op.ReduceSum(op.Reshape(product, shape, allowzero=1), op.ints([axis + 1]), keepdims=0)


def _axis(node: ir.Node, x: ir.Value) -> int:
    assert x.shape is not None
    return node.attributes.get_int("axis", 1) % max(len(x.shape), 1)


def _sharing(node: ir.Node, scale: ir.Value, x: ir.Value) -> Literal["all", "axis", "block"]:
    """Which elements of ``x`` have the same scale."""
    assert x.shape is not None
    assert scale.shape is not None
    if all(size == 1 for size in scale.shape):
        return "all"
    if node.attributes.get_int("block_size", 0) and len(scale.shape) == len(x.shape):
        return "block"
    if len(scale.shape) == 1 and isinstance(scale.shape[0], int):
        return "axis"
    msg = (
        f"{node.op_type} (node '{_label(node)}'): '{printable(str(scale.name))}' has shape {list(scale.shape)}; accepted "
        "are one scale, a fixed number of them along an axis, or one a block of block_size"
    )
    raise UnsupportedOperator(msg)


def _spread(op: Operators, node: ir.Node, value: ir.Value, like: ir.Value, x: ir.Value) -> ir.Value:
    """``value``, which has the shape of ``like``, broadcastable against ``x``."""
    assert x.shape is not None
    assert like.shape is not None
    shared, axis, rank = _sharing(node, like, x), _axis(node, x), len(x.shape)
    if shared == "all":
        return value if not like.shape else op.Reshape(value, op.ints([]))
    if shared == "axis":
        return op.Reshape(value, op.ints([-1 if i == axis else 1 for i in range(rank)]))
    size, length = node.attributes.get_int("block_size", 0), x.shape[axis]
    if isinstance(length, int):
        block = op.ints([i // size for i in range(length)])
    else:
        count = op.Squeeze(op.dim(x, axis), op.ints([0]))
        zero, one = (op.constant(n, ir.DataType.INT64) for n in (0, 1))
        block = op.Div(op.Range(zero, count, one), op.ints([size]))
    return op.Gather(value, block, axis=axis)


def _is_round_trip(op: Operators, q: ir.Value) -> bool:
    """Whether all that becomes of ``q`` is the number it was made from: then both scales cancel, and are left out.

    Not where a scale's cotangent is wanted: its rule reads ``q`` as well, and both ends must come to the same answer.
    """
    maker = q.producer()
    if maker is None or maker.op_type != "QuantizeLinear":
        return False
    return all(
        user.op_type == "DequantizeLinear"
        and not op.wants(user.inputs[1])
        and _same_settings(op, maker, user)
        for user in q.consumers()
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
