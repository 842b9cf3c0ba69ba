"""Encoded pictures in parquet files, as Hugging Face data sets keep them."""

import json
import os
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from specprobe.errors import DataError, EmptyInput
from specprobe.images.frame import Frame, frame_of
from specprobe.images.limits import MAX_LABEL_BYTES, MAX_ROW_GROUP_BYTES
from specprobe.images.source import Found
from specprobe.recipe import Geometry

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["open_parquet"]

_IMAGE_COLUMNS = ("image", "img", "images", "picture", "jpg", "png")
# Names that are no UTF-8, and sizes that are no sizes, in a damaged footer.
_DAMAGE = (ValueError, LookupError, OverflowError, TypeError, MemoryError)
_LABEL_COLUMNS = ("label", "labels", "fine_label", "class", "cls", "y", "target")


class _Cells:
    """One column of encoded pictures; holds the row group read last, which is not pickled."""

    def __init__(self, path: Path, column: str, starts: tuple[int, ...]) -> None:
        self._path = path
        self._column = column
        self._starts = starts
        self._forget()

    def _forget(self) -> None:
        self._process = os.getpid()
        self._lock = threading.Lock()
        self._group: tuple[int, list[bytes | None]] = (-1, [])

    def __getstate__(self) -> tuple[Path, str, tuple[int, ...]]:
        return self._path, self._column, self._starts

    def __setstate__(self, state: tuple[Path, str, tuple[int, ...]]) -> None:
        self._path, self._column, self._starts = state
        self._forget()

    @property
    def rows(self) -> int:
        return self._starts[-1]

    def picture(self, index: int) -> tuple[bytes, str]:
        if self._process != os.getpid():  # a forked child may have inherited the lock held
            self._forget()
        group = int(np.searchsorted(self._starts, index, side="right")) - 1
        with self._lock:
            if self._group[0] != group:
                self._group = (-1, [])
                self._group = (group, self._row_group(group))
            data = self._group[1][index - self._starts[group]]
        name = f"row {index} of {self._path.name}"
        if not data:
            msg = f"{name} holds no picture bytes, perhaps only a path; embed the pictures before saving"
            raise DataError(msg)
        return data, name

    def _row_group(self, group: int) -> list[bytes | None]:
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            with pq.ParquetFile(self._path) as file:
                table = file.read_row_group(group, columns=[self._column])
        except (pa.ArrowException, OSError, *_DAMAGE) as error:
            msg = (
                f"row group {group} of {self._path.name} cannot be read: {error}. It is truncated or damaged"
            )
            raise DataError(msg) from error
        column = table.column(0)
        if pa.types.is_struct(column.type):
            column = pa.chunked_array([chunk.field("bytes") for chunk in column.chunks])
        cells: list[bytes | None] = column.to_pylist()
        declared = self._starts[group + 1] - self._starts[group]
        if len(cells) != declared:
            msg = (
                f"row group {group} of {self._path.name} has {len(cells)} rows where {declared} are declared"
            )
            raise DataError(msg)
        return cells


@dataclass(frozen=True, slots=True)
class _Pictures:
    """Pictures of one column, decoded when they are read."""

    cells: _Cells
    frame: Frame

    @property
    def shape(self) -> tuple[int, int, int, int]:
        return self.cells.rows, *self.frame.shape

    def read(self, start: int, stop: int, /) -> "NDArray[np.uint8]":
        pixels = np.empty((stop - start, *self.frame.shape), dtype=np.uint8)
        for index in range(start, stop):
            pixels[index - start] = self.frame.decode(*self.cells.picture(index))
        return pixels


def open_parquet(path: Path, *, channels: int | None, geometry: Geometry | None) -> Found:
    """Pictures and labels of a parquet file, read one row group at a time.

    Parameters
    ----------
    path : pathlib.Path
        With a column of encoded pictures, ``struct{bytes, path}`` or binary, and maybe one of integer labels.
    channels : int or None
        1, 3, or those of the first picture.
    geometry : Geometry or None
        Resize and crop.

    Returns
    -------
    Found
        Names of classes are those of Hugging Face's ``ClassLabel``, where the schema has them.
    """
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        msg = f'{path.name} is parquet, which needs pyarrow: pip install "specprobe[parquet]"'
        raise DataError(msg) from error
    try:
        with pq.ParquetFile(path) as file:
            schema, metadata = file.schema_arrow, file.metadata
            image, label = _columns(path, schema)
            labels = None if label is None else _labels(path, file, label)
    except (pa.ArrowException, OSError, *_DAMAGE) as error:
        msg = (
            f"{path.name} is not a readable parquet file: {error}. It is truncated or damaged; fetch it again"
        )
        raise DataError(msg) from error
    if metadata.num_rows == 0:
        msg = f"{path.name} has no rows"
        raise EmptyInput(msg)
    groups = [metadata.row_group(index) for index in range(metadata.num_row_groups)]
    for index, group in enumerate(groups):
        if group.total_byte_size > MAX_ROW_GROUP_BYTES:
            msg = (
                f"row group {index} of {path.name} takes {group.total_byte_size} bytes; at most "
                f"{MAX_ROW_GROUP_BYTES} are held. Write it with a smaller row_group_size"
            )
            raise DataError(msg)
    starts = np.cumsum([0, *(group.num_rows for group in groups)]).tolist()
    cells = _Cells(path, image, tuple(starts))
    frame = frame_of(*cells.picture(0), channels=channels, geometry=geometry)
    facts = {"format": "parquet", "name": path.name, "image_column": image, "label_column": label}
    names = None if label is None else _class_names(schema, label)
    return Found(raw=_Pictures(cells, frame), labels=labels, class_names=names, facts=facts, pictures=True)


def _columns(path: Path, schema: Any) -> tuple[str, str | None]:
    import pyarrow as pa

    def encoded(kind: Any) -> bool:
        if pa.types.is_struct(kind):
            return bool(kind.get_field_index("bytes") >= 0)
        return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))

    candidates = [field.name for field in schema if encoded(field.type)]
    images = [name for name in _IMAGE_COLUMNS if name in candidates] or candidates
    if not images:
        msg = (
            f"{path.name} has no column of encoded pictures (struct{{bytes, path}} or binary); its columns are "
            f"{', '.join(f'{field.name}: {field.type}' for field in list(schema)[:20])}"
        )
        raise DataError(msg)
    return images[0], next((name for name in _LABEL_COLUMNS if name in schema.names), None)


def _labels(path: Path, file: Any, column: str) -> "NDArray[Any]":
    if file.metadata.num_rows * 8 > MAX_LABEL_BYTES:
        msg = f"{path.name} has {file.metadata.num_rows} rows; at most {MAX_LABEL_BYTES // 8} are read. Split it"
        raise DataError(msg)
    values = file.read(columns=[column]).column(0)
    if values.null_count:
        msg = f"column {column!r} of {path.name} lacks {values.null_count} of {len(values)} labels; drop those rows"
        raise DataError(msg)
    return np.array(values.to_pylist())


def _class_names(schema: Any, label: str) -> tuple[str, ...] | None:
    try:
        names = json.loads(schema.metadata[b"huggingface"])["info"]["features"][label]["names"]
    except (KeyError, TypeError, ValueError, RecursionError):
        return None
    fine = isinstance(names, list) and all(isinstance(name, str) for name in names)
    return tuple(names) if fine else None
