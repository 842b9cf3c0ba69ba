"""Rules for recurrent networks: the recurrence is written out step by step, and differentiated through its steps."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from specprobe.autodiff.expansion import through_expansion
from specprobe.autodiff.operators import Operators
from specprobe.autodiff.registry import Cotangent, vjp
from specprobe.errors import UnsupportedOperator

__all__: list[str] = []

Step = Callable[[Operators, ir.Value, ir.Value, "ir.Value | None"], "tuple[ir.Value, ir.Value | None]"]
"""From this moment's share of the input and the last state to the next state: h, and c where there is one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Weights:
    """Of one direction. Biases are (gates · hidden), each None where there is none."""

    recurrent: ir.Value
    input_bias: ir.Value | None
    recurrent_bias: ir.Value | None
    peepholes: ir.Value | None


_DEFAULTS = {"LSTM": ("Sigmoid", "Tanh", "Tanh"), "GRU": ("Sigmoid", "Tanh"), "RNN": ("Tanh",)}
_GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
_PLAIN = frozenset({"Relu", "Sigmoid", "Softplus", "Softsign", "Tanh"})


def _refuse(node: ir.Node, what: str) -> UnsupportedOperator:
    return UnsupportedOperator(f"{node.op_type} '{node.name}' has {what}; no gradient can be built")


def _activations(node: ir.Node, directions: int) -> list[list[str]]:
    """Names, one list a direction."""
    default = _DEFAULTS[node.op_type]
    stated = node.attributes.get_strings("activations") or list(default) * directions
    by_lower = {name.lower(): name for name in _PLAIN}
    names = [by_lower.get(name.lower(), "") for name in stated]
    if "" in names:
        raise _refuse(
            node, f"the activation '{stated[names.index('')]}', accepted are {', '.join(sorted(_PLAIN))}"
        )
    if len(names) != len(default) * directions:
        raise _refuse(node, f"{len(names)} activations in place of {len(default) * directions}")
    return [names[i * len(default) : (i + 1) * len(default)] for i in range(directions)]


@vjp("GRU", "LSTM", "RNN")
def recurrent(op: Operators, node: ir.Node, *dys: ir.Value | None) -> tuple[Cotangent, ...]:
    """Backpropagation through time, over a known number of steps."""
    x, w, r = node.inputs[:3]
    assert x is not None
    assert w is not None
    assert r is not None
    attributes = node.attributes
    batch_first = bool(attributes.get_int("layout", 0))
    steps = None if x.shape is None else x.shape[1 if batch_first else 0]
    hidden = attributes.get_int("hidden_size", 0) or (r.shape[2] if r.shape is not None else None)
    if not isinstance(steps, int) or not isinstance(hidden, int):
        raise _refuse(node, "an open sequence length or hidden size")
    if attributes.get("clip") is not None:
        raise _refuse(node, "clip")
    if attributes.get_int("input_forget", 0):
        raise _refuse(node, "input_forget")
    direction = attributes.get_string("direction", "forward")
    directions = 2 if direction == "bidirectional" else 1
    names = _activations(node, directions)

    def expansion(inner: Operators, *inputs: ir.Value | None) -> Sequence[ir.Value | None]:
        x, w, r, b, lengths, h0, c0, p = [*inputs, *(None for _ in range(8))][:8]
        assert x is not None
        assert w is not None
        assert r is not None
        if batch_first:
            x = inner.Transpose(x, perm=[1, 0, 2])
            h0, c0 = (None if s is None else inner.Transpose(s, perm=[1, 0, 2]) for s in (h0, c0))
        apart = [None if v is None else _parted(inner, v, directions) for v in (w, r, b, p, h0, c0)]
        present = _present(inner, lengths, steps)
        outputs: list[list[ir.Value]] = []
        finals: tuple[list[ir.Value], list[ir.Value]] = ([], [])
        for d in range(directions):
            weight, recurrent_weight, bias, peepholes, first_h, first_c = (
                None if parts is None else parts[d] for parts in apart
            )
            assert weight is not None
            assert recurrent_weight is not None
            half = _GATES[node.op_type] * hidden
            halves = (None, None) if bias is None else _split(inner, bias, [half, half], 0)
            weights = _Weights(
                recurrent=recurrent_weight,
                input_bias=halves[0],
                recurrent_bias=halves[1],
                peepholes=peepholes,
            )
            reverse = direction == "reverse" or d == 1
            projected = inner.MatMul(x, inner.Transpose(weight, perm=[1, 0]))
            step = _step(inner, node, weights, hidden, names[d])
            zero = inner.Expand(
                inner.scalar(0, x), inner.Concat(inner.dim(x, 1), inner.ints([hidden]), axis=0)
            )
            h = zero if first_h is None else first_h
            c = (zero if first_c is None else first_c) if node.op_type == "LSTM" else None
            moments = _parted(inner, projected, steps)
            made: list[ir.Value] = []
            for t in reversed(range(steps)) if reverse else range(steps):
                new_h, new_c = step(inner, moments[t], h, c)
                if present is None:
                    h, c = new_h, new_c
                    made.append(h)
                else:
                    c = None if c is None or new_c is None else inner.Where(present[t], new_c, c)
                    h = inner.Where(present[t], new_h, h)
                    made.append(inner.Where(present[t], new_h, inner.scalar(0, x)))
            outputs.append(made[::-1] if reverse else made)
            finals[0].append(h)
            if c is not None:
                finals[1].append(c)
        return _collected(inner, outputs, finals, batch_first)

    return through_expansion(op, node, dys, expansion)


