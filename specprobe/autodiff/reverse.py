"""Reverse mode over a graph. Knows no operator: walks the nodes between, sums, and asks the rules.

*Cotangent* of a value: gradient of a scalar with respect to it. ``dy`` arrives at a node, ``dx`` leaves it.
"""

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TypeAlias

import onnx_ir as ir

from specprobe.autodiff.operators import Operators, is_real
from specprobe.autodiff.registry import ByChannels, Cotangent, Rule, require_rules, rule_for
from specprobe.errors import UnsupportedOperator
from specprobe.graph.limits import printable

__all__ = ["append_cotangents", "nodes_between"]

_Parts: TypeAlias = "dict[ir.Value, list[ir.Value | ByChannels]]"
"""What has arrived at each value from the nodes behind it."""

_QUANTIZED = frozenset(
    ir.DataType[name]
    for name in ("INT2", "UINT2", "INT4", "UINT4", "INT8", "UINT8", "INT16", "UINT16", "INT32")
)
"""Types of quantized numbers and their sums. Shapes, positions and truth values have others."""


def nodes_between(
    graph: ir.Graph, wrt: Iterable[ir.Value], of: Iterable[ir.Value], /
) -> tuple[tuple[ir.Node, ...], set[ir.Value]]:
    """Nodes through which real numbers flow from ``wrt`` to ``of``.

    Parameters
    ----------
    graph : onnx_ir.Graph
        Topologically sorted.
    wrt, of : iterable of onnx_ir.Value
        Both ends.

    Returns
    -------
    nodes : tuple of onnx_ir.Node
        In the graph's order.
    values : set of onnx_ir.Value
        Everything real on the way, both ends included; also integers that stand for real numbers, as between
        ``QuantizeLinear`` and ``DequantizeLinear``. The cotangent of such integers is a floating-point tensor.
    """
    reached: set[ir.Value] = set(wrt)
    forward = []
    for node in graph:
        if any(value in reached for value in reads(node) if value is not None):
            forward.append(node)
            reached.update(
                output
                for output in node.outputs
                # What has no type, behind an operator that shape inference does not know, may be real.
                if output.dtype is None or is_real(output) or _stands_for_reals(node, output, reached)
            )
    needed: set[ir.Value] = set(of)
    between = []
    for node in reversed(forward):
        if any(output in needed and output in reached for output in node.outputs):
            between.append(node)
            needed.update(value for value in reads(node) if value in reached)
    return tuple(reversed(between)), needed & reached


def _stands_for_reals(node: ir.Node, output: ir.Value, reached: set[ir.Value]) -> bool:
    """Whether ``output`` holds integers with a cotangent: made by a rule that is an estimate, or out of such integers."""
    if output.dtype not in _QUANTIZED:
        return False
    rule = rule_for(node)
    if rule is not None and rule.estimate is not None:
        return True
    return any(x in reached and x.dtype in _QUANTIZED for x in node.inputs if x is not None)


def append_cotangents(
    model: ir.Model,
    /,
    *,
    seeds: Mapping[ir.Value, ir.Value],
    wrt: Sequence[ir.Value],
    prefix: str = "vjp",
    device: str = "cpu",
) -> tuple[ir.Value | None, ...]:
    """Append nodes that compute the cotangents of ``wrt`` from those of some values.

    Parameters
    ----------
    model : onnx_ir.Model
        Flat, typed, topologically sorted; its main graph grows at the end.
    seeds : mapping of onnx_ir.Value to onnx_ir.Value
        Cotangent of each value that the scalar is a function of, of the same shape and type.
    wrt : sequence of onnx_ir.Value
        Inputs, initializers or values inside.
    prefix : str
        Of all names given.
    device : {"cpu", "cuda"}
        Where the nodes are to run well. They run anywhere.

    Returns
    -------
    tuple of onnx_ir.Value or None
        One cotangent for each of ``wrt``, of its shape and type; None where it is zero.

    Raises
    ------
    UnsupportedOperator
        If nodes on the way have no rule; names all of them.
    """
    nodes, values = nodes_between(model.graph, wrt, seeds)
    require_rules(nodes)
    op = Operators(model, prefix=prefix, device=device)
    op.want(values)
    parts: _Parts = {value: [seed] for value, seed in seeds.items()}
    kept = set(wrt)
    for node in reversed(nodes):
        rule = rule_for(node)
        if rule is None:  # pragma: no cover - require_rules has seen to it
            continue
        dys = [
            _joined(op, parts, output)
            if rule.divides and output not in kept
            else _total(op, parts, output, keep=output in kept)
            for output in node.outputs
        ]
        if all(dy is None for dy in dys):
            continue
        with _ranks_needed(node):
            for x, dx in zip(reads(node), _apply(op, rule, node, dys), strict=True):
                if x is None or x not in values or dx is None:
                    continue
                if isinstance(dx, ByChannels) and x not in kept and _divides(x.producer()):
                    parts.setdefault(x, []).append(dx)
                    continue
                made = dx() if callable(dx) else dx
                if made is None:
                    continue
                fitted = sum_to_shape(op, made, x, node.outputs[0]) if rule.broadcasts else made
                if all(fitted is not dy for dy in dys) and x.shape is not None:
                    fitted.shape = x.shape
                parts.setdefault(x, []).append(fitted)
    return tuple(_total(op, parts, value, keep=True) for value in wrt)


