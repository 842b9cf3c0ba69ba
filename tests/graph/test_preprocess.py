"""A recipe in front of a model gives what NumPy would feed to the bare one."""

from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from specprobe.errors import ModelError, RecipeError
from specprobe.graph.load import ModelFile, infer_shapes
from specprobe.graph.preprocess import (
    image_input,
    metadata_recipe,
    prepend,
    resolve,
    set_inputs,
    stated_channels,
)
from specprobe.recipe import Geometry, Preprocessing
from specprobe.runtime.session import Session

Array = np.ndarray[Any, np.dtype[Any]]
LUMA = np.array([0.299, 0.587, 0.114])


def identity(shape: str, dtype: str = "float") -> ir.Model:
    """A model that gives back what it is fed, so that what it is fed can be seen."""
    return ir.from_onnx_text(
        f'<ir_version: 10, opset_import: ["" : 18]> g ({dtype}[{shape}] x) => ({dtype}[{shape}] y) {{ y = Identity (x) }}'
    )


def by_hand(images: Array, recipe: Preprocessing) -> Array:
    """The same, in NumPy: NCHW pixels in [0, 1] to the model's array."""
    column = (1, -1, 1, 1)
    x = (images.astype(np.float64) - np.reshape(recipe.mean, column)) / np.reshape(recipe.std, column)
    x = recipe.range[0] + (recipe.range[1] - recipe.range[0]) * x
    if recipe.channel_order == "BGR":
        x = x[:, ::-1]
    elif recipe.channel_order == "grey":
        x = np.einsum("c,nchw->nhw", LUMA, x)[:, None]
    if recipe.layout == "NHWC":
        x = np.moveaxis(x, 1, -1)
    if recipe.layout == "flat":
        x = x.reshape(len(x), -1)
    if recipe.layout == "flat-column-major":
        x = x.swapaxes(2, 3).reshape(len(x), -1)
    return np.asarray(x)


def fed(model: ir.Model, recipe: Preprocessing, images: Array) -> Array:
    """What the model sees of ``images``."""
    value = image_input(model)
    resolved, shape = resolve(value, recipe, images.shape[1:])
    pixels = prepend(model, value, resolved, shape)
    for output in model.graph.outputs:
        output.shape = None
    graph = infer_shapes(model)
    assert [v.name for v in graph.graph.inputs] == [pixels.name]
    (result,) = Session(graph, threads=1).run({str(pixels.name): images}, [str(graph.graph.outputs[0].name)])
    return np.asarray(result)


LAYOUTS = {"NCHW": "N, {c}, 4, 5", "NHWC": "N, 4, 5, {c}", "flat": "N, {n}", "flat-column-major": "N, {n}"}
RECIPES = list(
    product(
        LAYOUTS,
        (None, "RGB", "BGR", "grey"),
        ((0.0, 1.0), (0.0, 255.0), (-1.0, 1.0)),
        ((0.0,), (0.5,), (0.485, 0.456, 0.406)),
        ((1.0,), (0.25,), (0.229, 0.224, 0.225)),
    )
)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("order", [None, "RGB", "BGR", "grey"])
def test_every_recipe_feeds_what_numpy_would(layout: str, order: Any) -> None:
    images = np.random.default_rng(0).random((2, 3, 4, 5), np.float32)
    channels = 1 if order == "grey" else 3
    for kind, channel_order, limits, mean, std in RECIPES:
        if (kind, channel_order) != (layout, order):
            continue
        recipe = Preprocessing(layout=layout, channel_order=order, range=limits, mean=mean, std=std)  # type: ignore[arg-type] # a str of the four
        seen = fed(identity(LAYOUTS[layout].format(c=channels, n=channels * 20)), recipe, images)
        np.testing.assert_allclose(
            seen, by_hand(images, recipe), rtol=1e-4, atol=1e-3 * max(map(abs, limits))
        )


finite = st.floats(0.0625, 2, width=32)


@settings(max_examples=40, deadline=None)
@given(
    st.tuples(finite, finite, finite),
    st.tuples(finite, finite, finite),
    st.floats(-300, 300),
    st.floats(1, 300),
)
def test_any_numbers_are_applied_channel_by_channel(
    mean: tuple[float, ...], std: tuple[float, ...], low: float, span: float
) -> None:
    images = np.random.default_rng(0).random((2, 3, 4, 5), np.float32)
    recipe = Preprocessing(layout="NCHW", mean=mean, std=std, range=(low, low + span))
    wanted = by_hand(images, recipe)
    seen = fed(identity("N, 3, 4, 5"), recipe, images)
    np.testing.assert_allclose(seen, wanted, rtol=1e-4, atol=1e-5 * np.abs(wanted).max())


