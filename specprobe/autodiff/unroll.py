"""Loops of known length written out, so that the rules of the operators inside suffice."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import onnx_ir as ir

from specprobe.autodiff.operators import is_real
from specprobe.autodiff.reverse import nodes_between
from specprobe.errors import UnsupportedOperator
from specprobe.graph.constants import constant_source, constant_value
from specprobe.graph.emit import Emitter
from specprobe.graph.folding import folded
from specprobe.graph.limits import printable
from specprobe.graph.load import infer_shapes

__all__ = ["MAX_NODES", "unrolled"]

MAX_NODES = 20_000
"""That unrolling may add to a model."""

_RANDOM = frozenset(
    {"Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Plan:
    """A loop of known length, in the terms that ``Loop`` and ``Scan`` share.

    The node's inputs are ``leading`` ones about the length, then ``carried``, then ``scanned``; the body's are as many
    that tell the iteration, then what is carried, then slices. The body's outputs are ``conditions``, then what is
    carried on, then slices of the rest of the node's outputs.
    """

    node: ir.Node
    body: ir.Graph
    length: int
    leading: int
    conditions: int
    input_axes: Sequence[int]
    input_backwards: Sequence[int]
    output_axes: Sequence[int]
    output_backwards: Sequence[int]

    @property
    def carried(self) -> list[ir.Value]:
        """Of the first iteration; changes while loops before this one are written out."""
        stop = len(self.node.inputs) - len(self.input_axes)
        return [value for value in self.node.inputs[self.leading : stop] if value is not None]

    @property
    def scanned(self) -> list[ir.Value]:
        """Inputs of which each iteration sees a slice."""
        inputs = self.node.inputs[len(self.node.inputs) - len(self.input_axes) :]
        return [value for value in inputs if value is not None]

    @property
    def cost(self) -> int:
        """Nodes that stand for the loop."""
        inside = sum(1 for _ in self.body.all_nodes())
        return self.length * (inside + len(self.input_axes) + len(self.output_axes)) + len(self.node.outputs)


def unrolled(
    model: ir.Model, /, *, of: Iterable[str] | None = None, wrt: Iterable[str] | None = None
) -> ir.Model:
    """``model`` with a copy of the body for every iteration of loops between two ends.

    A ``Loop`` is written out where its trip count is constant and its condition never turns false, a ``Scan`` where the
    length of a scanned axis is known. Those within branches of an ``If`` or within another loop that is written out are,
    too. Others stay, as do those that draw random numbers or carry what is no tensor.

    Parameters
    ----------
    model : onnx_ir.Model
        Flat, typed, at opset 18 or above. Unchanged on return.
    of, wrt : iterable of str, optional
        Names of the ends: tensors, and inputs or initializers. All floating-point outputs and inputs, if not given.

    Returns
    -------
    onnx_ir.Model
        Computes the same numbers, under the same names; ``model`` itself where nothing is to be done.

    Raises
    ------
    UnsupportedOperator
        If that took more than :data:`MAX_NODES` nodes.
    """
    ends = None if of is None else set(of), None if wrt is None else set(wrt)
    if not any(_plans(model, *ends)):
        return model
    work = infer_shapes(model)
    spent = 0
    while plans := list(_plans(work, *ends)):
        for plan in plans:  # loops that they hold, or whose lengths they hid, come to light in the next round
            spent += plan.cost
            if spent > MAX_NODES:
                msg = (
                    f"{plan.node.op_type} (node '{printable(plan.node.name or '')}') of {plan.length} iterations "
                    f"would be written out for its gradient, which takes the model beyond {MAX_NODES} nodes; "
                    "shorten the loop, or the axis that it scans"
                )
                raise UnsupportedOperator(msg)
            _write_out(work, plan)
        work = folded(infer_shapes(work), in_place=True)
    return work


def _plans(model: ir.Model, of: set[str] | None, wrt: set[str] | None) -> Iterator[_Plan]:
    """Loops of known length between the ends."""
    graph = model.graph
    outermost = (*graph.inputs, *graph.initializers.values())
    starts = [
        v for v in outermost if (v.name in wrt if wrt is not None else v.is_graph_input() and is_real(v))
    ]
    inner = (output for node in graph for output in node.outputs)
    stops = [v for v in graph.outputs if is_real(v)] if of is None else [v for v in inner if v.name in of]
    return _plans_between(graph, starts, stops)


def _plans_between(graph: ir.Graph, wrt: Iterable[ir.Value], of: Iterable[ir.Value]) -> Iterator[_Plan]:
    nodes, values = nodes_between(graph, wrt, of)
    for node in nodes:
        if node.domain not in {"", "ai.onnx"}:
            continue
        plan = _loop(node) if node.op_type == "Loop" else _scan(node) if node.op_type == "Scan" else None
        if plan is not None and _is_plain(plan.body) and (plan.length or not plan.output_axes):
            yield plan
        elif node.op_type == "If":
            for branch in ("then_branch", "else_branch"):
                inside = node.attributes[branch].as_graph()
                yield from _plans_between(inside, values, inside.outputs)


def _is_plain(body: ir.Graph) -> bool:
    """Whether copies of a body do what the body does when it is run again: it is pure, and deals in tensors."""
    kinds = [value.type for value in (*body.inputs, *body.outputs)]
    if any(kind is not None and not isinstance(kind, ir.TensorType) for kind in kinds):
        return False
    constants = body.initializers.values()
    own = {*body.inputs, *constants, *(output for node in body for output in node.outputs)}
    if not own.issuperset(body.outputs) or any(value.dtype == ir.DataType.STRING for value in constants):
        return False
    return all(node.op_type not in _RANDOM and not _drops(node) for node in body.all_nodes())


def _drops(node: ir.Node) -> bool:
    return node.op_type == "Dropout" and len(node.inputs) > 2 and node.inputs[2] is not None


def _loop(node: ir.Node) -> _Plan | None:
    body = node.attributes["body"].as_graph()
    count, condition = [*node.inputs[:2], None, None][:2]
    carried = node.inputs[2:]
    runs = _fixed(condition) if condition is not None else True
    trips = known if (known := _fixed(count)) is not None else _known_size(count)
    if (
        runs is None
        or trips is None
        or None in carried
        or not (_is_true(body.outputs[0], body.inputs[1]) or not runs)
    ):
        return None
    scans = len(body.outputs) - 1 - len(carried)
    return _Plan(
        node=node,
        body=body,
        length=max(0, int(trips)) if runs else 0,
        leading=2,
        conditions=1,
        input_axes=(),
        input_backwards=(),
        output_axes=[0] * scans,
        output_backwards=[0] * scans,
    )


def _scan(node: ir.Node) -> _Plan | None:
    body, attributes = node.attributes["body"].as_graph(), node.attributes
    scans = attributes.get_int("num_scan_inputs", 1)
    states = len(node.inputs) - scans
    outputs = len(body.outputs) - states
    axes = attributes.get_ints("scan_input_axes") or [0] * scans
    lengths = {
        x.shape[axis]
        for x, axis in zip(node.inputs[states:], axes, strict=True)
        if x is not None and x.shape is not None
    }
    known = {length for length in lengths if isinstance(length, int)}
    if len(known) != 1:
        return None
    return _Plan(
        node=node,
        body=body,
        length=known.pop(),
        leading=0,
        conditions=0,
        input_axes=axes,
        input_backwards=attributes.get_ints("scan_input_directions") or [0] * scans,
        output_axes=attributes.get_ints("scan_output_axes") or [0] * outputs,
        output_backwards=attributes.get_ints("scan_output_directions") or [0] * outputs,
    )


def _fixed(value: ir.Value | None) -> Any:
    """The one number that ``value`` always holds, or None."""
    source = constant_source(value)
    content = constant_value(value)
    if source is None or source.is_graph_input() or content is None or content.size != 1:
        return None
    return content.reshape(()).item()


def _known_size(value: ir.Value | None) -> int | None:
    """The size of an axis, where that is what ``value`` reads off a shape that is known."""
    while value is not None and (node := value.producer()) is not None:
        if node.op_type == "Gather":
            index, shape = _fixed(node.inputs[1]), node.inputs[0]
            node = shape.producer() if shape is not None else None
            whole = node is not None and node.op_type == "Shape" and not node.attributes
            x = node.inputs[0] if node is not None and whole else None
            size = x.shape[index] if index is not None and x is not None and x.shape is not None else None
            return size if isinstance(size, int) else None
        if node.op_type not in {"Identity", "Reshape", "Squeeze", "Unsqueeze"}:
            return None
        value = node.inputs[0]
    return None


def _is_true(value: ir.Value, condition: ir.Value) -> bool:
    """Whether a body's condition is true whenever the one that it was given is."""
    while value is not condition:
        node = value.producer()
        if node is None or node.op_type not in {"Cast", "Identity"} or node.inputs[0] is None:
            break
        value = node.inputs[0]
    return value is condition or bool(_fixed(value))


