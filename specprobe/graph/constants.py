"""Values that a graph holds constant, seen through the operators that exporters wrap weights in."""

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import onnx_ir as ir

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["constant_source", "constant_value"]

_Arrays: TypeAlias = "list[NDArray[Any] | None]"
_MAX_BYTES = 1 << 30
"""Of any one array that is computed: a stored weight may be larger, a made one has no reason to be."""

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
        if node.op_type not in _EVALUATE:
            return None
        value = node.inputs[0]
    return None


def constant_value(value: ir.Value | None, /) -> "NDArray[Any] | None":
    """Evaluate ``value`` if no input of the graph can change it.

    Sees through ``Constant``, ``ConstantOfShape``, ``Identity``, ``Cast``, ``Transpose``, ``Reshape``, ``Squeeze``,
    ``Unsqueeze``, ``QuantizeLinear``, ``DequantizeLinear``, ``Sign`` and element-wise arithmetic.

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
    if node is None or node.domain not in {"", "ai.onnx"}:
        return None
    if node.op_type == "Constant":
        return _constant(node)
    if node.op_type not in _EVALUATE:
        return None
    arrays = [_evaluate(v, depth - 1, known) for v in node.inputs]
    if any(a is None and v is not None for a, v in zip(arrays, node.inputs, strict=True)) or not arrays:
        return None
    shapes = [a.shape for a in arrays if a is not None]
    try:
        if node.op_type in _BROADCAST and math.prod(np.broadcast_shapes(*shapes)) * 8 > _MAX_BYTES:
            return None
        if max(a.size for a in arrays if a is not None) * 8 > _MAX_BYTES:
            return None
        with np.errstate(all="ignore"):
            return _EVALUATE[node.op_type](node, arrays)
    except (
        ValueError,
        TypeError,
        IndexError,
        MemoryError,
    ):  # a malformed constant is the runtime's to report
        return None


def _constant(node: ir.Node) -> "NDArray[Any] | None":
    attributes = node.attributes
    if "value" in attributes:
        return attributes["value"].as_tensor().numpy()
    for name, dtype in (("value_float", np.float32), ("value_floats", np.float32)):
        if name in attributes:
            return np.asarray(attributes[name].value, dtype)
    for name in ("value_int", "value_ints"):
        if name in attributes:
            return np.asarray(attributes[name].value, np.int64)
    return None


def _constant_of_shape(node: ir.Node, arrays: _Arrays) -> "NDArray[Any] | None":
    shape = [int(d) for d in _first(arrays)]
    tensor = (
        node.attributes["value"].as_tensor().numpy()
        if "value" in node.attributes
        else np.zeros(1, np.float32)
    )
    if math.prod(shape) * tensor.itemsize > _MAX_BYTES:
        return None
    return np.broadcast_to(tensor.reshape(()), shape)


def _axes(node: ir.Node, arrays: _Arrays) -> tuple[int, ...] | None:
    """Axes are an attribute up to opset 12, an input from 13."""
    stated = arrays[1] if len(arrays) > 1 else None
    if stated is not None:
        return tuple(int(a) for a in stated.reshape(-1))
    return tuple(node.attributes.get_ints("axes")) if "axes" in node.attributes else None


def _first(arrays: _Arrays) -> "NDArray[Any]":
    array = arrays[0]
    if array is None:
        msg = "the first input is missing"
        raise ValueError(msg)
    return array


def _reshape(node: ir.Node, arrays: _Arrays) -> "NDArray[Any] | None":
    array, shape = _first(arrays), arrays[1]
    if shape is None:
        return None
    copied = not node.attributes.get_int("allowzero", 0)
    target = [int(array.shape[i]) if d == 0 and copied else int(d) for i, d in enumerate(shape)]
    return array.reshape(target)


def _unsqueeze(node: ir.Node, arrays: _Arrays) -> "NDArray[Any] | None":
    axes = _axes(node, arrays)
    return None if axes is None else np.expand_dims(_first(arrays), axes)


def _scale_shape(node: ir.Node, array: "NDArray[Any]", scale: "NDArray[Any]") -> "NDArray[Any]":
    """Scale or zero point of one per tensor, axis or block, broadcastable against ``array``."""
    if scale.ndim == 0 or scale.size == 1:
        return scale.reshape(())
    axis = node.attributes.get_int("axis", 1)
    block = node.attributes.get_int("block_size", 0)
    if block:
        length = array.shape[axis]
        return np.repeat(scale, min(block, length), axis=axis).take(range(length), axis=axis)
    if array.shape[axis] != scale.size:
        msg = f"{scale.size} scales for {array.shape[axis]} slices"
        raise ValueError(msg)
    shape = [1] * array.ndim
    shape[axis] = scale.size
    return scale.reshape(shape)


def _dequantize(node: ir.Node, arrays: _Arrays) -> "NDArray[Any]":
    array, scale = _first(arrays), arrays[1]
    if scale is None:
        msg = "DequantizeLinear has no scale"
        raise ValueError(msg)
    zero = arrays[2] if len(arrays) > 2 else None
    shifted = array.astype(np.float32)
    if zero is not None:
        shifted -= _scale_shape(node, array, zero).astype(np.float32)
    return np.multiply(shifted, _scale_shape(node, array, scale).astype(np.float32))


def _quantize(node: ir.Node, arrays: _Arrays) -> "NDArray[Any]":
    array, scale = _first(arrays), arrays[1]
    zero = arrays[2] if len(arrays) > 2 else None
    if scale is None:
        msg = "QuantizeLinear has no scale"
        raise ValueError(msg)
    stated = node.attributes.get_int("output_dtype", 0)
    dtype = zero.dtype if zero is not None else ir.DataType(stated or ir.DataType.UINT8).numpy()
    if dtype.kind not in "iu":
        msg = f"QuantizeLinear to {dtype} is not evaluated"
        raise TypeError(msg)
    steps = np.rint(array / _scale_shape(node, array, scale))
    if zero is not None:
        steps = steps + _scale_shape(node, array, zero).astype(np.float32)
    bounds = np.iinfo(dtype)
    return np.asarray(np.clip(steps, bounds.min, bounds.max), dtype)


def _cast(node: ir.Node, arrays: _Arrays) -> "NDArray[Any]":
    return _first(arrays).astype(ir.DataType(node.attributes.get_int("to", 1)).numpy())


def _transpose(node: ir.Node, arrays: _Arrays) -> "NDArray[Any]":
    return np.transpose(_first(arrays), node.attributes.get_ints("perm"))


def _elementwise(function: Callable[..., Any]) -> "Callable[[ir.Node, _Arrays], NDArray[Any] | None]":
    def evaluate(node: ir.Node, arrays: _Arrays) -> "NDArray[Any] | None":
        if "axis" in node.attributes:  # up to opset 6, shapes were aligned by it
            return None
        return np.asarray(function(*arrays))

    return evaluate


def _divide(dividend: "NDArray[Any]", divisor: "NDArray[Any]") -> "NDArray[Any]":
    quotient = np.divide(dividend, divisor)
    return np.asarray(
        quotient if dividend.dtype.kind not in "iu" else np.trunc(quotient).astype(dividend.dtype)
    )


_BROADCAST = frozenset({"Add", "Div", "Mul", "Sub"})
_EVALUATE: "dict[str, Callable[[ir.Node, _Arrays], NDArray[Any] | None]]" = {
    "Add": _elementwise(np.add),
    "Cast": _cast,
    "ConstantOfShape": _constant_of_shape,
    "DequantizeLinear": _dequantize,
    "Div": _elementwise(_divide),
    "Identity": lambda _node, arrays: arrays[0],
    "Mul": _elementwise(np.multiply),
    "QuantizeLinear": _quantize,
    "Reshape": _reshape,
    "Sign": _elementwise(np.sign),
    "Squeeze": lambda node, arrays: np.squeeze(_first(arrays), _axes(node, arrays)),
    "Sub": _elementwise(np.subtract),
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
}
