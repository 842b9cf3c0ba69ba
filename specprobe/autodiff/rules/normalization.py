"""Rules for normalisations.

With ``x̂ = (x − mean)·r`` and ``r = 1/√(var + epsilon)``, both over the same axes, and ``g`` the cotangent of ``x̂``:
``dx = r·(g − mean(g) − x̂·mean(g·x̂))``. Half-precision tensors are normalised in float32, as the operators do.
"""

from typing import NamedTuple

import onnx_ir as ir

from specprobe.autodiff.operators import Operators
from specprobe.autodiff.registry import Cotangent, vjp
from specprobe.autodiff.reverse import sum_to_shape
from specprobe.errors import UnsupportedOperator
from specprobe.graph.limits import printable

__all__: list[str] = []

_HALF = frozenset({ir.DataType.FLOAT16, ir.DataType.BFLOAT16})


class _Normalized(NamedTuple):
    """``hat``: of mean 0 and variance 1; ``inverse``: of the standard deviation; ``axes``: which they are over."""

    hat: ir.Value
    inverse: ir.Value
    axes: list[int]


@vjp("BatchNormalization")
def batch_normalization(
    op: Operators, node: ir.Node, dy: ir.Value | None, *running: ir.Value | None
) -> tuple[Cotangent, ...]:
    """One factor a channel. In training mode the batch's own statistics are differentiated as well."""
    x, scale, b, mean, var = (_present(value) for value in node.inputs)
    rank = _rank(x)
    if rank < 2 or any(v is not None for v in running):
        reason = "has no channel axis" if rank < 2 else "passes its running statistics on"
        msg = f"BatchNormalization '{printable(str(node.name))}' {reason}; accepted is [N, C, …], differentiated by Y"
        raise UnsupportedOperator(msg)
    assert dy is not None
    epsilon = node.attributes.get_float("epsilon", 1e-5)
    others = [0, *range(2, rank)]

    def channels(value: ir.Value) -> ir.Value:
        return op.Unsqueeze(value, op.ints(range(1, rank - 1))) if rank > 2 else value

    def total(value: ir.Value, like: ir.Value) -> ir.Value:
        return _cast(op, op.ReduceSum(value, op.ints(others), keepdims=0), like)

    if node.attributes.get_int("training_mode", 0):
        wide, dwide = _wide(op, x), _wide(op, dy)
        made = _normalize(op, wide, others, epsilon)
        g = op.Mul(dwide, channels(_cast(op, scale, wide)))
        return (
            lambda: _cast(op, _project(op, g, made), x),
            lambda: total(op.Mul(dwide, made.hat), scale),
            lambda: total(dwide, b),
            None,
            None,
        )

    inverse = op.Reciprocal(op.Sqrt(op.Add(var, op.scalar(epsilon, var))))
    factor = op.Mul(_cast(op, scale, var), inverse)

    def dscale() -> ir.Value:
        """Of the type of ``var``."""
        centred = op.Sub(_cast(op, x, var), channels(mean))
        return op.Mul(op.ReduceSum(op.Mul(_cast(op, dy, var), centred), op.ints(others), keepdims=0), inverse)

    def dvar() -> ir.Value:
        slope = op.Mul(op.Mul(factor, inverse), op.scalar(-0.5, var))
        return op.Mul(dscale(), slope)

    return (
        lambda: op.Mul(dy, channels(_cast(op, factor, x))),
        lambda: _cast(op, dscale(), scale),
        lambda: total(dy, b),
        lambda: op.Neg(op.Mul(total(dy, mean), factor)),
        dvar,
    )


@vjp("InstanceNormalization")
def instance_normalization(op: Operators, node: ir.Node, dy: ir.Value) -> tuple[Cotangent, ...]:
    """Statistics of each channel of each image, recomputed."""
    x, scale, b = (_present(value) for value in node.inputs)
    rank = _rank(x)
    if rank < 3:
        msg = (
            f"InstanceNormalization '{printable(str(node.name))}' has rank {rank}; accepted is [N, C, D1, …]"
        )
        raise UnsupportedOperator(msg)
    axes = [*range(2, rank)]
    wide, dwide = _wide(op, x), _wide(op, dy)
    made = _normalize(op, wide, axes, node.attributes.get_float("epsilon", 1e-5))
    per_channel = op.Unsqueeze(_cast(op, scale, wide), op.ints(range(1, rank - 1)))
    others = op.ints([0, *axes])
    return (
        lambda: _cast(op, _project(op, op.Mul(dwide, per_channel), made), x),
        lambda: _cast(op, op.ReduceSum(op.Mul(dwide, made.hat), others, keepdims=0), scale),
        lambda: _cast(op, op.ReduceSum(dwide, others, keepdims=0), b),
    )


