"""Rules for operators of classical learning, ``ai.onnx.ml``."""

import onnx_ir as ir

from specprobe.autodiff.expansion import through_expansion
from specprobe.autodiff.operators import Operators
from specprobe.autodiff.registry import Cotangent, vjp

__all__: list[str] = []

_DOMAIN = "ai.onnx.ml"


@vjp("ArrayFeatureExtractor", domain=_DOMAIN)
def array_feature_extractor(op: Operators, node: ir.Node, dy: ir.Value) -> tuple[Cotangent, ...]:
    """Sum of all that was picked from each place of the last axis."""
    x = node.inputs[0]
    assert x is not None
    assert x.shape is not None
    is_row = len(x.shape) == 1  # of which the operator makes a matrix

    def expansion(inner: Operators, *inputs: ir.Value | None) -> list[ir.Value]:
        x, places = inputs
        assert places is not None
        picked = inner.Gather(x, inner.Reshape(places, inner.ints([-1])), axis=-1)
        return [inner.Unsqueeze(picked, inner.ints([0])) if is_row else picked]

    return through_expansion(op, node, [dy], expansion)


@vjp("Binarizer", "TreeEnsemble", domain=_DOMAIN)
def steps(_op: Operators, _node: ir.Node, _dy: ir.Value) -> tuple[Cotangent, ...]:
    """Steps: 0 wherever they have a derivative."""
    return (None,)
