"""Whether a gradient graph is right: one number a case, by dot products rather than whole Jacobians."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from numpy.typing import NDArray

from specprobe.autodiff import gradient_names, with_gradient
from specprobe.errors import ModelError
from specprobe.testing.evaluation import Evaluator, Feeds, evaluate, evaluator
from specprobe.testing.widening import WIDENED, widened

__all__ = [
    "Slope",
    "VjpCheck",
    "central_difference",
    "check_vjp",
    "disagreement",
    "evaluate",
    "evaluator",
    "slopes",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class VjpCheck:
    """How a vector-Jacobian product compares with differences of the function itself.

    Attributes
    ----------
    error : float
        Largest difference of the two, over the larger of their size and of the product of norms that bounds it.
    spread : float
        The same between central differences of several steps: what the differences themselves are good for. A large
        one means a kink near by, or a function that is not differentiable.
    directions : int
        How many random directions.
    kink : float
        The same between differences to either side: large exactly at a kink, where central differences of all steps
        may agree on a slope that is neither side's.
    """

    error: float
    spread: float
    directions: int
    kink: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Slope:
    """Derivative of one output along one direction, by differences.

    Attributes
    ----------
    values : tuple of numpy.ndarray
        Central differences, one a step, of the shape of the output.
    sided : tuple of numpy.ndarray
        Forward and backward difference of the smallest step.
    """

    values: tuple[NDArray[np.float64], ...]
    sided: tuple[NDArray[np.float64], NDArray[np.float64]]

    @property
    def best(self) -> NDArray[np.float64]:
        """Central difference of the step in the middle."""
        return self.values[len(self.values) // 2]


def slopes(function: Evaluator, feeds: Feeds, direction: Feeds, /, *, steps: Sequence[float]) -> list[Slope]:
    """Derivatives of all outputs along one direction.

    Parameters
    ----------
    function : callable
        See :func:`evaluator`.
    feeds : mapping of str to numpy.ndarray
        Where.
    direction : mapping of str to numpy.ndarray
        Along what; inputs that are left out stand still.
    steps : sequence of float
        In multiples of ``direction``.

    Returns
    -------
    list of Slope
        One an output.

    Raises
    ------
    ModelError
        If the function cannot be evaluated.
    ValueError
        If a step changes the shape of an output.
    """

    def at(step: float) -> list[NDArray[np.float64]]:
        moved = dict(feeds)
        for name, along in direction.items():
            moved[name] = (feeds[name].astype(np.float64) + step * along).astype(feeds[name].dtype)
        return [np.asarray(value, np.float64) for value in function(moved)]

    middle = at(0.0)
    sides = [(step, at(step), at(-step)) for step in steps]
    if any(
        value.shape != middle[i].shape for _, *ends in sides for end in ends for i, value in enumerate(end)
    ):
        msg = "the shape of an output depends on the values that are differentiated"
        raise ValueError(msg)
    step, above, below = min(sides, key=lambda side: side[0])
    with np.errstate(all="ignore"):
        return [
            Slope(
                values=tuple((up[i] - down[i]) / (2 * size) for size, up, down in sides),
                sided=((above[i] - middle[i]) / step, (middle[i] - below[i]) / step),
            )
            for i in range(len(middle))
        ]


def disagreement(slope: Slope, u: NDArray[np.float64], exact: float | None, floor: float) -> VjpCheck:
    """Compare ``⟨u, J v⟩`` by differences with ``⟨Jᵀ u, v⟩``.

    Parameters
    ----------
    slope : Slope
        ``J v``.
    u : numpy.ndarray of float64
        Cotangent.
    exact : float or None
        ``⟨Jᵀ u, v⟩``, if there is one to compare.
    floor : float
        Derivatives below count as rounding.

    Returns
    -------
    VjpCheck
        Of this one direction.
    """
    numbers = [float(np.sum(u * value)) for value in slope.values]
    middle = float(np.sum(u * slope.best))
    # Random signs cancel in the dot product; the norms say how large it could have been.
    scale = max(abs(middle), 1e-2 * float(np.linalg.norm(u) * np.linalg.norm(slope.best)), floor)
    forward, backward = (float(np.sum(u * side)) for side in slope.sided)
    return VjpCheck(
        error=0.0 if exact is None else abs(exact - middle) / scale,
        spread=max(abs(number - middle) for number in numbers) / scale,
        kink=abs(forward - backward) / scale,
        directions=1,
    )


def central_difference(
    model: onnx.ModelProto | ir.Model,
    feeds: Feeds,
    direction: Feeds,
    of: str,
    /,
    *,
    step: float,
    engine: str = "reference",
) -> NDArray[np.float64]:
    """Directional derivative of ``of`` by a central difference.

    Parameters
    ----------
    model : onnx.ModelProto or onnx_ir.Model
        Flat.
    feeds : mapping of str to numpy.ndarray
        Where.
    direction : mapping of str to numpy.ndarray
        Along what; inputs that are left out stand still.
    of : str
        Graph output.
    step : float
        In multiples of ``direction``.
    engine : {"runtime", "reference"}
        See :func:`evaluator`. The reference computes in float64, whatever the model says.

    Returns
    -------
    numpy.ndarray of float64
        Of the shape of ``of``.
    """
    function = _precise(model, [of], engine)
    (slope,) = slopes(function, _fed(feeds, engine), direction, steps=[step])
    return slope.best


def check_vjp(
    model: onnx.ModelProto | ir.Model,
    feeds: Feeds,
    /,
    *,
    of: str | None = None,
    wrt: Sequence[str] | None = None,
    steps: Sequence[float] = (1e-4, 1e-5, 1e-6),
    directions: int = 2,
    seed: int = 0,
    engine: str = "runtime",
    difference_engine: str = "reference",
) -> VjpCheck:
    """Compare ``⟨u, J v⟩`` by central differences with ``⟨Jᵀ u, v⟩`` by the gradient graph.

    Parameters
    ----------
    model : onnx.ModelProto or onnx_ir.Model
        Of one or a few operators, or a whole network.
    feeds : mapping of str to numpy.ndarray
        Where; away from kinks, or ``spread`` or ``kink`` will be large.
    of : str, optional
        Output to differentiate; the first one if not given.
    wrt : sequence of str, optional
        Inputs or initializers; all floating-point inputs if not given.
    steps : sequence of float
        Of the central differences. The one in the middle counts, the others tell what it is good for.
    directions : int
        Random pairs u, v.
    seed : int
        Of these.
    engine : {"runtime", "reference"}
        Evaluates the gradient graph; the reference does so in float64.
    difference_engine : {"runtime", "reference"}
        Evaluates the function for the differences; likewise.

    Returns
    -------
    VjpCheck
        A right rule has an error of about 1e-6 in float32, 1e-9 where both engines are the reference.

    Raises
    ------
    UnsupportedOperator
        If an operator has no rule.
    """
    base = model if isinstance(model, ir.Model) else ir.from_proto(model)
    target = of if of is not None else str(base.graph.outputs[0].name)
    gradient = with_gradient(base, of=target, wrt=None if wrt is None else list(wrt))
    named = gradient_names(gradient)
    given, cotangent = named["gradients"], named["cotangent"]
    weights = {name: base.graph.initializers[name] for name in given if name not in feeds}
    where = {**feeds, **{name: _content(value) for name, value in weights.items()}}
    function = _precise(_with_inputs(base, list(weights)), [target], difference_engine)
    back = _precise(gradient, list(given.values()), engine)
    fed = _fed(where, difference_engine)
    (seed_value,) = (value for value in gradient.graph.inputs if value.name == cotangent)
    assert seed_value.dtype is not None
    taken = _fed({**feeds, cotangent: np.zeros(0, seed_value.dtype.numpy())}, engine)
    shape = function(fed)[0].shape
    rng = np.random.default_rng(seed)
    checks = []
    for _ in range(directions):
        u = rng.standard_normal(shape).astype(taken[cotangent].dtype)
        v = {name: rng.standard_normal(where[name].shape) for name in given}
        (slope,) = slopes(function, fed, v, steps=steps)
        products = back({**taken, cotangent: u})
        exact = float(
            sum(np.sum(p.astype(np.float64) * v[name]) for name, p in zip(given, products, strict=True))
        )
        checks.append(disagreement(slope, u.astype(np.float64), exact, 1e-12))
    return VjpCheck(
        error=max(check.error for check in checks),
        spread=max(check.spread for check in checks),
        kink=max(check.kink for check in checks),
        directions=directions,
    )


def _precise(model: onnx.ModelProto | ir.Model, outputs: Sequence[str], engine: str) -> Evaluator:
    """What the reference evaluates, it evaluates in float64."""
    if engine == "runtime":
        return evaluator(model, outputs, engine=engine)
    return evaluator(
        widened(ir.to_proto(model) if isinstance(model, ir.Model) else model), outputs, engine=engine
    )


def _fed(feeds: Feeds, engine: str) -> dict[str, NDArray[Any]]:
    if engine == "runtime":
        return dict(feeds)
    real = [name for name, array in feeds.items() if ir.DataType.from_numpy(array.dtype) in WIDENED]
    return {**feeds, **{name: feeds[name].astype(np.float64) for name in real}}


def _content(weight: ir.Value) -> NDArray[Any]:
    if weight.const_value is None:
        msg = f"initializer '{weight.name}' has no content"
        raise ModelError(msg)
    return np.asarray(weight.const_value.numpy())


def _with_inputs(model: ir.Model, names: Sequence[str]) -> ir.Model:
    """Copy of ``model`` that takes some of its initializers as inputs."""
    if not names:
        return model
    proto = ir.to_proto(model)
    for tensor in [tensor for tensor in proto.graph.initializer if tensor.name in names]:
        proto.graph.initializer.remove(tensor)
        if all(value.name != tensor.name for value in proto.graph.input):
            proto.graph.input.append(
                onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
            )
    return ir.from_proto(proto)
