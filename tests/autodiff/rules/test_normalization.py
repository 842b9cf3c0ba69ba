"""Normalisations: each input's gradient, against central differences or an equal graph of plainer operators."""

from typing import Any

import numpy as np
import onnx
import onnx.parser
import pytest
from numpy.typing import NDArray

from specprobe.autodiff import with_gradient
from specprobe.errors import UnsupportedOperator
from specprobe.testing.gradient_check import check_vjp, evaluate

Arrays = dict[str, NDArray[Any]]


def _parse(text: str, opset: int = 18) -> onnx.ModelProto:
    return onnx.parser.parse_model(f'<ir_version: 10, opset_import: ["" : {opset}]> {text}')


def _feeds(seed: int = 0, **shapes: tuple[int, ...]) -> Arrays:
    rng = np.random.default_rng(seed)
    return {
        name: (rng.uniform(0.5, 2, s) if name in {"var", "scale"} else rng.standard_normal(s)).astype(
            np.float32
        )
        for name, s in shapes.items()
    }


def _check(model: onnx.ModelProto, feeds: Arrays, *, of: str = "y", runtime: bool = True) -> None:
    assert check_vjp(model, feeds, of=of, engine="reference").error < 1e-7
    if runtime:
        assert check_vjp(model, feeds, of=of).error < 2e-5
    name = next(iter(feeds))
    first = with_gradient(model, of=of)
    dy = np.random.default_rng(9).standard_normal(evaluate(model, feeds, [of], engine="reference")[0].shape)
    fed = {**feeds, "cotangent": dy.astype(np.float32)}
    for given in feeds:
        (slope,) = evaluate(first, fed, [f"d_{given}"], engine="reference")
        assert slope.shape == feeds[given].shape
    twice = check_vjp(first, fed, of=f"d_{name}", engine="reference")
    assert twice.error < 1e-7


def _batch_model(shape: str, attributes: str = "", outputs: str = "y") -> onnx.ModelProto:
    return _parse(
        f"f (float[{shape}] x, float[3] scale, float[3] b, float[3] mean, float[3] var) => (float[{shape}] y) "
        f"{{ {outputs} = BatchNormalization <epsilon = 0.01{attributes}> (x, scale, b, mean, var) }}"
    )


BATCH = {"N,3": (4, 3), "N,3,L": (2, 3, 5), "N,3,H,W": (2, 3, 4, 5), "2,3,4,5": (2, 3, 4, 5)}


@pytest.mark.parametrize("shape", BATCH)
def test_batch_normalization(shape: str) -> None:
    _check(_batch_model(shape), _feeds(x=BATCH[shape], scale=(3,), b=(3,), mean=(3,), var=(3,)))


@pytest.mark.parametrize("shape", BATCH)
def test_batch_normalization_in_training_mode(shape: str) -> None:
    model = _batch_model(shape, ", training_mode = 1", "y, running_mean, running_var")
    feeds = _feeds(x=BATCH[shape], scale=(3,), b=(3,), mean=(3,), var=(3,))
    _check(model, feeds, runtime=False)


def test_batch_normalization_of_an_image_costs_one_product() -> None:
    model = _batch_model("N,3,H,W")
    feeds = _feeds(scale=(3,), b=(3,), mean=(3,), var=(3,))
    for name, array in feeds.items():
        model.graph.input.remove(next(v for v in model.graph.input if v.name == name))
        model.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
    gradient = with_gradient(model)
    of_images = [n for n in gradient.graph if any(v is gradient.graph.inputs[1] for v in n.inputs)]
    assert [n.op_type for n in of_images] == ["Mul"]


def test_running_statistics_that_are_passed_on_are_refused() -> None:
    model = _batch_model("N,3,H,W", ", training_mode = 1", "y, running_mean, running_var")
    with pytest.raises(
        UnsupportedOperator, match=r"BatchNormalization '.*' passes its running statistics on"
    ):
        with_gradient(model, of="running_var")


@pytest.mark.parametrize("shape", ["N,3,L", "N,3,H,W"])
def test_instance_normalization(shape: str) -> None:
    model = _parse(
        f"f (float[{shape}] x, float[3] scale, float[3] b) => (float[{shape}] y) "
        "{ y = InstanceNormalization <epsilon = 0.01> (x, scale, b) }"
    )
    _check(model, _feeds(x=(2, 3, 5) if shape == "N,3,L" else (2, 3, 4, 5), scale=(3,), b=(3,)))


LAYER = {
    -1: ("5", (5,)),
    2: ("4,5", (4, 5)),
    1: ("3,4,5", (3, 4, 5)),
    -2: ("4,5", (4, 5)),
}


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("axis", LAYER)
def test_layer_normalization(axis: int, bias: bool) -> None:
    dims, shape = LAYER[axis]
    b = f", float[{dims}] b" if bias else ""
    model = _parse(
        f"f (float[N,3,4,5] x, float[{dims}] scale{b}) => (float[N,3,4,5] y) "
        f"{{ y = LayerNormalization <axis = {axis}, epsilon = 0.01> (x, scale{', b' if bias else ''}) }}"
    )
    feeds = _feeds(x=(2, 3, 4, 5), scale=shape, b=shape)
    _check(model, feeds if bias else {name: feeds[name] for name in ("x", "scale")})


