"""Arrays in NumPy's ``.npy`` format inside any byte stream, read a few rows at a time."""

import math
from dataclasses import dataclass
from io import BytesIO
from tokenize import TokenError
from typing import TYPE_CHECKING, Any

import numpy as np

from specprobe.errors import DataError
from specprobe.images.limits import MAX_LABEL_BYTES
from specprobe.images.pixels import StoredLayout, planar, planar_shape, stored_layout
from specprobe.images.stream import ByteStream

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["NpyImages", "array_of", "images_of"]

_HEADER_BYTES = 12_000


@dataclass(frozen=True, slots=True)
class _Header:
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    fortran_order: bool
    length: int


def _header(stream: ByteStream) -> _Header:
    start = BytesIO(stream.read(0, min(stream.size, _HEADER_BYTES)))
    try:
        version = np.lib.format.read_magic(start)
        if version == (1, 0):
            shape, fortran_order, dtype = np.lib.format.read_array_header_1_0(start)
        elif version == (2, 0):
            shape, fortran_order, dtype = np.lib.format.read_array_header_2_0(start)
        else:
            msg = (
                f"{stream.name} is .npy version {version[0]}.{version[1]}; images and labels need 1.0 or 2.0"
            )
            raise DataError(msg)
    except (ValueError, SyntaxError, TokenError, EOFError, RecursionError, MemoryError) as error:
        msg = f"{stream.name} has no readable .npy header ({_first_line(error)}); write it again with numpy.save"
        raise DataError(msg) from error
    if dtype.hasobject:
        msg = (
            f"{stream.name} holds Python objects (dtype {dtype}), which are pickles and are never loaded. "
            "Save a plain array: uint8 or float images of one size, integer labels"
        )
        raise DataError(msg)
    header = _Header(dtype, tuple(shape), fortran_order, start.tell())
    wanted = header.length + dtype.itemsize * math.prod(shape)
    if min(shape, default=0) < 0 or dtype.itemsize == 0 or wanted != stream.size:
        msg = (
            f"{stream.name} declares shape {header.shape} of {dtype}, {wanted} bytes with its header, but is "
            f"{stream.size} bytes long. It is truncated or damaged; write it again"
        )
        raise DataError(msg)
    return header


def _first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0][:200]


@dataclass(frozen=True, slots=True)
class NpyImages:
    """An array of images in a ``.npy`` stream.

    Attributes
    ----------
    stream : ByteStream
        Its bytes.
    offset : int
        Where the values begin.
    dtype : numpy.dtype
        As stored.
    stored : tuple of int
        Shape as stored.
    layout : {"NCHW", "NHWC", "NHW"}
        Axes of ``stored``.
    """

    stream: ByteStream
    offset: int
    dtype: np.dtype[Any]
    stored: tuple[int, ...]
    layout: StoredLayout

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """N, C, H, W."""
        return planar_shape(self.stored, self.layout)

    def read(self, start: int, stop: int, /) -> "NDArray[Any]":
        """Images ``start`` to ``stop − 1``.

        Parameters
        ----------
        start, stop : int
            ``0 <= start < stop <= N``.

        Returns
        -------
        numpy.ndarray, shape (stop − start, C, H, W)
            As stored.
        """
        row = self.dtype.itemsize * math.prod(self.stored[1:])
        data = self.stream.read(self.offset + start * row, (stop - start) * row)
        images = np.frombuffer(data, self.dtype).reshape(stop - start, *self.stored[1:])
        view: NDArray[Any] = planar(images, self.layout)
        return view


def images_of(stream: ByteStream) -> NpyImages:
    """Images in a ``.npy`` stream.

    Parameters
    ----------
    stream : ByteStream
        uint8 or real floating, C-ordered.

    Returns
    -------
    NpyImages
        Only the header has been read.
    """
    header = _header(stream)
    layout = stored_layout(header.shape, header.dtype.name, stream.name)
    if header.fortran_order:
        msg = (
            f"{stream.name} is in Fortran order, which cannot be streamed; save numpy.ascontiguousarray of it"
        )
        raise DataError(msg)
    return NpyImages(stream, header.length, header.dtype, header.shape, layout)


def array_of(stream: ByteStream) -> "NDArray[Any]":
    """Read a small array whole.

    Parameters
    ----------
    stream : ByteStream
        Labels or names.

    Returns
    -------
    numpy.ndarray
        Of the stored dtype.
    """
    if stream.size > MAX_LABEL_BYTES:
        msg = (
            f"{stream.name} is {stream.size} bytes long; labels may take {MAX_LABEL_BYTES}. Store class indices "
            "(N,)"
        )
        raise DataError(msg)
    header = _header(stream)
    data = stream.read(header.length, stream.size - header.length)
    values: NDArray[Any] = np.frombuffer(data, header.dtype)
    if header.dtype.kind == "U":
        points = values.view(f"{header.dtype.byteorder}u4")
        if ((points > 0x10FFFF) | ((points >= 0xD800) & (points < 0xE000))).any():
            msg = f"{stream.name} holds text that is no Unicode; it is damaged: write it again"
            raise DataError(msg)
    return values.reshape(header.shape, order="F" if header.fortran_order else "C")
