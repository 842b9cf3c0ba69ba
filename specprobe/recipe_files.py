"""Reads recipes: our own TOML and JSON, timm's ``config.json``, Hugging Face's ``preprocessor_config.json``."""

import json
import math
import tomllib
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, Literal

from specprobe.errors import RecipeError
from specprobe.recipe import Geometry, Interpolation, Preprocessing, check_choice, parse_range

__all__ = ["read_recipe"]


def read_recipe(path: str | Path, *, test_size: bool = True) -> Preprocessing:
    """Preprocessing that a file states: specprobe's own TOML or JSON, timm's or Hugging Face's JSON.

    Own files have the fields of :class:`Preprocessing` and of :class:`Geometry` side by side (or the latter
    under ``geometry``), in TOML maybe under ``[preprocess]``. timm: the ``pretrained_cfg`` of a
    ``config.json``, or its inside. Hugging Face: ``preprocessor_config.json``, also with a ``data_config`` of
    timm's inside.

    Parameters
    ----------
    path : path
        ``.toml`` or ``.json``.
    test_size : bool
        Whether timm's ``test_input_size`` and ``test_crop_pct`` count where they exist, as in timm's ``validate.py``.

    Returns
    -------
    Preprocessing
        ``source`` names the kind and the file.

    Raises
    ------
    RecipeError
        If the file cannot be parsed, or asks for something that would otherwise be silently left out.
    """
    path = Path(path)
    content = _parsed(path)
    try:
        return _recipe(content, path.name, test_size)
    except (RecipeError, OverflowError) as error:
        msg = f"{path.name}: {error}"
        raise RecipeError(msg) from error


