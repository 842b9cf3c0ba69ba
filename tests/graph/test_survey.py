"""What a survey says of models whose answers can be counted by hand."""

import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from specprobe.graph.load import ModelFile, open_model
from specprobe.graph.survey import Port, Survey, count_multiply_adds, survey, trailing_activation
from specprobe.runtime.network import load
from specprobe.testing.light import he_initialised, light_models

Array = np.ndarray[Any, np.dtype[Any]]
IMAGE = "float[N, 3, 8, 8] x"
KERNEL = np.ones((4, 3, 3, 3), np.float32)


def codes(surveyed: Survey) -> list[str]:
    return [finding.code for finding in surveyed.findings]


@pytest.fixture
def surveyed(opened: Callable[..., ModelFile]) -> Callable[..., Survey]:
    """Survey of a model in ONNX text."""

    def make(text: str, **settings: Any) -> Survey:
        return survey(opened(text, **settings))

    return make


def test_the_whole_of_a_small_classifier(surveyed: Callable[..., Survey]) -> None:
    result = surveyed(
        f"""g ({IMAGE}) => (float[N, 5] p) {{
        a = Conv <pads = [1, 1, 1, 1]> (x, k) b = Relu (a) c = GlobalAveragePool (b) d = Flatten (c)
        e = Gemm (d, m, bias) p = Softmax <axis = 1> (e) }}""",
        k=KERNEL,
        m=np.ones((4, 5), np.float32),
        bias=np.zeros(5, np.float32),
    )
    assert result.inputs == (Port(name="x", dtype="float", shape=("N", 3, 8, 8)),)
    assert result.outputs == (Port(name="p", dtype="float", shape=("N", 5)),)
    assert result.parameters == 4 * 27 + 20 + 5
    assert result.multiply_adds == 4 * 64 * 27 + 20
    assert result.operators == {
        "Conv": 1, "Flatten": 1, "Gemm": 1, "GlobalAveragePool": 1, "Relu": 1, "Softmax": 1,
    }  # fmt: skip
    assert result.quantisation is None
    assert result.trailing_activation == "Softmax"
    assert result.masking == ()
    assert codes(result) == ["trailing-activation"]
    assert len(result.convolutions) == 1


@pytest.mark.parametrize(
    ("body", "weights", "cost"),
    [
        ("y = Conv <strides = [2, 2]> (x, k)", {"k": KERNEL}, 4 * 9 * 27),
        ("y = Conv <group = 3> (x, k)", {"k": np.ones((6, 1, 3, 3), np.float32)}, 6 * 36 * 9),
        ("y = ConvTranspose <strides = [2, 2]> (x, k)", {"k": np.ones((3, 5, 2, 2), np.float32)}, 3 * 64 * 5 * 4),
        ("y = ConvTranspose <group = 3> (x, k)", {"k": np.ones((3, 5, 2, 2), np.float32)}, 3 * 64 * 5 * 4),
        ("y = MatMul (x, k)", {"k": np.ones((8, 7), np.float32)}, 3 * 8 * 7 * 8),
        ("f = Flatten (x) y = Gemm <transB = 1> (f, k)", {"k": np.ones((7, 192), np.float32)}, 7 * 192),
        ("f = Flatten (x) t = Transpose (f) y = Gemm <transA = 1> (t, k)", {"k": np.ones((192, 7), np.float32)}, 7 * 192),
        ("y = MatMul (x, x)", {}, 3 * 8 * 8 * 8),
        ("y = Relu (x)", {}, 0),
        (
            "y = ConvInteger (x8, k8)",
            {"x8": np.ones((1, 3, 8, 8), np.uint8), "k8": np.ones((4, 3, 3, 3), np.uint8)},
            4 * 36 * 27,
        ),
    ],
)  # fmt: skip
def test_multiply_adds_are_those_counted_by_hand(
    surveyed: Callable[..., Survey], body: str, weights: dict[str, Array], cost: int
) -> None:
    kind = "int32[A, B, C, D]" if "Integer" in body else "float[A, B, C, D]" if "4" in body else "Y"
    kind = {"Y": "float[A, B, C, D]"}.get(kind, kind)
    if "Gemm" in body:
        kind = "float[A, B]"
    assert surveyed(f"g ({IMAGE}) => ({kind} y) {{ {body} }}", **weights).multiply_adds == cost


