"""From stored values to pixels in [0, 1], NCHW float32, on whatever device they are."""

import hashlib
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

from specprobe.arrays import Array, namespace, to_host
from specprobe.errors import DataError, EmptyInput

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["StoredLayout", "converted", "digests", "planar", "planar_shape", "stored_layout", "unit_pixels"]

StoredLayout: TypeAlias = Literal["NCHW", "NHWC", "NHW"]

_CHANNELS = (1, 3, 4)


def stored_layout(shape: tuple[int, ...], dtype: str, name: str) -> StoredLayout:
    """Axes of an array of images, by where 1, 3 or 4 channels stand.

    Where both places fit, as in (N, 3, 40, 3), ``uint8`` is taken as NHWC, the way pictures are stored, and floats as
    NCHW, the way networks take them.

    Parameters
    ----------
    shape : tuple of int
        Of the whole array.
    dtype : str
        Name of its dtype, ``uint8`` or a real floating one.
    name : str
        What messages call the array.

    Returns
    -------
    {"NCHW", "NHWC", "NHW"}
        Three axes are grey images.
    """
    if dtype not in {"uint8", "float16", "float32", "float64"}:
        msg = f"{name} has dtype {dtype}; images are uint8 (0 to 255) or float16, float32, float64 in [0, 1]"
        raise DataError(msg)
    if 0 in shape:
        msg = f"{name} has shape {shape}: no images or no pixels in it"
        raise EmptyInput(msg)
    if len(shape) == 3 and shape[2] not in {3, 4}:
        return "NHW"
    if len(shape) == 4:
        first, last = shape[1] in _CHANNELS, shape[3] in _CHANNELS
        if last and (dtype == "uint8" or not first):
            return "NHWC"
        if first:
            return "NCHW"
    msg = (
        f"{name} has shape {shape}; accepted are (N, H, W), (N, H, W, C) and (N, C, H, W) with 1, 3 or 4 channels. "
        "Reshape flat images to (N, H, W), and give a single picture a leading axis"
    )
    raise DataError(msg)


def planar(array: Array, layout: StoredLayout) -> Array:
    """View of ``array`` as NCHW.

    Parameters
    ----------
    array : array
        Of that layout.
    layout : {"NCHW", "NHWC", "NHW"}
        As :func:`stored_layout` says.

    Returns
    -------
    array, shape (N, C, H, W)
        Not contiguous for NHWC.
    """
    if layout == "NHW":
        return array[:, None, :, :]
    return namespace(array).permute_dims(array, (0, 3, 1, 2)) if layout == "NHWC" else array


def planar_shape(stored: tuple[int, ...], layout: StoredLayout) -> tuple[int, int, int, int]:
    """Shape of the array that :func:`planar` gives.

    Parameters
    ----------
    stored : tuple of int
        Shape of the array.
    layout : {"NCHW", "NHWC", "NHW"}
        As :func:`stored_layout` says.

    Returns
    -------
    (int, int, int, int)
        N, C, H, W.
    """
    if layout == "NHW":
        return stored[0], 1, stored[1], stored[2]
    a, b, c = stored[1:]
    return (stored[0], a, b, c) if layout == "NCHW" else (stored[0], c, a, b)


def converted(array: Array, channels: int, name: str) -> Array:
    """Give stored values another number of channels: grey repeated, RGB as Pillow's luma (BT.601).

    Parameters
    ----------
    array : array, shape (N, C, H, W)
        uint8 or real floating.
    channels : int
        Wanted number.
    name : str
        What messages call the array.

    Returns
    -------
    array, shape (N, channels, H, W)
        Of the same dtype.
    """
    xp = namespace(array)
    stored = array.shape[1]
    if stored == channels:
        return array
    if (stored, channels) == (1, 3):
        return xp.concat([array] * 3, axis=1)
    if (stored, channels) != (3, 1):
        msg = f"{name} has {stored} channels where {channels} are wanted; only 1 → 3 and 3 → 1 are converted"
        raise DataError(msg)
    if array.dtype != xp.uint8:
        return 0.299 * array[:, 0:1, :, :] + 0.587 * array[:, 1:2, :, :] + 0.114 * array[:, 2:3, :, :]
    wide = xp.astype(array, xp.int32)
    luma = 19595 * wide[:, 0:1, :, :] + 38470 * wide[:, 1:2, :, :] + 7471 * wide[:, 2:3, :, :] + 32768
    return xp.astype(luma // 65536, xp.uint8)


def unit_pixels(array: Array, start: int, name: str) -> Array:
    """Pixels in [0, 1]: uint8 divided by 255, floats checked.

    Parameters
    ----------
    array : array, shape (N, C, H, W)
        uint8 or real floating.
    start : int
        Index in the source of the first image, for messages.
    name : str
        What messages call the source.

    Returns
    -------
    array, shape (N, C, H, W), float32
        C-contiguous.
    """
    xp = namespace(array)
    flat = xp.astype(xp.reshape(array, (-1,)), xp.float32, copy=False)
    if array.dtype == xp.uint8:
        flat = flat / 255
    elif not bool(xp.all((flat >= 0) & (flat <= 1))):
        _refuse_values(to_host(xp.reshape(flat, (array.shape[0], -1))), start, name)
    return xp.reshape(flat, tuple(array.shape))


_NEAR_WHITE = 2.0
"""Up to here, pixels are rather of [0, 1] than of 0 to 255."""


def _refuse_values(rows: "NDArray[Any]", start: int, name: str) -> None:
    fine = ((rows >= 0) & (rows <= 1)).all(axis=1)
    index = int(np.argmin(fine))
    row = rows[index]
    where = f"image {start + index} of {name}"
    if not np.isfinite(row).all():
        msg = f"{where} holds NaN or infinite pixels; pixels must lie in [0, 1]"
    else:
        low, high = float(row.min()), float(row.max())
        remedy = "Undo the normalisation: mean and std belong to the recipe"
        if low >= 0 and high <= _NEAR_WHITE:
            remedy = "Where that is rounding or resampling, clip them"
        elif low >= 0 and high <= 255:
            remedy = "They look like 0 to 255: divide by 255, or store them as uint8"
        msg = (
            f"{where} has pixels from {low:g} to {high:g}; floating-point pixels must lie in [0, 1]. {remedy}"
        )
    raise DataError(msg)


def digests(images: Array) -> "NDArray[np.uint8]":
    """BLAKE2b of each image's pixels.

    Parameters
    ----------
    images : array, shape (N, C, H, W), float32
        Any device.

    Returns
    -------
    numpy.ndarray of uint8, shape (N, 16)
        Over C-ordered little-endian float32.
    """
    rows = np.ascontiguousarray(to_host(images), dtype="<f4").reshape(images.shape[0], -1)
    found = b"".join(hashlib.blake2b(row.data, digest_size=16).digest() for row in rows)
    return np.frombuffer(found, dtype=np.uint8).reshape(-1, 16)
