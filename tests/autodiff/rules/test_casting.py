"""Casts, dropout at inference, and the straight-through estimate of quantization."""

from typing import Any, NamedTuple

import numpy as np
import onnx
import onnx.parser
import onnx_ir as ir
import pytest
from numpy.typing import NDArray

from specprobe.autodiff import gradient_names, with_gradient
from specprobe.autodiff.operators import Operators
from specprobe.autodiff.registry import rule_for
from specprobe.errors import UnsupportedOperator
from specprobe.graph.load import infer_shapes
from specprobe.testing.gradient_check import check_vjp, evaluate


def _model(text: str) -> onnx.ModelProto:
    return onnx.parser.parse_model(f'<ir_version: 10, opset_import: ["" : 21]> {text}')


@pytest.mark.parametrize("wide", ["double", "float"])
def test_cast_there_and_back_gives_the_gradient_in_the_type_of_x(wide: str) -> None:
    number = {"double": 11, "float": 1}[wide]
    model = _model(
        f"f (float16[N] x) => (float16[N] y) {{ w = Cast <to: int = {number}> (x)\n v = Mul (w, w)\n "
        "y = Cast <to: int = 10> (v) }"
    )
    x = np.asarray([1, 2, -3], np.float16)
    (found,) = evaluate(with_gradient(model), {"x": x, "cotangent": np.ones_like(x)}, ["d_x"])
    assert found.dtype == np.float16
    assert found.tolist() == [2, 4, -6]


def test_cast_like_takes_the_type_alone() -> None:
    model = _model(
        "f (float[N] x, double[N] like) => (double[N] y) { w = CastLike (x, like)\n y = Mul (w, like) }"
    )
    x, like = np.asarray([1, 2], np.float32), np.asarray([3.0, 5.0])
    found = evaluate(with_gradient(model), {"x": x, "like": like, "cotangent": like}, ["d_x", "d_like"])
    assert [a.dtype for a in found] == [np.float32, np.float64]
    assert [a.tolist() for a in found] == [[9, 25], [3, 10]]


def test_cast_to_integers_ends_the_path() -> None:
    model = _model(
        "f (float[N] x) => (float[N] y) "
        "{ i = Cast <to: int = 7> (x)\n w = Cast <to: int = 1> (i)\n y = Mul (x, w) }"
    )
    x = np.asarray([1.5, -2.5], np.float32)
    (found,) = evaluate(with_gradient(model), {"x": x, "cotangent": np.ones_like(x)}, ["d_x"])
    assert found.tolist() == [1, -2]


DROPOUT = {
    "data": "Dropout (x)",
    "ratio": "Dropout (x, half)",
    "inference": "Dropout (x, half, no)",
    "no-ratio": "Dropout (x, , no)",
}


@pytest.mark.parametrize("node", DROPOUT.values(), ids=DROPOUT)
def test_dropout_at_inference_is_the_identity(node: str) -> None:
    model = _model(f"f (float[N] x) => (float[N] y) <float half = {{0.5}}, bool no = {{0}}> {{ y = {node} }}")
    assert check_vjp(model, {"x": np.asarray([1, 2, 3], np.float32)}).error < 2e-5


@pytest.mark.parametrize("engine", ["runtime", "reference"])
def test_dropout_with_a_mask(engine: str) -> None:
    model = _model("f (float[N] x) => (float[N] y) { z, mask = Dropout (x)\n y = Where (mask, z, x) }")
    assert check_vjp(model, {"x": np.asarray([1, 2, 3], np.float32)}, engine=engine).error < 2e-5


def test_dropout_in_training_is_refused() -> None:
    model = _model(
        "f (float[N] x) => (float[N] y) <float half = {0.5}, bool yes = {1}> { y = Dropout (x, half, yes) }"
    )
    with pytest.raises(UnsupportedOperator, match=r"Dropout \(node 'y'\): training_mode 'yes' is true"):
        with_gradient(model)


