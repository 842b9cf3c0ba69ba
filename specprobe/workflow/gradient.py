"""Whether an exported gradient agrees with differences of the model itself."""

from typing import TYPE_CHECKING, Any

import numpy as np

from specprobe.autodiff import gradient_names
from specprobe.errors import InvalidNumbers, ModelError
from specprobe.graph.limits import printable
from specprobe.graph.load import raise_opset
from specprobe.graph.simplify import simplify
from specprobe.randomness import generator
from specprobe.runtime.agreement import TOLERANCE, outputs_difference, require_same_outputs
from specprobe.runtime.session import Session

if TYPE_CHECKING:
    from collections.abc import Sequence

    import onnx_ir as ir
    from numpy.typing import NDArray

__all__ = ["check_gradient", "raise_checked", "simplify_checked"]

STEPS = (1e-2, 3e-3, 1e-3, 3e-4, 1e-4, 3e-5, 1e-5)
"""Of the central differences, as L∞ distance: float32 rounds small ones away, kinks spoil large ones."""

_BATCH, _OPEN_SIZE = 2, 32


def check_gradient(
    model: "ir.Model", gradient: "ir.Model", /, *, of: str | None = None, seed: int = 0
) -> tuple[float, float]:
    """Compare a gradient model with central differences along one random direction.

    Parameters
    ----------
    model : onnx_ir.Model
        The model.
    gradient : onnx_ir.Model
        From :func:`specprobe.autodiff.with_gradient`.
    of : str, optional
        What was differentiated; the only output if not given.
    seed : int
        Of input, direction and cotangent.

    Returns
    -------
    error : float
        Difference between the two derivatives at the step where it is smallest, relative to the larger of the
        derivative and of its typical size along a random direction.
    step : float
        That step.

    Raises
    ------
    ModelError
        If the model cannot be run on random inputs.
    InvalidNumbers
        If the gradient is zero there.
    """
    names = gradient_names(gradient)
    rng = generator(seed, "check_gradient")
    inputs = {str(v.name): v for v in gradient.graph.inputs}
    moved = [name for name in names["gradients"] if name in inputs]
    if not moved:
        msg = "only gradients with respect to inputs can be checked along a direction of the input"
        raise ModelError(msg)
    cotangent = names.get("cotangent")
    feeds = {name: _random(value, rng) for name, value in inputs.items() if name != cotangent}
    for key in ("labels", "targets"):
        if key in names:
            feeds[names[key]] = np.full_like(feeds[names[key]], int(key == "targets"))
    forward = _with_output(model, of) if cotangent is not None else gradient
    target = of or str(model.graph.outputs[0].name) if cotangent is not None else names["loss"]
    session, derived = Session(forward), Session(gradient)
    own = {str(v.name) for v in forward.graph.inputs}

    def value(fed: "dict[str, NDArray[Any]]") -> "NDArray[Any]":
        result: NDArray[Any] = np.asarray(
            session.run({k: a for k, a in fed.items() if k in own}, [target])[0]
        )
        return result.astype(np.float64)

    weights = np.ones(())
    if cotangent is not None:
        weights = rng.standard_normal(value(feeds).shape)
        feeds[cotangent] = weights.astype(feeds[moved[0]].dtype)
    made = derived.run(feeds, [names["gradients"][name] for name in moved])
    direction = {name: rng.choice([-1.0, 1.0], feeds[name].shape) for name in moved}
    slopes = [np.asarray(g, np.float64) for g in made]
    exact = float(sum(np.sum(g * direction[name]) for name, g in zip(moved, slopes, strict=True)))
    if all(not np.any(g) for g in slopes):
        msg = "the gradient is zero at the random input tried, so there is nothing to compare"
        raise InvalidNumbers(msg)
    typical = float(np.sqrt(sum(np.sum(g**2) for g in slopes)))
    best = (float("inf"), STEPS[0])
    for step in STEPS:
        sides = [
            {**feeds, **{n: (feeds[n] + sign * step * direction[n]).astype(feeds[n].dtype) for n in moved}}
            for sign in (1, -1)
        ]
        slope = float(np.sum(weights * (value(sides[0]) - value(sides[1])))) / (2 * step)
        best = min(best, (abs(slope - exact) / max(abs(exact), typical, 1e-30), step))
    return best


def raise_checked(model: "ir.Model", /, *, seed: int = 0) -> "ir.Model":
    """``model`` at the floor opset, if it then still computes the same on random inputs.

    Parameters
    ----------
    model : onnx_ir.Model
        Flat.
    seed : int
        Of the inputs.

    Returns
    -------
    onnx_ir.Model
        ``model`` itself where its opset suffices.

    Raises
    ------
    UnsupportedOperator
        If the opset cannot be raised without changing the numbers.
    """
    raised = raise_opset(model)
    if raised is model:
        return model
    rng = generator(seed, "raise_checked")
    feeds = {str(v.name): _random(v, rng) for v in model.graph.inputs}
    require_same_outputs(model, raised, feeds)
    return raised


def simplify_checked(
    model: "ir.Model", /, *, of: str | None = None, wrt: "Sequence[str] | None" = None, seed: int = 0
) -> "ir.Model":
    """``model`` with less to differentiate, if it then still computes the same on random inputs.

    Parameters
    ----------
    model : onnx_ir.Model
        Flat, at the floor opset.
    of : str, optional
        Tensor that is to be differentiated.
    wrt : sequence of str, optional
        What with respect to.
    seed : int
        Of the inputs.

    Returns
    -------
    onnx_ir.Model
        ``model`` itself where the numbers would be others, where ``of`` would be gone, and where ``wrt`` names a
        weight, which folding may have multiplied into others.
    """
    inputs = {str(v.name): v for v in model.graph.inputs}
    if any(name not in inputs for name in wrt or ()):
        return model
    simple = simplify(model)
    if of is not None and of not in {v.name for node in simple.graph for v in node.outputs}:
        return model
    try:
        rng = generator(seed, "simplify_checked")
        feeds = {name: _random(value, rng) for name, value in inputs.items()}
        difference = outputs_difference(model, simple, feeds)
    except ModelError:  # it does not run on random inputs, so nothing can be compared
        return model
    return simple if difference <= TOLERANCE else model


def _random(value: "ir.Value", rng: np.random.Generator) -> "NDArray[Any]":
    """Standard normal numbers for floating inputs; open sizes are filled in."""
    if value.shape is None or value.dtype is None:
        msg = f"input '{printable(str(value.name))}' states no shape, so the gradient cannot be checked"
        raise ModelError(msg)
    shape = [d if isinstance(d, int) else _BATCH if i == 0 else _OPEN_SIZE for i, d in enumerate(value.shape)]
    dtype = value.dtype.numpy()
    return (
        rng.standard_normal(shape).astype(dtype) if np.dtype(dtype).kind in "fV" else np.zeros(shape, dtype)
    )


def _with_output(model: "ir.Model", name: str | None) -> "ir.Model":
    """``model`` with one of its inner tensors among the outputs."""
    if name is None or name in {str(v.name) for v in model.graph.outputs}:
        return model
    copy = model.clone()
    copy.graph.outputs.append(next(v for node in copy.graph for v in node.outputs if v.name == name))
    return copy