def _parsed(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as handle:
            data = handle.read(_LARGEST_FILE + 1)
        text = data[:_LARGEST_FILE].decode("utf-8-sig")
        content = tomllib.loads(text) if path.suffix.lower() == ".toml" else json.loads(text)
    except OSError as error:
        msg = f"recipe {path.name} cannot be read: {error.strerror or error}"
        raise RecipeError(msg) from error
    except (ValueError, RecursionError) as error:
        msg = f"recipe {path.name} cannot be parsed: {error}; accepted are TOML (.toml) and JSON"
        raise RecipeError(msg) from error
    if len(data) > _LARGEST_FILE:
        msg = f"recipe {path.name} is longer than {_LARGEST_FILE} bytes; a recipe is a few lines"
        raise RecipeError(msg)
    if not isinstance(content, dict):
        msg = f"recipe {path.name} is a {type(content).__name__}; accepted is an object of settings"
        raise RecipeError(msg)
    return content


def _recipe(content: dict[str, Any], file: str, test_size: bool) -> Preprocessing:
    if isinstance(content.get("preprocess"), dict):
        return _own(content["preprocess"], file)
    if isinstance(content.get("image_processor"), dict):
        return _recipe(content["image_processor"], file, test_size)
    for key in ("pretrained_cfg", "data_config"):
        if isinstance(content.get(key), dict):
            return _timm(content[key], file, test_size)
    if not _HUGGING_FACE_MARKS.isdisjoint(content):
        return _hugging_face(content, file)
    if not _TIMM_MARKS.isdisjoint(content):
        return _timm(content, file, test_size)
    return _own(content, file)


_LARGEST_FILE = 1 << 20
_TIMM_MARKS = frozenset({"input_size", "crop_pct", "crop_mode", "test_input_size", "test_crop_pct"})
_HUGGING_FACE_MARKS = frozenset(
    {
        "image_processor_type", "feature_extractor_type", "do_resize", "do_center_crop", "do_rescale",
        "do_normalize", "rescale_factor", "image_mean", "image_std", "resample", "crop_size",
    }
)  # fmt: skip


def _own(content: dict[str, Any], file: str) -> Preprocessing:
    geometry_keys = [entry.name for entry in fields(Geometry)]
    keys = [entry.name for entry in fields(Preprocessing)]
    nested = content.get("geometry", {})
    if not isinstance(nested, dict):
        msg = f"geometry is {nested!r}; accepted is a table of {', '.join(geometry_keys)}"
        raise RecipeError(msg)
    unknown = sorted((set(content) - set(keys) - set(geometry_keys)) | (set(nested) - set(geometry_keys)))
    if unknown:
        msg = f"unknown {', '.join(unknown)}; accepted are {', '.join([*keys, *geometry_keys])}"
        raise RecipeError(msg)
    geometry = {key: content[key] for key in geometry_keys if key in content} | nested
    settings = {key: content[key] for key in keys if key in content and key != "geometry"}
    if not isinstance(settings.get("guessed", False), bool):
        msg = f"guessed is {settings['guessed']!r}; accepted are true and false"
        raise RecipeError(msg)
    for key in {"mean", "std"} & set(settings):
        settings[key] = _floats(key, settings[key])
    if "range" in settings:
        settings["range"] = parse_range(settings["range"])
    if "size" in settings:
        settings["size"] = _pair("size", settings["size"])
    if "crop" in geometry:
        geometry["crop"] = _pair("crop", geometry["crop"])
    for key in {"resize", "fill"} & set(geometry):
        if isinstance(geometry[key], list):
            geometry[key] = tuple(geometry[key])
    if "fill" in geometry:
        fill = geometry["fill"]
        geometry["fill"] = _wholes("fill", fill if isinstance(fill, tuple) else (fill,))
    if "resize" in geometry:
        _wholes(
            "resize", geometry["resize"] if isinstance(geometry["resize"], tuple) else (geometry["resize"],)
        )
    return Preprocessing(**{"source": f"specprobe: {file}", **settings}, geometry=Geometry(**geometry))


def _wholes(name: str, values: Any) -> tuple[int, ...]:
    if not isinstance(values, list | tuple) or not values or not all(type(value) is int for value in values):
        msg = f"{name} is {values!r}; accepted are whole numbers"
        raise RecipeError(msg)
    return tuple(values)


def _pair(name: str, value: Any) -> tuple[int, int]:
    """Height and width from one number, a pair, or Hugging Face's object."""
    if isinstance(value, Mapping) and set(value) == {"height", "width"}:
        value = [value["height"], value["width"]]
    pair = (value, value) if type(value) is int else value
    if not isinstance(pair, list | tuple) or len(pair) != 2:
        msg = f"{name} is {value!r}; accepted are one whole number, or height and width"
        raise RecipeError(msg)
    height, width = _wholes(name, pair)
    return height, width


def _floats(name: str, value: Any) -> tuple[float, ...]:
    values = value if isinstance(value, list | tuple) else [value]
    if not values or not all(type(entry) in {int, float} for entry in values):
        msg = f"{name} is {value!r}; accepted are one number, or a list of them"
        raise RecipeError(msg)
    return tuple(float(entry) for entry in values)


def _number(name: str, value: Any) -> float:
    """One number that may be divided by."""
    if type(value) not in {int, float} or not 1e-6 <= value <= 1e6:
        msg = f"{name} is {value!r}; accepted is a number from 1e-6 to 1e6"
        raise RecipeError(msg)
    return float(value)


def _timm(content: dict[str, Any], file: str, test_size: bool) -> Preprocessing:
    """Follow timm's evaluation transform (``transforms_imagenet_eval``) from a ``pretrained_cfg``.

    With ``scale = floor(size / crop_pct)``: ``center`` resizes the shortest edge to scale, ``squash`` both edges,
    ``border`` the longest edge (rounded, padded with the mean); then a centre crop of ``size``. Defaults are timm's:
    224², bicubic, ``crop_pct`` 0.875, ImageNet's mean and std.
    """

    def setting(name: str, default: Any) -> Any:
        value = content.get(f"test_{name}") if test_size else None
        value = content.get(name) if value is None else value
        return default if value is None else value

    channels, *size = _wholes("input_size", setting("input_size", [3, 224, 224]))
    height, width = _pair("input_size[1:]", size)
    share = _number("crop_pct", setting("crop_pct", 0.875))
    mean, std = (_floats(key, setting(key, default)) for key, default in _IMAGENET.items())
    mode = content.get("crop_mode") or "center"
    check_choice("crop_mode", mode, ("center", "squash", "border"))
    if content.get("crop_border_pixels"):
        msg = (
            f"crop_border_pixels = {content['crop_border_pixels']} is not supported; trim the pictures before"
        )
        raise RecipeError(msg)
    scale = (math.floor(height / share), math.floor(width / share))
    if mode != "squash" and height != width:
        msg = f"crop_mode {mode!r} with input_size {height}x{width} is supported for squares only; use squash"
        raise RecipeError(msg)
    geometry = Geometry(
        resize=scale if mode == "squash" else scale[0],
        edge="longest" if mode == "border" else "shortest",
        edge_rounding="round" if mode == "border" else "floor",
        interpolation=content.get("interpolation") or "bicubic",
        crop=(height, width),
        fill=tuple(round(255 * value) for value in mean) if mode == "border" else (0,),
    )
    return Preprocessing(
        channel_order="RGB" if channels == 3 else None,
        mean=mean,
        std=std,
        size=(height, width),
        geometry=geometry,
        source=f"timm: {file}",
    )


_IMAGENET = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
_RESAMPLE: tuple[Interpolation, ...] = ("nearest", "lanczos", "bilinear", "bicubic", "box", "hamming")
_SHORTEST_EDGE_KINDS = (
    "CLIP",
    "ChineseCLIP",
    "ConvNext",
    "Levit",
    "MobileNetV1",
    "MobileNetV2",
    "MobileViT",
    "Bit",
)
_SQUARE_KINDS = ("ViT", "DeiT", "Beit", "EfficientNet", "Siglip")
_USED = _HUGGING_FACE_MARKS | {
    "size",
    "crop_pct",
    "rescale_offset",
    "include_top",
    "do_flip_channel_order",
    "data_format",
}
_IRRELEVANT = frozenset(
    {
        "processor_class", "image_processor_class", "_valid_processor_keys", "do_convert_rgb",
        "do_reduce_labels", "reduce_labels", "input_data_format", "return_tensors", "device",
        "auto_map", "transformers_version", "default_to_square", "disable_grouping",
    }
)  # fmt: skip


def _hugging_face(content: dict[str, Any], file: str) -> Preprocessing:
    """Hugging Face image processors: resize, crop, ``(x·rescale_factor − offset − mean)/std``, x from 0 to 255.

    For pixels in [0, 1] that is ``(x − (mean + offset)/s)/(std/s)`` with ``s = 255·rescale_factor``; without
    normalisation the range is ``(−offset, s − offset)``. ``rescale_offset`` true is an offset of 1, and
    EfficientNet's ``include_top`` divides by std, normalised or not (true is that class's default). What is not listed here is refused unless it is
    false or null.
    """
    other = [key for key in content if key not in _USED | _IRRELEVANT and content[key] not in (None, False)]
    if other:
        msg = (
            f"{', '.join(sorted(other))} not supported; remove what does not change the pixels, or write a recipe "
            "of your own"
        )
        raise RecipeError(msg)
    rescale = content.get("do_rescale", True)
    factor = 255 * _number("rescale_factor", content.get("rescale_factor", 1 / 255)) if rescale else 255.0
    factor = 1.0 if math.isclose(factor, 1, rel_tol=1e-6) else factor
    offset = content.get("rescale_offset") or False
    if offset is not True and offset is not False:
        msg = f"rescale_offset is {offset!r}; accepted are true (subtract 1) and false"
        raise RecipeError(msg)
    shift = 1.0 if offset and rescale else 0.0
    settings: dict[str, Any] = {"range": (-shift, factor - shift)}
    normalise = bool(content.get("do_normalize", "image_mean" in content))
    again = bool(content.get("include_top", _kind(content) == "EfficientNet"))
    if normalise or again:
        mean, std = (_floats(key, content.get(key)) for key in ("image_mean", "image_std"))
        mean = mean if normalise else (0.0,) * len(std)
        std = tuple(value ** (normalise + again) for value in std)
        settings = {
            "mean": tuple((value + shift) / factor for value in mean),
            "std": tuple(value / factor for value in std),
            "channel_order": "RGB" if len(mean) == 3 else None,
        }
    if content.get("do_flip_channel_order"):
        if "mean" in settings:
            msg = "do_flip_channel_order together with do_normalize is not supported; write a recipe of your own"
            raise RecipeError(msg)
        settings["channel_order"] = "BGR"
    geometry = _hugging_face_geometry(content)
    ends = geometry.crop or (geometry.resize if isinstance(geometry.resize, tuple) else None)
    order = content.get("data_format") or "channels_first"
    check_choice("data_format", order, ("channels_first", "channels_last"))
    return Preprocessing(
        **settings,
        layout="NHWC" if order == "channels_last" else None,
        size=ends,
        geometry=geometry,
        source=f"Hugging Face: {file}",
    )


def _kind(content: dict[str, Any]) -> str:
    """Model family of the processor's class name, such as ViT."""
    kind = str(content.get("image_processor_type") or content.get("feature_extractor_type") or "")
    for suffix in ("Fast", "ImageProcessor", "FeatureExtractor"):
        kind = kind.removesuffix(suffix)
    return kind


def _hugging_face_geometry(content: dict[str, Any]) -> Geometry:
    kind, crop = _kind(content), None
    if content.get("do_center_crop", "crop_size" in content):
        crop = _pair("crop_size", content.get("crop_size"))
    if not content.get("do_resize", "size" in content):
        return Geometry(crop=crop, crop_rounding="floor")
    resample = content.get("resample")
    if type(resample) is not int or not 0 <= resample < len(_RESAMPLE):
        msg = f"resample is {resample!r}; accepted are Pillow's filters 0 to {len(_RESAMPLE) - 1}"
        raise RecipeError(msg)
    resize, edge = _hugging_face_size(content.get("size"), kind)
    if content.get("crop_pct") and kind != "ConvNext":
        msg = f"crop_pct of {kind or 'an unnamed processor'} is not supported, that of ConvNext is"
        raise RecipeError(msg)
    if isinstance(resize, int) and edge == "shortest" and kind == "ConvNext":
        # ConvNextImageProcessor, which ResNet and RegNet use too: from 384 on no crop and no aspect ratio.
        crop = (resize, resize) if resize < 384 else None
        share = _number("crop_pct", content.get("crop_pct") or 0.875)
        resize = int(resize / share) if crop else (resize, resize)
    elif isinstance(resize, int) and kind == "Levit":
        resize = int(256 / 224 * resize)
    return Geometry(
        resize=resize, edge=edge, interpolation=_RESAMPLE[resample], crop=crop, crop_rounding="floor"
    )


def _hugging_face_size(size: Any, kind: str) -> tuple[int | tuple[int, int], Literal["shortest", "longest"]]:
    if type(size) is int:
        if kind in _SHORTEST_EDGE_KINDS:
            return size, "shortest"
        if kind in _SQUARE_KINDS:
            return (size, size), "shortest"
    elif isinstance(size, Mapping):
        if set(size) == {"height", "width"}:
            return _pair("size", size), "shortest"
        if len(size) == 1 and set(size) <= {"shortest_edge", "longest_edge"}:
            name, (target,) = next(iter(size)), _wholes("size", list(size.values()))
            return target, "shortest" if name == "shortest_edge" else "longest"
    elif isinstance(size, list) and len(size) == 2:
        return _pair("size", size), "shortest"
    msg = (
        f"size is {size!r} for {kind or 'an unnamed processor'}; accepted are {{height, width}}, "
        f"{{shortest_edge}} and {{longest_edge}}, and a number where the processor is known"
    )
    raise RecipeError(msg)
