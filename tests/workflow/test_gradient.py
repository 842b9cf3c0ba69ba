"""Checks of exported gradients: a right one has a small error, a wrong one a large one, and nothing is compared with 0."""

import numpy as np
import onnx_ir as ir
import pytest

from specprobe.autodiff import with_gradient
from specprobe.errors import InvalidNumbers, ModelError, UnsupportedOperator
from specprobe.workflow import gradient as gradient_module
from specprobe.workflow.gradient import check_gradient, raise_checked


def network(body: str, opset: int = 18) -> ir.Model:
    return ir.from_onnx_text(
        f'<ir_version: 8, opset_import: ["" : {opset}]> net (float[N, 5] x) => (float[N, 5] y) {{ {body} }}'
    )


@pytest.mark.parametrize("loss", [None, "cross-entropy", "dlr"])
def test_a_right_gradient_has_a_small_error(loss: str | None) -> None:
    model = network("s = Sigmoid(x) y = Mul(s, x)")
    error, step = check_gradient(model, with_gradient(model, loss=loss))
    assert error < 1e-3
    assert step in gradient_module.STEPS


def test_a_wrong_gradient_has_a_large_one() -> None:
    model, other = network("y = Sigmoid(x)"), network("y = Tanh(x)")
    assert check_gradient(other, with_gradient(model))[0] > 0.1


def test_an_inner_tensor_is_checked_too() -> None:
    model = network("s = Sigmoid(x) y = Mul(s, x)")
    assert check_gradient(model, with_gradient(model, of="s"), of="s")[0] < 1e-3


def test_zero_is_compared_with_nothing() -> None:
    model = network("big = Constant<value_float = 1000.0>() z = Sub(x, big) y = Relu(z)")
    with pytest.raises(InvalidNumbers, match="gradient is zero"):
        check_gradient(model, with_gradient(model))


def test_gradients_of_weights_alone_have_no_direction() -> None:
    model = network("y = Mul(x, w)")
    weight = next(v for node in model.graph for v in node.inputs if v is not None and v.name == "w")
    weight.const_value = ir.Tensor(np.ones(5, np.float32), name="w")
    weight.type, weight.shape = ir.TensorType(ir.DataType.FLOAT), ir.Shape([5])
    model.graph.register_initializer(weight)
    with pytest.raises(ModelError, match="with respect to inputs"):
        check_gradient(model, with_gradient(model, wrt="w"))


def test_a_raised_model_is_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    model = network("y = Sigmoid(x)", opset=13)
    assert raise_checked(model).opset_imports[""] == 18
    recent = network("y = Sigmoid(x)")
    assert raise_checked(recent) is recent
    monkeypatch.setattr(gradient_module, "raise_opset", lambda _: network("y = Tanh(x)"))
    with pytest.raises(UnsupportedOperator, match="outputs differ"):
        raise_checked(model)
