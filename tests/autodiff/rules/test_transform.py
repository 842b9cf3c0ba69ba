"""Fourier transforms are linear: the adjoint identity, on the runtime, over the product of their settings."""

import itertools
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from numpy.typing import NDArray
from onnx import helper

from specprobe.autodiff import gradient_names, with_gradient
from specprobe.errors import UnsupportedOperator
from specprobe.testing.gradient_check import check_vjp, evaluate

TOLERANCE = 2e-6


def normal(*shape: int, seed: int = 0) -> NDArray[np.float32]:
    """Standard normal."""
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def model(
    operator: str,
    feeds: dict[str, NDArray[Any]],
    constants: dict[str, int],
    slots: list[str],
    *,
    opset: int = 20,
    **attributes: Any,
) -> onnx.ModelProto:
    """One node to y; every size but the last is symbolic."""
    graph = helper.make_graph(
        [helper.make_node(operator, slots, ["y"], name="transform", **attributes)],
        "transform",
        [
            helper.make_tensor_value_info(
                name,
                helper.np_dtype_to_tensor_dtype(array.dtype),
                [*(f"{name}{i}" for i in range(array.ndim - 1)), *array.shape[-1:]],
            )
            for name, array in feeds.items()
        ],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, None)],
        [helper.make_tensor(name, onnx.TensorProto.INT64, [], [value]) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)


def adjoint_error(proto: onnx.ModelProto, feeds: dict[str, NDArray[Any]], wrt: str = "x") -> float:
    """Difference of ⟨f(x), u⟩ and ⟨x, dx(u)⟩, over the product of norms."""
    gradient = with_gradient(proto, wrt=wrt)
    names = gradient_names(gradient)
    (y,) = evaluate(ir.from_proto(proto), feeds, ["y"])
    u = normal(*y.shape, seed=1)
    (dx,) = evaluate(gradient, {**feeds, names["cotangent"]: u}, [names["gradients"][wrt]])
    assert dx.shape == feeds[wrt].shape
    apart = abs(np.sum(y.astype(np.float64) * u) - np.sum(dx.astype(np.float64) * feeds[wrt]))
    return float(apart / (np.linalg.norm(y) * np.linalg.norm(u)))


def dft(
    shape: tuple[int, ...], length: int | None, axis: int | None, opset: int, inverse: int, onesided: int
) -> tuple[onnx.ModelProto, dict[str, NDArray[Any]]]:
    """A DFT whose axis is an input from opset 20; None for one that is fed."""
    feeds: dict[str, NDArray[Any]] = {"x": normal(*shape)}
    constants = {} if length is None else {"length": length}
    slots = ["x", "length" if length is not None else ""]
    attributes: dict[str, Any] = {"inverse": inverse, "onesided": onesided}
    if opset < 20:
        attributes["axis"] = axis
    else:
        slots.append("axis")
        if axis is None:
            feeds["axis"] = np.array(1)
        else:
            constants["axis"] = axis
    return model("DFT", feeds, constants, slots, opset=opset, **attributes), feeds


@pytest.mark.parametrize("opset", [18, 20])
@pytest.mark.parametrize(("inverse", "onesided"), [(0, 0), (0, 1), (1, 0)])
@pytest.mark.parametrize("size", [6, 7])
def test_dft(size: int, inverse: int, onesided: int, opset: int) -> None:
    parts = (1, 2) if not onesided else (1,)
    for part, length, axis in itertools.product(parts, (None, 5, 8), (1, 2)):
        proto, feeds = dft((2, size, size, part), length, axis, opset, inverse, onesided)
        assert adjoint_error(proto, feeds) < TOLERANCE, (part, length, axis)


@pytest.mark.parametrize("size", [4, 5])
@pytest.mark.parametrize("axis", [1, 2])
def test_dft_from_one_side(size: int, axis: int) -> None:
    proto, feeds = dft((2, size, size, 2), None, axis, 20, 1, 1)
    assert adjoint_error(proto, feeds) < TOLERANCE
    odd, feeds = dft((2, size, size, 2), 2 * size - 1, axis, 20, 1, 1)
    odd.graph.input[0].type.tensor_type.shape.dim[axis].dim_value = size
    assert adjoint_error(odd, feeds) < TOLERANCE


