"""Rules for operators that order, drop or turn round elements by what a tensor holds."""

import onnx_ir as ir

from specprobe.autodiff.operators import Operators
from specprobe.autodiff.registry import Cotangent, vjp
from specprobe.autodiff.rules.scatter import scattered_along
from specprobe.autodiff.rules.shape import rank_of

__all__: list[str] = []


@vjp("Compress")
def compress(op: Operators, node: ir.Node, dy: ir.Value) -> tuple[Cotangent, ...]:
    """What was kept gets it."""
    x, condition = node.inputs
    assert x is not None
    assert condition is not None
    axis = node.attributes.get_int("axis", None)
    rank = rank_of(node, x)

    def dx() -> ir.Value:
        index = op.Reshape(op.NonZero(condition), op.ints([-1]))
        if axis is not None:
            return scattered_along(op, dy, index, op.shape_of(x), axis=axis % rank, rank=rank, unique=True)
        flat = op.Reshape(op.zeros_like(x), op.ints([-1]))
        return op.reshape_like(op.ScatterElements(flat, index, dy, axis=0), x)

    return dx, None


@vjp("TopK")
def top_k(op: Operators, node: ir.Node, dy: ir.Value | None, _: ir.Value | None) -> tuple[Cotangent, ...]:
    """To the places that were chosen; among equal values the operator chooses the first."""
    x = node.inputs[0]
    assert x is not None
    index = node.outputs[1]
    if dy is None:
        return None, None
    axis = node.attributes.get_int("axis", -1)
    return lambda: op.ScatterElements(op.zeros_like(x), index, dy, axis=axis), None


@vjp("Unique")
def unique(op: Operators, node: ir.Node, dy: ir.Value | None, *_: ir.Value | None) -> tuple[Cotangent, ...]:
    """To the first of those that are equal."""
    (x,) = node.inputs
    assert x is not None
    if dy is None:
        return (None,)
    axis = node.attributes.get_int("axis", None)
    rank = rank_of(node, x)
    if len(node.outputs) < 2:
        node.resize_outputs(2)
    first = node.outputs[1]
    if not first.name:
        first.name = op.name("vjp/first_occurrence")
    first.type = ir.TensorType(ir.DataType.INT64)
    if axis is not None:
        return (scattered_along(op, dy, first, op.shape_of(x), axis=axis % rank, rank=rank, unique=True),)
    flat = op.Reshape(op.zeros_like(x), op.ints([-1]))
    return (op.reshape_like(op.ScatterElements(flat, first, dy, axis=0), x),)


@vjp("ReverseSequence")
def reverse_sequence(op: Operators, node: ir.Node, dy: ir.Value) -> tuple[Cotangent, ...]:
    """Reversed again."""
    lengths = node.inputs[1]
    axes = {
        name: node.attributes.get_int(name, default)
        for name, default in (("time_axis", 0), ("batch_axis", 1))
    }
    return op.ReverseSequence(dy, lengths, **axes), None
