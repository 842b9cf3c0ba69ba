"""Rewrites that leave every number as it is but for rounding, so that less is left to differentiate.

Whoever runs the result compares it with the original first: the rewrites are exact in real numbers only.
"""

import math
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
    """Copy of ``model`` that computes the same with less to differentiate.

    BatchNormalization is folded into convolutions, max pools come before Relu, slices that make up a whole are one
    Split, what is a Gelu is called so, equal nodes are shared and unused ones gone.

    Parameters
    ----------
    model : onnx_ir.Model
        Flat. Unchanged on return.

    Returns
    -------
    onnx_ir.Model
        With the same inputs and outputs; shares the weights that did not change. A tensor inside whose name is still
        there holds what it held; one of a weight that is still there may have lost some of its uses.
    """
    copy = infer_shapes(model)
    _skip_identities(copy)
    _fold_batch_norms(copy)
    _pool_first(copy)
    _split_slices(copy)
    _name_gelus(copy)
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


def _pool_first(model: ir.Model) -> None:
    """``max(relu(x)) = relu(max(x))``: rectify the few pixels that are left, and mask as few going back."""
    outputs = set(model.graph.outputs)
    op = Emitter(model, prefix="pooled")
    for pool in list(model.graph):
        if pool.op_type != "MaxPool" or pool.domain or len(pool.outputs) != 1 or pool.outputs[0] in outputs:
            continue
        rectified, pooled = pool.inputs[0], pool.outputs[0]
        relu = rectified.producer() if rectified is not None else None
        if rectified is None or relu is None or relu.op_type != "Relu" or relu.domain:
            continue
        if rectified in outputs or len(rectified.uses()) != 1:
            continue
        pool.replace_input_with(0, relu.inputs[0])
        after = ir.Node("", "Relu", [pooled], outputs=[ir.Value()], name=op.name(f"{relu.name}_pooled"))
        made = after.outputs[0]
        made.type, made.shape = pooled.type, pooled.shape
        pooled.replace_all_uses_with(made)
        after.replace_input_with(0, pooled)
        # The name keeps its meaning.
        made.name, pooled.name = pooled.name, op.name(f"{pooled.name}_unrectified")
        model.graph.insert_after(pool, after)


def _split_slices(model: ir.Model) -> None:
    """Slices that cut an axis into all of its pieces are one Split: going back, the pieces are joined, not added up."""
    op = Emitter(model, prefix="split")
    slices: dict[ir.Value, dict[int, list[tuple[int, int, ir.Node]]]] = {}
    for node in model.graph:
        piece = _piece(node)
        if piece is not None and node.inputs[0] is not None:
            axis, start, stop = piece
            slices.setdefault(node.inputs[0], {}).setdefault(axis, []).append((start, stop, node))
    for value, axes in slices.items():
        for axis, pieces in axes.items():
            ordered = sorted(pieces, key=lambda piece: piece[:2])
            stops = [0, *(stop for _, stop, _ in ordered)]
            assert value.shape is not None
            whole = stops[-1] == value.shape[axis] and [start for start, _, _ in ordered] == stops[:-1]
            if len(ordered) < 2 or not whole:
                continue
            _as_split(model, op, value, axis, [(node, stop - start) for start, stop, node in ordered], pieces)


def _as_split(
    model: ir.Model,
    op: Emitter,
    value: ir.Value,
    axis: int,
    parts: list[tuple[ir.Node, int]],
    in_order: list[tuple[int, int, ir.Node]],
) -> None:
    outputs = set(model.graph.outputs)
    if any(node.outputs[0] in outputs for node, _ in parts):
        return
    made = [ir.Value(name=op.name(f"{node.outputs[0].name}_piece")) for node, _ in parts]
    sizes = op.constant([size for _, size in parts], ir.DataType.INT64)
    split = ir.Node(
        "",
        "Split",
        [value, sizes],
        [ir.AttrInt64("axis", axis)],
        outputs=made,
        name=op.name(f"{parts[0][0].name}_split"),
    )
    model.graph.insert_before(in_order[0][2], split)
    for (node, _), new in zip(parts, made, strict=True):
        new.type, new.shape = node.outputs[0].type, node.outputs[0].shape
        node.outputs[0].replace_all_uses_with(new)


