"""Rules for running sums and products, and the scans that these are made of."""

from typing import NamedTuple

import onnx_ir as ir

from specprobe.autodiff.operators import Operators
from specprobe.autodiff.registry import Cotangent, vjp
from specprobe.errors import UnsupportedOperator
from specprobe.graph.limits import printable

__all__ = ["Along", "exclusive_product"]


class Along(NamedTuple):
    """One axis of a tensor, from 0; how many axes there are; how long this one is."""

    axis: int
    rank: int
    length: int


@vjp("CumSum")
def cumulative_sum(op: Operators, node: ir.Node, dy: ir.Value) -> tuple[Cotangent, ...]:
    """The running sum from the other end."""
    axis = node.inputs[1]
    exclusive, reverse = (node.attributes.get_int(name, 0) for name in ("exclusive", "reverse"))
    return op.CumSum(dy, axis, exclusive=exclusive, reverse=1 - reverse), None


@vjp("CumProd")
def cumulative_product(op: Operators, node: ir.Node, dy: ir.Value) -> tuple[Cotangent, ...]:
    """Product before each element times a scan from the other end: no division, exact also at 0."""
    x, given = node.inputs
    assert x is not None
    assert x.shape is not None
    exclusive, reverse = (bool(node.attributes.get_int(name, 0)) for name in ("exclusive", "reverse"))
    known = op.known(given)
    axis = None if known is None else int(known.reshape(-1)[0]) % len(x.shape)
    length = None if axis is None else x.shape[axis]
    if axis is None or not isinstance(length, int):
        msg = (
            f"CumProd '{printable(str(node.name))}' has an axis that is computed or whose length is open; its gradient "
            "needs both to be constant"
        )
        raise UnsupportedOperator(msg)
    along = Along(axis, len(x.shape), length)
    before = op.CumProd(x, given, exclusive=1, reverse=int(reverse))

    def next_one(value: ir.Value, by: int) -> ir.Value:
        return _shifted(op, value, along, by, fill=0, reverse=not reverse)

    # With y_i = Π_{j ≤ i} x_j: dx_j = Π_{k < j} x_k · s_j, where s_j = dy_j + x_{j+1} s_{j+1}.
    total = next_one(dy, 1) if exclusive else dy
    factor = next_one(x, 1)
    step = 1
    while step < length:
        total = op.Add(total, op.Mul(factor, next_one(total, step)))
        if 2 * step < length:
            factor = op.Mul(factor, next_one(factor, step))
        step *= 2
    return op.Mul(before, total), None


def exclusive_product(op: Operators, value: ir.Value, along: Along, /, *, reverse: bool) -> ir.Value:
    """Product of all elements before each one, by doubling.

    Parameters
    ----------
    op : Operators
        Emits.
    value : onnx_ir.Value
        Factors.
    along : Along
        The axis.
    reverse : bool
        Of all elements behind each one instead.

    Returns
    -------
    onnx_ir.Value
        Of the shape of ``value``; 1 for the first element.
    """
    product, step = _shifted(op, value, along, 1, fill=1, reverse=reverse), 1
    while step < along.length:
        product = op.Mul(product, _shifted(op, product, along, step, fill=1, reverse=reverse))
        step *= 2
    return product


def _shifted(
    op: Operators, value: ir.Value, along: Along, by: int, *, fill: float, reverse: bool
) -> ir.Value:
    """``value`` moved towards the end of the axis, or its beginning; ``fill`` moves in."""
    axis, rank, length = along
    by = min(by, length)
    first, last = (by, length) if reverse else (0, length - by)
    rest = op.Slice(value, op.ints([first]), op.ints([last]), op.ints([axis]))
    # All axes are listed: onnxruntime 1.31 misreads the axes of a Pad behind a Transpose.
    pads = [0] * (2 * rank)
    pads[axis + rank * reverse] = by
    return op.Pad(rest, op.ints(pads), op.scalar(fill, value))