def _parted(op: Operators, value: ir.Value, count: int) -> list[ir.Value]:
    """The slices along the first axis."""
    parts = (value,) if count == 1 else _split(op, value, [1] * count, 0)
    return [op.Squeeze(part, op.ints([0])) for part in parts]


def _present(op: Operators, lengths: ir.Value | None, steps: int) -> list[ir.Value] | None:
    """Which images (N, 1) still have a moment t: past its end a sequence keeps its state and puts out 0."""
    if lengths is None:
        return None
    column = op.Unsqueeze(lengths, op.ints([1]))
    return [op.Less(op.constant(t, lengths.dtype), column) for t in range(steps)]


def _collected(
    op: Operators,
    outputs: list[list[ir.Value]],
    finals: tuple[list[ir.Value], list[ir.Value]],
    batch_first: bool,
) -> list[ir.Value | None]:
    """Y, Y_h and Y_c."""

    def stacked(values: list[ir.Value], axis: int) -> ir.Value:
        apart = [op.Unsqueeze(value, op.ints([axis])) for value in values]
        return apart[0] if len(apart) == 1 else op.Concat(*apart, axis=axis)

    per_direction = [stacked(values, 0) for values in outputs]  # (T, N, hidden)
    y = stacked(per_direction, 1)
    states = [stacked(values, 0) if values else None for values in finals]
    if batch_first:
        y = op.Transpose(y, perm=[2, 0, 1, 3])
        states = [None if s is None else op.Transpose(s, perm=[1, 0, 2]) for s in states]
    return [y, *states]


def _split(op: Operators, value: ir.Value, sizes: list[int], axis: int) -> tuple[ir.Value, ...]:
    return op.several("Split", value, op.ints(sizes), axis=axis, outputs=len(sizes))


def _step(op: Operators, node: ir.Node, weights: _Weights, hidden: int, names: list[str]) -> Step:
    if node.op_type == "GRU":
        return _gru(op, weights, hidden, names, bool(node.attributes.get_int("linear_before_reset", 0)))
    if node.op_type == "LSTM":
        return _lstm(op, weights, hidden, names)
    return _rnn(op, weights, names)


def _plus(op: Operators, value: ir.Value, *others: ir.Value | None) -> ir.Value:
    for other in others:
        value = value if other is None else op.Add(value, other)
    return value


def _call(op: Operators, name: str, value: ir.Value) -> ir.Value:
    (made,) = op.several(name, value, outputs=1)
    return made


def _rnn(op: Operators, weights: _Weights, names: list[str]) -> Step:
    turned = op.Transpose(weights.recurrent, perm=[1, 0])

    def step(
        op: Operators, moment: ir.Value, h: ir.Value, c: ir.Value | None
    ) -> tuple[ir.Value, ir.Value | None]:
        total = _plus(op, moment, op.MatMul(h, turned), weights.input_bias, weights.recurrent_bias)
        return _call(op, names[0], total), c

    return step


def _lstm(op: Operators, weights: _Weights, hidden: int, names: list[str]) -> Step:
    turned = op.Transpose(weights.recurrent, perm=[1, 0])
    eyes: Sequence[ir.Value | None] = (None, None, None)
    if weights.peepholes is not None:
        eyes = _split(op, weights.peepholes, [hidden] * 3, 0)

    def peep(op: Operators, gate: ir.Value, eye: ir.Value | None, c: ir.Value) -> ir.Value:
        return _call(op, names[0], gate if eye is None else op.Add(gate, op.Mul(eye, c)))

    def step(
        op: Operators, moment: ir.Value, h: ir.Value, c: ir.Value | None
    ) -> tuple[ir.Value, ir.Value | None]:
        assert c is not None
        gates = _plus(op, moment, op.MatMul(h, turned), weights.input_bias, weights.recurrent_bias)
        i, o, f, g = _split(op, gates, [hidden] * 4, 1)
        kept = op.Mul(peep(op, f, eyes[2], c), c)
        following = op.Add(kept, op.Mul(peep(op, i, eyes[0], c), _call(op, names[1], g)))
        return op.Mul(peep(op, o, eyes[1], following), _call(op, names[2], following)), following

    return step


def _gru(op: Operators, weights: _Weights, hidden: int, names: list[str], linear_first: bool) -> Step:
    to_gates, to_state = _split(op, weights.recurrent, [2 * hidden, hidden], 0)
    gate_weight, state_weight = (op.Transpose(v, perm=[1, 0]) for v in (to_gates, to_state))
    biases = [
        (None, None) if b is None else _split(op, b, [2 * hidden, hidden], 0)
        for b in (weights.input_bias, weights.recurrent_bias)
    ]
    (input_gates, input_state), (recurrent_gates, recurrent_state) = biases

    def step(
        op: Operators, moment: ir.Value, h: ir.Value, c: ir.Value | None
    ) -> tuple[ir.Value, ir.Value | None]:
        gates_share, state_share = _split(op, moment, [2 * hidden, hidden], 1)
        gates = _plus(op, gates_share, op.MatMul(h, gate_weight), input_gates, recurrent_gates)
        z, r = _split(op, _call(op, names[0], gates), [hidden] * 2, 1)
        if linear_first:
            reset = op.Mul(r, _plus(op, op.MatMul(h, state_weight), recurrent_state))
        else:
            reset = _plus(op, op.MatMul(op.Mul(r, h), state_weight), recurrent_state)
        proposed = _call(op, names[1], _plus(op, state_share, input_state, reset))
        # (1 − z)·proposed + z·h
        return op.Add(proposed, op.Mul(z, op.Sub(h, proposed))), c

    return step
