"""Large weights leave a graph and come back the same."""

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from specprobe.errors import ModelError
from specprobe.graph.weights import LARGE, attach, check_numbers, detach, serialise, skeleton

Array = np.ndarray[Any, np.dtype[Any]]
SMALL = np.arange(10, dtype=np.float32)
BIG = np.random.default_rng(0).standard_normal(10 * 40).astype(np.float32).reshape(40, 10)
BODY = "g (float[N, 40] x) => (float[N, 10] y) { a = MatMul (x, big) y = Add (a, small) }"


@pytest.fixture
def proto(parse: Callable[..., onnx.ModelProto]) -> onnx.ModelProto:
    return parse(BODY, big=BIG, small=SMALL)


def test_large_weights_stand_as_inputs_and_come_back(
    proto: onnx.ModelProto, run: Callable[..., tuple[Array, ...]]
) -> None:
    weights, files = detach(proto)
    assert (set(weights), files) == ({"big"}, frozenset())
    assert [v.name for v in proto.graph.input] == ["x", "big"]
    assert [t.name for t in proto.graph.initializer] == ["small"]
    onnx.checker.check_model(proto)
    model = ir.from_proto(proto)
    attach(model, weights)
    assert [v.name for v in model.graph.inputs] == ["x"]
    assert set(model.graph.initializers) == {"big", "small"}
    x = np.random.default_rng(1).random((3, 40), np.float32)
    np.testing.assert_allclose(run(model, x=x)[0], x @ BIG + SMALL, rtol=1e-4, atol=1e-5)


def test_initializers_that_are_inputs_too_stop_being_inputs(proto: onnx.ModelProto) -> None:
    proto.ir_version = 3
    for name, array in (("small", SMALL), ("big", BIG)):
        proto.graph.input.append(
            onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, array.shape)
        )
    weights, _ = detach(proto)
    model = ir.from_proto(proto)
    attach(model, weights)
    assert [v.name for v in model.graph.inputs] == ["x"]
    assert model.ir_version == 4


def test_serialised_graphs_hold_small_weights_only(proto: onnx.ModelProto) -> None:
    model = ir.from_proto(proto)
    graph, weights = serialise(model)
    assert set(weights) == {"big"}
    np.testing.assert_array_equal(weights["big"], BIG)
    assert len(graph) < BIG.nbytes
    tensors = {t.name: t for t in onnx.ModelProto.FromString(graph).graph.initializer}
    assert tensors["big"].data_location == onnx.TensorProto.EXTERNAL
    np.testing.assert_array_equal(onnx.numpy_helper.to_array(tensors["small"]), SMALL)
    after = model.graph.initializers["big"].const_value
    assert after is not None
    np.testing.assert_array_equal(after.numpy(), BIG)


def test_a_skeleton_and_its_weights_make_the_model_again(proto: onnx.ModelProto) -> None:
    bones, weights = skeleton(ir.from_proto(proto))
    assert {v.name for v in bones.graph.input} == {"x", "big"}
    model = ir.from_proto(bones)
    attach(model, weights)
    again, others = skeleton(model)
    assert again.graph.node == bones.graph.node
    assert others.keys() == weights.keys()


def test_weights_are_put_back_when_serialising_fails(proto: onnx.ModelProto) -> None:
    model = ir.from_proto(proto)
    model.graph.node(0).name = 3  # type: ignore[assignment] # on purpose
    with pytest.raises(ir.serde.SerdeError):
        serialise(model)
    after = model.graph.initializers["big"].const_value
    assert after is not None
    np.testing.assert_array_equal(after.numpy(), BIG)


@pytest.mark.parametrize(
    "dtype", ["FLOAT16", "BFLOAT16", "DOUBLE", "INT8", "INT64", "BOOL", "FLOAT8E4M3FN", "UINT4"]
)
def test_every_type_survives(parse: Callable[..., onnx.ModelProto], dtype: str) -> None:
    proto = parse("g (float[1] x) => (float[1] y) { y = Identity (x) a = Identity (w) }")
    kind = getattr(onnx.TensorProto, dtype)
    numbers = np.arange(2 * LARGE) % 2
    tensor = onnx.helper.make_tensor("w", kind, [2, LARGE], numbers)
    proto.graph.initializer.append(tensor)
    weights, _ = detach(proto)
    assert (len(weights) == 1) == (dtype != "UINT4")
    model = ir.from_proto(proto)
    attach(model, weights)
    value = model.graph.initializers["w"]
    assert value.dtype == ir.DataType(kind)
    assert value.const_value is not None
    np.testing.assert_array_equal(value.const_value.numpy().astype(int).ravel(), numbers)
    assert set(serialise(model)[1]) == (set() if dtype == "UINT4" else {"w"})


def test_texts_stay_inside(parse: Callable[..., onnx.ModelProto]) -> None:
    proto = parse("g (float[1] x) => (float[1] y) { y = Identity (x) a = Identity (w) }")
    texts = onnx.TensorProto(
        name="w", data_type=onnx.TensorProto.STRING, dims=[300], string_data=[b"text"] * 300
    )
    proto.graph.initializer.append(texts)
    assert detach(proto)[0] == {}
    assert serialise(ir.from_proto(proto))[1] == {}


@pytest.mark.parametrize(
    "tensor",
    [
        onnx.TensorProto(name="w", data_type=1, dims=[2**40]),
        onnx.TensorProto(name="w", data_type=1, dims=[3], raw_data=bytes(8)),
        onnx.TensorProto(name="w", data_type=1, dims=[2], float_data=[1, 2, 3]),
        onnx.TensorProto(name="w", data_type=99, dims=[2], raw_data=bytes(8)),
        onnx.TensorProto(name="w", data_type=3, dims=[2], uint64_data=[1, 2]),
        onnx.TensorProto(name="w", data_type=1, dims=[-1], raw_data=bytes(8)),
        onnx.TensorProto(name="w", data_type=1, dims=[2**62, 2**62], raw_data=bytes(8)),
    ],
)
def test_numbers_that_do_not_fit_are_refused(tensor: onnx.TensorProto) -> None:
    with pytest.raises(ModelError, match=r"tensor 'w' (does not hold the numbers|has a negative)"):
        check_numbers(tensor)
