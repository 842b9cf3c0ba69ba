"""Deformable convolution, on the runtime; offsets stay between whole pixels, where it has kinks."""

from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper

from specprobe.autodiff import gradient_names, with_gradient
from specprobe.errors import UnsupportedOperator
from specprobe.testing.gradient_check import check_vjp, evaluate

CASES = [
    # stride, dilation, group, offset groups, pads
    (1, 1, 1, 1, (0, 0, 0, 0)),
    (2, 1, 2, 1, (1, 1, 1, 1)),
    (1, 2, 1, 2, (2, 1, 0, 2)),
    (2, 1, 1, 4, (1, 0, 1, 0)),
    (1, 1, 4, 2, (1, 1, 1, 1)),
]


def deformable(
    stride: int,
    dilation: int,
    group: int,
    groups: int,
    pads: tuple[int, ...],
    *,
    names: str = "x w offset b mask",
    open_size: bool = False,
) -> tuple[ir.Model, dict[str, NDArray[Any]]]:
    kernel, size = (3, 2), (6, 5)
    counts = [
        (size[i] + pads[i] + pads[2 + i] - (kernel[i] - 1) * dilation - 1) // stride + 1 for i in range(2)
    ]
    shapes = {
        "x": (2, 4, *size),
        "w": (4, 4 // group, *kernel),
        "offset": (2, groups * 12, *counts),
        "b": (4,),
        "mask": (2, groups * 6, *counts),
    }
    rng = np.random.default_rng(0)
    feeds = {name: rng.standard_normal(shapes[name]).astype(np.float32) for name in names.split()}
    whole = np.floor(2 * feeds["offset"])
    feeds["offset"] = (whole + rng.uniform(0.2, 0.8, whole.shape)).astype(np.float32)
    inputs = []
    for name in feeds:
        shape: list[Any] = list(shapes[name])
        if name in {"x", "offset", "mask"}:
            shape[0] = "N"
        if open_size and name == "x":
            shape[2] = "H"
        inputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))
    node = helper.make_node(
        "DeformConv",
        list(feeds),
        ["y"],
        name="node",
        strides=[stride] * 2,
        dilations=[dilation] * 2,
        group=group,
        offset_group=groups,
        pads=pads,
        kernel_shape=kernel,
    )
    given = [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)]
    graph = helper.make_graph([node], "one", inputs, given)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=10)
    return ir.from_proto(onnx.shape_inference.infer_shapes(made)), feeds


@pytest.mark.parametrize("case", CASES, ids=str)
def test_all_inputs(case: tuple[int, int, int, int, tuple[int, ...]]) -> None:
    made, feeds = deformable(*case)
    for name in feeds:  # linear in each but the offset, which is piecewise polynomial
        steps = (4e-2, 2e-2, 1e-2) if name == "offset" else (2.0, 1.0, 0.5)
        result = check_vjp(made, feeds, wrt=[name], difference_engine="runtime", steps=steps)
        assert result.error < 5e-5, name


def test_without_mask_and_bias() -> None:
    made, feeds = deformable(*CASES[0], names="x w offset")
    result = check_vjp(made, feeds, difference_engine="runtime", steps=(4e-2, 2e-2, 1e-2))
    assert result.error < 1e-3


def test_second_gradient() -> None:
    made, feeds = deformable(*CASES[1])
    first = with_gradient(made, wrt=["x", "offset"])
    (y,) = evaluate(made, feeds, ["y"])
    seeded = {**feeds, gradient_names(first)["cotangent"]: np.ones_like(y)}
    for of in ("d_x", "d_offset"):
        result = check_vjp(first, seeded, of=of, difference_engine="runtime", steps=(2e-2, 1e-2, 5e-3))
        assert result.error < 2e-3


def test_open_size_is_refused() -> None:
    made, _ = deformable(*CASES[0], open_size=True)
    with pytest.raises(UnsupportedOperator, match="an open size; all but the batch must be static"):
        with_gradient(made)
