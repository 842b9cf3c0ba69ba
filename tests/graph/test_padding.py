"""Padding made explicit gives what the runtime makes of ``auto_pad``."""

from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest
from onnxruntime.capi.onnxruntime_pybind11_state import RuntimeException

from specprobe.graph.load import infer_shapes
from specprobe.graph.padding import make_padding_explicit

Array = np.ndarray[Any, np.dtype[Any]]

SIZES = ((7, 8), (6, 9))
STRIDES = ((1, 1), (2, 2), (3, 1), (2, 3))
KERNELS = ((3, 3), (2, 3), (1, 4))


def bare(model: onnx.ModelProto, **feeds: Array) -> Array:
    """Run a model as it stands, with nothing of specprobe's in between."""
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    result: Array = session.run(None, feeds)[0]
    return result


def one_node(
    operator: str, size: tuple[int, int], weight: Array | None, **attributes: Any
) -> onnx.ModelProto:
    inputs = ["x"] if weight is None else ["x", "w"]
    node = onnx.helper.make_node(operator, inputs, ["y"], **attributes)
    x = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["N", 4, *size])
    y = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, None)
    weights = [] if weight is None else [onnx.numpy_helper.from_array(weight, "w")]
    graph = onnx.helper.make_graph([node], "g", [x], [y], weights)
    opset = 10 if operator == "AveragePool" and "dilations" not in attributes else 18
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", opset)], ir_version=8)


def explicit(model: onnx.ModelProto) -> tuple[ir.Model, tuple[str, ...]]:
    graph = infer_shapes(ir.from_proto(model))
    findings = make_padding_explicit(graph)
    return graph, tuple(finding.code for finding in findings)


def assert_same(model: onnx.ModelProto) -> bool:
    """Whether padding was made explicit; if it was, outputs are the same."""
    x = np.random.default_rng(0).standard_normal(
        (2, *(d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim[1:]))
    )
    graph, findings = explicit(model)
    if findings == ("implicit-padding",):
        assert ir.to_proto(graph).graph.node == model.graph.node
        return False
    assert findings == ()
    assert not {"auto_pad", "output_shape"} & set(graph.graph[0].attributes)
    try:
        wanted = bare(model, x=x.astype(np.float32))
    except RuntimeException as error:  # a pool that may not cut off the last column, as if it were padding
        assert "padding values must be non-negative" in str(error)  # noqa: PT017 - the type alone says nothing
        return True
    np.testing.assert_allclose(bare(ir.to_proto(graph), x=x.astype(np.float32)), wanted, rtol=1e-5, atol=1e-6)
    return True


