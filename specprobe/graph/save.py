"""Writes a graph to disk: one file, or a graph and one data file where the weights are large."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import onnx
import onnx_ir as ir

from specprobe.files import write_atomically
from specprobe.graph.weights import serialise

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["save_model"]

ONE_FILE_BYTES = 1 << 30
"""Weights up to this size are kept in the graph file; protobuf stops at 2 GiB."""

_ALIGNMENT = 4096  # so that readers can map the data page by page


def save_model(
    model: ir.Model, path: str | Path, /, *, one_file_bytes: int = ONE_FILE_BYTES
) -> tuple[Path, ...]:
    """Write ``model``.

    Parameters
    ----------
    model : onnx_ir.Model
        Left as it is. Weights that are mapped from other files are copied from there, never held in memory whole.
    path : str or pathlib.Path
        Of the graph file. Large weights go to a file of the same name with ``.data`` behind it.
    one_file_bytes : int
        Weights up to this size stay inside the graph file.

    Returns
    -------
    tuple of pathlib.Path
        The files written.

    Raises
    ------
    DataError
        If the folder cannot be written.
    """
    path = Path(path)
    graph, weights = serialise(model)
    if sum(array.nbytes for array in weights.values()) <= one_file_bytes:
        write_atomically(path, partial(_write_bytes, ir.to_proto(model).SerializeToString()))
        return (path,)
    proto = onnx.ModelProto.FromString(graph)
    data = path.with_name(f"{path.name}.data")
    offsets = _layout(weights)
    for tensor in proto.graph.initializer:
        if tensor.name in offsets:
            entries = {
                "location": data.name,
                "offset": offsets[tensor.name],
                "length": weights[tensor.name].nbytes,
            }
            del tensor.external_data[:]
            for key, value in entries.items():
                entry = tensor.external_data.add()
                entry.key, entry.value = key, str(value)
    write_atomically(data, partial(_write_weights, weights, offsets))
    write_atomically(path, partial(_write_bytes, proto.SerializeToString()))
    return path, data


def _layout(weights: "Mapping[str, NDArray[Any]]") -> dict[str, int]:
    offsets, end = {}, 0
    for name, array in weights.items():
        offsets[name] = end
        end += -(-array.nbytes // _ALIGNMENT) * _ALIGNMENT
    return offsets


def _write_bytes(content: bytes, file: IO[bytes]) -> None:
    file.write(content)


def _write_weights(
    weights: "Mapping[str, NDArray[Any]]", offsets: Mapping[str, int], file: IO[bytes]
) -> None:
    for name, array in weights.items():
        file.seek(offsets[name])
        array.tofile(file)
    file.truncate(max(offsets[name] + array.nbytes for name, array in weights.items()))