@pytest.mark.parametrize("batch", ["N", "1", "8"])
def test_the_cost_is_that_of_one_image(surveyed: Callable[..., Survey], batch: str) -> None:
    result = surveyed(
        f"g (float[{batch}, 3, 8, 8] x) => (float[A, B, C, D] y) {{ y = Conv (x, k) }}", k=KERNEL
    )
    assert result.multiply_adds == 4 * 36 * 27


def test_open_sizes_leave_the_cost_unknown(surveyed: Callable[..., Survey]) -> None:
    result = surveyed("g (float[N, 3, H, W] x) => (float[N, 4, A, B] y) { y = Conv (x, k) }", k=KERNEL)
    assert result.multiply_adds is None
    assert codes(result) == ["cost-unknown"]
    assert result.inputs[0].shape == ("N", 3, "H", "W")
    gemm = "g (x, float[A, B] w) => (float[C, D] y) { y = MatMul (x, w) }"
    parsed = ir.from_onnx_text(f'<ir_version: 8, opset_import: ["" : 18]> {gemm}')
    assert count_multiply_adds(parsed) is None


def test_sizes_that_follow_shape_arithmetic_of_early_opsets_are_counted(
    surveyed: Callable[..., Survey],
) -> None:
    body = f"""g ({IMAGE}) => (float[N, 7] y) {{ s = Shape (x) b = Gather <axis = 0> (s, zero)
        u = Unsqueeze <axes = [0]> (b) t = Concat <axis = 0> (u, rest) f = Reshape (x, t) y = MatMul (f, m) }}"""
    weights = {"zero": np.int64(0), "rest": np.array([-1]), "m": np.ones((192, 7), np.float32)}
    for opset in (9, 11):
        assert surveyed(body, opset=opset, **weights).multiply_adds == 7 * 192


@pytest.mark.parametrize(
    ("body", "opset", "found"),
    [
        ("y = Softmax <axis = 1> (x)", 18, "Softmax"),
        ("y = Softmax (x)", 18, "Softmax"),
        ("y = Softmax (x)", 11, "Softmax"),
        ("y = LogSoftmax <axis = -1> (x)", 18, "LogSoftmax"),
        ("y = Sigmoid (x)", 18, "Sigmoid"),
        ("a = Softmax (x) y = Identity (a)", 18, "Softmax"),
        ("a = Softmax (x) b = Unsqueeze (a, two) y = Squeeze (b, two)", 18, "Softmax"),
        ("y = Softmax <axis = 0> (x)", 18, None),
        ("y = Softmax <axis = 0> (x)", 11, None),
        ("y = Softmax <axis = -2> (x)", 18, None),
        ("y = Relu (x)", 18, None),
        ("a = Softmax (x) y = Relu (a)", 18, None),
        ("y = Identity (x)", 18, None),
    ],
)
def test_activations_behind_logits(
    surveyed: Callable[..., Survey], body: str, opset: int, found: str | None
) -> None:
    weights = {"two": np.array([2])} if "two" in body else {}
    result = surveyed(f"g (float[N, 5] x) => (float[N, 5] y) {{ {body} }}", opset=opset, **weights)
    assert result.trailing_activation == found
    assert codes(result).count("trailing-activation") == (found is not None)


@pytest.mark.parametrize("opset", [11, 18])
@pytest.mark.parametrize("axis", [-3, -2, -1, 0, 1, 2, 3])
@pytest.mark.parametrize("shape", [(2, 5, 1, 1), (2, 1, 1, 5), (2, 1, 5, 1), (2, 5, 3, 1)])
def test_an_activation_counts_where_its_numbers_are_those_of_classes(
    opened: Callable[..., ModelFile],
    run: Callable[..., tuple[Array, ...]],
    shape: tuple[int, ...],
    axis: int,
    opset: int,
) -> None:
    """Softmax over one example's classes, judged by what it computes."""
    dims = ", ".join(map(str, shape))
    model = opened(
        f"g (float[{dims}] x) => (float[{dims}] y) {{ y = Softmax <axis = {axis}> (x) }}", opset=opset
    ).model
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    (y,) = run(model, x=x)
    over_example = np.exp(x) / np.exp(x).sum((1, 2, 3), keepdims=True)
    over_channels = np.exp(x) / np.exp(x).sum(1, keepdims=True)
    of_classes = np.allclose(y, over_example, atol=1e-5)
    # A channel of one number is no class; runs over an axis of a map count only where the channels are the classes.
    wanted = of_classes or (axis in {1, -3} and np.allclose(y, over_channels, atol=1e-5))
    assert (trailing_activation(model.graph.outputs[0]) is not None) == wanted


