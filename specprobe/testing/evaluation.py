"""Values of graphs, by onnxruntime or by onnx's reference evaluator."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import onnx
import onnx.reference
import onnx.reference.op_run
import onnx_ir as ir
from numpy.typing import NDArray

from specprobe.errors import ModelError
from specprobe.runtime.session import Session

__all__ = ["Evaluator", "Feeds", "evaluate", "evaluator"]

Feeds: TypeAlias = Mapping[str, NDArray[Any]]
Evaluator: TypeAlias = Callable[[Feeds], list[NDArray[Any]]]

_erf = np.vectorize(math.erf, otypes=[np.float64])


class Erf(onnx.reference.op_run.OpRun):
    """The reference evaluator's own rounds to float32."""

    op_domain = ""

    def _run(self, x: NDArray[Any]) -> tuple[NDArray[Any]]:
        return (np.asarray(_erf(x.astype(np.float64))).astype(x.dtype),)


class LpNormalization(onnx.reference.op_run.OpRun):
    """The reference evaluator's own takes no absolute values."""

    op_domain = ""

    def _run(self, x: NDArray[Any], axis: int | None = None, p: int | None = None) -> tuple[NDArray[Any]]:
        norm = np.linalg.norm(x, ord=p or 2, axis=-1 if axis is None else axis, keepdims=True)
        return (np.where(norm == 0, 0, x / np.where(norm == 0, 1, norm)).astype(x.dtype),)


def evaluator(
    model: onnx.ModelProto | ir.Model, outputs: Sequence[str], /, *, engine: str = "runtime"
) -> Evaluator:
    """Open ``model`` once, to be evaluated often.

    Parameters
    ----------
    model : onnx.ModelProto or onnx_ir.Model
        Flat.
    outputs : sequence of str
        Graph outputs.
    engine : {"runtime", "reference"}
        onnxruntime, or onnx's reference evaluator, which also computes in float64.

    Returns
    -------
    callable
        From feeds to the values of ``outputs``; raises :class:`ModelError` where the engine cannot evaluate them.

    Raises
    ------
    ModelError
        If the engine does not take the model.
    """
    if engine == "runtime":
        session = Session(model if isinstance(model, ir.Model) else ir.from_proto(model), threads=1)

        def run(feeds: Feeds) -> list[NDArray[Any]]:
            arrays = {name: np.array(array, order="C", copy=None) for name, array in feeds.items()}
            try:
                return [np.asarray(value) for value in session.run(arrays, outputs)]
            except RuntimeError as error:  # bfloat16 outputs do not fit into NumPy's DLPack
                msg = f"onnxruntime's outputs cannot be read: {error}"
                raise ModelError(msg) from error

        return run

    def refused(error: Exception) -> ModelError:
        return ModelError(f"the reference evaluator cannot run this graph: {type(error).__name__} {error}")

    try:
        reference = onnx.reference.ReferenceEvaluator(
            ir.to_proto(model) if isinstance(model, ir.Model) else model,
            new_ops=[Erf, LpNormalization],
        )
    except Exception as error:
        raise refused(error) from error

    def interpret(feeds: Feeds) -> list[NDArray[Any]]:
        try:
            with np.errstate(all="ignore"):
                return [np.asarray(value) for value in reference.run(list(outputs), dict(feeds))]
        except Exception as error:
            raise refused(error) from error

    return interpret


def evaluate(
    model: onnx.ModelProto | ir.Model, feeds: Feeds, outputs: Sequence[str], /, *, engine: str = "runtime"
) -> list[NDArray[Any]]:
    """Values of ``outputs``.

    Parameters
    ----------
    model : onnx.ModelProto or onnx_ir.Model
        Flat.
    feeds : mapping of str to numpy.ndarray
        Every input.
    outputs : sequence of str
        Graph outputs.
    engine : {"runtime", "reference"}
        See :func:`evaluator`.

    Returns
    -------
    list of numpy.ndarray
        In the order asked for.

    Raises
    ------
    ModelError
        If the engine cannot evaluate the model.
    """
    return evaluator(model, outputs, engine=engine)(feeds)