def _write_out(model: ir.Model, plan: _Plan) -> None:
    """Put copies of the body in place of the node."""
    node, graph = plan.node, plan.node.graph
    assert isinstance(graph, ir.Graph)
    prefix = _new_prefix(model, node.name or node.op_type)
    graph.opset_imports.update(model.graph.opset_imports)  # a branch states none of its own
    op = Emitter(ir.Model(graph, ir_version=10), prefix=prefix, before=node)
    slices = [
        _slices(op, x, axis, plan.length, backwards=bool(backwards))
        for x, axis, backwards in zip(plan.scanned, plan.input_axes, plan.input_backwards, strict=True)
    ]
    carried = plan.carried
    stacked: list[list[ir.Value]] = [[] for _ in plan.output_axes]
    shared: dict[str, ir.Value] = {}
    asked = [bool(x.uses()) or x in plan.body.outputs for x in plan.body.inputs[: plan.leading]]
    true = op.constant(1, ir.DataType.BOOL) if asked[1:] == [True] else None
    for i in range(plan.length):
        number = op.constant(i, ir.DataType.INT64) if asked[:1] == [True] else None
        counters = [number, true][: plan.leading]
        given = [*counters, *carried, *(parts[i] for parts in slices)]
        made = _copy(op, plan, given, shared, f"{prefix}/{i}")[plan.conditions :]
        carried = list(made[: len(carried)])
        for parts, value in zip(stacked, made[len(carried) :], strict=True):
            parts.append(value)
    results = [
        *carried,
        *(
            _stack(op, parts, axis, backwards=bool(backwards))
            for parts, axis, backwards in zip(stacked, plan.output_axes, plan.output_backwards, strict=True)
        ),
    ]
    for old, result in zip(node.outputs, results, strict=False):
        if old.name and (old.uses() or old.is_graph_output()):
            new = op.Identity(result)
            new.type, new.shape = old.type, old.shape
            old.replace_all_uses_with(new, replace_graph_outputs=True)
            old.name, new.name = new.name, old.name
    graph.remove(node, safe=True)


