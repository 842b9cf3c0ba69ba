"""Files that are there whole or not at all."""

import os
import tempfile
from pathlib import Path
from typing import Any

from specprobe.errors import DataError

__all__ = ["write_atomically"]


def write_atomically(path: Path, write: Any, /) -> None:
    """Let ``write(file)`` fill a new file, then put it at ``path`` in one step.

    Parameters
    ----------
    path : pathlib.Path
        Replaced if it exists; its folder must exist.
    write : callable
        Takes a binary file.

    Raises
    ------
    DataError
        If the folder does not exist or cannot be written, or has no room left.
    """
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        temporary = Path(name)
        try:
            with os.fdopen(handle, "wb") as file:
                write(file)
                file.flush()
                os.fsync(file.fileno())
            umask = os.umask(0)
            os.umask(umask)
            temporary.chmod(0o666 & ~umask)  # mkstemp makes files that nobody else can read
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    except OSError as error:
        msg = f"{path} cannot be written: {error.strerror or error}"
        raise DataError(msg) from error
