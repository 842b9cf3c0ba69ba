"""Checks of exported gradients: a right one has a small error, a wrong one a large one, and nothing is compared with 0."""

import numpy as np
import onnx_ir as ir
import pytest

from specprobe.autodiff import with_gradient
from specprobe.errors import InvalidNumbers, ModelError, UnsupportedOperator
from specprobe.workflow import gradient as gradient_module
from specprobe.workflow.gradient import check_gradient, raise_checked, simplify_checked


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


def convolutional() -> ir.Model:
    """A convolution, its normalisation, a pool of what Relu leaves."""
    model = ir.from_onnx_text(
        '<ir_version: 8, opset_import: ["" : 18]> net (float[N, 2, 4, 4] x) => (float[N, 3, 2, 2] y) '
        "<float[3] s = {1, 2, 3}, float[3] b = {0, 1, 0}, float[3] m = {0, 0, 1}, float[3] v = {1, 2, 1}> "
        "{ a = Conv(x, w) n = BatchNormalization(a, s, b, m, v) r = Relu(n) "
        "p = MaxPool<kernel_shape=[2, 2], strides=[2, 2]>(r) y = Tanh(p) }"
    )
    value = next(v for node in model.graph for v in node.inputs if v is not None and v.name == "w")
    content = np.random.default_rng(0).standard_normal((3, 2, 1, 1)).astype(np.float32)
    value.const_value = ir.Tensor(content, name="w")
    value.type, value.shape = ir.TensorType(ir.DataType.FLOAT), ir.Shape(content.shape)
    model.graph.register_initializer(value)
    return model


def used(model: ir.Model) -> list[str]:
    return [node.op_type for node in model.graph]


def test_a_graph_is_simplified_where_the_numbers_stay() -> None:
    simple = simplify_checked(convolutional())
    assert used(simple) == ["Conv", "MaxPool", "Relu", "Tanh"]
    assert check_gradient(convolutional(), with_gradient(simple))[0] < 1e-3


def test_a_tensor_inside_that_is_differentiated_keeps_its_meaning() -> None:
    model = convolutional()
    assert used(simplify_checked(model, of="a")) == used(model)  # folded away, had it been simplified
    simple = simplify_checked(model, of="p")
    assert "BatchNormalization" not in used(simple)
    assert check_gradient(model, with_gradient(simple, of="p"), of="p")[0] < 1e-3


def test_weights_that_are_asked_for_are_not_folded_into_others() -> None:
    model = convolutional()
    assert simplify_checked(model, wrt=["x", "w"]) is model
    assert simplify_checked(model, wrt=["x"]) is not model


def test_a_graph_whose_numbers_would_change_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    model = network("y = Sigmoid(x)")
    monkeypatch.setattr(gradient_module, "simplify", lambda _: network("y = Tanh(x)"))
    assert simplify_checked(model) is model


def test_a_graph_that_cannot_be_tried_stays() -> None:
    model = ir.from_onnx_text(
        '<ir_version: 8, opset_import: ["" : 18]> net (float[N, 5] x) => (float[7] y) <int64[1] seven = {7}> '
        "{ i = Identity(x) y = Reshape(i, seven) }"
    )
    assert simplify_checked(model) is model
