"""Documents in ``.json`` and ``.npz`` files, the latter with arrays."""

import json
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from specprobe.arrays import to_host
from specprobe.errors import DataError
from specprobe.files import write_atomically
from specprobe.results.documents import dump_json, from_document

__all__ = ["read_document", "read_results", "save_arrays", "write_npz"]

_DAMAGED = (zipfile.BadZipFile, zlib.error, EOFError, MemoryError)


def read_document(path: str | Path, /) -> dict[str, Any]:
    """Document in a ``.json`` or ``.npz`` file.

    Parameters
    ----------
    path : str or pathlib.Path
        As written by ``-o``.

    Returns
    -------
    dict
        JSON values.

    Raises
    ------
    DataError
        If the file cannot be read.
    """
    return _read(Path(path), with_arrays=False)[0]


def read_results(path: str | Path, /) -> list[tuple[dict[str, Any], Any]]:
    """Documents in a file, each with its result; with the arrays of an ``.npz`` that are fields of it.

    Parameters
    ----------
    path : str or pathlib.Path
        ``.json`` or ``.npz``.

    Returns
    -------
    list of (dict, Result)
        One, or those of a collection in their order.

    Raises
    ------
    DataError
        If the file is no result.
    """
    content, arrays = _read(Path(path), with_arrays=True)
    result = from_document(content)
    if content["kind"] == "collection":
        return list(zip(content["documents"], result, strict=True))
    return [(content, _with_arrays(result, arrays))]


def _with_arrays(result: Any, arrays: Mapping[str, Any], /) -> Any:
    """A result with the arrays that are fields of it, or, after their names, of results within it."""
    found: dict[str, Any] = {}
    for field in fields(result):
        value, short = getattr(result, field.name), field.name.removeprefix("image_")
        if value is None:
            named = next((name for name in (field.name, short) if name in arrays), None)
            if named is not None:
                found[field.name] = arrays[named]
        elif is_dataclass(value) and hasattr(value, "to_dict"):
            prefix = f"{field.name}_"
            own = {
                name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)
            }
            # Digests are kept once; what an accuracy has stands beside them, without its name.
            shared = ("digest",) if own else ("digest", "correct")
            own |= {name: arrays[name] for name in shared if name in arrays}
            found[field.name] = _with_arrays(value, own)
    return replace(result, **found)


def _read(path: Path, *, with_arrays: bool) -> tuple[dict[str, Any], dict[str, Any]]:
    """Document in a file, and the arrays beside it where they are asked for."""
    arrays: dict[str, Any] = {}
    try:
        if path.suffix == ".npz":
            with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
                text = str(archive["document"])
                if with_arrays:
                    arrays = {name: archive[name] for name in archive.files if name != "document"}
        else:
            text = path.read_text(encoding="utf-8")
        content = json.loads(text)
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, *_DAMAGED) as error:
        msg = f"{path} is not a specprobe result: {error}"
        raise DataError(msg) from error
    if not isinstance(content, dict):
        msg = f"{path} is not a specprobe result: it holds a JSON {type(content).__name__}, not an object"
        raise DataError(msg)
    return content, arrays


def write_npz(path: Path, content: Mapping[str, Any], arrays: Mapping[str, Any], /) -> None:
    """Write a document and its arrays.

    Parameters
    ----------
    path : pathlib.Path
        Ends in ``.npz``.
    content : mapping
        The document, kept as text under ``document``.
    arrays : mapping of str to array
        Of any library; no name may be ``document``.

    Raises
    ------
    ValueError
        If one is.
    DataError
        If the file cannot be written.
    """
    if "document" in arrays:
        msg = "an array is named 'document', which is the name of the document itself"
        raise ValueError(msg)
    hosted = {name: to_host(array) for name, array in arrays.items()}
    text = dump_json(content)
    write_atomically(path, lambda file: save_arrays(file, {"document": text, **hosted}, compressed=True))


def save_arrays(file: Any, arrays: Mapping[str, Any], /, *, compressed: bool = False) -> None:
    """Write arrays as ``.npz``.

    Parameters
    ----------
    file : binary file
        Filled from where it stands.
    arrays : mapping of str to array_like
        Numbers and strings. Any name will do; ``numpy.savez`` keeps some for its own arguments.
    compressed : bool
        Whether members are deflated.

    Raises
    ------
    TypeError
        If an array holds Python objects: they would have to be pickled.
    """
    method = zipfile.ZIP_DEFLATED if compressed else zipfile.ZIP_STORED
    with zipfile.ZipFile(file, "w", compression=method) as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.asanyarray(array), allow_pickle=False)
