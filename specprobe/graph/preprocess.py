"""The preprocessing recipe as ONNX nodes in front of a model, so that its input is pixels in [0, 1]."""

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir as ir

from specprobe.errors import ModelError, RecipeError
from specprobe.graph.emit import Emitter
from specprobe.graph.integer_input import refuse_rounded_away
from specprobe.graph.limits import printable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from specprobe.recipe import Layout, Preprocessing

__all__ = ["image_input", "metadata_recipe", "prepend", "resolve", "set_inputs", "stated_channels"]

LUMA = (0.299, 0.587, 0.114)
"""ITU-R BT.601 weights of R, G, B, as Pillow's "L" mode."""

_FLOATS = frozenset({ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.BFLOAT16, ir.DataType.DOUBLE})
_CHANNELS = frozenset({1, 3, 4})
_PIXEL_RANGES = {
    "NominalRange_0_255": (0.0, 255.0),
    "Normalized_0_1": (0.0, 1.0),
    "Normalized_1_1": (-1.0, 1.0),
}


def image_input(model: ir.Model, name: str | None = None, /) -> ir.Value:
    """Find the input that takes the image.

    Parameters
    ----------
    model : onnx_ir.Model
        Flat.
    name : str, optional
        As the user said.

    Returns
    -------
    onnx_ir.Value
        Of floating or uint8 elements.

    Raises
    ------
    ModelError
        If there is no such input, several could be meant, or it takes no images.
    """
    inputs = {str(value.name): value for value in model.graph.inputs}
    listed = ", ".join(
        f"'{printable(key)}' {_dtype(value)}{list(value.shape or [])}" for key, value in inputs.items()
    )
    if name is not None:
        if name not in inputs:
            msg = f"the model has no input '{printable(name)}'; it has {listed or 'none'}"
            raise ModelError(msg)
        chosen = inputs[name]
    elif len(inputs) == 1:
        (chosen,) = inputs.values()
    else:
        images = [
            v for v in inputs.values() if _takes_images(v) and v.shape is not None and len(v.shape) == 4
        ]
        if len(images) != 1:
            msg = f"the model has {len(inputs)} inputs ({listed}); name the image with --input NAME"
            raise ModelError(msg)
        (chosen,) = images
    if not _takes_images(chosen):
        msg = (
            f"input '{printable(str(chosen.name))}' is {_dtype(chosen)}; specprobe feeds images: "
            "accepted are floating point and uint8 tensors"
        )
        raise ModelError(msg)
    return chosen


def set_inputs(model: ir.Model, values: "Mapping[str, float]", /) -> None:
    """Turn inputs other than the image into constants.

    Parameters
    ----------
    model : onnx_ir.Model
        Changed in place.
    values : mapping of str to float
        Every element of the input of that name; its shape must be static but for a batch dimension, taken as 1.

    Raises
    ------
    ModelError
        If an input is missing from the model or has no static shape.
    """
    inputs = {str(value.name): value for value in model.graph.inputs}
    for name, number in values.items():
        if name not in inputs:
            msg = f"the model has no input '{printable(name)}' to set; it has {', '.join(map(printable, inputs))}"
            raise ModelError(msg)
        value = inputs[name]
        dims = list(value.shape) if value.shape is not None else None
        if dims is None or value.dtype is None or not all(isinstance(d, int) for d in dims[1:]):
            msg = f"input '{printable(name)}' has shape {dims}: only a static shape can be filled with one value"
            raise ModelError(msg)
        shape = [d if isinstance(d, int) else 1 for d in dims]
        model.graph.inputs.remove(value)
        value.shape = ir.Shape(shape)
        filler = _filler(number, value.dtype)
        if filler is None:
            msg = f"input '{printable(name)}' is {_dtype(value)}, which cannot hold {number}"
            raise ModelError(msg)
        value.const_value = ir.Tensor(np.broadcast_to(filler, shape).copy(), dtype=value.dtype, name=name)
        model.graph.register_initializer(value)


def metadata_recipe(metadata: "tuple[tuple[str, str], ...]", recipe: "Preprocessing", /) -> "Preprocessing":
    """``recipe`` with what the file's own metadata states of channel order and range.

    Parameters
    ----------
    metadata : tuple of (str, str)
        ONNX metadata properties; ``Image.BitmapPixelFormat`` and ``Image.NominalPixelRange`` are read.
    recipe : Preprocessing
        The recipe so far.

    Returns
    -------
    Preprocessing
        ``recipe`` itself where the file states nothing.
    """
    stated = dict(metadata)
    order = {"Rgb8": "RGB", "Bgr8": "BGR", "Gray8": None}.get(stated.get("Image.BitmapPixelFormat", ""))
    limits = _PIXEL_RANGES.get(stated.get("Image.NominalPixelRange", ""))
    if order is None and limits is None:
        return recipe
    return replace(
        recipe,
        channel_order=recipe.channel_order or order,  # type: ignore[arg-type]
        range=limits or recipe.range,
        source="model metadata",
    )