@pytest.mark.parametrize("dtype", ["float16", "double", "bfloat16", "uint8"])
def test_other_types_are_cast_to(dtype: str) -> None:
    images = np.random.default_rng(0).random((2, 3, 4, 5), np.float32)
    recipe = Preprocessing(layout="NCHW", range=(0, 255))
    model = identity("N, 3, 4, 5", dtype)
    if dtype == "bfloat16":  # the runtime hands no bfloat16 out
        cast = ir.node("Cast", [model.graph.outputs[0]], {"to": 1})
        cast.outputs[0].name = "z"
        model.graph.append(cast)
        model.graph.outputs[:] = [cast.outputs[0]]
    seen = fed(model, recipe, images)
    if dtype == "uint8":
        np.testing.assert_array_equal(seen, np.rint(images * 255).astype(np.uint8))
    else:
        np.testing.assert_allclose(
            seen.astype(float), images * 255, rtol=1e-2 if dtype == "bfloat16" else 2e-3
        )


def test_uint8_saturates() -> None:
    images = np.array([-1, 0, 1, 2], np.float32).reshape(1, 1, 2, 2)
    seen = fed(identity("N, 1, 2, 2", "uint8"), Preprocessing(layout="NCHW", range=(0, 255)), images)
    assert seen.ravel().tolist() == [0, 0, 255, 255]


def test_a_recipe_that_changes_nothing_adds_nothing() -> None:
    model = identity("N, 3, 4, 5")
    value = image_input(model)
    resolved, shape = resolve(value, Preprocessing(), None)
    assert prepend(model, value, resolved, shape) is value
    assert len(model.graph) == 1


def test_an_input_handed_straight_to_the_output_is_preprocessed_too() -> None:
    model = identity("N, 3, 4, 5")
    (node,) = model.graph
    model.graph.outputs[:] = [model.graph.inputs[0]]
    model.graph.remove(node, safe=True)
    images = np.random.default_rng(0).random((1, 3, 4, 5), np.float32)
    np.testing.assert_allclose(fed(model, Preprocessing(mean=(0.5,)), images), images - 0.5, atol=1e-6)


def test_what_a_subgraph_reads_is_preprocessed_too() -> None:
    model = ir.from_onnx_text("""<ir_version: 10, opset_import: ["" : 18]>
        g (float[1, 1, 2, 2] x) => (float[1, 1, 2, 2] y) { b = Constant <value = bool {1}> () y = If (b) <
        then_branch = t () => (float[1, 1, 2, 2] u) { u = Identity (x) },
        else_branch = e () => (float[1, 1, 2, 2] v) { v = Neg (x) }> }""")
    images = np.ones((1, 1, 2, 2), np.float32)
    np.testing.assert_allclose(fed(model, Preprocessing(mean=(0.25,)), images), images - 0.25)


@pytest.mark.parametrize("shape", ["N, 60, 1", "1, 60", "N, 3, 20", "2, 60, 1"])
def test_flat_inputs_of_any_rank_are_fed(shape: str) -> None:
    images = np.random.default_rng(0).random((2 if shape[0] != "1" else 1, 3, 4, 5), np.float32)
    seen = fed(identity(shape), Preprocessing(layout="flat"), images)
    np.testing.assert_array_equal(seen.reshape(len(images), -1), images.reshape(len(images), -1))


@pytest.mark.parametrize(
    ("shape", "data", "layout", "guessed"),
    [
        ("N, 3, 8, 8", None, "NCHW", False),
        ("N, 1, 8, 8", None, "NCHW", False),
        ("N, 8, 8, 3", None, "NHWC", True),
        ("N, 3, H, W", (3, 8, 8), "NCHW", False),
        ("N, C, H, W", (3, 8, 8), "NCHW", True),
        ("N, 3, 8, 3", (3, 8, 3), "NCHW", False),
        ("N, 3, 8, 3", (3, 3, 8), "NHWC", True),
        ("N, 12", (3, 2, 2), "flat", True),
        ("N, 12, 1", (3, 2, 2), "flat", True),
    ],
)
def test_layouts_are_read_off_or_guessed(
    shape: str, data: tuple[int, int, int] | None, layout: str, guessed: bool
) -> None:
    resolved, found = resolve(image_input(identity(shape)), Preprocessing(), data)
    assert (resolved.layout, resolved.guessed) == (layout, guessed)
    assert data is None or found == data