@pytest.mark.parametrize(("inverse", "onesided", "parts"), [(0, 0, 2), (0, 1, 1), (1, 0, 2), (1, 1, 2)])
def test_dft_along_a_computed_axis(inverse: int, onesided: int, parts: int) -> None:
    proto, feeds = dft((2, 5, 4, parts), None, None, 20, inverse, onesided)
    assert adjoint_error(proto, feeds) < TOLERANCE


def test_dft_from_one_side_of_another_length_is_refused() -> None:
    proto, _ = dft((2, 4, 4, 2), 10, 1, 20, 1, 1)
    proto.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 4
    with pytest.raises(UnsupportedOperator, match="inverts 4 frequencies of 6"):
        with_gradient(proto)


def test_dft_in_float64() -> None:
    proto, feeds = dft((2, 5, 1), 6, 1, 20, 0, 1)
    assert check_vjp(proto, feeds, engine="reference").error < 1e-7


def test_dft_twice() -> None:
    """The gradient of |DFT(x)|² / 2 is linear in x, and so is its own gradient."""
    text = """
        <ir_version: 10, opset_import: ["" : 20]>
        f (float[N, 6, 1] x) => (float[N, 6, 2] y) { t = DFT (x)  y = Mul (t, t) }
    """
    first = with_gradient(onnx.parser.parse_model(text))
    names = gradient_names(first)
    feeds = {"x": normal(2, 6, 1), names["cotangent"]: normal(2, 6, 2, seed=1)}
    check = check_vjp(first, feeds, of=names["gradients"]["x"], engine="reference")
    assert check.error < 1e-7


@pytest.mark.parametrize("opset", [18, 20])
@pytest.mark.parametrize(("windowed", "stated"), [(True, False), (True, True), (False, True)])
@pytest.mark.parametrize(("onesided", "parts"), [(1, 1), (0, 1), (0, 2)])
def test_stft(onesided: int, parts: int, windowed: bool, stated: bool, opset: int) -> None:
    feeds: dict[str, NDArray[Any]] = {"x": normal(2, 20, parts)}
    if windowed:
        feeds["window"] = normal(8, seed=2)
    constants = {"hop": 3, **({"length": 8} if stated else {})}
    slots = ["x", "hop", "window" if windowed else "", "length" if stated else ""]
    proto = model("STFT", feeds, constants, slots, opset=opset, onesided=onesided)
    for name in feeds:
        assert adjoint_error(proto, feeds, name) < TOLERANCE


def test_stft_never_reads_past_its_last_frame() -> None:
    feeds = {"x": normal(1, 10, 1), "window": normal(4)}
    proto = model("STFT", feeds, {"hop": 3}, ["x", "hop", "window"])
    feeds["x"][:, :] = 1
    gradient = with_gradient(proto, wrt="x")
    names = gradient_names(gradient)
    (dx,) = evaluate(gradient, {**feeds, names["cotangent"]: normal(1, 3, 3, 2)}, [names["gradients"]["x"]])
    assert dx.shape == (1, 10, 1)
    shorter = model(
        "STFT", {"x": normal(1, 12, 1), "window": feeds["window"]}, {"hop": 3}, ["x", "hop", "window"]
    )
    longer = {"x": normal(1, 12, 1), "window": feeds["window"]}
    gradient = with_gradient(shorter, wrt="x")
    (dx,) = evaluate(gradient, {**longer, names["cotangent"]: normal(1, 3, 3, 2)}, [names["gradients"]["x"]])
    assert dx[:, :10].all()
    assert not dx[:, 10:].any()


def test_the_edges_of_mel_bands_are_steps() -> None:
    text = """
        <ir_version: 10, opset_import: ["" : 18]>
        f (float low, float high) => (float[9, 4] y) <int32 bands = {4}, int32 length = {16}, int32 rate = {8192}>
        { m = MelWeightMatrix (bands, length, rate, low, high)  y = Mul (m, low) }
    """
    gradient = with_gradient(onnx.parser.parse_model(text))
    edges = {"low": np.asarray(2, np.float32), "high": np.asarray(4000, np.float32)}
    fed: dict[str, NDArray[Any]] = {**edges, "cotangent": np.ones((9, 4), np.float32)}
    y, low, high = evaluate(gradient, fed, ["y", "d_low", "d_high"])
    np.testing.assert_allclose(low, y.sum() / 2, rtol=1e-6)
    assert high == 0
