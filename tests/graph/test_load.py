"""From a file to a flat, typed graph; opsets raised without changing a number."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest

from specprobe.errors import ModelError, UnsupportedOperator
from specprobe.graph.load import IR_VERSION, OPSET_FLOOR, ModelFile, infer_shapes, open_model, raise_opset
from specprobe.graph.survey import survey
from specprobe.runtime.network import load
from specprobe.runtime.session import Session

Array = np.ndarray[Any, np.dtype[Any]]
RNG = np.random.default_rng(0)
IMAGES = RNG.standard_normal((2, 3, 8, 8)).astype(np.float32)


def bare(model: onnx.ModelProto, x: Array = IMAGES) -> Array:
    """Outputs of a model as it stands."""
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {session.get_inputs()[0].name: x})[0])


def test_facts_of_the_file(parse: Callable[..., onnx.ModelProto], save: Callable[..., Path]) -> None:
    model = parse("g (float[N, 4] x) => (float[N, 4] y) { y = Relu (x) }", opset=15, ir_version=7)
    model.producer_name, model.producer_version = "exporter\n", "1.2"
    model.metadata_props.add(key="Image.NominalPixelRange", value="NominalRange_0_255")
    path = save(model)
    file = open_model(str(path))
    content = path.read_bytes()
    assert file.path == path
    assert file.sha256 == hashlib.sha256(content).hexdigest()
    assert (file.bytes, file.external_files) == (len(content), ())
    assert (file.ir_version, file.opset, file.functions) == (7, 15, 0)
    assert file.producer == "exporter\ufffd 1.2"
    assert file.metadata == (("Image.NominalPixelRange", "NominalRange_0_255"),)
    assert file.findings == ()


RAISED: dict[str, tuple[str, int, int, int]] = {  # body, first and last opset that write it so, rank
    "convolution": ("a = Conv (x, k) n = BatchNormalization (a, s, s, s, s) y = Relu (n)", 9, 17, 4),
    "pads": ("y = Pad <pads = [0, 0, 1, 1, 0, 0, 2, 2]> (x)", 8, 10, 4),
    "softmax": ("y = Softmax (x)", 8, 17, 4),
    "softmax axis": ("y = LogSoftmax <axis = 2> (x)", 8, 17, 4),
    "squeeze": ("a = Unsqueeze <axes = [0]> (x) y = Squeeze <axes = [0]> (a)", 8, 12, 4),
    "means": ("y = ReduceMean <axes = [2, 3], keepdims = 0> (x)", 8, 17, 2),
    "sums": ("y = ReduceSum <axes = [1]> (x)", 8, 12, 4),
    "slices": ("y = Slice <starts = [1, 1], ends = [7, 7], axes = [2, 3]> (x)", 8, 9, 4),
    "clip": ("y = Clip <min = -0.5, max = 0.5> (x)", 8, 10, 4),
    "dropout": ("y, mask = Dropout (x)", 8, 17, 4),
    "split": ("a, y = Split <axis = 3> (x)", 8, 17, 4),
    "pools": (
        """a = MaxPool <kernel_shape = [2, 2], auto_pad = "SAME_UPPER"> (x)
        y = AveragePool <kernel_shape = [3, 3], auto_pad = "SAME_LOWER", strides = [2, 2]> (a)""",
        8,
        17,
        4,
    ),
    "gemm": ("f = Flatten (x) y = Gemm (f, m, b)", 8, 17, 2),
    "upsample": ("y = Upsample (x, up)", 9, 9, 4),
    "resize": ("y = Resize (x, up)", 10, 10, 4),
    "topk": ("y, i = TopK <axis = 1> (x, two)", 10, 17, 4),
    "arithmetic": ("a = Mul (x, x) r = Sqrt (a) c = Sub (r, x) y = Sum (a, r, c)", 8, 17, 4),
    "shape": ("d = Shape (x) f = Reshape (x, d) y = Identity (f)", 8, 17, 4),
}
STORED = {
    "k": RNG.standard_normal((4, 3, 3, 3)).astype(np.float32),
    "s": RNG.random(4).astype(np.float32) + np.float32(0.5),
    "m": RNG.standard_normal((192, 5)).astype(np.float32),
    "b": RNG.standard_normal(5).astype(np.float32),
    "up": np.array([1, 1, 2, 2], np.float32),
    "two": np.array([2]),
}


@pytest.mark.parametrize(
    ("name", "opset"),
    [(name, n) for name, (_, first, last, _) in RAISED.items() for n in range(first, last + 1)],
)
def test_a_raised_model_computes_the_same(
    parse: Callable[..., onnx.ModelProto],
    save: Callable[..., Path],
    run: Callable[..., tuple[Array, ...]],
    name: str,
    opset: int,
) -> None:
    body, _, _, rank = RAISED[name]
    words = body.replace(",", " ").replace("(", " ").replace(")", " ").split()
    used = {key: array for key, array in STORED.items() if key in words}
    model = parse(
        f"g (float[N, 3, 8, 8] x) => (float[{', '.join('ABCD'[:rank])}] y) {{ {body} }}", opset=opset, **used
    )
    file = open_model(save(model))
    raised = raise_opset(file.model)
    assert raised.opset_imports[""] == OPSET_FLOOR
    assert (raised.ir_version or 0) >= IR_VERSION
    assert file.model.opset_imports[""] == opset
    assert not any("auto_pad" in node.attributes for node in raised.graph)
    wanted = bare(model)
    np.testing.assert_allclose(run(raised, x=IMAGES)[0], wanted, rtol=1e-4, atol=1e-5)


def test_a_model_at_the_floor_is_left_alone(opened: Callable[..., ModelFile]) -> None:
    model = opened("g (float[N, 4] x) => (float[N, 4] y) { y = Relu (x) }").model
    assert raise_opset(model) is model


def test_what_cannot_be_raised_is_refused(opened: Callable[..., ModelFile]) -> None:
    body = "y = BatchNormalization <spatial = 0> (x, s, s, s, s)"
    model = opened(f"g (float[N, 4] x, float[4] s) => (float[N, 4] y) {{ {body} }}", opset=8).model
    message = r"opset 8 cannot be raised to 18: .*; export the model again with opset 18 or later"
    with pytest.raises(UnsupportedOperator, match=message):
        raise_opset(model)
    assert (
        survey(
            opened("g (float[N, 4] x, float[4] s) => (float[N, 4] y) { " + body + " }", opset=8)
        ).multiply_adds
        == 0
    )


FUNCTION = '<opset_import: ["" : {opset}, "own" : 1], domain: "own"> '


def with_functions(parse: Callable[..., onnx.ModelProto], *, opset: int) -> onnx.ModelProto:
    """Outer calls Inner twice; Inner takes an optional third input; functions import another opset."""
    head = FUNCTION.replace("{opset}", str(opset))
    return parse(
        f"""g (float[N, 3, 8, 8] x) => (float[N, 3] y) {{ a = own.Outer <alpha = 0.5> (x, k) p = GlobalMaxPool (a)
            y = Flatten (p) }}
        {head} Outer <alpha> (a, w) => (c) {{ b = own.Inner (a, w) d = LeakyRelu <alpha : float = @alpha> (b)
            c = own.Inner (d, w) }}
        {head} Inner (a, w) => (c) {{ s = Softmax <axis = 1> (a) c = Conv (s, w) }}""",
        opset=17,
        imports=', "own" : 1',
        k=RNG.standard_normal((3, 3, 1, 1)).astype(np.float32),
    )


@pytest.mark.parametrize("opset", [17, 18, 21])
def test_nested_functions_are_unfolded(
    parse: Callable[..., onnx.ModelProto],
    save: Callable[..., Path],
    run: Callable[..., tuple[Array, ...]],
    opset: int,
) -> None:
    model = with_functions(parse, opset=opset)
    file = open_model(save(model))
    assert file.functions == 2
    assert not file.model.functions
    surveyed = survey(file)
    assert surveyed.operators["Conv"] == 2
    assert [c.shared_with != () for c in surveyed.convolutions] == [True]
    same = with_functions(parse, opset=17)
    same.graph.initializer[0].CopyFrom(model.graph.initializer[0])
    np.testing.assert_allclose(run(file.model, x=IMAGES)[0], bare(same), rtol=1e-4, atol=1e-6)


def test_functions_inside_branches_are_unfolded(
    parse: Callable[..., onnx.ModelProto], save: Callable[..., Path], run: Callable[..., tuple[Array, ...]]
) -> None:
    model = parse(
        f"""g (float[N, 3, 8, 8] x) => (float[N, 3, 8, 8] y) {{ b = Constant <value = bool {{1}}> () y = If (b) <
            then_branch = t () => (float[N, 3, 8, 8] u) {{ u = own.Twice (x) }},
            else_branch = e () => (float[N, 3, 8, 8] v) {{ v = Neg (x) }}> }}
        {FUNCTION.replace("{opset}", "18")} Twice (a) => (c) {{ c = Add (a, a) }}""",
        imports=', "own" : 1',
    )
    file = open_model(save(model))
    np.testing.assert_allclose(run(file.model, x=IMAGES)[0], 2 * IMAGES)
    assert "own::Twice" not in survey(file).operators


def test_the_default_domain_may_be_called_by_its_long_name(
    parse: Callable[..., onnx.ModelProto], save: Callable[..., Path], run: Callable[..., tuple[Array, ...]]
) -> None:
    model = parse("g (float[N, 3, 8, 8] x) => (float[N, 3, 8, 8] y) { y = Relu (x) }", opset=12)
    model.opset_import[0].domain = model.graph.node[0].domain = "ai.onnx"
    file = open_model(save(model))
    assert file.opset == 12
    assert survey(file).operators == {"Relu": 1}
    np.testing.assert_array_equal(run(raise_opset(file.model), x=IMAGES)[0], np.maximum(IMAGES, 0))


def test_a_model_of_other_domains_only_has_an_opset_too(
    parse: Callable[..., onnx.ModelProto], save: Callable[..., Path]
) -> None:
    model = parse(
        "g (float[N, 4] x) => (float[N, 4] y) { y = com.microsoft.Gelu (x) }", imports=', "com.microsoft" : 1'
    )
    del model.opset_import[0]
    file = open_model(save(model))
    assert (file.opset, file.model.opset_imports[""]) == (OPSET_FLOOR, OPSET_FLOOR)
    network = load(file, image_shape=(1, 2, 2))
    assert network.logits(np.ones((3, 1, 2, 2), np.float32)).shape == (3, 4)


def test_operators_of_the_runtime_open_with_a_warning_where_shapes_stay_open(
    opened: Callable[..., ModelFile],
) -> None:
    file = opened(
        "g (float[N, 4] x, float[2, 2] w) => (float[N, 4] y) { a = MatMul (x, w) y = com.microsoft.Gelu (a) }",
        imports=', "com.microsoft" : 1',
    )
    (finding,) = file.findings
    assert (finding.level, finding.code) == ("warning", "shapes-not-inferred")
    assert "MatMul" in finding.message


@pytest.mark.parametrize("dim", [-1, -(2**40)])
def test_a_negative_dimension_is_an_open_one(
    parse: Callable[..., onnx.ModelProto], save: Callable[..., Path], dim: int
) -> None:
    model = parse("g (float[N, 3, 8, 8] x) => (float[N, 3] y) { p = GlobalMaxPool (x) y = Flatten (p) }")
    for value in (model.graph.input[0], model.graph.output[0]):
        value.type.tensor_type.shape.dim[0].dim_value = dim
    file = open_model(save(model))
    assert survey(file).inputs[0].shape == (None, 3, 8, 8)
    np.testing.assert_allclose(load(file).logits(IMAGES), IMAGES.max((2, 3)))


def test_inputs_of_size_zero_are_surveyed(opened: Callable[..., ModelFile]) -> None:
    file = opened("g (float[0, 3, 8, 8] x) => (float[0, 3, 8, 8] y) { y = Relu (x) }")
    assert survey(file).inputs[0].shape == (0, 3, 8, 8)
    assert survey(file).multiply_adds == 0


def test_early_files_list_their_weights_among_the_inputs(
    parse: Callable[..., onnx.ModelProto], save: Callable[..., Path]
) -> None:
    model = parse(
        "g (float[N, 600] x, float[600] w, float[2] v) => (float[N, 600] y) { y = Add (x, w) }",
        opset=9,
        ir_version=3,
    )
    for name, length in (("w", 600), ("v", 2)):
        model.graph.initializer.append(onnx.numpy_helper.from_array(np.ones(length, np.float32), name))
    file = open_model(save(model))
    assert [port.name for port in survey(file).inputs] == ["x"]
    assert survey(file).parameters == 600


def test_training_graphs_are_left_out(
    parse: Callable[..., onnx.ModelProto], save: Callable[..., Path]
) -> None:
    model = parse("g (float[N, 4] x) => (float[N, 4] y) { y = Relu (x) }")
    model.training_info.add().algorithm.node.add(op_type="EPContext", domain="com.microsoft")
    assert survey(open_model(save(model))).operators == {"Relu": 1}


def test_shapes_are_inferred_for_a_batch(opened: Callable[..., ModelFile]) -> None:
    file = opened(
        "g (float[N, 3, 8, 8] x) => (float[N, A] y, seq(float[N, 3]) z) "
        "{ y = Flatten (x) p = ReduceMax <keepdims = 0> (x, axes) z = SequenceConstruct (p) }",
        axes=np.array([2, 3]),
    )
    four = infer_shapes(file.model, batch=4).graph.outputs
    assert four[0].shape == [4, 192]
    assert isinstance(four[1].type, ir.SequenceType)
    assert infer_shapes(file.model).graph.inputs[0].shape == ir.Shape(["N", 3, 8, 8])


def test_shapes_that_contradict_one_another_are_refused(
    opened: Callable[..., ModelFile], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = opened("g (float[N, 4] x) => (float[N, 4] y) { y = Relu (x) }").model

    def refuse(*_: object, **__: object) -> onnx.ModelProto:
        msg = "[ShapeInferenceError] 4 is not 5\nat length"
        raise onnx.shape_inference.InferenceError(msg)

    monkeypatch.setattr(onnx.shape_inference, "infer_shapes", refuse)
    with pytest.raises(
        ModelError, match=r"shapes contradict one another: \[ShapeInferenceError\] 4 is not 5$"
    ):
        infer_shapes(model)


def test_a_graph_that_onnx_ir_cannot_read_is_refused(
    parse: Callable[..., onnx.ModelProto], save: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: object) -> ir.Model:
        msg = "unknown thing\nin a place"
        raise ir.serde.SerdeError(msg)

    path = save(parse("g (float[N, 4] x) => (float[N, 4] y) { y = Relu (x) }"))
    monkeypatch.setattr(ir, "from_proto", refuse)
    with pytest.raises(ModelError, match=r"model_1\.onnx cannot be read: unknown thing$"):
        open_model(path)


@pytest.mark.parametrize("scale", ["2.0", "1.5", "0.5"])
@pytest.mark.parametrize("mode", ["nearest", "linear"])
@pytest.mark.parametrize(("operator", "opset"), [("Upsample", 9), ("Resize", 10)])
def test_raising_keeps_what_old_resizes_mean(operator: str, opset: int, mode: str, scale: str) -> None:
    if operator == "Upsample" and scale == "0.5":
        pytest.skip("Upsample only enlarges")
    model = ir.from_onnx_text(
        f'<ir_version: 4, opset_import: ["" : {opset}]> net (float[1,1,6,6] x) => (float[1,1,H,W] y) '
        f'<float[4] s = {{1.0, 1.0, {scale}, {scale}}}> {{ y = {operator}<mode = "{mode}">(x, s) }}'
    )
    flat = infer_shapes(model)
    x = np.random.default_rng(0).random((1, 1, 6, 6), dtype=np.float32)
    before, after = (Session(m).run({"x": x}, ["y"])[0] for m in (flat, raise_opset(flat)))
    np.testing.assert_allclose(after, before, rtol=1e-5)