@pytest.mark.parametrize(
    ("outputs", "of"), [("y, m, r", "y"), ("y, m, r", "m"), ("y, m, r", "r"), ("y,, r", "r"), ("y, m", "y")]
)
def test_all_outputs_of_layer_normalization(outputs: str, of: str) -> None:
    given = [name.strip() for name in outputs.split(",") if name.strip()]
    shapes = ", ".join(f"float[N,3,{5 if name == 'y' else 1}] {name}" for name in given)
    model = _parse(
        f"f (float[N,3,5] x, float[5] scale, float[5] b) => ({shapes}) "
        f"{{ {outputs} = LayerNormalization (x, scale, b) }}"
    )
    _check(model, _feeds(x=(2, 3, 5), scale=(5,), b=(5,)), of=of)


def test_a_sum_of_all_outputs_of_layer_normalization() -> None:
    model = _parse(
        "f (float[N,3,5] x, float[5] scale, float[5] b) => (float[N,3,5] z) "
        "{ y, m, r = LayerNormalization (x, scale, b) mr = Mul(m, r) z = Mul(y, mr) }"
    )
    _check(model, _feeds(x=(2, 3, 5), scale=(5,), b=(5,)), of="z")


def test_layer_normalization_in_float64_recomputes_its_statistics() -> None:
    model = _parse(
        "f (double[N,5] x, double[5] scale, double[5] b) => (double[N,5] y) { y = LayerNormalization (x, scale, b) }"
    )
    feeds = {name: array.astype(np.float64) for name, array in _feeds(x=(2, 5), scale=(5,), b=(5,)).items()}
    assert check_vjp(model, feeds).error < 1e-7


def test_layer_normalization_far_from_zero() -> None:
    """E[x²] − E[x]² would have lost all digits."""
    model = _parse(
        "f (float[4,64] x, float[64] scale) => (float[4,64] y) { y = LayerNormalization (x, scale) }"
    )
    feeds = _feeds(x=(4, 64), scale=(64,))
    near = evaluate(with_gradient(model), {**feeds, "cotangent": feeds["x"][::-1]}, ["d_x"])[0]
    far = {**feeds, "x": feeds["x"] + np.float32(1000), "cotangent": feeds["x"][::-1]}
    np.testing.assert_allclose(evaluate(with_gradient(model), far, ["d_x"])[0], near, atol=2e-3)


@pytest.mark.parametrize("operator", ["LayerNormalization", "RMSNormalization", "InstanceNormalization"])
def test_half_precision_is_normalised_in_float32(operator: str) -> None:
    """The squares of these are above 65504."""
    channels = operator == "InstanceNormalization"
    size, b = (3, ", b") if channels else (64, "")
    model = _parse(
        f"f (float16[4,3,64] x, float16[{size}] scale, float16[{size}] b) => (float16[4,3,64] y) "
        f"{{ y = {operator} (x, scale{b}) }}",
        opset=23,
    )
    feeds = {**_feeds(x=(4, 3, 64), scale=(size,), b=(size,)), "cotangent": _feeds(3, x=(4, 3, 64))["x"]}
    half = {name: array.astype(np.float16) for name, array in feeds.items()}
    half["x"] *= np.float16(500)
    wide = {name: array.astype(np.float32) for name, array in half.items()}
    text = onnx.printer.to_text(model).replace("float16", "float")
    names = ["d_x", "d_scale"]
    narrow = evaluate(with_gradient(model), half, names)
    for found, exact in zip(
        narrow, evaluate(with_gradient(onnx.parser.parse_model(text)), wide, names), strict=True
    ):
        assert found.dtype == np.float16
        np.testing.assert_allclose(found, exact, rtol=3e-3, atol=2e-5)


@pytest.mark.parametrize("axis", LAYER)
def test_rms_normalization(axis: int) -> None:
    dims, shape = LAYER[axis]
    model = _parse(
        f"f (float[N,3,4,5] x, float[{dims}] scale) => (float[N,3,4,5] y) "
        f"{{ y = RMSNormalization <axis = {axis}, epsilon = 0.01> (x, scale) }}",
        opset=23,
    )
    _check(model, _feeds(x=(2, 3, 4, 5), scale=shape))


def test_a_scale_that_broadcasts() -> None:
    for operator, opset in (("LayerNormalization", 18), ("RMSNormalization", 23)):
        model = _parse(
            "f (float[N,3,4,5] x, float[4,1] scale) => (float[N,3,4,5] y) "
            f"{{ y = {operator} <axis = 2> (x, scale) }}",
            opset,
        )
        _check(model, _feeds(x=(2, 3, 4, 5), scale=(4, 1)), runtime=False)