@pytest.mark.parametrize(
    ("shape", "recipe", "data", "message"),
    [
        ("N, 12", Preprocessing(), None, "layout of input 'x' .* is not clear; say --layout"),
        ("N, 13", Preprocessing(), (3, 2, 2), "is not clear"),
        ("N, K", Preprocessing(), (3, 2, 2), "is not clear"),
        ("12", Preprocessing(layout="flat"), (3, 2, 2), "has 1 dimensions, --layout flat needs 2 or more"),
        ("N, 12", Preprocessing(layout="NCHW"), None, "has 2 dimensions, --layout NCHW needs 4"),
        ("N, 3, H, W", Preprocessing(), None, "leaves the pictures' size open; say it with --size"),
        ("N, 3, 8, 8", Preprocessing(size=(9, 8)), None, "takes pictures of 8x8, the recipe makes 9x8"),
        (
            "N, 3, 8, 8",
            Preprocessing(geometry=Geometry(crop=(4, 4))),
            None,
            "takes pictures of 8x8, the recipe makes 4x4",
        ),
        ("N, 3, 8, 8", Preprocessing(mean=(0.1, 0.2)), None, "--mean has 2 numbers, .* have 3 channels"),
        ("N, 3, 8, 8", Preprocessing(std=(0.1, 0.2)), None, "--std has 2 numbers"),
        (
            "N, 1, 8, 8",
            Preprocessing(channel_order="BGR"),
            None,
            "BGR needs pictures of 3 channels, .* takes 1",
        ),
        (
            "N, 3, 8, 8",
            Preprocessing(channel_order="grey"),
            None,
            "grey gives pictures of 1 channel, .* takes 3",
        ),
        (
            "N, 12",
            Preprocessing(layout="flat", size=(5, 5)),
            None,
            "does not hold pictures of .5, 5.; say --size",
        ),
        ("N, 12", Preprocessing(layout="flat"), (3, 5, 5), "does not hold pictures of .3, 5, 5."),
        (
            "N, 12",
            Preprocessing(layout="flat", size=(2, 2), channel_order="grey"),
            None,
            "1 channel, .* takes 3",
        ),
    ],
)
def test_contradictions_are_refused(
    shape: str, recipe: Preprocessing, data: tuple[int, int, int] | None, message: str
) -> None:
    with pytest.raises(RecipeError, match=message):
        resolve(image_input(identity(shape)), recipe, data)


def test_an_input_of_unknown_rank_is_refused() -> None:
    value = ir.Value(name="x", type=ir.TensorType(ir.DataType.FLOAT))
    with pytest.raises(RecipeError, match="input 'x' states no shape"):
        resolve(value, Preprocessing(), (3, 2, 2))


def test_sizes_come_from_the_model_then_the_recipe_then_the_data() -> None:
    for shape, recipe, data, wanted in (
        ("N, 3, 8, 8", Preprocessing(), (3, 5, 5), (3, 8, 8)),
        ("N, 3, H, W", Preprocessing(size=(6, 7)), (3, 5, 5), (3, 6, 7)),
        ("N, 3, H, W", Preprocessing(geometry=Geometry(crop=(6, 7))), None, (3, 6, 7)),
        ("N, 3, H, W", Preprocessing(), (3, 5, 5), (3, 5, 5)),
        ("N, 84", Preprocessing(layout="flat", size=(6, 7)), None, (2, 6, 7)),
        ("N, 42", Preprocessing(layout="flat", size=(6, 7), channel_order="grey"), None, (3, 6, 7)),
        ("N, K", Preprocessing(layout="flat"), (3, 5, 5), (3, 5, 5)),
    ):
        assert resolve(image_input(identity(shape)), recipe, data)[1] == wanted


@pytest.mark.parametrize(
    ("shape", "recipe", "channels"),
    [
        ("N, 3, 8, 8", Preprocessing(), 3),
        ("N, 8, 8, 1", Preprocessing(), 1),
        ("N, 8, 8, 4", Preprocessing(layout="NHWC"), 4),
        ("N, C, 8, 8", Preprocessing(), None),
        ("N, 1, 8, 8", Preprocessing(channel_order="grey"), 3),
        ("N, 12", Preprocessing(), None),
        ("N, 12", Preprocessing(size=(2, 2)), 3),
        ("N, 12, 1", Preprocessing(size=(2, 6)), 1),
        ("N, 12", Preprocessing(size=(5, 5)), None),
        ("N, K", Preprocessing(size=(5, 5)), None),
    ],
)
def test_channels_that_the_model_alone_states(
    shape: str, recipe: Preprocessing, channels: int | None
) -> None:
    assert stated_channels(image_input(identity(shape)), recipe) == channels


