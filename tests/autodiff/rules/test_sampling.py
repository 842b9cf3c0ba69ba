"""Sampling at computed places: central differences, of the definition where the reference computes in float32."""

import itertools
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from numpy.typing import NDArray
from onnx import helper

from specprobe.autodiff import gradient_names, with_gradient
from specprobe.errors import ModelError
from specprobe.testing.gradient_check import check_vjp, evaluate

FLOAT32_TOLERANCE = 2e-5

PADDINGS = ("zeros", "border", "reflection")


def normal(*shape: int, seed: int = 0) -> NDArray[np.float32]:
    """Standard normal."""
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def model(
    operator: str,
    feeds: dict[str, NDArray[Any]],
    *,
    opset: int = 20,
    symbolic: bool = False,
    **attributes: Any,
) -> onnx.ModelProto:
    """One node from ``feeds``, in their order, to y."""
    inputs = [
        helper.make_tensor_value_info(
            name,
            helper.np_dtype_to_tensor_dtype(array.dtype),
            [f"{name}{i}" if symbolic else size for i, size in enumerate(array.shape)],
        )
        for name, array in feeds.items()
    ]
    node = helper.make_node(operator, list(feeds), ["y"], name="sampler", **attributes)
    outputs = [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, None)]
    graph = helper.make_graph([node], "sampling", inputs, outputs)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)


def weight_of_grid_sample(
    place: float, size: int, mode: str, padding: str, aligned: bool
) -> "NDArray[np.float64]":
    """Weights of the ``size`` pixels at one place along one axis, written from the definition."""
    x = (place + 1) / 2 * (size - 1) if aligned else ((place + 1) * size - 1) / 2

    def keys(t: float, a: float = -0.75) -> float:
        t = abs(t)
        if t <= 1:
            return (a + 2) * t**3 - (a + 3) * t**2 + 1
        return a * t**3 - 5 * a * t**2 + 8 * a * t - 4 * a

    low = int(np.floor(x))
    taps = {
        "linear": {low: 1 - (x - low), low + 1: x - low},
        "cubic": {i: keys(x - i) for i in range(low - 1, low + 3)},
        "nearest": {int(np.rint(x)): 1.0},
    }[mode]
    weights = np.zeros(size)
    for i, weight in taps.items():
        pixel: float = i
        if padding == "border":
            pixel = min(max(i, 0), size - 1)
        if padding == "reflection":
            low_edge, high_edge = (0.0, size - 1.0) if aligned else (-0.5, size - 0.5)
            while not low_edge <= pixel <= high_edge:
                pixel = 2 * low_edge - pixel if pixel < low_edge else 2 * high_edge - pixel
        if 0 <= pixel < size:
            weights[int(pixel)] += weight
    return weights


def grid_sample(
    x: NDArray[Any], grid: NDArray[Any], mode: str, padding: str, aligned: bool
) -> "NDArray[np.float64]":
    """By the definition: a product of one axis's weights with the next one's, at every place."""
    sides = x.shape[2:]
    y = np.zeros((*x.shape[:2], *grid.shape[1:-1]))
    for place in np.ndindex(*grid.shape[:-1]):
        sampled = x[place[0]]
        for axis, size in enumerate(sides):
            coordinate = float(grid[place][len(sides) - 1 - axis])
            sampled = np.einsum(
                "ci...,i->c...", sampled, weight_of_grid_sample(coordinate, size, mode, padding, aligned)
            )
        y[(place[0], slice(None), *place[1:])] = sampled
    return y


def check_grid_sample(
    x: NDArray[Any], grid: NDArray[Any], proto: onnx.ModelProto, settings: tuple[str, str, bool]
) -> None:
    """Value, gradient with respect to x along a line, and with respect to the grid along another."""
    gradient = with_gradient(proto)
    names = gradient_names(gradient)
    y = grid_sample(x, grid, *settings)
    u = normal(*y.shape, seed=7)
    (value,) = evaluate(ir.from_proto(proto), {"x": x, "grid": grid}, ["y"])
    np.testing.assert_allclose(value, y, atol=2e-5)
    dx, dgrid = evaluate(
        gradient, {"x": x, "grid": grid, names["cotangent"]: u}, list(names["gradients"].values())
    )
    vx, vgrid = normal(*x.shape, seed=8), normal(*grid.shape, seed=9)
    assert np.sum(dx * vx) == pytest.approx(np.sum(u * grid_sample(vx, grid, *settings)), rel=1e-4, abs=1e-4)
    step = 1e-6
    wide = grid.astype(np.float64)
    ahead, behind = (grid_sample(x, wide + sign * step * vgrid, *settings) for sign in (1, -1))
    slope = float(np.sum(u * (ahead - behind))) / (2 * step)
    assert np.sum(dgrid * vgrid) == pytest.approx(slope, rel=1e-4, abs=1e-3)


@pytest.mark.parametrize("mode", ["linear", "cubic", "nearest"])
@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize("aligned", [False, True])
def test_grid_sample(mode: str, padding: str, aligned: bool) -> None:
    x = normal(2, 3, 5, 4)
    grid = np.random.default_rng(1).uniform(-1.6, 1.6, (2, 2, 3, 2)).astype(np.float32)
    older = {"linear": "bilinear", "cubic": "bicubic"}.get(mode, mode)
    for opset, name in ((20, mode), (18, older)):
        proto = model(
            "GridSample",
            {"x": x, "grid": grid},
            opset=opset,
            symbolic=opset == 18,
            mode=name,
            padding_mode=padding,
            align_corners=int(aligned),
        )
        check_grid_sample(x, grid, proto, (mode, padding, aligned))


