"""One entrance for all kinds of image sources."""

import gzip
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from specprobe.arrays import Array, to_host
from specprobe.errors import DataError
from specprobe.images import archive, binary
from specprobe.images.class_map import model_classes
from specprobe.images.decode import is_picture
from specprobe.images.folder import open_folder, open_picture
from specprobe.images.labels import label_column
from specprobe.images.memory import ArraySource
from specprobe.images.parquet import open_parquet
from specprobe.images.source import Found, ImageStream
from specprobe.protocols import ImageSource
from specprobe.recipe import Geometry

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["ACCEPTED", "load_images"]

ACCEPTED = (
    ".npz (images, labels), .npy (labels in a file of their own), a folder of pictures (one folder a class, or with a table of "
    "labels), a picture, CIFAR-10/100 binary (.bin, or its folder), MNIST idx (.gz too), .parquet"
)


def load_images(
    source: str | Path | Array | tuple[Array, Array | None],
    *,
    labels: str | Path | Array | None = None,
    class_map: str | Path | Mapping[Any, Any] | None = None,
    limit: int | None = None,
    channels: int | None = None,
    geometry: Geometry | None = None,
) -> ImageSource:
    """Images of a file, a folder or an array, streamed.

    Parameters
    ----------
    source : path, array, or (images, labels)
        ``.npz``: members ``images|x|x_test|data|arr_0`` and ``labels|y|y_test|arr_1``. ``.npy``. A folder:
        one folder a class, or flat. A picture. CIFAR-10/100 binary, a file or its folder (the test file where
        there is one). MNIST idx, plain or ``.gz``. ``.parquet``. Arrays of any library stay on their device.
    labels : path, array or None
        Instead of the source's own: ``.npy``, ``.npz``, idx, or a ``.csv``/``.tsv``/``.txt`` table. For a
        folder a table of (file, label), whose order the images then have.
    class_map : mapping, path to JSON or TOML, or None
        From class names or labels of the data to model classes.
    limit : int or None
        Keep the first so many.
    channels : int or None
        1 or 3. Pictures are decoded to it; in arrays grey is repeated and RGB becomes luma. None keeps the
        channels of arrays and those of the first picture: after a grey first picture a coloured one is
        refused.
    geometry : Geometry or None
        Resize and crop of pictures. Arrays are taken as they are, and refused where the geometry ends in
        another size.

    Returns
    -------
    ImageSource
        Picklable; float32 pixels in [0, 1], NCHW.

    Raises
    ------
    DataError
        If something cannot be read, has another form than accepted, or does not fit.
    EmptyInput
        If there are no images.

    Notes
    -----
    Nothing is unpickled, ever. Declared sizes and compression ratios are capped, and hold while reading.
    """
    if limit is not None and limit < 1:
        msg = f"limit={limit}; accepted is a whole number from 1, or None for all images"
        raise DataError(msg)
    if not isinstance(source, str | Path):
        return _in_memory(source, labels, class_map, limit, channels, geometry)
    path = Path(source)
    found = _found(path, labels, channels, geometry)
    if geometry is not None and not found.pictures:
        _check_size(found.raw.shape[2:], geometry, path.name)
    stored, names = found.labels, found.class_names
    if labels is not None and not (path.is_dir() and "label_table" in found.facts):
        stored, names = _read_labels(labels), None
    indices, names = model_classes(stored, names, class_map, found.raw.shape[0], path.name)
    facts = {**found.facts, "class_map": class_map is not None}
    return ImageStream(
        found.raw, labels=indices, class_names=names, limit=limit, channels=channels, facts=facts
    )


def _in_memory(
    source: Any,
    labels: Any,
    class_map: Any,
    limit: int | None,
    channels: int | None,
    geometry: Geometry | None,
) -> ImageSource:
    images, own_labels = source if isinstance(source, tuple) and len(source) == 2 else (source, None)
    if not hasattr(images, "shape"):
        msg = (
            f"images of type {type(images).__name__}; accepted are an array, (images, labels), or the path of "
            f"{ACCEPTED}"
        )
        raise DataError(msg)
    chosen = own_labels if labels is None else _read_labels(labels)
    found = ArraySource(images, chosen, class_map=class_map, limit=limit, channels=channels)
    if geometry is not None:
        _check_size(found.image_shape[1:], geometry, "array")
    return found