def test_dropout_of_unknown_mode_is_refused() -> None:
    model = _model(
        "f (float[N] x, bool mode) => (float[N] y) <float half = {0.5}> { y = Dropout (x, half, mode) }"
    )
    with pytest.raises(UnsupportedOperator, match="training_mode 'mode' is computed in the graph"):
        with_gradient(model)


PER_TENSOR = "<float s = {0.5}, int8 z = {3}>"
PER_AXIS = "<float[2] s = {0.5, 2}, int8[2] z = {3, -7}>"


def _straight_through(text: str, x: NDArray[Any], *, of: int = -1) -> NDArray[Any]:
    """Walk a chain of nodes by hand: whether the engine passes integers is not the rules' affair."""
    model = infer_shapes(ir.from_proto(_model(text)))
    op = Operators(model, prefix="vjp")
    nodes = list(model.graph)
    seed = ir.Value(name="seed", type=nodes[of].outputs[0].type, shape=nodes[of].outputs[0].shape)
    model.graph.inputs.append(seed)
    dy: ir.Value | None = seed
    for node in reversed(nodes):
        rule = rule_for(node)
        assert rule is not None
        found = next(iter(rule.function(op, node, dy)))
        dy = found() if callable(found) else found
    assert dy is not None
    output = op.Identity(dy)
    output.name, output.shape = "dx", model.graph.inputs[0].shape
    model.graph.outputs.append(output)
    shape = evaluate(model, {"x": x, "seed": np.ones_like(x)}, ["y"])[0].shape
    (dx,) = evaluate(model, {"x": x, "seed": np.ones(shape, x.dtype)}, ["dx"])
    return dx


def _round_trip(constants: str, attributes: str = "") -> str:
    return (
        f"f (float[2,K] x) => (float[2,K] y) {constants} "
        f"{{ q = QuantizeLinear {attributes} (x, s, z)\n y = DequantizeLinear {attributes} (q, s, z) }}"
    )


def test_quantization_passes_what_rounds_into_the_range() -> None:
    """(−128 − 3)/2 = −65.5 and (127 − 3)/2 = 62 are the ends; a quarter more still rounds to them."""
    x = np.asarray([[0, -65.5, -65.7, -65.8], [0.1, 62, 62.2, 62.3]], np.float32)
    dx = _straight_through(_round_trip(PER_TENSOR), x)
    assert dx.tolist() == [[1, 1, 1, 0], [1, 1, 1, 0]]


def test_quantization_of_a_round_trip_leaves_the_scales_out() -> None:
    x = np.zeros((2, 1), np.float32)
    model = infer_shapes(ir.from_proto(_model(_round_trip(PER_TENSOR))))
    op = Operators(model, prefix="vjp")
    quantize, dequantize = list(model.graph)
    for node, expected in ((dequantize, []), (quantize, ["Greater", "Less", "And", "Where"])):
        before = len(list(model.graph))
        rule = rule_for(node)
        assert rule is not None
        assert rule.estimate == "straight-through"
        list(rule.function(op, node, model.graph.inputs[0]))
        assert [added.op_type for added in list(model.graph)[before:]] == expected
    assert _straight_through(_round_trip(PER_TENSOR), x).tolist() == [[1], [1]]


def test_quantization_along_an_axis() -> None:
    x = np.asarray([[62.2, 62.3, -66], [268.9, 269.1, -242.9]], np.float32)
    dx = _straight_through(_round_trip(PER_AXIS, "<axis: int = 0>"), x)
    assert dx.tolist() == [[1, 0, 0], [1, 0, 1]]


def test_quantization_and_dequantization_by_other_scales() -> None:
    text = (
        "f (float[2,K] x) => (float[2,K] y) <float s = {0.5}, float t = {2}, uint8 z = {0}> "
        "{ q = QuantizeLinear (x, s, z)\n y = DequantizeLinear (q, t, z) }"
    )
    assert _straight_through(text, np.asarray([[1, -1], [127.6, 128]], np.float32)).tolist() == [
        [4, 0],
        [4, 0],
    ]


