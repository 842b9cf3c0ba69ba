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


def test_max_pools_come_before_relu() -> None:
    model = network(
        "a = Conv<pads=[1,1,1,1]>(x, w) r = Relu(a) p = MaxPool<kernel_shape=[2,2], strides=[2,2]>(r) y = Tanh(p)"
    )
    simple = simplify(model)
    assert [node.op_type for node in simple.graph] == ["Conv", "MaxPool", "Relu", "Tanh"]
    assert_same(model, simple)


@pytest.mark.parametrize(
    "body",
    [
        "a = Conv<pads=[1,1,1,1]>(x, w) r = Relu(a) y = MaxPool<kernel_shape=[2,2]>(r)",
        "a = Conv<pads=[1,1,1,1]>(x, w) r = Relu(a) p = MaxPool<kernel_shape=[1,1]>(r) y = Add(p, r)",
    ],
)
def test_a_pool_that_is_an_output_or_a_relu_that_others_read_stays(body: str) -> None:
    model = network(body)
    simple = simplify(model)
    assert [node.op_type for node in simple.graph][:3] == ["Conv", "Relu", "MaxPool"]
    assert_same(model, simple)


def vector(body: str, opset: int = 18) -> ir.Model:
    return ir.from_onnx_text(
        f'<ir_version: 10, opset_import: ["" : {opset}]> f (float[N,6] x) => (float[N,K] y) '
        "<int64[1] zero = {0}, int64[1] one = {1}, int64[1] two = {2}, int64[1] four = {4}, int64[1] end = {99}, "
        "int64[1] last = {-2}, float half = {0.5}, float unit = {1.0}, float root = {1.4142135}, "
        f"float inverse = {{0.70710677}}, float third = {{0.3333}}> {{ {body} }}"
    )


def assert_same_vectors(model: ir.Model, simple: ir.Model) -> None:
    x = np.random.default_rng(1).standard_normal((3, 6)).astype(np.float32)
    before, after = (Session(m).run({"x": x}, ["y"])[0] for m in (model, simple))
    np.testing.assert_allclose(after, before, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("pieces", "whole"),
    [
        ("a = Slice(x, zero, two, one) b = Slice(x, two, end, one)", True),
        ("a = Slice(x, two, end, one, one) b = Slice(x, zero, two, one, one)", True),
        ("a = Slice(x, zero, four, one) b = Slice(x, last, end, one)", True),
        ("a = Slice(x, zero, two, one) b = Slice(x, four, end, one)", False),
        ("a = Slice(x, zero, four, one) b = Slice(x, two, end, one)", False),
        ("a = Slice(x, zero, two, one) b = Slice(x, two, end, one, two)", False),
    ],
)
def test_slices_that_make_up_a_whole_are_one_split(pieces: str, whole: bool) -> None:
    model = vector(f"{pieces} y = Concat<axis=1>(b, a)")
    simple = simplify(model)
    assert operators(simple)["Split"] == whole
    assert operators(simple)["Slice"] == 2 * (not whole)
    assert_same_vectors(model, simple)


def test_a_slice_that_is_an_output_stays() -> None:
    model = vector("y = Slice(x, zero, two, one) b = Slice(x, two, end, one) z = Exp(b)")
    model.graph.outputs.append(next(v for node in model.graph for v in node.outputs if v.name == "z"))
    assert operators(simplify(model))["Slice"] == 2


@pytest.mark.parametrize(
    "body",
    [
        "u = Div(x, root) e = Erf(u) s = Add(e, unit) h = Mul(half, s) y0 = Mul(x, h) y = Neg(y0)",
        "u = Mul(x, inverse) e = Erf(u) s = Add(unit, e) h = Mul(x, s) y0 = Mul(h, half) y = Neg(y0)",
        "u = Mul(inverse, x) e = Erf(u) s = Add(e, unit) h = Mul(x, half) y0 = Mul(h, s) y = Neg(y0)",
        "u = Div(x, root) e = Erf(u) s = Add(e, unit) h = Div(x, two_) y0 = Mul(s, h) y = Neg(y0)",
    ],
)
def test_what_is_a_gelu_is_called_so(body: str) -> None:
    model = (
        vector(body.replace("two_", "half2"))
        if "two_" not in body
        else vector("half2 = Add(unit, unit) " + body.replace("two_", "half2"))
    )
    simple = simplify(model)
    assert operators(simple)["Gelu"] == 1
    assert operators(simple)["Erf"] == 0
    assert simple.opset_imports[""] == 20
    assert_same_vectors(model, simple)


@pytest.mark.parametrize(
    "body",
    [
        "u = Div(x, root) e = Erf(u) s = Add(e, unit) h = Mul(third, s) y0 = Mul(x, h) y = Neg(y0)",
        "u = Mul(x, third) e = Erf(u) s = Add(e, unit) h = Mul(half, s) y0 = Mul(x, h) y = Neg(y0)",
        "u = Div(x, root) e = Erf(u) s = Add(e, half) h = Mul(half, s) y0 = Mul(x, h) y = Neg(y0)",
        "u = Div(x, root) e = Erf(u) s = Add(e, unit) h = Mul(half, s) t = Exp(x) y0 = Mul(t, h) y = Neg(y0)",
        "u = Div(x, root) e = Erf(u) s = Add(e, unit) h = Mul(half, s) y0 = Mul(x, h) y = Add(y0, e)",
        "u = Div(x, root) e = Erf(u) s = Add(e, unit) h = Mul(half, s) y = Mul(x, h)",
    ],
)
def test_what_is_none_or_has_other_readers_is_not(body: str) -> None:
    model = vector(body)
    simple = simplify(model)
    assert operators(simple)["Gelu"] == 0
    assert simple.opset_imports[""] == 18
    assert_same_vectors(model, simple)


def test_operators_that_changed_their_meaning_keep_the_opset() -> None:
    model = ir.from_onnx_text(
        '<ir_version: 10, opset_import: ["" : 18]> f (float[N,1,4,4] x, float[N,2,2,2] at) => (float[N,1,2,2] y) '
        "<float half = {0.5}, float unit = {1.0}, float root = {1.4142135}> "
        "{ u = Div(x, root) e = Erf(u) s = Add(e, unit) h = Mul(half, s) g = Mul(x, h) y = GridSample(g, at) }"
    )
    simple = simplify(model)
    assert operators(simple)["Gelu"] == 0
    assert simple.opset_imports[""] == 18
