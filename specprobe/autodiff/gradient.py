"""A model and its gradient in one graph."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import onnx
import onnx.inliner
import onnx_ir as ir

from specprobe.autodiff import rules
from specprobe.autodiff.losses import LOSSES, append_loss
from specprobe.autodiff.operators import Operators, is_real
from specprobe.autodiff.registry import rule_for
from specprobe.autodiff.reverse import append_cotangents, nodes_between
from specprobe.autodiff.unroll import unrolled
from specprobe.errors import ModelError
from specprobe.graph.batching import keep_batches
from specprobe.graph.folding import folded
from specprobe.graph.limits import printable
from specprobe.graph.load import IR_VERSION, OPSET_FLOOR, infer_shapes, open_model, raise_opset
from specprobe.graph.padding import make_padding_explicit

__all__ = ["gradient_names", "with_gradient"]

NAMES = "specprobe.gradient"
"""Metadata property of a gradient model: JSON."""


_ = rules  # importing the package registers the rules


def with_gradient(
    model: str | Path | onnx.ModelProto | ir.Model,
    /,
    *,
    of: str | None = None,
    wrt: str | Sequence[str] | None = None,
    loss: str | None = None,
    device: str = "cpu",
) -> ir.Model:
    """A model that computes, beside its outputs, gradients with respect to some of its inputs or weights.

    Parameters
    ----------
    model : path, onnx.ModelProto or onnx_ir.Model
        Left as it is. A path is opened as :func:`specprobe.graph.load.open_model` does.
    of : str, optional
        Tensor that is differentiated: an output, or any tensor inside. The only output, if not given.
    wrt : str or sequence of str, optional
        Inputs or initializers. All floating-point inputs, if not given.
    loss : {"cross-entropy", "margin", "dlr", "targeted-dlr", "logit"}, optional
        Loss of ``of``, which then holds logits. Without one, the gradient model takes a cotangent.
    device : {"cpu", "cuda"}
        Kind of device that operators are chosen for, among those that compute the same. The result runs on any.

    Returns
    -------
    onnx_ir.Model
        With the inputs and outputs of ``model`` under their names, and further

        - without a loss: input ``cotangent`` (shape of ``of``), outputs ``d_<name>``, the vector-Jacobian products;
        - with a loss: input ``labels`` (int64, ``[N]``), for ``targeted-dlr`` also ``targets``; outputs ``loss``
          (``[N]``, per example) and ``d_<name>``, the gradients of the sum of the losses, so that they do not depend
          on the batch size.

        A name that is taken gets a suffix; :func:`gradient_names` tells the names given.
        Standard operators only, opset 18 or above.

    Raises
    ------
    ModelError
        If a name is not found, ``of`` is not given and there are several outputs, or no gradient flows.
    UnsupportedOperator
        If operators on the way have no rule; names all of them.

    Examples
    --------
    >>> import onnx_ir as ir
    >>> square = ir.from_onnx_text(
    ...     '<ir_version: 10, opset_import: ["" : 18]> f (float[N] x) => (float[N] y) { y = Mul(x, x) }'
    ... )
    >>> gradient = with_gradient(square)
    >>> [value.name for value in gradient.graph.inputs], [value.name for value in gradient.graph.outputs]
    (['x', 'cotangent'], ['y', 'd_x'])
    """
    if loss is not None and loss not in LOSSES:
        msg = f"there is no loss '{loss}'; accepted are {', '.join(LOSSES)}"
        raise ModelError(msg)
    work = _typed(model, of, wrt)
    differentiated = _choose_of(work, of)
    names = _choose_wrt(work, wrt)
    work.metadata_props.pop(NAMES, None)
    given: dict[str, Any] = {}
    if loss is None:
        seed = _add_cotangent(work, differentiated, given)
        seeds = {differentiated: seed}
    else:
        per_example = _add_loss(work, differentiated, loss, given)
        work = infer_shapes(work)
        value = _values(work)[per_example]
        op = Operators(work, prefix="seed")
        seeds = {value: op.Expand(op.scalar(1, value), op.shape_of(value))}
    values = _values(work)
    wanted = [values[name] for name in names]
    between, _ = nodes_between(work.graph, wanted, seeds)
    estimates = {
        node.op_type: rule.estimate for node in between if (rule := rule_for(node)) and rule.estimate
    }
    if estimates:
        given["estimates"] = estimates
    cotangents = append_cotangents(work, seeds=seeds, wrt=wanted, device=device)
    if all(cotangent is None for cotangent in cotangents):
        target = printable(str(differentiated.name))
        msg = f"no gradient flows from '{target}' to {', '.join(map(printable, names))}: operators between have none"
        raise ModelError(msg)
    op = Operators(work, prefix="output")
    given["gradients"] = {}
    for name, value, cotangent in zip(names, wanted, cotangents, strict=True):
        given["gradients"][name] = op.name(f"d_{name}")
        output = op.Identity(cotangent) if cotangent is not None else op.zeros_like(value)
        output.name = given["gradients"][name]
        output.type, output.shape = value.type, value.shape
        work.graph.outputs.append(output)
    work.ir_version = max(work.ir_version, IR_VERSION)
    work.metadata_props[NAMES] = json.dumps(given)
    return work


def gradient_names(model: ir.Model, /) -> dict[str, Any]:
    """Names that :func:`with_gradient` gave.

    Parameters
    ----------
    model : onnx_ir.Model
        A gradient model.

    Returns
    -------
    dict
        ``cotangent``, or ``labels``, ``targets`` and ``loss``: names of inputs and outputs; ``gradients``: name of the
        gradient by name of what it is taken with respect to; ``estimates``, where there are any: what stands in for the
        derivative of an operator that has none, by operator.
    """
    names: dict[str, Any] = json.loads(model.metadata_props[NAMES])
    return names


def _typed(
    model: str | Path | onnx.ModelProto | ir.Model, of: str | None, wrt: str | Sequence[str] | None
) -> ir.Model:
    """A flat copy with types, at the floor opset: sizes written down, padding explicit, loops of known length unrolled."""
    if isinstance(model, str | Path):
        flat = open_model(model).model
    else:
        flat = ir.from_proto(model) if isinstance(model, onnx.ModelProto) else model
        if flat.functions:
            flat = ir.from_proto(onnx.inliner.inline_local_functions(ir.to_proto(flat), convert_version=True))
    if "" not in flat.opset_imports:  # all nodes are of other domains; what is added is not
        flat = ir.from_proto(ir.to_proto(flat))
        flat.opset_imports[""] = OPSET_FLOOR
    typed = folded(keep_batches(infer_shapes(raise_opset(flat))), in_place=True)
    typed = unrolled(typed, of=[str(_choose_of(typed, of).name)], wrt=_choose_wrt(typed, wrt))
    make_padding_explicit(typed)
    return typed


def _values(model: ir.Model) -> dict[str, ir.Value]:
    graph = model.graph
    inner = [output for node in graph for output in node.outputs]
    return {str(v.name): v for v in (*graph.inputs, *graph.initializers.values(), *inner)}


def _choose_of(model: ir.Model, name: str | None) -> ir.Value:
    outputs = {str(value.name): value for value in model.graph.outputs}
    if name is None:
        if len(outputs) != 1:
            msg = f"the model has {len(outputs)} outputs; say of which: {', '.join(map(printable, outputs))}"
            raise ModelError(msg)
        (chosen,) = outputs.values()
    else:
        values = _values(model)
        if name not in values:
            msg = f"the model has no tensor '{printable(name)}'; its outputs are {', '.join(map(printable, outputs))}"
            raise ModelError(msg)
        chosen = values[name]
    if not is_real(chosen):
        msg = f"'{printable(str(chosen.name))}' holds {chosen.dtype}; gradients are of floating-point tensors"
        raise ModelError(msg)
    return chosen


def _choose_wrt(model: ir.Model, wrt: str | Sequence[str] | None) -> list[str]:
    inputs = [str(value.name) for value in model.graph.inputs if is_real(value)]
    names = inputs if wrt is None else [wrt] if isinstance(wrt, str) else list(wrt)
    known = {str(v.name): v for v in (*model.graph.inputs, *model.graph.initializers.values())}
    for name in names:
        if name not in known or not is_real(known[name]):
            msg = (
                f"'{printable(name)}' is no floating-point input or initializer; the floating-point inputs are "
                f"{', '.join(map(printable, inputs)) or 'none'}"
            )
            raise ModelError(msg)
    if not names:
        msg = "the model has no floating-point input to differentiate with respect to"
        raise ModelError(msg)
    return names


def _add_cotangent(model: ir.Model, of: ir.Value, given: dict[str, Any]) -> ir.Value:
    given["cotangent"] = Operators(model, prefix="vjp").name("cotangent")
    seed = ir.Value(name=given["cotangent"], type=of.type, shape=of.shape)
    model.graph.inputs.append(seed)
    return seed


def _add_loss(model: ir.Model, of: ir.Value, loss: str, given: dict[str, Any]) -> str:
    op = Operators(model, prefix="loss")
    batch = next(iter(of.shape)) if of.shape is not None and len(of.shape) else None
    classes = []
    for name in ("labels", "targets")[: 2 if LOSSES[loss].targeted else 1]:
        given[name] = op.name(name)
        value = ir.Value(name=given[name], type=ir.TensorType(ir.DataType.INT64), shape=ir.Shape([batch]))
        model.graph.inputs.append(value)
        classes.append(value)
    result = append_loss(op, loss, of, *classes)
    given["loss"] = op.name("loss")
    result.name = given["loss"]
    result.type, result.shape = of.type, ir.Shape([batch])
    model.graph.outputs.append(result)
    return str(result.name)