def test_quantization_without_a_zero_point_is_to_uint8() -> None:
    text = "f (float[2,K] x) => (float[2,K] y) <float s = {1}> { q = QuantizeLinear (x, s)\n y = DequantizeLinear (q, s) }"
    assert _straight_through(text, np.asarray([[-0.4, -0.6], [255.4, 255.6]], np.float32)).tolist() == [
        [1, 0],
        [1, 0],
    ]


COMPUTED_SCALE = """
f (float[N] x, float s) => (float[N] y) <int8 z = {0}> {
  q = QuantizeLinear (x, s, z)
  y = DequantizeLinear (q, s, z)
}"""
BLOCKS = """
f (float[2,4] x) => (float[2,4] y) <float[2,2] s = {1, 2, 3, 4}, int8[2,2] z = {0, 0, 0, 0}> {
  q = QuantizeLinear <block_size: int = 2> (x, s, z)
  y = DequantizeLinear <block_size: int = 2> (q, s, z)
}"""
FLOAT8 = """
f (float[N] x) => (float[N] y) <float s = {1}> {
  q = QuantizeLinear <output_dtype: int = 17> (x, s)
  y = DequantizeLinear (q, s)
}"""


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (COMPUTED_SCALE, r"QuantizeLinear \(node 'q'\): 's' is computed in the graph"),
        (BLOCKS, r"scales in blocks, of shape \[2, 2\]"),
        (FLOAT8, "its steps are not of one size"),
    ],
    ids=["scale", "blocks", "float8"],
)
def test_quantization_that_is_refused(text: str, message: str) -> None:
    with pytest.raises(UnsupportedOperator, match=message):
        _straight_through(text, np.ones((1, 1), np.float32))


def test_the_gradient_of_a_scale_through_rounding_is_refused() -> None:
    model = _model(_round_trip(PER_TENSOR))
    with pytest.raises(
        UnsupportedOperator, match=r"QuantizeLinear \(node 'q'\): no gradient .* its scale 's'"
    ):
        with_gradient(model, wrt="s")


class Scaled(NamedTuple):
    """Shapes of the integers, as stated and as fed, and of their scales; attributes."""

    stated: str
    shape: tuple[int, ...]
    scales: tuple[int, ...]
    attributes: str = ""
    axis: int | None = None
    block: int = 0


SCALED = {
    "tensor": Scaled("N,K", (3, 4), ()),
    "tensor-of-one": Scaled("N,K", (3, 4), (1,)),
    "scalar": Scaled("", (), ()),
    "scalar-by-one": Scaled("", (), (1,)),
    "axis": Scaled("N,3,K", (2, 3, 4), (3,), axis=1),
    "axis-first": Scaled("3,K", (3, 4), (3,), "axis = 0", 0),
    "axis-last": Scaled("N,3", (2, 3), (3,), "axis = -1", 1),
    "axis-alone": Scaled("3", (3,), (3,), "axis = 0", 0),
    "blocks": Scaled("2,6,3", (2, 6, 3), (2, 3, 3), "axis = 1, block_size = 2", 1, 2),
    "blocks-last": Scaled("2,6", (2, 6), (2, 2), "axis = -1, block_size = 3", 1, 3),
    "blocks-cut-short": Scaled("2,5,3", (2, 5, 3), (2, 3, 3), "axis = 1, block_size = 2", 1, 2),
    "blocks-open": Scaled("2,K,3", (2, 6, 3), (2, 3, 3), "axis = 1, block_size = 2", 1, 2),
    "blocks-alone": Scaled("6", (6,), (3,), "axis = 0, block_size = 2", 0, 2),
}


def _spread(case: Scaled, value: NDArray[Any]) -> NDArray[np.float64]:
    """To every element what scales it."""
    wide = value.astype(np.float64)
    if wide.size == 1:
        return np.broadcast_to(wide.reshape(()), case.shape)
    assert case.axis is not None
    if case.block:
        return np.repeat(wide, case.block, axis=case.axis).take(range(case.shape[case.axis]), case.axis)
    return np.broadcast_to(
        np.moveaxis(np.broadcast_to(wide, (1,) * (len(case.shape) - 1) + wide.shape), -1, case.axis),
        case.shape,
    )


