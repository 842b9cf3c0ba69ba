"""Rules for reductions."""

import math

import onnx_ir as ir

from specprobe.autodiff.operators import Operators, static_shape
from specprobe.autodiff.registry import Cotangent, vjp
from specprobe.autodiff.rules.cumulative import Along, exclusive_product
from specprobe.errors import UnsupportedOperator
from specprobe.graph.limits import printable

__all__ = ["known_axes", "restore_axes"]


@vjp("ReduceSum")
def reduce_sum(op: Operators, node: ir.Node, dy: ir.Value) -> tuple[Cotangent, ...]:
    """Every summed element gets the whole."""
    x = _input(node)
    return _with_axes(node, _repeated(op, restore_axes(op, node, dy), x))


@vjp("ReduceMean")
def reduce_mean(op: Operators, node: ir.Node, dy: ir.Value) -> tuple[Cotangent, ...]:
    """Every element gets an equal share."""
    x = _input(node)
    share = _over_count(op, node, dy)
    return _with_axes(node, _repeated(op, restore_axes(op, node, share), x))


@vjp("ReduceMax", "ReduceMin")
def reduce_extreme(op: Operators, node: ir.Node, dy: ir.Value) -> tuple[Cotangent, ...]:
    """To the extreme element; ties share evenly, as PyTorch's ``amax`` and JAX do."""
    x, (y,) = _input(node), node.outputs
    mask = op.Cast(op.Equal(x, restore_axes(op, node, y)), to=_dtype(x).value)
    known = known_axes(node, op)
    axes = op.ints(known) if known is not None else node.inputs[1]
    nothing = known == [] or bool(node.attributes.get_int("noop_with_empty_axes", 0))
    ties = op.ReduceSum(mask, axes, keepdims=1, noop_with_empty_axes=int(nothing))
    return _with_axes(node, op.Mul(mask, op.Div(restore_axes(op, node, dy), ties)))


@vjp("ReduceL1")
def reduce_l1(op: Operators, node: ir.Node, dy: ir.Value) -> tuple[Cotangent, ...]:
    """``sign(x)``: 0 at 0, as in PyTorch and JAX."""
    return _with_axes(node, op.Mul(op.Sign(_input(node)), restore_axes(op, node, dy)))


@vjp("ReduceL2")
def reduce_l2(op: Operators, node: ir.Node, dy: ir.Value) -> tuple[Cotangent, ...]:
    """``x / y``: 0 where the norm is 0, as in PyTorch (NaN in JAX)."""
    (y,) = node.outputs
    nonzero = op.Where(op.Equal(y, op.scalar(0, y)), op.scalar(1, y), y)
    return _with_axes(node, op.Mul(_input(node), restore_axes(op, node, op.Div(dy, nonzero))))


@vjp("ReduceSumSquare")
def reduce_sum_square(op: Operators, node: ir.Node, dy: ir.Value) -> tuple[Cotangent, ...]:
    """``2 x``."""
    twice = restore_axes(op, node, op.Mul(dy, op.scalar(2, dy)))
    return _with_axes(node, op.Mul(_input(node), twice))


@vjp("ReduceLogSum")
def reduce_log_sum(op: Operators, node: ir.Node, dy: ir.Value) -> tuple[Cotangent, ...]:
    """``1 / Σ x``, where ``Σ x = exp(y)``; infinite where the sum is 0."""
    x, (y,) = _input(node), node.outputs
    share = op.Mul(dy, op.Exp(op.Neg(y)))
    return _with_axes(node, _repeated(op, restore_axes(op, node, share), x))


@vjp("ReduceLogSumExp")
def reduce_log_sum_exp(op: Operators, node: ir.Node, dy: ir.Value) -> tuple[Cotangent, ...]:
    """``exp(x − y)``, the softmax, which cannot overflow; NaN where all of ``x`` is −∞."""
    x, (y,) = _input(node), node.outputs
    weights = op.Exp(op.Sub(x, restore_axes(op, node, y)))
    return _with_axes(node, op.Mul(weights, restore_axes(op, node, dy)))


@vjp("ReduceProd")
def reduce_prod(op: Operators, node: ir.Node, dy: ir.Value) -> tuple[Cotangent, ...]:
    """Product of the other elements, without division: exact also where elements are 0."""
    x = _input(node)
    axes = known_axes(node, op)
    rank = len(x.shape or [])
    if axes is None:
        msg = (
            f"ReduceProd '{printable(str(node.name))}' computes its axes; its gradient can be built where they are "
            "constant"
        )
        raise UnsupportedOperator(msg)
    if not axes:
        return _with_axes(node, op.reshape_like(dy, x))
    # The reduced axes become one, the last.
    kept = [i for i in range(rank) if i not in axes]
    order = [*kept, *axes]
    in_place = order == list(range(rank))
    moved = x if in_place else op.Transpose(x, perm=order)
    moved_shape = op.shape_of(x) if in_place else op.Gather(op.shape_of(x), op.ints(order), axis=0)
    lengths = [d for i, d in enumerate(x.shape or []) if i in axes]
    static = [d for d in lengths if isinstance(d, int)]
    length = math.prod(static) if len(static) == len(lengths) else None
    flat = moved
    if len(axes) > 1 or not kept:
        front = op.Slice(moved_shape, op.ints([0]), op.ints([len(kept)])) if kept else None
        last = op.ReduceProd(op.Slice(moved_shape, op.ints([len(kept)]), op.ints([rank])), keepdims=1)
        flat = op.Reshape(moved, op.Concat(front, last, axis=0) if front is not None else last, allowzero=1)
    others = _product_of_others(op, flat, len(kept), length)
    if flat is not moved:
        others = op.Reshape(others, moved_shape, allowzero=1)
    if not in_place:
        others = op.Transpose(others, perm=[order.index(i) for i in range(rank)])
    return _with_axes(node, op.Mul(others, restore_axes(op, node, dy)))


