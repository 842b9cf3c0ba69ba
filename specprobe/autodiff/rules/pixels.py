"""Moves of pixels that sliding kernels need: cut, fill, spread apart, pick, add."""

from collections.abc import Iterator, Sequence

import numpy as np
import onnx_ir as ir

from specprobe.autodiff.operators import Operators
from specprobe.autodiff.rules.window import Window, sizes_of, with_sizes

__all__ = ["add_at", "crop", "fit", "spread", "tap_slices"]

_END = int(np.iinfo(np.int64).max)


def crop(op: Operators, value: ir.Value, begin: Sequence[int], end: Sequence[int], /) -> ir.Value:
    """``value`` without its first and last rows along the spatial axes.

    Parameters
    ----------
    op : Operators
        Emits.
    value : onnx_ir.Value
        (N, C, …).
    begin, end : sequence of int
        Rows to leave out, one number a spatial axis.

    Returns
    -------
    onnx_ir.Value
        ``value`` itself where nothing is cut.
    """
    if not any(begin) and not any(end):
        return value
    axes = [2 + i for i in range(len(begin))]
    stops = [-e if e else _END for e in end]
    return op.Slice(value, op.ints(begin), op.ints(stops), op.ints(axes))


def fit(op: Operators, value: ir.Value, like: ir.Value, missing: Sequence[int | None], /) -> ir.Value:
    """``value`` cut or filled with zeros at the end of its spatial axes, to the sizes of ``like``.

    Parameters
    ----------
    op : Operators
        Emits.
    value : onnx_ir.Value
        (N, C, …).
    like : onnx_ir.Value
        Of the same rank; its batch and channels may differ.
    missing : sequence of int or None
        Rows to add, or, negative, to cut: one number a spatial axis, None where only the run knows.

    Returns
    -------
    onnx_ir.Value
        ``value`` itself where nothing is missing.
    """
    known = [m for m in missing if m is not None]
    if len(known) == len(missing):
        cut = crop(op, value, [0] * len(known), [max(0, -m) for m in known])
        if max(known) <= 0:
            return cut
        pads = [0] * (4 + len(known)) + [max(0, m) for m in known]
        return op.Pad(cut, op.ints(pads), op.scalar(0, value))
    target = op.Slice(op.shape_of(like), op.ints([2]), op.ints([_END]))
    actual = op.Slice(op.Shape(value), op.ints([2]), op.ints([_END]))
    short = op.Max(op.Sub(target, actual), op.constant(0, ir.DataType.INT64))
    rank = len(missing)
    filled = op.Pad(value, op.Concat(op.ints([0] * (4 + rank)), short, axis=0), op.scalar(0, value))
    return op.Slice(filled, op.ints([0] * rank), target, op.ints([2 + i for i in range(rank)]))


def spread(op: Operators, value: ir.Value, like: ir.Value, strides: Sequence[int], /) -> ir.Value:
    """``value`` with ``stride − 1`` zeros behind every pixel, also the last.

    Parameters
    ----------
    op : Operators
        Emits.
    value : onnx_ir.Value
        (N, C, …).
    like : onnx_ir.Value
        Of the same shape, with a known number of channels.
    strides : sequence of int
        One a spatial axis.

    Returns
    -------
    onnx_ir.Value
        ``value`` itself where every stride is 1.
    """
    if all(stride == 1 for stride in strides):
        return value
    # One channel at a time and a kernel of one pixel: measured beside Pad, Concat and Resize with a mask.
    ones = [1] * len(strides)
    sizes = sizes_of(op, like)
    out = op.ConvTranspose(
        op.Reshape(value, with_sizes(op, [-1, 1], sizes)),
        op.constant(np.ones([1, 1, *ones]), value.dtype),
        kernel_shape=ones,
        strides=strides,
        output_padding=[stride - 1 for stride in strides],
    )
    assert like.shape is not None
    channels = like.shape[1]
    assert isinstance(channels, int)
    larger = (
        op.Mul(sizes, op.ints(strides))
        if isinstance(sizes, ir.Value)
        else [n * s for n, s in zip(sizes, strides, strict=True)]
    )
    return op.Reshape(out, with_sizes(op, [-1, channels], larger))


def tap_slices(
    op: Operators, image: ir.Value, counts: "list[int] | ir.Value", window: Window, /, *, first: int = 2
) -> Iterator[ir.Value]:
    """For each position in the kernel, in order, the pixels that all windows have there.

    Parameters
    ----------
    op : Operators
        Emits.
    image : onnx_ir.Value
        Padded already.
    counts : list of int or onnx_ir.Value
        How many windows there are along each spatial axis.
    window : Window
        Only its kernel, strides and dilations are read.
    first : int
        First spatial axis of ``image``.

    Yields
    ------
    onnx_ir.Value
        Like ``image``, with one pixel a window.
    """
    axes = op.ints([first + i for i in range(window.rank)])
    steps = () if window.dense else (op.ints(window.strides),)
    if isinstance(counts, list):
        spans = [(count - 1) * s + 1 for count, s in zip(counts, window.strides, strict=True)]
    else:
        span = op.Add(op.Mul(op.Sub(counts, op.ints([1])), op.ints(window.strides)), op.ints([1]))
    for tap in np.ndindex(*window.kernel):
        start = [t * d for t, d in zip(tap, window.dilations, strict=True)]
        if isinstance(counts, list):
            stop = op.ints([a + length for a, length in zip(start, spans, strict=True)])
        else:
            stop = op.Add(span, op.ints(start))
        yield op.Slice(image, op.ints(start), stop, axes, *steps)


def add_at(op: Operators, shape: ir.Value, indices: ir.Value, updates: ir.Value, /, *, axis: int) -> ir.Value:
    """Zeros of a shape, with ``updates`` added at ``indices`` of one axis.

    Parameters
    ----------
    op : Operators
        Emits.
    shape : onnx_ir.Value
        1-D int64.
    indices, updates : onnx_ir.Value
        Of one shape.
    axis : int
        That the indices count along.

    Returns
    -------
    onnx_ir.Value
        Of that shape, and of the type of ``updates``. Sums of half precision are taken in single: the runtime's CPU
        kernel takes no other.
    """
    dtype = updates.dtype
    half = dtype in {ir.DataType.FLOAT16, ir.DataType.BFLOAT16}
    if half:
        updates = op.Cast(updates, to=ir.DataType.FLOAT.value)
    zeros = op.Expand(op.scalar(0, updates), shape)
    total = op.ScatterElements(zeros, indices, updates, axis=axis, reduction="add")
    return op.Cast(total, to=dtype.value) if half and dtype is not None else total
