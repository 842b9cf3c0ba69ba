"""From the classes of a data set to those of a model."""

import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from specprobe.errors import DataError
from specprobe.images.labels import class_indices, read_text

if TYPE_CHECKING:
    from numpy.typing import NDArray

ClassMap: TypeAlias = str | Path | Mapping[Any, Any]

__all__ = ["ClassMap", "mapped", "model_classes", "read_class_map"]


def read_class_map(source: str | Path | Mapping[Any, Any]) -> dict[str, int]:
    """Model class of each source class.

    Parameters
    ----------
    source : path or mapping
        A JSON object, a JSON list of names in model order, a TOML table (at the top or under ``[class_map]``), or a
        mapping; keys are class names or labels of the data, values model class indices.

    Returns
    -------
    dict
        Keys as text.
    """
    name, table = ("class map", source) if isinstance(source, Mapping) else _table(Path(source))
    found = {}
    for key, value in table.items():
        if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 0:
            msg = f"{name} maps {str(key)!r} to {value!r}; a model class is a whole number from 0"
            raise DataError(msg)
        found[str(key)] = int(value)
    return found


def _table(path: Path) -> tuple[str, Mapping[Any, Any]]:
    text = read_text(path)
    try:
        content = tomllib.loads(text) if path.suffix.lower() == ".toml" else json.loads(text)
    except (ValueError, RecursionError) as error:
        msg = f"class map {path.name} cannot be parsed ({error}); accepted are JSON and TOML"
        raise DataError(msg) from error
    if isinstance(content, list) and all(isinstance(entry, str) for entry in content):
        return path.name, {entry: index for index, entry in enumerate(content)}
    if isinstance(content, dict) and isinstance(content.get("class_map"), dict):
        content = content["class_map"]
    if not isinstance(content, dict):
        msg = (
            f"class map {path.name} is a {type(content).__name__}; accepted is an object {{class: index}} or a "
            "list of names"
        )
        raise DataError(msg)
    return path.name, content


def mapped(
    labels: "NDArray[np.int64]", class_names: tuple[str, ...] | None, class_map: Mapping[str, int], name: str
) -> "NDArray[np.int64]":
    """Labels as model classes.

    Parameters
    ----------
    labels : numpy.ndarray of int64, shape (N,)
        Classes of the source.
    class_names : tuple of str or None
        Their names; a class is looked up by its name first, then by its label.
    class_map : mapping of str to int
        As :func:`read_class_map` gives it.
    name : str
        What messages call the source.

    Returns
    -------
    numpy.ndarray of int64, shape (N,)
        Classes of the model.
    """
    classes, where = np.unique(labels, return_inverse=True)
    targets, unknown = [], []
    for label in classes.tolist():
        known = class_names[label] if class_names is not None and label < len(class_names) else str(label)
        target = class_map.get(known, class_map.get(str(label)))
        if target is None:
            unknown.append(known)
        else:
            targets.append(target)
    if unknown:
        more = f" and {len(unknown) - 10} more" if len(unknown) > 10 else ""
        msg = (
            f"the class map has no entry for {', '.join(map(repr, unknown[:10]))}{more}, which {name} holds; "
            f"its keys are such as {', '.join(map(repr, list(class_map)[:5])) or 'none'}"
        )
        raise DataError(msg)
    return np.array(targets, dtype=np.int64)[where.reshape(-1)]


def model_classes(
    stored: "NDArray[Any] | None",
    class_names: tuple[str, ...] | None,
    class_map: ClassMap | None,
    images: int,
    name: str,
) -> "tuple[NDArray[np.int64] | None, tuple[str, ...] | None]":
    """Labels of a source, checked against its images and brought to the model's classes.

    Parameters
    ----------
    stored : numpy.ndarray or None
        Labels in any form that :func:`specprobe.images.labels.class_indices` reads.
    class_names : tuple of str or None
        Names of the classes, if the source has any.
    class_map : path, mapping or None
        As :func:`read_class_map` takes it.
    images : int
        Number of images.
    name : str
        What messages call the source.

    Returns
    -------
    labels : numpy.ndarray of int64, shape (images,), or None
        Model classes.
    class_names : tuple of str or None
        In the order of ``labels``; None after a class map.
    """
    if stored is None:
        if class_map is not None:
            msg = f"a class map is given, but {name} has no labels; give labels= too"
            raise DataError(msg)
        return None, class_names
    labels, own_names = class_indices(stored, f"labels of {name}")
    if len(labels) != images:
        msg = f"{len(labels)} labels for {images} images in {name}; give one label an image"
        raise DataError(msg)
    names = own_names or class_names
    if class_map is None:
        return labels, names
    return mapped(labels, names, read_class_map(class_map), name), None
