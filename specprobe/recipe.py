"""How a picture becomes the model's input, as plain data.

Two halves: :class:`Geometry` (resize and crop, done when a picture is decoded) and :class:`Preprocessing` (what is
prepended to the model as ONNX nodes, so that gradients are with respect to pixels). Knows no ONNX and no Pillow.
"""

import math
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeAlias, get_args

from specprobe.errors import RecipeError

__all__ = [
    "ChannelOrder",
    "Geometry",
    "Interpolation",
    "Layout",
    "Preprocessing",
    "check_choice",
    "parse_range",
    "with_options",
]

Layout: TypeAlias = Literal["NCHW", "NHWC", "flat", "flat-column-major"]
ChannelOrder: TypeAlias = Literal["RGB", "BGR", "grey"]
Interpolation: TypeAlias = Literal["nearest", "box", "bilinear", "hamming", "bicubic", "lanczos"]

_LONGEST_EDGE = 32_768


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
        check_choice("edge", self.edge, ("shortest", "longest"))
        check_choice("interpolation", self.interpolation, get_args(Interpolation))
        check_choice("crop_rounding", self.crop_rounding, ("round", "floor"))
        check_choice("edge_rounding", self.edge_rounding, ("floor", "round"))
        if len(self.fill) not in {1, 3} or not all(0 <= value <= 255 for value in self.fill):
            msg = f"fill is {self.fill}; accepted are one value or three from 0 to 255"
            raise RecipeError(msg)


_LARGEST_MEAN = 2.0
"""Of pixels in [0, 1], with room for what is not the mean of pictures; those of 8-bit values are near 120."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Preprocessing:
    """From pixels in [0, 1], NCHW, to what the model takes: ``low + (high − low)·(x − mean)/std``, re-ordered.

    Attributes
    ----------
    layout : {"NCHW", "NHWC", "flat", "flat-column-major"} or None
        Axes of the model's input. Flat inputs (``[N, 784]``, ``[N, 784, 1]``) hold the pixels row by row, all
        channels of NCHW in turn; column-major ones hold each channel column by column. None: as the model shows.
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
        """Refuse numbers that no input can be computed with; lists become tuples, so that recipes can be keys."""
        for name in ("range", "mean", "std", "size"):
            value = getattr(self, name)
            if isinstance(value, list):
                object.__setattr__(self, name, tuple(value))
        if self.layout is not None:
            check_choice("layout", self.layout, get_args(Layout))
        if self.channel_order is not None:
            check_choice("channel_order", self.channel_order, get_args(ChannelOrder))
        for name, values in (("range", self.range), ("mean", self.mean), ("std", self.std)):
            if not values or not all(math.isfinite(value) for value in values):
                msg = f"{name} is {values}; accepted are finite numbers, at least one"
                raise RecipeError(msg)
        if max(self.mean) > _LARGEST_MEAN:
            divided = ",".join(f"{value / 255:.3g}" for value in self.mean)
            msg = (
                f"mean is {self.mean}; accepted are means of pixels in [0, 1]: of 8-bit values these are {divided}, "
                "and the standard deviations are to be divided by 255, too"
            )
            raise RecipeError(msg)
        if self.range[0] == self.range[1]:
            msg = f"range is {self.range}; accepted are two different numbers, what pixels 0 and 1 become"
            raise RecipeError(msg)
        if not all(value > 0 for value in self.std):
            msg = f"std is {self.std}; every value must be above 0"
            raise RecipeError(msg)
        if len(self.mean) != len(self.std) and 1 not in {len(self.mean), len(self.std)}:
            msg = (
                f"mean has {len(self.mean)} values, std has {len(self.std)}; accepted are one, or one a channel in "
                "both"
            )
            raise RecipeError(msg)
        if self.size is not None:
            _check_whole("size", self.size, length=2)


def _check_whole(name: str, values: tuple[int, ...], length: int = 1) -> None:
    if len(values) != length or not all(
        type(value) is int and 0 < value <= _LONGEST_EDGE for value in values
    ):
        msg = (
            f"{name} is {values}; accepted: {'a whole number' if length == 1 else 'height and width'}, 1 to "
            f"{_LONGEST_EDGE}"
        )
        raise RecipeError(msg)


def check_choice(name: str, value: object, accepted: tuple[str, ...], /) -> None:
    """Refuse a word that is not among those accepted.

    Parameters
    ----------
    name : str
        Of the option.
    value : object
        As given.
    accepted : tuple of str
        All words.

    Raises
    ------
    RecipeError
        If ``value`` is none of them.
    """
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
    except (TypeError, ValueError, OverflowError) as error:
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
