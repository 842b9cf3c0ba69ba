"""``auto_pad`` made explicit, so that no later code ever reads it."""

from dataclasses import dataclass

import onnx_ir as ir

from specprobe.findings import Finding
from specprobe.graph.limits import printable

__all__ = ["make_padding_explicit"]

_PADDED = frozenset(
    {"AveragePool", "Conv", "ConvInteger", "ConvTranspose", "LpPool", "MaxPool", "QLinearConv"}
)


_MODES = frozenset({"SAME_LOWER", "SAME_UPPER", "VALID"})


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
        if node.op_type not in _PADDED or node.domain:
            continue
        mode = node.attributes.get_string("auto_pad", "NOTSET")
        transposed_to_size = node.op_type == "ConvTranspose" and "output_shape" in node.attributes
        if mode == "NOTSET" and not transposed_to_size:
            continue
        if transposed_to_size:
            done = _settle_output_shape(node, mode)
        else:
            pads = _explicit(node, mode)
            done = pads is not None
            if pads is not None:
                node.attributes["pads"] = ir.AttrInt64s("pads", pads)
        if done:
            node.attributes.pop("auto_pad", None)
            continue
        findings.append(
            Finding(
                level="warning",
                code="implicit-padding",
                message=f"auto_pad={printable(mode)} cannot be made explicit: it depends on an image size that the "
                "graph leaves open, or the runtime reads it in its own way",
                node=printable(node.name or ""),
            )
        )
    return tuple(findings)


@dataclass(frozen=True, slots=True)
class _Window:
    strides: list[int]
    extents: list[int]
    extra: list[int]


def _window(node: ir.Node) -> _Window | None:
    """How the node's kernel steps; None where its attributes contradict one another."""
    kernel = node.attributes.get_ints("kernel_shape") or _kernel_of_weight(node)
    if kernel is None:
        return None
    rank = len(kernel)
    strides = node.attributes.get_ints("strides") or [1] * rank
    dilations = node.attributes.get_ints("dilations") or [1] * rank
    extra = node.attributes.get_ints("output_padding") or [0] * rank
    if not len(strides) == len(dilations) == len(extra) == rank or min(*strides, *dilations, *kernel) < 1:
        return None
    extents = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
    return _Window(list(strides), extents, list(extra))


def _explicit(node: ir.Node, mode: str) -> list[int] | None:
    window = _window(node)
    if mode not in _MODES or window is None:
        return None
    rank = len(window.strides)
    if mode == "VALID":
        # A pool that rounds up would go beyond the picture with explicit pads, and does not with VALID.
        return None if node.attributes.get_int("ceil_mode", 0) else [0] * (2 * rank)
    sizes = _spatial(node.inputs[0], rank)
    steps = zip(window.strides, window.extents, window.extra, strict=True)
    if node.op_type == "ConvTranspose":
        totals = [max(0, extent + extra - stride) for stride, extent, extra in steps]
    elif all(stride == 1 for stride in window.strides):
        totals = [extent - 1 for extent in window.extents]
    elif sizes is None:
        return None
    else:
        totals = [(-(-i // s) - 1) * s + e - i for i, (s, e, _) in zip(sizes, steps, strict=True)]
        if min(totals) < -1:  # onnxruntime then begins inside the picture, other runtimes at its edge
            return None
    return _halves([max(0, total) for total in totals], mode)


def _settle_output_shape(node: ir.Node, mode: str) -> bool:
    """Replace a transposed convolution's output_shape by pads and output_padding of the same effect."""
    window = _window(node)
    sizes = _spatial(node.inputs[0], len(window.strides)) if window is not None else None
    wanted = (node.attributes.get_ints("output_shape") or [])[-len(sizes or []) :]
    if window is None or sizes is None or len(wanted) != len(sizes) or mode not in {*_MODES, "NOTSET"}:
        return False
    steps = zip(sizes, window.strides, window.extents, window.extra, wanted, strict=True)
    totals = [s * (i - 1) + e + extra - o for i, s, e, extra, o in steps]
    extra = [p + max(0, -t) for p, t in zip(window.extra, totals, strict=True)]
    if any(p >= s for p, s in zip(extra, window.strides, strict=True) if p):
        return False
    node.attributes["pads"] = ir.AttrInt64s("pads", _halves([max(0, t) for t in totals], mode))
    node.attributes["output_padding"] = ir.AttrInt64s("output_padding", extra)
    del node.attributes["output_shape"]
    return True


def _halves(totals: list[int], mode: str) -> list[int]:
    """Pads of every axis' beginning, then of its end."""
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
