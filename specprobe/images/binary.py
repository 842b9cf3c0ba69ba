"""CIFAR's binary records and MNIST's idx files, plain or gzipped."""

import gzip
import math
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from specprobe.errors import DataError, EmptyInput
from specprobe.images.labels import read_text
from specprobe.images.limits import MAX_EXPANDED_BYTES, MAX_LABEL_BYTES, MAX_RATIO, RATIO_FREE_BYTES
from specprobe.images.source import Found
from specprobe.images.stream import ByteStream, FileRegion, GzipStream

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["cifar_files", "is_idx", "open_cifar", "open_idx", "read_idx_labels"]

_PIXELS = 3 * 32 * 32
_LABEL_BLOCK = 2000


@dataclass(frozen=True, slots=True)
class _Records:
    """CIFAR records of one or several files: label bytes, then 32×32 red, green and blue planes."""

    regions: tuple[FileRegion, ...]
    label_bytes: int

    @property
    def shape(self) -> tuple[int, int, int, int]:
        return sum(self._counts()), 3, 32, 32

    def read(self, start: int, stop: int, /) -> "NDArray[np.uint8]":
        return self.records(start, stop)[:, self.label_bytes :].reshape(-1, 3, 32, 32)

    def records(self, start: int, stop: int) -> "NDArray[np.uint8]":
        size = self.label_bytes + _PIXELS
        parts, first = [], 0
        for region, count in zip(self.regions, self._counts(), strict=True):
            low, high = max(start - first, 0), min(stop - first, count)
            if low < high:
                data = region.read(low * size, (high - low) * size)
                parts.append(np.frombuffer(data, np.uint8).reshape(-1, size))
            first += count
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def _counts(self) -> list[int]:
        return [region.size // (self.label_bytes + _PIXELS) for region in self.regions]


def cifar_files(folder: Path) -> list[Path]:
    """CIFAR binary files of a folder.

    Parameters
    ----------
    folder : pathlib.Path
        As the official archives unpack.

    Returns
    -------
    list of pathlib.Path
        The test file where there is one, else the training files; empty where there is neither.
    """
    for name in ("test_batch.bin", "test.bin"):
        if (folder / name).is_file():
            return [folder / name]
    return sorted(folder.glob("data_batch_*.bin")) or sorted(folder.glob("train.bin"))


def open_cifar(files: list[Path], name: str) -> Found:
    """CIFAR-10 or CIFAR-100 binary records; of the two labels of CIFAR-100 the fine one counts.

    Parameters
    ----------
    files : list of pathlib.Path
        One file or more, in order.
    name : str
        What messages call them.

    Returns
    -------
    Found
        All labels have been read.
    """
    sizes = [path.stat().st_size for path in files]
    if sum(sizes) == 0:
        msg = f"{name} is empty; a CIFAR record is 3073 bytes (CIFAR-10) or 3074 (CIFAR-100)"
        raise EmptyInput(msg)
    hundred = all(path.name in {"train.bin", "test.bin"} for path in files)
    fitting = [n for n in ((2, 1) if hundred else (1, 2)) if all(size % (n + _PIXELS) == 0 for size in sizes)]
    if not fitting:
        odd, size = next((p, s) for p, s in zip(files, sizes, strict=True) if s % (1 + _PIXELS))
        msg = (
            f"{odd.name} is {size} bytes long, which is no whole number of CIFAR records of 3073 bytes "
            "(CIFAR-10) or 3074 (CIFAR-100). It is truncated or another format"
        )
        raise DataError(msg)
    raw = _Records(tuple(FileRegion(p, p.name, 0, s) for p, s in zip(files, sizes, strict=True)), fitting[0])
    labels = _cifar_labels(raw, name)
    facts = {
        "format": "cifar100" if fitting[0] == 2 else "cifar10",
        "name": name,
        "files": [p.name for p in files],
    }
    return Found(raw=raw, labels=labels, class_names=_cifar_names(files[0].parent, labels), facts=facts)


def _cifar_labels(raw: _Records, name: str) -> "NDArray[np.uint8]":
    images, column, classes = raw.shape[0], raw.label_bytes - 1, 10 if raw.label_bytes == 1 else 100
    blocks = [
        raw.records(start, min(start + _LABEL_BLOCK, images))[:, column].copy()
        for start in range(0, images, _LABEL_BLOCK)
    ]
    labels = np.concatenate(blocks)
    if labels.max() >= classes:
        index = int(np.argmax(labels >= classes))
        msg = (
            f"record {index} of {name} has label {labels[index]}; CIFAR-{classes} has labels below {classes}"
        )
        raise DataError(msg)
    return labels


def _cifar_names(folder: Path, labels: "NDArray[np.uint8]") -> tuple[str, ...] | None:
    for file in ("batches.meta.txt", "fine_label_names.txt"):
        if (folder / file).is_file():
            names = tuple(line.strip() for line in read_text(folder / file).splitlines() if line.strip())
            return names if len(names) > labels.max() else None
    return None


@dataclass(frozen=True, slots=True)
class _Grid:
    """Images of an idx file."""

    stream: ByteStream
    shape: tuple[int, int, int, int]

    def read(self, start: int, stop: int, /) -> "NDArray[np.uint8]":
        row = self.shape[2] * self.shape[3]
        data = self.stream.read(16 + start * row, (stop - start) * row)
        return np.frombuffer(data, np.uint8).reshape(-1, *self.shape[1:])


def is_idx(head: bytes, dimensions: int) -> bool:
    """Whether a file begins like idx unsigned bytes.

    Parameters
    ----------
    head : bytes
        Its first bytes, expanded.
    dimensions : int
        3 for images, 1 for labels.

    Returns
    -------
    bool
        Sizes are checked on opening.
    """
    return head[:4] == bytes((0, 0, 8, dimensions))


def open_idx(path: Path) -> Found:
    """Images of MNIST's idx format, and the labels found beside them by the usual names.

    Parameters
    ----------
    path : pathlib.Path
        ``…-images-idx3-ubyte``, with ``.gz`` or without.

    Returns
    -------
    Found
        Labels are those of ``…-labels-idx1-ubyte``, plain or gzipped, if it exists.
    """
    stream, (images, height, width) = _idx(path, 3)
    facts: dict[str, Any] = {"format": "idx", "name": path.name, "label_file": None}
    beside = _labels_beside(path)
    labels = None
    if beside is not None:
        facts["label_file"] = beside.name
        labels = read_idx_labels(beside)
    return Found(raw=_Grid(stream, (images, 1, height, width)), labels=labels, facts=facts)


def read_idx_labels(path: Path) -> "NDArray[np.uint8]":
    """Labels of MNIST's idx format.

    Parameters
    ----------
    path : pathlib.Path
        ``…-labels-idx1-ubyte``, with ``.gz`` or without.

    Returns
    -------
    numpy.ndarray of uint8, shape (N,)
        As stored.
    """
    stream, (count,) = _idx(path, 1)
    if count > MAX_LABEL_BYTES:
        msg = f"{path.name} declares {count} labels; at most {MAX_LABEL_BYTES} are read"
        raise DataError(msg)
    return np.frombuffer(stream.read(8, count), np.uint8)


def _labels_beside(path: Path) -> Path | None:
    stem = path.name.removesuffix(".gz")
    renamed = stem.replace("images", "labels").replace("idx3", "idx1")
    candidates = [path.with_name(renamed + suffix) for suffix in ("", ".gz")] if renamed != stem else []
    return next((candidate for candidate in candidates if candidate.is_file()), None)


def _idx(path: Path, dimensions: int) -> tuple[ByteStream, tuple[int, ...]]:
    length = 4 + 4 * dimensions
    try:
        with path.open("rb") as plain:
            packed = plain.read(2) == b"\x1f\x8b"
        with gzip.open(path, "rb") if packed else path.open("rb") as handle:
            head = handle.read(length)
    except (OSError, EOFError, zlib.error) as error:
        msg = f"{path.name} cannot be read: {error}. It is truncated or damaged; fetch it again"
        raise DataError(msg) from error
    if not is_idx(head, dimensions) or len(head) < length:
        wanted = bytes((0, 0, 8, dimensions)).hex()
        msg = (
            f"{path.name} begins with {head[:4].hex() or 'nothing'}; idx unsigned bytes of {dimensions} axes "
            f"begin with {wanted}"
        )
        raise DataError(msg)
    shape = struct.unpack(f">{dimensions}I", head[4:])
    if 0 in shape:
        msg = f"{path.name} declares shape {shape}: nothing in it"
        raise EmptyInput(msg)
    size, stored = length + math.prod(shape), path.stat().st_size
    if not packed and size != stored:
        msg = f"{path.name} declares shape {shape}, {size} bytes with its header, but is {stored} bytes long"
        raise DataError(msg)
    if packed and (size > MAX_EXPANDED_BYTES or size > max(RATIO_FREE_BYTES, MAX_RATIO * stored)):
        msg = (
            f"{path.name} declares shape {shape}, {size} bytes out of {stored}, more than {MAX_RATIO}-fold, as "
            "decompression bombs do. If it is genuine, give it without .gz"
        )
        raise DataError(msg)
    stream = GzipStream(path, path.name, size) if packed else FileRegion(path, path.name, 0, size)
    return stream, shape
