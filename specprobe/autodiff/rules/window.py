"""How a kernel slides over an image."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from specprobe.autodiff.operators import Operators
from specprobe.errors import UnsupportedOperator
from specprobe.graph.limits import printable

__all__ = ["Window", "refuse", "sizes_of", "spatial_sizes", "with_sizes"]

_END = int(np.iinfo(np.int64).max)


def refuse(node: ir.Node, reason: str, /) -> UnsupportedOperator:
    """Exception that says why this node has no gradient.

    Parameters
    ----------
    node : onnx_ir.Node
        Whose operator has a rule, but not for this use of it.
    reason : str
        What is not supported, and what is.

    Returns
    -------
    UnsupportedOperator
        To be raised.
    """
    name = printable(str(node.name or node.outputs[0].name))
    return UnsupportedOperator(f"no gradient for this {node.op_type} (node '{name}'): {reason}")


def spatial_sizes(value: ir.Value, /) -> list[int | None]:
    """Sizes of the axes behind batch and channels; None where open.

    Parameters
    ----------
    value : onnx_ir.Value
        (N, C, …), of known rank.

    Returns
    -------
    list of int or None
        One a spatial axis.
    """
    assert value.shape is not None
    return [size if isinstance(size, int) else None for size in list(value.shape)[2:]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """How a kernel slides: one number a spatial axis in each field."""

    kernel: list[int]
    strides: list[int]
    dilations: list[int]
    begin: list[int]
    end: list[int]
    group: int

    @classmethod
    def of(cls, node: ir.Node, weight: ir.Value | None = None, /) -> "Window":
        """Window of a convolution or a pool; padding is explicit by now.

        Parameters
        ----------
        node : onnx_ir.Node
            The operator.
        weight : onnx_ir.Value, optional
            The kernel, where the node need not state its size.

        Returns
        -------
        Window
            With ONNX's defaults filled in.

        Raises
        ------
        UnsupportedOperator
            If the kernel's size is open, padding is not explicit, or some of it is negative.
        """
        attributes = node.attributes
        size: Sequence[int | None] | None = attributes.get_ints("kernel_shape")
        if size is None and weight is not None and weight.shape is not None:
            size = spatial_sizes(weight)
        if size is None or None in size:
            raise refuse(node, "its kernel has no known size; a static kernel shape is accepted")
        if attributes.get_string("auto_pad", "NOTSET") != "NOTSET" or "output_shape" in attributes:
            raise refuse(
                node, "its padding depends on sizes that the graph leaves open; state pads, or fix the sizes"
            )
        kernel = [int(k) for k in size if k is not None]
        rank = len(kernel)
        pads = list(attributes.get_ints("pads") or [0] * (2 * rank))
        if min(pads, default=0) < 0:
            raise refuse(node, f"its pads are {pads}; none may be negative")
        return cls(
            kernel=kernel,
            strides=list(attributes.get_ints("strides") or [1] * rank),
            dilations=list(attributes.get_ints("dilations") or [1] * rank),
            begin=pads[:rank],
            end=pads[rank:],
            group=attributes.get_int("group", 1),
        )

    @classmethod
    def of_pool(cls, node: ir.Node, /) -> "Window":
        """Window of a pool, of which the sizes of input and output agree.

        Parameters
        ----------
        node : onnx_ir.Node
            The pool.

        Returns
        -------
        Window
            As :meth:`of`.

        Raises
        ------
        UnsupportedOperator
            As :meth:`of`; or if the graph states a window that begins behind the image: up to opset 21, ONNX's shape
            inference counts it with ceil_mode, and no runtime does.
        """
        window = cls.of(node)
        x, y = node.inputs[0], node.outputs[0]
        assert x is not None
        if node.attributes.get_int("ceil_mode", 0):
            for axis, (size, count) in enumerate(zip(spatial_sizes(x), spatial_sizes(y), strict=True)):
                if size is None or count is None:
                    continue
                if (count - 1) * window.strides[axis] >= size + window.begin[axis]:
                    raise refuse(
                        node,
                        "with ceil_mode its last window begins behind the image, which shape inference counts before opset 22; convert the model to opset 22",
                    )
        return window

    @property
    def rank(self) -> int:
        """Number of spatial axes."""
        return len(self.kernel)

    @property
    def taps(self) -> int:
        """Number of positions in the kernel."""
        return math.prod(self.kernel)

    @property
    def extents(self) -> list[int]:
        """Pixels from a kernel's first tap to its last, both counted."""
        return [(k - 1) * d + 1 for k, d in zip(self.kernel, self.dilations, strict=True)]

    @property
    def dense(self) -> bool:
        """Whether windows follow at every pixel."""
        return all(s == 1 for s in self.strides)

    @property
    def apart(self) -> bool:
        """Whether no pixel is in two windows."""
        return all(s >= e for s, e in zip(self.strides, self.extents, strict=True))

    @property
    def tiles(self) -> bool:
        """Whether windows lie edge to edge from the first pixel."""
        return self.strides == self.kernel == self.extents and not any(self.begin)

    def missing(self, image: ir.Value, windows: ir.Value, /) -> list[int | None]:
        """How many rows the windows stop short of the image's end, or, negative, reach beyond it.

        Parameters
        ----------
        image, windows : onnx_ir.Value
            What is read, and what has one pixel a window.

        Returns
        -------
        list of int or None
            One a spatial axis; None where it depends on sizes that are open.
        """
        missing: list[int | None] = []
        sizes = zip(spatial_sizes(image), spatial_sizes(windows), strict=True)
        for axis, (size, count) in enumerate(sizes):
            stride, extent = self.strides[axis], self.extents[axis]
            begin, end = self.begin[axis], self.end[axis]
            if stride == 1:
                missing.append(-end)
            elif size is None or count is None:
                missing.append(None)
            else:
                missing.append(size - ((count - 1) * stride + extent - begin))
        return missing


def sizes_of(op: Operators, value: ir.Value, /) -> "list[int] | ir.Value":
    """Sizes of the axes behind batch and channels: numbers where all are known, else computed.

    Parameters
    ----------
    op : Operators
        Emits.
    value : onnx_ir.Value
        (N, C, …), of known rank.

    Returns
    -------
    list of int or onnx_ir.Value
        One a spatial axis; 1-D int64 where computed.
    """
    sizes = spatial_sizes(value)
    known = [size for size in sizes if size is not None]
    return known if len(known) == len(sizes) else op.Slice(op.shape_of(value), op.ints([2]), op.ints([_END]))


def with_sizes(op: Operators, leading: Sequence[int], sizes: "list[int] | ir.Value", /) -> ir.Value:
    """A shape: some sizes, then those of :func:`sizes_of`.

    Parameters
    ----------
    op : Operators
        Emits.
    leading : sequence of int
        What comes first.
    sizes : list of int or onnx_ir.Value
        What follows.

    Returns
    -------
    onnx_ir.Value
        1-D int64.
    """
    if isinstance(sizes, list):
        return op.ints([*leading, *sizes])
    return op.Concat(op.ints(leading), sizes, axis=0)
