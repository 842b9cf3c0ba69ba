"""Rules for operators that move, repeat or join elements and change none."""

import itertools
from collections.abc import Sequence
from functools import partial
from typing import TypeAlias

import numpy as np
import onnx_ir as ir

from specprobe.autodiff.operators import Operators
from specprobe.autodiff.registry import ByChannels, Cotangent, vjp
from specprobe.autodiff.rules.phases import BLOCK, channels_of
from specprobe.errors import UnsupportedOperator

__all__ = ["Size", "arranged", "joined", "padded", "product_of", "rank_of", "size_of"]

_MOST_PARTS = 8
"""Each costs a convolution of its own: with more of them, cutting is cheaper."""

Size: TypeAlias = "int | ir.Value"
"""Elements along an axis: a number where it is known, else a 1-D int64 tensor of one element."""


def rank_of(node: ir.Node, value: ir.Value, /) -> int:
    """Count the axes of ``value``.

    Parameters
    ----------
    node : onnx_ir.Node
        That the value goes into or comes from.
    value : onnx_ir.Value
        Of a graph with inferred shapes.

    Returns
    -------
    int
        From 0.

    Raises
    ------
    UnsupportedOperator
        If the graph leaves it open.
    """
    if value.shape is None:
        msg = f"{node.op_type} '{node.name}' takes '{value.name}' of unknown rank; its gradient needs a known one"
        raise UnsupportedOperator(msg)
    return len(value.shape)


def size_of(op: Operators, value: ir.Value, axis: int, /) -> Size:
    """Elements of ``value`` along an axis.

    Parameters
    ----------
    op : Operators
        Emits.
    value : onnx_ir.Value
        Its rank may be open.
    axis : int
        Negative ones count from the end.

    Returns
    -------
    int or onnx_ir.Value
        A number where it is known.
    """
    if value.shape is None:
        return op.dim(value, axis)
    known = value.shape[axis]
    return known if isinstance(known, int) else op.dim(value, axis)


def joined(op: Operators, sizes: Sequence[Size], /) -> ir.Value:
    """Sizes as one tensor.

    Parameters
    ----------
    op : Operators
        Emits.
    sizes : sequence of int or onnx_ir.Value
        In order.

    Returns
    -------
    onnx_ir.Value
        1-D int64; a constant where all are numbers.
    """
    parts: list[ir.Value] = []
    run: list[int] = []
    for size in sizes:
        if isinstance(size, int):
            run.append(size)
            continue
        if run:
            parts.append(op.ints(run))
            run = []
        parts.append(size)
    if run or not parts:
        parts.append(op.ints(run))
    return parts[0] if len(parts) == 1 else op.Concat(*parts, axis=0)


def arranged(op: Operators, value: ir.Value, sizes: Sequence[Size], /) -> ir.Value:
    """``value`` in another shape.

    Parameters
    ----------
    op : Operators
        Emits.
    value : onnx_ir.Value
        Of as many elements.
    sizes : sequence of int or onnx_ir.Value
        The shape. One that is not known is left to the runtime, without arithmetic.

    Returns
    -------
    onnx_ir.Value
        New node.
    """
    unknown = [i for i, size in enumerate(sizes) if not isinstance(size, int)]
    if len(unknown) == 1 and 0 not in [size for size in sizes if isinstance(size, int)]:
        return op.Reshape(value, op.ints([size if isinstance(size, int) else -1 for size in sizes]))
    return op.Reshape(value, joined(op, sizes), allowzero=1)


def product_of(op: Operators, sizes: Sequence[Size], /) -> Size:
    """Multiply sizes.

    Parameters
    ----------
    op : Operators
        Emits.
    sizes : sequence of int or onnx_ir.Value
        Any number.

    Returns
    -------
    int or onnx_ir.Value
        A number where all are known.
    """
    total: Size = 1
    for size in sizes:
        if isinstance(total, int) and isinstance(size, int):
            total *= size
        else:
            total = op.Mul(joined(op, [total]), joined(op, [size]))
    return total


