"""Resampling is linear in x: the adjoint identity, on the runtime, over the product of its attributes."""

import itertools
from collections import Counter
from collections.abc import Sequence
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

SHAPE = (2, 3, 7, 6)
TRANSFORMS = (
    "half_pixel",
    "asymmetric",
    "align_corners",
    "pytorch_half_pixel",
    "half_pixel_symmetric",
    "tf_crop_and_resize",
)
KERNELS: tuple[dict[str, Any], ...] = (
    *(
        {"mode": "nearest", "nearest_mode": rounding}
        for rounding in ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil")
    ),
    {"mode": "linear"},
    {"mode": "linear", "antialias": 1},
    {"mode": "cubic"},
    {"mode": "cubic", "cubic_coeff_a": -0.5, "exclude_outside": 1},
    {"mode": "cubic", "antialias": 1},
)
TARGETS: tuple[dict[str, Any], ...] = (
    {"scales": [1, 1, 2, 3]},
    {"scales": [1, 1, 0.6, 1.7]},
    {"scales": [1, 1, 1, 0.5]},
    {"sizes": [2, 3, 11, 4]},
    {"sizes": [14, 3], "axes": [2, 3]},
    {"scales": [1.5, 2.0], "axes": [3, 2]},
)


def model(
    shape: Sequence[int],
    *,
    symbolic: bool = False,
    scales: Sequence[float] | None = None,
    sizes: Sequence[int] | None = None,
    roi: Sequence[float] | None = None,
    dtype: int = TensorProto.FLOAT,
    **attributes: Any,
) -> onnx.ModelProto:
    """One Resize of x to y."""
    stored = [
        (name, helper.make_tensor(name, kind, [len(content)], content) if content is not None else None)
        for name, kind, content in (
            ("roi", dtype, roi),
            ("scales", TensorProto.FLOAT, scales),
            ("sizes", TensorProto.INT64, sizes),
        )
    ]
    names = ["x", *(name if tensor is not None else "" for name, tensor in stored)]
    dims = [f"d{i}" for i in range(len(shape))] if symbolic else list(shape)
    graph = helper.make_graph(
        [helper.make_node("Resize", names, ["y"], name="resize", **attributes)],
        "resize",
        [helper.make_tensor_value_info("x", dtype, dims)],
        [helper.make_tensor_value_info("y", dtype, None)],
        [tensor for _, tensor in stored if tensor is not None],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=10)


def adjoint_error(proto: onnx.ModelProto, x: NDArray[Any]) -> float:
    """Difference of ⟨f(x) − f(0), u⟩ and ⟨x, dx(u)⟩, over the product of norms."""
    gradient = with_gradient(proto)
    names = gradient_names(gradient)
    y, nothing = (evaluate(ir.from_proto(proto), {"x": v}, ["y"])[0] for v in (x, np.zeros_like(x)))
    u = np.random.default_rng(1).standard_normal(y.shape).astype(x.dtype)
    (dx,) = evaluate(gradient, {"x": x, names["cotangent"]: u}, [names["gradients"]["x"]])
    assert dx.shape == x.shape
    assert dx.dtype == x.dtype
    forward = np.sum((y - nothing).astype(np.float64) * u)
    backward = np.sum(x.astype(np.float64) * dx)
    return float(abs(forward - backward) / (np.linalg.norm(y - nothing) * np.linalg.norm(u)))


def pixels(shape: Sequence[int], dtype: Any = np.float32) -> NDArray[Any]:
    """Random, the same for the same shape."""
    return np.random.default_rng(0).standard_normal(shape).astype(dtype)


def emitted(proto: onnx.ModelProto) -> Counter[str]:
    """Operators of the gradient, without the forward pass."""
    return Counter(node.op_type for node in with_gradient(proto).graph if str(node.name).startswith("vjp/"))


@pytest.mark.parametrize("transform", TRANSFORMS)
@pytest.mark.parametrize("kernel", KERNELS, ids=lambda kernel: "-".join(map(str, kernel.values())))
def test_resize_is_its_own_adjoint(transform: str, kernel: dict[str, Any]) -> None:
    for target, symbolic in zip(TARGETS, itertools.cycle((False, True))):
        crop: dict[str, Any] = {}
        if transform == "tf_crop_and_resize":
            every = "axes" not in target
            crop["roi"] = [*([0, 0] * every), 0.1, 0.2, *([1, 1] * every), 0.8, 1.1]
            crop["extrapolation_value"] = 5.0
        settings = {**target, **kernel, **crop, "coordinate_transformation_mode": transform}
        error = adjoint_error(model(SHAPE, symbolic=symbolic, **settings), pixels(SHAPE))
        assert error < 1e-6, (settings, symbolic)


