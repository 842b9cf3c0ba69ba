"""Elementary functions: derivatives by central differences, and what happens at the ends of their domains."""

import math
from typing import Any

import numpy as np
import onnx
import onnx.parser
import pytest
from numpy.typing import NDArray

from specprobe.autodiff import gradient_names, with_gradient
from specprobe.testing.gradient_check import check_vjp, evaluate

DOMAINS = {
    "Exp": (-3, 3),
    "Log": (0.1, 5),
    "Sin": (-7, 7),
    "Cos": (-7, 7),
    "Tan": (-1.3, 1.3),
    "Asin": (-0.8, 0.8),
    "Acos": (-0.8, 0.8),
    "Atan": (-5, 5),
    "Sinh": (-3, 3),
    "Cosh": (-3, 3),
    "Asinh": (-5, 5),
    "Acosh": (1.1, 5),
    "Atanh": (-0.8, 0.8),
}


def _model(operator: str, kind: str) -> onnx.ModelProto:
    return onnx.parser.parse_model(
        f'<ir_version: 10, opset_import: ["" : 22]> f ({kind}[N,3,5] x) => ({kind}[N,3,5] y) {{ y = {operator} (x) }}'
    )


def _points(operator: str) -> NDArray[np.float64]:
    return np.random.default_rng(5).uniform(*DOMAINS[operator], (2, 3, 5))


def _gradient(operator: str, x: list[float], dtype: type = np.float32) -> list[float]:
    kind = "float16" if dtype is np.float16 else "float"
    points: NDArray[Any] = np.asarray(x, dtype).reshape(1, 1, -1)
    text = f'<ir_version: 10, opset_import: ["" : 22]> f ({kind}[A,B,C] x) => ({kind}[A,B,C] y) {{ y = {operator} (x) }}'
    gradient = with_gradient(onnx.parser.parse_model(text))
    name = gradient_names(gradient)["gradients"]["x"]
    (found,) = evaluate(gradient, {"x": points, "cotangent": np.ones_like(points)}, [name])
    assert found.dtype == dtype
    return [float(v) for v in found.reshape(-1)]


@pytest.mark.parametrize("operator", DOMAINS)
def test_float64_gradient_equals_central_difference(operator: str) -> None:
    assert check_vjp(_model(operator, "double"), {"x": _points(operator)}, engine="reference").error < 1e-7


@pytest.mark.parametrize("operator", DOMAINS)
def test_float32_gradient_on_the_runtime(operator: str) -> None:
    assert check_vjp(_model(operator, "float"), {"x": _points(operator).astype(np.float32)}).error < 2e-5


@pytest.mark.parametrize("operator", DOMAINS)
def test_gradient_of_the_gradient(operator: str) -> None:
    first = with_gradient(_model(operator, "double"))
    feeds = {"x": _points(operator), "cotangent": np.random.default_rng(1).standard_normal((2, 3, 5))}
    assert check_vjp(first, feeds, of="d_x", engine="reference").error < 1e-7


def test_erf_equals_its_derivative() -> None:
    """The reference evaluator has Erf in float32 only, so that its differences are of no use."""
    x = np.linspace(-4, 4, 33)
    exact = 2 / math.sqrt(math.pi) * np.exp(-(x**2))
    np.testing.assert_allclose(_gradient("Erf", list(x)), exact, rtol=2e-6, atol=1e-12)
    assert _gradient("Erf", [-1e30, 1e30]) == [0, 0]


def test_log_at_zero_is_infinite() -> None:
    assert _gradient("Log", [0]) == [math.inf]


def test_asin_and_acos_at_one_are_infinite() -> None:
    assert _gradient("Asin", [-1, 1]) == [math.inf, math.inf]
    assert _gradient("Acos", [-1, 1]) == [-math.inf, -math.inf]


def test_atanh_at_one_and_acosh_at_one_are_infinite() -> None:
    assert _gradient("Atanh", [-1, 1]) == [math.inf, math.inf]
    assert _gradient("Acosh", [1]) == [math.inf]


def test_asin_near_one_keeps_its_digits() -> None:
    x = float(np.nextafter(np.float32(1), np.float32(0)))
    assert _gradient("Asin", [x]) == pytest.approx([1 / math.sqrt((1 - x) * (1 + x))], rel=1e-6)


def test_acosh_near_one_keeps_its_digits() -> None:
    x = float(np.nextafter(np.float32(1), np.float32(2)))
    assert _gradient("Acosh", [x]) == pytest.approx([1 / math.sqrt((x - 1) * (x + 1))], rel=1e-5)


def test_asinh_of_large_numbers_does_not_overflow() -> None:
    assert _gradient("Asinh", [1e25]) == pytest.approx([1e-25], rel=1e-4)


def test_float16_gradients_stay_float16() -> None:
    assert _gradient("Exp", [1], np.float16) == pytest.approx([math.e], rel=1e-3)
    assert _gradient("Erf", [1], np.float16) == pytest.approx([0.41511], rel=1e-2)
