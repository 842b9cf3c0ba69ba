"""Rules for pools that average, or take a norm."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import onnx_ir as ir

from specprobe.autodiff.operators import Operators
from specprobe.autodiff.registry import ByChannels, Cotangent, vjp
from specprobe.autodiff.rules.convolution import conv_adjoint
from specprobe.autodiff.rules.phases import (
    blocked,
    channels_of,
    constant_image,
    enlarge,
    feature_map,
    with_channels,
)
from specprobe.autodiff.rules.pixels import fit
from specprobe.autodiff.rules.strided_convolution import by_phases, strided_adjoint
from specprobe.autodiff.rules.window import Window, sizes_of, spatial_sizes, with_sizes

__all__: list[str] = []

_NEAREST = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor", "mode": "nearest"}


@vjp("AveragePool", divides=True)
def average_pool(op: Operators, node: ir.Node, dy: ir.Value | ByChannels) -> tuple[Cotangent, ...]:
    """Every pixel of a window gets an equal share; pixels outside count as ``count_include_pad`` and ceil_mode say."""
    (x,) = node.inputs
    (y,) = node.outputs
    assert x is not None
    window = Window.of_pool(node)
    factor = _factor(op, node, x, y, window)

    def adjoint(part: ir.Value, image: ir.Value, windows: ir.Value) -> ir.Value:
        if isinstance(factor, np.ndarray):
            part = _times_constant(op, part, factor, windows)
        elif factor is not None:
            part = op.Div(part, factor)
        return _mean_adjoint(op, part, window, image=image, windows=windows)

    if not isinstance(dy, ByChannels):
        return (adjoint(dy, x, y),)

    def some(start: int, stop: int) -> ir.Value:
        return adjoint(dy.part(start, stop), *(with_channels(value, stop - start) for value in (x, y)))

    return (ByChannels(lambda: adjoint(dy.whole(), x, y), some),)


def _times_constant(
    op: Operators, dy: ir.Value, factor: "np.ndarray[Any, np.dtype[Any]]", windows: ir.Value
) -> ir.Value:
    channels = channels_of(windows)
    if blocked(op, windows) and channels is not None:
        return op.Mul(dy, constant_image(op, factor, channels, like=windows))
    return op.Mul(dy, op.constant(factor, windows.dtype))


@vjp("GlobalAveragePool")
def global_average_pool(op: Operators, node: ir.Node, dy: ir.Value) -> tuple[Cotangent, ...]:
    """Every pixel gets an equal share."""
    (x,) = node.inputs
    assert x is not None
    sizes = sizes_of(op, x)
    if isinstance(sizes, list):
        share = 1 / max(1, math.prod(sizes))
        channels = channels_of(x)
        if feature_map(op, x) and channels is not None:
            return (enlarge(op, dy, channels, factors=sizes, sizes=[1, 1], times=share),)
        return (op.Expand(op.Mul(dy, op.scalar(share, dy)), op.shape_of(x)),)
    assert dy.dtype is not None
    pixels = op.ReduceProd(sizes, keepdims=0)
    return (op.Expand(op.Div(dy, op.Cast(pixels, to=dy.dtype.value)), op.shape_of(x)),)


@vjp("LpPool")
def lp_pool(op: Operators, node: ir.Node, dy: ir.Value) -> tuple[Cotangent, ...]:
    """``x |x|^(p−2) Σ dy / y^(p−1)`` over the windows of each pixel; 0 where a window is all 0, as in PyTorch."""
    (x,) = node.inputs
    (y,) = node.outputs
    assert x is not None
    window = Window.of_pool(node)
    p = node.attributes.get_int("p", 2)
    dy = op.Mul(_over_power(op, dy, y, p - 1), op.scalar(window.taps, dy))
    return (_times_power(op, _mean_adjoint(op, dy, window, image=x, windows=y), x, p - 1),)


@vjp("GlobalLpPool")
def global_lp_pool(op: Operators, node: ir.Node, dy: ir.Value) -> tuple[Cotangent, ...]:
    """``dy x |x|^(p−2) / y^(p−1)``; 0 where a channel is all 0, as in PyTorch."""
    (x,) = node.inputs
    (y,) = node.outputs
    assert x is not None
    p = node.attributes.get_int("p", 2)
    return (_times_power(op, _over_power(op, dy, y, p - 1), x, p - 1),)


def _over_power(op: Operators, dy: ir.Value, y: ir.Value, power: int) -> ir.Value:
    """``dy / y^power``, 0 where ``y`` is 0."""
    if power == 0:
        return dy
    zero, one = op.scalar(0, dy), op.scalar(1, dy)
    empty = op.Equal(y, zero)
    # The divisor is made safe before it divides, so that a second gradient has no 0 · inf either.
    divisor = op.Where(empty, one, y)
    if power > 1:
        divisor = op.Pow(divisor, op.scalar(power, dy))
    return op.Where(empty, zero, op.Div(dy, divisor))


def _times_power(op: Operators, value: ir.Value, x: ir.Value, power: int) -> ir.Value:
    """``value · sign(x) |x|^power``."""
    if power == 1:
        return op.Mul(value, x)
    signed = op.Mul(value, op.Sign(x))
    return signed if power == 0 else op.Mul(signed, op.Pow(op.Abs(x), op.scalar(power, x)))


def _mean_adjoint(
    op: Operators, dy: ir.Value, window: Window, /, *, image: ir.Value, windows: ir.Value
) -> ir.Value:
    """Adjoint of the mean over each window, in which pixels outside the image are zeros and count."""
    missing = window.missing(image, windows)
    share = op.scalar(1 / window.taps, dy)
    channels, counts = channels_of(image), [n for n in spatial_sizes(windows) if n is not None]
    if window.tiles and channels is not None and feature_map(op, image) and not any(missing):
        return enlarge(op, dy, channels, factors=window.kernel, sizes=counts, times=1 / window.taps)
    if window.tiles:
        scales = op.constant([1, 1, *window.strides], ir.DataType.FLOAT)
        return fit(op, op.Resize(op.Mul(dy, share), None, scales, **_NEAREST), image, missing)
    if window.dense and window.kernel == window.extents:
        # A mean again, over the windows that the pixel is in.
        begin = [k - 1 - p for k, p in zip(window.kernel, window.begin, strict=True)]
        end = [k - 1 - p for k, p in zip(window.kernel, window.end, strict=True)]
        return op.AveragePool(dy, kernel_shape=window.kernel, pads=[*begin, *end], count_include_pad=1)
    if channels is not None and by_phases(op, window, image, windows):
        kernel = op.Expand(share, op.ints([channels, 1, *window.kernel]))
        kernel.shape = ir.Shape([channels, 1, *window.kernel])
        each = replace(window, group=channels)
        return strided_adjoint(op, dy, kernel, each, image=image, windows=windows)
    # One channel at a time: the runtime's transposed convolution is slow with a group a channel.
    target = with_sizes(op, [-1, 1], sizes_of(op, windows))
    kernel = op.constant(np.full([1, 1, *window.kernel], 1 / window.taps), dy.dtype)
    folded = conv_adjoint(op, op.Reshape(dy, target), kernel, window, image=image, windows=windows)
    return op.reshape_like(folded, image)


def _factor(
    op: Operators, node: ir.Node, image: ir.Value, windows: ir.Value, window: Window
) -> "np.ndarray[Any, np.dtype[Any]] | ir.Value | None":
    """What the full window's share is to be multiplied with (an array) or divided by (computed); None for 1.

    A window that is cut divides by fewer pixels: by those inside the image, or with count_include_pad by those inside
    the padded image, beyond which ceil_mode may reach.
    """
    ceil = bool(node.attributes.get_int("ceil_mode", 0))
    padded = bool(node.attributes.get_int("count_include_pad", 0))
    if not ceil and (padded or not any((*window.begin, *window.end))):
        return None
    sizes, counts = sizes_of(op, image), sizes_of(op, windows)
    offsets = [np.arange(k) * d for k, d in zip(window.kernel, window.dilations, strict=True)]
    if isinstance(sizes, list) and isinstance(counts, list):
        total = np.ones([1] * (2 + window.rank))
        for axis, (size, count) in enumerate(zip(sizes, counts, strict=True)):
            begin, end = window.begin[axis], window.end[axis]
            low, high = (-begin, size + end) if padded else (0, size)
            pixels = np.arange(count)[:, None] * window.strides[axis] + offsets[axis] - begin
            within = np.sum((pixels >= low) & (pixels < high), axis=1)
            total = total * within.reshape([-1 if i == axis + 2 else 1 for i in range(total.ndim)])
        whole = bool(np.all(total == window.taps))
        return None if whole else window.taps / np.maximum(total, 1)
    assert windows.dtype is not None
    share = op.scalar(1 / window.taps, windows)
    zero, one = op.constant(0, ir.DataType.INT64), op.constant(1, ir.DataType.INT64)
    for axis in range(window.rank):
        begin, end = window.begin[axis], window.end[axis]
        order = op.Range(zero, op.Squeeze(op.dim(windows, axis + 2)), one)
        places = op.ints([i for i in range(window.rank + 3) if i != axis + 2])
        starts = op.Unsqueeze(op.Mul(order, op.ints([window.strides[axis]])), places)
        read = op.Add(starts, op.ints((offsets[axis] - begin).tolist()))
        inside = op.Less(read, op.Add(op.dim(image, axis + 2), op.ints([end if padded else 0])))
        if not padded:
            inside = op.And(inside, op.GreaterOrEqual(read, zero))
        within_axis = op.ReduceSum(op.Cast(inside, to=windows.dtype.value), op.ints([-1]), keepdims=0)
        share = op.Mul(share, within_axis)
    return share