def several(*inputs: str) -> ir.Model:
    return ir.from_onnx_text(
        f'<ir_version: 10, opset_import: ["" : 18]> g ({", ".join(inputs)}) => (float[1] y) '
        "{ y = Constant <value_floats = [1.0]> () }"
    )


def test_the_image_is_the_input_that_can_be_one() -> None:
    model = several("float[N, 3, 8, 8] x", "float[N] scale", "int64[N, 3, 8, 8] i")
    assert image_input(model).name == "x"
    assert image_input(model, "scale").name == "scale"
    for names, chosen, message in (
        (
            ("float[N, 3, 8, 8] a", "float[N, 3, 8, 8] b"),
            None,
            "has 2 inputs .'a' float.*name the image with --input",
        ),
        (("float[N, 3] a", "float[N, 3] b"), None, "has 2 inputs"),
        (("float[N, 3] a",), "c", "has no input 'c'; it has 'a' float"),
        ((), "c", "has no input 'c'; it has none"),
        ((), None, "the model has 0 inputs"),
        (("int64[N, 3, 8, 8] a",), None, "input 'a' is int64; specprobe feeds images"),
        (("string[N] a",), None, "input 'a' is string"),
    ):
        with pytest.raises(ModelError, match=message):
            image_input(several(*names), chosen)


def test_further_inputs_become_constants(opened: Callable[..., ModelFile]) -> None:
    model = opened(
        "g (float[N, 2] x, float[N, 2] s, int64[2] i) => (float[N, 2] y) "
        "{ c = Cast <to = 1> (i) a = Mul (x, s) y = Add (a, c) }"
    ).model
    set_inputs(model, {"s": 3, "i": 2})
    assert [v.name for v in model.graph.inputs] == ["x"]
    (y,) = Session(infer_shapes(model), threads=1).run({"x": np.ones((3, 2), np.float32)}, ["y"])
    np.testing.assert_array_equal(y, np.full((3, 2), 5))


@pytest.mark.parametrize(
    ("declared", "name", "number", "message"),
    [
        ("float[N, 2] s", "t", 1.0, "has no input 't' to set; it has s"),
        ("float[N, K] s", "s", 1.0, "only a static shape can be filled"),
        ("uint8[2] s", "s", 300.0, "input 's' is uint8, which cannot hold 300"),
        ("int64[2] s", "s", float("nan"), "input 's' is int64, which cannot hold nan"),
        ("int64[2] s", "s", 0.5, "input 's' is int64, which cannot hold 0.5"),
        ("string[2] s", "s", 1.0, "input 's' is string, which cannot hold 1.0"),
        ("float16[2] s", "s", 1e9, "input 's' is float16, which cannot hold"),
    ],
)
def test_inputs_that_cannot_be_set_are_told(declared: str, name: str, number: float, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        set_inputs(several(declared), {name: number})


@pytest.mark.parametrize(
    ("stated", "order", "limits"),
    [
        ({}, None, (0.0, 1.0)),
        ({"Image.BitmapPixelFormat": "Bgr8"}, "BGR", (0.0, 1.0)),
        (
            {"Image.BitmapPixelFormat": "Rgb8", "Image.NominalPixelRange": "NominalRange_0_255"},
            "RGB",
            (0.0, 255.0),
        ),
        ({"Image.NominalPixelRange": "Normalized_1_1"}, None, (-1.0, 1.0)),
        ({"Image.BitmapPixelFormat": "Gray8", "other": "x"}, None, (0.0, 1.0)),
    ],
)
def test_metadata_is_heard(stated: dict[str, str], order: str | None, limits: tuple[float, float]) -> None:
    recipe = metadata_recipe(tuple(stated.items()), Preprocessing())
    assert (recipe.channel_order, recipe.range) == (order, limits)
    assert (recipe.source == "model metadata") == (order is not None or limits != (0.0, 1.0))
    assert metadata_recipe(tuple(stated.items()), Preprocessing(channel_order="RGB")).channel_order == "RGB"