@pytest.mark.parametrize("mode", ["linear", "nearest"])
@pytest.mark.parametrize("padding", PADDINGS)
def test_grid_sample_of_volumes(mode: str, padding: str) -> None:
    x = normal(1, 2, 3, 5, 4)
    grid = np.random.default_rng(2).uniform(-1.6, 1.6, (1, 2, 2, 2, 3)).astype(np.float32)
    proto = model("GridSample", {"x": x, "grid": grid}, mode=mode, padding_mode=padding)
    check_grid_sample(x, grid, proto, (mode, padding, False))


@pytest.mark.parametrize("padding", PADDINGS)
def test_grid_sample_of_one_column(padding: str) -> None:
    x = normal(1, 2, 5, 1)
    grid = np.random.default_rng(3).uniform(-1.6, 1.6, (1, 2, 3, 2)).astype(np.float32)
    proto = model("GridSample", {"x": x, "grid": grid}, padding_mode=padding)
    check_grid_sample(x, grid, proto, ("linear", padding, False))


def test_grid_sample_on_a_pixel_takes_the_slope_to_its_right() -> None:
    feeds = {"x": np.array([[[[1, 2, 5]]]], np.float32), "grid": np.zeros((1, 1, 1, 2), np.float32)}
    gradient = with_gradient(model("GridSample", feeds), wrt="grid")
    names = gradient_names(gradient)
    fed = {**feeds, names["cotangent"]: np.ones((1, 1, 1, 1), np.float32)}
    (dgrid,) = evaluate(gradient, fed, [names["gradients"]["grid"]])
    assert dgrid[0, 0, 0, 0] == pytest.approx((5 - 2) * 3 / 2)


def test_grid_sample_by_nearest_has_no_gradient_for_its_grid() -> None:
    feeds = {"x": normal(1, 1, 4, 4), "grid": normal(1, 2, 2, 2)}
    with pytest.raises(ModelError, match="no gradient flows from 'y' to grid"):
        with_gradient(model("GridSample", feeds, mode="nearest"), wrt="grid")


@pytest.mark.parametrize("size", [(2, 3, 4, 5), (2, 3, 4, 5, 6)])
@pytest.mark.parametrize("aligned", [0, 1])
def test_affine_grid(size: tuple[int, ...], aligned: int) -> None:
    rank = len(size) - 2
    feeds = {"theta": normal(2, rank, rank + 1), "size": np.array(size)}
    proto = model("AffineGrid", feeds, align_corners=aligned)
    check = check_vjp(proto, feeds, difference_engine="runtime", steps=(1, 0.5, 0.25))
    assert check.error < FLOAT32_TOLERANCE


ROIS = np.array([[1.13, 1.27, 6.31, 7.77], [-3.3, -2.21, 3.11, 4.37], [2.03, 3.57, 22.9, 19.17]], np.float32)


@pytest.mark.parametrize(
    ("mode", "ratio", "transform"),
    list(itertools.product(("avg", "max"), (0, 1, 2), ("half_pixel", "output_half_pixel"))),
)
def test_roi_align(mode: str, ratio: int, transform: str) -> None:
    feeds = {"x": normal(2, 2, 9, 8), "rois": ROIS, "batch": np.array([0, 1, 1])}
    proto = model(
        "RoiAlign",
        feeds,
        symbolic=ratio == 1,
        mode=mode,
        sampling_ratio=ratio,
        coordinate_transformation_mode=transform,
        output_height=3,
        output_width=2,
        spatial_scale=0.73,
    )
    assert check_vjp(proto, feeds, wrt=["x"], directions=1).error < FLOAT32_TOLERANCE
    if ratio == 2:
        assert check_vjp(proto, feeds, engine="reference", directions=1).error < 1e-7


def test_roi_align_of_an_empty_bin_is_zero() -> None:
    feeds = {
        "x": normal(1, 1, 6, 6),
        "rois": np.array([[4, 4, 1, 1], [1.1, 1.2, 4.3, 4.4]], np.float32),
        "batch": np.array([0, 0]),
    }
    for mode in ("avg", "max"):
        gradient = with_gradient(model("RoiAlign", feeds, mode=mode), wrt="x")
        names = gradient_names(gradient)
        dy = np.array([1, 0], np.float32).reshape(2, 1, 1, 1)
        (dx,) = evaluate(gradient, {**feeds, names["cotangent"]: dy}, [names["gradients"]["x"]])
        assert not dx.any()


def test_grid_sample_twice() -> None:
    x, grid = normal(1, 1, 4, 4), np.random.default_rng(4).uniform(-0.9, 0.9, (1, 2, 2, 2)).astype(np.float32)
    first = with_gradient(model("GridSample", {"x": x, "grid": grid}), wrt="grid")
    names = gradient_names(first)
    feeds = {"x": x, "grid": grid, names["cotangent"]: normal(1, 1, 2, 2)}
    check = check_vjp(
        first, feeds, of=names["gradients"]["grid"], wrt=["x", "grid"], engine="reference", directions=1
    )
    assert check.error < 1e-7
