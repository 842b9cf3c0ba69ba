"""Adds nodes to a graph so that the code reads like the ONNX specification."""

from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import onnx
import onnx_ir as ir

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Emitter"]


class _Operator(Protocol):
    def __call__(self, *inputs: ir.Value | None, **attributes: Any) -> Any: ...


class Emitter:
    """Emits standard operators: ``op.Mul(x, y)``, ``op.Transpose(x, perm=[0, 2, 3, 1])``.

    Every value gets a name of our own, checked against the names already taken: onnx_ir's automatic names can meet
    those of the file.

    Parameters
    ----------
    model : onnx_ir.Model
        Whose main graph grows.
    prefix : str
        Of all names given.
    before : onnx_ir.Node, optional
        Where nodes go; at the end of the graph if not given.
    """

    def __init__(self, model: ir.Model, *, prefix: str, before: ir.Node | None = None) -> None:
        self._graph = model.graph
        self._opset = model.opset_imports[""]
        self._prefix = prefix
        self._before = before
        self._taken = _names(model.graph)
        self._count = 0

    def name(self, stem: str, /) -> str:
        """Return a name that nothing in the graph has yet.

        Parameters
        ----------
        stem : str
            What it should look like.

        Returns
        -------
        str
            ``stem`` itself, or with a number behind it.
        """
        name, n = stem, 0
        while name in self._taken:
            n += 1
            name = f"{stem}_{n}"
        self._taken.add(name)
        return name

    def constant(self, value: Any, dtype: ir.DataType, /) -> ir.Value:
        """Add an initializer.

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
        array = np.asarray(value, dtype=dtype.numpy())
        name = self.name(f"{self._prefix}/constant_{self._count}")
        self._count += 1
        tensor = ir.Tensor(array, dtype=dtype, name=name)
        made = ir.Value(name=name, shape=ir.Shape(array.shape), type=ir.TensorType(dtype), const_value=tensor)
        self._graph.register_initializer(made)
        return made

    def __getattr__(self, operator: str) -> _Operator:
        """Return the function that adds one ``operator`` node and returns its output, or its outputs."""
        if operator.startswith("_"):
            raise AttributeError(operator)
        if not onnx.defs.has(operator, self._opset):
            msg = f"ONNX opset {self._opset} has no operator '{operator}'"
            raise AttributeError(msg)

        def emit(*inputs: ir.Value | None, outputs: int = 1, **attributes: Any) -> Any:
            label = f"{self._prefix}/{operator}_{self._count}"
            while label in self._taken:  # a graph may be extended twice under one prefix
                self._count += 1
                label = f"{self._prefix}/{operator}_{self._count}"
            self._count += 1
            stems = [label] if outputs == 1 else [f"{label}_{i}" for i in range(outputs)]
            node = ir.Node(
                "",
                operator,
                inputs,
                ir.convenience.convert_attributes(attributes),
                outputs=[ir.Value(name=self.name(stem)) for stem in stems],
                name=label,
            )
            if self._before is None:
                self._graph.append(node)
            else:
                self._graph.insert_before(self._before, node)
            return node.outputs[0] if outputs == 1 else tuple(node.outputs)

        return emit


def _names(graph: ir.Graph) -> set[str]:
    graphs: Iterable[ir.Graph] = (graph, *graph.subgraphs())
    taken = {str(value.name) for g in graphs for value in (*g.inputs, *g.initializers.values())}
    for node in graph.all_nodes():
        taken.update(str(output.name) for output in node.outputs)
        taken.add(str(node.name))
    return taken
