"""Rules for pools that take the largest pixel, and for their partial inverse."""

import math

import onnx_ir as ir

from specprobe.autodiff.operators import Operators, static_shape
from specprobe.autodiff.registry import Cotangent, vjp
from specprobe.autodiff.rules.phases import MOST_PHASES, feature_map
from specprobe.autodiff.rules.pixels import add_at
from specprobe.autodiff.rules.window import Window, refuse, spatial_sizes
from specprobe.autodiff.rules.winners import max_pool_adjoint

__all__: list[str] = []

_WIDEST = 13
"""Pixels along an axis of the widest pools that detectors use; each takes nodes of its own."""


@vjp("MaxPool")
def max_pool(op: Operators, node: ir.Node, dy: ir.Value, *_: None) -> tuple[Cotangent, ...]:
    """The first of the largest pixels of a window, row by row, gets all, as in PyTorch."""
    (x,), y = node.inputs, node.outputs[0]
    assert x is not None
    window = Window.of_pool(node)
    small = max(window.kernel) <= _WIDEST and math.prod(window.strides) <= MOST_PHASES
    if small and window.kernel == window.extents and feature_map(op, x):
        return (max_pool_adjoint(op, dy, window, image=x, largest=y),)
    indices = op.Reshape(_indices(op, node), op.ints([-1]))
    # Without a reduction, as would do without overlap, the runtime takes as long.
    return (op.reshape_like(add_at(op, _size(op, x), indices, op.Reshape(dy, op.ints([-1])), axis=0), x),)


def _indices(op: Operators, node: ir.Node) -> ir.Value:
    """Where in the flattened input each window's largest pixel is; the node's own output where it can be had."""
    column_major = node.attributes.get_int("storage_order", 0)
    given = node.outputs[1] if len(node.outputs) > 1 else None
    if column_major and given is not None and given.name:
        kept = {k: v.value for k, v in node.attributes.items() if k != "storage_order"}
        return op.several("MaxPool", node.inputs[0], outputs=2, **kept)[1]
    node.attributes.pop("storage_order", None)
    if given is None:
        node.resize_outputs(2)
        given = node.outputs[1]
    if not given.name:
        given.name = op.name(f"{node.outputs[0].name}/indices")
    given.type, given.shape = ir.TensorType(ir.DataType.INT64), node.outputs[0].shape
    return given


@vjp("GlobalMaxPool")
def global_max_pool(op: Operators, node: ir.Node, dy: ir.Value) -> tuple[Cotangent, ...]:
    """The first of the largest pixels of a channel gets all, as in PyTorch's adaptive_max_pool."""
    (x,) = node.inputs
    assert x is not None
    flat = op.ints([0, 0, -1])
    pixels = op.Reshape(x, flat)
    first = op.ArgMax(pixels, axis=2, keepdims=1)
    zeros = op.Expand(op.scalar(0, dy), op.Shape(pixels))
    return (op.reshape_like(op.ScatterElements(zeros, first, op.Reshape(dy, flat), axis=2), x),)


@vjp("MaxUnpool")
def max_unpool(op: Operators, node: ir.Node, dy: ir.Value) -> tuple[Cotangent, ...]:
    """Each pixel gets what is asked where it was put; of pixels put to one place, the last, which is what stays."""
    x, indices, *rest = node.inputs
    assert x is not None
    assert indices is not None
    window = Window.of(node)
    if rest and rest[0] is not None and not _as_inferred(x, node.outputs[0], window):
        raise refuse(
            node,
            "output_shape differs from the size that its window gives, or is open; runtimes then place pixels differently",
        )
    taken = op.Gather(op.Reshape(dy, op.ints([-1])), indices, axis=0)
    if not window.apart:
        zero, one = op.constant(0, ir.DataType.INT64), op.constant(1, ir.DataType.INT64)
        count = op.Squeeze(_size(op, x))
        order = op.Range(zero, count, one)
        places = op.Reshape(indices, op.ints([-1]))
        nobody = op.Expand(op.constant(-1, ir.DataType.INT64), _size(op, dy))
        last = op.ScatterElements(nobody, places, order, reduction="max")
        stays = op.Equal(op.Gather(last, places, axis=0), order)
        taken = op.Where(op.reshape_like(stays, x), taken, op.scalar(0, dy))
    return taken, None, *(None for _ in rest)


def _as_inferred(x: ir.Value, y: ir.Value, window: Window) -> bool:
    """Whether a stated output shape is known to be the one that would have been without."""
    axes = zip(
        spatial_sizes(x),
        spatial_sizes(y),
        window.strides,
        window.kernel,
        window.begin,
        window.end,
        strict=True,
    )
    return all(
        size is not None and made == (size - 1) * stride + extent - begin - end
        for size, made, stride, extent, begin, end in axes
    )


def _size(op: Operators, value: ir.Value) -> ir.Value:
    """Number of elements, as a 1-D tensor of one int64."""
    shape = static_shape(value)
    if shape is not None:
        return op.ints([math.prod(shape)])
    return op.Reshape(op.Size(value), op.ints([1]))