@pytest.mark.parametrize("kind", ["float", "float16"])
@pytest.mark.parametrize("case", SCALED.values(), ids=SCALED)
def test_the_gradient_of_a_scale_sums_over_what_it_scales(case: Scaled, kind: str) -> None:
    scales = ",".join(map(str, case.scales))
    stated, shared = (f"[{shape}]" if shape else "" for shape in (case.stated, scales))
    attributes = f"<{case.attributes}>" if case.attributes else ""
    model = _model(
        f"f (int8{stated} q, {kind}{shared} s, int8{shared} z) => ({kind}{stated} y) "
        f"{{ y = DequantizeLinear {attributes} (q, s, z) }}"
    )
    dtype = {"float": np.float32, "float16": np.float16}[kind]
    rng = np.random.default_rng(0)
    q, z = (rng.integers(-9, 9, shape).astype(np.int8) for shape in (case.shape, case.scales))
    u = rng.integers(-3, 4, case.shape).astype(dtype)
    s = rng.uniform(1, 2, case.scales).astype(dtype)
    gradient = with_gradient(model)
    named = gradient_names(gradient)["gradients"]
    found = evaluate(gradient, {"q": q, "s": s, "z": z, "cotangent": u}, [named["s"]])[0]
    # Linear in the scales: by one scale at a time, the derivative is the output itself.
    expected = np.zeros(case.scales)
    for at in np.ndindex(case.scales):
        one = np.zeros(case.scales)
        one[at] = 1
        expected[at] = np.sum(u * (q - _spread(case, z)) * _spread(case, one))
    assert found.dtype == dtype
    assert found.shape == case.scales
    assert found.tolist() == expected.tolist()


def test_the_gradient_of_a_scale_goes_on_to_what_made_it() -> None:
    model = _model(
        "f (uint8[2,3] q, float[3] r) => (float[2,3] y) { s = Exp (r)\n y = DequantizeLinear <axis = 1> (q, s) }"
    )
    q, r = np.asarray([[1, 2, 3], [4, 5, 6]], np.uint8), np.asarray([0, 1, -1], np.float32)
    (found,) = evaluate(
        with_gradient(model), {"q": q, "r": r, "cotangent": np.ones((2, 3), np.float32)}, ["d_r"]
    )
    np.testing.assert_allclose(found, [5, 7 * np.e, 9 / np.e], rtol=1e-6)


TWO_SCALES = """
f (float[N] x) => (float[N] y) <float s = {0.5}, float t = {0.5}, int8 z = {0}> {
  q = QuantizeLinear (x, s, z)
  y = DequantizeLinear (q, t, z)
}"""


def test_the_gradient_of_a_scale_beside_that_of_the_input() -> None:
    """The scales are equal and only the second is differentiated: both ends must agree on whether they cancel."""
    x = np.asarray([1, -3, 100], np.float32)
    gradient = with_gradient(_model(TWO_SCALES), wrt=["x", "t"])
    found = evaluate(gradient, {"x": x, "cotangent": np.asarray([1, 2, 4], np.float32)}, ["d_x", "d_t"])
    assert [a.tolist() for a in found] == [[1, 2, 0], 1 * 2 + 2 * -6 + 4 * 127]


def test_second_order_of_a_scale() -> None:
    model = _model("f (int8[N] q, float s) => (float[N] y) { d = DequantizeLinear (q, s)\n y = Mul (d, d) }")
    twice = with_gradient(with_gradient(model, wrt="s"), of="d_s", wrt="s")
    q, one = np.asarray([1, -2, 3], np.int8), np.ones(3, np.float32)
    names = gradient_names(twice)
    feeds: dict[str, NDArray[Any]] = {
        "q": q,
        "s": np.asarray(0.5, np.float32),
        "cotangent": one,
        names["cotangent"]: np.asarray(1, np.float32),
    }
    (found,) = evaluate(twice, feeds, [names["gradients"]["s"]])
    assert found == 2 * (1 + 4 + 9)


