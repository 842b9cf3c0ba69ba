"""Constants evaluated through operators are what the runtime makes of them."""

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import onnx.reference
import onnx_ir as ir
import pytest

from specprobe.graph.constants import constant_source, constant_value

Array = np.ndarray[Any, np.dtype[Any]]
RNG = np.random.default_rng(0)
WEIGHTS = {
    "w": RNG.standard_normal((4, 6)).astype(np.float32),
    "h": RNG.standard_normal((4, 6)).astype(np.float16),
    "v": RNG.standard_normal((4, 1, 6)).astype(np.float32),
    "q": RNG.integers(-128, 128, (4, 6)).astype(np.int8),
    "u": RNG.integers(0, 256, (4, 6)).astype(np.uint8),
    "unit": np.float32(0.25),
    "scales": RNG.random(6).astype(np.float32) + 0.1,
    "rows": RNG.random(4).astype(np.float32) + 0.1,
    "blocks": RNG.random((4, 3)).astype(np.float32) + 0.1,
    "block_zeros": RNG.integers(-5, 5, (4, 3)).astype(np.int8),
    "zeros": RNG.integers(-5, 5, 6).astype(np.int8),
    "zero": np.int8(3),
    "uzero": np.uint8(128),
    "shape": np.array([0, 2, -1]),
    "empty_shape": np.array([0, 6]),
    "axis": np.array([1]),
    "i": np.array([-7, 7, 9]),
    "j": np.array([2, 2, -4]),
    "two": np.array([2, 3]),
    "long": np.array([2**62 + 1, -(2**62) - 1, 7]),
    "odd": np.array([3, 3, -2]),
    "grid": np.arange(24).reshape(2, 3, 4),
    "yes": np.array([True, False, True]),
    "no": np.array([False, False, True]),
    "none": np.array([], np.int64),
    "seven": np.int64(7),
    "minus": np.int64(-2),
    "last": np.array([-1]),
    "first": np.array([0]),
    "three": np.int64(3),
    "nothing": np.array([1, 0, 2]),
    "nought": np.int64(0),
    "endless": np.array([np.inf, np.nan, 1e30], np.float32),
    "endless_count": np.int64(2**40),
    "hundreds_of": np.array([300.0, -300], np.float32),
    "far": np.array([-(2**62)]),
    "hundred": np.array([100]),
    "hundreds": np.array([100, 100]),
    "ones": np.array([1, 1]),
    "places": np.array([2, 0]),
    "stride": np.array([3]),
    "parts": np.array([1, 2]),
    "wide": np.array([2, 1, 3]),
    "two_places": np.array([[0, -1], [2, 1]]),
    "unit_place": np.int64(1),
}
BODIES = [
    "y = Identity (w)",
    "y = Cast <to = 1> (h)",
    "y = Cast <to = 7> (w)",
    "y = Transpose (w)",
    "y = Transpose <perm = [2, 0, 1]> (v)",
    "y = Reshape (w, shape)",
    "y = Squeeze (v)",
    "y = Squeeze (v, axis)",
    "y = Unsqueeze (w, axis)",
    "y = DequantizeLinear (q, unit)",
    "y = DequantizeLinear (q, unit, zero)",
    "y = DequantizeLinear (u, unit, uzero)",
    "y = DequantizeLinear (q, scales, zeros)",
    "y = DequantizeLinear <axis = 0> (q, rows)",
    "y = DequantizeLinear <axis = -2> (q, rows)",
    "y = DequantizeLinear <axis = 1, block_size = 2> (q, blocks, block_zeros)",
    "y = QuantizeLinear (w, unit, zero)",
    "y = QuantizeLinear (w, unit)",
    "y = QuantizeLinear <output_dtype = 3> (w, unit)",
    "y = QuantizeLinear <axis = 1> (w, scales, zeros)",
    "a = Add (w, unit) b = Mul (a, scales) c = Sub (b, unit) y = Div (c, scales)",
    "y = Div (i, j)",
    "y = Sign (w)",
    "a = Constant <value_float = 1.5> () y = Mul (w, a)",
    "y = Div (long, odd)",
    "y = Abs (i)",
    "y = Neg (w)",
    "y = Ceil (w)",
    "y = Floor (w)",
    "y = And (yes, no)",
    "y = Or (yes, no)",
    "y = Xor (yes, no)",
    "y = Not (yes)",
    "y = Equal (i, j)",
    "y = Greater (i, j)",
    "y = GreaterOrEqual (w, scales)",
    "y = Less (i, j)",
    "y = LessOrEqual (w, scales)",
    "y = Where (yes, i, j)",
    "y = Max (i, j, odd)",
    "y = Min (i, j, odd)",
    "y = Mod (i, j)",
    "y = Mod <fmod = 1> (i, j)",
    "y = CastLike (i, w)",
    "y = CastLike (w, i)",
    "y = Cast <to = 9> (i)",
    "y = Concat <axis = 0> (i, two)",
    "y = Concat <axis = -1> (grid, grid)",
    "y = Gather (i, two_places)",
    "y = Gather <axis = -1> (grid, axis)",
    "y = Gather (i, unit_place)",
    "y = Expand (i, wide)",
    "y = Range (minus, seven, three)",
    "y = Range (seven, minus, minus)",
    "y = Range (seven, minus, seven)",
    "y = ReduceProd (grid, axis)",
    "y = ReduceProd <keepdims = 0> (i)",
    "y = ReduceProd (i, none)",
    "y = ReduceProd <noop_with_empty_axes = 1> (i, none)",
    "y = Slice (grid, first, last)",
    "y = Slice (grid, first, last, last)",
    "y = Slice (grid, last, first, axis, last)",
    "y = Slice (i, last, far, first, last)",
    "y = Slice (grid, ones, hundreds, places)",
    "y = Slice (grid, far, last, last, stride)",
    "y = Slice (grid, hundred, first, axis, last)",
    "y, z = Split <axis = 1> (grid, parts)",
    "z, y = Split <axis = 1, num_outputs = 2> (grid)",
    "z, y = Split <axis = -1, num_outputs = 2> (grid)",
    "y = Constant <value_floats = [1.0, 2.0]> ()",
    "y = Constant <value_int = 7> ()",
    "y = Constant <value_ints = [7, 8]> ()",
    "y = Constant <value = float[2] {1, 2}> ()",
    "y = ConstantOfShape (two)",
    "y = ConstantOfShape <value = int64[1] {7}> (two)",
]


