"""Rules for sampling at computed places: a sum over neighbours, gathered and weighted.

Which neighbours is a matter of integers and has no gradient; the weights have one. Where a place is a whole number,
the gradient with respect to it is that of the interval to its right.
"""

import itertools
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from specprobe.autodiff.expansion import opset_of, through_expansion
from specprobe.autodiff.operators import Operators
from specprobe.autodiff.registry import Cotangent, vjp
from specprobe.errors import UnsupportedOperator

__all__: list[str] = []

_CUBIC = -0.75
_INT = ir.DataType.INT64.value


@dataclass(frozen=True, slots=True)
class _Tap:
    """One neighbour along one axis: its index within bounds, and its weight."""

    index: ir.Value
    weight: ir.Value


@vjp("GridSample")
def grid_sample(op: Operators, node: ir.Node, dy: ir.Value) -> tuple[Cotangent, ...]:
    """Scattered sums for x. Nearest sampling has no gradient for the grid."""
    x, grid = node.inputs
    assert x is not None
    assert grid is not None
    if x.shape is None or grid.shape is None:
        msg = f"GridSample '{node.name}' has inputs of unknown rank; no gradient can be built"
        raise UnsupportedOperator(msg)
    mode = node.attributes.get_string("mode", "linear" if opset_of(node) >= 20 else "bilinear")
    mode = {"bilinear": "linear", "bicubic": "cubic"}.get(mode, mode)
    padding = node.attributes.get_string("padding_mode", "zeros")
    aligned = bool(node.attributes.get_int("align_corners", 0))
    rank = len(x.shape) - 2

    def expansion(inner: Operators, x: ir.Value, grid: ir.Value) -> list[ir.Value]:
        sides = [_size(inner, x, 2 + k) for k in range(rank)]
        taps = []
        columns = inner.several("Split", grid, inner.ints([1] * rank), axis=rank + 1, outputs=rank)
        for k, side in enumerate(sides):
            # The grid's last axis counts x, y, z; places become (N, places).
            place = inner.Reshape(columns[rank - 1 - k], inner.ints([0, -1]))
            taps.append(
                _taps(inner, _denormalised(inner, place, side, aligned), side, mode, padding, aligned)
            )
        sampled = _weighted(inner, x, sides, taps, None)
        summed = inner.ReduceSum(sampled, inner.ints([1]), keepdims=0)
        channels_first = inner.Transpose(summed, perm=[0, 2, 1])
        shape = [inner.dim(x, 0), inner.dim(x, 1), *(inner.dim(grid, 1 + k) for k in range(rank))]
        return [inner.Reshape(channels_first, inner.Concat(*shape, axis=0), allowzero=1)]

    dx, dgrid = through_expansion(op, node, [dy], expansion)
    return dx, dgrid if mode != "nearest" else None


def _size(op: Operators, x: ir.Value, axis: int) -> ir.Value:
    return op.Squeeze(op.dim(x, axis), op.ints([0]))


def _real(op: Operators, value: ir.Value, like: ir.Value) -> ir.Value:
    assert like.dtype is not None
    return op.Cast(value, to=like.dtype.value)


def _floor(op: Operators, place: ir.Value) -> ir.Value:
    """As integers: no gradient flows through them."""
    return op.Cast(op.Floor(place), to=_INT)


def _denormalised(op: Operators, place: ir.Value, side: ir.Value, aligned: bool) -> ir.Value:
    """From −1…1 to pixels."""
    size, half, one = _real(op, side, place), op.scalar(0.5, place), op.scalar(1, place)
    if aligned:
        return op.Mul(op.Add(place, one), op.Mul(half, op.Sub(size, one)))
    return op.Mul(op.Sub(op.Mul(op.Add(place, one), size), one), half)