def _slices(op: Emitter, x: ir.Value, axis: int, length: int, *, backwards: bool) -> list[ir.Value]:
    """What each iteration sees of a scanned input."""
    if is_real(x) and length > 0:  # a Gather for each would make a gradient as large as the whole for each
        parts = op.Split(x, axis=axis, num_outputs=length, outputs=length) if length > 1 else (x,)
        axes = op.constant([axis], ir.DataType.INT64)
        parts = [op.Squeeze(part, axes) for part in parts]
    else:
        parts = [op.Gather(x, op.constant(i, ir.DataType.INT64), axis=axis) for i in range(length)]
    return parts[::-1] if backwards else parts


def _stack(op: Emitter, parts: list[ir.Value], axis: int, *, backwards: bool) -> ir.Value:
    axes = op.constant([axis], ir.DataType.INT64)
    rows = [op.Unsqueeze(part, axes) for part in (parts[::-1] if backwards else parts)]
    joint: ir.Value = op.Concat(*rows, axis=axis)
    return joint


def _copy(
    op: Emitter, plan: _Plan, given: Sequence[ir.Value | None], shared: dict[str, ir.Value], prefix: str
) -> list[ir.Value]:
    """Copy the body before the node; constants of the body are copied once.

    Parameters
    ----------
    op : Emitter
        Emits before the node.
    plan : _Plan
        Of the node.
    given : sequence of onnx_ir.Value or None
        What the inputs of the body stand for; None for one that nothing reads.
    shared : dict of str to onnx_ir.Value
        Constants by their names in the body; those of the first copy are added.
    prefix : str
        Of the names in this copy; nothing has it yet.

    Returns
    -------
    list of onnx_ir.Value
        What the outputs of the body stand for.
    """
    graph = plan.node.graph
    assert isinstance(graph, ir.Graph)
    copy = plan.body.clone(allow_outer_scope_values=True)
    nodes, outputs = list(copy), list(copy.outputs)
    copy.outputs.clear()
    stands_for = {x: value for x, value in zip(copy.inputs, given, strict=True) if value is not None}
    for name, value in copy.initializers.items():
        if name not in shared:
            assert value.const_value is not None
            shared[name] = op.constant(value.const_value.numpy(), value.const_value.dtype)
        stands_for[value] = shared[name]
    for node in nodes:
        if node.op_type == "Constant" and not node.domain:
            (value,) = node.outputs
            if shared.setdefault(str(value.name), value) is not value:
                stands_for[value] = shared[str(value.name)]
    for k, node in enumerate(copy.all_nodes()):
        node.name = f"{prefix}/{node.name or f'{node.op_type}#{k}'}"
    for output in [output for node in nodes for output in node.outputs if output.name]:
        output.name = f"{prefix}/{output.name}"  # those within branches stay: nothing outside has their names
        output.shape = None  # of any iteration
    for old, new in stands_for.items():
        old.replace_all_uses_with(new)
    copy.remove(nodes)
    kept = [node for node in nodes if not any(output in stands_for for output in node.outputs)]
    graph.insert_before(plan.node, kept)
    return [stands_for.get(output, output) for output in outputs]


def _new_prefix(model: ir.Model, stem: str) -> str:
    """``stem``, or with a number behind it, so that no name of the model lies below it."""
    graphs = (model.graph, *model.graph.subgraphs())
    names = {str(value.name) for g in graphs for value in (*g.inputs, *g.initializers.values())}
    for node in model.graph.all_nodes():
        names.update(str(output.name) for output in node.outputs)
        names.add(str(node.name))
    prefix, n = stem, 0
    while any(name.startswith(f"{prefix}/") for name in names):
        n += 1
        prefix = f"{stem}_{n}"
    return prefix