def resolve(
    value: ir.Value, recipe: "Preprocessing", image_shape: tuple[int, int, int] | None, /
) -> "tuple[Preprocessing, tuple[int, int, int]]":
    """Fill in what the recipe leaves open, from the model's input and the data at hand.

    Parameters
    ----------
    value : onnx_ir.Value
        The model's image input.
    recipe : Preprocessing
        What is known.
    image_shape : (int, int, int), optional
        C, H, W of the data, where there is data.

    Returns
    -------
    recipe : Preprocessing
        With a layout; ``guessed`` where one had to be guessed.
    image_shape : (int, int, int)
        C, H, W of the pictures that fit.

    Raises
    ------
    RecipeError
        If the model leaves open what neither recipe nor data says, they contradict one another, or the model's integer
        input would round the images away.
    """
    name = printable(str(value.name))
    if value.shape is None:
        msg = f"input '{name}' states no shape; give the pictures' size and layout (--layout, --size)"
        raise RecipeError(msg)
    dims = [d if isinstance(d, int) else None for d in value.shape]
    layout, guessed = (
        (recipe.layout, False) if recipe.layout is not None else _guess_layout(dims, image_shape)
    )
    if layout is None:
        msg = (
            f"the layout of input '{name}' {list(value.shape)} is not clear; "
            "say --layout NCHW, NHWC, flat or flat-column-major, and --size H,W for flat inputs"
        )
        raise RecipeError(msg)
    grey = recipe.channel_order == "grey"
    if layout in {"NCHW", "NHWC"}:
        if len(dims) != 4:
            msg = f"input '{name}' has {len(dims)} dimensions, --layout {layout} needs 4"
            raise RecipeError(msg)
        channels, height, width = (dims[1], *dims[2:]) if layout == "NCHW" else (dims[3], *dims[1:3])
        own = channels
        stated: list[int | None] = [3 if grey else channels, height, width]
    else:
        if len(dims) < 2:
            msg = f"input '{name}' has {len(dims)} dimensions, --layout {layout} needs 2 or more"
            raise RecipeError(msg)
        known = [d for d in dims[1:] if d is not None]
        total = int(np.prod(known)) if len(known) == len(dims) - 1 else None
        stated = [None, None, None] if total is None else _flat_shape(total, recipe, image_shape)
        own = stated[0]
        if total is not None and grey and stated[0] is not None:
            stated[0] = 3
    if grey and own not in {None, 1}:
        msg = f"--channel-order grey gives pictures of 1 channel, input '{name}' takes {own}"
        raise RecipeError(msg)
    asked: tuple[int | None, ...] = (None, *(recipe.size or (None, None)))
    if recipe.size is None and recipe.geometry.crop is not None:
        asked = (None, *recipe.geometry.crop)
    for wanted, given in zip(stated, asked, strict=True):
        if wanted is not None and given is not None and wanted != given:
            msg = f"input '{name}' takes pictures of {stated[1]}x{stated[2]}, the recipe makes {asked[1]}x{asked[2]}"
            raise RecipeError(msg)
    data = image_shape or (None, None, None)
    shape = [
        s if s is not None else a if a is not None else d for s, a, d in zip(stated, asked, data, strict=True)
    ]
    if any(d is None for d in shape):
        msg = (
            f"input '{name}' {list(value.shape)} leaves the pictures' size open; "
            "say it with --size H,W, or give data whose images have it"
        )
        raise RecipeError(msg)
    channels, height, width = (int(d) for d in shape if d is not None)
    for label, numbers in (("mean", recipe.mean), ("std", recipe.std)):
        if len(numbers) not in {1, channels}:
            msg = f"--{label} has {len(numbers)} numbers, the pictures of this model have {channels} channels"
            raise RecipeError(msg)
    if recipe.channel_order in {"BGR", "grey"} and channels != 3:
        msg = f"--channel-order {recipe.channel_order} needs pictures of 3 channels, this model takes {channels}"
        raise RecipeError(msg)
    refuse_rounded_away(value, recipe)
    resolved = replace(recipe, layout=layout, guessed=recipe.guessed or guessed)
    return resolved, (channels, height, width)


def stated_channels(value: ir.Value, recipe: "Preprocessing", /) -> int | None:
    """Channels that pictures must have, as far as the model alone says.

    Parameters
    ----------
    value : onnx_ir.Value
        The model's image input.
    recipe : Preprocessing
        As far as known.

    Returns
    -------
    int or None
        3 where the model takes the luma of coloured pictures; None where only the data can tell.
    """
    if recipe.channel_order == "grey":
        return 3
    dims = [d if isinstance(d, int) else None for d in (value.shape or [])]
    if len(dims) != 4:
        total = int(np.prod([d or 0 for d in dims[1:]]))
        area = recipe.size[0] * recipe.size[1] if recipe.size is not None else 0
        return total // area if area and total and total % area == 0 else None
    layout = recipe.layout or _guess_layout(dims, None)[0]
    return dims[3] if layout == "NHWC" else dims[1]


