"""Weights kept in other files, read without leaving the model's folder."""

import math
import os
import stat
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnx_ir as ir

from specprobe.errors import ExternalDataError
from specprobe.graph.limits import printable

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["element_type", "is_external", "read_external", "resolve_location"]


def element_type(data_type: int, /) -> ir.DataType | None:
    """Type of ONNX's number ``data_type``, if its elements have a fixed size.

    Parameters
    ----------
    data_type : int
        As in the file, so any number.

    Returns
    -------
    onnx_ir.DataType or None
        None for strings, and for numbers that stand for no type.
    """
    try:
        kind = ir.DataType(data_type)
    except ValueError:
        return None
    return None if kind in {ir.DataType.UNDEFINED, ir.DataType.STRING} else kind


def is_external(tensor: onnx.TensorProto, /) -> bool:
    """Whether the numbers of ``tensor`` lie in another file.

    Parameters
    ----------
    tensor : onnx.TensorProto
        Of an initializer or attribute.

    Returns
    -------
    bool
        True for external data.
    """
    return bool(tensor.data_location == onnx.TensorProto.EXTERNAL)


def resolve_location(model_path: Path, location: str, /) -> Path:
    """File that ``location`` names, if a model at ``model_path`` may point there.

    Accepted are regular files below the folder that holds the model, and, when the model itself is a link, files
    beside the link's target: the Hugging Face cache keeps ``snapshots/…/model.onnx`` and its data as links into one
    ``blobs`` folder.

    Parameters
    ----------
    model_path : pathlib.Path
        As the user named it.
    location : str
        As the file states it.

    Returns
    -------
    pathlib.Path
        Resolved, with no link left in it.

    Raises
    ------
    ExternalDataError
        If the path is absolute, climbs out, is missing, or is no regular file.
    """
    shown = printable(location)
    where = f"{model_path.name} keeps weights in '{shown}'"
    parts = (PurePosixPath(location), PureWindowsPath(location))
    if not location or "\0" in location or any(p.is_absolute() or p.drive or ".." in p.parts for p in parts):
        msg = f"{where}, which is not inside the model's folder; accepted are relative paths without '..'"
        raise ExternalDataError(msg)
    try:
        folder = model_path.parent.resolve()
        beside_target = model_path.resolve().parent
        target = (model_path.parent / location).resolve()
    except (OSError, RuntimeError):
        msg = f"{where}, a link that leads back to itself"
        raise ExternalDataError(msg) from None
    if not (target.is_relative_to(folder) or target.is_relative_to(beside_target)):
        msg = f"{where}, a link that leaves the model's folder; copy the data file beside the model"
        raise ExternalDataError(msg)
    try:
        mode = target.lstat().st_mode
    except OSError:
        msg = f"{where}, and there is no such file; put it beside the model"
        raise ExternalDataError(msg) from None
    if not stat.S_ISREG(mode):
        msg = f"{where}, which is not a regular file"
        raise ExternalDataError(msg)
    return target


def read_external(tensor: onnx.TensorProto, model_path: Path, /) -> "tuple[NDArray[Any], Path]":
    """Map the numbers of ``tensor`` into memory, read-only.

    Parameters
    ----------
    tensor : onnx.TensorProto
        With external data.
    model_path : pathlib.Path
        Of the model that holds it.

    Returns
    -------
    array : numpy.ndarray
        Of the tensor's shape.
    path : pathlib.Path
        The file it lies in.

    Raises
    ------
    ExternalDataError
        If the file may not be read, or does not hold the bytes that shape and dtype ask for.
    """
    entries = {entry.key: entry.value for entry in tensor.external_data}
    path = resolve_location(model_path, entries.get("location", ""))
    name = printable(tensor.name)
    try:
        offset = int(entries.get("offset", "0"))
        length = int(entries["length"]) if "length" in entries else None
    except ValueError:
        msg = f"tensor '{name}' in {model_path.name}: offset or length of its external data is not a number"
        raise ExternalDataError(msg) from None
    kind = element_type(tensor.data_type)
    if kind is None or kind.bitwidth < 8:
        shown = kind.name if kind is not None else f"number {tensor.data_type}"
        msg = f"tensor '{name}' in {model_path.name}: external data of type {shown} is not supported"
        raise ExternalDataError(msg)
    if any(dim < 0 for dim in tensor.dims):
        msg = f"tensor '{name}' in {model_path.name} has a negative dimension: {list(tensor.dims)}"
        raise ExternalDataError(msg)
    needed = math.prod(tensor.dims) * int(kind.itemsize)
    size = path.stat().st_size
    if offset < 0 or (length is not None and length != needed) or offset + needed > size:
        msg = (
            f"tensor '{name}' in {model_path.name} needs {needed} bytes at offset {offset} of '{path.name}' "
            f"({length} declared), which has {size}: the data file is not the one that the model was saved with"
        )
        raise ExternalDataError(msg)
    shape = tuple(tensor.dims)
    if needed == 0:
        return np.empty(shape, kind.numpy()), path
    # Opened by descriptor, so that a link put in place after the check is not followed.
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0))
        with os.fdopen(descriptor, "rb") as file:
            mapped = np.memmap(file, mode="r", dtype=np.uint8, offset=offset, shape=needed)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        msg = f"'{path.name}', which holds weights of {model_path.name}, cannot be read: {reason}"
        raise ExternalDataError(msg) from error
    if offset % kind.itemsize:
        return np.frombuffer(mapped.tobytes(), kind.numpy()).reshape(shape), path
    return mapped.view(kind.numpy()).reshape(shape), path