def _product_of_others(op: Operators, flat: ir.Value, axis: int, length: int | None) -> ir.Value:
    """For each element, the product of all others along the last axis, which is ``axis``."""
    if length is not None:
        along = Along(axis, axis + 1, length)
        before = exclusive_product(op, flat, along, reverse=False)
        return op.Mul(before, exclusive_product(op, flat, along, reverse=True))
    # The length is open: one row of factors for each element, with 1 in its own place.
    count = op.Squeeze(op.Gather(op.Shape(flat), op.ints([axis]), axis=0), op.ints([0]))
    zero, one = op.constant(0, ir.DataType.INT64), op.constant(1, ir.DataType.INT64)
    numbers = op.Range(zero, count, one)
    own = op.Equal(op.Unsqueeze(numbers, op.ints([1])), numbers)
    factors = op.Where(own, op.scalar(1, flat), op.Unsqueeze(flat, op.ints([axis])))
    return op.ReduceProd(factors, op.ints([axis + 1]), keepdims=0)


def known_axes(node: ir.Node, op: Operators, /) -> list[int] | None:
    """Axes that a reduction goes along, from 0 and in order; empty where it does nothing.

    Parameters
    ----------
    node : onnx_ir.Node
        A reduction.
    op : Operators
        Knows constants.

    Returns
    -------
    list of int or None
        None where they are computed.
    """
    x = _input(node)
    rank = len(x.shape or [])
    given = node.inputs[1] if len(node.inputs) > 1 else None
    stated = node.attributes.get_ints("axes")
    if given is not None:
        content = op.known(given)
        if content is None:
            return None
        stated = [int(axis) for axis in content.reshape(-1)]
    if stated:
        return sorted({int(axis) % rank for axis in stated})
    return [] if node.attributes.get_int("noop_with_empty_axes", 0) else list(range(rank))


def restore_axes(op: Operators, node: ir.Node, value: ir.Value, /) -> ir.Value:
    """``value``, of the shape of a reduction's output, with the reduced axes back as axes of one element.

    Parameters
    ----------
    op : Operators
        Emits.
    node : onnx_ir.Node
        A reduction.
    value : onnx_ir.Value
        Its output, or that output's cotangent.

    Returns
    -------
    onnx_ir.Value
        Broadcastable against the reduction's input.
    """
    if node.attributes.get_int("keepdims", 1):
        return value
    axes = known_axes(node, op)
    if axes is None:
        return op.Unsqueeze(value, node.inputs[1])
    if not axes or len(axes) == len(_input(node).shape or []):
        return value  # as it is, or of no axes at all
    return op.Unsqueeze(value, op.ints(axes))


def _repeated(op: Operators, value: ir.Value, x: ir.Value) -> ir.Value:
    """``value`` in the shape of ``x``."""
    # onnxruntime 1.32 takes an Expand to no elements for one that changes nothing.
    if 0 in (static_shape(x) or []):
        return op.zeros_like(x)
    return op.Expand(value, op.shape_of(x))


def _input(node: ir.Node) -> ir.Value:
    x = node.inputs[0]
    assert x is not None
    assert x.shape is not None
    return x


def _dtype(value: ir.Value) -> ir.DataType:
    assert value.dtype is not None
    return value.dtype


def _with_axes(node: ir.Node, dx: ir.Value) -> tuple[Cotangent, ...]:
    return dx, *(None for _ in node.inputs[1:])


def _over_count(op: Operators, node: ir.Node, dy: ir.Value) -> ir.Value:
    """``dy`` over the number of elements that each output is made of."""
    x, (y,) = _input(node), node.outputs
    axes, shape = known_axes(node, op), x.shape or ir.Shape([])
    half = dy.dtype in {ir.DataType.FLOAT16, ir.DataType.BFLOAT16}
    wide = op.Cast(dy, to=ir.DataType.FLOAT.value) if half else dy  # the count may be above 65504
    sizes = [None] if axes is None else [shape[axis] for axis in axes]
    static = [size for size in sizes if isinstance(size, int)]
    if len(static) == len(sizes):
        share = op.Div(wide, op.scalar(max(math.prod(static), 1), wide))
    else:
        groups = op.Max(op.Size(y), op.constant(1, ir.DataType.INT64))
        share = op.Div(wide, op.Cast(op.Div(op.Size(x), groups), to=_dtype(wide).value))
    return op.Cast(share, to=_dtype(dy).value) if half else share
