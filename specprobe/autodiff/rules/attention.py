"""Rules for attention and its rotary embedding, by their definitions in simpler operators."""

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from specprobe.autodiff.expansion import opset_of, through_expansion
from specprobe.autodiff.operators import Operators
from specprobe.autodiff.registry import Cotangent, vjp
from specprobe.errors import UnsupportedOperator

__all__: list[str] = []

_INT64 = ir.DataType.INT64


@dataclass(frozen=True, slots=True, kw_only=True)
class _Settings:
    """Attributes of an Attention node."""

    query_heads: int | None
    key_heads: int | None
    scale: float | None
    softcap: float
    causal: bool
    left: int
    right: int
    shown: int
    precision: ir.DataType | None
    short_masks: bool

    @classmethod
    def of(cls, node: ir.Node, /) -> "_Settings":
        attributes = node.attributes
        precision = attributes.get_int("softmax_precision", 0)
        return cls(
            query_heads=attributes.get_int("q_num_heads", 0) or None,
            key_heads=attributes.get_int("kv_num_heads", 0) or None,
            scale=attributes.get_float("scale", 0.0) if "scale" in attributes else None,
            softcap=attributes.get_float("softcap", 0.0),
            causal=bool(attributes.get_int("is_causal", 0)),
            left=attributes.get_int("left_window_size", -1),
            right=attributes.get_int("right_window_size", -1),
            shown=attributes.get_int("qk_matmul_output_mode", 0),
            precision=ir.DataType(precision) if precision else None,
            short_masks=opset_of(node) >= 24,
        )


@vjp("Attention")
def attention(op: Operators, node: ir.Node, *dys: ir.Value | None) -> tuple[Cotangent, ...]:
    """Softmax attention; a row that may look at nothing is 0 and has no gradient."""
    settings = _Settings.of(node)
    q = node.inputs[0]
    assert q is not None
    if q.shape is None:
        msg = f"Attention '{node.name}' has a query of unknown rank; no gradient can be built"
        raise UnsupportedOperator(msg)
    packed = len(q.shape) == 3
    heads = settings.query_heads if packed else q.shape[1]
    others = settings.key_heads
    if not packed:
        k = node.inputs[1]
        others = k.shape[1] if k is not None and k.shape is not None else None  # type: ignore[assignment]
    if not isinstance(heads, int) or not isinstance(others, int):
        msg = f"Attention '{node.name}' leaves its number of heads open; no gradient can be built"
        raise UnsupportedOperator(msg)
    repeats = heads // others

    def expansion(inner: Operators, *inputs: ir.Value | None) -> list[ir.Value]:
        q, k, v, mask, past_k, past_v, valid = [*inputs, *(None for _ in range(7))][:7]
        assert q is not None
        assert k is not None
        assert v is not None
        if packed:
            q, k, v = (_unpacked(inner, value, n) for value, n in ((q, heads), (k, others), (v, others)))
        present_k = k if past_k is None else inner.Concat(past_k, k, axis=2)
        present_v = v if past_v is None else inner.Concat(past_v, v, axis=2)
        keys, values = (_repeated(inner, value, repeats) for value in (present_k, present_v))
        raw = inner.MatMul(_scaled(inner, q, settings), inner.Transpose(keys, perm=[0, 1, 3, 2]))
        scores = raw
        if settings.softcap > 0:
            cap = inner.scalar(settings.softcap, raw)
            scores = inner.Mul(inner.Tanh(inner.Div(raw, cap)), cap)
        lengths = tuple(inner.Slice(inner.Shape(raw), inner.ints([i]), inner.ints([i + 1])) for i in (2, 3))
        bias = _bias(inner, raw, mask, _offset(inner, past_k, valid, lengths[0]), lengths, valid, settings)
        biased = scores if bias is None else inner.Add(scores, bias)
        probabilities = _softmax(inner, biased, bias, settings.precision)
        y = inner.MatMul(probabilities, values)
        if packed:
            shape = inner.ints([0, 0, -1])
            y = inner.Reshape(inner.Transpose(y, perm=[0, 2, 1, 3]), shape)
        return [y, present_k, present_v, (raw, scores, biased, probabilities)[settings.shown]]

    return through_expansion(op, node, dys, expansion)


