"""Running sums and products."""

import itertools
from typing import Any

import numpy as np
import onnx
import onnx.parser
import pytest
from numpy.typing import NDArray

from specprobe.autodiff import with_gradient
from specprobe.errors import UnsupportedOperator
from specprobe.testing.gradient_check import check_vjp, evaluate

SWEEP = list(itertools.product(("CumSum", "CumProd"), (0, 1, -1), (0, 1), (0, 1)))


def _model(
    operator: str, axis: int, exclusive: int = 0, reverse: int = 0, shape: str = "2,3,5", kind: str = "float"
) -> onnx.ModelProto:
    return onnx.parser.parse_model(
        f'<ir_version: 10, opset_import: ["" : 26]> f ({kind}[{shape}] x) => ({kind}[{shape}] y) '
        f"<int64 axis = {{{axis}}}> {{ y = {operator} <exclusive = {exclusive}, reverse = {reverse}> (x, axis) }}"
    )


def _points() -> NDArray[np.float32]:
    return np.random.default_rng(2).uniform(-2, 2, (2, 3, 5)).astype(np.float32)


@pytest.mark.parametrize(("operator", "axis", "exclusive", "reverse"), SWEEP)
def test_gradient_equals_central_difference(operator: str, axis: int, exclusive: int, reverse: int) -> None:
    model = _model(operator, axis, exclusive, reverse)
    assert check_vjp(model, {"x": _points()}, engine="reference").error < 1e-7


@pytest.mark.parametrize(("operator", "axis", "exclusive", "reverse"), SWEEP)
def test_gradient_of_the_gradient(operator: str, axis: int, exclusive: int, reverse: int) -> None:
    first = with_gradient(_model(operator, axis, exclusive, reverse))
    feeds = {
        "x": _points(),
        "cotangent": np.random.default_rng(1).standard_normal((2, 3, 5)).astype(np.float32),
    }
    assert check_vjp(first, feeds, of="d_x", engine="reference", directions=1).error < 1e-7


def test_running_sums_on_the_runtime() -> None:
    for exclusive, reverse in itertools.product((0, 1), (0, 1)):
        model = _model("CumSum", 1, exclusive, reverse, shape="N,H,W")
        model.opset_import[0].version = 18
        assert check_vjp(model, {"x": _points()}).error < 2e-5


@pytest.mark.parametrize("length", [1, 2, 3, 4, 5, 8, 9])
@pytest.mark.parametrize("exclusive", [0, 1])
def test_running_products_are_exact_at_zero(length: int, exclusive: int) -> None:
    x = np.arange(length, dtype=np.float64)
    x[length // 2] = 0
    model = _model("CumProd", 0, exclusive, shape=str(length), kind="double")
    dy = np.linspace(1, 2, length)
    (found,) = evaluate(with_gradient(model), {"x": x, "cotangent": dy}, ["d_x"], engine="reference")
    jacobian: NDArray[Any] = np.zeros((length, length))
    for i, j in itertools.product(range(length), range(length)):
        factors = range(i + 1 - exclusive)
        if j in factors:
            jacobian[i, j] = np.prod([x[k] for k in factors if k != j])
    np.testing.assert_allclose(found, dy @ jacobian, rtol=1e-12)


def test_a_running_product_along_an_open_axis_is_refused() -> None:
    with pytest.raises(
        UnsupportedOperator, match=r"CumProd '.*' has an axis that is computed or whose length is open"
    ):
        with_gradient(_model("CumProd", 1, shape="N,H,3"))
