"""``auto_pad`` made explicit, so that no later code ever reads it."""

import onnx_ir as ir

from specprobe.findings import Finding
from specprobe.graph.limits import printable

__all__ = ["make_padding_explicit"]

_PADDED = frozenset({"Conv", "ConvTranspose", "ConvInteger", "QLinearConv", "MaxPool", "AveragePool", "LpPool"})


def make_padding_explicit(model: ir.Model, /) -> tuple[Finding, ...]:
    """Replace ``auto_pad`` by ``pads`` wherever the shapes allow it.

    Parameters
    ----------
    model : onnx_ir.Model
        Flat, with shapes inferred; changed in place.

    Returns
    -------
    tuple of Finding
        One for every node whose padding depends on sizes that the graph leaves open.
    """
    findings = []
    for node in model.graph.all_nodes():
        mode = node.attributes.get_string("auto_pad", "NOTSET") if node.op_type in _PADDED else "NOTSET"
        if mode == "NOTSET":
            continue
        pads = _explicit(node, mode)
        if pads is None:
            findings.append(
                Finding(
                    level="warning",
                    code="implicit-padding",
                    message=f"auto_pad={printable(mode)} depends on an image size that the graph leaves open",
                    node=printable(node.name or ""),
                )
            )
            continue
        del node.attributes["auto_pad"]
        node.attributes["pads"] = ir.AttrInt64s("pads", pads)
    return tuple(findings)


def _explicit(node: ir.Node, mode: str) -> list[int] | None:
    x, y = node.inputs[0], node.outputs[0]
    kernel = node.attributes.get_ints("kernel_shape") or _kernel_of_weight(node)
    if kernel is None:
        return None
    rank = len(kernel)
    if mode == "VALID":
        return [0] * (2 * rank)
    strides = node.attributes.get_ints("strides") or [1] * rank
    dilations = node.attributes.get_ints("dilations") or [1] * rank
    extents = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
    sizes, outputs = _spatial(x, rank), _spatial(y, rank)
    if node.op_type == "ConvTranspose":
        extra = node.attributes.get_ints("output_padding") or [0] * rank
        wanted = node.attributes.get_ints("output_shape")
        if wanted is not None:
            outputs = [int(size) for size in wanted[-rank:]]
        elif sizes is not None:
            outputs = [size * s for size, s in zip(sizes, strides, strict=True)]
        if sizes is None or outputs is None:
            return None
        totals = [
            s * (i - 1) + p + e - o for i, o, s, e, p in zip(sizes, outputs, strides, extents, extra, strict=True)
        ]
    elif all(s == 1 for s in strides):
        totals = [e - 1 for e in extents]
    elif sizes is None:
        return None
    else:
        totals = [(-(-i // s) - 1) * s + e - i for i, s, e in zip(sizes, strides, extents, strict=True)]
    totals = [max(0, total) for total in totals]
    small, large = [t // 2 for t in totals], [t - t // 2 for t in totals]
    return [*small, *large] if mode == "SAME_UPPER" else [*large, *small]


def _kernel_of_weight(node: ir.Node) -> list[int] | None:
    position = 3 if node.op_type == "QLinearConv" else 1
    weight = node.inputs[position] if len(node.inputs) > position else None
    if weight is None or weight.shape is None or not weight.shape.is_static():
        return None
    return [int(dim) for dim in list(weight.shape)[2:]]  # type: ignore[arg-type]


def _spatial(value: ir.Value | None, rank: int) -> list[int] | None:
    if value is None or value.shape is None or len(value.shape) != rank + 2:
        return None
    dims = list(value.shape)[2:]
    return [int(d) for d in dims] if all(isinstance(d, int) for d in dims) else None  # type: ignore[arg-type]
