"""From a model file to one flat, typed, checked graph, without trusting the file."""

import hashlib
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import google.protobuf.message  # type: ignore[import-untyped]  # protobuf ships no types of its own
import onnx
import onnx.inliner
import onnx.shape_inference
import onnx.version_converter
import onnx_ir as ir

from specprobe.errors import ExternalDataError, ModelError, UnsupportedOperator
from specprobe.findings import Finding
from specprobe.graph.external import element_type, is_external
from specprobe.graph.limits import FORBIDDEN_OPERATORS, OFFICIAL_DOMAINS, Limits, printable
from specprobe.graph.padding import make_padding_explicit
from specprobe.graph.weights import attach, check_numbers, detach, skeleton

__all__ = ["IR_VERSION", "OPSET_FLOOR", "ModelFile", "infer_shapes", "open_model", "raise_opset"]

OPSET_FLOOR = 18
"""Operator set that graphs are raised to before specprobe extends them."""

IR_VERSION = 10
"""IR version of what specprobe emits: read by every onnxruntime from 1.18 on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFile:
    """An opened model file.

    Attributes
    ----------
    path : pathlib.Path
        As named by the user.
    sha256 : str
        Of the graph file.
    external_files : tuple of pathlib.Path
        Data files that hold weights, resolved.
    bytes : int
        Graph file and data files together.
    ir_version, opset : int
        As in the file; ``opset`` of the default domain.
    producer : str
        Name and version of what wrote the file.
    functions : int
        Local functions before they were inlined.
    model : onnx_ir.Model
        The graph at the file's own opset: functions inlined, padding explicit, shapes inferred.
    metadata : tuple of (str, str)
        The file's own metadata properties.
    findings : tuple of Finding
        What was met on the way.
    """

    path: Path
    sha256: str
    external_files: tuple[Path, ...]
    bytes: int
    ir_version: int
    opset: int
    producer: str
    functions: int
    model: ir.Model
    metadata: tuple[tuple[str, str], ...]
    findings: tuple[Finding, ...]


def open_model(path: str | Path, /, *, limits: Limits | None = None) -> ModelFile:
    """Open an ONNX file that may come from a stranger.

    The runtime sees nothing of it: caps and onnx's checker come first, external data is resolved inside the model's
    folder, operators of unknown domains are refused.

    Parameters
    ----------
    path : str or pathlib.Path
        The ``.onnx`` file.
    limits : Limits, optional
        Caps; the defaults suit a machine with 16 GiB.

    Returns
    -------
    ModelFile
        With a graph that has no local functions and no implicit padding.

    Raises
    ------
    ModelError
        If the file cannot be read, is no ONNX model, or exceeds a cap.
    UnsupportedOperator
        If it needs an operator of an unknown domain or a later opset than the installed onnx knows.
    ExternalDataError
        If its weights lie where a model may not point, or are not there.
    """
    path, limits = Path(path), limits or Limits()
    content = _read(path, limits)
    proto = _parse(content, path)
    digest = hashlib.sha256(content).hexdigest()
    file_bytes = len(content)
    del content
    _check_text(proto, path)
    _normalise(proto)
    opset = _check_versions(proto, path)
    _check_operators(proto, path, limits)
    _check_attribute_data(proto, path)
    weights, files = detach(proto, path)
    _check_weight_bytes(sum(array.nbytes for array in weights.values()), path, limits)
    functions = len(proto.functions)
    try:
        onnx.checker.check_model(proto)
        if functions:
            _align_functions(proto, opset)
            proto = onnx.inliner.inline_local_functions(proto, convert_version=True)
            onnx.checker.check_model(proto)
    except (onnx.checker.ValidationError, RuntimeError, ValueError) as error:
        msg = f"{path.name} is not a valid ONNX model: {_first_line(error)}"
        raise ModelError(msg) from error
    if all(o.domain for o in proto.opset_import):  # nothing needs the default domain yet; what is added will
        proto.opset_import.append(onnx.helper.make_opsetid("", opset))
    proto, findings = _infer(proto)
    _check_tensor_bytes(proto, path, limits)
    metadata = tuple((entry.key, entry.value) for entry in proto.metadata_props)
    model = _deserialise(proto, path)
    attach(model, weights)
    findings = (*findings, *make_padding_explicit(model))
    return ModelFile(
        path=path,
        sha256=digest,
        external_files=tuple(sorted(files)),
        bytes=file_bytes + sum(file.stat().st_size for file in files),
        ir_version=proto.ir_version,
        opset=opset,
        producer=printable(f"{proto.producer_name} {proto.producer_version}".strip()),
        functions=functions,
        model=model,
        metadata=metadata,
        findings=findings,
    )


def raise_opset(model: ir.Model, /) -> ir.Model:
    """``model`` at opset 18 or above, as onnx's version converter writes it.

    The converter is trusted with nothing: who runs the result compares it with the original first.

    Parameters
    ----------
    model : onnx_ir.Model
        Flat. Unchanged on return.

    Returns
    -------
    onnx_ir.Model
        ``model`` itself where its opset suffices.

    Raises
    ------
    UnsupportedOperator
        If the converter has no way up for one of the operators.
    """
    if model.opset_imports.get("", 0) >= OPSET_FLOOR:
        return model
    try:
        raised = _through_proto(
            model, lambda proto: onnx.version_converter.convert_version(proto, OPSET_FLOOR)
        )
    except (RuntimeError, ValueError) as error:
        msg = (
            f"opset {model.opset_imports.get('', 0)} cannot be raised to {OPSET_FLOOR}: {_first_line(error)}; "
            f"export the model again with opset {OPSET_FLOOR} or later"
        )
        raise UnsupportedOperator(msg) from error
    make_padding_explicit(raised)
    return raised


def infer_shapes(model: ir.Model, /, *, batch: int | None = None) -> ir.Model:
    """Copy of ``model`` with shapes inferred afresh.

    Parameters
    ----------
    model : onnx_ir.Model
        Flat. Unchanged on return.
    batch : int, optional
        What every symbolic first dimension of an input becomes.

    Returns
    -------
    onnx_ir.Model
        Shares its weights with ``model``.

    Raises
    ------
    ModelError
        If the shapes contradict one another.
    """

    def infer(proto: onnx.ModelProto) -> onnx.ModelProto:
        if batch is not None:
            _fix_batch(proto, batch)
        del proto.graph.value_info[:]
        return _infer(proto)[0]

    return _through_proto(model, infer)


def _through_proto(model: ir.Model, change: Callable[[onnx.ModelProto], onnx.ModelProto]) -> ir.Model:
    proto, weights = skeleton(model)
    proto = change(proto)
    if max((o.version for o in proto.opset_import if not o.domain), default=0) >= OPSET_FLOOR:
        proto.ir_version = max(proto.ir_version, IR_VERSION)
    proto, _ = _infer(proto)
    changed = _deserialise(proto, None)
    attach(changed, weights)
    return changed


def _read(path: Path, limits: Limits) -> bytes:
    try:
        size = path.stat().st_size
        if not path.is_file():
            msg = f"{path} is not a file; give the .onnx file itself"
            raise ModelError(msg)
        if size > limits.file_bytes:
            msg = (
                f"{path.name} has {size} bytes, the cap is {limits.file_bytes}: "
                "save the model with its weights as external data"
            )
            raise ModelError(msg)
        content = path.read_bytes()
    except (OSError, ValueError) as error:  # ValueError: a path that holds a zero byte
        msg = f"{printable(str(path))} cannot be read: {getattr(error, 'strerror', None) or error}"
        raise ModelError(msg) from error
    if not content:
        msg = f"{path.name} is empty (0 bytes); was the export or the download interrupted?"
        raise ModelError(msg)
    return content


def _parse(content: bytes, path: Path) -> onnx.ModelProto:
    if content.startswith(b"version https://git-lfs"):
        msg = f"{path.name} is a Git LFS pointer, not the model; run: git lfs pull"
        raise ModelError(msg)
    try:
        proto: onnx.ModelProto = onnx.ModelProto.FromString(content)
    except google.protobuf.message.DecodeError as error:
        msg = (
            f"{path.name} is not an ONNX model, or is cut off after {len(content)} bytes "
            f"(it begins with {content[:12]!r}); accepted are ONNX protobuf files"
        )
        raise ModelError(msg) from error
    if proto.ir_version == 0 or not proto.HasField("graph"):
        msg = f"{path.name} holds no ONNX graph (it begins with {content[:12]!r}); accepted are ONNX protobuf files"
        raise ModelError(msg)
    return proto


def _check_text(proto: onnx.ModelProto, path: Path) -> None:
    """Refuse names that are not UTF-8: protobuf hands them over as bytes, and what reads them expects text."""
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


def _normalise(proto: onnx.ModelProto) -> None:
    """Settle what ONNX lets a file say in two ways: the default domain's name, an open dimension."""
    del proto.training_info[:]
    for imports in (proto.opset_import, *(f.opset_import for f in proto.functions)):
        for entry in imports:
            entry.domain = "" if entry.domain == "ai.onnx" else entry.domain
    for node in _walk([proto.graph], [node for f in proto.functions for node in f.node]):
        if node.domain == "ai.onnx":
            node.domain = ""
    for value in (*proto.graph.input, *proto.graph.value_info, *proto.graph.output):
        if value.type.HasField("tensor_type"):
            for dim in value.type.tensor_type.shape.dim:
                if dim.dim_value < 0:
                    dim.ClearField("dim_value")


