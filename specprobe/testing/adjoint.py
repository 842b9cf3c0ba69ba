"""Checks of linear rules: in whole numbers the adjoint identity ``⟨f(x), u⟩ = ⟨x, vjp(u)⟩`` is exact."""

from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from specprobe.autodiff import gradient_names, with_gradient
from specprobe.testing.evaluation import evaluate

__all__ = ["Arrays", "adjoint_gap", "one_node", "whole"]

Arrays: TypeAlias = "dict[str, NDArray[Any]]"


def whole(*shape: int, seed: int = 0) -> NDArray[np.float32]:
    """Random whole numbers, whose sums of products float32 holds exactly.

    Parameters
    ----------
    *shape : int
        Of the array.
    seed : int
        Of the numbers.

    Returns
    -------
    numpy.ndarray of float32
        From −99 to 99.
    """
    return np.random.default_rng(seed).integers(-99, 100, shape).astype(np.float32)


def one_node(
    operator: str, arrays: Arrays, *, constant: bool, symbolic: bool, outputs: int = 1, **attributes: Any
) -> ir.Model:
    """Model of a single operator.

    Parameters
    ----------
    operator : str
        ONNX operator.
    arrays : dict of str to numpy.ndarray
        Its inputs, in order.
    constant : bool
        Whether integer inputs are initializers rather than inputs.
    symbolic : bool
        Whether the floating-point inputs leave their sizes open.
    outputs : int
        How many; the first is ``y``.
    **attributes
        ONNX attributes.

    Returns
    -------
    onnx_ir.Model
        At opset 18.
    """
    fixed = [name for name, array in arrays.items() if constant and array.dtype.kind != "f"]
    inputs = [
        helper.make_tensor_value_info(
            name,
            helper.np_dtype_to_tensor_dtype(array.dtype),
            [f"{name}_{i}" for i in range(array.ndim)]
            if symbolic and array.dtype.kind == "f"
            else array.shape,
        )
        for name, array in arrays.items()
        if name not in fixed
    ]
    names = ["y", *(f"y{i}" for i in range(1, outputs))]
    node = helper.make_node(operator, list(arrays), names, **attributes)
    given = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in names]
    weights = [numpy_helper.from_array(arrays[name], name) for name in fixed]
    graph = helper.make_graph([node], "one", inputs, given, weights)
    return ir.from_proto(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10))


def adjoint_gap(
    model: ir.Model, arrays: Arrays, of: str = "y", wrt: Mapping[str, str] | None = None
) -> float:
    """``⟨f(x), u⟩ − ⟨x, vjp(u)⟩``, and the same for the vector-Jacobian product, which is linear in u.

    Parameters
    ----------
    model : onnx_ir.Model
        Linear in the inputs differentiated.
    arrays : dict of str to numpy.ndarray
        Its inputs, whole numbers.
    of : str
        Output.
    wrt : mapping of str to str, optional
        Inputs, as keys; all floating-point ones if not given.

    Returns
    -------
    float
        Larger of the two gaps; 0 for a right rule.
    """
    gap = 0.0
    feeds = dict(arrays)
    for _ in range(2):
        names = {str(value.name) for value in model.graph.inputs}
        feeds = {name: array for name, array in feeds.items() if name in names}
        gradient = with_gradient(model, of=of, wrt=None if wrt is None else list(wrt))
        given = gradient_names(gradient)
        (value,) = evaluate(model, feeds, [of])
        u = whole(*value.shape, seed=1).astype(value.dtype)
        feeds[given["cotangent"]] = u
        products = evaluate(gradient, feeds, list(given["gradients"].values()))
        inner = 0.0
        for name, product in zip(given["gradients"], products, strict=True):
            if product.shape != feeds[name].shape:
                return float("inf")
            inner += float(np.sum(product.astype(np.float64) * feeds[name]))
        gap = max(gap, abs(float(np.sum(value.astype(np.float64) * u)) - inner))
        model, of, wrt = gradient, next(iter(given["gradients"].values())), {given["cotangent"]: ""}
        if len(given["gradients"]) > 1:
            break
    return gap