def _found(path: Path, labels: Any, channels: int | None, geometry: Geometry | None) -> Found:
    if path.is_dir():
        records = binary.cifar_files(path)
        if records:
            return binary.open_cifar(records, path.resolve().name)
        if (path / "batches.meta").is_file() or (path / "test_batch").is_file():
            raise _pickled(path)
        table = Path(labels) if isinstance(labels, str | Path) and _is_table(Path(labels)) else None
        return open_folder(path, table=table, channels=channels, geometry=geometry)
    head = _head(path)
    if path.suffix.lower() == ".bin":
        return binary.open_cifar([path], path.name)
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")) or path.suffix.lower() == ".npz":
        return archive.open_npz(path)
    if head.startswith(b"\x93NUMPY") or path.suffix.lower() == ".npy":
        return archive.open_npy(path)
    if head.startswith(b"PAR1") or path.suffix.lower() == ".parquet":
        return open_parquet(path, channels=channels, geometry=geometry)
    if binary.is_idx(_expanded(path, head), 3):
        return binary.open_idx(path)
    if is_picture(head):
        return open_picture(path, channels=channels, geometry=geometry)
    if (head[:1] == b"\x80" and head[1:2] <= b"\x05") or path.suffix.lower() in {".pkl", ".pickle"}:
        raise _pickled(path)
    msg = f"{path.name} begins with {head[:8]!r}, which is no known kind of images; accepted are {ACCEPTED}"
    raise DataError(msg)


def _head(path: Path) -> bytes:
    if not path.exists():
        msg = f"there is no {path.name}; accepted are {ACCEPTED}"
        raise DataError(msg)
    if not path.is_file():
        msg = f"{path.name} is neither a file nor a folder; accepted are {ACCEPTED}"
        raise DataError(msg)
    try:
        with path.open("rb") as handle:
            return handle.read(16)
    except OSError as error:
        msg = f"{path.name} cannot be read: {error.strerror or error}"
        raise DataError(msg) from error


def _expanded(path: Path, head: bytes) -> bytes:
    if not head.startswith(b"\x1f\x8b"):
        return head
    try:
        with gzip.open(path, "rb") as handle:
            return handle.read(4)
    except (OSError, EOFError, zlib.error) as error:
        msg = f"{path.name} cannot be expanded: {error}. It is truncated or damaged; fetch it again"
        raise DataError(msg) from error


def _pickled(path: Path) -> DataError:
    msg = (
        f"{path.name} is a Python pickle; pickles run code and are never loaded. CIFAR has a binary version: "
        "cifar-10-binary.tar.gz, cifar-100-binary.tar.gz (*.bin). Save other data with numpy.savez"
    )
    return DataError(msg)


def _is_table(path: Path) -> bool:
    return path.suffix.lower() in {".csv", ".tsv", ".txt"}


def _read_labels(labels: Any) -> "NDArray[Any]":
    if not isinstance(labels, str | Path):
        return np.asarray(labels) if isinstance(labels, list | tuple) else to_host(labels)
    path = Path(labels)
    head = _head(path)
    if head.startswith(b"PK"):
        return archive.read_npz_labels(path)
    if head.startswith(b"\x93NUMPY") or path.suffix.lower() == ".npy":
        return archive.read_npy(path)
    if binary.is_idx(_expanded(path, head), 1):
        return binary.read_idx_labels(path)
    if head[:1] == b"\x80" or path.suffix.lower() in {".pkl", ".pickle"}:
        raise _pickled(path)
    return label_column(path)


def _check_size(size: tuple[int, ...], geometry: Geometry, name: str) -> None:
    ends = geometry.crop or (geometry.resize if isinstance(geometry.resize, tuple) else None)
    if ends is not None and tuple(size) != ends:
        msg = (
            f"{name} holds images of {size[0]}x{size[1]} (height x width), the recipe ends in "
            f"{ends[0]}x{ends[1]}. Only pictures are resized and cropped; arrays are taken as they are: resize "
            "them before, or give the pictures"
        )
        raise DataError(msg)
