"""A classifier in a file: any batch, any layout, any process."""

import pickle
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import array_api_strict
import numpy as np
import pytest
from onnx.reference import ReferenceEvaluator

import specprobe
from specprobe.errors import InputMismatch, ModelError, RecipeError, UnsupportedOperator
from specprobe.findings import Finding
from specprobe.graph.limits import Limits
from specprobe.graph.load import open_model, raise_opset
from specprobe.protocols import Classifier
from specprobe.recipe import Preprocessing
from specprobe.runtime import network as network_module
from specprobe.runtime import prepare as prepare_module
from specprobe.runtime.device import Device
from specprobe.runtime.network import Network, load
from specprobe.runtime.session import OutOfMemory

Save = Callable[..., Path]
Expected = Callable[[Any], Any]


def codes(network: Network) -> set[str]:
    return {finding.code for finding in network.findings}


def close(actual: Any, wanted: Any) -> bool:
    return bool(np.allclose(actual, wanted, rtol=1e-5, atol=1e-5))


@pytest.fixture
def network(save_model: Save) -> Network:
    return load(save_model())


def test_logits_are_those_of_the_file(network: Network, images: Any, expected: Expected) -> None:
    assert isinstance(network, Classifier)
    assert (network.image_shape, network.classes, network.batch) == ((3, 4, 5), 7, None)
    logits = network.logits(images)
    assert logits.dtype == np.float32
    assert close(logits, expected(images))


def test_strict_in_strict_out(network: Network, images: Any, expected: Expected) -> None:
    strict = array_api_strict.asarray(np.array(images))
    logits = network.logits(strict)
    assert isinstance(logits, type(strict))
    assert close(np.asarray(logits), expected(images))
    assert network.logits(strict[:0, ...]).shape == (0, 7)


@pytest.mark.parametrize("xp", [np, array_api_strict])
def test_images_need_not_be_contiguous(network: Network, images: Any, expected: Expected, xp: Any) -> None:
    channels_last = xp.asarray(np.array(images.transpose(0, 2, 3, 1), order="C"))
    assert close(np.asarray(network.logits(xp.permute_dims(channels_last, (0, 3, 1, 2)))), expected(images))


@pytest.mark.parametrize("dtype", [np.float16, np.float64, np.dtype(">f4")])
def test_floating_point_images_are_converted(
    network: Network, images: Any, expected: Expected, dtype: Any
) -> None:
    logits = network.logits(images.astype(dtype))
    assert logits.dtype == np.float32
    assert close(logits, expected(images.astype(dtype).astype(np.float32)))


def test_an_empty_batch_has_empty_logits(network: Network, images: Any) -> None:
    logits = network.logits(images[:0])
    assert (logits.shape, logits.dtype) == ((0, 7), np.float32)


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.bool_, np.complex64])
def test_images_that_are_no_floats_are_refused(network: Network, images: Any, dtype: Any) -> None:
    with pytest.raises(
        InputMismatch, match=r"images are (uint8|int64|bool|complex64); accepted are floating point"
    ):
        network.logits(images.astype(dtype))


@pytest.mark.parametrize("shape", [(2, 3, 4, 4), (2, 4, 5, 3), (3, 4, 5), (2, 60), (2, 3, 4, 5, 1)])
def test_images_of_another_shape_are_refused(network: Network, shape: tuple[int, ...]) -> None:
    with pytest.raises(InputMismatch, match=r"images have shape \(.*\), model.onnx takes \(N, 3, 4, 5\)"):
        network.logits(np.zeros(shape, np.float32))


def test_a_batch_is_its_images_one_by_one(network: Network, images: Any) -> None:
    singles = np.concatenate([network.logits(images[i : i + 1]) for i in range(len(images))])
    assert close(network.logits(images), singles)


# Other processes, other files


def test_a_network_is_a_value(save_model: Save) -> None:
    path = save_model()
    first, second = load(path), load(path)
    assert first == second
    assert hash(first) == hash(second)
    assert pickle.loads(pickle.dumps(first)) == first