def padded(
    op: Operators, value: ir.Value, rank: int | None, axes: Sequence[int], pads: Sequence[Size] | ir.Value, /
) -> ir.Value:
    """``value`` with zeros before and behind.

    Parameters
    ----------
    op : Operators
        Emits.
    value : onnx_ir.Value
        Any, real.
    rank : int or None
        Of the value; None where it is open.
    axes : sequence of int
        Each once; negative ones count from the end.
    pads : sequence of int or onnx_ir.Value, or onnx_ir.Value
        As in ``Pad``: the zeros before, one number an axis, then those behind. A value is 1-D int64.

    Returns
    -------
    onnx_ir.Value
        New node.

    Notes
    -----
    ``Pad`` is emitted without its input ``axes`` wherever the rank is known: between two ``Transpose`` the
    optimizer of onnxruntime 1.31 turns one with axes into a node that fails at run time.
    """
    zero = op.scalar(0, value)
    if rank is None:
        return op.Pad(value, pads if isinstance(pads, ir.Value) else joined(op, pads), zero, op.ints(axes))
    count = len(axes)
    places = [axis % rank + side * rank for side in (0, 1) for axis in axes]
    if isinstance(pads, ir.Value):
        if places != list(range(2 * rank)):
            order = [places.index(i) if i in places else 2 * count for i in range(2 * rank)]
            pads = op.Gather(op.Concat(pads, op.ints([0]), axis=0), op.ints(order), axis=0)
        return op.Pad(value, pads, zero)
    full: list[Size] = [0] * (2 * rank)
    for place, size in zip(places, pads, strict=True):
        full[place] = size
    return op.Pad(value, joined(op, full), zero)


@vjp("Flatten", "Reshape", "Squeeze", "Unsqueeze")
def same_elements(op: Operators, node: ir.Node, dy: ir.Value) -> tuple[Cotangent, ...]:
    """Back to the shape it came from."""
    x, *rest = node.inputs
    assert x is not None
    return lambda: op.reshape_like(dy, x), *(None for _ in rest)


@vjp("Transpose")
def transpose(op: Operators, node: ir.Node, dy: ir.Value) -> tuple[Cotangent, ...]:
    """The inverse permutation."""
    if "perm" not in node.attributes:
        return (op.Transpose(dy),)
    perm = node.attributes.get_ints("perm")
    inverse = [list(perm).index(i) for i in range(len(perm))]
    return (op.Transpose(dy, perm=inverse),)


@vjp("Expand", broadcasts=True)
def expand(_op: Operators, _node: ir.Node, dy: ir.Value) -> tuple[Cotangent, ...]:
    """Sum over the copies; the engine does it."""
    return dy, None


@vjp("Tile")
def tile(op: Operators, node: ir.Node, dy: ir.Value) -> tuple[Cotangent, ...]:
    """Sum over the copies."""
    x, repeats = node.inputs
    assert x is not None
    assert repeats is not None
    rank = rank_of(node, x)
    counts = op.known(repeats)
    split: list[Size] = []
    copies: list[int] = []
    for axis in range(rank):
        count = (
            op.Slice(repeats, op.ints([axis]), op.ints([axis + 1])) if counts is None else int(counts[axis])
        )
        if not isinstance(count, int) or count != 1:
            copies.append(len(split))
            split.append(count)
        split.append(size_of(op, x, axis))
    if not copies:
        return dy, None
    return op.ReduceSum(arranged(op, dy, split), op.ints(copies), keepdims=0), None


@vjp("Concat", divides=True)
def concat(op: Operators, node: ir.Node, dy: ir.Value | ByChannels) -> tuple[Cotangent, ...]:
    """Each input gets its part."""
    xs = [x for x in node.inputs if x is not None]
    axis = node.attributes.get_int("axis", 0)
    if isinstance(dy, ByChannels):
        channels = [channels_of(x) for x in xs]
        counts = [count for count in channels if count is not None and count % BLOCK == 0]
        if axis == 1 and len(counts) == len(xs) <= _MOST_PARTS:
            stops = itertools.accumulate(counts)
            return tuple(
                partial(dy.part, stop - count, stop) for count, stop in zip(counts, stops, strict=True)
            )
        dy = dy.whole()
    if len(xs) == 1:
        return (dy,)
    sizes = [size_of(op, x, axis) for x in xs]
    if all(op.wants(x) for x in xs):
        return op.several("Split", dy, joined(op, sizes), outputs=len(xs), axis=axis)
    parts: list[Cotangent] = []
    start: Size = 0
    for x, size in zip(xs, sizes, strict=True):
        stop = _plus(op, start, size)
        if op.wants(x):
            parts.append(op.Slice(dy, joined(op, [start]), joined(op, [stop]), op.ints([axis])))
        else:
            parts.append(None)
        start = stop
    return tuple(parts)