@pytest.mark.parametrize("mode", ["SAME_UPPER", "SAME_LOWER", "VALID"])
@pytest.mark.parametrize("group", [1, 2])
def test_convolutions_keep_their_outputs(mode: str, group: int) -> None:
    rng = np.random.default_rng(1)
    done = []
    for size, kernel, strides in product(SIZES, KERNELS, STRIDES):
        weight = rng.standard_normal((6, 4 // group, *kernel), np.float32)
        done.append(assert_same(one_node("Conv", size, weight, auto_pad=mode, strides=strides, group=group)))
    assert sum(done) >= len(done) - 2


@pytest.mark.parametrize("mode", ["SAME_UPPER", "SAME_LOWER"])
def test_dilated_convolutions_are_those_of_the_kernel_with_zeros_between(mode: str) -> None:
    """The runtime itself refuses dilations with SAME."""
    weight = np.random.default_rng(4).standard_normal((3, 4, 3, 2), np.float32)
    stuffed = np.zeros((3, 4, 5, 4), np.float32)
    stuffed[..., ::2, ::3] = weight
    for size, strides in product(SIZES, STRIDES):
        x = np.random.default_rng(5).random((1, 4, *size), np.float32)
        dilated, findings = explicit(
            one_node("Conv", size, weight, auto_pad=mode, strides=strides, dilations=(2, 3))
        )
        assert findings == ()
        wanted = bare(one_node("Conv", size, stuffed, auto_pad=mode, strides=strides), x=x)
        np.testing.assert_allclose(bare(ir.to_proto(dilated), x=x), wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("mode", ["SAME_UPPER", "SAME_LOWER", "VALID"])
@pytest.mark.parametrize("group", [1, 2])
def test_transposed_convolutions_keep_their_outputs(mode: str, group: int) -> None:
    rng = np.random.default_rng(2)
    for size, kernel, strides in product(SIZES, KERNELS, STRIDES):
        weight = rng.standard_normal((4, 3, *kernel), np.float32)
        assert_same(one_node("ConvTranspose", size, weight, auto_pad=mode, strides=strides, group=group))


@pytest.mark.parametrize("mode", ["SAME_UPPER", "SAME_LOWER"])
@pytest.mark.parametrize("extra", [(0, 0), (1, 0), (1, 1)])
def test_transposed_convolutions_of_a_stated_output_shape_keep_their_outputs(
    mode: str, extra: tuple[int, int]
) -> None:
    weight = np.random.default_rng(3).standard_normal((4, 3, 3, 4), np.float32)
    for size in SIZES:
        shape = [2 * size[0] + extra[0], 2 * size[1] + extra[1]]
        assert_same(
            one_node("ConvTranspose", size, weight, auto_pad=mode, strides=(2, 2), output_shape=shape)
        )


@pytest.mark.parametrize("mode", ["SAME_UPPER", "SAME_LOWER", "VALID"])
@pytest.mark.parametrize("operator", ["MaxPool", "AveragePool", "LpPool"])
def test_pools_keep_their_outputs(mode: str, operator: str) -> None:
    for size, kernel, strides, ceil in product(SIZES, KERNELS, STRIDES, (0, 1)):
        attributes: dict[str, Any] = {"auto_pad": mode, "kernel_shape": kernel, "strides": strides}
        assert_same(one_node(operator, size, None, **attributes, ceil_mode=ceil))


@pytest.mark.parametrize(
    "attributes",
    [
        {"auto_pad": "SAME_SIDEWAYS"},
        {"auto_pad": "SAME_UPPER", "strides": (0, 1)},
        {"auto_pad": "SAME_UPPER", "strides": (2,)},
        {"auto_pad": "SAME_LOWER", "strides": (4, 4)},
    ],
)
def test_what_is_not_clear_stays_and_is_told(attributes: dict[str, Any]) -> None:
    model = one_node("Conv", (7, 6), np.ones((2, 4, 1, 1), np.float32), **attributes)
    graph = ir.from_proto(model)
    (finding,) = make_padding_explicit(graph)
    assert (finding.code, finding.level) == ("implicit-padding", "warning")
    assert "auto_pad" in graph.graph[0].attributes


def test_open_sizes_matter_only_with_strides(parse: Callable[..., onnx.ModelProto]) -> None:
    graph = ir.from_proto(
        parse(
            """g (float[N, 1, H, W] x, float[1, 1, 3, 3] w) => (float[N, 1, A, B] y, float[N, 1, C, D] z, u, v, t) {
            y = Conv <auto_pad="SAME_UPPER", kernel_shape=[3, 3]> (x, w)
            [strided] z = Conv <auto_pad="SAME_UPPER", kernel_shape=[3, 3], strides=[2, 2]> (x, w)
            u = Conv <auto_pad="VALID"> (x, w)
            [sized] v = ConvTranspose <output_shape=[9, 9]> (x, w)
            t = ConvTranspose <auto_pad="SAME_LOWER", strides=[2, 2]> (x, w)
            }"""
        )
    )
    findings = make_padding_explicit(graph)
    assert [finding.node for finding in findings] == ["strided", "sized"]
    pads = [node.attributes.get_ints("pads") for node in graph.graph]
    assert pads == [(1, 1, 1, 1), None, (0, 0, 0, 0), None, (1, 1, 0, 0)]


def test_a_kernel_of_unknown_size_stays(parse: Callable[..., onnx.ModelProto]) -> None:
    graph = ir.from_proto(
        parse(
            'g (float[N, 1, 8, 8] x, float[1, 1, K, K] w) => (y) { y = Conv <auto_pad="SAME_UPPER"> (x, w) }'
        )
    )
    (finding,) = make_padding_explicit(graph)
    assert finding.code == "implicit-padding"
    assert finding.message.startswith("auto_pad=SAME_UPPER cannot be made explicit")


def test_operators_of_other_domains_keep_their_attributes() -> None:
    node = ir.Node("com.microsoft", "Conv", [ir.Value(name="x")], [ir.AttrString("auto_pad", "SAME_UPPER")])
    graph = ir.Graph([], node.outputs, nodes=[node], opset_imports={"": 18, "com.microsoft": 1})
    assert make_padding_explicit(ir.Model(graph, ir_version=8)) == ()
    assert "auto_pad" in node.attributes


def test_an_output_shape_out_of_reach_stays(parse: Callable[..., onnx.ModelProto]) -> None:
    graph = ir.from_proto(
        parse(
            """g (float[N, 4, 5, 5] x, z) => (y, t) {
            y = ConvTranspose <strides = [2, 2], output_shape = [40, 40]> (x, w)
            t = ConvTranspose <strides = [2, 2], output_shape = [10, 10]> (z, w) }""",
            w=np.ones((4, 1, 3, 3), np.float32),
        )
    )
    assert [finding.code for finding in make_padding_explicit(graph)] == ["implicit-padding"] * 2
    assert all("output_shape" in node.attributes for node in graph.graph)
