"""Which operator has which rule. A rule is one small function; see :mod:`specprobe.autodiff`."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

import onnx_ir as ir

from specprobe.errors import UnsupportedOperator
from specprobe.graph.limits import printable

__all__ = [
    "ByChannels",
    "Cotangent",
    "Rule",
    "missing_rules",
    "registered_rules",
    "require_rules",
    "rule_for",
    "supported_operators",
    "vjp",
]


@dataclass(frozen=True, slots=True)
class ByChannels:
    """A cotangent (N, C, …) that can be emitted whole, or for some of its channels alone.

    What flows back into a ``Concat`` is needed in parts. An operator that can compute each part by itself spares the
    runtime from cutting up what it keeps in blocks of channels.

    Attributes
    ----------
    whole : callable
        ``whole()`` emits all of it.
    part : callable
        ``part(start, stop)`` emits channels ``start`` to ``stop`` − 1.
    """

    whole: "Callable[[], ir.Value]"
    part: "Callable[[int, int], ir.Value]"

    def __call__(self) -> "ir.Value":
        """Emit all of it."""
        return self.whole()


Cotangent: TypeAlias = "ir.Value | ByChannels | Callable[[], ir.Value | None] | None"
"""What a rule returns for an input: its cotangent, a function that emits it where it is wanted, or None for zero."""

Function: TypeAlias = "Callable[..., Iterable[Cotangent]]"
F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """A registered rule.

    Attributes
    ----------
    function : callable
        ``function(op, node, *dys)``, one ``dy`` an output, None where an output has no cotangent.
    broadcasts : bool
        Whether inputs broadcast against one another: cotangents then have the output's shape, and the engine sums
        them to their input's.
    estimate : str or None
        What stands in for a derivative that is zero or undefined, such as ``straight-through``.
    divides : bool
        Whether ``dy`` may also be :class:`ByChannels`.
    """

    function: Function
    broadcasts: bool = False
    estimate: str | None = None
    divides: bool = False


_RULES: dict[tuple[str, str], Rule] = {}


def vjp(
    *operators: str,
    domain: str = "",
    broadcasts: bool = False,
    estimate: str | None = None,
    divides: bool = False,
) -> Callable[[F], F]:
    """Register the vector-Jacobian product of ``operators``.

    The decorated function takes the emitter, the node and one cotangent per output, and returns one cotangent per
    input: a value, None where the input has no gradient, or a function without arguments that emits it. Such a
    function is called only if the cotangent is wanted, so a rule never emits what nobody asked for.

    Parameters
    ----------
    *operators : str
        ONNX operator names.
    domain : str
        Of the operators.
    broadcasts : bool
        Whether inputs broadcast against one another. The rule may then return cotangents of the output's shape.
    estimate : str, optional
        What the rule returns in place of a derivative that is zero almost everywhere; reported wherever it is used.
    divides : bool
        Whether the rule also takes ``dy`` as :class:`ByChannels`, to be emitted in parts.

    Returns
    -------
    callable
        Decorator that returns the function as it is.

    Raises
    ------
    ValueError
        If an operator has a rule already.
    """

    def register(function: F) -> F:
        for operator in operators:
            taken = _RULES.get((domain, operator))
            if taken is not None:
                first, second = taken.function.__qualname__, function.__qualname__
                msg = f"{operator} has two rules: {first} in {taken.function.__module__} and {second} in {function.__module__}"
                raise ValueError(msg)
            _RULES[domain, operator] = Rule(
                function=function, broadcasts=broadcasts, estimate=estimate, divides=divides
            )
        return function

    return register


def rule_for(node: ir.Node, /) -> Rule | None:
    """Rule of a node's operator.

    Parameters
    ----------
    node : onnx_ir.Node
        Any node.

    Returns
    -------
    Rule or None
        None where there is none.
    """
    domain = "" if node.domain == "ai.onnx" else node.domain
    return _RULES.get((domain, node.op_type))


def registered_rules() -> dict[tuple[str, str], Rule]:
    """All rules.

    Returns
    -------
    dict of (str, str) to Rule
        By domain and operator; a copy.
    """
    return dict(_RULES)


def supported_operators() -> frozenset[str]:
    """Operators with a rule; those outside ONNX's own domain as ``domain::name``.

    Returns
    -------
    frozenset of str
        Names.
    """
    return frozenset(f"{domain}::{name}" if domain else name for domain, name in _RULES)


def missing_rules(nodes: Iterable[ir.Node], /) -> tuple[ir.Node, ...]:
    """Nodes whose operator has no rule.

    Parameters
    ----------
    nodes : iterable of onnx_ir.Node
        Those on the way from ``wrt`` to ``of``.

    Returns
    -------
    tuple of onnx_ir.Node
        In the same order.
    """
    return tuple(node for node in nodes if rule_for(node) is None)


def require_rules(nodes: Iterable[ir.Node], /) -> None:
    """Refuse, in one message, all nodes that have no rule.

    Parameters
    ----------
    nodes : iterable of onnx_ir.Node
        Those on the way from ``wrt`` to ``of``.

    Raises
    ------
    UnsupportedOperator
        Names every operator and where it stands.
    """
    missing: dict[str, list[str]] = {}
    for node in missing_rules(nodes):
        name = f"{node.domain}::{node.op_type}" if node.domain else node.op_type
        missing.setdefault(printable(name), []).append(printable(str(node.name or node.outputs[0].name)))
    if not missing:
        return
    listed = "; ".join(
        f"{operator} (node '{names[0]}'{f' and {len(names) - 1} more' if len(names) > 1 else ''})"
        for operator, names in sorted(missing.items())
    )
    msg = (
        f"no gradient rule for {listed}, between the input and the output; supported operators are listed in "
        "docs/operators.md; add a rule with @specprobe.autodiff.vjp, or name an output before these nodes"
    )
    raise UnsupportedOperator(msg)