@vjp("LayerNormalization")
def layer_normalization(
    op: Operators,
    node: ir.Node,
    dy: ir.Value | None,
    dmean: ir.Value | None = None,
    dinverse: ir.Value | None = None,
) -> tuple[Cotangent, ...]:
    """Mean and standard deviation are the operator's own outputs; in float64 they are recomputed."""
    x, scale, *bias = node.inputs
    assert x is not None
    assert scale is not None
    rank = _rank(x)
    axis = node.attributes.get_int("axis", -1) % rank
    axes = [*range(axis, rank)]
    wide = _wide(op, x)
    made = _stored(op, node, wide, axes)

    def dx() -> ir.Value | None:
        total = None
        if dy is not None:
            total = _project(op, op.Mul(_wide(op, dy), _cast(op, scale, wide)), made)
        if dmean is not None or dinverse is not None:
            total = _statistics(op, wide, made, dmean, dinverse, total)
        return None if total is None else _cast(op, total, x)

    def dscale() -> ir.Value | None:
        if dy is None:
            return None
        return _cast(op, sum_to_shape(op, op.Mul(_wide(op, dy), made.hat), scale, x), scale)

    def dbias(b: ir.Value) -> ir.Value | None:
        return None if dy is None else _cast(op, sum_to_shape(op, _wide(op, dy), b, x), b)

    return dx, dscale, *(None if b is None else lambda b=b: dbias(b) for b in bias)


def _stored(op: Operators, node: ir.Node, wide: ir.Value, axes: list[int]) -> _Normalized:
    """From outputs ``Mean`` and ``InvStdDev``, which are added to the node where it has none."""
    epsilon = node.attributes.get_float("epsilon", 1e-5)
    stash = node.attributes.get_int("stash_type", ir.DataType.FLOAT.value)
    if wide.dtype != ir.DataType.FLOAT or stash != ir.DataType.FLOAT.value:  # the outputs are of another type
        return _normalize(op, wide, axes, epsilon)
    if len(node.outputs) < 3:
        node.resize_outputs(3)
    for position, stem in ((1, "mean"), (2, "inverse_deviation")):
        output = node.outputs[position]
        if not output.name:
            output.name = op.name(f"{node.outputs[0].name}/{stem}")
        if output.type is None:
            output.type = ir.TensorType(ir.DataType.FLOAT)
    _, mean, inverse = node.outputs
    return _Normalized(op.Mul(op.Sub(wide, mean), inverse), inverse, axes)


def _statistics(
    op: Operators,
    wide: ir.Value,
    made: _Normalized,
    dmean: ir.Value | None,
    dinverse: ir.Value | None,
    total: ir.Value | None,
) -> ir.Value:
    """Add what flows through the mean, ``1/n``, and through the inverse deviation, ``−r²·x̂/n``."""
    parts = [] if total is None else [total]
    if dmean is not None:
        parts.append(op.Div(_cast(op, dmean, wide), _count(op, wide, made)))
    if dinverse is not None:
        share = op.Div(_cast(op, dinverse, wide), _count(op, wide, made))
        slope = op.Neg(op.Mul(share, op.Mul(made.inverse, made.inverse)))
        parts.append(op.Mul(made.hat, slope))
    if len(parts) == 1:
        return op.Expand(parts[0], op.shape_of(wide))
    return op.Sum(*parts)


def _count(op: Operators, wide: ir.Value, made: _Normalized) -> ir.Value:
    """How many elements share a mean."""
    assert wide.dtype is not None
    sizes = op.Gather(op.shape_of(wide), op.ints(made.axes), axis=0)
    return op.Cast(op.ReduceProd(sizes, keepdims=0), to=wide.dtype.value)


@vjp("GroupNormalization")
def group_normalization(op: Operators, node: ir.Node, dy: ir.Value) -> tuple[Cotangent, ...]:
    """Statistics of each group of channels; scale and bias are one a group up to opset 20, then one a channel."""
    x, scale, b = (_present(value) for value in node.inputs)
    rank, groups = _rank(x), node.attributes.get_int("num_groups", 1)
    wide, dwide = _wide(op, x), _wide(op, dy)
    grouped = op.ints([0, groups, -1])
    made = _normalize(op, op.Reshape(wide, grouped), [2], node.attributes.get_float("epsilon", 1e-5))
    version = node.version or (node.graph.opset_imports.get("", 21) if node.graph is not None else 21)
    if version < 21:
        dgroups = op.Reshape(dwide, grouped)
        g = op.Mul(dgroups, op.Unsqueeze(_cast(op, scale, wide), op.ints([1])))
        hat, axes = made.hat, op.ints([0, 2])
    else:
        dgroups = dwide
        per_channel = op.Unsqueeze(_cast(op, scale, wide), op.ints(range(1, rank - 1)))
        g = op.Reshape(op.Mul(dwide, per_channel), grouped)
        hat, axes = op.reshape_like(made.hat, x), op.ints([0, *range(2, rank)])
    return (
        lambda: _cast(op, op.reshape_like(_project(op, g, made), x), x),
        lambda: _cast(op, op.ReduceSum(op.Mul(dgroups, hat), axes, keepdims=0), scale),
        lambda: _cast(op, op.ReduceSum(dgroups, axes, keepdims=0), b),
    )


