"""What is in a model file: its interface, size, cost, operators, and what stands in the way of gradients."""

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import onnx_ir as ir

from specprobe.errors import ModelError
from specprobe.findings import Finding
from specprobe.graph.constants import constant_value
from specprobe.graph.convolutions import find_convolutions, node_label
from specprobe.graph.limits import printable
from specprobe.graph.load import infer_shapes, raise_opset

if TYPE_CHECKING:
    from specprobe.graph.load import ModelFile
    from specprobe.protocols import Convolution

__all__ = ["Port", "Survey", "count_multiply_adds", "survey", "trailing_activation"]

ZERO_GRADIENT = frozenset(
    {
        "ArgMax",
        "ArgMin",
        "Binarizer",
        "Ceil",
        "Floor",
        "Hardmax",
        "MelWeightMatrix",
        "OneHot",
        "Round",
        "Sign",
    }
    | {"TreeEnsemble"}
)
"""Operators of real inputs whose derivative is zero almost everywhere, or that have none."""

RANDOM = frozenset(
    {"Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"}
)

_DIFFERENTIABLE_BREAKS = frozenset(
    {
        "And",
        "Equal",
        "Greater",
        "GreaterOrEqual",
        "IsInf",
        "IsNaN",
        "Less",
        "LessOrEqual",
        "NonMaxSuppression",
    }
    | {"NonZero", "Not", "Or", "Shape", "Size", "Xor"}
)
_OPERATOR_QUANTISED = frozenset(
    {"ConvInteger", "DynamicQuantizeLinear", "MatMulInteger", "QLinearConv", "QLinearMatMul"}
)
_ACTIVATIONS = frozenset({"LogSoftmax", "Sigmoid", "Softmax"})
_SAME_NUMBERS = frozenset({"Cast", "Flatten", "Identity", "Reshape", "Squeeze", "Unsqueeze"})
_REAL = frozenset({ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.BFLOAT16, ir.DataType.DOUBLE})


@dataclass(frozen=True, slots=True, kw_only=True)
class Port:
    """An input or output of a model.

    Attributes
    ----------
    name : str
        As in the file.
    dtype : str
        Element type, lower case, as ONNX names it.
    shape : tuple of int, str or None, or None
        Symbolic dimensions by name, unnamed ones None; None if the rank is not stated.
    """

    name: str
    dtype: str
    shape: tuple[int | str | None, ...] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """What :func:`survey` finds.

    Attributes
    ----------
    inputs, outputs : tuple of Port
        Without those inputs that only give an initializer its default.
    parameters : int
        Numbers in stored tensors that hold weights, each stored tensor counted once.
    multiply_adds : int or None
        Of convolutions and matrix products for one image; None where a size is left open.
    operators : dict of str to int
        Nodes by operator after functions are inlined, subgraphs included.
    quantisation : {"qdq", "operator", "mixed"} or None
        Quantised through QuantizeLinear/DequantizeLinear pairs, through quantised operators, or both.
    trailing_activation : str or None
        Softmax, LogSoftmax or Sigmoid that stands between the logits and the output.
    convolutions : tuple of Convolution
        With their kernels.
    masking : tuple of str
        Names of nodes with zero gradient on the way from image to output.
    findings : tuple of Finding
        What a user should know.
    """

    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    parameters: int
    multiply_adds: int | None
    operators: dict[str, int]
    quantisation: Literal["qdq", "operator", "mixed"] | None
    trailing_activation: str | None
    convolutions: "tuple[Convolution, ...]"
    masking: tuple[str, ...]
    findings: tuple[Finding, ...]


def survey(file: "ModelFile", /) -> Survey:
    """Survey an opened model; nothing is run.

    Parameters
    ----------
    file : ModelFile
        From :func:`specprobe.graph.load.open_model`.

    Returns
    -------
    Survey
        Of the graph at the file's own opset.
    """
    model = file.model
    convolutions, conv_findings = find_convolutions(model)
    operators = Counter(_operator(node) for node in model.graph.all_nodes())
    masking, gradient_findings = _masking(model)
    cost = _cost(model)
    findings = [*file.findings, *conv_findings, *gradient_findings]
    activation = None
    for output in model.graph.outputs:
        if (node := _trailing_node(output)) is not None:
            activation = node.op_type
            message = f"{activation} behind the logits; specprobe takes the logits before it"
            findings.append(Finding(level="note", code="trailing-activation", message=message))
    for node in model.graph.all_nodes():
        if not node.domain and (node.op_type in RANDOM or _drops(node)):
            message = f"{node.op_type} makes outputs random; results hold for one draw only"
            findings.append(
                Finding(level="warning", code="random-operator", message=message, node=node_label(node))
            )
    if cost is None:
        message = "sizes that the graph leaves open keep the cost per image from being counted"
        findings.append(Finding(level="note", code="cost-unknown", message=message))
    return Survey(
        inputs=tuple(_port(value) for value in model.graph.inputs),
        outputs=tuple(_port(value) for value in model.graph.outputs),
        parameters=_parameters(model),
        multiply_adds=cost,
        operators=dict(sorted(operators.items())),
        quantisation=_quantisation(operators),
        trailing_activation=activation,
        convolutions=convolutions,
        masking=masking,
        findings=tuple(findings),
    )


