"""Pictures in folders, and single pictures."""

import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from specprobe.errors import DataError, EmptyInput
from specprobe.images.decode import SUFFIXES
from specprobe.images.frame import Frame, frame_of
from specprobe.images.labels import read_table
from specprobe.images.source import Found
from specprobe.recipe import Geometry

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

__all__ = ["PictureFiles", "open_folder", "open_picture"]


@dataclass(frozen=True, slots=True)
class PictureFiles:
    """Picture files, decoded when they are read.

    Attributes
    ----------
    root : pathlib.Path
        Their folder.
    files : tuple of str
        Relative to ``root``, with forward slashes.
    frame : Frame
        What each becomes.
    """

    root: Path
    files: tuple[str, ...]
    frame: Frame

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """N, C, H, W."""
        return len(self.files), *self.frame.shape

    def read(self, start: int, stop: int, /) -> "NDArray[np.uint8]":
        """Images ``start`` to ``stop − 1``.

        Parameters
        ----------
        start, stop : int
            ``0 <= start < stop <= N``.

        Returns
        -------
        numpy.ndarray of uint8, shape (stop − start, C, H, W)
            Decoded.
        """
        pixels = np.empty((stop - start, *self.frame.shape), dtype=np.uint8)
        for index, file in enumerate(self.files[start:stop]):
            pixels[index] = self.frame.decode(self.root / file, file)
        return pixels


def open_picture(path: Path, *, channels: int | None, geometry: Geometry | None) -> Found:
    """One picture.

    Parameters
    ----------
    path : pathlib.Path
        The file.
    channels : int or None
        1, 3, or as stored.
    geometry : Geometry or None
        Resize and crop.

    Returns
    -------
    Found
        One image.
    """
    frame = frame_of(path, path.name, channels=channels, geometry=geometry)
    facts = {"format": "picture", "name": path.name}
    return Found(raw=PictureFiles(path.parent, (path.name,), frame), facts=facts, pictures=True)


def open_folder(root: Path, *, table: Path | None, channels: int | None, geometry: Geometry | None) -> Found:
    """Pictures of a folder, in the order of torchvision's ``ImageFolder``, or in that of a table of labels.

    Three layouts: one folder a class (classes are the folders' names in sorted order; inside, folders and
    then files in sorted order); a flat folder; a folder of any depth with a table of (file, label). A table
    of labels alone belongs to the sorted files. Links to folders are not followed below the first level;
    hidden files are ignored.

    Parameters
    ----------
    root : pathlib.Path
        The folder.
    table : pathlib.Path or None
        ``.csv``, ``.tsv`` or ``.txt``.
    channels : int or None
        1, 3, or those of the first picture.
    geometry : Geometry or None
        Resize and crop.

    Returns
    -------
    Found
        The first picture has been decoded.
    """
    flat, classes, ignored = _surveyed(root)
    if table is not None:
        everything = sorted([*flat, *(file for files in classes.values() for file in files)])
        files, labels, more = _from_table(root, table, everything)
        names, layout = None, "table"
    elif flat and any(classes.values()):
        msg = (
            f"folder {root.name} holds pictures ({flat[0]}) and folders with pictures ({_first(classes)}); "
            "accepted is one folder a class, or a flat folder. Move the pictures, or give labels= as a table "
            "of files and labels"
        )
        raise DataError(msg)
    elif flat:
        files, labels, names, layout, more = flat, None, None, "flat", {}
    else:
        files = [file for folder in classes.values() for file in folder]
        counts = [len(folder) for folder in classes.values()]
        labels = np.repeat(np.arange(len(classes)), counts)
        names, layout, more = tuple(classes), "one folder a class", {}
    if not files:
        msg = (
            f"folder {root.name} holds no pictures ({ignored} other files); accepted suffixes: "
            f"{' '.join(sorted(SUFFIXES))}"
        )
        raise EmptyInput(msg)
    frame = frame_of(root / files[0], files[0], channels=channels, geometry=geometry)
    facts = {
        "format": "folder",
        "name": root.resolve().name,
        "layout": layout,
        "ignored_files": ignored,
        **more,
    }
    return Found(
        raw=PictureFiles(root, tuple(files), frame),
        labels=labels,
        class_names=names,
        facts=facts,
        pictures=True,
    )


def _surveyed(root: Path) -> tuple[list[str], dict[str, list[str]], int]:
    """Pictures at the top, pictures by folder, and the number of other files."""
    flat: list[str] = []
    classes: dict[str, list[str]] = {}
    ignored = 0
    try:
        entries = sorted(os.scandir(root), key=lambda entry: entry.name)
        for entry in entries:
            if entry.is_dir():
                if not entry.name.startswith("."):
                    classes[entry.name] = []
                    for file in _files_below(root, entry.name):
                        if _accepted(file):
                            classes[entry.name].append(file)
                        else:
                            ignored += 1
            elif _accepted(entry.name):
                flat.append(entry.name)
            else:
                ignored += 1
    except OSError as error:
        msg = f"folder {root.name} cannot be read: {error.strerror or error}"
        raise DataError(msg) from error
    return flat, classes, ignored


def _files_below(root: Path, folder: str) -> "Iterator[str]":
    for parent, _, names in sorted(os.walk(root / folder)):
        relative = Path(parent).relative_to(root).as_posix()
        for name in sorted(names):
            yield f"{relative}/{name}"


def _accepted(file: str) -> bool:
    path = Path(file)
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".")


def _first(classes: dict[str, list[str]]) -> str:
    return next(files[0] for files in classes.values() if files)


def _from_table(
    root: Path, table: Path, everything: list[str]
) -> "tuple[list[str], NDArray[Any], dict[str, Any]]":
    rows = read_table(table)
    if rows and not any(file for file, _ in rows):
        if len(rows) != len(everything):
            msg = f"{table.name} has {len(rows)} labels, folder {root.name} has {len(everything)} pictures"
            raise DataError(msg)
        return everything, np.array([label for _, label in rows]), {"label_table": table.name}
    known = set(everything)
    if rows and rows[0][0] not in known and not Path(rows[0][0]).suffix:
        rows = rows[1:]  # titles of the user's own
    files = [file.replace("\\", "/").removeprefix("./") for file, _ in rows]
    missing = [file for file in files if file not in known]
    if missing:
        msg = (
            f"{table.name} names {len(missing)} pictures that folder {root.name} does not hold: "
            f"{', '.join(missing[:5])}. Names are relative to the folder, with their suffix"
        )
        raise DataError(msg)
    if len(set(files)) != len(files):
        msg = f"{table.name} names {Counter(files).most_common(1)[0][0]} more than once; give each picture one row"
        raise DataError(msg)
    more = {"label_table": table.name, "unlisted_pictures": len(known) - len(files)}
    return files, np.array([label for _, label in rows], dtype=np.str_), more