def _taps(
    op: Operators, place: ir.Value, side: ir.Value, mode: str, padding: str, aligned: bool
) -> list[_Tap]:
    if mode == "nearest":
        index = op.Cast(op.Round(place), to=_INT)
        whole = op.Expand(op.scalar(1, place), op.Shape(place))
        return [_padded(op, index, whole, side, padding, aligned)]
    low = _floor(op, place)
    t = op.Sub(place, _real(op, low, place))
    one = op.scalar(1, place)
    if mode == "linear":
        weights, first = [op.Sub(one, t), t], 0
    elif mode == "cubic":
        weights, first = _cubic(op, t), -1
    else:
        msg = f"GridSample has mode '{mode}'; accepted are linear, cubic and nearest"
        raise UnsupportedOperator(msg)
    made = []
    for i, weight in enumerate(weights):
        index = op.Add(low, op.constant(first + i, ir.DataType.INT64))
        made.append(_padded(op, index, weight, side, padding, aligned))
    return made


def _cubic(op: Operators, t: ir.Value) -> list[ir.Value]:
    """Keys' kernel with a = −0.75, at distances 1 + t, t, 1 − t and 2 − t."""

    def polynomial(distance: ir.Value, *coefficients: float) -> ir.Value:
        total = op.scalar(coefficients[0], t)
        for c in coefficients[1:]:
            total = op.Add(op.Mul(total, distance), op.scalar(c, t))
        return total

    a, one = _CUBIC, op.scalar(1, t)
    near, far = (a + 2, -(a + 3), 0.0, 1.0), (a, -5 * a, 8 * a, -4 * a)
    return [
        polynomial(op.Add(t, one), *far),
        polynomial(t, *near),
        polynomial(op.Sub(one, t), *near),
        polynomial(op.Sub(op.scalar(2, t), t), *far),
    ]


def _padded(
    op: Operators, index: ir.Value, weight: ir.Value, side: ir.Value, padding: str, aligned: bool
) -> _Tap:
    """An index past the border becomes one within, or loses its weight."""
    zero, one, two = (op.constant(i, ir.DataType.INT64) for i in (0, 1, 2))
    if padding == "reflection":
        # About the centres of the outermost pixels, or about their outer edges.
        if aligned:
            period = op.Max(op.Mul(two, op.Sub(side, one)), one)
            turned = op.Mod(index, period)
            return _Tap(op.Min(turned, op.Sub(period, turned)), weight)
        period = op.Mul(two, side)
        turned = op.Mod(index, period)
        return _Tap(op.Min(turned, op.Sub(op.Sub(period, one), turned)), weight)
    within = op.Min(op.Max(index, zero), op.Sub(side, one))
    if padding == "zeros":
        weight = op.Where(op.Equal(within, index), weight, op.scalar(0, weight))
    return _Tap(within, weight)


def _weighted(
    op: Operators, x: ir.Value, sides: list[ir.Value], taps: list[list[_Tap]], batch: ir.Value | None
) -> ir.Value:
    """Neighbours times weights: (N, taps, places, C)."""
    rank = len(sides)
    minus = op.ints([-1])
    rows = op.Reshape(
        op.Transpose(x, perm=[0, *range(2, rank + 2), 1]), op.Concat(minus, op.dim(x, 1), axis=0)
    )
    pixels = sides[0]
    for side in sides[1:]:
        pixels = op.Mul(pixels, side)
    indices, weights = [], []
    for chosen in itertools.product(*taps):
        index, weight = chosen[0].index, chosen[0].weight
        for tap, side in zip(chosen[1:], sides[1:], strict=True):
            index = op.Add(op.Mul(index, side), tap.index)
            weight = op.Mul(weight, tap.weight)
        if batch is not None:
            index, weight = (op.Reshape(v, op.ints([0, -1])) for v in (index, weight))
        indices.append(op.Unsqueeze(index, op.ints([1])))
        weights.append(op.Unsqueeze(weight, op.ints([1])))
    index = indices[0] if len(indices) == 1 else op.Concat(*indices, axis=1)
    weight = weights[0] if len(weights) == 1 else op.Concat(*weights, axis=1)
    if batch is None:  # one grid an image, not one region
        zero, one = (op.constant(i, ir.DataType.INT64) for i in (0, 1))
        batch = op.Range(zero, _size(op, x, 0), one)
    start = op.Unsqueeze(op.Mul(batch, pixels), op.ints([1, 2]))
    gathered = op.Gather(rows, op.Add(index, start), axis=0)
    return op.Mul(gathered, op.Unsqueeze(weight, op.ints([3])))


