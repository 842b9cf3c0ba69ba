"""Values that a graph holds constant, seen through the operators that exporters wrap weights in."""

from typing import TYPE_CHECKING, Any

import onnx_ir as ir

from specprobe.graph.evaluation import EVALUATED, evaluated

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["constant_source", "constant_value"]

_WRAPPERS = frozenset(
    {
        "Add",
        "Cast",
        "DequantizeLinear",
        "Div",
        "Identity",
        "Mul",
        "QuantizeLinear",
        "Reshape",
        "Sign",
        "Squeeze",
    }
    | {"Sub", "Transpose", "Unsqueeze"}
)
"""Operators between a stored weight and its use, of which the first input is the weight."""

_MAX_DEPTH = 64


def constant_source(value: ir.Value | None, /) -> ir.Value | None:
    """Find the stored tensor that a constant comes from, so that weights used twice are recognised.

    Parameters
    ----------
    value : onnx_ir.Value or None
        Input of some node.

    Returns
    -------
    onnx_ir.Value or None
        The initializer or ``Constant`` output behind the first input of each operator passed; None if it depends on
        an input of the graph.
    """
    for _ in range(_MAX_DEPTH):
        if value is None:
            return None
        node = value.producer()
        if node is None:
            return value if value.const_value is not None else None
        if node.op_type in {"Constant", "ConstantOfShape"}:
            return value
        if node.op_type not in _WRAPPERS:
            return None
        value = node.inputs[0]
    return None


def constant_value(value: ir.Value | None, /) -> "NDArray[Any] | None":
    """Evaluate ``value`` if no input of the graph can change it.

    Sees through the operators in :data:`specprobe.graph.evaluation.EVALUATED`.

    Parameters
    ----------
    value : onnx_ir.Value or None
        Input of some node.

    Returns
    -------
    numpy.ndarray or None
        None where it is not constant, or held constant in a way that is not listed.
    """
    return _evaluate(value, _MAX_DEPTH, {})


def _evaluate(
    value: ir.Value | None, depth: int, known: "dict[ir.Value, NDArray[Any] | None]"
) -> "NDArray[Any] | None":
    """Content of ``value``; ``known`` keeps a value that is used twice from being computed twice."""
    if value is None or depth == 0:
        return None
    if value not in known:
        known[value] = _compute(value, depth, known)
    return known[value]


def _compute(
    value: ir.Value, depth: int, known: "dict[ir.Value, NDArray[Any] | None]"
) -> "NDArray[Any] | None":
    if value.const_value is not None:
        return value.const_value.numpy()
    node = value.producer()
    if node is None or node.op_type not in EVALUATED:
        return None
    arrays = [_evaluate(v, depth - 1, known) for v in node.inputs]
    if any(a is None and v is not None for a, v in zip(arrays, node.inputs, strict=True)):
        return None
    made = evaluated(node, arrays)
    index = value.index()
    return made[index] if made is not None and index is not None else None
