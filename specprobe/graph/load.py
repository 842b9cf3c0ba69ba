"""From a model file to one flat, typed, checked graph, without trusting the file."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import google.protobuf.message  # type: ignore[import-untyped]  # protobuf ships no types of its own
import onnx
import onnx.inliner
import onnx.shape_inference
import onnx.version_converter
import onnx_ir as ir

from specprobe.errors import ModelError, UnsupportedOperator
from specprobe.findings import Finding
from specprobe.graph.checks import (
    check_attribute_data,
    check_operators,
    check_tensor_bytes,
    check_text,
    check_versions,
    check_weight_bytes,
    walk,
)
from specprobe.graph.limits import IR_VERSION, OPSET_FLOOR, Limits, printable
from specprobe.graph.padding import make_padding_explicit
from specprobe.graph.weights import attach, detach, skeleton

__all__ = ["IR_VERSION", "OPSET_FLOOR", "ModelFile", "infer_shapes", "open_model", "raise_opset"]


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
    limits : Limits
        Caps that it was opened under.
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
    limits: Limits


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
    check_text(proto, path)
    _normalise(proto)
    opset = check_versions(proto, path)
    check_operators(proto, path, limits)
    check_attribute_data(proto, path)
    weights, files = detach(proto, path)
    check_weight_bytes(sum(array.nbytes for array in weights.values()), path, limits)
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
    check_tensor_bytes(proto, path, limits)
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
        limits=limits,
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
    _refuse_batched_scans(model)
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
    if model.opset_imports.get("", 0) < _RESIZE_NAMES_COORDINATES:
        _restore_old_resize(raised)
    make_padding_explicit(raised)
    return raised


_SCAN_WITHOUT_BATCH = 9
"""Opset from which Scan has no batch axis of its own."""


def _refuse_batched_scans(model: ir.Model) -> None:
    """The version converter takes an axis from the inputs of a model with such a Scan."""
    opset = model.opset_imports[""]
    scans = [node for node in model.graph.all_nodes() if node.op_type == "Scan" and not node.domain]
    if scans and opset < _SCAN_WITHOUT_BATCH:
        msg = (
            f"Scan (node '{printable(scans[0].name or '')}') of opset {opset} has an axis that no later one has; "
            f"export the model again with opset {OPSET_FLOOR} or later"
        )
        raise UnsupportedOperator(msg)


_RESIZE_NAMES_COORDINATES = 11
"""Opset from which Resize states its coordinates; before, asymmetric ones and rounding down were meant."""


def _restore_old_resize(model: ir.Model) -> None:
    """Write out what Upsample and Resize meant before opset 11: the converter leaves today's defaults in place."""
    for node in model.graph.all_nodes():
        if node.op_type == "Resize" and not node.domain:
            for name, value in (("coordinate_transformation_mode", "asymmetric"), ("nearest_mode", "floor")):
                if name not in node.attributes:
                    node.attributes[name] = ir.AttrString(name, value)


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


def _normalise(proto: onnx.ModelProto) -> None:
    """Settle what ONNX lets a file say in two ways: the default domain's name, an open dimension."""
    del proto.training_info[:]
    for imports in (proto.opset_import, *(f.opset_import for f in proto.functions)):
        for entry in imports:
            entry.domain = "" if entry.domain == "ai.onnx" else entry.domain
    for node in walk([proto.graph], [node for f in proto.functions for node in f.node]):
        if node.domain == "ai.onnx":
            node.domain = ""
    for value in (*proto.graph.input, *proto.graph.value_info, *proto.graph.output):
        if value.type.HasField("tensor_type"):
            for dim in value.type.tensor_type.shape.dim:
                if dim.dim_value < 0:
                    dim.ClearField("dim_value")


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
        nodes = list(walk([], list(function.node)))
        for entry in function.opset_import:
            if not entry.domain and all(meant(node, entry.version) == meant(node, opset) for node in nodes):
                entry.version = opset


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
