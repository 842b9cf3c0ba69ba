"""Kernels found in a graph are those that the runtime convolves with."""

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest

from specprobe.graph.convolutions import find_convolutions, node_label
from specprobe.graph.load import ModelFile
from specprobe.protocols import Convolution

Array = np.ndarray[Any, np.dtype[Any]]
RNG = np.random.default_rng(0)


def only(model: ir.Model) -> Convolution:
    (found,), findings = find_convolutions(model)
    assert findings == ()
    return found


def probed(model: onnx.ModelProto, channels: int, dtype: Any = np.float32) -> Array:
    """Kernels of a 3x3 operator, (out, in, 3, 3), read off its answers to unit impulses."""
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    images = np.zeros((channels, channels, 5, 5), dtype)
    for channel in range(channels):
        images[channel, channel, 2, 2] = 1
    nothing = session.run(None, {"x": np.zeros_like(images)})[0]
    answers = session.run(None, {"x": images})[0].astype(np.float64) - nothing
    answers = answers[:, :, 1:4, 1:4] if answers.shape[-1] == 5 else answers[:, :, 2:5, 2:5]
    flipped = model.graph.node[-1].op_type != "ConvTranspose"
    return np.swapaxes(answers[..., ::-1, ::-1] if flipped else answers, 0, 1)


def grouped(dense: Array, groups: int) -> Array:
    """The blocks of a dense kernel that a grouped one has; the others must be zero."""
    out, into = dense.shape[0] // groups, dense.shape[1] // groups
    blocks = [dense[g * out : (g + 1) * out, g * into : (g + 1) * into] for g in range(groups)]
    assert np.count_nonzero(dense) == sum(map(np.count_nonzero, blocks))
    return np.concatenate(blocks)


CONV = "y = Conv <pads = [1, 1, 1, 1], group = GROUP> (x, k)"
WRAPPED = {
    "plain": "y = Conv <pads = [1, 1, 1, 1], group = GROUP> (x, w)",
    "identity": f"j = Identity (w) k = Identity (j) {CONV}",
    "cast": f"j = Cast <to = 10> (w) k = Cast <to = 1> (j) {CONV}",
    "transpose": f"j = Transpose <perm = [3, 2, 0, 1]> (w) k = Transpose <perm = [2, 3, 1, 0]> (j) {CONV}",
    "reshape": f"k = Reshape (w, same) {CONV}",
    "scaled": f"k = Mul (w, half) {CONV}",
    "signs": f"k = Sign (w) {CONV}",
    "transposed": "y = ConvTranspose <group = GROUP> (x, w)",
}


