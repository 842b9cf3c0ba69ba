"""Partial results, kept to the bit so that a run can go on from them."""

import json
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from specprobe.arrays import to_host
from specprobe.results.kinds import result_type

__all__ = ["pack", "unpack"]


def pack(result: Any, /) -> tuple[str, dict[str, Any]]:
    """Every field of a result, exactly.

    Parameters
    ----------
    result : Result
        Fields are numbers, strings, None, and arrays, or (nested) tuples of these; or results themselves.

    Returns
    -------
    scalars : str
        JSON text; a float survives it bit for bit.
    arrays : dict of str to numpy.ndarray
        By field name; those of an inner result after its own field's name and a slash.
    """
    scalars: dict[str, Any] = {}
    inner: dict[str, str] = {}
    arrays: dict[str, Any] = {}
    for field in fields(result):
        value = getattr(result, field.name)
        if is_dataclass(value) and hasattr(value, "kind"):
            inner[field.name], held = pack(value)
            arrays |= {f"{field.name}/{name}": array for name, array in held.items()}
        elif value is None or isinstance(value, bool | int | float | str | tuple | list | dict):
            scalars[field.name] = value
        else:
            arrays[field.name] = to_host(value)
    return json.dumps({"kind": result.kind, "fields": scalars, "inner": inner}), arrays


def unpack(scalars: str, arrays: Mapping[str, Any], /) -> Any:
    """Undo :func:`pack`.

    Parameters
    ----------
    scalars : str
        JSON text.
    arrays : mapping of str to numpy.ndarray
        By field name.

    Returns
    -------
    Result
        Equal to the one that was packed.
    """
    content = json.loads(scalars)
    values = {name: _as_tuple(value) for name, value in content["fields"].items()}
    for name, text in content["inner"].items():
        start = f"{name}/"
        held = {key.removeprefix(start): array for key, array in arrays.items() if key.startswith(start)}
        values[name] = unpack(text, held)
    own = {name: array for name, array in arrays.items() if "/" not in name}
    return result_type(content["kind"])(**values, **own)


def _as_tuple(value: Any) -> Any:
    return tuple(_as_tuple(item) for item in value) if isinstance(value, list) else value