def trailing_activation(output: ir.Value, /) -> ir.Value | None:
    """Find the logits, where ``output`` is a Softmax, LogSoftmax or Sigmoid of them.

    Parameters
    ----------
    output : onnx_ir.Value
        Of the model.

    Returns
    -------
    onnx_ir.Value or None
        Input of the activation; None where there is none, or where it does not act on the classes.
    """
    node = _trailing_node(output)
    return node.inputs[0] if node is not None else None


def _trailing_node(output: ir.Value) -> ir.Node | None:
    value: ir.Value | None = output
    while value is not None:
        node = value.producer()
        if node is None or node.domain or not node.inputs:
            return None
        if node.op_type in _ACTIVATIONS:
            logits = node.inputs[0]
            return node if logits is not None and _acts_on_classes(node, logits) else None
        if node.op_type not in _SAME_NUMBERS:
            return None
        value = node.inputs[0]
    return None


def _acts_on_classes(node: ir.Node, logits: ir.Value) -> bool:
    """Softmax over axis 1, or over whatever holds all numbers of an example."""
    if node.op_type == "Sigmoid" or logits.shape is None:
        return True
    dims = list(logits.shape)
    version = node.graph.opset_imports.get("", 1) if node.graph is not None else 1
    axis = node.attributes.get_int("axis", -1 if version >= 13 else 1)
    axis += len(dims) if axis < 0 else 0
    if not 1 <= axis < len(dims):
        return False
    # Up to opset 12 everything from the axis on is one; since then, the axis alone.
    rest = dims[1:axis] if version < 13 else dims[1:axis] + dims[axis + 1 :]
    return axis == 1 or all(d == 1 for d in rest)


def _drops(node: ir.Node) -> bool:
    """Whether a Dropout is in training mode, or may be."""
    if node.op_type != "Dropout" or len(node.inputs) < 3 or node.inputs[2] is None:
        return False
    training = constant_value(node.inputs[2])
    return training is None or bool(training.any())


def count_multiply_adds(model: ir.Model, /) -> int | None:
    """Multiply-adds of convolutions and matrix products.

    Parameters
    ----------
    model : onnx_ir.Model
        With static shapes.

    Returns
    -------
    int or None
        None where a size is missing. Operators inside loops count once.
    """
    total = 0
    for node in model.graph.all_nodes():
        count = _node_cost(node)
        if count is None:
            return None
        total += count
    return total


def _cost(model: ir.Model) -> int | None:
    """Multiply-adds for one image."""
    try:
        total = count_multiply_adds(infer_shapes(model, batch=1))
        if total is None:  # shape arithmetic of early opsets can be followed only in the raised graph
            raised = raise_opset(model)
            total = None if raised is model else count_multiply_adds(infer_shapes(raised, batch=1))
    except ModelError:  # sizes that do not go together with one image, or no way up
        return None
    batches = {
        shape[0] for v in model.graph.inputs if (shape := _static(v)) is not None and len(shape) in {2, 4}
    }
    batch = batches.pop() if len(batches) == 1 else 1
    return total // batch if total is not None and batch > 0 and total % batch == 0 else total


def _node_cost(node: ir.Node) -> int | None:
    if node.domain:
        return 0
    position = {"QLinearConv": 3, "QLinearMatMul": 3}.get(node.op_type, 1)
    if node.op_type in {"Conv", "QLinearConv", "ConvInteger", "DeformConv", "ConvTranspose"}:
        moving = node.inputs[0] if node.op_type == "ConvTranspose" else node.outputs[0]
        positions, kernel = _static(moving), _static(node.inputs[position])
        if positions is None or kernel is None:
            return None
        # Each output of a convolution (input of a transposed one) meets one kernel of in_channels / groups taps.
        return int(np.prod(positions, dtype=object)) * int(np.prod(kernel[1:], dtype=object))
    if node.op_type in {"Gemm", "MatMul", "MatMulInteger", "QLinearMatMul"}:
        left, result = _static(node.inputs[0]), _static(node.outputs[0])
        if left is None or result is None or not left:
            return None
        transposed = node.op_type == "Gemm" and node.attributes.get_int("transA", 0) != 0
        return int(np.prod(result, dtype=object)) * left[0 if transposed else -1]
    return 0


