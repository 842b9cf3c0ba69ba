"""Simplified graphs compute what they did, with fewer nodes."""

from collections import Counter

import numpy as np
import onnx_ir as ir
import pytest

from specprobe.graph.simplify import simplify
from specprobe.runtime.session import Session

HEADER = '<ir_version: 10, opset_import: ["" : 18]>'


def network(body: str, outputs: str = "float[N,4,H,W] y") -> ir.Model:
    model = ir.from_onnx_text(f"{HEADER} net (float[N,3,H,W] x) => ({outputs}) {{ {body} }}")
    rng = np.random.default_rng(0)
    numbers = {
        "w": rng.standard_normal((4, 3, 3, 3)),
        "b": rng.standard_normal(4),
        "scale": rng.standard_normal(4),
        "shift": rng.standard_normal(4),
        "mean": rng.standard_normal(4),
        "var": rng.random(4) + 0.1,
    }
    used = {v.name for node in model.graph for v in node.inputs if v is not None}
    for name in numbers.keys() & used:
        value = next(v for node in model.graph for v in node.inputs if v is not None and v.name == name)
        value.const_value = ir.Tensor(numbers[name].astype(np.float32), name=name)
        value.type, value.shape = ir.TensorType(ir.DataType.FLOAT), ir.Shape(numbers[name].shape)
        model.graph.register_initializer(value)
    return model


def operators(model: ir.Model) -> Counter[str]:
    return Counter(node.op_type for node in model.graph)


def assert_same(model: ir.Model, simple: ir.Model) -> None:
    x = np.random.default_rng(1).standard_normal((2, 3, 6, 5)).astype(np.float32)
    names = [str(v.name) for v in model.graph.outputs]
    assert [str(v.name) for v in simple.graph.outputs] == names
    before, after = (Session(m).run({"x": x}, names) for m in (model, simple))
    for a, b in zip(before, after, strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "conv", ["Conv<pads=[1,1,1,1]>(x, w)", "Conv<pads=[1,1,1,1], strides=[2,2]>(x, w, b)"]
)
def test_batch_normalisation_is_folded_into_its_convolution(conv: str) -> None:
    model = network(f"c = {conv} n = BatchNormalization(c, scale, shift, mean, var) y = Relu(n)")
    simple = simplify(model)
    assert operators(simple) == {"Conv": 1, "Relu": 1}
    assert_same(model, simple)


def test_batch_normalisation_that_others_look_behind_stays() -> None:
    model = network(
        "c = Conv<pads=[1,1,1,1]>(x, w) n = BatchNormalization(c, scale, shift, mean, var) y = Add(c, n)"
    )
    simple = simplify(model)
    assert operators(simple)["BatchNormalization"] == 1
    assert_same(model, simple)


def test_batch_normalisation_of_an_activation_stays() -> None:
    model = network(
        "c = Conv<pads=[1,1,1,1]>(x, w) r = Relu(c) n = BatchNormalization(r, scale, shift, mean, var) y = Relu(n)"
    )
    simple = simplify(model)
    assert operators(simple)["BatchNormalization"] == 1
    assert_same(model, simple)


def test_equal_nodes_are_shared_and_unused_ones_go() -> None:
    model = network("c = Conv<pads=[1,1,1,1]>(x, w) a = Relu(c) b2 = Relu(c) unused = Exp(a) y = Add(a, b2)")
    simple = simplify(model)
    assert operators(simple) == {"Conv": 1, "Relu": 1, "Add": 1}
    assert_same(model, simple)


def test_identities_and_dropouts_are_passed_by() -> None:
    model = network("c = Conv<pads=[1,1,1,1]>(x, w) i = Identity(c) d = Dropout(i) y = Relu(d)")
    simple = simplify(model)
    assert operators(simple) == {"Conv": 1, "Relu": 1}
    assert_same(model, simple)


def test_outputs_keep_their_names() -> None:
    model = network(
        "c = Conv<pads=[1,1,1,1]>(x, w) n = BatchNormalization(c, scale, shift, mean, var) y = Identity(n)",
        "float[N,4,H,W] y, float[N,4,H,W] n",
    )
    assert_same(model, simplify(model))


def test_the_original_is_left_as_it_is() -> None:
    model = network(
        "c = Conv<pads=[1,1,1,1]>(x, w) n = BatchNormalization(c, scale, shift, mean, var) y = Relu(n)"
    )
    before = operators(model)
    simplify(model)
    assert operators(model) == before
