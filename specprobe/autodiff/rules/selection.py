"""Rules for operators that pick elements: what was picked gets the cotangent, the rest gets zero."""

import numpy as np
import onnx_ir as ir

from specprobe.autodiff.operators import Operators
from specprobe.autodiff.registry import Cotangent, vjp
from specprobe.autodiff.rules.scatter import flat_index, scattered, scattered_along
from specprobe.autodiff.rules.shape import Size, arranged, joined, padded, product_of, rank_of, size_of

__all__: list[str] = []

_FAR = np.iinfo(np.int64).max
_MOST_COPIES = 4
"""Up to so many uses of one element, as many gathers are faster than a scatter."""


@vjp("Slice")
def slice_(op: Operators, node: ir.Node, dy: ir.Value) -> tuple[Cotangent, ...]:
    """Put back where it was cut out, zeros around and between."""
    x, starts, *rest = node.inputs
    (y,) = node.outputs
    assert x is not None
    assert starts is not None
    rank = None if x.shape is None else len(x.shape)
    axes_input = rest[1] if len(rest) > 1 else None
    steps_input = rest[2] if len(rest) > 2 else None
    start, axes, steps = op.known(starts), op.known(axes_input), op.known(steps_input)

    def dx() -> ir.Value:
        if (axes is None and axes_input is not None) or (steps is None and steps_input is not None):
            return _unsliced_anywhere(op, dy, x, y, starts, axes_input, steps_input, rank_of(node, x))
        if axes is not None:
            along = [int(a) if rank is None else int(a) % rank for a in axes.reshape(-1)]
        else:  # the first ones are meant, as many as there are starts
            count = None if starts.shape is None else starts.shape[0]
            if not isinstance(count, int):
                return _unsliced_anywhere(op, dy, x, y, starts, None, steps_input, rank_of(node, x))
            along = list(range(count))
        by = [1] * len(along) if steps is None else [int(s) for s in steps.reshape(-1)]
        firsts = starts if start is None else [int(s) for s in start.reshape(-1)]
        return _unsliced(op, dy, x, y, firsts, along, by, rank)

    return dx, None, *(None for _ in rest)


def _unsliced(
    op: Operators,
    dy: ir.Value,
    x: ir.Value,
    y: ir.Value,
    starts: list[int] | ir.Value,
    axes: list[int],
    steps: list[int],
    rank: int | None,
) -> ir.Value:
    """Adjoint of ``Slice`` along known axes with known steps."""
    sizes = [size_of(op, x, axis) for axis in axes]
    lengths = [size_of(op, y, axis) if y.shape is not None else op.dim(y, axis) for axis in axes]
    if isinstance(starts, list) and all(isinstance(n, int) for n in (*sizes, *lengths)):
        fixed = [n for n in sizes if isinstance(n, int)], [n for n in lengths if isinstance(n, int)]
        return _unsliced_static(op, dy, starts, axes, steps, *fixed, y, rank)
    start = op.ints(starts) if isinstance(starts, list) else op.Cast(starts, to=ir.DataType.INT64.value)
    back = [axis for axis, step in zip(axes, steps, strict=True) if step < 0]
    dy = _reversed(op, dy, back)
    dy = _dilated(op, dy, y, axes, [abs(step) for step in steps])
    size, length = joined(op, sizes), joined(op, lengths)
    return _placed(op, dy, start, axes, op.ints(steps), size, length, rank)


def _unsliced_static(
    op: Operators,
    dy: ir.Value,
    starts: list[int],
    axes: list[int],
    steps: list[int],
    sizes: list[int],
    lengths: list[int],
    y: ir.Value,
    rank: int | None,
) -> ir.Value:
    """All in numbers: one ``Pad`` where every step is 1."""
    apart = [min(abs(step), max(size, 1)) for step, size in zip(steps, sizes, strict=True)]
    dy = _reversed(op, dy, [axis for axis, step in zip(axes, steps, strict=True) if step < 0])
    dy = _dilated(op, dy, y, axes, apart)
    before, after, keep = [], [], []
    for i, (start, step, size, length) in enumerate(zip(starts, steps, sizes, lengths, strict=True)):
        first = slice(start, None, step).indices(size)[0]
        low = first if step > 0 else first + (length - 1) * step
        low = min(max(low, 0), size)
        keep.append(min(length * apart[i], size - low))
        before.append(low)
        after.append(size - low - keep[-1])
    long = [i for i in range(len(axes)) if keep[i] < lengths[i] * apart[i]]
    if long:
        zeros, stops, along = ([row[i] for i in long] for row in ([0] * len(axes), keep, axes))
        dy = op.Slice(dy, op.ints(zeros), op.ints(stops), op.ints(along))
    if not any(before) and not any(after):
        return dy
    return padded(op, dy, rank, axes, [*before, *after])