@vjp("RMSNormalization")
def rms_normalization(op: Operators, node: ir.Node, dy: ir.Value) -> tuple[Cotangent, ...]:
    """Without a mean: ``dx = r·(g − x̂·mean(g·x̂))``."""
    x, scale = (_present(value) for value in node.inputs)
    rank = _rank(x)
    axes = op.ints(range(node.attributes.get_int("axis", -1) % rank, rank))
    wide, dwide = _wide(op, x), _wide(op, dy)
    epsilon = op.scalar(node.attributes.get_float("epsilon", 1e-5), wide)
    square = op.ReduceMean(op.Mul(wide, wide), axes, keepdims=1)
    inverse = op.Reciprocal(op.Sqrt(op.Add(square, epsilon)))
    hat = op.Mul(wide, inverse)

    def dx() -> ir.Value:
        g = op.Mul(dwide, _cast(op, scale, wide))
        along = op.Mul(hat, op.ReduceMean(op.Mul(g, hat), axes, keepdims=1))
        return _cast(op, op.Mul(op.Sub(g, along), inverse), x)

    return dx, lambda: _cast(op, sum_to_shape(op, op.Mul(dwide, hat), scale, x), scale)


@vjp("LpNormalization")
def lp_normalization(op: Operators, node: ir.Node, dy: ir.Value) -> tuple[Cotangent, ...]:
    """``(dy − ∂‖x‖·Σ dy·y) / ‖x‖``; 0 where the norm is 0, sign(0) is 0."""
    (x,), (y,) = node.inputs, node.outputs
    assert x is not None
    axis = op.ints([node.attributes.get_int("axis", -1)])
    order = node.attributes.get_int("p", 2)
    norm = op.ReduceL1(x, axis, keepdims=1) if order == 1 else op.ReduceL2(x, axis, keepdims=1)
    along = op.ReduceSum(op.Mul(dy, y), axis, keepdims=1)
    projected = op.Sub(dy, op.Mul(op.Sign(x) if order == 1 else y, along))
    empty = op.Equal(norm, op.scalar(0, norm))
    safe = op.Where(empty, op.scalar(1, norm), norm)
    return (op.Where(empty, op.scalar(0, dy), op.Div(projected, safe)),)


@vjp("MeanVarianceNormalization")
def mean_variance_normalization(op: Operators, node: ir.Node, dy: ir.Value) -> tuple[Cotangent, ...]:
    """``y = (x − mean) / (√var + 1e-9)``; where the variance is 0 it is taken as constant."""
    (x,) = node.inputs
    assert x is not None
    axes = op.ints([axis % _rank(x) for axis in node.attributes.get_ints("axes", (0, 2, 3))])
    wide, dwide = _wide(op, x), _wide(op, dy)
    centred = op.Sub(wide, op.ReduceMean(wide, axes, keepdims=1))
    deviation = op.Sqrt(op.ReduceMean(op.Mul(centred, centred), axes, keepdims=1))
    flat = op.Equal(deviation, op.scalar(0, wide))
    safe = op.Where(flat, op.scalar(1, wide), deviation)
    padded = op.Add(deviation, op.scalar(1e-9, wide))
    y = op.Div(centred, padded)
    along = op.Div(op.ReduceMean(op.Mul(dwide, y), axes, keepdims=1), safe)
    g = op.Div(op.Sub(dwide, op.ReduceMean(dwide, axes, keepdims=1)), padded)
    return (_cast(op, op.Sub(g, op.Mul(y, along)), x),)


def _normalize(op: Operators, x: ir.Value, axes: list[int], epsilon: float) -> _Normalized:
    """Mean first, then the square of what is left: does not cancel for large means."""
    over = op.ints(axes)
    centred = op.Sub(x, op.ReduceMean(x, over, keepdims=1))
    variance = op.ReduceMean(op.Mul(centred, centred), over, keepdims=1)
    inverse = op.Reciprocal(op.Sqrt(op.Add(variance, op.scalar(epsilon, x))))
    return _Normalized(op.Mul(centred, inverse), inverse, axes)


def _project(op: Operators, g: ir.Value, made: _Normalized) -> ir.Value:
    """Cotangent of what was normalised."""
    axes = op.ints(made.axes)
    mean = op.ReduceMean(g, axes, keepdims=1)
    along = op.Mul(made.hat, op.ReduceMean(op.Mul(g, made.hat), axes, keepdims=1))
    return op.Mul(op.Sub(g, op.Add(along, mean)), made.inverse)


def _present(value: ir.Value | None) -> ir.Value:
    assert value is not None
    return value


def _rank(x: ir.Value) -> int:
    assert x.shape is not None
    return len(x.shape)


def _wide(op: Operators, value: ir.Value) -> ir.Value:
    return op.Cast(value, to=ir.DataType.FLOAT.value) if value.dtype in _HALF else value


def _cast(op: Operators, value: ir.Value, like: ir.Value) -> ir.Value:
    if value.dtype == like.dtype:
        return value
    assert like.dtype is not None
    return op.Cast(value, to=like.dtype.value)
