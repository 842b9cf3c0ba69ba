"""Rules for classification losses that the model itself computes."""

import onnx_ir as ir

from specprobe.autodiff.operators import Operators
from specprobe.autodiff.registry import Cotangent, vjp

__all__: list[str] = []


@vjp("SoftmaxCrossEntropyLoss")
def softmax_cross_entropy(
    op: Operators, node: ir.Node, dy: ir.Value | None, dlog: ir.Value | None = None
) -> tuple[Cotangent, ...]:
    """``w (softmax − one-hot)``; labels equal to ``ignore_index`` have no gradient."""
    scores = node.inputs[0]
    assert scores is not None
    stored = len(node.outputs) > 1 and bool(node.outputs[1].name)
    logarithms = node.outputs[1] if stored else op.LogSoftmax(scores, axis=1)
    loss = _Loss(op, node, dy)

    def dscores() -> ir.Value | None:
        probabilities = op.Exp(logarithms)
        parts = []
        if dy is not None:
            one_hot = op.Cast(loss.is_label(), to=_type(scores).value)
            parts.append(op.Mul(op.Sub(probabilities, one_hot), loss.share()))
        if dlog is not None:
            total = op.ReduceSum(dlog, op.ints([1]), keepdims=1)
            parts.append(op.Sub(dlog, op.Mul(probabilities, total)))
        return None if not parts else parts[0] if len(parts) == 1 else op.Add(*parts)

    return dscores, *loss.of_labels_and_weights(logarithms)


@vjp("NegativeLogLikelihoodLoss")
def negative_log_likelihood(op: Operators, node: ir.Node, dy: ir.Value) -> tuple[Cotangent, ...]:
    """``−w`` at the label; labels equal to ``ignore_index`` have no gradient."""
    logarithms = node.inputs[0]
    assert logarithms is not None
    loss = _Loss(op, node, dy)

    def dlogarithms() -> ir.Value:
        return op.Where(loss.is_label(), op.Neg(loss.share()), op.scalar(0, dy))

    return dlogarithms, *loss.of_labels_and_weights(logarithms)


class _Loss:
    """What both losses share. Logarithms are [N, C, D1, …], labels [N, D1, …]; masks have the former shape."""

    def __init__(self, op: Operators, node: ir.Node, dy: ir.Value | None) -> None:
        logarithms, labels, *weights = node.inputs
        assert logarithms is not None
        assert labels is not None
        assert logarithms.shape is not None
        self._op, self._dy = op, dy
        self._labels, self._logarithms = labels, logarithms
        self._weights = weights[0] if weights else None
        self._given = len(weights)
        self._loss = node.outputs[0]
        self._rank = len(logarithms.shape)
        self._reduction = node.attributes.get_string("reduction", "mean")
        self._ignored = node.attributes.get_int("ignore_index", None)

    def is_label(self) -> ir.Value:
        """Mask of the labelled class."""
        op, integer = self._op, ir.DataType.INT64
        count = op.Squeeze(op.dim(self._logarithms, 1), op.ints([0]))
        numbers = op.Range(op.constant(0, integer), count, op.constant(1, integer))
        classes = op.Unsqueeze(numbers, op.ints(range(1, self._rank - 1))) if self._rank > 2 else numbers
        return op.Equal(op.Unsqueeze(self._wide_labels(), op.ints([1])), classes)

    def _wide_labels(self) -> ir.Value:
        if self._labels.dtype == ir.DataType.INT64:
            return self._labels
        return self._op.Cast(self._labels, to=ir.DataType.INT64.value)

    def _factors(self) -> ir.Value | None:
        """Weight of each label, [N, D1, …]; None where all are 1."""
        op, labels, one = self._op, self._wide_labels(), self._op.scalar(1, self._logarithms)
        if self._ignored is None:
            return None if self._weights is None else op.Gather(self._weights, labels, axis=0)
        zero = op.constant(0, ir.DataType.INT64)
        ignored = op.Equal(labels, op.constant(self._ignored, ir.DataType.INT64))
        factors = one
        if self._weights is not None:
            factors = op.Gather(self._weights, op.Where(ignored, zero, labels), axis=0)
        return op.Where(ignored, op.scalar(0, self._logarithms), factors)

    def _total(self, factors: ir.Value | None) -> ir.Value:
        """Sum of the factors: what a mean is taken over."""
        op = self._op
        if factors is None:
            return op.Cast(op.Size(self._labels), to=_type(self._logarithms).value)
        return op.ReduceSum(factors, keepdims=0)

    def share(self) -> ir.Value:
        """Cotangent of minus the labelled logarithm, [N, 1, D1, …] or of no axes."""
        op, dy, factors = self._op, self._dy, self._factors()
        assert dy is not None
        if self._reduction == "mean":
            dy = op.Div(dy, self._total(factors))
        share = dy if factors is None else op.Mul(dy, factors)
        scalar = factors is None and self._reduction != "none"
        return share if scalar else op.Unsqueeze(share, op.ints([1]))

    def of_labels_and_weights(self, logarithms: ir.Value) -> tuple[Cotangent, ...]:
        """None for the labels; each class's weight collects the losses of its examples."""

        def dweights() -> ir.Value | None:
            op, dy = self._op, self._dy
            if dy is None:
                return None
            each = op.Neg(logarithms)
            if self._reduction == "mean":
                each, dy = op.Sub(each, self._loss), op.Div(dy, self._total(self._factors()))
            if self._reduction == "none":
                dy = op.Unsqueeze(dy, op.ints([1]))
            mask = self.is_label()
            if self._ignored is not None:
                ignored = op.constant(self._ignored, ir.DataType.INT64)
                kept = op.Not(op.Equal(self._wide_labels(), ignored))
                mask = op.And(mask, op.Unsqueeze(kept, op.ints([1])))
            collected = op.Where(mask, op.Mul(each, dy), op.scalar(0, each))
            return op.ReduceSum(collected, op.ints([0, *range(2, self._rank)]), keepdims=0)

        return None, *([dweights] if self._given else [])


def _type(value: ir.Value) -> ir.DataType:
    assert value.dtype is not None
    return value.dtype
