"""What no input of a graph can change, written down: lengths, shapes, and the branch that is always taken.

Exporters compute shapes in the graph. A rule that needs an axis, a length or a rank finds it once the graph says it.
"""

import math
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnx.shape_inference
import onnx_ir as ir

from specprobe.graph.emit import Emitter
from specprobe.graph.evaluation import EVALUATED, evaluated
from specprobe.graph.load import infer_shapes

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["folded"]

_MAX_NUMBERS = 4096
"""Of integers and truth values in a tensor that is written down: shapes, positions and indices, not data."""

_MAX_REALS = 64
"""The same of real numbers: scales, not weights."""

_WHOLE = frozenset(
    ir.DataType[name]
    for name in ("BOOL", "INT8", "INT16", "INT32", "INT64", "UINT8", "UINT16", "UINT32", "UINT64")
)
# Runtimes compute half precision in single precision, and round quotients to steps in ways of their own.
_MOST = {
    **dict.fromkeys(_WHOLE, _MAX_NUMBERS),
    **dict.fromkeys((ir.DataType.FLOAT, ir.DataType.DOUBLE), _MAX_REALS),
}
_FOLDED = EVALUATED - {"DequantizeLinear", "QuantizeLinear"} | {"Shape", "Size"}
_MOVING = frozenset(
    {"Concat", "Gather", "Identity", "Reshape", "Slice", "Split", "Squeeze", "Transpose", "Unsqueeze"}
)
"""Operators that put numbers elsewhere, whatever they are, so that a known one stays known beside an unknown one."""


@dataclass(frozen=True, slots=True)
class _Content:
    """Numbers of a tensor, and which of them are known; the others stand for sizes that the graph leaves open."""

    numbers: "NDArray[Any]"
    known: "NDArray[np.bool_]"

    @property
    def whole(self) -> bool:
        return bool(self.known.all())


def folded(model: ir.Model, /, *, in_place: bool = False) -> ir.Model:
    """``model`` with constants in place of what no input can change, and the one branch in place of an ``If``.

    Folded are integers, truth values and few real numbers at a time, and what the inferred shapes say of sizes. Stored
    real numbers are not folded with, however few: a gradient with respect to them may be wanted, now or of the result.
    Nor are initializers that are inputs as well. Branches and loop bodies that stay are left as they are.

    Parameters
    ----------
    model : onnx_ir.Model
        Flat, typed, at opset 18 or above. Unchanged on return.
    in_place : bool
        Whether ``model`` may be changed after all, which saves a copy. The result may be another one nevertheless.

    Returns
    -------
    onnx_ir.Model
        Computes the same numbers, under the same names, with shapes inferred afresh where more is known of them. Shares
        its weights with ``model``, and is ``model`` itself where nothing is to be done.
    """
    work = model
    while _folds(work):
        folding = _Folding(work if in_place or work is not model else work.clone())
        folding.run()
        work = infer_shapes(folding.model) if folding.touched else folding.model
    return work


def _folds(model: ir.Model) -> bool:
    """Whether there is anything to fold."""
    contents: dict[ir.Value, _Content] = {}
    for node in model.graph:
        if _taken(node, contents) is not None or _is_written_down(node, _read(node, contents)):
            return True
    return False


