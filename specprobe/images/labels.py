"""Labels in all their spellings, as class indices."""

import csv
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from specprobe.errors import DataError
from specprobe.images.limits import MAX_TABLE_BYTES

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["class_indices", "label_column", "read_table", "read_text"]

FILE_TITLES = frozenset({"file", "filename", "file_name", "path", "image", "image_id", "image_path"})
LABEL_TITLES = frozenset({"label", "labels", "class", "class_name", "category", "target", "y"})

_TABLES = (".csv", ".tsv", ".txt")


def class_indices(labels: "NDArray[Any]", name: str) -> "tuple[NDArray[np.int64], tuple[str, ...] | None]":
    """Class index of every image.

    Parameters
    ----------
    labels : numpy.ndarray
        (N,) or (N, 1) integers, integral floats, or text; or one-hot rows (N, K). Text that is no integer
        names classes, which are numbered in sorted order.
    name : str
        What messages call the labels.

    Returns
    -------
    indices : numpy.ndarray of int64, shape (N,)
        Not negative.
    names : tuple of str or None
        Where the labels were names.
    """
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim == 2 and labels.dtype.kind in "biuf":
        return _hot_columns(labels, name), None
    if labels.ndim != 1 or labels.dtype.kind not in "biufUS":
        msg = (
            f"{name} have shape {labels.shape} and dtype {labels.dtype}; accepted are (N,) or (N, 1) class "
            "indices or names, and one-hot (N, K)"
        )
        raise DataError(msg)
    if labels.dtype.kind in "US":
        return _named(labels.astype(str))
    with np.errstate(invalid="ignore"):
        indices = labels.astype(np.int64)
    unsuitable = (indices != labels) | (indices < 0)
    if unsuitable.any():
        index = int(np.argmax(unsuitable))
        msg = f"{name} hold {labels[index]} at index {index}; a label is a whole number from 0"
        raise DataError(msg)
    return indices, None


def _hot_columns(rows: "NDArray[Any]", name: str) -> "NDArray[np.int64]":
    hot = (rows == 1).sum(axis=1) == 1
    hot &= (rows == 0).sum(axis=1) == rows.shape[1] - 1
    if not hot.all():
        index = int(np.argmin(hot))
        msg = (
            f"{name} of shape {rows.shape} are not one-hot at row {index}; store the class index of each image "
            "instead"
        )
        raise DataError(msg)
    columns: NDArray[np.int64] = np.argmax(rows, axis=1).astype(np.int64)
    return columns


def _named(labels: "NDArray[np.str_]") -> "tuple[NDArray[np.int64], tuple[str, ...] | None]":
    words = [str(word).strip() for word in labels]
    if all(word.isascii() and word.isdigit() and len(word) < 19 for word in words):
        return np.array([int(word) for word in words], dtype=np.int64), None
    names = sorted(set(words))
    order = {word: index for index, word in enumerate(names)}
    return np.array([order[word] for word in words], dtype=np.int64), tuple(names)


def read_text(path: Path) -> str:
    """Text of a small file.

    Parameters
    ----------
    path : pathlib.Path
        UTF-8, with or without a byte order mark.

    Returns
    -------
    str
        Its content.
    """
    try:
        size = path.stat().st_size
        if size > MAX_TABLE_BYTES:
            msg = f"{path.name} is {size} bytes long; tables may take {MAX_TABLE_BYTES}"
            raise DataError(msg)
        return path.read_text("utf-8-sig")
    except OSError as error:
        msg = f"{path.name} cannot be read: {error.strerror or error}"
        raise DataError(msg) from error
    except UnicodeDecodeError as error:
        msg = (
            f"{path.name} is not UTF-8 text ({error.reason} at byte {error.start}); accepted are "
            f"{', '.join(_TABLES)}"
        )
        raise DataError(msg) from error


def read_table(path: Path) -> list[tuple[str, str]]:
    """Rows (file, label) of a table; the file is empty where the table has labels alone.

    ``.csv`` is separated by commas, ``.tsv`` by tabs, ``.txt`` by white space before the last word. A header line is
    recognised by its titles, and then picks the columns.

    Parameters
    ----------
    path : pathlib.Path
        The table.

    Returns
    -------
    list of (str, str)
        In the order of the table.
    """
    if path.suffix.lower() not in _TABLES:
        msg = f"labels in {path.name}: accepted are {', '.join(_TABLES)}, .npy, .npz and idx files"
        raise DataError(msg)
    rows = _cells(path)
    width = max((len(row) for row in rows), default=0)
    label, file = width - 1, 0
    if rows:
        titles = [cell.strip().lower() for cell in rows[0]]
        label = next((i for i, title in enumerate(titles) if title in LABEL_TITLES), -1)
        if label >= 0:
            file = next((i for i, title in enumerate(titles) if title in FILE_TITLES), -1)
            rows = rows[1:]
        elif width <= 2:
            label = width - 1
        else:
            msg = (
                f"{path.name} has {width} columns and no title of a label column "
                f"({', '.join(sorted(LABEL_TITLES))}); keep two columns, file and label, or add a header"
            )
            raise DataError(msg)
    if width == 1:
        file = -1
    table = []
    for number, row in enumerate(rows, start=1):
        if len(row) <= max(label, file):
            msg = f"{path.name} has {len(row)} columns in row {number} of its {len(rows)}, {width} elsewhere"
            raise DataError(msg)
        table.append(("" if file < 0 else row[file].strip(), row[label].strip()))
    return table


def _cells(path: Path) -> list[list[str]]:
    lines = read_text(path).splitlines()
    if path.suffix.lower() == ".txt":
        return [line.rsplit(None, 1) for line in lines if line.strip()]
    try:
        reader = csv.reader(lines, delimiter="\t" if path.suffix.lower() == ".tsv" else ",")
        return [row for row in reader if any(cell.strip() for cell in row)]
    except csv.Error as error:
        msg = f"{path.name} is not a readable table: {error}"
        raise DataError(msg) from error


def label_column(path: Path) -> "NDArray[Any]":
    """Labels of a table, in its order.

    Parameters
    ----------
    path : pathlib.Path
        ``.csv``, ``.tsv`` or ``.txt``.

    Returns
    -------
    numpy.ndarray of str, shape (N,)
        For :func:`class_indices`.
    """
    return np.array([label for _, label in read_table(path)], dtype=np.str_)