@pytest.fixture
def last(parse: Callable[..., onnx.ModelProto]) -> Callable[..., tuple[onnx.ModelProto, ir.Value]]:
    """The value ``y`` of a graph, in both forms."""

    def make(body: str, *, opset: int = 21) -> tuple[onnx.ModelProto, ir.Value]:
        used = {name: array for name, array in WEIGHTS.items() if f"({name}" in body or f", {name}" in body}
        proto = parse(f"g (float[2] x) => (y) {{ {body} }}", opset=opset, ir_version=10, **used)
        return proto, ir.from_proto(proto).graph.outputs[0]

    return make


@pytest.mark.parametrize("body", BODIES)
def test_a_constant_is_what_the_specification_computes(
    last: Callable[..., tuple[onnx.ModelProto, ir.Value]], body: str
) -> None:
    proto, value = last(body)
    results: Any = onnx.reference.ReferenceEvaluator(proto).run(None, {"x": np.zeros(2, np.float32)})
    wanted = np.asarray(results[0])
    actual = constant_value(value)
    assert actual is not None
    assert (actual.dtype, actual.shape) == (wanted.dtype, wanted.shape)
    np.testing.assert_allclose(actual, wanted, rtol=1e-6)


@pytest.mark.parametrize(
    "body",
    [
        "y = Relu (x)",
        "y = Add (x, unit)",
        "y = Add (unit, x)",
        'a = Constant <value_string = "s"> () y = Identity (a)',
        "y = Reshape (w, two)",
        "y = Transpose <perm = [0, 0]> (w)",
        "y = DequantizeLinear <axis = 0> (q, scales)",
        "y = DequantizeLinear <axis = 7> (q, scales)",
        "y = Add (w, two)",
        "y = Cast <to = 99> (w)",
        "y = Softmax (w)",
        "a = Constant <value_ints = [100000, 100000]> () y = ConstantOfShape (a)",
        "a = Constant <value_ints = [-1]> () y = ConstantOfShape (a)",
        """a = Constant <value_ints = [1000000, 1]> () b = ConstantOfShape (a)
           c = Constant <value_ints = [1, 1000000]> () d = ConstantOfShape (c) y = Add (b, d)""",
        "a = Constant <value_ints = [200000000]> () b = ConstantOfShape (a) y = Sign (b)",
        "y = QuantizeLinear <output_dtype = 17> (w, unit)",
        "y = Reshape <allowzero = 1> (w, empty_shape)",
        "y = Unsqueeze (w)",
        "y = DequantizeLinear (q)",
        "y = QuantizeLinear (w)",
        "y = Reshape (w)",
        "y = Reshape (, two)",
        "y = acme.Identity (w)",
        "y = acme.Constant <value_int = 7> ()",
        "y = Div (i, nothing)",
        "y = Mod (i, nothing)",
        "y = Mod <fmod = 1> (w, unit)",
        "y = Max (w, unit)",
        "y = And (i, j)",
        "y = Cast <to = 7> (endless)",
        "y = Cast <to = 3> (hundreds_of)",
        "y = CastLike (endless, i)",
        "y = Concat (i, j)",
        "y = Gather (i, hundred)",
        "y = Expand (i, parts)",
        "y = Expand (i)",
        "y = Range (unit, unit, unit)",
        "y = Range (minus, seven, nought)",
        "y = Range (minus, endless_count, three)",
        "y = ReduceProd (w, axis)",
        "y = Slice <starts = [0], ends = [1]> (i)",
        "y = Slice (grid, far, far, axis, last)",
        "y = Slice (none, first, last, first, last)",
        "y = Slice (grid, first, last, first, first)",
        "y, z = Split (grid, parts)",
        "y = Squeeze (v, none)",
        "y, z, d = Split (two, none)",
        "y = Where (yes, i)",
        "y = Gather (w)",
        "a = Constant <value_ints = [100000000]> () y = Expand (i, a)",
        """a = Constant <value_ints = [100000000]> () b = ConstantOfShape <value = int64[1] {1}> (a)
           y = Concat <axis = 0> (b, b)""",
        """a = Constant <value_ints = [10000, 10000]> () b = ConstantOfShape (a)
           c = Constant <value_ints = [20000]> () d = ConstantOfShape <value = int64[1] {1}> (c) y = Gather (b, d)""",
    ],
)
def test_what_is_not_constant_or_not_sound_is_none(
    last: Callable[..., tuple[onnx.ModelProto, ir.Value]], body: str
) -> None:
    assert constant_value(last(body)[1]) is None