def test_the_gradient_of_the_integers_depends_on_the_scale() -> None:
    """First t / s, and t is differentiated next."""
    text = TWO_SCALES.replace("x) =>", "x, float t) =>").replace("float t = {0.5}, ", "")
    once = with_gradient(_model(text), wrt="x")
    twice = with_gradient(once, of="d_x", wrt="t")
    names = gradient_names(twice)
    x, one = np.asarray([1, -3, 100], np.float32), np.ones(3, np.float32)
    feeds: dict[str, NDArray[Any]] = {
        "x": x,
        "t": np.asarray(3, np.float32),
        "cotangent": one,
        names["cotangent"]: one,
    }
    first, second = evaluate(twice, feeds, ["d_x", names["gradients"]["t"]])
    assert first.tolist() == [6, 6, 0]
    assert second == 4


def test_gradient_names_survive_a_cast() -> None:
    model = _model("f (float[N] x) => (double[N] y) { y = Cast <to: int = 11> (x) }")
    assert gradient_names(with_gradient(model))["gradients"] == {"x": "d_x"}


ROUND_TRIP = "q = QuantizeLinear (x, s, z)\n d = DequantizeLinear (q, s, z)"


def _of_quantized(nodes: str, x: list[float]) -> list[float]:
    text = (
        f"f (float[N] x) => (float[N] y) <float s = {{0.5}}, int8 z = {{3}}, float two = {{2}}> {{ {nodes} }}"
    )
    points = np.asarray(x, np.float32)
    (dx,) = evaluate(with_gradient(_model(text)), {"x": points, "cotangent": np.ones_like(points)}, ["d_x"])
    return [float(v) for v in dx]


def test_gradient_passes_a_quantized_tensor() -> None:
    assert _of_quantized(f"{ROUND_TRIP}\n y = Mul (d, two)", [0, 62.2, 62.3, -65.7, -66]) == [2, 2, 0, 2, 0]


def test_gradient_of_a_residual_around_a_quantized_tensor() -> None:
    assert _of_quantized(f"{ROUND_TRIP}\n y = Add (d, x)", [0, 62.3]) == [2, 1]


def test_gradient_of_a_quantized_tensor_with_two_readers() -> None:
    nodes = f"{ROUND_TRIP}\n e = DequantizeLinear (q, two, z)\n y = Add (d, e)"
    assert _of_quantized(nodes, [0, 62.3]) == [5, 0]


def test_gradient_passes_a_reshape_of_integers() -> None:
    nodes = "q = QuantizeLinear (x, s, z)\n r = Reshape (q, whole)\n y = DequantizeLinear (r, s, z)"
    text = f"f (float[N] x) => (float[N] y) <float s = {{0.5}}, int8 z = {{3}}, int64[1] whole = {{-1}}> {{ {nodes} }}"
    x = np.asarray([0, 62.3], np.float32)
    (dx,) = evaluate(with_gradient(_model(text)), {"x": x, "cotangent": np.ones_like(x)}, ["d_x"])
    assert dx.tolist() == [1, 0]


def test_gradient_passes_integers_that_are_cast_by_hand() -> None:
    nodes = "q = QuantizeLinear (x, s, z)\n r = Cast <to: int = 6> (q)\n f = Cast <to: int = 1> (r)\n y = Mul (f, s)"
    assert _of_quantized(nodes, [0, 62.3]) == [1, 0]


def test_integer_arithmetic_without_a_rule_is_refused() -> None:
    text = (
        "f (float[N,2] x) => (float[N,2] y) <float s = {0.5}, int8 z = {3}, int8[2,2] w = {1,2,3,4}> "
        "{ q = QuantizeLinear (x, s, z)\n i = MatMulInteger (q, w)\n y = Cast <to: int = 1> (i) }"
    )
    with pytest.raises(UnsupportedOperator, match="no gradient rule for MatMulInteger"):
        with_gradient(_model(text))


