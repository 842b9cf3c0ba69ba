"""Rules for Fourier transforms."""

import onnx_ir as ir

from specprobe.autodiff.expansion import opset_of, through_expansion
from specprobe.autodiff.operators import Operators, static_shape
from specprobe.autodiff.registry import Cotangent, vjp
from specprobe.errors import UnsupportedOperator

__all__: list[str] = []


@vjp("DFT")
def dft(op: Operators, node: ir.Node, dy: ir.Value) -> tuple[Cotangent, ...]:
    """Linear: the transform the other way, cut or filled with zeros to the input's length."""
    x, *rest = node.inputs
    assert x is not None
    return lambda: _dft_input(op, node, x, dy), *(None for _ in rest)


def _dft_input(op: Operators, node: ir.Node, x: ir.Value, dy: ir.Value) -> ir.Value:
    axis = _dft_axis(op, node, x)
    stated = node.inputs[1] if len(node.inputs) > 1 else None
    inverse = bool(node.attributes.get_int("inverse", 0))
    onesided = bool(node.attributes.get_int("onesided", 0))
    size = op.Gather(op.shape_of(x), axis, axis=0)
    one, two = op.ints([1]), op.ints([2])
    if stated is not None:
        length = op.Reshape(op.Cast(stated, to=ir.DataType.INT64.value), one)
    else:
        length = op.Mul(op.Sub(size, one), two) if inverse and onesided else size
    assert dy.dtype is not None
    scale = op.Cast(length, to=dy.dtype.value)
    if inverse and onesided:
        if stated is not None:
            _require_whole_spectrum(op, node, x, axis, stated)
        # Each frequency but the first, and the last of an even length, stands for its mirror image too.
        spectrum = _emit_dft(op, node, dy, axis, onesided=1)
        along = op.Where(_runs_along(op, x, axis), op.ints([-1]), op.ints([1]))
        weight = op.Reshape(_multiplicity(op, length, dy), along)
        made = op.Mul(spectrum, op.Div(weight, scale))
    elif inverse:
        made = op.Div(_emit_dft(op, node, dy, axis), scale)
    else:
        filled = length if onesided else None
        made = op.Mul(_emit_dft(op, node, dy, axis, filled, inverse=1), scale)
    if _parts(x) == 1:
        made = op.Slice(made, op.ints([0]), one, op.ints([-1]))
    return made if stated is None else _fitted(op, made, x, axis)


def _require_whole_spectrum(
    op: Operators, node: ir.Node, x: ir.Value, axis: ir.Value, stated: ir.Value
) -> None:
    """Where the spectrum is cut or filled, onnxruntime mirrors other frequencies than the definition does."""
    where, length = op.known(axis), op.known(stated)
    size = None if where is None or x.shape is None else x.shape[int(where[0])]
    wanted = None if length is None else int(length.reshape(-1)[0]) // 2 + 1
    if wanted is None or size != wanted:
        msg = (
            f"DFT '{node.name}' inverts {size} frequencies of {'unknown' if wanted is None else wanted}; "
            "accepted are as many as dft_length // 2 + 1"
        )
        raise UnsupportedOperator(msg)


def _multiplicity(op: Operators, length: ir.Value, like: ir.Value) -> ir.Value:
    """How many of ``length`` frequencies each frequency of a one-sided spectrum stands for."""
    zero, one, two = (op.constant(i, ir.DataType.INT64) for i in (0, 1, 2))
    number = op.Range(zero, op.Squeeze(op.Add(op.Div(length, two), one), op.ints([0])), one)
    single = op.Equal(op.Mod(op.Mul(number, two), length), zero)
    return op.Where(single, op.scalar(1, like), op.scalar(2, like))


def _runs_along(op: Operators, x: ir.Value, axis: ir.Value) -> ir.Value:
    """One boolean an axis of ``x``: whether it is this one."""
    assert x.shape is not None
    rank = len(x.shape)
    return op.Equal(op.ints(range(rank)), op.Mod(axis, op.ints([rank])))


def _dft_axis(op: Operators, node: ir.Node, x: ir.Value) -> ir.Value:
    """1-D, of one element; an attribute up to opset 19, an input from 20."""
    if x.shape is None:
        msg = f"DFT '{node.name}' has an input of unknown rank; no gradient can be built"
        raise UnsupportedOperator(msg)
    if opset_of(node) < 20:
        return op.ints([node.attributes.get_int("axis", 1)])
    stated = node.inputs[2] if len(node.inputs) > 2 else None
    if stated is None:
        return op.ints([-2])
    known = op.known(stated)
    if known is not None:
        return op.ints(known.reshape(-1).tolist())
    return op.Reshape(op.Cast(stated, to=ir.DataType.INT64.value), op.ints([1]))