@pytest.mark.parametrize("opset", [18, 21])
@pytest.mark.parametrize("shape", ["N,6,L", "N,6,H,W"])
def test_group_normalization_equals_instance_normalization_of_groups(shape: str, opset: int) -> None:
    """The reference evaluator normalises groups in float32, too coarse for differences."""
    parameters, spread = (2, "3") if opset == 18 else (6, "1")
    x = f"float[{shape}] x, float[{parameters}] scale, float[{parameters}] b"
    extra = ",1" * (shape.count(",") - 1)
    group = _parse(
        f"f ({x}) => (float[{shape}] y) {{ y = GroupNormalization <num_groups = 2, epsilon = 0.01> (x, scale, b) }}",
        opset,
    )
    plain = _parse(
        f"""f ({x}) => (float[{shape}] y)
        <int64[3] grouped = {{0, 2, -1}}, float[2] ones = {{1, 1}}, float[2] zeros = {{0, 0}},
        int64[2] repeats = {{1, {spread}}}, int64[2] column = {{-1, 1}}, int64[{shape.count(",")}] channels = {{6{extra}}}>
        {{
            shape = Shape(x)
            groups = Reshape(x, grouped)
            normal = InstanceNormalization<epsilon = 0.01>(groups, ones, zeros)
            hat = Reshape(normal, shape)
            scale_column = Reshape(scale, column)
            scales = Tile(scale_column, repeats)
            b_column = Reshape(b, column)
            bs = Tile(b_column, repeats)
            scale_channels = Reshape(scales, channels)
            b_channels = Reshape(bs, channels)
            scaled = Mul(hat, scale_channels)
            y = Add(scaled, b_channels)
        }}""",
        opset,
    )
    feeds = _feeds(x=(2, 6, 5) if shape == "N,6,L" else (2, 6, 4, 3), scale=(parameters,), b=(parameters,))
    feeds["cotangent"] = _feeds(4, x=feeds["x"].shape)["x"]
    names = ["y", "d_x", "d_scale", "d_b"]
    expected = evaluate(with_gradient(plain), feeds, names)
    for found, exact in zip(evaluate(with_gradient(group), feeds, names), expected, strict=True):
        np.testing.assert_allclose(found, exact, rtol=1e-5, atol=2e-6)


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_lp_normalization_of_order_2(axis: int) -> None:
    _check(_lp(axis, 2), _feeds(x=(2, 3, 5)))


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_lp_normalization_of_order_1(axis: int) -> None:
    """The reference evaluator forgets the absolute value, so that only positive numbers can be compared."""
    feeds = _feeds(scale=(2, 3, 5))
    _check(_lp(axis, 1), {"x": feeds["scale"]})


def test_lp_normalization_of_order_1_with_signs() -> None:
    x, dy = np.array([[3.0, -1, 0, 4]], np.float32), np.array([[1.0, 2, 3, 4]], np.float32)
    (found,) = evaluate(with_gradient(_lp(-1, 1)), {"x": x[:, None], "cotangent": dy[:, None]}, ["d_x"])
    np.testing.assert_allclose(found[:, 0], (dy - np.sign(x) * np.sum(dy * x) / 8) / 8, rtol=1e-6)


@pytest.mark.parametrize("order", [1, 2])
def test_lp_normalization_has_no_gradient_at_zero(order: int) -> None:
    feeds = {"x": np.zeros((1, 1, 4), np.float32), "cotangent": np.ones((1, 1, 4), np.float32)}
    assert not evaluate(with_gradient(_lp(-1, order)), feeds, ["d_x"])[0].any()


def _lp(axis: int, order: int) -> onnx.ModelProto:
    return _parse(
        f"f (float[N,H,W] x) => (float[N,H,W] y) {{ y = LpNormalization <axis = {axis}, p = {order}> (x) }}"
    )


@pytest.mark.parametrize("axes", ["", "<axes = [0, 1, 3]>", "<axes = [-1]>"])
def test_mean_variance_normalization_equals_its_definition(axes: str) -> None:
    """The function body mixes types in float64, so that the reference evaluator cannot take differences."""
    listed = axes[9:-2] if axes else "0, 2, 3"
    whole = _parse(
        f"f (float[N,C,H,W] x) => (float[N,C,H,W] y) {{ y = MeanVarianceNormalization {axes} (x) }}"
    )
    plain = _parse(
        f"""f (float[N,C,H,W] x) => (float[N,C,H,W] y)
        <int64[{listed.count(",") + 1}] axes = {{{listed}}}, float tiny = {{1e-9}}>
        {{
            mean = ReduceMean(x, axes)
            centred = Sub(x, mean)
            squares = Mul(centred, centred)
            variance = ReduceMean(squares, axes)
            deviation = Sqrt(variance)
            padded = Add(deviation, tiny)
            y = Div(centred, padded)
        }}"""
    )
    feeds = {**_feeds(x=(2, 3, 4, 5)), "cotangent": _feeds(1, x=(2, 3, 4, 5))["x"]}
    (expected,) = evaluate(with_gradient(plain), feeds, ["d_x"])
    (found,) = evaluate(with_gradient(whole), feeds, ["d_x"])
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=2e-6)
    constant = {**feeds, "x": np.full((2, 3, 4, 5), 7, np.float32)}
    assert np.isfinite(evaluate(with_gradient(whole), constant, ["d_x"])[0]).all()
