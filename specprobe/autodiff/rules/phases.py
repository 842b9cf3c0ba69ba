"""An image as the images of its phases: every second pixel, and those beside them.

What a strided window does to an image it does to each phase without a stride. Everything here is written in operators
that onnxruntime's CPU provider runs on blocks of channels, as it does convolutions: whatever else stood between two
convolutions would make it bring the image into rows and back.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from specprobe.autodiff.operators import Operators
from specprobe.autodiff.rules.pixels import crop

__all__ = [
    "BLOCK",
    "MOST_PHASES",
    "blocked",
    "channels_of",
    "constant_image",
    "enlarge",
    "feature_map",
    "interleave",
    "of_shape",
    "pick",
    "spread_first",
    "step",
    "with_channels",
]

BLOCK = 16
"""Channels that the runtime computes at once, at most."""

MOST_PHASES = 9
"""Each takes nodes of its own: of so many, a graph is still of a size with the others."""

_STEEP = 3.4e38
"""Slope of a step: all normal numbers of single precision, times this, are at least 1."""

_FEATURES = frozenset(
    {
        "Add",
        "AveragePool",
        "BatchNormalization",
        "Concat",
        "Conv",
        "ConvTranspose",
        "LRN",
        "LeakyRelu",
        "MaxPool",
        "Relu",
        "Sigmoid",
        "Sum",
        "Tanh",
    }
)
"""Operators whose outputs are finite wherever a network is of use."""


def blocked(op: Operators, value: ir.Value, /) -> bool:
    """Whether ``value`` is of the kind that the CPU runs on blocks of channels.

    Parameters
    ----------
    op : Operators
        Emits, and knows the device.
    value : onnx_ir.Value
        Typed.

    Returns
    -------
    bool
        True for single-precision images (N, C, H, W) of known channels.
    """
    return (
        op.device == "cpu"
        and value.dtype == ir.DataType.FLOAT
        and value.shape is not None
        and len(value.shape) == 4
        and channels_of(value) is not None
    )


def feature_map(op: Operators, value: ir.Value, /) -> bool:
    """Whether ``value`` is such an image, of known size and made by layers whose numbers are finite.

    Parameters
    ----------
    op : Operators
        Emits, and knows the device.
    value : onnx_ir.Value
        Typed.

    Returns
    -------
    bool
        False for inputs of the graph, which may hold anything.
    """
    node = value.producer()
    sizes = list(value.shape or [])[2:]
    return (
        blocked(op, value)
        and node is not None
        and not node.domain
        and node.op_type in _FEATURES
        and all(isinstance(size, int) for size in sizes)
    )


def channels_of(value: ir.Value, /) -> int | None:
    """Size of the second axis.

    Parameters
    ----------
    value : onnx_ir.Value
        (N, C, …).

    Returns
    -------
    int or None
        None where it is open.
    """
    size = value.shape[1] if value.shape is not None else None
    return size if isinstance(size, int) else None


def step(op: Operators, value: ir.Value, /, *, at_zero: bool = False) -> ir.Value:
    """1 where ``value`` is above 0, else 0, as numbers that can be multiplied with.

    Parameters
    ----------
    op : Operators
        Emits.
    value : onnx_ir.Value
        Single precision; nowhere below 0, or with ``at_zero`` nowhere below 0 where that matters. Numbers below
        1.2e-38, which are not normal, may count in part.
    at_zero : bool
        1 where ``value`` is 0, else 0: the opposite.

    Returns
    -------
    onnx_ir.Value
        Of the shape of ``value``.
    """
    if at_zero:
        return op.HardSigmoid(value, alpha=-_STEEP, beta=1.0)
    return op.HardSigmoid(value, alpha=_STEEP, beta=0.0)


def pick(
    op: Operators,
    image: ir.Value,
    channels: int,
    /,
    *,
    sizes: Sequence[int],
    offsets: Sequence[int],
    counts: Sequence[int],
    strides: Sequence[int] = (1, 1),
    factor: float = 1.0,
) -> ir.Value:
    """``factor · image[stride · i + offset]`` for i from 0 to ``count`` − 1 on both axes; 0 outside the image.

    Parameters
    ----------
    op : Operators
        Emits.
    image : onnx_ir.Value
        (N, C, H, W).
    channels : int
        C.
    sizes : sequence of int
        H, W.
    offsets, counts, strides : sequence of int
        One an axis.
    factor : float
        On every pixel.

    Returns
    -------
    onnx_ir.Value
        (N, C, count, count): a convolution of each channel with one tap.
    """
    kernel, taps, begin, end = [], [], [], []
    for size, offset, count, stride in zip(sizes, offsets, counts, strides, strict=True):
        taps.append(max(0, offset))
        begin.append(max(0, -offset))
        read = (count - 1) * stride + taps[-1] + 1 - begin[-1]
        # Where that stops short of the image, a longer kernel keeps further windows from fitting in.
        surplus = max(0, size - read) // stride * stride
        kernel.append(taps[-1] + 1 + surplus)
        end.append(max(0, read + surplus - size))
    hot = np.zeros(kernel)
    hot[tuple(taps)] = factor
    weight = op.Expand(op.constant(hot[None, None], image.dtype), op.ints([channels, 1, *kernel]))
    made = op.Conv(
        image, weight, kernel_shape=kernel, strides=list(strides), pads=[*begin, *end], group=channels
    )
    return of_shape(made, image, channels, counts)


def interleave(
    op: Operators,
    phases: Sequence[ir.Value],
    channels: int,
    /,
    *,
    strides: Sequence[int],
    sizes: Sequence[int],
) -> ir.Value:
    """The image whose pixel ``stride · i + phase`` is pixel ``i`` of that phase's image.

    Parameters
    ----------
    op : Operators
        Emits.
    phases : sequence of onnx_ir.Value
        (N, C, h, w) each, all of one shape; all phases of the second axis for each of the first. Or one value that
        holds all of them along its channels.
    channels : int
        C.
    strides : sequence of int
        One an axis.
    sizes : sequence of int
        H, W: what is beyond is cut.

    Returns
    -------
    onnx_ir.Value
        (N, C, H, W).
    """
    stacked = phases[0] if len(phases) == 1 else op.Concat(*phases, axis=1)
    if math.prod(strides) == 1:
        return stacked
    counts = [math.ceil(size / stride) for size, stride in zip(sizes, strides, strict=True)]
    # Channels last, whole pixels are moved, which is several times as fast as DepthToSpace.
    rows = op.Transpose(stacked, perm=[0, 2, 3, 1])
    apart = op.Reshape(rows, op.ints([-1, *counts, *strides, channels]))
    together = op.Transpose(apart, perm=[0, 1, 3, 2, 4, 5])
    full = [count * stride for count, stride in zip(counts, strides, strict=True)]
    image = op.Transpose(op.Reshape(together, op.ints([-1, *full, channels])), perm=[0, 3, 1, 2])
    # Cuts what is beyond, and brings the image into blocks of channels.
    return pick(
        op, of_shape(image, phases[0], channels, full), channels, sizes=full, offsets=[0, 0], counts=sizes
    )


def spread_first(
    op: Operators, image: ir.Value, channels: int, /, *, strides: Sequence[int], sizes: Sequence[int]
) -> ir.Value:
    """The image whose pixel ``stride · i`` is pixel ``i`` of ``image``, and all others 0.

    Parameters
    ----------
    op : Operators
        Emits.
    image : onnx_ir.Value
        (N, C, h, w).
    channels : int
        C.
    strides : sequence of int
        One an axis.
    sizes : sequence of int
        H, W.

    Returns
    -------
    onnx_ir.Value
        (N, C, H, W).
    """
    counts = [math.ceil(size / stride) for size, stride in zip(sizes, strides, strict=True)]
    full = [count * stride for count, stride in zip(counts, strides, strict=True)]
    blown = enlarge(op, image, channels, factors=strides, sizes=counts)
    grid = np.zeros([1, 1, *full])
    grid[:, :, :: strides[0], :: strides[1]] = 1
    masked = of_shape(op.Mul(blown, constant_image(op, grid, channels, like=image)), image, channels, full)
    cut = [whole - size for whole, size in zip(full, sizes, strict=True)]
    return masked if not any(cut) else crop(op, masked, [0, 0], cut)


def constant_image(
    op: Operators, pixels: "np.ndarray[Any, np.dtype[Any]]", channels: int, /, *, like: ir.Value
) -> ir.Value:
    """A constant (1, 1, H, W) as (N, C, H, W), in blocks of channels as a convolution writes them.

    Parameters
    ----------
    op : Operators
        Emits.
    pixels : numpy.ndarray, shape (1, 1, H, W)
        Content.
    channels : int
        C.
    like : onnx_ir.Value
        Gives N and the type.

    Returns
    -------
    onnx_ir.Value
        The same in every image and channel.
    """
    sizes = pixels.shape[2:]
    one = op.Expand(
        op.constant(pixels, like.dtype), op.Concat(op.batch_of(like), op.ints([1, *sizes]), axis=0)
    )
    weight = op.Expand(op.scalar(1, like), op.ints([channels, 1, 1, 1]))
    made = op.Conv(of_shape(one, like, 1, sizes), weight, kernel_shape=[1, 1])
    return of_shape(made, like, channels, sizes)


def enlarge(
    op: Operators,
    image: ir.Value,
    channels: int,
    /,
    *,
    factors: Sequence[int],
    sizes: Sequence[int],
    times: float = 1.0,
) -> ir.Value:
    """Each pixel of ``image``, times a number, as a block of equal pixels.

    Parameters
    ----------
    op : Operators
        Emits.
    image : onnx_ir.Value
        (N, C, h, w).
    channels : int
        C.
    factors : sequence of int
        Size of a block.
    sizes : sequence of int
        h, w.
    times : float
        On every pixel.

    Returns
    -------
    onnx_ir.Value
        (N, C, h · factor, w · factor).
    """
    if times != 1:
        image = pick(op, image, channels, sizes=sizes, offsets=[0, 0], counts=sizes, factor=times)
    scales = op.constant([1, 1, *factors], ir.DataType.FLOAT)
    nearest = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor", "mode": "nearest"}
    made = op.Resize(image, None, scales, **nearest)
    return of_shape(made, image, channels, [n * f for n, f in zip(sizes, factors, strict=True)])


def of_shape(value: ir.Value, like: ir.Value, channels: int, sizes: Sequence[int], /) -> ir.Value:
    """State a shape. Where the runtime cannot tell that two images are of one shape, it multiplies them row by row.

    Parameters
    ----------
    value : onnx_ir.Value
        (N, C, H, W).
    like : onnx_ir.Value
        Gives N.
    channels : int
        C.
    sizes : sequence of int
        H, W.

    Returns
    -------
    onnx_ir.Value
        ``value``.
    """
    batch = like.shape[0] if like.shape is not None else None
    value.shape = ir.Shape([batch, channels, *sizes])
    return value


def with_channels(value: ir.Value, channels: int, /) -> ir.Value:
    """A value of no graph that has the type and shape of some channels of ``value``.

    Parameters
    ----------
    value : onnx_ir.Value
        (N, C, …).
    channels : int
        How many.

    Returns
    -------
    onnx_ir.Value
        To read a shape from.
    """
    sizes = list(value.shape or [])
    return ir.Value(name="", type=value.type, shape=ir.Shape([sizes[0], channels, *sizes[2:]]))