def _reversed(op: Operators, dy: ir.Value, axes: list[int]) -> ir.Value:
    if not axes:
        return dy
    ends = [op.ints([n] * len(axes)) for n in (-1, -_FAR, -1)]
    return op.Slice(dy, ends[0], ends[1], op.ints(axes), ends[2])


def _dilated(op: Operators, dy: ir.Value, y: ir.Value, axes: list[int], steps: list[int]) -> ir.Value:
    """``step − 1`` zeros behind each element."""
    stretched = sorted((axis, step) for axis, step in zip(axes, steps, strict=True) if step > 1)
    if not stretched:
        return dy
    assert y.shape is not None
    behind = [axis + 1 + i for i, (axis, _) in enumerate(stretched)]
    zeros = [*(0 for _ in stretched), *(step - 1 for _, step in stretched)]
    parted = padded(op, op.Unsqueeze(dy, op.ints(behind)), len(y.shape) + len(behind), behind, zeros)
    factors = dict(stretched)
    shape: list[Size] = []
    for axis in range(len(y.shape)):
        size, factor = size_of(op, y, axis), factors.get(axis, 1)
        if isinstance(size, int) or factor == 1:
            shape.append(size * factor if isinstance(size, int) else size)
        else:
            shape.append(op.Mul(size, op.ints([factor])))
    return arranged(op, parted, shape)


def _placed(
    op: Operators,
    dy: ir.Value,
    start: ir.Value,
    axes: list[int],
    steps: ir.Value,
    size: ir.Value,
    length: ir.Value,
    rank: int | None,
) -> ir.Value:
    """Zeros before and behind what is reversed and dilated already; all vectors are of one number an axis."""
    zero, one = op.ints([0]), op.ints([1])
    back = op.Less(steps, zero)
    start = op.Where(op.Less(start, zero), op.Add(start, size), start)
    start = op.Max(op.Min(start, op.Where(back, op.Sub(size, one), size)), zero)
    lowest = op.Where(back, op.Add(start, op.Mul(op.Sub(length, one), steps)), start)
    lowest = op.Max(op.Min(lowest, size), zero)  # an empty slice may start behind the end
    room = op.Sub(size, lowest)
    span = op.Min(op.Mul(length, op.Abs(steps)), room)
    cut = op.Slice(dy, op.Mul(span, zero), span, op.ints(axes))
    return padded(op, cut, rank, axes, op.Concat(lowest, op.Sub(room, span), axis=0))


def _unsliced_anywhere(
    op: Operators,
    dy: ir.Value,
    x: ir.Value,
    y: ir.Value,
    starts: ir.Value,
    axes: ir.Value | None,
    steps: ir.Value | None,
    rank: int,
) -> ir.Value:
    """Adjoint of ``Slice`` with computed axes or steps: every axis is treated as sliced."""
    count = op.Shape(starts)
    if axes is None:
        first, by = (op.constant(i, ir.DataType.INT64) for i in (0, 1))
        axes = op.Range(first, op.Squeeze(count), by)
    numbers = [op.ints([n] * rank) for n in (0, 1)]
    given = [op.Expand(op.ints([1]), count) if steps is None else steps, starts]
    step, start = (
        op.ScatterElements(base, axes, op.Cast(v, to=ir.DataType.INT64.value), axis=0)
        for base, v in zip(reversed(numbers), given, strict=True)
    )
    zero, one, every = op.ints([0]), op.ints([1]), list(range(rank))
    back = op.Less(step, zero)
    first, stop = (op.Where(back, op.ints([a]), op.ints([b])) for a, b in ((-1, 0), (-_FAR, _FAR)))
    dy = op.Slice(dy, first, stop, op.ints(every), op.Where(back, op.ints([-1]), one))
    size, length = op.shape_of(x), op.Shape(y)
    apart = op.Min(op.Abs(step), op.Max(size, one))
    lists = [op.Unsqueeze(v, one) for v in (length, numbers[1], numbers[0], op.Sub(apart, one))]
    flat = op.ints([-1])
    dy = op.Reshape(dy, op.Reshape(op.Concat(*lists[:2], axis=1), flat), allowzero=1)
    behind = op.Reshape(op.Concat(*lists[2:], axis=1), flat)
    dy = op.Pad(dy, op.Concat(op.ints([0] * (2 * rank)), behind, axis=0), op.scalar(0, dy))
    dy = op.Reshape(dy, op.Mul(length, apart), allowzero=1)
    return _placed(op, dy, start, every, step, size, length, rank)


