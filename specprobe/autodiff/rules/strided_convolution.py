"""The adjoint of a strided convolution, phase by phase."""

import itertools
import math
from dataclasses import dataclass

import onnx_ir as ir

from specprobe.autodiff.operators import Operators, static_shape
from specprobe.autodiff.rules.phases import (
    BLOCK,
    MOST_PHASES,
    blocked,
    channels_of,
    interleave,
    of_shape,
    pick,
    spread_first,
)
from specprobe.autodiff.rules.pixels import crop
from specprobe.autodiff.rules.window import Window, spatial_sizes

__all__ = ["by_phases", "strided_adjoint", "turned"]

_END = (1 << 63) - 1
_BEFORE_FIRST = -(1 << 62)


def by_phases(op: Operators, window: Window, image: ir.Value, windows: ir.Value, /) -> bool:
    """Whether :func:`strided_adjoint` is defined, and faster than a transposed convolution.

    Parameters
    ----------
    op : Operators
        Emits, and knows the device.
    window : Window
        How the kernel slides.
    image, windows : onnx_ir.Value
        What is read, and what has one pixel a window.

    Returns
    -------
    bool
        True for strided convolutions of images of known size, without dilation.
    """
    return (
        blocked(op, image)
        and not window.dense
        and window.kernel == window.extents
        and (window.group == 1 or math.prod(window.strides) <= MOST_PHASES)
        and None not in spatial_sizes(image)
        and None not in spatial_sizes(windows)
    )


@dataclass(frozen=True, slots=True)
class _Taps:
    """Taps of a kernel that pixels of one phase of one axis were read by.

    Pixel i of the phase was read by tap ``first + stride · j`` of window ``i + last − j``, for j below ``count``.
    """

    first: int
    count: int
    last: int

    @classmethod
    def of(cls, kernel: int, stride: int, begin: int, phase: int) -> "_Taps":
        first = (phase + begin) % stride
        return cls(
            first=first,
            count=len(range(first, kernel, stride)),
            last=(phase + begin - first) // stride,
        )


def strided_adjoint(
    op: Operators, dy: ir.Value, w: ir.Value, window: Window, /, *, image: ir.Value, windows: ir.Value
) -> ir.Value:
    """Each phase of the image by a dense convolution of ``dy`` with the taps that read that phase.

    Parameters
    ----------
    op : Operators
        Emits.
    dy : onnx_ir.Value
        (N, F, h, w), one pixel a window.
    w : onnx_ir.Value
        (F, C / groups, …), the kernel, of static shape.
    window : Window
        How it slides, without dilation.
    image, windows : onnx_ir.Value
        Of the shapes of the result and of ``dy``, and known.

    Returns
    -------
    onnx_ir.Value
        (N, C, H, W).
    """
    channels = channels_of(image)
    assert channels is not None
    sizes = [n for n in spatial_sizes(image) if n is not None]
    pixels = [n for n in spatial_sizes(windows) if n is not None]
    counts = [math.ceil(size / s) for size, s in zip(sizes, window.strides, strict=True)]
    axes = [
        [_Taps.of(k, s, b, phase) for phase in range(s)]
        for k, s, b in zip(window.kernel, window.strides, window.begin, strict=True)
    ]
    taps = [*itertools.product(*axes)]
    filled = [all(axis.count for axis in each) for each in taps]
    if window.group == 1 and (channels < BLOCK or len(taps) > MOST_PHASES):
        stacked = _together(op, dy, w, window, pixels, counts, channels)
        return interleave(op, [stacked], channels, strides=window.strides, sizes=sizes)
    made = {
        i: _phase(op, dy, w, window, each, pixels, counts, channels)
        for i, each in enumerate(taps)
        if filled[i]
    }
    if [*made] == [0]:
        return spread_first(op, made[0], channels, strides=window.strides, sizes=sizes)
    some = next(iter(made.values()))
    phases = [
        made[i]
        if i in made
        else pick(op, some, channels, sizes=counts, offsets=[0, 0], counts=counts, factor=0)
        for i in range(len(taps))
    ]
    return interleave(op, phases, channels, strides=window.strides, sizes=sizes)


def _phase(
    op: Operators,
    dy: ir.Value,
    w: ir.Value,
    window: Window,
    taps: "tuple[_Taps, ...]",
    pixels: list[int],
    counts: list[int],
    channels: int,
) -> ir.Value:
    """The image of one phase, by a kernel of its taps alone."""
    begin = [axis.count - 1 - axis.last for axis in taps]
    end = [count + axis.last - size for count, axis, size in zip(counts, taps, pixels, strict=True)]
    cut = crop(op, dy, [max(0, -n) for n in begin], [max(0, -n) for n in end])
    made = op.Conv(
        cut,
        _kernel(op, w, window, taps),
        kernel_shape=[axis.count for axis in taps],
        pads=[max(0, n) for n in (*begin, *end)],
        group=window.group,
    )
    return of_shape(made, dy, channels, counts)


