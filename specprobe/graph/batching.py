"""Batch sizes of a graph: one that is fixed is opened to any, one that is open is followed through the graph."""

import math

import onnx_ir as ir

from specprobe.graph.constants import constant_value
from specprobe.graph.emit import Emitter
from specprobe.graph.load import infer_shapes

__all__ = ["fixed_batch", "keep_batches", "rebatch"]


def fixed_batch(value: ir.Value, /) -> int | None:
    """Batch size that an input insists on.

    Parameters
    ----------
    value : onnx_ir.Value
        The image input.

    Returns
    -------
    int or None
        None where the first dimension is symbolic.
    """
    first = next(iter(value.shape or [None]))
    return first if isinstance(first, int) else None


def rebatch(model: ir.Model, name: str, /) -> ir.Model:
    """Copy of ``model`` that takes any batch size, as far as editing its shapes can do that.

    The first dimension of the input becomes symbolic, and every Reshape to a constant shape that began with the old
    batch size now lets that dimension follow. Whether the result still computes the same image by image is for the
    caller to check with numbers: an exporter may have baked the batch in elsewhere.

    Parameters
    ----------
    model : onnx_ir.Model
        Flat. Unchanged on return.
    name : str
        Of the image input, whose first dimension is fixed.

    Returns
    -------
    onnx_ir.Model
        Shares its weights with ``model``.

    Raises
    ------
    ModelError
        If the new shapes contradict one another.
    """
    copy = infer_shapes(model)
    value = next(v for v in copy.graph.inputs if v.name == name)
    batch = fixed_batch(value)
    op = Emitter(copy, prefix="rebatch", before=next(iter(copy.graph), None))
    for node in copy.graph:
        shape = node.outputs[0].shape
        if node.op_type != "Reshape" or node.domain or shape is None or not shape.is_static():
            continue
        dims = [int(d) for d in shape]  # type: ignore[arg-type]
        if dims and dims[0] == batch:
            # 0 copies the input's batch, and shape inference knows; -1 is a size of which it knows nothing.
            before = list(node.inputs[0].shape or []) if node.inputs[0] is not None else []
            target = op.constant([0 if before[:1] == [batch] else -1, *dims[1:]], ir.DataType.INT64)
            node.replace_input_with(1, target)
            if "allowzero" in node.attributes:
                del node.attributes["allowzero"]
    value.shape = ir.Shape(["N", *list(value.shape or [])[1:]])
    for node in copy.graph:
        for output in node.outputs:
            output.shape = None
    return infer_shapes(copy)


def keep_batches(model: ir.Model, /) -> ir.Model:
    """``model``, in which a Reshape that leaves an open first dimension as it is says so.

    Exporters write -1 there, of which shape inference learns nothing: everything behind it is then of another batch
    size than what comes before, as far as the graph can tell. 0 copies the dimension.

    Parameters
    ----------
    model : onnx_ir.Model
        Flat, typed. Changed in place.

    Returns
    -------
    onnx_ir.Model
        ``model`` itself where nothing is to be said, else one with shapes inferred afresh.
    """
    op: Emitter | None = None
    for node in model.graph:
        if node.op_type != "Reshape" or node.domain or node.inputs[0] is None:
            continue
        target = constant_value(node.inputs[1])
        before = list(node.inputs[0].shape) if node.inputs[0].shape is not None else []
        sizes = [n for n in before[1:] if isinstance(n, int)]
        if target is None or target.ndim != 1 or not before or isinstance(before[0], int):
            continue
        wanted = [int(n) for n in target]
        if len(sizes) != len(before) - 1 or wanted[:1] != [-1] or min(wanted[1:], default=1) < 1:
            continue
        if math.prod(sizes) != math.prod(wanted[1:]):
            continue
        op = op or Emitter(model, prefix="batch")
        node.replace_input_with(1, op.constant([0, *wanted[1:]], ir.DataType.INT64))
        node.attributes.pop("allowzero", None)
    return model if op is None else infer_shapes(model)