@vjp("Gather")
def gather(op: Operators, node: ir.Node, dy: ir.Value) -> tuple[Cotangent, ...]:
    """Sum of all that was picked from each place."""
    x, index = node.inputs
    assert x is not None
    assert index is not None
    rank, index_rank = rank_of(node, x), rank_of(node, index)
    axis = node.attributes.get_int("axis", 0) % rank

    def dx() -> ir.Value:
        listed = dy
        if index_rank == 0:
            listed = op.Unsqueeze(dy, op.ints([axis]))
        elif index_rank > 1:
            around = [size_of(op, x, i) for i in range(rank)]
            inside = [size_of(op, index, i) for i in range(index_rank)]
            count = product_of(op, inside)
            listed = arranged(op, dy, [*around[:axis], count, *around[axis + 1 :]])
        known = op.known(index)
        if known is not None:
            made = _gathered(op, listed, x, [int(i) for i in known.reshape(-1)], axis, rank)
            if made is not None:
                return made
        return scattered_along(
            op, listed, op.Reshape(index, op.ints([-1])), op.shape_of(x), axis=axis, rank=rank
        )

    return dx, None


def _gathered(
    op: Operators, dy: ir.Value, x: ir.Value, index: list[int], axis: int, rank: int
) -> ir.Value | None:
    """Adjoint of ``Gather`` with a known 1-D index; None where a scatter is the better way."""
    size = size_of(op, x, axis)
    run = bool(index) and index == list(range(index[0], index[0] + len(index)))
    if run and (index[0] >= 0 or index[-1] < 0):
        first: Size = index[0]
        if index[0] < 0:
            first = size + index[0] if isinstance(size, int) else op.Add(size, op.ints([index[0]]))
        rest: Size = -index[-1] - 1
        if index[0] >= 0:
            rest = size - index[-1] - 1 if isinstance(size, int) else op.Sub(size, op.ints([index[-1] + 1]))
        if first == rest == 0:
            return dy
        return padded(op, dy, rank, [axis], [first, rest])
    if not isinstance(size, int) or not index or max(index) >= size or min(index) < -size:
        return None
    uses: list[list[int]] = [[] for _ in range(size)]
    for place, i in enumerate(index):
        uses[i].append(place)
    copies = max(map(len, uses))
    if copies > _MOST_COPIES:
        return None
    if min(map(len, uses)) < copies:  # places that nothing was picked from read a row of zeros at the end
        dy = padded(op, dy, rank, [axis], [0, 1])
    rows = [[use[k] if k < len(use) else len(index) for use in uses] for k in range(copies)]
    parts = [op.Gather(dy, op.ints(row), axis=axis) for row in rows]
    return parts[0] if copies == 1 else op.Sum(*parts)


@vjp("GatherElements")
def gather_elements(op: Operators, node: ir.Node, dy: ir.Value) -> tuple[Cotangent, ...]:
    """Sum of all that was picked from each place."""
    x, index = node.inputs
    assert x is not None
    assert index is not None
    axis = node.attributes.get_int("axis", 0)
    return lambda: scattered(op, op.zeros_like(x), index, dy, axis=axis, reduction="add"), None


@vjp("GatherND")
def gather_nd(op: Operators, node: ir.Node, dy: ir.Value) -> tuple[Cotangent, ...]:
    """Sum of all that was picked from each place."""
    x, index = node.inputs
    assert x is not None
    assert index is not None
    batch = node.attributes.get_int("batch_dims", 0)

    def dx() -> ir.Value:
        rows, width = flat_index(op, node, x, index, batch=batch)
        table = op.Reshape(op.zeros_like(x), joined(op, [-1, width]), allowzero=0)
        updates = op.Reshape(dy, joined(op, [-1, width]), allowzero=0)
        spread = op.Expand(rows, op.Shape(updates))
        return op.reshape_like(scattered(op, table, spread, updates, axis=0, reduction="add"), x)

    return dx, None


@vjp("Trilu")
def trilu(op: Operators, node: ir.Node, dy: ir.Value) -> tuple[Cotangent, ...]:
    """The same triangle."""
    _, *k = node.inputs
    upper = node.attributes.get_int("upper", 1)
    return op.Trilu(dy, *k, upper=upper), *(None for _ in k)


@vjp("OneHot")
def one_hot(op: Operators, node: ir.Node, dy: ir.Value) -> tuple[Cotangent, ...]:
    """For the two values: sums over where each stands. Index and depth have no gradient."""
    index, depth, values = node.inputs
    assert values is not None
    axis = node.attributes.get_int("axis", -1)

    def dvalues() -> ir.Value:
        hot = op.OneHot(index, depth, op.constant([0, 1], values.dtype), axis=axis)
        mask, zero = op.Cast(hot, to=ir.DataType.BOOL.value), op.scalar(0, dy)
        sums = [
            op.Reshape(op.ReduceSum(op.Where(mask, *pair), keepdims=0), op.ints([1]))
            for pair in ((zero, dy), (dy, zero))
        ]
        return op.Concat(*sums, axis=0)

    return None, None, dvalues
