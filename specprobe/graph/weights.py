"""Large weights travel beside a graph, not inside it.

onnx's inliner, version converter, checker and shape inference copy whole models through bytes and stop at 2 GiB. So
they see a graph whose large initializers stand as inputs of known type; onnxruntime gets the same weights by pointer.
"""

import contextlib
from typing import TYPE_CHECKING, Any

import onnx
import onnx_ir as ir

from specprobe.errors import ModelError
from specprobe.graph.external import element_type, is_external, read_external
from specprobe.graph.limits import printable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["LARGE", "attach", "check_numbers", "detach", "serialise", "skeleton"]

LARGE = 1024
"""Bytes from which an initializer is kept beside the graph; shapes, axes and scales stay inside."""

_PLACEHOLDER = "specprobe"  # onnxruntime never opens it: the numbers are handed over by pointer


def detach(
    proto: onnx.ModelProto, model_path: "Path | None" = None, /
) -> "tuple[dict[str, NDArray[Any]], frozenset[Path]]":
    """Take the large initializers of the main graph out of ``proto``, leaving inputs in their place.

    Parameters
    ----------
    proto : onnx.ModelProto
        Changed in place; small external initializers are read into it.
    model_path : pathlib.Path, optional
        Where external data is looked for.

    Returns
    -------
    weights : dict of str to numpy.ndarray
        By initializer name; external ones are memory-mapped.
    files : frozenset of pathlib.Path
        The external files read.

    Raises
    ------
    ModelError
        If an initializer holds other numbers than its shape asks for.
    ExternalDataError
        If external data lies where a model may not point, or is not there.
    """
    graph = proto.graph
    weights: dict[str, NDArray[Any]] = {}
    files: set[Path] = set()
    kept: list[onnx.TensorProto] = []
    inputs = {value.name for value in graph.input}
    for tensor in graph.initializer:
        if is_external(tensor) and model_path is not None:
            array, path = read_external(tensor, model_path)
            files.add(path)
            if array.nbytes < LARGE:
                kept.append(onnx.numpy_helper.from_array(array, tensor.name))
                continue
        elif tensor.ByteSize() < LARGE or not _whole_bytes(tensor):
            check_numbers(tensor)
            kept.append(tensor)
            continue
        else:
            array = check_numbers(tensor)
        weights[tensor.name] = array
        if tensor.name not in inputs:
            graph.input.append(onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    del graph.initializer[:]
    graph.initializer.extend(kept)
    return weights, frozenset(files)


def _whole_bytes(tensor: onnx.TensorProto) -> bool:
    kind = element_type(tensor.data_type)
    return kind is not None and kind.bitwidth >= 8


def check_numbers(tensor: onnx.TensorProto, /) -> "NDArray[Any]":
    """Read a tensor that is stored in the graph, as onnx's checker does not.

    Parameters
    ----------
    tensor : onnx.TensorProto
        Of an initializer or attribute.

    Returns
    -------
    numpy.ndarray
        Its content.

    Raises
    ------
    ModelError
        If it holds other numbers than its shape asks for.
    """
    fields = (tensor.raw_data, tensor.float_data, tensor.int32_data, tensor.string_data)
    stored = any(map(len, (*fields, tensor.int64_data, tensor.double_data, tensor.uint64_data)))
    if not stored and 0 not in tensor.dims:  # onnx_ir would make as many zeros as the shape asks for
        msg = f"tensor '{printable(tensor.name)}' does not hold the numbers of its shape {list(tensor.dims)}, but none"
        raise ModelError(msg)
    try:
        array = ir.serde.deserialize_tensor(tensor).numpy()
    except (ir.serde.SerdeError, ValueError, TypeError, AssertionError, KeyError, OverflowError) as error:
        msg = f"tensor '{printable(tensor.name)}' does not hold the numbers of its shape {list(tensor.dims)}"
        raise ModelError(msg) from error
    if array.shape != tuple(tensor.dims):  # NumPy fills in a dimension of -1
        msg = f"tensor '{printable(tensor.name)}' has a negative dimension: {list(tensor.dims)}"
        raise ModelError(msg)
    return array


def attach(model: ir.Model, weights: "Mapping[str, NDArray[Any]]", /) -> None:
    """Undo :func:`detach` on the graph as onnx_ir sees it: inputs named in ``weights`` become initializers.

    Parameters
    ----------
    model : onnx_ir.Model
        Changed in place. Small initializers that were also inputs (as up to IR version 3) stop being inputs.
    weights : dict of str to numpy.ndarray
        From :func:`detach`.
    """
    graph = model.graph
    model.ir_version = max(model.ir_version, 4)  # before 4, initializers had to be inputs
    stay = [v for v in graph.inputs if v.name not in weights and v.name not in graph.initializers]
    taken = {v.name: v for v in graph.inputs if v.name in weights}
    graph.inputs.clear()
    graph.inputs.extend(stay)
    for name, value in taken.items():
        array = weights[str(name)]
        dtype = value.dtype
        value.const_value = ir.Tensor(array, dtype=dtype, name=name)
        graph.register_initializer(value)


@contextlib.contextmanager
def _placeholders(model: ir.Model) -> "Iterator[dict[str, ir.TensorProtocol]]":
    """Put empty external tensors in the place of the large weights, for as long as the model is serialised."""
    large: dict[str, ir.TensorProtocol] = {}
    values = model.graph.initializers
    for name, value in values.items():
        tensor = value.const_value
        if tensor is None or element_type(tensor.dtype) is None or tensor.dtype.bitwidth < 8:
            continue
        if tensor.nbytes >= LARGE:
            large[name] = tensor
    try:
        for name, tensor in large.items():
            shape = ir.Shape(tensor.shape.numpy())
            values[name].const_value = ir.ExternalTensor(
                _PLACEHOLDER, 0, tensor.nbytes, tensor.dtype, shape=shape, name=name, base_dir=""
            )
        yield large
    finally:
        for name, tensor in large.items():
            values[name].const_value = tensor


def serialise(model: ir.Model, /) -> "tuple[bytes, dict[str, NDArray[Any]]]":
    """``model`` as bytes without its large weights, and those weights.

    Parameters
    ----------
    model : onnx_ir.Model
        Unchanged on return.

    Returns
    -------
    graph : bytes
        A model whose large initializers claim to lie in an external file that does not exist.
    weights : dict of str to numpy.ndarray
        To be handed to the runtime by name.
    """
    with _placeholders(model) as large:
        graph = ir.to_proto(model).SerializeToString()
    return graph, {name: tensor.numpy() for name, tensor in large.items()}


def skeleton(model: ir.Model, /) -> "tuple[onnx.ModelProto, dict[str, NDArray[Any]]]":
    """``model`` as a proto whose large weights stand as inputs, and those weights.

    Parameters
    ----------
    model : onnx_ir.Model
        Unchanged on return.

    Returns
    -------
    proto : onnx.ModelProto
        For onnx's own tools; not to be run.
    weights : dict of str to numpy.ndarray
        For :func:`attach`.
    """
    with _placeholders(model) as large:
        proto = ir.to_proto(model)
    graph = proto.graph
    kept = [tensor for tensor in graph.initializer if tensor.name not in large]
    del graph.initializer[:]
    graph.initializer.extend(kept)
    for name, tensor in large.items():
        graph.input.append(onnx.helper.make_tensor_value_info(name, tensor.dtype.value, tensor.shape.numpy()))
    return proto, {name: tensor.numpy() for name, tensor in large.items()}