@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize("wrapping", sorted(WRAPPED))
def test_kernels_are_those_that_impulses_show(
    parse: Callable[..., onnx.ModelProto],
    opened: Callable[..., ModelFile],
    wrapping: str,
    groups: int,
) -> None:
    shape = (4, 6 // 2, 3, 3) if wrapping == "transposed" else (8, 4 // groups, 3, 3)
    weights: dict[str, Array] = {"w": RNG.standard_normal(shape).astype(np.float16).astype(np.float32)}
    if wrapping == "reshape":
        weights |= {"same": np.array([0, -1, 3, 3])}
    if wrapping == "scaled":
        weights |= {"half": np.asarray(0.5, np.float32)}
    model = parse(
        f"g (float[N, 4, 5, 5] x) => (float[N, C, H, W] y) {{ {WRAPPED[wrapping].replace('GROUP', str(groups))} }}",
        **weights,
    )
    found = only(opened(model).model)
    assert found.groups == groups
    np.testing.assert_allclose(found.weight, grouped(probed(model, 4), groups), atol=1e-6)


QUANTISED = {
    "per tensor": "k = DequantizeLinear (q, s, z)",
    "per axis": "k = DequantizeLinear <axis = 0> (q, ss, zz)",
    "blocked": "k = DequantizeLinear <axis = 1, block_size = 2> (q, bs, bz)",
    "constant": "c = Constant <value_float = 0.5> () k = DequantizeLinear (q, c)",
    "stored as real": "j = QuantizeLinear (r, s, z) k = DequantizeLinear (j, s, z)",
}


@pytest.mark.parametrize("kind", sorted(QUANTISED))
def test_quantised_kernels_come_as_real_numbers(
    parse: Callable[..., onnx.ModelProto], opened: Callable[..., ModelFile], kind: str
) -> None:
    body = QUANTISED[kind]
    weights: dict[str, Array] = {
        "q": RNG.integers(-100, 100, (5, 4, 3, 3)).astype(np.int8),
        "r": RNG.standard_normal((5, 4, 3, 3)).astype(np.float32),
        "s": np.asarray(0.1, np.float32),
        "z": np.asarray(3, np.int8),
        "ss": RNG.random(5).astype(np.float32),
        "zz": RNG.integers(-9, 9, 5).astype(np.int8),
        "bs": RNG.random((5, 2, 3, 3)).astype(np.float32),
        "bz": RNG.integers(-9, 9, (5, 2, 3, 3)).astype(np.int8),
    }
    used = {n: a for n, a in weights.items() if f"({n}," in body or f", {n}" in body}
    model = parse(
        f"g (float[N, 4, 5, 5] x) => (float[N, 5, H, W] y) {{ {body} {CONV.replace('GROUP', '1')} }}",
        opset=21,
        ir_version=10,
        **used,
    )
    np.testing.assert_allclose(only(opened(model).model).weight, probed(model, 4), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("per_axis", [False, True])
def test_quantised_operators_show_their_kernels(
    parse: Callable[..., onnx.ModelProto], opened: Callable[..., ModelFile], per_axis: bool
) -> None:
    q = RNG.integers(-20, 20, (5, 4, 3, 3)).astype(np.int8)
    scale = (RNG.integers(1, 4, 5).astype(np.float32)) if per_axis else np.asarray(2, np.float32)
    zero = np.full(5, 0, np.int8) if per_axis else np.asarray(0, np.int8)
    model = parse(
        """g (uint8[N, 4, 5, 5] x) => (uint8[N, 5, 5, 5] y) {
        y = QLinearConv <pads = [1, 1, 1, 1]> (x, one, xz, q, qs, qz, one, mid) }""",
        q=q,
        qs=scale,
        qz=zero,
        one=np.float32(1),
        xz=np.uint8(0),
        mid=np.uint8(128),
    )
    np.testing.assert_allclose(only(opened(model).model).weight, probed(model, 4, np.uint8))


def test_integer_convolutions_show_their_kernels_up_to_scale(
    parse: Callable[..., onnx.ModelProto], opened: Callable[..., ModelFile]
) -> None:
    q = RNG.integers(0, 250, (5, 4, 3, 3)).astype(np.uint8)
    text = """g (uint8[N, 4, 5, 5] x) => (int32[N, 5, 5, 5] y) {
        y = ConvInteger <pads = [1, 1, 1, 1]> (x, q, xz, qz) }"""
    model = parse(text, q=q, xz=np.uint8(0), qz=np.uint8(100))
    found = only(opened(model).model)
    assert found.weight.dtype == np.float32
    np.testing.assert_allclose(found.weight, probed(model, 4, np.uint8))


def test_shared_kernels_come_once_and_scaled_ones_apart(opened: Callable[..., ModelFile]) -> None:
    file = opened(
        """g (float[N, 2, 5, 5] x) => (float[N, 2, 5, 5] y) {
        [one] a = Conv (x, w) i = Identity (w) [two] b = Conv (a, i)
        twice = Mul (w, two) [three] c = Conv (b, twice)
        turned = Transpose <perm = [1, 0, 2, 3]> (w) [four] d = Conv (c, turned)
        left = Mul (two, w) right = Mul (two, v) [five] e = Conv (d, left) [six] f = Conv (e, right)
        [seven] y = ConvTranspose (f, w) }""",
        w=RNG.standard_normal((2, 2, 1, 1)).astype(np.float32),
        v=RNG.standard_normal((2, 2, 1, 1)).astype(np.float32),
        two=np.float32(2),
    )
    found, findings = find_convolutions(file.model)
    assert findings == ()
    names = {c.name: c.shared_with for c in found}
    assert names == {"one": ("two",), "three": (), "four": (), "five": (), "six": (), "seven": ()}
    assert [c.depth for c in found] == [0, 1, 2, 3, 4, 5]


def test_depth_counts_levels_that_hold_a_convolution(opened: Callable[..., ModelFile]) -> None:
    file = opened(
        """g (float[N, 2, 5, 5] x) => (float[N, 2, 5, 5] y) {
        [left] a = Conv (x, u) [right] b = Conv (x, v) r = Relu (a) s = Relu (r)
        [deep] c = Conv (s, w) y = Add (b, c) }""",
        **{name: RNG.standard_normal((2, 2, 1, 1)).astype(np.float32) for name in "uvw"},
    )
    assert {c.name: c.depth for c in find_convolutions(file.model)[0]} == {"left": 0, "right": 0, "deep": 1}


def test_depthwise_and_other_ranks(opened: Callable[..., ModelFile]) -> None:
    file = opened(
        """g (float[N, 6, 5] x, float[N, 1, 4, 4, 4] z) => (float[N, 6, 5] y, float[N, 2, 3, 3, 3] t) {
        y = Conv <group = 6, pads = [1, 1]> (x, w) t = Conv (z, v) }""",
        w=RNG.standard_normal((6, 1, 3)).astype(np.float32),
        v=RNG.standard_normal((2, 1, 2, 2, 2)).astype(np.float32),
    )
    depthwise, volume = find_convolutions(file.model)[0]
    assert (depthwise.groups, depthwise.weight.shape) == (6, (6, 1, 3))
    assert volume.weight.shape == (2, 1, 2, 2, 2)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ("y = Conv (x, k)", "dynamic-kernel"),
        ("j = Mul (w, k) y = Conv (x, j)", "dynamic-kernel"),
        ("j = Tanh (w) y = Conv (x, j)", "unread-kernel"),
        ("j = Tanh (k) y = Conv (x, j)", "dynamic-kernel"),
    ],
)
def test_kernels_that_cannot_be_had_are_told(opened: Callable[..., ModelFile], body: str, code: str) -> None:
    file = opened(
        f"g (float[N, 2, 5, 5] x, float[2, 2, 1, 1] k) => (float[N, 2, 5, 5] y) {{ {body} }}",
        **({"w": np.ones((2, 2, 1, 1), np.float32)} if "w" in body else {}),
    )
    found, (finding,) = find_convolutions(file.model)
    assert found == ()
    assert (finding.code, finding.node) == (code, "y")
    assert "kernel" in finding.message