class _Folding:
    """One pass over a model, which it changes.

    Parameters
    ----------
    model : onnx_ir.Model
        A copy.

    Attributes
    ----------
    model : onnx_ir.Model
        The same.
    touched : set of onnx_ir.Value
        Of which more is known than shape inference had said.
    """

    def __init__(self, model: ir.Model) -> None:
        self.model = model
        self.touched: set[ir.Value] = set()
        self._contents: dict[ir.Value, _Content] = {}
        self._folded: set[ir.Value] = set()
        self._emitter: Emitter | None = None

    def run(self) -> None:
        """Fold what can be folded, in the graph's order."""
        pending = deque(self.model.graph)
        while pending:
            node = pending.popleft()
            branch = _taken(node, self._contents)
            if branch is not None:
                pending.extendleft(reversed(self._put_in_place(node, branch)))
                continue
            if any(x in self.touched or x in self._folded for x in node.inputs):
                self._refine(node)
            contents = _read(node, self._contents)
            if contents is not None and _is_written_down(node, contents):
                self._write_down(node, contents)

    def _write_down(self, node: ir.Node, contents: Iterable[_Content]) -> None:
        graph = self.model.graph
        constants = []
        for value, content in zip(node.outputs, contents, strict=True):
            array = np.array(content.numbers)  # a copy, not a view of what it was taken from
            constant = ir.Value(
                name=value.name,
                type=value.type,
                shape=ir.Shape(array.shape),
                const_value=ir.Tensor(array, dtype=value.dtype, name=value.name),
            )
            value.replace_all_uses_with(constant)
            constants.append(constant)
            self._contents[constant] = content
        self._remove(node)
        for constant in constants:
            if constant.uses():
                graph.register_initializer(constant)
        self._folded.update(constants)

    def _put_in_place(self, node: ir.Node, branch: ir.Graph) -> list[ir.Node]:
        """Put a branch in place of its ``If``; returns its nodes, and those that give the outputs their names."""
        if self._emitter is None:
            self._emitter = Emitter(self.model, prefix="folded")
        graph, name = self.model.graph, self._emitter.name
        nodes, outputs, constants = list(branch), list(branch.outputs), list(branch.initializers.values())
        branch.outputs.clear()
        branch.initializers.clear()
        branch.remove(nodes)
        prefix = node.name or node.op_type
        for inner in nodes:
            inner.name = name(f"{prefix}/{inner.name or inner.op_type}")
        for value in (*constants, *(output for inner in nodes for output in inner.outputs if output.name)):
            value.name = name(f"{prefix}/{value.name}")
        graph.insert_before(node, nodes)
        for constant in constants:
            graph.register_initializer(constant)
        made = []
        for old, result in zip(node.outputs, outputs, strict=True):
            if not old.name:
                continue
            new = ir.Value(name=old.name, type=result.type or old.type, shape=result.shape)
            made.append(ir.Node("", "Identity", [result], outputs=[new], name=name(f"{prefix}/{old.name}")))
            old.replace_all_uses_with(new, replace_graph_outputs=True)
            self.touched.add(new)
        graph.insert_before(node, made)
        self._remove(node)
        return [*nodes, *made]

    def _remove(self, node: ir.Node) -> None:
        """Remove a node, and the constants that nothing else reads; not real ones, which have names to be asked for."""
        graph, inputs = self.model.graph, [x for x in dict.fromkeys(node.inputs) if x is not None]
        graph.remove(node, safe=True)
        for x in inputs:
            if x.uses() or x.is_graph_output() or x.is_graph_input() or x.dtype not in _WHOLE:
                continue
            maker = x.producer()
            if maker is None:
                graph.initializers.pop(str(x.name), None)
            elif maker.op_type == "Constant":
                graph.remove(maker, safe=True)

    def _refine(self, node: ir.Node) -> None:
        """Infer the outputs' shapes again, of which the inputs now say more."""
        if all(y.shape is not None and y.shape.is_static() for y in node.outputs):
            return
        for output, shape in zip(node.outputs, _inferred(node, self._contents, self.model), strict=True):
            if shape is None:
                continue
            old = [None for _ in shape] if output.shape is None else list(output.shape)
            # Names made up here could meet those made up elsewhere for other sizes: only numbers are taken.
            dims = [b if isinstance(b, int) else a for a, b in zip(old, shape, strict=True)]
            if output.shape is None or dims != old:
                output.shape = ir.Shape(dims)
                self.touched.add(output)


def _taken(node: ir.Node, contents: dict[ir.Value, _Content]) -> ir.Graph | None:
    """The branch that an ``If`` always takes."""
    if node.op_type != "If" or node.domain not in {"", "ai.onnx"} or node.inputs[0] is None:
        return None
    condition = _content(node.inputs[0], contents)
    if condition is None or not condition.whole or condition.numbers.size != 1:
        return None
    return node.attributes["then_branch" if condition.numbers.all() else "else_branch"].as_graph()


def _content(value: ir.Value, contents: dict[ir.Value, _Content]) -> _Content | None:
    """What is known of ``value``, where it was read before or is stored."""
    stored = value.const_value
    if value in contents or value.producer() is not None or stored is None:
        return contents.get(value)
    if value.is_graph_input() or value.dtype not in _WHOLE or stored.size > _MAX_NUMBERS:
        return None
    contents[value] = _whole(stored.numpy())
    return contents[value]


def _whole(numbers: "NDArray[Any]") -> _Content:
    return _Content(numbers, np.ones(numbers.shape, np.bool_))


def _read(node: ir.Node, contents: dict[ir.Value, _Content]) -> "tuple[_Content, ...] | None":
    """What is known of a node's outputs; also added to ``contents``."""
    if (
        node.op_type not in _FOLDED
        or node.domain not in {"", "ai.onnx"}
        or not all(map(_is_small, node.outputs))
    ):
        return None
    read = _sizes(node) if node.op_type in {"Shape", "Size"} else _computed(node, contents)
    if read is None or not all(_fits(c.numbers, y) for c, y in zip(read, node.outputs, strict=True)):
        return None
    contents.update(zip(node.outputs, read, strict=True))
    return read