@pytest.mark.parametrize("symbolic", [False, True])
@pytest.mark.parametrize(
    ("shape", "attributes"),
    [
        ((5,), {"scales": [2.5]}),
        ((5, 4), {"scales": [2.5, 1.5], "mode": "linear"}),
        ((5, 4), {"scales": [2.0, 1.5], "mode": "cubic"}),
        ((1, 2, 5), {"scales": [1, 1, 1.5], "mode": "linear"}),
        ((1, 2, 3, 4, 5), {"scales": [1, 1, 2, 2, 2], "mode": "linear"}),
        ((1, 2, 3, 4, 5), {"scales": [1, 1, 1.4, 2, 3]}),
        ((2, 5, 4, 3), {"scales": [1, 2.0, 1.5, 1], "mode": "linear"}),
        ((2, 5, 4, 3), {"scales": [2, 2.0, 1.5, 1]}),
    ],
)
def test_resize_of_any_rank(shape: tuple[int, ...], attributes: dict[str, Any], symbolic: bool) -> None:
    assert adjoint_error(model(shape, symbolic=symbolic, **attributes), pixels(shape)) < 1e-6


@pytest.mark.parametrize("symbolic", [False, True])
@pytest.mark.parametrize("policy", ["not_larger", "not_smaller"])
@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
@pytest.mark.parametrize("axes", [[2, 3], [3, 2]])
def test_resize_that_keeps_the_aspect_ratio(mode: str, policy: str, axes: list[int], symbolic: bool) -> None:
    kept = model(
        SHAPE, symbolic=symbolic, sizes=[9, 10], axes=axes, mode=mode, keep_aspect_ratio_policy=policy
    )
    assert adjoint_error(kept, pixels(SHAPE)) < 1e-6


def test_resize_of_every_axis_that_keeps_the_aspect_ratio_is_refused() -> None:
    kept = model((5, 4), sizes=[9, 9], keep_aspect_ratio_policy="not_larger")
    with pytest.raises(UnsupportedOperator, match="'resize' has keep_aspect_ratio_policy 'not_larger'"):
        with_gradient(kept)


@pytest.mark.parametrize("symbolic", [False, True])
@pytest.mark.parametrize(
    "attributes",
    [
        {},
        {"nearest_mode": "round_prefer_ceil"},
        {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"},
    ],
)
def test_resize_by_whole_factors_sums_blocks(attributes: dict[str, Any], symbolic: bool) -> None:
    doubled = model(SHAPE, symbolic=symbolic, scales=[1, 1, 2, 3], **attributes)
    assert emitted(doubled)["ReduceSum"] == 1
    assert not emitted(doubled)["MatMul"]
    assert adjoint_error(doubled, pixels(SHAPE)) < 1e-6


@pytest.mark.parametrize("rounding", ["ceil", "floor", "round_prefer_ceil"])
def test_resize_by_whole_factors_that_shift_sums_no_blocks(rounding: str) -> None:
    transform = "asymmetric" if rounding != "floor" else "half_pixel"
    shifted = model(
        SHAPE, scales=[1, 1, 2, 2], coordinate_transformation_mode=transform, nearest_mode=rounding
    )
    assert emitted(shifted)["MatMul"] == 2


def test_resize_in_float64() -> None:
    wide = model(SHAPE, scales=[1, 1, 1.6, 0.7], mode="linear", dtype=TensorProto.DOUBLE)
    assert check_vjp(wide, {"x": pixels(SHAPE, np.float64)}, engine="reference").error < 1e-7


def test_resize_by_computed_scales() -> None:
    """Which have no gradient themselves."""
    graph = """
        <ir_version: 10, opset_import: ["" : 18]>
        f (float[N, C, H, W] x, float[4] scales) => (float[N, C, P, Q] y)
        { y = Resize <mode: string = "linear"> (x, , scales) }
    """
    feeds = {"x": pixels(SHAPE), "scales": np.array([1, 1, 1.5, 0.7], np.float32)}
    assert (
        check_vjp(
            onnx.parser.parse_model(graph),
            feeds,
            wrt=["x"],
            difference_engine="runtime",
            steps=(1, 0.5, 0.25),
        ).error
        < 2e-5
    )
    with pytest.raises(UnsupportedOperator, match="no gradient rule for its region of interest and scales"):
        with_gradient(onnx.parser.parse_model(graph))
