"""Rules for control flow."""

import onnx_ir as ir

from specprobe.autodiff.operators import Operators
from specprobe.autodiff.registry import Cotangent, vjp

__all__: list[str] = []


@vjp("If")
def if_(op: Operators, node: ir.Node, *dys: ir.Value | None) -> tuple[Cotangent, ...]:
    """An ``If`` whose branches run forward again, then compute the cotangents of what they read from outside."""
    from specprobe.autodiff.reverse import reads

    captured = reads(node)[len(node.inputs) :]
    wanted = [value for value in captured if value is not None and op.wants(value)]
    cotangents = op.several("If", *node.inputs, outputs=len(wanted))
    made = cotangents[0].producer()
    assert made is not None
    for branch in ("then_branch", "else_branch"):
        # Names of an inner scope must differ from those around it: the new node's own begin them.
        graph = _reversed(node, branch, dys, wanted, prefix=f"{cotangents[0].name}/{branch}")
        made.attributes[branch] = ir.AttrGraph(branch, graph)
    for value, cotangent in zip(wanted, cotangents, strict=True):
        cotangent.type = value.type
    found = dict(zip(wanted, cotangents, strict=True))
    return *(None for _ in node.inputs), *(None if value is None else found.get(value) for value in captured)


def _reversed(
    node: ir.Node, branch: str, dys: tuple[ir.Value | None, ...], wanted: list[ir.Value], *, prefix: str
) -> ir.Graph:
    """The branch, with the cotangents of ``wanted`` in place of its outputs."""
    from specprobe.autodiff.reverse import append_cotangents

    assert isinstance(node.graph, ir.Graph)
    graph = node.attributes[branch].as_graph().clone(allow_outer_scope_values=True)
    graph.opset_imports.update(node.graph.opset_imports)  # a subgraph states none of its own
    model = ir.Model(graph, ir_version=10)
    op = Operators(model, prefix=f"{prefix}/seed")
    seeds: dict[ir.Value, ir.Value] = {}
    for output, dy in zip(graph.outputs, dys, strict=True):
        if dy is not None:
            seeds[output] = op.Add(seeds[output], dy) if output in seeds else dy
    cotangents = append_cotangents(model, seeds=seeds, wrt=wanted, prefix=f"{prefix}/vjp")
    op = Operators(model, prefix=f"{prefix}/output")
    graph.outputs.clear()
    for value, cotangent in zip(wanted, cotangents, strict=True):
        output = op.zeros_like(value) if cotangent is None else op.Identity(cotangent)
        output.type, output.shape = value.type, value.shape
        graph.outputs.append(output)
    return graph
