"""Rules for one step of an optimizer, written out as the standard defines it; the step count has no gradient."""

from collections.abc import Callable, Sequence

import numpy as np
import onnx_ir as ir

from specprobe.autodiff.expansion import through_expansion
from specprobe.autodiff.operators import Operators
from specprobe.autodiff.registry import Cotangent, vjp

__all__: list[str] = []

_DOMAIN = "ai.onnx.preview.training"
_Step = Callable[[Operators, ir.Value, ir.Value, Sequence[ir.Value]], Sequence[ir.Value]]


@vjp("Adagrad", domain=_DOMAIN)
def adagrad(op: Operators, node: ir.Node, *dys: ir.Value | None) -> tuple[Cotangent, ...]:
    """Through the accumulated squares as well."""

    def step(op: Operators, rate: ir.Value, count: ir.Value, state: Sequence[ir.Value]) -> Sequence[ir.Value]:
        x, _, squares = state
        steps = op.Cast(count, to=_type(rate).value)
        slowed = op.Add(op.Mul(steps, _number(op, node, "decay_factor", 0, rate)), op.scalar(1, rate))
        g = _regularised(op, node, state)
        squares = op.Add(squares, op.Mul(g, g))
        root = op.Add(op.Sqrt(squares), _number(op, node, "epsilon", 1e-6, x))
        moved = op.Div(op.Mul(op.Div(rate, slowed), g), root)
        return op.Sub(x, moved), squares

    return _each(op, node, dys, step, 3)


@vjp("Adam", domain=_DOMAIN)
def adam(op: Operators, node: ir.Node, *dys: ir.Value | None) -> tuple[Cotangent, ...]:
    """Through both averages as well."""

    def step(op: Operators, rate: ir.Value, count: ir.Value, state: Sequence[ir.Value]) -> Sequence[ir.Value]:
        x, _, mean, squares = state
        first, second = (_number(op, node, name, n, x) for name, n in (("alpha", 0.9), ("beta", 0.999)))
        one, g = op.scalar(1, x), _regularised(op, node, state)
        mean = op.Add(op.Mul(first, mean), op.Mul(op.Sub(one, first), g))
        squares = op.Add(op.Mul(second, squares), op.Mul(op.Sub(one, second), op.Mul(g, g)))
        root = op.Add(op.Sqrt(squares), _number(op, node, "epsilon", 1e-6, x))
        # At step 0 nothing is corrected, and the correction would divide by zero.
        zero = op.constant(0, ir.DataType.INT64)
        steps = op.Cast(op.Max(count, op.constant(1, ir.DataType.INT64)), to=_type(rate).value)
        like_rate = [op.Cast(value, to=_type(rate).value) for value in (first, second)]
        left = [op.Sub(op.scalar(1, rate), op.Pow(value, steps)) for value in like_rate]
        correction = op.Div(op.Sqrt(left[1]), left[0])
        factor = op.Where(op.Greater(count, zero), correction, op.scalar(1, rate))
        moved = op.Sub(x, op.Div(op.Mul(op.Mul(rate, factor), mean), root))
        kept = op.Sub(one, _number(op, node, "norm_coefficient_post", 0, x))
        return op.Mul(kept, moved), mean, squares

    return _each(op, node, dys, step, 4)


@vjp("Momentum", domain=_DOMAIN)
def momentum(op: Operators, node: ir.Node, *dys: ir.Value | None) -> tuple[Cotangent, ...]:
    """Linear in all but the rate; ``standard`` and ``nesterov``."""

    def step(op: Operators, rate: ir.Value, count: ir.Value, state: Sequence[ir.Value]) -> Sequence[ir.Value]:
        x, _, velocity = state
        g, decay = _regularised(op, node, state), _number(op, node, "alpha", 0, x)
        later = op.Greater(count, op.constant(0, ir.DataType.INT64))
        weight = op.Where(later, _number(op, node, "beta", 0, x), op.scalar(1, x))
        velocity = op.Add(op.Mul(decay, velocity), op.Mul(weight, g))
        nesterov = node.attributes.get_string("mode", "standard") == "nesterov"
        direction = op.Add(g, op.Mul(decay, velocity)) if nesterov else velocity
        return op.Sub(x, op.Mul(rate, direction)), velocity

    return _each(op, node, dys, step, 3)


def _each(
    op: Operators, node: ir.Node, dys: Sequence[ir.Value | None], step: _Step, roles: int
) -> tuple[Cotangent, ...]:
    """All tensors of a node: its inputs are rate and count, then the tensors of each role; so are its outputs."""

    def expansion(inner: Operators, *inputs: ir.Value | None) -> list[ir.Value]:
        rate, count, *state = (value for value in inputs if value is not None)
        tensors = len(state) // roles
        made = [step(inner, rate, count, state[i::tensors]) for i in range(tensors)]
        return [results[role] for role in range(roles - 1) for results in made]

    return through_expansion(op, node, dys, expansion)


def _regularised(op: Operators, node: ir.Node, state: Sequence[ir.Value]) -> ir.Value:
    x, g = state[:2]
    return op.Add(op.Mul(_number(op, node, "norm_coefficient", 0, x), x), g)


def _number(op: Operators, node: ir.Node, name: str, default: float, like: ir.Value) -> ir.Value:
    # The standard's defaults are attributes, too, and so in single precision.
    return op.scalar(node.attributes.get_float(name, float(np.float32(default))), like)


def _type(value: ir.Value) -> ir.DataType:
    assert value.dtype is not None
    return value.dtype
