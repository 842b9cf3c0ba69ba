"""Pictures to arrays: whitelisted formats, capped sizes, and the geometry of a recipe."""

import struct
import zlib
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from specprobe.errors import DataError
from specprobe.images.limits import MAX_PICTURE_PIXELS
from specprobe.recipe import Geometry

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL.Image import Image

__all__ = ["SUFFIXES", "decode", "is_picture", "stored_channels"]

FORMATS = ("JPEG", "PNG", "BMP", "GIF", "WEBP", "TIFF", "PPM")
SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".dib", ".gif", ".webp", ".tif", ".tiff"}
    | {".ppm", ".pgm", ".pbm", ".pnm"}
)

_SIGNATURES = (
    b"\xff\xd8\xff",
    b"\x89PNG",
    b"BM",
    b"GIF8",
    b"RIFF",
    b"II*\0",
    b"MM\0*",
    *(b"P%d" % i for i in range(1, 7)),
)
_GREY_MODES = frozenset({"1", "L", "LA", "La", "I", "I;16", "I;16L", "I;16B", "I;16N"})
# Plugins meet damage in their own ways: struct, lookup and type errors from headers, SyntaxError from PNG chunks.
_DAMAGE = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    TypeError,
    LookupError,
    ArithmeticError,
    RuntimeError,
    struct.error,
    zlib.error,
)


def is_picture(head: bytes) -> bool:
    """Whether a file begins like one of the accepted formats.

    Parameters
    ----------
    head : bytes
        Its first bytes.

    Returns
    -------
    bool
        A signature is no promise that it decodes.
    """
    return head.startswith(_SIGNATURES)


def stored_channels(source: Path | bytes, name: str) -> int:
    """Count the channels of a picture as stored.

    Parameters
    ----------
    source : pathlib.Path or bytes
        The encoded picture.
    name : str
        What messages call it.

    Returns
    -------
    int
        1 for grey (with or without alpha), else 3.
    """
    with _opened(source, name) as image:
        return 1 if image.mode in _GREY_MODES else 3


def decode(
    source: Path | bytes,
    name: str,
    *,
    channels: int,
    geometry: Geometry | None = None,
    grey_only: bool = False,
) -> "NDArray[np.uint8]":
    """Pixels of one picture.

    The first frame of an animation counts. EXIF orientation is not applied, since neither torchvision nor
    timm applies it; alpha is dropped without compositing, as theirs is. 16-bit greys keep their high byte, as
    Pillow keeps that of 16-bit colours.

    Parameters
    ----------
    source : pathlib.Path or bytes
        JPEG, PNG, BMP, GIF, WEBP, TIFF or PPM.
    name : str
        What messages call it.
    channels : int
        1 for grey (ITU-R BT.601 luma), 3 for RGB.
    geometry : Geometry or None
        Resize and crop.
    grey_only : bool
        Refuse a colour picture instead of taking its luma.

    Returns
    -------
    numpy.ndarray of uint8, shape (C, H, W)
        C-contiguous.
    """
    with _opened(source, name) as image:
        if grey_only and image.mode not in _GREY_MODES:
            msg = f"{name} is in colour (mode {image.mode}) among grey pictures; ask for channels=1 or channels=3"
            raise DataError(msg)
        try:
            plain = _shaped(_converted(image, channels, name), geometry, name)
            array: NDArray[np.uint8] = np.asarray(plain)
        except (*_DAMAGE, MemoryError) as error:
            msg = f"{name} cannot be decoded: {error}. It is truncated or damaged; replace or remove it"
            raise DataError(msg) from error
    return array[None] if channels == 1 else np.ascontiguousarray(array.transpose(2, 0, 1))