@pytest.mark.parametrize(
    ("weight", "attributes"),
    [
        (np.ones((3, 2, 1, 1), np.float32), {"group": 2}),
        (np.ones((3, 2, 1, 1), np.float32), {"group": 0}),
        (np.ones((3, 2, 1, 1), np.float32), {"group": -1}),
        (np.ones((3, 2), np.float32), {}),
    ],
)
def test_kernels_that_make_no_sense_are_told(weight: Array, attributes: dict[str, int]) -> None:
    x = ir.Value(name="x", type=ir.TensorType(ir.DataType.FLOAT))
    w = ir.Value(name="w", const_value=ir.tensor(weight, name="w"))
    node = ir.node("ConvTranspose", [x, w], attributes)
    graph = ir.Graph([x], node.outputs, nodes=[node], initializers=[w], opset_imports={"": 18})
    found, (finding,) = find_convolutions(ir.Model(graph, ir_version=8))
    assert (found, finding.code) == ((), "unread-kernel")


@pytest.mark.parametrize(
    ("body", "name", "state"),
    [
        ("y = Conv (x, w)", "w", "none"),
        ("y = Conv (x, w, b)", "w", "unknown"),
        ("y = Conv (x, onnx__Conv_111, b)", "onnx__Conv_111", "folded"),
        ("a = Conv (x, w) y = BatchNormalization (a, b, b, b, b)", "w", "separate"),
        ("a = Conv (x, w, b) i = Identity (a) y = BatchNormalization (i, b, b, b, b)", "w", "separate"),
        ("a = Conv (x, w) i = Relu (a) y = BatchNormalization (i, b, b, b, b)", "w", "none"),
        ("a = Conv (x, w) i = BatchNormalization (a, b, b, b, b) y = Add (a, i)", "w", "none"),
    ],
)
def test_what_is_known_of_batch_normalisation(
    parse: Callable[..., onnx.ModelProto],
    opened: Callable[..., ModelFile],
    body: str,
    name: str,
    state: str,
) -> None:
    weights: dict[str, Array] = {name: np.ones((2, 2, 1, 1), np.float32)}
    if "b" in body.replace("BatchNormalization", ""):
        weights["b"] = np.ones(2, np.float32)
    model = parse(f"g (float[N, 2, 5, 5] x) => (float[N, 2, 5, 5] y) {{ {body} }}", **weights)
    text = model.SerializeToString().replace(b"onnx__Conv_111", b"onnx::Conv_111")
    assert only(opened(onnx.ModelProto.FromString(text)).model).batch_norm == state