def _check_versions(proto: onnx.ModelProto, path: Path) -> int:
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


def _walk(graphs: list[onnx.GraphProto], nodes: list[onnx.NodeProto]) -> Iterator[onnx.NodeProto]:
    """All nodes, those of subgraphs included, without recursion."""
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


def _check_operators(proto: onnx.ModelProto, path: Path, limits: Limits) -> None:
    """Refuse foreign domains, embedded programs, deep or recursive functions, and what would unfold too far."""
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
        for node in _walk([], nodes):
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


def _check_attribute_data(proto: onnx.ModelProto, path: Path) -> None:
    """Refuse attributes in other files (no exporter writes them, readers disagree), and numbers that do not fit."""
    functions = [node for f in proto.functions for node in f.node]
    attributes = [
        *(
            (f"node '{printable(n.name)}' ({printable(n.op_type)})", n.attribute)
            for n in _walk([proto.graph], functions)
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


def _check_weight_bytes(total: int, path: Path, limits: Limits) -> None:
    if total > limits.weight_bytes:
        msg = f"{path.name} has {total} bytes of weights, the cap is {limits.weight_bytes}"
        raise ModelError(msg)


def _infer(proto: onnx.ModelProto) -> tuple[onnx.ModelProto, tuple[Finding, ...]]:
    try:
        return onnx.shape_inference.infer_shapes(proto, strict_mode=True, data_prop=True), ()
    except (onnx.shape_inference.InferenceError, RuntimeError, ValueError) as error:
        # Operators of com.microsoft have no inference in onnx; the runtime has its own and may still accept them.
        finding = Finding(level="warning", code="shapes-not-inferred", message=_first_line(error))
    try:
        return onnx.shape_inference.infer_shapes(proto, data_prop=True), (finding,)
    except (onnx.shape_inference.InferenceError, RuntimeError, ValueError) as error:
        msg = f"shapes contradict one another: {_first_line(error)}"
        raise ModelError(msg) from error


def _align_functions(proto: onnx.ModelProto, opset: int) -> None:
    """Relabel functions of another opset where no operator changes by it: the inliner cannot convert nested ones."""

    def meant(node: onnx.NodeProto, version: int) -> int | None:
        known = not node.domain and onnx.defs.has(node.op_type, version)
        return int(onnx.defs.get_schema(node.op_type, version).since_version) if known else None

    for function in proto.functions:
        nodes = list(_walk([], list(function.node)))
        for entry in function.opset_import:
            if not entry.domain and all(meant(node, entry.version) == meant(node, opset) for node in nodes):
                entry.version = opset


def _check_tensor_bytes(proto: onnx.ModelProto, path: Path, limits: Limits) -> None:
    """Refuse a graph that states a tensor no machine should make, before the runtime tries."""
    inner = [g for node in _walk([proto.graph], []) for a in node.attribute for g in (a.g, *a.graphs)]
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


def _fix_batch(proto: onnx.ModelProto, batch: int) -> None:
    for value in proto.graph.input:
        dims = value.type.tensor_type.shape.dim  # empty for other types
        if dims and not dims[0].HasField("dim_value"):
            dims[0].dim_value = batch
    for value in proto.graph.output:
        if value.type.HasField("tensor_type"):
            value.type.tensor_type.ClearField("shape")


def _deserialise(proto: onnx.ModelProto, path: Path | None) -> ir.Model:
    try:
        return ir.from_proto(proto)
    except (ir.serde.SerdeError, ValueError, TypeError, AssertionError, KeyError) as error:
        msg = f"{path.name if path else 'the graph'} cannot be read: {_first_line(error)}"
        raise ModelError(msg) from error


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return printable(lines[0]) if lines else type(error).__name__
