"""Rules for operators that write into a tensor.

Where nothing is reduced, ONNX forbids an index that names a place twice, and so no gradient is defined for it.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import onnx_ir as ir

from specprobe.autodiff.operators import Operators
from specprobe.autodiff.registry import Cotangent, vjp
from specprobe.autodiff.rules.shape import Size, joined, product_of, rank_of, size_of
from specprobe.errors import UnsupportedOperator

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["flat_index", "scattered", "scattered_along"]

_HALF = frozenset({ir.DataType.FLOAT16, ir.DataType.BFLOAT16})


def scattered(
    op: Operators, data: ir.Value, index: ir.Value, updates: ir.Value, /, *, axis: int, reduction: str
) -> ir.Value:
    """``ScatterElements``, in float32 for 16-bit numbers: onnxruntime's CPU kernels do not reduce those.

    Parameters
    ----------
    op : Operators
        Emits.
    data, index, updates : onnx_ir.Value
        Inputs of the operator. Unlike ``ScatterND``, whose threads race in onnxruntime, it adds duplicates rightly.
    axis : int
        That the index counts along.
    reduction : {"none", "add", "mul", "max", "min"}
        How updates meet what is there.

    Returns
    -------
    onnx_ir.Value
        Of the shape and type of ``data``.
    """
    dtype = data.dtype
    if dtype not in _HALF or reduction == "none":
        return op.ScatterElements(data, index, updates, axis=axis, reduction=reduction)
    wide = ir.DataType.FLOAT.value
    data, updates = op.Cast(data, to=wide), op.Cast(updates, to=wide)
    assert dtype is not None
    made = op.ScatterElements(data, index, updates, axis=axis, reduction=reduction)
    return op.Cast(made, to=dtype.value)


def scattered_along(
    op: Operators,
    dy: ir.Value,
    index: ir.Value,
    shape: ir.Value,
    /,
    *,
    axis: int,
    rank: int,
    unique: bool = False,
) -> ir.Value:
    """Adjoint of ``Gather`` with a 1-D index that may hold duplicates.

    Parameters
    ----------
    op : Operators
        Emits.
    dy : onnx_ir.Value
        Of that shape but for ``axis``.
    index : onnx_ir.Value
        1-D, as long as ``dy`` along ``axis``.
    shape : onnx_ir.Value
        Of what was gathered from.
    axis, rank : int
        That the index counts along, and how many there are.
    unique : bool
        Whether nothing occurs twice.

    Returns
    -------
    onnx_ir.Value
        Of that shape.
    """
    column = op.Reshape(index, op.ints([-1 if i == axis else 1 for i in range(rank)]))
    spread = op.Expand(column, op.Shape(dy))
    zeros = op.Expand(op.scalar(0, dy), shape)
    return scattered(op, zeros, spread, dy, axis=axis, reduction="none" if unique else "add")


def flat_index(
    op: Operators, node: ir.Node, x: ir.Value, index: ir.Value, /, *, batch: int = 0
) -> tuple[ir.Value, Size]:
    """Rows that the index of ``GatherND`` and ``ScatterND`` names, where ``x`` is seen as a table.

    Parameters
    ----------
    op : Operators
        Emits.
    node : onnx_ir.Node
        Named where it is refused.
    x, index : onnx_ir.Value
        Its inputs.
    batch : int
        Leading axes that both share.

    Returns
    -------
    rows : onnx_ir.Value
        (M, 1), int64.
    width : int or onnx_ir.Value
        Of the table.

    Raises
    ------
    UnsupportedOperator
        If the index leaves open how many axes it counts along.
    """
    rank, index_rank = rank_of(node, x), rank_of(node, index)
    assert index.shape is not None
    depth = index.shape[-1]
    if not isinstance(depth, int):
        msg = (
            f"{node.op_type} '{node.name}' has an index whose last axis is open; its gradient needs it known"
        )
        raise UnsupportedOperator(msg)
    index = op.Cast(index, to=ir.DataType.INT64.value)
    zero, one = (op.constant(i, ir.DataType.INT64) for i in (0, 1))
    rows = zero
    for axis in range(batch + depth):
        size = joined(op, [size_of(op, x, axis)])
        if axis < batch:
            numbers = op.Range(zero, op.Squeeze(size), one)
            place = op.Reshape(numbers, op.ints([-1 if i == axis else 1 for i in range(index_rank - 1)]))
        else:
            picked = op.Gather(index, op.constant(axis - batch, ir.DataType.INT64), axis=index_rank - 1)
            place = op.Where(op.Less(picked, zero), op.Add(picked, size), picked)
            if index_rank == 1:
                place = op.Reshape(place, op.ints([1]))
        rows = place if axis == 0 else op.Add(op.Mul(rows, size), place)
    return op.Reshape(rows, op.ints([-1, 1])), product_of(
        op, [size_of(op, x, i) for i in range(batch + depth, rank)]
    )


@vjp("ScatterElements")
def scatter_elements(op: Operators, node: ir.Node, dy: ir.Value) -> tuple[Cotangent, ...]:
    """For the data and for the updates; among equal maxima or minima in equal shares, as in PyTorch."""
    data, index, updates = node.inputs
    (y,) = node.outputs
    assert data is not None
    assert index is not None
    assert updates is not None
    axis = node.attributes.get_int("axis", 0)
    reduction = node.attributes.get_string("reduction", "none")
    if reduction == "add":
        return dy, None, lambda: op.GatherElements(dy, index, axis=axis)
    if reduction == "none":
        return (
            lambda: op.ScatterElements(dy, index, op.zeros_like(updates), axis=axis),
            None,
            lambda: op.GatherElements(dy, index, axis=axis),
        )
    meeting = _Meeting(op=op, data=data, index=index, updates=updates, axis=axis)
    ddata, dupdates = meeting.product(dy) if reduction == "mul" else meeting.extremum(y, dy)
    return ddata, None, dupdates


@vjp("ScatterND")
def scatter_nd(op: Operators, node: ir.Node, dy: ir.Value) -> tuple[Cotangent, ...]:
    """For the data and for the updates; among equal maxima or minima in equal shares, as in PyTorch."""
    data, index, updates = node.inputs
    (y,) = node.outputs
    assert data is not None
    assert index is not None
    assert updates is not None
    reduction = node.attributes.get_string("reduction", "none")
    if reduction == "add":
        return dy, None, lambda: op.GatherND(dy, index)
    if reduction == "none":
        return (
            lambda: op.ScatterND(dy, index, op.zeros_like(updates)),
            None,
            lambda: op.GatherND(dy, index),
        )
    # As rows of a table, so that one rule serves both operators; onnxruntime's ScatterND also loses duplicates.
    rows, width = flat_index(op, node, data, index)
    shape = joined(op, [-1, width])
    table, changes, result, arriving = (op.Reshape(v, shape) for v in (data, updates, y, dy))
    spread = op.Expand(rows, op.Shape(changes))
    meeting = _Meeting(op=op, data=table, index=spread, updates=changes, axis=0)
    halves = meeting.product(arriving) if reduction == "mul" else meeting.extremum(result, arriving)
    ddata, dupdates = halves
    return lambda: op.reshape_like(ddata(), data), None, lambda: op.reshape_like(dupdates(), updates)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Meeting:
    """Updates that meet what is there, and one another, along ``axis``."""

    op: Operators
    data: ir.Value
    index: ir.Value
    updates: ir.Value
    axis: int

    def _gathered(self, value: ir.Value) -> ir.Value:
        return self.op.GatherElements(value, self.index, axis=self.axis)

    def _scattered(self, value: ir.Value, updates: ir.Value, reduction: str) -> ir.Value:
        return scattered(self.op, value, self.index, updates, axis=self.axis, reduction=reduction)

    def _filled(self, number: float) -> ir.Value:
        return self.op.Expand(self.op.scalar(number, self.data), self.op.shape_of(self.data))

    def product(self, dy: ir.Value) -> "tuple[Callable[[], ir.Value], Callable[[], ir.Value]]":
        """Each factor gets the product of the others; exact also where factors are 0."""
        op, updates = self.op, self.updates

        def ddata() -> ir.Value:
            return op.Mul(dy, self._scattered(self._filled(1), updates, "mul"))

        def dupdates() -> ir.Value:
            zero, one = op.scalar(0, updates), op.scalar(1, updates)
            vanishing = op.Equal(updates, zero)
            factor = op.Where(vanishing, one, updates)
            count = op.Where(vanishing, one, zero)
            others = op.Sub(self._gathered(self._scattered(self._filled(0), count, "add")), count)
            product = op.Div(self._gathered(self._scattered(self.data, factor, "mul")), factor)
            alone = op.Where(op.Greater(others, zero), zero, product)
            return op.Mul(self._gathered(dy), alone)

        return ddata, dupdates

    def extremum(self, y: ir.Value, dy: ir.Value) -> "tuple[Callable[[], ir.Value], Callable[[], ir.Value]]":
        """Those that equal the result share it."""
        op = self.op
        zero, one = op.scalar(0, self.data), op.scalar(1, self.data)
        stayed = op.Where(op.Equal(self.data, y), one, zero)
        arrived = op.Where(op.Equal(self.updates, self._gathered(y)), one, zero)
        share = op.Div(dy, self._scattered(stayed, arrived, "add"))
        return lambda: op.Mul(share, stayed), lambda: op.Mul(self._gathered(share), arrived)


@vjp("TensorScatter")
def tensor_scatter(op: Operators, node: ir.Node, dy: ir.Value) -> tuple[Cotangent, ...]:
    """For the cache what was not overwritten, for the update what it wrote."""
    cache, update, *starts = node.inputs
    assert cache is not None
    assert update is not None
    rank = rank_of(node, cache)
    axis = node.attributes.get_int("axis", -2) % rank
    mode = node.attributes.get_string("mode", "linear")

    def dupdate() -> ir.Value:
        zero, one = (op.constant(i, ir.DataType.INT64) for i in (0, 1))
        length = op.Squeeze(joined(op, [size_of(op, update, axis)]))
        numbers = op.Range(zero, length, one)
        place = op.Reshape(numbers, op.ints([-1 if i == axis else 1 for i in range(rank)]))
        if starts and starts[0] is not None:
            first = op.Cast(starts[0], to=ir.DataType.INT64.value)
            place = op.Add(place, op.Reshape(first, op.ints([-1 if i == 0 else 1 for i in range(rank)])))
        if mode == "circular":
            place = op.Mod(place, joined(op, [size_of(op, cache, axis)]))
        return op.GatherElements(dy, op.Expand(place, op.shape_of(update)), axis=axis)

    def dcache() -> ir.Value:
        return op.TensorScatter(dy, op.zeros_like(update), *starts, axis=axis, mode=mode)

    return dcache, dupdate, *(None for _ in starts)
