"""Columns to image, and causal convolution."""

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


def columns(
    image: list[int], block: list[int], *, stored: tuple[str, ...] = ("image", "block"), **attributes: Any
) -> tuple[ir.Model, dict[str, NDArray[Any]]]:
    rank = len(image)
    pads = attributes.get("pads", [0] * 2 * rank)
    strides, dilations = attributes.get("strides", [1] * rank), attributes.get("dilations", [1] * rank)
    counts = [
        (size + pads[i] + pads[rank + i] - dilations[i] * (block[i] - 1) - 1) // strides[i] + 1
        for i, size in enumerate(image)
    ]
    shape = [2, 3 * int(np.prod(block)), int(np.prod(counts))]
    arrays = {
        "x": np.random.default_rng(0).standard_normal(shape).astype(np.float32),
        "image": np.array(image),
        "block": np.array(block),
    }
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", *shape[1:]])]
    inputs += [
        helper.make_tensor_value_info(name, TensorProto.INT64, [rank])
        for name in ("image", "block")
        if name not in stored
    ]
    graph = helper.make_graph(
        [helper.make_node("Col2Im", ["x", "image", "block"], ["y"], name="node", **attributes)],
        "one",
        inputs,
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None] * (2 + rank))],
        [numpy_helper.from_array(arrays[name], name) for name in stored],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    return ir.from_proto(made), {name: array for name, array in arrays.items() if name not in stored}


@pytest.mark.parametrize("stored", [("image", "block"), ("block",)])
@pytest.mark.parametrize(
    ("image", "block", "attributes"),
    [
        ([5, 5], [1, 5], {}),
        ([7, 8], [3, 2], {"strides": [2, 3], "pads": [1, 0, 2, 1]}),
        ([7, 8], [2, 3], {"dilations": [2, 2], "pads": [0, 1, 1, 1]}),
        ([4, 5, 6], [2, 1, 3], {"strides": [2, 1, 2]}),
    ],
)
def test_col2im(
    image: list[int], block: list[int], attributes: dict[str, Any], stored: tuple[str, ...]
) -> None:
    made, feeds = columns(image, block, stored=stored, **attributes)
    gradient = with_gradient(made)
    (y,) = evaluate(made, feeds, ["y"])
    u = np.random.default_rng(1).standard_normal(y.shape).astype(np.float32)
    (dx,) = evaluate(gradient, {**feeds, gradient_names(gradient)["cotangent"]: u}, ["d_x"])
    assert dx.shape == feeds["x"].shape
    assert np.sum(dx.astype(np.float64) * feeds["x"]) == pytest.approx(
        np.sum(y.astype(np.float64) * u), abs=1e-4
    )


def test_col2im_of_a_computed_block_is_refused() -> None:
    made, _ = columns([5, 5], [2, 2], stored=("image",))
    with pytest.raises(UnsupportedOperator, match="its block_shape is computed; a constant is accepted"):
        with_gradient(made)


@pytest.mark.parametrize(("taps", "of"), [(1, "y"), (3, "y"), (3, "state")])
@pytest.mark.parametrize("past", [False, True])
@pytest.mark.parametrize("activation", ["none", "silu"])
def test_causal_convolution(taps: int, past: bool, activation: str, of: str) -> None:
    """On the reference evaluator: no runtime takes opset 27 yet."""
    shapes = {"x": [2, 3, 5], "w": [3, 1, taps], "b": [3]} | ({"past": [2, 3, taps - 1]} if past else {})
    rng = np.random.default_rng(0)
    feeds = {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}
    graph = helper.make_graph(
        [helper.make_node("CausalConvWithState", list(shapes), ["y", "state"], activation=activation)],
        "one",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("y", "state")],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 27)], ir_version=13)
    inferred = onnx.shape_inference.infer_shapes(made)
    # The reference takes the activation in float32, also of float64.
    steps, bound = ((1e-4, 1e-5, 1e-6), 1e-7) if activation == "none" else ((2e-2, 1e-2, 5e-3), 1e-3)
    result = check_vjp(inferred, feeds, of=of, engine="reference", steps=steps)
    assert result.error < bound
