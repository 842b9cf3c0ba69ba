"""What is looked at in a model's bytes before anything else is done with them."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import TypeAlias

import google.protobuf.message  # type: ignore[import-untyped]  # protobuf ships no types of its own
import onnx

from specprobe.errors import ExternalDataError, ModelError, UnsupportedOperator
from specprobe.graph.external import element_type, is_external
from specprobe.graph.limits import FORBIDDEN_OPERATORS, OFFICIAL_DOMAINS, OPSET_FLOOR, Limits, printable
from specprobe.graph.weights import check_numbers

__all__ = [
    "check_attribute_data",
    "check_operators",
    "check_tensor_bytes",
    "check_text",
    "check_versions",
    "check_weight_bytes",
    "walk",
]


def check_text(proto: onnx.ModelProto, path: Path) -> None:
    """Refuse names that are not UTF-8: protobuf hands them over as bytes, and what reads them expects text.

    Parameters
    ----------
    proto : onnx.ModelProto
        Parsed.
    path : pathlib.Path
        Its file, for messages.

    Raises
    ------
    ModelError
        If a name or text is not UTF-8.
    """
    pending: list[google.protobuf.message.Message] = [proto]
    while pending:
        message = pending.pop()
        if isinstance(message, onnx.TensorProto):  # its numbers need no look, and may be many
            texts = [
                message.name,
                *(text for entry in message.external_data for text in (entry.key, entry.value)),
            ]
        else:
            texts = []
            for field, value in message.ListFields():
                if field.type not in {field.TYPE_MESSAGE, field.TYPE_STRING}:
                    continue
                values = (
                    [value] if isinstance(value, str | bytes | google.protobuf.message.Message) else value
                )
                (pending if field.type == field.TYPE_MESSAGE else texts).extend(values)
        damaged = [text for text in texts if isinstance(text, bytes)]
        if isinstance(message, onnx.AttributeProto):  # declared as bytes, but text by ONNX's rules
            damaged += [text for text in (message.s, *message.strings) if not _is_text(text)]
        if damaged:
            msg = f"{path.name} holds text that is not UTF-8 ({damaged[0][:40]!r}): the file is damaged"
            raise ModelError(msg)


def _is_text(content: bytes) -> bool:
    try:
        content.decode()
    except UnicodeDecodeError:
        return False
    return True


def check_versions(proto: onnx.ModelProto, path: Path) -> int:
    """Refuse IR versions and opsets of the future.

    Parameters
    ----------
    proto : onnx.ModelProto
        Parsed.
    path : pathlib.Path
        Its file, for messages.

    Returns
    -------
    int
        Opset of the default domain.

    Raises
    ------
    UnsupportedOperator
        If the installed onnx does not know them.
    """
    if proto.ir_version > onnx.IR_VERSION:
        msg = (
            f"{path.name} has IR version {proto.ir_version}, the installed onnx {onnx.__version__} reads up to "
            f"{onnx.IR_VERSION}; upgrade onnx or export with an earlier version"
        )
        raise UnsupportedOperator(msg)
    versions = [o.version for o in proto.opset_import if not o.domain]
    newest = onnx.defs.onnx_opset_version()
    opset = max(versions, default=1 if proto.ir_version < 3 else OPSET_FLOOR)
    if opset > newest:
        msg = (
            f"{path.name} uses opset {opset}, the installed onnx {onnx.__version__} knows up to {newest}; "
            "upgrade onnx or export with an earlier opset"
        )
        raise UnsupportedOperator(msg)
    return opset


def walk(graphs: list[onnx.GraphProto], nodes: list[onnx.NodeProto]) -> Iterator[onnx.NodeProto]:
    """All nodes, those of subgraphs included, without recursion.

    Parameters
    ----------
    graphs : list of onnx.GraphProto
        Whose nodes are walked.
    nodes : list of onnx.NodeProto
        Further ones.

    Yields
    ------
    onnx.NodeProto
        In no particular order.
    """
    stack = [*nodes, *(node for graph in graphs for node in graph.node)]
    while stack:
        node = stack.pop()
        yield node
        for attribute in node.attribute:
            stack.extend(attribute.g.node)
            for graph in attribute.graphs:
                stack.extend(graph.node)


_Function: TypeAlias = tuple[str, str, str]
"""Domain, name and overload of a local function."""


def check_operators(proto: onnx.ModelProto, path: Path, limits: Limits) -> None:
    """Refuse foreign domains, embedded programs, deep or recursive functions, and what would unfold too far.

    Parameters
    ----------
    proto : onnx.ModelProto
        Parsed.
    path : pathlib.Path
        Its file, for messages.
    limits : Limits
        Caps.

    Raises
    ------
    ModelError
        If the functions are too deep, recursive or unfold too far; ``UnsupportedOperator`` for foreign operators.
    """
    bodies = {(f.domain, f.name, f.overload): f for f in proto.functions}
    allowed = OFFICIAL_DOMAINS | limits.allowed_domains
    calls: dict[_Function, list[_Function]] = {}
    own_nodes: dict[_Function, int] = {}
    own_bytes: dict[_Function, int] = {}
    foreign: dict[str, str] = {}
    main = ("", "", "")

    for key, nodes in ((main, list(proto.graph.node)), *((k, list(f.node)) for k, f in bodies.items())):
        calls[key], own_nodes[key] = [], 0
        own_bytes[key] = sum(node.ByteSize() for node in nodes) if bodies else 0
        for node in walk([], nodes):
            called = (node.domain, node.op_type, node.overload)
            own_nodes[key] += 1
            if called in bodies:
                calls[key].append(called)
            elif node.domain not in allowed or node.op_type in FORBIDDEN_OPERATORS:
                foreign.setdefault(f"{node.domain or 'ai.onnx'}::{node.op_type}", node.name)
    if foreign:
        listed = ", ".join(
            f"{printable(op)} (node '{printable(name)}')" for op, name in sorted(foreign.items())[:5]
        )
        msg = (
            f"{path.name} needs operators that stock onnxruntime does not have: {listed}; accepted domains: ai.onnx, "
            "ai.onnx.ml, com.microsoft; allow more with --allow-domain DOMAIN if your runtime has them"
        )
        raise UnsupportedOperator(msg)

    # Depth and unfolded size, callees before callers, with a stack of our own: the file decides how deep this goes.
    depth: dict[_Function, int] = {}
    unfolded: dict[_Function, int] = {}
    unfolded_bytes: dict[_Function, int] = {}
    pending: list[tuple[_Function, bool]] = [(main, False), *((key, False) for key in bodies)]
    open_calls: set[_Function] = set()
    while pending:
        key, callees_done = pending.pop()
        if callees_done:
            open_calls.discard(key)
            depth[key] = 1 + max((depth[c] for c in calls[key]), default=-1)
            unfolded[key] = own_nodes[key] + sum(unfolded[c] for c in calls[key])
            unfolded_bytes[key] = own_bytes[key] + sum(unfolded_bytes[c] for c in calls[key])
        elif key not in depth:
            if key in open_calls:
                msg = f"{path.name}: function '{printable(key[1])}' calls itself; ONNX functions may not"
                raise ModelError(msg)
            open_calls.add(key)
            pending.append((key, True))
            pending.extend((c, False) for c in dict.fromkeys(calls[key]) if c not in depth)
    deepest = max(depth[main], *(1 + depth[key] for key in bodies)) if bodies else 0
    if deepest > limits.function_depth:
        msg = (
            f"{path.name}: functions call one another {deepest} deep, the cap is {limits.function_depth}; "
            "such a chain can crash the runtime"
        )
        raise ModelError(msg)
    if unfolded[main] > limits.nodes:
        msg = f"{path.name} unfolds to {unfolded[main]} nodes, the cap is {limits.nodes}"
        raise ModelError(msg)
    if unfolded_bytes[main] > limits.file_bytes:
        msg = f"{path.name} unfolds to {unfolded_bytes[main]} bytes, the cap is {limits.file_bytes}"
        raise ModelError(msg)


def check_attribute_data(proto: onnx.ModelProto, path: Path) -> None:
    """Refuse attributes in other files (no exporter writes them, readers disagree), and numbers that do not fit.

    Parameters
    ----------
    proto : onnx.ModelProto
        Parsed.
    path : pathlib.Path
        Its file, for messages.

    Raises
    ------
    ExternalDataError
        If an attribute lies in another file.
    """
    functions = [node for f in proto.functions for node in f.node]
    attributes = [
        *(
            (f"node '{printable(n.name)}' ({printable(n.op_type)})", n.attribute)
            for n in walk([proto.graph], functions)
        ),
        *((f"function '{printable(f.name)}'", f.attribute_proto) for f in proto.functions),
    ]
    for owner, owned in attributes:
        for attribute in owned:
            graphs = (attribute.g, *attribute.graphs)
            tensors = [attribute.t, *attribute.tensors, *(t for g in graphs for t in g.initializer)]
            for sparse in (
                attribute.sparse_tensor,
                *attribute.sparse_tensors,
                *(s for g in graphs for s in g.sparse_initializer),
            ):
                tensors.extend((sparse.values, sparse.indices))
            if any(map(is_external, tensors)):
                msg = (
                    f"{path.name}: {owner} keeps an attribute in another "
                    "file; accepted is external data of initializers of the main graph"
                )
                raise ExternalDataError(msg)
            for tensor in tensors:
                if tensor.data_type:
                    check_numbers(tensor)
    if proto.graph.sparse_initializer:
        name = printable(proto.graph.sparse_initializer[0].values.name)
        msg = f"{path.name} keeps '{name}' as a sparse initializer; accepted are dense ones"
        raise UnsupportedOperator(msg)


def check_weight_bytes(total: int, path: Path, limits: Limits) -> None:
    """Refuse more weights than the cap.

    Parameters
    ----------
    total : int
        Bytes of all weights.
    path : pathlib.Path
        The model's file, for messages.
    limits : Limits
        Caps.

    Raises
    ------
    ModelError
        If there are more.
    """
    if total > limits.weight_bytes:
        msg = f"{path.name} has {total} bytes of weights, the cap is {limits.weight_bytes}"
        raise ModelError(msg)


def check_tensor_bytes(proto: onnx.ModelProto, path: Path, limits: Limits) -> None:
    """Refuse a graph that states a tensor no machine should make, before the runtime tries.

    Parameters
    ----------
    proto : onnx.ModelProto
        Parsed.
    path : pathlib.Path
        Its file, for messages.
    limits : Limits
        Caps.

    Raises
    ------
    ModelError
        If a stated shape exceeds the cap.
    """
    inner = [g for node in walk([proto.graph], []) for a in node.attribute for g in (a.g, *a.graphs)]
    values = [v for g in (proto.graph, *inner) for v in (*g.input, *g.value_info, *g.output)]
    for value in values:
        kind = value.type.tensor_type
        element = element_type(kind.elem_type)
        if not kind.HasField("shape") or element is None:
            continue
        dims = [max(0, d.dim_value) for d in kind.shape.dim if d.HasField("dim_value")]
        taken = math.prod(dims) * int(element.bitwidth) // 8
        if taken > limits.tensor_bytes:
            msg = (
                f"{path.name}: tensor '{printable(value.name)}' of shape {dims} would take "
                f"{taken} bytes, the cap is {limits.tensor_bytes}"
            )
            raise ModelError(msg)