def _is_written_down(node: ir.Node, contents: "tuple[_Content, ...] | None") -> bool:
    """Whether a constant is to take the node's place; an output of the graph keeps its node."""
    if contents is None or node.op_type == "Constant" or not all(content.whole for content in contents):
        return False
    return all(value.name and not value.is_graph_output() for value in node.outputs)


def _size(value: ir.Value) -> int | None:
    dims = [dim for dim in value.shape if isinstance(dim, int)] if value.shape is not None else []
    return math.prod(dims) if value.shape is not None and len(dims) == len(value.shape) else None


def _is_small(value: ir.Value) -> bool:
    """Whether ``value`` is of a type that is folded, and as far as is known small enough."""
    return value.dtype in _MOST and (_size(value) or 0) <= _MOST[value.dtype]


def _fits(numbers: "NDArray[Any]", value: ir.Value) -> bool:
    """Whether ``numbers`` are of the type and shape that were inferred, and few."""
    assert value.dtype is not None
    dims = numbers.shape if value.shape is None else tuple(value.shape)
    return (
        numbers.dtype == value.dtype.numpy()
        and numbers.size <= _MOST[value.dtype]
        and len(dims) == numbers.ndim
        and all(not isinstance(d, int) or d == size for d, size in zip(dims, numbers.shape, strict=True))
    )


def _sizes(node: ir.Node) -> tuple[_Content] | None:
    """What ``Shape`` or ``Size`` says where inference has said it before."""
    x = node.inputs[0]
    # An output's shape is also what the file says, and a runtime only warns where it turns out otherwise.
    if x is None or x.shape is None or x.is_graph_output():
        return None
    dims = [dim if isinstance(dim, int) else None for dim in x.shape]
    if node.op_type == "Size":
        size = _size(x)
        return None if size is None else (_whole(np.array(size, np.int64)),)
    part = dims[node.attributes.get_int("start", 0) : node.attributes.get_int("end", len(dims))]
    known = np.array([dim is not None for dim in part], np.bool_)
    return (_Content(np.array([dim or 0 for dim in part], np.int64), known),)


def _computed(node: ir.Node, contents: dict[ir.Value, _Content]) -> "tuple[_Content, ...] | None":
    given = [None if x is None else _content(x, contents) for x in node.inputs]
    if any(content is None and x is not None for content, x in zip(given, node.inputs, strict=True)):
        return None
    moved = len(given) if node.op_type == "Concat" else 1
    arrays = [None if content is None else content.numbers for content in given]
    open_ones = [i for i, content in enumerate(given) if content is not None and not content.whole]
    if open_ones and (node.op_type not in _MOVING or max(open_ones) >= moved):
        return None
    numbers = evaluated(node, arrays)
    if numbers is None or not open_ones:
        return None if numbers is None else tuple(map(_whole, numbers))
    masks = [
        content.known if content is not None and i < moved else arrays[i] for i, content in enumerate(given)
    ]
    known = evaluated(node, masks)
    return None if known is None else tuple(map(_Content, numbers, known))


def _inferred(
    node: ir.Node, contents: dict[ir.Value, _Content], model: ir.Model
) -> "Sequence[Sequence[int | None] | None]":
    """Shapes of a node's outputs, by onnx's inference for its operator."""
    nothing = [None for _ in node.outputs]
    version = model.opset_imports.get("", 0)
    inputs = [x for x in node.inputs if x is not None]
    graphs = any(
        a.type in {ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS} for a in node.attributes.values()
    )
    if graphs or node.domain not in {"", "ai.onnx"} or not onnx.defs.has(node.op_type, version):
        return nothing
    types, data = {}, {}
    for x in inputs:
        if x.dtype is None or not isinstance(x.type, ir.TensorType):
            return nothing
        dims = None if x.shape is None else [dim if isinstance(dim, int) else None for dim in x.shape]
        types[str(x.name)] = onnx.helper.make_tensor_type_proto(x.dtype.value, dims)
        content = _content(x, contents)
        if content is not None and content.whole:
            data[str(x.name)] = onnx.numpy_helper.from_array(np.array(content.numbers))
    try:
        found = onnx.shape_inference.infer_node_outputs(
            onnx.defs.get_schema(node.op_type, version),
            ir.to_proto(node),
            types,
            data,
            opset_imports=[onnx.helper.make_opsetid("", version)],
        )
    except (onnx.shape_inference.InferenceError, RuntimeError, ValueError):
        return nothing  # inference of the whole graph will say it
    shapes: list[list[int | None] | None] = []
    for y in node.outputs:
        tensor = found[str(y.name)].tensor_type if str(y.name) in found else None
        if tensor is None or not tensor.HasField("shape"):
            shapes.append(None)
        else:
            dims = tensor.shape.dim
            shapes.append([dim.dim_value if dim.HasField("dim_value") else None for dim in dims])
    return shapes
