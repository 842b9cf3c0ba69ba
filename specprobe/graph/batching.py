"""A graph exported for one fixed batch size, opened to any."""

import onnx_ir as ir

from specprobe.graph.emit import Emitter
from specprobe.graph.load import infer_shapes

__all__ = ["fixed_batch", "rebatch"]


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
