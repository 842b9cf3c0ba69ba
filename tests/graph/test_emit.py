"""Nodes and names that an Emitter adds."""

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from hypothesis import given
from hypothesis import strategies as st

from specprobe.graph.emit import Emitter

Array = np.ndarray[Any, np.dtype[Any]]
TEXT = (
    '<ir_version: 8, opset_import: ["" : 18]> g (float[N, 4] x) => (float[N, 4] y) { [first] y = Relu (x) }'
)


def values(model: ir.Model) -> list[str]:
    named = [*model.graph.inputs, *model.graph.initializers.values()]
    named += [v for node in model.graph.all_nodes() for v in node.outputs]
    return [str(v.name) for v in named]


@given(st.lists(st.sampled_from(["x", "y", "first", "p/Mul_0", "p/Mul_0_1", "new"]), max_size=12))
def test_no_name_is_given_twice(stems: list[str]) -> None:
    model = ir.from_onnx_text(TEXT)
    op = Emitter(model, prefix="p")
    names = [op.name(stem) for stem in stems]
    op.Mul(model.graph.inputs[0], op.constant(2, ir.DataType.FLOAT))
    assert len({*names, "x", "y", "first"}) == len(names) + 3
    everything = values(model)
    assert len(everything) == len(set(everything))


def test_names_inside_subgraphs_count_as_taken() -> None:
    model = ir.from_onnx_text("""<ir_version: 8, opset_import: ["" : 18]>
        g (float[4] x, bool b) => (float[4] y) { y = If (b) <
        then_branch = t () => (float[4] u) <float[1] taken = {1}> { inner = Relu (x) u = Mul (inner, taken) },
        else_branch = e () => (float[4] v) { v = Relu (x) }> }""")
    op = Emitter(model, prefix="p")
    assert [op.name(n) for n in ("taken", "inner", "u", "free")] == ["taken_1", "inner_1", "u_1", "free"]


def test_what_is_emitted_runs(run: Callable[..., tuple[Array, ...]]) -> None:
    model = ir.from_onnx_text(TEXT)
    op = Emitter(model, prefix="p")
    x, y = model.graph.inputs[0], model.graph.outputs[0]
    doubled = op.Mul(y, op.constant([2.0], ir.DataType.FLOAT))
    left, right = op.Split(doubled, op.constant([2, 2], ir.DataType.INT64), axis=1, outputs=2)
    joined = op.Concat(right, left, axis=1)
    model.graph.outputs[:] = [joined]
    joined.type, joined.shape = ir.TensorType(ir.DataType.FLOAT), ir.Shape(["N", 4])
    images = np.array([[1, -2, 3, 4]], np.float32)
    np.testing.assert_array_equal(run(model, x=images)[0], [[6, 8, 2, 0]])
    onnx.checker.check_model(ir.to_proto(model))
    assert x.uses()


def test_nodes_go_before_the_one_named(run: Callable[..., tuple[Array, ...]]) -> None:
    model = ir.from_onnx_text(TEXT)
    first = model.graph.node(0)
    op = Emitter(model, prefix="p", before=first)
    negative = op.Neg(op.Identity(model.graph.inputs[0]))
    first.replace_input_with(0, negative)
    assert [node.op_type for node in model.graph] == ["Identity", "Neg", "Relu"]
    np.testing.assert_array_equal(run(model, x=np.array([[1, -2, 3, -4]], np.float32))[0], [[0, 2, 0, 4]])


def test_operators_that_the_opset_lacks_are_refused() -> None:
    op = Emitter(ir.from_onnx_text(TEXT), prefix="p")
    with pytest.raises(AttributeError, match="ONNX opset 18 has no operator 'Gelu'"):
        op.Gelu  # noqa: B018 - the look-up is what fails
    with pytest.raises(AttributeError, match="_private"):
        op._private  # noqa: B018 - the look-up is what fails


@pytest.mark.parametrize(
    "dtype", [ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.BFLOAT16, ir.DataType.INT64]
)
def test_constants_have_the_type_asked_for(dtype: ir.DataType) -> None:
    model = ir.from_onnx_text(TEXT)
    made = Emitter(model, prefix="p").constant([[1, 2, 3]], dtype)
    assert model.graph.initializers[str(made.name)] is made
    assert made.dtype == dtype
    assert made.shape == [1, 3]
    assert made.const_value is not None
    assert made.const_value.numpy().tolist() == [[1, 2, 3]]
