"""The gradient of a convolution with respect to its kernel."""

import onnx_ir as ir

from specprobe.autodiff.operators import Operators, static_shape
from specprobe.autodiff.rules.pixels import tap_slices
from specprobe.autodiff.rules.window import Window, sizes_of, with_sizes

__all__ = ["kernel_gradient"]

_FEW = 8
"""Channels below which one product over all taps is faster than one product a tap."""


def kernel_gradient(
    op: Operators,
    image: ir.Value,
    dy: ir.Value,
    window: Window,
    /,
    *,
    image_like: ir.Value,
    dy_like: ir.Value,
    w: ir.Value,
) -> ir.Value:
    """For each position in the kernel, the products of what was read there with what was asked of it.

    Parameters
    ----------
    op : Operators
        Emits.
    image : onnx_ir.Value
        (N, C, …), what the kernel slid over.
    dy : onnx_ir.Value
        (N, F, …), one pixel a window.
    window : Window
        How it slid.
    image_like, dy_like : onnx_ir.Value
        Of the same shapes, and known.
    w : onnx_ir.Value
        (F, C / groups, …), the kernel, of static shape.

    Returns
    -------
    onnx_ir.Value
        Of the shape of ``w``.
    """
    shape = static_shape(w)
    assert shape is not None
    out, into, *kernel = shape
    group, rank = window.group, window.rank
    spatial = [*range(2, 2 + rank)]
    if into == 1 and out == group and group > 1:
        return _depthwise(op, image, dy, window, dy_like=dy_like, w=w)
    rows = op.Reshape(op.Transpose(dy, perm=[1, 0, *spatial]), op.ints([group, out // group, -1]))
    if group == 1 and into < _FEW and window.taps > 1:
        padded = _pad(op, op.Transpose(image, perm=[1, 0, *spatial]), window, before=2, behind=0)
        taps = [*tap_slices(op, padded, sizes_of(op, dy_like), window)]
        columns = op.Reshape(op.Concat(*taps, axis=0), op.ints([window.taps * into, -1]))
        product = op.Gemm(op.Reshape(rows, op.ints([out, -1])), columns, transB=1)
    else:
        if group > 1:
            grouped = _groups(op, image, group, into, like=image_like)
        else:
            grouped = op.Transpose(image, perm=[0, *spatial, 1])
        first = 2 if group > 1 else 1
        padded = _pad(op, grouped, window, before=first, behind=1)
        products = [
            op.MatMul(rows, op.Reshape(tap, op.ints([group, -1, into])))
            for tap in tap_slices(op, padded, sizes_of(op, dy_like), window, first=first)
        ]
        product = op.Concat(*products, axis=2) if len(products) > 1 else products[0]
    apart = op.Reshape(product, op.ints([out, *kernel, into]))
    return op.Transpose(apart, perm=[0, 1 + rank, *range(1, 1 + rank)])


def _groups(op: Operators, image: ir.Value, group: int, into: int, /, *, like: ir.Value) -> ir.Value:
    """``image`` as (groups, N, …, C / groups)."""
    assert like.shape is not None
    rank = len(like.shape) - 2
    target = with_sizes(op, [0, group, into], sizes_of(op, like))
    return op.Transpose(op.Reshape(image, target), perm=[1, 0, *range(3, 3 + rank), 2])


def _depthwise(
    op: Operators, image: ir.Value, dy: ir.Value, window: Window, /, *, dy_like: ir.Value, w: ir.Value
) -> ir.Value:
    """A matrix product of one row is slower here than a product and a sum."""
    axes = op.ints([0, *range(2, 2 + window.rank)])
    padded = _pad(op, image, window, before=2, behind=0)
    sums = [
        op.Unsqueeze(op.ReduceSum(op.Mul(tap, dy), axes, keepdims=0), op.ints([1]))
        for tap in tap_slices(op, padded, sizes_of(op, dy_like), window)
    ]
    return op.reshape_like(op.Concat(*sums, axis=1) if len(sums) > 1 else sums[0], w)


def _pad(op: Operators, image: ir.Value, window: Window, /, *, before: int, behind: int) -> ir.Value:
    """``image`` with the window's padding on its spatial axes, which other axes stand before and behind."""
    if not any(window.begin) and not any(window.end):
        return image
    front, back = [0] * before, [0] * behind
    pads = [*front, *window.begin, *back, *front, *window.end, *back]
    return op.Pad(image, op.ints(pads), op.scalar(0, image))