def test_a_second_derivative_sees_the_scale_of_a_quantisation() -> None:
    model = ir.from_onnx_text(
        '<ir_version: 10, opset_import: ["" : 18]> net (float[4] x) => (float[4] y) '
        "<float s = {0.5}, float t = {3.0}, int8 z = {0}> "
        "{ q = QuantizeLinear(x, s, z)  r = Cast<to = 1>(q)  y = Mul(r, t) }"
    )
    twice = with_gradient(with_gradient(model, wrt="x"), of="d_x", wrt=["s", "t"])
    names = gradient_names(twice)
    feeds = {
        "x": np.array([0.1, 0.2, -0.3, 0.4], np.float32),
        "cotangent": np.ones(4, np.float32),
        names["cotangent"]: np.ones(4, np.float32),
    }
    d_s, d_t = evaluate(twice, feeds, [names["gradients"]["s"], names["gradients"]["t"]])
    np.testing.assert_allclose(d_s, -4 * 3.0 / 0.5**2)
    np.testing.assert_allclose(d_t, 4 / 0.5)


@pytest.mark.parametrize("engine", ["runtime", "reference"])
@pytest.mark.parametrize(
    "x", [[-1, 2, 0.5], [1, 2, 3], [-1, -2, -3]], ids=["both signs", "positive", "negative"]
)
def test_a_dynamic_scale_follows_the_extremes(x: list[float], engine: str) -> None:
    model = _model("f (float[N] x) => (float s) { q, s, z = DynamicQuantizeLinear (x) }")
    feeds = {"x": np.asarray(x, np.float32), "cotangent": np.asarray(255, np.float32)}
    (dx,) = evaluate(with_gradient(model), feeds, ["d_x"], engine=engine)
    expected = [(n == max(x) > 0) - float(n == min(x) < 0) for n in x]
    np.testing.assert_allclose(dx, expected, rtol=1e-6)


def test_the_dynamic_scale_of_zeros_is_constant() -> None:
    model = _model("f (float[N] x) => (float s) { q, s, z = DynamicQuantizeLinear (x) }")
    feeds = {"x": np.zeros(3, np.float32), "cotangent": np.asarray(1, np.float32)}
    (dx,) = evaluate(with_gradient(model), feeds, ["d_x"])
    assert not dx.any()


@pytest.mark.parametrize("reads", ["DequantizeLinear (q, s, z)", "Where (some, s, s)"])
def test_dynamic_quantization_whose_integers_are_read_is_refused(reads: str) -> None:
    model = _model(
        "f (float[N] x) => (float[N] y) { q, s, z = DynamicQuantizeLinear (x)\n some = Cast <to: int = 9> (q)\n "
        f"y = {reads} }}"
    )
    message = r"DynamicQuantizeLinear \(node 'q'\): its integers have no gradient, and the scale alone would give a part"
    with pytest.raises(UnsupportedOperator, match=message):
        with_gradient(model)


def test_an_optional_that_is_a_tensor_is_that_tensor() -> None:
    model = _model("f (float[N] x) => (float[N] y) { t = OptionalGetElement (x)\n y = Mul (t, t) }")
    assert check_vjp(model, {"x": np.asarray([1, 2, 3], np.float32)}).error < 2e-5


def test_what_may_be_empty_is_refused() -> None:
    model = _model("f (float[N] x) => (float[N] y) { o = Optional (x)\n y = OptionalGetElement (o) }")
    with pytest.raises(UnsupportedOperator, match=r"Optional"):
        with_gradient(model)
    value = onnx.helper.make_tensor_type_proto(onnx.TensorProto.FLOAT, ["N"])
    model = _model("f (float[N] x) => (float[N] y) { y = OptionalGetElement (x) }")
    model.graph.input[0].type.CopyFrom(onnx.helper.make_optional_type_proto(value))
    message = (
        r"OptionalGetElement \(node 'y'\) takes what is of type Optional.*; its gradient is that of a tensor"
    )
    with pytest.raises(UnsupportedOperator, match=message):
        with_gradient(model)
