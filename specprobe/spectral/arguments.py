"""What the functions of this package ask of their arguments."""

import math
import operator
from typing import TYPE_CHECKING, Any, TypeAlias

from specprobe.arrays import Array, is_numpy, like, namespace
from specprobe.errors import InputMismatch

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Shape", "check_batch", "check_images", "check_number", "check_shape", "placed"]

Shape: TypeAlias = tuple[int, int]
"""Height and width of an image, in pixels."""


def check_shape(shape: Shape, /) -> Shape:
    """Height and width as plain integers.

    Parameters
    ----------
    shape : (int, int)
        Height and width of an image.

    Returns
    -------
    (int, int)
        Equal to ``shape``.

    Raises
    ------
    InputMismatch
        If they are not two whole numbers from 1.
    """
    try:
        height, width = (operator.index(side) for side in shape)
    except (TypeError, ValueError) as error:
        msg = f"the shape is {shape!r}; accepted are two whole numbers (height, width), such as (32, 32)"
        raise InputMismatch(msg) from error
    if height < 1 or width < 1:
        msg = f"the shape is ({height}, {width}); accepted are heights and widths from 1"
        raise InputMismatch(msg)
    return height, width


def check_images(images: Array, /) -> Any:
    """Namespace of ``images``, which must be real and have two spatial axes.

    Parameters
    ----------
    images : array, shape (..., H, W)
        Of float32 or float64.

    Returns
    -------
    module
        Array API namespace.

    Raises
    ------
    InputMismatch
        If the dtype is another one, or the last two axes are missing or empty.
    """
    xp = namespace(images)
    if images.dtype not in (xp.float32, xp.float64):
        msg = f"the images are of {images.dtype}; accepted are float32 and float64: convert them"
        raise InputMismatch(msg)
    if images.ndim < 2 or 0 in images.shape[-2:]:
        msg = f"the images have shape {tuple(images.shape)}; accepted is (..., H, W), with H and W from 1"
        raise InputMismatch(msg)
    return xp


def check_batch(images: Array, /) -> Any:
    """Namespace of ``images``, which must be a batch with channels.

    Parameters
    ----------
    images : array, shape (N, C, H, W)
        Of float32 or float64; N may be 0.

    Returns
    -------
    module
        Array API namespace.

    Raises
    ------
    InputMismatch
        If the dtype or the number of axes is another one, or there are no channels or pixels.
    """
    xp = check_images(images)
    if images.ndim != 4 or images.shape[1] == 0:
        msg = f"the images have shape {tuple(images.shape)}; accepted is (N, C, H, W), with C from 1"
        raise InputMismatch(msg)
    return xp


def check_number(value: float, /, *, name: str, low: float, high: float = math.inf) -> float:
    """Return ``value`` as float if it lies within limits.

    Parameters
    ----------
    value : float
        To be checked.
    name : str
        What it is called in the message.
    low, high : float
        Smallest and largest accepted.

    Returns
    -------
    float
        Equal to ``value``.

    Raises
    ------
    InputMismatch
        If it is NaN or outside.
    """
    if not low <= value <= high:
        accepted = f"numbers from {low:g}" + ("" if math.isinf(high) else f" to {high:g}")
        msg = f"{name} is {value}; accepted are {accepted}"
        raise InputMismatch(msg)
    return float(value)


def placed(values: "NDArray[Any]", array: Array, /) -> Array:
    """Host ``values`` where ``array`` lives, for reading only.

    Parameters
    ----------
    values : numpy.ndarray
        Possibly read-only.
    array : array
        Names library and device.

    Returns
    -------
    array
        ``values`` themselves for NumPy; a copy otherwise, since not every library can hold read-only memory.
    """
    return values if is_numpy(array) else like(values.copy(), array)