@pytest.mark.slow
def test_a_network_opens_in_another_process(save_model: Save, images: Any, expected: Expected) -> None:
    network = load(
        save_model(
            "s = Mul (images, scale) flat = Flatten (s) logits = Gemm <transB = 1> (flat, weight, bias)",
            inputs="float[1, 3, 4, 5] images, float[1] scale",
            outputs="float[1, 7] logits",
            opset=13,
        ),
        input_name="images",
        fixed_inputs={"scale": 2.0},
        preprocessing=Preprocessing(mean=(0.5,), std=(0.25,)),
    )
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as executor:
        there = executor.submit(network.logits, images).result()
    assert np.array_equal(there, network.logits(images))
    assert close(there, expected((images.astype(np.float64) - 0.5) / 0.25 * 2))


def _forget() -> None:
    network_module._adopted.clear()


def test_a_changed_file_is_refused(network: Network, save_model: Save, images: Any) -> None:
    network.open()
    _forget()
    save_model(
        "flat = Flatten (images) twice = Add (flat, flat) logits = Gemm <transB = 1> (twice, weight, bias)"
    )
    with pytest.raises(
        ModelError,
        match=rf"is not the file that was loaded: its sha256 begins \w{{12}}, not {network.sha256[:12]}",
    ):
        network.logits(images)


def test_sessions_are_kept_but_not_all_of_them(save_model: Save, images: Any, expected: Expected) -> None:
    _forget()
    networks = [load(save_model(name=f"{i}.onnx"), threads=1) for i in range(6)]
    assert len(network_module._adopted) == network_module._KEPT
    for network in networks:
        assert close(network.logits(images), expected(images))
    assert len(network_module._adopted) == network_module._KEPT


def test_limits_travel_with_the_network(save_model: Save) -> None:
    path = save_model()
    with pytest.raises(ModelError, match="cap is 100"):
        load(path, limits=Limits(file_bytes=100))
    assert load(path, limits=Limits(nodes=2)).limits == Limits(nodes=2)


def test_an_opened_file_can_be_loaded(save_model: Save, images: Any, expected: Expected) -> None:
    file = open_model(save_model())
    network = load(file, device=Device(), threads=1)
    assert network.sha256 == file.sha256
    assert close(network.logits(images), expected(images))


# Batch sizes that the file insists on


def fixed(save_model: Save, body: str, batch: int, **options: Any) -> Path:
    return save_model(
        body, inputs=f"float[{batch}, 3, 4, 5] images", outputs=f"float[{batch}, 7] logits", **options
    )


@pytest.mark.parametrize("batch", [1, 4])
@pytest.mark.parametrize("opset", [13, 18])
@pytest.mark.parametrize(
    "body",
    [
        "flat = Flatten (images) logits = Gemm <transB = 1> (flat, weight, bias)",
        "flat = Reshape (images, target) logits = Gemm <transB = 1> (flat, weight, bias)",
    ],
    ids=["flatten", "reshape"],
)
def test_a_fixed_batch_is_opened_where_that_is_right(
    save_model: Save, images: Any, expected: Expected, batch: int, opset: int, body: str
) -> None:
    path = fixed(save_model, body, batch, opset=opset, extra={"target": np.array([batch, 60])})
    network = load(path)
    assert network.batch is None
    assert "rebatched" in codes(network)
    for count in (1, 3, 9):
        assert close(network.logits(images[:count]), expected(images[:count]))
    _forget()
    assert close(network.logits(images), expected(images))


GEMM = "logits = Gemm <transB = 1> (flat, weight, bias)"
BAKED = {
    "mean over the batch": f"m = ReduceMean <axes = [0], keepdims = 1> (images) c = Sub (images, m) flat = Flatten (c) {GEMM}",
    "batch in the pixels": f"t = Transpose <perm = [1, 0, 2, 3]> (images) r = Reshape (t, target) flat = Flatten (r) {GEMM}",
    "images moved on": f"a, b = Split <axis = 0> (images, halves) c = Concat <axis = 0> (b, a) flat = Flatten (c) {GEMM}",
}


