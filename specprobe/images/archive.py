"""``.npz`` archives and ``.npy`` files, streamed."""

import struct
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from specprobe.errors import DataError
from specprobe.images.limits import MAX_EXPANDED_BYTES, MAX_RATIO, RATIO_FREE_BYTES
from specprobe.images.npy import array_of, images_of
from specprobe.images.source import Found
from specprobe.images.stream import ByteStream, FileRegion, ZipMember

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "IMAGE_MEMBERS",
    "LABEL_MEMBERS",
    "NAME_MEMBERS",
    "open_npy",
    "open_npz",
    "read_npy",
    "read_npz_labels",
]

IMAGE_MEMBERS = ("images", "x", "x_test", "data", "arr_0")
LABEL_MEMBERS = ("labels", "y", "y_test", "arr_1")
NAME_MEMBERS = ("classes", "class_names", "label_names")


def open_npz(path: Path) -> Found:
    """Images and labels of an archive that ``numpy.savez`` or ``numpy.savez_compressed`` wrote.

    The images are the first member present of ``images``, ``x``, ``x_test``, ``data``, ``arr_0``; the labels
    of ``labels``, ``y``, ``y_test``, ``arr_1``; names of the classes of ``classes``, ``class_names``,
    ``label_names``. A stored member is read in place; a deflated one is read forward, and from its beginning
    when asked to go back.

    Parameters
    ----------
    path : pathlib.Path
        The archive.

    Returns
    -------
    Found
        Only headers and labels have been read.
    """
    members = _members(path)
    chosen = next((name for name in IMAGE_MEMBERS if name in members), None)
    if chosen is None:
        msg = (
            f"{path.name} has no images: members are {_listed(members)}; accepted names are "
            f"{', '.join(IMAGE_MEMBERS)}. Write one with numpy.savez(path, images=..., labels=...)"
        )
        raise DataError(msg)
    raw = images_of(_member_stream(path, members[chosen]))
    label_member = next((name for name in LABEL_MEMBERS if name in members), None)
    facts = {
        "format": "npz",
        "name": path.name,
        "image_member": chosen,
        "label_member": label_member,
        "layout": raw.layout,
        "dtype": raw.dtype.name,
        "unused_members": sorted(set(members) - {chosen, label_member, *NAME_MEMBERS}),
    }
    labels = None if label_member is None else array_of(_member_stream(path, members[label_member]))
    return Found(raw=raw, labels=labels, class_names=_class_names(path, members), facts=facts)


def read_npz_labels(path: Path) -> "NDArray[Any]":
    """Labels of an archive.

    Parameters
    ----------
    path : pathlib.Path
        The archive.

    Returns
    -------
    numpy.ndarray
        As stored.
    """
    members = _members(path)
    name = next((name for name in (*LABEL_MEMBERS, "arr_0") if name in members), None)
    if name is None:
        msg = f"{path.name} has no labels: members are {_listed(members)}; accepted are {', '.join(LABEL_MEMBERS)}"
        raise DataError(msg)
    return array_of(_member_stream(path, members[name]))


def open_npy(path: Path) -> Found:
    """Images of a ``.npy`` file; their labels lie in another file.

    Parameters
    ----------
    path : pathlib.Path
        The array.

    Returns
    -------
    Found
        Only the header has been read.
    """
    raw = images_of(FileRegion(path, path.name, 0, path.stat().st_size))
    facts = {"format": "npy", "name": path.name, "layout": raw.layout, "dtype": raw.dtype.name}
    return Found(raw=raw, facts=facts)


def read_npy(path: Path) -> "NDArray[Any]":
    """Read a small array whole.

    Parameters
    ----------
    path : pathlib.Path
        A ``.npy`` file.

    Returns
    -------
    numpy.ndarray
        As stored.
    """
    return array_of(FileRegion(path, path.name, 0, path.stat().st_size))


def _members(path: Path) -> dict[str, zipfile.ZipInfo]:
    """Arrays by name, once the directory of the archive is found plausible."""
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, struct.error) as error:
        msg = (
            f"{path.name} is not a readable zip archive ({error}); it is truncated or damaged: fetch or write it "
            "again"
        )
        raise DataError(msg) from error
    expanded = sum(entry.file_size for entry in entries)
    if expanded > MAX_EXPANDED_BYTES:
        msg = (
            f"{path.name} declares {expanded} expanded bytes; at most {MAX_EXPANDED_BYTES} are read. Split it"
        )
        raise DataError(msg)
    for entry in entries:
        if entry.file_size > RATIO_FREE_BYTES and entry.file_size > MAX_RATIO * entry.compress_size:
            msg = (
                f"member {entry.filename!r} of {path.name} expands {entry.compress_size} bytes to "
                f"{entry.file_size}, more than {MAX_RATIO}-fold, as decompression bombs do. If it is genuine, "
                "store it: numpy.savez"
            )
            raise DataError(msg)
    return {
        entry.filename.removesuffix(".npy"): entry for entry in entries if entry.filename.endswith(".npy")
    }


def _member_stream(path: Path, entry: zipfile.ZipInfo) -> ByteStream:
    name = f"member {entry.filename!r} of {path.name}"
    if entry.flag_bits & 1 or entry.compress_type not in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:
        msg = f"{name} is encrypted or compressed by another method than deflate; write it with numpy.savez"
        raise DataError(msg)
    if entry.compress_type == zipfile.ZIP_DEFLATED:
        return ZipMember(path, name, entry.file_size, entry.filename)
    size = path.stat().st_size
    header = FileRegion(path, name, entry.header_offset, 30).read(0, 30)
    name_length, extra_length = struct.unpack("<HH", header[26:30])
    origin = entry.header_offset + 30 + name_length + extra_length
    if (
        header[:4] != b"PK\x03\x04"
        or entry.compress_size != entry.file_size
        or origin + entry.file_size > size
    ):
        msg = f"{name} does not lie where the directory of the archive says; it is damaged: fetch or write it again"
        raise DataError(msg)
    return FileRegion(path, name, origin, entry.file_size)


def _class_names(path: Path, members: dict[str, zipfile.ZipInfo]) -> tuple[str, ...] | None:
    name = next((name for name in NAME_MEMBERS if name in members), None)
    if name is None:
        return None
    names = array_of(_member_stream(path, members[name]))
    return tuple(str(entry) for entry in names) if names.ndim == 1 and names.dtype.kind == "U" else None


def _listed(members: dict[str, zipfile.ZipInfo]) -> str:
    return ", ".join(sorted(members)[:20]) or "none"
