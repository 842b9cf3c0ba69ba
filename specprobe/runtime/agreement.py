"""Whether two graphs compute the same."""

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir as ir

from specprobe.errors import UnsupportedOperator
from specprobe.graph.emit import Emitter
from specprobe.runtime.session import Session

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["TOLERANCE", "outputs_difference", "probe_images", "relative_difference", "require_same_outputs"]

TOLERANCE = 1e-4
"""Largest difference, over the largest output, that two orders of float32 rounding are granted."""


def probe_images(count: int, shape: tuple[int, ...], /, *, key: int) -> "NDArray[np.float32]":
    """Random images on which a network does not easily go silent: noise, ever sparser, as strokes on black are.

    Parameters
    ----------
    count : int
        How many.
    shape : tuple of int
        Of one image.
    key : int
        Of the random numbers.

    Returns
    -------
    numpy.ndarray of float32, shape (count, *shape)
        Pixels in [0, 1].
    """
    rng = np.random.Generator(np.random.Philox(key=key))
    density = np.resize([1.0, 0.1, 0.3], count).reshape(count, *(1 for _ in shape))
    noise = rng.random((count, *shape), dtype=np.float32)
    return np.where(rng.random((count, *shape), dtype=np.float32) < density, noise, np.float32(0))


def relative_difference(expected: "NDArray[Any]", actual: "NDArray[Any]", /) -> float:
    """Largest difference over the largest expected magnitude.

    Parameters
    ----------
    expected, actual : numpy.ndarray
        Outputs of two graphs.

    Returns
    -------
    float
        Infinite where shapes, NaNs, infinities or integers disagree.
    """
    if expected.dtype.kind != "f":
        return 0.0 if np.array_equal(expected, actual) else float("inf")
    fine = np.isfinite(expected)
    if expected.shape != actual.shape or not np.array_equal(fine, np.isfinite(actual)):
        return float("inf")
    if not np.array_equal(expected[~fine], actual[~fine], equal_nan=True):
        return float("inf")
    expected, actual = expected[fine].astype(np.float64), actual[fine].astype(np.float64)
    scale = float(np.max(np.abs(expected), initial=0.0)) or 1.0
    return float(np.max(np.abs(expected - actual), initial=0.0)) / scale


def require_same_outputs(original: ir.Model, raised: ir.Model, feeds: "dict[str, NDArray[Any]]", /) -> None:
    """Refuse a model whose opset was raised and whose numbers are others.

    Parameters
    ----------
    original, raised : onnx_ir.Model
        Before and after.
    feeds : dict of str to numpy.ndarray
        Every input of both.

    Raises
    ------
    UnsupportedOperator
        If an output differs by more than :data:`TOLERANCE`.
    """
    difference = outputs_difference(original, raised, feeds)
    if difference > TOLERANCE:
        opset = raised.opset_imports[""]
        msg = (
            f"opset {original.opset_imports['']} was raised to {opset} but the outputs differ by {difference:.1e} of "
            f"their size; export the model again with opset {opset} or later"
        )
        raise UnsupportedOperator(msg)


def outputs_difference(original: ir.Model, other: ir.Model, feeds: "dict[str, NDArray[Any]]", /) -> float:
    """How far the outputs of two models are apart.

    Parameters
    ----------
    original, other : onnx_ir.Model
        Of the same inputs and outputs.
    feeds : dict of str to numpy.ndarray
        Every input of both.

    Returns
    -------
    float
        The largest :func:`relative_difference` of an output.
    """
    before, after = (_all_outputs(model, feeds) for model in (original, other))
    return max(relative_difference(b, a) for b, a in zip(before, after, strict=True))


def _all_outputs(model: ir.Model, feeds: "dict[str, NDArray[Any]]") -> "tuple[NDArray[Any], ...]":
    """Outputs of ``model``, those of a type that NumPy does not have as float32."""
    model = model.clone()
    outputs = model.graph.outputs
    op = Emitter(model, prefix="probe")
    for i, value in enumerate(outputs):
        if value.dtype == ir.DataType.BFLOAT16:
            outputs[i] = op.Cast(value, to=ir.DataType.FLOAT.value)
            outputs[i].type = ir.TensorType(ir.DataType.FLOAT)
    return Session(model).run(feeds, [str(value.name) for value in outputs])
