"""Reverse-mode derivatives of ONNX graphs, as ONNX graphs in standard operators.

Vocabulary: the *cotangent* of a value is the gradient of a scalar with respect to it; ``dy`` arrives at a node, ``dx``
leaves it. A rule is one function that writes ``dx`` with an emitter, ``op``:

>>> from specprobe.autodiff import vjp
>>> @vjp("Negate", domain="my.domain")
... def negate(op, node, dy):
...     return (op.Neg(dy),)

It returns one entry per input: a value, None for zero, or a function that emits the value if it is wanted. The engine
undoes broadcasting, sums over uses, leaves out what nobody asked for, and refuses a graph that holds an operator
without a rule.
"""

from specprobe.autodiff.gradient import gradient_names, with_gradient
from specprobe.autodiff.operators import Operators
from specprobe.autodiff.registry import missing_rules, supported_operators, vjp

__all__ = ["Operators", "gradient_names", "missing_rules", "supported_operators", "vjp", "with_gradient"]