def _piece(node: ir.Node) -> tuple[int, int, int] | None:
    """Axis, start and stop of a Slice along one axis of known size; None for any other node."""
    source = node.inputs[0] if node.inputs else None
    if node.op_type != "Slice" or node.domain or source is None or source.shape is None:
        return None
    given = [constant_value(v) for v in node.inputs[1:]]
    if len(given) < 3 or any(array is None or array.size != 1 for array in given):
        return None
    start, stop, axis, step = (int(a.reshape(())) for a in (*given, np.ones(1))[:4] if a is not None)
    axis %= len(source.shape)
    size = source.shape[axis]
    if step != 1 or not isinstance(size, int):
        return None
    start, stop, _ = slice(start, stop).indices(size)
    return (axis, start, stop) if start < stop else None


def _name_gelus(model: ir.Model) -> None:
    """``x (1 + erf(x / √2)) / 2``, as exporters before opset 20 write it: one node to run, and one to differentiate."""
    found = [
        (node, gelu)
        for node in model.graph
        if (gelu := _gelu(node)) is not None and not gelu[1].outputs[0].is_graph_output()
    ]
    if not found or not _becomes(model, _GELU_SINCE):
        return
    op = Emitter(model, prefix="gelu")
    for node, (x, last) in found:
        y = last.outputs[0]
        made = ir.Value(name=op.name(f"{y.name}_gelu"), type=y.type, shape=y.shape)
        model.graph.insert_before(
            last, ir.Node("", "Gelu", [x], outputs=[made], name=op.name(f"{node.name}_gelu"))
        )
        y.replace_all_uses_with(made)


_GELU_SINCE = 20
_ROOT_HALF = 0.5**0.5
_CHANGED = frozenset({"DFT", "GridSample"})
"""Operators whose meaning changed between the floor opset and that of Gelu; the others gained types at most."""


def _becomes(model: ir.Model, opset: int) -> bool:
    """Whether the model now says that it is of ``opset`` at least."""
    if model.opset_imports[""] >= opset:
        return True
    if any(node.op_type in _CHANGED for node in model.graph.all_nodes()):
        return False
    model.opset_imports[""] = opset
    return True


def _gelu(erf: ir.Node) -> tuple[ir.Value, ir.Node] | None:
    """Argument and last node of a Gelu that ``erf`` is part of."""
    argument = erf.inputs[0].producer() if erf.op_type == "Erf" and erf.inputs[0] is not None else None
    scaled = _scaled(argument) if argument is not None else None
    if scaled is None or not math.isclose(scaled[1], _ROOT_HALF, rel_tol=1e-6):
        return None
    x = scaled[0]
    plus = _only_consumer(erf)
    if plus is None or plus.op_type != "Add" or _constants(plus) != [1.0]:
        return None
    factors: list[float] = []
    others: list[ir.Value] = []
    node = plus
    while (product := _only_consumer(node)) is not None and product.op_type == "Mul":
        factors += _constants(product)
        others += [
            v for v in product.inputs if v is not node.outputs[0] and v is not None and _number(v) is None
        ]
        node = product
        if len(others) == 1 and others[0] is not x:  # x / 2, made beforehand
            half = _scaled(producer) if (producer := others[0].producer()) is not None else None
            if half is None or half[0] is not x:
                return None
            factors.append(half[1])
            others = [x]
        if others == [x] and math.isclose(math.prod(factors), 0.5, rel_tol=1e-6):
            return x, node
    return None


def _scaled(node: ir.Node) -> tuple[ir.Value, float] | None:
    """Operand and factor of a node that multiplies or divides by a number."""
    if node.op_type not in {"Mul", "Div"} or node.domain or len(node.inputs) != 2:
        return None
    a, b = node.inputs
    if a is None or b is None:
        return None
    if (number := _number(b)) is not None and _number(a) is None:
        return a, (number if node.op_type == "Mul" else 1 / number if number else math.inf)
    if node.op_type == "Mul" and (number := _number(a)) is not None:
        return b, number
    return None


def _only_consumer(node: ir.Node) -> ir.Node | None:
    users = [use.node for use in node.outputs[0].uses()]
    return users[0] if len(users) == 1 and not node.outputs[0].is_graph_output() else None


def _constants(node: ir.Node) -> list[float]:
    return [number for v in node.inputs if (number := _number(v)) is not None]


def _number(value: ir.Value | None) -> float | None:
    """Content of a constant of one element."""
    if value is None or value.shape is None or tuple(value.shape) not in {(), (1,)}:
        return None
    array = constant_value(value)
    return None if array is None or array.size != 1 else float(array.reshape(()))


def _fold_batch_norms(model: ir.Model) -> None:
    """``BN(W·x + b) = (W·s)·x + (b − mean)·s + shift`` with ``s = scale / sqrt(var + epsilon)``."""
    outputs = set(model.graph.outputs)
    op = Emitter(model, prefix="folded")
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