def _plus(op: Operators, a: Size, b: Size) -> Size:
    if isinstance(a, int) and isinstance(b, int):
        return a + b
    return op.Add(joined(op, [a]), joined(op, [b]))


@vjp("Split")
def split(op: Operators, node: ir.Node, *dys: ir.Value | None) -> tuple[Cotangent, ...]:
    """Joined again; an output without cotangent counts as zeros."""
    x, *rest = node.inputs
    assert x is not None
    axis = node.attributes.get_int("axis", 0)
    rank = rank_of(node, x)

    def dx() -> ir.Value | None:
        present = [i for i, dy in enumerate(dys) if dy is not None]
        first, last = present[0], present[-1]
        parts = [op.zeros_like(node.outputs[i]) if dys[i] is None else dys[i] for i in range(first, last + 1)]
        joint = parts[0] if len(parts) == 1 else op.Concat(*parts, axis=axis)
        before, after = node.outputs[:first], node.outputs[last + 1 :]
        if not before and not after:
            return joint
        ends: list[Size] = []
        for side in (before, after):
            total: Size = 0
            for y in side:
                total = _plus(op, total, size_of(op, y, axis) if y.shape is not None else op.dim(y, axis))
            ends.append(total)
        assert joint is not None
        return padded(op, joint, rank, [axis], ends)

    return dx, *(None for _ in rest)


@vjp("SpaceToDepth")
def space_to_depth(op: Operators, node: ir.Node, dy: ir.Value) -> tuple[Cotangent, ...]:
    """Its inverse."""
    block = node.attributes.get_int("blocksize", 1)
    return (op.DepthToSpace(dy, blocksize=block, mode=node.attributes.get_string("mode", "DCR")),)


@vjp("DepthToSpace")
def depth_to_space(op: Operators, node: ir.Node, dy: ir.Value) -> tuple[Cotangent, ...]:
    """Its inverse; in mode CRD the channels are put back in order."""
    (x,) = node.inputs
    assert x is not None
    rank_of(node, x)
    block = node.attributes.get_int("blocksize", 1)
    deep = op.SpaceToDepth(dy, blocksize=block)
    if node.attributes.get_string("mode", "DCR") == "DCR":
        return (deep,)
    batch, height, width = (size_of(op, x, axis) for axis in (0, 2, 3))
    channels = size_of(op, x, 1)
    if isinstance(channels, int):
        order = np.arange(channels).reshape(block * block, channels // (block * block)).T.reshape(-1)
        return (op.Gather(deep, op.ints(order.tolist()), axis=1),)
    inner = op.Div(channels, op.ints([block * block]))
    parted = arranged(op, deep, [batch, block * block, inner, height, width])
    return (op.reshape_like(op.Transpose(parted, perm=[0, 2, 1, 3, 4]), x),)


@vjp("Range")
def range_(op: Operators, node: ir.Node, dy: ir.Value) -> tuple[Cotangent, ...]:
    """``y_i = start + i · delta``; the limit decides the length alone."""
    start, _limit, delta = node.inputs
    assert start is not None
    assert delta is not None

    def ddelta() -> ir.Value:
        zero, one = (op.constant(i, ir.DataType.INT64) for i in (0, 1))
        numbers = op.Range(zero, op.Size(dy), one)
        assert dy.dtype is not None
        weighted = op.Mul(dy, op.Cast(numbers, to=dy.dtype.value))
        return op.reshape_like(op.ReduceSum(weighted, keepdims=0), delta)

    return lambda: op.reshape_like(op.ReduceSum(dy, keepdims=0), start), None, ddelta


@vjp("EyeLike")
def eye_like(_op: Operators, _node: ir.Node, _dy: ir.Value) -> tuple[Cotangent, ...]:
    """No gradient: the output depends on the shape alone."""
    return (None,)