def _static(value: ir.Value | None) -> list[int] | None:
    if value is None or value.shape is None or not value.shape.is_static():
        return None
    return [int(d) for d in value.shape]  # type: ignore[arg-type]


def _parameters(model: ir.Model) -> int:
    """Elements of the stored tensors that reach a node as real numbers, or as quantised weights."""
    total = 0
    for value in _stored(model):
        dtype = value.dtype
        quantised = any(
            u.node.op_type == "DequantizeLinear" or "Integer" in u.node.op_type or "QLinear" in u.node.op_type
            for u in value.uses()
        )
        tensor = value.const_value
        if dtype in _REAL or quantised:
            total += (
                int(tensor.size) if tensor is not None else int(np.prod(_static(value) or [0], dtype=object))
            )
    return total


def _stored(model: ir.Model) -> list[ir.Value]:
    graphs = (model.graph, *model.graph.subgraphs())
    initializers = [value for graph in graphs for value in graph.initializers.values() if value.uses()]
    constants = [n.outputs[0] for n in model.graph.all_nodes() if n.op_type == "Constant" and not n.domain]
    return [*initializers, *constants]


def _quantisation(operators: Counter[str]) -> Literal["qdq", "operator", "mixed"] | None:
    pairs = "DequantizeLinear" in operators
    inside = any(name in operators for name in _OPERATOR_QUANTISED)
    if pairs and inside:
        return "mixed"
    return "qdq" if pairs else "operator" if inside else None


def _masking(model: ir.Model) -> tuple[tuple[str, ...], tuple[Finding, ...]]:
    """Nodes with zero gradient between the inputs and the outputs, and whether anything gets past them."""
    touched: set[ir.Value] = {
        v for v in model.graph.inputs if v.dtype in _REAL or v.dtype == ir.DataType.UINT8
    }
    differentiable = set(touched)
    suspects: list[ir.Node] = []
    for node in model.graph:
        inputs = {v for v in _reads(node) if v in touched}
        if not inputs or node.op_type in {"Shape", "Size"}:
            continue
        touched.update(node.outputs)
        if node.op_type in ZERO_GRADIENT or _casts_to_integers(node):
            suspects.append(node)
        elif node.op_type not in _DIFFERENTIABLE_BREAKS and inputs & differentiable:
            differentiable.update(node.outputs)
    needed = _behind(model.graph.outputs)
    masking = [node for node in suspects if node in needed]
    findings = [
        Finding(
            level="warning",
            code="zero-gradient",
            message=f"{node.op_type} has zero gradient almost everywhere: gradients may be masked",
            node=node_label(node),
        )
        for node in masking
    ]
    if touched and not any(output in differentiable for output in model.graph.outputs):
        message = "no output depends on an input through operators that have a gradient"
        findings.append(Finding(level="warning", code="no-gradient-path", message=message))
    return tuple(node_label(node) for node in masking), tuple(findings)


def _casts_to_integers(node: ir.Node) -> bool:
    if node.op_type != "Cast" or node.inputs[0] is None or node.inputs[0].dtype not in _REAL:
        return False
    return ir.DataType(node.attributes.get_int("to", 1)) not in _REAL


def _reads(node: ir.Node) -> list[ir.Value]:
    """Return the inputs of a node, and what its subgraphs read from outside."""
    values = [v for v in node.inputs if v is not None]
    for attribute in node.attributes.values():
        graphs = (
            [attribute.as_graph()]
            if attribute.type == ir.AttributeType.GRAPH
            else list(attribute.as_graphs())
            if attribute.type == ir.AttributeType.GRAPHS
            else []
        )
        values.extend(
            v for graph in graphs for inner in graph.all_nodes() for v in inner.inputs if v is not None
        )
    return values


def _behind(outputs: "object") -> set[ir.Node]:
    """Nodes that outputs depend on."""
    pending: list[ir.Value] = list(outputs)  # type: ignore[call-overload]
    seen: set[ir.Node] = set()
    while pending:
        node = pending.pop().producer()
        if node is not None and node not in seen:
            seen.add(node)
            pending.extend(_reads(node))
    return seen


def _operator(node: ir.Node) -> str:
    return (
        node.op_type
        if node.domain in {"", "ai.onnx"}
        else f"{printable(node.domain)}::{printable(node.op_type)}"
    )


def _port(value: ir.Value) -> Port:
    shape = None
    if value.shape is not None:
        shape = tuple(
            d if isinstance(d, int) else printable(d.value) if d.value is not None else None
            for d in value.shape
        )
    dtype = value.dtype.name.lower() if value.dtype is not None else "unknown"
    return Port(name=printable(str(value.name)), dtype=dtype, shape=shape)