def test_the_activation_is_named_though_its_logits_are_used_elsewhere(
    surveyed: Callable[..., Survey],
) -> None:
    result = surveyed(
        "g (float[N, 5] x) => (int64[N] top, float[N, 5] y) "
        "{ l = Relu (x) top = ArgMax <axis = 1, keepdims = 0> (l) y = Softmax (l) }"
    )
    assert result.trailing_activation == "Softmax"


def test_an_activation_of_another_domain_is_none() -> None:
    node = ir.Node("acme", "Softmax", [ir.Value(name="x")])
    assert trailing_activation(node.outputs[0]) is None


@pytest.mark.parametrize(
    ("body", "masking"),
    [
        ("[n] y = Sign (x)", ("n",)),
        ("[n] a = Round (x) y = Relu (a)", ("n",)),
        ("[n] a = Cast <to = 7> (x) y = Cast <to = 1> (a)", ("n",)),
        ("[n] a = ArgMax <axis = 1> (x) y = Cast <to = 1> (a)", ("n",)),
        ("a = Cast <to = 11> (x) y = Cast <to = 1> (a)", ()),
        (
            "s = Shape (x) [n] c = Cast <to = 1> (s) f = Floor (c) t = Cast <to = 7> (f) y = Reshape (x, t)",
            (),
        ),
        (
            """s = Shape (x) g = Gather (s, zero) u = Unsqueeze (g, zero_) r = Concat <axis = 0> (u, rest)
            y = Reshape (x, r)""",
            (),
        ),
        ("[n] a = Sign (x) y = Relu (x)", ()),
        ("[n] a = Sign (w) y = Mul (x, a)", ()),
        ("h = Greater (x, w) y = Where (h, x, w)", ()),
        ("[n] a = Sign (x) y = Add (x, a)", ("n",)),
        ("[n] y = Ceil (x)", ("n",)),
    ],
)
def test_masking_is_what_stands_between_image_and_output(
    surveyed: Callable[..., Survey], body: str, masking: tuple[str, ...]
) -> None:
    stored = {"zero": np.int64(0), "zero_": np.array([0]), "rest": np.array([5]), "w": np.ones(5, np.float32)}
    words = body.replace(",", " ").replace("(", " ").replace(")", " ").split()
    used = {name: array for name, array in stored.items() if name in words}
    result = surveyed(f"g (float[N, 5] x) => (float[A, B] y) {{ {body} }}", **used)
    assert result.masking == masking
    assert codes(result).count("zero-gradient") == len(masking)
    past = masking and "Add (x" not in body
    assert ("no-gradient-path" in codes(result)) == bool(past)


@pytest.mark.parametrize(
    "body", ["h = Greater (x, x) y = Cast <to = 1> (h)", "s = Shape (x) y = Cast <to = 1> (s)"]
)
def test_an_output_that_has_no_gradient_is_told(surveyed: Callable[..., Survey], body: str) -> None:
    kind = "float[D]" if "Shape" in body else "float[N, 5]"
    result = surveyed(f"g (float[N, 5] x) => ({kind} y) {{ {body} }}")
    assert "no-gradient-path" in codes(result)


@pytest.mark.parametrize(
    ("body", "random"),
    [
        ("r = RandomNormalLike (x) y = Add (x, r)", True),
        ("r = RandomUniform <shape = [1, 5]> () y = Add (x, r)", True),
        ("y = Bernoulli (x)", True),
        ("y = Dropout (x)", False),
        ("y = Dropout (x, half)", False),
        ("y = Dropout (x, half, on)", True),
        ("y = Dropout (x, half, off)", False),
        ("y = Dropout (x, half, given)", True),
        ("y = Dropout (x, , on)", True),
    ],
)
def test_randomness_is_told(surveyed: Callable[..., Survey], body: str, random: bool) -> None:
    stored = {"half": np.float32(0.5), "on": np.bool_(True), "off": np.bool_(False)}
    used = {name: array for name, array in stored.items() if f" {name}" in body}
    result = surveyed(f"g (float[N, 5] x, bool given) => (float[A, B] y) {{ {body} }}", **used)
    assert ("random-operator" in codes(result)) == random


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ("y = Relu (x)", None),
        ("q = QuantizeLinear (x, s, z) y = DequantizeLinear (q, s, z)", "qdq"),
        ("q, t, o = DynamicQuantizeLinear (x) m = MatMulInteger (q, k, o) y = Cast <to = 1> (m)", "operator"),
        (
            """q, t, o = DynamicQuantizeLinear (x) m = MatMulInteger (q, k, o) c = Cast <to = 1> (m)
            d = DequantizeLinear (q, t, o) y = Add (c, d)""",
            "mixed",
        ),
    ],
)
def test_kinds_of_quantisation(surveyed: Callable[..., Survey], body: str, kind: str | None) -> None:
    stored = {"s": np.float32(0.1), "z": np.uint8(0), "k": np.ones((5, 5), np.int8)}
    words = body.replace(",", " ").replace("(", " ").replace(")", " ").split()
    used = {name: array for name, array in stored.items() if name in words}
    result = surveyed(f"g (float[N, 5] x) => (float[A, B] y) {{ {body} }}", **used)
    assert result.quantisation == kind
    if "k" in used:
        assert result.parameters == 25


