"""Rewrites that leave every number as it is but for rounding, so that less is left to differentiate.

Whoever runs the result compares it with the original first: the rewrites are exact in real numbers only.
"""

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir as ir
from onnx_ir.passes.common import CommonSubexpressionEliminationPass, RemoveUnusedNodesPass

from specprobe.graph.constants import constant_value
from specprobe.graph.emit import Emitter
from specprobe.graph.load import infer_shapes

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["simplify"]


def simplify(model: ir.Model, /) -> ir.Model:
    """Copy of ``model`` with BatchNormalization folded into convolutions, equal nodes shared and unused ones gone.

    Parameters
    ----------
    model : onnx_ir.Model
        Flat. Unchanged on return.

    Returns
    -------
    onnx_ir.Model
        With the same inputs and outputs; shares the weights that did not change.
    """
    copy = infer_shapes(model)
    _skip_identities(copy)
    _fold_batch_norms(copy)
    CommonSubexpressionEliminationPass()(copy)
    RemoveUnusedNodesPass()(copy)
    return infer_shapes(copy)


def _skip_identities(model: ir.Model) -> None:
    """Let consumers read what an Identity, or a Dropout at inference, passes on."""
    outputs = set(model.graph.outputs)
    for node in list(model.graph):
        passes = node.op_type == "Identity" or (
            node.op_type == "Dropout" and len(node.inputs) < 3 and not any(o.uses() for o in node.outputs[1:])
        )
        if passes and not node.domain and node.inputs[0] is not None and node.outputs[0] not in outputs:
            node.outputs[0].replace_all_uses_with(node.inputs[0])


def _fold_batch_norms(model: ir.Model) -> None:
    """``BN(W·x + b) = (W·s)·x + (b − mean)·s + shift`` with ``s = scale / sqrt(var + epsilon)``."""
    outputs = set(model.graph.outputs)
    for norm in list(model.graph):
        if (
            norm.op_type != "BatchNormalization"
            or norm.domain
            or bool(norm.attributes.get_int("training_mode", 0))
        ):
            continue
        source = norm.inputs[0]
        conv = source.producer() if source is not None else None
        if conv is None or conv.op_type != "Conv" or conv.domain or source in outputs:
            continue
        if source is None or len(source.uses()) != 1 or any(o.uses() for o in norm.outputs[1:]):
            continue
        folded = _folded(conv, norm)
        dtype = conv.inputs[1].dtype if conv.inputs[1] is not None else None
        if folded is None or dtype is None:
            continue
        op = Emitter(model, prefix="folded", before=conv)
        weight, bias = (op.constant(array, dtype) for array in folded)
        attributes = [a for a in conv.attributes.values() if a.name != "kernel_shape"]
        fused = ir.Node(
            "",
            "Conv",
            [conv.inputs[0], weight, bias],
            [*attributes, ir.AttrInt64s("kernel_shape", list(folded[0].shape[2:]))],
            outputs=[ir.Value(name=op.name(f"{norm.outputs[0].name}_folded"))],
            name=conv.name,
        )
        model.graph.insert_before(conv, fused)
        made, old = fused.outputs[0], norm.outputs[0]
        made.type, made.shape = old.type, old.shape
        if old in outputs:
            continue  # an output keeps its name and its node
        old.replace_all_uses_with(made)


def _folded(conv: ir.Node, norm: ir.Node) -> "tuple[NDArray[Any], NDArray[Any]] | None":
    weight = constant_value(conv.inputs[1])
    bias = (
        constant_value(conv.inputs[2]) if len(conv.inputs) > 2 and conv.inputs[2] is not None else np.zeros(1)
    )
    numbers = [constant_value(value) for value in norm.inputs[1:5]]
    if weight is None or bias is None or any(n is None for n in numbers):
        return None
    scale, shift, mean, variance = (n.astype(np.float64) for n in numbers if n is not None)
    factor = scale / np.sqrt(variance + norm.attributes.get_float("epsilon", 1e-5))
    if not np.all(np.isfinite(factor)):
        return None
    column = (-1, *(1 for _ in weight.shape[1:]))
    return weight * factor.reshape(column), (bias - mean) * factor + shift
