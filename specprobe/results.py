"""Results as files: JSON for programs, ``.npz`` with every array, both read back.

A result is a frozen dataclass with a ``kind``, ``to_dict`` and ``from_dict``. Its fields are numbers, strings, arrays,
and lists, tuples and dictionaries of these, so that a partial result survives on disk bit for bit.
"""

import importlib
import json
import math
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Protocol, runtime_checkable

import numpy as np

from specprobe.arrays import to_host
from specprobe.errors import DataError
from specprobe.files import write_atomically

__all__ = [
    "SCHEMA",
    "Result",
    "collection",
    "document",
    "dump_json",
    "finite",
    "from_document",
    "pack",
    "read_document",
    "read_results",
    "result_type",
    "save_arrays",
    "unpack",
    "write_npz",
]

SCHEMA = "specprobe/1"

_DAMAGED = (zipfile.BadZipFile, zlib.error, EOFError, MemoryError)

_TYPES = {
    "accuracy": "specprobe.analysis.accuracy:Accuracy",
    "adversarial_band_sweep": "specprobe.attacks.band_sweep_result:AdversarialBandSweep",
    "attack_outcome": "specprobe.attacks.outcome:AttackOutcome",
    "audit": "specprobe.audit.verdicts:AuditResult",
    "band_accuracy": "specprobe.analysis.band_result:BandAccuracy",
    "band_replacement": "specprobe.analysis.band_replacement_result:BandReplacement",
    "class_spectra": "specprobe.analysis.frequency_shortcuts_spectra:ClassSpectra",
    "comparison": "specprobe.analysis.comparison_result:Comparison",
    "corruption_accuracy": "specprobe.analysis.corruption_result:CorruptionAccuracy",
    "filter_statistics": "specprobe.analysis.filters:FilterStatistics",
    "fourier_heatmap": "specprobe.analysis.heatmap_result:FourierHeatmap",
    "fourier_mask": "specprobe.analysis.mask_result:FourierMask",
    "fourier_sensitivity": "specprobe.analysis.sensitivity_result:FourierSensitivity",
    "frequency_counts": "specprobe.attacks.universal_search:FrequencyCounts",  # in checkpoints alone
    "frequency_deletion": "specprobe.analysis.frequency_shortcuts_result:FrequencyDeletion",
    "frequency_shortcuts": "specprobe.analysis.frequency_shortcuts_rates:FrequencyShortcuts",
    "image_masks_state": "specprobe.analysis.mask_state:ImageMasksState",  # in checkpoints alone
    "inspection": "specprobe.analysis.inspection:Inspection",
    "mask_difference": "specprobe.analysis.mask_reading_result:MaskDifference",
    "measured_model": "specprobe.workflow.comparison:MeasuredModel",  # in checkpoints alone
    "measurements": "specprobe.workflow.measurements:Measurements",  # in checkpoints alone
    "perturbation_spectrum": "specprobe.analysis.perturbation_result:PerturbationSpectrum",
    "shared_mask_state": "specprobe.analysis.mask_state:SharedMaskState",  # in checkpoints alone
    "predictions": "specprobe.analysis.comparison_predictions:Predictions",  # in checkpoints alone
}


@runtime_checkable
class Result(Protocol):
    """What every analysis returns."""

    kind: ClassVar[str]

    def to_dict(self) -> dict[str, Any]:
        """Field names and JSON values; numbers that are not valid are null.

        Returns
        -------
        dict
            The ``result`` of a document.
        """
        ...


def result_type(kind: str, /) -> Any:
    """Class of the results of one kind.

    Parameters
    ----------
    kind : str
        As in a document.

    Returns
    -------
    type
        Has ``from_dict``.

    Raises
    ------
    DataError
        If there is no such kind.
    """
    if kind not in _TYPES:
        msg = f"there is no result of kind '{kind}'; known are {', '.join(_TYPES)}"
        raise DataError(msg)
    module, _, name = _TYPES[kind].partition(":")
    return getattr(importlib.import_module(module), name)


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
    path = Path(path)
    try:
        if path.suffix == ".npz":
            with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
                text = str(archive["document"])
        else:
            text = path.read_text(encoding="utf-8")
        content = json.loads(text)
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, *_DAMAGED) as error:
        msg = f"{path} is not a specprobe result: {error}"
        raise DataError(msg) from error
    if not isinstance(content, dict):
        msg = f"{path} is not a specprobe result: it holds a JSON {type(content).__name__}, not an object"
        raise DataError(msg)
    return content


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
    content = read_document(path)
    result = from_document(content)
    if content["kind"] == "collection":
        return list(zip(content["documents"], result, strict=True))
    if Path(path).suffix != ".npz":
        return [(content, result)]
    with np.load(path, allow_pickle=False) as archive:
        held = {name: archive[name] for name in archive.files if name != "document"}
    missing = [field.name for field in fields(result) if getattr(result, field.name) is None]
    names = {name: name if name in held else name.removeprefix("image_") for name in missing}
    found = {name: held[short] for name, short in names.items() if short in held}
    return [(content, replace(result, **found))]


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