def test_stored_numbers_count_once_wherever_they_lie(surveyed: Callable[..., Survey]) -> None:
    result = surveyed(
        """g (float[N, 5] x, bool b) => (float[N, 5] y) {
        a = Add (x, w) c = Add (a, w) k = Constant <value = float[5] {1, 2, 3, 4, 5}> () d = Mul (c, k)
        y = If (b) <then_branch = t () => (float[N, 5] u) <float[5] inner = {1, 1, 1, 1, 1}> { u = Add (d, inner) },
                    else_branch = e () => (float[N, 5] v) { v = Neg (d) }> }""",
        w=np.ones((5,), np.float32),
        idle=np.ones((7,), np.float32),
        indices=np.ones((9,), np.int64),
    )
    assert result.parameters == 15


def test_loops_and_branches_are_surveyed(surveyed: Callable[..., Survey]) -> None:
    result = surveyed(
        """g (float[1, 2, 4, 4] x, bool b) => (float[1, 2, 4, 4] y, float[A, 1, 2, 4, 4] all) {
        n = Constant <value_int = 3> ()
        z, all = Loop (n, b, x) <body = l (int64 i, bool c, float[1, 2, 4, 4] s)
            => (bool d, float[1, 2, 4, 4] t, float[1, 2, 4, 4] u) {
            d = Identity (c) t = Conv (s, k) u = Sign (t) }>
        y = If (b) <then_branch = t2 () => (float[1, 2, 4, 4] v) { v = Relu (z) },
                    else_branch = e2 () => (float[1, 2, 4, 4] w) { w = RandomNormalLike (z) }> }""",
        k=np.ones((2, 2, 1, 1), np.float32),
    )
    assert result.multiply_adds == 2 * 16 * 2
    assert result.operators["Conv"] == 1
    assert "random-operator" in codes(result)
    assert len(result.convolutions) == 1


def test_further_inputs_and_outputs_of_all_kinds(surveyed: Callable[..., Survey]) -> None:
    result = surveyed(
        """g (float[N, 5] x, int64[N] i, float s, string[2] names) => (float[N, 5] y, float t, int64[1] n) {
        y = Mul (x, s) t = ReduceSum <keepdims = 0> (x) n = Size (x) }""".replace("int64[1] n", "int64 n")
    )
    assert [p.dtype for p in result.inputs] == ["float", "int64", "float", "string"]
    assert [p.shape for p in result.outputs] == [("N", 5), (), ()]


def test_a_sequence_among_the_outputs(surveyed: Callable[..., Survey]) -> None:
    result = surveyed("g (float[N, 6] x) => (seq(float[N, 2]) y, float[N, 6] z) { y = SplitToSequence <axis = 1> (x, two) z = Relu (x) }", two=np.int64(2))  # fmt: skip
    assert result.operators == {"Relu": 1, "SplitToSequence": 1}
    assert result.multiply_adds == 0


def test_no_nodes_at_all(surveyed: Callable[..., Survey], parse: Callable[..., onnx.ModelProto]) -> None:
    model = parse("g (float[N, 5] x) => (float[N, 5] x) { }")
    result = surveyed(model)
    assert (result.operators, result.multiply_adds, result.parameters) == ({}, 0, 0)
    assert codes(result) == []


@pytest.mark.parametrize("dtype", ["float16", "double", "bfloat16"])
def test_other_float_types(surveyed: Callable[..., Survey], dtype: str) -> None:
    result = surveyed(f"g ({dtype}[N, 5] x) => ({dtype}[N, 5] y) {{ y = Sign (x) }}", opset=22, ir_version=10)
    assert result.inputs[0].dtype == dtype
    assert result.masking == ("y",)


