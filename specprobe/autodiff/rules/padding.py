"""Rules for padding: what was added is folded back onto what it was a copy of."""

import numpy as np
import onnx_ir as ir

from specprobe.autodiff.operators import Operators
from specprobe.autodiff.registry import Cotangent, vjp
from specprobe.autodiff.rules.scatter import scattered_along
from specprobe.autodiff.rules.shape import Size, joined, padded, rank_of, size_of
from specprobe.errors import UnsupportedOperator

__all__: list[str] = []

_FAR = np.iinfo(np.int64).max


@vjp("Pad")
def pad(op: Operators, node: ir.Node, dy: ir.Value) -> tuple[Cotangent, ...]:
    """Cut off; reflected, repeated and wrapped copies are added to what they are copies of."""
    x, pads, *rest = node.inputs
    assert x is not None
    assert pads is not None
    fill = rest[0] if rest else None
    axes_input = rest[1] if len(rest) > 1 else None
    known, listed = op.known(pads), op.known(axes_input)
    widths = None if known is None else [int(p) for p in known.reshape(-1)]
    axes = None if listed is None else [int(a) for a in listed.reshape(-1)]
    if axes_input is None and widths is not None:
        axes = list(range(len(widths) // 2))
    mode = node.attributes.get_string("mode", "constant")

    def dx() -> ir.Value:
        if mode != "constant":
            if axes is None and axes_input is not None:
                msg = f"Pad '{node.name}' in mode {mode} has computed axes; its gradient needs constant ones"
                raise UnsupportedOperator(msg)
            rank = rank_of(node, x)
            along = list(range(rank)) if axes is None else [axis % rank for axis in axes]
            return _folded(op, dy, x, mode, pads if widths is None else widths, along)
        if widths is not None and axes is not None:
            return _inner(op, dy, x, widths, axes)
        return _inner_computed(op, dy, x, pads, axes_input, axes)

    def dfill() -> ir.Value | None:
        if fill is None or mode != "constant":
            return None
        if axes is None or axes_input is None:  # which axes, only the run knows; or all of them
            inside = op.Pad(dx(), pads, op.scalar(0, dy), axes_input)
        else:
            rank = None if x.shape is None else len(x.shape)
            inside = padded(op, dx(), rank, axes, pads if widths is None else widths)
        return op.reshape_like(op.ReduceSum(op.Sub(dy, inside), keepdims=0), fill)

    return dx, None, *((dfill, None)[: len(rest)])


def _inner(op: Operators, dy: ir.Value, x: ir.Value, widths: list[int], axes: list[int]) -> ir.Value:
    """Cut what was added, and fill in zeros what negative widths cut."""
    before, after = widths[: len(axes)], widths[len(axes) :]
    cut = [i for i in range(len(axes)) if before[i] > 0 or after[i] > 0]
    if cut:
        starts = [max(0, before[i]) for i in cut]
        stops = [-after[i] if after[i] > 0 else _FAR for i in cut]
        dy = op.Slice(dy, op.ints(starts), op.ints(stops), op.ints([axes[i] for i in cut]))
    short = [i for i in range(len(axes)) if before[i] < 0 or after[i] < 0]
    if short:
        missing = [max(0, -side[i]) for side in (before, after) for i in short]
        dy = padded(op, dy, None if x.shape is None else len(x.shape), [axes[i] for i in short], missing)
        dy = op.reshape_like(dy, x)  # fails where more was cut than there is
    return dy


def _inner_computed(
    op: Operators,
    dy: ir.Value,
    x: ir.Value,
    pads: ir.Value,
    axes: ir.Value | None,
    known: list[int] | None,
) -> ir.Value:
    zero = op.ints([0])
    before, after = op.several("Split", pads, axis=0, num_outputs=2, outputs=2)
    long = op.Shape(dy) if axes is None else op.Gather(op.Shape(dy), axes, axis=0)
    stop = op.Sub(long, op.Max(after, zero))
    cut = op.Slice(dy, op.Max(before, zero), stop, *(() if axes is None else (axes,)))
    missing = op.Max(op.Neg(pads), zero)
    if (
        known is None
    ):  # computed axes go to Pad as they are: between transposes onnxruntime 1.31 may fail on it
        filled = op.Pad(cut, missing, op.scalar(0, dy), *(() if axes is None else (axes,)))
    else:
        filled = padded(op, cut, None if x.shape is None else len(x.shape), known, missing)
    return op.reshape_like(filled, x)


def _folded(
    op: Operators, dy: ir.Value, x: ir.Value, mode: str, widths: list[int] | ir.Value, axes: list[int]
) -> ir.Value:
    """One axis after the other: the copies in the corners are copies of copies."""
    assert x.shape is not None
    rank = len(x.shape)
    for i, axis in enumerate(axes):
        size = size_of(op, x, axis)
        if isinstance(widths, list):
            before, after = widths[i], widths[i + len(axes)]
            if before == after == 0:
                continue
            if isinstance(size, int):
                borders = set() if mode == "edge" else {max(0, before), before + size + min(0, after)}
                dy = _runs_folded(op, dy, _sources(size, before, after, mode), borders, size, axis, rank)
                continue
            if mode != "wrap" and min(before, after) >= 0:
                dy = _ends_folded(op, dy, size, before, after, mode, axis, rank)
                continue
        ends = op.ints([i, i + len(axes)])
        width = op.Gather(widths, ends, axis=0) if isinstance(widths, ir.Value) else op.ints([before, after])
        dy = _scattered_back(op, dy, size, width, mode, axis, rank)
    return dy


def _sources(size: int, before: int, after: int, mode: str) -> list[int]:
    """Where each element of the padded axis comes from; negative widths cut first, as in onnxruntime."""
    kept = np.arange(size)[max(0, -before) : size - max(0, -after)]
    widths = (max(0, before), max(0, after))
    padded = {
        "reflect": lambda: np.pad(kept, widths, mode="reflect"),
        "edge": lambda: np.pad(kept, widths, mode="edge"),
        "wrap": lambda: np.pad(kept, widths, mode="wrap"),
    }
    return [int(i) for i in padded[mode]()]


def _runs_folded(
    op: Operators, dy: ir.Value, sources: list[int], borders: set[int], size: int, axis: int, rank: int
) -> ir.Value:
    """Sum of the stretches of ``dy`` that come from ascending, descending or equal places."""
    stretches = _stretches(sources, borders)
    parts = [_stretch(op, dy, *stretch, len(sources), axis) for stretch in stretches]
    spans = [sorted((sources[start], sources[stop - 1])) for start, stop, _ in stretches]
    if len(parts) == 1 and spans == [[0, size - 1]]:
        return parts[0]
    if [i for low, high in spans for i in range(low, high + 1)] == list(range(size)):
        return op.Concat(*parts, axis=axis)
    placed = []
    for part, (low, high) in zip(parts, spans, strict=True):
        pads = [low, size - high - 1]
        placed.append(padded(op, part, rank, [axis], pads) if any(pads) else part)
    return placed[0] if len(placed) == 1 else op.Sum(*placed)


def _stretches(sources: list[int], borders: set[int]) -> list[tuple[int, int, int]]:
    """First and last + 1 of each stretch, and its step. Equal neighbours go together before all else."""
    found, start, n = [], 0, len(sources)
    while start < n:
        stop, step = start + 1, None
        while stop < n and stop not in borders:
            change = sources[stop] - sources[stop - 1]
            taken = change != 0 and stop + 1 < n and sources[stop + 1] == sources[stop]
            if taken or change not in ({-1, 0, 1} if step is None else {step}):
                break
            stop, step = stop + 1, change
        found.append((start, stop, 1 if step is None else step))
        start = stop
    return found


def _stretch(
    op: Operators, dy: ir.Value, start: int, stop: int, step: int, length: int, axis: int
) -> ir.Value:
    along = op.ints([axis])
    if step == -1:
        end = start - 1 if start else -_FAR
        return op.Slice(dy, op.ints([stop - 1]), op.ints([end]), along, op.ints([-1]))
    part = dy if (start, stop) == (0, length) else op.Slice(dy, op.ints([start]), op.ints([stop]), along)
    return part if step else op.ReduceSum(part, along, keepdims=1)


def _ends_folded(
    op: Operators, dy: ir.Value, size: ir.Value, before: int, after: int, mode: str, axis: int, rank: int
) -> ir.Value:
    """As above for a size that is open; onnxruntime refuses to reflect more than there is."""
    along, one = op.ints([axis]), op.ints([1])
    parts = [op.Slice(dy, op.ints([before]), op.Add(size, op.ints([before])), along)]
    if before:
        if mode == "edge":
            left = op.ReduceSum(op.Slice(dy, op.ints([0]), op.ints([before]), along), along, keepdims=1)
            room: list[Size] = [0, op.Sub(size, one)]
        else:
            left = op.Slice(dy, op.ints([before - 1]), op.ints([-_FAR]), along, op.ints([-1]))
            room = [1, op.Sub(size, op.ints([before + 1]))]
        parts.append(padded(op, left, rank, [axis], room))
    if after:
        if mode == "edge":
            right = op.ReduceSum(op.Slice(dy, op.ints([-after]), op.ints([_FAR]), along), along, keepdims=1)
            room = [op.Sub(size, one), 0]
        else:
            right = op.Slice(dy, op.ints([-1]), op.ints([-after - 1]), along, op.ints([-1]))
            room = [op.Sub(size, op.ints([after + 1])), 1]
        parts.append(padded(op, right, rank, [axis], room))
    return op.Sum(*parts)


def _scattered_back(
    op: Operators, dy: ir.Value, size: Size, width: ir.Value, mode: str, axis: int, rank: int
) -> ir.Value:
    """The runtime pads the numbers 0, 1, … itself, which says where everything came from."""
    zero, one = (op.constant(i, ir.DataType.INT64) for i in (0, 1))
    count = joined(op, [size])
    sources = op.Pad(op.Range(zero, op.Squeeze(count), one), width, mode=mode)
    shape, far = op.Shape(dy), op.ints([_FAR])
    around = op.Slice(shape, op.ints([0]), op.ints([axis])), op.Slice(shape, op.ints([axis + 1]), far)
    target = op.Concat(around[0], count, around[1], axis=0)
    return scattered_along(op, dy, sources, target, axis=axis, rank=rank)


@vjp("CenterCropPad")
def center_crop_pad(op: Operators, node: ir.Node, dy: ir.Value) -> tuple[Cotangent, ...]:
    """The same operator the other way: both round the offset down."""
    x, _ = node.inputs
    assert x is not None
    rank = rank_of(node, x)
    stated = "axes" in node.attributes
    along = [a % rank for a in node.attributes.get_ints("axes")] if stated else list(range(rank))
    return lambda: op.CenterCropPad(dy, joined(op, [size_of(op, x, a) for a in along]), axes=along), None
