"""How a picture becomes the model's input, as plain data, and the files that state it.

Two halves: :class:`Geometry` (resize and crop, done when a picture is decoded) and :class:`Preprocessing` (what is
prepended to the model as ONNX nodes, so that gradients are with respect to pixels). Knows no ONNX and no Pillow.
"""

import json
import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

from specprobe.errors import RecipeError

__all__ = [
    "ChannelOrder",
    "Geometry",
    "Interpolation",
    "Layout",
    "Preprocessing",
    "parse_range",
    "read_recipe",
    "with_options",
]

Layout: TypeAlias = Literal["NCHW", "NHWC", "flat", "flat-column-major"]
ChannelOrder: TypeAlias = Literal["RGB", "BGR", "grey"]
Interpolation: TypeAlias = Literal["nearest", "box", "bilinear", "hamming", "bicubic", "lanczos"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Geometry:
    """Resize and crop of a decoded picture, with Pillow's antialiased filters.

    Attributes
    ----------
    resize : int, (int, int) or None
        An integer is the target of ``edge``; a pair is (height, width), reached without keeping the aspect ratio.
    edge : {"shortest", "longest"}
        Which edge an integer ``resize`` names.
    interpolation : str
        Pillow's filter.
    crop : (int, int) or None
        Height and width of the centre crop; smaller pictures are padded with ``fill``.
    crop_rounding : {"round", "floor"}
        Where an odd margin goes: torchvision and timm round half to even, Hugging Face rounds down.
    edge_rounding : {"floor", "round"}
        How the edge that ``resize`` does not name is rounded; timm's ``border`` mode rounds half to even.
    fill : tuple of int
        Padding, one value or one a channel, 0 to 255.
    """

    resize: int | tuple[int, int] | None = None
    edge: Literal["shortest", "longest"] = "shortest"
    interpolation: Interpolation = "bilinear"
    crop: tuple[int, int] | None = None
    crop_rounding: Literal["round", "floor"] = "round"
    edge_rounding: Literal["floor", "round"] = "floor"
    fill: tuple[int, ...] = (0,)

    def __post_init__(self) -> None:
        """Refuse what no picture can be brought to."""
        if isinstance(self.resize, int):
            _check_whole("resize", (self.resize,))
        elif self.resize is not None:
            _check_whole("resize", self.resize, length=2)
        if self.crop is not None:
            _check_whole("crop", self.crop, length=2)
        _check_choice("edge", self.edge, ("shortest", "longest"))
        _check_choice("interpolation", self.interpolation, get_args(Interpolation))
        _check_choice("crop_rounding", self.crop_rounding, ("round", "floor"))
        _check_choice("edge_rounding", self.edge_rounding, ("floor", "round"))
        if len(self.fill) not in {1, 3} or not all(0 <= value <= 255 for value in self.fill):
            msg = f"fill is {self.fill}; accepted are one value or three from 0 to 255"
            raise RecipeError(msg)


@dataclass(frozen=True, slots=True, kw_only=True)
class Preprocessing:
    """From pixels in [0, 1], NCHW, to what the model takes: ``low + (high − low)·(x − mean)/std``, re-ordered.

    Attributes
    ----------
    layout : {"NCHW", "NHWC", "flat", "flat-column-major"} or None
        Axes of the model's input. Flat inputs (``[N, 784]``, ``[N, 784, 1]``) hold the pixels row by row, all
        channels of NCHW in turn; column-major ones hold each channel column by column.
    channel_order : {"RGB", "BGR", "grey"} or None
        What the model's channels are. ``"grey"``: pictures have three channels, the model takes their luma
        (ITU-R BT.601). ``None``: channels are passed as they are.
    range : (float, float)
        What pixel values 0 and 1 become with mean 0 and std 1: (0, 1), (0, 255) or (−1, 1).
    mean, std : tuple of float
        One number for all channels, or one a channel (in the pictures' order), in units of pixels in [0, 1].
    size : (int, int) or None
        Height and width of pictures where the model leaves them open (flat or symbolic).
    geometry : Geometry
        Resize and crop at decoding.
    source : str
        Where the recipe comes from, for the provenance.
    guessed : bool
        Whether any part is a guess.
    """

    layout: Layout | None = None
    channel_order: ChannelOrder | None = None
    range: tuple[float, float] = (0.0, 1.0)
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    size: tuple[int, int] | None = None
    geometry: Geometry = field(default_factory=Geometry)
    source: str = "default"
    guessed: bool = False

    def __post_init__(self) -> None:
        """Refuse numbers that no input can be computed with."""
        _check_choice("layout", self.layout, get_args(Layout))
        if self.channel_order is not None:
            _check_choice("channel_order", self.channel_order, get_args(ChannelOrder))
        for name, values in (("range", self.range), ("mean", self.mean), ("std", self.std)):
            if not values or not all(math.isfinite(value) for value in values):
                msg = f"{name} is {values}; accepted are finite numbers, at least one"
                raise RecipeError(msg)
        if self.range[0] == self.range[1]:
            msg = f"range is {self.range}; accepted are two different numbers, what pixels 0 and 1 become"
            raise RecipeError(msg)
        if not all(value > 0 for value in self.std):
            msg = f"std is {self.std}; every value must be above 0"
            raise RecipeError(msg)
        if len(self.mean) != len(self.std) and 1 not in {len(self.mean), len(self.std)}:
            msg = f"mean has {len(self.mean)} values, std has {len(self.std)}; accepted are one, or one a channel in both"
            raise RecipeError(msg)
        if self.size is not None:
            _check_whole("size", self.size, length=2)


def _check_whole(name: str, values: tuple[int, ...], length: int = 1) -> None:
    if len(values) != length or not all(
        type(value) is int and 0 < value <= _LONGEST_EDGE for value in values
    ):
        msg = f"{name} is {values}; accepted: {'a whole number' if length == 1 else 'height and width'}, 1 to {_LONGEST_EDGE}"
        raise RecipeError(msg)


def _check_choice(name: str, value: object, accepted: tuple[str, ...]) -> None:
    if value not in accepted:
        msg = f"{name} is {value!r}; accepted are {', '.join(accepted)}"
        raise RecipeError(msg)


def parse_range(text: str | float | tuple[float, float] | list[float]) -> tuple[float, float]:
    """Return what pixels 0 and 1 become, before mean and std.

    Parameters
    ----------
    text : str, number or pair
        ``"1"``, ``"255"``, ``"LOW:HIGH"`` such as ``"-1:1"``, or the two numbers.

    Returns
    -------
    (float, float)
        Low and high.

    Examples
    --------
    >>> parse_range("255"), parse_range("-1:1")
    ((0.0, 255.0), (-1.0, 1.0))
    """
    parts = text.split(":") if isinstance(text, str) else text if isinstance(text, tuple | list) else [text]
    try:
        low, high = (float(part) for part in (["0", *parts] if len(parts) == 1 else parts))
    except (TypeError, ValueError) as error:
        msg = f"range is {text!r}; accepted are 1, 255, LOW:HIGH such as -1:1, or [low, high]"
        raise RecipeError(msg) from error
    return low, high


def with_options(
    recipe: Preprocessing,
    *,
    mean: tuple[float, ...] | None = None,
    std: tuple[float, ...] | None = None,
    range: str | float | tuple[float, float] | None = None,
    layout: Layout | None = None,
    channel_order: ChannelOrder | None = None,
    size: tuple[int, int] | None = None,
    geometry: Geometry | None = None,
) -> Preprocessing:
    """Recipe with some parts replaced; None keeps a part.

    Parameters
    ----------
    recipe : Preprocessing
        From a file, a guess or the default.
    mean, std, range, layout, channel_order, size, geometry : optional
        As in :class:`Preprocessing`; ``range`` also as text, see :func:`parse_range`.

    Returns
    -------
    Preprocessing
        ``source`` says that options were given.
    """
    given: dict[str, Any] = {
        "mean": None if mean is None else tuple(map(float, mean)),
        "std": None if std is None else tuple(map(float, std)),
        "range": None if range is None else parse_range(range),
        "layout": layout,
        "channel_order": channel_order,
        "size": size,
        "geometry": geometry,
    }
    given = {name: value for name, value in given.items() if value is not None}
    if not given:
        return recipe
    source = "options" if recipe.source == "default" else f"{recipe.source}, options"
    return replace(recipe, **given, source=source)


def read_recipe(path: str | Path, *, test_size: bool = True) -> Preprocessing:
    """Preprocessing that a file states: specprobe's own TOML or JSON, timm's or Hugging Face's JSON.

    Own files have the fields of :class:`Preprocessing` and of :class:`Geometry` side by side (or the latter under
    ``geometry``), in TOML maybe under ``[preprocess]``. timm: the ``pretrained_cfg`` of a ``config.json``, or its inside.
    Hugging Face: ``preprocessor_config.json``, also with a ``data_config`` of timm's inside.

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
    except RecipeError as error:
        msg = f"{path.name}: {error}"
        raise RecipeError(msg) from error


def _parsed(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as handle:
            text = handle.read(_LARGEST_FILE).decode("utf-8-sig")
        content = tomllib.loads(text) if path.suffix.lower() == ".toml" else json.loads(text)
    except OSError as error:
        msg = f"recipe {path.name} cannot be read: {error.strerror or error}"
        raise RecipeError(msg) from error
    except (ValueError, RecursionError) as error:
        msg = f"recipe {path.name} cannot be parsed: {error}; accepted are TOML (.toml) and JSON"
        raise RecipeError(msg) from error
    if not isinstance(content, dict):
        msg = f"recipe {path.name} is a {type(content).__name__}; accepted is an object of settings"
        raise RecipeError(msg)
    return content


def _recipe(content: dict[str, Any], file: str, test_size: bool) -> Preprocessing:
    for key in ("preprocess", "pretrained_cfg", "data_config", "image_processor"):
        if isinstance(content.get(key), dict):
            inner = content[key]
            return _own(inner, file) if key == "preprocess" else _recipe(inner, file, test_size)
    if not _HUGGING_FACE_MARKS.isdisjoint(content):
        return _hugging_face(content, file)
    if not _TIMM_MARKS.isdisjoint(content):
        return _timm(content, file, test_size)
    return _own(content, file)


_LONGEST_EDGE = 32_768
_LARGEST_FILE = 1 << 20  # the rest of a larger one is not read, and so it does not parse
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
    if not isinstance(values, list | tuple) or not all(type(value) is int for value in values):
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
    """One positive number."""
    if type(value) not in {int, float} or not 0 < value < math.inf:
        msg = f"{name} is {value!r}; accepted is a number above 0"
        raise RecipeError(msg)
    return float(value)


def _timm(content: dict[str, Any], file: str, test_size: bool) -> Preprocessing:
    """Follow timm's evaluation transform (``create_transform``, ``transforms_imagenet_eval``) from a ``pretrained_cfg``.

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
    mean, std = (_floats(key, content.get(key) or default) for key, default in _IMAGENET.items())
    mode = content.get("crop_mode") or "center"
    _check_choice("crop_mode", mode, ("center", "squash", "border"))
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
    """Hugging Face image processors: resize, centre crop, ``(x·rescale_factor − offset − mean)/std`` for x from 0 to 255.

    For pixels in [0, 1] that is ``(x − (mean + offset)/s)/(std/s)`` with ``s = 255·rescale_factor``; without
    normalisation the range is ``(−offset, s − offset)``. ``rescale_offset`` true is an offset of 1, and EfficientNet's
    ``include_top`` divides by std once more. What is not listed here is refused unless it is false or null.
    """
    other = [key for key in content if key not in _USED | _IRRELEVANT and content[key] not in (None, False)]
    if other:
        msg = f"{', '.join(sorted(other))} not supported; remove what does not change the pixels, or write a recipe of your own"
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
    if content.get("do_normalize", "image_mean" in content):
        mean, std = (_floats(key, content.get(key)) for key in ("image_mean", "image_std"))
        std = tuple(value * value for value in std) if content.get("include_top") else std
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
    layout: Layout = "NHWC" if content.get("data_format") == "channels_last" else "NCHW"
    return Preprocessing(
        **settings, layout=layout, size=ends, geometry=geometry, source=f"Hugging Face: {file}"
    )


def _hugging_face_geometry(content: dict[str, Any]) -> Geometry:
    kind = str(content.get("image_processor_type") or content.get("feature_extractor_type") or "")
    for suffix in ("Fast", "ImageProcessor", "FeatureExtractor"):
        kind = kind.removesuffix(suffix)
    crop = None
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
        f"size is {size!r} for {kind or 'an unnamed processor'}; accepted are {{height, width}}, {{shortest_edge}} and "
        "{longest_edge}, and a number where the processor is known"
    )
    raise RecipeError(msg)