def test_axes_as_attributes_are_read(last: Callable[..., tuple[onnx.ModelProto, ir.Value]]) -> None:
    for body, shape in (
        ("Squeeze <axes = [1]> (v)", (4, 6)),
        ("Unsqueeze <axes = [0, 1]> (w)", (1, 1, 4, 6)),
    ):
        value = constant_value(last(f"y = {body}", opset=11)[1])
        assert value is not None
        assert value.shape == shape


def test_addition_aligned_by_an_axis_is_left_alone(
    last: Callable[..., tuple[onnx.ModelProto, ir.Value]],
) -> None:
    assert constant_value(last("y = Add <axis = 0, broadcast = 1> (w, rows)", opset=6)[1]) is None


def test_a_value_used_twice_at_every_level_is_computed_once(
    last: Callable[..., tuple[onnx.ModelProto, ir.Value]],
) -> None:
    body = (
        "y0 = Identity (unit) "
        + " ".join(f"y{n + 1} = Add (y{n}, y{n})" for n in range(50))
        + " y = Sign (y50)"
    )
    began = time.perf_counter()
    value = constant_value(last(body)[1])
    assert time.perf_counter() - began < 5
    assert value == 1


def test_a_chain_of_any_length_ends(last: Callable[..., tuple[onnx.ModelProto, ir.Value]]) -> None:
    body = (
        "y0 = Identity (w) "
        + " ".join(f"y{n + 1} = Identity (y{n})" for n in range(5000))
        + " y = Sign (y5000)"
    )
    value = last(body)[1]
    assert constant_value(value) is None
    assert constant_source(value) is None


def test_the_source_is_the_stored_tensor(last: Callable[..., tuple[onnx.ModelProto, ir.Value]]) -> None:
    for body, name in (
        ("a = Identity (w) b = Cast <to = 10> (a) y = Transpose (b)", "w"),
        ("a = Constant <value_floats = [1.0]> () y = Identity (a)", "a"),
        ("y = DequantizeLinear (q, unit)", "q"),
    ):
        source = constant_source(last(body)[1])
        assert source is not None
        assert source.name == name
    assert constant_source(None) is None
    assert constant_value(None) is None
    assert constant_source(last("y = Relu (x)")[1]) is None
    assert constant_source(last("y = Identity (x)")[1]) is None
