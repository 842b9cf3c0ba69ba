"""The emitter that rules write with: ONNX operators, and the few shape idioms that every family needs."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from specprobe.graph.constants import constant_value
from specprobe.graph.emit import Emitter

__all__ = ["Operators", "is_real", "static_shape"]

_TRUTH = frozenset(
    {"And", "Equal", "Greater", "GreaterOrEqual", "IsInf", "IsNaN", "Less", "LessOrEqual", "Not", "Or", "Xor"}
)
_COUNTS = frozenset({"ArgMax", "ArgMin", "NonZero", "Shape", "Size"})
_TYPE_OF_INPUT = {"Where": 1, "OneHot": 2}
"""Position of the input whose type the output has, where it is not the first."""

_REAL = frozenset({ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.BFLOAT16, ir.DataType.DOUBLE})


def is_real(value: ir.Value | None, /) -> bool:
    """Whether ``value`` holds floating-point numbers, so that it can have a cotangent.

    Parameters
    ----------
    value : onnx_ir.Value or None
        Of a typed graph.

    Returns
    -------
    bool
        False for integers, booleans, strings, sequences and None.
    """
    return value is not None and value.dtype in _REAL


def _output_type(
    operator: str, position: int, inputs: Sequence[ir.Value | None], attributes: dict[str, Any]
) -> ir.DataType | None:
    """Element type of an output of the operators that rules emit; shape inference has the last word."""
    if operator in _TRUTH:
        return ir.DataType.BOOL
    if operator in _COUNTS or (position == 1 and operator in {"TopK", "MaxPool"}):
        return ir.DataType.INT64
    if operator == "Cast":
        return ir.DataType(attributes["to"])
    giver = _TYPE_OF_INPUT.get(operator, 0)
    source = inputs[giver] if len(inputs) > giver else None
    return None if source is None else source.dtype


def static_shape(value: ir.Value | None, /) -> list[int] | None:
    """Shape of ``value`` where every dimension is known.

    Parameters
    ----------
    value : onnx_ir.Value or None
        Of a graph with inferred shapes.

    Returns
    -------
    list of int or None
        None where the rank or a dimension is open.
    """
    if value is None or value.shape is None or not value.shape.is_static():
        return None
    return [int(d) for d in value.shape]  # type: ignore[arg-type]


class Operators(Emitter):
    """Emits ONNX operators by name, and remembers shapes and constants that it has emitted.

    Parameters
    ----------
    model : onnx_ir.Model
        Whose main graph grows.
    prefix : str
        Of all names given.
    device : {"cpu", "cuda"}
        Where the nodes are to run well.
    """

    def __init__(self, model: ir.Model, *, prefix: str, device: str = "cpu") -> None:
        super().__init__(model, prefix=prefix)
        self.device = device
        self._constants: dict[tuple[Any, ...], ir.Value] = {}
        self._shapes: dict[ir.Value, ir.Value] = {}
        self._wanted: frozenset[ir.Value] | set[ir.Value] = frozenset()

    def want(self, values: "set[ir.Value]", /) -> None:
        """Say which values' cotangents are used; the engine does this once.

        Parameters
        ----------
        values : set of onnx_ir.Value
            All values between ``wrt`` and ``of``, ``wrt`` included.
        """
        self._wanted = values

    def wants(self, value: ir.Value | None, /) -> bool:
        """Whether the cotangent of ``value`` is used.

        Parameters
        ----------
        value : onnx_ir.Value or None
            Input of the node at hand.

        Returns
        -------
        bool
            False for None.
        """
        return value is not None and value in self._wanted

    def __getattr__(self, operator: str) -> Callable[..., ir.Value]:
        """Return the function that adds one ``operator`` node and returns its output, typed."""
        if operator.startswith("_"):
            raise AttributeError(operator)

        def emit(*inputs: ir.Value | None, **attributes: Any) -> ir.Value:
            return self.several(operator, *inputs, outputs=1, **attributes)[0]

        return emit

    def several(
        self, operator: str, /, *inputs: ir.Value | None, outputs: int, **attributes: Any
    ) -> tuple[ir.Value, ...]:
        """Add a node of several outputs, such as ``TopK``.

        Parameters
        ----------
        operator : str
            ONNX operator; one that this opset does not have raises at once.
        *inputs : onnx_ir.Value or None
            Its inputs.
        outputs : int
            How many.
        **attributes
            ONNX attributes.

        Returns
        -------
        tuple of onnx_ir.Value
            Typed.
        """
        made = super().__getattr__(operator)(*inputs, outputs=outputs, **attributes)
        values: tuple[ir.Value, ...] = made if isinstance(made, tuple) else (made,)
        for i, value in enumerate(values):
            dtype = _output_type(operator, i, inputs, attributes)
            if dtype is not None:
                value.type = ir.TensorType(dtype)
        return values

    def constant(self, value: Any, dtype: ir.DataType | None, /) -> ir.Value:
        """An initializer, made once for each small content.

        Parameters
        ----------
        value : number, sequence or numpy.ndarray
            Its content.
        dtype : onnx_ir.DataType
            Its element type.

        Returns
        -------
        onnx_ir.Value
            Registered with the graph.
        """
        if dtype is None:
            msg = "a constant needs a type; the value that it goes with has none"
            raise TypeError(msg)
        array = np.asarray(value, dtype=dtype.numpy())
        if array.size > 64:
            return super().constant(array, dtype)
        key = (array.tobytes(), array.shape, dtype)
        if key not in self._constants:
            self._constants[key] = super().constant(array, dtype)
        return self._constants[key]

    def ints(self, values: Sequence[int], /) -> ir.Value:
        """1-D int64 constant: axes, shapes, repeats.

        Parameters
        ----------
        values : sequence of int
            Its content.

        Returns
        -------
        onnx_ir.Value
            Registered with the graph.
        """
        return self.constant(np.asarray(values, np.int64).reshape(-1), ir.DataType.INT64)

    def scalar(self, number: float, like: ir.Value, /) -> ir.Value:
        """0-D constant of the type of ``like``.

        Parameters
        ----------
        number : float
            Its content.
        like : onnx_ir.Value
            Typed.

        Returns
        -------
        onnx_ir.Value
            Registered with the graph.
        """
        return self.constant(number, like.dtype)

    def shape_of(self, value: ir.Value, /) -> ir.Value:
        """Shape of ``value``: a constant where it is known, else one ``Shape`` node for all who ask.

        Parameters
        ----------
        value : onnx_ir.Value
            Any value.

        Returns
        -------
        onnx_ir.Value
            1-D int64.
        """
        if value not in self._shapes:
            known = static_shape(value)
            self._shapes[value] = self.Shape(value) if known is None else self.ints(known)
        return self._shapes[value]

    def dim(self, value: ir.Value, axis: int, /) -> ir.Value:
        """Size of one axis, as a 1-D tensor of one int64.

        Parameters
        ----------
        value : onnx_ir.Value
            Of known rank.
        axis : int
            From 0; negative ones count from the end.

        Returns
        -------
        onnx_ir.Value
            Shape [1].
        """
        if value.shape is not None and isinstance(size := value.shape[axis], int):
            return self.ints([size])
        return self.Gather(self.shape_of(value), self.ints([axis]), axis=0)

    def batch_of(self, value: ir.Value, /) -> ir.Value:
        """Size of the first axis, as :meth:`dim`, but read from an input of the graph where one has the same symbol.

        Parameters
        ----------
        value : onnx_ir.Value
            Of known rank.

        Returns
        -------
        onnx_ir.Value
            Shape [1].
        """
        # A runtime that keeps images in a layout of its own brings one back only to read its shape.
        size = value.shape[0] if value.shape is not None else None
        if isinstance(size, ir.SymbolicDim) and size.value is not None:
            for given in self._graph.inputs:
                if given.shape is not None and size in list(given.shape):
                    return self.dim(given, list(given.shape).index(size))
        return self.dim(value, 0)

    def reshape_like(self, value: ir.Value, like: ir.Value, /) -> ir.Value:
        """``value`` in the shape of ``like``.

        Parameters
        ----------
        value : onnx_ir.Value
            Of as many elements as ``like``.
        like : onnx_ir.Value
            Gives the shape.

        Returns
        -------
        onnx_ir.Value
            New node, also for equal shapes.
        """
        return self.Reshape(value, self.shape_of(like), allowzero=1)

    def zeros_like(self, value: ir.Value, /) -> ir.Value:
        """Zeros of the shape and type of ``value``.

        Parameters
        ----------
        value : onnx_ir.Value
            Typed.

        Returns
        -------
        onnx_ir.Value
            New node.
        """
        return self.Expand(self.scalar(0, value), self.shape_of(value))

    def known(self, value: ir.Value | None, /) -> "np.ndarray[Any, np.dtype[Any]] | None":
        """Content of ``value`` where no input of the graph can change it.

        Parameters
        ----------
        value : onnx_ir.Value or None
            Input of a node, such as axes, pads or weights.

        Returns
        -------
        numpy.ndarray or None
            None where it is computed, or absent.
        """
        return constant_value(value)