def _opened(source: Path | bytes, name: str) -> "Image":
    from PIL import Image

    too_many = (Image.DecompressionBombError, Image.DecompressionBombWarning)
    try:
        image = Image.open(BytesIO(source) if isinstance(source, bytes) else source, formats=FORMATS)
    except too_many as error:
        raise _too_large(name, str(error)) from error
    except _DAMAGE as error:
        msg = (
            f"{name} is not a picture in an accepted format ({', '.join(FORMATS)}), or it is damaged: {error}"
        )
        raise DataError(msg) from error
    if image.width * image.height > MAX_PICTURE_PIXELS:
        size = f"{image.width}x{image.height}"
        image.close()
        raise _too_large(name, size)
    return image


def _too_large(name: str, what: str) -> DataError:
    msg = (
        f"{name} declares too many pixels ({what}); at most {MAX_PICTURE_PIXELS} are decoded. Make it smaller"
    )
    return DataError(msg)


def _converted(image: "Image", channels: int, name: str) -> "Image":
    from PIL import Image

    if image.mode == "F" or (image.mode == "I" and image.format == "TIFF"):
        msg = f"{name} has mode {image.mode}, whose white is unknown; convert it to 8 or 16 bits a channel"
        raise DataError(msg)
    image.load()
    image.info.pop("transparency", None)  # it would turn palette colours into warnings, or into other colours
    if image.mode.startswith("I"):
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    elif image.mode not in {"1", "L", "LA", "P", "RGB", "RGBA"}:
        image = image.convert("RGB")
    return image.convert("L" if channels == 1 else "RGB")


def _shaped(image: "Image", geometry: Geometry | None, name: str) -> "Image":
    from PIL import Image

    if geometry is None:
        return image
    if geometry.resize is not None:
        width, height = _resized(image.width, image.height, geometry)
        if width * height > MAX_PICTURE_PIXELS:
            raise _too_large(name, f"{image.width}x{image.height} resized to {width}x{height}")
        image = image.resize((width, height), Image.Resampling[_FILTERS[geometry.interpolation]])
    return image if geometry.crop is None else _cropped(image, geometry)


_FILTERS = {
    "nearest": "NEAREST",
    "box": "BOX",
    "bilinear": "BILINEAR",
    "hamming": "HAMMING",
    "bicubic": "BICUBIC",
    "lanczos": "LANCZOS",
}


def _resized(width: int, height: int, geometry: Geometry) -> tuple[int, int]:
    """Width and height after resizing; torchvision truncates the free edge, timm's keep-ratio resize rounds it."""
    if isinstance(geometry.resize, tuple):
        return geometry.resize[1], geometry.resize[0]
    target = geometry.resize or 1
    named = min(width, height) if geometry.edge == "shortest" else max(width, height)
    free = max(width, height) if geometry.edge == "shortest" else min(width, height)
    if geometry.edge_rounding == "round":
        other = round(free / (named / target))
    else:
        other = int(target * free / named)
    other = max(other, 1)
    return (target, other) if (width <= height) == (geometry.edge == "shortest") else (other, target)


def _cropped(image: "Image", geometry: Geometry) -> "Image":
    """Centre crop; Pillow itself pads with zeros where the box leaves the picture."""
    from PIL import Image

    height, width = geometry.crop or (image.height, image.width)
    top, left = _margin(image.height - height, geometry), _margin(image.width - width, geometry)
    if geometry.fill == (0,) or (top >= 0 and left >= 0):
        return image.crop((left, top, left + width, top + height))
    fill: Any = geometry.fill[0] if image.mode == "L" else (geometry.fill * 3)[:3]
    canvas = Image.new(image.mode, (width, height), fill)
    canvas.paste(image, (-left, -top))
    return canvas


def _margin(excess: int, geometry: Geometry) -> int:
    """Offset of the crop; negative where the picture is smaller.

    torchvision and timm put the odd row of padding behind, Hugging Face's Pillow processors in front.
    """
    if geometry.crop_rounding == "floor":
        return excess // 2
    return round(excess / 2) if excess >= 0 else -(-excess // 2)
