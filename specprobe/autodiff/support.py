"""Whether the gradient of a model could be built, without building it."""

import onnx_ir as ir

from specprobe.autodiff import rules
from specprobe.autodiff.operators import is_real
from specprobe.autodiff.registry import missing_rules
from specprobe.autodiff.reverse import nodes_between
from specprobe.autodiff.unroll import unrolled
from specprobe.graph.folding import folded

__all__ = ["unsupported_nodes"]

_ = rules  # importing the package registers the rules


def unsupported_nodes(model: ir.Model, /) -> tuple[ir.Node, ...] | None:
    """Nodes without a gradient rule between the floating-point inputs and outputs.

    Parameters
    ----------
    model : onnx_ir.Model
        Flat, typed, at opset 18 or above.

    Returns
    -------
    tuple of onnx_ir.Node or None
        Empty where every operator has a rule; None where no floating-point numbers flow from an input to an output.

    Raises
    ------
    UnsupportedOperator
        If a loop is too long to be written out.
    """
    model = unrolled(folded(model))
    ends = [[v for v in side if is_real(v)] for side in (model.graph.inputs, model.graph.outputs)]
    nodes, values = nodes_between(model.graph, *ends)
    if not any(output in values for output in ends[1]) or not ends[0]:
        return None
    return missing_rules(nodes)