def test_two_inputs_whose_open_sizes_are_not_both_batches(surveyed: Callable[..., Survey]) -> None:
    result = surveyed(
        "g (float[N, 3] x, float[S, 4] z) => (float[A, B] y) { t = MatMul (z, k) y = Add (x, t) }",
        k=np.ones((4, 3), np.float32),
    )
    assert result.multiply_adds == 12


LIGHT = {  # convolutions, millions of parameters, billions of multiply-adds
    "bvlc_alexnet": (5, 61.0, 0.655),
    "densenet121": (121, 8.1, 2.834),
    "inception_v1": (57, 7.0, 1.43),
    "inception_v2": (69, 11.2, 2.02),
    "resnet50": (53, 25.6, 4.089),
    "shufflenet": (49, 1.42, 0.125),
    "squeezenet": (26, 1.24, 0.349),
    "vgg19": (16, 143.67, 19.632),
    "zfnet512": (5, 87.25, 1.482),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(LIGHT))
def test_well_known_architectures(tmp_path: Path, name: str) -> None:
    path = he_initialised(light_models()[name], tmp_path / "model.onnx")
    file = open_model(path)
    result = survey(file)
    assert result.multiply_adds is not None
    measured = (len(result.convolutions), result.parameters / 1e6, result.multiply_adds / 1e9)
    assert measured == pytest.approx(LIGHT[name], rel=0.01)
    assert result.inputs[0].shape == (1, 3, 224, 224)
    if result.parameters < 2e7:
        logits = load(file).logits(np.random.default_rng(0).random((2, 3, 224, 224), np.float32))
        assert logits.shape == (2, 1000)
        assert np.isfinite(logits).all()
        assert 0.01 < logits.std() < 100
        assert not np.allclose(logits[0], logits[1], rtol=1e-3)
    path.unlink()


def test_light_models_are_the_same_for_the_same_seed(tmp_path: Path) -> None:
    assert set(light_models()) == set(LIGHT)
    source = light_models()["squeezenet"]
    files = [he_initialised(source, tmp_path / f"{i}.onnx", seed=seed) for i, seed in enumerate((0, 0, 1))]
    first, again, other = (open_model(file).sha256 for file in files)
    assert first == again != other


@pytest.mark.assets
def test_real_models_have_the_parameters_stated_for_them(assets: Path) -> None:
    entries = tomllib.loads((assets / "models.toml").read_text())["model"]
    measured = {}
    for entry in entries:
        file = open_model(assets / entry["file"])
        result = survey(file)
        assert file.sha256 == entry["sha256"]
        assert file.opset == entry["opset"]
        assert result.inputs[0].name == entry["input"]
        assert list(result.inputs[0].shape or ()) == entry["input_shape"]
        assert result.multiply_adds
        measured[entry["name"]] = result.parameters
    assert measured == {entry["name"]: entry["parameters"] for entry in entries}


@pytest.mark.assets
def test_kernels_behind_identity_nodes_are_found_in_a_real_model(assets: Path) -> None:
    files = {
        kind: open_model(assets / "models" / f"cifar10_ada_resnet4b_{kind}.onnx")
        for kind in ("pgd", "standard")
    }
    first = {kind: survey(file).convolutions[0] for kind, file in files.items()}
    assert first["pgd"].weight.shape == first["standard"].weight.shape
    assert first["pgd"].depth == 0
    assert len(survey(files["pgd"]).convolutions) == len(survey(files["standard"]).convolutions)


@pytest.mark.assets
def test_a_binarised_network_is_full_of_masking(assets: Path) -> None:
    result = survey(open_model(assets / "compat" / "gtsrb_bnn_30.onnx"))
    assert result.masking
    assert all(np.isin(conv.weight, (-1, 1)).all() for conv in result.convolutions)


def test_the_cost_stays_unknown_where_the_opset_cannot_be_raised(surveyed: Callable[..., Survey]) -> None:
    result = surveyed(
        """g (float[N, 3, H, W] x, float[4] s) => (float[N, 4, A, B] y) {
        a = Conv (x, k) y = BatchNormalization <spatial = 0> (a, s, s, s, s) }""",
        opset=8,
        k=KERNEL,
    )
    assert result.multiply_adds is None
    assert "cost-unknown" in codes(result)
