"""Rule for normalisation by the squares of neighbouring channels."""

import onnx_ir as ir

from specprobe.autodiff.operators import Operators
from specprobe.autodiff.registry import Cotangent, vjp

__all__: list[str] = []


@vjp("LRN")
def local_response_normalization(op: Operators, node: ir.Node, dy: ir.Value) -> tuple[Cotangent, ...]:
    """With ``D = bias + α mean(x²)`` and ``y = x D^−β``: ``dy D^−β − 2αβ x mean'(dy y / D)``."""
    (x,) = node.inputs
    (y,) = node.outputs
    assert x is not None
    size = node.attributes.get_int("size", 1)
    alpha = node.attributes.get_float("alpha", 1e-4)
    beta = node.attributes.get_float("beta", 0.75)
    bias = node.attributes.get_float("bias", 1.0)
    before, after = (size - 1) // 2, size // 2
    squares = _mean_of_channels(op, op.Mul(x, x), x, size, before, after)
    divisor = op.Add(op.Mul(squares, op.scalar(alpha, x)), op.scalar(bias, x))
    direct = op.Mul(dy, op.Pow(divisor, op.scalar(-beta, x)))
    through = _mean_of_channels(op, op.Div(op.Mul(dy, y), divisor), x, size, after, before)
    return (op.Sub(direct, op.Mul(op.Mul(x, through), op.scalar(2 * alpha * beta, x))),)


def _mean_of_channels(
    op: Operators, value: ir.Value, x: ir.Value, size: int, before: int, after: int
) -> ir.Value:
    """Mean over ``size`` channels around each one; channels that do not exist count as zeros."""
    assert x.shape is not None
    stacked = op.Unsqueeze(value, op.ints([1] if len(x.shape) > 2 else [1, 3]))
    image = op.Reshape(stacked, op.ints([0, 0, 0, -1]))
    mean = op.AveragePool(image, kernel_shape=[size, 1], pads=[before, 0, after, 0], count_include_pad=1)
    return op.reshape_like(mean, x)