def _unpacked(op: Operators, value: ir.Value, heads: int) -> ir.Value:
    """From (N, L, heads · size) to (N, heads, L, size)."""
    return op.Transpose(op.Reshape(value, op.ints([0, 0, heads, -1])), perm=[0, 2, 1, 3])


def _repeated(op: Operators, value: ir.Value, repeats: int) -> ir.Value:
    """Each head once for every query head of its group: h0, h0, h1, h1 and so on."""
    if repeats == 1:
        return value
    shape = op.Shape(value)
    batch, heads, rest = (op.Slice(shape, op.ints([a]), op.ints([b])) for a, b in ((0, 1), (1, 2), (2, 4)))
    wide = op.Expand(
        op.Unsqueeze(value, op.ints([2])), op.Concat(batch, heads, op.ints([repeats]), rest, axis=0)
    )
    return op.Reshape(wide, op.Concat(batch, op.Mul(heads, op.ints([repeats])), rest, axis=0))


def _scaled(op: Operators, q: ir.Value, settings: _Settings) -> ir.Value:
    if settings.scale is not None:
        return op.Mul(q, op.scalar(settings.scale, q))
    size = op.Slice(op.Shape(q), op.ints([3]), op.ints([4]))
    assert q.dtype is not None
    return op.Div(q, op.Sqrt(op.Cast(size, to=q.dtype.value)))


def _bias(
    op: Operators,
    scores: ir.Value,
    mask: ir.Value | None,
    offset: ir.Value | None,
    lengths: tuple[ir.Value, ...],
    valid: ir.Value | None,
    settings: _Settings,
) -> ir.Value | None:
    """What is added to the scores: 0 or −∞ for masks that choose, numbers for those that add."""
    zero, never = op.scalar(0, scores), op.scalar(float("-inf"), scores)
    bias = None
    if mask is not None:
        bias = op.Where(mask, zero, never) if mask.dtype == ir.DataType.BOOL else mask
        if settings.short_masks:
            bias = _widened(op, bias, mask, lengths[1], never)
    allowed = _window(op, offset, lengths, settings)
    if valid is not None:
        columns = op.Range(
            op.constant(0, _INT64), op.Squeeze(lengths[1], op.ints([0])), op.constant(1, _INT64)
        )
        present = op.Less(columns, op.Unsqueeze(valid, op.ints([1, 2, 3])))
        allowed = present if allowed is None else op.And(allowed, present)
    if allowed is not None:
        chosen = op.Where(allowed, zero, never)
        bias = chosen if bias is None else op.Add(bias, chosen)
    return bias


def _widened(op: Operators, bias: ir.Value, mask: ir.Value, length: ir.Value, never: ir.Value) -> ir.Value:
    """A mask that ends early says nothing of the last keys, which are then left out."""
    assert mask.shape is not None
    missing = op.Sub(length, op.Slice(op.Shape(mask), op.ints([-1]), op.ints([np.iinfo(np.int64).max])))
    nothing = op.ints([0] * (2 * len(mask.shape) - 1))
    return op.Pad(bias, op.Concat(nothing, missing, axis=0), never)


def _offset(
    op: Operators, past: ir.Value | None, valid: ir.Value | None, queries: ir.Value
) -> ir.Value | None:
    """How many keys come before the first query: one number, or one an image, (N, 1, 1, 1)."""
    if past is not None:
        return op.Slice(op.Shape(past), op.ints([2]), op.ints([3]))
    return None if valid is None else op.Unsqueeze(op.Sub(valid, queries), op.ints([1, 2, 3]))


def _window(
    op: Operators, offset: ir.Value | None, lengths: tuple[ir.Value, ...], settings: _Settings
) -> ir.Value | None:
    """Which keys (columns) a query (row) may look at by its position."""
    if not settings.causal and settings.left < 0 and settings.right < 0:
        return None
    zero, one = op.constant(0, _INT64), op.constant(1, _INT64)
    rows, columns = (op.Range(zero, op.Squeeze(n, op.ints([0])), one) for n in lengths)
    rows = op.Unsqueeze(rows, op.ints([1]))
    if offset is not None:
        rows = op.Add(rows, offset)
    ahead = op.Sub(columns, rows)
    tests = []
    if settings.causal:
        tests.append(op.LessOrEqual(ahead, zero))
    if settings.right >= 0:
        tests.append(op.LessOrEqual(ahead, op.constant(settings.right, _INT64)))
    if settings.left >= 0:
        tests.append(op.GreaterOrEqual(ahead, op.constant(-settings.left, _INT64)))
    allowed = tests[0]
    for test in tests[1:]:
        allowed = op.And(allowed, test)
    return allowed


