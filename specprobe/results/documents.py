"""Documents: results as JSON values, with what was analysed and how."""

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np

from specprobe.arrays import to_host
from specprobe.errors import DataError
from specprobe.results.kinds import Result, result_type

__all__ = ["SCHEMA", "collection", "document", "dump_json", "finite", "from_document"]

SCHEMA = "specprobe/1"


def document(
    result: Result, /, *, model: Any = None, data: Any = None, provenance: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Document that is printed by ``--json`` and written to files.

    Parameters
    ----------
    result : Result
        Of any analysis.
    model, data : JSON values, optional
        What was analysed, on what.
    provenance : mapping, optional
        How.

    Returns
    -------
    dict
        JSON values.
    """
    return {
        "schema": SCHEMA,
        "kind": result.kind,
        "model": model,
        "data": data,
        "provenance": dict(provenance or {}),
        "result": result.to_dict(),
    }


def collection(documents: Iterable[Mapping[str, Any]], /) -> dict[str, Any]:
    """Several documents as one, such as those of several models.

    Parameters
    ----------
    documents : iterable of mapping
        From :func:`document`.

    Returns
    -------
    dict
        JSON values, of kind ``collection``.
    """
    return {"schema": SCHEMA, "kind": "collection", "documents": [dict(content) for content in documents]}


def from_document(content: Mapping[str, Any], /) -> Any:
    """Result in a document.

    Parameters
    ----------
    content : mapping
        From :func:`document`.

    Returns
    -------
    Result or tuple of Result
        Of the document's kind, without the arrays that only ``.npz`` files hold; a tuple for a collection.

    Raises
    ------
    DataError
        If it is no document of this schema.
    """
    found: Any = content  # it comes from a file, whatever the annotation says
    schema = found.get("schema") if isinstance(found, Mapping) else None
    if schema != SCHEMA or not (content.get("kind") == "collection" or {"kind", "result"} <= content.keys()):
        msg = f"this is not a specprobe result (schema {schema!r}); accepted is '{SCHEMA}'"
        raise DataError(msg)
    try:
        if content["kind"] == "collection":
            return tuple(from_document(part) for part in content["documents"])
        return result_type(content["kind"]).from_dict(content["result"])
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        msg = f"the {content['kind']} cannot be read: {type(error).__name__} {error}"
        raise DataError(msg) from error


def finite(value: Any, /) -> Any:
    """``value`` as JSON: arrays as nested lists, NaN and infinities as null.

    Parameters
    ----------
    value : object
        Numbers, strings, arrays, and lists, tuples, mappings and dataclasses of these.

    Returns
    -------
    object
        Fit for ``json.dumps(..., allow_nan=False)``.
    """
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float | np.floating):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, np.generic):
        return finite(value.item())
    if isinstance(value, Mapping):
        return {str(key): finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: finite(getattr(value, field.name)) for field in fields(value)}
    return finite(to_host(value).tolist())


def dump_json(content: Any, /) -> str:
    """JSON text of a document, sorted as it was built, never with NaN.

    Parameters
    ----------
    content : JSON values
        A document.

    Returns
    -------
    str
        Ends with a newline.
    """
    return json.dumps(content, indent=2, allow_nan=False, ensure_ascii=False) + "\n"
