"""Rule for convolution whose kernel positions are moved by offsets."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import onnx_ir as ir

from specprobe.autodiff.operators import Operators, static_shape
from specprobe.autodiff.registry import Cotangent, vjp
from specprobe.autodiff.rules.pixels import add_at
from specprobe.autodiff.rules.window import Window, refuse, sizes_of

__all__: list[str] = []


@dataclass(frozen=True, slots=True)
class _Corner:
    """One of the pixels around each sampled point. All are (N, offset groups, 1, taps · windows)."""

    index: ir.Value  # in the flattened image
    factors: list[ir.Value]  # of the weight, one a spatial axis
    inside: ir.Value  # 1 in the image, 0 outside, where pixels count as zeros
    signs: tuple[int, ...]  # of the derivatives of the factors


@vjp("DeformConv")
def deform_conv(op: Operators, node: ir.Node, dy: ir.Value) -> tuple[Cotangent, ...]:
    """Through bilinear sampling, for all inputs; at whole pixels the offset's gradient is that towards the next."""
    x, w, offset, bias, mask = [*node.inputs, None, None][:5]
    (y,) = node.outputs
    assert x is not None
    assert w is not None
    assert offset is not None
    window = Window.of(node, w)
    shape, sizes, counts = static_shape(w), sizes_of(op, x), sizes_of(op, y)
    channels = None if x.shape is None else x.shape[1]
    if (
        shape is None
        or not isinstance(channels, int)
        or not isinstance(sizes, list)
        or not isinstance(counts, list)
    ):
        raise refuse(node, "its image or kernel has an open size; all but the batch must be static")
    groups = node.attributes.get_int("offset_group", 1)
    taps, windows, rank = window.taps, math.prod(counts), window.rank
    sampled_shape = op.ints([0, groups, channels // groups, taps * windows])
    flat = op.ints([0, groups, -1, math.prod(sizes)])
    columns_shape = op.ints([0, window.group, channels // window.group * taps, windows])
    kernel_shape = op.ints([window.group, shape[0] // window.group, -1])
    channel_axis = op.ints([2])
    weight_of = None if mask is None else op.Reshape(mask, op.ints([0, groups, 1, taps * windows]))
    corners = _corners(op, offset, window, groups, sizes, counts)

    @cache
    def wide(i: int) -> ir.Value:
        target = op.ints([1, 1, channels // groups, 1])
        return op.Expand(corners[i].index, target)

    @cache
    def pixels(i: int) -> ir.Value:
        return op.GatherElements(op.Reshape(x, flat), wide(i), axis=3)

    @cache
    def share(i: int) -> ir.Value:
        return _product(op, [*corners[i].factors, corners[i].inside])

    @cache
    def sampled() -> ir.Value:
        parts = [op.Mul(share(i), pixels(i)) for i in range(len(corners))]
        return op.Sum(*parts)

    @cache
    def outputs() -> ir.Value:
        return op.Reshape(dy, op.ints([0, window.group, shape[0] // window.group, windows]))

    @cache
    def asked() -> ir.Value:
        """Cotangent of the sampled and masked columns."""
        kernel = op.Transpose(op.Reshape(w, kernel_shape), perm=[0, 2, 1])
        return op.Reshape(op.MatMul(kernel, outputs()), sampled_shape)

    @cache
    def of_samples() -> ir.Value:
        return asked() if weight_of is None else op.Mul(asked(), weight_of)

    def image() -> ir.Value:
        shares = op.Concat(*(op.Mul(of_samples(), share(i)) for i in range(len(corners))), axis=3)
        places = op.Concat(*(wide(i) for i in range(len(corners))), axis=3)
        total = add_at(op, op.Shape(op.Reshape(x, flat)), places, shares, axis=3)
        return op.reshape_like(total, x)

    def kernel() -> ir.Value:
        columns = sampled() if weight_of is None else op.Mul(sampled(), weight_of)
        columns = op.Transpose(op.Reshape(columns, columns_shape), perm=[0, 1, 3, 2])
        return op.reshape_like(op.ReduceSum(op.MatMul(outputs(), columns), op.ints([0]), keepdims=0), w)

    def moved() -> ir.Value:
        sums = [
            op.Mul(op.ReduceSum(op.Mul(of_samples(), pixels(i)), channel_axis, keepdims=1), corner.inside)
            for i, corner in enumerate(corners)
        ]
        along = []
        for axis in range(rank):
            parts = []
            for total, corner in zip(sums, corners, strict=True):
                others = [factor for i, factor in enumerate(corner.factors) if i != axis]
                slope = _product(op, [total, *others])
                parts.append(slope if corner.signs[axis] > 0 else op.Neg(slope))
            along.append(op.Reshape(op.Sum(*parts), op.ints([0, groups, taps, 1, windows])))
        return op.reshape_like(op.Concat(*along, axis=3), offset)

    def masked() -> ir.Value:
        assert mask is not None
        return op.reshape_like(op.ReduceSum(op.Mul(asked(), sampled()), channel_axis, keepdims=0), mask)

    def shifted() -> ir.Value:
        return op.ReduceSum(dy, op.ints([0, *range(2, rank + 2)]), keepdims=0)

    every: list[Cotangent] = [image, kernel, moved, None if bias is None else shifted]
    every.append(None if mask is None else masked)
    return tuple(every[: len(node.inputs)])


def _corners(
    op: Operators,
    offset: ir.Value,
    window: Window,
    groups: int,
    sizes: Sequence[int],
    counts: Sequence[int],
) -> list[_Corner]:
    """The pixels around ``position + offset``, with what each counts for."""
    rank, taps, windows = window.rank, window.taps, math.prod(counts)
    moves = op.Reshape(offset, op.ints([0, groups, taps, rank, windows]))
    places = op.ints([0, groups, 1, taps * windows])
    one = op.scalar(1, offset)
    assert offset.dtype is not None
    lows, above, below = [], [], []
    for axis in range(rank):
        tap = np.indices(window.kernel)[axis].reshape(-1, 1) * window.dilations[axis]
        start = np.indices(counts)[axis].reshape(1, -1) * window.strides[axis] - window.begin[axis]
        still = op.constant((tap + start).reshape(1, 1, 1, -1), offset.dtype)
        move = op.Reshape(op.Gather(moves, op.constant(axis, ir.DataType.INT64), axis=3), places)
        point = op.Add(move, still)
        low = op.Floor(point)
        lows.append(op.Cast(low, to=ir.DataType.INT64.value))
        above.append(op.Sub(point, low))
        below.append(op.Sub(one, above[-1]))
    corners = []
    zero = op.constant(0, ir.DataType.INT64)
    for upper in itertools.product((0, 1), repeat=rank):
        index, inside = None, None
        for axis, step in enumerate(upper):
            at = op.Add(lows[axis], op.constant(1, ir.DataType.INT64)) if step else lows[axis]
            size = op.constant(sizes[axis], ir.DataType.INT64)
            there = op.And(op.GreaterOrEqual(at, zero), op.Less(at, size))
            inside = there if inside is None else op.And(inside, there)
            kept = op.Clip(at, zero, op.constant(sizes[axis] - 1, ir.DataType.INT64))
            index = kept if index is None else op.Add(op.Mul(index, size), kept)
        assert index is not None
        assert inside is not None
        corners.append(
            _Corner(
                index,
                [above[i] if step else below[i] for i, step in enumerate(upper)],
                op.Cast(inside, to=offset.dtype.value),
                tuple(1 if step else -1 for step in upper),
            )
        )
    return corners


def _product(op: Operators, factors: Sequence[ir.Value]) -> ir.Value:
    total = factors[0]
    for factor in factors[1:]:
        total = op.Mul(total, factor)
    return total