def _softmax(
    op: Operators, scores: ir.Value, bias: ir.Value | None, precision: ir.DataType | None
) -> ir.Value:
    """Softmax over the last axis, 0 in rows that are masked throughout."""
    zero, kind = op.scalar(0, scores), scores.dtype
    assert kind is not None
    blind = None
    if bias is not None:
        masked = op.Equal(bias, op.scalar(float("-inf"), scores))
        least = op.ReduceMin(op.Cast(masked, to=ir.DataType.INT32.value), op.ints([-1]), keepdims=1)
        blind = op.Equal(least, op.constant(1, ir.DataType.INT32))
        scores = op.Where(blind, zero, scores)
    if precision is not None and precision != kind:
        made = op.Cast(op.Softmax(op.Cast(scores, to=precision.value), axis=-1), to=kind.value)
    else:
        made = op.Softmax(scores, axis=-1)
    return made if blind is None else op.Where(blind, zero, made)


@vjp("RotaryEmbedding")
def rotary_embedding(op: Operators, node: ir.Node, dy: ir.Value) -> tuple[Cotangent, ...]:
    """Linear in x, and in the caches."""
    x = node.inputs[0]
    assert x is not None
    if x.shape is None:
        msg = f"RotaryEmbedding '{node.name}' has an input of unknown rank; no gradient can be built"
        raise UnsupportedOperator(msg)
    packed = len(x.shape) == 3
    heads = node.attributes.get_int("num_heads", 0)
    turned = node.attributes.get_int("rotary_embedding_dim", 0)
    interleaved = bool(node.attributes.get_int("interleaved", 0))
    if packed and not heads:
        msg = f"RotaryEmbedding '{node.name}' has an input of rank 3 and no num_heads"
        raise UnsupportedOperator(msg)
    width = x.shape[-1]
    size = None if not isinstance(width, int) else width // heads if packed else width
    if turned and size is None:
        msg = f"RotaryEmbedding '{node.name}' turns {turned} of an open number of channels"
        raise UnsupportedOperator(msg)

    def expansion(inner: Operators, *inputs: ir.Value | None) -> list[ir.Value]:
        x, cos, sin, positions = [*inputs, None][:4]
        assert x is not None
        assert cos is not None
        assert sin is not None
        if positions is not None:
            cos, sin = (inner.Gather(cache, positions, axis=0) for cache in (cos, sin))
        cos, sin = (inner.Unsqueeze(cache, inner.ints([2])) for cache in (cos, sin))
        # Shape (N, L, heads, size).
        split = (
            inner.Reshape(x, inner.ints([0, 0, heads, -1]))
            if packed
            else inner.Transpose(x, perm=[0, 2, 1, 3])
        )
        rest = None
        if turned and size is not None and turned != size:
            part, rest = inner.several("Split", split, inner.ints([turned, size - turned]), axis=3, outputs=2)
        else:
            part = split
        # Pairs (a, b) along an axis of their own.
        axis = 4 if interleaved else 3
        last = inner.ints([axis])
        pairs = inner.Reshape(part, inner.ints([0, 0, 0, -1, 2] if interleaved else [0, 0, 0, 2, -1]))
        halves = inner.several("Split", pairs, inner.ints([1, 1]), axis=axis, outputs=2)
        a, b = (inner.Squeeze(half, last) for half in halves)
        real = inner.Sub(inner.Mul(cos, a), inner.Mul(sin, b))
        imaginary = inner.Add(inner.Mul(sin, a), inner.Mul(cos, b))
        joined = inner.Concat(inner.Unsqueeze(real, last), inner.Unsqueeze(imaginary, last), axis=axis)
        made = inner.Reshape(joined, inner.ints([0, 0, 0, -1]))
        if rest is not None:
            made = inner.Concat(made, rest, axis=3)
        if packed:
            return [inner.Reshape(made, inner.ints([0, 0, -1]))]
        return [inner.Transpose(made, perm=[0, 2, 1, 3])]

    return through_expansion(op, node, [dy], expansion)
