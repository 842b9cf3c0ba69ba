"""Rules that write an operator as simpler ones and let the engine differentiate those."""

from collections.abc import Callable, Sequence
from typing import Any

import onnx_ir as ir

from specprobe.autodiff.operators import Operators, is_real, static_shape
from specprobe.autodiff.registry import Cotangent
from specprobe.autodiff.reverse import append_cotangents
from specprobe.graph.load import IR_VERSION, infer_shapes

__all__ = ["Expansion", "opset_of", "through_expansion"]

Expansion = Callable[..., Sequence[ir.Value | None]]
"""``expansion(op, *inputs)`` emits what an operator is defined as; returns one value per output."""


def opset_of(node: ir.Node, /) -> int:
    """Opset of the graph that a node stands in.

    Parameters
    ----------
    node : onnx_ir.Node
        Of the main graph.

    Returns
    -------
    int
        Version of ONNX's own domain.
    """
    assert node.graph is not None
    return int(node.graph.opset_imports[""])


def through_expansion(
    op: Operators, node: ir.Node, dys: Sequence[ir.Value | None], expansion: Expansion, /
) -> tuple[Cotangent, ...]:
    """Cotangents of a node, by the rules of the simpler operators that it stands for.

    The expansion is emitted into a graph of its own and differentiated there; what the cotangents need of it, often
    little, is copied behind the graph at hand. The node itself stays.

    Parameters
    ----------
    op : Operators
        Emits.
    node : onnx_ir.Node
        The operator.
    dys : sequence of onnx_ir.Value or None
        Its outputs' cotangents.
    expansion : callable
        ``expansion(op, *inputs)``: one stand-in an input, None where the node has none; returns one value per output
        that has a cotangent, anything or None for the others.

    Returns
    -------
    tuple of onnx_ir.Value or None
        One an input.
    """
    wanted = [i for i, x in enumerate(node.inputs) if is_real(x) and op.wants(x)]
    seeded = [i for i, dy in enumerate(dys) if dy is not None]
    nothing: list[Cotangent] = [None for _ in node.inputs]
    if not wanted or not seeded:
        return tuple(nothing)
    inputs = [None if x is None else _stand_in(f"x{i}", x) for i, x in enumerate(node.inputs)]
    seeds = [_stand_in(f"dy{i}", node.outputs[i]) for i in seeded]
    graph = ir.Graph(
        [value for value in (*inputs, *seeds) if value is not None],
        [],
        nodes=[],
        opset_imports={"": opset_of(node)},
        name="expansion",
    )
    model = ir.Model(graph, ir_version=IR_VERSION)
    inner = Operators(model, prefix="inner", device=op.device)
    made = list(expansion(inner, *inputs))
    for i in seeded:
        y = made[i]
        assert y is not None
        output = inner.Identity(y)
        output.name, output.type, output.shape = f"y{i}", node.outputs[i].type, node.outputs[i].shape
        graph.outputs.append(output)
    typed = infer_shapes(model)
    values = {str(v.name): v for v in (*typed.graph.inputs, *typed.graph.outputs)}
    cotangents = append_cotangents(
        typed,
        seeds={values[f"y{i}"]: values[f"dy{i}"] for i in seeded},
        wrt=[values[f"x{i}"] for i in wanted],
        device=op.device,
    )
    outer = {values[f"x{i}"]: x for i, x in enumerate(node.inputs) if x is not None}
    outer |= {values[f"dy{i}"]: dy for i, dy in enumerate(dys) if dy is not None}
    copied = _copy(op, typed.graph, cotangents, outer)
    for i, cotangent in zip(wanted, copied, strict=True):
        nothing[i] = cotangent
    return tuple(nothing)


def _stand_in(name: str, value: ir.Value) -> ir.Value:
    return ir.Value(name=name, type=value.type, shape=value.shape)


def _copy(
    op: Operators, graph: ir.Graph, results: Sequence[ir.Value | None], outer: dict[ir.Value, ir.Value]
) -> list[ir.Value | None]:
    """Emit the nodes that ``results`` need; ``outer`` says what stands for the inputs."""
    needed = {value for value in results if value is not None}
    live = []
    for node in reversed(graph):
        if any(output in needed for output in node.outputs):
            live.append(node)
            needed.update(value for value in node.inputs if value is not None)

    def at(value: ir.Value | None) -> ir.Value | None:
        if value is None:
            return None
        if value not in outer:
            assert value.const_value is not None
            outer[value] = op.constant(value.const_value.numpy(), value.dtype)
        return outer[value]

    for node in reversed(live):
        attributes: dict[str, Any] = {
            name: a.value if a.type == ir.AttributeType.INT else a for name, a in node.attributes.items()
        }
        made = op.several(node.op_type, *map(at, node.inputs), outputs=len(node.outputs), **attributes)
        for old, new in zip(node.outputs, made, strict=True):
            if old.type is not None:
                new.type = old.type
            if (known := static_shape(old)) is not None:
                new.shape = ir.Shape(known)
            outer[old] = new
    return [at(value) for value in results]