@contextlib.contextmanager
def _ranks_needed(node: ir.Node) -> Iterator[None]:
    """Rules may take ranks for granted; where one is open, say so instead of failing on it."""
    try:
        yield
    except AssertionError as error:
        open_ranks = [v for v in (*node.inputs, *node.outputs) if v is not None and v.shape is None]
        if not open_ranks:
            raise
        name, value = (printable(str(thing)) for thing in (node.name, open_ranks[0].name))
        msg = (
            f"no gradient rule for {node.op_type} (node '{name}') where '{value}' is of unknown rank; "
            "export the model with fixed shapes"
        )
        raise UnsupportedOperator(msg) from error


def sum_to_shape(op: Operators, dx: ir.Value, x: ir.Value, y: ir.Value, /) -> ir.Value:
    """Undo broadcasting: sum ``dx``, which has the shape of ``y``, over the axes along which ``x`` was repeated.

    Parameters
    ----------
    op : Operators
        Emits.
    dx : onnx_ir.Value
        Of the shape of ``y``.
    x, y : onnx_ir.Value
        Input and output of a broadcasting operator.

    Returns
    -------
    onnx_ir.Value
        Of the shape of ``x``; ``dx`` itself where nothing was repeated.
    """
    if x.shape is not None and y.shape is not None:
        inner, outer = list(x.shape), list(y.shape)
        padded = [1] * (len(outer) - len(inner)) + inner
        same = [a == b and (isinstance(a, int) or _named(a)) for a, b in zip(padded, outer, strict=True)]
        if len(inner) == len(outer) and all(same):
            return dx
        repeated = [i for i, a in enumerate(padded) if a == 1 and not same[i]]
        if all(equal or padded[i] == 1 for i, equal in enumerate(same)):
            leading = len(outer) - len(inner)
            if all(i < leading for i in repeated):
                extra = [i for i in range(leading) if i not in repeated]
                return op.ReduceSum(dx, op.ints([*repeated, *extra]), keepdims=0)
            summed = op.ReduceSum(dx, op.ints(repeated), keepdims=1)
            return summed if not leading else op.reshape_like(summed, x)
    # A size is open: find out at run time along which axes x has one element.
    missing = op.Sub(op.Size(op.Shape(dx)), op.Size(op.shape_of(x)))
    one = op.constant(1, ir.DataType.INT64)
    ones = op.Expand(one, op.Unsqueeze(missing, op.ints([0])))
    single = op.Equal(op.Concat(ones, op.shape_of(x), axis=0), one)
    axes = op.Squeeze(op.NonZero(single), op.ints([0]))
    summed = op.ReduceSum(dx, axes, keepdims=1, noop_with_empty_axes=1)
    return op.reshape_like(summed, x)


def _named(dim: object) -> bool:
    return isinstance(dim, ir.SymbolicDim) and dim.value is not None


def _apply(
    op: Operators, rule: Rule, node: ir.Node, dys: "Sequence[ir.Value | ByChannels | None]"
) -> Sequence[Cotangent]:
    dxs = tuple(rule.function(op, node, *dys))
    if len(dxs) != len(reads(node)):
        msg = f"the rule of {node.op_type} returned {len(dxs)} cotangents for {len(reads(node))} inputs"
        raise AssertionError(msg)
    return dxs


def _divides(node: ir.Node | None) -> bool:
    rule = rule_for(node) if node is not None else None
    return rule is not None and rule.divides


def _total(op: Operators, parts: _Parts, value: ir.Value, *, keep: bool) -> ir.Value | None:
    """Sum of what has arrived at ``value``, which then counts as one arrival."""
    arrived = parts.get(value) if keep else parts.pop(value, None)
    if not arrived:
        return None
    total = _sum(op, [part() if isinstance(part, ByChannels) else part for part in arrived], value.shape)
    if keep:
        parts[value] = [total]
    return total


def _joined(op: Operators, parts: _Parts, value: ir.Value) -> ir.Value | ByChannels | None:
    """The same, still divisible where all that has arrived is."""
    arrived = parts.get(value, [])
    divisible = [part for part in arrived if isinstance(part, ByChannels)]
    if not divisible or len(divisible) < len(arrived):
        return _total(op, parts, value, keep=False)
    del parts[value]

    def part(start: int, stop: int) -> ir.Value:
        shape = None if value.shape is None else ir.Shape([value.shape[0], stop - start, *value.shape[2:]])
        return _sum(op, [each.part(start, stop) for each in divisible], shape)

    return ByChannels(lambda: _sum(op, [each() for each in divisible], value.shape), part)


def _sum(op: Operators, arrived: Sequence[ir.Value], shape: ir.Shape | None) -> ir.Value:
    """One by one: the runtime adds while it convolves."""
    total = arrived[0]
    for part in arrived[1:]:
        total = op.Add(total, part)
        total.shape = shape
    return total


def reads(node: ir.Node, /) -> list[ir.Value | None]:
    """What a node depends on, and what its rule returns cotangents for.

    Parameters
    ----------
    node : onnx_ir.Node
        Any node.

    Returns
    -------
    list of onnx_ir.Value or None
        Its inputs, then, each once, the values outside that its subgraphs read.
    """
    captured: dict[ir.Value, None] = {}
    for attribute in node.attributes.values():
        if attribute.type == ir.AttributeType.GRAPH:
            graphs = [attribute.as_graph()]
        elif attribute.type == ir.AttributeType.GRAPHS:
            graphs = list(attribute.as_graphs())
        else:
            continue
        for graph in graphs:
            own = {*graph.inputs, *graph.initializers.values()}
            own.update(output for inner in graph.all_nodes() for output in inner.outputs)
            used = [v for inner in graph.all_nodes() for v in inner.inputs if v is not None]
            captured.update((v, None) for v in (*used, *graph.outputs) if v not in own)
    return [*node.inputs, *captured]
