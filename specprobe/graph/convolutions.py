"""The convolutions of a graph, with their kernels in one layout, wherever the exporter put the weights."""

import re
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir as ir

from specprobe.findings import Finding
from specprobe.graph.constants import constant_source, constant_value
from specprobe.graph.limits import printable
from specprobe.protocols import Convolution

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["CONVOLUTIONS", "find_convolutions", "node_label"]

CONVOLUTIONS = frozenset({"Conv", "ConvTranspose", "QLinearConv", "ConvInteger", "DeformConv"})
"""Operators that slide a kernel."""

_TRANSPARENT = frozenset({"Identity", "Cast", "QuantizeLinear", "DequantizeLinear"})

_FOLDED_NAME = re.compile(r"(onnx::)?Conv_\d+")
"""What PyTorch's exporter calls the weights that it made by folding BatchNormalization into a convolution."""


def node_label(node: ir.Node, /) -> str:
    """Return what to call a node: its name, or its first output's.

    Parameters
    ----------
    node : onnx_ir.Node
        Any node.

    Returns
    -------
    str
        Fit to print.
    """
    return printable(str(node.name or node.outputs[0].name))


def find_convolutions(model: ir.Model, /) -> tuple[tuple[Convolution, ...], tuple[Finding, ...]]:
    """All convolutions whose kernels are constant, in the graph's order.

    Parameters
    ----------
    model : onnx_ir.Model
        Flat.

    Returns
    -------
    convolutions : tuple of Convolution
        Kernels used by several nodes come once, with the other nodes' names.
    findings : tuple of Finding
        Convolutions whose kernels are computed from an input.
    """
    findings: list[Finding] = []
    found: list[tuple[ir.Node, NDArray[Any], list[str]]] = []
    by_source: dict[tuple[int, int, str], list[int]] = {}
    for node in model.graph.all_nodes():
        if node.op_type not in CONVOLUTIONS or node.domain:
            continue
        value = _weight_value(node)
        weight = _kernel(node)
        if weight is None:
            findings.append(_unread(node, value))
            continue
        # One stored tensor may be scaled or transposed into several kernels: those are not the same.
        key = (id(constant_source(value)), node.attributes.get_int("group", 1), node.op_type)
        same = [
            i for i in by_source.setdefault(key, []) if np.array_equal(found[i][1], weight, equal_nan=True)
        ]
        if same:
            found[same[0]][2].append(node_label(node))
        else:
            by_source[key].append(len(found))
            found.append((node, weight, []))
    depths = _depths(model, [node for node, _, _ in found])
    convolutions = (
        Convolution(
            name=node_label(node),
            operator=node.op_type,
            weight=weight,
            groups=node.attributes.get_int("group", 1),
            depth=depths[node],
            batch_norm=_batch_norm(node),
            shared_with=tuple(others),
        )
        for node, weight, others in found
    )
    return tuple(convolutions), tuple(findings)


def _unread(node: ir.Node, value: ir.Value | None) -> Finding:
    pending, seen = [value], set[ir.Value]()
    while pending:
        current = pending.pop()
        if current is None or current in seen or current.const_value is not None:
            continue
        seen.add(current)
        producer = current.producer()
        if producer is None:
            message = "its kernel is computed from an input of the model, so it has no fixed filters"
            return Finding(level="note", code="dynamic-kernel", message=message, node=node_label(node))
        pending.extend(producer.inputs)
    message = "the way its kernel is stored is not known to specprobe"
    return Finding(level="warning", code="unread-kernel", message=message, node=node_label(node))


def _weight_value(node: ir.Node) -> ir.Value | None:
    position = 3 if node.op_type == "QLinearConv" else 1
    return node.inputs[position] if len(node.inputs) > position else None


def _kernel(node: ir.Node) -> "NDArray[Any] | None":
    """Real kernels, (out_channels, in_channels / groups, *kernel)."""
    weight = constant_value(_weight_value(node))
    if weight is None or weight.ndim < 3:
        return None
    if node.op_type == "QLinearConv":
        scale = constant_value(node.inputs[4])
        if scale is None:
            return None
        weight = _real(weight, scale, constant_value(node.inputs[5]))
    elif node.op_type == "ConvInteger":
        zero = constant_value(node.inputs[3]) if len(node.inputs) > 3 else None
        weight = _real(weight, None, zero)  # the scale comes later in the graph; every metric is scale-free
    elif node.op_type == "ConvTranspose":
        groups = node.attributes.get_int("group", 1)
        into, out, *kernel = weight.shape
        if groups < 1 or into % groups:
            return None
        split = weight.reshape(groups, into // groups, out, *kernel)
        weight = np.swapaxes(split, 1, 2).reshape(groups * out, into // groups, *kernel)
    return (
        weight if weight.dtype in {np.dtype(np.float32), np.dtype(np.float64)} else weight.astype(np.float32)
    )


def _real(
    weight: "NDArray[Any]", scale: "NDArray[Any] | None", zero: "NDArray[Any] | None"
) -> "NDArray[Any]":
    column = (len(weight), *(1 for _ in weight.shape[1:]))
    real = weight.astype(np.float32)
    if zero is not None:
        real = real - zero.astype(np.float32).reshape(column if zero.size > 1 else ())
    if scale is not None:
        real = real * scale.astype(np.float32).reshape(column if scale.size > 1 else ())
    return real


def _batch_norm(node: ir.Node) -> str:
    output: ir.Value = node.outputs[0]
    while True:
        uses = list(output.uses())
        if len(uses) != 1:
            break
        consumer = uses[0].node
        if consumer.op_type == "BatchNormalization":
            return "separate"
        if consumer.op_type not in _TRANSPARENT:
            break
        output = consumer.outputs[0]
    bias = len(node.inputs) > 2 and node.inputs[2] is not None
    source = constant_source(_weight_value(node))
    if bias and source is not None and _FOLDED_NAME.fullmatch(str(source.name)):
        return "folded"
    return "unknown" if bias else "none"


def _depths(model: ir.Model, nodes: list[ir.Node]) -> dict[ir.Node, int]:
    """Rank of each node's longest-path level among the levels that hold a convolution."""
    levels: dict[ir.Node, int] = {}
    for node in model.graph.all_nodes():  # the file is topologically sorted: the checker has seen to it
        before = [levels.get(p, 0) for v in node.inputs if v is not None and (p := v.producer()) is not None]
        levels[node] = 1 + max(before, default=0)
    ranks = {level: rank for rank, level in enumerate(sorted({levels[node] for node in nodes}))}
    return {node: ranks[levels[node]] for node in nodes}