@vjp("AffineGrid")
def affine_grid(op: Operators, node: ir.Node, dy: ir.Value) -> tuple[Cotangent, ...]:
    """Linear in theta: a product with the grid that the identity gives."""
    theta, size = node.inputs
    assert theta is not None
    assert size is not None
    y = node.outputs[0]
    known = theta.shape[1] if theta.shape is not None else None
    rank = known if isinstance(known, int) else None if y.shape is None else len(y.shape) - 2
    if rank is None:
        msg = (
            f"AffineGrid '{node.name}' leaves open whether it has two or three axes; no gradient can be built"
        )
        raise UnsupportedOperator(msg)

    def dtheta() -> ir.Value:
        sides = op.Slice(size, op.ints([1]), op.ints([rank + 2]))
        unit = op.constant(np.eye(rank, rank + 1)[None], theta.dtype)
        aligned = node.attributes.get_int("align_corners", 0)
        grid = op.AffineGrid(unit, op.Concat(op.ints([1]), sides, axis=0), align_corners=aligned)
        flat = op.Reshape(grid, op.ints([-1, rank]))
        one = op.constant(np.ones((1, 1)), theta.dtype)
        pixels = op.Slice(op.Shape(flat), op.ints([0]), op.ints([1]))
        ones = op.Expand(one, op.Concat(pixels, op.ints([1]), axis=0))
        places = op.Reshape(dy, op.ints([0, -1, rank]))
        return op.MatMul(op.Transpose(places, perm=[0, 2, 1]), op.Concat(flat, ones, axis=1))

    return dtheta, None


@vjp("RoiAlign")
def roi_align(op: Operators, node: ir.Node, dy: ir.Value) -> tuple[Cotangent, ...]:
    """Each bin is the mean, or the largest, of bilinear samples; how many they are has no gradient."""
    attributes = node.attributes
    half_pixel = opset_of(node) >= 16 and (
        attributes.get_string("coordinate_transformation_mode", "half_pixel") == "half_pixel"
    )
    scale = attributes.get_float("spatial_scale", 1.0)
    out = [attributes.get_int("output_height", 1), attributes.get_int("output_width", 1)]
    ratio = attributes.get_int("sampling_ratio", 0)
    mode = attributes.get_string("mode", "avg")

    def expansion(inner: Operators, x: ir.Value, rois: ir.Value, batch: ir.Value) -> list[ir.Value]:
        sides = [_size(inner, x, 2), _size(inner, x, 3)]
        columns = inner.several("Split", rois, inner.ints([1] * 4), axis=1, outputs=4)
        taps, counts, sampled = [], [], []
        for axis, bins in enumerate(out):
            start, end = columns[1 - axis], columns[3 - axis]
            place, count, present = _samples(inner, start, end, bins, scale, ratio, half_pixel)
            beside = inner.ints([2, 4] if axis == 0 else [1, 3])
            counts.append(count)
            sampled.append(inner.Unsqueeze(present, beside))
            share = inner.Div(inner.scalar(1, x), _real(inner, inner.Max(count, inner.ints([1])), x))
            share = inner.Where(present, inner.Unsqueeze(share, inner.ints([1])), inner.scalar(0, x))
            made = []
            for tap in _clamped_taps(inner, place, sides[axis]):
                weight = inner.Mul(tap.weight, share) if mode == "avg" else tap.weight
                made.append(_Tap(inner.Unsqueeze(tap.index, beside), inner.Unsqueeze(weight, beside)))
            taps.append(made)
        values = _weighted(inner, x, sides, taps, batch)  # (R, 4, bins · samples, C)
        channels = inner.dim(x, 1)
        split_bins = inner.ints([0, 4, out[0] * out[1], -1])
        if mode == "avg":
            split = inner.Reshape(values, inner.Concat(split_bins, channels, axis=0))
            pooled = inner.ReduceSum(split, inner.ints([1, 3]), keepdims=0)
        else:
            present = inner.And(*sampled)
            flat = inner.Reshape(present, inner.ints([0, 1, -1, 1]))
            values = inner.Where(flat, values, inner.scalar(float("-inf"), x))
            split = inner.Reshape(values, inner.Concat(split_bins, channels, axis=0))
            pooled = inner.ReduceMax(split, inner.ints([1, 3]), keepdims=0)
            some = inner.Greater(inner.Min(*counts), inner.constant(0, ir.DataType.INT64))
            pooled = inner.Where(inner.Unsqueeze(some, inner.ints([2])), pooled, inner.scalar(0, x))
        turned = inner.Transpose(pooled, perm=[0, 2, 1])
        return [inner.Reshape(turned, inner.Concat(inner.ints([0]), channels, inner.ints(out), axis=0))]

    return through_expansion(op, node, [dy], expansion)