def _parts(x: ir.Value) -> int:
    """1 for real numbers, 2 for complex ones."""
    parts = None if x.shape is None else x.shape[-1]
    if not isinstance(parts, int):
        msg = f"'{x.name}' leaves open whether it is real or complex; its last axis must be 1 or 2"
        raise UnsupportedOperator(msg)
    return parts


def _emit_dft(
    op: Operators,
    node: ir.Node,
    value: ir.Value,
    axis: ir.Value,
    length: ir.Value | None = None,
    *,
    inverse: int = 0,
    onesided: int = 0,
) -> ir.Value:
    first = op.ints([0])
    number = None if length is None else op.Squeeze(length, first)
    if opset_of(node) >= 20:
        return op.DFT(value, number, op.Squeeze(axis, first), inverse=inverse, onesided=onesided)
    known = op.known(axis)
    assert known is not None
    inputs = [value] if number is None else [value, number]
    return op.DFT(*inputs, axis=int(known[0]), inverse=inverse, onesided=onesided)


def _fitted(op: Operators, value: ir.Value, x: ir.Value, axis: ir.Value) -> ir.Value:
    """``value`` cut or filled with zeros at the end of one axis, to the size of ``x``."""
    zero = op.constant(0, ir.DataType.INT64)
    # Pads for every axis: onnxruntime mistakes pads of a few axes when it moves a Transpose past them.
    short = op.Max(op.Sub(op.shape_of(x), op.Shape(value)), zero)
    short = op.Where(_runs_along(op, x, axis), short, zero)
    filled = op.Pad(value, op.Concat(op.Mul(short, zero), short, axis=0), op.scalar(0, value))
    return op.Slice(filled, op.ints([0]), op.Gather(op.shape_of(x), axis, axis=0), axis)


@vjp("MelWeightMatrix")
def mel_weight_matrix(_op: Operators, node: ir.Node, _dy: ir.Value) -> tuple[Cotangent, ...]:
    """Steps: the edges of its bands are whole bins, so 0 wherever they have a derivative."""
    return tuple(None for _ in node.inputs)


@vjp("STFT")
def stft(op: Operators, node: ir.Node, dy: ir.Value) -> tuple[Cotangent, ...]:
    """Linear in the signal and in the window; samples after the last whole frame are never read."""
    signal, _, window, length = [*node.inputs, None, None][:4]
    assert signal is not None
    onesided = node.attributes.get_int("onesided", 1)
    known, shape = op.known(length), static_shape(window)
    if known is not None and shape is not None and int(known.reshape(-1)[0]) != shape[0]:
        msg = f"STFT '{node.name}' has a window of {shape[0]} samples for frames of {known}; accepted are equal ones"
        raise UnsupportedOperator(msg)
    if signal.shape is None or len(signal.shape) != 3:
        msg = f"STFT '{node.name}' has a signal of shape {signal.shape}; accepted is [batch, length, 1 or 2]"
        raise UnsupportedOperator(msg)

    def expansion(inner: Operators, *inputs: ir.Value | None) -> list[ir.Value]:
        signal, hop, window, frame = [*inputs, None, None][:4]
        assert signal is not None
        assert hop is not None
        int64, first = ir.DataType.INT64, inner.ints([0])
        zero, one = inner.constant(0, int64), inner.constant(1, int64)

        def number(value: ir.Value) -> ir.Value:
            return inner.Squeeze(inner.Cast(inner.Reshape(value, inner.ints([1])), to=int64.value), first)

        samples = inner.Squeeze(inner.dim(signal, 1), first)
        if frame is not None:
            length = number(frame)
        else:
            length = samples if window is None else inner.Squeeze(inner.dim(window, 0), first)
        step = number(hop)
        count = inner.Add(inner.Div(inner.Sub(samples, length), step), one)
        starts = inner.Mul(inner.Range(zero, count, one), step)
        places = inner.Add(inner.Unsqueeze(starts, inner.ints([1])), inner.Range(zero, length, one))
        frames = inner.Gather(signal, places, axis=1)
        if window is not None:
            frames = inner.Mul(frames, inner.Unsqueeze(window, inner.ints([1])))
        frames.shape = ir.Shape([None, None, None, _parts(signal)])
        return [_emit_dft(inner, node, frames, inner.ints([2]), onesided=onesided)]

    return through_expansion(op, node, [dy], expansion)