@pytest.mark.parametrize("kind", BAKED)
def test_a_batch_that_is_baked_in_is_kept(save_model: Save, images: Any, kind: str) -> None:
    batch = 4
    extra = {"target": np.array([4, 3, 4, 5]), "halves": np.array([1, 3])}
    path = fixed(save_model, BAKED[kind], batch, opset=13, extra=extra)
    network = load(path)
    assert network.batch == batch
    assert "fixed-batch" in codes(network)
    original = ReferenceEvaluator(str(path))
    padded = np.concatenate([images, np.zeros((3, 3, 4, 5), np.float32)])
    parts = [np.asarray(original.run(None, {"images": padded[i : i + 4]})) for i in (0, 4, 8)]
    wanted = np.concatenate(parts, axis=1)[0][: len(images)]
    assert close(network.logits(images), wanted)
    assert close(np.asarray(network.logits(array_api_strict.asarray(np.array(images)))), wanted)
    assert network.logits(images[:0]).shape == (0, 7)
    _forget()
    assert close(network.logits(images), wanted)


def test_images_of_a_batch_of_one_are_run_in_turn(save_model: Save, images: Any, expected: Expected) -> None:
    # For one image the sum over the batch is the image itself; opened to many it would mix them.
    body = f"s = ReduceSum <keepdims = 1> (images, zero) flat = Flatten (s) {GEMM}"
    network = load(fixed(save_model, body, 1, extra={"zero": np.array([0])}))
    assert network.batch == 1
    assert close(network.logits(images), expected(images))


