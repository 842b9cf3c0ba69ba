"""What an input of whole numbers leaves of the pixels."""

from typing import Any

import onnx_ir as ir
import pytest

from specprobe.errors import RecipeError
from specprobe.graph.integer_input import integer_findings, refuse_rounded_away
from specprobe.graph.preprocess import image_input, resolve
from specprobe.recipe import Preprocessing


def image(dtype: ir.DataType = ir.DataType.UINT8) -> ir.Value:
    return ir.Value(name="x", shape=ir.Shape(["N", 3, 4, 5]), type=ir.TensorType(dtype))


@pytest.mark.parametrize(
    ("given", "left"),
    [
        ({}, "0 to 1"),
        ({"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}, "0 to 3"),
        ({"mean": (0.5,)}, "0 to 0"),
        ({"range": (-1.0, 1.0)}, "0 to 1"),
        ({"range": (300.0, 400.0)}, "255 to 255"),
        ({"range": (-255.0, 0.0)}, "0 to 0"),
    ],
)
def test_recipes_that_leave_nothing_of_the_images_are_refused(given: Any, left: str) -> None:
    recipe = Preprocessing(**given)
    with pytest.raises(RecipeError, match=rf"input 'x' is uint8, .* clipping leave {left}; say --range 255"):
        refuse_rounded_away(image(), recipe)
    refuse_rounded_away(image(ir.DataType.FLOAT), recipe)


@pytest.mark.parametrize("limits", [(0.0, 255.0), (255.0, 0.0), (0.0, 127.0), (0.0, 15.0)])
def test_recipes_that_leave_levels_of_grey_pass(limits: tuple[float, float]) -> None:
    refuse_rounded_away(image(), Preprocessing(range=limits))


def test_the_default_is_refused_where_recipes_are_resolved() -> None:
    text = '<ir_version: 10, opset_import: ["" : 18]> g (uint8[N, 3, 4, 5] x) => (uint8[N, 3, 4, 5] y) { y = Identity (x) }'
    value = image_input(ir.from_onnx_text(text))
    with pytest.raises(RecipeError, match="--range 255"):
        resolve(value, Preprocessing(), None)
    resolved, shape = resolve(value, Preprocessing(range=(0, 255)), None)
    assert (resolved.range, shape) == ((0, 255), (3, 4, 5))


def test_rounding_and_clipping_are_told_of_whole_numbers_alone() -> None:
    recipe = Preprocessing(range=(0.0, 255.0), mean=(0.0, 0.5, 0.0), std=(1.0, 1.0, 0.5))
    (finding,) = integer_findings(image(), recipe)
    assert (finding.level, finding.code) == ("warning", "integer-input")
    assert (
        "input 'x' is uint8: what it is fed (-127.5 to 510 for pixels from 0 to 1) is rounded"
        in finding.message
    )
    assert "clipped to 0 to 255" in finding.message
    assert integer_findings(image(ir.DataType.FLOAT16), recipe) == ()
