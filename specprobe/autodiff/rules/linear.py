"""Rules for matrix products and determinants.

A stored matrix is transposed by a node, not here: onnxruntime folds ``Transpose`` of a constant when it loads the
graph, which runs as fast as a stored transpose, leaves the file small, and keeps gradients of gradients with respect
to the matrix.
"""

import numpy as np
import onnx_ir as ir

from specprobe.autodiff.operators import Operators
from specprobe.autodiff.registry import Cotangent, vjp
from specprobe.autodiff.reverse import sum_to_shape
from specprobe.errors import UnsupportedOperator
from specprobe.graph.limits import printable

__all__: list[str] = []

_LARGEST_DETERMINANT = 32
"""Of as many rows: the minors of an n × n matrix hold about n⁴ elements."""


@vjp("Gemm")
def gemm(op: Operators, node: ir.Node, dy: ir.Value) -> tuple[Cotangent, ...]:
    """``y = alpha·A'·B' + beta·C``, where a prime may be a transpose."""
    a, b, *c = node.inputs
    alpha, beta = node.attributes.get_float("alpha", 1.0), node.attributes.get_float("beta", 1.0)
    left, right = node.attributes.get_int("transA", 0), node.attributes.get_int("transB", 0)

    def da() -> ir.Value:
        if left:
            return op.Gemm(b, dy, alpha=alpha, transA=right, transB=1)
        return op.Gemm(dy, b, alpha=alpha, transB=1 - right)

    def db() -> ir.Value:
        if right:
            return op.Gemm(dy, a, alpha=alpha, transA=1, transB=left)
        return op.Gemm(a, dy, alpha=alpha, transA=1 - left)

    def dc(value: ir.Value) -> ir.Value:
        summed = sum_to_shape(op, dy, value, node.outputs[0])
        return summed if beta == 1 else op.Mul(summed, op.scalar(beta, dy))

    return da, db, *(None if value is None else lambda value=value: dc(value) for value in c)


@vjp("MatMul")
def matmul(op: Operators, node: ir.Node, dy: ir.Value) -> tuple[Cotangent, ...]:
    """``da = dy·bᵀ``, ``db = aᵀ·dy`` for vectors, matrices and stacks of matrices."""
    a, b = node.inputs
    (y,) = node.outputs
    assert a is not None
    assert b is not None
    assert a.shape is not None
    assert b.shape is not None
    left, right = len(a.shape), len(b.shape)
    if left == 1 and right == 1:
        return lambda: op.Mul(dy, b), lambda: op.Mul(dy, a)

    def da() -> ir.Value:
        if right == 1:
            return op.Mul(op.Unsqueeze(dy, op.ints([-1])), b)
        if left > 1:
            return _sum_stack(op, op.MatMul(dy, _transposed(op, b)), a, y)
        if right == 2:
            return op.MatMul(b, dy)
        column = op.MatMul(b, op.Unsqueeze(dy, op.ints([-1])))
        return op.ReduceSum(column, op.ints([*range(right - 2), right - 1]), keepdims=0)

    def db() -> ir.Value:
        if left == 1:
            return op.Mul(op.Unsqueeze(a, op.ints([-1])), op.Unsqueeze(dy, op.ints([-2])))
        if right > 2 or left == right == 2:
            return _sum_stack(op, op.MatMul(_transposed(op, a), dy), b, y)
        rows = a if left == 2 else op.Flatten(a, axis=left - 1)
        if right == 1:
            return op.MatMul(dy if left == 2 else op.Reshape(dy, op.ints([-1])), rows)
        return op.Gemm(rows, op.Flatten(dy, axis=left - 1), transA=1)

    return da, db


def _transposed(op: Operators, value: ir.Value) -> ir.Value:
    rank = len(value.shape or [])
    return op.Transpose(value, perm=[*range(rank - 2), rank - 1, rank - 2])


def _sum_stack(op: Operators, dx: ir.Value, x: ir.Value, y: ir.Value) -> ir.Value:
    """Sum ``dx``, a stack of matrices of the size of ``x``, over the stacked axes that ``x`` was repeated along."""
    if x.shape is None or y.shape is None:
        return sum_to_shape(op, dx, x, y)
    stacked = ir.Value(name="", shape=ir.Shape([*list(y.shape)[:-2], *list(x.shape)[-2:]]))
    return sum_to_shape(op, dx, x, stacked)


@vjp("Det")
def determinant(op: Operators, node: ir.Node, dy: ir.Value) -> tuple[Cotangent, ...]:
    """The cofactors, by the determinants of all minors: exact for singular matrices, too."""
    (x,) = node.inputs
    assert x is not None
    assert x.shape is not None
    size = next((d for d in list(x.shape)[-2:] if isinstance(d, int)), None)
    if size is None or size > _LARGEST_DETERMINANT:
        msg = (
            f"Det '{printable(str(node.name))}' has matrices of {size or 'an open number of'} rows; its gradient can "
            f"be built for up to {_LARGEST_DETERMINANT}"
        )
        raise UnsupportedOperator(msg)
    if size == 1:
        return (op.reshape_like(dy, x),)
    rank = len(x.shape)
    others = op.constant([[i for i in range(size) if i != left] for left in range(size)], ir.DataType.INT64)
    rows = op.Gather(x, others, axis=rank - 2)
    minors = op.Gather(rows, others, axis=rank)  # (…, row left out, rows, column left out, columns)
    perm = [*range(rank - 2), rank - 2, rank, rank - 1, rank + 1]
    checkerboard = (-1.0) ** np.add.outer(np.arange(size), np.arange(size))
    cofactors = op.Mul(op.Det(op.Transpose(minors, perm=perm)), op.constant(checkerboard, x.dtype))
    return (op.Mul(cofactors, op.Unsqueeze(dy, op.ints([-2, -1]))),)