def _samples(
    op: Operators, start: ir.Value, end: ir.Value, bins: int, scale: float, ratio: int, half_pixel: bool
) -> tuple[ir.Value, ir.Value, ir.Value]:
    """Places (R, bins, samples) along one axis, samples a bin (R, 1), and which of the places count."""
    zero, one = (op.constant(i, ir.DataType.INT64) for i in (0, 1))
    shift, factor = op.scalar(0.5 if half_pixel else 0.0, start), op.scalar(scale, start)
    first = op.Sub(op.Mul(start, factor), shift)
    extent = op.Sub(op.Sub(op.Mul(end, factor), shift), first)
    if not half_pixel:
        extent = op.Max(extent, op.scalar(1, start))
    step = op.Div(extent, op.scalar(bins, start))
    fixed = op.Expand(op.ints([ratio]), op.Shape(step)) if ratio > 0 else None
    count = op.Cast(op.Ceil(step), to=_INT) if fixed is None else fixed
    most = op.ReduceMax(op.Concat(op.Reshape(count, op.ints([-1])), op.ints([1]), axis=0), keepdims=0)
    number = op.Range(zero, most, one)
    present = op.Less(number, op.Unsqueeze(count, op.ints([2])))
    many = _real(op, op.Unsqueeze(op.Max(count, op.ints([1])), op.ints([2])), start)
    share = op.Div(op.Add(_real(op, number, start), op.scalar(0.5, start)), many)
    bin_ = _real(
        op, op.Unsqueeze(op.Range(zero, op.constant(bins, ir.DataType.INT64), one), op.ints([1])), start
    )
    last = op.ints([2])
    place = op.Add(op.Unsqueeze(first, last), op.Mul(op.Add(bin_, share), op.Unsqueeze(step, last)))
    every = op.Expand(present, op.Shape(place))
    return place, count, every


def _clamped_taps(op: Operators, place: ir.Value, side: ir.Value) -> list[_Tap]:
    """Linear; places up to one pixel outside count as on the border, others not at all."""
    zero, one = op.scalar(0, place), op.scalar(1, place)
    size = _real(op, side, place)
    outside = op.Or(op.Less(place, op.Neg(one)), op.Greater(place, size))
    within = op.Min(op.Max(place, zero), op.Sub(size, one))
    low = _floor(op, within)
    t = op.Sub(within, _real(op, low, place))
    whole = op.constant(1, ir.DataType.INT64)
    high = op.Min(op.Add(low, whole), op.Sub(side, whole))
    return [
        _Tap(low, op.Where(outside, zero, op.Sub(one, t))),
        _Tap(high, op.Where(outside, zero, t)),
    ]
