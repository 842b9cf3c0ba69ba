"""What operators make of arrays: those that stand between constants and their use, and those that compute shapes."""

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import onnx_ir as ir

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["EVALUATED", "evaluated"]

_Arrays: TypeAlias = "Sequence[NDArray[Any] | None]"
_Outputs: TypeAlias = "NDArray[Any] | Sequence[NDArray[Any]] | None"
_MAX_BYTES = 1 << 30
"""Of any one array that is computed: a stored weight may be larger, a made one has no reason to be."""


def evaluated(node: ir.Node, arrays: _Arrays, /) -> "tuple[NDArray[Any], ...] | None":
    """Compute what a node makes of given inputs.

    Parameters
    ----------
    node : onnx_ir.Node
        Of any opset.
    arrays : sequence of numpy.ndarray or None
        One an input; None where the node has none.

    Returns
    -------
    tuple of numpy.ndarray or None
        One an output; None where the operator is not in :data:`EVALUATED`, where runtimes differ, or where the inputs
        are ones that it does not accept.
    """
    if node.domain not in {"", "ai.onnx"}:
        return None
    if node.op_type == "Constant":
        constant = _constant(node)
        return None if constant is None else (constant,)
    shapes = [a.shape for a in arrays if a is not None]
    if node.op_type not in _EVALUATE or not shapes:
        return None
    try:
        if node.op_type in _BROADCAST and math.prod(np.broadcast_shapes(*shapes)) * 8 > _MAX_BYTES:
            return None
        if max(a.size for a in arrays if a is not None) * 8 > _MAX_BYTES:
            return None
        with np.errstate(all="ignore"):
            made = _EVALUATE[node.op_type](node, arrays)
    except (
        ValueError,
        TypeError,
        IndexError,
        MemoryError,
    ):  # a malformed constant is the runtime's to report
        return None
    return None if made is None else (made,) if isinstance(made, np.ndarray) else tuple(made)


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


def _squeeze(node: ir.Node, arrays: _Arrays) -> "NDArray[Any] | None":
    axes = _axes(node, arrays)
    return None if axes == () else np.squeeze(_first(arrays), axes)  # no axes, or all: runtimes differ


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
    return _as_type(_first(arrays), ir.DataType(node.attributes.get_int("to", 1)).numpy())


def _as_type(array: "NDArray[Any]", dtype: "np.dtype[Any]") -> "NDArray[Any]":
    if array.dtype.kind == "f" and dtype.kind in "iu":
        bounds, whole = np.iinfo(dtype), np.trunc(array)
        # 2⁶³ − 1 is no floating-point number; the next one is beyond the range.
        if not np.all((whole >= bounds.min) & (whole < float(bounds.max) + 1)):
            msg = f"numbers beyond the range of {dtype}, which runtimes convert in different ways"
            raise ValueError(msg)
    return array.astype(dtype)


def _transpose(node: ir.Node, arrays: _Arrays) -> "NDArray[Any]":
    return np.transpose(_first(arrays), node.attributes.get_ints("perm"))


def _elementwise(
    function: Callable[..., Any], *, truth: bool = False
) -> "Callable[[ir.Node, _Arrays], _Outputs]":
    """Evaluator of an operator whose inputs broadcast against one another; with ``truth``, of truth values alone."""

    def evaluate(node: ir.Node, arrays: _Arrays) -> _Outputs:
        if "axis" in node.attributes:  # up to opset 6, shapes were aligned by it
            return None
        if any(a is None or (truth and a.dtype.kind != "b") for a in arrays):
            return None
        return np.asarray(function(*arrays))

    return evaluate


def _divide(dividend: "NDArray[Any]", divisor: "NDArray[Any]") -> "NDArray[Any]":
    """Integers towards zero, and exact where float64 is not."""
    if dividend.dtype.kind not in "iu":
        return np.asarray(np.divide(dividend, divisor))
    if not np.all(divisor):
        msg = "an integer divided by zero"
        raise ValueError(msg)
    down = np.floor_divide(dividend, divisor)
    inexact = down * divisor != dividend
    return np.asarray(down + (inexact & ((dividend < 0) != (divisor < 0))), dividend.dtype)


def _mod(node: ir.Node, arrays: _Arrays) -> _Outputs:
    dividend, divisor = _first(arrays), arrays[1]
    if divisor is None or dividend.dtype.kind not in "iu" or not np.all(divisor):
        return None
    return np.asarray((np.fmod if node.attributes.get_int("fmod", 0) else np.mod)(dividend, divisor))


def _many(function: Callable[..., Any]) -> "Callable[[ir.Node, _Arrays], _Outputs]":
    """Evaluator of Max or Min, of integers: on NaN runtimes differ."""

    def evaluate(_node: ir.Node, arrays: _Arrays) -> _Outputs:
        found = _first(arrays)
        for array in arrays:
            if array is None or array.dtype.kind not in "iu":
                return None
            found = np.asarray(function(found, array))
        return found

    return evaluate


def _concat(node: ir.Node, arrays: _Arrays) -> _Outputs:
    parts = [array for array in arrays if array is not None]
    if "axis" not in node.attributes or sum(part.size for part in parts) * 8 > _MAX_BYTES:
        return None
    return np.concatenate(parts, axis=node.attributes.get_int("axis", 0))


def _gather(node: ir.Node, arrays: _Arrays) -> _Outputs:
    array, index = _first(arrays), arrays[1]
    axis = node.attributes.get_int("axis", 0)
    if index is None or index.size * array.size // max(array.shape[axis], 1) * 8 > _MAX_BYTES:
        return None
    return np.asarray(np.take(array, index, axis=axis))


