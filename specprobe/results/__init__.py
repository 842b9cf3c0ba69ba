"""Results as files: JSON for programs, ``.npz`` with every array, both read back.

A result is a frozen dataclass with a ``kind``, ``to_dict`` and ``from_dict``. Its fields are numbers, strings, arrays,
and lists, tuples and dictionaries of these, so that a partial result survives on disk bit for bit.
"""

from specprobe.results.documents import SCHEMA, collection, document, dump_json, finite, from_document
from specprobe.results.files import read_document, read_results, save_arrays, write_npz
from specprobe.results.kinds import Result, result_type
from specprobe.results.packing import pack, unpack

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
