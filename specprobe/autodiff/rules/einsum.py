"""Rule for Einstein sums: the cotangent of an operand is an Einstein sum of the others."""

import string
from typing import NamedTuple

import onnx_ir as ir

from specprobe.autodiff.operators import Operators
from specprobe.autodiff.registry import Cotangent, vjp
from specprobe.autodiff.reverse import sum_to_shape
from specprobe.errors import UnsupportedOperator
from specprobe.graph.limits import printable

__all__: list[str] = []


class _Equation(NamedTuple):
    """One letter an axis; the axes behind an ellipsis have letters of their own, ``hidden``."""

    operands: list[str]
    output: str
    hidden: str


@vjp("Einsum")
def einsum(op: Operators, node: ir.Node, dy: ir.Value) -> tuple[Cotangent, ...]:
    """Any equation: sums, diagonals, ellipses, axes of one element that are repeated."""
    equation = _parse(node)
    return tuple(lambda i=i: _operand(op, node, equation, dy, i) for i in range(len(node.inputs)))


def _operand(op: Operators, node: ir.Node, equation: _Equation, dy: ir.Value, i: int) -> ir.Value:
    x, own = node.inputs[i], equation.operands[i]
    assert x is not None
    assert x.shape is not None
    others = [
        (v, term) for k, (v, term) in enumerate(zip(node.inputs, equation.operands, strict=True)) if k != i
    ]
    elsewhere = equation.output + "".join(term for _, term in others)
    # An axis of one element that is repeated is summed over, like one that the operand does not have.
    single = {letter for letter, size in zip(own, x.shape, strict=True) if size == 1}
    letters = list(dict.fromkeys(own))
    kept = [letter for letter in letters if letter in elsewhere and letter not in single]
    terms = ",".join([equation.output, *(term for _, term in others)])
    dx = op.Einsum(dy, *(v for v, _ in others), equation=f"{terms}->{''.join(kept)}")
    # What was summed out of the operand alone comes back by repetition, a diagonal by a mask.
    firsts = {own.index(letter) for letter in kept}
    missing = [axis for axis in range(len(own)) if axis not in firsts]
    if not missing:
        return _summed(op, node, equation, dx, i)
    dx = op.Expand(op.Unsqueeze(dx, op.ints(missing)), op.shape_of(x))
    for axis, letter in enumerate(own):
        first = own.index(letter)
        if axis != first:
            dx = op.Where(_diagonal(op, x, first, axis, len(own)), dx, op.scalar(0, dx))
    return _summed(op, node, equation, dx, i)


def _summed(op: Operators, node: ir.Node, equation: _Equation, dx: ir.Value, i: int) -> ir.Value:
    """Axes behind an ellipsis whose size is open may turn out to have been repeated; letters have one size each."""
    sizes: dict[str, list[object]] = {}
    for value, term in zip(node.inputs, equation.operands, strict=True):
        for letter, size in zip(term, (value.shape or ()) if value is not None else (), strict=True):
            sizes.setdefault(letter, []).append(size)
    x = node.inputs[i]
    assert x is not None
    assert x.shape is not None
    widest = list(x.shape)
    for axis, letter in enumerate(equation.operands[i]):
        size = x.shape[axis]
        same = all(
            other == size and not (isinstance(size, ir.SymbolicDim) and size.value is None)
            for other in sizes[letter]
        )
        if letter in equation.hidden and len(sizes[letter]) > 1 and not isinstance(size, int) and not same:
            widest[axis] = ir.SymbolicDim(None)
    if widest == list(x.shape):
        return dx
    return sum_to_shape(op, dx, x, ir.Value(name="", shape=ir.Shape(widest)))


def _diagonal(op: Operators, x: ir.Value, first: int, second: int, rank: int) -> ir.Value:
    """Mask of equal positions along two axes."""
    zero, one = op.constant(0, ir.DataType.INT64), op.constant(1, ir.DataType.INT64)
    positions = []
    for axis in (first, second):
        count = op.Squeeze(op.dim(x, axis), op.ints([0]))
        places = [a for a in range(rank) if a != axis]
        positions.append(op.Unsqueeze(op.Range(zero, count, one), op.ints(places)))
    return op.Equal(*positions)


def _parse(node: ir.Node) -> _Equation:
    text = node.attributes.get_string("equation", "") or ""
    left, arrow, right = text.replace(" ", "").partition("->")
    terms = left.split(",")
    spare = [letter for letter in string.ascii_letters if letter not in text]
    ranks = [None if v is None or v.shape is None else len(v.shape) for v in node.inputs]
    hidden = [
        rank - len(term.replace("...", "")) if rank is not None and "..." in term else 0
        for rank, term in zip(ranks, terms, strict=False)
    ]
    most = max(hidden, default=0)
    dots = "".join(spare[:most])
    operands = [
        term.replace("...", dots[len(dots) - count :]) for term, count in zip(terms, hidden, strict=False)
    ]
    if arrow:
        output = right.replace("...", dots)
    else:
        named = left.replace("...", "")
        output = dots + "".join(sorted(c for c in set(named) - {","} if named.count(c) == 1))
    fits = len(terms) == len(ranks) and all(
        rank == len(term) for rank, term in zip(ranks, operands, strict=False)
    )
    named_all = set("".join(operands))
    if not fits or most > len(spare) or len(set(output)) != len(output) or not set(output) <= named_all:
        msg = (
            f"Einsum '{printable(str(node.name))}' has the equation '{printable(text)}' for operands of rank {ranks}; "
            "its gradient can be built where each term has one letter an axis and the output none twice"
        )
        raise UnsupportedOperator(msg)
    return _Equation(operands, output, dots)
