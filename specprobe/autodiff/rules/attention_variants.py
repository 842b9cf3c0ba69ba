"""Rules for linear attention and for attention with subgraphs inside, by their definitions in simpler operators."""

import math
from collections.abc import Sequence
from typing import Any

import onnx_ir as ir

from specprobe.autodiff.expansion import through_expansion
from specprobe.autodiff.operators import Operators
from specprobe.autodiff.registry import Cotangent, vjp
from specprobe.errors import UnsupportedOperator
from specprobe.graph.limits import printable

__all__: list[str] = []

_DECAYING = frozenset({"gated", "gated_delta"})
_CORRECTING = frozenset({"delta", "gated_delta"})


@vjp("LinearAttention")
def linear_attention(op: Operators, node: ir.Node, *dys: ir.Value | None) -> tuple[Cotangent, ...]:
    """The recurrence, one step a token, in at least float32; for a fixed number of tokens."""
    query = node.inputs[0]
    assert query is not None
    assert query.shape is not None
    heads, others = (node.attributes.get_int(name, 0) for name in ("q_num_heads", "kv_num_heads"))
    tokens, width = query.shape[1], query.shape[2]
    if not isinstance(tokens, int) or not tokens or not isinstance(width, int):
        raise _refusal(node, "an open number of tokens or width, or no tokens", "fixed ones")
    rule = node.attributes.get_string("update_rule", "gated_delta")
    scale = node.attributes.get_float("scale", 0.0) or 1 / math.sqrt(width // heads)

    def expansion(inner: Operators, *inputs: ir.Value | None) -> Sequence[ir.Value]:
        query, key, value, past, decay, beta = [*inputs, *(None for _ in range(6))][:6]
        assert query is not None
        assert key is not None
        assert value is not None
        kind = ir.DataType.DOUBLE if query.dtype == ir.DataType.DOUBLE else ir.DataType.FLOAT

        def moments(x: ir.Value, *shape: int) -> Sequence[ir.Value]:
            """One (batch, 1, heads, …) a token."""
            return _moments(inner, inner.Reshape(x, inner.ints([0, 0, *shape])), tokens)

        query_type = query.dtype
        query, key, value = (_cast(inner, x, kind) for x in (query, key, value))
        rows = moments(inner.Mul(query, inner.scalar(scale, query)), others, heads // others, -1)
        columns, values = moments(key, others, -1, 1), moments(value, others, 1, -1)
        decays = rates = keys = None
        if rule in _DECAYING:
            assert decay is not None
            decays = moments(inner.Exp(_cast(inner, decay, kind)), others, -1, 1)
        if rule in _CORRECTING:
            assert beta is not None
            keys, rates = moments(key, others, 1, -1), moments(_cast(inner, beta, kind), -1, 1, 1)
        state = None if past is None else inner.Unsqueeze(_cast(inner, past, kind), inner.ints([1]))
        made = []
        for t in range(tokens):
            if state is not None and decays is not None:
                state = inner.Mul(state, decays[t])
            written = values[t]
            if keys is not None and rates is not None:
                if state is not None:
                    written = inner.Sub(written, inner.MatMul(keys[t], state))
                written = inner.Mul(rates[t], written)
            written = inner.Mul(columns[t], written)
            state = written if state is None else inner.Add(state, written)
            made.append(inner.MatMul(rows[t], state))
        assert state is not None
        y = inner.Reshape(inner.Concat(*made, axis=1), inner.ints([0, 0, -1]))
        present = inner.Squeeze(state, inner.ints([1]))
        return [
            _cast(inner, y, query_type),
            _cast(inner, present, query_type if past is None else past.dtype),
        ]

    return through_expansion(op, node, dys, expansion)


def _moments(op: Operators, x: ir.Value, count: int) -> Sequence[ir.Value]:
    """The slices along the second axis, each of one element there."""
    return [x] if count == 1 else op.several("Split", x, outputs=count, axis=1, num_outputs=count)


@vjp("FlexAttention", domain="ai.onnx.preview")
def flex_attention(op: Operators, node: ir.Node, *dys: ir.Value | None) -> tuple[Cotangent, ...]:
    """Softmax attention with the node's subgraphs written out in between; they may capture constants alone."""
    from specprobe.autodiff.reverse import reads

    q, k, _ = node.inputs
    assert q is not None
    assert k is not None
    assert q.shape is not None
    assert k.shape is not None
    heads, others = q.shape[1], k.shape[1]
    if not isinstance(heads, int) or not isinstance(others, int):
        raise _refusal(node, "an open number of heads", "a fixed one")
    captured: dict[ir.Value, Any] = {}
    for value in reads(node)[len(node.inputs) :]:
        assert value is not None
        known = op.known(value)
        if known is None or op.wants(value):
            what = f"a subgraph that reads '{printable(str(value.name))}'"
            raise _refusal(node, what, "subgraphs that read constants, which nothing is differentiated by")
        captured[value] = known
    scale = node.attributes.get_float("scale", 0.0) if "scale" in node.attributes else None
    chosen = node.attributes.get_int("softmax_precision", 0)
    usual = ir.DataType.DOUBLE if q.dtype == ir.DataType.DOUBLE else ir.DataType.FLOAT
    precision = ir.DataType(chosen) if chosen else usual

    def expansion(inner: Operators, q: ir.Value, k: ir.Value, v: ir.Value) -> Sequence[ir.Value]:
        def modified(x: ir.Value, name: str) -> ir.Value:
            if name not in node.attributes:
                return x
            outer = {value: inner.constant(known, value.dtype) for value, known in captured.items()}
            return _written_out(inner, node, name, x, outer)

        length, size = inner.dim(q, 2), inner.dim(q, 3)
        grouped = heads != others
        q_type = q.dtype
        if scale is None:
            assert q_type is not None
            q = inner.Div(q, inner.Sqrt(inner.Cast(size, to=q_type.value)))
        else:
            q = inner.Mul(q, inner.scalar(scale, q))
        if grouped:  # heads of one group as further rows: keys and values need no copies
            q = inner.Reshape(q, inner.Concat(inner.ints([0, others, -1]), size, axis=0))
        scores = inner.MatMul(q, inner.Transpose(k, perm=[0, 1, 3, 2]))
        if grouped:
            scores = inner.Reshape(
                scores, inner.Concat(inner.ints([0, heads]), length, inner.dim(k, 2), axis=0)
            )
        scores = modified(_cast(inner, scores, precision), "score_mod")
        probabilities = modified(inner.Softmax(scores, axis=-1), "prob_mod")
        if grouped:
            shape = inner.Concat(inner.ints([0, others, -1]), inner.dim(k, 2), axis=0)
            probabilities = inner.Reshape(probabilities, shape)
        y = inner.MatMul(probabilities, _cast(inner, v, precision))
        if grouped:
            y = inner.Reshape(y, inner.Concat(inner.ints([0, heads]), length, inner.dim(v, 3), axis=0))
        return [_cast(inner, y, v.dtype)]

    return *through_expansion(op, node, dys, expansion), *(None for _ in captured)


def _written_out(
    op: Operators, node: ir.Node, name: str, x: ir.Value, outer: dict[ir.Value, ir.Value]
) -> ir.Value:
    """What a subgraph of one input and one output makes of ``x``."""
    graph = node.attributes[name].as_graph()
    at = {**outer, graph.inputs[0]: x}
    for value in graph.initializers.values():
        assert value.const_value is not None
        at[value] = op.constant(value.const_value.numpy(), value.dtype or value.const_value.dtype)
    for inside in graph:
        if inside.domain not in {"", "ai.onnx"}:
            label = printable(f"{inside.domain}::{inside.op_type}")
            raise _refusal(node, f"{label} in its {name}", "ONNX's own operators")
        if any(
            a.type in {ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS} for a in inside.attributes.values()
        ):
            raise _refusal(node, f"{inside.op_type} in its {name}", "subgraphs without subgraphs")
        attributes: dict[str, Any] = {
            key: a.value if a.type == ir.AttributeType.INT else a for key, a in inside.attributes.items()
        }
        inputs = [None if value is None else at[value] for value in inside.inputs]
        made = op.several(inside.op_type, *inputs, outputs=len(inside.outputs), **attributes)
        at.update(zip(inside.outputs, made, strict=True))
    y = at[graph.outputs[0]]
    y.type = x.type
    return y


def _cast(op: Operators, x: ir.Value, kind: ir.DataType | None) -> ir.Value:
    assert kind is not None
    return x if x.dtype == kind else op.Cast(x, to=kind.value)


def _refusal(node: ir.Node, what: str, accepted: str) -> UnsupportedOperator:
    label = printable(str(node.name or node.outputs[0].name))
    return UnsupportedOperator(
        f"no gradient rule for {node.op_type} (node '{label}') with {what}; accepted: {accepted}"
    )
