"""Models in double precision, so that differences of small steps mean something."""

from collections.abc import Iterator

import numpy as np
import onnx
import onnx_ir as ir

__all__ = ["WIDENED", "widened"]

WIDENED = frozenset({ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.BFLOAT16})
"""What becomes float64."""

_TYPE_ATTRIBUTES = frozenset({"to", "dtype", "output_dtype", "softmax_precision"})


def widened(model: onnx.ModelProto, /) -> onnx.ModelProto:
    """Copy of ``model`` that computes in float64.

    Parameters
    ----------
    model : onnx.ModelProto
        At any opset. Unchanged on return.

    Returns
    -------
    onnx.ModelProto
        float16, bfloat16 and float32 are float64 in all inputs, outputs, weights and attributes that name a type.
        Some operators do not allow it: the runtime then refuses the model, the reference evaluator takes it.
    """
    wide = onnx.ModelProto()
    wide.CopyFrom(model)
    for graph in _graphs(wide.graph):
        del graph.value_info[:]
        for value in (*graph.input, *graph.output):
            _widen_type(value.type)
        for tensor in graph.initializer:
            _widen_tensor(tensor)
        for node in graph.node:
            if node.op_type in {"Constant", "ConstantOfShape"}:
                _widen_constant(node)
            for attribute in node.attribute:
                if attribute.name in _TYPE_ATTRIBUTES and attribute.i in WIDENED:
                    attribute.i = ir.DataType.DOUBLE
            if node.op_type in {
                "EyeLike",
                "MelWeightMatrix",
                "HannWindow",
                "HammingWindow",
                "BlackmanWindow",
            }:
                name = "dtype" if node.op_type == "EyeLike" else "output_datatype"
                _widen_default(node, name)
    return wide


def _widen_default(node: onnx.NodeProto, name: str) -> None:
    given = [attribute for attribute in node.attribute if attribute.name == name]
    if not given and node.op_type != "EyeLike":
        node.attribute.append(onnx.helper.make_attribute(name, ir.DataType.DOUBLE.value))
    for attribute in given:
        if attribute.i in WIDENED:
            attribute.i = ir.DataType.DOUBLE


def _widen_constant(node: onnx.NodeProto) -> None:
    for attribute in node.attribute:
        if attribute.name in {"value_float", "value_floats"}:
            content = attribute.f if attribute.name == "value_float" else list(attribute.floats)
            tensor = onnx.numpy_helper.from_array(np.asarray(content, np.float64))
            attribute.CopyFrom(onnx.helper.make_attribute("value", tensor))
        elif attribute.name == "value":
            _widen_tensor(attribute.t)
    if node.op_type == "ConstantOfShape" and not node.attribute:
        node.attribute.append(
            onnx.helper.make_attribute("value", onnx.numpy_helper.from_array(np.zeros(1, np.float64)))
        )


def _graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                yield from _graphs(attribute.g)


def _widen_type(kind: onnx.TypeProto) -> None:
    while (which := kind.WhichOneof("value")) in {"sequence_type", "optional_type"}:
        kind = getattr(kind, which).elem_type
    if which == "tensor_type" and kind.tensor_type.elem_type in WIDENED:
        kind.tensor_type.elem_type = ir.DataType.DOUBLE


def _widen_tensor(tensor: onnx.TensorProto) -> None:
    if tensor.data_type in WIDENED:
        array = np.asarray(onnx.numpy_helper.to_array(tensor)).astype(np.float64)
        tensor.CopyFrom(onnx.numpy_helper.from_array(array, tensor.name))