@pytest.mark.parametrize("dtype", ["float16", "double", "bfloat16"])
def test_kernels_of_other_float_types(
    parse: Callable[..., onnx.ModelProto], opened: Callable[..., ModelFile], dtype: str
) -> None:
    model = parse(
        f"g ({dtype}[N, 1, 3, 3] x) => ({dtype}[N, 1, 3, 3] y) {{ y = Conv (x, w) }}", opset=22, ir_version=10
    )
    kind = getattr(onnx.TensorProto, dtype.upper())
    model.graph.initializer.append(onnx.helper.make_tensor("w", kind, [1, 1, 1, 1], [1.5]))
    weight = only(opened(model).model).weight
    assert weight.dtype == (np.float64 if dtype == "double" else np.float32)
    assert weight.item() == 1.5


def test_convolutions_of_subgraphs_are_found(opened: Callable[..., ModelFile]) -> None:
    file = opened(
        """g (float[N, 2, 5, 5] x, bool b) => (float[N, 2, 5, 5] y) { y = If (b) <
        then_branch = t () => (float[N, 2, 5, 5] u) { [inner] u = Conv (x, w) },
        else_branch = e () => (float[N, 2, 5, 5] v) { v = Relu (x) }> }""",
        w=np.ones((2, 2, 1, 1), np.float32),
    )
    assert only(file.model).name == "inner"


def test_a_node_is_called_by_its_name_or_its_first_output() -> None:
    node = ir.node("Relu", [ir.Value(name="x")], outputs=[ir.Value(name="out\n")], name="named")
    assert node_label(node) == "named"
    node.name = None
    assert node_label(node) == "out\ufffd"


def test_a_scale_that_is_an_input_leaves_the_kernel_unread(opened: Callable[..., ModelFile]) -> None:
    file = opened(
        """g (uint8[N, 1, 5, 5] x, float s) => (uint8[N, 1, 5, 5] y) {
        y = QLinearConv (x, one, zero, q, s, zero, one, zero) }""",
        q=np.ones((1, 1, 1, 1), np.uint8),
        one=np.float32(1),
        zero=np.uint8(0),
    )
    found, (finding,) = find_convolutions(file.model)
    assert (found, finding.code) == ((), "unread-kernel")