def prepend(
    model: ir.Model, value: ir.Value, recipe: "Preprocessing", shape: tuple[int, int, int], /
) -> ir.Value:
    """Put the recipe in front of ``value``.

    Parameters
    ----------
    model : onnx_ir.Model
        Changed in place.
    value : onnx_ir.Value
        The model's image input.
    recipe : Preprocessing
        Resolved.
    shape : (int, int, int)
        C, H, W of the pictures.

    Returns
    -------
    onnx_ir.Value
        The new input: float32, ``[N, C, H, W]``, pixels in [0, 1]; ``value`` itself where the recipe does nothing.
    """
    graph = model.graph
    first = next(iter(graph), None)
    op = Emitter(model, prefix="preprocess", before=first)
    dims = list(value.shape or [])
    dtype = value.dtype or ir.DataType.FLOAT
    pixels = ir.Value(
        name=op.name("pixels"), shape=ir.Shape([dims[0], *shape]), type=ir.TensorType(ir.DataType.FLOAT)
    )
    x = pixels
    channels = shape[0]
    low, high = recipe.range
    mean, std = (np.broadcast_to(np.asarray(v, np.float64), (channels,)) for v in (recipe.mean, recipe.std))
    scale = (high - low) / std

    def per_channel(numbers: "np.ndarray[tuple[int, ...], np.dtype[np.float64]]") -> ir.Value:
        return op.constant(numbers.reshape(channels, 1, 1), ir.DataType.FLOAT)

    if np.any(mean != 0):
        x = op.Sub(x, per_channel(mean))
    if np.any(scale != 1):
        x = op.Mul(x, per_channel(scale))
    if low != 0:
        x = op.Add(x, op.constant(low, ir.DataType.FLOAT))
    if recipe.channel_order == "BGR":
        x = op.Gather(x, op.constant([2, 1, 0], ir.DataType.INT64), axis=1)
    elif recipe.channel_order == "grey":
        weights = op.constant(np.reshape(LUMA, (1, 3, 1, 1)), ir.DataType.FLOAT)
        x = op.Conv(x, weights)
    if dtype == ir.DataType.UINT8:
        x = op.Round(op.Clip(x, op.constant(0, ir.DataType.FLOAT), op.constant(255, ir.DataType.FLOAT)))
    if dtype != ir.DataType.FLOAT:
        x = op.Cast(x, to=dtype.value)
    if recipe.layout == "NHWC":
        x = op.Transpose(x, perm=[0, 2, 3, 1])
    elif recipe.layout == "flat-column-major":
        x = op.Transpose(x, perm=[0, 1, 3, 2])
    if recipe.layout in {"flat", "flat-column-major"}:
        inner = [d if isinstance(d, int) else -1 for d in dims[1:]]
        x = op.Reshape(x, op.constant([0 if -1 in inner else -1, *inner], ir.DataType.INT64))
    if x is pixels:
        return value
    value.replace_all_uses_with(x, replace_graph_outputs=True)
    position = list(graph.inputs).index(value)
    graph.inputs.remove(value)
    graph.inputs.insert(position, pixels)
    return pixels


def _guess_layout(dims: list[int | None], data: tuple[int, int, int] | None) -> "tuple[Layout | None, bool]":
    if len(dims) == 4:
        first, last = dims[1] in _CHANNELS, dims[3] in _CHANNELS
        if first != last:
            return ("NCHW", False) if first else ("NHWC", True)
        if first and data is not None and tuple(dims[1:]) != data:
            transposed = (data[1], data[2], data[0])
            return ("NHWC", True) if tuple(dims[1:]) == transposed else ("NCHW", False)
        return ("NCHW", not first)
    inner = dims[1:]
    if 2 <= len(dims) <= 3 and data is not None and None not in inner:
        return (
            ("flat", True) if int(np.prod([d or 0 for d in inner])) == int(np.prod(data)) else (None, False)
        )
    return None, False


def _flat_shape(total: int, recipe: "Preprocessing", data: tuple[int, int, int] | None) -> list[int | None]:
    """C, H, W of ``total`` numbers, as far as size and data settle it."""
    if recipe.size is not None and total % (recipe.size[0] * recipe.size[1]) == 0:
        return [total // (recipe.size[0] * recipe.size[1]), *recipe.size]
    if recipe.size is None and data is not None:
        channels = total // (data[1] * data[2])
        if channels * data[1] * data[2] == total:
            return [channels, data[1], data[2]]
    msg = f"a flat input of {total} numbers does not hold pictures of {recipe.size or data}; say --size H,W"
    raise RecipeError(msg)


def _filler(number: float, dtype: ir.DataType) -> "np.ndarray[tuple[()], np.dtype[Any]] | None":
    """``number`` as ``dtype``; None where that would be another number."""
    if dtype == ir.DataType.STRING:
        return None
    with np.errstate(all="ignore"):
        filler = np.asarray(np.float64(number)).astype(dtype.numpy())
    if dtype in _FLOATS:
        return filler if bool(np.isfinite(filler.astype(np.float64))) == bool(np.isfinite(number)) else None
    return filler if float(filler) == number else None


def _takes_images(value: ir.Value) -> bool:
    return value.dtype in _FLOATS or value.dtype == ir.DataType.UINT8


def _dtype(value: ir.Value) -> str:
    return value.dtype.name.lower() if value.dtype is not None else "untyped"
