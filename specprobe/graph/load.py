"""From a model file to one flat, typed, checked graph, without trusting the file."""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import google.protobuf.message
import numpy as np
import onnx
import onnx.inliner
import onnx.shape_inference
import onnx.version_converter
import onnx_ir as ir

from specprobe.errors import ExternalDataError, ModelError, UnsupportedOperator
from specprobe.findings import Finding
from specprobe.graph.external import is_external
from specprobe.graph.limits import FORBIDDEN_OPERATORS, OFFICIAL_DOMAINS, Limits, printable
from specprobe.graph.padding import make_padding_explicit
from specprobe.graph.weights import attach, detach, skeleton

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
    opset = _check_versions(proto, path)
    _check_operators(proto, path, limits)
    _check_attribute_data(proto, path)
    weights, files = detach(proto, path)
    _check_weight_bytes(sum(array.nbytes for array in weights.values()), path, limits)
    functions = len(proto.functions)
    try:
        onnx.checker.check_model(proto)
        if functions:
            proto = onnx.inliner.inline_local_functions(proto, convert_version=True)
    except (onnx.checker.ValidationError, RuntimeError, ValueError) as error:
        msg = f"{path.name} is not a valid ONNX model: {_first_line(error)}"
        raise ModelError(msg) from error
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
        raised = _through_proto(model, lambda proto: onnx.version_converter.convert_version(proto, OPSET_FLOOR))
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
    if proto.opset_import and max(o.version for o in proto.opset_import if not o.domain) >= OPSET_FLOOR:
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
    except OSError as error:
        msg = f"{path} cannot be read: {error.strerror or error}"
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
        proto = onnx.ModelProto.FromString(content)
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


def _check_versions(proto: onnx.ModelProto, path: Path) -> int:
    if proto.ir_version > onnx.IR_VERSION:
        msg = (
            f"{path.name} has IR version {proto.ir_version}, the installed onnx {onnx.__version__} reads up to "
            f"{onnx.IR_VERSION}; upgrade onnx or export with an earlier version"
        )
        raise UnsupportedOperator(msg)
    versions = [o.version for o in proto.opset_import if o.domain in {"", "ai.onnx"}]
    newest = onnx.defs.onnx_opset_version()
    opset = max(versions, default=1)
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


def _check_operators(proto: onnx.ModelProto, path: Path, limits: Limits) -> None:
    """Refuse foreign domains, embedded programs, deep or recursive functions, and what would unfold too far."""
    bodies = {(f.domain, f.name): f for f in proto.functions}
    allowed = OFFICIAL_DOMAINS | limits.allowed_domains
    calls: dict[tuple[str, str], list[tuple[str, str]]] = {}
    own_nodes: dict[tuple[str, str], int] = {}
    foreign: dict[str, str] = {}
    main = ("", "")

    for key, nodes in ((main, list(proto.graph.node)), *((k, list(f.node)) for k, f in bodies.items())):
        calls[key], own_nodes[key] = [], 0
        for node in _walk([], nodes):
            called = (node.domain, node.op_type)
            own_nodes[key] += 1
            if called in bodies:
                calls[key].append(called)
            elif node.domain not in allowed or node.op_type in FORBIDDEN_OPERATORS:
                foreign.setdefault(f"{node.domain or 'ai.onnx'}::{node.op_type}", node.name)
    if foreign:
        listed = ", ".join(f"{printable(op)} (node '{printable(name)}')" for op, name in sorted(foreign.items())[:5])
        msg = (
            f"{path.name} needs operators that stock onnxruntime does not have: {listed}; accepted domains: ai.onnx, "
            "ai.onnx.ml, com.microsoft; allow more with --allow-domain DOMAIN if your runtime has them"
        )
        raise UnsupportedOperator(msg)

    # Depth and unfolded size, callees before callers, with a stack of our own: the file decides how deep this goes.
    depth: dict[tuple[str, str], int] = {}
    unfolded: dict[tuple[str, str], int] = {}
    pending: list[tuple[tuple[str, str], bool]] = [(main, False)]
    open_calls: set[tuple[str, str]] = set()
    while pending:
        key, callees_done = pending.pop()
        if callees_done:
            open_calls.discard(key)
            depth[key] = 1 + max((depth[c] for c in calls[key]), default=0)
            unfolded[key] = own_nodes[key] + sum(unfolded[c] for c in calls[key])
        elif key not in depth:
            if key in open_calls:
                msg = f"{path.name}: function '{printable(key[1])}' calls itself; ONNX functions may not"
                raise ModelError(msg)
            open_calls.add(key)
            pending.append((key, True))
            pending.extend((c, False) for c in dict.fromkeys(calls[key]) if c not in depth)
    if depth[main] > limits.function_depth:
        msg = (
            f"{path.name}: functions call one another {depth[main]} deep, the cap is {limits.function_depth}; "
            "such a chain can crash the runtime"
        )
        raise ModelError(msg)
    if unfolded[main] > limits.nodes:
        msg = f"{path.name} unfolds to {unfolded[main]} nodes, the cap is {limits.nodes}"
        raise ModelError(msg)


def _check_attribute_data(proto: onnx.ModelProto, path: Path) -> None:
    """External data outside the main graph's initializers: no exporter writes it, and readers disagree about it."""
    functions = [node for f in proto.functions for node in f.node]
    for node in _walk([proto.graph], functions):
        for attribute in node.attribute:
            inner = [t for g in (attribute.g, *attribute.graphs) for t in g.initializer]
            for tensor in (attribute.t, *attribute.tensors, *inner):
                if is_external(tensor):
                    msg = (
                        f"{path.name}: node '{printable(node.name)}' ({node.op_type}) keeps an attribute in another "
                        "file; accepted is external data of initializers of the main graph"
                    )
                    raise ExternalDataError(msg)


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


def _check_tensor_bytes(proto: onnx.ModelProto, path: Path, limits: Limits) -> None:
    """Refuse a graph that states a tensor no machine should make, before the runtime tries."""
    for value in (*proto.graph.input, *proto.graph.value_info, *proto.graph.output):
        kind = value.type.tensor_type
        if not kind.HasField("shape") or kind.elem_type in {0, onnx.TensorProto.STRING}:
            continue
        dims = [d.dim_value for d in kind.shape.dim if d.HasField("dim_value")]
        elements = float(np.prod(dims, dtype=np.float64)) if dims else 1.0
        if elements * max(1, ir.DataType(kind.elem_type).bitwidth // 8) > limits.tensor_bytes:
            msg = (
                f"{path.name}: tensor '{printable(value.name)}' of shape {dims} would take "
                f"{elements * ir.DataType(kind.elem_type).bitwidth / 8:.3g} bytes, the cap is {limits.tensor_bytes}"
            )
            raise ModelError(msg)


def _fix_batch(proto: onnx.ModelProto, batch: int) -> None:
    for value in proto.graph.input:
        dims = value.type.tensor_type.shape.dim
        if dims and not dims[0].HasField("dim_value"):
            dims[0].dim_value = batch
    for value in proto.graph.output:
        value.type.tensor_type.ClearField("shape")


def _deserialise(proto: onnx.ModelProto, path: Path | None) -> ir.Model:
    try:
        return ir.from_proto(proto)
    except (ir.serde.SerdeError, ValueError, TypeError, KeyError) as error:
        msg = f"{path.name if path else 'the graph'} cannot be read: {_first_line(error)}"
        raise ModelError(msg) from error


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return printable(lines[0]) if lines else type(error).__name__
