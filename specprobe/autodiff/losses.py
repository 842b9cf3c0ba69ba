"""Losses of logits, appended to a graph: one number an example."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import onnx_ir as ir

from specprobe.autodiff.operators import Operators
from specprobe.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["LOSSES", "Loss", "append_loss"]

_TINY = 1e-12
"""Keeps the difference of logits ratio finite where all logits are equal, as in its definition."""

_TINY_HALF = 6.103515625e-05
"""The same in float16, whose least normal number this is: 1e-12 would be 0."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """How a loss is written.

    Attributes
    ----------
    function : callable
        ``function(op, logits, is_label, is_target)``: logits (N, K), masks (N, K) of the labelled and the target
        class; returns (N,).
    classes : int
        Fewest classes that it is defined for.
    targeted : bool
        Whether it takes ``targets``.
    """

    function: "Callable[[Operators, ir.Value, ir.Value, ir.Value | None], ir.Value]"
    classes: int = 2
    targeted: bool = False


def append_loss(
    op: Operators, loss: str, logits: ir.Value, labels: ir.Value, targets: ir.Value | None = None, /
) -> ir.Value:
    """Append a loss.

    Parameters
    ----------
    op : Operators
        Emits.
    loss : str
        One of :data:`LOSSES`.
    logits : onnx_ir.Value
        (N, K), or (N, K, 1, …), which is flattened.
    labels : onnx_ir.Value
        (N,), int64. A label outside 0 to K − 1 makes loss and gradient of that example NaN.
    targets : onnx_ir.Value, optional
        Likewise, for targeted losses.

    Returns
    -------
    onnx_ir.Value
        (N,), of the type of ``logits``.

    Raises
    ------
    ModelError
        If the logits have another rank, or too few classes for this loss.
    """
    chosen = LOSSES[loss]
    rank = None if logits.shape is None else len(logits.shape)
    if rank is None or rank < 2 or any(d != 1 for d in list(logits.shape or [])[2:]):
        msg = f"'{logits.name}' has shape {logits.shape}; a loss needs logits [N, K] or [N, K, 1, 1]"
        raise ModelError(msg)
    classes = None if logits.shape is None else logits.shape[1]
    if isinstance(classes, int) and classes < chosen.classes:
        msg = f"the loss '{loss}' needs {chosen.classes} classes or more, '{logits.name}' has {classes}"
        raise ModelError(msg)
    flat = logits if rank == 2 else op.Flatten(logits, axis=1)
    count = op.Squeeze(op.dim(logits, 1), op.ints([0]))
    numbers = op.Range(op.constant(0, ir.DataType.INT64), count, op.constant(1, ir.DataType.INT64))
    is_label = op.Equal(op.Unsqueeze(labels, op.ints([1])), numbers)
    is_target = None if targets is None else op.Equal(op.Unsqueeze(targets, op.ints([1])), numbers)
    # Gather would wrap −1 round to the last class; NaN cannot be mistaken for a number. As a factor before and
    # behind the loss it also reaches the gradient, which masks would keep at 0.
    poison = _one_or_nan(op, flat, is_label)
    if is_target is not None:
        poison = op.Mul(poison, _one_or_nan(op, flat, is_target))
    result = chosen.function(op, op.Mul(flat, poison), is_label, is_target)
    return op.Mul(result, op.Squeeze(poison, op.ints([1])))


def _one_or_nan(op: Operators, logits: ir.Value, mask: ir.Value) -> ir.Value:
    """1 for each row in which ``mask`` marks a class, else NaN; (N, 1)."""
    marked = op.ReduceMax(op.Cast(mask, to=ir.DataType.INT32.value), op.ints([1]), keepdims=1)
    valid = op.Cast(marked, to=ir.DataType.BOOL.value)
    return op.Where(valid, op.scalar(1, logits), op.scalar(float("nan"), logits))


def _pick(op: Operators, values: ir.Value, mask: ir.Value) -> ir.Value:
    """The one entry of each row that ``mask`` marks."""
    return op.ReduceSum(op.Where(mask, values, op.scalar(0, values)), op.ints([1]), keepdims=0)


def _cross_entropy(op: Operators, logits: ir.Value, is_label: ir.Value, _: ir.Value | None) -> ir.Value:
    """−log softmax(z)_y."""
    return op.Neg(_pick(op, op.LogSoftmax(logits, axis=1), is_label))


def _others(op: Operators, logits: ir.Value, is_label: ir.Value) -> ir.Value:
    """Largest logit of the other classes."""
    least = op.scalar(float("-inf"), logits)
    return op.ReduceMax(op.Where(is_label, least, logits), op.ints([1]), keepdims=0)


def _margin(op: Operators, logits: ir.Value, is_label: ir.Value, _: ir.Value | None) -> ir.Value:
    """Max over i ≠ y of z_i, minus z_y: above 0 exactly where the example is misclassified."""
    return op.Sub(_others(op, logits, is_label), _pick(op, logits, is_label))


def _largest(op: Operators, logits: ir.Value, count: int) -> list[ir.Value]:
    """The ``count`` largest logits of each example, in falling order, each (N,)."""
    values, _ = op.several("TopK", logits, op.ints([count]), axis=1, outputs=2)
    return [op.Gather(values, op.constant(i, ir.DataType.INT64), axis=1) for i in range(count)]


def _tiny(op: Operators, logits: ir.Value) -> ir.Value:
    return op.scalar(_TINY_HALF if logits.dtype == ir.DataType.FLOAT16 else _TINY, logits)


def _dlr(op: Operators, logits: ir.Value, is_label: ir.Value, _: ir.Value | None) -> ir.Value:
    """−(z_y − max over i ≠ y of z_i) / (z_π1 − z_π3 + 1e-12) (Croce & Hein 2020)."""
    first, _second, third = _largest(op, logits, 3)
    scale = op.Add(op.Sub(first, third), _tiny(op, logits))
    return op.Div(_margin(op, logits, is_label, None), scale)


def _targeted_dlr(
    op: Operators, logits: ir.Value, is_label: ir.Value, is_target: ir.Value | None
) -> ir.Value:
    """−(z_y − z_t) / (z_π1 − (z_π3 + z_π4)/2 + 1e-12) (Croce & Hein 2020)."""
    if is_target is None:
        msg = "the targeted loss needs targets"
        raise TypeError(msg)
    first, _second, third, fourth = _largest(op, logits, 4)
    half = op.Mul(op.Add(third, fourth), op.scalar(0.5, logits))
    scale = op.Add(op.Sub(first, half), _tiny(op, logits))
    picked = (_pick(op, logits, mask) for mask in (is_target, is_label))
    return op.Div(op.Sub(*picked), scale)


def _logit(op: Operators, logits: ir.Value, is_label: ir.Value, _: ir.Value | None) -> ir.Value:
    """z_y."""
    return _pick(op, logits, is_label)


LOSSES = {
    "cross-entropy": Loss(function=_cross_entropy),
    "margin": Loss(function=_margin),
    "dlr": Loss(function=_dlr, classes=3),
    "targeted-dlr": Loss(function=_targeted_dlr, classes=4, targeted=True),
    "logit": Loss(function=_logit, classes=1),
}
"""Losses by name. All but ``logit`` grow as the labelled class becomes less likely."""
