"""Convolution is linear in each input: the adjoint identity, on the runtime, over the product of its attributes."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from specprobe.autodiff import gradient_names, with_gradient
from specprobe.errors import UnsupportedOperator
from specprobe.testing.gradient_check import check_vjp, evaluate

Arrays = dict[str, NDArray[Any]]
OPERATORS = ("Conv", "ConvTranspose")


def model(
    operator: str,
    arrays: Mapping[str, NDArray[Any]],
    *,
    symbolic: Sequence[str] = (),
    stored: Sequence[str] = (),
    opset: int = 18,
    **attributes: Any,
) -> ir.Model:
    """One node of x, … to y; ``symbolic`` inputs have known channels only, ``stored`` ones are initializers."""
    inputs = []
    for name, array in arrays.items():
        shape: list[Any] = list(array.shape)
        if name in symbolic:
            shape = [size if i == 1 else f"{name}_{i}" for i, size in enumerate(shape)]
        if name not in stored:
            inputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))
    graph = helper.make_graph(
        [helper.make_node(operator, list(arrays), ["y"], name="node", **attributes)],
        "one",
        inputs,
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(arrays[name], name) for name in stored],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)
    return ir.from_proto(onnx.shape_inference.infer_shapes(made))


def normal(shapes: Mapping[str, Sequence[int]]) -> Arrays:
    rng = np.random.default_rng(0)
    return {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}


def gap(made: ir.Model, arrays: Arrays) -> float:
    """``⟨f(v), u⟩ − ⟨v, dv(u)⟩`` for every input v, over the norms; f(v) without what does not depend on v."""
    feeds = {str(value.name): arrays[str(value.name)] for value in made.graph.inputs}
    (y,) = evaluate(made, feeds, ["y"])
    u = np.random.default_rng(1).standard_normal(y.shape).astype(np.float32)
    gradient = with_gradient(made)
    given = gradient_names(gradient)
    products = evaluate(gradient, {**feeds, given["cotangent"]: u}, list(given["gradients"].values()))
    worst = 0.0
    for name, product in zip(given["gradients"], products, strict=True):
        assert product.shape == feeds[name].shape
        (rest,) = evaluate(made, {**feeds, name: np.zeros_like(feeds[name])}, ["y"])
        part = (y - rest).astype(np.float64)
        difference = np.sum(part * u) - np.sum(product.astype(np.float64) * feeds[name])
        worst = max(worst, abs(float(difference)) / float(np.linalg.norm(part) * np.linalg.norm(u)))
    return worst


def shapes_of(
    operator: str, into: int, out: int, group: int, size: Sequence[int], kernel: Sequence[int]
) -> dict[str, Sequence[int]]:
    weight = (out, into // group, *kernel) if operator == "Conv" else (into, out // group, *kernel)
    return {"x": (2, into, *size), "w": weight, "b": (out,)}


@pytest.mark.parametrize("operator", OPERATORS)
@pytest.mark.parametrize("symbolic", [False, True])
def test_two_dimensions(operator: str, symbolic: bool) -> None:
    pads = [(0, 0, 0, 0), (1, 1, 1, 1), (2, 1, 0, 2)]
    sizes = [(9, 10), (7, 8)]
    for pad, stride, dilation, group, size in itertools.product(pads, [1, 2, 3], [1, 2], [1, 2, 6], sizes):
        arrays = normal(shapes_of(operator, 6, 12, group, size, (3, 2)))
        extra: dict[str, Any] = (
            {"output_padding": [stride - 1, stride - 2]} if operator != "Conv" and stride > 1 else {}
        )
        made = model(
            operator,
            arrays,
            symbolic=["x"] if symbolic else [],
            pads=pad,
            strides=[stride, stride],
            dilations=[dilation, dilation],
            group=group,
            **extra,
        )
        assert gap(made, arrays) < 1e-6, (pad, stride, dilation, group, size)


@pytest.mark.parametrize("operator", OPERATORS)
@pytest.mark.parametrize("symbolic", [False, True])
@pytest.mark.parametrize(
    ("into", "out", "group", "size", "kernel", "strides"),
    [
        (4, 6, 2, (9,), (3,), (2,)),
        (4, 4, 4, (9,), (3,), (2,)),
        (4, 6, 2, (5, 6, 7), (3, 2, 3), (2, 1, 2)),
        (9, 10, 1, (9, 8), (3, 3), (2, 1)),
        (10, 12, 1, (6, 7), (1, 1), (2, 2)),
        (4, 8, 4, (9, 8), (3, 3), (3, 1)),
        (3, 5, 1, (8, 8), (4, 4), (4, 4)),
    ],
)
def test_other_shapes(
    operator: str,
    symbolic: bool,
    into: int,
    out: int,
    group: int,
    size: Sequence[int],
    kernel: Sequence[int],
    strides: Sequence[int],
) -> None:
    arrays = normal(shapes_of(operator, into, out, group, size, kernel))
    made = model(operator, arrays, symbolic=["x"] if symbolic else [], group=group, strides=strides)
    assert gap(made, arrays) < 1e-6


def test_padding_wider_than_the_kernel_is_cut_off_again() -> None:
    arrays = normal({"x": (1, 2, 5, 5), "w": (3, 2, 2, 2)})
    for strides in ([1, 1], [2, 3]):
        assert gap(model("Conv", arrays, pads=[3, 4, 2, 5], strides=strides), arrays) < 1e-6


@pytest.mark.parametrize("stride", [1, 2])
def test_kernel_of_unknown_shape_gives_the_gradient_of_the_image_only(stride: int) -> None:
    arrays = normal({"x": (2, 4, 8, 9), "w": (6, 4, 3, 3)})
    made = model("Conv", arrays, symbolic=["x", "w"], strides=[stride] * 2, kernel_shape=[3, 3])
    assert check_vjp(made, arrays, wrt=["x"]).error < 2e-5
    with pytest.raises(UnsupportedOperator, match=r"Conv \(node 'node'\): its kernel 'w' has an open shape"):
        with_gradient(made, wrt="w")


def test_output_padding_beyond_the_stride_is_refused() -> None:
    arrays = normal({"x": (1, 2, 5, 5), "w": (2, 3, 3, 3)})
    made = model("ConvTranspose", arrays, dilations=[2, 2], output_padding=[1, 1])
    with pytest.raises(UnsupportedOperator, match=r"output_padding \[1, 1\] is not below strides \[1, 1\]"):
        with_gradient(made)


def test_padding_that_depends_on_an_open_size_is_refused() -> None:
    arrays = normal({"x": (1, 2, 5, 5), "w": (3, 2, 3, 3)})
    made = model("Conv", arrays, symbolic=["x"], strides=[2, 2], auto_pad="SAME_UPPER")
    with pytest.raises(UnsupportedOperator, match="state pads, or fix the sizes"):
        with_gradient(made)


@pytest.mark.parametrize("operator", OPERATORS)
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("group", [1, 2, 4])
def test_second_gradient(operator: str, stride: int, group: int) -> None:
    """Of dx, with respect to the cotangent and to the kernel, which dx must not have taken for a constant."""
    arrays = normal({"x": (2, 4, 7, 8), "w": (4, 4 // group, 3, 2)})
    made = model(operator, arrays, stored=["w"], strides=[stride] * 2, pads=[1, 0, 1, 1], group=group)
    (y,) = evaluate(made, {"x": arrays["x"]}, ["y"])
    first = with_gradient(made)
    given = gradient_names(first)
    feeds = {"x": arrays["x"], given["cotangent"]: np.ones_like(y)}
    second = with_gradient(first, of=given["gradients"]["x"], wrt=["w", given["cotangent"]])
    named = gradient_names(second)
    v = normal({"v": arrays["x"].shape})["v"]
    values = evaluate(
        second, {**feeds, named["cotangent"]: v}, [given["gradients"]["x"], *named["gradients"].values()]
    )
    dx, dw, du = (value.astype(np.float64) for value in values)
    expected = float(np.sum(dx * v))  # dx is linear in the kernel, and in the cotangent
    assert abs(float(np.sum(dw * arrays["w"])) - expected) < 1e-4
    assert abs(float(np.sum(du)) - expected) < 1e-4


@pytest.mark.parametrize("stride", [1, 2])
def test_second_gradient_of_the_kernels_gradient(stride: int) -> None:
    for into in (2, 9):
        arrays = normal({"x": (2, into, 6, 6), "w": (4, into, 3, 3)})
        made = model("Conv", arrays, strides=[stride] * 2, pads=[1] * 4)
        (y,) = evaluate(made, arrays, ["y"])
        first = with_gradient(made, wrt="w")
        feeds = {**arrays, gradient_names(first)["cotangent"]: np.ones_like(y)}
        result = check_vjp(first, feeds, of="d_w", wrt=["x"])
        assert result.error < 2e-5


def test_few_nodes_where_sizes_are_known() -> None:
    arrays = normal({"x": (2, 4, 9, 9), "w": (6, 4, 3, 3)})
    for stride, expected in (
        (1, {"Conv": 2, "Transpose": 1, "Slice": 1}),
        (2, {"Conv": 1, "ConvTranspose": 1}),
    ):
        stored = model("Conv", arrays, stored=["w"], strides=[stride] * 2, pads=[1] * 4)
        made = with_gradient(stored, device="cuda")
        counts: dict[str, int] = {}
        for node in made.graph:
            counts[node.op_type] = counts.get(node.op_type, 0) + 1
        assert counts == {**expected, "Identity": 1}