def _slice(_node: ir.Node, arrays: _Arrays) -> _Outputs:
    array = _first(arrays)
    starts, ends, axes, steps = [*arrays[1:], None, None, None, None][:4]
    if starts is None or ends is None:  # up to opset 9 they were attributes
        return None
    cut = [slice(None)] * array.ndim
    for i, (start, end) in enumerate(zip(starts.tolist(), ends.tolist(), strict=True)):
        axis = int(axes[i]) if axes is not None else i
        step = int(steps[i]) if steps is not None else 1
        length = array.shape[axis]
        first = start + length if start < 0 else start
        last = end + length if end < 0 else end
        if step > 0:
            cut[axis] = slice(max(first, 0), max(last, 0), step)
        elif first < 0 or not length:  # before the first element, backwards: runtimes differ
            return None
        else:
            cut[axis] = slice(first, last if last >= 0 else None, step)
    return array[tuple(cut)]


def _split(node: ir.Node, arrays: _Arrays) -> _Outputs:
    array, sizes = _first(arrays), arrays[1] if len(arrays) > 1 else None
    axis, parts = node.attributes.get_int("axis", 0), len(node.outputs)
    length = array.shape[axis]
    stated = sizes.tolist() if sizes is not None else node.attributes.get_ints("split")
    if stated is None:
        part = -(-length // parts)
        stated = [part] * (parts - 1) + [length - part * (parts - 1)]
    if len(stated) != parts or min(stated) < 0 or sum(stated) != length:
        return None
    return np.split(array, np.cumsum(stated)[:-1].tolist(), axis=axis)


def _expand(_node: ir.Node, arrays: _Arrays) -> _Outputs:
    array, shape = _first(arrays), arrays[1]
    if shape is None:
        return None
    target = np.broadcast_shapes(array.shape, tuple(shape.tolist()))
    return np.broadcast_to(array, target) if math.prod(target) * 8 <= _MAX_BYTES else None


def _range(_node: ir.Node, arrays: _Arrays) -> _Outputs:
    start, limit, delta = (None if a is None or a.dtype.kind not in "iu" else int(a.item()) for a in arrays)
    if start is None or limit is None or not delta:  # real numbers are summed up, with the runtime's rounding
        return None
    count = len(range(start, limit, delta))
    return np.arange(start, limit, delta).astype(_first(arrays).dtype) if count * 8 <= _MAX_BYTES else None


def _product(node: ir.Node, arrays: _Arrays) -> _Outputs:
    array, axes = _first(arrays), _axes(node, arrays)
    if array.dtype.kind not in "iu":
        return None
    if not axes:
        if node.attributes.get_int("noop_with_empty_axes", 0):
            return array
        axes = None
    keep = bool(node.attributes.get_int("keepdims", 1))
    return np.asarray(np.prod(array, axis=axes, dtype=array.dtype, keepdims=keep))


def _where(_node: ir.Node, arrays: _Arrays) -> _Outputs:
    condition, yes, no = arrays
    return None if condition is None or yes is None or no is None else np.where(condition, yes, no)


def _cast_like(_node: ir.Node, arrays: _Arrays) -> _Outputs:
    like = arrays[1]
    return None if like is None else _as_type(_first(arrays), like.dtype)


_BROADCAST = frozenset(
    {
        "Add",
        "And",
        "Div",
        "Equal",
        "Greater",
        "GreaterOrEqual",
        "Less",
        "LessOrEqual",
        "Max",
        "Min",
        "Mod",
        "Mul",
    }
    | {"Or", "Sub", "Where", "Xor"}
)
_EVALUATE: "dict[str, Callable[[ir.Node, _Arrays], _Outputs]]" = {
    "Abs": _elementwise(np.abs),
    "Add": _elementwise(np.add),
    "And": _elementwise(np.logical_and, truth=True),
    "Cast": _cast,
    "CastLike": _cast_like,
    "Ceil": _elementwise(np.ceil),
    "Concat": _concat,
    "ConstantOfShape": _constant_of_shape,
    "DequantizeLinear": _dequantize,
    "Div": _elementwise(_divide),
    "Equal": _elementwise(np.equal),
    "Expand": _expand,
    "Floor": _elementwise(np.floor),
    "Gather": _gather,
    "Greater": _elementwise(np.greater),
    "GreaterOrEqual": _elementwise(np.greater_equal),
    "Identity": lambda _node, arrays: arrays[0],
    "Less": _elementwise(np.less),
    "LessOrEqual": _elementwise(np.less_equal),
    "Max": _many(np.maximum),
    "Min": _many(np.minimum),
    "Mod": _mod,
    "Mul": _elementwise(np.multiply),
    "Neg": _elementwise(np.negative),
    "Not": _elementwise(np.logical_not, truth=True),
    "Or": _elementwise(np.logical_or, truth=True),
    "QuantizeLinear": _quantize,
    "Range": _range,
    "ReduceProd": _product,
    "Reshape": _reshape,
    "Sign": _elementwise(np.sign),
    "Slice": _slice,
    "Split": _split,
    "Squeeze": _squeeze,
    "Sub": _elementwise(np.subtract),
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
    "Where": _where,
    "Xor": _elementwise(np.logical_xor, truth=True),
}
EVALUATED = frozenset({"Constant", *_EVALUATE})
"""Operators that :func:`evaluated` knows."""