def _together(
    op: Operators,
    dy: ir.Value,
    w: ir.Value,
    window: Window,
    pixels: list[int],
    counts: list[int],
    channels: int,
) -> ir.Value:
    """All phases along the channels, by one kernel that is as large as any of them needs, with zeros elsewhere.

    Pixel ``stride · i + phase`` was read by tap ``phase + begin − stride · d`` of window ``i + d``. With zeros around it,
    the kernel is a table of d, falling, by phase.
    """
    shape = static_shape(w)
    assert shape is not None
    out, _, *kernel = shape
    strides = window.strides
    most = [(s - 1 + b) // s for s, b in zip(strides, window.begin, strict=True)]
    before = [s * d - b for s, d, b in zip(strides, most, window.begin, strict=True)]
    lengths = [-(-(n + k) // s) for n, k, s in zip(before, kernel, strides, strict=True)]
    behind = [s * n - k - p for s, n, k, p in zip(strides, lengths, kernel, before, strict=True)]
    if any(before) or any(behind):
        w = op.Pad(w, op.ints([0, 0, *before, 0, 0, *behind]), op.scalar(0, w))
    table = op.Reshape(w, op.ints([out, channels, lengths[0], strides[0], lengths[1], strides[1]]))
    phases = op.Reshape(
        op.Transpose(table, perm=[3, 5, 1, 0, 2, 4]),
        op.ints([math.prod(strides) * channels, out, *lengths]),
    )
    begin = [n - 1 - d for n, d in zip(lengths, most, strict=True)]
    end = [count + d - size for count, d, size in zip(counts, most, pixels, strict=True)]
    cut = crop(op, dy, [max(0, -n) for n in begin], [max(0, -n) for n in end])
    made = op.Conv(
        cut,
        reversed_along(op, phases, lengths),
        kernel_shape=lengths,
        pads=[max(0, n) for n in (*begin, *end)],
    )
    return of_shape(made, dy, channels * math.prod(strides), counts)


def _kernel(op: Operators, w: ir.Value, window: Window, taps: "tuple[_Taps, ...]") -> ir.Value:
    """The taps of one phase, turned."""
    shape = static_shape(w)
    assert shape is not None
    axes = [
        2 + i for i, (s, k) in enumerate(zip(window.strides, window.kernel, strict=True)) if s > 1 and k > 1
    ]
    if axes:
        w = op.Slice(
            w,
            op.ints([taps[axis - 2].first for axis in axes]),
            op.ints([_END] * len(axes)),
            op.ints(axes),
            op.ints([window.strides[axis - 2] for axis in axes]),
        )
    return turned(op, w, [*shape[:2], *(axis.count for axis in taps)], window.group)


def turned(op: Operators, w: ir.Value, shape: list[int], group: int, /) -> ir.Value:
    """The kernel with its ends and its channels swapped.

    Parameters
    ----------
    op : Operators
        Emits.
    w : onnx_ir.Value
        (F, C / groups, …), the kernel.
    shape : list of int
        Its shape.
    group : int
        Number of groups.

    Returns
    -------
    onnx_ir.Value
        (C, F / groups, …).

    Notes
    -----
    Nodes rather than a new constant: the runtime folds them, and the result stays a function of the kernel, which a
    second gradient may ask for.
    """
    out, into, *kernel = shape
    rank = len(kernel)
    if group == 1:
        w = op.Transpose(w, perm=[1, 0, *range(2, 2 + rank)])
    elif into > 1 or out > group:
        split = op.Reshape(w, op.ints([group, out // group, into, *kernel]))
        swapped = op.Transpose(split, perm=[0, 2, 1, *range(3, 3 + rank)])
        w = op.Reshape(swapped, op.ints([group * into, out // group, *kernel]))
    return reversed_along(op, w, kernel)


def reversed_along(op: Operators, w: ir.Value, sizes: list[int], /) -> ir.Value:
    """``w`` with the order of its spatial axes reversed.

    Parameters
    ----------
    op : Operators
        Emits.
    w : onnx_ir.Value
        A kernel.
    sizes : list of int
        Of its spatial axes.

    Returns
    -------
    onnx_ir.Value
        ``w`` itself where all of them are 1.
    """
    axes = [2 + i for i, size in enumerate(sizes) if size > 1]
    if not axes:
        return w
    last, before_first = [-1] * len(axes), [_BEFORE_FIRST] * len(axes)
    return op.Slice(w, op.ints(last), op.ints(before_first), op.ints(axes), op.ints(last))