def test_a_graph_that_cannot_be_opened_keeps_its_batch(
    save_model: Save, images: Any, expected: Expected, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(graph: Any, name: str) -> Any:
        msg = "shapes contradict one another"
        raise ModelError(msg)

    monkeypatch.setattr(prepare_module, "rebatch", refuse)
    network = load(fixed(save_model, f"flat = Flatten (images) {GEMM}", 1))
    assert network.batch == 1
    assert close(network.logits(images), expected(images))


# What models take


@pytest.mark.parametrize("batch", ["N", 1])
@pytest.mark.parametrize(
    ("shape", "body"),
    [
        ("4, 5, 3", "x = Transpose <perm = [0, 3, 1, 2]> (images) flat = Flatten (x)"),
        ("60", "flat = Identity (images)"),
        ("60, 1", "flat = Flatten (images)"),
        ("1, 60", "flat = Flatten (images)"),
    ],
    ids=["NHWC", "flat", "flat with 1 behind", "flat with 1 before"],
)
def test_every_layout_takes_pixels(
    save_model: Save, images: Any, expected: Expected, batch: str | int, shape: str, body: str
) -> None:
    path = save_model(
        f"{body} {GEMM}", inputs=f"float[{batch}, {shape}] images", outputs=f"float[{batch}, 7] logits"
    )
    network = load(path, image_shape=(3, 4, 5))
    assert network.image_shape == (3, 4, 5)
    assert network.batch is None
    assert close(network.logits(images), expected(images))
    layout = network.preprocessing.layout
    stated = load(path, preprocessing=Preprocessing(layout=layout), image_shape=(3, 4, 5))
    assert close(stated.logits(images), expected(images))


@pytest.mark.parametrize("opset", [11, 18])
def test_a_flat_input_of_open_length_takes_the_pictures_of_the_data(
    save_model: Save, images: Any, expected: Expected, opset: int
) -> None:
    path = save_model(f"flat = Identity (images) {GEMM}", inputs="float[N, M] images", opset=opset)
    network = load(path, preprocessing=Preprocessing(layout="flat"), image_shape=(3, 4, 5))
    assert close(network.logits(images), expected(images))


@pytest.mark.parametrize(("kind", "number"), [("float16", 10), ("double", 11), ("bfloat16", 16)])
@pytest.mark.parametrize("opset", [13, 18])
def test_every_float_takes_pixels(
    save_model: Save, images: Any, expected: Expected, kind: str, number: int, opset: int
) -> None:
    body = f"x = Cast <to = 1> (images) flat = Flatten (x) l = Gemm <transB = 1> (flat, weight, bias) logits = Cast <to = {number}> (l)"
    network = load(
        save_model(body, inputs=f"{kind}[N, 3, 4, 5] images", outputs=f"{kind}[N, 7] logits", opset=opset)
    )
    logits = network.logits(images)
    assert logits.dtype == np.float32
    tolerance = {"float16": 1e-2, "double": 1e-5, "bfloat16": 1e-1}[kind]
    assert np.allclose(logits, expected(images), atol=tolerance)


@pytest.mark.parametrize("opset", [13, 18])
def test_bytes_take_pixels(save_model: Save, images: Any, expected: Expected, opset: int) -> None:
    body = f"x = Cast <to = 1> (images) flat = Flatten (x) {GEMM}"
    path = save_model(body, inputs="uint8[N, 3, 4, 5] images", opset=opset)
    network = load(path, preprocessing=Preprocessing(range=(0.0, 255.0)))
    assert close(network.logits(images), expected(np.round(images * np.float32(255))))
    assert "integer-input" in codes(network)
    with pytest.raises(RecipeError, match=r"input 'images' is uint8, .* say --range 255"):
        load(path)


def test_preprocessing_is_in_the_graph(save_model: Save, images: Any, expected: Expected) -> None:
    recipe = Preprocessing(
        mean=(0.1, 0.2, 0.3), std=(0.5, 0.25, 0.125), range=(-1.0, 1.0), channel_order="BGR"
    )
    mean, std = np.reshape(recipe.mean, (3, 1, 1)), np.reshape(recipe.std, (3, 1, 1))
    wanted = expected((-1 + 2 * (images - mean) / std)[:, ::-1])
    network = load(save_model(), preprocessing=recipe)
    assert close(network.logits(images), wanted)
    _forget()
    assert close(network.logits(images), wanted)


def test_metadata_of_the_file_counts_once(save_model: Save, images: Any, expected: Expected) -> None:
    stated = {"Image.BitmapPixelFormat": "Bgr8", "Image.NominalPixelRange": "NominalRange_0_255"}
    network = load(save_model(metadata=stated))
    wanted = expected(255 * images.astype(np.float64)[:, ::-1])
    assert np.allclose(network.logits(images), wanted, rtol=1e-4)
    _forget()
    assert np.allclose(network.logits(images), wanted, rtol=1e-4)


def test_a_guessed_layout_is_labelled(save_model: Save) -> None:
    path = save_model(
        f"x = Transpose <perm = [0, 3, 1, 2]> (images) flat = Flatten (x) {GEMM}",
        inputs="float[N, 5, 4, 3] images",
    )
    assert (
        Finding(
            level="warning",
            code="guessed-recipe",
            message="layout NHWC is a guess from the shape of the input; state it with --layout",
        )
        in load(path).findings
    )
    assert "guessed-recipe" not in codes(load(path, preprocessing=Preprocessing(layout="NHWC")))


def test_several_inputs_are_filled_or_refused(save_model: Save, images: Any, expected: Expected) -> None:
    path = save_model(
        f"s = Mul (images, scale) f = Flatten (s) flat = Add (f, shift) {GEMM}",
        inputs="float[N, 3, 4, 5] images, float scale, float[N, 1] shift",
    )
    with pytest.raises(
        ModelError, match="has further inputs: 'scale', 'shift'; give each a number with --set NAME=VALUE"
    ):
        load(path)
    with pytest.raises(ModelError, match="has no input 'shape' to set; it has images, scale, shift"):
        load(path, fixed_inputs={"shape": 1})
    network = load(path, fixed_inputs={"shift": -1, "scale": 0.5})
    wanted = expected(images.astype(np.float64) * 0.5 - 1)
    assert close(network.logits(images), wanted)
    _forget()
    assert close(network.logits(images), wanted)


# What models give


@pytest.mark.parametrize("tail", ["7, 1, 1", "7, 1"])
def test_trailing_ones_of_logits_are_dropped(
    save_model: Save, images: Any, expected: Expected, tail: str
) -> None:
    target = np.array([-1, *map(int, tail.split(","))])
    body = "flat = Flatten (images) l = Gemm <transB = 1> (flat, weight, bias) logits = Reshape (l, target)"
    network = load(save_model(body, outputs=f"float[N, {tail}] logits", extra={"target": target}))
    assert close(network.logits(images), expected(images))


@pytest.mark.parametrize("opset", [11, 13, 18])
@pytest.mark.parametrize("operator", ["Softmax", "LogSoftmax", "Sigmoid"])
def test_logits_are_taken_before_the_last_activation(
    save_model: Save, images: Any, expected: Expected, operator: str, opset: int
) -> None:
    attribute = "" if operator == "Sigmoid" else "<axis = 1>"
    body = f"flat = Flatten (images) l = Gemm <transB = 1> (flat, weight, bias) logits = {operator} {attribute} (l)"
    network = load(save_model(body, opset=opset))
    assert close(network.logits(images), expected(images))
    message = f"logits are taken before the {operator} that ends the model"
    assert Finding(level="note", code="trailing-activation", message=message) in network.findings


def test_the_activation_is_named_although_others_read_the_logits(save_model: Save) -> None:
    body = "flat = Flatten (images) l = Gemm <transB = 1> (flat, weight, bias) top = ArgMax <axis = 1> (l) logits = Softmax (l)"
    network = load(save_model(body, outputs="int64[N, 1] top, float[N, 7] logits"), output_name="logits")
    assert any("before the Softmax that ends" in finding.message for finding in network.findings)


def test_the_logits_of_several_outputs_are_found_or_asked_for(
    save_model: Save, images: Any, expected: Expected
) -> None:
    body = f"flat = Flatten (images) {GEMM} twice = Add (logits, logits) other = Identity (images)"
    path = save_model(body, outputs="float[N, 7] logits, float[N, 3, 4, 5] other")
    assert close(load(path).logits(images), expected(images))
    path = save_model(body, outputs="float[N, 7] logits, float[N, 7] twice")
    with pytest.raises(
        ModelError,
        match=r"has 2 outputs \('logits' \[N, 7\], 'twice' \[N, 7\]\); name the logits with --output NAME",
    ):
        load(path)
    assert close(load(path, output_name="twice").logits(images), 2 * expected(images))
    with pytest.raises(ModelError, match="has no tensor 'thrice'; its outputs are 'logits', 'twice'"):
        load(path, output_name="thrice")


def test_a_tensor_of_unknown_rank_is_called_that(save_model: Save) -> None:
    inner = "n = NonZero (images) s = Reshape (n, one) places = Reshape (n, s)"
    path = save_model(f"flat = Flatten (images) {GEMM} {inner}", extra={"one": np.array([-1])})
    with pytest.raises(ModelError, match="output 'places' is int64 of unknown rank: indices are no logits"):
        load(path, output_name="places")


@pytest.mark.parametrize("opset", [13, 18])
def test_an_inner_tensor_can_be_the_output(save_model: Save, images: Any, opset: int) -> None:
    network = load(save_model(opset=opset), output_name="flat")
    assert network.classes == 60
    assert close(network.logits(images), images.reshape(9, 60))


@pytest.mark.parametrize(
    ("body", "outputs", "message"),
    [
        (
            "logits = Identity (images)",
            "float[N, 3, 4, 5] logits",
            r"shape \[N, 3, 4, 5\]: this is not a classifier",
        ),
        ("logits = Flatten <axis = 3> (images)", "float[M, 5] logits", "for 1 image.*accepted are logits"),
        (
            "logits = ReduceSum <keepdims = 0> (images)",
            "float logits",
            r"shape \[\]: this is not a classifier",
        ),
        (
            "logits = ReduceSum <keepdims = 0> (images, axes)",
            "float[N] logits",
            r"this is not a classifier; accepted",
        ),
    ],
    ids=["pictures", "rows", "scalar", "one number"],
)
def test_what_is_no_classifier_is_refused(save_model: Save, body: str, outputs: str, message: str) -> None:
    path = save_model(body, outputs=outputs, extra={"axes": np.array([1, 2, 3])})
    with pytest.raises(ModelError, match=message):
        load(path)


@pytest.mark.parametrize("tail", ["logits = Identity (z)", "logits = Sigmoid (z)"])
def test_one_output_is_no_classifier_until_it_has_a_second_logit(
    save_model: Save, images: Any, tail: str
) -> None:
    extra = {"row": np.linspace(-1, 1, 60, dtype=np.float32).reshape(60, 1), "none": np.zeros(1, np.float32)}
    body = f"flat = Flatten (images) z = MatMul (flat, row) {tail}"
    one = save_model(body, outputs="float[N, 1] logits", extra=extra, name="one.onnx")
    with pytest.raises(
        ModelError,
        match=r"one\.onnx gives logits \[N, 1\], .* export two logits, \[0, z\] concatenated, .* Sigmoid",
    ):
        load(one)
    assert specprobe.inspect(one).outputs[0]["shape"] == ["N", 1]  # the file alone is looked at all the same
    body = "flat = Flatten (images) z = MatMul (flat, row) zeros = Mul (z, none) logits = Concat <axis = 1> (zeros, z)"
    two = load(save_model(body, outputs="float[N, 2] logits", extra=extra))
    assert close(np.asarray(two.logits(images))[:, 1], images.reshape(len(images), -1) @ extra["row"][:, 0])


@pytest.mark.parametrize(
    ("tail", "outputs"),
    [
        ("logits = ArgMax <axis = 1> (l)", "int64[N, 1] logits"),
        ("top, logits = TopK (l, k)", "int64[N, 3] logits"),
        ("logits = Cast <to = 6> (l)", "int32[N, 7] logits"),
    ],
)
def test_class_indices_are_no_logits(save_model: Save, images: Any, tail: str, outputs: str) -> None:
    body = f"flat = Flatten (images) l = Gemm <transB = 1> (flat, weight, bias) {tail}"
    path = save_model(body, outputs=outputs, extra={"k": np.array([3])})
    with pytest.raises(
        ModelError, match=r"output 'logits' is int(32|64) \[N, \d\]: indices are no logits; .* --output NAME"
    ):
        load(path)
    assert load(path, output_name="l").classes == 7


def test_quantised_logits_are_logits(save_model: Save, images: Any, expected: Expected) -> None:
    body = (
        "flat = Flatten (images) l = Gemm <transB = 1> (flat, weight, bias) "
        "logits = QuantizeLinear (l, scale, zero)"
    )
    extra = {"scale": np.float32(0.5), "zero": np.int8(0)}
    path = save_model(body, outputs="int8[N, 7] logits", extra={k: np.asarray(v) for k, v in extra.items()})
    assert np.allclose(load(path).logits(images) / 2, expected(images), atol=0.251)


@pytest.mark.parametrize("threads", [0, 257])
def test_numbers_of_threads_that_cannot_be_meant_are_refused(save_model: Save, threads: int) -> None:
    with pytest.raises(ValueError, match=f"threads is {threads}; accepted are whole numbers from 1 to 256"):
        load(save_model(), threads=threads)


def test_four_threads_open_one_session(network: Network, images: Any, expected: Expected) -> None:
    _forget()
    with ThreadPoolExecutor(4) as executor:
        found = list(executor.map(lambda _: network.logits(images), range(40)))
    assert len(network_module._adopted) == 1
    assert all(close(logits, expected(images)) for logits in found)


def test_an_input_of_words_is_refused(save_model: Save) -> None:
    body = "x = Cast <to = 1> (images) flat = Flatten (x) logits = Gemm <transB = 1> (flat, weight, bias)"
    with pytest.raises(ModelError, match="input 'images' is int64; specprobe feeds images"):
        load(save_model(body, inputs="int64[N, 3, 4, 5] images"))


# Old opsets


def test_an_old_opset_is_raised_and_checked(save_model: Save, images: Any, expected: Expected) -> None:
    network = load(save_model(opset=9))
    assert Finding(level="note", code="opset-raised", message="opset 9 raised to 18") in network.findings
    assert close(network.logits(images), expected(images))


def test_a_raise_that_changes_the_numbers_is_refused(
    save_model: Save, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = open_model(save_model(f"n = Neg (images) flat = Flatten (n) {GEMM}", name="other.onnx")).model

    monkeypatch.setattr(prepare_module, "raise_opset", lambda model: other)
    with pytest.raises(
        UnsupportedOperator,
        match=r"opset 9 was raised to 18 but the outputs differ by \d\.\de.*; export the model again",
    ):
        load(save_model(opset=9))


@pytest.mark.parametrize("number", [np.nan, np.inf])
def test_numbers_that_are_not_finite_hide_no_difference(
    save_model: Save, monkeypatch: pytest.MonkeyPatch, number: float
) -> None:
    """One logit is NaN or infinite in both graphs; another differs."""
    spoil = np.zeros(7, np.float32)
    spoil[3] = number
    body = "flat = Flatten (images) l = Gemm <transB = 1> (flat, weight, bias) logits = Add (l, spoil)"
    shift = np.eye(7, dtype=np.float32)[0]
    changed = save_model(
        body.replace("bias)", "bias) k = Add (l, shift)").replace("(l, spoil)", "(k, spoil)"),
        name="other.onnx",
        extra={"spoil": spoil, "shift": shift},
    )
    other = open_model(changed).model
    path = save_model(body, opset=13, extra={"spoil": spoil})
    assert load(path).classes == 7
    monkeypatch.setattr(prepare_module, "raise_opset", lambda model: other)
    with pytest.raises(UnsupportedOperator, match="outputs differ by"):
        load(path)


@pytest.mark.parametrize("number", [np.nan, np.inf])
def test_a_batch_is_not_opened_on_the_strength_of_invalid_numbers(save_model: Save, number: float) -> None:
    spoil = np.zeros(60, np.float32)
    spoil[:] = [0.0] * 59 + [number]
    body = "s = ReduceSum <keepdims = 1> (images, zero) flat = Flatten (s) l = Gemm <transB = 1> (flat, weight, bias) logits = Add (l, spoil)"
    network = load(fixed(save_model, body, 1, extra={"zero": np.array([0]), "spoil": spoil[-7:]}))
    assert network.batch == 1


def test_a_batch_is_not_opened_where_every_image_gets_one_answer(save_model: Save) -> None:
    """Two images mixed up could not be told from two that were not."""
    body = "zero = Sub (images, images) flat = Flatten (zero) logits = Gemm <transB = 1> (flat, weight, bias)"
    assert load(fixed(save_model, body, 1)).batch == 1


def test_raising_leaves_the_original_alone(save_model: Save) -> None:
    file = open_model(save_model(opset=9))
    assert raise_opset(file.model) is not file.model
    load(file)
    assert file.model.opset_imports[""] == 9
    assert [value.name for value in file.model.graph.inputs] == ["images"]


# Devices without room


class SmallDevice:
    """Has room for ``room`` images, and doubles their first pixel."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.batches: list[int] = []

    def run(self, images: Any) -> Any:
        if images.shape[0] > self.room:
            msg = "Failed to allocate memory for requested buffer"
            raise OutOfMemory(msg)
        self.batches.append(images.shape[0])
        return 2 * images[:, 0, 0, :2]


@pytest.mark.parametrize("xp", [np, array_api_strict])
def test_a_batch_without_room_is_halved(network: Network, images: Any, xp: Any) -> None:
    small = SmallDevice(room=3)
    network_module._adopted[network] = small  # type: ignore[assignment] # a fake
    pixels = xp.asarray(np.array(images))
    assert np.array_equal(np.asarray(network.logits(pixels)), 2 * images[:, 0, 0, :2])
    assert small.batches == [2, 2, 2, 3]


def test_no_room_for_one_image_is_an_error(network: Network, images: Any) -> None:
    network_module._adopted[network] = SmallDevice(room=0)  # type: ignore[assignment] # a fake
    with pytest.raises(OutOfMemory, match="Failed to allocate"):
        network.logits(images)


class FullSession:
    """A session of the runtime that has no memory left."""

    def __init__(self, session: Any) -> None:
        self.session = session

    def io_binding(self) -> Any:
        return self.session.io_binding()

    def run_with_iobinding(self, binding: Any) -> None:
        msg = "[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : Failed to allocate memory for requested buffer of size 9"
        raise RuntimeError(msg)


def test_the_words_of_the_runtime_mean_no_room(network: Network, images: Any) -> None:
    network.open()
    session = network_module._adopted[network]._session
    session._session = FullSession(session._session)
    with pytest.raises(OutOfMemory, match="Failed to allocate memory for requested buffer of size 9"):
        network.logits(images)


# A GPU


@pytest.mark.cuda
def test_cuda_logits_agree_with_the_cpu(save_model: Save, images: Any) -> None:
    cupy = pytest.importorskip("cupy")
    path = save_model()
    on_cpu, on_gpu = load(path), load(path, device="cuda")
    assert np.allclose(on_gpu.logits(images), on_cpu.logits(images), rtol=1e-4, atol=1e-4)
    logits = on_gpu.logits(cupy.asarray(images))
    assert isinstance(logits, cupy.ndarray)
    assert np.allclose(logits.get(), on_cpu.logits(images), rtol=1e-4, atol=1e-4)


def test_specprobe_load_is_load() -> None:
    assert specprobe.load is load


def test_settings_make_another_network(network: Network) -> None:
    assert replace(network, threads=1) != network
