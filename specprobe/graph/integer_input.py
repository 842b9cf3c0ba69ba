"""Image inputs of whole numbers: what rounding and clipping leave of the pixels."""

from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from specprobe.errors import RecipeError
from specprobe.findings import Finding
from specprobe.graph.limits import printable

if TYPE_CHECKING:
    from specprobe.recipe import Preprocessing

__all__ = ["integer_findings", "refuse_rounded_away"]

_FEWEST_LEVELS = 16
"""Four bits: numbers meant for floating-point inputs leave fewer, with any usual mean and std."""


def refuse_rounded_away(value: ir.Value, recipe: "Preprocessing", /) -> None:
    """Refuse a recipe of which an input of uint8 would leave next to nothing.

    Parameters
    ----------
    value : onnx_ir.Value
        The model's image input, of whatever type.
    recipe : Preprocessing
        With range, mean and std.

    Raises
    ------
    RecipeError
        If rounding and clipping leave fewer than 16 levels between pixels of 0 and 1: most often the range was not
        given.
    """
    if value.dtype != ir.DataType.UINT8:
        return
    least, most = _fed(recipe)
    darkest, brightest = (round(min(max(end, 0.0), 255.0)) for end in (least, most))
    if brightest - darkest < _FEWEST_LEVELS - 1:
        msg = (
            f"input '{printable(str(value.name))}' is uint8, and the recipe feeds it {least:g} to {most:g} for pixels "
            f"from 0 to 1, of which rounding and clipping leave {darkest} to {brightest}; say --range 255"
        )
        raise RecipeError(msg)


def integer_findings(value: ir.Value, recipe: "Preprocessing", /) -> tuple[Finding, ...]:
    """What to know of results from a model whose input rounds and clips.

    Parameters
    ----------
    value : onnx_ir.Value
        The model's image input, of whatever type.
    recipe : Preprocessing
        Resolved.

    Returns
    -------
    tuple of Finding
        One warning for uint8, none for floating-point types.
    """
    if value.dtype != ir.DataType.UINT8:
        return ()
    least, most = _fed(recipe)
    message = (
        f"input '{printable(str(value.name))}' is uint8: what it is fed ({least:g} to {most:g} for pixels from 0 to 1) is "
        "rounded to whole numbers and clipped to 0 to 255, so smaller changes are lost, and filtered and perturbed "
        "images are clipped even where a result says that they are not"
    )
    return (Finding(level="warning", code="integer-input", message=message),)


def _fed(recipe: "Preprocessing") -> tuple[float, float]:
    """Least and greatest number, of all channels, that pixels from 0 to 1 become."""
    low, high = recipe.range
    mean, std = np.asarray(recipe.mean, np.float64), np.asarray(recipe.std, np.float64)
    ends = [low + (high - low) * (pixel - mean) / std for pixel in (0.0, 1.0)]
    return float(np.min(ends)), float(np.max(ends))
